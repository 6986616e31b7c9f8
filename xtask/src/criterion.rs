//! What Criterion wrote.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use tare_evidence::{Bench, Counted, Interval};

use crate::workspace;

#[derive(Deserialize)]
struct Benchmark {
    full_id: String,
}

#[derive(Deserialize)]
struct Estimates {
    mean: Estimate,
    median: Estimate,
    std_dev: Estimate,
}

#[derive(Deserialize)]
struct Estimate {
    point_estimate: f64,
    confidence_interval: ConfidenceInterval,
}

#[derive(Deserialize)]
struct ConfidenceInterval {
    lower_bound: f64,
    upper_bound: f64,
}

#[derive(Deserialize)]
struct Sample {
    iters: Vec<f64>,
    /// In nanoseconds, of as many iterations.
    times: Vec<f64>,
}

/// What is kept of one bench under one name.
#[derive(Debug)]
pub struct Kept {
    pub id: String,
    pub median_ns: f64,
    /// Of one iteration, of each sample.
    pub times_ns: Vec<f64>,
    pub counted: Option<Counted>,
}

impl Estimate {
    fn interval(&self) -> Interval {
        let ConfidenceInterval { lower_bound: lower, upper_bound: upper } = self.confidence_interval;
        Interval { estimate: self.point_estimate, lower, upper }
    }
}

/// The folder that Criterion keeps its measurements in: the same one that `cargo bench` uses.
pub fn home() -> PathBuf {
    let given = std::env::var_os(HOME).and_then(|given| std::path::absolute(given).ok());
    given.unwrap_or_else(|| workspace::root().join("target/criterion"))
}

/// Whether anything of the bench executable `group` was kept under `baseline`.
pub fn has_baseline(home: &Path, group: &str, baseline: &str) -> bool {
    folders(&home.join(group)).any(|bench| is_kept(&bench.join(baseline)))
}

/// What a bench writes beside Criterion's own files.
pub const COUNTS: &str = "counts.json";
/// The name under which the latest measurement is kept.
pub const NEW: &str = "new";

/// Whether a measurement is in this folder.
pub fn is_kept(folder: &Path) -> bool {
    folder.join("estimates.json").is_file()
}

/// What is kept of the bench executable `group` under `name`; what cannot be read is told.
pub fn kept(home: &Path, group: &str, name: &str) -> Vec<Result<Kept>> {
    folders(&home.join(group))
        .map(|bench| bench.join(name))
        .filter(|kept| is_kept(kept))
        .map(|kept| read_kept(&kept))
        .collect()
}

fn read_kept(folder: &Path) -> Result<Kept> {
    let Benchmark { full_id } = read_json(&folder.join("benchmark.json"))?;
    let estimates: Estimates = read_json(&folder.join("estimates.json"))?;
    let sample = folder.join("sample.json");
    let Sample { iters, times } = read_json(&sample)?;
    let times_ns: Vec<_> = times.iter().zip(&iters).map(|(time, iterations)| time / iterations).collect();
    let is_time = |time: &f64| time.is_finite() && *time > 0.0;
    ensure!(
        !times_ns.is_empty() && times.len() == iters.len() && times_ns.iter().all(is_time),
        "{} holds no times of iterations",
        sample.display()
    );
    let counted = counts(folder).map(|counts| read_json(&counts)).transpose()?;
    Ok(Kept { id: full_id, median_ns: estimates.median.point_estimate, times_ns, counted })
}

/// The file of what was counted. An older one is of another measurement: not everything is counted each time.
pub fn counts(folder: &Path) -> Option<PathBuf> {
    let counts = folder.join(COUNTS);
    let counted = written(&counts)?;
    (Some(counted) >= written(&folder.join("estimates.json"))).then_some(counts)
}

/// The environment variable that tells a bench where to keep what it measures.
pub const HOME: &str = "CRITERION_HOME";

/// What was counted of each id.
pub fn all_counts(home: &Path) -> Result<BTreeMap<String, Counted>> {
    let counted = benches(home).map(|bench| (bench.join(NEW).join(COUNTS), bench)).filter(|(path, _)| path.is_file());
    // The folders are named as ids are: `group/way`.
    let id = |bench: &Path| bench.strip_prefix(home).unwrap_or(bench).to_string_lossy().into_owned();
    counted.map(|(path, bench)| Ok((id(&bench), read_json(&path)?))).collect()
}

