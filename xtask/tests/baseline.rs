//! Baselines as processes: saved, compared with, packed and put back.

mod bed;

use std::fs;
use std::path::{Path, PathBuf};

use bed::{Ended, config, evidence, folder, refused, run, text, xtask};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A Criterion home of its own, and targets that ask for nothing.
struct Home {
    home: TempDir,
    settings: TempDir,
    config: PathBuf,
}

impl Home {
    fn new() -> Self {
        let settings = folder();
        // What a busy machine makes of the same code is of no interest here.
        let config = config(&settings, "[compare]\nthreshold = 0.6\n");
        Self { home: folder(), settings, config }
    }

    fn baseline(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = xtask(&[&["baseline"], arguments].concat());
        command.env("CRITERION_HOME", self.home.path());
        command
    }

    fn bench(&self, baseline: &[&str]) -> (Ended, Value) {
        let output = folder();
        let bench = ["bench", "auth", "--quick", "--parts", "1000", "--config", text(&self.config)];
        let mut command = xtask(&[&bench[..], &["--output", text(output.path())], baseline].concat());
        command.env("CRITERION_HOME", self.home.path());
        let ended = run(command);
        assert!(matches!(ended.code, Some(0 | 1)), "{}\n{}", ended.shown, ended.said);
        let (_, evidence) = evidence(&output);
        (ended, evidence)
    }

    /// The folders kept under `name`.
    fn kept(&self, name: &str) -> Vec<PathBuf> {
        let benches =
            fs::read_dir(self.home.path().join("auth")).unwrap().map(|entry| entry.unwrap().path().join(name));
        benches.filter(|kept| kept.join("sample.json").is_file()).collect()
    }
}

/// Makes what is kept in `folder` ten times as fast: more than any machine is off by.
fn quicken(folder: &Path) {
    let path = folder.join("sample.json");
    let mut sample: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    for time in sample["times"].as_array_mut().unwrap() {
        *time = json!(time.as_f64().unwrap() / 10.0);
    }
    fs::write(&path, sample.to_string()).unwrap();
}

#[test]
fn a_baseline_is_compared_with_and_goes_through_a_file() {
    let bed = Home::new();
    let (saved, _) = bed.bench(&["--save-baseline", "mine"]);
    assert_eq!(saved.code, Some(0), "{}\n{}", saved.shown, saved.said);
    let kept = bed.kept("mine");
    assert!(kept.len() >= 4, "{kept:?}");

    let (same, told) = bed.bench(&["--baseline", "mine"]);
    let changes = &told["changes"];
    assert_eq!((&changes["base"]["name"], &changes["method"]), (&json!("baseline mine"), &json!("baseline")));
    assert_eq!(changes["base"]["commit"], told["run"]["commit"]);
    let of = |figure: &str| {
        let all = changes["changes"].as_array().unwrap().iter().filter(|change| change["figure"] == figure);
        all.cloned().collect::<Vec<_>>()
    };
    assert_eq!(of("time").len(), kept.len());
    for change in of("round-trips").iter().chain(&of("allocations")).chain(&of("wire-bytes")) {
        assert_eq!(change["verdict"], "same", "what is counted is exact: {change}");
    }
    let remarks = changes["remarks"].to_string();
    assert!(remarks.contains("weather") && !remarks.contains("another"), "{remarks}");
    assert!(!same.said.contains("Performance has"), "{}", same.said);

    let packed = bed.settings.path().join("mine.tar.gz");
    let pack = run(bed.baseline(&["pack", "mine", text(&packed)]));
    assert_eq!(pack.code, Some(0), "{}", pack.said);
    let list = || run(bed.baseline(&["list"])).shown;
    assert!(list().contains(&format!("mine: {} ids, saved 20", kept.len())), "{}", list());

    for folder in &kept {
        quicken(folder);
    }
    let (slower, told) = bed.bench(&["--baseline", "mine"]);
    assert_eq!(slower.code, Some(1), "{}\n{}", slower.shown, slower.said);
    assert!(slower.shown.contains("auth/hs256"), "{}", slower.shown);
    let slow = told["changes"]["changes"].as_array().unwrap().iter().filter(|change| change["verdict"] == "slower");
    assert_eq!(slow.count(), kept.len(), "{}", told["changes"]);

    for folder in &kept {
        fs::remove_dir_all(folder).unwrap();
    }
    fs::remove_file(bed.home.path().join("baseline-mine.json")).unwrap();
    assert!(list().starts_with("no baselines in "), "{}", list());
    let unpack = run(bed.baseline(&["unpack", text(&packed)]));
    assert_eq!(unpack.code, Some(0), "{}", unpack.said);
    assert_eq!(bed.kept("mine").len(), kept.len());
    let (_, again) = bed.bench(&["--baseline", "mine"]);
    assert_eq!(again["changes"]["changes"].as_array().unwrap().len(), changes["changes"].as_array().unwrap().len());
}

/// An archive with a file at `path`, which the crate itself would not write.
fn hostile(path: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
    header.set_size(2);
    header.set_cksum();
    archive.append(&header, &b"{}"[..]).unwrap();
    archive.into_inner().unwrap().finish().unwrap()
}

#[test]
fn what_is_no_baseline_is_refused_before_anything_is_started() {
    let bed = Home::new();
    for name in ["new", "base", "change", "report", "a/b", "..", ""] {
        for flag in ["--save-baseline", "--baseline"] {
            refused(xtask(&["bench", "auth", &format!("{flag}={name}")]), &[flag]);
        }
        refused(bed.baseline(&["pack", name, "/nowhere/file.tar.gz"]), &["NAME"]);
    }
    let mut unknown = xtask(&["bench", "auth", "--baseline", "unknown"]);
    unknown.env("CRITERION_HOME", bed.home.path());
    refused(unknown, &["unknown", "auth", "--save-baseline unknown"]);
    refused(
        bed.baseline(&["pack", "unknown", text(&bed.settings.path().join("x.tar.gz"))]),
        &["unknown", "baseline list"],
    );
    refused(bed.baseline(&["unpack", "/nowhere/file.tar.gz"]), &["/nowhere/file.tar.gz"]);

    let foreign = bed.settings.path().join("foreign.tar.gz");
    fs::write(&foreign, "no archive").unwrap();
    refused(bed.baseline(&["unpack", text(&foreign)]), &["foreign.tar.gz", "baseline pack"]);
    fs::write(&foreign, hostile("../evil.json")).unwrap();
    refused(bed.baseline(&["unpack", text(&foreign)]), &["../evil.json", "no part of a baseline"]);
    assert_eq!(fs::read_dir(&bed.home).unwrap().count(), 0, "nothing is left there");
}
