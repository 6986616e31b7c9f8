//! Two benches timed in turns: of two states of the code, or of one.
//!
//! The machine's pace changes many times a second, and what is measured one after the other is measured at two paces. So both are
//! processes at once, and take turns of milliseconds.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, ensure};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use tare_testbed::TURNS;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::task::JoinHandle;

use super::executable::{Bed, LISTED, command, last_words};
use crate::guard::Guarded;

/// How long one turn takes at least where both do the same: long beside waking a process up, short beside a machine's moods.
pub const SHORT: Duration = Duration::from_millis(2);
/// Where they do different things: what comes once a turn, such as waiting for the last of many, may be much to one of them.
pub const LONG: Duration = Duration::from_millis(20);
/// How long the turns of a round take, and of how many times [`TURNS_OF_A_ROUND`] it is at least and at most.
const ROUND: Duration = Duration::from_millis(250);
const TIMES: std::ops::RangeInclusive<usize> = 4..=100;
/// More iterations than this are never asked for at once.
const MOST: u64 = 1 << 24;

/// An id of a bench executable.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub executable: &'a Path,
    pub id: &'a str,
    pub bed: &'a Bed,
}

/// Which of the two is run when: each as often first as second, as often after itself as after the other.
pub const TURNS_OF_A_ROUND: [usize; 8] = [0, 1, 1, 0, 1, 0, 0, 1];

/// Whether the second is started and timed first.
pub const fn is_mirrored(round: usize) -> bool {
    round % 2 == 1
}

/// How long one iteration of each takes, in nanoseconds, pair by pair; nothing where one of them cannot be timed in turns. Every other
/// round is the mirror image of the one before it: whatever comes of being started or timed first comes of it for either.
pub async fn take([first, second]: [Subject<'_>; 2], round: usize, turn: Duration) -> Result<Option<Vec<[f64; 2]>>> {
    if !is_mirrored(round) {
        return take_in_order([first, second], round, turn).await;
    }
    let taken = take_in_order([second, first], round, turn).await?;
    Ok(taken.map(|pairs| pairs.into_iter().map(|[second, first]| [first, second]).collect()))
}

async fn take_in_order(subjects: [Subject<'_>; 2], round: usize, turn: Duration) -> Result<Option<Vec<[f64; 2]>>> {
    let [first, second] = subjects.map(Runner::start);
    let (Some(first), Some(second)) = tokio::try_join!(first, second)? else { return Ok(None) };
    let mut runners = [first, second];
    runners.iter().for_each(|runner| runner.run_on(round / 2));
    let mut iterations = 1;
    loop {
        let mut longest: f64 = 1.0;
        for runner in &mut runners {
            // Not what it tells: some measure a small part of what they do.
            let began = Instant::now();
            runner.time(iterations).await?;
            longest = longest.max(began.elapsed().as_nanos() as f64 / iterations as f64);
        }
        let enough = (turn.as_nanos() as f64 / longest).ceil() as u64;
        if enough <= iterations || iterations >= MOST {
            break;
        }
        // The first are slower than the rest.
        iterations = enough.min(iterations * 10).min(MOST);
    }
    let (began, mut times) = (Instant::now(), Vec::new());
    while times.len() < *TIMES.start() || (began.elapsed() < ROUND && times.len() < *TIMES.end()) {
        let mut pair = [0.0, 0.0];
        for nth in TURNS_OF_A_ROUND {
            pair[nth] += runners[nth].time(iterations).await? * 2.0 / TURNS_OF_A_ROUND.len() as f64;
        }
        times.push(pair);
    }
    for runner in runners {
        runner.end().await?;
    }
    Ok(Some(times))
}

/// A process of one id, ready to be timed.
struct Runner {
    id: String,
    process: Guarded,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    complaints: JoinHandle<String>,
}

impl Runner {
    /// Prepares it. Nothing where it cannot be timed in turns: it is of a state from before that.
    async fn start(Subject { executable, id, bed }: Subject<'_>) -> Result<Option<Self>> {
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
    fn run_on(&self, nth: usize) {
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
    async fn time(&mut self, iterations: u64) -> Result<f64> {
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
    async fn end(self) -> Result<()> {
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
