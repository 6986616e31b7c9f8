//! Where things are, whatever the current folder.

use std::path::{Path, PathBuf};

/// The workspace's top folder.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask is a folder of the workspace")
}

/// `path` as the user means it: as given when it exists or is absolute, else from the workspace's top folder.
pub fn resolve(path: &Path) -> PathBuf {
    if path.is_absolute() || path.exists() { path.to_owned() } else { root().join(path) }
}
