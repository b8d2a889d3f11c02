//! IQ requests: the table of what the server itself answers, and the way to other clients.

use jid::{FullJid, Jid, NodePart};

use super::dialect::OwnFrom;
use super::routing::{cancel, modify};
use super::state::{ConnectionId, State};
use super::tree::{Element, ns};
use super::{archive, carbons, disco, mobile, registration, roster};
use crate::error::StanzaError;

/// Everything the server answers, by namespace and name of the payload. Extensions join here.
const SERVICES: &[Service] = &[
    Service { ns: ns::ROSTER, name: "query", feature: true, handle: roster::handle },
    Service { ns: ns::REGISTER, name: "query", feature: true, handle: registration::handle },
    Service { ns: ns::DISCO_INFO, name: "query", feature: true, handle: disco::info },
    Service { ns: ns::DISCO_ITEMS, name: "query", feature: true, handle: disco::items },
    Service { ns: ns::PING, name: "ping", feature: true, handle: disco::ping },
    Service { ns: ns::VERSION, name: "query", feature: true, handle: disco::version },
    Service { ns: ns::TIME, name: "time", feature: true, handle: disco::time },
    Service { ns: ns::LAST, name: "query", feature: true, handle: disco::last },
    Service { ns: ns::CARBONS, name: "enable", feature: false, handle: carbons::switch },
    Service { ns: ns::CARBONS, name: "disable", feature: false, handle: carbons::switch },
    Service { ns: ns::MAM, name: "query", feature: false, handle: archive::query },
    Service { ns: ns::MAM, name: "metadata", feature: false, handle: archive::metadata },
    Service { ns: ns::MAM, name: "prefs", feature: false, handle: archive::preferences },
    Service { ns: ns::PUSH, name: "enable", feature: false, handle: mobile::push },
    Service { ns: ns::PUSH, name: "disable", feature: false, handle: mobile::push },
    Service { ns: ns::SESSION, name: "session", feature: false, handle: disco::session },
];

struct Service {
    ns: &'static str,
    name: &'static str,
    /// Whether the server's disco#info lists the namespace.
    feature: bool,
    handle: fn(&mut State, &Request) -> Result<Answer, StanzaError>,
}

/// A request to the server, or to an account it answers for.
#[derive(Clone)]
pub(super) struct Request {
    /// The sender's connection, unless the request came from elsewhere.
    pub(super) session: Option<ConnectionId>,
    pub(super) from: Jid,
    pub(super) scope: Scope,
    pub(super) is_set: bool,
    pub(super) payload: Element,
    iq: Element,
}

/// Who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// The server.
    Server,
    /// The sender's own account.
    Own(NodePart),
    /// Somebody else's account, or one that does not exist.
    Other(Option<NodePart>),
}

/// What a service answers.
pub(super) enum Answer {
    Result(Option<Element>),
    /// The service has sent the result itself, in an order of its own.
    Sent,
}

/// The namespaces disco#info lists for the server.
pub(super) fn features() -> impl Iterator<Item = &'static str> {
    SERVICES.iter().filter(|service| service.feature).map(|service| service.ns)
}

impl State {
    /// An IQ from a client, `from` already in it.
    pub(super) fn handle_iq(&mut self, id: ConnectionId, own: &FullJid, iq: Element, to: Option<Jid>) {
        let is_request = matches!(iq.get("type"), Some("get" | "set"));
        if !matches!(iq.get("type"), Some("get" | "set" | "result" | "error"))
            || iq.get("id").is_none()
            || (is_request && iq.elements().count() != 1)
        {
            return self.bounce(&iq, modify("bad-request"));
        }
        let Some(account) = own.node().map(ToOwned::to_owned) else { return };
        match to {
            Some(to) if to != own.to_bare() => self.route(iq, &to),
            // A result or an error for the account answers nothing the account asked.
            _ if !is_request => {}
            _ => self.serve(iq, Some(id), own.clone().into(), Scope::Own(account)),
        }
    }

    /// An IQ for an address of this server.
    pub(super) fn route_iq(&mut self, iq: Element, to: &Jid) {
        let is_request = matches!(iq.get("type"), Some("get" | "set"));
        let Some(Ok(from)) = iq.get("from").map(Jid::new) else { return };
        match (to.try_as_full(), to.node()) {
            (Ok(full), Some(_)) => {
                if !self.deliver(&iq, full) {
                    self.bounce(&iq, cancel("service-unavailable"));
                }
            }
            _ if !is_request => {}
            (_, None) => {
                let session = FullJid::try_from(from.clone()).ok().and_then(|full| self.session(&full));
                self.serve(iq, session, from, Scope::Server);
            }
            (Err(_), Some(_)) => self.serve(iq, None, from, Scope::Other(self.local_account(to))),
        }
    }

    fn serve(&mut self, iq: Element, session: Option<ConnectionId>, from: Jid, scope: Scope) {
        let Some(payload) = iq.elements().next().cloned() else { return self.bounce(&iq, modify("bad-request")) };
        let service = SERVICES.iter().find(|s| payload.is(s.name, s.ns));
        let request = Request { session, from, scope, is_set: iq.get("type") == Some("set"), payload, iq };
        let answer = match service {
            Some(service) => (service.handle)(self, &request),
            None => Err(cancel("service-unavailable")),
        };
        self.answer_with(&request, answer);
    }

    /// Sends what a service answers.
    pub(super) fn answer_with(&self, request: &Request, answer: Result<Answer, StanzaError>) {
        match answer {
            Ok(Answer::Result(payload)) => self.answer(request, payload),
            Ok(Answer::Sent) => {}
            Err(error) => {
                let reply = self.error_reply(&request.iq, &error);
                self.send_reply(request, reply);
            }
        }
    }

    /// Sends the result of a request.
    pub(super) fn answer(&self, request: &Request, payload: Option<Element>) {
        let reply =
            Element::new("iq", ns::CLIENT).attr("type", "result").maybe_attr("id", request.iq.get("id")).children_from(payload);
        self.send_reply(request, reply);
    }

    /// Refuses a request with a form of registration to fill in beside the error.
    pub(super) fn answer_with_form(&self, request: &Request, form: Element) {
        let query = Element::new("query", ns::REGISTER).child(form);
        let error =
            Element::new("error", ns::CLIENT).attr("type", "modify").child(Element::new("not-authorized", ns::STANZA_ERRORS));
        let reply = Element::new("iq", ns::CLIENT).attr("type", "error").maybe_attr("id", request.iq.get("id"));
        self.send_reply(request, reply.child(query).child(error));
    }

    /// The `from` of what the server says in the name of an account to the account's own clients.
    pub(super) fn own_from(&self, account: &NodePart) -> Option<String> {
        match self.differences().own_result_from {
            OwnFrom::Bare => Some(self.bare(account).as_str().to_owned()),
            OwnFrom::Absent => None,
        }
    }

    fn send_reply(&self, request: &Request, reply: Element) {
        let from = match request.iq.get("to") {
            Some(to) => Some(to.to_owned()),
            None => request.from.node().and_then(|account| self.own_from(&account.to_owned())),
        };
        let reply = reply.maybe_attr("from", from).attr("to", request.from.as_str());
        if let Ok(full) = FullJid::try_from(request.from.clone()) {
            self.deliver(&reply, &full);
        }
    }
}
