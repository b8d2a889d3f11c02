//! Stream management (XEP-0198) from the server's side.
//!
//! A session under management outlives its connection: its entry stays among the connections, closed, and everything routed to it
//! waits in its queue until the client resumes it on another connection or its time is over.

use std::collections::VecDeque;
use std::time::Duration;

use jid::NodePart;

use super::clock;
use super::connection::Failure;
use super::dialect::{MessageRouting, Overflow, WrongCount};
use super::options::Misbehaviour;
use super::routing::cancel;
use super::state::{Bound, Command, ConnectionId, Meter, State, random_id};
use super::tree::{Element, ns};
use crate::error::StreamError;

/// Sessions that are over and whose count is still known.
const EXPIRED_KEPT: usize = 1000;

/// What a session has once management was enabled.
pub(super) struct Managed {
    namespace: String,
    /// What it is resumed by, if it can be.
    id: Option<String>,
    max: Duration,
    fate: Fate,
    /// Stanzas go to a connection, not only into the queue.
    attached: bool,
    /// How many stanzas came, and how many of them the client was last told of.
    handled: u32,
    told: u32,
    /// How many stanzas were sent; the last of them wait in the queue for their acknowledgement.
    sent: u32,
    queue: VecDeque<Unacknowledged>,
    /// What `sent` was when the question that is open was asked.
    question: Option<u32>,
    asked_for: u32,
    /// The queue was too long: it says nothing any more.
    disabled: bool,
    overflowed: bool,
    /// Bytes went to the client past the count: it may acknowledge more than was sent.
    uncounted: bool,
}

struct Unacknowledged {
    stanza: Element,
    /// When it was sent, in seconds since 1970.
    at: i64,
}

/// What becomes of a session when its connection goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is kept for its time.
    Kept,
    /// It is over at once; the count stays known.
    Expires,
    /// It is over at once, and forgotten.
    Forgotten,
}

/// A session that is over, as far as it is remembered.
pub(super) struct Expired {
    id: String,
    account: NodePart,
    handled: u32,
}

/// Why a session is not resumed.
pub(super) enum Refusal {
    /// The client may go on by binding a resource.
    Failed(Element),
    Stream(Failure),
}

#[derive(Debug, PartialEq, Eq)]
enum Count {
    Right,
    TooHigh,
    TooLow,
}

impl Managed {
    fn new(namespace: &str, id: Option<String>, max: Duration) -> Self {
        Self {
            namespace: namespace.into(),
            id,
            max,
            fate: Fate::Kept,
            attached: true,
            handled: 0,
            told: 0,
            sent: 0,
            queue: VecDeque::new(),
            question: None,
            asked_for: 0,
            disabled: false,
            overflowed: false,
            uncounted: false,
        }
    }

    /// How many stanzas the client has not acknowledged.
    pub(super) fn unacknowledged(&self) -> usize {
        self.queue.len()
    }

    /// How many stanzas were taken that the client was not told of.
    pub(super) fn untold(&self) -> u32 {
        self.handled.wrapping_sub(self.told)
    }

    /// Notes a stanza that is sent; gives what goes to the connection, if there is one.
    fn send(&mut self, stanza: &Element) -> Option<String> {
        if !self.disabled {
            self.sent = self.sent.wrapping_add(1);
            self.queue.push_back(Unacknowledged { stanza: stanza.clone(), at: clock::unix_now() });
        }
        self.attached.then(|| stanza.to_xml() + &self.question())
    }

    /// `<r/>`, unless a question is open or there is nothing new to ask about.
    fn question(&mut self) -> String {
        if self.disabled || self.question.is_some() || self.queue.is_empty() || self.asked_for == self.sent {
            return String::new();
        }
        self.question = Some(self.sent);
        self.asked_for = self.sent;
        Element::new("r", &self.namespace).to_xml()
    }

    /// The client's count: what it acknowledges leaves the queue.
    fn acknowledge(&mut self, h: u32) -> Count {
        let acked = self.sent.wrapping_sub(u32::try_from(self.queue.len()).unwrap_or(u32::MAX));
        let more = h.wrapping_sub(acked);
        if more > u32::MAX / 2 {
            return if self.uncounted { Count::Right } else { Count::TooLow };
        }
        if more as usize > self.queue.len() && !self.uncounted {
            return Count::TooHigh;
        }
        self.queue.drain(..self.queue.len().min(more as usize));
        Count::Right
    }
}

impl State {
    /// Stream management's own elements on a bound connection; `None` for anything else.
    pub(super) fn manage(&mut self, id: ConnectionId, element: &Element) -> Option<Result<(), Failure>> {
        if !self.speaks(element.ns()) {
            return None;
        }
        match element.name() {
            "enable" => self.enable(id, element),
            "r" => self.answer_question(id),
            "a" => return Some(self.take_answer(id, element)),
            _ => self.command(id, Command::Write(failed(element.ns(), "unexpected-request").to_xml().into_bytes())),
        }
        Some(Ok(()))
    }

