//! A temporary folder that is removed however this process ends.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::{Error, Reaper};

/// How the names of all of them begin; this many characters by chance follow.
const PREFIX: &str = "tare-";
const BY_CHANCE: usize = 6;
/// In each of them: by it one is known for ours. What is in it is the name of the container that goes with the folder, or the label
/// of all that does in an engine, or nothing.
const MARK: &str = ".tare";
/// The label that Docker Compose gives to all it makes.
pub const PROJECT: &str = "com.docker.compose.project";
/// The numbers of processes that were started on the folder, to be ended by the signals that their names begin with.
const QUIT: &str = "QUIT.pid";
const KILL: &str = "KILL.pid";

/// Ends what was started on a folder, then removes it. A number alone may be somebody else's process by now: ours has the folder in
/// its arguments, and may be paused. A container may be about to be made when whoever asked for it is gone. Programs may still be
/// writing to the folder. Without an engine to ask, the folder of a container is kept for the next who finds it. What carries a
/// label may still be being made: it is looked for until there is none twice.
const CLEAR: &str = r#"
folder=$1
runs() { case "$( (tr '\0' ' ' <"/proc/$1/cmdline" || ps -o args= -p "$1") )" in *"$folder"*) [ "$1" != $$ ] ;; *) false ;; esac; }
end() {
  pid=$(head -n 1 "$folder/$2")
  if [ -n "$pid" ] && runs "$pid"; then kill -s "$1" "$pid"; kill -s CONT "$pid"; while runs "$pid"; do sleep 0.02; done; fi
}
end KILL KILL.pid
end QUIT QUIT.pid
end QUIT data/postmaster.pid
container=$(cat "$folder/.tare")
labelled() {
  docker ps --all --quiet --filter "$container" && docker network ls --quiet --filter "$container" &&
    docker volume ls --quiet --filter "$container" && docker image ls --quiet --filter "$container"
}
remove() {
  docker rm --force --volumes $(docker ps --all --quiet --filter "$container")
  docker network rm $(docker network ls --quiet --filter "$container")
  docker volume rm --force $(docker volume ls --quiet --filter "$container")
  docker image rm --force $(docker image ls --quiet --filter "$container")
}
case $container in label=*)
  none=0
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    left=$(labelled) || exit 1
    if [ -n "$left" ]; then none=0; remove; else none=$((none + 1)); fi
    [ $none = 2 ] && break
    sleep 0.3
  done
  [ $none = 2 ] || exit 1
  container=
esac
if [ -n "$container" ]; then
  for _ in 1 2 3 4 5 6 7 8 9 10; do [ -n "$(docker rm --force --volumes "$container")" ] && break; sleep 0.2; done
  left=$(docker ps --all --quiet --filter "name=^$container\$") && [ -z "$left" ] || exit 1
fi
tries=0
while [ $tries -lt 100 ]; do rm -rf "$folder"; [ -e "$folder" ] || exit 0; tries=$((tries + 1)); sleep 0.1; done"#;

/// A temporary folder that only this user can look into, for files with passwords and tokens in them.
///
/// It is gone when this is dropped and when this process ends in any way. Where whatever would have removed it was killed as well,
/// the next process that makes one in the same place does: a folder is locked as long as its owner lives.
#[derive(Debug)]
pub struct PrivateFolder {
    // Removes the folder.
    reaper: Reaper,
    path: PathBuf,
    _lock: File,
}

impl PrivateFolder {
    /// A new one among the system's temporary folders.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new() -> Result<Self, Error> {
        Self::new_in(&std::env::temp_dir())
    }

    /// A new one in `parent`, for what is too much for temporary folders, which may be in memory.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn new_in(parent: &Path) -> Result<Self, Error> {
        Self::make(parent, "")
    }

    /// A new one that takes the container `name` with it.
    pub(crate) fn of_container(name: &str) -> Result<Self, Error> {
        Self::make(&std::env::temp_dir(), name)
    }

    /// A new one that takes along all that Docker Compose makes for `project`: containers, networks, volumes, and the images that
    /// carry its label.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn of_project(project: &str) -> Result<Self, Error> {
        Self::make(&std::env::temp_dir(), &format!("label={PROJECT}={project}"))
    }

    fn make(parent: &Path, container: &str) -> Result<Self, Error> {
        let failed = || Error::io(format!("making a folder in {}", parent.display()));
        let private = Permissions::from_mode(0o700);
        let folder =
            tempfile::Builder::new().prefix(PREFIX).rand_bytes(BY_CHANCE).permissions(private).tempdir_in(parent);
        let folder = folder.map_err(failed())?;
        let lock = File::open(folder.path()).map_err(failed())?;
        // Where nothing can be locked, nothing is taken for abandoned.
        let _ = lock.lock();
        let mark = File::create_new(folder.path().join(MARK)).and_then(|mut mark| {
            mark.write_all(container.as_bytes())?;
            mark.metadata()
        });
        let owner = mark.map_err(failed())?.uid();
        let path = folder.path().to_string_lossy().into_owned();
        let reaper = Reaper::new(CLEAR, &[&path]).map_err(Error::io("starting /bin/sh to clean up after us"))?;
        // From here on the reaper removes it.
        let folder = Self { reaper, path: folder.keep(), _lock: lock };
        clear_abandoned(parent, owner);
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has the process `id`, which was started with the folder's path among its arguments, killed before the folder is removed.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn kills(&self, id: u32) -> Result<(), Error> {
        self.ends(id, KILL)
    }

    /// The same by SIGQUIT, upon which PostgreSQL's programs take along what they have started.
    pub(crate) fn quits(&self, id: u32) -> Result<(), Error> {
        self.ends(id, QUIT)
    }

    fn ends(&self, id: u32, file: &str) -> Result<(), Error> {
        let path = self.path.join(file);
        fs::write(&path, id.to_string()).map_err(Error::io(format!("writing {}", path.display())))
    }

    /// Lets what was started on it be ended, and the folder be removed, without waiting for that.
    pub(crate) fn release(&mut self) {
        self.reaper.release();
    }
}

