//! A debug console: what goes over the wire, as it goes, indented and in colours; with filters, and a line to send stanzas
//! of one's own. Without arguments it shows itself on a server inside the program.
//!
//! ```text
//! cargo run --example xml_console
//! cargo run --example xml_console -- --jid romeo@example.org --password secret [--register] [--server HOST:PORT] [--ca FILE]
//! ```
//!
//! Passwords, tokens and what SASL exchanges are not shown: the library takes them out.

use std::time::{Duration, UNIX_EPOCH};

use futures::FutureExt as _;
use futures::channel::mpsc;
use futures::stream::Stream;
use xmppkit::Error;
use xmppkit::client::{XmlDirection, XmlKind, XmlTraffic};
use xmppkit::prelude::*;
use xmppkit::testing::Server;

pub(crate) mod filter;
pub(crate) mod pretty;

use filter::Filter;
use pretty::{Colour, Style, pretty};

const HELP: &str = "\
<stanza/>      send a stanza, on one line; an IQ without id gets one; also /raw XML
/ping [JID]    is anybody there? (XEP-0199)
/version [JID] which software is that? (XEP-0092)
/disco [JID]   what can it do? (XEP-0030)
/roster        the contacts (RFC 6121 §2)
/pause         show nothing until /pause is typed again, and then what came
/quit          log out";

/// What is told on the command line.
#[derive(Debug)]
pub(crate) struct Options {
    /// The account.
    pub(crate) jid: String,
    /// Its password.
    pub(crate) password: String,
    /// Whether the account is to be made first.
    pub(crate) register: bool,
    /// The server's host and port, where DNS is not to be asked.
    pub(crate) server: Option<(String, u16)>,
    /// A certificate authority of one's own, in PEM.
    pub(crate) ca: Option<Vec<u8>>,
    /// How XML is shown.
    pub(crate) style: Style,
}

/// Shows what goes over the wire until `/quit`, the end of what is typed, or a connection that has failed for good. `say`
/// shows a text of some lines.
pub(crate) async fn run(
    options: Options,
    mut typed: impl Stream<Item = String> + Unpin,
    mut say: impl FnMut(String),
) -> xmppkit::Result<()> {
    let style = options.style;
    let mut builder = Client::builder(options.jid.parse()?).password(options.password);
    if let Some((host, port)) = options.server {
        builder = builder.server(host, port, TlsMode::StartTls);
    }
    if let Some(pem) = options.ca {
        builder = builder.trust(Trust::only_ca(pem)?);
    }
    let client = builder.build().await?;
    let (mut traffic, mut states) = (client.watch_xml(), client.states());
    let note = |text: String, say: &mut dyn FnMut(String)| say(style.paint(Colour::Yellow, &format!("-- {text}")));
    let mut console = Console { client, filter: Filter::default(), paused: false, sent: 0 };
    note("/help tells what can be typed".to_owned(), &mut say);

    let connecting = console.client.clone();
    let connect = async { if options.register { connecting.register().await } else { connecting.connect().keep_trying().await } };
    let mut connect = Box::pin(connect.fuse());
    let result = loop {
        tokio::select! {
            // What is said about a piece stands behind it.
            biased;
            Some(piece) = traffic.next(), if !console.paused => match piece {
                Ok(piece) if console.filter.shows(&piece) => say(show(&piece, style)),
                Ok(_) => {}
                Err(gap) => note(format!("{} pieces came too fast and are not shown", gap.count.unwrap_or_default()), &mut say),
            },
            connected = &mut connect => if let Err(error) = connected { break Err(error) },
            Some(state) = states.next() => match state {
                State::Online { .. } => note(format!("online as {}", console.jid()), &mut say),
                State::Connecting { attempt, .. } => note(format!("connecting, attempt {attempt}"), &mut say),
                State::Waiting { cause, .. } => note(format!("offline, will try again: {cause}"), &mut say),
                State::Failed(error) => break Err(error),
                _ => {}
            },
            line = typed.next() => match line.as_deref().map(str::trim) {
                None | Some("/quit") => break Ok(()),
                Some("") => {}
                Some(line) => match console.obey(line).await {
                    Ok(answer) if answer.is_empty() => {}
                    Ok(answer) => note(answer, &mut say),
                    Err(error) => say(style.paint(Colour::Red, &format!("-- not done: {error}"))),
                },
            },
        }
    };
    drop(connect);
    console.client.close().await;
    while let Some(Some(piece)) = traffic.next().now_or_never() {
        piece.ok().filter(|piece| console.filter.shows(piece)).into_iter().for_each(|piece| say(show(&piece, style)));
    }
    result
}

/// A piece, under a line that says when it went which way.
fn show(piece: &XmlTraffic, style: Style) -> String {
    let (arrow, colour) = match piece.direction {
        XmlDirection::Sent => (">>>", Colour::Green),
        _ => ("<<<", Colour::Magenta),
    };
    let since = piece.at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let (seconds, millis) = (since.as_secs() % 86_400, since.subsec_millis());
    let time = format!("{:02}:{:02}:{:02}.{millis:03}Z", seconds / 3600, seconds / 60 % 60, seconds % 60);
    let what = match piece.kind {
        XmlKind::StreamOpen => "stream header",
        XmlKind::StreamClose => "end of stream",
        XmlKind::Whitespace => "whitespace",
        kind => filter::name(kind),
    };
    let head = style.paint(colour, &format!("{arrow} {time} {} {what}", piece.direction));
    if piece.kind == XmlKind::Whitespace { head } else { format!("{head}\n{}", pretty(&piece.xml, style)) }
}

struct Console {
    client: Client,
    filter: Filter,
    paused: bool,
    /// How many ids were given.
    sent: u32,
}

