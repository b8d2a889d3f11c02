//! A chat on the console: contacts with their presence, requests, messages and the connection, all in one loop. Without
//! arguments two users show it on a server inside the program.
//!
//! ```text
//! cargo run --example console_chat
//! cargo run --example console_chat -- --jid romeo@example.org --password secret [--register] [--server HOST:PORT] [--ca FILE]
//! ```

use futures::channel::mpsc;
use futures::stream::Stream;
use xmppkit::Error;
use xmppkit::messaging::Bounce;
use xmppkit::prelude::*;
use xmppkit::testing::Server;

const HELP: &str = "/msg JID TEXT, and then TEXT alone; /add JID [NAME], /remove JID, /accept JID, /deny JID, /roster,
/show available|chat|away|xa|dnd [TEXT], /quit";

/// What is told on the command line.
#[derive(Debug, Default)]
pub struct Options {
    /// The account.
    pub jid: String,
    /// Its password.
    pub password: String,
    /// Whether the account is to be made first.
    pub register: bool,
    /// The server's host and port, where DNS is not to be asked.
    pub server: Option<(String, u16)>,
    /// A certificate authority of one's own, in PEM.
    pub ca: Option<Vec<u8>>,
}

/// Chats until `/quit`, the end of what is typed, or a connection that has failed for good. `say` shows a line.
pub async fn run(
    options: Options,
    mut typed: impl Stream<Item = String> + Unpin,
    mut say: impl FnMut(String),
) -> xmppkit::Result<()> {
    let mut builder = Client::builder(options.jid.parse()?).password(options.password);
    if let Some((host, port)) = options.server {
        builder = builder.server(host, port, TlsMode::StartTls);
    }
    if let Some(pem) = options.ca {
        builder = builder.trust(Trust::only_ca(pem)?);
    }
    let client = builder.build().await?;

    // All of it before connecting, so that nothing is missed: what happens, and state that begins with how it is now.
    let (mut messages, mut bounces) = (client.messages().events(), client.subscribe::<Bounce>().events());
    let (mut roster, mut presence) = (client.roster().watch(), client.presence().watch());
    let mut states = client.states();
    if options.register {
        client.register().await?
    } else {
        client.connect().await?
    }
    say(HELP.to_owned());

    let mut partner = None;
    loop {
        tokio::select! {
            Some(message) = messages.next() => {
                let to = if message.direction() == Direction::Outgoing { "to " } else { "" };
                say(format!("{to}{}: {}", message.contact(), message.body().unwrap_or_default()));
            }
            Some(bounce) = bounces.next() => say(format!("a message did not arrive: {}", bounce.error())),
            Some(observed) = roster.next() => match observed {
                Observed::Reset(state) => {
                    state.contacts().for_each(|contact| say(format!("{} ({})", contact.jid(), contact.subscription())));
                    state.requests().for_each(|request| say(asks(request)));
                }
                Observed::Change(RosterChange::Contact(contact)) => say(format!("{} ({})", contact.jid(), contact.subscription())),
                Observed::Change(RosterChange::Removed(jid)) => say(format!("{jid} is no contact any more")),
                Observed::Change(RosterChange::Request(request)) => say(asks(&request)),
                _ => {}
            },
            Some(observed) = presence.next() => match observed {
                Observed::Change(PresenceChange::Available(who)) if !who.is_own() => {
                    say(format!("{} is {} {}", who.jid().to_bare(), who.show(), who.status().unwrap_or_default()));
                }
                Observed::Change(PresenceChange::Unavailable(jid)) => say(format!("{} is gone", jid.to_bare())),
                _ => {}
            },
            Some(state) = states.next() => match state {
                State::Online { .. } => say(format!("online as {}", client.account())),
                State::Connecting { .. } => say("connecting".to_owned()),
                State::Waiting { cause, .. } => say(format!("offline, will try again: {cause}")),
                State::Failed(error) => return Err(error),
                _ => {}
            },
            line = typed.next() => match line.as_deref().map(str::trim) {
                None | Some("/quit") => break,
                Some("") => {}
                // What cannot be done is told, and the chat goes on.
                Some(line) => if let Err(error) = obey(&client, line, &mut partner, &mut say).await {
                    say(format!("{line}: {error}"));
                },
            },
        }
    }
    client.close().await;
    Ok(())
}

fn asks(request: &SubscriptionRequest) -> String {
    format!("{0} asks to see your presence: /accept {0} or /deny {0}", request.from())
}

