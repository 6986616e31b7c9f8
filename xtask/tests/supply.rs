//! What the code is made of: each dependency has its reason, there is no `unsafe`, and the compiler that is asked for is one it is
//! tested with. `cargo deny` sees to licences, duplicates and advisories.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::Table;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn manifest(path: &Path) -> Table {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The manifests of all members, by their folders.
fn members() -> BTreeMap<PathBuf, Table> {
    let workspace = manifest(&root().join("Cargo.toml"));
    let named = workspace["workspace"]["members"].as_array().unwrap().iter().map(|member| member.as_str().unwrap());
    let folders = named.flat_map(|member| match member.strip_suffix("/*") {
        Some(parent) => fs::read_dir(root().join(parent)).unwrap().map(|entry| entry.unwrap().path()).collect(),
        None => vec![root().join(member)],
    });
    folders.map(|folder| (folder.clone(), manifest(&folder.join("Cargo.toml")))).collect()
}

/// The dependencies that a member names, of all kinds.
fn dependencies(member: &Table) -> impl Iterator<Item = (&String, &toml::Value)> {
    let kinds = ["dependencies", "dev-dependencies", "build-dependencies"];
    kinds.into_iter().filter_map(|kind| member.get(kind)?.as_table()).flatten()
}

/// Those of other people that the workspace names.
fn of_others() -> BTreeSet<String> {
    let workspace = manifest(&root().join("Cargo.toml"));
    let all = workspace["workspace"]["dependencies"].as_table().unwrap();
    all.iter().filter(|(_, value)| value.get("path").is_none()).map(|(name, _)| name.clone()).collect()
}

#[test]
fn every_dependency_has_a_line_that_says_what_for() {
    let page = fs::read_to_string(root().join("docs/dependencies.md")).unwrap();
    let rows = page.lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" | "));
    let mut told = BTreeSet::new();
    for (names, reason) in rows.filter(|(names, _)| *names != "crate") {
        assert!(reason.trim_end_matches([' ', '|']).len() > 10, "{names} has no reason");
        for name in names.split(", ") {
            assert!(told.insert(name.to_owned()), "{name} has two lines");
        }
    }
    let named = of_others();
    let missing: Vec<_> = named.difference(&told).collect();
    let gone: Vec<_> = told.difference(&named).collect();
    assert!(missing.is_empty() && gone.is_empty(), "without a line: {missing:?}; of no dependency: {gone:?}");
    assert!(named.len() > 50);
}

#[test]
fn versions_and_features_stand_in_one_place_and_all_of_them_are_used() {
    let mut used = BTreeSet::new();
    for (folder, member) in members() {
        for (name, value) in dependencies(&member) {
            let of_workspace = value.get("workspace").and_then(toml::Value::as_bool);
            assert!(of_workspace == Some(true), "{name} of {} is not that of the workspace", folder.display());
            assert!(value.get("features").is_none(), "{name} of {} asks for features of its own", folder.display());
            used.insert(name.clone());
        }
    }
    let unused: Vec<_> = of_others().difference(&used).cloned().collect();
    assert!(unused.is_empty(), "nobody uses {unused:?}");
}

#[test]
fn unsafe_code_is_forbidden_in_every_member() {
    let workspace = manifest(&root().join("Cargo.toml"));
    assert_eq!(workspace["workspace"]["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
    let members = members();
    for (folder, member) in &members {
        let of_workspace = member.get("lints").and_then(|lints| lints.get("workspace")?.as_bool());
        assert!(of_workspace == Some(true), "{} has not the lints of the workspace", folder.display());
    }
    assert!(members.len() >= 11, "{members:?}");
}

/// `TARE_REQUIRE_MSRV=1` makes sure that these tests are run by the compiler that is asked for; a newer one will do without it.
#[test]
fn the_compiler_that_is_asked_for_is_one_that_all_of_it_is_tested_with() {
    let workspace = manifest(&root().join("Cargo.toml"));
    let asked = workspace["workspace"]["package"]["rust-version"].as_str().unwrap().to_owned();
    for (folder, member) in members() {
        let of_workspace =
            member["package"].get("rust-version").and_then(|version| version.get("workspace")?.as_bool());
        assert!(of_workspace == Some(true), "{} asks for a compiler of its own", folder.display());
    }
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    assert!(readme.contains(&format!("Rust {asked}")), "the README names another than {asked}");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let told = Command::new(rustc).arg("--version").current_dir(root()).output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let version = |text: &str| -> Vec<u32> { text.split('.').take(2).map(|part| part.parse().unwrap()).collect() };
    let used = version(told.split(' ').nth(1).unwrap());
    assert!(used >= version(&asked), "{told} is older than {asked}");
    if std::env::var_os("TARE_REQUIRE_MSRV").is_some() {
        assert_eq!(used, version(&asked), "the tests are run by another compiler than the one that is asked for");
    }
}

#[test]
fn everything_comes_from_the_registry_of_all_and_is_locked() {
    let lock = manifest(&root().join("Cargo.lock"));
    let members: BTreeSet<_> =
        members().into_values().map(|member| member["package"]["name"].as_str().unwrap().to_owned()).collect();
    let packages = lock["package"].as_array().unwrap();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        match package.get("source").and_then(toml::Value::as_str) {
            None => assert!(members.contains(name), "{name} comes from a folder"),
            Some(source) => {
                assert!(source.starts_with("registry+") && source.ends_with("/crates.io-index"), "{name}: {source}");
                assert!(package.get("checksum").is_some(), "{name} has no checksum");
            }
        }
    }
    assert!(packages.len() > 300);
}
