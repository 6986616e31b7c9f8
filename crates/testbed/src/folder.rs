//! A temporary folder that is removed however this process ends.

use std::path::Path;

use crate::{Error, Reaper};

/// A temporary folder that only this user can look into, for files with passwords and tokens in them.
#[derive(Debug)]
pub struct PrivateFolder {
    // Removes the folder.
    _reaper: Reaper,
    folder: tempfile::TempDir,
}

impl PrivateFolder {
    /// A new one.
    pub fn new() -> Result<Self, Error> {
        let failed = || Error::io(format!("making a folder in {}", std::env::temp_dir().display()));
        let folder = tempfile::Builder::new().prefix("tare-").tempdir().map_err(failed())?;
        let path = folder.path().to_string_lossy().into_owned();
        let reaper =
            Reaper::new(r#"rm -rf "$1""#, &[&path]).map_err(Error::io("starting /bin/sh to clean up after us"))?;
        Ok(Self { _reaper: reaper, folder })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
