//! One run: its evidence, written as it grows, and its end.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tare_evidence::{
    AFTER, Changes, Config, Evidence, OLDEST, Postgres, Published, Run, Step, Targets, VERSION, Versioned, compare,
    judge, missed,
};
use tare_testbed::{Fixture, Measuring, Network, Server, Size, Testbed};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use tokio_util::sync::CancellationToken;

use crate::Ending;
use crate::cli::{Format, Judged, Postgres as Asked};
use crate::kept::{EVIDENCE, Folder, runs, write_atomically};
use crate::progress::{Planned, Progress, words};
use crate::{github, machine, report, workspace};

/// How long a step may take to end in its own way once the run is stopped.
const GRACE: Duration = Duration::from_secs(1);
/// Earlier runs that are looked at for how long steps take.
const EARLIER: usize = 20;
/// The name of the step that finds PostgreSQL.
pub const POSTGRES: &str = "PostgreSQL";

/// What a run is.
#[derive(Clone, Copy)]
pub struct Begin<'a> {
    pub command: &'a str,
    /// Between the service and its database.
    pub network: Network,
    pub quick: bool,
}

/// One run.
pub struct Session {
    pub evidence: Evidence,
    pub progress: Progress,
    pub stop: CancellationToken,
    /// Distances to predict for, in milliseconds.
    pub predicted: Vec<f64>,
    /// What the run is told as in the end.
    pub format: Format,
    config: Config,
    folder: Folder,
    /// Nothing where it cannot be told whether others measure, too.
    measuring: Option<Measuring>,
}

impl Session {
    /// Reads what the run is held to, and makes sure that its evidence can be written: finding out after minutes of measuring
    /// would lose them.
    pub fn begin(
        Begin { command, network, quick }: Begin<'_>,
        judged: &Judged,
        plan: &[(String, Duration)],
        stop: CancellationToken,
    ) -> Result<Self> {
        let config = read_config(&judged.config)?;
        let command = match network {
            Network::LOOPBACK => command.to_owned(),
            network => format!("{command} --network {network}"),
        };
        let now = OffsetDateTime::now_utc();
        let commit = machine::commit();
        let output =
            if judged.output.is_absolute() { judged.output.clone() } else { workspace::root().join(&judged.output) };
        let earlier = earlier_steps(&output, &command);
        let plan = plan.iter().map(|(name, usual)| Planned {
            name: name.clone(),
            expected: earlier
                .iter()
                .find(|step| step.name == *name)
                .map_or(*usual, |step| Duration::from_secs_f64(step.seconds)),
        });
        let plan: Vec<_> = plan.collect();
        let name = folder_name(now, commit.as_ref().map(|(commit, _)| &**commit));
        let run = Run {
            command,
            started_at: now.replace_nanosecond(0)?.format(&Rfc3339)?,
            dirty: commit.as_ref().is_some_and(|(_, dirty)| *dirty),
            commit: commit.map(|(commit, _)| commit),
            quick,
            interrupted: false,
            network: described(network),
            beside: Vec::new(),
        };
        let evidence = Evidence::begun(run, machine::machine());
        preflight(&evidence, &plan);
        let folder = Folder::new(&output, &name)?;
        let measuring = begin_measuring(&evidence.run.command);
        let mut session = Self {
            evidence,
            progress: Progress::new(plan),
            stop,
            predicted: Vec::new(),
            format: Format::Text,
            config,
            folder,
            measuring,
        };
        session.look_beside();
        session.save()?;
        Ok(session)
    }

    /// Tells of others that have come to measure on this machine, and keeps that they did.
    fn look_beside(&mut self) {
        let others = self.measuring.as_ref().map_or_else(Vec::new, Measuring::others);
        for other in &others[self.evidence.run.beside.len()..] {
            self.progress.say(&format!(
                "warning: another run measures on this machine at the same time ({other}); figures of both are disturbed"
            ));
        }
        self.evidence.run.beside = others;
    }

    /// Does `work` as the step `name`: shown while it runs, timed, and given up when the run is stopped.
    pub async fn step<T>(&mut self, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let began = self.begin_step(name);
        let done = self.unless_stopped(name, work).await;
        self.end_step(name, began)?;
        done
    }

    /// A step that is done in parts begins.
    pub fn begin_step(&self, name: &str) -> Instant {
        self.progress.begin(name);
        Instant::now()
    }

