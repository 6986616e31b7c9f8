//! A Docker engine, and Docker Compose of either kind.

use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result, bail};
use tare_testbed::PROJECT;
use tokio::process::Command;

use crate::guard::Guarded;

/// The label by which Compose tells the services of a project apart.
const SERVICE: &str = "com.docker.compose.service";
/// Lines of a command that failed which are told.
const TOLD: usize = 5;

/// How Compose is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compose {
    /// `docker compose`.
    Plugin,
    /// `docker-compose`.
    Program,
}

/// One project of Compose: a file, and what it is told.
pub struct Project<'a> {
    compose: Compose,
    name: &'a str,
    file: &'a Path,
    variables: Vec<(&'static str, String)>,
}

impl<'a> Project<'a> {
    /// The project `name` of the Compose file `file`, which reads `variables`: they may be secrets.
    ///
    /// # Errors
    /// No engine answers, or there is no Compose.
    pub async fn new(name: &'a str, file: &'a Path, variables: Vec<(&'static str, String)>) -> Result<Self> {
        docker(&["version", "--format", "{{.Server.Version}}"]).await.context(
            "no Docker engine answers, and a fleet is made of containers; start one, or send load with `cargo xtask stress`",
        )?;
        let compose = match docker(&["compose", "version"]).await {
            Ok(_) => Compose::Plugin,
            Err(_) => {
                let program = said(Command::new("docker-compose").arg("version")).await;
                program.map(|_| Compose::Program).context(
                    "neither `docker compose` nor docker-compose is installed; \
                     the packages are docker-compose-plugin, or docker-compose (Debian)",
                )?
            }
        };
        Ok(Self { compose, name, file, variables })
    }

    /// Tells it one thing more.
    pub fn tell(&mut self, variable: &'static str, value: String) {
        self.variables.push((variable, value));
    }

    /// Runs a command of Compose; what it wrote to standard output.
    pub async fn run(&self, arguments: &[&str]) -> Result<String> {
        let mut command = match self.compose {
            Compose::Plugin => {
                let mut command = Command::new("docker");
                command.arg("compose");
                command
            }
            Compose::Program => Command::new("docker-compose"),
        };
        command.args(["--project-name", self.name, "--file"]).arg(self.file).args(arguments);
        said(command.envs(self.variables.iter().cloned())).await
    }

    /// The containers of `service` that `filters` let pass, as in `health=healthy`.
    pub async fn containers(&self, service: &str, filters: &[&str]) -> Result<Vec<String>> {
        let labels = [format!("label={PROJECT}={}", self.name), format!("label={SERVICE}={service}")];
        let all = labels.iter().map(String::as_str).chain(filters.iter().copied());
        let mut arguments = vec!["ps", "--all", "--quiet", "--no-trunc"];
        arguments.extend(all.flat_map(|filter| ["--filter", filter]));
        let listed = docker(&arguments).await?;
        Ok(listed.split_whitespace().map(str::to_owned).collect())
    }
}

/// Runs a command of the engine's; what it wrote to standard output.
pub async fn docker(arguments: &[&str]) -> Result<String> {
    said(Command::new("docker").args(arguments)).await
}

/// What a container said last.
pub async fn last_words(container: &str) -> String {
    let logs = Guarded::output(Command::new("docker").args(["logs", "--tail", "3", container])).await;
    logs.map_or_else(|error| error.to_string(), |Output { stderr, .. }| last_lines(&stderr))
}

async fn said(command: &mut Command) -> Result<String> {
    let Output { status, stdout, stderr } = Guarded::output(command.stdin(Stdio::null())).await?;
    if !status.success() {
        let program = command.as_std();
        let asked: Vec<_> = program.get_args().map(|one| one.to_string_lossy()).collect();
        let told = if stderr.is_empty() { &stdout } else { &stderr };
        bail!("{} {} failed: {}", program.get_program().display(), asked.join(" "), last_lines(told));
    }
    Ok(String::from_utf8_lossy(&stdout).into_owned())
}

fn last_lines(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let lines: Vec<_> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(TOLD)..].join("; ")
}
