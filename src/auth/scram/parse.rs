//! The server's messages, read by the grammar of RFC 5802 §7 and nothing looser (R33).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::error::AuthError;

/// Longer messages are refused unread. Those of servers in the field have around 150 bytes.
const MAX_MESSAGE: usize = 8 * 1024;
/// Bytes of salt after decoding; 16 is usual. Bounds what is kept with the keys.
const MAX_SALT: usize = 1024;
/// Bytes of the nonce, ours included.
const MAX_NONCE: usize = 1024;

/// `r=`, `s=`, `i=`, and of the extensions the only one known here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerFirst<'a> {
    pub(super) nonce: &'a str,
    pub(super) salt: Vec<u8>,
    /// Saturated: a number that does not fit is above every bound.
    pub(super) iterations: u32,
    /// `h=` (XEP-0474), not decoded.
    pub(super) offer_hash: Option<String>,
}

/// `v=` or `e=`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServerFinal {
    Verifier(Vec<u8>),
    Error(AuthError),
}

/// A message as text, within bounds.
pub(super) fn text(data: &[u8]) -> Result<&str, AuthError> {
    if data.len() > MAX_MESSAGE || data.contains(&0) {
        return Err(AuthError::Malformed);
    }
    std::str::from_utf8(data).map_err(|_| AuthError::Malformed)
}

/// `nonce "," salt "," iteration-count ["," extensions]`. A leading `m=` is a mandatory extension, and none is known.
pub(super) fn server_first(text: &str) -> Result<ServerFirst<'_>, AuthError> {
    let mut attributes = text.split(',');
    // Some servers answer a first message they do not like with an error at once.
    if let Some(error) = text.strip_prefix("e=") {
        return Err(server_error(error.split(',').next().unwrap_or_default()));
    }
    let nonce = attribute(attributes.next(), 'r')?;
    if nonce.len() > MAX_NONCE || !nonce.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(AuthError::Malformed);
    }
    let salt = base64(attribute(attributes.next(), 's')?)?;
    if salt.len() > MAX_SALT {
        return Err(AuthError::Malformed);
    }
    let iterations = positive(attribute(attributes.next(), 'i')?)?;
    let offer_hash = extensions(attributes)?;
    Ok(ServerFirst { nonce, salt, iterations, offer_hash })
}

/// `(server-error / verifier) ["," extensions]`.
pub(super) fn server_final(text: &str) -> Result<ServerFinal, AuthError> {
    let mut attributes = text.split(',');
    let first = attributes.next();
    let result = match attribute(first, 'e') {
        Ok(error) => ServerFinal::Error(server_error(error)),
        Err(_) => ServerFinal::Verifier(base64(attribute(first, 'v')?)?),
    };
    extensions(attributes)?;
    Ok(result)
}

/// The value of an attribute that must be this one, and must have a value.
fn attribute(text: Option<&str>, name: char) -> Result<&str, AuthError> {
    text.and_then(|text| text.strip_prefix(name))
        .and_then(|text| text.strip_prefix('='))
        .filter(|value| !value.is_empty())
        .ok_or(AuthError::Malformed)
}

/// Unknown optional extensions are ignored (RFC 5802 §5.1), but must be attributes, must not repeat, and must not be the
/// attributes that have their own place (`m` among them: it stands first or nowhere). Gives the value of `h`.
fn extensions<'a>(attributes: impl Iterator<Item = &'a str>) -> Result<Option<String>, AuthError> {
    let mut seen = 0_u64;
    let mut offer_hash = None;
    for text in attributes {
        let name = text.chars().next().filter(char::is_ascii_alphabetic).ok_or(AuthError::Malformed)?;
        let value = attribute(Some(text), name)?;
        let bit = 1 << (u32::from(name) - u32::from('A'));
        if "amnrcsipve".contains(name) || seen & bit != 0 {
            return Err(AuthError::Malformed);
        }
        seen |= bit;
        if name == 'h' {
            offer_hash = Some(value.to_owned());
        }
    }
    Ok(offer_hash)
}

/// Strict: canonical padding, no foreign characters, no stray bits.
fn base64(text: &str) -> Result<Vec<u8>, AuthError> {
    BASE64.decode(text).map_err(|_| AuthError::Malformed)
}

/// `posit-number`: no sign, no leading zero.
fn positive(text: &str) -> Result<u32, AuthError> {
    if text.starts_with('0') || !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(AuthError::Malformed);
    }
    Ok(text.parse().unwrap_or(u32::MAX))
}

/// `server-error-value`, by what the caller can do about it.
fn server_error(value: &str) -> AuthError {
    match value {
        "invalid-proof" | "unknown-user" => AuthError::NotAuthorized,
        "invalid-username-encoding" => AuthError::InvalidCredentials,
        "channel-bindings-dont-match" | "channel-binding-not-supported" | "unsupported-channel-binding-type" => {
            AuthError::ChannelBindingMismatch
        }
        // We said that we saw no channel binding offered, and the server did offer it: somebody took it away.
        "server-does-support-channel-binding" => AuthError::Downgrade,
        "no-resources" => AuthError::TemporaryFailure,
        "" => AuthError::Malformed,
        other => AuthError::Refused(other.to_owned()),
    }
}
