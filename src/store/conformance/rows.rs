//! Roster, capabilities, credentials, and the rows of extensions.

use super::*;
use crate::error::Error;
use crate::store::{ExtensionRows, Roster, Secret, StoredXml, credential};

const NS: &str = "urn:example:notes";

fn item(name: &str) -> StoredXml {
    StoredXml::new(format!("<item xmlns='jabber:iq:roster' jid='{name}@capulet.example' name='{name}'/>"))
}

fn contact(name: &str) -> (BareJid, StoredXml) {
    (bare(&format!("{name}@capulet.example")), item(name))
}

async fn keys(account: &dyn AccountStore, namespace: &str, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let rows = account.extension_rows(namespace, prefix, after, limit).await.expect("rows");
    rows.into_iter().map(|(key, _)| key).collect()
}

pub(super) async fn the_roster_keeps_its_version(setup: &Setup) {
    let account = setup.account().await;
    let roster = async || account.roster().await.expect("the roster");
    assert_eq!(roster().await, Roster::default());
    let (a, b, c) = (contact("angelica"), contact("benvolio"), contact("capulet"));
    apply(&*account, Batch::new().replace_roster(Some("v1".into()), vec![c.clone(), a.clone()])).await;
    assert_eq!(roster().await, Roster::new(Some("v1".into()), vec![a.clone(), c.clone()]));
    apply(&*account, Batch::new().put_contact(b.0.clone(), b.1.clone(), Some("v2".into()))).await;
    assert_eq!(roster().await, Roster::new(Some("v2".into()), vec![a.clone(), b.clone(), c.clone()]));
    let renamed = (a.0.clone(), item("nurse"));
    let batch = Batch::new().put_contact(renamed.0.clone(), renamed.1.clone(), None).remove_contact(b.0.clone(), None);
    apply(&*account, batch).await;
    assert_eq!(roster().await, Roster::new(Some("v2".into()), vec![renamed.clone(), c.clone()]));
    apply(&*account, Batch::new().remove_contact(c.0, Some("v3".into())).remove_contact(b.0.clone(), Some(String::new()))).await;
    assert_eq!(roster().await, Roster::new(Some(String::new()), vec![renamed]), "an empty version is one");
    apply(&*account, Batch::new().replace_roster(None, vec![b.clone()])).await;
    assert_eq!(roster().await, Roster::new(None, vec![b]), "what is replaced is gone, its version as well");
}

