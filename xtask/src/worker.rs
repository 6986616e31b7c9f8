//! One of several workers that send a load together: what it may be told, and what it keeps of that.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use tare_evidence::WholeLoad;
use tare_stress::{Mix, Share};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::cli;
use crate::progress::words;
use crate::stress::requests;

/// How long ago a moment to begin at may be: as long as it takes to start.
const PAST: Duration = Duration::from_secs(1);
/// How far ahead it may be: what is farther is in another unit, or of another year.
const AHEAD: Duration = Duration::from_secs(24 * 3600);

/// Every worker has to have something to do.
pub fn refuse_too_few(flag: &str, whole: u64, share: Share) -> Result<()> {
    let workers = share.workers();
    ensure!(whole >= workers, "{flag} is {whole}, too few for {workers} workers (--share); give it {workers} at least");
    Ok(())
}

/// A moment that is past, or so far ahead that it is a mistake.
pub fn refuse_moment(start: SystemTime) -> Result<()> {
    let now = SystemTime::now();
    match (start.duration_since(now), now.duration_since(start)) {
        (_, Ok(past)) if past > PAST => bail!(
            "--start-at {} was {} ago by this machine's clock; give a moment that is ahead for every worker",
            shown(start),
            words(past)
        ),
        (Ok(ahead), _) if ahead > AHEAD => bail!(
            "--start-at {} is {} hours ahead by this machine's clock, and 24 are the most; \
             it reads 2026-01-31T12:00:00Z, or is in seconds since 1970",
            shown(start),
            ahead.as_secs() / 3600
        ),
        _ => Ok(()),
    }
}

/// What a worker's pass keeps of the load that it had a share of.
pub fn share(share: Share, options: &cli::Stress, mix: &Mix) -> tare_evidence::Share {
    tare_evidence::Share {
        worker: share.worker(),
        workers: share.workers(),
        whole: WholeLoad {
            requests: Some(requests(options)).filter(|requests| *requests < u64::MAX),
            seconds: options.duration.map(|time| time.as_secs_f64()),
            concurrency: options.concurrency,
            warmup: options.warmup,
            timeout_s: options.timeout.as_secs_f64(),
            seed: options.seed,
            sent: mix.mark().to_owned(),
        },
    }
}

/// What is said meanwhile.
pub fn waiting(left: Duration, start: SystemTime) -> String {
    format!("waiting for {}, in {}", shown(start), words(left))
}

/// `2026-01-31T12:00:00Z`.
pub fn shown(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    // Years of more than four digits are none to these.
    let moment = i64::try_from(since.as_secs()).ok().and_then(|since| OffsetDateTime::from_unix_timestamp(since).ok());
    let shown = moment.and_then(|moment| moment.format(&Rfc3339).ok());
    shown.unwrap_or_else(|| format!("{} s after 1970", since.as_secs()))
}
