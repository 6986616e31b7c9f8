//! The manifests of `deploy/`: what the programs know, and what Kubernetes does.

mod bed;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bed::folder;

/// The package that ships the schemas of Kubernetes, and its version.
const SCHEMAS: &str = "kubernetes-validate==1.37.0";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn manifests() -> Vec<PathBuf> {
    let folder = fs::read_dir(root().join("deploy/kubernetes")).unwrap();
    let mut manifests: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
    manifests.sort();
    manifests
}

/// A text without its remarks.
fn read(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter(|line| !line.trim_start().starts_with('#')).map(|line| format!("{line}\n")).collect()
}

/// The commands in `text`: the program with its subcommands, and the flags that follow up to the next key or program.
fn commands(text: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let separates = |character: char| character.is_whitespace() || matches!(character, '"' | '\'' | ',' | '[' | ']');
    let mut found: Vec<(Vec<String>, Vec<String>)> = Vec::new();
    let (mut in_command, mut in_name) = (false, false);
    for word in text.split(separates).filter(|word| !word.is_empty()) {
        match word {
            "tare-server" | "xtask" => {
                found.push((vec![word.to_owned()], Vec::new()));
                (in_command, in_name) = (true, word == "xtask");
            }
            // The arguments of a command may be in a list of their own.
            "args:" => {}
            _ if word.ends_with(':') => in_command = false,
            _ if !in_command => {}
            flag if flag.starts_with('-') && flag.len() > 1 => {
                in_name = false;
                let flag = flag.split('=').next().unwrap_or_default();
                found.last_mut().unwrap().1.push(flag.to_owned());
            }
            word if in_name && word.bytes().all(|byte| byte.is_ascii_lowercase()) => {
                found.last_mut().unwrap().0.push(word.to_owned());
            }
            _ => in_name = false,
        }
    }
    found
}

/// What a program says of itself.
fn help(command: &[String]) -> String {
    let program = match &*command[0] {
        "xtask" => PathBuf::from(env!("CARGO_BIN_EXE_xtask")),
        // Beside it once it has been built, as every command does that needs it.
        server => {
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let mut build = Command::new(cargo);
            build.args(["build", "--workspace", "--bins", "--quiet"]).current_dir(root());
            if !cfg!(debug_assertions) {
                build.arg("--release");
            }
            assert!(build.status().unwrap().success());
            Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name(server)
        }
    };
    let told = Command::new(program).args(&command[1..]).arg("--help").output().unwrap();
    assert!(told.status.success(), "{command:?}");
    String::from_utf8(told.stdout).unwrap()
}

#[test]
fn every_flag_in_them_is_one_that_the_program_knows() {
    let files = manifests().into_iter().chain([root().join("deploy/compose.yaml")]);
    let found: Vec<_> = files.flat_map(|file| commands(&read(&file))).collect();
    let mut programs = BTreeSet::new();
    for (program, flags) in &found {
        let help = help(program);
        let known: BTreeSet<_> = help.split(|character: char| character.is_whitespace() || character == ',').collect();
        for flag in flags {
            assert!(known.contains(&**flag), "{} does not know {flag}", program.join(" "));
        }
        programs.insert(program.join(" "));
    }
    let expected = ["tare-server", "xtask fleet fixture", "xtask stress", "xtask stress merge"];
    assert_eq!(programs.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    assert!(found.iter().map(|(_, flags)| flags.len()).sum::<usize>() > 30, "{found:?}");
}

#[test]
fn flags_are_found_in_lists_and_in_lines() {
    let text =
        "command: [tare-server]\nargs:\n  - --drain=15\nenv:\n  - --not\nx: exec xtask stress -c 4 --share \"1/2\"";
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let expected =
        [(words(&["tare-server"]), words(&["--drain"])), (words(&["xtask", "stress"]), words(&["-c", "--share"]))];
    assert_eq!(commands(text), expected);
}

/// The number that follows `key` in `text`.
fn number(text: &str, key: &str) -> u64 {
    let (_, rest) = text.split_once(key).unwrap_or_else(|| panic!("there is no {key}"));
    let digits: String = rest.trim_start_matches([' ', '"']).chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|error| panic!("{key} {digits:?}: {error}"))
}

