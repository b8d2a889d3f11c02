//! IQs before authentication, led by the application: account registration (XEP-0077, R47).

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Phase, ProtocolError};
use crate::stream::alphabet::{Answer, Ask, BeforeAuth};
use crate::stream::config::CoreConfig;
use crate::stream::io::Io;
use crate::stream::phase::Secured;
use crate::stream::step::{Bits, Progress, Step, misfit};
use crate::xml::{Frame, StanzaKind};

use super::bind::{BeforeBind, reply_before_bind};

pub(in crate::stream) struct BeforeAuthStep {
    config: Arc<CoreConfig>,
    /// The id of the request that is out.
    waiting: Option<String>,
}

impl BeforeAuthStep {
    pub(in crate::stream) fn new(config: &Arc<CoreConfig>) -> Self {
        Self { config: Arc::clone(config), waiting: None }
    }

    fn ask(&self, question: BeforeAuth, io: &mut Io) -> Result<Progress<Secured>, Error> {
        io.ask(Ask::BeforeAuth(question));
        io.wait(self.config.deadlines.register_answer);
        Ok(Progress::Wait)
    }
}

impl Step<Secured> for BeforeAuthStep {
    fn phase(&self) -> Phase {
        Phase::Register
    }

    fn requires(&self) -> Bits {
        Bits::ENCRYPTED
    }

    fn forbids(&self) -> Bits {
        Bits::BEFORE_AUTH_DONE | Bits::AUTHENTICATED
    }

    fn achieves(&self) -> Bits {
        Bits::BEFORE_AUTH_DONE
    }

    fn is_offered(&self, _features: &Frame) -> bool {
        // Servers may register accounts without announcing it (XEP-0077 §8).
        true
    }

    fn start(&mut self, features: &Frame, _level: &Secured, io: &mut Io) -> Result<Progress<Secured>, Error> {
        self.ask(BeforeAuth::Ready { features: features.clone() }, io)
    }

    fn element(&mut self, frame: &Frame, _level: &Secured, io: &mut Io) -> Result<Progress<Secured>, Error> {
        let (Some(id), Some(stanza)) = (self.waiting.take(), frame.stanza()) else {
            return Err(unexpected());
        };
        match reply_before_bind(&stanza, &id, &self.config) {
            BeforeBind::Result | BeforeBind::Error => self.ask(BeforeAuth::Reply { stanza }, io),
            BeforeBind::Ignore => {
                self.waiting = Some(id);
                Ok(Progress::Wait)
            }
            BeforeBind::Unexpected => Err(unexpected()),
        }
    }

    fn answer(&mut self, answer: Answer, _level: &Secured, io: &mut Io) -> Result<Progress<Secured>, Error> {
        match answer {
            Answer::Iq(stanza) => {
                if stanza.kind() != StanzaKind::Iq || !matches!(stanza.stanza_type(), Some("get" | "set")) {
                    return Err(misfit());
                }
                let Some(id) = stanza.id() else { return Err(misfit()) };
                self.waiting = Some(id.to_owned());
                io.wire.stanza(&stanza);
                io.wait(self.config.deadlines.register);
                Ok(Progress::Wait)
            }
            Answer::Authenticate => Ok(Progress::Done),
            Answer::Abort => Ok(Progress::Close),
            _ => Err(misfit()),
        }
    }
}

fn unexpected() -> Error {
    ErrorKind::Protocol(ProtocolError::Unexpected(Phase::Register)).into()
}
