//! response: rows made into JSON here, or JSON that the database wrote passed on.

use std::hint::black_box;

use benches::Bed;
use criterion::Criterion;
use tare_gateway::action::{self, Action, Outcome, Record, Request, Shape};
use tare_gateway::response;
use tare_testbed::Size;

fn main() {
    benches::run(Size::SMALL, responses);
}

fn responses(criterion: &mut Criterion, bed: &Bed) {
    let mut group = criterion.benchmark_group("response");
    for way in ["typed", "passed-on"] {
        let mut ready = None;
        group.bench_function(way, |bencher| {
            let outcome = ready.get_or_insert_with(|| outcome(bed, way));
            bencher.iter(|| response::body(Action::ViewPartDetails, black_box(outcome)));
        });
        if let Some(outcome) = ready {
            assert_eq!(way == "passed-on", matches!(outcome, Outcome::Json(_)));
        }
    }
    group.finish();
}

/// What a real database answered.
fn outcome(bed: &Bed, way: &str) -> Outcome {
    let (caller, (tenant, mut connection), calls) = (bed.caller(), bed.tenant(), bed.calls("view_part_details"));
    let request =
        Request { caller: &caller, tenant: &tenant, call: &calls[0], shape: Shape::ByKey, record: Record::Apart };
    let outcome = bed.runtime().block_on(async {
        match way {
            "typed" => action::statements(&mut connection, &request).await,
            _ => action::one_call(&connection, &request).await,
        }
    });
    outcome.expect("the action is done")
}
