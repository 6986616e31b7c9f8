//! What the relay counts and breaks: to the byte against an echo, to the round trip against PostgreSQL.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tare_testbed::{Counts, Fixture, Network, Relay, Server, Size};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A relay to a server that sends back what it is sent, on each connection until its end.
async fn relay_to_echo() -> Relay {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
                let _ = write.shutdown().await;
            });
        }
    });
    Relay::to(("127.0.0.1", port)).await.unwrap()
}

async fn connect(relay: &Relay) -> std::io::Result<TcpStream> {
    TcpStream::connect(relay.address()).await
}

async fn ask(client: &mut TcpStream, question: &[u8]) -> std::io::Result<()> {
    client.write_all(question).await?;
    let mut answer = vec![0; question.len()];
    client.read_exact(&mut answer).await?;
    assert_eq!(answer, question);
    Ok(())
}

/// What becomes of a connection that has been broken.
async fn outcome(client: &mut TcpStream) -> ErrorKind {
    client.read_u8().await.unwrap_err().kind()
}

async fn until(condition: impl Fn() -> bool) {
    let waiting = async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), waiting).await.expect("what is waited for comes about");
}

#[tokio::test]
async fn every_answer_is_a_round_trip_and_every_byte_counts() {
    let relay = relay_to_echo().await;
    let (mut one, mut other) = (connect(&relay).await.unwrap(), connect(&relay).await.unwrap());
    for trip in 1..=100 {
        ask(&mut one, b"abc").await.unwrap();
        assert_eq!(relay.counts().round_trips, trip);
    }
    ask(&mut other, b"abcd").await.unwrap();

    let expected = Counts { connections: 2, open: 2, round_trips: 101, bytes_up: 304, bytes_down: 304 };
    assert_eq!(relay.counts(), expected);
    assert_eq!(relay.counts().round_trips_with_tcp(), 103);
    let mut trips: Vec<_> = relay.connections().iter().map(|counts| (counts.round_trips, counts.bytes_up)).collect();
    trips.sort();
    assert_eq!(trips, [(1, 4), (100, 300)]);
    assert_eq!(relay.counts().since(expected), Counts { open: 2, ..Counts::default() });
}

#[tokio::test]
async fn an_answer_comes_no_sooner_than_the_distance_allows() {
    let relay = relay_to_echo().await;
    let mut near = connect(&relay).await.unwrap();
    let far = Duration::from_millis(20);
    relay.stretch(Network::at(far)).await;

    let asked = Instant::now();
    ask(&mut near, b"on a connection that was open").await.unwrap();
    assert!(asked.elapsed() >= far);

    let connecting = Instant::now();
    let mut new = connect(&relay).await.unwrap();
    let established = relay.established(new.local_addr().unwrap()).await.unwrap();
    assert!(established >= connecting + far, "TCP's handshake is a round trip, too");
    ask(&mut new, b"on a new connection").await.unwrap();
    assert!(connecting.elapsed() >= 2 * far);
    assert_eq!((relay.counts().round_trips, relay.counts().round_trips_with_tcp()), (2, 4));
    assert_eq!(relay.established("127.0.0.1:1".parse().unwrap()).await, None);
}

