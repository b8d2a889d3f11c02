//! Input that is cut, mutated, random or out of place: never a panic, always an end, nothing gained by it.

use std::time::Duration;

use super::support::*;
use crate::auth::KeyRequest;
use crate::stream::{Answer, Ask, AskId, CoreConfig, Event, Framing, Input, Output};

/// What a server says in a login with STARTTLS and in a short session, chunk by chunk.
fn transcript() -> Vec<String> {
    let mut server = Server::new(Framing::Tcp);
    let bench = Bench::log_in(config(), &mut server);
    assert!(bench.core.is_bound());
    server.said.push(
        "<message from='romeo@example.net/orchard' id='m1' type='chat'><body>Neither, fair saint &amp; \u{1f339}</body></message>\n\
         <presence from='romeo@example.net/orchard'/><iq type='get' id='p1' from='im.example.com'><ping xmlns='urn:xmpp:ping'/></iq>\
         <iq type='set' id='b1' from='romeo@example.net'/><r xmlns='urn:xmpp:sm:3'/><message/></stream:stream>"
            .to_owned(),
    );
    server.said
}

/// Plays the server's part whatever the core says; gives everything that came out.
fn play(config: CoreConfig, chunks: &[&[u8]]) -> (Vec<String>, String) {
    let mut bench = Bench::new(config);
    bench.start();
    for chunk in chunks {
        bench.input(Input::Bytes(chunk));
    }
    (bench.lines(), bench.written())
}

#[test]
fn every_input_cut_at_every_byte_gives_the_same_outputs() {
    let said = transcript();
    let whole: Vec<&[u8]> = said.iter().map(|s| s.as_bytes()).collect();
    let expected = play(config(), &whole);
    assert!(expected.0.iter().any(|l| l.starts_with("bound")) && expected.0.len() > 8, "{:?}", expected.0);
    for (at, chunk) in whole.iter().enumerate() {
        for cut in 1..chunk.len() {
            let mut chunks = whole.clone();
            chunks.splice(at..=at, [&chunk[..cut], &chunk[cut..]]);
            assert_eq!(play(config(), &chunks), expected, "chunk {at} cut at {cut}");
        }
    }
    let bytes: Vec<&[u8]> = whole.iter().flat_map(|chunk| chunk.chunks(1)).collect();
    assert_eq!(play(config(), &bytes), expected, "byte by byte");
}

#[test]
fn a_stream_may_restart_in_the_middle_of_a_buffer() {
    // After authentication a server that knows what follows says it at once: one read, or several.
    let said = transcript();
    let at = said.iter().position(|s| s.starts_with("<success")).unwrap();
    let whole: Vec<&[u8]> = said.iter().map(|s| s.as_bytes()).collect();
    let expected = play(config(), &whole).0;
    for space in ["", "\n ", "\n\n"] {
        let together = format!("{}{space}{}", said[at], said[at + 1..].concat());
        for cut in 0..together.len() {
            let mut chunks = whole[..at].to_vec();
            chunks.extend([&together.as_bytes()[..cut], &together.as_bytes()[cut..]]);
            assert_eq!(play(config(), &chunks).0, expected, "{space:?}, cut at {cut}");
        }
    }
}

/// Checks what must hold of every run, whatever the server said.
fn check(bench: &mut Bench, what: &str) {
    let sent = bench.written();
    let lines = bench.lines();
    let at = |prefix: &str| lines.iter().position(|l| l.starts_with(prefix));
    let closed: Vec<_> = lines.iter().enumerate().filter(|(_, l)| l.starts_with("closed")).collect();
    assert_eq!(closed.len(), 1, "{what}: one end: {lines:?}");
    assert_eq!(closed[0].0, lines.len() - 1, "{what}: nothing after the end: {lines:?}");
    if let Some(bound) = at("bound") {
        let authenticated =
            at("authenticated by SCRAM").unwrap_or_else(|| panic!("{what}: bound before authenticated: {lines:?}"));
        let secured = at("secured").unwrap_or_else(|| panic!("{what}: authenticated before secured: {lines:?}"));
        assert!(secured < authenticated && authenticated < bound, "{what}: {lines:?}");
    }
    if let Some(authenticated) = at("authenticated") {
        assert_eq!(lines[authenticated], "authenticated by SCRAM-SHA-256, verified: true", "{what}");
    }
    if let Some(inbound) = at("inbound") {
        assert!(at("bound").is_some_and(|bound| bound < inbound), "{what}: {lines:?}");
    }
    if at("secured").is_none() {
        assert!(!sent.contains("<auth") && !sent.contains("juliet"), "{what}: {sent}");
    }
    assert!(!sent.contains(PASSWORD), "{what}");
}

