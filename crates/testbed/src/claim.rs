//! Whose the databases on a server that stays are: of a process that lives, or left behind by one that was killed.
//!
//! Whoever makes some shares in an advisory lock of their name from before the first is made until after the last is dropped. The
//! server takes it away from a process that is gone.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use tokio::select;
use tokio::sync::oneshot;
use tokio_postgres::{Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::server::{connect, drop_all};
use crate::{Error, Server};

/// Begins every name; eight digits follow.
pub(crate) const PREFIX: &str = "tare_";
/// Ends the name of the role that is made before all others and dropped after them.
pub(crate) const FIRST: &str = "_template_control";
/// The comment on that role: by it what has its name is known for ours.
pub(crate) const MARK: &str =
    "Made by tare, with all that is named alike. Dropped by its next run when nobody shares in the lock of that name.";
/// The first half of the keys of these locks; the digits are the second.
const CLAIMED: i32 = i32::from_be_bytes(*b"tare");
/// That of the locks that sessions hold as long as they make something, which may be longer than whoever asked for it lives.
const MADE: i32 = i32::from_be_bytes(*b"tarm");
const SHARE: &str = "select pg_advisory_lock_shared($1, $2)";
/// How soon a lock that was lost is asked for again, when it could not be had.
const AGAIN: Duration = Duration::from_millis(200);
/// How often it is looked who uses what may be left behind: for a second at least, as one who lives may have lost the lock for a
/// moment, and longer where a server has not noticed yet that a session's process is gone.
const LOOKS: std::ops::RangeInclusive<usize> = 10..=30;
const BETWEEN: Duration = Duration::from_millis(100);

/// A server notices within a minute that the machine of a session is gone. Of a session that is not over TCP nothing comes of it.
const KEEP_ALIVE: &str = "set tcp_keepalives_idle = 30; set tcp_keepalives_interval = 10; set tcp_keepalives_count = 3";

/// Says that the databases of one name are in use, until it is dropped.
pub(crate) struct Claim {
    // Ends the thread that holds the lock.
    _held: oneshot::Sender<Infallible>,
}

impl Claim {
    /// Claims what is, or will be, named with `prefix`. On a thread of its own: whoever uses the databases may do so on one runtime
    /// after the other.
    pub(crate) async fn take(admin: &Config, tls: &MakeRustlsConnect, prefix: &str) -> Result<Self, Error> {
        let (held, released) = oneshot::channel();
        let (ready, is_ready) = oneshot::channel();
        let (admin, tls, key) = (admin.clone(), tls.clone(), key(prefix));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Error::io("starting a runtime"))?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                select! {
                    () = hold(&admin, &tls, key, ready) => {}
                    _ = released => {}
                }
            });
        });
        let cannot = Error::database("lock what is made on it");
        match is_ready.await {
            Ok(Ok(())) => Ok(Self { _held: held }),
            Ok(Err(error)) => Err(cannot(error)),
            Err(_) => unreachable!("it is told how it went before the thread ends"),
        }
    }
}

/// Has `client` say that it makes something, until it is closed.
pub(crate) async fn making(client: &Client, prefix: &str) -> Result<(), tokio_postgres::Error> {
    client.execute(SHARE, &[&MADE, &key(prefix)]).await.map(drop)
}

