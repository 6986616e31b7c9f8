//! Runs that are killed at any moment: what they leave is gone by the next one, and what others have is left alone.
//!
//! `TARE_KILLS` is how many are killed, `TARE_SEED` makes it the same moments again.

mod bed;

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use bed::{eventually, folder, run, text, xtask};
use fastrand::Rng;
use serde_json::Value;
use tare_testbed::Server;
use tempfile::TempDir;

/// Marks a process and all that it starts.
const MARK: &str = "TARE_TEST_OF_KILLS";

/// Where runs have their temporary folders, and keep what they measure.
struct Place {
    temporary: TempDir,
    output: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self { temporary: folder(), output: folder() };
        // Clusters are run by another user than root.
        fs::set_permissions(place.temporary.path(), Permissions::from_mode(0o755)).unwrap();
        place
    }

    fn here(&self, mut command: Command, mark: &str) -> Command {
        command
            .env("TMPDIR", self.temporary.path())
            .env("CRITERION_HOME", self.output.path().join("criterion"))
            .env(MARK, self.mark(mark))
            .env_remove("DATABASE_URL")
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        command
    }

    fn mark(&self, mark: &str) -> String {
        format!("{mark} in {}", self.temporary.path().display())
    }

    fn xtask(&self, arguments: &str, mark: &str) -> Command {
        let words: Vec<_> = arguments.split(' ').collect();
        let mut command = xtask(&words);
        if words[0] != "db" {
            command.args(["--output", text(self.output.path())]);
        }
        self.here(command, mark)
    }

    /// The folders that there are.
    fn folders(&self) -> BTreeSet<PathBuf> {
        let entries = fs::read_dir(self.temporary.path()).unwrap().flatten().map(|entry| entry.path());
        entries.filter(|path| !path.file_name().unwrap().to_string_lossy().starts_with("tare-measuring-")).collect()
    }

    /// The processes that were started under `mark` and have not ended.
    fn processes(&self, mark: &str) -> Vec<u32> {
        let marked = format!("{MARK}={}", self.mark(mark));
        let is_marked = |id: &u32| {
            let environment = fs::read(format!("/proc/{id}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == marked.as_bytes())
        };
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_marked).collect()
    }
}

