//! The executables that a run needs, in the profile that this one was built in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::guard::Guarded;
use crate::progress::Progress;
use crate::workspace;

/// The name of the step.
pub const BUILD: &str = "build";
/// The built-in server.
pub const SERVER: &str = "tare-server";

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

/// An executable that cargo has made.
pub struct Executable {
    pub is_bench: bool,
    pub name: String,
    pub path: PathBuf,
}

/// Builds the server, and the benches if they are wanted.
pub async fn build(progress: &Progress, with_benches: bool) -> Result<Built> {
    let benches = if with_benches { &["--bins", "--benches"][..] } else { &["--bins"] };
    let (executables, status) = cargo_build(workspace::root(), None, benches, progress).await?;
    let (mut server, mut benches) = (None, BTreeMap::new());
    for Executable { is_bench, name, path } in executables {
        match is_bench {
            true => drop(benches.insert(name, path)),
            false if name == SERVER => server = Some(path),
            false => {}
        }
    }
    match server {
        Some(server) if status.success() => Ok(Built { server, benches }),
        _ => bail!("cargo build failed; what it said is above"),
    }
}

/// Builds `targets` of the workspace at `root`, in the folder `target` or where cargo usually would, and tells what came of it,
/// also when not all of them could be built. The whole workspace is named, always: a part of it would ask for other features of shared dependencies, and compile them a second time.
pub async fn cargo_build(
    root: &Path,
    target: Option<&Path>,
    targets: &[&str],
    progress: &Progress,
) -> Result<(Vec<Executable>, ExitStatus)> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--workspace", "--message-format=json-render-diagnostics", "--quiet"]).args(targets);
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
    if let Some(target) = target {
        cargo.arg("--target-dir").arg(target);
    }
    cargo.current_dir(root).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut cargo = Guarded::spawn(&mut cargo)?;
    let mut messages = BufReader::new(cargo.child.stdout.take().context("cargo's output")?).lines();
    let mut executables = Vec::new();
    while let Some(line) = messages.next_line().await? {
        let Ok(Message::CompilerArtifact { target, executable, fresh }) = serde_json::from_str(&line) else { continue };
        if !fresh {
            progress.at(format!("compiled {}", target.name));
        }
        let is_bench = match target.kind.first().map(String::as_str) {
            Some("bin") => false,
            Some("bench") => true,
            _ => continue,
        };
        executables.extend(executable.map(|path| Executable { is_bench, name: target.name, path }));
    }
    Ok((executables, cargo.wait().await?))
}
