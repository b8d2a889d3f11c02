use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use xmppkit::error::Phase;
use xmppkit::testing::{Misbehaviour, Server};

use super::client::{BIND, Client, Read, SASL, TLS, condition, handshake, header, sasl_text};

async fn start(misbehaviour: Misbehaviour) -> Server {
    let builder = Server::builder().domain("example.org").account("romeo", "secret");
    builder.misbehave(misbehaviour).start().await.unwrap()
}

/// Goes as far as a phase, so that the next thing read is what the server does in it.
async fn reach(server: &Server, phase: Phase) -> Client {
    match phase {
        Phase::TlsHandshake => {
            let mut client = Client::connect(server).await;
            client.open().await;
            client.send(&format!("<starttls xmlns='{TLS}'/>")).await;
            assert!(client.element().await.is(TLS, "proceed"));
            client
        }
        Phase::Header | Phase::Features => {
            let mut client = Client::connect(server).await;
            client.send(&header("example.org")).await;
            if phase == Phase::Features {
                assert!(matches!(client.next().await, Read::Header));
            }
            client
        }
        Phase::StartTls => {
            let mut client = Client::connect(server).await;
            client.open().await;
            client.send(&format!("<starttls xmlns='{TLS}'/>")).await;
            client
        }
        Phase::Register => {
            let (mut client, _) = Client::secured(server).await;
            client.send("<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>").await;
            client
        }
        Phase::Auth => {
            let (mut client, _) = Client::secured(server).await;
            client.auth("SCRAM-SHA-256", "n,,n=romeo,r=x").await;
            client
        }
        Phase::Bind => {
            let (mut client, _) = Client::secured(server).await;
            client.authenticate("PLAIN", "romeo", "secret").await.unwrap();
            client.open().await;
            client.send(&format!("<iq type='set' id='bind'><bind xmlns='{BIND}'/></iq>")).await;
            client
        }
        Phase::Session => {
            let mut client = Client::login(server, "romeo", "secret", "x").await;
            // The server may be gone before this is written.
            let _ = client.socket.write_all(b"<presence/>").await;
            let _ = client.socket.flush().await;
            client
        }
        Phase::Closing => {
            let mut client = Client::online(server, "romeo", "x").await;
            client.send("</stream:stream>").await;
            client
        }
        other => panic!("{other:?} is before the server's time"),
    }
}

const PHASES: [Phase; 9] = [
    Phase::TlsHandshake,
    Phase::Header,
    Phase::Features,
    Phase::StartTls,
    Phase::Register,
    Phase::Auth,
    Phase::Bind,
    Phase::Session,
    Phase::Closing,
];

#[tokio::test]
async fn a_server_can_fall_silent_in_each_phase() {
    for phase in PHASES {
        let server = start(Misbehaviour::SilentIn(phase)).await;
        let mut client = reach(&server, phase).await;
        assert!(timeout(Duration::from_millis(50), client.next()).await.is_err(), "{phase:?}");
        assert_eq!(server.connections(), 1, "{phase:?}");
    }
}

#[tokio::test]
async fn a_server_can_close_in_each_phase() {
    for phase in PHASES {
        let server = start(Misbehaviour::CloseIn(phase)).await;
        let mut client = reach(&server, phase).await;
        let read = client.next().await;
        assert!(matches!(read, Read::End { reset: false }), "{phase:?} {read:?}");
    }
}

#[tokio::test]
async fn a_server_can_send_a_stream_error_in_each_phase() {
    for phase in PHASES {
        let server = start(Misbehaviour::StreamErrorIn(phase, "internal-server-error".into())).await;
        let mut client = reach(&server, phase).await;
        assert_eq!(client.stream_error().await, "internal-server-error", "{phase:?}");
    }
}

#[tokio::test]
async fn a_server_can_send_anything_in_each_phase() {
    for phase in PHASES {
        let text = match phase {
            Phase::Header => format!("{}<odd xmlns='urn:odd'/>", header("x")),
            _ => "<odd xmlns='urn:odd'/>".into(),
        };
        let server = start(Misbehaviour::SendIn(phase, text)).await;
        let mut client = reach(&server, phase).await;
        let mut read = client.next().await;
        if phase == Phase::Header {
            read = client.next().await;
        }
        assert!(matches!(&read, Read::Element(f) if f.is("urn:odd", "odd")), "{phase:?} {read:?}");
    }
}

