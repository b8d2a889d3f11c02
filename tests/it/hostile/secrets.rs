//! What is secret stays out of what is printed: passwords everywhere, what people say in traces.

use std::sync::{Arc, Mutex};

use base64::Engine as _;
use futures::StreamExt;
use tracing_subscriber::fmt::format::FmtSpan;
use xmppkit::client::{Client, TlsMode, Trust};
use xmppkit::error::ErrorKind;
use xmppkit::ext::Ctx;
use xmppkit::messaging::{ChatMessage, Messages as _};
use xmppkit::register::Registers as _;
use xmppkit::testing::{Cut, Mechanism, Target};
use xmppkit::xmpp_parsers::message::Message;

use super::{ping, quick, says};
use crate::common::{server, within};

const SECRET: &str = "s3cret-pa55word";
const SAID: &str = "what-juliet-said-at-night";

#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Printed {
    fn add(&self, text: &str) {
        self.0.lock().expect("no panic").extend_from_slice(text.as_bytes());
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().expect("no panic")).into_owned()
    }
}

impl std::io::Write for Printed {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn lacks(printed: &str, what: &str, where_: &str) {
    if let Some(at) = printed.find(what) {
        let from = printed[..at].rfind('\n').map_or(0, |line| line + 1);
        let to = printed[at..].find('\n').map_or(printed.len(), |end| at + end);
        panic!("{what} is in {where_}: {}", &printed[from..to.min(from + 2_000)]);
    }
}

/// Everything runs on this thread, so that the subscriber of this thread sees everything.
#[tokio::test]
async fn neither_traces_nor_debug_nor_the_xml_log_hold_a_secret() {
    let (traces, log, debug) = (Printed::default(), Printed::default(), Printed::default());
    let writer = traces.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_span_events(FmtSpan::FULL)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    for mechanism in [Mechanism::ScramSha256, Mechanism::Plain] {
        let server = server().mechanisms([mechanism]).start().await.expect("a server");
        let address = server.address();
        let make = |password: &str| {
            let sink = log.clone();
            Client::builder(format!("nurse@{}", server.domain()).parse().expect("a JID"))
                .password(password)
                .server(address.ip().to_string(), address.port(), TlsMode::StartTls)
                .trust(Trust::only_ca(server.ca_pem()).expect("the server's CA"))
                .reconnect(quick())
                .xml_log(move |_, xml| sink.add(xml))
        };
        debug.add(&format!("{:?}", make(SECRET)));
        let client = make(SECRET).build().await.expect("a client");
        debug.add(&format!("{:?}", client.register()));
        client.register().await.expect("registered");
        client.close().await;
        client.connect().await.expect("online");
        let me = client.jid().expect("bound");
        let mut messages = client.messages().events();
        client
            .on(|message: ChatMessage, _: Ctx| async move { Err::<(), _>(xmppkit::Error::other(format!("{}", message.from()))) })
            .detach();
        for stanza in [
            says("romeo@example.org/b", &me, SAID),
            format!(
                "<message xmlns='jabber:client' type='error' id='x' from='romeo@example.org' to='{me}'><body>{SAID}</body><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
            ),
            format!(
                "<message xmlns='jabber:client' from='romeo@example.org/b' to='{me}'><body>{SAID}</body><received xmlns='urn:xmpp:receipts'/></message>"
            ),
            format!("<message xmlns='jabber:client' from='@@' to='{me}'><subject>{SAID}</subject></message>"),
            format!("<presence xmlns='jabber:client' from='romeo@example.org/b' to='{me}'><status>{SAID}</status></presence>"),
            format!(
                "<presence xmlns='jabber:client' type='subscribe' from='romeo@example.org' to='{me}'><status>{SAID}</status></presence>"
            ),
            format!(
                "<iq xmlns='jabber:client' type='set' id='s' from='romeo@example.org/b' to='{me}'><x xmlns='y'>{SAID}</x></iq>"
            ),
            format!(
                "<iq xmlns='jabber:client' type='result' id='r' from='romeo@example.org/b' to='{me}'><x xmlns='y'>{SAID}</x></iq>"
            ),
            format!("<foreign xmlns='z'>{SAID}</foreign>"),
        ] {
            assert_eq!(server.inject(Target::All, stanza), 1);
        }
        let message = within("the message", messages.next()).await.expect("a message");
        debug.add(&format!("{message:?} {:?} {:?}", message.stanza(), message.stanza().root()));
        let out = Message::chat("juliet@example.org".parse().ok()).with_body("".into(), SAID.into());
        let sent = client.send(out).await.expect("accepted");
        debug.add(&format!("{sent:?} {client:?} {:?} {:?}", client.state(), client.connection_info()));
        let too_large = Message::chat("juliet@example.org".parse().ok()).with_body("".into(), SAID.repeat(20_000));
        debug.add(&format!("{:?}", client.send(too_large).await.expect_err("too large")));
        ping(&client).await;
        server.cut(Target::All, Cut::Rst);
        let mut states = client.states();
        within("the next session", async { while !states.next().await.expect("a state").is_online() {} }).await;
        client.close().await;
        drop(client);

        let wrong = make(&format!("{SECRET}-wrong")).build().await.expect("a client");
        let refused = wrong.connect().await.expect_err("a wrong password");
        assert!(matches!(refused.kind(), ErrorKind::Auth(_)), "{refused}");
        debug.add(&format!("{refused} {refused:?} {:?}", wrong.state()));
        let taken = wrong.register().await.expect_err("taken");
        debug.add(&format!("{taken} {taken:?}"));
    }

    let base64 = |text: String| base64::engine::general_purpose::STANDARD.encode(text);
    for (printed, name) in [(&traces, "the traces"), (&log, "the XML log"), (&debug, "Debug")] {
        let printed = printed.text();
        assert!(printed.contains("nurse"), "{name} were not captured");
        lacks(&printed, SECRET, name);
        lacks(&printed, &base64(format!("\0nurse\0{SECRET}")), name);
        lacks(&printed, &base64(SECRET.to_owned()), name);
        // as a list of bytes
        lacks(&printed, &SECRET.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", "), name);
        if name != "the XML log" {
            lacks(&printed, SAID, name);
        }
    }
}
