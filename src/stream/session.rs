//! A stream that has an address: stanzas both ways, the requests that wait, and the numbers of what came.

use std::time::Duration;

use jid::Jid;

use super::alphabet::{Event, Output};
use super::io::Io;
use super::iq::{Addressee, IqTable, NOT_WRITTEN, Own, Token};
use super::management::{Outbound, Resumption, Suspended, Told, broken_count, offered, read_enabled, read_h};
use super::numbers::{Numbered, Numbers};
use crate::error::{Error, ErrorKind, Phase, StanzaError, StanzaErrorType};
use crate::xml::{Frame, OutStanza, Stanza, StanzaKind, escape_attr, ns};

pub(super) struct Session {
    own: Own,
    requests: IqTable,
    numbers: Numbers,
    management: Management,
    outbound: Outbound,
    told: Told,
}

/// Where stream management stands (XEP-0198).
#[derive(Debug)]
enum Management {
    /// Not offered, or refused.
    Off,
    /// `<enable/>` was sent in this version.
    Asked(&'static str),
    /// Agreed on in this version; with how the session is resumed, if it can be.
    On(&'static str, Option<Box<Resumption>>),
}

/// What a stream's legacy session request is known by (RFC 3921 §3).
const LEGACY_SESSION_ID: &str = "session-1";

impl Session {
    pub(super) fn new(own: Own, numbers: Numbers) -> Self {
        Self {
            own,
            requests: IqTable::default(),
            numbers,
            management: Management::Off,
            outbound: Outbound::default(),
            told: Told::default(),
        }
    }

    /// The session as it was when its connection was cut.
    pub(super) fn resumed(suspended: Suspended) -> Self {
        let Suspended { resumption, own, requests, mut numbers, outbound, told, .. } = suspended;
        numbers.resume(told);
        let management = Management::On(resumption.namespace, Some(Box::new(resumption)));
        let mut told = Told::default();
        told.tell(&numbers);
        Self { own, requests, numbers, management, outbound, told }
    }

    pub(super) fn own(&self) -> &Own {
        &self.own
    }

    pub(super) fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// The core has dealt with a stanza itself. Where the count is noted before it is told (R8), the driver notes it.
    fn done_with(&mut self, seq: u64, io: &mut Io) {
        if io.config.record && self.is_resumable() {
            io.event(Event::Done { seq });
        } else {
            self.taken_over(seq, io);
        }
    }

    /// Whether the server asked for a count and was told less than had come.
    pub(super) fn owes_ack(&self) -> bool {
        self.told.owes()
    }

    pub(super) fn taken_over(&mut self, seq: u64, io: &mut Io) {
        self.numbers.taken_over(seq);
        self.tell(io);
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
            self.send(0, &request, io);
            let (limit, end) = (io.config.bind, io.wire.position());
            self.requests.insert(Token::LegacySession, LEGACY_SESSION_ID, Addressee::Account, io.now, limit, end);
        }
        let managed = offered(&features).filter(|_| io.config.management);
        io.event(Event::Bound { jid: self.own.full.clone(), features });
        if let Some(version) = managed {
            io.wire.element(&format!("<enable xmlns='{version}' resume='true'/>"));
            io.wait(io.config.bind);
            self.management = Management::Asked(version);
        }
        Ok(())
    }

    /// Goes on after a cut: what the server has not handled is written again, in order (XEP-0198 §5).
    pub(super) fn go_on(&mut self, h: u32, suspended_for: Duration, features: Frame, io: &mut Io) -> Result<(), Error> {
        let acked = self.acknowledge(h, io)?;
        self.requests.postpone(suspended_for);
        self.outbound.restart(io.now);
        io.event(Event::Resumed { jid: self.own.full.clone(), features, h, acked });
        self.write_due(io);
        Ok(())
    }

    /// What is left of the session for another connection; `None` if it cannot be resumed.
    pub(super) fn suspend(self, taken: u64, now: std::time::Instant) -> Option<Suspended> {
        let Management::On(_, Some(resumption)) = self.management else { return None };
        let (mut requests, own, numbers, outbound) = (self.requests, self.own, self.numbers, self.outbound);
        requests.cut(taken);
        let told = numbers.handled();
        Some(Suspended { resumption: *resumption, own, requests, numbers, outbound, since: now, told })
    }

    /// Whether the server acknowledges what it handles; `None` while that is being agreed on.
    pub(super) fn is_managed(&self) -> Option<bool> {
        match self.management {
            Management::Off => Some(false),
            Management::Asked(_) => None,
            Management::On(..) => Some(true),
        }
    }

    pub(super) fn is_resumable(&self) -> bool {
        matches!(self.management, Management::On(_, Some(_)))
    }

    pub(super) fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// Every stanza that goes out passes here.
    pub(super) fn send(&mut self, token: u64, stanza: &OutStanza, io: &mut Io) {
        self.write(token, stanza, false, io);
    }

    fn write(&mut self, token: u64, stanza: &OutStanza, is_request: bool, io: &mut Io) {
        if matches!(self.management, Management::Off) {
            io.wire.stanza(stanza);
            return;
        }
        let resumable = matches!(self.management, Management::On(_, Some(_)));
        let record = io.config.record && resumable && token != 0 && stanza.kind() == StanzaKind::Message;
        self.outbound.push(token, stanza.clone(), is_request, record, io.now);
        self.write_due(io);
    }

    fn write_due(&mut self, io: &mut Io) {
        while let Some(due) = self.outbound.next_due() {
            io.wire.stanza(&due.stanza);
            if let Some(token) = due.request {
                self.requests.wrote(Token::Driver(token), io.wire.position());
            }
        }
    }

    /// The messages whose numbers are to be noted now.
    pub(super) fn take_unrecorded(&mut self) -> Option<Event> {
        let numbers = if self.outbound.waits_for_record() { self.outbound.take_unrecorded() } else { Vec::new() };
        (!numbers.is_empty()).then_some(Event::Record(numbers))
    }

    pub(super) fn recorded(&mut self, number: u32, io: &mut Io) {
        self.outbound.recorded(number);
        self.write_due(io);
    }

    /// Asks for an acknowledgement, if it is time to or `force`d.
    pub(super) fn ask_for_ack(&mut self, force: bool, io: &mut Io) {
        if let Management::On(version, _) = self.management
            && self.outbound.ask(io.now, force)
        {
            io.wire.element(&format!("<r xmlns='{version}'/>"));
        }
    }

    /// Tells the server how far its stanzas were taken over, where that is due.
    fn tell(&mut self, io: &mut Io) {
        if let Management::On(version, _) = self.management
            && self.told.is_due(&self.numbers)
        {
            let h = self.told.tell(&self.numbers);
            io.wire.element(&format!("<a xmlns='{version}' h='{h}'/>"));
        }
    }

    /// The last word before the stream is closed (XEP-0198 §4).
    pub(super) fn tell_last(&mut self, io: &mut Io) {
        if let Management::On(version, _) = self.management {
            let h = self.told.tell(&self.numbers);
            io.wire.element(&format!("<a xmlns='{version}' h='{h}'/>"));
        }
    }

    fn acknowledge(&mut self, h: u32, io: &mut Io) -> Result<Vec<u64>, Error> {
        self.outbound.acknowledged(h).map_err(|too_high| {
            tracing::warn!(h = too_high.h, sent = too_high.sent, "the server acknowledges more than it was sent");
            io.wire.close_with(&too_high.stream_error());
            broken_count()
        })
    }

    /// Takes an element that is no stanza; `false` if it is none of stream management. An error ends the stream.
    pub(super) fn nonza(&mut self, frame: &Frame, io: &mut Io) -> Result<bool, Error> {
        let version = match self.management {
            Management::Asked(version) | Management::On(version, _) if frame.ns() == version => version,
            _ => return Ok(false),
        };
        match (frame.name(), &self.management) {
            ("enabled", Management::Asked(_)) => {
                let resumption = read_enabled(frame, version, &self.own.full);
                io.deadline = None;
                self.numbers.begin_count();
                self.told = Told::default();
                self.told.tell(&self.numbers);
                io.event(Event::Managed(resumption.clone()));
                self.management = Management::On(version, resumption.map(Box::new));
            }
            ("failed", Management::Asked(_)) => {
                io.deadline = None;
                self.management = Management::Off;
                self.outbound = Outbound::default();
                io.event(Event::NotManaged);
            }
            ("r", Management::On(..)) => {
                let h = self.told.asked(&self.numbers);
                io.wire.element(&format!("<a xmlns='{version}' h='{h}'/>"));
            }
            ("a", Management::On(..)) => match read_h(frame) {
                Some(h) => {
                    let acked = self.acknowledge(h, io)?;
                    self.outbound.answered(io.now);
                    if !acked.is_empty() {
                        io.event(Event::Acked(acked));
                    }
                }
                None => tracing::debug!("an acknowledgement without a count was ignored"),
            },
            _ => return Ok(false),
        }
        Ok(true)
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
        if !self.requests.is_free(Token::Driver(token), id) {
            return refuse("another request with this id is waiting");
        }
        let to = stanza.to().map(Jid::new).transpose()?;
        let addressee = Addressee::new(to, &self.own);
        let timeout = timeout.unwrap_or(io.config.request_timeout);
        // Where it stands among the bytes is known when it is written.
        self.requests.insert(Token::Driver(token), id, addressee, io.now, timeout, NOT_WRITTEN);
        if matches!(self.management, Management::Off) {
            self.send(token, stanza, io);
            self.requests.wrote(Token::Driver(token), io.wire.position());
        } else {
            self.write(token, stanza, true, io);
        }
        Ok(())
    }

    pub(super) fn forget(&mut self, token: u64) {
        self.requests.forget(Token::Driver(token));
    }

    pub(super) fn next_deadline(&self, ack: Duration) -> Option<std::time::Instant> {
        let answer = self.outbound.asked_since().and_then(|since| since.checked_add(ack));
        [self.requests.next_deadline(), answer, self.outbound.next_question()].into_iter().flatten().min()
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
        if self.outbound.asked_since().is_some_and(|since| io.now.saturating_duration_since(since) >= io.config.ack) {
            return Err(ErrorKind::Timeout(Phase::Session).into());
        }
        Ok(())
    }

    /// Takes a stanza. An error ends the stream.
    pub(super) fn stanza(&mut self, stanza: Stanza, io: &mut Io) -> Result<(), Error> {
        let Numbered { seq, again } = self.numbers.next();
        if again {
            // It counts once, when its first copy is taken over.
            tracing::trace!(seq, "a second copy of a stanza, from before the cut");
            return Ok(());
        }
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
                    self.done_with(seq, io);
                    self.refuse(&stanza, "cancel", "service-unavailable", io);
                    return Ok(());
                }
                io.event(Event::Inbound { seq, stanza });
                Ok(())
            }
            Some(reply @ ("result" | "error")) => {
                let failed = reply == "error";
                drop(kind);
                self.done_with(seq, io);
                self.reply(stanza, failed, io)
            }
            _ => {
                drop(kind);
                self.done_with(seq, io);
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
            None => tracing::debug!(
                from = stanza.from().as_deref(),
                id = stanza.id().as_deref(),
                "ignoring a reply that answers no request"
            ),
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
        tracing::debug!(from = stanza.from().as_deref(), id = stanza.id().as_deref(), "refusing an IQ whose structure is broken");
        let Some(id) = stanza.id() else { return };
        let to = stanza.from().map(|from| format!(" to='{}'", escape_attr(&from))).unwrap_or_default();
        let reply = format!(
            "<iq xmlns='jabber:client' type='error' id='{}'{to}><error type='{error_type}'><{condition} xmlns='{}'/></error></iq>",
            escape_attr(&id),
            ns::STANZA_ERRORS,
        );
        match OutStanza::from_xml(&reply) {
            Ok(reply) => self.send(0, &reply, io),
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
