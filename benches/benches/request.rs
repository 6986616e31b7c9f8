//! request: the whole way through the gateway, with no fix and with all.

use std::time::Instant;

use benches::Bed;
use criterion::Criterion;
use tare_gateway::{Attributes, Strategy};
use tare_testbed::Size;

fn main() {
    benches::run(Size::DEFAULT, request);
}

fn request(criterion: &mut Criterion, bed: &Bed) {
    let mut group = criterion.benchmark_group("request");
    for strategy in [Strategy::BEFORE, Strategy::AFTER] {
        let (mut ready, mut done) = (None, 0);
        group.bench_function(strategy.to_string(), |bencher| {
            let (gateway, requests, _) = ready.get_or_insert_with(|| {
                (bed.gateway(strategy), bed.requests("view_part_details"), bed.rows("app.audit_log"))
            });
            bencher.iter_custom(|iterations| {
                bed.runtime().block_on(async {
                    let start = Instant::now();
                    for nth in done..done + iterations {
                        let request = &requests[nth as usize % requests.len()];
                        let reply =
                            gateway.execute(&request.token, request.body.as_bytes(), Attributes::default()).await;
                        assert!(!reply.result.expect("the request is answered").is_empty());
                    }
                    done += iterations;
                    start.elapsed()
                })
            });
        });
        if let Some((gateway, _, before)) = ready {
            bed.runtime().block_on(gateway.close());
            assert_eq!(bed.rows("app.audit_log") - before, done, "one audit row for each request");
            drop(gateway);
            bed.expect_connections(0);
            bed.set_indexes(true);
        }
    }
    group.finish();
}
