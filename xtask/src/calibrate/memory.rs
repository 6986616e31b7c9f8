//! The memory of a long pass beside that of a short one.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tare_evidence::Check;
use tare_testbed::PrivateFolder;
use tokio::process::{Child, Command};

use crate::calibrate::known::Known;
use crate::guard::Guarded;
use crate::progress::Progress;

/// Requests of the short pass.
const SHORT: u64 = 100_000;
/// What the long one may take beside it.
const AT_MOST: f64 = 1.2;
/// How often memory is looked at.
const EVERY: Duration = Duration::from_millis(20);

/// Sends a short pass and one of `requests`, each a process of its own.
pub async fn measure(requests: u64, progress: &Progress) -> Result<Vec<Check>> {
    let known = Known::start(Vec::new()).context("cannot serve")?;
    let short = peak(&known, SHORT).await?;
    progress.at(format!("{requests} requests"));
    let long = peak(&known, requests).await?;
    let ratio = long as f64 / short as f64;
    Ok(vec![Check {
        what: format!("memory of {requests} requests against {SHORT}"),
        measured: format!("{ratio:.2} × ({:.1} against {:.1} MiB)", mebibytes(long), mebibytes(short)),
        required: format!("≤ {AT_MOST:.2} ×"),
        met: ratio <= AT_MOST,
    }])
}

/// Bytes that a pass of so many requests had resident at most.
async fn peak(known: &Known, requests: u64) -> Result<u64> {
    let folder = PrivateFolder::new()?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["stress", "--url", &known.url(), "--format", "json", "-c", "10", "--requests", &requests.to_string()])
        .arg("--output")
        .arg(folder.path())
        .env_remove("TEST_JWT")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut process = Guarded::spawn(&mut command)?;
    let mut peak = 0;
    let mut tick = tokio::time::interval(EVERY);
    loop {
        tokio::select! {
            ended = process.child.wait() => match ended?.code() {
                Some(0 | 1) if peak > 0 => return Ok(peak),
                code => bail!("a pass of {requests} requests ended with {code:?}"),
            },
            _ = tick.tick() => {}
        }
        peak = peak.max(high_water_mark(&process.child).unwrap_or_default());
    }
}

/// The most that the process has had resident so far; nothing when it has ended.
fn high_water_mark(process: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id()?)).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
