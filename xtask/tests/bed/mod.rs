//! Running a command as a process, and what it came to.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub fn xtask(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(arguments).stdin(Stdio::null()).env_remove("TEST_JWT").env_remove("GITHUB_ACTIONS");
    command
}

pub struct Ended {
    pub code: Option<i32>,
    pub shown: String,
    pub said: String,
}

pub fn run(mut command: Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: status.code(), shown: text(stdout), said: text(stderr) }
}

/// Runs a command that cannot measure: it exits with 2 and says why, once, with all of `expected` in it.
pub fn refused(command: Command, expected: &[&str]) {
    let Ended { code, shown, said } = run(command);
    assert_eq!(code, Some(2), "{shown}\n{said}");
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{said}");
    for part in expected {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
    assert!(!said.contains("panicked") && !said.contains("secret"), "{said}");
}

pub fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Writes `text` as targets and budgets.
pub fn config(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("perf.toml");
    fs::write(&path, text).unwrap();
    path
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The only run in `output`.
pub fn evidence(output: &TempDir) -> (PathBuf, Value) {
    let folders: Vec<_> =
        fs::read_dir(output).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    let [folder] = folders.as_slice() else { panic!("{folders:?}") };
    let text = fs::read_to_string(folder.join("evidence.json")).unwrap();
    (folder.clone(), serde_json::from_str(&text).unwrap())
}

/// Waits for something that happens a moment after a process has gone.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
