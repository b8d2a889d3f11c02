//! One client's socket, with the faults that can be laid upon it.
//!
//! Stalls and delays work on bytes above TLS: a stalled server does not read from the socket, so that TCP pushes back
//! on the client, and writes nothing to it.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep_until, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::faults::{Cut, Way, Weather};
use super::state::{Command, Meter, Shared};
use crate::error::StreamError;

/// How long an orderly end waits for the client to take the last bytes and to close.
const LINGER: Duration = Duration::from_secs(1);

/// What happens on a link.
#[derive(Debug)]
pub(super) enum Event {
    Bytes(Vec<u8>),
    /// The client closed its direction.
    Eof,
    /// The socket broke, or was cut from this side.
    Gone,
    /// The server is to end the stream.
    Close(Option<StreamError>),
}

pub(super) struct Link {
    io: Io,
    commands: mpsc::UnboundedReceiver<Command>,
    weather: Weather,
    outbound: VecDeque<Chunk>,
    inbound: VecDeque<Chunk>,
    /// When the end of file is to be told, once it was read.
    eof: Option<Instant>,
    cut_after: Option<CutAfter>,
    needs_flush: bool,
    write_closed: bool,
    /// Nothing is said behind `</stream:stream>`.
    ended: bool,
    /// Everything is swallowed.
    lost: bool,
    keepalive: Option<Duration>,
    next_keepalive: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    buffer: Vec<u8>,
    meter: Arc<Meter>,
    shared: Arc<Shared>,
}

enum Io {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Gone,
}

/// A cut that waits for bytes to go through.
#[derive(Clone, Copy)]
struct CutAfter {
    way: Way,
    left: usize,
    how: Cut,
}

struct Chunk {
    due: Instant,
    bytes: Vec<u8>,
    done: usize,
}

impl Link {
    pub(super) fn new(
        tcp: TcpStream,
        commands: mpsc::UnboundedReceiver<Command>,
        weather: Weather,
        meter: Arc<Meter>,
        shared: Arc<Shared>,
    ) -> Self {
        Self {
            io: Io::Plain(tcp),
            commands,
            weather,
            outbound: VecDeque::new(),
            inbound: VecDeque::new(),
            eof: None,
            cut_after: None,
            needs_flush: false,
            write_closed: false,
            ended: false,
            lost: false,
            keepalive: None,
            next_keepalive: None,
            timer: Box::pin(sleep_until(Instant::now())),
            buffer: vec![0; 16 * 1024],
            meter,
            shared,
        }
    }

    /// Queues bytes; they go out while [`next`](Self::next) is polled.
    pub(super) fn write(&mut self, bytes: impl Into<Vec<u8>>) {
        let due = Instant::now() + self.weather.delay_out;
        self.enqueue(due, bytes.into());
    }

    /// Sends a blank this often while nothing else is sent.
    pub(super) fn keep_alive(&mut self, every: Option<Duration>) {
        self.keepalive = every;
        self.next_keepalive = every.map(|every| Instant::now() + every);
    }

