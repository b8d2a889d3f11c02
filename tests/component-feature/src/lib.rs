//! An application in which some other crate turned xmpp-parsers' `component` feature on. That changes `DEFAULT_NS` for the whole
//! build; client streams must go on working (D4).

#[cfg(test)]
mod tests {
    use xmpp_parsers::message::{Lang, Message};
    use xmppkit::xml::{Frame, OutStanza};

    const TEXT: &str = "<message xmlns='jabber:client' to='b@example.test' type='chat'><body>hello</body></message>";

    #[test]
    fn the_feature_is_on() {
        assert_eq!(xmpp_parsers::ns::DEFAULT_NS, "jabber:component:accept");
        assert_eq!(xmppkit::xmpp_parsers::ns::DEFAULT_NS, xmpp_parsers::ns::DEFAULT_NS, "both see one build of the crate");
    }

    #[test]
    fn a_client_stanza_is_read() {
        let stanza = Frame::parse(TEXT).unwrap().stanza().unwrap();
        let message: Message = stanza.decode().unwrap();
        assert_eq!(message.bodies[&Lang::default()], "hello");
    }

    #[test]
    fn a_client_stanza_is_written() {
        let mut message = Message::chat(xmpp_parsers::jid::Jid::new("b@example.test").unwrap());
        message.bodies.insert(Lang::default(), "hello".into());
        let xml = OutStanza::message(&message).unwrap().to_standalone_xml();
        let frame = Frame::parse(&xml).unwrap();
        assert!(frame.is("jabber:client", "message") && !xml.contains("component"), "{xml}");
    }
}
