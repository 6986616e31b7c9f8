//! action: statement by statement, or in one call. Both on a kept connection, so that the action alone differs.

use std::time::Instant;

use benches::Bed;
use criterion::Criterion;
use tare_gateway::action::{self, Action};
use tare_testbed::Size;

fn main() {
    benches::run(Size::DEFAULT, actions);
}

fn actions(criterion: &mut Criterion, bed: &Bed) {
    let mut group = criterion.benchmark_group("action");
    for name in Action::ALL.map(Action::name) {
        for way in ["statements", "one-call"] {
            let (mut ready, mut done) = (None, 0);
            group.bench_function(format!("{name}-{way}"), |bencher| {
                let (caller, tenant, connection, calls, _) = ready.get_or_insert_with(|| {
                    let (tenant, connection) = bed.tenant();
                    (bed.caller(), tenant, connection, bed.calls(name), bed.rows("app.stock_movements"))
                });
                bencher.iter_custom(|iterations| {
                    bed.runtime().block_on(async {
                        let start = Instant::now();
                        for nth in done..done + iterations {
                            let call = &calls[nth as usize % calls.len()];
                            let outcome = match way {
                                "statements" => action::statements(connection, caller, tenant, call).await,
                                _ => action::one_call(connection, caller, tenant, call, None).await,
                            };
                            outcome.expect("the action is done");
                        }
                        done += iterations;
                        start.elapsed()
                    })
                });
            });
            if let Some((.., calls, before)) = ready {
                let expected = if calls[0].action().mutates() { done } else { 0 };
                assert_eq!(bed.rows("app.stock_movements") - before, expected, "one movement for each change of stock");
            }
        }
    }
    group.finish();
}
