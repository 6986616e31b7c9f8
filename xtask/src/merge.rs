//! `cargo xtask stress merge`: what several passes measured, as one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tare_evidence::{Evidence, Machine};
use tare_stress::{Log, Part, csv, summary};
use tare_testbed::Network;
use tokio_util::sync::CancellationToken;

use crate::Ending;
use crate::cli::{Format, Judged, Merge};
use crate::kept::{EVIDENCE, write_atomically};
use crate::session::{Begin, Session, read_evidence, show, shown};
use crate::stress::expect_audit_rows;

/// The name of the step.
const STEP: &str = "merge";
/// How deep below a folder evidence is looked for: of a worker's own, or of all workers.
const DEPTH: usize = 3;

/// Adds up what lies in folders of workers, or in histogram logs alone.
pub fn run(options: &Merge, stop: CancellationToken) -> Result<Ending> {
    let folders = options.parts.iter().filter(|path| path.is_dir()).count();
    match folders {
        0 => logs(options),
        all if all == options.parts.len() => {
            let output = options.output.clone().unwrap_or_else(|| "target/perf".into());
            let judged = Judged { config: options.config.clone(), output };
            let parts = Parts { folders: &options.parts, command: "stress merge", audited: None };
            workers(parts, &judged, options.format, stop)
        }
        _ => bail!("some of what to merge are folders and some are not; give folders of workers, or .hlog files alone"),
    }
}

/// Histogram logs, and what comes of them.
fn logs(options: &Merge) -> Result<Ending> {
    let read = options.parts.iter().map(|path| read_log(path));
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

/// What workers left.
pub struct Parts<'a> {
    /// Where.
    pub folders: &'a [PathBuf],
    /// The command that is told as having been run.
    pub command: &'a str,
    /// Audit rows that they led to, where that is known.
    pub audited: Option<i64>,
}

/// The passes of workers as one pass of a run of its own, judged as any other.
pub fn workers(
    Parts { folders, command, audited }: Parts<'_>,
    judged: &Judged,
    format: Format,
    stop: CancellationToken,
) -> Result<Ending> {
    let mut found = Vec::new();
    for folder in folders {
        let before = found.len();
        find(folder, DEPTH, &mut found)?;
        ensure!(found.len() > before, "there is no {EVIDENCE} in {}, nor below it", folder.display());
    }
    found.sort();
    found.dedup();
    let parts = found.iter().map(|folder| part(folder)).collect::<Result<Vec<_>>>()?;
    let (pass, log) = tare_stress::merge(parts)?;
    audited.map_or(Ok(()), |rows| expect_audit_rows(&pass, rows))?;

    let begin = Begin { command, network: Network::LOOPBACK, quick: false };
    let mut session = Session::begin(begin, judged, &[(STEP.to_owned(), Duration::from_secs(1))], stop)?;
    session.format = format;
    let interrupted = pass.interrupted;
    session.evidence.passes.push(pass);
    let kept = keep(&mut session, &log);
    if interrupted {
        // What is not whole is shown, and nothing is judged by it.
        session.stop.cancel();
    }
    session.finish(kept)
}

fn keep(session: &mut Session, log: &Log) -> Result<()> {
    let pass = session.evidence.passes.last().context("the pass that was just put there")?;
    let name = file_name(&session.evidence);
    write_atomically(&session.beside(&format!("{name}.csv")), &csv(pass))?;
    write_atomically(&session.beside(&format!("{name}.hlog")), &log.to_text()?)?;
    session.save()
}

/// What the files of the latest pass are called.
pub fn file_name(evidence: &Evidence) -> String {
    let label = evidence.passes.last().map_or_else(String::new, |pass| evidence.label(pass));
    label.replace([' ', '/'], "-")
}

/// The folders with evidence in `folder` or so many levels below it.
fn find(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if folder.join(EVIDENCE).is_file() {
        found.push(folder.to_owned());
        return Ok(());
    }
    if depth == 0 {
        return Ok(());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("cannot look into {}", folder.display()))?;
    for entry in entries {
        let path = entry.with_context(|| format!("cannot look into {}", folder.display()))?.path();
        if path.is_dir() {
            find(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

/// What a worker left in `folder`.
fn part(folder: &Path) -> Result<Part> {
    let evidence = read_evidence(&folder.join(EVIDENCE))?;
    let [pass] = evidence.passes.as_slice() else {
        let passes = evidence.passes.len();
        ensure!(
            passes > 0,
            "{} holds no pass: its worker ended before it had measured; leave it out when another run had its share",
            folder.display()
        );
        bail!("{} holds {passes} passes, and a worker makes one", folder.display());
    };
    let log = read_log(&folder.join(format!("{}.hlog", file_name(&evidence))))?;
    Ok(Part::new(shown(folder), described(&evidence.machine), pass.clone(), log))
}

fn described(Machine { system, cpu, cores, .. }: &Machine) -> String {
    format!("{cores} × {cpu}, {system}")
}

fn read_log(path: &Path) -> Result<Log> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(Log::parse(&path.display().to_string(), &text)?)
}
