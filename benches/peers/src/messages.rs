//! Outgoing chat messages, the same for everybody.

use tokio_xmpp::parsers::chatstates::ChatState;
use tokio_xmpp::parsers::displayed_markers::Markable;
use tokio_xmpp::parsers::message::{Id, Lang, Message};
use tokio_xmpp::parsers::receipts::Request;
use tokio_xmpp::parsers::stanza_id::OriginId;
use xmppkit::jid::Jid;
use xmppkit::xml::{Frame, StanzaKind, ns};

use crate::reading::{convert, each_frame, tally::Tally};

/// How often each is written.
pub(crate) const ROUNDS: usize = 50;

/// A thousand answers to chat messages of the stream: a body and four payloads that declare a namespace each.
pub(crate) fn messages(stream: &[u8]) -> Vec<Message> {
    let mut messages = Vec::new();
    each_frame(stream, |frame| {
        let Some(stanza) = frame.stanza().filter(|stanza| stanza.kind() == StanzaKind::Message) else { return };
        let (Some(body), Some(id), Some(to)) = (stanza.child_text(ns::CLIENT, "body"), stanza.id(), stanza.from_jid().cloned())
        else {
            return;
        };
        if messages.len() == 1000 || body.len() > 3000 {
            return;
        }
        let mut message = Message::chat(Jid::from(to.to_bare())).with_body(Lang::new(), body.into_owned());
        message.id = Some(Id(id.to_string()));
        messages.push(
            message
                .with_payload(ChatState::Active)
                .with_payload(Request)
                .with_payload(Markable)
                .with_payload(OriginId { id: id.into_owned() }),
        );
    });
    messages
}

/// What these bytes say: messages as they were written.
pub(crate) fn said(written: &[u8]) -> Tally {
    let text = std::str::from_utf8(written).expect("UTF-8");
    let mut tally = Tally::default();
    for message in text.split_inclusive("</message>") {
        // In the stream, the header has declared the namespace.
        let message = message.replacen("<message", "<message xmlns='jabber:client'", 1);
        convert(&Frame::parse(&message).expect("a message"), &mut tally);
    }
    tally
}