/// Does what was typed.
async fn obey(client: &Client, line: &str, partner: &mut Option<BareJid>, say: &mut impl FnMut(String)) -> xmppkit::Result<()> {
    if !line.starts_with('/') {
        let partner = partner.as_ref().ok_or_else(|| Error::other("to whom? /msg JID TEXT"))?;
        client.chat(partner).send(line).await?;
        return Ok(());
    }
    let roster = client.roster();
    let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
    let (first, text) = rest.trim().split_once(' ').unwrap_or((rest.trim(), ""));
    match command {
        "/msg" => {
            let jid: BareJid = first.parse()?;
            client.chat(&jid).send(text).await?;
            *partner = Some(jid);
        }
        "/add" => roster.add(first.parse()?).name(text).and_subscribe().await?,
        "/remove" => roster.remove(&first.parse()?).await?,
        "/accept" | "/deny" => {
            let jid = first.parse()?;
            let request = roster.pending_requests().into_iter().find(|request| *request.from() == jid);
            let request = request.ok_or_else(|| Error::other("they have not asked"))?;
            let seen = roster.get(&jid).is_some_and(|contact| contact.subscription().includes_to());
            match command {
                "/deny" => request.deny().await?,
                _ if seen => request.accept().await?,
                _ => request.accept_and_subscribe().await?,
            }
        }
        "/roster" => {
            for contact in roster.contacts() {
                let best = client.presence().best(contact.jid());
                let show = best.map_or_else(|| "not there".to_owned(), |best| best.show().to_string());
                say(format!("{} {} ({}): {show}", contact.jid(), contact.name().unwrap_or_default(), contact.subscription()));
            }
        }
        "/show" => {
            let shows = [Show::Available, Show::Chat, Show::Away, Show::Xa, Show::Dnd];
            let show = shows.into_iter().find(|show| show.to_string() == first);
            let presence = client.presence().set(show.ok_or_else(|| Error::other("available, chat, away, xa or dnd?"))?);
            if text.is_empty() { presence.await? } else { presence.status(text).await? }
        }
        _ => return Err(Error::other(HELP)),
    }
    Ok(())
}

/// Two users on a server inside the program: what each types, and the first line each of it answers.
pub async fn show() -> xmppkit::Result<Vec<String>> {
    let server = Server::builder().domain("example.org").account("romeo", "secret").account("juliet", "secret").start().await?;
    let user = |name: &str| Options {
        jid: format!("{name}@example.org"),
        password: "secret".to_owned(),
        register: false,
        server: Some((server.address().ip().to_string(), server.address().port())),
        ca: Some(server.ca_pem().to_vec()),
    };
    let romeo = [
        ("online as", "/add juliet@example.org Juliet"),
        ("juliet@example.org asks", "/accept juliet@example.org"),
        ("juliet@example.org is available", "/msg juliet@example.org Lady, by yonder blessed moon I vow"),
        ("O, swear not by the moon", "/show away under the balcony"),
        ("juliet@example.org is dnd", "What shall I swear by?"),
        ("juliet@example.org is gone", "/quit"),
    ];
    let juliet = [
        ("romeo@example.org asks", "/accept romeo@example.org"),
        ("by yonder blessed moon", "/msg romeo@example.org O, swear not by the moon"),
        ("under the balcony", "/show dnd the nurse calls"),
        ("What shall I swear by?", "/roster"),
        ("romeo@example.org  (both): away", "/quit"),
    ];
    let (romeo, juliet) = (Box::pin(play("romeo", user("romeo"), romeo)), Box::pin(play("juliet", user("juliet"), juliet)));
    let (romeo, juliet) = futures::future::join(romeo, juliet).await;
    Ok([romeo?, juliet?].concat())
}

async fn play<const N: usize>(name: &str, options: Options, script: [(&str, &str); N]) -> xmppkit::Result<Vec<String>> {
    let (keyboard, typed) = mpsc::unbounded();
    let (mut script, mut seen) = (Vec::from(script), Vec::new());
    let say = |line: String| {
        println!("{name:6} | {line}");
        if let Some(at) = script.iter().position(|(cue, _)| line.contains(cue)) {
            let (_, answer) = script.remove(at);
            println!("{name:6} > {answer}");
            // Nobody reads what is typed after `/quit`.
            let _ = keyboard.unbounded_send(answer.to_owned());
        }
        seen.push(line);
    };
    run(options, typed, say).await?;
    Ok(seen)
}

#[tokio::main]
async fn main() -> xmppkit::Result<()> {
    let mut options = Options::default();
    let mut flags = std::env::args().skip(1).peekable();
    if flags.peek().is_none() {
        return show().await.map(drop);
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
    run(options, typed, |line| println!("{line}")).await
}
