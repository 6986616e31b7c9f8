//! `cargo xtask stress merge`: what several passes measured, as one.

use std::fs;

use anyhow::{Context, Result};
use tare_stress::{Log, summary};

use crate::Ending;
use crate::cli::Merge;
use crate::kept::write_atomically;
use crate::session::show;

/// Adds up histogram logs and tells what comes of them.
pub fn run(options: &Merge) -> Result<Ending> {
    let read = options.logs.iter().map(|path| {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Log::parse(&path.display().to_string(), &text)?)
    });
    let merged = Log::merge(read.collect::<Result<Vec<_>>>()?);
    let whole = merged.whole();
    let rows = std::iter::once(("all", &whole)).chain(merged.tags());
    let rows: Vec<_> = rows.map(|(name, times)| (name.to_owned(), times.len(), summary(times))).collect();
    if let Some(path) = &options.output {
        write_atomically(path, &merged.to_text()?)?;
        eprintln!("merged: {}", path.display());
    }
    show(&tare_report::latencies(&rows));
    Ok(Ending::Met)
}