#[tokio::test]
async fn what_is_sent_without_waiting_travels_together_and_arrives_in_order() {
    let relay = relay_to_echo().await;
    let mut client = connect(&relay).await.unwrap();
    client.set_nodelay(true).unwrap();
    let network: Network = "rtt=100ms,jitter=80ms,bandwidth=1gbit".parse().unwrap();
    relay.stretch(network).await;
    let start = Instant::now();
    let said: Vec<u8> = (0..200).collect();
    let mut heard = Vec::new();
    let (mut read, mut write) = client.split();
    let speaking = async {
        for byte in &said {
            write.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        write.shutdown().await.unwrap();
    };
    let (_, all) = tokio::join!(speaking, read.read_to_end(&mut heard));
    all.unwrap();
    assert_eq!(heard, said);
    // One after the other they would take more than 4 s each way.
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_narrow_network_takes_its_time() {
    let relay = relay_to_echo().await;
    let mut client = connect(&relay).await.unwrap();
    relay.stretch("bandwidth=8mbit".parse().unwrap()).await;
    let start = Instant::now();
    ask(&mut client, &[7; 50_000]).await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(50), "50 kB at 1 MB/s");
}

#[tokio::test]
async fn the_end_of_one_direction_is_passed_on_and_the_other_goes_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = Relay::to(("127.0.0.1", listener.local_addr().unwrap().port())).await.unwrap();
    let mut client = connect(&relay).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();

    client.write_all(b"all I have to say").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = String::new();
    server.read_to_string(&mut heard).await.unwrap();
    assert_eq!(heard, "all I have to say");
    assert_eq!(relay.counts().open, 1);

    let long = vec![7; 1_000_000];
    let (said, answer) = tokio::join!(
        async {
            server.write_all(&long).await.unwrap();
            server.shutdown().await.unwrap();
        },
        async {
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.map(|_| answer)
        }
    );
    assert_eq!(((), &answer.unwrap()), (said, &long));
    until(|| relay.counts().open == 0).await;
    assert_eq!(relay.counts(), counted(1, 17, 1_000_000));
}

/// Of one connection that has ended.
fn counted(round_trips: u64, bytes_up: u64, bytes_down: u64) -> Counts {
    Counts { connections: 1, open: 0, round_trips, bytes_up, bytes_down }
}

