//! The schema, and how a file of an earlier version is brought to it.
//!
//! The version stands in `PRAGMA user_version`. Version `n` is reached from `n - 1` by `schema/n.sql`, in one transaction. For
//! each version there is a file with something in every table in `fixtures`, which must open and read back for ever. A BLOB is
//! a value as `encoding.rs` writes it: what it is made of stays, so a new field gets a column of its own.

use rusqlite::{Connection, TransactionBehavior};

use super::failure::{Failure, Outcome};
use super::search;

/// What marks a file as ours (`PRAGMA application_id`): "xmpk".
pub(super) const APPLICATION: i64 = 0x786D_706B;

/// The oldest SQLite that is tried out, as `sqlite3_libversion_number` gives it. STRICT tables need 3.37.
const OLDEST_SQLITE: i32 = 3_040_000;

/// The steps, each to the next version; the last version is their number.
pub(super) const STEPS: &[&str] = &[include_str!("schema/1.sql"), include_str!("schema/2.sql")];

/// Brings the file to the current version. A file that is newer, or not ours, is not touched.
pub(super) fn prepare(connection: &mut Connection, steps: &[&str]) -> Outcome<()> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        return Err(Failure::refused(format!("SQLite {} is older than 3.40", rusqlite::version())));
    }
    let version = check(connection, steps)?;
    // A setting of the file, which cannot be changed inside a transaction.
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(Failure::refused(format!("SQLite keeps no write-ahead log here, its journal mode is {mode}")));
    }
    if version < steps.len() {
        migrate(connection, version, steps)?;
    }
    search::follow_unicode(connection)
}

/// The version of the file; 0 where it is empty.
fn check(connection: &Connection, steps: &[&str]) -> Outcome<usize> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match usize::try_from(version) {
        Ok(0) if application == 0 && tables == 0 => Ok(0),
        _ if application != APPLICATION => Err(Failure::refused("it is another application's database")),
        Ok(version) if (1..=steps.len()).contains(&version) => Ok(version),
        Ok(version) if version > steps.len() => {
            let context = format!("the file has schema version {version}, this release knows {}", steps.len());
            Err(Failure::TooNew(context))
        }
        _ => Err(Failure::refused(format!("it has the schema version {version}"))),
    }
}

fn migrate(connection: &mut Connection, from: usize, steps: &[&str]) -> Outcome<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (n, step) in steps.iter().enumerate().skip(from) {
        transaction.execute_batch(step).map_err(|error| {
            // SQLite says "no such module: fts5".
            let without_fts5 = error.to_string().contains("fts5");
            let why = if without_fts5 { "SQLite is built without full-text search (FTS5)" } else { "it cannot be brought up" };
            Failure::refused(format!("{why}, to schema version {}: {error}", n + 1))
        })?;
    }
    let marks = format!("PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {};", steps.len());
    transaction.execute_batch(&marks)?;
    Ok(transaction.commit()?)
}
