//! A TCP connection whose writes can be held up, as by a server that never reads.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use xmppkit::connection::{Connector, Target, TcpConnector, Transport};

#[derive(Debug, Default)]
pub(crate) struct Valve {
    shut: AtomicBool,
    read: AtomicUsize,
    waker: Mutex<Option<Waker>>,
}

impl Valve {
    pub(crate) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
    }

    pub(crate) fn open(&self) {
        self.shut.store(false, Ordering::SeqCst);
        if let Some(waker) = self.waker.lock().expect("no panic").take() {
            waker.wake();
        }
    }

    /// Bytes the client has read from the network.
    pub(crate) fn read(&self) -> usize {
        self.read.load(Ordering::SeqCst)
    }
}

/// Connects through the valve.
#[derive(Debug)]
pub(crate) struct Through(pub(crate) Arc<Valve>);

impl Connector for Through {
    fn connect<'a>(&'a self, target: Target) -> BoxFuture<'a, io::Result<Box<dyn Transport>>> {
        Box::pin(async move {
            let inner = TcpConnector.connect(target).await?;
            Ok(Box::new(Pipe { inner, valve: Arc::clone(&self.0) }) as Box<dyn Transport>)
        })
    }
}

struct Pipe {
    inner: Box<dyn Transport>,
    valve: Arc<Valve>,
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(cx, buffer);
        self.valve.read.fetch_add(buffer.filled().len() - before, Ordering::SeqCst);
        poll
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.valve.shut.load(Ordering::SeqCst) {
            *self.valve.waker.lock().expect("no panic") = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
