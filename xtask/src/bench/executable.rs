//! A bench executable: what it has, and what it counts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tare_evidence::Counted;
use tare_testbed::{COUNT, HANDOVER, NETWORK, Network, PrivateFolder};
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::criterion;
use crate::guard::Guarded;

/// What a bench is run on.
#[derive(Clone, Debug)]
pub struct Bed {
    /// Describes the fixture.
    pub handover: PathBuf,
    pub network: Network,
}

/// The ids of a bench executable, in their order.
pub async fn ids(executable: &Path, bed: &Bed) -> Result<Vec<String>> {
    let listed = run(command(executable, &["--bench", "--list"], bed)).await?;
    Ok(listed.lines().filter_map(|line| line.strip_suffix(LISTED)).map(str::to_owned).collect())
}

/// What can be counted of every id of a bench executable, or of one.
pub async fn counts(executable: &Path, only: Option<&str>, bed: &Bed) -> Result<BTreeMap<String, Counted>> {
    let home = PrivateFolder::new()?;
    let one = only.map_or_else(Vec::new, |id| vec!["--exact", id]);
    let arguments = [&["--bench", "--test"], &one[..]].concat();
    let mut command = command(executable, &arguments, bed);
    command.env(COUNT, "only").env(criterion::HOME, home.path());
    run(command).await?;
    criterion::all_counts(home.path())
}

/// What a bench says of an id when it lists it.
pub(super) const LISTED: &str = ": benchmark";

pub(super) fn command(executable: &Path, arguments: &[&str], bed: &Bed) -> Command {
    let mut command = Command::new(executable);
    command
        .args(arguments)
        .env(HANDOVER, &bed.handover)
        .env(NETWORK, bed.network.to_string())
        // Of a panic its message is told.
        .env("RUST_BACKTRACE", "0")
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

async fn run(mut command: Command) -> Result<String> {
    let mut guarded = Guarded::spawn(&mut command)?;
    let (mut said, mut complained) = (String::new(), String::new());
    let mut stdout = guarded.child.stdout.take().context("the bench's output")?;
    let mut stderr = guarded.child.stderr.take().context("the bench's output")?;
    let read = tokio::join!(stdout.read_to_string(&mut said), stderr.read_to_string(&mut complained));
    read.0.and(read.1).context("cannot read what a bench said")?;
    let status = guarded.wait().await?;
    let program = Path::new(command.as_std().get_program()).file_name().unwrap_or_default();
    ensure!(status.success(), "bench {} ended with {status}: {}", program.display(), last_words(&complained));
    Ok(said)
}

pub(super) fn last_words(said: &str) -> &str {
    said.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with("note: ")).unwrap_or_default()
}
