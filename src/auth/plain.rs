//! PLAIN (RFC 4616): the password itself, so only inside TLS ([`select`](super::select) sees to that).

use std::fmt;

use super::{Credentials, Mechanism, MechanismContext, Secret, Step, Success};
use crate::error::AuthError;

/// The mechanism PLAIN.
///
/// It gives the password to whoever is at the other end. [`select`](super::select) takes it only inside TLS, only where
/// nothing stronger is offered, and never for an account that once logged in by SCRAM ([`Pin`](super::Pin)).
pub struct Plain {
    username: String,
    password: Secret,
    authzid: String,
}

impl Plain {
    /// Logs in with these credentials, sent as they are: preparing them is the server's part (RFC 4616 §2).
    ///
    /// # Errors
    /// [`AuthError::InvalidCredentials`] without a password, with an empty name or password, and where one holds U+0000.
    pub fn new(credentials: &Credentials) -> Result<Self, AuthError> {
        let password = credentials.password().ok_or(AuthError::InvalidCredentials)?;
        let authzid = credentials.authzid().unwrap_or_default();
        let required = [credentials.username(), password.expose()];
        if required.iter().any(|text| text.is_empty() || text.contains('\0')) || authzid.contains('\0') {
            return Err(AuthError::InvalidCredentials);
        }
        Ok(Self { username: credentials.username().to_owned(), password: password.clone(), authzid: authzid.to_owned() })
    }
}

impl Mechanism for Plain {
    fn name(&self) -> &'static str {
        "PLAIN"
    }

    fn start(&mut self, _cx: &MechanismContext<'_>) -> Step {
        Step::Send([&self.authzid, "\0", &self.username, "\0", self.password.expose()].concat().into_bytes())
    }

    fn challenge(&mut self, _data: &[u8], _cx: &MechanismContext<'_>) -> Step {
        Step::Fail(AuthError::Malformed)
    }

    fn success(&mut self, _data: Option<&[u8]>) -> Result<Success, AuthError> {
        Ok(Success::unverified())
    }
}

impl fmt::Debug for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain").field("username", &self.username).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CX: fn() -> MechanismContext<'static> = || MechanismContext::new([0; 24]);

    #[test]
    fn the_message_is_that_of_rfc_4616() {
        let mut plain = Plain::new(&Credentials::new("tim", "tanstaaftanstaaf")).unwrap();
        assert_eq!(plain.start(&CX()), Step::Send(b"\0tim\0tanstaaftanstaaf".to_vec()));
        let mut plain = Plain::new(&Credentials::new("Kurt", "xipj3plmq").acting_as("Ursel")).unwrap();
        assert_eq!(plain.start(&CX()), Step::Send(b"Ursel\0Kurt\0xipj3plmq".to_vec()));
    }

    #[test]
    fn what_could_shift_the_fields_is_refused() {
        for credentials in [
            Credentials::new("tim\0", "secret"),
            Credentials::new("tim", "sec\0ret"),
            Credentials::new("tim", "secret").acting_as("a\0b"),
            Credentials::new("", "secret"),
            Credentials::new("tim", ""),
            Credentials::without_password("tim"),
        ] {
            assert_eq!(Plain::new(&credentials).unwrap_err(), AuthError::InvalidCredentials, "{credentials:?}");
        }
    }

    #[test]
    fn a_challenge_has_no_answer() {
        let mut plain = Plain::new(&Credentials::new("tim", "secret")).unwrap();
        assert_eq!(plain.challenge(b"", &CX()), Step::Fail(AuthError::Malformed));
    }

    #[test]
    fn nothing_prints_the_password() {
        let mut plain = Plain::new(&Credentials::new("tim", "tanstaaf")).unwrap();
        let printed = format!("{plain:?} {:?}", plain.start(&CX()));
        assert!(!printed.contains("tanstaaf") && !printed.contains("116, 97, 110"), "{printed}");
    }
}
