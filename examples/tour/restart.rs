//! What is still there later: on the server, and in the file when everything starts again.

use futures::FutureExt as _;
use xmppkit::archive::{CatchUp, HistoryMessage};
use xmppkit::client::{XmlDirection, XmlTraffic};
use xmppkit::error::{Error, ErrorKind, Result};
use xmppkit::prelude::*;

use super::{Tour, say, step};

const ROSTER: &str = "jabber:iq:roster";
const ROSTER_VERSIONS: &str = "urn:xmpp:features:rosterver";

impl Tour {
    /// Juliet reads what was said from the server's archive (XEP-0313).
    pub(crate) async fn read_back(&self, said: &[String; 2]) -> Result<()> {
        let archive = self.juliet.archive();
        let looked = archive.catch_up().wait_for(|state| !matches!(state, CatchUp::Waiting | CatchUp::Running)).await?;
        if matches!(looked, CatchUp::NoArchive) {
            say("juliet", "finds no archive on this server");
            return Ok(());
        }
        let fetch = async {
            // A server may write to its archive a moment after it delivers.
            loop {
                let messages = archive.server().query().with(self.romeo.account()).backwards().take(50).collect::<Vec<_>>().await;
                let mut messages = messages.into_iter().collect::<Result<Vec<_>>>()?;
                messages.retain(|message| said.iter().any(|id| message.id().as_deref() == Some(id)));
                if messages.len() == said.len() {
                    messages.reverse();
                    return Ok(messages);
                }
                self.juliet.ping_server().await?;
            }
        };
        show(&step("juliet", "reads the conversation back from the server's archive", fetch).await?);
        Ok(())
    }

    /// Everything was closed, and the file opened again. What it holds is there before anybody connects.
    pub(crate) async fn start_again(&self) -> Result<()> {
        say("", "everything is closed, and starts again on the same file");
        for (who, client, other) in [("romeo", &self.romeo, &self.juliet), ("juliet", &self.juliet, &self.romeo)] {
            let newest = client.archive().messages().with(other.account()).backwards().take(2).collect::<Vec<_>>();
            let read = async {
                let mut messages = newest.await.into_iter().collect::<Result<Vec<_>>>()?;
                messages.reverse();
                let bodies: Vec<_> = messages.iter().map(|message| message.body().unwrap_or_default()).collect();
                let all = bodies.len() == 2 && bodies.iter().all(|body| !body.is_empty());
                if all { Ok(messages) } else { Err(Error::other(format!("the file has {bodies:?} of the conversation"))) }
            };
            let messages = step(who, "reads the conversation from the file, offline", read).await?;
            show(&messages);
            self.log_in_again(who, client, other).await?;
        }
        Ok(())
    }

    /// The roster is asked for by the version that is in the file (RFC 6121 §2.6).
    async fn log_in_again(&self, who: &str, client: &Client, other: &Client) -> Result<()> {
        let known = client.roster().get(other.account()).ok_or_else(|| Error::other("the file has no roster"))?;
        let mut traffic = client.watch_xml();
        step(who, "logs in again", client.connect()).await?;
        let mut seen = Vec::new();
        while let Some(Some(piece)) = traffic.next().now_or_never() {
            seen.push(piece.map_err(|_| Error::other("more was sent than was watched"))?);
        }
        let (asked, answer) = roster_exchange(&seen).ok_or_else(|| Error::other("no roster was asked for"))?;
        say("", &format!("asks:   {asked}"));
        say("", &format!("answer: {answer}"));
        let features = client.stream_features().ok_or(ErrorKind::NotOnline)?;
        if features.child(ROSTER_VERSIONS, "ver").is_none() {
            say(who, &format!("gets the whole roster, {} bytes: the server has no versions of it", answer.len()));
        } else if answer.contains(ROSTER) {
            return Err(Error::other("the server has versions of the roster and sent it although nothing changed"));
        } else {
            say(who, &format!("gets no contact again: the answer to the known version is {} bytes", answer.len()));
        }
        match client.roster().get(other.account()) {
            Some(contact) if contact == known => Ok(()),
            other => Err(Error::other(format!("the roster is another: {other:?}"))),
        }
    }
}

/// The request for the roster, and its answer.
fn roster_exchange(seen: &[XmlTraffic]) -> Option<(&str, &str)> {
    let asked = seen.iter().find(|piece| piece.direction == XmlDirection::Sent && piece.xml.contains(ROSTER))?;
    let id = ["id='", "id=\""].iter().find_map(|quote| asked.xml.split_once(quote)?.1.split(['\'', '"']).next())?;
    let answers =
        |piece: &&XmlTraffic| piece.direction == XmlDirection::Received && piece.xml.starts_with("<iq") && piece.xml.contains(id);
    Some((&asked.xml, &seen.iter().find(answers)?.xml))
}

fn show(messages: &[HistoryMessage]) {
    for message in messages {
        say("", &format!("{}: {}", message.from().to_bare(), message.body().unwrap_or_default()));
    }
}
