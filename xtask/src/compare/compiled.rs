//! Where the states that are compared are compiled: beside what the checkout has compiled, never in it. There cargo would take
//! one state's code for another's, for it goes by names and times of files, and these are the same or older.

use std::collections::HashSet;
use std::fs::{self, File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::workspace;

/// How the name of a folder begins that is not wholly there yet.
const HALF_SEEDED: &str = "seeding-";
/// Where cargo keeps, by name and hash, whether something has to be compiled again.
const FINGERPRINTS: &str = ".fingerprint";

/// The folder for cargo, in `home`. When it is new, what this program's own build has compiled of dependencies is copied to it:
/// the states have most of them in common, and they would take minutes.
///
/// # Errors
/// It cannot be written.
pub fn folder(home: &Path) -> Result<PathBuf> {
    let folder = home.join("target");
    let program = std::env::current_exe().context("cannot tell where this program is")?;
    let own = program.parent().context("this program is in a folder")?;
    let profile = folder.join(own.file_name().context("this program's folder has a name")?);
    if !profile.is_dir() {
        let dependencies = dependencies(&workspace::root().join("Cargo.lock"))?;
        seed(&profile, own, &dependencies).with_context(|| format!("cannot write {}; make room", folder.display()))?;
    }
    Ok(folder)
}

/// The names of packages that are not of this workspace.
fn dependencies(lock: &Path) -> Result<HashSet<String>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        source: Option<String>,
    }
    let text = fs::read_to_string(lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let Lock { package } = toml::from_str(&text).with_context(|| format!("cannot read {}", lock.display()))?;
    Ok(package.into_iter().filter(|package| package.source.is_some()).map(|package| package.name).collect())
}

/// Copies to `profile` what `own` holds of `dependencies`.
fn seed(profile: &Path, own: &Path, dependencies: &HashSet<String>) -> io::Result<()> {
    let folder = profile.parent().unwrap_or(profile);
    fs::create_dir_all(folder)?;
    remove_half_seeded(folder);
    let new = tempfile::Builder::new().prefix(HALF_SEEDED).tempdir_in(folder)?;
    let compiled = names(&own.join(FINGERPRINTS));
    let compiled = compiled.iter().filter_map(|name| name.rsplit_once('-'));
    let hashes: HashSet<_> =
        compiled.filter(|(package, _)| dependencies.contains(*package)).map(|(_, hash)| hash).collect();
    for part in [FINGERPRINTS, "build", "deps"] {
        for name in names(&own.join(part)) {
            let stem = name.split('.').next().unwrap_or(&name);
            if stem.rsplit_once('-').is_some_and(|(_, hash)| hashes.contains(hash)) {
                copy(&own.join(part).join(&name), &new.path().join(part).join(&name))?;
            }
        }
    }
    fs::rename(new.keep(), profile)
}

/// Removes what a comparison that was killed was copying.
fn remove_half_seeded(folder: &Path) {
    for name in names(folder).iter().filter(|name| name.starts_with(HALF_SEEDED)) {
        let _ = fs::remove_dir_all(folder.join(name));
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// A file with its time, by which cargo and git go, or a folder of them.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        return names(from).iter().try_for_each(|name| copy(&from.join(name), &to.join(name)));
    }
    fs::create_dir_all(to.parent().unwrap_or(to))?;
    fs::copy(from, to)?;
    let modified = fs::metadata(from)?.modified()?;
    File::options().write(true).open(to)?.set_times(FileTimes::new().set_modified(modified))
}
