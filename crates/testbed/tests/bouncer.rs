//! PgBouncer in front of the fixture, where it is installed.

use tare_testbed::{Bouncer, Fixture, Login, Server, Size};
use tokio::net::TcpStream;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

/// Where this is set, a PgBouncer that is not installed fails the tests.
const REQUIRED: &str = "TARE_REQUIRE_BOUNCER";

async fn start(pool_size: u32) -> Option<(Fixture, Bouncer)> {
    let fixture = Fixture::create(Server::shared().await.unwrap(), Size::SMALL).await.unwrap();
    let bouncer = Bouncer::start(&fixture, pool_size, &|line| eprintln!("{line}")).await.unwrap();
    assert!(bouncer.is_some() || std::env::var_os(REQUIRED).is_none(), "{REQUIRED} is set");
    bouncer.map(|bouncer| (fixture, bouncer))
}

async fn connect(fixture: &Fixture, bouncer: &Bouncer, login: &Login) -> Client {
    let config = bouncer.config(login);
    // The same way in as a URL.
    assert_eq!(config, bouncer.url(login).parse().unwrap());
    if config.get_ssl_mode() == tokio_postgres::config::SslMode::Disable {
        let (client, connection) = config.connect(NoTls).await.unwrap();
        tokio::spawn(connection);
        return client;
    }
    let tls = MakeRustlsConnect::new(tare_tls::client(fixture.server().root_certificate()).unwrap());
    let (client, connection) = config.connect(tls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn ask(client: &Client, sql: &str) -> String {
    let answer = client.simple_query(sql).await.unwrap();
    let row = answer.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    row.expect("a value").to_owned()
}

#[tokio::test]
async fn every_login_of_the_fixture_gets_through() {
    let Some((fixture, bouncer)) = start(2).await else { return };
    let logins = fixture.tenants().iter().map(|tenant| &tenant.login).chain([fixture.control()]);
    for login in logins {
        let client = connect(&fixture, &bouncer, login).await;
        assert_eq!(ask(&client, "select 1").await, "1");
        assert_eq!(ask(&client, "select current_user").await, login.role);
        let encrypted = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
        assert_eq!(ask(&client, encrypted).await == "t", fixture.server().has_tls());
    }
}

#[tokio::test]
async fn clients_take_turns_with_one_server_connection() {
    let Some((fixture, bouncer)) = start(1).await else { return };
    let login = &fixture.tenants()[0].login;
    let (one, other) = (connect(&fixture, &bouncer, login).await, connect(&fixture, &bouncer, login).await);
    let backend = "select pg_backend_pid()";
    let shared = ask(&one, backend).await;
    assert_eq!(ask(&other, backend).await, shared);

    // A transaction has it to itself: what the other asks meanwhile is answered after the commit.
    one.simple_query("begin").await.unwrap();
    let order = std::sync::Mutex::new(Vec::new());
    tokio::join!(
        async {
            assert_eq!(ask(&other, backend).await, shared);
            order.lock().unwrap().push("asked");
        },
        async {
            assert_eq!(ask(&one, backend).await, shared);
            order.lock().unwrap().push("committing");
            one.simple_query("commit").await.unwrap();
        }
    );
    assert_eq!(*order.lock().unwrap(), ["committing", "asked"]);
}

#[tokio::test]
async fn nothing_is_left_of_one_that_is_dropped() {
    let Some((fixture, bouncer)) = start(1).await else { return };
    let address = bouncer.address();
    let client = connect(&fixture, &bouncer, fixture.control()).await;
    drop(bouncer);
    client.simple_query("select 1").await.unwrap_err();
    assert!(TcpStream::connect(address).await.is_err());
}
