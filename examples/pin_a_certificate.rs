//! Connecting to a server whose certificate nobody vouches for: show it to the user, ask, pin it, connect again.
//!
//! Without flags the server is one inside the program, with a self-signed certificate.
//!
//! ```text
//! cargo run --example pin_a_certificate
//! cargo run --example pin_a_certificate -- --jid romeo@chat.example --password secret [--server HOST:PORT]
//! ```
//!
//! There is no switch that accepts any certificate. A pin is as safe as an authority's word if the user compares the fingerprint
//! with what the server's administrator says, and it holds until the certificate is replaced.

use std::io::{BufRead as _, Write as _};
use std::process::ExitCode;
use std::time::SystemTime;

use xmppkit::client::{ClientBuilder, TlsMode, Trust};
use xmppkit::error::{CertificateError, Error, ErrorKind};
use xmppkit::prelude::*;
use xmppkit::testing::{CertificateKind, Server};

/// What an application keeps about an account.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The account.
    pub account: BareJid,
    /// Its password.
    pub password: String,
    /// Where to connect, unless DNS knows.
    pub server: Option<(String, u16)>,
    /// The fingerprint of the server's certificate, once the user has said yes to it.
    pub pin: Option<String>,
}

impl Settings {
    fn client(&self) -> xmppkit::Result<ClientBuilder> {
        let mut builder = Client::builder(self.account.clone()).password(self.password.as_str());
        if let Some((host, port)) = &self.server {
            builder = builder.server(host, *port, TlsMode::StartTls);
        }
        if let Some(pin) = &self.pin {
            // From now on exactly this certificate will do, and no authority's word for another one.
            builder = builder.trust(Trust::pin_hex(pin)?);
        }
        Ok(builder)
    }
}

/// Connects. If the certificate is refused, shows it, asks, and notes the pin in the settings.
pub async fn connect(settings: &mut Settings, ask: impl Fn(&CertificateError) -> bool) -> xmppkit::Result<Client> {
    let client = settings.client()?.build().await?;
    let Err(error) = client.connect().await else { return Ok(client) };
    let ErrorKind::Certificate(refused) = error.kind() else { return Err(error) };
    show(refused);
    // There is a fingerprint unless the certificate could not even be had; then there is nothing to ask.
    let Some(fingerprint) = refused.fingerprint_hex() else { return Err(error) };
    if !ask(refused) {
        return Err(error);
    }
    settings.pin = Some(fingerprint);
    let client = settings.client()?.build().await?;
    client.connect().await?;
    Ok(client)
}

/// What a user has to see to decide.
fn show(refused: &CertificateError) {
    let names = if refused.names.is_empty() { "nobody".to_owned() } else { refused.names.join(", ") };
    println!("The server's certificate is refused: {}.", refused.kind);
    println!("  for          {names}");
    println!("  valid from   {}", refused.not_before.map_or("(unknown)".to_owned(), days_away));
    println!("  valid until  {}", refused.not_after.map_or("(unknown)".to_owned(), days_away));
    println!("  fingerprint  {}", refused.fingerprint_hex().unwrap_or_default());
}

/// A day as seen from today. An application would write the date as its user is used to.
fn days_away(time: SystemTime) -> String {
    match time.duration_since(SystemTime::now()) {
        Ok(ahead) => format!("{} days ahead", ahead.as_secs() / 86_400),
        Err(past) => format!("{} days ago", past.duration().as_secs() / 86_400),
    }
}

/// Connects twice: the first time it asks, the second time the pin is known.
pub async fn run(mut settings: Settings, ask: impl Fn(&CertificateError) -> bool) -> xmppkit::Result<()> {
    let client = connect(&mut settings, ask).await?;
    println!("Online as {}.", client.jid().map_or_else(String::new, |jid| jid.to_string()));
    client.close().await;
    drop(client);

    let client = connect(&mut settings, |_| unreachable!("a pinned certificate raises no question")).await?;
    let tls = client.connection_info().and_then(|info| info.tls);
    println!("Online again, without a question{}.", if tls.is_some_and(|tls| tls.pinned) { ", by the pin" } else { "" });
    client.close().await;
    Ok(())
}

/// A server with a self-signed certificate, and the settings for an account on it.
pub async fn self_signed_server() -> xmppkit::Result<(Server, Settings)> {
    let server = Server::builder().account("romeo", "secret").certificate(CertificateKind::SelfSigned).start().await?;
    let (host, port) = (server.address().ip().to_string(), server.address().port());
    let settings =
        Settings { account: server.jid("romeo")?, password: "secret".to_owned(), server: Some((host, port)), pin: None };
    Ok((server, settings))
}

fn ask_on_the_terminal(_: &CertificateError) -> bool {
    print!("Trust exactly this certificate from now on? [y/N] ");
    let mut answer = String::new();
    std::io::stdout().flush().is_ok() && std::io::stdin().lock().read_line(&mut answer).is_ok() && answer.trim() == "y"
}

fn flags() -> xmppkit::Result<Option<Settings>> {
    let (mut jid, mut password, mut server, mut pin) = (None, None, None, None);
    let mut flags = std::env::args().skip(1);
    while let (Some(flag), value) = (flags.next(), flags.next().unwrap_or_default()) {
        match flag.as_str() {
            "--jid" => jid = Some(value.parse()?),
            "--password" => password = Some(value),
            "--server" => {
                let (host, port) = value.rsplit_once(':').ok_or_else(|| Error::other("--server HOST:PORT"))?;
                server = Some((host.to_owned(), port.parse().map_err(Error::other)?));
            }
            "--pin" => pin = Some(value),
            _ => return Err(Error::other(format!("{flag}? --jid, --password, --server and --pin are known"))),
        }
    }
    Ok(jid.zip(password).map(|(account, password)| Settings { account, password, server, pin }))
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match flags() {
        Ok(Some(settings)) => run(settings, ask_on_the_terminal).await,
        Ok(None) => match self_signed_server().await {
            Ok((_server, settings)) => run(settings, ask_on_the_terminal).await,
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pin_a_certificate: {error}");
            ExitCode::FAILURE
        }
    }
}
