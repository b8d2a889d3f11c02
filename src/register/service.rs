//! What happens between TLS and authentication when an account is registered (R46, R47).

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::channel::oneshot;
use futures::future::{BoxFuture, Either, select};

use super::wire::{self, Answers, Offer};
use crate::client::Client;
use crate::client::door::{self, BeforeAuth};
use crate::error::{AccountForm, Error, ErrorKind, FormField, RegisterError, Result, StanzaError, StanzaErrorType};
use crate::ext::{Extension, Registrar};
use crate::xml::Stanza;

/// Account registration (XEP-0077): the extension behind [`Registers`](super::Registers). Every client has it; a client built
/// [`without`](crate::client::ClientBuilder::without) it makes no accounts.
#[derive(Debug, Default)]
pub struct RegistrationService(());

impl RegistrationService {
    /// The extension.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Extension for RegistrationService {
    fn register(&self, _reg: &mut Registrar<'_>) {}

    fn registers_alike(&self) -> bool {
        true
    }
}

/// Makes the account and logs in, when it is awaited; see [`Registers::register`](super::Registers::register).
///
/// Dropping the future does not stop the client, as with [`connect`](Client::connect).
#[must_use = "nothing happens until it is awaited"]
pub struct Register {
    client: Client,
    answers: Answers,
}

impl Register {
    pub(super) fn new(client: &Client) -> Self {
        Self { client: client.clone(), answers: Answers::new() }
    }

    /// What to fill into the field of this name, if the server asks for it: `email`, for example. Several values for one name
    /// are several values of the field. User name and password are filled in already.
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        add(&mut self.answers, name.into(), value.into());
        self
    }

    async fn run(self) -> Result<()> {
        let Applicant { domain, answers } = Applicant::new(&self.client, self.answers)?;
        let open = Open::default();
        let is_open = open.clone();
        let procedure = move |mut door: BeforeAuth| async move {
            is_open.set(true);
            let offer = ask(&mut door, &domain).await?;
            submit(&mut door, &domain, &offer, &answers).await?;
            is_open.set(false);
            Ok(())
        };
        door::connect_with(&self.client, procedure).await.map_err(|error| open.explain(error))
    }
}

impl IntoFuture for Register {
    type Output = Result<()>;
    type IntoFuture = BoxFuture<'static, Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for Register {
    /// Names the fields; what is filled in is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Register")
            .field("account", self.client.account())
            .field("fields", &self.answers.keys())
            .finish_non_exhaustive()
    }
}

/// Gets the server's form, when it is awaited; see [`Registers::registration`](super::Registers::registration).
#[must_use = "nothing happens until it is awaited"]
pub struct OpenRegistration {
    client: Client,
}

impl OpenRegistration {
    pub(super) fn new(client: &Client) -> Self {
        Self { client: client.clone() }
    }

    async fn run(self) -> Result<RegistrationForm> {
        let Applicant { domain, answers } = Applicant::new(&self.client, Answers::new())?;
        let (offer_sender, offer_receiver) = oneshot::channel();
        let (answers_sender, answers_receiver) = oneshot::channel();
        let open = Open::default();
        let is_open = open.clone();
        let procedure = move |mut door: BeforeAuth| async move {
            is_open.set(true);
            let abandoned = || ErrorKind::Register(RegisterError::Abandoned);
            let offer = Arc::new(ask(&mut door, &domain).await?);
            offer_sender.send(Arc::clone(&offer)).map_err(|_| abandoned())?;
            let answers: Answers = answers_receiver.await.map_err(|_| abandoned())?;
            submit(&mut door, &domain, &offer, &answers).await?;
            is_open.set(false);
            Ok(())
        };
        let client = self.client;
        let connect: BoxFuture<'static, Result<()>> = Box::pin(async move { door::connect_with(&client, procedure).await });
        let (offer, connect) = match select(offer_receiver, connect).await {
            Either::Left((Ok(offer), connect)) => (offer, connect),
            // The procedure ended before there was a form, and the connection ends with it.
            Either::Left((Err(_), connect)) => return Err(without_form(&open, connect.await)),
            Either::Right((result, _)) => return Err(without_form(&open, result)),
        };
        let form = offer.choose(&answers).1.clone();
        Ok(RegistrationForm { form, offer, answers, sender: answers_sender, connect, open })
    }
}

impl IntoFuture for OpenRegistration {
    type Output = Result<RegistrationForm>;
    type IntoFuture = BoxFuture<'static, Result<RegistrationForm>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl fmt::Debug for OpenRegistration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenRegistration").field("account", self.client.account()).finish_non_exhaustive()
    }
}

/// A server's form, on a connection that waits for it to be filled in.
///
/// The server waits only so long, and this side waits as long as
/// [`Deadlines::register_answer`](crate::client::Deadlines::register_answer) says. Dropping the form closes the connection.
#[must_use = "dropping the form closes the connection it came on"]
pub struct RegistrationForm {
    form: AccountForm,
    offer: Arc<Offer>,
    answers: Answers,
    sender: oneshot::Sender<Answers>,
    connect: BoxFuture<'static, Result<()>>,
    open: Open,
}

impl RegistrationForm {
    /// What the server asks for.
    #[must_use]
    pub fn form(&self) -> &AccountForm {
        &self.form
    }