fn without_plain() -> CoreConfig {
    with(|c| c.policy = c.policy.clone().without("PLAIN").iterations(1..=1000))
}

#[test]
fn mutated_transcripts_end_and_gain_nothing() {
    let seed = 0x5eed_0002;
    let said = transcript();
    let mut random = Random::new(seed);
    let mut bound = 0;
    for round in 0..3000 {
        let mut chunks: Vec<Vec<u8>> = said.iter().map(|s| s.clone().into_bytes()).collect();
        for _ in 0..=random.below(3) {
            mutate(&mut chunks, &mut random);
        }
        let mut bench = Bench::new(without_plain());
        bench.start();
        for chunk in &chunks {
            bench.input(Input::Bytes(chunk));
        }
        bound += usize::from(bench.out.iter().any(|o| matches!(o, Output::Event(Event::Bound { .. }))));
        bench.input(Input::Eof);
        check(&mut bench, &format!("seed {seed:#x}, round {round}"));
    }
    assert!((100..2900).contains(&bound), "the mutations are too tame or too wild: {bound} of 3000 logins worked");
}

fn mutate(chunks: &mut Vec<Vec<u8>>, random: &mut Random) {
    let chunk = random.below(chunks.len());
    let len = chunks[chunk].len();
    let at = random.below(len.max(1)).min(len);
    match random.below(8) {
        0 if len > 0 => chunks[chunk][at] ^= 1 << random.below(8),
        1 if len > 0 => chunks[chunk][at] = random.next() as u8,
        2 if len > 0 => {
            let end = (at + 1 + random.below(40)).min(len);
            chunks[chunk].drain(at..end);
        }
        3 => {
            let from = random.below(chunks.len());
            let piece = chunks[from].clone();
            chunks[chunk].splice(at..at, piece);
        }
        4 => {
            let other = random.below(chunks.len());
            chunks.swap(chunk, other);
        }
        5 => {
            let copy = chunks[chunk].clone();
            chunks.insert(chunk, copy);
        }
        6 => {
            let piece: &[u8] =
                [&b"<message/>"[..], b"</stream:stream>", b"<a xmlns='", b"&#0;", b"<!--", b"<stream:error/>", b" "]
                    [random.below(7)];
            chunks[chunk].splice(at..at, piece.iter().copied());
        }
        _ => {
            // Inside an element: swap two of the words an attacker would swap.
            let text = String::from_utf8_lossy(&chunks[chunk]).into_owned();
            let (from, to) = [
                ("result", "error"),
                ("success", "challenge"),
                ("proceed", "failure"),
                ("im.example.com", "x"),
                ("'1.0'", "'0'"),
            ][random.below(5)];
            chunks[chunk] = text.replace(from, to).into_bytes();
        }
    }
}

