//! One bench of one state: what it has, counts and takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tare_evidence::Counted;
use tare_testbed::{COUNT, HANDOVER, NETWORK, Network};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::criterion;
use crate::guard::Guarded;

/// How Criterion measures when it is asked again and again: shortly. What matters is how much figures differ from one run to the
/// next, and that is told by more runs, not by longer ones.
const SHORTLY: [&str; 9] =
    ["--warm-up-time", "0.05", "--measurement-time", "0.1", "--sample-size", "10", "--nresamples", "1001", "--noplot"];

/// What a bench of one state is run on.
#[derive(Clone, Debug)]
pub struct Bed {
    /// Describes the fixture.
    pub handover: PathBuf,
    pub network: Network,
}

/// The ids of a bench executable, in their order.
pub async fn ids(executable: &Path, bed: &Bed) -> Result<Vec<String>> {
    let listed = run(executable, &["--bench", "--list"], bed, &[]).await?;
    Ok(listed.lines().filter_map(|line| line.strip_suffix(": benchmark")).map(str::to_owned).collect())
}

/// What can be counted of every id of a bench executable, or of one.
pub async fn counts(executable: &Path, only: Option<&str>, bed: &Bed) -> Result<BTreeMap<String, Counted>> {
    let home = TempDir::new().context("cannot make a temporary folder")?;
    let one = only.map_or_else(Vec::new, |id| vec!["--exact", id]);
    let arguments = [&["--bench", "--test"], &one[..]].concat();
    run(executable, &arguments, bed, &[(COUNT, "only".as_ref()), (criterion::HOME, home.path())]).await?;
    criterion::counts(home.path())
}

/// The time of one iteration of `id`, in nanoseconds: the median of a few samples.
pub async fn time(executable: &Path, id: &str, bed: &Bed) -> Result<f64> {
    let home = TempDir::new().context("cannot make a temporary folder")?;
    let arguments = [&["--bench", "--exact", id], &SHORTLY[..]].concat();
    run(executable, &arguments, bed, &[(COUNT, "never".as_ref()), (criterion::HOME, home.path())]).await?;
    criterion::median_of_only(home.path()).with_context(|| format!("{} measured nothing of {id}", executable.display()))
}

async fn run(executable: &Path, arguments: &[&str], bed: &Bed, variables: &[(&str, &Path)]) -> Result<String> {
    let mut command = Command::new(executable);
    command
        .args(arguments)
        .env(HANDOVER, &bed.handover)
        .env(NETWORK, bed.network.to_string())
        .envs(variables.iter().copied())
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut guarded = Guarded::spawn(&mut command)?;
    let (mut said, mut complained) = (String::new(), String::new());
    let stdout = guarded.child.stdout.take().context("the bench's output")?;
    let stderr = guarded.child.stderr.take().context("the bench's output")?;
    let (mut stdout, mut stderr) = (stdout, stderr);
    let read = tokio::join!(stdout.read_to_string(&mut said), stderr.read_to_string(&mut complained));
    read.0.and(read.1).context("cannot read what a bench said")?;
    let status = guarded.wait().await?;
    if !status.success() {
        let last = complained.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with("note: "));
        bail!("{} {} ended with {status}: {}", name(executable), arguments.join(" "), last.unwrap_or_default());
    }
    Ok(said)
}

fn name(executable: &Path) -> String {
    let name = executable.file_name().map(|name| name.to_string_lossy().into_owned());
    format!("bench {}", name.unwrap_or_default())
}
