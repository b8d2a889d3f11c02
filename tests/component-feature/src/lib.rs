//! An application in which some other crate turned xmpp-parsers' `component` feature on. That changes `DEFAULT_NS` for the whole
//! build; client streams must go on working (D4).

#[cfg(test)]
mod tests {
    #[test]
    fn the_feature_is_on() {
        assert_eq!(xmpp_parsers::ns::DEFAULT_NS, "jabber:component:accept");
        assert_eq!(xmppkit::xmpp_parsers::ns::DEFAULT_NS, xmpp_parsers::ns::DEFAULT_NS, "both see one build of the crate");
    }
}
