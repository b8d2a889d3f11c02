//! Authentication (RFC 6120 §6).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jid::{BareJid, NodePart};
use sha2::{Digest as _, Sha256};

use super::connection::{Connection, End, Failure};
use super::features;
use super::options::{Mechanism, Misbehaviour};
use super::scram::{ClientFirst, Exchange, Hash, Keys};
use super::state::{ConnectionId, State, random_id};
use super::tree::{Element, ns};
use crate::error::Phase;

/// What a server in a hurry to burn its clients' time asks for.
const TOO_MANY_ITERATIONS: u32 = 2_000_000_000;

/// Who logged in, and how.
pub(super) struct Authenticated {
    pub(super) account: NodePart,
    pub(super) mechanism: String,
}

/// Why an authentication went no further.
enum Stop {
    /// `<failure/>` of this condition; the client may try again.
    Failure(String),
    End(End),
}

impl Stop {
    fn failure(condition: &str) -> Self {
        Self::Failure(condition.into())
    }
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        Self::End(end)
    }
}

impl State {
    pub(super) fn authenticated(&mut self, id: ConnectionId, who: &Authenticated) {
        self.totals.logins += 1;
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.account = Some(who.account.clone());
            connection.mechanism = Some(who.mechanism.clone());
        }
    }
}

impl Connection {
    /// Answers `<auth/>`. `None`: it failed, and the client was told so.
    pub(super) async fn authenticate(&mut self, auth: &Element) -> Result<Option<Authenticated>, End> {
        self.enter(Phase::Auth).await?;
        match self.exchange(auth).await {
            Ok(who) => Ok(Some(who)),
            Err(Stop::End(end)) => Err(end),
            Err(Stop::Failure(condition)) => {
                self.write(&Element::new("failure", ns::SASL).child(Element::new(&condition, ns::SASL)));
                self.failed_attempts += 1;
                if self.failed_attempts >= self.shared.lock().differences().auth_attempts {
                    return Err(Failure::new("policy-violation", Some("too many failed attempts")).into());
                }
                Ok(None)
            }
        }
    }

    async fn exchange(&mut self, auth: &Element) -> Result<Authenticated, Stop> {
        let refused = self.misbehaviour(|m| match m {
            Misbehaviour::AuthFailure(condition) => Some(condition.clone()),
            _ => None,
        });
        if let Some(condition) = refused {
            return Err(Stop::Failure(condition));
        }
        let mechanism = {
            let state = self.shared.lock();
            if !self.secure && !features::plain_text_allowed(&state) {
                return Err(Stop::failure("encryption-required"));
            }
            let asked = auth.get("mechanism").unwrap_or_default();
            let offered = features::mechanisms(&state, self.secure);
            offered.into_iter().find(|m| m.name() == asked).cloned().ok_or_else(|| Stop::failure("invalid-mechanism"))?
        };
        let first = match auth.text().as_str() {
            "" => self.challenge("").await?,
            data => decode(data)?,
        };
        let account = match Hash::of(&mechanism) {
            Some(hash) => self.scram(hash, &mechanism, &first).await?,
            None if mechanism == Mechanism::Plain => self.plain(&first)?,
            None => return Err(Stop::failure("invalid-mechanism")),
        };
        Ok(Authenticated { account, mechanism: mechanism.name().into() })
    }

    /// RFC 4616.
    fn plain(&mut self, message: &str) -> Result<NodePart, Stop> {
        let mut parts = message.split('\0');
        let (Some(authzid), Some(user), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
            return Err(Stop::failure("malformed-request"));
        };
        let account = NodePart::new(user).map_err(|_| Stop::failure("not-authorized"))?.into_owned();
        let authzid = (!authzid.is_empty()).then_some(authzid);
        {
            let state = self.shared.lock();
            check_authzid(&state, &account, authzid)?;
            if state.accounts.get(&account).is_none_or(|a| a.password != password) {
                return Err(Stop::failure("not-authorized"));
            }
        }
        self.write(&Element::new("success", ns::SASL));
        Ok(account)
    }

