//! Two states compared, as processes: to the end, interrupted and killed.

mod bed;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant, SystemTime};

use bed::{Ended, config, eventually, evidence, folder, refused, run, text, xtask};
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

/// What the checkout has compiled, and when.
fn compiled() -> BTreeMap<PathBuf, SystemTime> {
    let profile = Path::new(env!("CARGO_BIN_EXE_xtask")).parent().unwrap();
    let folders = fs::read_dir(profile.join(".fingerprint")).unwrap().map(|entry| entry.unwrap().path());
    let folders = folders.chain([profile.join("deps")]);
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap());
    files.map(|file| file.unwrap()).map(|file| (file.path(), file.metadata().unwrap().modified().unwrap())).collect()
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

/// Whether any process is of a comparison: runs what one has built, or works in its worktree, as cargo and the compiler do.
fn runs() -> bool {
    let processes = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
    let is_of_one = |process: PathBuf| {
        let command = fs::read(process.join("cmdline")).unwrap_or_default();
        let folder = fs::read_link(process.join("cwd")).unwrap_or_default();
        [String::from_utf8_lossy(&command), folder.to_string_lossy()]
            .iter()
            .any(|text| text.contains("target/compare/"))
    };
    processes.into_iter().any(is_of_one)
}

/// One after the other: only one comparison can be under way in a checkout.
#[test]
fn a_comparison_ends_in_every_way_without_a_trace() {
    if !workspace().join(".git").exists() {
        eprintln!("not tried: the sources are in no git repository");
        return;
    }
    let (before, compiled_before, output) = (checkout(), compiled(), folder());
    let worktree = workspace().join("target/compare/worktree");
    let no_trace = |when: &str| {
        eventually(when, || checkout() == before && !worktree.exists() && !runs());
    };
    let mut killed = until("build ", compare(&output, &["HEAD", "--only", "response"]));
    // It compiles in its worktree. An earlier run of this test may have built the same code: then there is nothing to wait for.
    let (began, compiles) = (Instant::now(), || worktree.exists() && runs());
    while !compiles() && began.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
    }
    send("-KILL", &killed);
    killed.wait().unwrap();
    no_trace("killed while it builds");

    let mut interrupted = until("count", compare(&output, &["HEAD", "--only", "response"]));
    send("-INT", &interrupted);
    assert_eq!(interrupted.wait().unwrap().code(), Some(2));
    no_trace("interrupted while it counts");

    for signal in ["-TERM", "-KILL"] {
        let mut stopped = until("measure in turns", compare(&output, &["HEAD", "HEAD", "--only", "response"]));
        send(signal, &stopped);
        stopped.wait().unwrap();
        no_trace(&format!("{signal} while it measures"));
    }

    let output = folder();
    let Ended { code, shown, said } = run(compare(&output, &["HEAD", "HEAD", "--only", "response"]));
    assert_eq!(code, Some(0), "{shown}\n{said}");
    no_trace("ended");
    assert!(compiled() == compiled_before, "cargo would take what was compiled of another state for the checkout's");
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
