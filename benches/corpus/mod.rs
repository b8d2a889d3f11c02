//! What a server sends to a busy account, generated: the same bytes on every run.
//!
//! Thirty chat messages in a hundred, twenty-five from rooms, fifteen archive results, ten carbons, fourteen presences, five
//! pubsub events and one roster push, about 770 bytes each: receipts, markers, chat states, ids, delays, encrypted payloads;
//! English, Chinese, Russian, emoji, code that needs escaping, quotations, now and then a paste of many kilobytes; both
//! quotation marks and any order of attributes, as servers differ.

use std::fmt::Write;

/// The start of the stream that the stanzas stand in.
pub(crate) const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
    xmlns:stream='http://etherx.jabber.org/streams' id='s-1' from='capulet.example' version='1.0' xml:lang='en'>";

const OWN: &str = "juliet@capulet.example";
const OWN_FULL: &str = "juliet@capulet.example/balcony";

/// This many stanzas, without header.
pub(crate) fn generate(stanzas: usize) -> String {
    mixed(stanzas, Writer::archive_result)
}

/// What comes unasked for: the same with chat messages where archive results were, for those answer queries.
#[allow(dead_code, reason = "not every benchmark has a connection")]
pub(crate) fn generate_live(stanzas: usize) -> String {
    mixed(stanzas, Writer::chat)
}

/// What an archive holds: messages with their delays, the insides of results, the oldest first.
#[allow(dead_code, reason = "not every benchmark has an archive")]
pub(crate) fn archived(messages: usize) -> Vec<String> {
    let mut writer = Writer::new(800);
    let archived = |second: usize| {
        writer.stamp_at(second);
        let from = writer.full();
        writer.one_to_one(&from, OWN, " xmlns='jabber:client'");
        std::mem::take(&mut writer.out)
    };
    (0..messages).map(archived).collect()
}

fn mixed(stanzas: usize, results: fn(&mut Writer)) -> String {
    let mut writer = Writer::new(stanzas * 800);
    for _ in 0..stanzas {
        match writer.random.below(100) {
            0..30 => writer.chat(),
            30..55 => writer.room_message(),
            55..70 => results(&mut writer),
            70..80 => writer.carbon(),
            80..94 => writer.presence(),
            94..99 => writer.event(),
            _ => writer.roster_push(),
        }
    }
    writer.out
}

const USERS: &[&str] = &[
    "romeo",
    "mercutio",
    "benvolio",
    "nurse",
    "tybalt",
    "rosaline",
    "paris",
    "friar.laurence",
    "andré",
    "j.doe+im",
    "王伟",
    "zoë",
];
const DOMAINS: &[&str] = &["montague.example", "verona.lit", "im.example.org", "chat.beispiel-firma.de"];
const RESOURCES: &[&str] = &["orchard", "phone.1f3a", "Laptop-9", "tablet.x2", "web_77c1"];
const ROOMS: &[&str] = &["garden@rooms.verona.lit", "engineering@muc.im.example.org", "ball@conference.montague.example"];
const NICKS: &[&str] = &["Romeo", "witch-3", "Señora Ñ", "小红", "build|bot", "D'Artagnan", "R&D", "a<b", "zoë"];
const WORDS: &str = "so the that is for you with not this but from they have will one all would there their what out about who get \
    which when make can like time just know take people into year your good some could them see other than then now look only come its \
    over think also back after use two how our work first well way even new want because any these give day most us connection \
    message server archive release review https://example.org/pull/2918 @juliet tomorrow thanks sorry please";
const CHINESE: &str = "今天的会议改到下午四点开始请大家准时参加新的版本已经发布了如果遇到问题请及时告诉我谢谢周末一起去吃饭怎么样好的没有问题明天见";
const RUSSIAN: &str =
    "добрый день посмотри пожалуйста сообщение когда вернёшься сервер снова работает спасибо увидимся завтра файл отправил";
