//! What is done to the server and its databases, and what can be seen of it meanwhile.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tare_testbed::{Outage, Relay};
use tokio::time::sleep;
use tokio_postgres::Client;

use crate::bed::{BUDGET, Bed};
use crate::callers::{Crowd, Deed, Tokens, stocked};
use crate::{Error, Fault, clients};

/// How often a tenant goes away and how often the server is killed while the fault lasts.
const TIMES: u32 = 4;
/// Callers who come in addition while the pool is spent.
const RUSH: usize = 96;
/// How often connections are counted meanwhile.
const SAMPLED: Duration = Duration::from_millis(10);
/// Farther than any token is good for.
const AHEAD: Duration = Duration::from_secs(24 * 3600);
/// Milliseconds between two resets or cuts, at most.
const BETWEEN: u64 = 150;
/// Bytes that pass before a cut, at most: within TLS's handshake, PostgreSQL's, or an answer.
const BYTES: usize = 6_000;

/// What was seen while a fault lasted.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Promises that were not kept.
    pub(crate) broken: Vec<String>,
    /// When those whom it concerned were concerned, if it concerned not all.
    pub(crate) spans: Vec<(Instant, Instant)>,
    /// The tenants whom it did not concern.
    pub(crate) others: Vec<usize>,
    /// The server is another process than before.
    pub(crate) replaced: bool,
}

/// Inflicts `fault` for about `hold`, and heals it.
pub(crate) async fn inflict(
    fault: Fault,
    bed: &mut Bed,
    crowd: &mut Crowd,
    hold: Duration,
    random: &mut Rng,
) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    let everybody: Vec<_> = (0..bed.tenants.len()).collect();
    match fault {
        Fault::PostgresStopped => away(bed, Outage::Stopped, hold).await?,
        Fault::PostgresKilled => away(bed, Outage::Killed, hold).await?,
        Fault::PostgresPaused => away(bed, Outage::Paused, hold).await?,
        Fault::ConnectionsReset => {
            let end = Instant::now() + hold;
            while Instant::now() < end {
                for relay in relays(bed) {
                    relay.drop_connections().await;
                }
                sleep(Duration::from_millis(random.u64(1..=BETWEEN))).await;
            }
        }
        Fault::ConnectionsCut => {
            let end = Instant::now() + hold;
            while Instant::now() < end {
                for relay in relays(bed) {
                    relay.cut_after(random.usize(1..=BYTES)).await;
                }
                sleep(Duration::from_millis(random.u64(1..=BETWEEN))).await;
            }
            recover(bed).await?;
        }
        Fault::ConnectionsStalled => {
            for relay in relays(bed) {
                relay.stall().await;
            }
            sleep(hold).await;
            recover(bed).await?;
        }
        Fault::ConnectionsRefused => {
            for relay in relays(bed) {
                relay.refuse().await;
            }
            sleep(hold).await;
            recover(bed).await?;
        }
        Fault::ControlDown => {
            bed.control.refuse().await;
            expect_served(crowd, &everybody, hold, &mut seen).await;
            recover(bed).await?;
        }
        Fault::TenantDown => {
            let victim = random.usize(..bed.tenants.len());
            seen.others = everybody.into_iter().filter(|tenant| *tenant != victim).collect();
            let others = seen.others.clone();
            for _ in 0..TIMES {
                bed.tenants[victim].refuse().await;
                let begin = Instant::now();
                expect_served(crowd, &others, hold / (2 * TIMES), &mut seen).await;
                seen.spans.push((begin, Instant::now()));
                recover(bed).await?;
                sleep(hold / (2 * TIMES)).await;
            }
        }
        Fault::LockHeld => {
            let victim = random.usize(..bed.tenants.len());
            let others: Vec<_> = everybody.into_iter().filter(|tenant| *tenant != victim).collect();
            let holder = bed.fixture.server().admin(&bed.fixture.tenants()[victim].login.database).await?;
            holder.batch_execute("begin; lock table app.stock in exclusive mode").await?;
            expect_served(crowd, &others, hold, &mut seen).await;
            holder.batch_execute("commit").await?;
        }
        Fault::PoolSpent => spend(bed, crowd, hold, random, &mut seen).await?,
        Fault::QueueFull => {
            let disk =
                bed.disk.as_ref().ok_or_else(|| Error::Lacks("the audit queue is not on a small disk".into()))?;
            disk.fill()?;
            expect_served(crowd, &everybody, hold, &mut seen).await;
            disk.empty()?;
        }
        Fault::ServerKilled => {
            for nth in 0..TIMES {
                sleep(hold.mul_f64(random.f64() / f64::from(TIMES))).await;
                // Every other time an audit event is known to wait.
                let undelivered = if nth % 2 == 0 { None } else { Some(keep_waiting(bed, crowd, random).await?) };
                bed.kill_server().await?;
                drop(undelivered);
                bed.start_server().await?;
                crowd.lead_to(bed.url());
            }
            seen.replaced = true;
        }
        Fault::ClockJumps => {
            let clock = bed.clock.as_ref().ok_or_else(|| Error::Lacks("the server's clock cannot be set".into()))?;
            for (ahead, tokens, lasts) in
                [(AHEAD, Tokens::Expired, hold), (Duration::ZERO, Tokens::Good, Duration::ZERO)]
            {
                crowd.expect(Tokens::Unsure);
                clock.set(ahead)?;
                crowd.expect(tokens);
                sleep(lasts).await;
            }
        }
        Fault::ClientsSlow => {
            let slow = clients::Slow::start(bed, random).await?;
            expect_served(crowd, &everybody, hold, &mut seen).await;
            seen.broken.extend(slow.expect_cut_off().await);
        }
        Fault::ClientsGone => {
            let end = Instant::now() + hold;
            let tenant = &bed.fixture.tenants()[0];
            let (token, parts) = (bed.fixture.secret().mint(tenant.crew[0].id), stocked(&bed.fixture, 0, 0));
            let mut begun = Vec::new();
            while Instant::now() < end {
                let deed = Deed::draw(random, &parts);
                clients::hang_up(bed, &token, &deed, random).await;
                // Of a change nobody knows whether it was made until it is asked for again.
                begun.extend(Some(deed).filter(Deed::is_mutation));
            }
            crowd.see_to(&bed.fixture, begun);
        }
    }
    Ok(seen)
}

