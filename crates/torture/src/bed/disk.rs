//! A small disk, which can be filled.

use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tare_testbed::Reaper;

use crate::Error;

/// Megabytes: several times what an audit queue takes in a round.
const SIZE: &str = "size=96m";

/// A file system of its own in memory; gone when dropped, or when this process is.
pub(crate) struct SmallDisk {
    folder: PathBuf,
    // Unmounts it.
    _reaper: Reaper,
}

impl SmallDisk {
    /// Mounts one in `folder`, which only root may.
    pub(crate) fn mount(folder: &Path) -> Result<Self, Error> {
        let (folder, failed) = (folder.join("disk"), || Error::server("mounting a small disk"));
        DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed())?;
        let path = folder.to_string_lossy().into_owned();
        let reaper = Reaper::new(r#"umount --lazy "$1"; rm -rf "$1""#, &[&path]).map_err(failed())?;
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&folder).output();
        let mounted = mounted.map_err(failed())?;
        match mounted.status.success() {
            true => Ok(Self { folder, _reaper: reaper }),
            false => Err(Error::Lacks(format!(
                "a disk that is full needs one to be mounted, which root may: {}",
                String::from_utf8_lossy(&mounted.stderr).trim()
            ))),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.folder
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }

    /// Takes all the room that is left.
    pub(crate) fn fill(&self) -> Result<(), Error> {
        let failed = || Error::server("filling the small disk");
        let mut filler = File::create(self.filler()).map_err(failed())?;
        // In ever smaller pieces, so that nothing is left.
        for size in [1 << 20, 1 << 12, 1] {
            let piece = vec![0; size];
            loop {
                match filler.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(failed()(error)),
                }
            }
        }
        Ok(())
    }

    /// Gives it back.
    pub(crate) fn empty(&self) -> Result<(), Error> {
        fs::remove_file(self.filler()).map_err(Error::server("emptying the small disk"))
    }
}
