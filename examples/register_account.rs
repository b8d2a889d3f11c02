//! Makes an account, and logs in to it. Without arguments it does so on a server inside the program.
//!
//! ```text
//! cargo run --example register_account
//! cargo run --example register_account -- --jid romeo@example.org --password secret \
//!     [--field email=romeo@example.net]... [--server HOST:PORT] [--ca FILE]
//! ```

use xmppkit::error::{ErrorKind, RegisterError};
use xmppkit::prelude::*;
use xmppkit::testing::{Field, Registration, Server};

/// What is told on the command line.
#[derive(Debug, Default)]
pub struct Options {
    /// The account to be.
    pub jid: String,
    /// The password it is to have.
    pub password: String,
    /// What the server may ask for beside them: names and values.
    pub fields: Vec<(String, String)>,
    /// The server's host and port, where DNS is not to be asked.
    pub server: Option<(String, u16)>,
    /// A certificate authority of one's own, in PEM.
    pub ca: Option<Vec<u8>>,
}

/// Registers, logs in, and logs out. Gives the address the new account was online with.
pub async fn run(options: Options) -> xmppkit::Result<FullJid> {
    let mut builder = Client::builder(options.jid.parse()?).password(options.password);
    if let Some((host, port)) = options.server {
        builder = builder.server(host, port, TlsMode::StartTls);
    }
    if let Some(pem) = options.ca {
        builder = builder.trust(Trust::only_ca(pem)?);
    }
    let client = builder.build().await?;

    let mut register = client.register();
    for (name, value) in options.fields {
        register = register.field(name, value);
    }
    // In the place of connect(): when this resolves, there is an account, and the client is online with it.
    register.await?;
    let jid = client.jid().ok_or(ErrorKind::NotOnline)?;
    client.close().await;
    Ok(jid)
}

/// What whoever runs this can do about a refusal.
pub fn advice(error: &xmppkit::Error) -> Option<String> {
    let ErrorKind::Register(reason) = error.kind() else { return None };
    Some(match reason {
        RegisterError::Conflict => "Choose another name.".to_owned(),
        RegisterError::TooSoon => "Wait some minutes.".to_owned(),
        RegisterError::OutOfBand(place) => format!("Go there: {place}"),
        RegisterError::FormRequired(form) | RegisterError::Captcha(form) => {
            let is_open = |name: &str| !matches!(name, "username" | "password");
            let questions = form.fields.iter().filter(|field| field.required && is_open(&field.name)).map(|field| {
                let pictures: String = field.media.iter().map(|medium| format!(" ({})", medium.uri)).collect();
                format!("\n  --field {}=…  {}{pictures}", field.name, field.label.as_deref().unwrap_or_default())
            });
            format!("{}{}", form.instructions, questions.collect::<String>())
        }
        _ => return None,
    })
}

/// A server inside the program that wants an e-mail address as well.
pub async fn show() -> xmppkit::Result<()> {
    let form = Registration::Form(vec![Field::new("email").label("E-mail").required()]);
    let server = Server::builder().domain("example.org").registration(form).start().await?;
    for fields in [Vec::new(), vec![("email".to_owned(), "romeo@example.net".to_owned())]] {
        let options = Options {
            jid: "romeo@example.org".to_owned(),
            password: "secret".to_owned(),
            fields,
            server: Some((server.address().ip().to_string(), server.address().port())),
            ca: Some(server.ca_pem().to_vec()),
        };
        match run(options).await {
            Ok(jid) => println!("registered, and was online as {jid}"),
            Err(error) => println!("{error}\n{}", advice(&error).unwrap_or_default()),
        }
    }
    Ok(())
}

#[tokio::main]
async fn main() -> xmppkit::Result<()> {
    let mut options = Options::default();
    let mut flags = std::env::args().skip(1).peekable();
    if flags.peek().is_none() {
        return show().await;
    }
    while let (Some(flag), value) = (flags.next(), flags.next().unwrap_or_default()) {
        match flag.as_str() {
            "--jid" => options.jid = value,
            "--password" => options.password = value,
            "--field" => {
                let (name, value) = value.split_once('=').ok_or_else(|| xmppkit::Error::other("--field NAME=VALUE"))?;
                options.fields.push((name.to_owned(), value.to_owned()));
            }
            "--server" => {
                let (host, port) = value.rsplit_once(':').ok_or_else(|| xmppkit::Error::other("--server HOST:PORT"))?;
                options.server = Some((host.to_owned(), port.parse().map_err(xmppkit::Error::other)?));
            }
            "--ca" => options.ca = Some(std::fs::read(value)?),
            _ => return Err(xmppkit::Error::other(format!("{flag}? --jid, --password, --field, --server and --ca are known"))),
        }
    }
    match run(options).await {
        Ok(jid) => println!("registered, and was online as {jid}"),
        Err(error) => {
            if let Some(advice) = advice(&error) {
                println!("{advice}");
            }
            return Err(error);
        }
    }
    Ok(())
}