    /// Whether this version of stream management is offered.
    pub(super) fn speaks(&self, namespace: &str) -> bool {
        self.differences().management.versions.iter().any(|version| version == namespace)
    }

    /// A stanza came on this connection.
    pub(super) fn count_in(&mut self, id: ConnectionId) {
        if let Some(managed) = self.managed_mut(id) {
            managed.handled = managed.handled.wrapping_add(1);
        }
    }

    /// Sends a stanza to a session: over its connection, into its queue, or both.
    pub(super) fn send(&self, id: ConnectionId, stanza: &Element) {
        let Some(connection) = self.connections.get(&id) else { return };
        let managed = connection.bound.as_ref().and_then(|bound| bound.managed.as_ref());
        let text = match managed {
            // Routing looks through the sessions while it sends; the queue is the one thing that changes under its eyes.
            Some(managed) => {
                let mut managed = managed.borrow_mut();
                let text = managed.send(stanza);
                self.check_queue(id, &mut managed);
                text
            }
            None => Some(stanza.to_xml()),
        };
        if let Some(text) = text {
            Meter::add(&connection.meter.stanzas_out, 1);
            let _ = connection.commands.send(Command::Write(text.into_bytes()));
        }
    }

    fn check_queue(&self, id: ConnectionId, managed: &mut Managed) {
        let management = &self.differences().management;
        if managed.queue.len() <= management.max_unacknowledged {
            return;
        }
        match management.overflow {
            Overflow::Unresumable => {
                managed.queue.pop_front();
                managed.overflowed = true;
            }
            Overflow::CloseStream => {
                managed.queue.clear();
                managed.fate = Fate::Forgotten;
                let error = StreamError::new("policy-violation", Some("Too many unacked stanzas".into()));
                self.command(id, Command::Close(Some(error)));
            }
            Overflow::Silence => {
                managed.queue.clear();
                managed.disabled = true;
                managed.fate = Fate::Forgotten;
            }
        }
    }

    fn enable(&mut self, id: ConnectionId, request: &Element) {
        let namespace = request.ns().to_owned();
        let refusal = self.config.misbehaviours.iter().find_map(|m| match m {
            Misbehaviour::RefuseManagement(condition) => Some(condition.clone()),
            _ => None,
        });
        let management = &self.differences().management;
        let asked = request.get("max").and_then(|max| max.parse().ok()).map_or(management.max, Duration::from_secs);
        let (max, tells_max) = (management.max.min(asked), management.tells_max);
        let location = management.location.clone().filter(|_| resumable(request));
        let resumable = resumable(request);
        let reply = match (self.bound_mut(id), refusal) {
            (Some(bound), None) if bound.managed.is_none() => {
                let session = resumable.then(random_id);
                let enabled = Element::new("enabled", &namespace);
                let enabled = match &session {
                    Some(id) => enabled.attr("id", id).attr("resume", "true"),
                    None => enabled,
                };
                let max_text = (tells_max && resumable).then(|| max.as_secs().to_string());
                bound.managed = Some(Managed::new(&namespace, session, max).into());
                enabled.maybe_attr("max", max_text).maybe_attr("location", location)
            }
            (_, refusal) => failed(&namespace, refusal.as_deref().unwrap_or("unexpected-request")),
        };
        self.command(id, Command::Write(reply.to_xml().into_bytes()));
    }

    fn answer_question(&mut self, id: ConnectionId) {
        if self.config.misbehaviours.contains(&Misbehaviour::NeverAcknowledge) {
            return;
        }
        let Some(managed) = self.managed_mut(id).filter(|managed| !managed.disabled) else { return };
        managed.told = managed.handled;
        let answer = Element::new("a", &managed.namespace).attr("h", managed.handled.to_string());
        self.command(id, Command::Write(answer.to_xml().into_bytes()));
    }

    fn take_answer(&mut self, id: ConnectionId, answer: &Element) -> Result<(), Failure> {
        let wrong = self.differences().management.low_count;
        let Some(managed) = self.managed_mut(id) else { return Ok(()) };
        let Some(h) = count(answer) else { return Err(Failure::new("undefined-condition", Some("h is no count"))) };
        managed.question = None;
        match managed.acknowledge(h) {
            Count::TooHigh => return Err(Failure::too_many_handled(h, managed.sent)),
            Count::TooLow if wrong == WrongCount::Closes => return Err(Failure::new("undefined-condition", Some("h went back"))),
            _ => {}
        }
        let question = managed.question();
        if !question.is_empty() {
            self.command(id, Command::Write(question.into_bytes()));
        }
        Ok(())
    }

