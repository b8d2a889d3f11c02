//! Negotiation steps as values with preconditions (D33), and the loop that runs them.

use std::ops::BitOr;

use super::alphabet::Answer;
use super::io::Io;
use super::phase::Level;
use super::wire::{Item, Opened};
use crate::error::{Error, ErrorKind, Phase, ProtocolError};
use crate::xml::{Frame, ns};

/// What a stream has achieved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bits(u8);

impl Bits {
    pub(super) const NONE: Self = Self(0);
    /// Nobody on the way can read or change what passes.
    pub(super) const ENCRYPTED: Self = Self(1);
    /// The phase before authentication is over.
    pub(super) const BEFORE_AUTH_DONE: Self = Self(2);
    pub(super) const AUTHENTICATED: Self = Self(4);

    pub(super) fn contains(self, all: Self) -> bool {
        self.0 & all.0 == all.0
    }

    pub(super) fn intersects(self, any: Self) -> bool {
        self.0 & any.0 != 0
    }
}

impl BitOr for Bits {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One feature to negotiate, within the phase `L`. A step runs at most once per phase.
pub(super) trait Step<L: Level>: Send {
    /// Where the stream stands while this step runs, for deadlines and errors.
    fn phase(&self) -> Phase;

    /// What the stream must have achieved.
    fn requires(&self) -> Bits;

    /// What the stream must not have achieved.
    fn forbids(&self) -> Bits;

    /// What this step achieves without ending the phase.
    fn achieves(&self) -> Bits {
        Bits::NONE
    }

    /// Whether these features let it run.
    fn is_offered(&self, features: &Frame) -> bool;

    /// Begins.
    fn start(&mut self, features: &Frame, level: &L, io: &mut Io) -> Result<Progress<L>, Error>;

    /// Takes an element the server sent; stream errors and features never come here.
    fn element(&mut self, frame: &Frame, level: &L, io: &mut Io) -> Result<Progress<L>, Error>;

    /// Takes the answer to the question that this step asked.
    fn answer(&mut self, answer: Answer, level: &L, io: &mut Io) -> Result<Progress<L>, Error> {
        let _ = (answer, level, io);
        Err(misfit())
    }
}

/// How far a step is.
pub(super) enum Progress<L: Level> {
    /// It waits for the server or the driver.
    Wait,
    /// It is done; the same features are looked at again for the next step.
    Done,
    /// It is done, and so is the phase.
    Grant(L::Grant),
    /// The application gives up: the stream is to be closed.
    Close,
}

/// What the driver answered is no answer to what was asked.
pub(super) fn misfit() -> Error {
    Error::from(ErrorKind::Other).with_context("the answer given to the protocol core does not fit its question")
}

/// One phase being negotiated: waiting for the header, for the features, or for a step.
pub(super) struct Negotiation<L: Level> {
    level: L,
    steps: Vec<Box<dyn Step<L>>>,
    achieved: Bits,
    at: At<L>,
}

enum At<L: Level> {
    Header,
    Features,
    Step { step: Box<dyn Step<L>>, features: Frame },
}

/// What came of one thing that happened.
pub(super) enum Flow<L: Level> {
    Stay(Negotiation<L>),
    /// The phase is over.
    Next(L, L::Grant, Frame),
    /// The application gives up.
    Close(Negotiation<L>),
}

impl<L: Level> Negotiation<L> {
    /// A phase that begins with a new stream; our header was sent.
    pub(super) fn opened(level: L, io: &Io) -> Self {
        Self::new(level, io)
    }

    /// A phase that begins on the stream as it stands, with the features that are known already.
    pub(super) fn continued(level: L, features: Frame, io: &mut Io) -> Result<Flow<L>, Error> {
        Self::new(level, io).choose(features, io)
    }

    fn new(level: L, io: &Io) -> Self {
        let steps = io.login.as_ref().map(|config| level.steps(config)).unwrap_or_default();
        let achieved = level.bits();
        Self { level, steps, achieved, at: At::Header }
    }

    #[cfg(test)]
    pub(super) fn with_steps(level: L, steps: Vec<Box<dyn Step<L>>>) -> Self {
        let achieved = level.bits();
        Self { level, steps, achieved, at: At::Header }
    }

    pub(super) fn phase(&self) -> Phase {
        match &self.at {
            At::Header => Phase::Header,
            At::Features => Phase::Features,
            At::Step { step, .. } => step.phase(),
        }
    }

    /// Takes what the server sent. Stream errors and the end of the stream are the caller's.
    pub(super) fn item(mut self, item: Item, io: &mut Io) -> Result<Flow<L>, Error> {
        match (self.at, item) {
            (At::Header, Item::Opened(opened)) => {
                check_version(&opened)?;
                if let Some(config) = io.login.clone() {
                    io.wait(config.deadlines.features);
                }
                self.at = At::Features;
                Ok(Flow::Stay(self))
            }
            (At::Features, Item::Element(frame)) if frame.is(ns::STREAM, "features") => {
                self.at = At::Features;
                self.choose(frame, io)
            }
            (At::Step { mut step, features }, Item::Element(frame)) if !frame.is(ns::STREAM, "features") => {
                let progress = step.element(&frame, &self.level, io)?;
                self.at = At::Header;
                self.progress(progress, step, features, io)
            }
            (at, _) => {
                self.at = at;
                Err(ErrorKind::Protocol(ProtocolError::Unexpected(self.phase())).into())
            }
        }
    }

    /// Takes the driver's answer to the question of the step that runs.
    pub(super) fn answer(mut self, answer: Answer, io: &mut Io) -> Result<Flow<L>, Error> {
        match self.at {
            At::Step { mut step, features } => {
                let progress = step.answer(answer, &self.level, io)?;
                self.at = At::Header;
                self.progress(progress, step, features, io)
            }
            At::Header | At::Features => Err(misfit()),
        }
    }

    /// Starts the first step whose preconditions hold and that the features offer.
    fn choose(mut self, features: Frame, io: &mut Io) -> Result<Flow<L>, Error> {
        let index = self.steps.iter().position(|step| {
            self.achieved.contains(step.requires()) && !self.achieved.intersects(step.forbids()) && step.is_offered(&features)
        });
        let Some(index) = index else {
            return Err(self.level.exhausted());
        };
        let mut step = self.steps.remove(index);
        let progress = step.start(&features, &self.level, io)?;
        self.progress(progress, step, features, io)
    }

    fn progress(mut self, progress: Progress<L>, step: Box<dyn Step<L>>, features: Frame, io: &mut Io) -> Result<Flow<L>, Error> {
        match progress {
            Progress::Wait => {
                self.at = At::Step { step, features };
                Ok(Flow::Stay(self))
            }
            Progress::Done => {
                self.achieved = self.achieved | step.achieves();
                self.choose(features, io)
            }
            Progress::Grant(grant) => Ok(Flow::Next(self.level, grant, features)),
            Progress::Close => Ok(Flow::Close(self)),
        }
    }
}

/// RFC 6120 §4.7.5: no version means 0.9, which has no features; a higher major version is the server's offer to speak ours.
fn check_version(opened: &Opened) -> Result<(), Error> {
    let major = opened.version.as_deref().and_then(|v| v.split('.').next()?.trim().parse::<u32>().ok());
    match major {
        Some(1..) => Ok(()),
        _ => Err(ErrorKind::Protocol(ProtocolError::UnsupportedVersion).into()),
    }
}