/// What was measured since `since`, in the order it was measured.
pub fn measured(home: &Path, since: SystemTime) -> Result<Vec<Bench>> {
    let mut found = Vec::new();
    for new in benches(home).map(|bench| bench.join(NEW)) {
        let Some(written) = written(&new.join("estimates.json")).filter(|written| *written >= since) else { continue };
        found.push((written, read(&new)?));
    }
    found.sort_by_key(|(written, _)| *written);
    Ok(found.into_iter().map(|(_, bench)| bench).collect())
}

fn written(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// The folders `home/group/bench`.
pub fn benches(home: &Path) -> impl Iterator<Item = PathBuf> {
    folders(home).flat_map(|group| folders(&group).collect::<Vec<_>>())
}

/// All in the folder `path`.
pub fn folders(path: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn read(new: &Path) -> Result<Bench> {
    let Benchmark { full_id } = read_json(&new.join("benchmark.json"))?;
    let estimates: Estimates = read_json(&new.join("estimates.json"))?;
    let Sample { iters, .. } = read_json(&new.join("sample.json"))?;
    let counted: Option<Counted> = counts(new).map(|counts| read_json(&counts)).transpose()?;
    Ok(Bench {
        id: full_id,
        median_ns: estimates.median.interval(),
        mean_ns: estimates.mean.interval(),
        std_dev_ns: estimates.std_dev.point_estimate,
        samples: iters.len(),
        round_trips: counted.as_ref().map(|counted| counted.round_trips),
        wire_bytes: counted.as_ref().and_then(|counted| counted.wire_bytes),
        allocations: counted.as_ref().and_then(|counted| counted.allocations),
        law: counted.and_then(|counted| counted.law()),
    })
}

fn read_json<T: for<'a> Deserialize<'a>>(path: &Path) -> Result<T> {
    let what = || format!("cannot read {}", path.display());
    let text = fs::read_to_string(path).with_context(what)?;
    serde_json::from_str(&text).with_context(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, median: f64) {
        fs::create_dir_all(folder).unwrap();
        let estimate = |value: f64| {
            format!(r#"{{"point_estimate":{value},"confidence_interval":{{"lower_bound":1.0,"upper_bound":9.0}}}}"#)
        };
        let estimates =
            format!(r#"{{"mean":{},"median":{},"std_dev":{}}}"#, estimate(5.0), estimate(median), estimate(0.5));
        fs::write(folder.join("benchmark.json"), r#"{"full_id":"auth/hs256"}"#).unwrap();
        fs::write(folder.join("sample.json"), r#"{"iters":[1.0,2.0],"times":[4.0,8.0]}"#).unwrap();
        fs::write(folder.join("estimates.json"), estimates).unwrap();
    }

    #[test]
    fn only_what_was_measured_since_then_is_read() {
        let home = tempfile::tempdir().unwrap();
        write(&home.path().join("auth/hs256/new"), 4.0);
        write(&home.path().join("auth/hs256/main"), 8.0);
        let measured_since = |since| measured(home.path(), since).unwrap();
        let all = measured_since(SystemTime::UNIX_EPOCH);
        assert_eq!(all.len(), 1, "a baseline is no measurement");
        assert_eq!((&*all[0].id, all[0].median_ns.estimate, all[0].samples), ("auth/hs256", 4.0, 2));
        assert_eq!(all[0].round_trips, None);
        assert!(measured_since(SystemTime::now() + std::time::Duration::from_secs(60)).is_empty());
        let has = |group, name| has_baseline(home.path(), group, name);
        assert!(has("auth", "main") && !has("auth", "other") && !has("tenant", "main"));
    }

    #[test]
    fn what_was_counted_is_read_with_it_unless_it_is_of_an_earlier_measurement() {
        let home = tempfile::tempdir().unwrap();
        let new = home.path().join("connection/new-tls/new");
        write(&new, 4.0);
        let points = r#"[{"distance_ms":10,"time_ms":69},{"distance_ms":50,"time_ms":309}]"#;
        fs::write(new.join(COUNTS), format!(r#"{{"round_trips":6,"points":{points}}}"#)).unwrap();
        let only = || measured(home.path(), SystemTime::UNIX_EPOCH).unwrap().remove(0);
        assert_eq!((only().round_trips, only().law.unwrap().work_ms), (Some(6), 9.0));
        let later = SystemTime::now() + std::time::Duration::from_secs(60);
        fs::File::options().write(true).open(new.join("estimates.json")).unwrap().set_modified(later).unwrap();
        assert_eq!(only().round_trips, None);
    }
}
