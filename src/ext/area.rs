//! An extension's own rows in the store.

use std::fmt;
use std::sync::Arc;

use crate::error::Result;
use crate::store::{AccountStore, Batch, Row, RowChange};

/// The rows of one namespace: what an extension keeps between sessions and, with a persistent store, between processes.
///
/// Keys are text and sort by their bytes; values are bytes. Every read and write may fail with
/// [`ErrorKind::Store`](crate::ErrorKind::Store).
#[derive(Clone)]
pub struct Area {
    store: Arc<dyn AccountStore>,
    namespace: Arc<str>,
}

impl Area {
    pub(crate) fn new(store: Arc<dyn AccountStore>, namespace: impl Into<Arc<str>>) -> Self {
        Self { store, namespace: namespace.into() }
    }

    /// The value under a key.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store).
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.store.extension_row(&self.namespace, key).await
    }

    /// The rows whose keys begin with `prefix`, sorted by key: at most `limit` behind the key `after`.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store).
    pub async fn rows(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<Row>> {
        self.store.extension_rows(&self.namespace, prefix, after, limit).await
    }

    /// Puts a row, in the place of one with the same key.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store).
    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>>) -> Result<()> {
        self.apply(Batch::new().put(Arc::clone(&self.namespace), key, value)).await
    }

    /// Deletes a row; one that is not there is no error.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store).
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.apply(Batch::new().delete(Arc::clone(&self.namespace), key)).await
    }

    /// Makes several changes, all or none.
    ///
    /// # Errors
    /// [`ErrorKind::Store`](crate::ErrorKind::Store).
    pub async fn change(&self, changes: impl IntoIterator<Item = AreaChange> + Send) -> Result<()> {
        let rows = changes.into_iter().map(|change| change.into_row(&self.namespace).into()).collect();
        self.apply(rows).await
    }

    /// The schema version of the rows; 0 where none was ever noted.
    pub(crate) async fn version(&self) -> Result<u32> {
        self.store.extension_schema(&self.namespace).await
    }

    pub(crate) async fn set_version(&self, version: u32) -> Result<()> {
        self.apply(Batch::new().schema(Arc::clone(&self.namespace), version)).await
    }

    async fn apply(&self, batch: Batch) -> Result<()> {
        self.store.apply(batch).await.map(drop)
    }
}

impl fmt::Debug for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Area").field(&self.namespace).finish()
    }
}

/// One change of an [`Area`].
#[derive(Debug, Clone)]
pub struct AreaChange {
    key: String,
    value: Option<Vec<u8>>,
}

impl AreaChange {
    /// Puts a row.
    pub fn put(key: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        Self { key: key.into(), value: Some(value.into()) }
    }

    /// Deletes a row.
    pub fn delete(key: impl Into<String>) -> Self {
        Self { key: key.into(), value: None }
    }

    fn into_row(self, namespace: &Arc<str>) -> RowChange {
        match self.value {
            Some(value) => RowChange::put(Arc::clone(namespace), self.key, value),
            None => RowChange::delete(Arc::clone(namespace), self.key),
        }
    }
}
