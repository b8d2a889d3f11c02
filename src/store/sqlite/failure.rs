//! What can go wrong inside, before it is an error of the library: so that no type of SQLite's binding is public (D15).

use std::io;
use std::path::Path;

use crate::error::{Error, ErrorKind};

pub(super) type Outcome<T> = Result<T, Failure>;

#[derive(Debug)]
pub(super) enum Failure {
    /// SQLite failed.
    Sqlite(rusqlite::Error),
    /// The operating system failed at this.
    Io(String, io::Error),
    /// We refuse, for this reason.
    Refused(String),
    /// A newer release wrote it, as this says.
    TooNew(String),
    /// An error that says everything.
    Whole(Error),
}

impl Failure {
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self::Refused(why.into())
    }

    /// The error, with the file it is about.
    pub(super) fn at(self, path: &Path) -> Error {
        let path = path.display();
        match self {
            Self::Sqlite(error) => Error::new(ErrorKind::Store).with_context(path.to_string()).with_source(error),
            Self::Io(what, error) => Error::new(ErrorKind::Store).with_context(format!("{path}: {what}")).with_source(error),
            Self::Refused(why) => Error::new(ErrorKind::Store).with_context(format!("{path}: {why}")),
            Self::TooNew(why) => Error::new(ErrorKind::StoreTooNew).with_context(format!("{path}: {why}")),
            Self::Whole(error) => error,
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Whole(error)
    }
}

impl From<ErrorKind> for Failure {
    fn from(kind: ErrorKind) -> Self {
        Self::Whole(kind.into())
    }
}
