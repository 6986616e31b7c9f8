//! Many earlier runs, shown as the course of their figures.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use tare_evidence::Recorded;

use crate::cli::History;
use crate::session::{read_config, read_evidence, show};
use crate::{Ending, workspace};

/// What could not be used is named up to this many.
const NAMED: usize = 10;

/// `cargo xtask history`.
pub fn run(options: &History) -> Result<Ending> {
    let config = read_config(&options.config)?;
    let folder = workspace::resolve(&options.folder);
    let Read { runs, interrupted, copies, unusable } = read(&folder);
    for why in unusable.iter().take(NAMED) {
        eprintln!("left out: {why}");
    }
    let counted = [
        (unusable.len().saturating_sub(NAMED), "more that cannot be read"),
        (interrupted, "interrupted before the end"),
        (copies, "a copy of another"),
    ];
    for (count, what) in counted.into_iter().filter(|(count, _)| *count > 0) {
        eprintln!("left out: {count} {what}");
    }
    if runs.is_empty() {
        bail!(
            "there is no evidence.json of a complete run below {}; `cargo xtask perf` writes one for each run to target/perf",
            folder.display()
        );
    }
    let groups = tare_evidence::history(runs, &config.compare);
    show(&match options.markdown {
        true => tare_report::history_markdown(&groups, options.all),
        false => tare_report::history(&groups, options.all),
    });
    Ok(Ending::Met)
}

/// What was found below a folder.
#[derive(Default)]
struct Read {
    runs: Vec<Recorded>,
    interrupted: usize,
    copies: usize,
    /// What cannot be read, and why.
    unusable: Vec<String>,
}

fn read(folder: &Path) -> Read {
    let mut read = Read::default();
    let mut known = HashSet::new();
    for path in evidence_below(folder, &mut read.unusable) {
        match read_evidence(&path) {
            Ok(evidence) if evidence.run.interrupted => read.interrupted += 1,
            Ok(evidence) => {
                let run = &evidence.run;
                match known.insert((run.started_at.clone(), run.command.clone(), run.commit.clone())) {
                    true => read.runs.push(Recorded::of(&evidence)),
                    false => read.copies += 1,
                }
            }
            Err(error) => read.unusable.push(format!("{error:#}")),
        }
    }
    read
}

/// Every evidence.json below `folder`, in the order of their paths. Links are not followed: they may lead in a circle.
fn evidence_below(folder: &Path, unusable: &mut Vec<String>) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                unusable.push(format!("cannot look into {}: {error}", folder.display()));
                continue;
            }
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                Ok(kind) if kind.is_file() && entry.file_name() == "evidence.json" => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}
