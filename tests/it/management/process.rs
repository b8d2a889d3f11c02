//! A client that can be killed, and what it leaves on its disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::task::JoinHandle;
use xmppkit::client::{Client, ClientBuilder};
use xmppkit::store::SqliteStore;
use xmppkit::testing::Server;

use crate::common::within;

/// A folder with the file of a store; it goes with the value.
pub(super) struct Disk(PathBuf);

impl Disk {
    pub(super) fn new() -> Self {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("disk-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    pub(super) async fn store(&self) -> Arc<SqliteStore> {
        Arc::new(SqliteStore::open(self.0.join("chat.db")).await.expect("a store"))
    }

    /// What a process that died now would find.
    fn copy(&self) -> Self {
        let copy = Self::new();
        for name in ["chat.db", "chat.db-wal"] {
            std::fs::copy(self.0.join(name), copy.0.join(name)).expect("a copy");
        }
        copy
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A client with a store on disk, as the one thing in its process.
pub(super) struct Process {
    pub(super) client: Client,
    driver: JoinHandle<()>,
    disk: Disk,
}

impl Process {
    pub(super) async fn new(builder: ClientBuilder, disk: Disk) -> Self {
        let (client, driver) = builder.store(disk.store().await).build_with_driver().await.expect("a client");
        Self { client, driver: tokio::spawn(driver), disk }
    }

    /// Dies as by SIGKILL: nothing more is written, on the disk or to the server, which finds the connection broken.
    pub(super) async fn kill(self, server: &Server) -> Disk {
        let account = self.client.account().clone();
        let left = self.disk.copy();
        self.driver.abort();
        let _ = self.driver.await;
        drop(self.client);
        let cut = |server: &Server| !server.sessions().iter().any(|s| s.jid.to_bare() == account && s.connected);
        within("the server to notice", server.wait_for(cut)).await;
        left
    }
}