    /// The fields that have to be filled in and are not yet. User name and password are filled in already.
    pub fn missing(&self) -> impl Iterator<Item = &FormField> {
        wire::missing(&self.form, &self.answers)
    }

    /// Fills in the field of this name; several values for one name are several values of the field. What the server does not
    /// ask for is not sent.
    pub fn field(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        add(&mut self.answers, name.into(), value.into());
        self
    }

    /// Submits the form and logs in to the new account; resolves when the client is online.
    ///
    /// # Errors
    /// As [`Registers::register`](super::Registers::register). After an error the form is gone; another one is had by asking
    /// again.
    pub async fn submit(self) -> Result<()> {
        let Self { offer, answers, sender, connect, open, .. } = self;
        wire::fill(offer.choose(&answers).1, &answers)?;
        // If nobody takes them, the connection has ended and says why.
        let _ = sender.send(answers);
        connect.await.map_err(|error| open.explain(error))
    }
}

impl fmt::Debug for RegistrationForm {
    /// Names the form; what is filled in is kept out of logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistrationForm").field("form", &self.form).finish_non_exhaustive()
    }
}

/// Who asks for an account, and where.
struct Applicant {
    domain: String,
    answers: Answers,
}

impl Applicant {
    /// Name and password are the client's own.
    fn new(client: &Client, mut answers: Answers) -> Result<Self> {
        if client.ext::<RegistrationService>().is_none() {
            return Err(ErrorKind::ExtensionMissing("RegistrationService").into());
        }
        let credentials = door::credentials(client);
        answers.insert("username".to_owned(), vec![credentials.username().to_owned()]);
        if let Some(password) = credentials.password() {
            answers.insert("password".to_owned(), vec![password.expose().to_owned()]);
        }
        Ok(Self { domain: client.account().domain().as_str().to_owned(), answers })
    }
}

/// Name and password are not to be changed: the login that follows uses the client's.
fn add(answers: &mut Answers, name: String, value: String) {
    if !matches!(name.as_str(), "username" | "password") {
        answers.entry(name).or_default().push(value);
    }
}

/// Asks for the form; also where the feature is absent, for it need not be announced (R47).
async fn ask(door: &mut BeforeAuth, domain: &str) -> Result<Offer> {
    let reply = door.request(wire::get("register-1", domain)?).await?;
    match refusal(&reply) {
        Some(error) => Err(error),
        None => Offer::read(&reply),
    }
}

async fn submit(door: &mut BeforeAuth, domain: &str, offer: &Offer, answers: &Answers) -> Result<()> {
    let (way, form) = offer.choose(answers);
    let request = wire::set("register-2", domain, way, &wire::fill(form, answers)?)?;
    let reply = door.request(request).await?;
    refusal(&reply).map_or(Ok(()), Err)
}

/// What an error says, if the reply is one (R46).
pub(super) fn refusal(reply: &Stanza) -> Option<Error> {
    if reply.stanza_type().as_deref() != Some("error") {
        return None;
    }
    Some(explain(reply.error().unwrap_or_else(|| StanzaError::new(StanzaErrorType::Cancel, "undefined-condition"))))
}

/// What an error of XEP-0077 means.
pub(super) fn explain(error: StanzaError) -> Error {
    let text = error.text.clone().filter(|text| !text.is_empty());
    let kind = match (error.condition.as_str(), error.error_type) {
        ("conflict", _) => RegisterError::Conflict,
        ("resource-constraint", _) | ("policy-violation" | "not-acceptable" | "not-allowed", StanzaErrorType::Wait) => {
            RegisterError::TooSoon
        }
        ("service-unavailable" | "feature-not-implemented", _) => RegisterError::NotOffered,
        ("not-allowed" | "forbidden" | "policy-violation", _) => RegisterError::NotAllowed,
        ("not-acceptable" | "bad-request" | "jid-malformed", _) => {
            return ErrorKind::Register(RegisterError::NotAcceptable(text.unwrap_or(error.condition))).into();
        }
        _ => return ErrorKind::Stanza(error).into(),
    };
    let refused = Error::new(ErrorKind::Register(kind));
    match text {
        Some(text) => refused.with_context(text),
        None => refused,
    }
}

/// Whether the form is open: registration has begun on the stream and has not ended.
#[derive(Clone, Default)]
struct Open(Arc<AtomicBool>);

impl Open {
    fn set(&self, open: bool) {
        self.0.store(open, Ordering::Release);
    }

    /// A stream that ends while the form is open ends because of it: servers do not wait for ever (XEP-0077 §3.1.1).
    fn explain(&self, error: Error) -> Error {
        let is_end = match error.kind() {
            ErrorKind::Closed(_) => true,
            ErrorKind::Stream(stream) => matches!(stream.condition.as_str(), "not-authorized" | "connection-timeout"),
            _ => false,
        };
        if is_end && self.0.load(Ordering::Acquire) {
            Error::new(ErrorKind::Register(RegisterError::Closed)).with_source(error)
        } else {
            error
        }
    }
}

/// Why the connection ended without a form.
fn without_form(open: &Open, result: Result<()>) -> Error {
    // It cannot have come online without asking for one; if it did, the account was there.
    result.map_or_else(|error| open.explain(error), |()| ErrorKind::Register(RegisterError::Conflict).into())
}
