//! relay: what the network that benches are put at does to a query itself. Without it, through it at no distance, and at 50 ms.

use benches::{Bed, Group};
use criterion::Criterion;
use tare_testbed::{Fixture, Relay, Size};
use tokio_postgres::Client;

fn main() {
    benches::run(Size::SMALL, relay);
}

fn relay(criterion: &mut Criterion, bed: &Bed) {
    let mut group = Group::new(criterion, bed, "relay");
    for (way, network) in [("without", None), ("at-0ms", Some("rtt=0ms")), ("at-50ms", Some("rtt=50ms"))] {
        let mut ready = None;
        group.criterion.bench_function(way, |bencher| {
            let (client, _relay) = ready.get_or_insert_with(|| {
                let fixture = bed.fixture();
                bed.runtime().block_on(connect(fixture, network))
            });
            bencher.to_async(&*bed.runtime()).iter(|| client.simple_query("select 1"));
        });
    }
    group.finish();
}

/// A connection, and the relay that it is by.
async fn connect(fixture: &Fixture, network: Option<&str>) -> (Client, Option<Relay>) {
    let server = fixture.server();
    let relay = match network {
        None => None,
        Some(network) => {
            let relay = Relay::start(server).await.expect("the relay listens");
            relay.stretch(network.parse().expect("a network")).await;
            Some(relay)
        }
    };
    let address = relay.as_ref().map_or_else(|| server.address(), Relay::address);
    let database = &fixture.tenants()[0].login.database;
    (server.admin_at(database, address).await.expect("the server answers"), relay)
}