#[tokio::test]
async fn starttls_is_stripped_refused_or_followed_by_garbage() {
    let server = start(Misbehaviour::StripTls).await;
    let mut client = Client::connect(&server).await;
    let features = client.open().await;
    assert!(features.child(TLS, "starttls").is_none());
    assert!(features.child(SASL, "mechanisms").unwrap().to_standalone_xml().contains("PLAIN"));

    let server = start(Misbehaviour::RefuseStartTls).await;
    let mut client = Client::connect(&server).await;
    assert!(client.open().await.child(TLS, "starttls").is_some());
    client.send(&format!("<starttls xmlns='{TLS}'/>")).await;
    assert!(client.element().await.is(TLS, "failure"));
    assert!(matches!(client.next().await, Read::Close));

    let server = start(Misbehaviour::TlsGarbage).await;
    let tcp = TcpStream::connect(server.direct_tls_address()).await.unwrap();
    let error = timeout(Duration::from_secs(5), handshake(&server, tcp)).await.unwrap().err().unwrap();
    assert!(super::client::certificate_error(&error).is_none(), "{error:?}");
}

#[tokio::test]
async fn text_can_be_injected_before_the_handshake() {
    let server = start(Misbehaviour::InjectBeforeTls("<message/>".into())).await;
    let mut tcp = TcpStream::connect(server.address()).await.unwrap();
    tcp.write_all(format!("{}<starttls xmlns='{TLS}'/>", header("example.org")).as_bytes()).await.unwrap();
    let mut read = String::new();
    while !read.ends_with("<message/>") {
        let mut buffer = [0; 4096];
        let n = timeout(Duration::from_secs(5), tcp.read(&mut buffer)).await.unwrap().unwrap();
        assert_ne!(n, 0, "{read}");
        read.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
    }
    assert!(read.contains("<proceed"));
    // The handshake is meant all the same.
    handshake(&server, tcp).await.unwrap();
}

#[tokio::test]
async fn scram_is_broken_in_each_way() {
    for misbehaviour in [
        Misbehaviour::ForgedSuccess,
        Misbehaviour::WrongNonce,
        Misbehaviour::MandatoryExtension,
        Misbehaviour::MalformedChallenge,
        Misbehaviour::IterationsTooLow,
        Misbehaviour::IterationsTooHigh,
    ] {
        let server = start(misbehaviour.clone()).await;
        let mut client = reach(&server, Phase::Auth).await;
        let answer = client.element().await;
        if misbehaviour == Misbehaviour::ForgedSuccess {
            assert!(answer.is(SASL, "success") && answer.root().text().is_empty());
            continue;
        }
        let challenge = sasl_text(&answer);
        let shown = match misbehaviour {
            Misbehaviour::WrongNonce => challenge.starts_with("r=") && !challenge.starts_with("r=x"),
            Misbehaviour::MandatoryExtension => challenge.starts_with("m=future,r=x"),
            Misbehaviour::IterationsTooLow => challenge.starts_with("r=x") && challenge.ends_with(",i=1"),
            Misbehaviour::IterationsTooHigh => challenge.starts_with("r=x") && challenge.ends_with(",i=2000000000"),
            _ => !challenge.contains("r="),
        };
        assert!(shown, "{misbehaviour:?} {challenge}");
    }
}

#[tokio::test]
async fn a_success_can_lack_the_servers_signature_or_carry_a_wrong_one() {
    for (misbehaviour, signed) in [(Misbehaviour::SuccessWithoutSignature, false), (Misbehaviour::WrongServerSignature, true)] {
        let server = start(misbehaviour).await;
        let mut client = reach(&server, Phase::Auth).await;
        assert!(client.element().await.is(SASL, "challenge"));
        // Any proof will do for a server that does not know the password.
        client.send(&format!("<response xmlns='{SASL}'>Yz1iaXdzLHI9eCxwPQ==</response>")).await;
        let success = client.element().await;
        assert!(success.is(SASL, "success"));
        assert_eq!(!success.root().text().is_empty() && sasl_text(&success).starts_with("v="), signed);
    }
}

#[tokio::test]
async fn login_and_bind_can_be_refused_and_bind_can_lie() {
    let server = start(Misbehaviour::AuthFailure("temporary-auth-failure".into())).await;
    let (mut client, _) = Client::secured(&server).await;
    assert_eq!(client.authenticate("SCRAM-SHA-1", "romeo", "secret").await, Err("temporary-auth-failure".into()));
    server.behave();
    client.authenticate("SCRAM-SHA-1", "romeo", "secret").await.unwrap();

    server.misbehave(Misbehaviour::RefuseBind("resource-constraint".into()));
    let mut client = reach(&server, Phase::Bind).await;
    assert_eq!(condition(&client.element().await).as_deref(), Some("resource-constraint"));

    server.behave();
    server.misbehave(Misbehaviour::BindOtherAccount);
    let mut client = reach(&server, Phase::Bind).await;
    let jid = client.element().await.child(BIND, "bind").unwrap().child(BIND, "jid").unwrap().text().into_owned();
    assert!(jid.starts_with("somebody-else@example.org/"), "{jid}");

    server.behave();
    server.misbehave(Misbehaviour::BindNothing);
    let mut client = reach(&server, Phase::Bind).await;
    assert!(client.element().await.child(BIND, "bind").unwrap().child(BIND, "jid").is_none());
}
