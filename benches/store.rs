//! What the SQLite store takes: `cargo bench --bench store`. One line for each figure.
//!
//! Plain timing instead of criterion: inserting 100,000 messages is measured once, and the same file is then read.

#![allow(clippy::print_stdout, reason = "it is what it is for")]

use std::time::{Duration, Instant, SystemTime};

use xmppkit::jid::{BareJid, Jid};
use xmppkit::store::{
    AccountStore, Batch, Direction, IdentityKey, MessageQuery, MessageRecord, NewMessage, Origin, SqliteStore, Store, Synchronous,
};

const MESSAGES: usize = 100_000;
const GROUP: usize = 128;
const READS: u32 = 50;
/// What a search may take, at the median.
const SEARCH: Duration = Duration::from_millis(50);

/// The commonest first; those of the end are rare.
const CHINESE: &str = "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日军者意无力它与长把机十民第公此已工使情明性知全三又关点正业外将两高间由问很最重并物手应战向头文体政美相见被利什二等产或新己制身果加西斯月话合回特代内信表化老给世位次度门任常先海通教儿原东声提立及比员解水名真论处走义各入几口认条平系气题活尔更别打女变四神总何电数安少报才结反受目太量再感建务做接必场件计管期市直德资命山金指克许统区保至队形社便空决治展马科司五基眼书非则听白却界达光放强即像难且权思王象完设式色路记南品住告类求据程北边死张该交规万取拉格望觉术领共确传师观清今切院让识候带导争运花园";

const LATIN: &[&str] = &[
    "the", "and", "you", "that", "was", "for", "are", "with", "his", "they", "this", "have", "from", "one", "had", "word", "but",
    "not", "what", "all", "were", "when", "your", "can", "said", "there", "use", "each", "which", "she", "how", "their", "will",
    "other", "about", "out", "many", "then", "them", "these", "some", "her", "would", "make", "like", "him", "into", "time",
];

fn main() {
    let folder = std::env::temp_dir().join(format!("xmppkit-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        for synchronous in [Synchronous::Full, Synchronous::Normal] {
            let path = folder.join(format!("{synchronous:?}.db"));
            let store = SqliteStore::options(&path).synchronous(synchronous).open().await.expect("the file opens");
            let account = store.open_account(&"juliet@capulet.example".parse().expect("a JID")).await.expect("it opens");
            insert(&*account, synchronous).await;
            if synchronous == Synchronous::Normal {
                let bytes = std::fs::metadata(&path).expect("the file").len();
                println!("the file: {} MB, {} bytes a message", bytes / 1_000_000, bytes / MESSAGES as u64);
                read(&*account).await;
            }
        }
    });
    std::fs::remove_dir_all(folder).expect("the folder");
}

async fn insert(account: &dyn AccountStore, synchronous: Synchronous) {
    let messages: Vec<_> = (0..MESSAGES).map(message).collect();
    let start = Instant::now();
    let mut messages = messages.into_iter().peekable();
    while messages.peek().is_some() {
        // As they come from the network: each is a batch of its own, and those that wait are committed together.
        let group: Vec<_> = messages.by_ref().take(GROUP).map(|m| account.apply(Batch::new().append(m))).collect();
        for one in group {
            one.await.expect("the batch is made");
        }
    }
    let rate = MESSAGES as f64 / start.elapsed().as_secs_f64();
    println!("insert {MESSAGES} messages, {GROUP} waiting at once, synchronous {synchronous:?}: {rate:.0} a second");
}

