//! The commands as processes: what they exit with, what they say, and what they leave behind.

mod bed;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bed::{Ended, config, eventually, evidence, folder, refused, run, text, xtask};
use tare_testbed::Server;

#[test]
fn perf_exits_with_1_and_names_what_was_missed() {
    let output = folder();
    let config = config(
        &output,
        "[targets.before]\nserver_errors = 0\n[targets.after]\nsuccess_rate = 0.99\np95_ms = 0.000001\n\
         [[budgets]]\nid = 'stress/after'\nagainst = 'stress/before'\nat_most = 0.000001\n",
    );
    let perf = xtask(&[
        "perf",
        "--quick",
        "--only",
        "stress",
        "--parts",
        "1000",
        "--config",
        text(&config),
        "--output",
        text(output.path()),
    ]);
    let Ended { code, shown, said } = run(perf);
    assert_eq!(code, Some(1), "{shown}\n{said}");
    let verdict = shown.lines().last().unwrap();
    assert!(verdict.starts_with("Missed 2 of 4"), "{verdict}");
    assert!(
        verdict.contains("stress/after P95") && verdict.contains("stress/after against stress/before"),
        "{verdict}"
    );

    let (run_folder, evidence) = evidence(&output);
    let passes = evidence["passes"].as_array().unwrap();
    let told: Vec<_> =
        passes.iter().map(|pass| (pass["strategy"].as_str().unwrap(), pass["succeeded"].as_u64().unwrap())).collect();
    assert_eq!(told, [("before", 500), ("after", 500)]);
    assert!(evidence["comparison"].as_array().unwrap().iter().any(|row| row["what"] == "stress P95"));
    let markdown = run(xtask(&["report", "--markdown", text(&run_folder)]));
    assert_eq!(markdown.shown, fs::read_to_string(run_folder.join("summary.md")).unwrap());
    is_shown_in_every_way(&run_folder);
}

/// A run of stress passes, shown again.
fn is_shown_in_every_way(folder: &Path) {
    let report = |arguments: &[&str]| {
        let Ended { code, shown, said } = run(xtask(&[&["report"], arguments].concat()));
        assert_eq!(code, Some(0), "{shown}\n{said}");
        shown
    };
    let page = folder.join("report.html");
    let written = fs::read_to_string(&page).unwrap();
    assert!(written.contains("Latency by percentile") && written.contains("Missed 2 of 4"), "{written}");
    fs::remove_file(&page).unwrap();
    assert!(report(&[text(folder), "--html"]).trim_end().ends_with("report.html"));
    assert_eq!(fs::read_to_string(&page).unwrap(), written);
    let browser = folder.join("xdg-open");
    fs::write(&browser, "#!/bin/sh\necho \"$1\" > \"$0.opened\"\n").unwrap();
    fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).unwrap();
    let mut open = xtask(&["report", text(folder), "--open"]);
    open.env("PATH", format!("{}:{}", folder.display(), std::env::var("PATH").unwrap()));
    assert_eq!(run(open).code, Some(0));
    let opened =
        || fs::read_to_string(folder.join("xdg-open.opened")).is_ok_and(|page| page.ends_with("report.html\n"));
    eventually("the page is opened", opened);
    let improvements = report(&[text(folder), "--improvements"]);
    assert!(improvements.contains("| P95 |") && improvements.contains("### Before and after"), "{improvements}");
    let both = report(&[text(folder), text(folder)]);
    assert!(both.contains("run 2 to run 1") && both.contains("after P95"), "{both}");
    let schema = report(&["--schema"]);
    assert!(schema.contains("\"title\": \"Evidence\""), "{schema}");
    refused(xtask(&["report", text(folder), text(folder), "--improvements"]), &["one run", "2 are given"]);
}

#[test]
fn a_budget_that_benches_miss_is_judged_by_what_they_come_to_in_turns() {
    let output = folder();
    let config = config(
        &output,
        "[[budgets]]\nid = 'auth/es256'\nagainst = 'auth/hs256'\nat_most = 0.01\n\
         [[budgets]]\nid = 'auth/hs256'\nagainst = 'auth/es256'\nat_most = 100\n",
    );
    let bench = ["bench", "auth", "--quick", "--parts", "1000", "--config", text(&config)];
    let mut bench = xtask(&[&bench[..], &["--output", text(output.path())]].concat());
    let home = folder();
    bench.env("CRITERION_HOME", home.path());
    let Ended { code, shown, said } = run(bench);
    assert_eq!(code, Some(1), "{shown}\n{said}");
    let verdict = shown.lines().last().unwrap();
    assert!(verdict.starts_with("Missed 1 of 2") && verdict.contains("×, in turns, required"), "{verdict}");
    let (_, evidence) = evidence(&output);
    let in_turns = evidence["in_turns"].as_array().unwrap();
    assert_eq!(in_turns.len(), 1, "what is met is not looked at again: {in_turns:?}");
    assert!(in_turns[0]["id"] == "auth/es256" && in_turns[0]["ratio"].as_f64().unwrap() > 1.0, "{in_turns:?}");
}

