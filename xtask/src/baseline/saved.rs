//! What a baseline was saved on.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tare_evidence::{Bench, Evidence, Machine, Postgres, Run};

use crate::kept::write_whole;

/// The version of the file.
const VERSION: u32 = 1;
/// By what share two medians may differ and be the same one, written and read again.
const ROUNDING: f64 = 1e-9;

/// What Criterion does not keep of a baseline: `baseline-NAME.json` in Criterion's home. Criterion overwrites what is measured
/// again and leaves the rest, so each bench executable has its own entry.
#[derive(Debug, Serialize, Deserialize)]
pub struct Saved {
    version: u32,
    /// By the name of the executable.
    pub benches: BTreeMap<String, On>,
}

/// What a bench executable was saved on.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct On {
    pub run: Run,
    pub machine: Machine,
    pub postgres: Option<Postgres>,
    /// Whether the compiler optimised it.
    pub optimised: bool,
    /// The median of each id, by which a later one that something else saved is told.
    medians_ns: BTreeMap<String, f64>,
}

impl Default for Saved {
    fn default() -> Self {
        Self { version: VERSION, benches: BTreeMap::new() }
    }
}

impl On {
    /// What `benches` of a run were measured on.
    pub fn of(evidence: &Evidence, benches: &[Bench]) -> Self {
        Self {
            run: evidence.run.clone(),
            machine: evidence.machine.clone(),
            postgres: evidence.postgres.clone(),
            optimised: !cfg!(debug_assertions),
            medians_ns: benches.iter().map(|bench| (bench.id.clone(), bench.median_ns.estimate)).collect(),
        }
    }

    /// Whether the measurement of `id` with this median is the one that was saved then.
    pub fn is_of(&self, id: &str, median_ns: f64) -> bool {
        self.medians_ns.get(id).is_some_and(|saved| (saved - median_ns).abs() <= saved.abs() * ROUNDING)
    }

    /// Whether counts of both are of the same: the same server, fixtures and profile.
    pub fn counts_alike(&self, now: &Self) -> bool {
        [server, fixtures, profile].iter().all(|fact| fact(self) == fact(now))
    }

    /// In what this differs from `now` so that its times may: what follows `it was saved`.
    pub fn differences(&self, now: &Self) -> Vec<String> {
        let facts: [(&str, Fact); 7] = [
            ("on another machine", machine),
            ("on another system", |on| on.machine.system.clone()),
            ("against another server", server),
            ("with other fixtures", fixtures),
            ("on another network", |on| on.run.network.name.clone()),
            ("with another number of samples", |on| if on.run.quick { "--quick" } else { "all" }.into()),
            ("in another profile", profile),
        ];
        let facts = facts.into_iter().map(|(what, fact)| (what.to_owned(), fact(self), fact(now)));
        let settings = |on: &Self| on.postgres.as_ref().map(|postgres| postgres.settings.clone()).unwrap_or_default();
        let settings_now = settings(now);
        let settings = settings(self).into_iter().filter_map(|(name, then)| {
            let now = settings_now.get(&name)?.clone();
            Some((format!("with another {name}"), then, now))
        });
        let differ = facts.chain(settings).filter(|(_, then, now)| then != now);
        differ.map(|(what, then, now)| format!("{what}: {then} then, {now} now")).collect()
    }
}

/// Something that two may differ in.
type Fact = fn(&On) -> String;

fn machine(on: &On) -> String {
    let Machine { cores, cpu, memory_bytes, .. } = &on.machine;
    format!("{cores} × {cpu}, {} GiB", memory_bytes >> 30)
}

fn server(on: &On) -> String {
    let Some(postgres) = &on.postgres else { return "none".into() };
    let tls = if postgres.tls { "TLS" } else { "no TLS" };
    format!("PostgreSQL {} ({}, {tls})", postgres.version, postgres.provider)
}

fn fixtures(on: &On) -> String {
    let Some(postgres) = &on.postgres else { return "none".into() };
    format!("{} parts of {} tenants", postgres.parts, postgres.tenants)
}

fn profile(on: &On) -> String {
    if on.optimised { "optimised" } else { "not optimised" }.into()
}

/// Where it is.
pub fn path(home: &Path, name: &str) -> PathBuf {
    home.join(format!("baseline-{name}.json"))
}