pub(super) async fn capabilities_are_kept_by_key(setup: &Setup) {
    let account = setup.account().await;
    let info = |name: &str| StoredXml::new(format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{name}'/>"));
    assert_eq!(account.caps("sha-1 abc=").await.expect("caps"), None);
    apply(&*account, Batch::new().put_caps("sha-1 abc=", info("1"), at(1)).put_caps("sha-1 ABC=", info("2"), at(2))).await;
    assert_eq!(account.caps("sha-1 abc=").await.expect("caps"), Some((info("1"), at(1))));
    assert_eq!(account.caps("sha-1 ABC=").await.expect("caps"), Some((info("2"), at(2))));
    apply(&*account, Batch::new().put_caps("sha-1 abc=", info("3"), at(3))).await;
    assert_eq!(account.caps("sha-1 abc=").await.expect("caps"), Some((info("3"), at(3))));
}

pub(super) async fn credentials_are_kept_by_name(setup: &Setup) {
    let account = setup.account().await;
    let secret = |bytes: &[u8]| Secret::new(bytes);
    let sha256 = credential::scram_keys("SHA-256", &[0, 255], 4096);
    let sha1 = credential::scram_keys("SHA-1", b"salt", 10_000);
    let batch = Batch::new()
        .put_credential(&*sha256, secret(&[0, 1, 255]))
        .put_credential(&*sha1, secret(b""))
        .put_credential(credential::USER_AGENT_ID, secret(b"d4565fa7-4d72-4749-b3d3-740edbf87770"))
        .put_credential("scrambled", secret(b"eggs"));
    apply(&*account, batch).await;
    assert_eq!(account.credential(&sha256).await.expect("credential"), Some(secret(&[0, 1, 255])));
    let all = account.credentials(credential::SCRAM_KEYS).await.expect("credentials");
    assert_eq!(all, [(sha1.clone(), secret(b"")), (sha256.clone(), secret(&[0, 1, 255]))]);
    assert_eq!(account.credentials("").await.expect("credentials").len(), 4);
    let batch = Batch::new().delete_credential(&*sha1).delete_credential("nothing").put_credential(&*sha256, secret(b"new"));
    apply(&*account, batch).await;
    assert_eq!(account.credential(&sha1).await.expect("credential"), None);
    assert_eq!(account.credential(&sha256).await.expect("credential"), Some(secret(b"new")));
}

pub(super) async fn namespaces_are_apart(setup: &Setup) {
    let account = setup.account().await;
    let names = ["urn:example:a", "urn:example:A", "urn:example:a/b", "", "urn:example:%"];
    for name in names {
        apply(&*account, Batch::new().put(name, "key", name).put(name, "b/key", "").schema(name, name.len() as u32)).await;
    }
    apply(&*account, Batch::new().delete_all("urn:example:A", "").delete("urn:example:a/b", "key")).await;
    for name in names {
        let expected: &[&str] = match name {
            "urn:example:A" => &[],
            "urn:example:a/b" => &["b/key"],
            _ => &["b/key", "key"],
        };
        assert_eq!(keys(&*account, name, "", None, 10).await, expected, "{name:?}");
        assert_eq!(account.extension_schema(name).await.expect("schema"), name.len() as u32);
        let value = account.extension_row(name, "key").await.expect("row");
        assert_eq!(value.as_deref(), expected.contains(&"key").then_some(name.as_bytes()), "{name:?}");
    }
    assert_eq!(keys(&*account, "urn:example:nobody", "", None, 10).await, [""; 0]);
}

pub(super) async fn rows_are_sorted_and_paged(setup: &Setup) {
    let account = setup.account().await;
    // By bytes: upper case before lower case, and both before what is not ASCII.
    let sorted = ["B", "a", "a/1", "a/10", "a/2", "a0", "a_", "b%", "b%1", "ba", "z", "ä", "花"];
    let mut batch = Batch::new();
    for key in sorted.iter().rev() {
        batch = batch.put(NS, *key, *key);
    }
    apply(&*account, batch).await;
    assert_eq!(keys(&*account, NS, "", None, usize::MAX).await, sorted);
    let table: [(&str, Option<&str>, usize, &[&str]); 9] = [
        ("a/", None, 10, &["a/1", "a/10", "a/2"]),
        ("a/", None, 2, &["a/1", "a/10"]),
        ("a/", Some("a/10"), 2, &["a/2"]),
        ("a/", Some("a/15"), 2, &["a/2"]),
        ("a/", Some("B"), 1, &["a/1"]),
        ("a/", Some("z"), 10, &[]),
        ("a_", None, 10, &["a_"]),
        ("b%", None, 10, &["b%", "b%1"]),
        ("", Some("z"), 10, &["ä", "花"]),
    ];
    for (prefix, after, limit, expected) in table {
        assert_eq!(keys(&*account, NS, prefix, after, limit).await, expected, "{prefix:?} behind {after:?}");
    }
    assert_eq!(keys(&*account, NS, "", None, 0).await, [""; 0]);
}

pub(super) async fn any_key_and_any_bytes_are_kept(setup: &Setup) {
    let account = setup.account().await;
    let large = vec![0xA5; 1 << 20];
    let rows: [(&str, &[u8]); 7] = [
        ("", b"an empty key"),
        (" ", b""),
        ("'; DROP TABLE rows; --", b"\0\x01\xFF"),
        ("line\nbreak\ttab\\", "玫瑰".as_bytes()),
        ("romeo@montague.example/Zoë's \"home\"", b"x"),
        ("\u{1F339}", b"y"),
        ("large", &large),
    ];
    for (key, value) in rows {
        apply(&*account, Batch::new().put(NS, key, value)).await;
    }
    for (key, value) in rows {
        assert!(account.extension_row(NS, key).await.expect("row").as_deref() == Some(value), "{key:?}");
    }
    assert_eq!(keys(&*account, NS, "", None, 100).await.len(), rows.len());
    let long_key = "k".repeat(1_000);
    apply(&*account, Batch::new().put(NS, &*long_key, "long").put(NS, "large", "small").put(NS, "large", "smaller")).await;
    assert_eq!(account.extension_row(NS, &long_key).await.expect("row").as_deref(), Some(&b"long"[..]));
    assert_eq!(account.extension_row(NS, "large").await.expect("row").as_deref(), Some(&b"smaller"[..]));
}

pub(super) async fn rows_are_deleted_by_prefix(setup: &Setup) {
    let account = setup.account().await;
    let mut batch = Batch::new().schema(NS, 3);
    for key in ["a/1", "a/2", "a", "a_1", "b", "A/1"] {
        batch = batch.put(NS, key, "").put("urn:example:other", key, "");
    }
    apply(&*account, batch).await;
    apply(&*account, Batch::new().delete_all(NS, "a/").delete(NS, "b").delete(NS, "nothing")).await;
    assert_eq!(keys(&*account, NS, "", None, 10).await, ["A/1", "a", "a_1"]);
    apply(&*account, Batch::new().delete_all(NS, "a_")).await;
    assert_eq!(keys(&*account, NS, "", None, 10).await, ["A/1", "a"]);
    apply(&*account, Batch::new().delete_all(NS, "").put(NS, "c", "")).await;
    assert_eq!(keys(&*account, NS, "", None, 10).await, ["c"]);
    assert_eq!(account.extension_schema(NS).await.expect("schema"), 3);
    assert_eq!(keys(&*account, "urn:example:other", "", None, 10).await.len(), 6);
}

pub(super) async fn a_schema_version_goes_with_its_rows(setup: &Setup) {
    let account = setup.account().await;
    assert_eq!(account.extension_schema(NS).await.expect("schema"), 0);
    apply(&*account, Batch::new().schema(NS, 1).put(NS, "a", "1")).await;
    apply(&*account, Batch::new().schema(NS, u32::MAX)).await;
    assert_eq!(account.extension_schema(NS).await.expect("schema"), u32::MAX);
    assert_eq!(account.extension_schema("urn:example:other").await.expect("schema"), 0);
    let refused = Batch::new().schema(NS, 7).put(NS, "a", "2").and([crate::store::Change::Unknown].into_iter().collect());
    assert_fails(account.apply(refused).await, &ErrorKind::StoreTooOld);
    assert_eq!(account.extension_schema(NS).await.expect("schema"), u32::MAX);
    assert_eq!(account.extension_row(NS, "a").await.expect("row").as_deref(), Some(&b"1"[..]));
}

pub(super) async fn rows_migrate_whole(setup: &Setup) {
    let account = setup.account().await;
    let notes = ExtensionRows::new(account.clone(), NS);
    notes.migrate(1, |_, _| panic!("there is nothing to migrate")).await.expect("a first use");
    assert_eq!(account.extension_schema(NS).await.expect("schema"), 1);
    let mut batch = Batch::new().put("urn:example:other", "old 0", "");
    // More than the rows are read at once.
    for n in 0..1_500 {
        batch = batch.put(NS, format!("old {n}"), n.to_string());
    }
    apply(&*account, batch).await;
    let refused = notes.migrate(3, |_, _| Err(Error::new(ErrorKind::Other))).await;
    assert_fails(refused, &ErrorKind::Other);
    assert_eq!((notes.rows("").await.expect("rows").len(), account.extension_schema(NS).await.expect("schema")), (1_500, 1));
    let step = |from: u32, rows: Vec<(String, Vec<u8>)>| {
        assert_eq!((from, rows.len()), (1, 1_500));
        Ok(rows.into_iter().map(|(key, value)| (key.replace("old", "new"), value)).collect())
    };
    notes.migrate(3, step).await.expect("a migration");
    let rows = notes.rows("").await.expect("rows");
    assert!(rows.len() == 1_500 && rows.iter().all(|(key, value)| key.as_bytes()[4..] == value[..] && key.starts_with("new ")));
    notes.migrate(3, |_, _| panic!("there is nothing to migrate")).await.expect("the same version");
    assert_fails(notes.migrate(2, |_, rows| Ok(rows)).await, &ErrorKind::StoreTooNew);
    assert_eq!(notes.rows("new 7").await.expect("rows").len(), 111);
    notes.put("single", "row").await.expect("put");
    assert_eq!(notes.get("single").await.expect("get").as_deref(), Some(&b"row"[..]));
    notes.delete("single").await.expect("delete");
    assert_eq!(notes.get("single").await.expect("get"), None);
    assert_eq!(keys(&*account, "urn:example:other", "", None, 10).await, ["old 0"]);
}
