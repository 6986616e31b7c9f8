//! The built-in server as a process of its own.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use tare_gateway::{Fix, Strategy};
use tare_testbed::{AUDIENCE, Bouncer, ISSUER, PrivateFolder, Testbed};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;

use crate::progress::Progress;

/// Bytes of its complaints that are kept.
const KEPT: u64 = 4_000;

/// How the server works.
#[derive(Clone, Copy)]
pub struct Way<'a> {
    pub strategy: Strategy,
    /// Requests worked on at a time, when not all there are.
    pub workers: Option<u16>,
    /// What it connects to in the place of PostgreSQL.
    pub bouncer: Option<&'a Bouncer>,
    /// More of what it is told.
    pub options: &'a [&'a str],
}

impl Way<'_> {
    /// Under `strategy`, as usual.
    pub fn of(strategy: Strategy) -> Self {
        Self { strategy, workers: None, bouncer: None, options: &[] }
    }
}

/// A running server. Ends when it is stopped, when it is dropped, and when this process is gone.
pub struct Service {
    process: Child,
    complaints: JoinHandle<String>,
    url: String,
    /// Its audit queue; beside the program, for temporary folders may be in memory.
    _queue: PrivateFolder,
}

impl Service {
    /// Starts `program` on the testbed, with the indexes that its strategy has, and waits until it listens.
    pub async fn start(program: &Path, testbed: &Testbed, way: Way<'_>, address: SocketAddr) -> Result<Self> {
        let (fixture, Way { strategy, workers, bouncer, options }) = (&testbed.fixture, way);
        fixture.set_indexes(strategy.has(Fix::Indexes)).await?;
        let server = fixture.server();
        let queue = PrivateFolder::new_in(program.parent().unwrap_or(Path::new(".")));
        let queue = queue.context("there is no folder for the server's audit queue")?;
        let control = match bouncer {
            Some(bouncer) => bouncer.url(fixture.control()),
            None => fixture.control().url_at(server, testbed.address()),
        };
        let mut command = Command::new(program);
        command
            .arg("--audit-queue")
            .arg(queue.path().join("queue"))
            .args(["--strategy", &strategy.to_string(), "--address", &address.to_string()])
            .args(options)
            .args(workers.map(|workers| format!("--workers={workers}")))
            .args(["--issuer", ISSUER, "--audience", AUDIENCE, "--until-stdin-ends"])
            .env("TARE_CONTROL_URL", control)
            .env("TARE_JWT_SECRET", fixture.secret().expose())
            .env_remove("TARE_JWKS")
            .env_remove("TARE_ROOT_CERTIFICATE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C is for this process, which then ends the server in its own time.
            .process_group(0)
            .kill_on_drop(true);
        if let Some(root) = server.root_certificate() {
            command.env("TARE_ROOT_CERTIFICATE", root);
        }
        let mut process = command.spawn().with_context(|| format!("cannot run {}", program.display()))?;
        queue.kills(process.id().context("the server that was just started")?)?;
        let stdout = process.stdout.take().context("the server's output")?;
        let complaints = tokio::spawn(keep(process.stderr.take().context("the server's output")?));
        let line = BufReader::new(stdout).lines().next_line().await?;
        match line.as_deref().and_then(|line| line.strip_prefix("listening on ")) {
            Some(url) => Ok(Self { url: url.to_owned(), process, complaints, _queue: queue }),
            None => {
                let said = complaints.await?;
                bail!("the server did not start: {}", said.trim().trim_start_matches("tare-server: "))
            }
        }
    }

    /// Its process, while there is one.
    pub fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Where actions are executed.
    pub fn url(&self) -> String {
        format!("{}/v1/actions/execute", self.url)
    }

    /// Where it tells its metrics.
    pub fn metrics_url(&self) -> String {
        format!("{}/metrics", self.url)
    }

    /// Lets it finish what is under way and write what is queued; what it complained about is returned.
    pub async fn stop(mut self) -> Result<String> {
        drop(self.process.stdin.take());
        let status = self.process.wait().await?;
        let said = self.complaints.await?;
        match status.success() {
            true => Ok(said),
            false => bail!("the server ended with {status}: {}", said.trim()),
        }
    }

    /// The same, with what it complained about in the file `log`.
    pub async fn stop_into(self, log: &Path, progress: &Progress) -> Result<()> {
        let complaints = self.stop().await?;
        if !complaints.is_empty() {
            std::fs::write(log, complaints).with_context(|| format!("cannot write {}", log.display()))?;
            progress.say(&format!("the server complained; what it said is in {}", log.display()));
        }
        Ok(())
    }
}

/// The first of what it says; the rest is read, so that it can go on, and thrown away.
async fn keep(stderr: ChildStderr) -> String {
    let mut text = Vec::new();
    let mut first = stderr.take(KEPT);
    // A pipe that breaks has said all it will.
    let _ = first.read_to_end(&mut text).await;
    let _ = tokio::io::copy(&mut first.into_inner(), &mut tokio::io::sink()).await;
    String::from_utf8_lossy(&text).into_owned()
}
