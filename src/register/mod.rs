//! Accounts made in band (XEP-0077): before there is anything to log in to.
//!
//! A [`Client`] is built for the account that is to be, with the password it is to have. [`Registers::register`] then takes
//! the place of [`connect`](Client::connect), once:
//!
//! ```no_run
//! use xmppkit::error::{ErrorKind, RegisterError};
//! use xmppkit::prelude::*;
//!
//! # async fn run() -> xmppkit::Result<()> {
//! let client = Client::builder("romeo@example.org".parse()?).password("correct horse").build().await?;
//! match client.register().field("email", "romeo@example.net").await {
//!     Ok(()) => println!("registered, and online as {:?}", client.jid()),
//!     Err(error) => match error.kind() {
//!         ErrorKind::Register(RegisterError::Conflict) => println!("that name is taken"),
//!         ErrorKind::Register(RegisterError::OutOfBand(url)) => println!("see {url}"),
//!         _ => return Err(error),
//!     },
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Where people are to fill in the server's form, [`Registers::registration`] gets it first:
//!
//! ```no_run
//! # use xmppkit::prelude::*;
//! # fn ask(_: &xmppkit::register::FormField) -> String { String::new() }
//! # async fn run(client: Client) -> xmppkit::Result<()> {
//! let mut form = client.registration().await?;
//! println!("{}", form.form().instructions);
//! let missing: Vec<_> = form.missing().cloned().collect();
//! for field in missing {
//!     form = form.field(&field.name, ask(&field));
//! }
//! form.submit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Nothing of this happens outside TLS. The connection is made without naming the account, and where the server accepts the
//! registration the login follows on the same connection.

mod service;
#[cfg(test)]
mod tests;
mod wire;

pub use service::{OpenRegistration, Register, RegistrationForm, RegistrationService};

pub use crate::error::{AccountForm, FieldKind, FormField, FormOption, Media, RegisterError};

use crate::client::Client;

/// Registration of a client's account.
pub trait Registers {
    /// Makes the account with the client's user name and password, and logs in; resolves when the client is online, and keeps
    /// it so as [`connect`](Client::connect) does.
    ///
    /// [`field`](Register::field) fills in what the server may ask for beside name and password.
    ///
    /// # Errors
    /// [`ErrorKind::Register`](crate::ErrorKind::Register) with the reason, if there is no account now;
    /// [`ErrorKind::AlreadyRunning`](crate::ErrorKind::AlreadyRunning) unless the client is stopped;
    /// [`ErrorKind::Stanza`](crate::ErrorKind::Stanza) for a refusal that XEP-0077 does not know;
    /// [`ErrorKind::ExtensionMissing`](crate::ErrorKind::ExtensionMissing) in a client built without [`RegistrationService`]; and the
    /// errors of [`connect`](Client::connect). One that concerns authentication or what comes after it means that the account
    /// was made: it can be connected to.
    fn register(&self) -> Register;

    /// Gets the server's form; nothing is registered before it is [submitted](RegistrationForm::submit).
    ///
    /// # Errors
    /// As [`register`](Self::register). A server that takes only what people have answered is no error here.
    fn registration(&self) -> OpenRegistration;
}

impl Registers for Client {
    fn register(&self) -> Register {
        Register::new(self)
    }

    fn registration(&self) -> OpenRegistration {
        OpenRegistration::new(self)
    }
}
