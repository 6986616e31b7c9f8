//! Both states, and the databases that each is measured on.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tare_testbed::{PrivateFolder, Testbed};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{ChildStdin, Command};

use super::executables::Executables;
use super::git::{Repository, Source};
use crate::bench::executable::Bed;
use crate::cli::Compare;
use crate::guard::Guarded;
use crate::session::Session;

/// The folders that decide what is in a database.
const OF_A_FIXTURE: [&str; 3] = ["fixtures/schema", "fixtures/actions", "crates/testbed"];

/// One state, built.
pub struct Side {
    pub source: Source,
    pub executables: Executables,
}

impl Side {
    pub fn name(&self) -> &str {
        &self.source.state.name
    }
}

/// Both states, ready to be measured.
pub struct Sides {
    /// The base and the head.
    pub both: [Side; 2],
    pub beds: [Bed; 2],
    _folder: PrivateFolder,
    _fixtures: Vec<OwnFixture>,
}

impl Sides {
    /// Gives each state its databases. Where both would make the same ones they share them: two that are equal still differ in how
    /// they lie on the disk.
    pub async fn prepare(
        session: &mut Session,
        repository: &Repository,
        running: &Source,
        both: [Side; 2],
        testbed: &Testbed,
        options: &Compare,
    ) -> Result<Self> {
        let folder = PrivateFolder::new()?;
        let ours = folder.path().join("testbed.json");
        testbed.fixture.hand_over(&ours)?;
        let (mut beds, mut fixtures, mut remarks) = (Vec::new(), Vec::new(), Vec::new());
        let agree = |one: &Source, other: &Source| repository.agree_in(one, other, &OF_A_FIXTURE);
        for (nth, side) in both.iter().enumerate() {
            let first = beds.first().filter(|_| nth == 1 && agree(&both[0].source, &side.source));
            let handover = match (&side.executables.testbed, first) {
                (_, Some(Bed { handover, .. })) => handover.clone(),
                _ if agree(running, &side.source) => ours.clone(),
                (Some(program), None) => {
                    let handover = folder.path().join(format!("testbed-{nth}.json"));
                    let parts = options.postgres.size().all_parts();
                    fixtures.push(OwnFixture::make(program, testbed, &handover, parts).await?);
                    handover
                }
                (None, None) => {
                    remarks.push(format!(
                        "{} cannot make its own databases: it is measured on those of this checkout.",
                        side.name()
                    ));
                    ours.clone()
                }
            };
            beds.push(Bed { handover, network: options.postgres.network });
        }
        if beds[0].handover != beds[1].handover {
            remarks.push(
                "Each has databases of its own, for they are not made alike; in part they differ by how they lie on the disk."
                    .into(),
            );
        }
        session.remark(remarks);
        let beds = beds.try_into().ok().context("there are two states")?;
        Ok(Self { both, beds, _folder: folder, _fixtures: fixtures })
    }
}

/// How long it may take to drop its databases.
const DROPPING: Duration = Duration::from_secs(20);

/// A fixture made by the code of a state, in the server that all are measured in.
struct OwnFixture {
    // It ends, and with it the fixture, when this is closed.
    stdin: Option<ChildStdin>,
    process: Guarded,
}

impl Drop for OwnFixture {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // On a server that stays, what it made has to be dropped before it is killed.
        let until = Instant::now() + DROPPING;
        while matches!(self.process.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl OwnFixture {
    async fn make(program: &Path, testbed: &Testbed, handover: &Path, parts: usize) -> Result<Self> {
        let mut command = Command::new(program);
        command
            .arg(handover)
            .arg(parts.to_string())
            .env("DATABASE_URL", testbed.fixture.server().url())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = Guarded::spawn(&mut command)?;
        let stdin = process.child.stdin.take().context("the testbed's input")?;
        let stdout = process.child.stdout.take().context("the testbed's output")?;
        match BufReader::new(stdout).lines().next_line().await?.as_deref() {
            Some("ready") => Ok(Self { stdin: Some(stdin), process }),
            _ => {
                let mut said = String::new();
                let stderr = process.child.stderr.take().context("the testbed's output")?;
                let _ = BufReader::new(stderr).read_to_string(&mut said).await;
                bail!("{} cannot make its databases: {}", program.display(), said.trim())
            }
        }
    }
}
