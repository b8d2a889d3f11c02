//! The file in which both accounts are kept for as long as the tour takes.

use std::path::{Path, PathBuf};

use xmppkit::error::Result;

use super::random;

/// A file in a folder of its own, which is removed with everything in it.
pub(crate) struct File {
    folder: PathBuf,
    path: PathBuf,
}

impl File {
    /// Makes the folder, among the system's temporary ones. The name cannot be guessed, and a folder that is there is refused.
    pub(crate) fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("xmppkit-tour-{}", random()));
        std::fs::create_dir(&folder)?;
        let path = folder.join("chat.db");
        Ok(Self { folder, path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // What cannot be removed is left to the system, as all temporary files are.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