    /// Takes over the session that the client asks for, and gives the answer. Nothing is sent to it before
    /// [`resend`](Self::resend).
    pub(super) fn resume(&mut self, id: ConnectionId, request: &Element, account: &NodePart) -> Result<Element, Refusal> {
        let result = self.try_resume(id, request, account);
        match &result {
            Ok(_) => self.totals.resumes += 1,
            Err(_) => self.totals.failed_resumes += 1,
        }
        result
    }

    fn try_resume(&mut self, id: ConnectionId, request: &Element, account: &NodePart) -> Result<Element, Refusal> {
        let namespace = request.ns();
        let refused = |condition| Err(Refusal::Failed(failed(namespace, condition)));
        let (Some(previous), Some(h)) = (request.get("previd"), count(request)) else { return refused("bad-request") };
        let found = self.connections.iter().find(|(_, connection)| {
            let managed = connection.bound.as_ref().and_then(|bound| bound.managed.as_ref());
            connection.account.as_ref() == Some(account) && managed.is_some_and(|m| m.borrow().is_resumed_by(previous))
        });
        let found = found.map(|(id, _)| *id);
        if let Some(old) = found.filter(|old| self.managed_mut(*old).is_some_and(|managed| managed.fate != Fate::Kept)) {
            // It was given up, and its client is not there any more.
            self.unbind(old);
            self.command(old, Command::Close(None));
            self.drop_if_closed(old);
        }
        let Some(old) = found.filter(|old| self.bound(*old).is_some()) else {
            let gone = self.expired.iter().find(|gone| gone.id == previous && gone.account == *account);
            let h = gone.filter(|_| self.differences().management.failed_tells_count).map(|gone| gone.handled.to_string());
            return Err(Refusal::Failed(failed(namespace, "item-not-found").maybe_attr("h", h)));
        };
        let low = self.differences().management.low_count;
        let Some(managed) = self.managed_mut(old) else { return refused("item-not-found") };
        if managed.overflowed {
            return refused("resource-constraint");
        }
        match managed.acknowledge(h) {
            Count::TooHigh => return Err(Refusal::Stream(Failure::too_many_handled(h, managed.sent))),
            Count::TooLow if low == WrongCount::Closes => return refused("unexpected-request"),
            _ => {}
        }
        managed.attached = false;
        managed.question = None;
        managed.asked_for = managed.sent.wrapping_sub(1);
        managed.told = managed.handled;
        let handled = managed.handled;

        let bound = self.connections.get_mut(&old).and_then(|connection| connection.bound.take());
        self.command(old, Command::Close(Some(StreamError::new("conflict", Some("The session was resumed elsewhere".into())))));
        self.drop_if_closed(old);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.bound = bound;
        }
        Ok(Element::new("resumed", namespace).attr("previd", previous).attr("h", handled.to_string()))
    }

    /// Sends all that is not acknowledged to the connection that resumed the session.
    pub(super) fn resend(&mut self, id: ConnectionId) {
        let delays = self.differences().management.delays_resent;
        let reorders = self.config.misbehaviours.contains(&Misbehaviour::ReorderResent);
        let domain = self.domain.clone();
        let Some(managed) = self.managed_mut(id) else { return };
        managed.attached = true;
        let is_message = |at: &usize| managed.queue.get(*at).is_some_and(|waiting| waiting.stanza.name() == "message");
        let mut messages = (0..managed.queue.len()).rev().filter(is_message);
        let last_two = (messages.next(), messages.next());
        if let (true, (Some(last), Some(before))) = (reorders, last_two) {
            managed.queue.swap(before, last);
        }
        let stanzas = managed.queue.iter().map(|waiting| match delays && waiting.stanza.name() != "iq" {
            true => delayed(&waiting.stanza, waiting.at, domain.as_str()).to_xml(),
            false => waiting.stanza.to_xml(),
        });
        let mut text: String = stanzas.collect();
        let count = managed.queue.len();
        text += &managed.question();
        if let Some(connection) = self.connections.get(&id) {
            Meter::add(&connection.meter.stanzas_out, count);
        }
        self.command(id, Command::Write(text.into_bytes()));
    }

    /// Bytes go to this connection past all counting.
    pub(super) fn stop_counting(&mut self, id: ConnectionId) {
        if let Some(managed) = self.managed_mut(id) {
            managed.uncounted = true;
        }
    }

    /// The connection went without `</stream:stream>`. Says how long its session is kept, if it is.
    pub(super) fn detach(&mut self, id: ConnectionId) -> Option<Duration> {
        let kept = self.managed_mut(id).filter(|managed| managed.id.is_some() && managed.fate == Fate::Kept).map(|managed| {
            managed.attached = false;
            managed.max
        });
        if kept.is_none() {
            self.unbind(id);
            return None;
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.open = false;
            let meter = std::mem::take(&mut connection.meter);
            self.totals.add(&meter);
        }
        kept
    }

    /// A kept session's time is over.
    pub(super) fn expire(&mut self, id: ConnectionId) {
        if self.connections.get(&id).is_some_and(|connection| !connection.open) {
            self.unbind(id);
            self.drop_if_closed(id);
        }
    }

    /// Ends all sessions that wait for their clients; the others end with their connections.
    pub(super) fn give_up_sessions(&mut self, fate: Fate) {
        let ids: Vec<_> = self.connections.keys().copied().collect();
        for id in ids {
            if let Some(managed) = self.managed_mut(id) {
                managed.fate = fate;
            }
            if self.connections.get(&id).is_some_and(|connection| connection.lost) {
                self.unbind(id);
                self.command(id, Command::Close(None));
            }
            self.expire(id);
        }
        if fate == Fate::Forgotten {
            self.expired.clear();
        }
    }

    fn drop_if_closed(&mut self, id: ConnectionId) {
        if self.connections.get(&id).is_some_and(|connection| !connection.open) {
            self.connections.remove(&id);
        }
    }

    /// The session is over: what the client never acknowledged goes where it would have gone without this session.
    pub(super) fn release(&mut self, bound: Bound) {
        let (Some(managed), Some(account)) = (bound.managed, bound.jid.node().map(ToOwned::to_owned)) else { return };
        let managed = managed.into_inner();
        if let Some(id) = managed.id.filter(|_| managed.fate != Fate::Forgotten) {
            self.expired.push_back(Expired { id, account: account.clone(), handled: managed.handled });
            if self.expired.len() > EXPIRED_KEPT {
                self.expired.pop_front();
            }
        }
        for Unacknowledged { stanza, at } in managed.queue {
            match (stanza.name(), stanza.get("type")) {
                ("message", None | Some("chat" | "normal")) => self.route_again(&account, stanza, at),
                ("iq", Some("get" | "set")) => self.bounce(&stanza, cancel("service-unavailable")),
                _ => {}
            }
        }
    }

    fn route_again(&mut self, account: &NodePart, stanza: Element, at: i64) {
        let routing = self.differences().message_routing;
        let others = self.reachable(account, routing);
        let had_it = routing == MessageRouting::AllNonNegative && !stanza.get("to").is_some_and(|to| to.contains('/'));
        if others.is_empty() {
            self.store_offline(account, stanza, at);
        } else if !had_it {
            let stanza = delayed(&stanza, at, self.domain.as_str());
            for id in others {
                self.send(id, &stanza);
            }
        }
    }

    fn managed_mut(&mut self, id: ConnectionId) -> Option<&mut Managed> {
        self.bound_mut(id)?.managed.as_mut().map(std::cell::RefCell::get_mut)
    }
}

