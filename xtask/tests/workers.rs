//! Several workers of `cargo xtask stress` that send one load together, and `stress merge` of what they left.

mod bed;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::routing::post;
use bed::{Ended, config, evidence, folder, refused, run, text, xtask};
use serde_json::Value;
use tempfile::TempDir;

/// Targets that any pass reaches, and one that none does.
const EASY: &str = "[targets.after]\nsuccess_rate = 0.5\n";
const HARD: &str = "[targets.after]\np95_ms = 0.000001\n";

/// A service, and every body that it has been sent.
async fn serve() -> (String, Arc<Mutex<Vec<String>>>) {
    let bodies = Arc::<Mutex<Vec<String>>>::default();
    let seen = bodies.clone();
    let router = Router::new().route("/", post(async move |body: String| seen.lock().unwrap().push(body)));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await });
    (url, bodies)
}

/// So many seconds from now, as seconds since 1970.
fn ahead(seconds: f64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("{:.3}", now.as_secs_f64() + seconds)
}

/// Worker `share`, which leaves what it finds in a folder of its own in `output`.
fn worker(url: &str, output: &Path, share: &str, start: &str, more: &[&str]) -> Command {
    let folder = output.join(share.replace('/', "-of-"));
    let mut command =
        xtask(&["stress", "--url", url, "--share", share, "--start-at", start, "--output", text(&folder)]);
    command.args(["--body", "{{ seq() }}", "-H", "Content-Type: text/plain", "--warmup", "3", "-c", "6"]).args(more);
    command
}

/// Lets all of them run to their end.
async fn all(workers: Vec<Command>) {
    let started = workers.into_iter().map(|command| tokio::task::spawn_blocking(|| run(command)));
    for worker in started.collect::<Vec<_>>() {
        let Ended { code, shown, said } = worker.await.unwrap();
        // A share is not judged.
        assert_eq!(code, Some(0), "{shown}\n{said}");
        assert!(said.lines().any(|line| line.starts_with("waiting for 20")), "{said}");
    }
}

fn merge(parts: &Path, output: &TempDir, targets: &str) -> Command {
    let config = config(output, targets);
    xtask(&["stress", "merge", text(parts), "--output", text(output.path()), "--config", text(&config)])
}

