//! Stream management against a model: an application, a network and a server do whatever chance says, and nothing may get lost,
//! come twice or change places.
//!
//! The model's server keeps a list of what it has, in order, and looks at it each time it gets a message; the model's application
//! does the same for what it is given. A run prints its seed. `XMPPKIT_MODEL_SEED` repeats it, `XMPPKIT_MODEL_RUNS` makes it
//! longer.

use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::{Duration, Instant};

use super::support::{Bench, FULL, Server as Login, direct_tls, iq, with};
use crate::error::ErrorKind;
use crate::stream::{Event, Framing, Input, Output, Resumption, StreamCore, Suspended};
use crate::xml::{Framer, Limits, OutStanza, StreamItem};

const SM: &str = "urn:xmpp:sm:3";
const RUNS: u64 = 200;
const STEPS: u32 = 150;
/// Requests have tokens above this one, messages below.
const REQUESTS: u64 = 1 << 32;

#[test]
fn nothing_is_lost_nothing_comes_twice_and_the_order_is_kept_whatever_is_cut() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seed = number("XMPPKIT_MODEL_SEED").unwrap_or_else(|| RandomState::new().build_hasher().finish() >> 16);
    let runs = number("XMPPKIT_MODEL_RUNS").unwrap_or(RUNS);
    println!("XMPPKIT_MODEL_SEED={seed}");
    let mut seen = Seen::default();
    for run in 0..runs {
        let mut world = World::new(seed.wrapping_add(run));
        for _ in 0..STEPS {
            world.step();
        }
        world.come_to_rest();
        seen.add(&world.seen);
    }
    println!("{seen:?}");
    let Seen { cuts, resumes, lost_with_count, lost_without, kills, settled_by_count, resent } = seen;
    for (what, count) in [
        ("cuts", cuts),
        ("resumes", resumes),
        ("sessions lost with a count", lost_with_count),
        ("sessions lost without", lost_without),
        ("kills", kills),
        ("messages settled by a count", settled_by_count),
        ("messages sent again in another session", resent),
    ] {
        assert!(count >= runs / 20, "{what}: {count} in {runs} runs is no test");
    }
}

/// What happened.
#[derive(Debug, Default)]
struct Seen {
    cuts: u64,
    resumes: u64,
    lost_with_count: u64,
    lost_without: u64,
    kills: u64,
    settled_by_count: u64,
    resent: u64,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.resumes += other.resumes;
        self.lost_with_count += other.lost_with_count;
        self.lost_without += other.lost_without;
        self.kills += other.kills;
        self.settled_by_count += other.settled_by_count;
        self.resent += other.resent;
    }
}

struct World {
    seed: u64,
    random: Random,
    seen: Seen,
    now: Instant,
    app: App,
    peer: Peer,
    link: Option<Link>,
    /// The session between two connections of one process.
    left: Option<Suspended>,
}

/// A connection, with the bytes that are under way.
struct Link {
    bench: Bench,
    up: Vec<u8>,
    down: Vec<u8>,
}

/// The application with its store, and what the driver does for it.
struct App {
    /// The numbers of messages are noted before they are written, and counts before they are told (R8).
    records: bool,
    sent: u64,
    /// Messages that the server has not acknowledged, in order.
    outbox: VecDeque<Waiting>,
    to_record: Vec<(u64, u32)>,
    /// The last message that came in.
    received: u64,
    /// Messages that may come again, and how often, for the server could not know that they had come.
    again: BTreeMap<u64, u32>,
    /// Inbound stanzas that are not taken over, with the message they are.
    pending: Vec<(u64, Option<u64>)>,
    numbered: u64,
    requests: BTreeSet<u64>,
    last_request: u64,
    /// The session as the store has it: id, count, numbers above it.
    stored: Option<(String, u32, Vec<u32>)>,
    /// The process that the session began in is gone.
    restarted: bool,
}

struct Waiting {
    token: u64,
    number: Option<u32>,
    given: bool,
}

