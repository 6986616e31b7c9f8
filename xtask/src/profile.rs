//! Actions taken apart.

use std::time::Duration;

use anyhow::{Context, Result};
use tare_gateway::Strategy;
use tare_gateway::action::{Call, Shape};
use tare_profile::{Query, Subject};
use tare_testbed::{Fixture, Network, Template};
use tokio_util::sync::CancellationToken;

use crate::Ending;
use crate::build::{self, BUILD};
use crate::cli;
use crate::load::{Sending, VARIETY, text_or_file, warn_of_unused_token};
use crate::service::{Service, Way};
use crate::session::{Begin, POSTGRES, Session, read_published};
use crate::stress::{ANY_PORT, refuse_network};

/// `cargo xtask profile`.
pub async fn run(options: cli::Profile, stop: CancellationToken) -> Result<Ending> {
    let cli::Profile { subject, sql, samples, postgres, judged } = options;
    let samples = samples as usize;
    match subject.url.clone() {
        Some(url) => {
            refuse_network(postgres.network)?;
            let sending = Sending::own(&subject, &url, None, None).await?;
            let query = match sql {
                None => None,
                Some(sql) => Some(Query {
                    sql: text_or_file(&sql, "--sql")?,
                    client: tare_testbed::connect_to_url().await.context("the query cannot be run")?,
                }),
            };
            let plan = [("profile url".to_owned(), Duration::from_secs(10))];
            let begin = Begin { command: "profile --url", network: postgres.network, quick: false };
            let mut session = Session::begin(begin, &judged, &plan, stop)?;
            let measured = measure(&mut session, "profile url", sending, None, query, samples).await;
            session.finish(measured)
        }
        None => {
            warn_of_unused_token();
            Template::named(&subject.action)?;
            let way = Way { strategy: subject.strategy, workers: None };
            let plan = [
                (POSTGRES.to_owned(), Duration::from_secs(6)),
                (BUILD.to_owned(), Duration::from_secs(5)),
                (step(way.strategy), usual(way.strategy, samples, postgres.network)),
            ];
            let command = format!("profile --strategy {}", way.strategy);
            let begin = Begin { command: &command, network: postgres.network, quick: false };
            let mut session = Session::begin(begin, &judged, &plan, stop)?;
            let measured = async {
                let progress = session.progress.clone();
                let mut testbed = session.testbed(postgres).await?;
                testbed.put_at(postgres.network).await?;
                let built = session.step(BUILD, build::build(&progress, false)).await?;
                let service = Service::start(&built.server, &testbed, way, ANY_PORT).await?;
                action(&mut session, &testbed.fixture, &service, &subject.action, way.strategy, samples).await?;
                service.stop().await.map(drop)
            };
            let measured = measured.await;
            session.finish(measured)
        }
    }
}

/// The name of a profile's step.
pub fn step(strategy: Strategy) -> String {
    format!("profile {strategy}")
}

/// How long a profile usually takes, for telling it beforehand.
pub fn usual(strategy: Strategy, samples: usize, network: Network) -> Duration {
    let (work, round_trips) = if strategy == Strategy::BEFORE { (30, 28) } else { (2, 1) };
    (Duration::from_millis(work) + network.round_trip * round_trips) * samples as u32
}

/// An action of the built-in server taken apart, into the evidence.
pub async fn action(
    session: &mut Session,
    fixture: &Fixture,
    service: &Service,
    action: &str,
    strategy: Strategy,
    samples: usize,
) -> Result<()> {
    let sending = Sending::action(fixture, fixture.tenants(), action, VARIETY, service).await?;
    // As the tenant, for whom row-level security holds.
    let client = fixture.server().client(&fixture.tenants()[0].login).await?;
    let query = Query { client, sql: query(fixture, action, strategy)? };
    measure(session, &step(strategy), sending, Some(strategy), Some(query), samples).await
}

/// The action's query alone, as the first tenant's first user.
fn query(fixture: &Fixture, action: &str, strategy: Strategy) -> Result<String> {
    let [tenant, ..] = fixture.tenants() else { anyhow::bail!("the fixture has no tenant") };
    let prepared = Template::named(action)?.requests(fixture, fixture.tenants(), 1);
    let call = Call::parse(prepared[0].body.as_bytes())?;
    Ok(format!(
        "select status, body::text from app.execute('{}', '{}', '{}', '{}', null, false)",
        tenant.yachts[0],
        tenant.crew[0].id,
        call.action().name_in_database(Shape::of(strategy)),
        call.payload_json().replace('\'', "''")
    ))
}

async fn measure(
    session: &mut Session,
    step: &str,
    sending: Sending,
    strategy: Option<Strategy>,
    query: Option<Query>,
    samples: usize,
) -> Result<()> {
    let Sending { name, target, mix } = sending;
    let subject = Subject {
        name,
        strategy: strategy.map(|strategy| strategy.to_string()),
        target,
        mix,
        query,
        samples,
        network_ms: None,
        published: read_published()?.of_a_request(),
    };
    let (progress, stop) = (session.progress.clone(), session.stop.clone());
    let mut profile = session
        .step(step, async {
            Ok(tare_profile::profile(&subject, &stop, |done| progress.at(format!("{done} of {samples}"))).await?)
        })
        .await?;
    tare_profile::conclude(&mut profile);
    session.evidence.profiles.push(profile);
    session.save()
}
