//! Writes, searches and reads again, with whatever rusqlite and SQLite it was built with.

use std::time::SystemTime;

use xmppkit::store::{Batch, Direction, MessageQuery, MessageRecord, NewMessage, Origin, SqliteStore, Store};

fn main() -> xmppkit::Result<()> {
    let folder = std::env::temp_dir().join(format!("xmppkit-sqlite-range-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    futures::executor::block_on(async {
        for run in 1..=2 {
            let store = SqliteStore::open(folder.join("chat.db")).await?;
            let account = store.open_account(&"juliet@capulet.example".parse()?).await?;
            let romeo: xmppkit::jid::BareJid = "romeo@montague.example".parse()?;
            let mut batch = Batch::new();
            for n in 0..2_000 {
                let mut record = MessageRecord::new(romeo.clone(), Direction::Incoming, "<message/>", SystemTime::now());
                record.text = Some(if n == 0 { "今晚在花园见面".into() } else { format!("message {n}").into() });
                batch = batch.append(NewMessage::new(record, Origin::Live));
            }
            let first = account.apply(batch).await?.appended[0].id;
            for words in ["花", "花园", "在花园"] {
                let found = account.messages(&MessageQuery::new().text(words)).await?.messages.len();
                assert_eq!(found, run, "{words}");
            }
            account.apply(Batch::new().set_content(first, "<message/>", Some("今晚在花园".into()))).await?;
            assert_eq!(account.messages(&MessageQuery::new().text("见面")).await?.messages.len(), run - 1);
            account.apply(Batch::new().remove_message(first)).await?;
            assert_eq!(account.messages(&MessageQuery::new().text("今晚")).await?.messages.len(), run - 1);
            let batch = Batch::new().append({
                let mut record = MessageRecord::new(romeo, Direction::Incoming, "<message/>", SystemTime::now());
                record.text = Some("今晚在花园见面".into());
                NewMessage::new(record, Origin::Live)
            });
            account.apply(batch).await?;
        }
        Ok::<_, xmppkit::Error>(())
    })?;
    std::fs::remove_dir_all(folder)?;
    println!("ok");
    Ok(())
}
