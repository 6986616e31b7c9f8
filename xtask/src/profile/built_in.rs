//! An action of the built-in server.

use std::time::Duration;

use anyhow::{Context, Result};
use tare_evidence::{Profile, Work};
use tare_gateway::Strategy;
use tare_gateway::action::{Call, Shape};
use tare_profile::{Count, Query, Scope, Subject, distance};
use tare_stress::{Connection, Target};
use tare_testbed::{Fixture, Network, Template, TenantFixture, Testbed};
use tokio_util::sync::CancellationToken;

use super::{COUNT, COUNTED, PLANS, add_plans, add_work, keep, measure, published, send, step, usual};
use crate::build::{self, BUILD, Built};
use crate::load::{Sending, VARIETY, warn_of_unused_token};
use crate::service::{Service, Way};
use crate::session::{Begin, POSTGRES, Session};
use crate::stress::ANY_PORT;
use crate::{Ending, cli};

/// Requests before counting, for pools and caches to be warm.
const WARMUP: u64 = 10;

/// What is taken apart.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub action: &'a str,
    pub strategy: Strategy,
    /// Requests to count.
    pub samples: usize,
}

/// Takes it apart as far as it goes.
pub async fn run(options: cli::Profile, stop: CancellationToken) -> Result<Ending> {
    warn_of_unused_token();
    let cli::Profile { of, subject, samples, format, postgres, judged, .. } = options;
    let (action, samples) = (of.unwrap_or(subject.action), samples as usize);
    Template::named(&action)?;
    let (strategy, network) = (subject.strategy, postgres.network);
    let asked = Asked { action: &action, strategy, samples };
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
        let service = Service::start(&built.server, &testbed, Way::of(strategy), ANY_PORT).await?;
        let mut profile = requests(&mut session, &testbed.fixture, &service, asked).await?;
        let tenant = first_tenant(&testbed.fixture)?;
        let database = testbed.fixture.server().admin_at(&tenant.login.database, testbed.address()).await?;
        let api = Target::resolve(&service.url(), false, None).await?.address();
        profile.distances = vec![distance::to_database(&database).await?, distance::to_api(api).await?];
        profile.findings.extend(profile.distances.iter().filter_map(distance::finding));
        service.stop().await?;
        let counted = session.step(COUNT, count(&mut testbed, &built, asked)).await?;
        add_work(&mut profile, counted);
        add_plans(&mut profile, session.step(PLANS, explain(&testbed.fixture, asked)).await?);
        keep(&mut session, profile)
    };
    let measured = measured.await;
    session.finish(measured)
}

/// Where the time of an action's request goes, into the evidence.
pub async fn action(session: &mut Session, fixture: &Fixture, service: &Service, asked: Asked<'_>) -> Result<()> {
    let profile = requests(session, fixture, service, asked).await?;
    keep(session, profile)
}

async fn requests(session: &mut Session, fixture: &Fixture, service: &Service, asked: Asked<'_>) -> Result<Profile> {
    let Asked { action, strategy, samples } = asked;
    let Sending { name, target, mix } = Sending::action(fixture, fixture.tenants(), action, VARIETY, service).await?;
    // As the tenant, for whom row-level security holds, and without the distance: what the database itself takes.
    let client = fixture.server().client(&first_tenant(fixture)?.login).await?;
    let query = Some(Query { client, sql: query(fixture, asked)? });
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

/// Sends requests to a server of its own, whose statements are all counted, without a distance: counts do not depend on it.
async fn count(testbed: &mut Testbed, built: &Built, asked: Asked<'_>) -> Result<(Work, Vec<String>)> {
    let way = Way::of(asked.strategy);
    let relay = testbed.put_behind_relay(Network::LOOPBACK).await?;
    let fixture = &testbed.fixture;
    let admin = fixture.server().admin(fixture.server().maintenance_database()).await?;
    let mut count = Count::start(admin, Scope::of(fixture)).await?;
    let service = Service::start(&built.server, testbed, way, ANY_PORT).await?;
    let sending = Sending::action(fixture, &fixture.tenants()[..1], asked.action, 1, &service).await?;
    let mut connection = Connection::new(sending.target.clone());
    send(&sending.mix, &mut connection, 0..WARMUP).await?;
    count.begin().await?;
    let before = relay.counts();
    send(&sending.mix, &mut connection, WARMUP..WARMUP + COUNTED).await?;
    let passed = relay.counts().since(before);
    let (mut work, remarks) = count.end(COUNTED).await?;
    work.round_trips = Some(passed.round_trips_with_tcp());
    work.connections = Some(passed.connections);
    service.stop().await?;
    Ok((work, remarks))
}

/// The action's statements and their plans, as the first tenant's first user.
async fn explain(fixture: &Fixture, asked: Asked<'_>) -> Result<tare_profile::Explained> {
    let login = &first_tenant(fixture)?.login;
    let (client, notices) = fixture.server().admin_with_notices(&login.database).await?;
    let mut database = tare_profile::Database::new(client, notices);
    let sql = query(fixture, asked)?;
    Ok(tare_profile::explain(&mut database, &sql, Some(&login.role), true).await?)
}

fn first_tenant(fixture: &Fixture) -> Result<&TenantFixture> {
    fixture.tenants().first().context("the fixture has no tenant")
}

/// The action's query alone, as the first tenant's first user.
fn query(fixture: &Fixture, Asked { action, strategy, .. }: Asked<'_>) -> Result<String> {
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
