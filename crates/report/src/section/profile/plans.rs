//! How the database carried statements out.

use tare_evidence::units::{time, whole};
use tare_evidence::{Plan, Profile};

use super::{Section, shortened};

/// Characters of a statement that are shown.
const SHOWN: usize = 110;

/// Each plan's nodes below its statement.
pub(super) fn plans(profile: &Profile) -> Option<Section> {
    let drawn: Vec<_> = profile.plans.iter().map(draw).collect();
    (!drawn.is_empty()).then(|| Section {
        title: "Plans".into(),
        figure: Some(drawn.join("\n\n")),
        ..Section::default()
    })
}

fn draw(plan: &Plan) -> String {
    let within = if plan.nested { "↳ " } else { "" };
    let calls = if plan.calls > 1 { format!(" in {} calls", whole(plan.calls as f64)) } else { String::new() };
    let blocks =
        format!("{} blocks from memory, {} read", whole(plan.shared_hit as f64), whole(plan.shared_read as f64));
    let spilt = match plan.temp_written {
        0 => String::new(),
        written => format!(", {} written to temporary files", whole(written as f64)),
    };
    let head = format!("{within}{}\n  {}{calls}, {blocks}{spilt}", shortened(&plan.sql, SHOWN), time(plan.ms));
    let nodes = plan.nodes.iter().map(|node| format!("    {node}"));
    [head].into_iter().chain(nodes).collect::<Vec<_>>().join("\n")
}
