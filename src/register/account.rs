//! What the owner of an account does with it in a session (XEP-0077 §3.2, §3.3).

use std::fmt;
use std::future::IntoFuture;

use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use minidom::Element;

use super::service::{RegistrationService, explain};
use super::wire::{self, Answers, Way};
use crate::auth::Secret;
use crate::client::{Client, State, door};
use crate::error::{AuthError, Error, ErrorKind, RegisterError, Result, TlsError};

/// Gives the account another password when it is awaited; see [`Registers::change_password`](super::Registers::change_password).
#[must_use = "nothing is sent until it is awaited"]
pub struct ChangePassword {
    client: Client,
    new: Secret,
    answers: Answers,
}

impl ChangePassword {
    pub(super) fn new(client: &Client, new: Secret) -> Self {
        Self { client: client.clone(), new, answers: Answers::new() }
    }

    /// What to fill into the field of this name, if the server answers with a form. User name, old and new password are
    /// filled in already.
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.answers.entry(name.into()).or_default().push(value.into());
        self
    }

    async fn run(self) -> Result<()> {
        let Self { client, new, mut answers } = self;
        if new.expose().is_empty() {
            // A server keeps the old one then (XEP-0077 §3.3), and says that it was changed.
            return Err(ErrorKind::Register(RegisterError::NotAcceptable("the new password is empty".to_owned())).into());
        }
        let (name, old) = owner(&client)?;
        answers.insert("username".to_owned(), vec![name]);
        answers.extend(old.map(|old| ("old_password".to_owned(), vec![old])));
        answers.insert("password".to_owned(), vec![new.expose().to_owned()]);
        let simple: Vec<_> = ["username", "password"].iter().map(|name| (*name, answers[*name].as_slice())).collect();
        ask(&client, wire::query(Way::Legacy, &simple)?, &answers, &["password"]).await?;
        client.set_password(new);
        Ok(())
    }
}

impl IntoFuture for ChangePassword {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for ChangePassword {
    /// Names the fields; what is filled in is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChangePassword")
            .field("account", self.client.account())
            .field("fields", &self.answers.keys())
            .finish_non_exhaustive()
    }
}

/// Deletes the account when it is awaited; see [`Registers::delete_account`](super::Registers::delete_account).
#[must_use = "nothing is sent until it is awaited"]
pub struct DeleteAccount {
    client: Client,
    answers: Answers,
}

impl DeleteAccount {
    pub(super) fn new(client: &Client) -> Self {
        Self { client: client.clone(), answers: Answers::new() }
    }

    /// What to fill into the field of this name, if the server answers with a form. User name and password are filled in
    /// already.
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.answers.entry(name.into()).or_default().push(value.into());
        self
    }

    async fn run(self) -> Result<()> {
        let Self { client, mut answers } = self;
        let (name, password) = owner(&client)?;
        answers.insert("username".to_owned(), vec![name]);
        answers.extend(password.map(|password| ("password".to_owned(), vec![password])));
        // Watched from before the request on: which session the answer got lost in is then known.
        let states = client.states();
        if let Err(error) = ask(&client, wire::remove()?, &answers, &[]).await {
            let lost = matches!(error.kind(), ErrorKind::SessionLost { sent: true });
            if !lost || !is_gone(states).await {
                return Err(error);
            }
        }
        client.fail(ErrorKind::AccountDeleted.into()).await;
        Ok(())
    }
}

impl IntoFuture for DeleteAccount {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for DeleteAccount {
    /// Names the fields; what is filled in is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeleteAccount")
            .field("account", self.client.account())
            .field("fields", &self.answers.keys())
            .finish_non_exhaustive()
    }
}

/// The account's name and password, of a client that may speak of them: one inside TLS (R47).
fn owner(client: &Client) -> Result<(String, Option<String>)> {
    if client.ext::<RegistrationService>().is_none() {
        return Err(ErrorKind::ExtensionMissing("RegistrationService").into());
    }
    if client.jid().is_none() {
        return Err(ErrorKind::NotOnline.into());
    }
    if client.connection_info().is_none_or(|connection| connection.tls.is_none()) {
        return Err(ErrorKind::Tls(TlsError::NotOffered).into());
    }
    let credentials = door::credentials(client);
    Ok((credentials.username().to_owned(), credentials.password().map(|password| password.expose().to_owned())))
}

/// One request of the account's owner; a form that comes instead of a result is filled in and sent.
async fn ask(client: &Client, query: Element, answers: &Answers, needed: &[&str]) -> Result<()> {
    let reply = client.iq_set(None, &query).any_reply().await?;
    let Some(error) = reply.error() else { return Ok(()) };
    let Some(form) = wire::form_in_error(reply.stanza())? else { return Err(refused(error)) };
    let query = wire::query(Way::Form, &wire::fill_in(&form, answers, needed)?)?;
    let reply = client.iq_set(None, &query).any_reply().await?;
    reply.error().map_or(Ok(()), |error| Err(refused(error)))
}

/// As a refusal of a registration, but that `not-authorized` is said of the connection (XEP-0077 §3.3).
fn refused(error: crate::error::StanzaError) -> Error {
    match error.condition.as_str() {
        "not-authorized" => {
            let refused = Error::new(ErrorKind::Register(RegisterError::NotAllowed));
            match error.text {
                Some(text) => refused.with_context(text),
                None => refused,
            }
        }
        _ => explain(error),
    }
}

/// Whether an account whose session ended before the answer came is gone: the server says so when it ends the stream, or
/// when the client logs in again.
async fn is_gone(states: impl Stream<Item = State> + Unpin) -> bool {
    let mut later = states.skip_while(|state| std::future::ready(state.is_online()));
    while let Some(state) = later.next().await {
        match state {
            State::Failed(error) => return is_refused(&error),
            State::Online { .. } | State::Offline { .. } | State::Closed => return false,
            _ => {}
        }
    }
    false
}

fn is_refused(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::Auth(AuthError::NotAuthorized) => true,
        ErrorKind::Stream(error) => error.condition == "not-authorized",
        _ => false,
    }
}
