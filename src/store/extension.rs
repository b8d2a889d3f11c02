//! An extension's own rows, read and written as one thing.

use std::sync::Arc;

use super::{AccountStore, Batch, Row};
use crate::error::{Error, ErrorKind, Result};

/// How many rows are read at once.
const PAGE: usize = 1_000;

/// One extension's rows in an account's store.
///
/// A view over [`AccountStore`]: what it writes goes through [`AccountStore::apply`], and whoever needs rows to be written
/// together with other changes puts them into one [`Batch`].
#[derive(Debug, Clone)]
pub struct ExtensionRows {
    store: Arc<dyn AccountStore>,
    namespace: Arc<str>,
}

impl ExtensionRows {
    /// The rows of this namespace; by convention it is the extension's XML namespace.
    pub fn new(store: Arc<dyn AccountStore>, namespace: impl Into<Arc<str>>) -> Self {
        Self { store, namespace: namespace.into() }
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The value of a row.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Store`] when the store fails.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>> {
        self.store.extension_row(&self.namespace, key).await
    }

    /// All rows whose keys begin with `prefix`, sorted by key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Store`] when the store fails.
    pub async fn rows(&self, prefix: &str) -> Result<Vec<Row>> {
        let mut rows: Vec<Row> = Vec::new();
        loop {
            let after = rows.last().map(|(key, _)| key.as_str());
            let page = self.store.extension_rows(&self.namespace, prefix, after, PAGE).await?;
            let is_last = page.len() < PAGE;
            rows.extend(page);
            if is_last {
                return Ok(rows);
            }
        }
    }

    /// Puts a row, in the place of one with the same key.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Store`] when the store fails.
    pub async fn put(&self, key: &str, value: impl Into<Vec<u8>> + Send) -> Result<()> {
        self.store.apply(Batch::new().put(self.namespace.clone(), key, value)).await.map(drop)
    }

    /// Deletes a row; one that is not there is no error.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Store`] when the store fails.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.store.apply(Batch::new().delete(self.namespace.clone(), key)).await.map(drop)
    }

    /// Brings the rows to this schema version, before they are used.
    ///
    /// Where they are older, `step` gets their version (0 if they never had one) and all of them, and returns what they
    /// shall be; it is not called where there are none. Rows and version change together.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::StoreTooNew`] if the rows have a higher version: a newer version of the extension wrote them.
    /// Otherwise what `step` returns, or [`ErrorKind::Store`] when the store fails.
    pub async fn migrate<F>(&self, version: u32, step: F) -> Result<()>
    where
        F: FnOnce(u32, Vec<Row>) -> Result<Vec<Row>> + Send,
    {
        let found = self.store.extension_schema(&self.namespace).await?;
        if found == version {
            return Ok(());
        }
        if found > version {
            let context = format!("{} has schema version {found}, this release knows {version}", self.namespace);
            return Err(Error::new(ErrorKind::StoreTooNew).with_context(context));
        }
        let old = self.rows("").await?;
        let new = if old.is_empty() { old } else { step(found, old)? };
        let mut batch = Batch::new().delete_all(self.namespace.clone(), "");
        for (key, value) in new {
            batch = batch.put(self.namespace.clone(), key, value);
        }
        self.store.apply(batch.schema(self.namespace.clone(), version)).await.map(drop)
    }
}
