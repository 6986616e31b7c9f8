//! Clean-up that outlives its owner.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// A small shell process, in a process group of its own, that waits for its standard input to end and then cleans up.
///
/// The input is a pipe held by this process alone, so it ends however this process does: by dropping the reaper, by a
/// panic, by Ctrl-C or SIGTERM, by `kill -9`.
#[derive(Debug)]
pub struct Reaper(Child);

impl Reaper {
    /// Runs `script` with `arguments` as `$1 …` once this process is gone or drops the reaper.
    pub fn new(script: &str, arguments: &[&str]) -> io::Result<Self> {
        let script = format!("trap '' INT TERM HUP; cat >/dev/null; {script}");
        Command::new("/bin/sh")
            .args(["-c", &script, "tare-reaper"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir("/")
            .process_group(0)
            .spawn()
            .map(Self)
    }

    /// An output for a process that the script has to wait for: it runs no sooner than whoever has this has ended, too.
    pub fn hold(&self) -> io::Result<Stdio> {
        let held = self.0.stdin.as_ref().ok_or_else(|| io::Error::other("the script runs already"))?;
        held.as_fd().try_clone_to_owned().map(Stdio::from)
    }

    /// Lets the script run without waiting for it.
    pub(crate) fn release(&mut self) {
        drop(self.0.stdin.take());
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        self.release();
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_waits_for_what_holds_it() {
        let folder = tempfile::tempdir().unwrap();
        let doomed = folder.path().join("doomed");
        std::fs::write(&doomed, "").unwrap();
        let mut reaper = Reaper::new(r#"rm "$1""#, &[doomed.to_str().unwrap()]).unwrap();
        let mut holder = Command::new("cat").stdin(Stdio::piped()).stdout(reaper.hold().unwrap()).spawn().unwrap();
        reaper.release();
        assert!(doomed.exists() && matches!(reaper.0.try_wait(), Ok(None)));
        drop(holder.stdin.take());
        holder.wait().unwrap();
        drop(reaper);
        assert!(!doomed.exists());
    }

    #[test]
    fn the_script_runs_when_the_reaper_is_dropped_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let doomed = folder.path().join("doomed");
        std::fs::write(&doomed, "").unwrap();
        let reaper = Reaper::new(r#"rm "$1""#, &[doomed.to_str().unwrap()]).unwrap();
        assert!(doomed.exists());
        drop(reaper);
        assert!(!doomed.exists());
    }
}
