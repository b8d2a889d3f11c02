//! A stream that has an address: stanzas both ways, the requests that wait, and the numbers of what came.

use std::time::Duration;

use jid::Jid;

use super::alphabet::{Event, Output};
use super::io::Io;
use super::iq::{Addressee, IqTable, Own, Token};
use super::numbers::Numbers;
use crate::error::{Error, ErrorKind, Phase, StanzaError, StanzaErrorType};
use crate::xml::{Frame, OutStanza, Stanza, StanzaKind, escape_attr, ns};

pub(super) struct Session {
    own: Own,
    requests: IqTable,
    numbers: Numbers,
}

/// What a stream's legacy session request is known by (RFC 3921 §3).
const LEGACY_SESSION_ID: &str = "session-1";

impl Session {
    pub(super) fn new(own: Own) -> Self {
        Self { own, requests: IqTable::default(), numbers: Numbers::default() }
    }

    pub(super) fn own(&self) -> &Own {
        &self.own
    }

    pub(super) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    pub(super) fn taken_over(&mut self, seq: u64) {
        self.numbers.taken_over(seq);
    }

    /// Begins the session. Servers from before RFC 6120 want one more request; nothing needs to wait for its reply.
    pub(super) fn begin(&mut self, features: Frame, io: &mut Io) -> Result<(), Error> {
        let wants_session =
            features.child(ns::SESSION, "session").is_some_and(|session| session.child(ns::SESSION, "optional").is_none());
        if wants_session {
            let request = OutStanza::from_xml(&format!(
                "<iq xmlns='jabber:client' type='set' id='{LEGACY_SESSION_ID}'><session xmlns='{}'/></iq>",
                ns::SESSION
            ))?;
            self.send(&request, io);
            let (limit, end) = (io.config.deadlines.bind, io.wire.position());
            self.requests.insert(Token::LegacySession, LEGACY_SESSION_ID, Addressee::Account, io.now, limit, end);
        }
        io.event(Event::Bound { jid: self.own.full.clone(), features });
        Ok(())
    }

    /// Every stanza that goes out passes here.
    pub(super) fn send(&mut self, stanza: &OutStanza, io: &mut Io) {
        io.wire.stanza(stanza);
    }

    pub(super) fn request(&mut self, token: u64, stanza: &OutStanza, timeout: Option<Duration>, io: &mut Io) {
        if let Err(error) = self.try_request(token, stanza, timeout, io) {
            io.event(Event::Reply { token, result: Err(error) });
        }
    }

    fn try_request(&mut self, token: u64, stanza: &OutStanza, timeout: Option<Duration>, io: &mut Io) -> Result<(), Error> {
        let refuse = |text| Err(Error::from(ErrorKind::Other).with_context(text));
        if stanza.kind() != StanzaKind::Iq || !matches!(stanza.stanza_type(), Some("get" | "set")) {
            return refuse("only an IQ of type get or set is a request");
        }
        let Some(id) = stanza.id() else {
            return refuse("a request needs an id");
        };
        let token = Token::Driver(token);
        if !self.requests.is_free(token, id) {
            return refuse("another request with this id is waiting");
        }
        let to = stanza.to().map(Jid::new).transpose()?;
        let addressee = Addressee::new(to, &self.own);
        self.send(stanza, io);
        let timeout = timeout.unwrap_or(io.config.request_timeout);
        self.requests.insert(token, id, addressee, io.now, timeout, io.wire.position());
        Ok(())
    }

    pub(super) fn forget(&mut self, token: u64) {
        self.requests.forget(Token::Driver(token));
    }

    pub(super) fn next_deadline(&self) -> Option<std::time::Instant> {
        self.requests.next_deadline()
    }

    /// Ends the requests whose time is over. An error ends the stream.
    pub(super) fn expire(&mut self, io: &mut Io) -> Result<(), Error> {
        while let Some((token, waited)) = self.requests.expire(io.now) {
            match token {
                Token::Driver(token) => {
                    io.event(Event::Reply { token, result: Err(ErrorKind::RequestTimeout(waited).into()) });
                }
                Token::LegacySession => return Err(ErrorKind::Timeout(Phase::Bind).into()),
            }
        }
        Ok(())
    }