impl Place {
    /// Waits until no process of `mark` is there, and no folder but `folders`.
    fn expect_only(&self, mark: &str, folders: &BTreeSet<PathBuf>, when: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let (processes, there) = (self.processes(mark), self.folders());
            if processes.is_empty() && there == *folders {
                return;
            }
            if Instant::now() > deadline {
                let arguments = |id: &u32| fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
                let processes: Vec<_> = processes.iter().map(arguments).collect();
                let left: Vec<_> = there.symmetric_difference(folders).collect();
                panic!("{when}: processes are left: {processes:?}; folders: {left:?}");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// `cargo xtask db`: somebody's PostgreSQL, as long as they want it.
struct Db {
    process: Child,
    address: String,
}

impl Db {
    /// Started, once it says how to reach it.
    fn start(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.starts_with("PostgreSQL")).expect("it starts");
        assert!(lines.any(|line| line.contains("TARE_TESTBED=")));
        let (_, address) = line.split_once(" on ").unwrap();
        Self { address: address.split(';').next().unwrap().to_owned(), process }
    }

    fn answers(&self) -> bool {
        TcpStream::connect(&self.address).is_ok()
    }

    fn end(mut self) {
        send("INT", self.process.id());
        assert_eq!(self.process.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn send(signal: &str, process: u32) {
    // It may have ended.
    let _ = Command::new("kill").args(["-s", signal, &process.to_string()]).stderr(Stdio::null()).status().unwrap();
}

/// How a run ends before its time.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    /// It is asked to.
    Asked(&'static str),
    /// It is killed, and may leave what clears up after it.
    Alone,
    /// So is what would clear up after it.
    WithReapers,
    /// So is all that it has started: the machine ends.
    WithAll,
}

const ENDS: [End; 6] =
    [End::WithReapers, End::Alone, End::WithAll, End::Asked("INT"), End::WithReapers, End::Asked("TERM")];

impl End {
    fn put_to(self, run: &mut Child, place: &Place, mark: &str) {
        let kill_all = |of: fn(&str) -> bool| {
            let arguments = |id: &u32| fs::read_to_string(format!("/proc/{id}/cmdline")).unwrap_or_default();
            let of = |id: &u32| of(&arguments(id));
            // Some are started meanwhile.
            while let Some(id) = place.processes(mark).into_iter().find(of) {
                send("KILL", id);
            }
        };
        match self {
            Self::Asked(signal) => send(signal, run.id()),
            Self::Alone => send("KILL", run.id()),
            Self::WithReapers => {
                send("STOP", run.id());
                kill_all(|arguments| arguments.contains("tare-reaper"));
                send("KILL", run.id());
            }
            Self::WithAll => {
                send("STOP", run.id());
                kill_all(|arguments| arguments.contains("tare-reaper"));
                kill_all(|_| true);
            }
        }
        run.wait().unwrap();
    }
}

/// The executable of a bench, as `cargo xtask bench` has it built.
fn bench(name: &str) -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--workspace", "--bins", "--benches", "--quiet", "--message-format=json-render-diagnostics"]);
    // As `cargo xtask` does: build scripts look at what is told of this test, and all that depends on them would be compiled again.
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "OUT_DIR"];
    for (name, _) in std::env::vars() {
        if prefixes.iter().any(|prefix| name.starts_with(prefix)) {
            cargo.env_remove(name);
        }
    }
    let built = run(cargo);
    let messages = built.shown.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let of_bench = |message: Value| {
        let is = message["target"]["name"] == name && message["target"]["kind"][0] == "bench";
        message["executable"].as_str().filter(|_| is).map(PathBuf::from)
    };
    messages.filter_map(of_bench).next().unwrap_or_else(|| panic!("there is no bench {name}: {}", built.said))
}

/// A number that an environment variable may change.
fn number(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).map_or(usual, |given| given.parse().unwrap())
}

/// Folders of ours in `parent` that nobody has any more.
fn abandoned(parent: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(parent).unwrap().flatten().map(|entry| entry.path());
    entries
        .filter(|path| path.join(".tare").exists() && File::open(path).is_ok_and(|lock| lock.try_lock().is_ok()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_leaves_that_is_killed_at_any_moment_is_gone_by_the_next() {
    let server = Server::shared().await.unwrap();
    let admin = server.admin("postgres").await.unwrap();
    // Named alike, and not ours.
    admin.batch_execute("create role tare_0123abcd_template_control").await.unwrap();
    admin.batch_execute("create database tare_0123abcd_template_control").await.unwrap();
    let names = "select coalesce(string_agg(name, ' ' order by name), '') from \
                 (select datname::text as name from pg_database union all select rolname::text from pg_roles) as all_names";
    let there = async || admin.query_one(names, &[]).await.unwrap().get::<_, String>(0);

    let place = Place::new();
    let of_others = place.temporary.path().join("tare-abc123");
    fs::create_dir(&of_others).unwrap();
    let on_url = |mut command: Command| {
        command.env("DATABASE_URL", server.url());
        command
    };
    const DB: &str = "db --parts 1000 --postgres";
    let living = Db::start(place.xtask(&format!("{DB} system"), "living"));
    let living_on_url = Db::start(on_url(place.xtask(&format!("{DB} url"), "living")));
    let (before, folders) = (there().await, place.folders());
    assert!(before.matches("tare_").count() > 10, "the living one has databases: {before}");

    let auth = bench("auth");
    let target = auth.parent().unwrap().parent().unwrap();
    type Victim<'a> = (&'a str, &'a str, &'a dyn Fn(&str) -> Command);
    let victims: [Victim<'_>; 4] = [
        ("bench", "system", &|mark| place.xtask("bench auth --quick --parts 1000 --postgres system", mark)),
        ("perf", "url", &|mark| on_url(place.xtask("perf --quick --only stress --parts 1000 --postgres url", mark))),
        ("the executable of a bench", "url", &|mark| {
            let mut bench = Command::new(&auth);
            bench
                .args(["--bench", "--measurement-time", "1", "--warm-up-time", "0.2", "--noplot"])
                .stdin(Stdio::null());
            on_url(place.here(bench, mark))
        }),
        ("stress", "system", &|mark| place.xtask("stress -n 100000 --parts 1000 --postgres system", mark)),
    ];
    let (kills, seed) = (number("TARE_KILLS", 4), number("TARE_SEED", fastrand::u64(..)));
    eprintln!("TARE_SEED={seed}");
    let mut chance = Rng::with_seed(seed);
    for nth in 0..kills as usize {
        let ((name, on, victim), end) = (victims[nth % victims.len()], ENDS[nth % ENDS.len()]);
        let moment = Duration::from_millis(chance.u64(..5_000));
        let what = format!("{nth}: {name} on {on}, after {moment:?}: {end:?}");
        eprintln!("{what}");
        let mark = format!("victim {nth}");
        let mut victim = victim(&mark).stdout(Stdio::null()).spawn().unwrap();
        tokio::time::sleep(moment).await;
        end.put_to(&mut victim, &place, &mark);
        let next = || match on {
            "system" => Db::start(place.xtask(&format!("{DB} system"), "next")).end(),
            _ => Db::start(on_url(place.xtask(&format!("{DB} url"), "next"))).end(),
        };
        match (end, on) {
            // It clears up itself, or what it leaves for that does.
            (End::Asked(_), _) | (End::Alone, "system") => {}
            (End::WithReapers, _) => {
                next();
                // A bench outlives the run for which it measures, and what would have cleared up after it is gone, too.
                eventually("what the run started goes on", || place.processes(&mark).is_empty());
                if place.folders() != folders {
                    next();
                }
            }
            _ => next(),
        }
        place.expect_only(&mark, &folders, &what);
        assert_eq!(there().await, before, "{what}");
        assert!(living.answers() && living_on_url.answers(), "{what}: what others have was taken away");
    }
    // Queues of servers, and what benches keep beside the executables. Other tests have theirs there, too.
    for parent in [target, &target.join("deps")] {
        eventually("folders are left beside the executables", || abandoned(parent).is_empty());
    }
    living.end();
    living_on_url.end();
    assert_eq!(place.folders(), BTreeSet::from([of_others]));
    drop(admin);
}

#[test]
fn a_container_whose_owner_was_killed_is_removed_by_the_next_and_that_of_another_is_not() {
    let image = std::env::var("POSTGRES_IMAGE").unwrap_or_else(|_| "postgres:15".into());
    let docker = |arguments: &[&str]| {
        let mut docker = Command::new("docker");
        docker.args(arguments).stderr(Stdio::null());
        docker
            .output()
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8(output.stdout).unwrap())
    };
    if docker(&["image", "inspect", &image]).is_none() {
        eprintln!("not tried: there is no Docker engine that has {image}");
        return;
    }
    let place = Place::new();
    let start = |mark: &str| Db::start(place.xtask("db --parts 1000 --postgres container", mark));
    let containers = || -> BTreeSet<String> {
        let marks = place.folders().into_iter().filter_map(|folder| fs::read_to_string(folder.join(".tare")).ok());
        marks.filter(|name| !name.is_empty()).collect()
    };
    let there = |name: &str| {
        let found = docker(&["ps", "--all", "--quiet", "--filter", &format!("name=^{name}$")]);
        !found.unwrap().trim().is_empty()
    };
    let living = start("living");
    let of_living = containers();
    let mut killed = start("killed");
    let of_killed: Vec<_> = containers().difference(&of_living).cloned().collect();
    End::WithReapers.put_to(&mut killed.process, &place, "killed");
    assert!(of_killed.len() == 1 && there(&of_killed[0]) && killed.answers());

    Db::start(place.xtask("db --parts 1000 --postgres system", "next")).end();
    eventually("the container is still there", || !there(&of_killed[0]));
    eventually("its folder is still there", || containers() == of_living);
    assert!(living.answers() && of_living.iter().all(|name| there(name)));
    living.end();
    eventually("folders are left", || place.folders().is_empty());
}

/// A service that answers at once.
async fn serve() -> String {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, Router::new().route("/", get(async || ()))).await });
    format!("http://{address}/")
}