async fn read(account: &dyn AccountStore) {
    let romeo: Jid = "contact0@montague.example".parse().expect("a JID");
    let newest = account.messages(&MessageQuery::new()).await.expect("a page");
    let middle = MessageQuery::new().conversation(romeo.clone()).limit(500);
    let middle = account.messages(&middle).await.expect("a page").messages[0].place();
    let query = MessageQuery::new;
    let time = |n: usize| at(n);
    let queries = [
        ("a page of 50, all", query()),
        ("a page of 50 of a conversation", query().conversation(romeo.clone())),
        ("… from its middle on", query().conversation(romeo.clone()).before(middle)),
        ("… of a sender", query().sender(romeo.clone())),
        ("… of an hour long ago", query().since(time(1_000)).until(time(1_060))),
        ("… of the first half", query().until(time(MESSAGES / 2))),
        ("search 的 (common)", query().text("的")),
        ("search 花 (rare)", query().text("花")),
        ("search 园花 (none)", query().text("园花")),
        ("search 今晚 (1 in 1,000)", query().text("今晚")),
        ("search 今晚见 (1 in 1,000)", query().text("今晚见")),
        ("search 旧 (in all but the newest 5,000)", query().text("旧")),
        ("search 旧的 (none, of common ones)", query().text("旧 的的的的")),
        ("search e (common)", query().text("e")),
        ("search the (common)", query().text("the")),
        ("search balcony (1 in 1,000)", query().text("balcony")),
        ("search xylophone (none)", query().text("xylophone")),
        ("search 今晚 in a conversation", query().text("今晚").conversation(romeo)),
    ];
    assert_eq!(newest.messages.len(), 50);
    for (what, query) in queries {
        let found = account.messages(&query).await.expect("a page").messages.len();
        assert!(found > 0 || what.contains("(none"), "{what}: nothing found");
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..READS {
            let start = Instant::now();
            account.messages(&query).await.expect("a page");
            times.push(start.elapsed());
        }
        times.sort();
        let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
        println!("{what}: {:.2} ms, at most {:.2} ms ({found} found)", milliseconds(median), milliseconds(worst));
        assert!(!what.starts_with("search") || median < SEARCH, "a search may take {SEARCH:?}");
    }
    let start = Instant::now();
    let count = account.conversations(None, 100).await.expect("conversations").len();
    println!("the list of {count} conversations: {:.2} ms", milliseconds(start.elapsed()));
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

fn at(n: usize) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + 60 * n as u64)
}

/// The same messages on every run: half Chinese, half English, in 100 conversations.
fn message(n: usize) -> NewMessage {
    let mut seed = n as u64 + 1;
    let mut random = move |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut text = String::new();
    if n.is_multiple_of(2) {
        let characters: Vec<char> = CHINESE.chars().collect();
        for _ in 0..10 + random(30) {
            // The square makes those of the beginning common.
            let at = random(characters.len()) * random(characters.len()) / characters.len();
            text.push(characters[at]);
        }
    } else {
        for _ in 0..4 + random(12) {
            text.push_str(LATIN[random(LATIN.len())]);
            text.push(' ');
        }
    }
    if n.is_multiple_of(1_000) {
        text.push_str("，今晚见 balcony");
    }
    if n < MESSAGES - 5_000 {
        text.push('旧');
    }
    let from: BareJid = format!("contact{}@montague.example", n % 100).parse().expect("a JID");
    let id = format!("6f1c7a52-8c5e-4d0b-9d53-{n:012}");
    let xml = format!(
        "<message xmlns='jabber:client' type='chat' id='{id}' from='{from}/phone' to='juliet@capulet.example'><body>{text}</body>\
        <origin-id xmlns='urn:xmpp:sid:0' id='{id}'/><request xmlns='urn:xmpp:receipts'/><markable xmlns='urn:xmpp:chat-markers:0'/>\
        </message>"
    );
    let mut record = MessageRecord::new(from.clone(), Direction::Incoming, xml, at(n));
    record.from = Some(from.with_resource_str("phone").expect("a JID").into());
    let keys = [IdentityKey::archive(&from, &id), IdentityKey::origin(&from.into(), &id, &text)];
    (record.id, record.origin_id, record.text) = (Some(id.as_str().into()), Some(id.into()), Some(text.into()));
    keys.into_iter().fold(NewMessage::new(record, Origin::Live), NewMessage::key)
}
