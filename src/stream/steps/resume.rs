//! Resuming a session instead of binding a resource (XEP-0198 §5).

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Phase, ProtocolError};
use crate::stream::config::CoreConfig;
use crate::stream::io::Io;
use crate::stream::management::read_h;
use crate::stream::phase::{Authenticated, Entry};
use crate::stream::step::{Bits, Progress, Step};
use crate::xml::{Frame, ns};

/// Asks for the session that is kept in [`Io::resume`]. If the server refuses, the session is lost, and binding follows on the
/// same stream.
pub(in crate::stream) struct Resume {
    config: Arc<CoreConfig>,
}

impl Resume {
    pub(in crate::stream) fn new(config: &Arc<CoreConfig>) -> Self {
        Self { config: Arc::clone(config) }
    }
}

impl Step<Authenticated> for Resume {
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
        features.child(ns::SM, "sm").is_some() || features.child(ns::SM2, "sm").is_some()
    }

    fn start(&mut self, features: &Frame, _level: &Authenticated, io: &mut Io) -> Result<Progress<Authenticated>, Error> {
        let Some(suspended) = &mut io.resume else { return Ok(Progress::Done) };
        if features.child(suspended.resumption.namespace, "sm").is_none() {
            io.lose_session(None);
            return Ok(Progress::Done);
        }
        let request = suspended.request();
        io.wire.element(&request);
        io.wait(self.config.deadlines.bind);
        Ok(Progress::Wait)
    }

    fn element(&mut self, frame: &Frame, _level: &Authenticated, io: &mut Io) -> Result<Progress<Authenticated>, Error> {
        let unexpected = || Err(ErrorKind::Protocol(ProtocolError::Unexpected(Phase::Bind)).into());
        let Some(suspended) = &io.resume else { return unexpected() };
        let namespace = suspended.resumption.namespace;
        if frame.is(namespace, "failed") {
            io.lose_session(read_h(frame));
            return Ok(Progress::Done);
        }
        let same = frame.attr("previd").is_none_or(|id| *id == suspended.resumption.id);
        let (true, true, Some(h)) = (frame.is(namespace, "resumed"), same, read_h(frame)) else { return unexpected() };
        match io.resume.take() {
            Some(suspended) => Ok(Progress::Grant(Entry::Resumed { suspended, h })),
            None => unexpected(),
        }
    }
}
