//! One bench of one state: what it has, counts and takes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Error, Result, anyhow, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tare_evidence::Counted;
use tare_testbed::{COUNT, HANDOVER, NETWORK, Network, TURNS};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use crate::criterion;
use crate::guard::Guarded;

/// What a bench of one state is run on.
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
    let home = TempDir::new().context("cannot make a temporary folder")?;
    let one = only.map_or_else(Vec::new, |id| vec!["--exact", id]);
    let arguments = [&["--bench", "--test"], &one[..]].concat();
    let mut command = command(executable, &arguments, bed);
    command.env(COUNT, "only").env(criterion::HOME, home.path());
    run(command).await?;
    criterion::all_counts(home.path())
}

/// One id of one state, ready to be timed.
pub struct Runner {
    id: String,
    process: Guarded,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    complaints: JoinHandle<String>,
}

impl Runner {
    /// Prepares `id`. Nothing where this state's benches cannot be timed in turns.
    pub async fn start(executable: &Path, id: &str, bed: &Bed) -> Result<Option<Self>> {
        // One that does not know of turns lists its ids, and ends.
        let mut command = command(executable, &["--bench", "--list"], bed);
        command.env(TURNS, id).stdin(Stdio::piped());
        let mut process = Guarded::spawn(&mut command)?;
        let stdin = process.child.stdin.take().context("the bench's input")?;
        let stdout = BufReader::new(process.child.stdout.take().context("the bench's output")?).lines();
        let mut stderr = process.child.stderr.take().context("the bench's output")?;
        let complaints = tokio::spawn(async move {
            let mut said = String::new();
            let _ = stderr.read_to_string(&mut said).await;
            said
        });
        let mut runner = Self { id: id.to_owned(), process, stdin, stdout, complaints };
        match runner.stdout.next_line().await?.as_deref() {
            Some("ready") => Ok(Some(runner)),
            Some(line) if line.ends_with(LISTED) => Ok(None),
            _ => Err(runner.failure().await),
        }
    }

    /// Has what it measures itself run on the processor `nth`, counted round: not all of them are equally fast at a time. What
    /// cannot be chosen is left to the system.
    pub fn run_on(&self, nth: usize) {
        let Some(process) = self.process.child.id() else { return };
        let allowed = sched_getaffinity(Pid::this()).unwrap_or_default();
        let processors: Vec<_> = (0..CpuSet::count()).filter(|one| allowed.is_set(*one).unwrap_or(false)).collect();
        let mut only = CpuSet::new();
        if !processors.is_empty() && only.set(processors[nth % processors.len()]).is_ok() {
            // Of its first thread: the others are for what it works with.
            let _ = sched_setaffinity(Pid::from_raw(process as i32), &only);
        }
    }

    /// How long one of so many iterations takes, in nanoseconds.
    pub async fn time(&mut self, iterations: u64) -> Result<f64> {
        let asked = self.stdin.write_all(format!("{iterations}\n").as_bytes()).await;
        let answer = match asked {
            Ok(()) => self.stdout.next_line().await?,
            Err(_) => None,
        };
        match answer.and_then(|line| line.parse::<f64>().ok()) {
            Some(nanoseconds) => Ok(nanoseconds / iterations as f64),
            None => Err(self.failure().await),
        }
    }

    /// Ends it in its own way.
    pub async fn end(self) -> Result<()> {
        drop(self.stdin);
        let status = self.process.wait().await?;
        let said = self.complaints.await?;
        ensure!(status.success(), "{} ended with {status}: {}", self.id, last_words(&said));
        Ok(())
    }

    async fn failure(&mut self) -> Error {
        let status = self.process.child.wait().await;
        let said = (&mut self.complaints).await.unwrap_or_default();
        let status = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        anyhow!("{} ended with {status}: {}", self.id, last_words(&said))
    }
}

/// What a bench says of an id when it lists it.
const LISTED: &str = ": benchmark";

fn command(executable: &Path, arguments: &[&str], bed: &Bed) -> Command {
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

fn last_words(said: &str) -> &str {
    said.lines().rev().find(|line| !line.trim().is_empty() && !line.starts_with("note: ")).unwrap_or_default()
}
