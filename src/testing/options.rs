//! What a test asks of the server: certificates, mechanisms, registration, misbehaviour.

use crate::error::Phase;

/// The certificate the server shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum CertificateKind {
    /// For the server's domain, signed by the server's own CA ([`Server::ca_pem`](super::Server::ca_pem)).
    #[default]
    Good,
    /// For the server's domain, signed by itself.
    SelfSigned,
    /// Signed by the server's own CA, for another name (`wrong.invalid`).
    WrongName,
    /// For the server's domain, signed by the server's own CA, out of date since yesterday.
    Expired,
}

/// A SASL mechanism the server offers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mechanism {
    /// SCRAM-SHA-512.
    ScramSha512,
    /// SCRAM-SHA-256 (RFC 7677).
    ScramSha256,
    /// SCRAM-SHA-1 (RFC 5802).
    ScramSha1,
    /// PLAIN (RFC 4616), only ever offered inside TLS or on a server without any.
    Plain,
    /// A mechanism of this name, which is offered and then refused with `invalid-mechanism`.
    Other(String),
}

impl Mechanism {
    /// The mechanism's registered name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha1 => "SCRAM-SHA-1",
            Self::Plain => "PLAIN",
            Self::Other(name) => name,
        }
    }
}

/// Whether and how accounts can be made in band (XEP-0077).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Registration {
    /// With user name and password: by legacy fields, and by a data form where the dialect has one.
    #[default]
    Open,
    /// With user name and password, by legacy fields only.
    LegacyOnly,
    /// By a data form only, which asks for these fields beside `username` and `password`. A submission by legacy
    /// fields, or one that lacks a required field, is `not-acceptable`.
    Form(Vec<Field>),
    /// On this web page (XEP-0077 §5); a submission is `not-allowed`.
    OutOfBand(String),
    /// By a data form with an image challenge (XEP-0158); a wrong answer is `not-allowed`.
    Captcha {
        /// What the form's field `ocr` must hold.
        answer: String,
    },
    /// Not at all; the feature is not offered and requests are refused.
    Closed,
}

/// A field of a registration form.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Field {
    /// The field's name.
    pub var: String,
    /// The label shown to the user.
    pub label: Option<String>,
    /// Whether it must be filled in.
    pub required: bool,
}

impl Field {
    /// An optional field of one line.
    #[must_use]
    pub fn new(var: impl Into<String>) -> Self {
        Self { var: var.into(), label: None, required: false }
    }

    /// With a label for people.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = Some(label.into());
        self
    }

    /// One that must be filled in.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }
}

/// How a server breaks the protocol, fails, or attacks, on every connection that comes so far.
///
/// The phases of [`SilentIn`](Self::SilentIn) and its kin are those of [`Phase`] from `TlsHandshake` on; where a phase
/// comes more than once in a negotiation (a header after STARTTLS, another after SASL), the first one counts.
/// `Resolve` and `Connect` are before the server's time and change nothing; to refuse connections there is
/// [`Server::refuse_connections`](super::Server::refuse_connections).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misbehaviour {
    /// In this phase the server says nothing any more, and keeps the connection.
    SilentIn(Phase),
    /// In this phase the server closes the connection, without a word.
    CloseIn(Phase),
    /// In this phase the server sends a stream error of this condition and closes the stream.
    StreamErrorIn(Phase, String),
    /// In this phase the server sends this text instead of what belongs there, and then nothing.
    SendIn(Phase, String),
    /// The last two messages that are sent again after a resume change places: what was on its way to the old connection comes
    /// behind what is newer (seen on ejabberd 24.12, under load).
    ReorderResent,
    /// Every second query of the account's archive in a session gets an empty page, as though there were nothing (seen on ejabberd
    /// 23.01 and 24.12, under load).
    EmptyPages,
    /// Pages of the account's archive that are to go on from a message's id are refused, as though it had expired; each time.
    ForgetArchiveIds,
    /// Offers no STARTTLS and lets clients log in without.
    StripTls,
    /// Offers STARTTLS and answers `<failure/>`.
    RefuseStartTls,
    /// Answers `<proceed/>`, and then bytes that are no TLS.
    TlsGarbage,
    /// Sends this text right after `<proceed/>`, in the same packet, as an attacker in between would: nothing of it
    /// may be believed after the handshake.
    InjectBeforeTls(String),
    /// Sends `<success/>` as the answer to `<auth/>`, before any proof.
    ForgedSuccess,
    /// Lets any proof pass, and sends `<success/>` without the server's own signature.
    SuccessWithoutSignature,
    /// Lets any proof pass, and signs with a wrong key.
    WrongServerSignature,
    /// Answers SCRAM with a nonce that does not begin with the client's.
    WrongNonce,
    /// Adds an extension to SCRAM's challenge that the client must understand (`m=`, RFC 5802 §5.1).
    MandatoryExtension,
    /// Sends a SCRAM challenge that is none.
    MalformedChallenge,
    /// Asks for a single PBKDF2 iteration.
    IterationsTooLow,
    /// Asks for 2,000,000,000 PBKDF2 iterations.
    IterationsTooHigh,
    /// Refuses every authentication with this condition (RFC 6120 §6.5).
    AuthFailure(String),
    /// Refuses to bind with this condition, as an error of type `cancel`.
    RefuseBind(String),
    /// Binds an address of another account.
    BindOtherAccount,
    /// Answers bind without an address.
    BindNothing,
    /// Offers stream management and refuses to enable it, with this condition of RFC 6120 §8.3.3 (XEP-0198 §3).
    RefuseManagement(String),
    /// Answers no `<r/>` of stream management, though it asks its own.
    NeverAcknowledge,
    /// Refuses queries of archives with this condition, as an error of type `cancel`.
    RefuseArchive(String),
    /// Does not answer queries of archives any more once a session has asked this many, until
    /// [`Server::answer_archive`](super::Server::answer_archive).
    SilentArchive {
        /// How many of each session are answered.
        after: usize,
    },
}
