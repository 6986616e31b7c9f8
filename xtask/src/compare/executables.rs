//! What is run of one state of the code, built once and kept for the next comparison.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use xshell::{Shell, cmd};

use super::git::{Repository, Source, Worktree};
use crate::build::{self, Executable, SERVER};
use crate::progress::Progress;

/// Makes a fixture by the code of its own state.
const TESTBED: &str = "tare-testbed";
/// States whose executables are kept.
const KEPT: usize = 6;

/// How the name of a folder begins that executables are being copied to.
const HALF_BUILT: &str = "building-";

/// The folder of the benches within that of a state.
const BENCHES: &str = "benches";

/// The executables of one state.
#[derive(Debug)]
pub struct Executables {
    /// By the name of the bench; only those that could be built.
    pub benches: BTreeMap<String, PathBuf>,
    pub server: Option<PathBuf>,
    pub testbed: Option<PathBuf>,
    /// Whether all of them could be built.
    pub complete: bool,
    /// Where they are when they are not kept.
    _folder: Option<TempDir>,
}

impl Executables {
    fn within(folder: &Path) -> Self {
        let one = |name: &str| Some(folder.join(name)).filter(|path| path.is_file());
        let entries = fs::read_dir(folder.join(BENCHES)).into_iter().flatten().flatten();
        let benches = entries.map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()));
        Self { benches: benches.collect(), server: one(SERVER), testbed: one(TESTBED), complete: true, _folder: None }
    }
}

/// The executables of `source`: those kept in `home`, or built in `worktree`, compiled in the folder `compiled`. Benches that cannot be built are left out.
///
/// # Errors
/// Nothing of it can be built.
pub async fn of(
    source: &Source,
    repository: &Repository,
    worktree: &Worktree<'_>,
    compiled: &Path,
    home: &Path,
    progress: &Progress,
) -> Result<Executables> {
    let folder = home.join(name(source)?);
    if folder.is_dir() {
        // Those used last are kept.
        let _ = fs::File::open(&folder).and_then(|folder| folder.set_modified(SystemTime::now()));
        return Ok(Executables::within(&folder));
    }
    progress.at(format!("checking {} out", source.state.name));
    let root = worktree.check_out(source)?;
    let mut targets = vec!["--keep-going", "--benches", "--bin", SERVER];
    // A state from before there was one.
    if repository.has(source, "crates/testbed/src/main.rs") {
        targets.extend(["--bin", TESTBED]);
    }
    let (built, status) = build::cargo_build(&root, Some(compiled), &targets, progress).await?;
    if !built.iter().any(|one| one.is_bench) {
        bail!("{} does not build; what cargo said is above", source.state.name);
    }
    let new = copied(&built, home).with_context(|| format!("cannot keep what was built in {}", home.display()))?;
    if !status.success() {
        return Ok(Executables { complete: false, _folder: Some(new.1), ..Executables::within(&new.0) });
    }
    fs::rename(new.1.keep(), &folder).with_context(|| format!("cannot make {}", folder.display()))?;
    forget_oldest(home);
    Ok(Executables::within(&folder))
}

/// The next state is built in the same place.
fn copied(built: &[Executable], home: &Path) -> Result<(PathBuf, TempDir)> {
    fs::create_dir_all(home)?;
    let new = tempfile::Builder::new().prefix(HALF_BUILT).tempdir_in(home)?;
    fs::create_dir(new.path().join(BENCHES))?;
    for Executable { is_bench, name, path } in built {
        let folder = if *is_bench { new.path().join(BENCHES) } else { new.path().to_owned() };
        fs::copy(path, folder.join(name))?;
    }
    Ok((new.path().to_owned(), new))
}

/// Removes what a comparison that was killed was copying to `home`.
pub fn remove_half_built(home: &Path) {
    for entry in fs::read_dir(home).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(HALF_BUILT) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// The same for the same code, compiler and settings.
fn name(source: &Source) -> Result<String> {
    let shell = Shell::new()?;
    let compiler = cmd!(shell, "rustc -vV").quiet().read().context("cannot ask rustc for its version")?;
    let mut hasher = DefaultHasher::new();
    compiler.hash(&mut hasher);
    for setting in ["RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_ENCODED_RUSTFLAGS"] {
        std::env::var_os(setting).hash(&mut hasher);
    }
    cfg!(debug_assertions).hash(&mut hasher);
    Ok(format!("{}-{:08x}", &source.tree()[..12], hasher.finish() as u32))
}

/// They are some 100 MB each.
fn forget_oldest(home: &Path) {
    let entries = fs::read_dir(home).into_iter().flatten().flatten();
    let mut folders: Vec<_> =
        entries.filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path()))).collect();
    folders.sort();
    let old = folders.len().saturating_sub(KEPT);
    for (_, folder) in &folders[..old] {
        let _ = fs::remove_dir_all(folder);
    }
}