/// Removes what is in `parent` and its owner, a process of this user, is gone. Once in a process, and only the containers among it
/// are not waited for: an engine may take its time.
fn clear_abandoned(parent: &Path, user: u32) {
    static LOOKED_AT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    if !LOOKED_AT.lock().unwrap_or_else(PoisonError::into_inner).insert(parent.to_owned()) {
        return;
    }
    let entries = fs::read_dir(parent).into_iter().flatten().flatten();
    let named = entries.filter(|entry| is_named_as_ours(&entry.file_name())).map(|entry| entry.path());
    let clear = |path: PathBuf| {
        let (lock, container) = abandoned(&path, user)?;
        let mut reaper = Reaper::new(CLEAR, &[&path.to_string_lossy()]).ok()?;
        reaper.release();
        Some((reaper, lock, container))
    };
    // All at once, and then each is waited for.
    let clearing: Vec<_> = named.filter_map(clear).collect();
    for (reaper, lock, container) in clearing {
        match container {
            true => drop(std::thread::spawn(|| drop((reaper, lock)))),
            false => drop((reaper, lock)),
        }
    }
}

fn is_named_as_ours(name: &OsStr) -> bool {
    let by_chance = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
    by_chance.is_some_and(|rest| rest.len() == BY_CHANCE && rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The lock of a folder whose owner is gone, and whether a container goes with it. Nothing for one that is in use, or that is not
/// known for ours.
fn abandoned(path: &Path, user: u32) -> Option<(File, bool)> {
    let is_ours = |file: &fs::Metadata| file.is_file() && file.uid() == user;
    let mark = fs::symlink_metadata(path.join(MARK)).ok().filter(is_ours)?;
    let lock = File::open(path).ok()?;
    lock.try_lock().ok()?;
    Some((lock, mark.len() > 0))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// A folder as one that was killed together with its reaper leaves it.
    fn left_in(parent: &Path) -> PathBuf {
        let path = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent).unwrap().keep();
        fs::write(path.join(MARK), "").unwrap();
        path
    }

    /// A process that was started with `argument`, and ends when it is told to.
    fn started_with(argument: &Path) -> Child {
        let mut shell = Command::new("sh");
        shell.args(["-c", "read _"]).arg(argument).stdin(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn a_folder_is_there_until_it_is_dropped() {
        let parent = tempfile::tempdir().unwrap();
        let folder = PrivateFolder::new_in(parent.path()).unwrap();
        fs::write(folder.path().join("secret"), "").unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().mode() & 0o777, 0o700);
        assert!(File::open(folder.path()).unwrap().try_lock().is_err(), "it is known to be in use");
        let path = folder.path().to_owned();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn what_was_started_on_a_folder_is_ended_with_it_and_another_process_of_that_number_is_not() {
        let parent = tempfile::tempdir().unwrap();
        let folder = PrivateFolder::new_in(parent.path()).unwrap();
        let (mut ours, mut another) = (started_with(&folder.path().join("file")), started_with(parent.path()));
        folder.kills(ours.id()).unwrap();
        folder.quits(another.id()).unwrap();
        let mut folder = folder;
        folder.release();
        assert!(!ours.wait().unwrap().success());
        drop(folder);
        drop(another.stdin.take());
        assert_eq!(another.wait().unwrap().code(), Some(1), "it has read its end, and was not ended");
    }

    #[test]
    fn what_was_left_behind_is_removed_and_nothing_else() {
        let parent = tempfile::tempdir().unwrap();
        let in_use = left_in(parent.path());
        let lock = File::open(&in_use).unwrap();
        lock.lock().unwrap();
        let left = left_in(parent.path());
        let mut process = started_with(&left);
        fs::write(left.join(KILL), process.id().to_string()).unwrap();
        let of_others = ["tare-abc123", "tare-notes", "tare-Measuring"].map(|name| parent.path().join(name));
        for folder in &of_others {
            fs::create_dir(folder).unwrap();
            fs::write(folder.join("file"), "").unwrap();
        }
        fs::write(of_others[1].join(MARK), "").unwrap();
        let waiting = std::thread::spawn(move || process.wait().unwrap());

        let folder = PrivateFolder::new_in(parent.path()).unwrap();
        assert!(!waiting.join().unwrap().success());
        assert!(!left.exists() && folder.path().exists() && in_use.join(MARK).exists());
        assert!(of_others.iter().all(|folder| folder.join("file").exists()));
        drop(lock);
        drop(PrivateFolder::new_in(parent.path()).unwrap());
        assert!(in_use.exists(), "a process looks once");
    }
}
