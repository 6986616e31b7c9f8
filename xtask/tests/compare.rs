//! Two states compared, as processes: to the end, interrupted and killed.

mod bed;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bed::{Ended, config, evidence, folder, refused, run, text, xtask};
use tempfile::TempDir;

fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn git(arguments: &[&str]) -> String {
    let output = Command::new("git").args(arguments).current_dir(workspace()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// All that a comparison could leave of itself in the user's checkout.
fn checkout() -> [String; 4] {
    [&["worktree", "list"][..], &["branch", "--list"], &["status", "--porcelain"], &["stash", "list"]].map(git)
}

fn compare(output: &TempDir, arguments: &[&str]) -> Command {
    let config = config(output, "[compare]\nthreshold = 0.5\n");
    let usual = ["--parts", "1000", "--time-limit", "90", "--output", text(output.path()), "--config", text(&config)];
    xtask(&[&["compare"], arguments, &usual].concat())
}

/// Starts a comparison, and waits until it says a line that begins with `line`.
fn until(line: &'static str, mut command: Command) -> Child {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let (said, heard) = channel();
    // All of it is read, so that it can go on talking.
    std::thread::spawn(move || stderr.lines().map_while(Result::ok).for_each(|line| drop(said.send(line))));
    let all: Vec<_> = heard.iter().take_while(|said| !said.starts_with(line)).collect();
    if child.try_wait().unwrap().is_some() {
        panic!("it ended before {line:?}: {all:#?}");
    }
    child
}

fn send(signal: &str, child: &Child) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
}

/// Whether any process has `what` in its command line.
fn runs(what: &str) -> bool {
    let ours = std::process::id().to_string();
    let found = Command::new("pgrep").args(["--full", "--", what]).output().unwrap();
    String::from_utf8(found.stdout).unwrap().lines().any(|process| process != ours)
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One after the other: only one comparison can be under way in a checkout.
#[test]
fn a_comparison_ends_in_every_way_without_a_trace() {
    if !workspace().join(".git").exists() {
        eprintln!("not tried: the sources are in no git repository");
        return;
    }
    let (before, output) = (checkout(), folder());
    let no_trace = |when: &str| {
        eventually(when, || checkout() == before && !runs("target/compare/"));
        assert!(!workspace().join("target/compare/worktree").exists(), "{when}");
    };
    // The first builds, unless an earlier run of this test has: then it is killed while it counts.
    let mut killed = until("build ", compare(&output, &["HEAD", "--only", "response"]));
    send("-KILL", &killed);
    killed.wait().unwrap();
    no_trace("killed while it builds");

    let mut interrupted = until("count", compare(&output, &["HEAD", "--only", "response"]));
    send("-INT", &interrupted);
    assert_eq!(interrupted.wait().unwrap().code(), Some(2));
    no_trace("interrupted while it counts");

    let output = folder();
    let Ended { code, shown, said } = run(compare(&output, &["HEAD", "HEAD", "--only", "response"]));
    assert_eq!(code, Some(0), "{shown}\n{said}");
    no_trace("ended");
    let (_, evidence) = evidence(&output);
    let changes = evidence["changes"]["changes"].as_array().unwrap();
    let of = |figure: &str| changes.iter().filter(|change| change["figure"] == figure).collect::<Vec<_>>();
    assert_eq!((of("time").len(), of("round-trips").len()), (3, 3), "{changes:?}");
    assert!(of("round-trips").iter().all(|change| change["verdict"] == "same"), "{changes:?}");
    assert!(of("time").iter().all(|change| change["pairs"].as_u64() >= Some(6)), "{changes:?}");
    let remarks = evidence["changes"]["remarks"].as_array().unwrap();
    assert_eq!(remarks[0], "Both are the same code: what differs is noise.");
}

#[test]
fn what_cannot_be_compared_is_refused_before_anything_is_started() {
    let output = folder();
    refused(compare(&output, &["no-such-branch"]), &["no-such-branch", "git fetch"]);
}
