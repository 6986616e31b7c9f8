//! Every command that the documentation names, run: in a quick form where it would take minutes.

mod bed;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use bed::{Ended, config, folder, run, text, xtask};
use tare_testbed::Server;
use tempfile::TempDir;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The README, the pages below `docs/`, and how to contribute.
fn pages() -> Vec<PathBuf> {
    let docs = fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    docs.chain(["README.md", "CONTRIBUTING.md"].map(|name| root().join(name))).collect()
}

/// What follows `cargo xtask` in `text`, up to the end of the line, of the code or of the command. Forms (`BASE [HEAD]`, `…`) are
/// no commands.
fn commands_in(text: &str) -> Vec<Vec<String>> {
    let text = text.replace("\\\n", " ");
    let followed = text.split("cargo xtask").skip(1).filter(|rest| rest.starts_with(' '));
    let command = |rest: &str| {
        let end = rest.find(['\n', '`', '>', '|', ';']).unwrap_or(rest.len());
        let command = rest[..end].split(" #").next().unwrap_or_default().trim();
        let command = command.trim_end_matches(['.', ',', ')', ':']);
        command.split_whitespace().map(|word| word.trim_matches(['\'', '"']).to_owned()).collect::<Vec<_>>()
    };
    let is_form = |command: &Vec<String>| {
        let placeholder =
            |word: &String| word.contains(['[', '…', '$']) || matches!(&**word, "BASE" | "NAME" | "FOLDER" | "FILE");
        command.is_empty() || command.iter().any(placeholder)
    };
    followed.map(command).filter(|command| !is_form(command)).collect()
}

/// All of them, each once.
fn commands() -> Vec<Vec<String>> {
    let mut all: Vec<_> = pages().iter().flat_map(|page| commands_in(&fs::read_to_string(page).unwrap())).collect();
    all.sort();
    all.dedup();
    all
}

/// A service, its database, and the files that the documentation speaks of.
struct Bed {
    folder: TempDir,
    output: TempDir,
    config: PathBuf,
    server: std::sync::Arc<Server>,
    service: Child,
    port: String,
}

