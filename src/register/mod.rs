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
//! Who is logged in can [change the password](Registers::change_password) and [delete the account](Registers::delete_account).
//!
//! Nothing of this happens outside TLS. The connection is made without naming the account, and where the server accepts the
//! registration the login follows on the same connection.

mod account;
mod service;
#[cfg(test)]
mod tests;
mod wire;

pub use account::{ChangePassword, DeleteAccount};
pub use service::{OpenRegistration, Register, RegistrationForm, RegistrationService};

pub use crate::error::{AccountForm, FieldKind, FormField, FormOption, Media, RegisterError};

use crate::auth::Secret;
use crate::client::Client;

/// What a client's account is made, changed and removed with (XEP-0077).
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

    /// Gives the account another password (XEP-0077 §3.3), in the session that is there. The client logs in with it from
    /// then on, as after [`set_password`](Client::set_password); where the application keeps it, it has to be told.
    ///
    /// ```no_run
    /// # use xmppkit::prelude::*;
    /// # async fn run(client: Client) -> xmppkit::Result<()> {
    /// client.change_password("battery staple").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ErrorKind::Register`](crate::ErrorKind::Register) if the server refuses:
    /// [`NotAcceptable`](RegisterError::NotAcceptable) (too weak, for example), [`NotAllowed`](RegisterError::NotAllowed),
    /// [`NotOffered`](RegisterError::NotOffered), [`TooSoon`](RegisterError::TooSoon), and
    /// [`FormRequired`](RegisterError::FormRequired) with its form if it wants to know more than
    /// [`field`](ChangePassword::field) said; [`ErrorKind::Stanza`](crate::ErrorKind::Stanza) for a refusal that XEP-0077
    /// does not know; [`ErrorKind::NotOnline`](crate::ErrorKind::NotOnline) without a session;
    /// [`ErrorKind::Tls`](crate::ErrorKind::Tls) on a connection without TLS;
    /// [`ErrorKind::ExtensionMissing`](crate::ErrorKind::ExtensionMissing). After
    /// [`ErrorKind::SessionLost`](crate::ErrorKind::SessionLost) and
    /// [`ErrorKind::RequestTimeout`](crate::ErrorKind::RequestTimeout) nobody knows which password holds: the client keeps
    /// the old one.
    fn change_password(&self, new: impl Into<Secret>) -> ChangePassword;

    /// Deletes the account at the server (XEP-0077 §3.2): its contacts lose their subscriptions, and its sessions end. The
    /// client is then stopped, in the state [`Failed`](crate::client::State::Failed) with
    /// [`ErrorKind::AccountDeleted`](crate::ErrorKind::AccountDeleted), and the tokens of messages the server did not
    /// acknowledge fail with [`SendFailure::AccountGone`](crate::store::SendFailure::AccountGone). The request waits for no
    /// message: what must arrive is waited for before, by its [token](crate::client::Sent::wait_for).
    ///
    /// What the store keeps stays; [`Store::delete_account`](crate::store::Store::delete_account) deletes it once the client
    /// is dropped.
    ///
    /// ```no_run
    /// # use xmppkit::prelude::*;
    /// use xmppkit::store::Store;
    ///
    /// # async fn run(client: Client, store: std::sync::Arc<dyn Store>) -> xmppkit::Result<()> {
    /// client.delete_account().await?;
    /// let account = client.account().clone();
    /// drop(client);
    /// store.delete_account(&account).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Some servers end the stream instead of answering. The client then connects again to find out whether the account is
    /// there, and the future resolves when that is known.
    ///
    /// # Errors
    /// As [`change_password`](Self::change_password). After an error the account is there, but for
    /// [`ErrorKind::RequestTimeout`](crate::ErrorKind::RequestTimeout) and
    /// [`ErrorKind::SessionLost`](crate::ErrorKind::SessionLost) of a client that was stopped meanwhile.
    fn delete_account(&self) -> DeleteAccount;
}

impl Registers for Client {
    fn register(&self) -> Register {
        Register::new(self)
    }

    fn registration(&self) -> OpenRegistration {
        OpenRegistration::new(self)
    }

    fn change_password(&self, new: impl Into<Secret>) -> ChangePassword {
        ChangePassword::new(self, new.into())
    }

    fn delete_account(&self) -> DeleteAccount {
        DeleteAccount::new(self)
    }
}
