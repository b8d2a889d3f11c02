//! The archive of the server, asked.

use std::time::{Duration, SystemTime};

use futures::StreamExt;
use xmppkit::archive::{ArchiveService, Archives, KeepByDefault};
use xmppkit::error::ErrorKind;
use xmppkit::ext::{Ctx, Extension, InboundDraft, Position, Registrar, inbound};
use xmppkit::jid::Jid;
use xmppkit::store::Origin;
use xmppkit::testing::{Dialect, Misbehaviour};

use super::{ROMEO, bare, log_of, say, settle, started, texts, with_store};
use crate::common::{builder, within};

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn a_query_pages_by_itself_both_ways_and_joins_the_log_in_the_archive_s_order() {
    for dialect in Dialect::ALL.into_iter().filter(|dialect| dialect.differences().archive) {
        let server = started(dialect).await;
        let juliet = bare(&server, "juliet");
        let other = with_store(&server, "juliet", &Default::default()).await;
        for n in 0..25 {
            say(&server, ROMEO, &juliet, &n.to_string(), "");
        }
        settle(&other).await;
        let client = builder(&server, "juliet")
            .setting(xmppkit::archive::ArchiveSettings::new().first_page(0))
            .build()
            .await
            .expect("a client");
        client.connect().await.expect("online");
        super::caught_up(&client).await;
        assert_eq!(log_of(&client).await, [""; 0], "nothing was asked for yet");

        let archive = client.archive().server();
        let newest: Vec<_> = texts(archive.query().page_size(4).backwards().take(10)).await;
        assert_eq!(newest, numbers(15..25).into_iter().rev().collect::<Vec<_>>(), "{dialect:?}");
        // Stamps are to the second here, so the order in the log is not theirs.
        assert_eq!(log_of(&client).await, numbers(13..25), "{dialect:?}: three pages of four");
        assert_eq!(texts(archive.query().page_size(7).backwards()).await.len(), 25, "{dialect:?}");
        assert_eq!(log_of(&client).await, numbers(0..25), "{dialect:?}");
        assert_eq!(texts(archive.query().page_size(7).forwards()).await, numbers(0..25), "{dialect:?}");
        let all = texts(archive.query().page_size(25).backwards()).await;
        assert_eq!(all, numbers(0..25).into_iter().rev().collect::<Vec<_>>(), "{dialect:?}");

        // From a known message on, which every archive can.
        let (ids, _): (Vec<_>, Vec<_>) = server.archived(&juliet).into_iter().unzip();
        assert_eq!(texts(archive.query().after_id(&ids[20]).page_size(2).forwards()).await, numbers(21..25), "{dialect:?}");
        assert_eq!(texts(archive.query().before_id(&ids[2]).page_size(2).backwards()).await, ["1", "0"], "{dialect:?}");
        let error = archive.query().after_id("nothing").forwards().next().await.expect("an item").expect_err("no such id");
        assert!(matches!(error.kind(), ErrorKind::Stanza(error) if error.condition == "item-not-found"), "{error}");
        client.close().await;
        other.close().await;
    }
}