impl Bed {
    async fn start() -> Self {
        let (folder, output) = (folder(), folder());
        // Times of one moment beside those of another are of no interest here.
        let config = config(&folder, "[compare]\nthreshold = 3.0\n");
        for (name, content) in [("order.json", "{}"), ("order.sql", "select 1"), ("ids.txt", "1\n2\n")] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        // Pages are written beside what they show.
        for run in ["A", "B"] {
            fs::create_dir(output.path().join(run)).unwrap();
            fs::copy(root().join("docs/evidence/perf.json"), output.path().join(run).join("evidence.json")).unwrap();
        }
        let mut service = Command::new("python3")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bed/plain.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut port = String::new();
        BufReader::new(service.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let server = Server::start(None, &|line| eprintln!("{line}")).await.unwrap();
        Self { folder, output, config, server, service, port: port.trim().to_owned() }
    }

    fn xtask(&self, words: &[&str]) -> Command {
        let mut command = xtask(words);
        command
            .current_dir(self.folder.path())
            .env("CRITERION_HOME", self.output.path().join("criterion"))
            .env("TEST_JWT", "a.b.c")
            .env("DATABASE_URL", self.server.url());
        command
    }

    /// The command as it is run here.
    fn quick(&self, command: &[String]) -> Vec<String> {
        let is = |word: &str| command.iter().any(|one| one == word);
        // Whole requests are measured for longer than all the rest.
        let mut words: Vec<String> =
            command.iter().filter(|word| *word != "request").map(|word| self.here(word)).collect();
        if let Some(place) = words.iter().position(|word| word == "--minutes") {
            words.drain(place..place + 2);
        }
        let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
        let judged = ["--config", text(&self.config), "--output", text(self.output.path())];
        match &*command[0] {
            "perf" if !is("--matrix") => {
                add(&["--parts", "1000"]);
                add(&judged);
                if !is("--quick") {
                    add(&["--quick"]);
                }
                if !is("--only") {
                    add(&["--only", "auth"]);
                }
            }
            "perf" | "bench" => {
                add(&["--parts", "1000"]);
                add(&judged);
                if !is("--quick") {
                    add(&["--quick"]);
                }
            }
            "stress" if !is("merge") && !is("--help") => {
                add(&judged);
                if !is("--url") {
                    add(&["--parts", "1000"]);
                }
            }
            "profile" => {
                add(&judged);
                add(if is("--url") { &["-n", "6"] } else { &["-n", "6", "--parts", "1000"] });
            }
            // A fresh clone has no run of its own.
            "report" if !is("--schema") && !command.iter().any(|word| word.contains('/')) => {
                add(&[&self.here("docs/evidence/matrix.json")]);
            }
            "history" if command.len() == 1 => add(&[text(self.output.path())]),
            "calibrate" if command.len() == 1 => add(&["stall"]),
            "torture" => {
                if !is("--once") {
                    add(&["--once"]);
                }
                if !is("--only") {
                    add(&["--only", "connections-reset"]);
                }
                add(&["--hold", "300ms"]);
            }
            "plan" if is("measure") => {
                add(&["--quick", "--parts", "1000", "--calibration", &self.here("plan.json")]);
                add(&judged);
            }
            "plan" if !is("check") => {
                if !is("--requests") {
                    add(&["--requests", "1000"]);
                }
                // A fresh clone was not measured.
                if !is("--calibration") {
                    add(&["--calibration", &self.here("docs/evidence/plan.json")]);
                }
            }
            "serve" | "db" => add(&["--parts", "1000"]),
            _ => {}
        }
        words
    }

    /// A word of a command with what is elsewhere on other machines, and takes long.
    fn here(&self, word: &str) -> String {
        let kept = self.output.path().join("main.tar.gz");
        match word {
            "60s" => "2s".into(),
            "benches" => "auth".into(),
            "target/perf" | "runs" => text(self.output.path()).into(),
            "target/perf/A" | "target/perf/B" => word.replace("target/perf", text(self.output.path())),
            "docs/evidence/matrix.json" | "docs/evidence/plan.json" => text(&root().join(word)).into(),
            "plan.html" | "plan.json" | "plan.svg" => text(&self.output.path().join(word)).into(),
            "main.tar.gz" | "target/baseline/main.tar.gz" => text(&kept).into(),
            "A.hlog" | "B.hlog" => text(&self.output.path().join("kept.hlog")).into(),
            url => url.replace("http://127.0.0.1:8080", &format!("http://127.0.0.1:{}", self.port)),
        }
    }

    fn succeeds(&self, words: &[&str]) -> Result<(), String> {
        let Ended { code, shown, said } = run(self.xtask(words));
        (code == Some(0))
            .then_some(())
            .ok_or_else(|| format!("cargo xtask {}: {code:?}\n{shown}\n{said}", words.join(" ")))
    }

    /// Starts what goes on until it is told to stop, and stops it once it has said a line that holds `ready`.
    fn starts(&self, words: &[&str], ready: &str) -> Result<(), String> {
        let mut process = self.xtask(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (said, heard) = std::sync::mpsc::channel();
        let streams: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(process.stdout.take().unwrap()), Box::new(process.stderr.take().unwrap())];
        for stream in streams {
            let said = said.clone();
            std::thread::spawn(move || {
                BufReader::new(stream).lines().map_while(Result::ok).for_each(|line| drop(said.send(line)));
            });
        }
        drop(said);
        let mut before = Vec::new();
        let is_ready = heard.iter().any(|line| {
            before.push(line);
            before.last().is_some_and(|line| line.contains(ready))
        });
        let stopped = Command::new("kill").args(["-INT", &process.id().to_string()]).status().unwrap();
        let code = process.wait().unwrap().code();
        let ended = is_ready && stopped.success() && matches!(code, Some(0 | 2));
        ended.then_some(()).ok_or_else(|| format!("cargo xtask {}: {code:?}\n{before:#?}", words.join(" ")))
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = self.service.kill();
        let _ = self.service.wait();
    }
}

/// Words of a matrix with nothing but what a quick form adds.
const SHORTEST_MATRIX: usize = 9;

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_documentation_does_what_it_is_there_for() {
    let bed = Bed::start().await;
    // What several of them need: a baseline, a run, a log.
    let output = text(bed.output.path());
    let judged = ["--config", text(&bed.config), "--output", output];
    let bench = ["bench", "auth", "tenant", "--quick", "--parts", "1000", "--save-baseline", "main"];
    bed.succeeds(&[&bench[..], &judged].concat()).unwrap();
    bed.succeeds(&["baseline", "pack", "main", &bed.here("main.tar.gz")]).unwrap();
    let stress = ["stress", "--url", &bed.here("http://127.0.0.1:8080/"), "-n", "20"];
    bed.succeeds(&[&stress[..], &judged].concat()).unwrap();
    let log = fs::read_dir(output)
        .unwrap()
        .flatten()
        .flat_map(|run| fs::read_dir(run.path()).into_iter().flatten().flatten());
    let log = log.map(|file| file.path()).find(|path| path.extension().is_some_and(|ending| ending == "hlog")).unwrap();
    fs::copy(log, bed.here("A.hlog")).unwrap();

    let (mut done, mut failed) = (0, Vec::new());
    let quick: BTreeSet<_> = commands().iter().map(|command| bed.quick(command)).collect();
    for words in &quick {
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let ended = match words[0] {
            // Two states have to be built: tests/compare.rs.
            "compare" => continue,
            // Needs Docker Compose, and images to make others from: tests/fleet.rs.
            "fleet" => continue,
            // Goes on until the service is overloaded, twice: tests/stress.rs.
            "stress" if words.contains(&"--find-limit") => continue,
            // Holds times beside others, which a busy machine makes differ: its parts are in tests/plan.rs.
            "plan" if words.contains(&"check") => continue,
            // Opens a browser on the screen of whoever runs this: tests/commands.rs.
            "report" if words.contains(&"--open") => continue,
            // Takes minutes in any form; one is begun, for the three to differ by a flag.
            "perf" if words.contains(&"--matrix") && words.len() > SHORTEST_MATRIX => continue,
            "perf" if words.contains(&"--matrix") => bed.starts(&words, "round 1 of 6: about"),
            "serve" | "db" => bed.starts(&words, "Ctrl-C ends it"),
            _ => bed.succeeds(&words),
        };
        failed.extend(ended.err());
        done += 1;
    }
    assert!(failed.is_empty(), "{} of {done}:\n{}", failed.len(), failed.join("\n\n"));
    assert!(done >= 25, "{done} commands were run");
}

#[test]
fn commands_are_found_in_text_and_in_code() {
    let found = commands_in(
        "`cargo xtask perf --quick` and\n```\ncargo xtask stress \\\n  -n 5   # five\n```\nnot cargo xtasks.",
    );
    assert_eq!(found, [vec!["perf", "--quick"], vec!["stress", "-n", "5"]]);
    assert!(commands_in("`cargo xtask compare BASE [HEAD]`, `cargo xtask stress --url …`").is_empty());
}
