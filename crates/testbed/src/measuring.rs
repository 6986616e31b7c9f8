//! Whether others measure on this machine at the same time, and disturb what is measured.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::process::parent_id;
use std::path::{Path, PathBuf};

/// Says that this process measures, until it is dropped. Processes of one user know of each other, and of no others.
///
/// Each keeps a file that is locked as long as it lives: its own line, and one of each that came later.
#[derive(Debug)]
pub struct Measuring {
    /// Nothing where it measures for another process, which has said so.
    own: Option<(PathBuf, File)>,
    found: Vec<String>,
}

impl Measuring {
    /// From now on `command` measures.
    ///
    /// # Errors
    /// It cannot be told whether others do.
    pub fn begin(command: &str) -> io::Result<Self> {
        Self::begin_in(&folder()?, command, parent_id())
    }

    fn begin_in(folder: &Path, command: &str, parent: u32) -> io::Result<Self> {
        // Of two that begin at the same time one is first.
        let one_at_a_time = File::open(folder)?;
        one_at_a_time.lock()?;
        let mut others = Vec::new();
        for path in fs::read_dir(folder)?.flatten().map(|entry| entry.path()) {
            let Ok(file) = File::options().append(true).open(&path) else { continue };
            match file.try_lock() {
                // It was killed.
                Ok(()) => drop(fs::remove_file(&path)),
                Err(TryLockError::WouldBlock) => {
                    others.extend(lines(&path).into_iter().next().map(|line| (line, file)))
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
        let is_of_parent = |line: &str| line.split(' ').nth(1) == Some(&format!("{parent},"));
        if others.iter().any(|(line, _)| is_of_parent(line)) {
            return Ok(Self { own: None, found: Vec::new() });
        }
        let command = command.replace(char::is_control, " ");
        let line = format!("process {}, {command}\n", std::process::id());
        let (mut own, path) = tempfile::NamedTempFile::new_in(folder)?.keep()?;
        own.lock()?;
        own.write_all(line.as_bytes())?;
        for (_, other) in &mut others {
            other.write_all(line.as_bytes())?;
        }
        Ok(Self { own: Some((path, own)), found: others.into_iter().map(|(line, _)| line).collect() })
    }

    /// The others that measured at the same time until now: those that were there first, and those that came.
    pub fn others(&self) -> Vec<String> {
        let came = self.own.iter().flat_map(|(path, _)| lines(path).into_iter().skip(1));
        self.found.iter().cloned().chain(came).collect()
    }
}

impl Drop for Measuring {
    fn drop(&mut self) {
        if let Some((path, _)) = &self.own {
            let _ = fs::remove_file(path);
        }
    }
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Where the files are, which nobody but this user can put any in.
fn folder() -> io::Result<PathBuf> {
    let user = tempfile::tempfile()?.metadata()?.uid();
    let folder = std::env::temp_dir().join(format!("tare-measuring-{user}"));
    match DirBuilder::new().mode(0o700).create(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let found = fs::symlink_metadata(&folder)?;
    match found.is_dir() && found.uid() == user {
        true => Ok(folder),
        false => Err(io::Error::other(format!("{} belongs to another user", folder.display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const NOBODY: u32 = 0;

    #[test]
    fn each_knows_of_those_that_were_there_and_of_those_that_came() {
        let folder = tempfile::tempdir().unwrap();
        let begin = |command: &str| Measuring::begin_in(folder.path(), command, NOBODY).unwrap();
        let us = |command: &str| format!("process {}, {command}", std::process::id());
        let first = begin("perf");
        assert_eq!(first.others(), [] as [String; 0]);
        let second = begin("bench --quick");
        let third = begin("stress");
        drop(second);
        let fourth = begin("profile");
        assert_eq!(first.others(), ["bench --quick", "stress", "profile"].map(us));
        // Those that were there are in no order.
        assert_eq!(BTreeSet::from_iter(third.others()), BTreeSet::from(["perf", "bench --quick", "profile"].map(us)));
        assert_eq!(BTreeSet::from_iter(fourth.others()), BTreeSet::from(["perf", "stress"].map(us)));
        drop((first, third, fourth));
        assert_eq!(begin("perf").others(), [] as [String; 0]);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    }

    #[test]
    fn a_part_of_a_run_is_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let run = Measuring::begin_in(folder.path(), "calibrate", NOBODY).unwrap();
        let part = Measuring::begin_in(folder.path(), "stress", std::process::id()).unwrap();
        assert!(run.others().is_empty() && part.others().is_empty());
    }

    #[test]
    fn one_that_was_killed_measures_no_more() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("left"), "process 1, perf\n").unwrap();
        let next = Measuring::begin_in(folder.path(), "perf", NOBODY).unwrap();
        assert!(next.others().is_empty() && !folder.path().join("left").exists());
    }
}
