//! The server's side of SCRAM (RFC 5802, RFC 7677), written apart from the client's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::digest::Digest;
use hmac::digest::core_api::BlockSizeUser;
use hmac::{Mac as _, SimpleHmac};
use sha1::Sha1;
use sha2::{Sha256, Sha512};
use subtle::ConstantTimeEq as _;

use super::options::Mechanism;

/// The hash function of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

impl Hash {
    pub(super) fn of(mechanism: &Mechanism) -> Option<Self> {
        match mechanism {
            Mechanism::ScramSha1 => Some(Self::Sha1),
            Mechanism::ScramSha256 => Some(Self::Sha256),
            Mechanism::ScramSha512 => Some(Self::Sha512),
            Mechanism::Plain | Mechanism::Other(_) => None,
        }
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => Sha1::digest(data).to_vec(),
            Self::Sha256 => Sha256::digest(data).to_vec(),
            Self::Sha512 => Sha512::digest(data).to_vec(),
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha1 => hmac::<Sha1>(key, data),
            Self::Sha256 => hmac::<Sha256>(key, data),
            Self::Sha512 => hmac::<Sha512>(key, data),
        }
    }

    fn pbkdf2(self, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
        match self {
            Self::Sha1 => pbkdf2::pbkdf2_hmac_array::<Sha1, 20>(password, salt, iterations).to_vec(),
            Self::Sha256 => pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations).to_vec(),
            Self::Sha512 => pbkdf2::pbkdf2_hmac_array::<Sha512, 64>(password, salt, iterations).to_vec(),
        }
    }
}

fn hmac<D: Digest + BlockSizeUser>(key: &[u8], data: &[u8]) -> Vec<u8> {
    // HMAC takes keys of every length.
    SimpleHmac::<D>::new_from_slice(key).map(|mac| mac.chain_update(data).finalize().into_bytes().to_vec()).unwrap_or_default()
}

/// What a server keeps of a password (RFC 5802 §3).
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) salt: Vec<u8>,
    stored: Vec<u8>,
    server: Vec<u8>,
}

impl Keys {
    /// Derives them; slow on purpose.
    pub(super) fn derive(hash: Hash, password: &str, salt: Vec<u8>, iterations: u32) -> Self {
        let password = stringprep::saslprep(password).map_or_else(|_| password.to_owned(), std::borrow::Cow::into_owned);
        let salted = hash.pbkdf2(password.as_bytes(), &salt, iterations);
        let stored = hash.hash(&hash.hmac(&salted, b"Client Key"));
        let server = hash.hmac(&salted, b"Server Key");
        Self { salt, stored, server }
    }

    /// Keys nobody's password fits, for users that do not exist.
    pub(super) fn impossible(salt: Vec<u8>) -> Self {
        Self { salt, stored: Vec::new(), server: b"none".to_vec() }
    }
}

/// The client's first message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ClientFirst {
    header: String,
    bare: String,
    pub(super) authzid: Option<String>,
    pub(super) user: String,
    nonce: String,
}

impl ClientFirst {
    /// Strictly as RFC 5802 §7 writes it. A client that wants channel binding, of which this server offers none, is
    /// malformed too.
    pub(super) fn parse(message: &str) -> Option<Self> {
        let mut parts = message.splitn(3, ',');
        let (flag, authzid, bare) = (parts.next()?, parts.next()?, parts.next()?);
        if flag != "n" && flag != "y" {
            return None;
        }
        let header = format!("{flag},{authzid},");
        let authzid = match authzid {
            "" => None,
            given => Some(unescape(given.strip_prefix("a=")?)?),
        };
        let mut fields = bare.split(',');
        let user = unescape(fields.next()?.strip_prefix("n=")?)?;
        let nonce = fields.next()?.strip_prefix("r=")?.to_owned();
        if nonce.is_empty() || user.is_empty() {
            return None;
        }
        Some(Self { header, bare: bare.into(), authzid, user, nonce })
    }
}

