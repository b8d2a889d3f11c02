//! One client's connection, from the first byte to the last: the stream, its negotiation, and the hand-over of stanzas
//! to the shared state.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::faults::Moment;
use super::features;
use super::link::{Event, Link};
use super::management::Refusal;
use super::options::Misbehaviour;
use super::sasl::Authenticated;
use super::state::{ConnectionId, Meter, Shared, random_id};
use super::tls::Identity;
use super::tree::{Element, escape, ns};
use crate::error::{Phase, StreamError};
use crate::xml::{Framer, Limits, StreamHeader, StreamItem, XmlError};

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum End {
    /// There is nobody left to tell.
    Gone,
    /// The client closed its stream.
    Closed,
    /// The server closes without a word.
    Silent,
    /// The server closes, with a stream error if there is one.
    Server(Option<Failure>),
}

/// A stream error to send.
#[derive(Debug)]
pub(super) struct Failure {
    error: StreamError,
    /// An application's condition beside the defined one.
    application: Option<Box<Element>>,
}

impl Failure {
    pub(super) fn new(condition: &str, text: Option<&str>) -> Self {
        StreamError::new(condition, text.map(Into::into)).into()
    }

    /// XEP-0198 §6.
    pub(super) fn too_many_handled(h: u32, sent: u32) -> Self {
        let condition = Element::new("handled-count-too-high", ns::SM);
        let condition = condition.attr("h", h.to_string()).attr("send-count", sent.to_string());
        Self { error: StreamError::new("undefined-condition", None), application: Some(Box::new(condition)) }
    }

    fn to_element(&self) -> Element {
        let error = Element::new("error", ns::STREAM).child(Element::new(&self.error.condition, ns::STREAM_ERRORS));
        let text = self.error.text.as_deref().map(|text| Element::with_text("text", ns::STREAM_ERRORS, text));
        error.children_from(text).children_from(self.application.as_deref().cloned())
    }
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Self { error, application: None }
    }
}

impl From<Failure> for End {
    fn from(failure: Failure) -> Self {
        Self::Server(Some(failure))
    }
}

impl From<Event> for End {
    fn from(event: Event) -> Self {
        match event {
            Event::Close(error) => Self::Server(error.map(Into::into)),
            Event::Bytes(_) | Event::Eof | Event::Gone => Self::Gone,
        }
    }
}

/// A connection and its task's own state.
pub(super) struct Connection {
    pub(super) shared: Arc<Shared>,
    pub(super) id: ConnectionId,
    pub(super) link: Link,
    identity: Arc<Identity>,
    framer: Framer,
    pub(super) secure: bool,
    header_sent: bool,
    pub(super) failed_attempts: u32,
    entered: HashSet<Phase>,
}

/// Serves one client until the connection ends.
pub(super) async fn serve(tcp: TcpStream, direct_tls: bool, shared: Arc<Shared>, identity: Arc<Identity>) {
    let _ = tcp.set_nodelay(true);
    let (sender, commands) = mpsc::unbounded_channel();
    let meter = Arc::new(Meter::default());
    let (id, weather, limits) = shared.change(|state| {
        let limits = Limits { max_stanza_bytes: state.differences().max_stanza_bytes, ..Limits::default() };
        (state.connect(sender, Arc::clone(&meter)), state.weather, limits)
    });
    // However the task ends, aborted ones included, its session must end with it.
    let _registration = Registration { shared: Arc::clone(&shared), id };
    let link = Link::new(tcp, commands, weather, meter, Arc::clone(&shared));
    let mut connection = Connection {
        shared,
        id,
        link,
        identity,
        framer: Framer::new(limits),
        secure: false,
        header_sent: false,
        failed_attempts: 0,
        entered: HashSet::new(),
    };
    let end = match connection.run(direct_tls).await {
        Ok(never) => match never {},
        Err(end) => end,
    };
    connection.end(end).await;
}

struct Registration {
    shared: Arc<Shared>,
    id: ConnectionId,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.shared.change(|state| state.disconnect(self.id));
    }
}

enum Never {}

impl Connection {
    async fn run(&mut self, direct_tls: bool) -> Result<Never, End> {
        if direct_tls {
            self.handshake(true).await?;
        }
        self.open_stream(None).await?;
        self.negotiate().await?;
        self.enter(Phase::Session).await?;
        loop {
            let element = self.element().await?;
            self.shared.change(|state| state.handle(self.id, element))?;
        }
    }