    /// The next event; meanwhile what was queued is written.
    pub(super) async fn next(&mut self) -> Event {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// Waits until everything queued is on its way. What arrives meanwhile stays in the socket.
    pub(super) async fn flush(&mut self) -> Result<(), Event> {
        poll_fn(|cx| {
            loop {
                let now = Instant::now();
                if let Some(event) = self.take_commands(cx) {
                    return Poll::Ready(Err(event));
                }
                match self.poll_write(cx, now) {
                    Poll::Ready(Ok(())) if self.outbound.is_empty() => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Event::Gone)),
                    _ => {}
                }
                if let Some(event) = self.take_due_cut(cx) {
                    return Poll::Ready(Err(event));
                }
                let due = self.outbound_due(now);
                ready!(self.poll_timer(cx, due));
            }
        })
        .await
    }

    /// Makes the TLS handshake as the server. It waits out a stall, knows no delays, and any cut ends it.
    pub(super) async fn start_tls(&mut self, acceptor: &TlsAcceptor) -> Result<(), Event> {
        while self.weather.stall_in || self.weather.stall_out {
            if let Some(event) = poll_fn(|cx| self.poll_commands(cx)).await {
                return Err(event);
            }
        }
        let Io::Plain(tcp) = std::mem::replace(&mut self.io, Io::Gone) else { return Err(Event::Gone) };
        let mut handshake = Box::pin(acceptor.accept(tcp));
        loop {
            let command = poll_fn(|cx| self.poll_commands(cx));
            tokio::select! {
                done = &mut handshake => match done {
                    Ok(tls) => {
                        self.io = Io::Tls(Box::new(tls));
                        return Ok(());
                    }
                    Err(error) => {
                        tracing::debug!(%error, "TLS handshake failed");
                        return Err(Event::Gone);
                    }
                },
                event = command => if let Some(event) = event {
                    return Err(event);
                },
            }
        }
    }

    /// Cuts now; gives the event it is for the server, if it is one.
    pub(super) async fn cut(&mut self, how: Cut) -> Option<Event> {
        poll_fn(|cx| Poll::Ready(self.obey(Command::Cut(how), cx))).await
    }

    /// The orderly end: the last bytes, close_notify, FIN, and then the client's own end, all within a second.
    pub(super) async fn finish(mut self) {
        if self.lost {
            return;
        }
        self.ended = true;
        let _ = timeout(LINGER, self.flush()).await;
        let _ = match &mut self.io {
            Io::Plain(tcp) => timeout(LINGER, tcp.shutdown()).await,
            Io::Tls(tls) => timeout(LINGER, tls.shutdown()).await,
            Io::Gone => return,
        };
        self.drain().await;
    }

    /// The end without a word, after what was said before.
    pub(super) async fn close_silently(mut self) {
        if self.lost {
            return;
        }
        let _ = timeout(LINGER, self.flush()).await;
        if let Some(tcp) = self.tcp() {
            let _ = tcp.shutdown().await;
            self.drain().await;
        }
    }

    /// Reads until the client closes, so that the kernel makes no RST of unread bytes.
    async fn drain(&mut self) {
        let Some(tcp) = self.tcp() else { return };
        let mut sink = [0; 4096];
        let all = async { while matches!(tcp.read(&mut sink).await, Ok(1..)) {} };
        let _ = timeout(LINGER, all).await;
    }

    fn tcp(&mut self) -> Option<&mut TcpStream> {
        match &mut self.io {
            Io::Plain(tcp) => Some(tcp),
            Io::Tls(tls) => Some(tls.get_mut().0),
            Io::Gone => None,
        }
    }

    fn enqueue(&mut self, due: Instant, bytes: Vec<u8>) {
        if self.write_closed || bytes.is_empty() {
            return;
        }
        // A delay that shrank must not turn the order around.
        let due = self.outbound.back().map_or(due, |last| last.due.max(due));
        self.outbound.push_back(Chunk { due, bytes, done: 0 });
        self.next_keepalive = self.keepalive.map(|every| Instant::now() + every);
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            // One moment for all decisions of a turn: what is not due in the first must be waited for in the last.
            let now = Instant::now();
            if let Some(event) = self.take_commands(cx) {
                return Poll::Ready(event);
            }
            if self.next_keepalive.is_some_and(|at| at <= now) {
                self.write(" ");
            }
            if let Poll::Ready(Err(_)) = self.poll_write(cx, now) {
                return Poll::Ready(Event::Gone);
            }
            if let Some(event) = self.take_due_cut(cx) {
                return Poll::Ready(event);
            }
            if let Poll::Ready(event) = self.poll_read(cx, now) {
                return Poll::Ready(event);
            }
            let due = [self.outbound_due(now), self.inbound_due(now), self.next_keepalive];
            ready!(self.poll_timer(cx, due.into_iter().flatten().min()));
        }
    }

    /// Obeys the next command; gives the event it is, if it is one.
    fn poll_commands(&mut self, cx: &mut Context<'_>) -> Poll<Option<Event>> {
        match ready!(self.commands.poll_recv(cx)) {
            Some(command) => Poll::Ready(self.obey(command, cx)),
            // The connection is out of the server's books: nothing will ever come.
            None => Poll::Ready(Some(Event::Gone)),
        }
    }

    fn take_commands(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        loop {
            match self.poll_commands(cx) {
                Poll::Ready(Some(event)) => return Some(event),
                Poll::Ready(None) => {}
                Poll::Pending => return None,
            }
        }
    }

    fn obey(&mut self, command: Command, cx: &mut Context<'_>) -> Option<Event> {
        match command {
            Command::Write(bytes) if !self.ended => self.write(bytes),
            Command::Write(_) => {}
            Command::Close(error) => return Some(Event::Close(error)),
            Command::Weather(change) => self.weather.apply(change),
            Command::CutAfter(way, left, how) => self.cut_after = Some(CutAfter { way, left, how }),
            Command::Cut(Cut::Drop) => {
                self.outbound.clear();
                self.inbound.clear();
                self.eof = None;
                self.write_closed = true;
                self.lost = true;
                self.keep_alive(None);
            }
            Command::Cut(Cut::HalfClose) => self.shut_write(cx),
            Command::Cut(Cut::Fin) => {
                self.shut_write(cx);
                return Some(Event::Gone);
            }
            Command::Cut(Cut::Rst) => {
                if let Some(tcp) = self.tcp() {
                    let _ = tcp.set_zero_linger();
                }
                self.io = Io::Gone;
                return Some(Event::Gone);
            }
        }
        None
    }

    /// Makes the cut that waited for bytes, if they are through.
    fn take_due_cut(&mut self, cx: &mut Context<'_>) -> Option<Event> {
        let through = |cut: &CutAfter| cut.left == 0 && !self.needs_flush && self.inbound.is_empty();
        let cut = self.cut_after.filter(through)?;
        self.cut_after = None;
        self.obey(Command::Cut(cut.how), cx)
    }

    fn shut_write(&mut self, cx: &mut Context<'_>) {
        self.outbound.clear();
        self.write_closed = true;
        self.keep_alive(None);
        if let Some(tcp) = self.tcp() {
            // On a socket this is one system call and never pending.
            let _ = Pin::new(tcp).poll_shutdown(cx);
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<io::Result<()>> {
        while let Some(chunk) = self.outbound.front_mut() {
            if self.weather.stall_out || chunk.due > now {
                break;
            }
            let mut rest = &chunk.bytes[chunk.done..];
            if let Some(cut) = self.cut_after.filter(|cut| cut.way.has_outbound()) {
                if cut.left == 0 {
                    break;
                }
                rest = &rest[..rest.len().min(cut.left)];
            }
            let written = match &mut self.io {
                Io::Plain(tcp) => ready!(Pin::new(tcp).poll_write(cx, rest))?,
                Io::Tls(tls) => ready!(Pin::new(tls).poll_write(cx, rest))?,
                Io::Gone => return Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            };
            chunk.done += written;
            if chunk.done == chunk.bytes.len() {
                self.outbound.pop_front();
            }
            self.needs_flush = true;
            self.count_down(Way::ToClient, written);
            self.count(|meter| &meter.bytes_out, written);
        }
        if self.needs_flush {
            match &mut self.io {
                Io::Plain(tcp) => ready!(Pin::new(tcp).poll_flush(cx))?,
                Io::Tls(tls) => ready!(Pin::new(tls).poll_flush(cx))?,
                Io::Gone => {}
            }
            self.needs_flush = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll_read(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Event> {
        loop {
            if self.lost {
                return self.swallow(cx);
            }
            if self.weather.stall_in {
                return Poll::Pending;
            }
            if self.inbound.front().is_some_and(|chunk| chunk.due <= now)
                && let Some(chunk) = self.inbound.pop_front()
            {
                return Poll::Ready(Event::Bytes(chunk.bytes));
            }
            if let Some(due) = self.eof {
                return if due <= now && self.inbound.is_empty() { Poll::Ready(Event::Eof) } else { Poll::Pending };
            }
            let room = match self.cut_after.filter(|cut| cut.way.has_inbound()) {
                Some(cut) if cut.left == 0 => return Poll::Pending,
                Some(cut) => cut.left.min(self.buffer.len()),
                None => self.buffer.len(),
            };
            let mut buffer = ReadBuf::new(&mut self.buffer[..room]);
            let result = match &mut self.io {
                Io::Plain(tcp) => ready!(Pin::new(tcp).poll_read(cx, &mut buffer)),
                Io::Tls(tls) => ready!(Pin::new(tls).poll_read(cx, &mut buffer)),
                Io::Gone => return Poll::Ready(Event::Gone),
            };
            let bytes = buffer.filled().to_vec();
            match result {
                Ok(()) if bytes.is_empty() => self.eof = Some(now + self.weather.delay_in),
                Ok(()) => {
                    self.count_down(Way::FromClient, bytes.len());
                    self.count(|meter| &meter.bytes_in, bytes.len());
                    let due = now + self.weather.delay_in;
                    let due = self.inbound.back().map_or(due, |last| last.due.max(due));
                    self.inbound.push_back(Chunk { due, bytes, done: 0 });
                }
                // A client that closes without close_notify is gone as well as one that resets.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.eof = Some(now),
                Err(_) => return Poll::Ready(Event::Gone),
            }
        }
    }

    /// Reads as a dead network does: whatever comes is gone, and so is the end.
    fn swallow(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        loop {
            let mut buffer = ReadBuf::new(&mut self.buffer);
            let result = match &mut self.io {
                Io::Plain(tcp) => ready!(Pin::new(tcp).poll_read(cx, &mut buffer)),
                Io::Tls(tls) => ready!(Pin::new(tls.get_mut().0).poll_read(cx, &mut buffer)),
                Io::Gone => return Poll::Pending,
            };
            if result.is_err() || buffer.filled().is_empty() {
                self.io = Io::Gone;
            }
        }
    }

    fn count_down(&mut self, way: Way, bytes: usize) {
        let same = |cut: &&mut CutAfter| cut.way == way || cut.way == Way::Both;
        if let Some(cut) = self.cut_after.as_mut().filter(same) {
            cut.left = cut.left.saturating_sub(bytes);
        }
    }

    fn outbound_due(&self, now: Instant) -> Option<Instant> {
        self.outbound.front().map(|chunk| chunk.due).filter(|due| !self.weather.stall_out && *due > now)
    }

    fn inbound_due(&self, now: Instant) -> Option<Instant> {
        let due = self.inbound.front().map(|chunk| chunk.due).or(self.eof);
        due.filter(|due| !self.weather.stall_in && *due > now)
    }

    /// Ready once this moment has come; pending for ever without one.
    fn poll_timer(&mut self, cx: &mut Context<'_>, due: Option<Instant>) -> Poll<()> {
        let Some(due) = due else { return Poll::Pending };
        self.timer.as_mut().reset(due);
        self.timer.as_mut().poll(cx)
    }

    fn count(&self, counter: impl Fn(&Meter) -> &AtomicU64, n: usize) {
        Meter::add(counter(&self.meter), n);
        self.shared.notify();
    }
}
