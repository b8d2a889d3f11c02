//! Resource binding (RFC 6120 §7).

use std::sync::Arc;

use jid::{FullJid, Jid, ResourcePart};

use crate::error::{Error, ErrorKind, Phase, ProtocolError};
use crate::stream::config::CoreConfig;
use crate::stream::io::Io;
use crate::stream::iq::is_domain;
use crate::stream::phase::{Authenticated, Entry};
use crate::stream::session::stanza_error;
use crate::stream::step::{Bits, Progress, Step};
use crate::xml::{Frame, OutStanza, Stanza, StanzaKind, escape_text, ns};

pub(in crate::stream) struct Bind {
    config: Arc<CoreConfig>,
    attempts: u32,
    /// Whether the request that is out named a resource.
    named: bool,
}

impl Step<Authenticated> for Bind {
    fn phase(&self) -> Phase {
        Phase::Bind
    }

    fn requires(&self) -> Bits {
        Bits::AUTHENTICATED
    }

    fn forbids(&self) -> Bits {
        Bits::NONE
    }

    fn is_offered(&self, features: &Frame) -> bool {
        features.child(ns::BIND, "bind").is_some()
    }

    fn start(&mut self, _features: &Frame, _level: &Authenticated, io: &mut Io) -> Result<Progress<Authenticated>, Error> {
        let resource = self.config.resource.clone();
        self.request(resource.as_ref(), io)
    }

    fn element(&mut self, frame: &Frame, _level: &Authenticated, io: &mut Io) -> Result<Progress<Authenticated>, Error> {
        let Some(stanza) = frame.stanza() else {
            return Err(unexpected());
        };
        match reply_before_bind(&stanza, &self.id(), &self.config) {
            BeforeBind::Result => {}
            BeforeBind::Error => {
                let error = stanza_error(&stanza);
                // RFC 6120 §7.7.2.2: the resource is in use and stays so. It was a wish: let the server choose.
                if self.named && error.condition == "conflict" {
                    tracing::debug!("the resource is in use; asking the server for another");
                    return self.request(None, io);
                }
                return Err(ErrorKind::Bind(error).into());
            }
            BeforeBind::Ignore => return Ok(Progress::Wait),
            BeforeBind::Unexpected => return Err(unexpected()),
        }
        let jid = stanza.child(ns::BIND, "bind").and_then(|bind| bind.child(ns::BIND, "jid"));
        let jid = jid.and_then(|jid| FullJid::new(jid.text().trim()).ok());
        match jid {
            // Without an account (ANONYMOUS) our address is what the server says, in its own domain (C9). With one it is that
            // account's: under another address its store and its contacts would be believed to be ours.
            Some(jid)
                if *jid.domain() == *self.config.domain
                    && self.config.account.as_ref().is_none_or(|own| jid.to_bare() == *own) =>
            {
                Ok(Progress::Grant(Entry::Bound(jid)))
            }
            _ => Err(ErrorKind::Protocol(ProtocolError::InvalidBinding).into()),
        }
    }
}

impl Bind {
    pub(in crate::stream) fn new(config: &Arc<CoreConfig>) -> Self {
        Self { config: Arc::clone(config), attempts: 0, named: false }
    }

    /// Nobody but the server can reach a stream without an address, so this id need not be unpredictable.
    fn id(&self) -> String {
        format!("bind-{}", self.attempts)
    }

    fn request(&mut self, resource: Option<&ResourcePart>, io: &mut Io) -> Result<Progress<Authenticated>, Error> {
        self.attempts += 1;
        self.named = resource.is_some();
        let wish = resource.map(|r| format!("<resource>{}</resource>", escape_text(r.as_str()))).unwrap_or_default();
        let request =
            format!("<iq xmlns='jabber:client' type='set' id='{}'><bind xmlns='{}'>{wish}</bind></iq>", self.id(), ns::BIND,);
        io.wire.stanza(&OutStanza::from_xml(&request)?);
        io.wait(self.config.deadlines.bind);
        Ok(Progress::Wait)
    }
}

/// What a stanza means to a request that is out while there is no address yet.
pub(super) enum BeforeBind {
    Result,
    Error,
    /// A reply to nothing that was asked, or from somebody else: as if it had not come (R48).
    Ignore,
    /// No reply at all.
    Unexpected,
}

/// Before there is an address only the server can answer: without `from`, or with its domain (C9).
pub(super) fn reply_before_bind(stanza: &Stanza, id: &str, config: &CoreConfig) -> BeforeBind {
    if stanza.kind() != StanzaKind::Iq {
        return BeforeBind::Unexpected;
    }
    let reply = match stanza.stanza_type().as_deref() {
        Some("result") => BeforeBind::Result,
        Some("error") => BeforeBind::Error,
        _ => return BeforeBind::Unexpected,
    };
    let from_server = match stanza.from() {
        None => true,
        Some(from) => Jid::new(&from).is_ok_and(|from| is_domain(&from, &config.domain)),
    };
    if from_server && stanza.id().as_deref() == Some(id) {
        reply
    } else {
        tracing::debug!("ignoring a reply that answers no request");
        BeforeBind::Ignore
    }
}

fn unexpected() -> Error {
    ErrorKind::Protocol(ProtocolError::Unexpected(Phase::Bind)).into()
}
