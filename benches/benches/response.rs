//! response: rows made into JSON here, or JSON that the database wrote passed on; and what telling `Server-Timing` costs.

use std::hint::black_box;

use benches::{Bed, Group};
use criterion::Criterion;
use tare_gateway::action::{self, Action, Outcome, Record, Request, Shape};
use tare_gateway::{Component, Timings, response};
use tare_testbed::Size;

fn main() {
    benches::run(Size::SMALL, responses);
}

fn responses(criterion: &mut Criterion, bed: &Bed) {
    let mut group = Group::new(criterion, bed, "response");
    for way in ["typed", "passed-on"] {
        group.offline(
            way,
            || outcome(bed, way),
            |outcome| {
                black_box(response::body(Action::ViewPartDetails, black_box(outcome)));
            },
        );
    }
    // What it costs to know where a request's time went, and to tell.
    group.offline(
        "timings",
        || (),
        |()| {
            let mut timings = Timings::default();
            for component in Component::ALL {
                timings.time(component, || black_box(()));
            }
            black_box(timings.server_timing());
        },
    );
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
    let outcome = outcome.expect("the action is done");
    assert_eq!(way == "passed-on", matches!(outcome, Outcome::Json(_)));
    outcome
}