#[tokio::test]
async fn a_reset_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = Relay::to(("127.0.0.1", listener.local_addr().unwrap().port())).await.unwrap();
    let client = connect(&relay).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();
    client.set_zero_linger().unwrap();
    drop(client);
    assert_eq!(outcome(&mut server).await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_server_that_is_not_there_resets_the_client() {
    let deaf = TcpSocket::new_v4().unwrap();
    deaf.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let relay = Relay::to(("127.0.0.1", deaf.local_addr().unwrap().port())).await.unwrap();
    let outcome = match connect(&relay).await {
        Ok(mut client) => outcome(&mut client).await,
        Err(reset_already) => reset_already.kind(),
    };
    assert_eq!(outcome, ErrorKind::ConnectionReset);
    assert_eq!(relay.counts(), counted(0, 0, 0));
}

#[tokio::test]
async fn two_hundred_connections_are_served_at_once() {
    let relay = relay_to_echo().await;
    let mut clients: Vec<_> = join_all((0..200).map(|_| async { connect(&relay).await.unwrap() })).await;
    join_all(clients.iter_mut().map(|client| async { ask(client, b"here").await.unwrap() })).await;
    assert_eq!(
        relay.counts(),
        Counts { connections: 200, open: 200, round_trips: 200, bytes_up: 800, bytes_down: 800 }
    );
    assert!(relay.connections().iter().all(|counts| counts.round_trips == 1));

    relay.drop_connections().await;
    assert_eq!(relay.counts().open, 0);
    for client in &mut clients {
        assert_eq!(outcome(client).await, ErrorKind::ConnectionReset);
    }
}

#[tokio::test]
async fn refused_connections_are_reset_and_new_ones_not_taken_until_recovered() {
    let relay = relay_to_echo().await;
    let address = relay.address();
    let (mut spoke, mut silent) = (connect(&relay).await.unwrap(), connect(&relay).await.unwrap());
    ask(&mut spoke, b"hello").await.unwrap();

    relay.refuse().await;
    assert_eq!(connect(&relay).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert_eq!(outcome(&mut spoke).await, ErrorKind::ConnectionReset);
    assert_eq!(outcome(&mut silent).await, ErrorKind::ConnectionReset);
    assert_eq!(relay.counts().open, 0);

    relay.recover().await.unwrap();
    assert_eq!(relay.address(), address);
    ask(&mut connect(&relay).await.unwrap(), b"again").await.unwrap();
}

#[tokio::test]
async fn dropped_connections_are_reset_and_new_ones_served() {
    let relay = relay_to_echo().await;
    let (mut spoke, mut silent) = (connect(&relay).await.unwrap(), connect(&relay).await.unwrap());
    ask(&mut spoke, b"hello").await.unwrap();

    relay.drop_connections().await;
    assert_eq!(outcome(&mut spoke).await, ErrorKind::ConnectionReset);
    assert_eq!(outcome(&mut silent).await, ErrorKind::ConnectionReset);
    ask(&mut connect(&relay).await.unwrap(), b"again").await.unwrap();
    assert_eq!((relay.counts().connections, relay.counts().open), (3, 1));
}

#[tokio::test]
async fn a_stalled_relay_passes_nothing_on_until_recovered() {
    let relay = relay_to_echo().await;
    let mut old = connect(&relay).await.unwrap();
    ask(&mut old, b"hello").await.unwrap();

    relay.stall().await;
    let mut new = connect(&relay).await.unwrap();
    let before = relay.counts();
    old.write_all(b"one").await.unwrap();
    new.write_all(b"two").await.unwrap();
    for _ in 0..100 {
        // An order takes the relay's thread through all that it could do.
        relay.stall().await;
    }
    let Counts { round_trips, bytes_up, bytes_down, .. } = relay.counts().since(before);
    assert_eq!((round_trips, bytes_up, bytes_down), (0, 0, 0));
    assert_eq!(old.try_read(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);

    relay.recover().await.unwrap();
    for (client, waiting) in [(&mut old, b"one"), (&mut new, b"two")] {
        let mut answer = [0; 3];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, waiting);
    }
    assert_eq!(relay.counts().open, 2);

    // Stalled connections can be broken too.
    relay.stall().await;
    relay.drop_connections().await;
    assert_eq!(outcome(&mut old).await, ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_connection_is_cut_after_so_many_bytes_in_the_middle_of_what_is_said() {
    let relay = relay_to_echo().await;
    let mut open = connect(&relay).await.unwrap();
    ask(&mut open, &[1; 100]).await.unwrap();
    relay.cut_after(60).await;
    ask(&mut open, &[2; 50]).await.unwrap();
    open.write_all(&[3; 20]).await.unwrap();
    let mut said = Vec::new();
    assert_eq!(open.read_to_end(&mut said).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert!(said.len() <= 10, "{} bytes were passed on, of which 10 may be", said.len());

    let mut new = connect(&relay).await.unwrap();
    new.write_all(&[4; 61]).await.unwrap();
    while new.read_u8().await.is_ok() {}
    relay.recover().await.unwrap();
    ask(&mut connect(&relay).await.unwrap(), &[5; 200]).await.unwrap();
}

#[tokio::test]
async fn nothing_is_left_of_a_relay_that_is_dropped() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = Relay::to(("127.0.0.1", listener.local_addr().unwrap().port())).await.unwrap();
    let address = relay.address();
    let mut client = connect(&relay).await.unwrap();
    let (mut server, _) = listener.accept().await.unwrap();

    drop(relay);
    assert!(client.read_u8().await.is_err());
    assert!(server.read_u8().await.is_err());
    assert_eq!(TcpStream::connect(&address).await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    TcpListener::bind(&address).await.expect("the port is free");
}

async fn fixture() -> Fixture {
    Fixture::create(Server::shared().await.unwrap(), Size::SMALL).await.unwrap()
}

async fn postgres(config: &Config, server: &Server) -> Client {
    match config.get_ssl_mode() {
        SslMode::Disable => {
            let (client, connection) = config.connect(NoTls).await.unwrap();
            tokio::spawn(connection);
            client
        }
        _ => {
            let tls = MakeRustlsConnect::new(tare_tls::client(server.root_certificate()).unwrap());
            let (client, connection) = config.connect(tls).await.unwrap();
            tokio::spawn(connection);
            client
        }
    }
}

/// Trips that TLS costs besides its one, as the server knows no curve the client offers a key for unasked.
async fn retries(fixture: &Fixture) -> u64 {
    let server = fixture.server();
    let admin = server.admin(&fixture.control().database).await.unwrap();
    let curves = "select setting from pg_settings where name in ('ssl_ecdh_curve', 'ssl_groups')";
    let known: String = admin.query_one(curves, &[]).await.unwrap().get(0);
    let known = known.to_lowercase().replace("prime256v1", "secp256r1");
    let client = tare_tls::client(server.root_certificate()).unwrap();
    let offered = format!("{:?}", client.crypto_provider().kx_groups[0].name()).to_lowercase();
    u64::from(!known.split(':').any(|curve| curve == offered))
}

#[tokio::test]
async fn a_connection_costs_the_round_trips_of_its_handshakes() {
    let fixture = fixture().await;
    let server = fixture.server();
    let relay = Relay::start(server).await.unwrap();
    assert_eq!(relay.counts(), Counts::default(), "starting it is not counted");

    let mut plain = fixture.control().config_at(server, relay.address());
    let _client = postgres(plain.ssl_mode(SslMode::Disable), server).await;
    // TCP; the startup message; two of SCRAM.
    assert_eq!(relay.counts().round_trips_with_tcp(), 4);

    if server.has_tls() {
        let before = relay.counts();
        let _client = postgres(&fixture.control().config_at(server, relay.address()), server).await;
        // The request for TLS and TLS 1.3 itself come on top.
        assert_eq!(relay.counts().since(before).round_trips_with_tcp(), 6 + retries(&fixture).await);
        let url = fixture.control().url_at(server, relay.address());
        let _client = postgres(&url.parse().unwrap(), server).await;
        assert_eq!(relay.counts().open, 3);
    }
}

#[tokio::test]
async fn queries_cost_the_round_trips_they_are_known_for() {
    let fixture = fixture().await;
    let server = fixture.server();
    let relay = Relay::start(server).await.unwrap();
    let login = &fixture.tenants()[0].login;
    let mut plain = login.config_at(server, relay.address());
    for config in [&login.config_at(server, relay.address()), plain.ssl_mode(SslMode::Disable)] {
        let client = postgres(config, server).await;
        let one = client.prepare("select 1").await.unwrap();
        let two = client.prepare("select 2").await.unwrap();

        let before = relay.counts();
        client.simple_query("select 1").await.unwrap();
        let simple = relay.counts().since(before);
        assert_eq!(simple.round_trips, 1);
        assert!(simple.bytes_up > 0 && simple.bytes_down > 0, "{simple:?}");

        let before = relay.counts();
        let (first, second) = tokio::join!(client.query_one(&one, &[]), client.query_one(&two, &[]));
        assert_eq!((first.unwrap().get(0), second.unwrap().get(0)), (1, 2));
        assert_eq!(relay.counts().since(before).round_trips, 1, "in one join!");

        let before = relay.counts();
        let row = client.query_one("select 1", &[]).await.unwrap();
        // Once the row is gone the statement is closed, which is a trip that nobody waits for.
        assert_eq!(relay.counts().since(before).round_trips, 2, "prepared, then executed");
        drop(row);
    }
}

#[tokio::test]
async fn the_gateway_is_routed_through_a_relay() {
    let fixture = fixture().await;
    let server = fixture.server();
    let relay = Relay::start(server).await.unwrap();
    fixture.route_through(relay.address()).await.unwrap();

    let control = postgres(&fixture.control().config(server), server).await;
    let rows = control.query("select host, port, dbname, login, password from control.tenants", &[]).await.unwrap();
    assert_eq!(rows.len(), fixture.tenants().len());
    for row in rows {
        let mut config = Config::new();
        config.host(row.get::<_, &str>(0)).port(row.get::<_, i32>(1).try_into().unwrap());
        config.dbname(row.get::<_, &str>(2)).user(row.get::<_, &str>(3)).password(row.get::<_, &str>(4));
        config.ssl_mode(fixture.control().config(server).get_ssl_mode());
        postgres(&config, server).await.simple_query("select from app.parts limit 1").await.unwrap();
    }
    assert_eq!(relay.counts().connections, fixture.tenants().len() as u64);
}
