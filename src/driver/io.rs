//! The socket's two directions, polled from one task.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::Transport;

/// Bytes asked for in one read.
const READ: usize = 8 * 1024;
/// The same while there is more than that: fewer wake-ups and system calls for each stanza.
const READ_MUCH: usize = 64 * 1024;
/// How much may be taken in before answers to it are written: a system call takes longer than many stanzas.
const UNANSWERED: usize = 256 * 1024;
/// How much of what was read is given out at once, so that what is made of it stays at hand.
const PART: usize = 16 * 1024;
/// Unwritten bytes above which nothing more is taken from callers.
pub(super) const WRITE_HIGH: usize = 64 * 1024;

pub(super) enum IoEvent {
    /// These bytes of the read buffer were read.
    Read(Range<usize>),
    Eof,
    Failed(io::Error),
    /// Something was written: there may be room again, and messages may have become written.
    Written,
}

pub(super) struct Io {
    stream: Box<dyn Transport>,
    read: Vec<u8>,
    /// What was read and is to be given out.
    rest: Range<usize>,
    /// How much was given out since answers were written, or there were none.
    unanswered: usize,
    /// The last read filled the buffer.
    filled: bool,
    /// The last read gave much, so that there may be more.
    much: bool,
    /// Others run once before the next read.
    makes_way: bool,
    out: Vec<u8>,
    out_from: usize,
    /// Bytes written since the connection began.
    written: u64,
    /// Messages and the count of bytes at which each is written.
    marks: VecDeque<(u64, u64)>,
    dirty: bool,
}

impl Io {
    pub(super) fn new(stream: Box<dyn Transport>) -> Self {
        Self {
            stream,
            read: Vec::new(),
            rest: 0..0,
            unanswered: 0,
            filled: false,
            much: false,
            makes_way: false,
            out: Vec::new(),
            out_from: 0,
            written: 0,
            marks: VecDeque::new(),
            dirty: false,
        }
    }

    /// The buffer to append to what is to be written.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Remembers that this message is written once everything now in the buffer is.
    pub(super) fn mark(&mut self, token: u64) {
        self.marks.push_back((self.written + self.unwritten() as u64, token));
    }

    /// A message that has become written.
    pub(super) fn next_written(&mut self) -> Option<u64> {
        let (at, token) = *self.marks.front()?;
        (at <= self.written).then(|| {
            self.marks.pop_front();
            token
        })
    }

    pub(super) fn unwritten(&self) -> usize {
        self.out.len() - self.out_from
    }

