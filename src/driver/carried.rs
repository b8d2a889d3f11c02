//! What is carried from one connection to the next.

use std::sync::Arc;
use std::time::Instant;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use crate::driver::lane::Lane;
use crate::driver::{Lag, Output, Surface, Suspended};
use crate::stream;
use crate::xml::OutStanza;

/// What outlives a connection: the session that may be resumed, what is on its way to the store and the subscribers, and the
/// requests of others that are being answered.
#[derive(Default)]
pub(super) struct Carried {
    pub(super) suspended: Option<Box<Suspended>>,
    /// While no session has it.
    pub(super) lane: Option<Box<Lane>>,
    pub(super) jobs: Option<FuturesUnordered<BoxFuture<'static, ()>>>,
    /// The highest number an inbound stanza has got.
    pub(super) numbered: u64,
    blamed: Option<Blamed>,
}

/// The stanza that was the first unacknowledged one when the server ended a stream (R7).
struct Blamed {
    token: u64,
    stanza: OutStanza,
    /// The last message that was not acknowledged then: it may be any up to this one.
    last: Option<u64>,
}

/// Conditions of stream errors that no stanza brings about.
const NOT_OVER_A_STANZA: [&str; 8] = [
    "conflict",
    "connection-timeout",
    "host-gone",
    "host-unknown",
    "not-authorized",
    "reset",
    "see-other-host",
    "system-shutdown",
];

impl Carried {
    pub(super) fn new(suspended: Option<Suspended>, lag: Lag) -> Self {
        let numbered = suspended.as_ref().map_or(0, Suspended::numbered);
        Self { suspended: suspended.map(Box::new), numbered, lane: Some(Box::new(Lane::new(lag))), ..Self::default() }
    }

    /// Nobody waits for this request any more.
    pub(super) fn forget(&mut self, token: u64) {
        if let Some(suspended) = &mut self.suspended {
            suspended.forget(token);
        }
    }

    /// Until when the session can be resumed.
    pub(super) fn until(&self) -> Option<Instant> {
        self.suspended.as_ref().map(|suspended| suspended.until())
    }

    /// The session is lost: nobody asks for it any more.
    pub(super) fn lose(&mut self, surface: &Arc<dyn Surface>) {
        self.jobs = None;
        let Some(suspended) = self.suspended.take() else { return };
        for output in suspended.lose(None) {
            if let Output::Event(event) = output {
                self.event(event, surface);
            }
        }
        surface.session_lost(None);
    }

    /// What comes out of a stream that has ended.
    pub(super) fn event(&mut self, event: stream::Event, surface: &Arc<dyn Surface>) {
        match event {
            stream::Event::Reply { token, result } => surface.reply(token, result),
            stream::Event::SessionLost { acked: tokens, .. } | stream::Event::Acked(tokens) => surface.acked(tokens),
            _ => {}
        }
    }

    /// Up to which message, by token, any is suspected: until it is acknowledged messages go out one at a time, so that the next
    /// time it is certain which it was.
    pub(super) fn careful(&self) -> Option<u64> {
        self.blamed.as_ref()?.last
    }

    /// All that were suspected are acknowledged.
    pub(super) fn not_careful(&mut self) {
        if let Some(blamed) = &mut self.blamed {
            blamed.last = None;
        }
    }

    /// A session has held: nothing is suspected.
    pub(super) fn acquit(&mut self) {
        self.blamed = None;
    }

    /// The server ended the stream with an error: the first stanza it has not acknowledged is suspected. Gives it up the second
    /// time, and says so.
    pub(super) fn blame(&mut self, condition: &str, surface: &Arc<dyn Surface>) -> bool {
        if NOT_OVER_A_STANZA.contains(&condition) {
            return false;
        }
        let Some(suspended) = &mut self.suspended else { return false };
        let Some((token, stanza)) = suspended.first_unacknowledged() else {
            self.blamed = None;
            return false;
        };
        let again = self.blamed.as_ref().is_some_and(|before| before.is(token, stanza));
        self.blamed = Some(Blamed { token, stanza: stanza.clone(), last: suspended.last_message() });
        if !again {
            return false;
        }
        tracing::error!(condition, token, "the server ends the stream over one stanza again and again; it is given up");
        for output in suspended.remove_first() {
            if let Output::Event(event) = output {
                self.event(event, surface);
            }
        }
        if token != 0 {
            surface.poisoned(token, condition.to_owned());
        }
        self.blamed = None;
        true
    }
}

impl Blamed {
    /// A message keeps its token when it is sent in another session; anything else is not sent there.
    fn is(&self, token: u64, stanza: &OutStanza) -> bool {
        if self.token != 0 { self.token == token } else { token == 0 && self.stanza.is_same(stanza) }
    }
}
