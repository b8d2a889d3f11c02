//! An illegal order of steps is refused (D33), here and from the server.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::support::*;
use crate::error::{Error, ErrorKind, Phase, ProtocolError, TlsError};
use crate::stream::io::Io;
use crate::stream::phase::Plain;
use crate::stream::step::{Bits, Flow, Negotiation, Progress, Step};
use crate::stream::wire::{Item, Opened};
use crate::stream::{Ask, Framing, Output};
use crate::xml::Frame;

/// A step that only notes that it ran.
struct Probe {
    name: usize,
    requires: Bits,
    forbids: Bits,
    achieves: Bits,
    ran: Arc<Mutex<Vec<usize>>>,
}

impl Step<Plain> for Probe {
    fn phase(&self) -> Phase {
        Phase::Features
    }

    fn requires(&self) -> Bits {
        self.requires
    }

    fn forbids(&self) -> Bits {
        self.forbids
    }

    fn achieves(&self) -> Bits {
        self.achieves
    }

    fn is_offered(&self, _features: &Frame) -> bool {
        true
    }

    fn start(&mut self, _: &Frame, _: &Plain, _: &mut Io) -> Result<Progress<Plain>, Error> {
        self.ran.lock().unwrap().push(self.name);
        Ok(Progress::Done)
    }

    fn element(&mut self, _: &Frame, _: &Plain, _: &mut Io) -> Result<Progress<Plain>, Error> {
        Ok(Progress::Wait)
    }
}

#[test]
fn no_step_ever_runs_before_its_preconditions_hold() {
    let all = [Bits::NONE, Bits::ENCRYPTED, Bits::BEFORE_AUTH_DONE, Bits::AUTHENTICATED];
    let mut random = Random::new(0x5eed_0001);
    let mut complete = 0;
    for round in 0..2000 {
        let mut bits = || all[random.below(4)] | all[random.below(4)];
        let plan: Vec<(Bits, Bits, Bits)> =
            (0..6).map(|_| (bits(), if bits() == Bits::NONE { bits() } else { Bits::NONE }, bits())).collect();
        let ran = Arc::new(Mutex::new(Vec::new()));
        let steps = plan
            .iter()
            .enumerate()
            .map(|(name, &(requires, forbids, achieves))| {
                Box::new(Probe { name, requires, forbids, achieves, ran: Arc::clone(&ran) }) as Box<dyn Step<Plain>>
            })
            .collect();

        let mut io = Io::new(config(), None, Instant::now());
        let negotiation = Negotiation::with_steps(Plain::new(), steps);
        let Ok(Flow::Stay(negotiation)) = negotiation.item(Item::Opened(Opened { version: Some("1.0".to_owned()) }), &mut io)
        else {
            panic!("the header was refused")
        };
        let features = Frame::parse("<features xmlns='http://etherx.jabber.org/streams'/>").unwrap();
        let Err(error) = negotiation.item(Item::Element(features), &mut io) else { panic!("no probe ends a phase") };
        assert_eq!(*error.kind(), ErrorKind::Tls(TlsError::NotOffered));

        let ran = ran.lock().unwrap();
        let mut achieved = Bits::NONE;
        for (at, &name) in ran.iter().enumerate() {
            let (requires, forbids, achieves) = plan[name];
            assert!(achieved.contains(requires) && !achieved.intersects(forbids), "round {round}: {name} ran too early");
            assert!(!ran[..at].contains(&name), "round {round}: {name} ran twice");
            achieved = achieved | achieves;
        }
        for (name, &(requires, forbids, _)) in plan.iter().enumerate() {
            let could = achieved.contains(requires) && !achieved.intersects(forbids);
            assert!(ran.contains(&name) || !could, "round {round}: {name} could have run");
        }
        complete += usize::from(ran.len() == plan.len());
    }
    assert!((20..1980).contains(&complete), "the plans are too easy or too hard: {complete}");
}

/// Everything a server says in a login, and when it may say it.
const SAYINGS: [(&str, &[Phase]); 9] = [
    ("<stream:features/>", &[Phase::Features]),
    ("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", &[Phase::StartTls]),
    ("<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", &[Phase::StartTls]),
    ("<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>cj14</challenge>", &[Phase::Auth]),
    ("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", &[Phase::Auth]),
    ("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>", &[Phase::Auth]),
    (
        "<iq type='result' id='bind-1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><jid>juliet@im.example.com/b</jid></bind></iq>",
        &[Phase::Bind],
    ),
    ("<message><body>early</body></message>", &[]),
    ("<enabled xmlns='urn:xmpp:sm:3'/>", &[]),
];

#[test]
fn what_the_server_says_out_of_order_ends_the_stream() {
    let features = |number, features: &str| format!("{}<stream:features>{features}</stream:features>", header(number));
    let prepared = |phase| {
        let mut bench = Bench::new(if matches!(phase, Phase::StartTls) { config() } else { with(direct_tls) });
        bench.start();
        match phase {
            Phase::Features => bench.feed(&header(1)),
            Phase::StartTls => bench.feed(&features(1, STARTTLS)),
            Phase::Auth => bench.feed(&features(1, SCRAM)),
            _ => {
                let mut server = Server::new(Framing::Tcp).instead(Moment::Bind, "");
                bench.talk(&mut server);
            }
        }
        assert_eq!(bench.core.phase(), phase);
        bench.out.clear();
        bench
    };
    for phase in [Phase::Features, Phase::StartTls, Phase::Auth, Phase::Bind] {
        for (saying, allowed) in SAYINGS {
            let mut bench = prepared(phase);
            bench.feed(saying);
            let unexpected = ErrorKind::Protocol(ProtocolError::Unexpected(phase));
            let ended = bench.lines().pop().unwrap_or_default();
            assert_eq!(ended == format!("closed: {unexpected:?}"), !allowed.contains(&phase), "{saying} in {phase:?}: {ended}");
            assert_eq!(bench.core.is_bound(), phase == Phase::Bind && allowed.contains(&phase), "{saying} in {phase:?}");
        }
    }
}

#[test]
fn the_server_must_wait_while_the_driver_answers() {
    // A success that comes while we have said nothing yet, or while keys are derived, is not its turn.
    for upto in ["random", "keys"] {
        let mut bench = Bench::new(with(direct_tls));
        bench.obliging = false;
        bench.start();
        bench.feed(&format!("{}<stream:features>{SCRAM}</stream:features>", header(1)));
        if upto == "keys" {
            let Some(Output::Ask(id, Ask::Random(n))) = bench.out.pop() else { panic!() };
            bench.answer(id, crate::stream::Answer::Random(vec![1; n]));
            let auth = bench.sent.pop().unwrap();
            bench.feed(&Server::new(Framing::Tcp).hear(&auth)[0]);
        }
        bench.feed("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
        assert_eq!(bench.failure(), ErrorKind::Protocol(ProtocolError::Unexpected(Phase::Auth)), "{upto}");
    }
}