#[test]
fn at_a_distance_no_answer_comes_before_it_can() {
    let output = folder();
    let stress = ["stress", "--network", "rtt=20ms", "--strategy", "after", "-n", "50", "--parts", "1000"];
    let Ended { code, shown, said } = run(xtask(&[&stress[..], &["--output", text(output.path())]].concat()));
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let (_, evidence) = evidence(&output);
    let pass = &evidence["passes"][0];
    assert_eq!(pass["succeeded"], 50);
    assert!(pass["latency"]["min_ms"].as_f64().unwrap() >= 20.0, "{pass}");
    assert_eq!(evidence["run"]["network"]["name"], "rtt=20ms");
    assert!(shown.lines().next().unwrap().ends_with("network rtt=20ms"), "{shown}");
}

#[test]
fn what_cannot_be_understood_is_refused_before_anything_is_started() {
    let output = folder();
    let with_config = |given: &str| {
        let config = config(&output, given);
        xtask(&["perf", "--config", text(&config), "--output", text(output.path())])
    };
    refused(with_config("[targets.after\n"), &["perf.toml", "line 1"]);
    refused(with_config("[targets.after]\np95 = 1\n"), &["unknown field `p95`", "line 2"]);
    refused(xtask(&["perf", "--config", "/nowhere.toml"]), &["/nowhere.toml", "--config names another"]);
    refused(xtask(&["perf", "--baseline", "never saved"]), &["never saved", "--save-baseline"]);
    refused(xtask(&["stress", "--strategy", "turbo"]), &["turbo", "tenant-cache"]);
    refused(xtask(&["stress", "--action", "sink"]), &["sink", "consume_part"]);
    refused(xtask(&["perf", "--postgres", "oracle"]), &["oracle", "container"]);
    refused(xtask(&["perf", "--only", "lunch"]), &["lunch", "ceiling"]);
    refused(xtask(&["stress", "-n", "0"]), &["0"]);
    refused(xtask(&["report", "/nowhere"]), &["/nowhere"]);
    let accepted = "rtt=80ms,jitter=5ms,bandwidth=100mbit";
    for (network, reason) in [
        ("moon", "neither a profile nor key=value"),
        ("rtt=-5ms", "not an amount with its unit"),
        ("lag=5ms", "\"lag\" is not known"),
        ("rtt=5ms,jitter=6ms", "more jitter than distance"),
    ] {
        refused(xtask(&["perf", "--network", network]), &[reason, accepted]);
    }
    refused(xtask(&["report", "--predict", "rtt=5ms,jitter=1ms"]), &["distance alone", "rtt=120ms"]);
    let url = ["stress", "--url", "http://127.0.0.1:9", "--body", "{}", "--network", "remote"];
    refused(xtask(&url), &["--network", "--url"]);
    assert_eq!(fs::read_dir(&output).unwrap().count(), 1, "nothing but the configuration is there");
}

#[test]
fn a_url_that_cannot_be_measured_is_told_from_one_that_fails() {
    let output = folder();
    let stress = |url: &str| xtask(&["stress", "--url", url, "--body", "{}", "--output", text(output.path())]);
    let gone = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    refused(stress(&format!("http://me:secret@{address}/")), &["does not answer", &address.to_string(), "check that"]);
    refused(stress("http://192.0.2.1/"), &["192.0.2.1", "--allow-remote"]);
    refused(stress("ftp://127.0.0.1/"), &["neither http nor https"]);
    let mut bad_token = stress(&format!("http://{address}/"));
    bad_token.env("TEST_JWT", "secret\nline");
    refused(bad_token, &["TEST_JWT cannot be sent"]);
}

#[test]
fn without_a_postgresql_it_says_how_to_get_one() {
    let output = folder();
    let perf = |provider: &[&str]| {
        let mut perf = xtask(&["perf", "--only", "stress", "--output", text(output.path())]);
        perf.args(provider).env_remove("DATABASE_URL");
        perf
    };
    let mut neither = perf(&[]);
    neither.env("PATH", output.path()).env("POSTGRES_BIN", output.path());
    refused(neither, &["set DATABASE_URL", "start a Docker engine", "install PostgreSQL"]);
    refused(perf(&["--postgres", "url"]), &["DATABASE_URL is not set", "postgres://"]);

    let closed = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    let mut wrong = perf(&[]);
    wrong.env("DATABASE_URL", format!("postgres://me:secret@{address}/mine"));
    refused(wrong, &[&address, "refused"]);
    let mut unreadable = perf(&[]);
    unreadable.env("DATABASE_URL", "postgres://me:secret@host:not-a-port/mine");
    refused(unreadable, &["DATABASE_URL, or --database-url"]);
}

