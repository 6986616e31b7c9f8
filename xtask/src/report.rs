//! Evidence of an earlier run, shown again.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cli::Report;
use crate::session::{read_evidence, runs, show};
use crate::{Ending, workspace};

/// `cargo xtask report`.
pub fn run(options: &Report) -> Result<Ending> {
    let path = match &options.evidence {
        Some(path) => evidence_in(path),
        None => latest()?,
    };
    let evidence = read_evidence(&path)?;
    show(&match options.markdown {
        true => tare_report::markdown(&evidence, &options.predicted.distances_ms),
        false => tare_report::terminal(&evidence, &options.predicted.distances_ms),
    });
    Ok(Ending::Met)
}

fn evidence_in(path: &Path) -> PathBuf {
    if path.is_dir() { path.join("evidence.json") } else { path.to_owned() }
}

fn latest() -> Result<PathBuf> {
    let output = workspace::root().join("target/perf");
    let latest = runs(&output).into_iter().rev().map(|folder| evidence_in(&folder)).find(|path| path.is_file());
    latest.with_context(|| format!("there is no run in {} yet; `cargo xtask perf --quick` makes one", output.display()))
}
