//! Files that are made, found, and refused.

use super::*;
use crate::store::MessageQuery;

async fn refused(path: impl Into<PathBuf>) -> crate::Error {
    SqliteStore::open(path).await.map(drop).expect_err("it does not open")
}

#[cfg(unix)]
#[tokio::test]
async fn all_files_are_their_owners_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let store = open(&folder).await;
    let account = account(&store).await;
    apply(&*account, Batch::new().put("urn:example", "row", "value")).await;
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder.path()).expect("a folder") {
        let file = file.expect("a file");
        assert_eq!(file.metadata().expect("metadata").permissions().mode() & 0o777, 0o600, "{file:?}");
        names.push(file.file_name().into_string().expect("UTF-8"));
    }
    names.sort();
    // All releases must agree on the names of the lock files.
    assert_eq!(names[..4], ["chat.db", "chat.db-lock", "chat.db-lock-5ba843ee679b06fa", "chat.db-shm"].map(String::from));
    assert_eq!(names[4..], ["chat.db-wal"]);
}

#[tokio::test]
async fn a_folder_that_does_not_exist_is_not_made() {
    let folder = Folder::new();
    let path = folder.path().join("profile").join("chat.db");
    let error = refused(&path).await;
    assert_eq!(error.kind(), &ErrorKind::Store);
    assert!(error.to_string().contains("profile does not exist"), "{error}");
    assert!(!path.parent().expect("a folder").exists());
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused_and_left_alone() {
    let folder = Folder::new();
    let path = folder.file();
    let text = "Dear diary, this is no database, but it is long enough to be one. ".repeat(100);
    std::fs::write(&path, &text).expect("a file");
    let error = refused(&path).await;
    assert_eq!(error.kind(), &ErrorKind::Store);
    assert!(error.to_string().contains("chat.db") && error.to_string().contains("not a database"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).expect("the file"), text);

    let path = folder.path().join("other.db");
    let other = Connection::open(&path).expect("a database");
    other.execute_batch("CREATE TABLE recipes (name TEXT); PRAGMA user_version = 1;").expect("a table");
    drop(other);
    let before = std::fs::read(&path).expect("the file");
    let error = refused(&path).await;
    assert_eq!(error.kind(), &ErrorKind::Store);
    assert!(error.to_string().contains("another application's"), "{error}");
    assert!(std::fs::read(&path).expect("the file") == before);
}

#[tokio::test]
async fn what_cannot_be_opened_or_made_is_a_typed_error() {
    let folder = Folder::new();
    let error = refused(folder.path()).await;
    assert_eq!(error.kind(), &ErrorKind::Store, "a folder is no file: {error}");
    assert_eq!(refused("").await.kind(), &ErrorKind::Store);
    // Nobody, not even root, makes files there.
    #[cfg(target_os = "linux")]
    {
        let error = refused("/proc/chat.db").await;
        assert_eq!(error.kind(), &ErrorKind::Store);
        assert!(error.to_string().contains("/proc/chat.db"), "{error}");
    }
}

/// Several names of one file lock the same account.
#[cfg(unix)]
#[tokio::test]
async fn an_account_is_open_once_by_whatever_name() {
    let (folder, other) = (Folder::new(), Folder::new());
    let store = open(&folder).await;
    let _account = account(&store).await;
    let link = other.path().join("link.db");
    std::os::unix::fs::symlink(folder.file(), &link).expect("a link");
    let dots = folder.path().join("..").join(folder.path().file_name().expect("a name")).join("chat.db");
    for path in [link, dots] {
        let second = SqliteStore::open(path).await.expect("the file opens");
        assert_eq!(second.path(), store.path());
        let error = second.open_account(&juliet()).await.expect_err("it is open");
        assert_eq!(error.kind(), &ErrorKind::StoreInUse);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_what_does_not_fit_and_loses_nothing() {
    let folder = Folder::new();
    let store = open(&folder).await;
    let account = account(&store).await;
    apply(&*account, Batch::new().put("urn:example", "kept", "value")).await;
    let pages = |most: &'static str| {
        store.threads.write(move |connection| {
            let now: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
            let most = most.parse().unwrap_or(now + 4);
            Ok(connection.query_row(&format!("PRAGMA max_page_count = {most}"), [], |row| row.get::<_, i64>(0)).map(drop)?)
        })
    };
    pages("").await.expect("full");
    let large = vec![7; 100_000];
    // Together: what fits is made, what does not is not.
    let waiting = [
        account.apply(Batch::new().put("urn:example", "small 1", "1")),
        account.apply(Batch::new().put("urn:example", "half", "1").put("urn:example", "large", large.clone())),
        account.apply(Batch::new().put("urn:example", "small 2", "2")),
    ];
    let [first, refused, last] = futures::future::join_all(waiting).await.try_into().expect("three");
    let error = refused.expect_err("there is no room");
    assert_eq!(error.kind(), &ErrorKind::Store);
    assert!(error.to_string().contains("full") && error.to_string().contains("chat.db"), "{error}");
    first.expect("it fits");
    last.expect("it fits");
    let rows = async || account.extension_rows("urn:example", "", None, 10).await.expect("rows").into_iter().map(|row| row.0);
    assert_eq!(rows().await.collect::<Vec<_>>(), ["kept", "small 1", "small 2"]);
    pages("1000000").await.expect("room");
    apply(&*account, Batch::new().put("urn:example", "large", large)).await;
    assert_eq!(rows().await.count(), 4);
}

#[tokio::test]
async fn what_is_damaged_is_a_typed_error() {
    let folder = Folder::new();
    let store = open(&folder).await;
    let account = account(&store).await;
    apply(&*account, Batch::new().append(message("romeo@montague.example", "hello", 0))).await;
    raw(&folder).execute_batch("UPDATE message SET kind = 77").expect("damage");
    let error = account.messages(&MessageQuery::new()).await.expect_err("it cannot be read");
    assert_eq!(error.kind(), &ErrorKind::Store);
    assert!(error.to_string().contains("a message's type"), "{error}");
    apply(&*account, Batch::new().put("urn:example", "row", "value")).await;
}

#[tokio::test]
async fn full_synchronisation_can_be_chosen() {
    let folder = Folder::new();
    for (synchronous, number) in [(Synchronous::Normal, 1), (Synchronous::Full, 2)] {
        let store = SqliteStore::options(folder.file()).synchronous(synchronous).open().await.expect("the file opens");
        let set =
            store.threads.write(|connection| Ok(connection.query_row("PRAGMA synchronous", [], |row| row.get::<_, i64>(0))?));
        assert_eq!(set.await.expect("a number"), number, "{synchronous:?}");
    }
}