impl Managed {
    fn is_resumed_by(&self, id: &str) -> bool {
        self.id.as_deref() == Some(id)
    }
}

/// A stanza with the moment it was first sent (XEP-0203), unless it says so already.
pub(super) fn delayed(stanza: &Element, at: i64, domain: &str) -> Element {
    if stanza.find("delay", ns::DELAY).is_some() {
        return stanza.clone();
    }
    stanza.clone().child(Element::new("delay", ns::DELAY).attr("from", domain).attr("stamp", clock::stamp(at)))
}

fn failed(namespace: &str, condition: &str) -> Element {
    Element::new("failed", namespace).child(Element::new(condition, ns::STANZA_ERRORS))
}

/// Whether the session is to be resumed.
fn resumable(enable: &Element) -> bool {
    matches!(enable.get("resume"), Some("true" | "1"))
}

fn count(element: &Element) -> Option<u32> {
    element.get("h")?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_go_on_past_two_to_the_power_of_32() {
        let mut managed = Managed::new(ns::SM, None, Duration::ZERO);
        managed.sent = u32::MAX - 1;
        managed.asked_for = managed.sent;
        let message = Element::new("message", ns::CLIENT);
        let first = managed.send(&message).expect("there is a connection");
        assert!(first.ends_with("<r xmlns='urn:xmpp:sm:3'/>"), "{first}");
        assert!(!managed.send(&message).expect("there is a connection").contains("<r "), "one question at a time");
        managed.send(&message);
        assert_eq!((managed.sent, managed.unacknowledged()), (1, 3));
        assert_eq!(managed.acknowledge(u32::MAX - 2), Count::TooLow);
        assert_eq!(managed.acknowledge(2), Count::TooHigh);
        assert_eq!((managed.acknowledge(0), managed.unacknowledged()), (Count::Right, 1));
        assert_eq!((managed.acknowledge(1), managed.unacknowledged()), (Count::Right, 0));
    }
}
