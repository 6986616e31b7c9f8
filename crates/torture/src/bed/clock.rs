//! A clock of the server's own, which can be set.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::Error;

/// The clock of a server that was started with its environment: libfaketime reads how far it is ahead from a file.
pub(crate) struct Clock {
    file: PathBuf,
    library: PathBuf,
}

impl Clock {
    /// One that is right, its file in `folder`.
    pub(crate) fn new(folder: &Path) -> Result<Self, Error> {
        let clock = Self { file: folder.join("clock"), library: library()? };
        clock.set(Duration::ZERO)?;
        Ok(clock)
    }

    pub(crate) fn environment(&self) -> Vec<(OsString, OsString)> {
        let set = |name: &str, value: OsString| (name.into(), value);
        vec![
            set("LD_PRELOAD", self.library.clone().into()),
            set("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            // Each time the clock is read, so that a jump is one.
            set("FAKETIME_NO_CACHE", "1".into()),
            // Waits are measured by another clock, which no one sets.
            set("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }

    /// Sets it that far ahead of the right time.
    pub(crate) fn set(&self, ahead: Duration) -> Result<(), Error> {
        let (new, failed) = (self.file.with_extension("new"), || Error::server("setting the server's clock"));
        fs::write(&new, format!("+{}", ahead.as_secs())).map_err(failed())?;
        fs::rename(new, &self.file).map_err(failed())
    }
}

fn library() -> Result<PathBuf, Error> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    let all = folders.chain(["/usr/lib".into(), "/usr/local/lib".into(), "/usr/lib64".into()]);
    let mut found = all.map(|folder| folder.join("faketime/libfaketimeMT.so.1")).filter(|library| library.exists());
    found
        .next()
        .ok_or_else(|| Error::Lacks("libfaketime is not installed (Debian: faketime, Fedora: libfaketime)".into()))
}
