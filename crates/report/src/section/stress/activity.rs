//! What the database did while load was sent.

use tare_evidence::units::{percent, rate, time, whole};
use tare_evidence::{Activity, Blocker, Evidence, Pass};

use super::{Section, label, table};

/// What busy sessions were at, as far as it is named.
const NAMED: usize = 4;
/// Sessions on average, below which what they were at is not told.
const TELLING: f64 = 0.05;

/// A row for each pass of which it was looked at, and what sessions were at in words.
pub(super) fn activity(evidence: &Evidence) -> Option<Section> {
    let watched = || evidence.passes.iter().filter_map(|pass| Some((pass, pass.activity.as_ref()?)));
    let header = [
        "pass",
        "sessions",
        "busy",
        "opened",
        "commits",
        "rollbacks",
        "in memory",
        "spilled",
        "checkpoints",
        "deadlocks",
    ];
    let rows = watched().map(|(pass, activity)| row(&label(pass, evidence), pass, activity)).collect();
    let table = table(&header, rows)?;
    let paragraphs = watched().flat_map(|(pass, activity)| sentences(&label(pass, evidence), activity)).collect();
    // Of several passes the comparison is what is looked for.
    let essential = evidence.passes.len() == 1;
    Some(Section {
        title: "Database meanwhile".into(),
        paragraphs,
        table: Some(table),
        essential,
        ..Section::default()
    })
}

fn row(label: &str, pass: &Pass, activity: &Activity) -> Vec<String> {
    let blocks = activity.blocks_hit.saturating_add(activity.blocks_read);
    let in_memory = match blocks {
        0 => String::new(),
        blocks => percent(activity.blocks_hit as f64 / blocks as f64),
    };
    vec![
        label.to_owned(),
        whole(activity.sessions as f64),
        format!("{:.1}", activity.busy),
        whole(activity.opened as f64),
        rate(activity.commits as f64 / pass.seconds.max(f64::MIN_POSITIVE)).replace("req/s", "/s"),
        whole(activity.rollbacks as f64),
        in_memory,
        format!("{} KiB", whole(activity.temp_bytes as f64 / 1024.0)),
        activity.checkpoints.to_string(),
        activity.deadlocks.to_string(),
    ]
}

fn sentences(label: &str, activity: &Activity) -> Vec<String> {
    let telling = activity.waits.iter().filter(|wait| wait.sessions >= TELLING).take(NAMED);
    let waits: Vec<_> = telling.map(|wait| format!("{} {:.1}", wait.what, wait.sessions)).collect();
    let at = (!waits.is_empty()).then(|| format!("{label}: sessions at once, on average: {}.", waits.join(", ")));
    let blocker = |Blocker { pid, state, transaction_ms, sql, waiting }: &Blocker| {
        let what = match &**state {
            "" => String::new(),
            state => format!(" ({state}, its transaction {} old): {sql}", time(*transaction_ms)),
        };
        format!("{label}: {waiting} at once waited for what session {pid} held{what}")
    };
    let remarks = activity.remarks.iter().map(|remark| format!("{label}: {remark}"));
    at.into_iter().chain(activity.blockers.iter().map(blocker)).chain(remarks).collect()
}

#[cfg(test)]
mod tests {
    use tare_evidence::{Machine, Run, Wait};

    use super::*;

    #[test]
    fn what_sessions_were_at_is_told_beside_what_was_counted() {
        let wait = |what: &str, sessions| Wait { what: what.into(), sessions };
        let activity = Activity {
            looks: 50,
            busy: 4.25,
            sessions: 10,
            waits: vec![wait("IO:WALSync", 3.0), wait("CPU", 1.2), wait("LWLock:WALWrite", 0.01)],
            commits: 3_000,
            blocks_hit: 99,
            blocks_read: 1,
            blockers: vec![Blocker {
                pid: 7,
                state: "idle in transaction".into(),
                transaction_ms: 900.0,
                sql: "update stock".into(),
                waiting: 2,
            }],
            ..Activity::default()
        };
        let pass = Pass { name: "url".into(), seconds: 2.0, activity: Some(activity), ..Pass::default() };
        let evidence = Evidence { passes: vec![pass], ..Evidence::begun(Run::default(), Machine::default()) };
        let section = super::activity(&evidence).unwrap();
        let row = &section.table.unwrap().rows[0];
        assert_eq!(row[1..5], ["10", "4.2", "0", "1,500 /s"]);
        assert_eq!(row[6], "99 %");
        assert!(section.paragraphs[0].ends_with("on average: IO:WALSync 3.0, CPU 1.2."), "{:?}", section.paragraphs);
        assert!(section.paragraphs[1].contains("2 at once waited for what session 7 held"), "{:?}", section.paragraphs);
        assert_eq!(super::activity(&Evidence::begun(Run::default(), Machine::default())), None);
    }
}
