//! Which pieces are shown.

use std::fmt;

use xmppkit::Error;
use xmppkit::client::{XmlDirection, XmlKind, XmlTraffic};
use xmppkit::xml::StanzaKind;

use super::pretty::{Token, parts, tokens};

/// What may be asked for.
pub(crate) const HELP: &str = "\
/filter WORDS  show only what fits; without words, everything:
                 sent, received
                 message, presence, iq, nonza, stream, space, fragment
                 from=JID, to=JID, with=JID
                 ns=PART (of a namespace), text=PART (of the XML)
               words of one line are alternatives, those of different lines must
               all fit; -WORD hides what fits it";

/// Words, of which all sorts must fit.
#[derive(Debug, Default, Clone)]
pub(crate) struct Filter {
    words: Vec<Word>,
}

#[derive(Debug, Clone)]
struct Word {
    hides: bool,
    text: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Direction(XmlDirection),
    Kind(&'static str),
    Address { from: bool, to: bool, jid: String },
    Namespace(String),
    Text(String),
}

impl Filter {
    /// A filter of these words; none show everything.
    pub(crate) fn parse(line: &str) -> xmppkit::Result<Self> {
        line.split_whitespace().map(word).collect::<xmppkit::Result<_>>().map(|words| Self { words })
    }

    /// Whether the piece is shown.
    pub(crate) fn shows(&self, piece: &XmlTraffic) -> bool {
        let (mut asked, mut fits) = ([false; 5], [false; 5]);
        for word in &self.words {
            let fitting = word.test.fits(piece);
            if word.hides && fitting {
                return false;
            }
            if !word.hides {
                let sort = word.test.sort();
                asked[sort] = true;
                fits[sort] |= fitting;
            }
        }
        asked.iter().zip(fits).all(|(asked, fits)| !asked || fits)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.words[..] {
            [] => f.write_str("everything"),
            words => f.write_str(&words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ")),
        }
    }
}

fn word(text: &str) -> xmppkit::Result<Word> {
    let (hides, word) = text.strip_prefix('-').map_or((false, text), |word| (true, word));
    let address = |from, to, jid: &str| Test::Address { from, to, jid: jid.to_lowercase() };
    let test = match word.split_once('=').unwrap_or((word, "")) {
        ("sent", "") => Test::Direction(XmlDirection::Sent),
        ("received", "") => Test::Direction(XmlDirection::Received),
        (kind, "") => {
            let kinds = ["message", "presence", "iq", "nonza", "stream", "space", "fragment"];
            let kind = kinds.into_iter().find(|known| *known == kind);
            Test::Kind(kind.ok_or_else(|| Error::other(format!("{text}? What /filter takes says /help")))?)
        }
        ("from", jid) => address(true, false, jid),
        ("to", jid) => address(false, true, jid),
        ("with", jid) => address(true, true, jid),
        ("ns", part) => Test::Namespace(part.to_owned()),
        ("text", part) => Test::Text(part.to_lowercase()),
        _ => return Err(Error::other(format!("{text}? What /filter takes says /help"))),
    };
    Ok(Word { hides, text: text.to_owned(), test })
}

impl Test {
    fn sort(&self) -> usize {
        match self {
            Self::Direction(_) => 0,
            Self::Kind(_) => 1,
            Self::Address { .. } => 2,
            Self::Namespace(_) => 3,
            Self::Text(_) => 4,
        }
    }

    fn fits(&self, piece: &XmlTraffic) -> bool {
        match self {
            Self::Direction(direction) => piece.direction == *direction,
            Self::Kind(kind) => name(piece.kind) == *kind,
            Self::Address { from, to, jid } => {
                let is = |name: &str| attribute(&piece.xml, name).is_some_and(|found| same(&found.to_lowercase(), jid));
                (*from && is("from")) || (*to && is("to"))
            }
            Self::Namespace(part) => tokens(&piece.xml).into_iter().any(|token| {
                let (Token::Start(tag) | Token::Empty(tag)) = token else { return false };
                parts(tag).1.into_iter().any(|(name, value)| name.starts_with("xmlns") && value.contains(part.as_str()))
            }),
            Self::Text(part) => piece.xml.to_lowercase().contains(part.as_str()),
        }
    }
}

/// A bare JID stands for all its resources.
fn same(found: &str, asked: &str) -> bool {
    let bare = found.split_once('/').map_or(found, |(bare, _)| bare);
    found == asked || bare == asked
}

/// An attribute of a piece's outermost element.
pub(crate) fn attribute<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let tag = tokens(xml).into_iter().find_map(|token| match token {
        Token::Start(tag) | Token::Empty(tag) => Some(tag),
        _ => None,
    })?;
    parts(tag).1.into_iter().find(|(known, _)| *known == name).map(|(_, value)| value)
}

/// The word for a kind.
pub(crate) fn name(kind: XmlKind) -> &'static str {
    match kind {
        XmlKind::StreamOpen | XmlKind::StreamClose => "stream",
        XmlKind::Stanza(StanzaKind::Message) => "message",
        XmlKind::Stanza(StanzaKind::Presence) => "presence",
        XmlKind::Stanza(_) => "iq",
        XmlKind::Nonza => "nonza",
        XmlKind::Whitespace => "space",
        _ => "fragment",
    }
}