#[test]
fn evidence_that_cannot_be_written_is_told_before_measuring() {
    let output = folder();
    // Files may not grow: what a full disk does, for any user.
    let script = r#"trap '' XFSZ; ulimit -f 0; exec "$0" "$@""#;
    let mut full = Command::new("sh");
    full.args(["-c", script, env!("CARGO_BIN_EXE_xtask"), "perf", "--output", text(output.path())]);
    refused(full, &["cannot write", "evidence.json", "--output"]);

    let file = output.path().join("a file");
    fs::write(&file, "").unwrap();
    refused(xtask(&["perf", "--output", text(&file)]), &["cannot write", "--output"]);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(xtask(&["serve", "--parts", "1000", "--address", &address]), &[&address, "choose another with --address"]);
}

#[test]
fn an_image_that_cannot_be_had_is_no_end() {
    let output = folder();
    let mut stress =
        xtask(&["stress", "-n", "20", "-c", "2", "--warmup", "0", "--parts", "1000", "--output", text(output.path())]);
    stress.env("POSTGRES_IMAGE", "tare.invalid/none:0").env_remove("DATABASE_URL");
    let Ended { code, shown, said } = run(stress);
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let falling = said.lines().filter(|line| line.contains("trying the system's PostgreSQL binaries")).count();
    assert_eq!(falling, 1, "{said}");
    assert_eq!(evidence(&output).1["postgres"]["provider"], "system");
}

/// A command under way; ends with the test, however that ends.
struct Running(Child);

impl Running {
    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args(["-s", name, &self.0.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `cargo xtask db`, once it says how to reach what it started.
struct Db {
    process: Running,
    address: String,
    folder: PathBuf,
}

impl Db {
    fn start() -> Self {
        let mut process = Running(xtask(&["db", "--parts", "1000"]).stdout(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(process.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        let (mut address, mut folder) = (String::new(), None);
        for line in lines {
            if let Some((_, rest)) = line.split_once(" on ")
                && line.starts_with("PostgreSQL")
            {
                address = rest.split(';').next().unwrap().to_owned();
            }
            if let Some((_, rest)) = line.split_once("TARE_TESTBED=") {
                folder = Path::new(rest.split(' ').next().unwrap()).parent().map(Path::to_owned);
                break;
            }
        }
        Self { process, address, folder: folder.unwrap() }
    }

    fn is_there(&self) -> bool {
        TcpStream::connect(&self.address).is_ok()
    }
}

#[test]
fn nothing_is_left_behind_however_it_ends() {
    for signal in ["KILL", "TERM", "INT"] {
        let mut db = Db::start();
        assert!(db.is_there() && db.folder.join("testbed.json").exists());
        db.process.signal(signal);
        let status = db.process.0.wait().unwrap();
        assert_eq!(status.code(), if signal == "KILL" { None } else { Some(0) });
        eventually("PostgreSQL is still there", || !db.is_there());
        eventually("the folder is still there", || !db.folder.exists());
    }
}

#[test]
fn an_interrupted_run_keeps_what_it_has_and_exits_with_2() {
    let output = folder();
    let arguments =
        ["stress", "--strategy", "before", "-n", "1000000", "--parts", "1000", "--output", text(output.path())];
    let mut process = Running(xtask(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(process.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(said.any(|line| line.starts_with("stress before:")), "the pass has not begun");
    process.signal("INT");
    let rest: Vec<_> = said.collect();
    let mut shown = String::new();
    process.0.stdout.take().unwrap().read_to_string(&mut shown).unwrap();
    assert_eq!(process.0.wait().unwrap().code(), Some(2), "{rest:?}");
    assert!(shown.contains("Interrupted"), "{shown}");
    let (_, evidence) = evidence(&output);
    assert_eq!((&evidence["run"]["interrupted"], evidence["checks"].as_array().unwrap().len()), (&true.into(), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn on_somebodys_own_server_all_that_was_made_is_dropped() {
    let server = Server::start(None, &|line| eprintln!("{line}")).await.unwrap();
    let admin = server.admin("postgres").await.unwrap();
    admin.batch_execute("create role somebody login createdb createrole password 'secret'").await.unwrap();
    admin.batch_execute("create database somebody owner somebody").await.unwrap();
    let names = "select coalesce(string_agg(name, ' ' order by name), '') from \
                 (select datname::text as name from pg_database union all select rolname::text from pg_roles) as all_names";
    let there = async || admin.query_one(names, &[]).await.unwrap().get::<_, String>(0);
    let before = there().await;

    let (host, port) = server.address();
    let root = server.root_certificate().unwrap().display();
    let url = format!("postgres://somebody:secret@{host}:{port}/somebody?sslmode=require&sslrootcert={root}");
    let output = folder();
    let mut stress =
        xtask(&["stress", "-n", "20", "-c", "2", "--warmup", "0", "--parts", "1000", "--output", text(output.path())]);
    stress.env("DATABASE_URL", &url);
    let Ended { code, shown, said } = tokio::task::spawn_blocking(|| run(stress)).await.unwrap();
    assert_eq!(code, Some(0), "{shown}\n{said}");
    assert_eq!(evidence(&output).1["postgres"]["provider"], "url");
    let kept = fs::read_to_string(evidence(&output).0.join("evidence.json")).unwrap();
    assert!(![&shown, &said, &kept].iter().any(|text| text.contains("secret")), "no password is shown or kept");
    assert_eq!(there().await, before);
}