const EMOJI: &[&str] = &["😀", "👍🏽", "🎉", "👨‍👩‍👧", "🇪🇺", "❤️", "🤔", "🚀"];
const CODE: &str = "for (int i = 0; i < n && a[i] > 0; i++) { printf(\"%d & %s\\n\", a[i], x->name); }";

struct Writer {
    random: Random,
    out: String,
}

impl Writer {
    fn new(capacity: usize) -> Self {
        Self { random: Random(0x9E37_79B9_7F4A_7C15), out: String::with_capacity(capacity) }
    }

    /// A delay of so many seconds after the start of 2024.
    fn stamp_at(&mut self, second: usize) {
        let (day, hour, minute) = (second / 86_400, second / 3_600 % 24, second / 60 % 60);
        let stamp = format!("2024-01-{:02}T{hour:02}:{minute:02}:{:02}Z", day + 1, second % 60);
        self.empty("delay", "urn:xmpp:delay", &[("stamp", &stamp)]);
    }

    fn push(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// Attributes in any order, in either quotation mark.
    fn attributes(&mut self, attributes: &[(&str, &str)]) {
        let first = self.random.below(attributes.len());
        let quote = if self.random.chance(70) { '\'' } else { '"' };
        for i in 0..attributes.len() {
            let (name, value) = attributes[(first + i) % attributes.len()];
            let _ = write!(self.out, " {name}={quote}");
            escape(&mut self.out, value, true);
            self.out.push(quote);
        }
    }

    /// An element without content, in a namespace.
    fn empty(&mut self, name: &str, ns: &str, attributes: &[(&str, &str)]) {
        let _ = write!(self.out, "<{name} xmlns='{ns}'");
        if !attributes.is_empty() {
            self.attributes(attributes);
        }
        self.push("/>");
    }

    fn contact(&mut self) -> String {
        format!("{}@{}", self.random.pick(USERS), self.random.pick(DOMAINS))
    }

    fn full(&mut self) -> String {
        format!("{}/{}", self.contact(), self.random.pick(RESOURCES))
    }

    fn words(&mut self, from: &str, count: usize) -> String {
        let all: Vec<&str> = from.split_whitespace().collect();
        let words: Vec<&str> = (0..count).map(|_| all[self.random.below(all.len())]).collect();
        words.join(" ")
    }

    fn body_text(&mut self) -> String {
        let n = self.random.below(24) + 2;
        match self.random.below(1000) {
            0..520 => self.words(WORDS, n),
            520..660 => {
                let all: Vec<char> = CHINESE.chars().collect();
                (0..n * 2).map(|_| all[self.random.below(all.len())]).collect()
            }
            660..740 => self.words(RUSSIAN, n),
            740..840 => format!("{} {}{}", self.words(WORDS, n / 2 + 1), self.random.pick(EMOJI), self.random.pick(EMOJI)),
            840..930 => format!("{CODE} // {} <b>\"quoted\" & 'more'</b>", self.words(WORDS, n / 2 + 1)),
            930..985 => {
                let lines: Vec<String> = (0..n / 4 + 2).map(|_| format!("> {}", self.words(WORDS, 9))).collect();
                format!("{}\n{}", lines.join("\n"), self.words(WORDS, n))
            }
            _ => {
                let lines = 50 + self.random.below(130);
                let lines: Vec<String> = (0..lines)
                    .map(|_| format!("2024-06-07 12:00:00 WARN [io-2] {} <T> && \"q\"", self.words(WORDS, 11)))
                    .collect();
                lines.join("\n")
            }
        }
    }

    fn body(&mut self) {
        let text = self.body_text();
        let lang = if self.random.chance(5) { " xml:lang='de'" } else { "" };
        let _ = write!(self.out, "<body{lang}>");
        let quotes = self.random.chance(30);
        escape(&mut self.out, &text, quotes);
        if self.random.chance(5) {
            self.push("&#x20;&#10;");
        }
        self.push("</body>");
    }

    fn stanza_id(&mut self, by: &str) {
        let id = self.random.hex(24);
        self.empty("stanza-id", "urn:xmpp:sid:0", &[("id", &id), ("by", by)]);
    }

    fn delay(&mut self, from: Option<&str>) {
        let stamp = self.stamp();
        match from {
            Some(from) => self.empty("delay", "urn:xmpp:delay", &[("from", from), ("stamp", &stamp)]),
            None => self.empty("delay", "urn:xmpp:delay", &[("stamp", &stamp)]),
        }
    }

    fn stamp(&mut self) -> String {
        let mut part = |n: usize| self.random.below(n);
        format!("2024-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", 1 + part(12), 1 + part(28), part(24), part(60), part(60), part(1000))
    }

    /// A one-to-one message with the usual payloads.
    fn one_to_one(&mut self, from: &str, to: &str, declaration: &str) {
        let id = self.random.uuid();
        let _ = write!(self.out, "<message{declaration}");
        self.attributes(&[("from", from), ("to", to), ("id", &id), ("type", "chat")]);
        self.push(">");
        match self.random.below(100) {
            0..82 => self.one_to_one_payloads(&id, to),
            82..90 => {
                let state = ["composing", "paused"][self.random.below(2)];
                self.empty(state, "http://jabber.org/protocol/chatstates", &[]);
                self.empty("no-store", "urn:xmpp:hints", &[]);
            }
            90..96 => {
                let of = self.random.uuid();
                self.empty("received", "urn:xmpp:receipts", &[("id", &of)]);
                self.empty("store", "urn:xmpp:hints", &[]);
            }
            _ => {
                let of = self.random.uuid();
                self.empty("displayed", "urn:xmpp:chat-markers:0", &[("id", &of)]);
                self.empty("store", "urn:xmpp:hints", &[]);
            }
        }
        self.stanza_id(OWN);
        self.push("</message>");
    }

    fn one_to_one_payloads(&mut self, id: &str, to: &str) {
        self.body();
        self.empty("active", "http://jabber.org/protocol/chatstates", &[]);
        if self.random.chance(70) {
            self.empty("request", "urn:xmpp:receipts", &[]);
        }
        if self.random.chance(50) {
            self.empty("markable", "urn:xmpp:chat-markers:0", &[]);
        }
        self.empty("origin-id", "urn:xmpp:sid:0", &[("id", id)]);
        if self.random.chance(12) {
            let thread = self.random.hex(16);
            let _ = write!(self.out, "<thread>{thread}</thread>");
        }
        if self.random.chance(6) {
            let of = self.random.uuid();
            self.empty("replace", "urn:xmpp:message-correct:0", &[("id", &of)]);
        }
        if self.random.chance(6) {
            let of = self.random.uuid();
            self.empty("reply", "urn:xmpp:reply:0", &[("to", to), ("id", &of)]);
            self.push("<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='17'/></fallback>");
        }
        if self.random.chance(4) {
            let file = self.random.hex(16);
            let _ = write!(self.out, "<x xmlns='jabber:x:oob'><url>https://upload.verona.lit/{file}/scan%20(1).pdf</url></x>");
        }
        if self.random.chance(10) {
            self.encrypted();
        }
    }

    fn encrypted(&mut self) {
        let sid = self.random.below(1 << 31);
        let _ = write!(self.out, "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='{sid}'>");
        for _ in 0..2 + self.random.below(8) {
            let (rid, key) = (self.random.below(1 << 31), self.random.base64(88));
            let _ = write!(self.out, "<key rid='{rid}'>{key}</key>");
        }
        let (iv, len) = (self.random.base64(16), 32 + 4 * self.random.below(90));
        let payload = self.random.base64(len);
        let _ = write!(self.out, "<iv>{iv}</iv></header><payload>{payload}</payload></encrypted>");
        let ns = "eu.siacs.conversations.axolotl";
        self.empty("encryption", "urn:xmpp:eme:0", &[("name", "OMEMO"), ("namespace", ns)]);
        self.empty("store", "urn:xmpp:hints", &[]);
    }

    fn chat(&mut self) {
        let from = self.full();
        let to = if self.random.chance(50) { OWN } else { OWN_FULL };
        self.one_to_one(&from, to, "");
    }

    fn room_message(&mut self) {
        let room = self.random.pick(ROOMS);
        let from = format!("{room}/{}", self.random.pick(NICKS));
        let id = self.random.uuid();
        self.push("<message");
        self.attributes(&[("from", &from), ("to", OWN_FULL), ("id", &id), ("type", "groupchat")]);
        self.push(">");
        if self.random.chance(93) {
            self.body();
            if self.random.chance(40) {
                self.empty("markable", "urn:xmpp:chat-markers:0", &[]);
            }
        } else {
            let (of, emoji) = (self.random.uuid(), self.random.pick(EMOJI));
            let _ =
                write!(self.out, "<reactions xmlns='urn:xmpp:reactions:0' id='{of}'><reaction>{emoji}</reaction></reactions>");
        }
        self.empty("origin-id", "urn:xmpp:sid:0", &[("id", &id)]);
        let occupant = self.random.base64(44);
        self.empty("occupant-id", "urn:xmpp:occupant-id:0", &[("id", &occupant)]);
        self.stanza_id(room);
        if self.random.chance(50) {
            self.muc_user();
        }
        if self.random.chance(35) {
            self.delay(Some(room));
        }
        self.push("</message>");
    }

    fn muc_user(&mut self) {
        let (affiliation, jid) = (["member", "owner", "none"][self.random.below(3)], self.full());
        self.push("<x xmlns='http://jabber.org/protocol/muc#user'><item");
        self.attributes(&[("affiliation", affiliation), ("role", "participant"), ("jid", &jid)]);
        self.push("/></x>");
    }

    fn archive_result(&mut self) {
        let (id, query) = (self.random.uuid(), self.random.hex(8));
        self.push("<message");
        self.attributes(&[("from", OWN), ("to", OWN_FULL)]);
        self.push("><result xmlns='urn:xmpp:mam:2'");
        self.attributes(&[("id", &id), ("queryid", &query)]);
        self.push("><forwarded xmlns='urn:xmpp:forward:0'>");
        self.delay(None);
        let from = self.full();
        self.one_to_one(&from, OWN, " xmlns='jabber:client'");
        self.push("</forwarded></result></message>");
    }

    fn carbon(&mut self) {
        let other = self.full();
        let (name, from, to) =
            if self.random.chance(50) { ("sent", "juliet@capulet.example/phone", &*other) } else { ("received", &*other, OWN) };
        self.push("<message");
        self.attributes(&[("from", OWN), ("to", OWN_FULL), ("type", "chat")]);
        let _ = write!(self.out, "><{name} xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>");
        self.one_to_one(from, to, " xmlns='jabber:client'");
        let _ = write!(self.out, "</forwarded></{name}></message>");
    }

    fn presence(&mut self) {
        let in_room = self.random.chance(45);
        let from = if in_room { format!("{}/{}", self.random.pick(ROOMS), self.random.pick(NICKS)) } else { self.full() };
        self.push("<presence");
        if self.random.chance(15) {
            self.attributes(&[("from", &from), ("to", OWN_FULL), ("type", "unavailable")]);
            self.push(">");
        } else {
            let id = self.random.hex(8);
            self.attributes(&[("from", &from), ("to", OWN_FULL), ("id", &id)]);
            self.push(">");
            self.available();
        }
        if in_room {
            self.muc_user();
            let occupant = self.random.base64(44);
            self.empty("occupant-id", "urn:xmpp:occupant-id:0", &[("id", &occupant)]);
        }
        self.push("</presence>");
    }

    fn available(&mut self) {
        if self.random.chance(50) {
            let show = ["away", "xa", "dnd", "chat"][self.random.below(4)];
            let _ = write!(self.out, "<show>{show}</show>");
        }
        if self.random.chance(30) {
            let status = self.words(WORDS, 5);
            let _ = write!(self.out, "<status>{status}</status>");
        }
        if self.random.chance(40) {
            let priority = self.random.below(50);
            let _ = write!(self.out, "<priority>{priority}</priority>");
        }
        // Twenty bytes: the last symbol carries four bits.
        let (ver, photo) = (format!("{}w=", self.random.base64(26)), self.random.hex(40));
        self.empty(
            "c",
            "http://jabber.org/protocol/caps",
            &[("hash", "sha-1"), ("node", "https://client.example/"), ("ver", &ver)],
        );
        let _ = write!(self.out, "<x xmlns='vcard-temp:x:update'><photo>{photo}</photo></x>");
        if self.random.chance(20) {
            let since = self.stamp();
            self.empty("idle", "urn:xmpp:idle:1", &[("since", &since)]);
        }
    }

    fn roster_push(&mut self) {
        let (contact, id) = (self.contact(), self.random.hex(10));
        self.push("<iq");
        self.attributes(&[("to", OWN_FULL), ("from", OWN), ("id", &id), ("type", "set")]);
        self.push("><query xmlns='jabber:iq:roster' ver='v217'><item");
        let (nick, subscription) = (self.random.pick(NICKS), ["both", "to", "from", "none"][self.random.below(4)]);
        self.attributes(&[("jid", &contact), ("name", nick), ("subscription", subscription)]);
        self.push("><group>Friends</group><group>R&amp;D</group></item></query></iq>");
    }

    fn event(&mut self) {
        let contact = self.contact();
        self.push("<message");
        self.attributes(&[("from", &contact), ("to", OWN_FULL), ("type", "headline")]);
        self.push("><event xmlns='http://jabber.org/protocol/pubsub#event'><items node=");
        match self.random.below(3) {
            0 => {
                let (id, size) = (self.random.hex(40), 1000 + self.random.below(60_000));
                let _ = write!(
                    self.out,
                    "'urn:xmpp:avatar:metadata'><item id='{id}'><metadata xmlns='urn:xmpp:avatar:metadata'>\
                     <info bytes='{size}' id='{id}' type='image/png' width='192' height='192'/></metadata></item>"
                );
            }
            1 => {
                self.push("'eu.siacs.conversations.axolotl.devicelist'><item id='current'><list xmlns='eu.siacs.conversations.axolotl'>");
                for _ in 0..1 + self.random.below(7) {
                    let device = self.random.below(1 << 31);
                    let _ = write!(self.out, "<device id='{device}'/>");
                }
                self.push("</list></item>");
            }
            _ => {
                let (id, published) = (self.random.hex(12), self.stamp());
                let _ = write!(
                    self.out,
                    "'urn:xmpp:microblog:0'><item id='{id}'><entry xmlns='http://www.w3.org/2005/Atom'><title type='text'>"
                );
                let title = self.body_text();
                escape(&mut self.out, &title, false);
                let _ = write!(
                    self.out,
                    "</title><id>tag:verona.lit,2024:{id}</id><published>{published}</published>\
                     <author><name>Romeo</name><uri>xmpp:{contact}</uri></author></entry></item>"
                );
            }
        }
        self.push("</items></event></message>");
    }
}

fn escape(out: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' if quotes => out.push_str("&quot;"),
            '\'' if quotes => out.push_str("&apos;"),
            c => out.push(c),
        }
    }
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() >> 32) as usize % n
    }

    fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    fn letters(&mut self, alphabet: &[u8], len: usize) -> String {
        (0..len).map(|_| char::from(alphabet[self.below(alphabet.len())])).collect()
    }

    fn hex(&mut self, len: usize) -> String {
        self.letters(b"0123456789abcdef", len)
    }

    fn base64(&mut self, len: usize) -> String {
        self.letters(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", len)
    }

    fn uuid(&mut self) -> String {
        let hex = self.hex(32);
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
    }
}
