//! What is particular to the store in a file. The contract is tested by the conformance suite.

use std::path::PathBuf;

use super::*;

mod folder;

use self::folder::Folder;

mod conformance {
    crate::store_conformance!({
        let folder = std::rc::Rc::new(super::Folder::new());
        move || {
            let folder = folder.clone();
            async move { crate::store::SqliteStore::open(folder.file()).await.expect("the file opens") }
        }
    });
}
