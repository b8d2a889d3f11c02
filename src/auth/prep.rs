//! SASLprep (RFC 4013): user names and passwords in the form both sides compute with.

use std::borrow::Cow;

use stringprep::{saslprep, tables};

use crate::error::AuthError;

/// Prepares a user name or password. Code points that Unicode 3.2 did not assign, emoji for example, pass through (the
/// "query" treatment of RFC 3454 §7): RFC 5802 §5.1 wants that for user names, and servers accept and store such passwords,
/// so that refusing them here would lock their owners out.
///
/// # Errors
/// [`AuthError::InvalidCredentials`] for what the profile forbids, and for an empty text.
pub(super) fn prepare(text: &str) -> Result<Cow<'_, str>, AuthError> {
    let prepared = if text.chars().any(tables::unassigned_code_point) {
        // The crate refuses unassigned code points. In Unicode 3.2 each is a starter that neither composes nor
        // decomposes, so what stands between them is normalised alone with the same result.
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| tables::unassigned_code_point(c)) {
            out.push_str(&saslprep(&rest[..at]).map_err(|_| AuthError::InvalidCredentials)?);
            out.push(c);
            rest = &rest[at + c.len_utf8()..];
        }
        out.push_str(&saslprep(rest).map_err(|_| AuthError::InvalidCredentials)?);
        Cow::Owned(out)
    } else {
        saslprep(text).map_err(|_| AuthError::InvalidCredentials)?
    };
    if prepared.is_empty() { Err(AuthError::InvalidCredentials) } else { Ok(prepared) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_4013_come_out() {
        assert_eq!(prepare("I\u{ad}X").unwrap(), "IX");
        assert_eq!(prepare("user").unwrap(), "user");
        assert_eq!(prepare("USER").unwrap(), "USER");
        assert_eq!(prepare("\u{aa}").unwrap(), "a");
        assert_eq!(prepare("\u{2168}").unwrap(), "IX");
        assert_eq!(prepare("\u{7}"), Err(AuthError::InvalidCredentials));
        assert_eq!(prepare("\u{627}\u{31}"), Err(AuthError::InvalidCredentials));
    }

    #[test]
    fn an_empty_result_is_refused() {
        assert_eq!(prepare(""), Err(AuthError::InvalidCredentials));
        assert_eq!(prepare("\u{ad}"), Err(AuthError::InvalidCredentials));
    }

    #[test]
    fn emoji_pass_and_what_stands_around_them_is_prepared() {
        assert_eq!(prepare("a\u{a0}\u{1f600}\u{2168}").unwrap(), "a \u{1f600}IX");
        assert_eq!(prepare("\u{1f600}").unwrap(), "\u{1f600}");
        assert_eq!(prepare("\u{1f600}\u{7}"), Err(AuthError::InvalidCredentials));
        // Base letter and combining accent compose on either side, and never across.
        assert_eq!(prepare("e\u{301}\u{1f600}e\u{301}").unwrap(), "\u{e9}\u{1f600}\u{e9}");
        assert_eq!(prepare("e\u{1f600}\u{301}").unwrap(), "e\u{1f600}\u{301}");
    }
}
