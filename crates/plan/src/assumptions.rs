//! What is taken for granted.

use crate::engine::pools::OPENINGS;
use crate::model::Model;
use crate::scenario::{Arrival, Layout, Scenario, Spacing};
use crate::simulate::AT_A_TIME;

/// What a simulation of `scenario` takes for granted, a sentence each.
pub fn assumptions(model: &Model, scenario: &Scenario) -> Vec<String> {
    let arrival = match scenario.arrival {
        Arrival::Callers { think_ms: 0.0, .. } => {
            "Each caller sends its next request as soon as it has an answer.".into()
        }
        Arrival::Callers { think_ms, .. } => {
            format!("Each caller waits {think_ms} ms between an answer and its next request.")
        }
        Arrival::Rate { spacing: Spacing::Even, .. } => "Requests are due at even distances.".into(),
        Arrival::Rate { spacing: Spacing::Poisson, .. } => {
            "Requests come by chance, as from many users who know nothing of each other (Poisson).".to_owned()
        }
    };
    let layout = match scenario.layout {
        Layout::Together => format!(
            "Load, server and PostgreSQL share {} cores equally, and nobody else uses them; the load has {} threads and an instance {}.",
            model.cores, model.load_threads, model.server_threads
        ),
        Layout::Apart { server_cores, postgres_cores } => format!(
            "Each instance has {server_cores} cores of its own and PostgreSQL {postgres_cores}, each as fast as the one that was measured; load comes from elsewhere and takes no time."
        ),
    };
    let disk = match model.actions.get(&scenario.action).is_some_and(|action| action.commits) {
        true => "A mutation waits for one write of PostgreSQL's disk; those that come while it writes share the next.",
        false => {
            "A read waits for its instance's audit queue as long as one was measured to wait for it after its query; those that come meanwhile share the next write. What is queued is written to its database every 200 ms, tenants in turns, on a connection of the tenant."
        }
    };
    [
        arrival,
        layout,
        "All tenants are asked equally often, and their databases are as large as those that were measured.".into(),
        format!(
            "A request takes the processor time that was measured with as many under way at its instance (at PostgreSQL: under way in all), up to {} at a time; beyond, as with so many.",
            model.ranges.concurrency[1]
        ),
        "Callers at a distance take the server and PostgreSQL the processor time of requests that come at a rate: their answers, too, come one by one.".into(),
        "Half of the server's work on a request comes before its question to the database, a quarter before it gives back its connection.".into(),
        disk.into(),
        format!(
            "A request makes {} round trips to the database, and one that opens a connection {} more; a distance is that of a link without a limit of bandwidth.",
            model.actions.get(&scenario.action).map_or(1.0, |action| action.round_trips),
            model.opening.map_or(0.0, |opening| opening.round_trips),
        ),
        format!("Connections go to whom the gateway would give them, an instance opens {OPENINGS} a second at most, and they end for no other reason than to make room."),
        format!("Nobody gives up and nobody is refused: who would be one more than {AT_A_TIME} at an instance, or waits longer than 5 s for a connection, waits on here."),
    ]
    .into()
}
