//! What can be counted of both states, and by that which ids both have.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result};
use tare_evidence::{Change, Counted, Figure, Verdict};

use super::sides::{Side, Sides};
use crate::bench::executable;
use crate::cli::Compare;
use crate::progress::Progress;
use crate::session::Session;

/// The name of the step.
pub const STEP: &str = "count";

/// An id that both states have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The bench executable.
    pub bench: String,
    /// What the base and the head call it.
    pub ids: [String; 2],
}

/// What was found of both states.
#[derive(Default)]
pub struct Found {
    /// The ids that both have.
    pub pairs: Vec<Pair>,
    /// The benches that could not be counted in one of them.
    pub failed: Vec<String>,
    changes: Vec<Change>,
    remarks: Vec<String>,
}

/// Lists the ids of both states, and counts what can be counted of those that both have.
pub async fn count(session: &mut Session, sides: &Sides, options: &Compare) -> Result<Found> {
    let progress = session.progress.clone();
    let counting = async {
        let mut found = Found::default();
        for bench in benches(&sides.both, options) {
            let [base, head] = sides.both.each_ref().map(|side| side.executables.benches.get(bench));
            let executables = match (base, head) {
                (Some(base), Some(head)) => [base, head],
                (base, _) => {
                    found.remarks.push(missing(&sides.both[usize::from(base.is_some())], bench));
                    continue;
                }
            };
            match count_one(bench, executables, sides, options, &progress).await {
                Ok(one) => {
                    found.pairs.extend(one.pairs);
                    found.changes.extend(one.changes);
                    found.remarks.extend(one.remarks);
                }
                Err(error) => {
                    found.remarks.push(format!("{bench} is not compared: {error:#}"));
                    found.failed.push(bench.to_owned());
                }
            }
        }
        Ok(found)
    };
    let mut found = session.step(STEP, counting).await?;
    session.remark(std::mem::take(&mut found.remarks));
    session.changes().changes = std::mem::take(&mut found.changes);
    session.save()?;
    Ok(found)
}

/// The same of one bench executable.
async fn count_one(
    bench: &str,
    executables: [&PathBuf; 2],
    sides: &Sides,
    options: &Compare,
    progress: &Progress,
) -> Result<Found> {
    let names = sides.both.each_ref().map(|side| side.name());
    let (mut ids, mut counted) = (Vec::new(), [Vec::new(), Vec::new()]);
    for (nth, (executable, bed)) in executables.iter().zip(&sides.beds).enumerate() {
        progress.at(format!("{bench} of {}", names[nth]));
        let of_it = || format!("in {}", names[nth]);
        ids.push(executable::ids(executable, bed).await.with_context(of_it)?);
        counted[nth].push(executable::counts(executable, None, bed).await.with_context(of_it)?);
    }
    let (pairs, mut remarks) = pair(bench, &ids[0], &ids[1], names, &options.renamed);
    for (name, counted) in names.iter().zip(&counted) {
        if counted[0].is_empty() {
            remarks.push(format!("{name} does not count anything of bench {bench}: its times alone are compared."));
        }
    }
    // What differs may not be exact, and is counted again.
    for pair in pairs.iter().filter(|pair| counted_changes(pair, &counted).iter().any(differs)).collect::<Vec<_>>() {
        for nth in [1, 0] {
            let id = &pair.ids[nth];
            progress.at(format!("{id} of {} again", names[nth]));
            let again = executable::counts(executables[nth], Some(id), &sides.beds[nth]).await;
            counted[nth].push(again.with_context(|| format!("in {}", names[nth]))?);
        }
    }
    let changes = pairs.iter().flat_map(|pair| counted_changes(pair, &counted)).collect();
    Ok(Found { pairs, changes, remarks, failed: Vec::new() })
}

/// Those that were asked for, in the order a request takes the components; what this version does not know comes last.
fn benches<'a>(both: &'a [Side; 2], options: &Compare) -> Vec<&'a str> {
    let place = |name: &str| crate::bench::ALL.iter().position(|bench| bench.name() == name);
    let mut names: Vec<_> = both.iter().flat_map(|side| side.executables.benches.keys().map(String::as_str)).collect();
    names.sort_by_key(|name| (place(name).unwrap_or(usize::MAX), *name));
    names.dedup();
    names.retain(|name| options.wants_bench(name));
    names
}

fn missing(side: &Side, bench: &str) -> String {
    match side.executables.complete {
        true => format!("{} has no bench {bench}: it is not compared.", side.name()),
        false => format!("{} has no bench {bench}, or it does not build: it is not compared.", side.name()),
    }
}