    /// Everything between the first features and the bound resource.
    async fn negotiate(&mut self) -> Result<(), End> {
        let mut authenticated: Option<Authenticated> = None;
        loop {
            let element = self.element().await?;
            match (element.ns(), element.name()) {
                (ns::TLS, "starttls") if !self.secure && authenticated.is_none() => self.start_tls().await?,
                (ns::SASL, "auth") if authenticated.is_none() => {
                    if let Some(who) = self.authenticate(&element).await? {
                        self.shared.change(|state| state.authenticated(self.id, &who));
                        self.open_stream(Some(&who)).await?;
                        authenticated = Some(who);
                    }
                }
                (namespace, "resume") if authenticated.is_some() && self.shared.lock().speaks(namespace) => {
                    if let Some(who) = &authenticated
                        && self.resume(&element, who).await?
                    {
                        return Ok(());
                    }
                }
                (ns::CLIENT, "iq") => match &authenticated {
                    None => self.iq_before_login(&element).await?,
                    Some(_) if element.find("bind", ns::BIND).is_some() => {
                        if self.bind(&element).await? {
                            return Ok(());
                        }
                    }
                    Some(_) => return Err(Failure::new("not-authorized", Some("bind a resource first")).into()),
                },
                (ns::CLIENT, "message" | "presence") => return Err(Failure::new("not-authorized", None).into()),
                _ => return Err(Failure::new("unsupported-stanza-type", None).into()),
            }
        }
    }

    async fn start_tls(&mut self) -> Result<(), End> {
        self.enter(Phase::StartTls).await?;
        if !self.shared.lock().config.tls_offered || self.misbehaves(&Misbehaviour::RefuseStartTls) {
            self.write(&Element::new("failure", ns::TLS));
            // RFC 6120 §5.4.2.2: the server closes the stream.
            return Err(End::Server(None));
        }
        self.write(&Element::new("proceed", ns::TLS));
        let injected = self.misbehaviour(|m| match m {
            Misbehaviour::InjectBeforeTls(text) => Some(text.clone()),
            _ => None,
        });
        self.link.write(injected.unwrap_or_default());
        self.link.flush().await?;
        self.handshake(false).await?;
        self.open_stream(None).await
    }

    async fn handshake(&mut self, direct: bool) -> Result<(), End> {
        self.enter(Phase::TlsHandshake).await?;
        if self.misbehaves(&Misbehaviour::TlsGarbage) {
            // Only after the client has begun: what comes with `<proceed/>` is discarded by a careful client.
            let _hello = self.link.next().await;
            self.link.write("this is no TLS\r\n".repeat(8));
            return Err(self.ignore().await);
        }
        if self.shared.lock().armed.iter().any(|(moment, _)| *moment == Moment::TlsHandshake) {
            let _hello = self.link.next().await;
            self.cut_at(Moment::TlsHandshake).await?;
        }
        let identity = Arc::clone(&self.identity);
        self.link.start_tls(if direct { &identity.direct } else { &identity.starttls }).await?;
        // What came in before the handshake must not be believed after it.
        self.framer.restart();
        self.secure = true;
        let id = self.id;
        self.shared.change(|state| {
            if let Some(connection) = state.connections.get_mut(&id) {
                connection.tls = true;
            }
        });
        Ok(())
    }

    /// Reads the client's header, answers it, and sends features.
    async fn open_stream(&mut self, who: Option<&Authenticated>) -> Result<(), End> {
        self.framer.restart();
        self.header_sent = false;
        let header = match self.item().await? {
            StreamItem::Open(header) => header,
            StreamItem::Close => return Err(End::Closed),
            _ => return Err(Failure::new("invalid-xml", None).into()),
        };
        self.enter(Phase::Header).await?;
        self.send_header(header.from());
        self.check_header(&header)?;
        self.enter(Phase::Features).await?;
        let features = features::of(&self.shared.lock(), self.secure, who);
        self.write(&features);
        Ok(())
    }