#[tokio::test]
async fn filters_go_by_contact_time_ids_and_words_where_the_server_can() {
    for dialect in Dialect::ALL.into_iter().filter(|dialect| dialect.differences().archive) {
        let server = started(dialect).await;
        let juliet = bare(&server, "juliet");
        let client = with_store(&server, "juliet", &Default::default()).await;
        for (from, text) in [(ROMEO, "one balcony"), ("tybalt@example.org/x", "two"), ("romeo@example.org/hall", "three Balcony")]
        {
            say(&server, from, &juliet, text, "");
        }
        settle(&client).await;
        let archive = client.archive().server();
        let with = |jid: &str| archive.query().with(&Jid::new(jid).expect("a JID"));
        assert_eq!(texts(with("romeo@example.org").forwards()).await, ["one balcony", "three Balcony"], "{dialect:?}");
        assert_eq!(texts(with(ROMEO).forwards()).await, ["one balcony"], "{dialect:?}");
        let hour = Duration::from_secs(3600);
        let now = SystemTime::now();
        assert_eq!(texts(archive.query().start(now - hour).end(now + hour).forwards()).await.len(), 3, "{dialect:?}");
        assert_eq!(texts(archive.query().end(now - hour).forwards()).await.len(), 0, "{dialect:?}");
        assert_eq!(texts(archive.query().start(now + hour).backwards()).await.len(), 0, "{dialect:?}");

        let fields = archive.fields().await.expect("a form");
        assert!(["with", "start", "end"].iter().all(|field| fields.contains(*field)), "{dialect:?}: {fields:?}");
        let words = texts_or_error(archive.query().text("balcony").forwards()).await;
        if dialect.differences().archive_text_field.is_some() {
            assert_eq!(words.expect("a search"), ["one balcony", "three Balcony"], "{dialect:?}");
        } else {
            assert!(matches!(words.expect_err("no search").kind(), ErrorKind::NotOffered(_)), "{dialect:?}");
        }

        let (ids, _): (Vec<_>, Vec<_>) = server.archived(&juliet).into_iter().unzip();
        let between = texts_or_error(archive.query().after_id(&ids[0]).before_id(&ids[2]).forwards()).await;
        let some = texts_or_error(archive.query().ids([&ids[2], &ids[0]]).forwards()).await;
        let metadata = archive.metadata().await;
        if dialect.differences().archive_extended {
            assert_eq!(between.expect("by ids"), ["two"], "{dialect:?}");
            assert_eq!(some.expect("by ids"), ["one balcony", "three Balcony"], "{dialect:?}");
            let metadata = metadata.expect("metadata");
            assert_eq!(metadata.first.map(|end| end.id), Some(ids[0].clone()));
            assert_eq!(metadata.last.map(|end| end.id), Some(ids[2].clone()));
        } else {
            for error in [between.expect_err("no ids"), some.expect_err("no ids"), metadata.expect_err("no metadata")] {
                assert!(matches!(error.kind(), ErrorKind::NotOffered(_)), "{dialect:?}: {error}");
            }
            assert!(!server.received(&juliet).iter().any(|xml| xml.contains("metadata")), "{dialect:?}: it was not even asked");
        }
        client.close().await;
    }
}

async fn texts_or_error(
    messages: impl futures::Stream<Item = xmppkit::Result<xmppkit::archive::HistoryMessage>> + Unpin,
) -> xmppkit::Result<Vec<String>> {
    let messages: Vec<_> = within("messages", messages.collect::<Vec<_>>()).await;
    messages.into_iter().map(|message| Ok(message?.body().unwrap_or_default().into_owned())).collect()
}

#[tokio::test]
async fn preferences_are_set_and_kept_to() {
    for dialect in Dialect::ALL.into_iter().filter(|dialect| dialect.differences().archive) {
        let server = started(dialect).await;
        let client = with_store(&server, "juliet", &Default::default()).await;
        let archive = client.archive().server();
        let mut preferences = archive.preferences().await.expect("preferences");
        assert_eq!((preferences.default, preferences.never.len()), (KeepByDefault::Always, 0), "{dialect:?}");
        preferences.never.push("tybalt@example.org".parse().expect("a JID"));
        assert_eq!(archive.set_preferences(&preferences).await.expect("set"), preferences, "{dialect:?}");
        assert_eq!(archive.preferences().await.expect("preferences"), preferences, "{dialect:?}");
        say(&server, "tybalt@example.org/x", client.account(), "peace?", "");
        say(&server, ROMEO, client.account(), "love", "");
        settle(&client).await;
        assert_eq!(texts(archive.query().forwards()).await, ["love"], "{dialect:?}");
        client.close().await;
    }
}

