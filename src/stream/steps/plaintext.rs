//! Going on without TLS, where the application asked for just that.

use crate::error::{Error, ErrorKind, Phase, ProtocolError};
use crate::stream::io::Io;
use crate::stream::phase::{Plain, PlainGrant};
use crate::stream::step::{Bits, Progress, Step};
use crate::xml::Frame;

/// The configuration asks for a dangerous connection; only this step can say so, and it is only there if it does.
pub(in crate::stream) struct OnPurpose(());

pub(in crate::stream) struct Plaintext;

impl Step<Plain> for Plaintext {
    fn phase(&self) -> Phase {
        Phase::Features
    }

    fn requires(&self) -> Bits {
        Bits::NONE
    }

    fn forbids(&self) -> Bits {
        Bits::ENCRYPTED | Bits::AUTHENTICATED
    }

    fn is_offered(&self, _features: &Frame) -> bool {
        true
    }

    fn start(&mut self, _features: &Frame, _level: &Plain, _io: &mut Io) -> Result<Progress<Plain>, Error> {
        tracing::warn!("going on without TLS, as configured: everything can be read and changed on the way");
        Ok(Progress::Grant(PlainGrant::InTheOpen(OnPurpose(()))))
    }

    fn element(&mut self, _frame: &Frame, _level: &Plain, _io: &mut Io) -> Result<Progress<Plain>, Error> {
        Err(ErrorKind::Protocol(ProtocolError::Unexpected(self.phase())).into())
    }
}