    /// It ends.
    pub fn end_step(&mut self, name: &str, began: Instant) -> Result<()> {
        self.evidence.steps.push(Step { name: name.to_owned(), seconds: began.elapsed().as_secs_f64() });
        self.look_beside();
        self.save()
    }

    /// Does a part of the step `name`, or gives it up when the run is stopped.
    pub async fn unless_stopped<T>(&self, name: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
        let stopped = async {
            self.stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            done = work => done,
            () = stopped => bail!("interrupted during {name}"),
        }
    }

    /// The step that finds or starts PostgreSQL and puts the fixture in it.
    pub async fn testbed(&mut self, asked: Asked) -> Result<Testbed> {
        let progress = self.progress.clone();
        let testbed = self
            .step(POSTGRES, async {
                let say = |line: &str| progress.say(line);
                Ok(Testbed::find_or_start(asked.provider, asked.size(), &say).await?)
            })
            .await?;
        let postgres = describe(&testbed.fixture);
        let tls = if postgres.tls { "TLS" } else { "no TLS" };
        self.progress.say(&format!("measuring against PostgreSQL {} ({}, {tls})", postgres.version, postgres.provider));
        self.evidence.postgres = Some(postgres);
        self.save()?;
        Ok(testbed)
    }

    /// Writes the evidence so far: whole, or not at all.
    pub fn save(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.evidence)?;
        write_atomically(&self.beside(EVIDENCE), &text)
    }

    /// What every fix together must reach on this run's network.
    pub fn targets(&self) -> Vec<Targets> {
        self.config.targets(&self.evidence.run.network.name, AFTER).copied().collect()
    }

    /// What was found of two states so far.
    ///
    /// # Panics
    /// When none are compared.
    pub fn changes(&mut self) -> &mut Changes {
        self.evidence.changes.as_mut().expect("two states are compared")
    }

    /// More to be said of them.
    pub fn remark(&mut self, remarks: impl IntoIterator<Item = String>) {
        let all = &mut self.changes().remarks;
        for remark in remarks {
            if !all.contains(&remark) {
                all.push(remark);
            }
        }
    }

    /// What it is held to.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A file beside the evidence.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path.join(name)
    }

    /// Judges what was measured, writes it, shows it. When `measured` failed, what there is until then is kept all the same.
    pub fn finish(mut self, measured: Result<()>) -> Result<Ending> {
        self.progress.end();
        self.look_beside();
        self.evidence.run.interrupted = self.stop.is_cancelled();
        if !self.evidence.run.interrupted && measured.is_err() {
            self.save()?;
            return measured.map(|()| Ending::Met);
        }
        self.evidence.comparison = compare(&read_published()?, &self.evidence);
        if !self.evidence.run.interrupted {
            // Beside what a command judged by itself.
            let judged = judge(&self.config, &self.evidence);
            self.evidence.checks.extend(judged);
            let changed: Vec<_> = self.evidence.changes.iter().flat_map(Changes::checks).collect();
            self.evidence.checks.extend(changed);
        }
        self.save()?;
        let summary = self.beside("summary.md");
        let markdown = tare_report::markdown(&self.evidence, &self.predicted);
        write_atomically(&summary, &markdown)?;
        report::write_page(&self.evidence, &self.predicted, &self.folder.path)?;
        self.write_for_ci()?;
        show(&match self.format {
            Format::Text => tare_report::terminal_summary(&self.evidence, &self.predicted),
            Format::Markdown => markdown.clone(),
            Format::Json => serde_json::to_string_pretty(&self.evidence)?,
        });
        eprintln!("evidence: {}", shown(&self.beside(EVIDENCE)));
        eprintln!("summary:  {}", shown(&summary));
        eprintln!("report:   {}", shown(&self.beside(report::PAGE)));
        github::tell(&self.evidence, &markdown, self.format);
        Ok(match missed(&self.evidence.checks).next() {
            _ if self.evidence.run.interrupted => Ending::Interrupted,
            Some(_) => Ending::Missed,
            None => Ending::Met,
        })
    }

    /// What CI systems read, beside the evidence.
    fn write_for_ci(&self) -> Result<()> {
        if !self.evidence.run.interrupted && !self.evidence.checks.is_empty() {
            write_atomically(&self.beside("junit.xml"), &tare_report::junit(&self.evidence))?;
        }
        if self.evidence.changes.is_some() {
            write_atomically(&self.beside("pull-request.md"), &tare_report::pull_request(&self.evidence))?;
        }
        Ok(())
    }
}