impl Console {
    fn jid(&self) -> String {
        self.client.jid().map_or_else(|| self.client.account().to_string(), |jid| jid.to_string())
    }

    /// Does what was typed, and says what is to be said about it.
    async fn obey(&mut self, line: &str) -> xmppkit::Result<String> {
        let (command, rest) = line.split_once(char::is_whitespace).map_or((line, ""), |(command, rest)| (command, rest.trim()));
        match command {
            "/help" => return Ok(format!("\n{HELP}\n{}", filter::HELP)),
            "/filter" => {
                self.filter = Filter::parse(rest)?;
                return Ok(format!("showing {}", self.filter));
            }
            "/pause" => {
                self.paused = !self.paused;
                return Ok(if self.paused { "paused" } else { "going on" }.to_owned());
            }
            "/raw" => self.send(rest).await?,
            "/ping" => self.ask(rest, "<ping xmlns='urn:xmpp:ping'/>").await?,
            "/version" => self.ask(rest, "<query xmlns='jabber:iq:version'/>").await?,
            "/disco" => self.ask(rest, "<query xmlns='http://jabber.org/protocol/disco#info'/>").await?,
            "/roster" => self.send("<iq type='get'><query xmlns='jabber:iq:roster'/></iq>").await?,
            _ if line.starts_with('<') => self.send(line).await?,
            _ => return Err(Error::other(format!("{command}? /help tells what can be typed"))),
        }
        Ok(String::new())
    }

    /// Asks somebody, or the server.
    async fn ask(&mut self, whom: &str, payload: &str) -> xmppkit::Result<()> {
        let whom: Jid = if whom.is_empty() { self.client.account().domain().as_str() } else { whom }.parse()?;
        let whom = xmppkit::xml::escape_attr(whom.as_str()).into_owned();
        self.send(&format!("<iq type='get' to='{whom}'>{payload}</iq>")).await
    }

    async fn send(&mut self, xml: &str) -> xmppkit::Result<()> {
        let xml = xml.trim();
        if !xml.starts_with("<iq") || filter::attribute(xml, "id").is_some() {
            return self.client.send_raw(xml).await;
        }
        self.sent += 1;
        self.client.send_raw(&xml.replacen("<iq", &format!("<iq id='console-{}'", self.sent), 1)).await
    }
}

/// A console and somebody who answers, on a server inside the program: what is typed, and all that is shown.
pub(crate) async fn show_itself(style: Style) -> xmppkit::Result<Vec<String>> {
    let server = Server::builder().domain("example.org").account("romeo", "secret").account("juliet", "secret").start().await?;
    let juliet = server.client("juliet")?.build().await?;
    juliet
        .on(|message: ChatMessage| async move { message.reply("By whose direction found'st thou out this place?").await })
        .detach();
    juliet.connect().await?;
    let options = Options {
        jid: "romeo@example.org".to_owned(),
        password: "secret".to_owned(),
        register: false,
        server: Some((server.address().ip().to_string(), server.address().port())),
        ca: Some(server.ca_pem().to_vec()),
        style,
    };
    // What is waited for, and what is typed then.
    let script = [
        ("online as", "/version"),
        ("</version>", "/raw <iq type='get'><query xmlns='jabber:iq:roster'></iq>"),
        ("not done", "/filter message with=juliet@example.org"),
        ("showing message", "<message to='juliet@example.org' type='chat'><body>My ears have not yet drunk</body></message>"),
        ("By whose direction", "/filter -iq"),
        ("showing -iq", "/ping"),
        ("/ping", "/quit"),
    ];
    let (keyboard, typed) = mpsc::unbounded();
    let (mut script, mut seen) = (Vec::from(script), Vec::new());
    let say = |shown: String| {
        println!("{shown}");
        seen.push(shown);
        let mut cue = seen.last().cloned().unwrap_or_default();
        while script.first().is_some_and(|(word, _)| cue.contains(word)) {
            let (_, line) = script.remove(0);
            println!("{}", style.paint(Colour::Yellow, &format!("-> {line}")));
            // Nobody reads what is typed after `/quit`.
            let _ = keyboard.unbounded_send(line.to_owned());
            cue = line.to_owned();
        }
    };
    Box::pin(run(options, typed, say)).await?;
    juliet.close().await;
    Ok(seen)
}

#[tokio::main]
async fn main() -> xmppkit::Result<()> {
    let style = Style::of_terminal();
    let mut options = Options { jid: String::new(), password: String::new(), register: false, server: None, ca: None, style };
    let mut flags = std::env::args().skip(1).peekable();
    if flags.peek().is_none() {
        return show_itself(style).await.map(drop);
    }
    while let Some(flag) = flags.next() {
        let mut value = || flags.next().ok_or_else(|| Error::other(format!("{flag} needs a value")));
        match flag.as_str() {
            "--jid" => options.jid = value()?,
            "--password" => options.password = value()?,
            "--register" => options.register = true,
            "--server" => {
                let value = value()?;
                let (host, port) = value.rsplit_once(':').ok_or_else(|| Error::other("--server HOST:PORT"))?;
                options.server = Some((host.to_owned(), port.parse().map_err(Error::other)?));
            }
            "--ca" => options.ca = Some(std::fs::read(value()?)?),
            _ => return Err(Error::other(format!("{flag}? --jid, --password, --register, --server and --ca are known"))),
        }
    }
    // A thread of its own: reading the console blocks.
    let (keyboard, typed) = mpsc::unbounded();
    std::thread::spawn(move || std::io::stdin().lines().map_while(Result::ok).try_for_each(|line| keyboard.unbounded_send(line)));
    run(options, typed, |shown| println!("{shown}")).await
}
