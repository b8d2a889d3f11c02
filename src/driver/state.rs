//! The connection state, as applications see it (D16).

use std::time::Instant;

use crate::error::Error;

/// Where the connection stands. It says what is so: online means a session is there and initial presence is sent.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum State {
    /// Not started, or stopped after a `connect` that gave up (`last` says why).
    #[non_exhaustive]
    Offline {
        /// The error of the last attempt, if there was one.
        last: Option<Error>,
    },
    /// Connecting or logging in.
    #[non_exhaustive]
    Connecting {
        /// Which attempt this is since the last session, from 1.
        attempt: u32,
    },
    /// A session is there.
    #[non_exhaustive]
    Online {
        /// Whether it is the session from before the last cut (XEP-0198).
        resumed: bool,
    },
    /// The connection is cut, and the session can be resumed until then.
    #[non_exhaustive]
    Suspended {
        /// When the server gives the session up.
        until: Instant,
    },
    /// The next attempt comes then.
    #[non_exhaustive]
    Waiting {
        /// When.
        until: Instant,
        /// Why the last connection or attempt ended.
        cause: Error,
    },
    /// Stopped: trying again cannot help until something is changed.
    Failed(Error),
    /// Closed, as asked for.
    Closed,
}

impl State {
    /// Whether a session is there.
    #[must_use]
    pub fn is_online(&self) -> bool {
        matches!(self, Self::Online { .. })
    }

    /// Whether nothing is being done to get or keep a connection, and nothing will be until it is asked for.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        matches!(self, Self::Offline { .. } | Self::Failed(_) | Self::Closed)
    }

    /// Why the client is not online, where there is a reason.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match self {
            Self::Offline { last } => last.as_ref(),
            Self::Waiting { cause, .. } | Self::Failed(cause) => Some(cause),
            Self::Connecting { .. } | Self::Online { .. } | Self::Suspended { .. } | Self::Closed => None,
        }
    }
}