fn begin_measuring(command: &str) -> Option<Measuring> {
    let begun = Measuring::begin(command);
    begun
        .inspect_err(|error| {
            eprintln!("warning: it cannot be told whether another run measures on this machine: {error}")
        })
        .ok()
}

/// Writes to standard output. Whoever reads it may have read enough (`| head`): that is no failure.
pub fn show(text: &str) {
    let _ = writeln!(std::io::stdout(), "{}", text.strip_suffix('\n').unwrap_or(text));
}

/// Evidence written earlier, and understood by this version.
pub fn read_evidence(path: &Path) -> Result<Evidence> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let what = || format!("{} is not evidence of a run", path.display());
    let Versioned { version } = serde_json::from_str(&text).with_context(what)?;
    if !(OLDEST..=VERSION).contains(&version) {
        bail!(
            "{} has version {version}, and this reads {OLDEST} to {VERSION}; run it again, or use the commit that wrote it",
            path.display()
        );
    }
    serde_json::from_str(&text).with_context(what)
}

fn preflight(evidence: &Evidence, plan: &[Planned]) {
    let machine = &evidence.machine;
    eprintln!("{} × {}, {} GiB, load {:.2}", machine.cores, machine.cpu, machine.memory_bytes >> 30, machine.load);
    if machine.load > machine.cores as f64 / 2.0 {
        eprintln!("warning: something else is busy on this machine; times will be noisy, and ratios less so");
    }
    let steps: Vec<_> = plan.iter().map(|step| format!("{} {}", step.name, words(step.expected))).collect();
    let whole = plan.iter().map(|step| step.expected).sum();
    eprintln!("{}: about {} ({})", evidence.run.command, words(whole), steps.join(", "));
}

fn described(network: Network) -> tare_evidence::Network {
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    tare_evidence::Network {
        name: network.to_string(),
        round_trip_ms: milliseconds(network.round_trip),
        jitter_ms: milliseconds(network.jitter),
        bandwidth_bps: network.bandwidth,
    }
}

fn describe(fixture: &Fixture) -> Postgres {
    let server: &Server = fixture.server();
    let Size { tenants, yachts, parts } = fixture.size();
    Postgres {
        provider: server.provider().to_string(),
        version: server.version().to_owned(),
        tls: server.has_tls(),
        settings: server.settings().iter().cloned().collect(),
        tenants,
        parts: tenants * yachts * parts,
    }
}

/// What runs are held to.
pub fn read_config(path: &Path) -> Result<Config> {
    let path = workspace::resolve(path);
    let text = fs::read_to_string(&path).with_context(|| {
        format!("cannot read targets and budgets from {}; --config names another file", path.display())
    })?;
    Config::parse(&text)
        .with_context(|| format!("{} is not understood; fixtures/perf.toml shows what it may hold", path.display()))
}

/// The figures that started this. They are in the program, which may be far from its checkout.
pub fn read_published() -> Result<Published> {
    const PUBLISHED: &str = include_str!("../../fixtures/published.toml");
    Published::parse(PUBLISHED).context("fixtures/published.toml is not understood")
}

/// `20261124T142530Z-a1830aa`.
fn folder_name(now: OffsetDateTime, commit: Option<&str>) -> String {
    let time = now.format(format_description!("[year][month][day]T[hour][minute][second]Z"));
    let commit = commit.map_or("no-commit", |commit| &commit[..commit.len().min(9)]);
    format!("{}-{commit}", time.expect("the time of day has every part"))
}

/// How long steps took in the latest runs of the same command, the latest first.
fn earlier_steps(output: &Path, command: &str) -> Vec<Step> {
    let evidence = runs(output).into_iter().rev().take(EARLIER).map(|folder| read_evidence(&folder.join(EVIDENCE)));
    let complete = evidence.flatten().filter(|evidence| evidence.run.command == command && !evidence.run.interrupted);
    complete.flat_map(|evidence| evidence.steps).collect()
}

/// Relative to the current folder where that is shorter.
pub fn shown(path: &Path) -> String {
    let current = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(current).unwrap_or(path).display().to_string()
}