/// The ids that both have, and what is to be said of the others.
fn pair(
    bench: &str,
    base: &[String],
    head: &[String],
    [base_name, head_name]: [&str; 2],
    renamed: &[(String, String)],
) -> (Vec<Pair>, Vec<String>) {
    let before = |id: &str| renamed.iter().find(|(_, new)| new == id).map_or(id.to_owned(), |(old, _)| old.clone());
    let pairs: Vec<_> = head
        .iter()
        .map(|id| [before(id), id.clone()])
        .filter(|[old, _]| base.contains(old))
        .map(|ids| Pair { bench: bench.to_owned(), ids })
        .collect();
    let gone: Vec<_> = base.iter().filter(|id| !pairs.iter().any(|pair| pair.ids[0] == **id)).collect();
    let new: Vec<_> = head.iter().filter(|id| !pairs.iter().any(|pair| pair.ids[1] == **id)).collect();
    let mut remarks: Vec<_> = gone.iter().map(|id| format!("{id} is only in {base_name}.")).collect();
    remarks.extend(new.iter().map(|id| format!("{id} is only in {head_name}.")));
    if let ([gone], [new]) = (gone.as_slice(), new.as_slice()) {
        remarks.push(format!("If {gone} was renamed, --renamed {gone}={new} compares them."));
    }
    (pairs, remarks)
}

fn differs(change: &Change) -> bool {
    change.verdict != Verdict::Same
}

/// A count is exact, and compared, where it came out the same each time.
fn counted_changes(pair: &Pair, counted: &[Vec<BTreeMap<String, Counted>>; 2]) -> Vec<Change> {
    let exact = |nth: usize, figure: Figure| {
        let mut each =
            counted[nth].iter().filter_map(|once| once.get(&pair.ids[nth])).map(|counted| figure.of(counted));
        let first = each.next()??;
        each.all(|other| other == Some(first)).then_some(first)
    };
    let change = |figure| Some(Change::counted(&pair.ids[1], figure, exact(0, figure)?, exact(1, figure)?));
    Figure::COUNTED.into_iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paired(base: &[&str], head: &[&str], renamed: &[(&str, &str)]) -> (Vec<[String; 2]>, Vec<String>) {
        let [base, head] = [base, head].map(|ids| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>());
        let renamed: Vec<_> = renamed.iter().map(|(old, new)| ((*old).to_owned(), (*new).to_owned())).collect();
        let (pairs, remarks) = pair("auth", &base, &head, ["main", "the working tree"], &renamed);
        (pairs.into_iter().map(|pair| pair.ids).collect(), remarks)
    }

    #[test]
    fn what_only_one_has_is_told_and_the_rest_is_compared() {
        let (pairs, remarks) = paired(&["auth/a", "auth/b"], &["auth/b", "auth/c", "auth/d"], &[]);
        assert_eq!(pairs, [["auth/b", "auth/b"]]);
        assert_eq!(
            remarks,
            ["auth/a is only in main.", "auth/c is only in the working tree.", "auth/d is only in the working tree."]
        );
    }

    #[test]
    fn what_was_renamed_is_guessed_and_compared_when_told() {
        let (_, remarks) = paired(&["auth/a", "auth/old"], &["auth/a", "auth/new"], &[]);
        assert_eq!(remarks[2], "If auth/old was renamed, --renamed auth/old=auth/new compares them.");
        let (pairs, remarks) = paired(&["auth/a", "auth/old"], &["auth/a", "auth/new"], &[("auth/old", "auth/new")]);
        assert_eq!((pairs[1].clone(), remarks), (["auth/old".to_owned(), "auth/new".to_owned()], vec![]));
    }

    #[test]
    fn a_count_is_compared_where_it_is_exact() {
        let counted = |round_trips, allocations: u64| {
            let counted = Counted { round_trips, allocations: Some(allocations), ..Counted::default() };
            BTreeMap::from([("auth/a".to_owned(), counted)])
        };
        let pair = Pair { bench: "auth".into(), ids: ["auth/a".into(), "auth/a".into()] };
        let both = [vec![counted(1, 40), counted(1, 41)], vec![counted(2, 40), counted(2, 40)]];
        let changes = counted_changes(&pair, &both);
        assert_eq!(changes.len(), 1, "allocations were not the same each time, and bytes not counted");
        assert_eq!((changes[0].verdict, changes[0].difference()), (Verdict::Slower, "1 → 2".to_owned()));
        let none = [vec![BTreeMap::new(); 2], vec![counted(1, 40), counted(1, 40)]];
        assert!(counted_changes(&pair, &none).is_empty());
    }
}
