//! audit: a row written and awaited, or handed to the queue; and the queue's rows, until they are in their table.

use std::time::{Duration, Instant};

use benches::{AUDIT_CAPACITY, Bed};
use criterion::Criterion;
use tare_gateway::audit::{Audit, Event, Trail};
use tare_testbed::Size;
use uuid::Uuid;

/// Events recorded before the queue is let run empty: what is measured is handing over, not waiting for room.
const CHUNK: usize = AUDIT_CAPACITY / 2;

fn main() {
    benches::run(Size::SMALL, audit);
}

fn audit(criterion: &mut Criterion, bed: &Bed) {
    let mut group = criterion.benchmark_group("audit");
    // The last is the time of one row when many are recorded and then waited for together.
    let ways =
        [("sync", None, false), ("async", Some(AUDIT_CAPACITY), false), ("async-drained", Some(AUDIT_CAPACITY), true)];
    for (way, capacity, until_drained) in ways {
        let (mut ready, mut recorded) = (None, 0);
        group.bench_function(way, |bencher| {
            let (audit, caller, tenant, connection, calls, _) = ready.get_or_insert_with(|| {
                let _within = bed.runtime().enter();
                let audit = Audit::new(capacity, bed.connections(true));
                let (tenant, connection) = bed.tenant();
                (audit, bed.caller(), tenant, connection, bed.calls("view_part_details"), bed.rows("app.audit_log"))
            });
            bencher.iter_custom(|iterations| {
                recorded += iterations;
                bed.runtime().block_on(async {
                    let (mut time, mut left) = (Duration::ZERO, iterations as usize);
                    while left > 0 {
                        let chunk = left.min(CHUNK);
                        left -= chunk;
                        let event = |nth| {
                            let call = &calls[nth % calls.len()];
                            Event::new(Uuid::now_v7(), *caller, tenant.clone(), call, Trail::Done)
                        };
                        let events: Vec<_> = (0..chunk).map(event).collect();
                        let start = Instant::now();
                        for event in events {
                            audit.record(connection, event).await.expect("the event is recorded");
                        }
                        if until_drained {
                            audit.flush().await;
                        }
                        time += start.elapsed();
                        audit.flush().await;
                    }
                    time
                })
            });
        });
        if let Some((audit, .., before)) = ready {
            bed.runtime().block_on(audit.close());
            assert_eq!(bed.rows("app.audit_log") - before, recorded, "one row for each event recorded");
        }
    }
    group.finish();
}
