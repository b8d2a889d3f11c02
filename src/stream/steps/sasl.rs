//! SASL as RFC 6120 §6 has it.

use std::mem;
use std::sync::Arc;

use crate::auth::{self, Facts, Mechanism, MechanismContext, ScramKeys};
use crate::error::{AuthError, Error, ErrorKind, Phase, ProtocolError};
use crate::stream::alphabet::{Answer, Ask, Event};
use crate::stream::config::CoreConfig;
use crate::stream::io::Io;
use crate::stream::phase::Secured;
use crate::stream::step::{Bits, Progress, Step, misfit};
use crate::xml::{Frame, escape_attr, ns};

/// The server accepted the credentials and the mechanism believed it; only this step can have seen both.
pub(in crate::stream) struct Proof(());

/// Between `<auth/>` and its end nothing but `<response/>` and `<abort/>` is sent (R39).
pub(in crate::stream) struct Sasl {
    config: Arc<CoreConfig>,
    features: Option<Frame>,
    state: State,
    /// The keys of an earlier login were refused: from now on only the password counts (R34).
    keys_refused: bool,
}

#[derive(Default)]
enum State {
    #[default]
    Idle,
    /// Random bytes are asked for.
    Chosen(Box<dyn Mechanism>),
    /// It is the server's turn.
    Running(Exchange),
    /// Keys are asked for.
    Deriving(Exchange),
}

struct Exchange {
    mechanism: Box<dyn Mechanism>,
    random: [u8; auth::RANDOM_BYTES],
    /// Whether `<auth/>` is out.
    begun: bool,
}

impl Step<Secured> for Sasl {
    fn phase(&self) -> Phase {
        Phase::Auth
    }

    fn requires(&self) -> Bits {
        // That TLS is up, or not wanted, is what `Secured` says.
        Bits::NONE
    }

    fn forbids(&self) -> Bits {
        Bits::AUTHENTICATED
    }

    fn is_offered(&self, _features: &Frame) -> bool {
        // Where no mechanisms are offered the choice gives the error that says so.
        true
    }

    fn start(&mut self, features: &Frame, level: &Secured, io: &mut Io) -> Result<Progress<Secured>, Error> {
        self.features = Some(features.clone());
        self.choose(level, io)
    }

    fn element(&mut self, frame: &Frame, level: &Secured, io: &mut Io) -> Result<Progress<Secured>, Error> {
        let State::Running(mut exchange) = mem::take(&mut self.state) else {
            return Err(unexpected());
        };
        if frame.is(ns::SASL, "challenge") {
            let data = auth::decode(&frame.root().text()).map_err(|e| give_up(io, e))?;
            let step = {
                let cx = self.context(&exchange);
                exchange.mechanism.challenge(&data, &cx)
            };
            self.turn(step, exchange, io)
        } else if frame.is(ns::SASL, "success") {
            let text = frame.root().text();
            let data = if text.is_empty() { None } else { Some(auth::decode(&text).map_err(refused)?) };
            let success = exchange.mechanism.success(data.as_deref()).map_err(refused)?;
            io.event(Event::Authenticated { mechanism: exchange.mechanism.name().to_owned(), success });
            Ok(Progress::Grant(Proof(())))
        } else if frame.is(ns::SASL, "failure") {
            self.failure(frame, &exchange, level, io)
        } else {
            Err(unexpected())
        }
    }

    fn answer(&mut self, answer: Answer, _level: &Secured, io: &mut Io) -> Result<Progress<Secured>, Error> {
        match (mem::take(&mut self.state), answer) {
            (State::Chosen(mechanism), Answer::Random(random)) => {
                let random = random.try_into().map_err(|_| misfit())?;
                let mut exchange = Exchange { mechanism, random, begun: false };
                let step = {
                    let cx = self.context(&exchange);
                    exchange.mechanism.start(&cx)
                };
                self.turn(step, exchange, io)
            }
            (State::Deriving(mut exchange), Answer::Keys(keys)) => {
                let step = {
                    let cx = self.context(&exchange);
                    exchange.mechanism.key(keys, &cx)
                };
                self.turn(step, exchange, io)
            }
            _ => Err(misfit()),
        }
    }
}

impl Sasl {
    pub(in crate::stream) fn new(config: &Arc<CoreConfig>) -> Self {
        Self { config: Arc::clone(config), features: None, state: State::Idle, keys_refused: false }
    }

