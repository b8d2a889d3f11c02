//! The socket's two directions, polled from one task.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::connection::Transport;

/// Bytes asked for in one read.
const READ: usize = 8 * 1024;
/// The same while there is more than that: fewer wake-ups and system calls for each stanza.
const READ_MUCH: usize = 16 * 1024;
/// Unwritten bytes above which nothing more is taken from callers.
pub(super) const WRITE_HIGH: usize = 64 * 1024;

pub(super) enum IoEvent {
    /// So many bytes lie in the read buffer.
    Read(usize),
    Eof,
    Failed(io::Error),
    /// Something was written: there may be room again, and messages may have become written.
    Written,
}

pub(super) struct Io {
    stream: Box<dyn Transport>,
    read: Vec<u8>,
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

    pub(super) fn bytes(&self, count: usize) -> &[u8] {
        self.read.get(..count).unwrap_or(&self.read)
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
        if self.unwritten() > 0 || self.dirty {
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
                    count => IoEvent::Read(count),
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