    /// Takes a stanza. An error ends the stream.
    pub(super) fn stanza(&mut self, stanza: Stanza, io: &mut Io) -> Result<(), Error> {
        let seq = self.numbers.next();
        if stanza.kind() != StanzaKind::Iq {
            io.event(Event::Inbound { seq, stanza });
            return Ok(());
        }
        let kind = stanza.stanza_type();
        match kind.as_deref() {
            Some("get" | "set") if stanza.id().is_some() && stanza.children().count() == 1 => {
                drop(kind);
                if stanza.from().is_some() && stanza.from_jid().is_none() {
                    // Nobody may take it for a request without sender, which is one of the own account.
                    self.numbers.taken_over(seq);
                    self.refuse(&stanza, "cancel", "service-unavailable", io);
                    return Ok(());
                }
                io.event(Event::Inbound { seq, stanza });
                Ok(())
            }
            Some(reply @ ("result" | "error")) => {
                let failed = reply == "error";
                drop(kind);
                self.numbers.taken_over(seq);
                self.reply(stanza, failed, io)
            }
            _ => {
                drop(kind);
                self.numbers.taken_over(seq);
                self.refuse(&stanza, "modify", "bad-request", io);
                Ok(())
            }
        }
    }

    fn reply(&mut self, stanza: Stanza, failed: bool, io: &mut Io) -> Result<(), Error> {
        let from = match stanza.from() {
            None => Ok(None),
            Some(from) => Jid::new(&from).map(Some),
        };
        let token = match (&from, stanza.id()) {
            (Ok(from), Some(id)) => self.requests.answer(&id, from.as_ref(), &self.own),
            _ => None,
        };
        match token {
            None => tracing::debug!(from = ?stanza.from(), "ignoring a reply that answers no request"),
            Some(Token::Driver(token)) => {
                io.event(Event::Reply { token, result: Ok(stanza) });
            }
            Some(Token::LegacySession) if failed => return Err(ErrorKind::Bind(stanza_error(&stanza)).into()),
            Some(Token::LegacySession) => {}
        }
        Ok(())
    }

    /// Answers an IQ that is none: of no known type, without exactly one payload (RFC 6120 §8.2.3), or from what is no JID.
    /// One without `id` cannot be answered, for nobody could tell what the answer belongs to.
    fn refuse(&mut self, stanza: &Stanza, error_type: &str, condition: &str, io: &mut Io) {
        tracing::debug!(from = ?stanza.from(), "refusing an IQ whose structure is broken");
        let Some(id) = stanza.id() else { return };
        let to = stanza.from().map(|from| format!(" to='{}'", escape_attr(&from))).unwrap_or_default();
        let reply = format!(
            "<iq xmlns='jabber:client' type='error' id='{}'{to}><error type='{error_type}'><{condition} xmlns='{}'/></error></iq>",
            escape_attr(&id),
            ns::STANZA_ERRORS,
        );
        match OutStanza::from_xml(&reply) {
            Ok(reply) => self.send(&reply, io),
            Err(error) => tracing::warn!(%error, "an error reply could not be made"),
        }
    }

    /// Ends every request that waits; `written` is up to where the driver has taken bytes, or still will.
    pub(super) fn end(&mut self, written: u64, out: &mut impl Extend<Output>) {
        out.extend(self.requests.drain(written).into_iter().filter_map(|(token, sent)| match token {
            Token::Driver(token) => {
                Some(Output::Event(Event::Reply { token, result: Err(ErrorKind::SessionLost { sent }.into()) }))
            }
            Token::LegacySession => None,
        }));
    }
}

/// The error in a stanza of type `error`; one without counts as `undefined-condition`.
pub(super) fn stanza_error(stanza: &Stanza) -> StanzaError {
    stanza.error().unwrap_or_else(|| StanzaError::new(StanzaErrorType::Cancel, "undefined-condition"))
}