/// The server.
struct Peer {
    framer: Framer,
    connected: bool,
    session: Option<Held>,
    expired: Option<(String, u32)>,
    ids: u32,
    /// Messages it has, which are all numbers from 1 on.
    has: u64,
    said: u64,
    offline: Vec<String>,
}

struct Held {
    id: String,
    handled: u32,
    acked: u32,
    queue: VecDeque<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let app = App {
            records: random.one_in(2),
            sent: 0,
            outbox: VecDeque::new(),
            to_record: Vec::new(),
            received: 0,
            again: BTreeMap::new(),
            pending: Vec::new(),
            numbered: 0,
            requests: BTreeSet::new(),
            last_request: REQUESTS,
            stored: None,
            restarted: false,
        };
        let peer = Peer {
            framer: Framer::new(Limits::default()),
            connected: false,
            session: None,
            expired: None,
            ids: 0,
            has: 0,
            said: 0,
            offline: Vec::new(),
        };
        Self { seed, random, seen: Seen::default(), now: Instant::now(), app, peer, link: None, left: None }
    }

    /// One thing happens, whatever chance chooses.
    fn step(&mut self) {
        match self.random.below(20) {
            0..5 => self.send(),
            5..8 => self.say(),
            8 => self.request(),
            9 if self.peer.connected => self.down(&format!("<r xmlns='{SM}'/>")),
            10 | 11 => {
                let all = self.link.as_ref().map_or(0, |link| link.up.len());
                let some = self.random.below(all + 1);
                self.carry_up(some);
            }
            12 | 13 => {
                let all = self.link.as_ref().map_or(0, |link| link.down.len());
                let some = self.random.below(all + 1);
                self.carry_down(some);
            }
            14 | 15 => self.take_over(false),
            16 => self.record(false),
            17 => {
                let time = Duration::from_millis(self.random.below(4000) as u64);
                self.now += time;
                if let Some(link) = &mut self.link {
                    link.bench.after(time);
                    self.react();
                }
            }
            18 if self.link.is_none() && self.random.one_in(3) => self.lose_session(),
            _ if self.link.is_none() => self.connect(true),
            18 if self.app.records && self.random.one_in(3) => self.kill(),
            18 => self.cut(),
            _ => {}
        }
    }

    /// All that is under way arrives.
    fn come_to_rest(&mut self) {
        for _ in 0..50 {
            if self.link.is_none() {
                self.connect(false);
            }
            self.record(true);
            self.carry_up(usize::MAX);
            self.carry_down(usize::MAX);
            self.take_over(true);
            if let Some(link) = &mut self.link {
                link.bench.input(Input::AskForAck);
                self.react();
                self.down(&format!("<r xmlns='{SM}'/>"));
            }
        }
        let about = self.about();
        assert_eq!(self.peer.has, self.app.sent, "sent and lost: {about}");
        assert_eq!(self.app.received, self.peer.said, "said and lost: {about}");
        let left: Vec<_> = self.app.outbox.iter().map(|waiting| waiting.token).collect();
        assert!(left.is_empty(), "never acknowledged: {left:?}, {about}");
        let kept = self.peer.session.as_ref().map_or(0, |session| session.queue.len());
        assert_eq!(kept, 0, "taken over, and the server was never told: {about}");
        assert!(self.app.requests.is_empty(), "never answered: {:?}, {about}", self.app.requests);
    }

    fn about(&self) -> String {
        format!("seed {}, records: {}", self.seed, self.app.records)
    }

    // ---- the application

    fn send(&mut self) {
        self.app.sent += 1;
        self.app.outbox.push_back(Waiting { token: self.app.sent, number: None, given: false });
        self.give();
    }

    /// Hands the core what it does not have yet, once it is known whether the session is managed.
    fn give(&mut self) {
        let Some(link) = self.link.as_mut().filter(|link| link.bench.core.is_managed() == Some(true)) else { return };
        for waiting in self.app.outbox.iter_mut().filter(|waiting| !waiting.given) {
            waiting.given = true;
            let body = waiting.token;
            let stanza = OutStanza::from_xml(&format!("<message xmlns='jabber:client' to='r@x'><body>{body}</body></message>"));
            link.bench.input(Input::Send { token: waiting.token, stanza: stanza.unwrap() });
        }
        self.react();
    }

    fn request(&mut self) {
        let Some(link) = self.link.as_mut().filter(|link| link.bench.core.is_managed() == Some(true)) else { return };
        self.app.last_request += 1;
        let token = self.app.last_request;
        self.app.requests.insert(token);
        let stanza = iq(&format!("<iq type='get' id='{token}' to='r@x'><q xmlns='q'/></iq>"));
        link.bench.input(Input::Request { token, stanza, timeout: Some(Duration::from_secs(1 << 20)) });
        self.react();
    }

    /// Takes over inbound stanzas: some in any order, or, where counts are noted, some from the front and any that are no messages.
    fn take_over(&mut self, all: bool) {
        let Some(mut link) = self.link.take() else { return };
        let mut take = if all { self.app.pending.len() } else { self.random.below(self.app.pending.len() + 1) };
        let mut taken = Vec::new();
        if self.app.records {
            taken.extend(self.app.pending.drain(..take));
            if self.random.one_in(2) {
                taken.extend(self.app.pending.extract_if(.., |(_, message)| message.is_none()));
            }
            let numbers: Vec<_> = taken.iter().map(|(number, _)| *number).collect();
            if let (Some((h, above)), Some(stored)) = (link.bench.core.handled_with(&numbers), &mut self.app.stored) {
                (stored.1, stored.2) = (h, above);
            }
            let seed = self.about();
            taken.iter().filter_map(|(_, message)| *message).for_each(|message| self.app.receive(message, &seed));
        } else {
            while take > 0 {
                take -= 1;
                taken.push(self.app.pending.swap_remove(self.random.below(self.app.pending.len())));
            }
        }
        for (number, _) in taken {
            link.bench.input(Input::TakenOver(number));
        }
        self.link = Some(link);
        self.react();
    }

    /// Notes numbers of messages that wait for it.
    fn record(&mut self, all: bool) {
        let Some(link) = &mut self.link else { return };
        let some = if all { self.app.to_record.len() } else { self.random.below(self.app.to_record.len() + 1) };
        let mut last = None;
        for (token, number) in self.app.to_record.drain(..some) {
            last = Some(number);
            if let Some(waiting) = self.app.outbox.iter_mut().find(|waiting| waiting.token == token) {
                waiting.number = Some(number);
            }
        }
        if let Some(last) = last {
            link.bench.input(Input::Recorded(last));
            self.react();
        }
    }

    /// Acts on all that came out of the core, and puts on its way what it wrote.
    fn react(&mut self) {
        let about = self.about();
        loop {
            let Some(link) = &mut self.link else { return };
            let text = link.bench.written();
            link.up.extend_from_slice(text.as_bytes());
            let outputs = std::mem::take(&mut link.bench.out);
            if outputs.is_empty() {
                return;
            }
            for output in outputs {
                match output {
                    Output::Event(event) => self.event(event, &about),
                    Output::Closed(ended) => panic!("{ended:?}: {about}"),
                    _ => {}
                }
            }
            self.give_soon();
        }
    }

    fn give_soon(&mut self) {
        if self.app.outbox.iter().any(|waiting| !waiting.given) {
            self.give();
        }
    }

    fn event(&mut self, event: Event, about: &str) {
        let app = &mut self.app;
        match event {
            Event::Managed(Some(resumption)) => {
                let counts = self.link.as_ref().and_then(|link| link.bench.core.handled_with(&[]));
                let (h, above) = counts.expect("a session that can be resumed");
                app.stored = Some((resumption.id, h, above));
            }
            Event::Resumed { h, acked, .. } => {
                self.seen.resumes += 1;
                self.acknowledged(&acked, about);
                if std::mem::take(&mut self.app.restarted) {
                    self.settle(Some(h), about);
                }
            }
            Event::SessionLost { acked, unresolved, h } => {
                self.seen.settled_by_count += acked.len() as u64;
                self.acknowledged(&acked, about);
                if h.is_some() {
                    self.seen.lost_with_count += 1;
                    assert!(unresolved.iter().all(|token| *token > self.peer.has), "counted, and yet not settled: {about}");
                } else {
                    self.seen.lost_without += 1;
                }
                let h = h.filter(|_| std::mem::take(&mut self.app.restarted));
                self.settle(h, about);
            }
            // What nobody could tell, the archive can (R12).
            Event::Bound { .. } => {
                app.restarted = false;
                app.stored = None;
                app.to_record.clear();
                app.outbox.retain(|waiting| waiting.token > self.peer.has);
                for waiting in &mut app.outbox {
                    self.seen.resent += u64::from(waiting.given);
                    (waiting.given, waiting.number) = (false, None);
                }
            }
            Event::Acked(tokens) => self.acknowledged(&tokens, about),
            Event::Record(numbers) => app.to_record.extend(numbers),
            Event::Done { seq } => app.pending.push((seq, None)),
            Event::Inbound { seq, stanza } => {
                let body = stanza.child_text("jabber:client", "body").and_then(|text| text.parse().ok());
                let message: u64 = body.expect("a message of the model");
                app.pending.push((seq, Some(message)));
                if !app.records {
                    app.receive(message, about);
                }
            }
            Event::Reply { token, result } => {
                assert!(app.requests.remove(&token), "a second reply to {token}: {about}");
                if let Err(error) = result {
                    assert!(matches!(error.kind(), ErrorKind::SessionLost { .. }), "{error}: {about}");
                }
            }
            Event::NotSent { token } => panic!("{token} was not sent: {about}"),
            _ => {}
        }
    }

    fn acknowledged(&mut self, tokens: &[u64], about: &str) {
        for token in tokens {
            assert!(*token <= self.peer.has, "{token} is acknowledged, and the server has it not: {about}");
            self.app.outbox.retain(|waiting| waiting.token != *token);
        }
    }

    /// A new process takes the server's count as it is: what is up to it is acknowledged, the rest is given again.
    fn settle(&mut self, h: Option<u32>, about: &str) {
        let has = self.peer.has;
        let is_settled = |waiting: &Waiting| h.is_some() && waiting.number.is_some_and(|number| Some(number) <= h);
        for waiting in self.app.outbox.iter().filter(|_| h.is_some()) {
            assert_eq!(is_settled(waiting), waiting.token <= has, "{} by the count: {about}", waiting.token);
        }
        self.app.outbox.retain(|waiting| !is_settled(waiting));
        for waiting in self.app.outbox.iter_mut().filter(|_| h.is_some()) {
            waiting.given = false;
        }
    }

    // ---- the network

    /// A new connection, up to the session; if `shaky`, it may be cut on the way.
    fn connect(&mut self, shaky: bool) {
        let config = with(|config| {
            direct_tls(config);
            config.record = self.app.records;
            config.numbers_after = self.app.numbered;
        });
        if self.left.is_none()
            && self.app.restarted
            && let Some((id, h, above)) = &self.app.stored
        {
            let resumption = Resumption::new(SM, id.clone(), FULL.parse().unwrap(), None).unwrap();
            self.left = Some(Suspended::restored(resumption, *h, above, self.now));
        }
        let core = match self.left.take() {
            Some(suspended) => StreamCore::resuming(config.clone(), suspended, self.now),
            None => StreamCore::new(config.clone(), self.now),
        };
        let mut bench = Bench::around(core.unwrap(), self.now, &config);
        let mut login = Login::new(Framing::Tcp);
        login.authenticated.push_str("<sm xmlns='urn:xmpp:sm:3'/>");
        bench.start();
        bench.talk(&mut login);
        let mut written = bench.written();
        self.link = Some(Link { bench, up: Vec::new(), down: Vec::new() });
        self.peer.connect();
        self.react();
        if written.contains("<resume ") {
            if shaky && self.random.one_in(6) {
                return self.cut();
            }
            let (h, id) = (attribute(&written, "h"), attribute(&written, "previd"));
            match self.peer.resume(h.parse().unwrap(), id) {
                Ok(text) => {
                    self.down(&text);
                    return if shaky && self.random.one_in(6) { self.cut() } else { self.carry_down(0) };
                }
                Err(failed) => {
                    let Some(link) = &mut self.link else { return };
                    link.bench.feed(&failed);
                    link.bench.talk(&mut login);
                    written = link.bench.written();
                    self.react();
                }
            }
        }
        assert!(written.ends_with("<enable xmlns='urn:xmpp:sm:3' resume='true'/>"), "{written}");
        let text = self.peer.enable(&mut self.app.again);
        self.down(&text);
        if shaky && self.random.one_in(6) {
            self.cut();
        }
    }

    fn down(&mut self, text: &str) {
        if let Some(link) = &mut self.link {
            link.down.extend_from_slice(text.as_bytes());
        }
    }

    /// Brings this many bytes to the server.
    fn carry_up(&mut self, bytes: usize) {
        let Some(link) = &mut self.link else { return };
        let bytes: Vec<u8> = link.up.drain(..bytes.min(link.up.len())).collect();
        let about = format!("seed {}", self.seed);
        let said = self.peer.hear(&bytes, &about);
        self.down(&said);
    }

    /// Brings this many bytes to the client.
    fn carry_down(&mut self, bytes: usize) {
        let Some(link) = &mut self.link else { return };
        let bytes: Vec<u8> = link.down.drain(..bytes.min(link.down.len())).collect();
        if !bytes.is_empty() {
            link.bench.input(Input::Bytes(&bytes));
        }
        self.react();
    }

    /// Some of what is under way still arrives, the rest is gone.
    fn cut(&mut self) {
        self.seen.cuts += 1;
        let (up, down) = self.link.as_ref().map_or((0, 0), |link| (link.up.len(), link.down.len()));
        let (up, down) = (self.random.below(up + 1), self.random.below(down + 1));
        self.carry_up(up);
        self.carry_down(down);
        self.peer.connected = false;
        let Some(mut link) = self.link.take() else { return };
        link.bench.input(Input::Eof);
        self.left = link.bench.core.suspend();
        self.app.numbered = link.bench.core.numbered();
        let about = self.about();
        for output in std::mem::take(&mut link.bench.out) {
            if let Output::Event(event) = output {
                self.event(event, &about);
            }
        }
        if self.left.is_none() {
            self.app.stored = None;
        }
        // What waited to be noted is asked for again after a resume.
        self.app.to_record.clear();
    }

    /// The process ends at once. What it had not written down is gone.
    fn kill(&mut self) {
        self.seen.kills += 1;
        let up = self.link.as_ref().map_or(0, |link| link.up.len());
        let up = self.random.below(up + 1);
        self.carry_up(up);
        self.peer.connected = false;
        (self.link, self.left) = (None, None);
        let app = &mut self.app;
        app.pending.clear();
        app.to_record.clear();
        app.requests.clear();
        app.numbered = 0;
        app.restarted = app.stored.is_some();
    }

    // ---- the server

    fn say(&mut self) {
        self.peer.said += 1;
        let text = format!("<message from='r@x'><body>{}</body></message>", self.peer.said);
        match &mut self.peer.session {
            Some(session) => {
                session.queue.push_back(text.clone());
                if self.peer.connected {
                    self.down(&text);
                }
            }
            None => self.peer.offline.push(text),
        }
    }

    /// The session's time is over, or the server starts anew.
    fn lose_session(&mut self) {
        let Some(session) = self.peer.session.take() else { return };
        self.peer.expired = self.random.one_in(2).then(|| (session.id.clone(), session.handled));
        self.peer.put_by(session, &mut self.app.again);
    }
}

