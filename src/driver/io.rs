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
    /// The last read filled the buffer.
    filled: bool,
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
            filled: false,
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
        let is_more_at_hand = reading && !self.rest.is_empty();
        // Answers to all of what was read are one write, unless they are many.
        let is_to_be_written = (self.unwritten() > 0 || self.dirty) && (!is_more_at_hand || self.unwritten() >= WRITE_HIGH);
        if is_to_be_written {
            match self.poll_write(cx) {
                Poll::Ready(Ok(true)) => return Poll::Ready(IoEvent::Written),
                Poll::Ready(Ok(false)) | Poll::Pending => {}
                Poll::Ready(Err(error)) => return Poll::Ready(IoEvent::Failed(error)),
            }
        }
        if !reading {
            return Poll::Pending;
        }
        if std::mem::take(&mut self.makes_way) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if is_more_at_hand {
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
                self.filled = buffer.remaining() == 0;
                Poll::Ready(match buffer.filled().len() {
                    0 => IoEvent::Eof,
                    count => {
                        self.rest = 0..count;
                        IoEvent::Read(self.part())
                    }
                })
            }
            Poll::Ready(Err(error)) => Poll::Ready(IoEvent::Failed(error)),
            Poll::Pending => {
                // An idle connection keeps no buffers (D34).
                self.read = Vec::new();
                if self.out.is_empty() {
                    self.out = Vec::new();
                }
                Poll::Pending
            }
        }
    }

    /// The next part of what was read.
    fn part(&mut self) -> Range<usize> {
        let start = self.rest.start;
        self.rest.start = self.rest.end.min(start + PART);
        start..self.rest.start
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
        assert!(io.rest.is_empty() && !io.filled);
    }
}
