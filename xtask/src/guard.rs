//! Processes that do not outlive this one, however it ends.

use std::process::{ExitStatus, Output, Stdio};

use anyhow::{Context, Result};
use tare_testbed::Reaper;
use tokio::process::{Child, Command};

/// A process and all that it started. They are gone when it has been waited for, when this is dropped, and when this process is
/// killed.
pub struct Guarded {
    pub child: Child,
    // Ends the group.
    _reaper: Reaper,
}

impl Guarded {
    /// Starts `command` in a process group of its own: Ctrl-C is for this process, which then ends the group.
    pub fn spawn(command: &mut Command) -> Result<Self> {
        let program = command.as_std().get_program().to_owned();
        let child = command.process_group(0).kill_on_drop(true).spawn();
        let child = child.with_context(|| format!("cannot run {}", program.display()))?;
        let group = child.id().context("the process that was just started")?.to_string();
        let reaper =
            Reaper::new(r#"kill -KILL -- "-$1""#, &[&group]).context("starting /bin/sh to clean up after us")?;
        Ok(Self { child, _reaper: reaper })
    }

    /// Waits until it ends by itself.
    pub async fn wait(mut self) -> Result<ExitStatus> {
        Ok(self.child.wait().await?)
    }

    /// Runs `command` without input to its end, and returns what it said.
    pub async fn output(command: &mut Command) -> Result<Output> {
        let guarded = Self::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        guarded.said().await
    }

    /// Waits until it ends by itself, and returns what it said.
    pub async fn said(self) -> Result<Output> {
        let Self { child, _reaper } = self;
        Ok(child.wait_with_output().await?)
    }
}
