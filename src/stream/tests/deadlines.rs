//! Time that passes, simulated, and connections that end, in every phase.

use std::time::Duration;

use super::support::*;
use crate::error::{ErrorKind, Phase};
use crate::stream::{Answer, Ask, CoreConfig, Framing, Input, Output};

const MS: Duration = Duration::from_millis(1);

/// Brings a core into each phase in which somebody is waited for; with how long that may take.
fn phases() -> Vec<(&'static str, Phase, Option<Duration>, Bench)> {
    let deadlines = config().deadlines;
    let bench = |config: CoreConfig| {
        let mut bench = Bench::new(config);
        bench.obliging = false;
        bench.start();
        bench
    };
    let features = |number, features: &str| format!("{}<stream:features>{features}</stream:features>", header(number));
    let mut rows = Vec::new();

    rows.push(("header", Phase::Header, Some(deadlines.header), bench(config())));

    let mut b = bench(config());
    b.feed(&header(1));
    rows.push(("features", Phase::Features, Some(deadlines.features), b));

    let mut b = bench(config());
    b.feed(&features(1, STARTTLS));
    rows.push(("starttls", Phase::StartTls, Some(deadlines.start_tls), b));

    let mut b = bench(config());
    b.feed(&features(1, STARTTLS));
    b.feed("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
    rows.push(("handshake", Phase::TlsHandshake, Some(deadlines.tls_handshake), b));

    let register = || {
        let mut b = bench(with(|c| {
            direct_tls(c);
            c.before_auth = true;
        }));
        b.feed(&features(1, SCRAM));
        b
    };
    rows.push(("the application thinks", Phase::Register, Some(deadlines.register_answer), register()));
    let mut b = register();
    let Some(Output::Ask(id, Ask::BeforeAuth(_))) = b.out.pop() else { panic!() };
    b.answer(id, Answer::Iq(iq("<iq type='get' id='r'><query xmlns='jabber:iq:register'/></iq>")));
    rows.push(("registration", Phase::Register, Some(deadlines.register), b));

    let begun = || {
        let mut b = bench(with(direct_tls));
        b.feed(&features(1, SCRAM));
        b
    };
    rows.push(("randomness is fetched", Phase::Auth, None, begun()));
    let authenticating = || {
        let mut b = begun();
        let Some(Output::Ask(id, Ask::Random(n))) = b.out.pop() else { panic!() };
        b.answer(id, Answer::Random(vec![1; n]));
        b
    };
    rows.push(("authentication", Phase::Auth, Some(deadlines.auth), authenticating()));
    let mut b = authenticating();
    let mut server = Server::new(Framing::Tcp);
    let challenge = server.hear(b.sent.last().unwrap()).remove(0);
    b.feed(&challenge);
    assert!(matches!(b.out.last(), Some(Output::Ask(_, Ask::DeriveKeys(_)))));
    rows.push(("keys are derived", Phase::Auth, None, b));

    let logged_in = |upto: &str| {
        let mut server = Server::new(Framing::Tcp).inside_tls();
        let mut b = Bench::new(with(direct_tls));
        b.start();
        for _ in 0..3 {
            let message = b.sent.pop().unwrap();
            for reply in server.hear(&message) {
                b.feed(&reply);
            }
        }
        if upto != "header" {
            b.feed(&header(2));
        }
        if upto == "bind" {
            b.feed(&format!("<stream:features>{BIND}</stream:features>"));
        }
        b
    };
    rows.push(("second header", Phase::Header, Some(deadlines.header), logged_in("header")));
    rows.push(("second features", Phase::Features, Some(deadlines.features), logged_in("features")));
    rows.push(("binding", Phase::Bind, Some(deadlines.bind), logged_in("bind")));
    rows.push(("session", Phase::Session, None, Bench::online()));
    let mut b = Bench::online();
    b.input(Input::Close);
    rows.push(("closing", Phase::Closing, Some(deadlines.closing), b));
    rows
}

#[test]
fn each_phase_has_its_deadline() {
    for (name, phase, limit, mut bench) in phases() {
        assert_eq!(bench.core.phase(), phase, "{name}");
        assert_eq!(bench.core.next_deadline(), limit.map(|limit| bench.now + limit), "{name}");
        let Some(limit) = limit else {
            bench.after(Duration::from_secs(86_400));
            assert_eq!(bench.core.phase(), phase, "{name}: nobody is late");
            continue;
        };
        bench.after(limit - MS);
        assert_eq!(bench.core.phase(), phase, "{name}: too early");
        bench.written();
        bench.after(MS);
        assert_eq!(bench.failure(), ErrorKind::Timeout(phase), "{name}");
        assert_eq!(bench.core.next_deadline(), None, "{name}");
        let said = bench.written();
        let expected = if matches!(phase, Phase::TlsHandshake | Phase::Closing) { "" } else { "</stream:stream>" };
        assert_eq!(said, expected, "{name}");
    }
}

#[test]
fn each_phase_knows_that_the_connection_ended_in_it() {
    for (name, phase, _, mut bench) in phases() {
        bench.written();
        bench.input(Input::Eof);
        assert_eq!(bench.failure(), ErrorKind::Closed(phase), "{name}");
        assert_eq!(bench.written(), "", "{name}: nobody would read it");
        assert_eq!(bench.core.next_deadline(), None, "{name}");
    }
}

#[test]
fn in_each_phase_the_server_may_close_the_stream() {
    for (name, phase, _, mut bench) in phases() {
        if matches!(phase, Phase::Header | Phase::TlsHandshake | Phase::Closing) {
            continue;
        }
        bench.written();
        bench.feed("</stream:stream>");
        assert_eq!(bench.failure(), ErrorKind::Closed(phase), "{name}");
        assert_eq!(bench.written(), "</stream:stream>", "{name}: it is answered");
    }
}

#[test]
fn in_each_phase_the_application_may_close_the_stream() {
    for (name, phase, _, mut bench) in phases() {
        if phase == Phase::Closing {
            continue;
        }
        bench.written();
        bench.out.clear();
        bench.input(Input::Close);
        if phase == Phase::TlsHandshake {
            assert_eq!(bench.written(), "", "{name}: there is no stream to close");
            assert_eq!(bench.lines(), ["closed"], "{name}");
            continue;
        }
        assert_eq!(bench.written(), "</stream:stream>", "{name}");
        bench.input(Input::Close);
        assert_eq!((bench.written(), bench.lines()), (String::new(), vec![]), "{name}: once is enough");
        if phase == Phase::Header {
            bench.feed(&header(1));
        }
        bench.feed("<stream:features/></stream:stream>");
        assert_eq!(bench.lines(), ["closed"], "{name}");
    }
}

#[test]
fn a_server_that_drips_bytes_gains_no_time() {
    let mut bench = Bench::new(config());
    bench.start();
    let deadline = bench.core.next_deadline();
    for byte in header(1).as_bytes()[..60].iter() {
        bench.now += 200 * MS;
        bench.input(Input::Bytes(&[*byte]));
        assert_eq!(bench.core.next_deadline(), deadline);
    }
    bench.after(Duration::from_secs(3));
    assert_eq!(bench.failure(), ErrorKind::Timeout(Phase::Header));
}

#[test]
fn time_never_runs_backwards() {
    let mut bench = Bench::new(config());
    bench.start();
    let deadline = bench.core.next_deadline();
    let before = bench.now.checked_sub(Duration::from_secs(1)).unwrap_or(bench.now);
    bench.core.handle(Input::Timer, before);
    assert_eq!(bench.core.next_deadline(), deadline);
}
