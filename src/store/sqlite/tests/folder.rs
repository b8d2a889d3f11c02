//! A folder that is removed when it is dropped.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("xmppkit-sqlite-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// The file that most tests use.
    pub(super) fn file(&self) -> PathBuf {
        self.0.join("chat.db")
    }

    /// Waits until nobody has the file open: the threads of a store end some time after its last handle, and the last connection
    /// that is closed removes the log.
    pub(super) fn closed(&self) {
        let wal = self.0.join("chat.db-wal");
        let started = Instant::now();
        while wal.exists() {
            assert!(started.elapsed() < Duration::from_secs(30), "somebody still has the file open");
            std::thread::yield_now();
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