#[test]
fn random_bytes_and_inputs_in_any_order_never_panic_and_always_end() {
    let seed = 0x5eed_0003;
    let said = transcript();
    let mut random = Random::new(seed);
    for round in 0..3000 {
        let mut bench = Bench::new(match random.below(4) {
            0 => with(|c| {
                direct_tls(c);
                c.before_auth = true;
            }),
            1 => with(|c| {
                direct_tls(c);
                c.framing = Framing::WebSocket;
            }),
            2 => without_plain(),
            _ => with(direct_tls),
        });
        bench.obliging = random.below(2) == 0;
        let mut asks: Vec<AskId> = Vec::new();
        if random.below(20) > 0 {
            bench.start();
        }
        // Half of the rounds begin as they should.
        if random.below(2) == 0 {
            for chunk in &said[..random.below(said.len())] {
                bench.feed(chunk);
            }
        }
        for _ in 0..12 {
            asks.extend(bench.out.iter().filter_map(|o| match o {
                Output::Ask(id, _) => Some(*id),
                _ => None,
            }));
            let ask = if asks.is_empty() { AskId(random.next() % 5) } else { asks[random.below(asks.len())] };
            match random.below(14) {
                0 => bench.start(),
                1 => bench.input(Input::TlsDone { bindings: Vec::new() }),
                2 => bench.after(Duration::from_millis(random.next() % 9000)),
                3 => bench.input(Input::TakenOver(random.next() % 8)),
                4 => bench.input(Input::Send { token: 1, stanza: iq("<iq type='result' id='x'/>") }),
                5 => {
                    let stanza = iq(&format!("<iq type='get' id='{}'><a xmlns='b'/></iq>", random.below(4)));
                    bench.input(Input::Request {
                        token: random.next() % 4,
                        stanza,
                        timeout: Some(Duration::from_millis(random.next() % 9000)),
                    });
                }
                6 => bench.input(Input::Forget { token: random.next() % 4 }),
                7 => bench.answer(ask, Answer::Random(vec![0; 24])),
                8 => {
                    let keys = KeyRequest::new(crate::auth::ScramHash::Sha1, vec![1], 1, crate::auth::Secret::new("x")).derive();
                    bench.answer(ask, Answer::Keys(keys));
                }
                9 => bench.answer(ask, Answer::Authenticate),
                10 => bench.input(Input::KeepAlive),
                11 if random.below(4) == 0 => bench.input(Input::Close),
                _ => {
                    let mut bytes: Vec<u8> =
                        (0..random.below(60)).map(|_| b"<>/='\" abi:&;\n\xc3\xa4\0"[random.below(17)]).collect();
                    if random.below(3) > 0 {
                        bytes = said[random.below(said.len())].clone().into_bytes();
                    }
                    bench.input(Input::Bytes(&bytes));
                }
            }
        }
        bench.input(Input::Close);
        bench.after(Duration::from_secs(3600));
        bench.input(Input::Eof);
        let closed = bench.out.iter().filter(|o| matches!(o, Output::Closed(_))).count();
        assert_eq!(closed, 1, "seed {seed:#x}, round {round}: {:?}", bench.lines());
        assert_eq!(bench.core.next_deadline(), None);
        let asked = bench.out.iter().filter(|o| matches!(o, Output::Ask(_, Ask::BeforeAuth(_)))).count();
        assert!(asked <= 12);
    }
}

#[test]
fn no_request_is_ever_left_without_an_end() {
    let seed = 0x5eed_0004;
    let mut random = Random::new(seed);
    for round in 0..500 {
        let mut bench = Bench::online();
        let mut asked = Vec::new();
        let mut forgotten = Vec::new();
        for n in 0..30u64 {
            match random.below(5) {
                0 | 1 => {
                    let stanza = iq(&format!("<iq type='get' id='id{n}'><a xmlns='b'/></iq>"));
                    asked.push(n);
                    bench.input(Input::Request { token: n, stanza, timeout: Some(Duration::from_secs(1 + random.next() % 20)) });
                }
                2 => bench.feed(&format!("<iq type='result' id='id{}'/>", random.below(30))),
                3 => bench.after(Duration::from_secs(random.next() % 4)),
                _ => {
                    let token = random.next() % 30;
                    forgotten.push(token);
                    bench.input(Input::Forget { token });
                }
            }
        }
        match random.below(3) {
            0 => bench.input(Input::Eof),
            1 => bench.feed("</stream:stream>"),
            _ => {
                bench.input(Input::Close);
                bench.after(Duration::from_secs(60));
            }
        }
        let mut ended: Vec<u64> = bench.replies().into_iter().map(|(token, _)| token).collect();
        let count = ended.len();
        ended.sort_unstable();
        ended.dedup();
        assert_eq!(ended.len(), count, "seed {seed:#x}, round {round}: an answer twice");
        for token in asked {
            assert!(
                ended.contains(&token) || forgotten.contains(&token),
                "seed {seed:#x}, round {round}: {token} waits for ever"
            );
        }
    }
}