/// A run that lies in `folder`.
fn run_in(folder: &Path) -> PathBuf {
    let mut runs = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let run = runs.next().unwrap();
    assert!(runs.next().is_none());
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_are_one_pass_that_is_judged() {
    let (url, bodies) = serve().await;
    let (parts, output) = (folder(), folder());
    let start = ahead(3.0);
    let load = ["-n", "301", "--rate", "1000", "--seed", "7"];
    let workers = (1..=3).map(|nth| worker(&url, parts.path(), &format!("{nth}/3"), &start, &load)).collect();
    all(workers).await;
    let sent: Vec<u64> = bodies.lock().unwrap().iter().map(|body| body.parse().unwrap()).collect();
    let different: BTreeSet<_> = sent.iter().collect();
    assert_eq!((sent.len(), different.len()), (301 + 3 + 3, 301 + 3 + 3), "no two workers send the same");

    let Ended { code, shown, said } = run(merge(parts.path(), &output, EASY));
    assert_eq!(code, Some(0), "{shown}\n{said}");
    assert!(shown.contains("3 workers began within") && shown.contains("by the service's"), "{shown}");
    let (run_folder, kept) = evidence(&output);
    let pass = &kept["passes"][0];
    assert_eq!((&pass["requests"], &pass["succeeded"], &pass["warmup"]), (&301.into(), &301.into(), &6.into()));
    assert_eq!((&pass["concurrency"], &pass["rate"]), (&6.into(), &"1000".into()));
    let told: Vec<_> = pass["parts"].as_array().unwrap().iter().map(|part| part["worker"].as_u64().unwrap()).collect();
    assert_eq!(told, [1, 2, 3]);
    for file in ["url.hlog", "url.csv", "summary.md", "report.html", "junit.xml"] {
        assert!(run_folder.join(file).exists(), "{file}");
    }
    // The same histograms give the same figures, alone and as evidence.
    let Ended { code, shown, .. } = run(xtask(&["stress", "merge", text(&run_folder.join("url.hlog"))]));
    assert!(code == Some(0) && shown.contains(" 301 "), "{shown}");

    let hard = folder();
    let Ended { code, shown, said } = run(merge(parts.path(), &hard, HARD));
    assert_eq!(code, Some(1), "{shown}\n{said}");
    assert_eq!(evidence(&hard).1["checks"][0]["met"], Value::Bool(false));

    broken(&parts, &output);
}

/// What is copied only in part, or from elsewhere, is refused by name.
fn broken(parts: &TempDir, output: &TempDir) {
    let second = parts.path().join("2-of-3");
    let run_folder = run_in(&second);
    let files = ["url.hlog", "evidence.json"].map(|name| run_folder.join(name));
    let whole = files.clone().map(|file| fs::read_to_string(file).unwrap());
    let expect = |file: usize, content: &str, expected: &[&str]| {
        fs::write(&files[file], content).unwrap();
        refused(merge(parts.path(), output, EASY), expected);
        fs::write(&files[file], &whole[file]).unwrap();
    };
    let lines: Vec<_> = whole[0].lines().collect();
    expect(0, &whole[0][..whole[0].len() - 9], &["url.hlog", "breaks off", "copy the file again"]);
    expect(0, &(lines[..lines.len() - 1].join("\n") + "\n"), &["2-of-3", "lack", "copy both again"]);
    expect(0, &(lines[..6].join("\n") + "\n"), &["2-of-3", "100 in the evidence"]);
    expect(1, &whole[1][..whole[1].len() / 2], &["evidence.json is not evidence of a run"]);
    expect(1, &whole[1].replace("\"seed\": 7", "\"seed\": 8"), &["different loads", "the seed is 7", "8 in the"]);
    expect(1, &whole[1].replace("\"worker\": 2", "\"worker\": 1"), &["worker 1 is there twice"]);
    let both = xtask(&["stress", "merge", text(&parts.path().join("1-of-3")), text(&files[0])]);
    refused(both, &["some of what to merge are folders"]);
    fs::rename(&second, output.path().join("elsewhere")).unwrap();
    refused(merge(parts.path(), output, EASY), &["worker 2 of 3 did not report"]);
}

/// A worker under way; ends with the test, however that ends.
struct Running(Child);

impl Running {
    /// Started, and counting.
    fn counting(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
        assert!(said.any(|line| line.contains(" requests, ") && !line.contains(" 0 requests")), "nothing was sent");
        // What it says has to be taken, for it to go on.
        std::thread::spawn(move || said.count());
        Self(child)
    }

    fn end(mut self, signal: &str) -> Option<i32> {
        assert!(Command::new("kill").args(["-s", signal, &self.0.id().to_string()]).status().unwrap().success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_dies_is_missed_and_one_that_is_stopped_is_a_part() {
    let (url, _) = serve().await;
    let (parts, output) = (folder(), folder());
    let start = ahead(3.0);
    let endless = ["--rate", "200", "-n", "1000000"];
    let workers = ["1/3", "2/3", "3/3"].map(|share| worker(&url, parts.path(), share, &start, &endless));
    let counting = workers.map(|command| std::thread::spawn(|| Running::counting(command)));
    let [one, two, three] = counting.map(|thread| thread.join().unwrap());
    assert_eq!((two.end("KILL"), one.end("INT"), three.end("INT")), (None, Some(2), Some(2)));
    refused(merge(parts.path(), &output, EASY), &["2-of-3", "its worker ended before it had measured"]);
    fs::remove_dir_all(parts.path().join("2-of-3")).unwrap();
    refused(merge(parts.path(), &output, EASY), &["worker 2 of 3 did not report"]);

    // Stopped before their end, all of them are there, and none is whole.
    let (parts, start) = (folder(), ahead(3.0));
    let workers = ["1/2", "2/2"].map(|share| worker(&url, parts.path(), share, &start, &endless));
    let counting = workers.map(|command| std::thread::spawn(|| Running::counting(command)));
    let ended = counting.map(|thread| thread.join().unwrap()).map(|worker| worker.end("INT"));
    assert_eq!(ended, [Some(2); 2]);
    let partial = folder();
    let Ended { code, shown, said } = run(merge(parts.path(), &partial, HARD));
    assert_eq!(code, Some(2), "{shown}\n{said}");
    let (_, kept) = evidence(&partial);
    assert_eq!((&kept["run"]["interrupted"], &kept["passes"][0]["interrupted"]), (&true.into(), &true.into()));
    assert!(kept["checks"].as_array().unwrap().is_empty() && shown.contains("Interrupted"), "{shown}");
}

/// The library by which a process has a clock of its own.
fn faketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let library = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).find(|library| library.exists());
    if library.is_none() {
        assert!(std::env::var_os("TARE_REQUIRE_FAULTS").is_none(), "libfaketime is not installed (Debian: faketime)");
        eprintln!("libfaketime is not installed: not tested");
    }
    library
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_two_seconds_apart_are_said_and_nothing_is_merged() {
    let Some(library) = faketime() else { return };
    let (url, _) = serve().await;
    let (parts, output) = (folder(), folder());
    let start = ahead(4.0);
    // Long enough for the dates of answers to tell the time.
    let load = ["--rate", "100", "-d", "2s"];
    let mut ahead = worker(&url, parts.path(), "2/2", &start, &load);
    ahead.env("LD_PRELOAD", library).env("FAKETIME", "+2s").env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    all(vec![worker(&url, parts.path(), "1/2", &start, &load), ahead]).await;
    refused(merge(parts.path(), &output, EASY), &["worker 1 began", "after worker 2 by the service's clock", "NTP"]);
}

#[test]
fn a_share_or_a_moment_that_cannot_be_is_refused() {
    let url = ["stress", "--url", "http://127.0.0.1:9"];
    let with = |more: &[&str]| xtask(&[&url[..], more].concat());
    refused(with(&["--share", "9/8"]), &["3/8"]);
    refused(with(&["--share", "1/8", "-c", "4"]), &["-c is 4, too few for 8 workers"]);
    refused(with(&["--share", "1/8", "-n", "4", "-c", "8"]), &["-n is 4, too few for 8 workers"]);
    refused(with(&["--share", "1/2", "--find-limit"]), &["--find-limit"]);
    refused(xtask(&["stress", "--share", "1/2"]), &["--url"]);
    refused(with(&["--start-at", "2020-01-31T12:00:00Z"]), &["2020-01-31T12:00:00Z was", "ago", "ahead for every"]);
    refused(with(&["--start-at", &ahead(-3.0)]), &["ago by this machine's clock"]);
    refused(with(&["--start-at", &ahead(30.0 * 3600.0)]), &["hours ahead", "24 are the most"]);
    // Milliseconds where seconds are meant.
    refused(with(&["--start-at", "1764288000000"]), &["hours ahead"]);
    refused(with(&["--start-at", "soon"]), &["2026-01-31T12:00:00Z, or seconds since 1970"]);
    let empty = folder();
    refused(xtask(&["stress", "merge", text(empty.path())]), &["there is no evidence.json in"]);
}
