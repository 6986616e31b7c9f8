//! `cargo xtask fleet`: real containers, of which nothing is left however it ends.
//!
//! They are made from `POSTGRES_IMAGE`, which is there wherever the other tests run: Debian with PostgreSQL. PgBouncer's package comes
//! from a mirror the first time.

mod bed;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use bed::{Ended, config, eventually, evidence, folder, run, text, xtask};
use serde_json::Value;

/// One fleet at a time: a machine has only so many processors.
static ALONE: Mutex<()> = Mutex::new(());

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let quiet = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// Whether there is an engine and Compose.
fn can() -> bool {
    let compose = succeeds("docker", &["compose", "version"]) || succeeds("docker-compose", &["version"]);
    let can = succeeds("docker", &["version"]) && compose;
    if !can {
        assert!(std::env::var_os("TARE_REQUIRE_FLEET").is_none(), "there is no Docker engine, or no Docker Compose");
        eprintln!("no Docker engine, or no Docker Compose: not tested");
    }
    can
}

fn fleet(more: &[&str]) -> Command {
    let base = std::env::var("POSTGRES_IMAGE").unwrap_or_else(|_| "postgres:15".into());
    let mut command = xtask(&["fleet", "--base", &base, "--parts", "1000", "--gateways", "2"]);
    command.args(more);
    command
}

/// What an engine has of a project.
fn left(project: &str) -> String {
    let label = format!("label=com.docker.compose.project={project}");
    let kinds = ["ps --all", "network ls", "volume ls", "image ls"];
    let list = |kind: &str| {
        let listed = Command::new("docker").args(kind.split(' ')).args(["--quiet", "--filter", &label]).output();
        String::from_utf8(listed.unwrap().stdout).unwrap()
    };
    kinds.map(list).concat()
}

#[test]
fn gateways_and_workers_in_containers_are_one_pass_and_leave_nothing() {
    if !can() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let output = folder();
    let targets = config(&output, "[targets.after]\nsuccess_rate = 0.99\nserver_errors = 0\n");
    let load = ["--workers", "3", "-n", "301", "-c", "6", "--action", "consume_part"];
    let judged = ["--config", text(&targets), "--output", text(output.path())];
    let Ended { code, shown, said } = run(fleet(&[&load[..], &judged].concat()));
    assert_eq!(code, Some(0), "{shown}\n{said}");
    let (_, kept) = evidence(&output);
    let pass = &kept["passes"][0];
    assert_eq!((&pass["requests"], &pass["succeeded"]), (&301.into(), &301.into()));
    let parts = pass["parts"].as_array().unwrap();
    let of_each: Vec<_> = parts.iter().map(|part| part["requests"].as_u64().unwrap()).collect();
    assert_eq!(of_each, [101, 100, 100]);
    assert!(parts.iter().all(|part| part["ahead"] != Value::Null), "the gateways tell the time: {parts:?}");
    let project = said.lines().find_map(|line| line.strip_suffix(": 2 gateways, 3 workers")).unwrap();
    assert_eq!(left(project), "");
}

/// Ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A fleet that is about to send for a minute, and the project that it is.
fn under_way() -> (Running, String, impl Iterator<Item = String>) {
    let mut command = fleet(&["--workers", "1", "-d", "60s"]);
    let mut process = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut said = BufReader::new(process.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let project = said.find_map(|line| Some(line.strip_suffix(": 2 gateways, 1 workers")?.to_owned())).unwrap();
    let before: Vec<_> = said.by_ref().take_while(|line| !line.starts_with("load:")).collect();
    assert!(process.0.try_wait().unwrap().is_none(), "the gateways are not there: {before:#?}");
    assert_ne!(left(&project), "");
    (process, project, said)
}

#[test]
fn a_fleet_is_gone_also_when_it_is_interrupted_or_killed() {
    if !can() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for (signal, code) in [("INT", Some(2)), ("KILL", None)] {
        let (mut process, project, _said) = under_way();
        assert!(succeeds("kill", &["-s", signal, &process.0.id().to_string()]));
        assert_eq!(process.0.wait().unwrap().code(), code);
        eventually("something of the fleet is still there", || left(&project).is_empty());
    }
}

#[test]
fn a_worker_that_dies_ends_its_fleet_and_is_named() {
    if !can() {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (mut process, project, said) = under_way();
    let labels = [("project", &*project), ("service", "worker")];
    let [of_project, of_workers] = labels.map(|(key, value)| format!("label=com.docker.compose.{key}={value}"));
    let kill = format!("docker kill $(docker ps --quiet --filter {of_project} --filter {of_workers})");
    eventually("the worker is not there", || succeeds("sh", &["-c", &kill]));
    let errors: Vec<_> = said.filter(|line| line.starts_with("error: ")).collect();
    assert!(errors.len() == 1 && errors[0].starts_with("error: a worker ended with 137"), "{errors:?}");
    assert_eq!((process.0.wait().unwrap().code(), left(&project)), (Some(2), String::new()));
}