/// Ends the sessions that make something that is named with `prefix`: whoever asked for it is gone, and it would be there after all else
/// is dropped. Of a single fixture's none are ended, for others of its server may be made at the time.
pub(crate) async fn end_making(client: &Client, prefix: &str) -> Result<(), tokio_postgres::Error> {
    let Some(key) = digits(prefix) else { return Ok(()) };
    let end = "select pg_terminate_backend(pid) from pg_locks \
               where locktype = 'advisory' and classid::int8 = $1 and objid::int8 = $2 and objsubid = 2";
    // The server takes keys for unsigned.
    let keys = [i64::from(MADE), i64::from(key as u32)];
    for _ in 0..*LOOKS.end() {
        if client.query(end, &[&keys[0], &keys[1]]).await?.is_empty() {
            break;
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Ok(())
}

/// Holds the lock as long as it is let. Only the first attempt may fail.
async fn hold(
    admin: &Config,
    tls: &MakeRustlsConnect,
    key: i32,
    ready: oneshot::Sender<Result<(), tokio_postgres::Error>>,
) {
    let mut ready = Some(ready);
    loop {
        // Lost, it is taken again at once.
        let Err(error) = hold_once(admin, tls, key, &mut ready).await else { continue };
        if let Some(ready) = ready.take() {
            let _ = ready.send(Err(error));
            return;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Holds it until the connection ends.
async fn hold_once(
    admin: &Config,
    tls: &MakeRustlsConnect,
    key: i32,
    ready: &mut Option<oneshot::Sender<Result<(), tokio_postgres::Error>>>,
) -> Result<(), tokio_postgres::Error> {
    let (client, connection) = admin.clone().application_name("tare-testbed").connect(tls.clone()).await?;
    let serving = tokio::spawn(connection);
    let _ = client.batch_execute(KEEP_ALIVE).await;
    client.execute(SHARE, &[&CLAIMED, &key]).await?;
    if let Some(ready) = ready.take() {
        let _ = ready.send(Ok(()));
    }
    let _ = serving.await;
    Ok(())
}

/// Drops what others have left on `server`.
pub(crate) async fn clear_abandoned(server: &Server, say: &(dyn Fn(&str) + Sync)) -> Result<(), Error> {
    let failed = || Error::database("tell what was left behind on it");
    let (admin, tls) = server.reached_by();
    let client = connect(admin, tls).await?;
    for prefix in abandoned(&client).await.map_err(failed())? {
        // Nobody else clears it at the same time.
        let key = key(&prefix);
        let alone =
            client.query_one("select pg_try_advisory_lock($1, $2)", &[&CLAIMED, &key]).await.map_err(failed())?;
        if !alone.get::<_, bool>(0) {
            continue;
        }
        match drop_all(admin, tls, &prefix).await {
            Ok(()) => say(&format!("dropped the databases and roles {prefix}*, left behind by a run that was killed")),
            Err(error) => say(&format!("{prefix}* were left behind by a run that was killed, and stay: {error}")),
        }
        client.execute("select pg_advisory_unlock($1, $2)", &[&CLAIMED, &key]).await.map_err(failed())?;
    }
    Ok(())
}

/// How the names of those begin that nobody shares in the lock of, and has a session in.
async fn abandoned(client: &Client) -> Result<BTreeSet<String>, tokio_postgres::Error> {
    // What there is before who uses it: a lock is older than what it is for.
    let there = format!(
        "select rolname::text from pg_roles where rolname ~ '^{PREFIX}[0-9a-f]{{8}}{FIRST}$' and shobj_description(oid, 'pg_authid') = $1"
    );
    let there = client.query(&there, &[&MARK]).await?;
    let named = there.iter().filter_map(|row| row.get::<_, &str>(0).strip_suffix(FIRST));
    let mut left: BTreeSet<_> = named.map(str::to_owned).collect();
    for look in 1.. {
        if left.is_empty() {
            break;
        }
        // Of all databases: others may have connected to another one.
        let locks =
            "select objid::int8 from pg_locks where locktype = 'advisory' and classid::int8 = $1 and objsubid = 2";
        let claimed = locked(&client.query(locks, &[&i64::from(CLAIMED)]).await?);
        let made = locked(&client.query(locks, &[&i64::from(MADE)]).await?);
        left.retain(|prefix| !claimed.contains(&key(prefix)));
        let sessions = "select datname::text from pg_stat_activity where starts_with(datname, $1)";
        let sessions = client.query(sessions, &[&PREFIX]).await?;
        let is_in_use = |prefix: &String| {
            made.contains(&key(prefix)) || sessions.iter().any(|row| row.get::<_, &str>(0).starts_with(&**prefix))
        };
        if look == *LOOKS.end() || (look >= *LOOKS.start() && !left.iter().any(is_in_use)) {
            left.retain(|prefix| !is_in_use(prefix));
            break;
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Ok(left)
}

fn locked(rows: &[tokio_postgres::Row]) -> BTreeSet<i32> {
    // The server takes keys for unsigned.
    rows.iter().map(|row| row.get::<_, i64>(0) as i32).collect()
}

/// The second half of the key of the lock: the digits of a name.
fn key(prefix: &str) -> i32 {
    digits(prefix).expect("a name is of eight digits")
}

/// The same; nothing of what is no name of a server's databases as a whole.
fn digits(prefix: &str) -> Option<i32> {
    let digits = prefix.strip_prefix(PREFIX)?;
    u32::from_str_radix(digits, 16).ok().map(|digits| digits as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_being_made_for_one_who_went_away_is_not_there_after_all_is_dropped() {
        const NAME: &str = "tare_89abcdef";
        let server = Server::shared().await.unwrap();
        let (admin, tls) = server.reached_by();
        let connected = async || connect(admin, tls).await.unwrap();
        let (observer, holder, maker) = (connected().await, connected().await, connected().await);
        observer.batch_execute("create role tare_89abcdef_template_control").await.unwrap();
        observer.batch_execute("create database tare_89abcdef_template template template0").await.unwrap();
        // What is to be copied is held, so making the copy takes a while.
        holder.batch_execute("begin; comment on database tare_89abcdef_template is 'held'").await.unwrap();
        making(&maker, NAME).await.unwrap();
        let pid: i32 = maker.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
        let asked = tokio::spawn(async move {
            maker.batch_execute("create database tare_89abcdef_0 template tare_89abcdef_template").await
        });
        let eventually = async |what: &str, sessions: &str, there: i64| {
            for _ in 0..200 {
                if observer.query_one(sessions, &[&pid]).await.unwrap().get::<_, i64>(0) == there {
                    return;
                }
                tokio::time::sleep(BETWEEN).await;
            }
            panic!("{what}");
        };
        let waits = "select count(*) from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'";
        eventually("it is being made", waits, 1).await;
        asked.abort();
        let dropping = tokio::spawn({
            let (admin, tls) = (admin.clone(), tls.clone());
            async move { drop_all(&admin, &tls, NAME).await }
        });
        let lives = "select count(*) from pg_stat_activity where pid = $1";
        eventually("it is still being made", lives, 0).await;
        holder.batch_execute("rollback").await.unwrap();
        dropping.await.unwrap().unwrap();
        let left = "select datname::text from pg_database where starts_with(datname, $1) \
                    union all select rolname::text from pg_roles where starts_with(rolname, $1)";
        let left: Vec<String> = observer.query(left, &[&NAME]).await.unwrap().iter().map(|row| row.get(0)).collect();
        assert_eq!(left, [""; 0]);
    }
}
