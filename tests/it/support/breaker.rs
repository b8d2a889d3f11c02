//! A connection that a test can break and keep broken.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use xmppkit::connection::{Connector, Target, TcpConnector, Transport};

/// Connects until it is broken; what is connected then breaks, and nothing connects until it is mended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breaker(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    broken: bool,
    /// Connections made before the last break are broken for good.
    breaks: u64,
    wakers: Vec<Waker>,
}

impl Breaker {
    pub(crate) fn cut(&self) {
        let wakers = {
            let mut state = self.lock();
            state.broken = true;
            state.breaks += 1;
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn mend(&self) {
        self.lock().broken = false;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connector for Breaker {
    fn connect<'a>(&'a self, target: Target) -> BoxFuture<'a, io::Result<Box<dyn Transport>>> {
        Box::pin(async move {
            let breaks = {
                let state = self.lock();
                if state.broken {
                    return Err(io::ErrorKind::ConnectionRefused.into());
                }
                state.breaks
            };
            let inner = Some(TcpConnector.connect(target).await?);
            Ok(Box::new(Pipe { inner, breaks, breaker: self.clone() }) as Box<dyn Transport>)
        })
    }
}

struct Pipe {
    inner: Option<Box<dyn Transport>>,
    breaks: u64,
    breaker: Breaker,
}

impl Pipe {
    /// The socket, while it is whole. One that breaks is closed without a word.
    fn whole(&mut self, cx: &Context<'_>) -> io::Result<Pin<&mut Box<dyn Transport>>> {
        let mut state = self.breaker.lock();
        if state.breaks != self.breaks {
            drop(state);
            self.inner = None;
        } else {
            state.wakers.push(cx.waker().clone());
        }
        self.inner.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::ConnectionReset.into())
    }
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.whole(cx)?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.whole(cx)?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole(cx)?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.whole(cx)?.poll_shutdown(cx)
    }
}
