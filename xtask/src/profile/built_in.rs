//! An action of the built-in server.

use std::time::Duration;

use anyhow::{Context, Result};
use tare_evidence::{Profile, Work};
use tare_gateway::Strategy;
use tare_gateway::action::{Call, Shape};
use tare_profile::{Count, Query, Scope, Subject, distance};
use tare_stress::{Connection, TIMEOUT, Target, call};
use tare_testbed::{Fixture, Network, Template, TenantFixture, Testbed};
use tokio_util::sync::CancellationToken;

use super::{keep, measure, published, step, usual};
use crate::build::{self, BUILD, Built};
use crate::load::{Sending, VARIETY, warn_of_unused_token};
use crate::service::{Service, Way};
use crate::session::{Begin, POSTGRES, Session};
use crate::stress::ANY_PORT;
use crate::{Ending, cli};

/// The step that counts what the database is asked to do.
const COUNT: &str = "count";
/// The step that reads plans.
const PLANS: &str = "plans";
/// Requests over which round trips and statements are counted: their counts are exact.
const COUNTED: u64 = 20;
/// Requests before that, for pools and caches to be warm.
const WARMUP: u64 = 10;

/// Takes it apart as far as it goes.
pub async fn run(options: cli::Profile, stop: CancellationToken) -> Result<Ending> {
    warn_of_unused_token();
    let cli::Profile { of, subject, samples, format, postgres, judged, .. } = options;
    let (action, samples) = (of.unwrap_or(subject.action), samples as usize);
    Template::named(&action)?;
    let (strategy, network) = (subject.strategy, postgres.network);
    let plan = [
        (POSTGRES.to_owned(), Duration::from_secs(6)),
        (BUILD.to_owned(), Duration::from_secs(5)),
        (step(strategy, &action), usual(strategy, samples, network)),
        (COUNT.to_owned(), Duration::from_secs(3)),
        (PLANS.to_owned(), Duration::from_secs(3)),
    ];
    let command = format!("profile {action} --strategy {strategy}");
    let begin = Begin { command: &command, network, quick: false };
    let mut session = Session::begin(begin, &judged, &plan, stop)?;
    session.format = format;
    let measured = async {
        let progress = session.progress.clone();
        let mut testbed = session.testbed(postgres).await?;
        testbed.put_at(network).await?;
        let built = session.step(BUILD, build::build(&progress, false)).await?;
        let service = Service::start(&built.server, &testbed, Way { strategy, workers: None }, ANY_PORT).await?;
        let mut profile = requests(&mut session, &testbed.fixture, &service, &action, strategy, samples).await?;
        let tenant = first_tenant(&testbed.fixture)?;
        let database = testbed.fixture.server().admin_at(&tenant.login.database, testbed.address()).await?;
        let api = Target::resolve(&service.url(), false, None).await?.address();
        profile.distances = vec![distance::to_database(&database).await?, distance::to_api(api).await?];
        profile.findings.extend(profile.distances.iter().filter_map(distance::finding));
        service.stop().await?;
        look_into(&mut session, &mut testbed, &built, &action, strategy, &mut profile).await?;
        keep(&mut session, profile)
    };
    let measured = measured.await;
    session.finish(measured)
}

/// Where the time of an action's request goes, into the evidence.
pub async fn action(
    session: &mut Session,
    fixture: &Fixture,
    service: &Service,
    action: &str,
    strategy: Strategy,
    samples: usize,
) -> Result<()> {
    let profile = requests(session, fixture, service, action, strategy, samples).await?;
    keep(session, profile)
}

async fn requests(
    session: &mut Session,
    fixture: &Fixture,
    service: &Service,
    action: &str,
    strategy: Strategy,
    samples: usize,
) -> Result<Profile> {
    let Sending { name, target, mix } = Sending::action(fixture, fixture.tenants(), action, VARIETY, service).await?;
    // As the tenant, for whom row-level security holds, and without the distance: what the database itself takes.
    let client = fixture.server().client(&first_tenant(fixture)?.login).await?;
    let query = Some(Query { client, sql: query(fixture, action, strategy)? });
    let strategy_name = Some(strategy.to_string());
    let subject = Subject {
        name,
        strategy: strategy_name,
        target,
        mix,
        query,
        samples,
        network_ms: None,
        published: published()?,
    };
    measure(session, &step(strategy, action), subject).await
}

/// What the database is asked to do for requests, and how it does it.
async fn look_into(
    session: &mut Session,
    testbed: &mut Testbed,
    built: &Built,
    action: &str,
    strategy: Strategy,
    profile: &mut Profile,
) -> Result<()> {
    let counted = session.step(COUNT, count(testbed, built, action, strategy)).await?;
    let (work, remarks) = counted;
    profile.findings.extend(tare_profile::work_findings(&work, profile.request_ms.estimate));
    profile.work = Some(work);
    profile.remarks.extend(remarks);
    let explained = session.step(PLANS, explain(&testbed.fixture, action, strategy)).await?;
    profile.plans = explained.plans;
    profile.findings.extend(explained.findings);
    profile.remarks.extend(explained.remarks);
    Ok(())
}

/// Sends requests to a server of its own, whose statements are all counted, without a distance: counts do not depend on it.
async fn count(testbed: &mut Testbed, built: &Built, action: &str, strategy: Strategy) -> Result<(Work, Vec<String>)> {
    let relay = testbed.put_behind_relay(Network::LOOPBACK).await?;
    let fixture = &testbed.fixture;
    let admin = fixture.server().admin(fixture.server().maintenance_database()).await?;
    let scope = Scope { databases: fixture.databases(), ours: fixture.server().is_ours() };
    let mut count = Count::start(admin, scope).await?;
    let service = Service::start(&built.server, testbed, Way { strategy, workers: None }, ANY_PORT).await?;
    let tenants = &testbed.fixture.tenants()[..1];
    let sending = Sending::action(&testbed.fixture, tenants, action, 1, &service).await?;
    let mut connection = Connection::new(sending.target.clone());
    let mut send = async |from: u64, to: u64| {
        for nth in from..to {
            call(&sending.mix, &mut connection, nth, TIMEOUT).await.map_err(|reason| anyhow::anyhow!("{reason}"))?;
        }
        anyhow::Ok(())
    };
    send(0, WARMUP).await?;
    count.begin().await?;
    let before = relay.counts();
    send(WARMUP, WARMUP + COUNTED).await?;
    let passed = relay.counts().since(before);
    let (mut work, remarks) = count.end(COUNTED).await?;
    work.round_trips = Some(passed.round_trips_with_tcp());
    work.connections = Some(passed.connections);
    service.stop().await?;
    Ok((work, remarks))
}

/// The action's statements and their plans, as the first tenant's first user.
async fn explain(fixture: &Fixture, action: &str, strategy: Strategy) -> Result<tare_profile::Explained> {
    let login = &first_tenant(fixture)?.login;
    let (client, notices) = fixture.server().admin_with_notices(&login.database).await?;
    let mut database = tare_profile::Database::new(client, notices);
    let sql = query(fixture, action, strategy)?;
    Ok(tare_profile::explain(&mut database, &sql, Some(&login.role), true).await?)
}

fn first_tenant(fixture: &Fixture) -> Result<&TenantFixture> {
    fixture.tenants().first().context("the fixture has no tenant")
}

/// The action's query alone, as the first tenant's first user.
fn query(fixture: &Fixture, action: &str, strategy: Strategy) -> Result<String> {
    let tenant = first_tenant(fixture)?;
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
