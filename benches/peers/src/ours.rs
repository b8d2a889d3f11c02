//! xmppkit's side.

use std::hint::black_box;

use xmppkit::xml::OutStanza;

use crate::measure::timed;
use crate::messages::{ROUNDS, messages, said};
use crate::reading::tally::Tally;
use crate::reading::{self, Routes, each_frame};

/// The works that need no connection, on a stream in memory.
pub(crate) fn frames(stream: &[u8]) -> Tally {
    let routes = Routes::new();
    let mut tally = Tally::default();
    each_frame(stream, |frame| routes.route(&frame, &mut tally));
    tally
}

pub(crate) fn chat(stream: &[u8]) -> Tally {
    let mut tally = Tally::default();
    each_frame(stream, |frame| reading::read(&frame, &mut tally));
    tally
}

pub(crate) fn typed(stream: &[u8]) -> Tally {
    let mut tally = Tally::default();
    each_frame(stream, |frame| reading::convert(&frame, &mut tally));
    tally
}

/// Writes messages that are prepared: checked and serialised once, as every message is that is sent.
pub(crate) fn encode(stream: &[u8]) {
    let messages = messages(stream);
    let prepared: Vec<_> = messages.iter().map(|message| OutStanza::message(message).expect("a message")).collect();
    let mut out = Vec::new();
    prepared.iter().for_each(|message| message.write_to(&mut out, None));
    let said = said(&out);
    timed(|| {
        for _ in 0..ROUNDS {
            out.clear();
            prepared.iter().for_each(|message| message.write_to(&mut out, None));
            black_box(&out);
        }
        said
    });
}

/// Writes messages from their typed values, as they are prepared: serialised and checked.
pub(crate) fn encode_typed(stream: &[u8]) {
    let messages = messages(stream);
    let mut out = Vec::new();
    let write = |out: &mut Vec<u8>| {
        out.clear();
        messages.iter().for_each(|message| OutStanza::message(message).expect("a message").write_to(out, None));
    };
    write(&mut out);
    let said = said(&out);
    timed(|| {
        for _ in 0..ROUNDS {
            write(&mut out);
            black_box(&out);
        }
        said
    });
}
