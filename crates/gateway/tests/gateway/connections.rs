//! Pools under one budget.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tare_gateway::connection::{CloseReason, Connections, Database, PoolSettings};
use tare_gateway::{Busy, Error};
use tare_testbed::{Fixture, Relay, Size};
use uuid::Uuid;

use crate::bed::{eventually, fixture};

fn connections(fixture: &Fixture, settings: PoolSettings) -> Connections {
    let tls = tare_tls::client(fixture.server().root_certificate()).unwrap();
    Connections::new(true, tls, settings)
}

/// The database of one of the fixture's tenants.
fn database(fixture: &Fixture, tenant: usize) -> Database {
    Database::new(fixture.tenants()[tenant].login.config(fixture.server()))
}

fn closed(connections: &Connections, reason: CloseReason) -> u64 {
    connections.metrics().unwrap().closed[reason as usize]
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_tenants_share_twenty_connections() {
    const TENANTS: usize = 200;
    const ROUNDS: usize = 3;
    let fixture = Arc::new(fixture(Size::SMALL).await);
    let settings = PoolSettings {
        budget: 20,
        openings_per_second: 100_000,
        wait: Duration::from_secs(60),
        ..PoolSettings::default()
    };
    let connections = Arc::new(connections(&fixture, settings));
    let databases: Vec<_> = (0..2).map(|tenant| database(&fixture, tenant)).collect();
    let (next, done) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));

    let watching = tokio::spawn({
        let (fixture, done) = (fixture.clone(), done.clone());
        async move {
            let mut most = 0;
            while !done.load(Ordering::Relaxed) {
                most = most.max(fixture.server().connections(&fixture).await.unwrap());
            }
            most
        }
    });
    let callers = (0..64).map(|_| {
        let (connections, databases, next) = (connections.clone(), databases.clone(), next.clone());
        tokio::spawn(async move {
            let mut served: HashMap<usize, usize> = HashMap::new();
            loop {
                let nth = next.fetch_add(1, Ordering::Relaxed);
                if nth >= TENANTS * ROUNDS {
                    return served;
                }
                let tenant = nth % TENANTS;
                let id = Uuid::from_u128(tenant as u128 + 1);
                let connection = connections.get(id, &databases[tenant % 2]).await.unwrap();
                connection.simple_query("select 1").await.unwrap();
                *served.entry(tenant).or_default() += 1;
            }
        })
    });
    let mut served: HashMap<usize, usize> = HashMap::new();
    for caller in join_all(callers).await {
        caller.unwrap().into_iter().for_each(|(tenant, times)| *served.entry(tenant).or_default() += times);
    }
    done.store(true, Ordering::Relaxed);
    let most = watching.await.unwrap();
    assert_eq!((served.len(), served.values().sum::<usize>()), (TENANTS, TENANTS * ROUNDS));
    assert!((1..=20).contains(&most), "{most} connections were on the server at a time");
    assert!(closed(&connections, CloseReason::GivenWay) >= 180, "{:?}", connections.metrics());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_goes_on_being_opened_when_its_request_goes_away() {
    let fixture = fixture(Size::SMALL).await;
    let (connections, database) = (connections(&fixture, PoolSettings::default()), database(&fixture, 0));
    let id = Uuid::from_u128(1);
    {
        let mut get = std::pin::pin!(connections.get(id, &database));
        let polled = futures_util::poll!(get.as_mut());
        assert!(polled.is_pending());
    }
    eventually("it is opened, and kept", async || connections.metrics().unwrap().idle == 1).await;
    let _connection = connections.get(id, &database).await.unwrap();
    let metrics = connections.metrics().unwrap();
    assert_eq!((metrics.opened, metrics.size, metrics.idle), (1, 1, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_finds_the_queue_full_or_waits_too_long_is_told_so() {
    let fixture = fixture(Size::SMALL).await;
    let settings = PoolSettings { cap: 1, queue: 1, wait: Duration::from_millis(100), ..PoolSettings::default() };
    let (connections, database) = (connections(&fixture, settings), database(&fixture, 0));
    let id = Uuid::from_u128(1);
    let mut taken = None;
    eventually("the only connection is opened", async || {
        taken = connections.get(id, &database).await.ok();
        taken.is_some()
    })
    .await;
    let (waits, refused) = tokio::join!(biased; connections.get(id, &database), connections.get(id, &database));
    let busy = |got: Result<_, Error>| match got {
        Err(Error::Busy(busy)) => busy,
        other => panic!("{:?}", other.err()),
    };
    assert_eq!(busy(waits), Busy::TimedOut(settings.wait));
    assert_eq!(busy(refused), Busy::QueueFull(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_of_another_tenant_makes_room_the_one_used_longest_ago() {
    let fixture = fixture(Size::SMALL).await;
    let settings = PoolSettings { budget: 2, ..PoolSettings::default() };
    let (connections, database) = (connections(&fixture, settings), database(&fixture, 0));
    let use_once = async |tenant: u128| drop(connections.get(Uuid::from_u128(tenant), &database).await.unwrap());
    for tenant in [1, 2, 1, 3] {
        use_once(tenant).await;
    }
    assert_eq!(closed(&connections, CloseReason::GivenWay), 1);
    let opened = connections.metrics().unwrap().opened;
    use_once(1).await;
    use_once(3).await;
    assert_eq!(connections.metrics().unwrap().opened, opened, "the second tenant's was closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_broke_while_idle_is_noticed_before_it_is_used() {
    let fixture = fixture(Size::SMALL).await;
    let relay = Relay::start(fixture.server()).await.unwrap();
    let login = &fixture.tenants()[0].login;
    let database = Database::new(login.config_at(fixture.server(), relay.address()));
    let checked = PoolSettings { check_after: Duration::ZERO, ..PoolSettings::default() };
    let connections = connections(&fixture, checked);
    let id = Uuid::from_u128(1);
    drop(connections.get(id, &database).await.unwrap());
    relay.drop_connections().await;
    let connection = connections.get(id, &database).await.unwrap();
    connection.simple_query("select 1").await.unwrap();
    drop(connection);
    assert_eq!(closed(&connections, CloseReason::Broken), 1);

    let before = relay.counts();
    drop(connections.get(id, &database).await.unwrap());
    assert_eq!(relay.counts().since(before).round_trips, 1, "the check");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_used_a_moment_ago_costs_no_round_trip() {
    let fixture = fixture(Size::SMALL).await;
    let relay = Relay::start(fixture.server()).await.unwrap();
    let database = Database::new(fixture.tenants()[0].login.config_at(fixture.server(), relay.address()));
    let connections = connections(&fixture, PoolSettings::default());
    let id = Uuid::from_u128(1);
    drop(connections.get(id, &database).await.unwrap());
    let before = relay.counts();
    for _ in 0..100 {
        drop(connections.get(id, &database).await.unwrap());
    }
    let counts = relay.counts().since(before);
    assert_eq!((counts.round_trips, counts.connections), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_and_pools_end_when_their_time_is_over() {
    let fixture = fixture(Size::SMALL).await;
    let database = database(&fixture, 0);
    let id = Uuid::from_u128(1);
    let aged = PoolSettings { lifetime: Duration::from_millis(1), ..PoolSettings::default() };
    let aging = connections(&fixture, aged);
    drop(aging.get(id, &database).await.unwrap());
    eventually("its lifetime is over", async || closed(&aging, CloseReason::Expired) > 0).await;

    let unused = PoolSettings { unused: Duration::from_millis(1), ..PoolSettings::default() };
    let forgetting = connections(&fixture, unused);
    drop(forgetting.get(id, &database).await.unwrap());
    eventually("the pool is forgotten", async || forgetting.metrics().unwrap().pools == 0).await;
    let settled = async || fixture.server().connections(&fixture).await.unwrap() == 1;
    aging.close();
    eventually("and its connection closed", async || settled().await || forgetting.metrics().unwrap().size == 0).await;

    let idle = PoolSettings { idle: Duration::from_millis(1), floor: 0, ..PoolSettings::default() };
    let resting = connections(&fixture, idle);
    drop(resting.get(id, &database).await.unwrap());
    eventually("it was idle for long", async || closed(&resting, CloseReason::Idle) == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_reached_is_told_and_costs_no_place_in_the_budget() {
    let fixture = fixture(Size::SMALL).await;
    let relay = Relay::start(fixture.server()).await.unwrap();
    let database = Database::new(fixture.tenants()[0].login.config_at(fixture.server(), relay.address()));
    let connections = connections(&fixture, PoolSettings { budget: 1, ..PoolSettings::default() });
    let get = async || connections.get(Uuid::from_u128(1), &database).await;
    relay.refuse().await;
    for _ in 0..3 {
        let error = get().await.err().unwrap();
        assert!(matches!(error, Error::Unreachable(_)), "{error:?}");
        assert_eq!((error.status(), error.retry_after()), (503, Some(1)));
    }
    relay.recover().await.unwrap();
    assert!(get().await.is_ok());
    assert_eq!(connections.metrics().unwrap().failed, 3);
}

/// PostgreSQL 17 knows TLS without asking for it first; what is on the wire is the same for every version.
#[tokio::test(flavor = "multi_thread")]
async fn tls_is_begun_at_once_where_the_configuration_says_so() {
    use tokio::io::AsyncReadExt;
    let fixture = fixture(Size::SMALL).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut config = fixture.tenants()[0].login.config_at(fixture.server(), ("127.0.0.1".into(), address.port()));
    config.ssl_mode(tokio_postgres::config::SslMode::Require);
    config.ssl_negotiation(tokio_postgres::config::SslNegotiation::Direct);
    let (connections, database) = (connections(&fixture, PoolSettings::default()), Database::new(config));
    let getting = tokio::spawn(async move { connections.get(Uuid::from_u128(1), &database).await.map(drop) });
    let mut hello = vec![0; 4096];
    let (mut stream, _) = listener.accept().await.unwrap();
    let read = stream.read(&mut hello).await.unwrap();
    assert_eq!(hello[0], 0x16, "a TLS handshake");
    assert!(hello[..read].windows(10).any(|window| window == b"postgresql"), "with the protocol named in it");
    drop(stream);
    assert!(getting.await.unwrap().is_err());
}
