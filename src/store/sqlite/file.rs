//! The file, and the lock files beside it.
//!
//! | file | what |
//! |---|---|
//! | `chat.db`, `chat.db-wal`, `chat.db-shm` | SQLite's |
//! | `chat.db-lock` | locked while the file is opened, created and brought to the current schema |
//! | `chat.db-lock-0123456789abcdef` | locked while the account is open; the digits stand for its JID |
//!
//! Lock files are empty and are never deleted: whoever deletes one cannot know that nobody is about to lock it. A lock is the
//! operating system's, on the open file, so the death of a process releases it (R24).

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use fs4::{FileExt, TryLockError};
use jid::BareJid;
use sha2::{Digest as _, Sha256};

use super::failure::{Failure, Outcome};
use crate::error::{Error, ErrorKind};

/// The one path of a file that may be named in several ways, so that all who open it lock the same lock files.
pub(super) fn resolve(path: &Path) -> Outcome<PathBuf> {
    match fs::canonicalize(path) {
        Ok(found) => return Ok(found),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(Failure::Io("cannot be opened".to_owned(), error)),
    }
    let name = path.file_name().ok_or_else(|| Failure::refused("this is no file's name"))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let found = fs::canonicalize(folder).map_err(|error| {
        let what = if error.kind() == io::ErrorKind::NotFound { "does not exist" } else { "cannot be opened" };
        Failure::Io(format!("the folder {} {what}", folder.display()), error)
    })?;
    Ok(found.join(name))
}

/// Makes the file if there is none, for its owner only from the first moment on. What SQLite puts beside it gets the same
/// permissions.
pub(super) fn create(path: &Path) -> Outcome<()> {
    // One that exists is not opened: by closing it again this process would lose all locks that SQLite has on it (POSIX).
    match owner_only().write(true).create_new(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Failure::Io("cannot be created".to_owned(), error)),
    }
}

/// A lock that is released when the value is dropped, or the process dies.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// Waits until nobody else opens the file.
    pub(super) fn opening(path: &Path) -> Outcome<Self> {
        let (file, name) = lock_file(path, "-lock")?;
        FileExt::lock(&file).map_err(|error| Failure::Io(format!("{name} cannot be locked"), error))?;
        Ok(Self(file))
    }

    /// Locks an account, unless it is open.
    pub(super) fn account(path: &Path, account: &BareJid) -> Outcome<Self> {
        let hash = Sha256::digest(account.as_str());
        let digits: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let (file, name) = lock_file(path, &format!("-lock-{digits}"))?;
        match FileExt::try_lock(&file) {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(Error::new(ErrorKind::StoreInUse).with_context(account.to_string()).into()),
            Err(TryLockError::Error(error)) => Err(Failure::Io(format!("{name} cannot be locked"), error)),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing would do, but for a child process that was just forked and still has the open file.
        let _ = FileExt::unlock(&self.0);
    }
}

fn lock_file(path: &Path, end: &str) -> Outcome<(File, String)> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(end);
    let path = path.with_file_name(&name);
    let name = name.to_string_lossy().into_owned();
    match owner_only().read(true).write(true).create(true).truncate(false).open(path) {
        Ok(file) => Ok((file, name)),
        Err(error) => Err(Failure::Io(format!("the lock file {name} cannot be opened"), error)),
    }
}

fn owner_only() -> OpenOptions {
    #[allow(unused_mut, reason = "used on Unix")]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
