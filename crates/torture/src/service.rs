//! The server as a process, and what it holds.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use reqwest::Client;
use tare_testbed::{AUDIENCE, ISSUER};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::Error;

/// How long a start or an orderly end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the server is started.
#[derive(Clone, Debug, Default)]
pub(crate) struct Way {
    /// Arguments beside those that every server has.
    pub(crate) arguments: Vec<OsString>,
    /// The environment, secrets included.
    pub(crate) environment: Vec<(OsString, OsString)>,
}

/// A running server; gone when dropped.
pub(crate) struct Service {
    process: Child,
    pub(crate) url: String,
}

/// What a server holds at a quiet moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Sockets, those to databases that its metrics tell of not counted.
    pub sockets: i64,
    /// Other open files.
    pub files: i64,
    /// Threads.
    pub threads: i64,
    /// Tasks of its runtime, those of connections to databases not counted.
    pub tasks: i64,
    /// Resident memory in bytes.
    pub memory: i64,
}

impl Service {
    pub(crate) async fn start(program: &Path, way: &Way) -> Result<Self, Error> {
        let failed = || Error::server(format!("starting {}", program.display()));
        let mut command = Command::new(program);
        command.args(["--issuer", ISSUER, "--audience", AUDIENCE, "--until-stdin-ends"]).args(&way.arguments);
        command.env_remove("TARE_JWKS").env_remove("TARE_ROOT_CERTIFICATE").env("RUST_LOG", "off");
        command.envs(way.environment.iter().cloned());
        // Ctrl-C is for us, and a server that is killed with us needs no farewell.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0).kill_on_drop(true);
        let mut process = command.spawn().map_err(failed())?;
        let stdout = process.stdout.take().ok_or_else(|| failed()(std::io::Error::other("it has no output")))?;
        let mut lines = BufReader::new(stdout).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await;
        let line = line.map_err(|_| failed()(std::io::ErrorKind::TimedOut.into()))?.map_err(failed())?;
        let url = line.as_deref().and_then(|line| line.strip_prefix("listening on ")).map(str::to_owned);
        let url = url.ok_or_else(|| failed()(std::io::Error::other("it ended, and said why above")))?;
        Ok(Self { process, url })
    }

    /// `kill -9`.
    pub(crate) async fn kill(&mut self) -> Result<(), Error> {
        self.process.kill().await.map_err(Error::server("killing the server"))
    }

    /// Lets it finish what is under way and deliver what it has.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        drop(self.process.stdin.take());
        let ended = tokio::time::timeout(PATIENCE, self.process.wait()).await;
        let failed = || Error::server("stopping the server");
        let status = ended.map_err(|_| failed()(std::io::ErrorKind::TimedOut.into()))?.map_err(failed())?;
        match status.success() {
            true => Ok(()),
            false => Err(failed()(std::io::Error::other(format!("it ended with {status}")))),
        }
    }

    /// The lines of its metrics that have no label, by name; none when it does not answer.
    pub(crate) async fn metrics(&self, client: &Client) -> Metrics {
        let answer = client.get(format!("{}/metrics", self.url)).send().await;
        let text = match answer {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        Metrics(text)
    }

    /// What it holds now, and tells of itself in `metrics`.
    pub(crate) fn leftovers(&self, metrics: &Metrics) -> Option<Leftovers> {
        let process = self.process.id()?;
        let connections = metrics.get("tare_connections")?;
        let mut held = Leftovers { tasks: metrics.get("tare_tasks")? - connections, ..Leftovers::default() };
        let mut sockets = HashSet::new();
        for entry in fs::read_dir(format!("/proc/{process}/fd")).ok()?.flatten() {
            // One that has been closed in the meantime is not held.
            let Ok(file) = fs::read_link(entry.path()) else { continue };
            match file.to_string_lossy().starts_with("socket:") {
                // One socket may be held by several descriptors.
                true => drop(sockets.insert(file)),
                false => held.files += 1,
            }
        }
        held.sockets = sockets.len() as i64 - connections;
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let number = |name: &str| -> Option<i64> {
            status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
        };
        held.threads = number("Threads:")?;
        held.memory = number("VmRSS:")? * 1024;
        Some(held)
    }
}

/// What a server tells of itself.
pub(crate) struct Metrics(String);

impl Metrics {
    pub(crate) fn get(&self, name: &str) -> Option<i64> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
    }
}

/// Memory that a server may grow by, in bytes, from the end of its first round on: what allocators and caches keep.
const MEMORY: i64 = 48 << 20;
/// Files that the store of the audit queue may have more than once.
const FILES: i64 = 16;

impl Leftovers {
    /// Sentences about what is held beyond `before`, and beyond what was held when the server had `settled`.
    pub(crate) fn beyond(self, before: Self, settled: Option<Self>) -> Vec<String> {
        let settled = settled.map_or([None, None], |settled| [Some(settled.files), Some(settled.memory)]);
        let mebibytes = |bytes: i64| bytes >> 20;
        let held = [
            ("sockets", self.sockets, Some(before.sockets), 0),
            ("tasks", self.tasks, Some(before.tasks), 0),
            ("threads", self.threads, Some(before.threads), 0),
            ("files", self.files, settled[0], FILES),
            ("MiB", mebibytes(self.memory), settled[1].map(mebibytes), mebibytes(MEMORY)),
        ];
        let beyond = held.into_iter().filter_map(|(what, now, before, allowed)| {
            before
                .filter(|before| now > before + allowed)
                .map(|before| format!("{now} {what} are held, {before} were before"))
        });
        beyond.collect()
    }
}