    pub(super) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.read.get(range.clone()).unwrap_or_default()
    }

    /// The stream itself, for STARTTLS; what was read and not taken is gone (nothing survives the handshake).
    pub(super) fn into_stream(self) -> Box<dyn Transport> {
        self.stream
    }

    /// Waits for the next event; reads only if asked to. Cancel-safe.
    pub(super) async fn event(&mut self, reading: bool) -> IoEvent {
        poll_fn(|cx| self.poll(cx, reading)).await
    }

    /// Lets others run once before more is read.
    pub(super) fn make_way(&mut self) {
        self.makes_way = true;
    }

    /// Writes everything, and nothing else. Cancel-safe.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        poll_fn(|cx| {
            while self.unwritten() > 0 || self.dirty {
                ready!(self.poll_write(cx))?;
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Ends our direction. Cancel-safe.
    pub(super) async fn shutdown(&mut self) -> io::Result<()> {
        poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>, reading: bool) -> Poll<IoEvent> {
        // Answers to much that comes at once are one write.
        let may_more_come = reading && (self.much || !self.rest.is_empty());
        let waits = may_more_come && self.unanswered < UNANSWERED && self.unwritten() < WRITE_HIGH;
        if !waits && let Some(event) = self.write(cx) {
            return Poll::Ready(event);
        }
        if !reading {
            return Poll::Pending;
        }
        if std::mem::take(&mut self.makes_way) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.rest.is_empty() {
            return Poll::Ready(IoEvent::Read(self.part()));
        }
        if std::mem::take(&mut self.filled) {
            self.read.resize(READ_MUCH, 0);
        } else if self.read.is_empty() {
            self.read.resize(READ, 0);
        }
        let mut buffer = ReadBuf::new(&mut self.read);
        match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
            Poll::Ready(Ok(())) => {
                let count = buffer.filled().len();
                self.filled = buffer.remaining() == 0;
                self.much = self.filled || count >= PART;
                if count > 0 {
                    self.rest = 0..count;
                    return Poll::Ready(IoEvent::Read(self.part()));
                }
                // Whoever has ended their direction may still read; the end is found again.
                Poll::Ready(if waits { self.write(cx) } else { None }.unwrap_or(IoEvent::Eof))
            }
            Poll::Ready(Err(error)) => Poll::Ready(IoEvent::Failed(error)),
            Poll::Pending => {
                // An idle connection keeps no buffers (D34).
                self.read = Vec::new();
                if self.out.is_empty() {
                    self.out = Vec::new();
                }
                self.much = false;
                match if waits { self.write(cx) } else { None } {
                    Some(event) => Poll::Ready(event),
                    None => Poll::Pending,
                }
            }
        }
    }

    /// The next part of what was read.
    fn part(&mut self) -> Range<usize> {
        let start = self.rest.start;
        self.rest.start = self.rest.end.min(start + PART);
        self.unanswered += self.rest.start - start;
        start..self.rest.start
    }

    /// Writes what it can, and says what came of it.
    fn write(&mut self, cx: &mut Context<'_>) -> Option<IoEvent> {
        self.unanswered = 0;
        if self.unwritten() == 0 && !self.dirty {
            return None;
        }
        match self.poll_write(cx) {
            Poll::Ready(Ok(true)) => Some(IoEvent::Written),
            Poll::Ready(Ok(false)) | Poll::Pending => None,
            Poll::Ready(Err(error)) => Some(IoEvent::Failed(error)),
        }
    }

    /// Writes what it can; `true` if bytes left, `false` if only a flush ended.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.unwritten() > 0 {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out[self.out_from..]))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.dirty = true;
            self.out_from += count;
            self.written += count as u64;
            if self.unwritten() == 0 {
                self.out_from = 0;
                self.out.clear();
                if self.out.capacity() > READ {
                    self.out = Vec::new();
                }
            }
            return Poll::Ready(Ok(true));
        }
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.dirty = false;
        Poll::Ready(Ok(false))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn read(io: &mut Io) -> usize {
        match io.event(true).await {
            IoEvent::Read(range) => {
                assert!(io.bytes(&range).iter().all(|byte| *byte == b'x') && range.len() <= PART);
                range.len()
            }
            _ => panic!("nothing was read"),
        }
    }

    #[tokio::test]
    async fn much_is_given_out_in_parts_and_answered_in_one_write() {
        let (ours, mut server) = tokio::io::duplex(READ_MUCH);
        let mut io = Io::new(Box::new(ours));
        server.write_all(&[b'x'; READ + PART + PART + 100]).await.expect("there is room");
        assert_eq!(read(&mut io).await, READ);
        let mut answers = [0; 2];
        for (part, answer) in [(PART, b'1'), (PART, b'2')] {
            assert_eq!(read(&mut io).await, part);
            io.out().push(answer);
            assert!(futures::poll!(Box::pin(server.read_exact(&mut answers[..1]))).is_pending(), "there is more at hand");
        }
        // Nobody takes more for now: what is there is written.
        assert!(matches!(io.event(false).await, IoEvent::Written));
        server.read_exact(&mut answers).await.expect("they were written");
        assert_eq!(&answers, b"12");
        assert_eq!(read(&mut io).await, 100);
        io.out().push(b'3');
        // What was read last was much: more is looked for, and there is none.
        assert!(matches!(io.event(true).await, IoEvent::Written));
        server.read_exact(&mut answers[..1]).await.expect("it was written");
        assert_eq!(answers[0], b'3');
    }

    #[tokio::test]
    async fn answers_do_not_wait_while_much_comes_without_an_end() {
        let (ours, mut server) = tokio::io::duplex(2 * READ_MUCH);
        let mut io = Io::new(Box::new(ours));
        let mut given = 0;
        loop {
            while futures::poll!(Box::pin(server.write(&[b'x'; PART]))).is_ready() {}
            match io.event(true).await {
                IoEvent::Read(range) => given += range.len(),
                IoEvent::Written => break,
                _ => panic!("nothing ended"),
            }
            io.out().push(b'1');
            assert!(given <= READ + UNANSWERED, "{given}");
        }
        assert!(given >= UNANSWERED);
    }

    #[tokio::test]
    async fn who_ends_after_much_still_gets_what_is_to_be_said() {
        let (ours, mut server) = tokio::io::duplex(READ_MUCH);
        let mut io = Io::new(Box::new(ours));
        server.write_all(&[b'x'; READ + PART]).await.expect("there is room");
        server.shutdown().await.expect("it ends");
        assert_eq!((read(&mut io).await, read(&mut io).await), (READ, PART));
        io.out().push(b'1');
        io.mark(7);
        assert!(matches!(io.event(true).await, IoEvent::Written));
        assert_eq!(io.next_written(), Some(7));
        assert!(matches!(io.event(true).await, IoEvent::Eof));
        let mut said = [0];
        server.read_exact(&mut said).await.expect("it was written");
        assert_eq!(&said, b"1");
    }
}
