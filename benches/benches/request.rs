//! request: the whole way through the gateway, with no fix, with each alone, and with all.

use benches::{Bed, Group};
use criterion::Criterion;
use tare_gateway::{Attributes, Fix, Gateway, Strategy};
use tare_testbed::{Prepared, Size};

fn main() {
    benches::run(Size::DEFAULT, requests);
}

fn requests(criterion: &mut Criterion, bed: &Bed) {
    let mut group = Group::new(criterion, bed, "request");
    for strategy in ["before", "pooling", "tenant-cache", "async-audit", "after"] {
        measure(&mut group, bed, strategy, strategy, "view_part_details");
    }
    // Of a list, the indexes and the query are what matters.
    for strategy in ["before", "indexes", "query"] {
        measure(&mut group, bed, &format!("{strategy}-list_parts"), strategy, "list_parts");
    }
    group.finish();
}

/// What a way is measured on.
struct Ready {
    gateway: Gateway,
    requests: Vec<Prepared>,
    sent: usize,
    /// Rows of the audit logs before.
    rows: u64,
}

impl Ready {
    async fn send(&mut self) {
        let request = &self.requests[self.sent % self.requests.len()];
        self.sent += 1;
        let reply = self.gateway.execute(&request.token, request.body.as_bytes(), Attributes::default()).await;
        assert!(!reply.result.expect("the request is answered").is_empty());
    }
}

/// Those who send requests, in turn.
fn users(bed: &Bed) -> usize {
    bed.fixture().tenants().iter().map(|tenant| tenant.crew.len()).sum()
}

fn measure(group: &mut Group<'_>, bed: &Bed, way: &str, strategy: &str, action: &str) {
    let strategy: Strategy = strategy.parse().expect("a strategy");
    let prepare = || {
        let (gateway, requests, rows) = (bed.gateway(strategy), bed.requests(action), bed.rows("app.audit_log"));
        let mut ready = Ready { gateway, requests, sent: 0, rows };
        // What is kept has to be there first: the pool of each tenant, and each user's tenant.
        if strategy.has(Fix::Pooling) || strategy.has(Fix::TenantCache) {
            bed.runtime().block_on(async {
                for _ in 0..users(bed) {
                    ready.send().await;
                }
            });
        }
        ready
    };
    let send = async |ready: &mut Ready, iterations, meter: &mut benches::Meter<'_>| {
        meter.start();
        for _ in 0..iterations {
            ready.send().await;
        }
        meter.stop();
        // What a queue writes later is neither waited for nor counted.
        ready.gateway.flush().await;
    };
    let check = |ready: Ready, _| {
        bed.runtime().block_on(ready.gateway.close());
        assert_eq!(bed.rows("app.audit_log") - ready.rows, ready.sent as u64, "one audit row for each request");
        drop(ready.gateway);
        bed.expect_connections(0);
    };
    group.measured(way, prepare, send, check);
}
