//! How streams end: the errors the server sends, and those that are sent to it (RFC 6120 §4.9).

use crate::error::{Error, ErrorKind, ProtocolError, StreamError};
use crate::xml::{Frame, ns};

use super::alphabet::{Ended, SeeOther};

/// What a `<stream:error/>` means.
pub(super) fn stream_error(frame: &Frame) -> Ended {
    let condition = frame.children().find(|c| c.ns() == ns::STREAM_ERRORS && c.name() != "text");
    let text = frame.child(ns::STREAM_ERRORS, "text").map(|t| t.text().trim().to_owned()).filter(|t| !t.is_empty());
    if let Some(condition) = condition
        && condition.name() == "see-other-host"
        && let Some((host, port)) = host_and_port(condition.text().trim())
    {
        return Ended::SeeOther(SeeOther::Host { host, port });
    }
    let name = condition.map_or("undefined-condition", |c| c.name());
    Ended::Failed(ErrorKind::Stream(StreamError::new(name, text)).into())
}

/// A host and perhaps a port: `domainpart`, `domainpart:port` or `[IPv6]:port` (RFC 6120 §4.9.3.19). An IPv6 address without brackets is taken as one.
pub(crate) fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return None,
        }
    } else {
        match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, Some(port)),
            _ => (text, None),
        }
    };
    let port = match port {
        None => None,
        Some(port) => Some(port.parse().ok().filter(|&p| p != 0)?),
    };
    let usable = !host.is_empty() && !host.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | '@'));
    usable.then(|| (host.to_owned(), port))
}

/// The condition that tells the server what it did wrong; `None` where the error is not about the protocol.
pub(super) fn condition_of(error: &Error) -> Option<&'static str> {
    let ErrorKind::Protocol(error) = error.kind() else { return None };
    Some(match error {
        ProtocolError::NotWellFormed => "not-well-formed",
        ProtocolError::RestrictedXml => "restricted-xml",
        ProtocolError::LimitExceeded => "policy-violation",
        ProtocolError::InvalidNamespace => "invalid-namespace",
        ProtocolError::UnsupportedVersion => "unsupported-version",
        ProtocolError::Unexpected(_) => "bad-format",
        ProtocolError::InvalidBinding => "undefined-condition",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn see_other_host_is_read_in_every_form() {
        let some = |host: &str, port| Some((host.to_owned(), port));
        for (text, expected) in [
            ("other.example", some("other.example", None)),
            ("other.example:5223", some("other.example", Some(5223))),
            ("[2001:41D0:1:A49b::1]:9222", some("2001:41D0:1:A49b::1", Some(9222))),
            ("[::1]", some("::1", None)),
            ("2001:db8::1", some("2001:db8::1", None)),
            ("192.0.2.1:5222", some("192.0.2.1", Some(5222))),
            ("", None),
            (":5222", None),
            ("other.example:", None),
            ("other.example:0", None),
            ("other.example:70000", None),
            ("[::1]x", None),
            ("[::1", None),
            ("a b", None),
            ("evil/path", None),
            ("user@host", None),
        ] {
            assert_eq!(host_and_port(text), expected, "{text:?}");
        }
    }
}