    fn check_header(&self, header: &StreamHeader) -> Result<(), Failure> {
        if header.name() != "stream" || header.ns() != ns::STREAM || header.content_ns() != ns::CLIENT {
            return Err(Failure::new("invalid-namespace", None));
        }
        let version = header.version().and_then(|version| version.split('.').next()?.parse::<u32>().ok());
        if version.is_none_or(|major| major < 1) {
            return Err(Failure::new("unsupported-version", None));
        }
        let domain = header.to().and_then(|to| jid::DomainPart::new(to).ok());
        match domain {
            Some(domain) if *domain == *self.shared.lock().domain => Ok(()),
            _ => Err(Failure::new("host-unknown", None)),
        }
    }

    fn send_header(&mut self, to: Option<&str>) {
        let state = self.shared.lock();
        let differences = state.differences();
        let mut header = String::from("<?xml version='1.0'?><stream:stream");
        let mut put = |name: &str, value: &str| {
            header.push(' ');
            header.push_str(name);
            header.push('=');
            header.push(differences.header_quote);
            escape(&mut header, value);
            header.push(differences.header_quote);
        };
        put("xmlns", ns::CLIENT);
        put("xmlns:stream", ns::STREAM);
        for (prefix, namespace) in &differences.header_prefixes {
            put(&format!("xmlns:{prefix}"), namespace);
        }
        put("id", &random_id());
        put("from", state.domain.as_str());
        if let Some(to) = to {
            put("to", to);
        }
        put("version", "1.0");
        if let Some(lang) = &differences.header_lang {
            put("xml:lang", lang);
        }
        header.push('>');
        drop(state);
        self.link.write(header);
        self.header_sent = true;
    }

    /// IQs before login: registration, and nothing else.
    async fn iq_before_login(&mut self, iq: &Element) -> Result<(), End> {
        if iq.find("query", ns::REGISTER).is_none() {
            return Err(Failure::new("not-authorized", None).into());
        }
        self.enter(Phase::Register).await?;
        let secure = self.secure;
        let reply = self.shared.change(|state| state.register_before_login(iq, secure));
        self.write(&reply);
        Ok(())
    }

    /// Whether the resource is bound now.
    async fn bind(&mut self, iq: &Element) -> Result<bool, End> {
        self.enter(Phase::Bind).await?;
        let (reply, bound) = self.shared.change(|state| state.bind(self.id, iq));
        self.write(&reply);
        if bound {
            let keepalive = self.shared.lock().differences().whitespace_keepalive;
            self.link.keep_alive(keepalive);
        }
        Ok(bound)
    }

    /// Whether a session was resumed.
    async fn resume(&mut self, request: &Element, who: &Authenticated) -> Result<bool, End> {
        self.cut_at(Moment::ResumeRead).await?;
        match self.shared.change(|state| state.resume(self.id, request, &who.account)) {
            Ok(resumed) => {
                self.cut_at(Moment::ResumeDone).await?;
                self.write(&resumed);
                self.cut_at(Moment::Resumed).await?;
                self.shared.change(|state| state.resend(self.id));
                Ok(true)
            }
            Err(Refusal::Failed(failed)) => {
                self.write(&failed);
                Ok(false)
            }
            Err(Refusal::Stream(failure)) => Err(failure.into()),
        }
    }

    /// A moment has come: the connection is cut if it is to be cut now.
    async fn cut_at(&mut self, moment: Moment) -> Result<(), End> {
        let how = self.shared.change(|state| {
            let at = state.armed.iter().position(|(armed, _)| *armed == moment)?;
            Some(state.armed.remove(at).1)
        });
        let Some(how) = how else { return Ok(()) };
        self.link.flush().await?;
        self.link.cut(how).await.map_or(Ok(()), |event| Err(event.into()))
    }

    /// The next element of the stream.
    pub(super) async fn element(&mut self) -> Result<Element, End> {
        match self.item().await? {
            StreamItem::Element(frame) => {
                let meter = self.shared.lock().connections.get(&self.id).map(|c| Arc::clone(&c.meter));
                if let Some(meter) = meter {
                    meter.stanzas_in.fetch_add(1, Ordering::Relaxed);
                }
                Ok(Element::from(&frame.root().to_element()))
            }
            StreamItem::Close => Err(End::Closed),
            _ => Err(Failure::new("invalid-xml", None).into()),
        }
    }

