//! Entity time (XEP-0202): what time it is where somebody is, asked and answered.
//!
//! ```no_run
//! use xmppkit::Client;
//! use xmppkit::xep::time::{TimeSetting, Times};
//!
//! # async fn run() -> xmppkit::Result<()> {
//! let client = Client::builder("romeo@example.net".parse()?)
//!     .password("secret")
//!     .setting(TimeSetting::new().zone(|| 60)) // from whatever knows about time zones
//!     .build()
//!     .await?;
//! client.connect().await?;
//! let juliet = "juliet@example.com/balcony".parse::<xmppkit::jid::FullJid>()?;
//! println!("{} minutes east of Greenwich", client.entity_time(juliet).await?.offset);
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use jid::Jid;
use xmpp_parsers::date::DateTime;
use xmpp_parsers::time::{TimeQuery, TimeResult};
use xso::AsXml;

use crate::client::Client;
use crate::error::{Error, ErrorKind, Result, StanzaError, StanzaErrorType};
use crate::ext::{Answer, Ctx, Extension, IqRefusal, IqRequest, Registrar};
use crate::roster::{AnswerTo, RosterService};
use crate::xml::{Node, ns};

/// Lets clients ask for the time.
pub trait Times {
    /// Asks what time it is where somebody is: a server or service, or a client by its full JID.
    ///
    /// # Errors
    /// [`ErrorKind::Stanza`] if they do not say; [`ErrorKind::Payload`] if what they say is no time; the errors of every
    /// [request](Client::iq_get); [`ErrorKind::ExtensionMissing`] if the extension was
    /// [removed](crate::client::ClientBuilder::without).
    fn entity_time(&self, jid: impl Into<Jid>) -> BoxFuture<'static, Result<EntityTime>>;
}

impl Times for Client {
    fn entity_time(&self, jid: impl Into<Jid>) -> BoxFuture<'static, Result<EntityTime>> {
        let request = self.ext::<TimeService>().map(|_| self.iq_get(jid.into(), &TimeQuery));
        Box::pin(async move {
            let request = request.ok_or(ErrorKind::ExtensionMissing("TimeService"))?;
            let reply = request.await?;
            let time = reply.stanza().child(ns::TIME, "time");
            time.and_then(EntityTime::read).ok_or_else(|| {
                let kind = ErrorKind::Payload { ns: ns::TIME.to_owned(), name: "time".to_owned() };
                Error::new(kind).with_context("the reply tells no time")
            })
        })
    }
}

/// What time it is where somebody is. It was so when they answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntityTime {
    /// Their clock.
    pub time: SystemTime,
    /// How far their local time is ahead of UTC, in minutes: 60 in Verona in winter, -360 in Chicago.
    pub offset: i32,
}

impl EntityTime {
    fn read(node: Node<'_>) -> Option<Self> {
        let text = |name| Some(node.child(ns::TIME, name)?.text().trim().to_owned());
        let time: DateTime = text("utc")?.parse().ok()?;
        let millis = u64::try_from(time.0.timestamp_millis()).ok()?;
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(millis))?;
        Some(Self { time, offset: read_offset(&text("tzo")?)? })
    }
}

/// What this client says about the time, and to whom. [Set](crate::client::ClientBuilder::setting) it for the application; the
/// default tells UTC, and tells it to contacts.
#[derive(Clone)]
pub struct TimeSetting {
    zone: Arc<dyn Fn() -> i32 + Send + Sync>,
    answer: AnswerTo,
}

impl TimeSetting {
    /// Tells UTC to contacts.
    #[must_use]
    pub fn new() -> Self {
        Self { zone: Arc::new(|| 0), answer: AnswerTo::Contacts }
    }

    /// Asks the application how far local time is ahead of UTC, in minutes, whenever somebody wants to know. It says
    /// something about where the user is.
    #[must_use]
    pub fn zone(mut self, zone: impl Fn() -> i32 + Send + Sync + 'static) -> Self {
        self.zone = Arc::new(zone);
        self
    }

    /// Tells it to these; others get `service-unavailable`.
    #[must_use]
    pub fn answer(mut self, answer: AnswerTo) -> Self {
        self.answer = answer;
        self
    }
}

