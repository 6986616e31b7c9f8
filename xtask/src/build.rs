//! The executables that a run needs, in the profile that this one was built in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::progress::Progress;
use crate::workspace;

/// The name of the step.
pub const BUILD: &str = "build";

/// Where the executables are.
pub struct Built {
    pub server: PathBuf,
    benches: BTreeMap<String, PathBuf>,
}

impl Built {
    /// The executable of a bench.
    pub fn bench(&self, name: &str) -> Result<&PathBuf> {
        self.benches.get(name).with_context(|| format!("there is no bench {name}"))
    }
}

#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        target: Target,
        executable: Option<PathBuf>,
        fresh: bool,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds the server, and the benches if they are wanted. The whole workspace is named, always: a part of it would ask for
/// other features of shared dependencies, and compile them a second time.
pub async fn build(progress: &Progress, with_benches: bool) -> Result<Built> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--workspace", "--bins", "--message-format=json-render-diagnostics", "--quiet"]);
    if with_benches {
        cargo.arg("--benches");
    }
    // What `cargo run` tells this process about its own package. Build scripts of dependencies look at some of it and would
    // run again, and with them everything that depends on them.
    for (name, _) in std::env::vars_os() {
        let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "OUT_DIR"];
        if name.to_str().is_some_and(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))) {
            cargo.env_remove(name);
        }
    }
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    cargo.current_dir(workspace::root()).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut cargo = cargo.spawn().context("cannot run cargo")?;
    let mut messages = BufReader::new(cargo.stdout.take().context("cargo's output")?).lines();
    let (mut server, mut benches) = (None, BTreeMap::new());
    while let Some(line) = messages.next_line().await? {
        let Ok(Message::CompilerArtifact { target, executable, fresh }) = serde_json::from_str(&line) else { continue };
        if !fresh {
            progress.at(format!("compiled {}", target.name));
        }
        match (target.kind.first().map(String::as_str), executable) {
            (Some("bin"), Some(path)) if target.name == "tare-server" => server = Some(path),
            (Some("bench"), Some(path)) => drop(benches.insert(target.name, path)),
            _ => {}
        }
    }
    let status = cargo.wait().await?;
    match server {
        Some(server) if status.success() => Ok(Built { server, benches }),
        _ => bail!("cargo build failed; what it said is above"),
    }
}