    async fn scram(&mut self, hash: Hash, mechanism: &Mechanism, first: &str) -> Result<NodePart, Stop> {
        let first = ClientFirst::parse(first).ok_or_else(|| Stop::failure("malformed-request"))?;
        let account = NodePart::new(&first.user).map_err(|_| Stop::failure("not-authorized"))?.into_owned();
        check_authzid(&self.shared.lock(), &account, first.authzid.as_deref())?;
        if self.misbehaves(&Misbehaviour::ForgedSuccess) {
            self.write(&Element::new("success", ns::SASL));
            return Ok(account);
        }

        let iterations = self.iterations();
        let keys = self.keys(&account, hash, mechanism, iterations).await;
        let exchange = Exchange::new(hash, first, &random_id(), &keys.salt, iterations);
        let challenge = self.spoil(&exchange.challenge);
        let last = self.challenge(&challenge).await?;

        let signature = match exchange.finish(&last, &keys) {
            _ if self.misbehaves(&Misbehaviour::SuccessWithoutSignature) => None,
            _ if self.misbehaves(&Misbehaviour::WrongServerSignature) => {
                Some(format!("v={}", BASE64.encode(Sha256::digest(&last))))
            }
            Some(signature) => Some(signature),
            None => return Err(Stop::failure("not-authorized")),
        };
        let in_challenge = self.shared.lock().differences().signature_in_challenge;
        let success = Element::new("success", ns::SASL);
        match signature {
            Some(signature) if in_challenge => {
                self.challenge(&signature).await?;
                self.write(&success);
            }
            Some(signature) => self.write(&success.text_node(&BASE64.encode(signature))),
            None => self.write(&success),
        }
        Ok(account)
    }

    fn iterations(&self) -> u32 {
        let wrong = self.misbehaviour(|m| match m {
            Misbehaviour::IterationsTooLow => Some(1),
            Misbehaviour::IterationsTooHigh => Some(TOO_MANY_ITERATIONS),
            _ => None,
        });
        wrong.unwrap_or_else(|| self.shared.lock().differences().iterations)
    }

    /// The challenge as it is, or as a misbehaving server sends it.
    fn spoil(&self, challenge: &str) -> String {
        let spoilt = self.misbehaviour(|m| match m {
            Misbehaviour::WrongNonce => challenge.find(",s=").map(|at| format!("r={}{}", random_id(), &challenge[at..])),
            Misbehaviour::MandatoryExtension => Some(format!("m=future,{challenge}")),
            Misbehaviour::MalformedChallenge => Some("no challenge at all".into()),
            _ => None,
        });
        spoilt.unwrap_or_else(|| challenge.into())
    }

    /// Sends a challenge and gives the decoded response.
    async fn challenge(&mut self, data: &str) -> Result<String, Stop> {
        self.write(&Element::new("challenge", ns::SASL).text_node(&BASE64.encode(data)));
        let answer = self.element().await?;
        match (answer.ns(), answer.name()) {
            (ns::SASL, "response") => decode(&answer.text()),
            (ns::SASL, "abort") => Err(Stop::failure("aborted")),
            _ => Err(Stop::End(Failure::new("not-authorized", None).into())),
        }
    }

    /// The account's keys, made and kept at the first login that needs them; a nobody's keys for an unknown account, so
    /// that the answer does not tell whether it exists.
    async fn keys(&self, account: &NodePart, hash: Hash, mechanism: &Mechanism, iterations: u32) -> Arc<Keys> {
        let kept = (mechanism.name().to_owned(), iterations);
        let password = match self.shared.lock().accounts.get(account) {
            Some(found) => match found.keys.get(&kept) {
                Some(keys) => return Arc::clone(keys),
                None => Some(found.password.clone()),
            },
            None => None,
        };
        let Some(password) = password.filter(|_| iterations != TOO_MANY_ITERATIONS) else {
            return Arc::new(Keys::impossible(Sha256::digest(account.as_str())[..16].to_vec()));
        };
        let salt = random_id().into_bytes();
        let derived = tokio::task::spawn_blocking({
            let password = password.clone();
            let salt = salt.clone();
            move || Keys::derive(hash, &password, salt, iterations)
        });
        let Ok(keys) = derived.await.map(Arc::new) else { return Arc::new(Keys::impossible(salt)) };
        if let Some(found) = self.shared.lock().accounts.get_mut(account)
            && found.password == password
        {
            // Of two first logins at once, both must go on with the keys whose salt they sent.
            found.keys.entry(kept).or_insert_with(|| Arc::clone(&keys));
        }
        keys
    }
}

fn check_authzid(state: &State, account: &NodePart, authzid: Option<&str>) -> Result<(), Stop> {
    match authzid {
        None => Ok(()),
        Some(asked) if BareJid::new(asked).is_ok_and(|jid| jid == state.bare(account)) => Ok(()),
        Some(_) => Err(Stop::failure("invalid-authzid")),
    }
}

/// SASL data as text; all mechanisms here speak UTF-8.
fn decode(data: &str) -> Result<String, Stop> {
    if data == "=" || data.is_empty() {
        return Ok(String::new());
    }
    let bytes = BASE64.decode(data).map_err(|_| Stop::failure("incorrect-encoding"))?;
    String::from_utf8(bytes).map_err(|_| Stop::failure("malformed-request"))
}
