//! A service of the user's own, and the database behind it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tare_evidence::{Profile, Work};
use tare_profile::{Count, Explained, Query, Sampler, Scope, Subject, distance};
use tare_stress::Connection;
use tokio_postgres::Client;
use tokio_util::sync::CancellationToken;

use super::{COUNT, COUNTED, PLANS, add_plans, add_work, keep, measure, published, send};
use crate::load::{Sending, text_or_file};
use crate::session::{Begin, Session};
use crate::stress::refuse_network;
use crate::{Ending, cli};

/// The step that times requests.
const REQUESTS: &str = "profile url";

/// Takes the user's own request apart as far as it goes.
pub async fn run(options: cli::Profile, url: &str, stop: CancellationToken) -> Result<Ending> {
    let cli::Profile { subject, sql, database_url, samples, format, postgres, judged, .. } = options;
    refuse_network(postgres.network)?;
    let sql = sql.map(|sql| text_or_file(&sql, "--sql")).transpose()?;
    let sending = Sending::own(&subject, url, None, None).await?;
    let database = Database::of(database_url)?;
    if sql.is_some() && database.is_none() {
        return Err(anyhow!("--sql needs a database to be run on: set DATABASE_URL, or give --database-url"));
    }
    let mut plan = vec![(REQUESTS.to_owned(), Duration::from_millis(50) * samples as u32)];
    if database.is_some() {
        plan.push((COUNT.to_owned(), Duration::from_secs(2)));
    }
    if sql.is_some() {
        plan.insert(0, (PLANS.to_owned(), Duration::from_secs(1)));
    }
    let begin = Begin { command: "profile --url", network: postgres.network, quick: false };
    let mut session = Session::begin(begin, &judged, &plan, stop)?;
    session.format = format;
    let measured = take_apart(&mut session, sending, database, sql, samples as usize).await;
    session.finish(measured)
}

/// Where the database behind the service is.
struct Database(Option<String>);

impl Database {
    /// The one that was given, else that of `DATABASE_URL`; nothing without either.
    fn of(given: Option<String>) -> Result<Option<Self>> {
        let known = given.is_some() || std::env::var_os("DATABASE_URL").is_some_and(|url| !url.is_empty());
        Ok(known.then_some(Self(given)))
    }

    async fn connect(&self) -> Result<Client> {
        tare_testbed::connect_to_url(self.0.as_deref()).await.with_context(|| self.unseen())
    }

    async fn connect_with_notices(&self) -> Result<tare_profile::Database> {
        let connected = tare_testbed::connect_to_url_with_notices(self.0.as_deref()).await;
        let (client, notices) = connected.with_context(|| self.unseen())?;
        Ok(tare_profile::Database::new(client, notices))
    }

    fn unseen(&self) -> String {
        let named = if self.0.is_some() { "--database-url" } else { "DATABASE_URL" };
        format!("the database of {named} cannot be looked at")
    }
}

async fn take_apart(
    session: &mut Session,
    sending: Sending,
    database: Option<Database>,
    sql: Option<String>,
    samples: usize,
) -> Result<()> {
    let Some(database) = database else {
        let mut profile = requests(session, &sending, None, samples).await?;
        profile.remarks.push(
            "The database behind the service was not looked at: set DATABASE_URL, or give --database-url.".into(),
        );
        return keep(session, profile);
    };
    let client = database.connect().await?;
    let to_database = distance::to_database(&client).await?;
    let began = Instant::now();
    let scope = Scope::current(&client).await?;
    let sampler = Sampler::start(client, &scope).await?;
    let measured = beside(session, &sending, &database, sql, samples).await;
    let watched = sampler.end(began).await.map(|watched| watched.activity);
    let locked = watched.as_ref().ok().and_then(tare_profile::lock_finding);
    let mut profile = match (measured, &locked) {
        // Why nothing could be measured.
        (Err(error), Some(locked)) => return Err(error.context(format!("{} {}", locked.what, locked.advice))),
        (measured, _) => measured?,
    };
    profile.findings.extend(locked);
    profile.findings.extend(distance::finding(&to_database));
    profile.distances.insert(0, to_database);
    match watched {
        Ok(activity) => profile.remarks.extend(activity.remarks),
        Err(reason) => profile.remarks.push(format!("The database could not be watched to the end: {reason}.")),
    }
    keep(session, profile)
}

/// Requests, the query beside them and its plan, and what requests make the database do.
async fn beside(
    session: &mut Session,
    sending: &Sending,
    database: &Database,
    sql: Option<String>,
    samples: usize,
) -> Result<Profile> {
    let mut explained = Explained::default();
    let mut query = None;
    if let Some(sql) = sql {
        // Before anything is sent: what is wrong with the SQL is known at once.
        let explaining = async {
            let mut connection = database.connect_with_notices().await?;
            Ok(tare_profile::explain(&mut connection, &sql, None, false).await?)
        };
        explained = session.step(PLANS, explaining).await?;
        query = Some(Query { client: database.connect().await?, sql });
    }
    let mut profile = requests(session, sending, query, samples).await?;
    add_plans(&mut profile, explained);
    add_work(&mut profile, session.step(COUNT, count(database, sending)).await?);
    Ok(profile)
}

/// Where the time of the requests goes.
async fn requests(session: &mut Session, sending: &Sending, query: Option<Query>, samples: usize) -> Result<Profile> {
    let to_api = distance::to_api(sending.target.address()).await?;
    let subject = Subject {
        name: sending.name.clone(),
        strategy: None,
        target: sending.target.clone(),
        mix: sending.mix.clone(),
        query,
        samples,
        network_ms: Some(to_api.round_trip_ms),
        published: published()?,
    };
    let mut profile = measure(session, REQUESTS, subject).await?;
    profile.findings.extend(distance::finding(&to_api));
    profile.distances.push(to_api);
    Ok(profile)
}

/// Sends some more requests, and counts what they make the database do.
async fn count(database: &Database, sending: &Sending) -> Result<(Work, Vec<String>)> {
    let client = database.connect().await?;
    let scope = Scope::current(&client).await?;
    let mut count = Count::start(client, scope).await?;
    let mut connection = Connection::new(sending.target.clone());
    count.begin().await?;
    send(&sending.mix, &mut connection, 0..COUNTED).await?;
    Ok(count.end(COUNTED).await?)
}