    /// Chooses a mechanism and asks for its random bytes.
    fn choose(&mut self, level: &Secured, io: &mut Io) -> Result<Progress<Secured>, Error> {
        let Some(features) = &self.features else { return Err(unexpected()) };
        let mechanisms: Vec<String> = features
            .child(ns::SASL, "mechanisms")
            .map(|list| {
                let names = list.children().filter(|m| m.is(ns::SASL, "mechanism"));
                names.map(|m| m.text().into_owned()).collect()
            })
            .unwrap_or_default();
        let types: Option<Vec<String>> = features.child(ns::SASL_CB, "sasl-channel-binding").map(|list| {
            let types = list.children().filter(|t| t.is(ns::SASL_CB, "channel-binding"));
            types.filter_map(|t| t.attr("type").map(|name| name.into_owned())).collect()
        });
        let wants_tls = features.child(ns::TLS, "starttls").is_some_and(|tls| tls.child(ns::TLS, "required").is_some());
        if mechanisms.is_empty() && wants_tls && !level.is_encrypted() {
            return Err(refused(AuthError::EncryptionRequired));
        }

        let facts = Facts::new(&mechanisms)
            .binding_types(types.as_deref())
            .tls(level.is_encrypted())
            .bindings(level.bindings())
            .pin(self.config.pin.clone());
        let mechanism =
            auth::select(&facts, &self.config.policy, &self.config.credentials, &self.config.mechanisms).map_err(refused)?;
        tracing::debug!(mechanism = mechanism.name(), "authenticating");
        io.ask(Ask::Random(auth::RANDOM_BYTES));
        self.state = State::Chosen(mechanism);
        Ok(Progress::Wait)
    }

    fn context(&self, exchange: &Exchange) -> MechanismContext<'_> {
        MechanismContext::new(exchange.random).cached_keys(self.cached_keys())
    }

    fn cached_keys(&self) -> Option<&ScramKeys> {
        self.config.cached_keys.as_ref().filter(|_| !self.keys_refused)
    }

    /// Does what the mechanism says.
    fn turn(&mut self, step: auth::Step, mut exchange: Exchange, io: &mut Io) -> Result<Progress<Secured>, Error> {
        let first = !mem::replace(&mut exchange.begun, true);
        match step {
            auth::Step::Send(data) if first => {
                begin(io, exchange.mechanism.name(), &auth::encode(&data));
            }
            auth::Step::ServerFirst if first => {
                begin(io, exchange.mechanism.name(), "");
            }
            auth::Step::Send(data) => {
                let text = if data.is_empty() { String::new() } else { auth::encode(&data) };
                respond(io, &text);
            }
            auth::Step::Done { .. } if !first => respond(io, ""),
            auth::Step::NeedKey(request) => {
                exchange.begun = !first;
                io.ask(Ask::DeriveKeys(request));
                self.state = State::Deriving(exchange);
                return Ok(Progress::Wait);
            }
            auth::Step::Fail(error) if first => return Err(refused(error)),
            auth::Step::Fail(error) => return Err(give_up(io, error)),
            // A mechanism that is done, or waits for the server, at the wrong end of the exchange.
            auth::Step::Done { .. } | auth::Step::ServerFirst => return Err(refused(AuthError::Malformed)),
        }
        io.wait(self.config.deadlines.auth);
        self.state = State::Running(exchange);
        Ok(Progress::Wait)
    }

    /// The server refused (RFC 6120 §6.5).
    fn failure(&mut self, frame: &Frame, exchange: &Exchange, level: &Secured, io: &mut Io) -> Result<Progress<Secured>, Error> {
        let condition = frame.children().find(|c| c.ns() == ns::SASL && c.name() != "text");
        let error = auth::refusal(condition.map_or("", |c| c.name()));
        if error == AuthError::NotAuthorized && exchange.mechanism.used_cached_keys() {
            // RFC 6120 §6.4.5: a server allows a further attempt on the same stream.
            self.keys_refused = true;
            io.event(Event::KeysRefused);
            return self.choose(level, io);
        }
        let text = frame.child(ns::SASL, "text").map(|t| t.text().trim().to_owned()).filter(|t| !t.is_empty());
        let error = refused(error);
        Err(match text {
            Some(text) => error.with_context(text),
            None => error,
        })
    }
}

fn begin(io: &mut Io, mechanism: &str, data: &str) {
    let mechanism = escape_attr(mechanism);
    io.wire.element(&format!("<auth xmlns='{}' mechanism='{mechanism}'>{data}</auth>", ns::SASL));
}

fn respond(io: &mut Io, data: &str) {
    io.wire.element(&format!("<response xmlns='{}'>{data}</response>", ns::SASL));
}

/// Aborts an exchange that cannot be believed (RFC 6120 §6.4.4). The server's `<failure><aborted/></failure>` is not waited
/// for: the stream is over.
fn give_up(io: &mut Io, error: AuthError) -> Error {
    io.wire.element("<abort xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    refused(error)
}

fn refused(error: AuthError) -> Error {
    ErrorKind::Auth(error).into()
}

fn unexpected() -> Error {
    ErrorKind::Protocol(ProtocolError::Unexpected(Phase::Auth)).into()
}
