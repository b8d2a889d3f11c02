//! What the server says about its limits (XEP-0478).

use crate::xml::{Frame, ns};

/// The largest stanza sent to a server that does not say how much it takes (R7).
pub(super) const UNKNOWN: usize = 256 * 1024;

/// What a server must take (RFC 6120 §13.12): one that claims to take less is not believed.
const LEAST: usize = 10_000;

/// The largest stanza the server takes, if its stream features say so.
pub(super) fn max_bytes(features: &Frame) -> Option<usize> {
    let limits = features.root().child(ns::STREAM_LIMITS, "limits")?;
    let bytes = limits.child(ns::STREAM_LIMITS, "max-bytes")?.text().trim().parse().ok()?;
    if bytes < LEAST {
        tracing::warn!(bytes, "the server claims to take less than a server must");
        return None;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_believed_where_it_can_be_one() {
        for (limits, expected) in [
            (
                "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>524288</max-bytes><idle-seconds>60</idle-seconds></limits>",
                Some(524_288),
            ),
            ("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes> 10000 </max-bytes></limits>", Some(10_000)),
            ("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>9999</max-bytes></limits>", None),
            ("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>-1</max-bytes></limits>", None),
            ("<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>99999999999999999999</max-bytes></limits>", None),
            ("<limits xmlns='urn:xmpp:stream-limits:0'/>", None),
            ("<limits xmlns='urn:example'><max-bytes>524288</max-bytes></limits>", None),
            ("", None),
        ] {
            let features = format!("<stream:features xmlns:stream='http://etherx.jabber.org/streams'>{limits}</stream:features>");
            assert_eq!(max_bytes(&Frame::parse(&features).expect("XML")), expected, "{limits}");
        }
    }
}