/// `=2C` and `=3D` are the only escapes (RFC 5802 §5.1).
fn unescape(name: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = name;
    while let Some(at) = rest.find('=') {
        out.push_str(&rest[..at]);
        out.push(match rest.get(at + 1..at + 3)? {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        rest = &rest[at + 3..];
    }
    out.push_str(rest);
    Some(out)
}

/// An exchange after the server's first message.
pub(super) struct Exchange {
    hash: Hash,
    first: ClientFirst,
    nonce: String,
    /// The server's first message.
    pub(super) challenge: String,
}

impl Exchange {
    /// `own_nonce` is the server's part of the nonce.
    pub(super) fn new(hash: Hash, first: ClientFirst, own_nonce: &str, salt: &[u8], iterations: u32) -> Self {
        let nonce = format!("{}{own_nonce}", first.nonce);
        let challenge = format!("r={nonce},s={},i={iterations}", BASE64.encode(salt));
        Self { hash, first, nonce, challenge }
    }

    /// Checks the client's final message; gives the server's final message if the proof is right.
    pub(super) fn finish(&self, message: &str, keys: &Keys) -> Option<String> {
        let (without_proof, proof) = message.rsplit_once(",p=")?;
        let mut fields = without_proof.split(',');
        let binding = fields.next()?.strip_prefix("c=")?;
        let nonce = fields.next()?.strip_prefix("r=")?;
        if BASE64.decode(binding).ok()? != self.first.header.as_bytes() || nonce != self.nonce {
            return None;
        }
        let auth_message = format!("{},{},{without_proof}", self.first.bare, self.challenge);
        let signature = self.hash.hmac(&keys.stored, auth_message.as_bytes());
        let proof = BASE64.decode(proof).ok()?;
        if proof.len() != signature.len() {
            return None;
        }
        let client_key: Vec<u8> = proof.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let right: bool = self.hash.hash(&client_key).ct_eq(&keys.stored).into();
        right.then(|| format!("v={}", BASE64.encode(self.hash.hmac(&keys.server, auth_message.as_bytes()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(hash: Hash, salt: &str, own_nonce: &str, first: &str, last: &str) -> Option<String> {
        let salt = BASE64.decode(salt).unwrap();
        let first = ClientFirst::parse(first).unwrap();
        let keys = Keys::derive(hash, "pencil", salt.clone(), 4096);
        Exchange::new(hash, first, own_nonce, &salt, 4096).finish(last, &keys)
    }

    const FIRST: &str = "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL";
    const LAST: &str = "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=";

    #[test]
    fn the_examples_of_rfc_5802_and_rfc_7677_pass() {
        let sha1 = finish(Hash::Sha1, "QSXCR+Q6sek8bf92", "3rfcNHYJY1ZVvWVs7j", FIRST, LAST);
        assert_eq!(sha1.as_deref(), Some("v=rmF9pqV8S7suAoZWja4dJRkFsKQ="));
        let sha256 = finish(
            Hash::Sha256,
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
            "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
        );
        assert_eq!(sha256.as_deref(), Some("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
    }

    #[test]
    fn a_wrong_proof_nonce_or_binding_is_refused() {
        for wrong in [LAST.replace("v0X8", "w0X8"), LAST.replace("WVs7j", "WVs7k"), LAST.replace("biws", "eSws"), "p=".into()] {
            assert_eq!(finish(Hash::Sha1, "QSXCR+Q6sek8bf92", "3rfcNHYJY1ZVvWVs7j", FIRST, &wrong), None, "{wrong}");
        }
    }

    #[test]
    fn client_first_messages_are_read_strictly() {
        let parsed = ClientFirst::parse("y,a=b=2Cc,n=us=3Der,r=x").unwrap();
        assert_eq!((parsed.authzid.as_deref(), parsed.user.as_str()), (Some("b,c"), "us=er"));
        for bad in
            ["", "n,", "n,,r=x,n=u", "n,,n=u", "n,,m=x,n=u,r=x", "p=tls-exporter,,n=u,r=x", "n,,n=u=2,r=x", "n,,n=u=41,r=x"]
        {
            assert_eq!(ClientFirst::parse(bad), None, "{bad}");
        }
    }
}