    async fn item(&mut self) -> Result<StreamItem, End> {
        loop {
            match self.framer.next_item() {
                Ok(Some(item)) => return Ok(item),
                Ok(None) => {}
                Err(error) => return Err(self.xml_failure(error).into()),
            }
            match self.link.next().await {
                Event::Bytes(bytes) => self.framer.push(&bytes),
                event => return Err(event.into()),
            }
        }
    }

    fn xml_failure(&self, error: XmlError) -> Failure {
        use crate::xml::XmlErrorKind as Kind;
        match error.kind {
            Kind::Entity | Kind::Comment | Kind::ProcessingInstruction | Kind::Doctype | Kind::XmlVersion | Kind::Encoding => {
                Failure::new("restricted-xml", None)
            }
            Kind::StanzaTooLarge
            | Kind::TooDeep
            | Kind::TooManyAttributes
            | Kind::TooManyChildren
            | Kind::TooManyPrefixes
            | Kind::NameTooLong
            | Kind::ReferenceTooLong
            | Kind::BufferFull => {
                let oversize = self.shared.lock().differences().oversize.clone();
                let condition = Element::new("stanza-too-big", "urn:xmpp:errors");
                let application = oversize.application_condition.then(|| Box::new(condition));
                Failure { error: StreamError::new("policy-violation", oversize.text), application }
            }
            _ => Failure::new("not-well-formed", None),
        }
    }

    pub(super) fn write(&mut self, element: &Element) {
        self.link.write(element.to_xml());
    }

    pub(super) fn misbehaviour<T>(&self, pick: impl Fn(&Misbehaviour) -> Option<T>) -> Option<T> {
        self.shared.lock().config.misbehaviours.iter().find_map(pick)
    }

    pub(super) fn misbehaves(&self, which: &Misbehaviour) -> bool {
        self.misbehaviour(|m| (m == which).then_some(())).is_some()
    }

    /// A phase begins: here the server fails if it is to fail in this one.
    pub(super) async fn enter(&mut self, phase: Phase) -> Result<(), End> {
        if !self.entered.insert(phase) {
            return Ok(());
        }
        let found = self.misbehaviour(|m| match m {
            Misbehaviour::SilentIn(p)
            | Misbehaviour::CloseIn(p)
            | Misbehaviour::StreamErrorIn(p, _)
            | Misbehaviour::SendIn(p, _) => (*p == phase).then(|| m.clone()),
            _ => None,
        });
        match found {
            Some(Misbehaviour::SilentIn(_)) => Err(self.ignore().await),
            Some(Misbehaviour::CloseIn(_)) => {
                self.link.flush().await?;
                Err(End::Silent)
            }
            Some(Misbehaviour::StreamErrorIn(_, condition)) => Err(Failure::new(&condition, None).into()),
            Some(Misbehaviour::SendIn(_, text)) => {
                self.link.write(text);
                Err(self.ignore().await)
            }
            _ => Ok(()),
        }
    }

    /// Reads and forgets, until the client goes or the server is told to end.
    pub(super) async fn ignore(&mut self) -> End {
        loop {
            match self.link.next().await {
                Event::Bytes(_) => {}
                event => return event.into(),
            }
        }
    }

    /// Keeps the session for its time, if it is one that is kept.
    fn detach(&self) {
        let (id, shared) = (self.id, Arc::downgrade(&self.shared));
        let Some(max) = self.shared.change(|state| state.detach(id)) else { return };
        tokio::spawn(async move {
            tokio::time::sleep(max).await;
            if let Some(shared) = shared.upgrade() {
                shared.change(|state| state.expire(id));
            }
        });
    }

    /// Takes leave as the end asks for.
    async fn end(mut self, end: End) {
        let end = match end {
            End::Closed => match self.enter(Phase::Closing).await {
                Ok(()) => End::Server(None),
                Err(other) => other,
            },
            end => end,
        };
        // The session is over, or kept, for everybody else before the client hears of it.
        match end {
            End::Gone | End::Silent => self.detach(),
            End::Closed | End::Server(_) => self.shared.change(|state| state.unbind(self.id)),
        }
        match end {
            End::Gone | End::Silent | End::Closed => self.link.close_silently().await,
            End::Server(failure) => {
                if !self.header_sent {
                    self.send_header(None);
                }
                if let Some(failure) = failure {
                    self.write(&failure.to_element());
                }
                self.link.write("</stream:stream>");
                self.link.finish().await;
            }
        }
    }
}