impl App {
    fn receive(&mut self, message: u64, about: &str) {
        if message == self.received + 1 {
            self.received = message;
        } else {
            assert!(message <= self.received, "{message} after {}: {about}", self.received);
            let again = self.again.get_mut(&message).filter(|times| **times > 0);
            *again.unwrap_or_else(|| panic!("{message} came twice: {about}")) -= 1;
        }
    }
}

impl Peer {
    fn connect(&mut self) {
        self.framer = Framer::new(Limits::default());
        self.framer.push(b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>");
        assert!(matches!(self.framer.next_item(), Ok(Some(StreamItem::Open(_)))));
    }

    fn resume(&mut self, h: u32, id: &str) -> Result<String, String> {
        let Some(session) = self.session.as_mut().filter(|session| session.id == id) else {
            let h = self.expired.as_ref().filter(|(expired, _)| expired == id).map(|(_, h)| format!(" h='{h}'"));
            return Err(format!("<failed xmlns='{SM}'{}/>", h.unwrap_or_default()));
        };
        session.acknowledge(h);
        self.connected = true;
        let resumed = format!("<resumed xmlns='{SM}' h='{}' previd='{id}'/>", session.handled);
        Ok(session.queue.iter().fold(resumed, |text, stanza| text + stanza))
    }

    fn enable(&mut self, again: &mut BTreeMap<u64, u32>) -> String {
        if let Some(old) = self.session.take() {
            self.put_by(old, again);
        }
        self.ids += 1;
        self.connected = true;
        let id = format!("s{}", self.ids);
        let queue: VecDeque<_> = std::mem::take(&mut self.offline).into();
        let enabled = format!("<enabled xmlns='{SM}' id='{id}' resume='true' max='300'/>");
        let text = queue.iter().fold(enabled, |text, stanza| text + stanza);
        self.session = Some(Held { id, handled: 0, acked: 0, queue });
        text
    }

    /// What a lost session had not had acknowledged waits for the next, and may come again.
    fn put_by(&mut self, session: Held, again: &mut BTreeMap<u64, u32>) {
        let mut messages: Vec<String> = session.queue.into_iter().filter(|text| text.starts_with("<message")).collect();
        for text in &messages {
            *again.entry(body(text)).or_default() += 1;
        }
        messages.append(&mut self.offline);
        self.offline = messages;
    }

    /// Takes bytes, and gives what it says to them.
    fn hear(&mut self, bytes: &[u8], about: &str) -> String {
        self.framer.push(bytes);
        let mut said = String::new();
        while let Some(StreamItem::Element(frame)) = self.framer.next_item().unwrap() {
            let text = frame.to_standalone_xml();
            let Some(session) = &mut self.session else { continue };
            match frame.name() {
                "r" => said += &format!("<a xmlns='{SM}' h='{}'/>", session.handled),
                "a" => session.acknowledge(frame.attr("h").unwrap().parse().unwrap()),
                name => {
                    session.handled += 1;
                    if name == "message" {
                        assert_eq!(body(&text), self.has + 1, "not what comes next: {about}");
                        self.has += 1;
                    } else if let Some(id) = frame.attr("id") {
                        let reply = format!("<iq type='result' id='{id}' from='r@x'/>");
                        said += &reply;
                        session.queue.push_back(reply);
                    }
                }
            }
        }
        said
    }
}

impl Held {
    fn acknowledge(&mut self, h: u32) {
        let more = h.checked_sub(self.acked).expect("a count that does not go back") as usize;
        assert!(more <= self.queue.len(), "a count above what was sent");
        self.queue.drain(..more);
        self.acked = h;
    }
}

fn body(text: &str) -> u64 {
    let (_, rest) = text.split_once("<body>").expect("a body");
    rest.split_once('<').expect("its end").0.parse().expect("a number")
}

fn attribute<'a>(text: &'a str, name: &str) -> &'a str {
    let (_, rest) = text.rsplit_once("<resume ").expect("it asks for the session");
    let (_, rest) = rest.split_once(&format!("{name}='")).expect("the attribute");
    rest.split_once('\'').expect("its end").0
}

/// SplitMix64: the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