impl Default for TimeSetting {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TimeSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeSetting").field("answer", &self.answer).finish_non_exhaustive()
    }
}

/// `<time/>` of an answer (XEP-0202 §3).
#[derive(AsXml, Debug, Clone)]
#[xml(namespace = ns::TIME, name = "time")]
struct Told {
    #[xml(extract(fields(text)))]
    tzo: String,
    #[xml(extract(fields(text)))]
    utc: String,
}

/// The extension that answers, and lets clients ask. It uses the [roster](RosterService) to know who is a contact.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct TimeService;

impl TimeService {
    /// The extension, for one client.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

impl Extension for TimeService {
    fn register(&self, reg: &mut Registrar<'_>) {
        reg.uses::<RosterService>();
        reg.setting(TimeSetting::new());
        reg.feature(ns::TIME);
        reg.on_iq_get(|request: IqRequest<TimeQuery>, cx: Ctx| async move { answer(request.from(), &cx) });
    }

    fn registers_alike(&self) -> bool {
        true
    }
}

fn answer(from: Option<Jid>, cx: &Ctx) -> Result<Answer, IqRefusal> {
    let setting = cx.setting::<TimeSetting>().filter(|setting| setting.answer.includes(from.as_ref(), cx));
    let Some(setting) = setting else {
        return Err(StanzaError::new(StanzaErrorType::Cancel, "service-unavailable").into());
    };
    Answer::payload(&tell(SystemTime::now(), (setting.zone)())?)
}

fn tell(now: SystemTime, offset: i32) -> Result<Told, IqRefusal> {
    // The type that xmpp-parsers has for this writes offsets west of Greenwich wrong; its calendar is used.
    let zero = "+00:00".parse().map_err(Error::other)?;
    let time = TimeResult { tz_offset: zero, utc: now.into() };
    Ok(Told { tzo: write_offset(offset), utc: time.utc.format("%Y-%m-%dT%H:%M:%SZ").to_string() })
}

/// As XEP-0082 §3 writes it. Nowhere on Earth is more than a day away.
fn write_offset(offset: i32) -> String {
    let offset = offset.clamp(-1_439, 1_439);
    let sign = if offset < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", offset.abs() / 60, offset.abs() % 60)
}

fn read_offset(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let (sign, rest) = if let Some(rest) = text.strip_prefix('-') { (-1, rest) } else { (1, text.strip_prefix('+')?) };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |text: &str, below: i32| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<i32>().ok().filter(|number| digits && *number < below)
    };
    Some(sign * (number(hours, 24)? * 60 + number(minutes, 60)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xml::Frame;

    #[test]
    fn offsets_are_written_and_read() {
        for (minutes, text) in
            [(0, "+00:00"), (60, "+01:00"), (-360, "-06:00"), (-210, "-03:30"), (-30, "-00:30"), (825, "+13:45")]
        {
            assert_eq!((write_offset(minutes).as_str(), read_offset(text)), (text, Some(minutes)));
        }
        assert_eq!((write_offset(i32::MIN).as_str(), read_offset("Z")), ("-23:59", Some(0)));
        for text in ["", "+", "01:00", "+1:00", "+01:0", "+01:60", "+24:00", "+0100", "+-1:00", "é:é"] {
            assert_eq!(read_offset(text), None, "{text}");
        }
    }

    #[test]
    fn the_specifications_example_is_read() {
        let time = |children: &str| {
            EntityTime::read(Frame::parse(&format!("<time xmlns='urn:xmpp:time'>{children}</time>")).expect("XML").root())
        };
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_166_551_115);
        let expected = EntityTime { time: at, offset: -360 };
        assert_eq!(time("<tzo>-06:00</tzo><utc>2006-12-19T17:58:35Z</utc>"), Some(expected));
        assert_eq!(time("<utc>2006-12-19T17:58:35Z</utc>"), None);
        assert_eq!(time("<tzo>-06:00</tzo><utc>yesterday</utc>"), None);
        let told = tell(at, -210).expect("told");
        assert_eq!((told.tzo.as_str(), told.utc.as_str()), ("-03:30", "2006-12-19T17:58:35Z"));
    }
}
