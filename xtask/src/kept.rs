//! What is kept of runs: a folder for each, and files in it that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The name of a run's evidence.
pub const EVIDENCE: &str = "evidence.json";
/// How the name of a file begins that is being written.
const HALF_WRITTEN: &str = ".half-written-";
/// Earlier runs that are looked at for what they have half written.
const EARLIER: usize = 20;

/// Where a run is kept, locked as long as the run goes on.
pub struct Folder {
    pub path: PathBuf,
    _lock: File,
}

impl Folder {
    /// A new one in `output`, named `name`, and numbered where another run began in the same second. What runs that were killed have
    /// half written is removed.
    pub fn new(output: &Path, name: &str) -> Result<Self> {
        for folder in runs(output).into_iter().rev().take(EARLIER) {
            remove_half_written(&folder);
        }
        let made = Self::make(output, name);
        made.with_context(|| cannot_write(&output.join(name)))
    }

    fn make(output: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(output)?;
        let mut path = output.join(name);
        for nth in 2.. {
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => path = output.join(format!("{name}-{nth}")),
                made => {
                    made?;
                    break;
                }
            }
        }
        let lock = File::open(&path)?;
        // Where nothing can be locked, nothing is removed.
        let _ = lock.lock();
        Ok(Self { path, _lock: lock })
    }
}

/// Removes files that were being written to the folder of a run when it was killed.
fn remove_half_written(folder: &Path) {
    let Ok(lock) = File::open(folder) else { return };
    if lock.try_lock().is_err() {
        return;
    }
    for file in fs::read_dir(folder).into_iter().flatten().flatten() {
        if file.file_name().to_string_lossy().starts_with(HALF_WRITTEN) {
            let _ = fs::remove_file(file.path());
        }
    }
}

/// The folders of runs, latest last: their names begin with the time.
pub fn runs(output: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(output).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

/// Writes a file of a run.
pub fn write_atomically(path: &Path, text: &str) -> Result<()> {
    write_whole(path, text).with_context(|| cannot_write(path))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}; make room or choose another folder with --output", path.display())
}

/// Writes a file whole, or not at all: whoever reads it finds what was there before, or all of `text`, also after a loss of power.
pub fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(HALF_WRITTEN).tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    // Not every file system can do that for the name. The file is whole then, too.
    let _ = File::open(folder).and_then(|folder| folder.sync_all());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_reader_never_sees_half_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(EVIDENCE);
        // Longer than what one write takes along.
        let texts = ["a", "b"].map(|letter| letter.repeat(300_000));
        write_whole(&path, &texts[0]).unwrap();
        let done = AtomicBool::new(false);
        let looks = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut looks = 0;
                while !done.load(Ordering::Relaxed) || looks == 0 {
                    assert!(texts.contains(&fs::read_to_string(&path).unwrap()));
                    looks += 1;
                }
                looks
            });
            (1..=50).for_each(|nth| write_whole(&path, &texts[nth % 2]).unwrap());
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap()
        });
        assert!(looks > 0);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn two_runs_of_one_second_are_kept_apart() {
        let output = tempfile::tempdir().unwrap();
        let [one, other] = [(); 2].map(|()| Folder::new(output.path(), "20261124T142530Z-a1830aa").unwrap());
        assert_ne!(one.path, other.path);
        assert_eq!(runs(output.path()), [one.path, other.path]);
    }

    #[test]
    fn what_a_killed_run_has_half_written_is_removed_by_the_next_and_what_one_is_writing_is_not() {
        let output = tempfile::tempdir().unwrap();
        let running = Folder::new(output.path(), "1").unwrap();
        // What else there was of it is gone.
        let killed = Folder::new(output.path(), "2").unwrap().path;
        let half = |folder: &Path| folder.join(format!("{HALF_WRITTEN}abc"));
        for folder in [&killed, &running.path] {
            fs::write(half(folder), "{").unwrap();
            write_whole(&folder.join(EVIDENCE), "{}").unwrap();
        }
        Folder::new(output.path(), "3").unwrap();
        assert!(!half(&killed).exists() && killed.join(EVIDENCE).exists());
        assert!(half(&running.path).exists());
    }
}
