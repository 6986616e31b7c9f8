//! action: statement by statement, or in one call; a list besides in both its shapes, and without and with its index. All on a
//! kept connection, so that the action alone differs. And a read that is remembered, which needs none.

use std::sync::Arc;
use std::time::Duration;

use benches::{Bed, Group};
use criterion::Criterion;
use tare_gateway::action::{self, Action, Call, Outcome, Record, Request, Shape};
use tare_gateway::auth::Caller;
use tare_gateway::connection::Connection;
use tare_gateway::reads::{ReadSettings, Reads};
use tare_gateway::response;
use tare_gateway::tenant::Tenant;
use tare_testbed::Size;

/// One way of doing an action.
struct Way {
    action: Action,
    /// What is told apart: the id is `<action>-<this>`.
    name: &'static str,
    one_call: bool,
    shape: Shape,
    indexed: bool,
}

const fn way(action: Action, name: &'static str, one_call: bool, shape: Shape, indexed: bool) -> Way {
    Way { action, name, one_call, shape, indexed }
}

/// Statement by statement, round trips hide what the index is worth; so it is told in one call.
const LIST_WAYS: [Way; 6] = [
    way(Action::ListParts, "by-offset-statements", false, Shape::ByOffset, true),
    way(Action::ListParts, "by-key-statements", false, Shape::ByKey, true),
    way(Action::ListParts, "by-offset-one-call-unindexed", true, Shape::ByOffset, false),
    way(Action::ListParts, "by-offset-one-call", true, Shape::ByOffset, true),
    way(Action::ListParts, "by-key-one-call-unindexed", true, Shape::ByKey, false),
    way(Action::ListParts, "by-key-one-call", true, Shape::ByKey, true),
];

fn main() {
    benches::run(Size::DEFAULT, actions);
}

fn actions(criterion: &mut Criterion, bed: &Bed) {
    let mut group = Group::new(criterion, bed, "action");
    for action in [Action::ViewPartDetails, Action::ConsumePart, Action::ReceivePart] {
        measure(&mut group, bed, &way(action, "statements", false, Shape::ByKey, true));
        measure(&mut group, bed, &way(action, "one-call", true, Shape::ByKey, true));
    }
    for way in &LIST_WAYS {
        measure(&mut group, bed, way);
    }
    remembered(&mut group, bed);
    group.finish();
}

/// What one way is measured on.
struct Ready {
    caller: Caller,
    tenant: Arc<Tenant>,
    connection: Connection,
    calls: Vec<Call>,
    /// Calls that were made.
    acted: usize,
    /// Rows of stock movements before.
    moved: u64,
}

impl Ready {
    fn new(bed: &Bed, way: &Way) -> Self {
        bed.set_indexes(way.indexed);
        let ((tenant, connection), moved) = (bed.tenant(), bed.rows("app.stock_movements"));
        Self { caller: bed.caller(), tenant, connection, calls: bed.calls(way.action.name()), acted: 0, moved }
    }

    async fn act(&mut self, way: &Way) -> Outcome {
        let Self { caller, tenant, connection, calls, acted, .. } = self;
        let call = &calls[*acted % calls.len()];
        *acted += 1;
        let request = Request { caller, tenant, call, shape: way.shape, record: Record::Apart };
        let outcome = match way.one_call {
            true => action::one_call(connection, &request).await,
            false => action::statements(connection, &request).await,
        };
        outcome.expect("the action is done")
    }

    /// The answer to the first call.
    async fn first(&mut self, way: &Way) -> serde_json::Value {
        self.acted = 0;
        let body = response::body(way.action, &self.act(way).await);
        serde_json::from_slice::<serde_json::Value>(&body).expect("an answer is JSON")["result"].take()
    }
}

fn measure(group: &mut Group<'_>, bed: &Bed, way: &Way) {
    let check = |mut ready: Ready, done| {
        let expected = if way.action.mutates() { done } else { 0 };
        assert_eq!(bed.rows("app.stock_movements") - ready.moved, expected, "one movement for each change of stock");
        if way.action == Action::ListParts {
            let naive = Way { one_call: false, shape: Shape::ByOffset, ..*way };
            let mut page = |way| bed.runtime().block_on(ready.first(way));
            let (parts, expected) = (page(way), page(&naive));
            assert!(parts == expected && !parts["parts"][0].is_null(), "every way answers with the same page of parts");
        }
    };
    let act = async |ready: &mut Ready| drop(ready.act(way).await);
    group.each(&format!("{}-{}", way.action.name(), way.name), || Ready::new(bed, way), act, check);
}

/// Views of parts, each of which was read before.
fn remembered(group: &mut Group<'_>, bed: &Bed) {
    const ONE_CALL: Way = way(Action::ViewPartDetails, "one-call", true, Shape::ByKey, true);
    let prepare = || {
        let reads = Reads::new(ReadSettings { bound: Duration::from_secs(3_600), ..ReadSettings::default() });
        let mut ready = Ready::new(bed, &ONE_CALL);
        bed.runtime().block_on(async {
            for nth in 0..ready.calls.len() {
                if let Err(missed) = reads.get(&ready.tenant, &ready.calls[nth]).await {
                    ready.acted = nth;
                    reads.keep(missed, response::body(ONE_CALL.action, &ready.act(&ONE_CALL).await)).await;
                }
            }
        });
        (reads, ready.tenant, ready.calls, 0)
    };
    type Remembered = (Reads, Arc<Tenant>, Vec<Call>, usize);
    let read = async |(reads, tenant, calls, next): &mut Remembered| {
        *next = (*next + 1) % calls.len();
        reads.get(tenant, &calls[*next]).await.expect("it is remembered");
    };
    group.each("cached-read", prepare, read, |(reads, ..), done| assert!(reads.metrics().remembered >= done));
}