#[tokio::test]
async fn without_an_archive_on_the_server_a_query_says_so_and_the_log_can_be_read() {
    let server = started(Dialect::Openfire).await;
    let client = with_store(&server, "juliet", &Default::default()).await;
    say(&server, ROMEO, client.account(), "hi", "");
    settle(&client).await;
    let error = client.archive().server().query().forwards().next().await.expect("an item").expect_err("no archive");
    assert!(matches!(error.kind(), ErrorKind::Stanza(error) if error.condition == "service-unavailable"), "{error}");
    assert_eq!(log_of(&client).await, ["hi"]);
    client.close().await;

    let without = builder(&server, "romeo").without::<ArchiveService>().build().await.expect("a client");
    let error = without.archive().server().query().forwards().next().await.expect("an item").expect_err("no extension");
    assert!(matches!(error.kind(), ErrorKind::ExtensionMissing("ArchiveService")), "{error}");
    assert_eq!(log_of(&without).await, [""; 0]);
}

#[tokio::test]
async fn dropping_the_stream_ends_the_query() {
    let server = started(Dialect::Strict).await;
    let juliet = bare(&server, "juliet");
    let client = with_store(&server, "juliet", &Default::default()).await;
    for n in 0..9 {
        say(&server, ROMEO, &juliet, &n.to_string(), "");
    }
    settle(&client).await;
    let before = server.received(&juliet).len();
    let mut messages = client.archive().server().query().page_size(3).forwards();
    messages.next().await.expect("an item").expect("a message");
    drop(messages);
    settle(&client).await;
    assert!(server.received(&juliet).len() - before <= 2 + 2, "one page, perhaps one ahead, and two pings");
    // An answer that comes when nobody waits for it any more changes nothing.
    server.misbehave(Misbehaviour::SilentArchive { after: 0 });
    let mut late = client.archive().server().query().forwards();
    let asked = async {
        tokio::select! { _ = late.next() => panic!("it is not answered"), () = server.wait_for(|s| s.unanswered_queries() == 1) => {} }
    };
    within("the query", asked).await;
    drop(late);
    assert_eq!(server.answer_archive(), 1);
    settle(&client).await;
    assert_eq!(log_of(&client).await, numbers(0..9));
    client.close().await;
}

/// Notes what passes the stages from an archive, and counts it in a row.
struct Stages;

impl Extension for Stages {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.store_namespace("urn:example:stages", 1, |_, rows| Ok(rows));
        reg.inbound_stage("stages:wrapped", Position::Before(inbound::UNWRAP), |draft: &mut InboundDraft, _: &Ctx| {
            assert_ne!(draft.origin(), Origin::Archive, "what is fetched has no wrapping");
            draft.put("urn:example:stages", "wrapped", "seen");
        });
        reg.inbound_stage("stages:derive", Position::After(inbound::DERIVE), |draft: &mut InboundDraft, _: &Ctx| {
            if draft.stanza().child_text("jabber:client", "body").as_deref() == Some("spam") {
                return draft.discard("spam");
            }
            let key = draft.stanza().child_text("jabber:client", "body").unwrap_or_default().into_owned();
            let origin = format!("{:?}", draft.origin());
            draft.put("urn:example:stages", key, origin);
        });
    }
}

#[tokio::test]
async fn what_is_fetched_passes_the_stages_of_every_extension() {
    let server = started(Dialect::Strict).await;
    let juliet = bare(&server, "juliet");
    let other = with_store(&server, "juliet", &Default::default()).await;
    for text in ["first", "spam", "second"] {
        say(&server, ROMEO, &juliet, text, "");
    }
    settle(&other).await;
    let client = builder(&server, "juliet").with(Stages).build().await.expect("a client");
    client.connect().await.expect("online");
    super::caught_up(&client).await;
    say(&server, ROMEO, client.jid().expect("bound"), "live", "");
    settle(&client).await;
    assert_eq!(log_of(&client).await, ["first", "second", "live"]);
    let rows = client.ctx().rows("urn:example:stages").rows("").await.expect("rows");
    let rows: Vec<_> = rows.iter().map(|(key, value)| (key.as_str(), String::from_utf8_lossy(value))).collect();
    assert_eq!(
        rows,
        [("first", "Archive".into()), ("live", "Live".into()), ("second", "Archive".into()), ("wrapped", "seen".into())]
    );
    client.close().await;
    other.close().await;
}