/// What is known of the baseline `name`. Of what `cargo bench` saved, nothing.
pub fn read(home: &Path, name: &str) -> Result<Saved> {
    let path = path(home, name);
    match fs::read(&path) {
        Ok(text) => parse(&text).with_context(|| format!("cannot read {}", path.display())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Saved::default()),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The text of such a file, understood.
pub fn parse(text: &[u8]) -> Result<Saved> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let Versioned { version } =
        serde_json::from_slice(text).context("it does not tell what a baseline was saved on")?;
    if version != VERSION {
        bail!("it has version {version} and this is for version {VERSION}; save the baseline again");
    }
    serde_json::from_slice(text).context("it does not tell what a baseline was saved on")
}

/// Keeps that the bench executable `bench` was saved as `name` just now.
pub fn keep(home: &Path, name: &str, bench: &str, on: On) -> Result<()> {
    // What cannot be understood says nothing of the others, which are then not known.
    let mut saved = read(home, name).unwrap_or_default();
    saved.benches.insert(bench.to_owned(), on);
    let path = path(home, name);
    let text = serde_json::to_string_pretty(&saved)?;
    write_whole(&path, &text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use tare_evidence::Interval;

    use super::*;

    fn postgres(version: &str) -> Postgres {
        let settings = BTreeMap::from([("shared_buffers".to_owned(), "128MB".to_owned())]);
        Postgres { provider: "system".into(), version: version.into(), tls: true, settings, tenants: 5, parts: 1000 }
    }

    fn on(cpu: &str, version: &str) -> On {
        let machine = Machine { cpu: cpu.into(), cores: 2, memory_bytes: 8 << 30, ..Machine::default() };
        let evidence = Evidence { postgres: Some(postgres(version)), ..Evidence::begun(Run::default(), machine) };
        let median_ns = Interval { estimate: 1_234.567_891_234, ..Interval::default() };
        On::of(&evidence, &[Bench { id: "auth/hs256".into(), median_ns, ..Bench::default() }])
    }

    #[test]
    fn each_executable_keeps_what_it_was_saved_on() {
        let home = tempfile::tempdir().unwrap();
        assert!(read(home.path(), "main").unwrap().benches.is_empty(), "what was never saved is not known");
        keep(home.path(), "main", "auth", on("one", "15.8")).unwrap();
        keep(home.path(), "main", "tenant", on("one", "15.8")).unwrap();
        keep(home.path(), "main", "auth", on("other", "15.8")).unwrap();
        let saved = read(home.path(), "main").unwrap();
        let cpus: Vec<_> = saved.benches.iter().map(|(bench, on)| (&**bench, &*on.machine.cpu)).collect();
        assert_eq!(cpus, [("auth", "other"), ("tenant", "one")]);
        let auth = &saved.benches["auth"];
        assert!(auth.is_of("auth/hs256", 1_234.567_891_234));
        assert!(!auth.is_of("auth/hs256", 1234.5) && !auth.is_of("auth/none", 1.0), "something else saved it since");
    }

    #[test]
    fn what_is_not_understood_is_told_and_may_be_saved_again() {
        let home = tempfile::tempdir().unwrap();
        for (text, reason) in
            [("{", "does not tell"), ("{\"version\":9,\"benches\":{}}", "version 9"), ("[]", "does not tell")]
        {
            fs::write(path(home.path(), "main"), text).unwrap();
            let refused = format!("{:#}", read(home.path(), "main").unwrap_err());
            assert!(refused.contains("baseline-main.json") && refused.contains(reason), "{refused}");
        }
        keep(home.path(), "main", "auth", on("one", "15.8")).unwrap();
        assert_eq!(read(home.path(), "main").unwrap().benches.len(), 1);
    }

    #[test]
    fn every_difference_is_told_with_both_sides() {
        let then = on("one", "15.8");
        assert_eq!(then.differences(&then), [] as [&str; 0]);
        assert!(then.counts_alike(&then));
        let mut now = on("other", "16.1");
        now.run.quick = true;
        now.run.network.name = "remote".into();
        let settings = &mut now.postgres.as_mut().unwrap().settings;
        settings.insert("shared_buffers".into(), "1GB".into());
        assert_eq!(
            then.differences(&now),
            [
                "on another machine: 2 × one, 8 GiB then, 2 × other, 8 GiB now",
                "against another server: PostgreSQL 15.8 (system, TLS) then, PostgreSQL 16.1 (system, TLS) now",
                "on another network: loopback then, remote now",
                "with another number of samples: all then, --quick now",
                "with another shared_buffers: 128MB then, 1GB now",
            ]
        );
        assert!(!then.counts_alike(&now));
        let mut fewer = on("other", "15.8");
        assert!(then.counts_alike(&fewer), "another machine counts the same");
        fewer.postgres.as_mut().unwrap().parts = 10;
        assert!(!then.counts_alike(&fewer));
    }
}