#[test]
fn a_gateway_is_given_the_time_that_it_takes_to_end() {
    let text = read(&root().join("deploy/kubernetes/gateway.yaml"));
    let (notice, drain) = (number(&text, "--notice="), number(&text, "--drain="));
    // Requests and the audit queue are waited for one after the other.
    assert!(number(&text, "terminationGracePeriodSeconds:") > notice + 2 * drain);
    let unready = number(&text, "periodSeconds:") * number(&text, "failureThreshold:");
    assert!(notice > unready, "nobody has heard of it by then");
    for path in ["/ready", "/health"] {
        assert_eq!(text.matches(&format!("path: {path}")).count(), 1);
    }
    let compose = read(&root().join("deploy/compose.yaml"));
    assert!(number(&compose, "stop_grace_period:") > number(&compose, "--notice") + 2 * number(&compose, "--drain"));
}

#[test]
fn as_many_workers_run_as_the_load_is_shared_by() {
    let text = read(&root().join("deploy/kubernetes/load.yaml"));
    let workers = number(&text, "name: WORKERS, value:");
    assert_eq!((number(&text, "completions:"), number(&text, "parallelism:")), (workers, workers));
    assert!(number(&text, "-c ") >= workers);
}

#[test]
fn nobody_is_root_and_no_secret_is_written_down() {
    for file in manifests() {
        let text = read(&file);
        let pods = text.matches("containers:").count();
        for line in ["runAsNonRoot: true", "readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false"] {
            assert_eq!(text.matches(line).count(), pods, "{line} in {}", file.display());
        }
        assert!(!text.contains("kind: Secret") && !text.contains("postgres://"), "{}", file.display());
    }
    for name in ["Dockerfile", "Dockerfile.pooler"] {
        assert!(read(&root().join("deploy").join(name)).contains("USER 10001:10001"), "{name}");
    }
}

/// The validator, where it is installed; with `TARE_REQUIRE_MANIFESTS` it is, below `target/`.
fn validator() -> Option<PathBuf> {
    if std::env::var_os("TARE_REQUIRE_MANIFESTS").is_none() {
        let installed = Command::new("kubernetes-validate").arg("--version").stdout(Stdio::null()).status();
        return installed.is_ok_and(|status| status.success()).then(|| "kubernetes-validate".into());
    }
    let place = root().join("target/kubernetes-validate");
    let program = place.join("bin/kubernetes-validate");
    if !program.exists() {
        let run = |command: &mut Command| assert!(command.status().unwrap().success(), "{command:?}");
        run(Command::new("python3").args(["-m", "venv"]).arg(&place));
        run(Command::new(place.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check", SCHEMAS]));
    }
    Some(program)
}

#[test]
fn kubernetes_would_take_them() {
    let Some(validator) = validator() else {
        eprintln!("kubernetes-validate is not installed (pip install {SCHEMAS}): not tested");
        return;
    };
    let takes = |files: &[PathBuf]| {
        let told = Command::new(&validator).arg("--strict").args(files).output().unwrap();
        (told.status.success(), String::from_utf8_lossy(&told.stderr).into_owned())
    };
    let (taken, said) = takes(&manifests());
    assert!(taken, "{said}");
    // It does refuse what is wrong.
    let (wrong, load) = (folder(), fs::read_to_string(root().join("deploy/kubernetes/load.yaml")).unwrap());
    for (from, to) in [("completionMode", "completionMood"), ("completions: 8", "completions: eight")] {
        let file = wrong.path().join("load.yaml");
        fs::write(&file, load.replacen(from, to, 1)).unwrap();
        assert!(!takes(&[file]).0, "{to} was taken");
    }
}