#[tokio::test(flavor = "multi_thread")]
async fn evidence_is_whole_whenever_somebody_reads_it_and_whenever_its_run_is_killed() {
    let (url, place) = (serve().await, Place::new());
    let output = place.output.path().to_owned();
    let evidence = move || -> Vec<(PathBuf, String)> {
        let runs = fs::read_dir(&output).unwrap().flatten().map(|entry| entry.path());
        runs.filter_map(|run| fs::read_to_string(run.join("evidence.json")).ok().map(|text| (run, text))).collect()
    };
    let (done, read) = (Arc::new(AtomicBool::new(false)), evidence.clone());
    let reader = std::thread::spawn({
        let done = done.clone();
        move || {
            let mut texts = BTreeSet::new();
            while !done.load(Ordering::Relaxed) {
                for (run, text) in read() {
                    serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{}: {error}", run.display()));
                    texts.insert(text);
                }
            }
            texts.len()
        }
    });
    let (kills, seed) = (number("TARE_KILLS", 15), number("TARE_SEED", fastrand::u64(..)));
    eprintln!("TARE_SEED={seed}");
    let mut chance = Rng::with_seed(seed);
    let stress = || {
        let mut stress = place.xtask("stress -n 20 -c 2 --warmup 0", "stress");
        stress.args(["--url", &url]).stdout(Stdio::null());
        stress
    };
    for _ in 0..kills {
        let mut killed = stress().spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(chance.u64(..400))).await;
        send("KILL", killed.id());
        killed.wait().unwrap();
    }
    assert_eq!(stress().status().unwrap().code(), Some(0));
    done.store(true, Ordering::Relaxed);
    let texts = reader.join().unwrap();
    assert!(texts >= 3, "{texts} states of evidence were read");
    let kept = evidence();
    assert!(kept.iter().any(|(_, text)| text.contains("\"requests\": 20,")), "the last one is complete");
    let files = kept.iter().flat_map(|(run, _)| fs::read_dir(run).unwrap().flatten().map(|file| file.path()));
    let half: Vec<_> = files.filter(|file| file.file_name().unwrap().to_string_lossy().starts_with('.')).collect();
    assert!(half.is_empty(), "half written files are left: {half:?}");
}
