//! STARTTLS (RFC 6120 §5).

use std::sync::Arc;

use crate::error::{Error, ErrorKind, Phase, ProtocolError, TlsError};
use crate::stream::config::CoreConfig;
use crate::stream::io::Io;
use crate::stream::phase::{Plain, PlainGrant};
use crate::stream::step::{Bits, Progress, Step};
use crate::xml::{Frame, ns};

/// The server said `<proceed/>`; only this step can have heard it.
pub(in crate::stream) struct Proceed(());

pub(in crate::stream) struct StartTls {
    config: Arc<CoreConfig>,
}

impl StartTls {
    pub(in crate::stream) fn new(config: &Arc<CoreConfig>) -> Self {
        Self { config: Arc::clone(config) }
    }
}

impl Step<Plain> for StartTls {
    fn phase(&self) -> Phase {
        Phase::StartTls
    }

    fn requires(&self) -> Bits {
        Bits::NONE
    }

    fn forbids(&self) -> Bits {
        Bits::ENCRYPTED | Bits::AUTHENTICATED
    }

    fn is_offered(&self, features: &Frame) -> bool {
        features.child(ns::TLS, "starttls").is_some()
    }

    fn start(&mut self, _features: &Frame, _level: &Plain, io: &mut Io) -> Result<Progress<Plain>, Error> {
        io.wire.element("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>");
        io.wait(self.config.deadlines.start_tls);
        Ok(Progress::Wait)
    }

    fn element(&mut self, frame: &Frame, _level: &Plain, _io: &mut Io) -> Result<Progress<Plain>, Error> {
        if frame.is(ns::TLS, "proceed") {
            Ok(Progress::Grant(PlainGrant::Tls(Proceed(()))))
        } else if frame.is(ns::TLS, "failure") {
            Err(ErrorKind::Tls(TlsError::StartTlsRefused).into())
        } else {
            Err(ErrorKind::Protocol(ProtocolError::Unexpected(Phase::StartTls)).into())
        }
    }
}