fn relays(bed: &Bed) -> impl Iterator<Item = &Relay> {
    std::iter::once(&bed.control).chain(&bed.tenants)
}

async fn recover(bed: &Bed) -> Result<(), Error> {
    for relay in relays(bed) {
        relay.recover().await?;
    }
    Ok(())
}

/// Has a caller told that nothing is there, and keeps the audit event of that from being delivered until what is returned is
/// dropped.
async fn keep_waiting(bed: &Bed, crowd: &mut Crowd, random: &mut Rng) -> Result<Client, Error> {
    let tenant = random.usize(..bed.tenants.len());
    let holder = bed.fixture.server().admin(&bed.fixture.tenants()[tenant].login.database).await?;
    holder.batch_execute("begin; lock table app.audit_log in share mode").await?;
    crowd.look_for_nothing(&bed.fixture, tenant, random).await;
    Ok(holder)
}

async fn away(bed: &Bed, outage: Outage, hold: Duration) -> Result<(), Error> {
    let server = bed.fixture.server();
    server.take_away(outage).await?;
    sleep(hold).await;
    Ok(server.bring_back().await?)
}

/// Waits for `hold`, in which each of `tenants` is to be served: half of it for each to be served once, and again in the rest.
async fn expect_served(crowd: &Crowd, tenants: &[usize], hold: Duration, seen: &mut Seen) {
    let begin = Instant::now();
    for _ in 0..2 {
        let half = Instant::now() + hold / 2;
        if crowd.wait_for(1, tenants, (hold / 2).max(clients::PATIENCE)).await.is_none() {
            seen.broken.push(format!(
                "{:.1} s without an answer to each tenant it does not concern",
                begin.elapsed().as_secs_f64()
            ));
            return;
        }
        sleep(half.saturating_duration_since(Instant::now())).await;
    }
}

/// Has many more callers come than there are connections, and counts these on PostgreSQL's side.
async fn spend(bed: &Bed, crowd: &mut Crowd, hold: Duration, random: &mut Rng, seen: &mut Seen) -> Result<(), Error> {
    let server = bed.fixture.server();
    let client = server.admin(server.maintenance_database()).await?;
    let databases: Vec<_> = bed.fixture.tenants().iter().map(|tenant| tenant.login.database.clone()).collect();
    let count = "select count(*) from pg_stat_activity where datname = any($1) and usename <> current_user";
    crowd.grow(&bed.fixture, RUSH, random);
    let (end, mut most) = (Instant::now() + hold, 0);
    while Instant::now() < end {
        most = most.max(client.query_one(count, &[&databases]).await?.get::<_, i64>(0));
        sleep(SAMPLED).await;
    }
    if most > BUDGET as i64 {
        seen.broken.push(format!("{most} connections were open at a time, and the budget is {BUDGET}"));
    }
    Ok(())
}
