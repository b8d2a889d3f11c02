//! A network between a client and a real server that fails on demand.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// What is done to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    Rst,
    Fin,
    /// The client reads an end of file, the server goes on reading.
    HalfClose,
    /// Nothing comes through any more, and nobody is told.
    Stall,
    /// The same, and what was under way is gone.
    Drop,
    /// A reset or an end, when this many more bytes have gone through, both ways together.
    After(usize, bool),
}

/// A listening port whose connections go to one server.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    links: Mutex<Vec<mpsc::UnboundedSender<Harm>>>,
    /// Whoever comes is sent away.
    refuses: AtomicBool,
    /// When the server last said something.
    heard: Mutex<Option<Instant>>,
    /// What waits for the next connection.
    next: Mutex<Option<Harm>>,
}

impl Proxy {
    pub(crate) async fn start(server: SocketAddr) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let links = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if links.refuses.load(Ordering::Relaxed) {
                    continue;
                }
                let (sender, orders) = mpsc::unbounded_channel();
                if let Some(harm) = lock(&links.next).take() {
                    let _ = sender.send(harm);
                }
                let mut live = lock(&links.links);
                live.retain(|link| !link.is_closed());
                live.push(sender);
                drop(live);
                let heard = Arc::clone(&links);
                tokio::spawn(async move {
                    // A server that is being started anew refuses: then so does this.
                    if let Ok(server) = TcpStream::connect(server).await {
                        let _ = carry(client, server, orders, &heard).await;
                    }
                });
            }
        });
        Ok(Self { port, shared, accepting })
    }

    /// Does it to the connections there are.
    pub(crate) fn harm(&self, harm: Harm) {
        for link in &*lock(&self.shared.links) {
            let _ = link.send(harm);
        }
    }

    /// Sends whoever comes away, or no longer.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.shared.refuses.store(refuse, Ordering::Relaxed);
    }

    /// Whether the server has said nothing for so long.
    pub(crate) fn is_quiet(&self, time: Duration) -> bool {
        lock(&self.shared.heard).is_none_or(|heard| heard.elapsed() >= time)
    }

    /// Does it to the next connection.
    pub(crate) fn harm_next(&self, harm: Harm) {
        *lock(&self.shared.next) = Some(harm);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings bytes both ways until both ends are there, or a harm ends it.
async fn carry(
    mut client: TcpStream,
    mut server: TcpStream,
    mut orders: mpsc::UnboundedReceiver<Harm>,
    shared: &Shared,
) -> std::io::Result<()> {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut up, mut down) = (vec![0; 16 * 1024], vec![0; 16 * 1024]);
    let (mut client_open, mut server_open) = (true, true);
    let (mut stalled, mut dropped, mut half_closed) = (false, false, false);
    let mut after: Option<(usize, bool)> = None;
    loop {
        tokio::select! {
            biased;
            order = orders.recv() => match order {
                Some(Harm::Rst) => return end(&client, &server, true),
                Some(Harm::Fin) => return end(&client, &server, false),
                Some(Harm::HalfClose) => {
                    half_closed = true;
                    client.shutdown().await?;
                }
                Some(Harm::Stall) => stalled = true,
                Some(Harm::Drop) => dropped = true,
                Some(Harm::After(bytes, reset)) => after = Some((bytes, reset)),
                // Nobody orders anything any more.
                None => return Ok(()),
            },
            read = client.read(&mut up), if client_open && !stalled => {
                let read = read?;
                if dropped {
                    client_open = read > 0;
                } else if read == 0 {
                    client_open = false;
                    server.shutdown().await?;
                } else {
                    let allowed = allow(&mut after, read);
                    server.write_all(&up[..allowed]).await?;
                }
            }
            read = server.read(&mut down), if server_open && !stalled => {
                let read = read?;
                *lock(&shared.heard) = Some(Instant::now());
                if read == 0 {
                    server_open = false;
                    if !dropped && !half_closed {
                        client.shutdown().await?;
                    }
                } else if !dropped && !half_closed {
                    let allowed = allow(&mut after, read);
                    client.write_all(&down[..allowed]).await?;
                }
            }
        }
        if let Some((0, reset)) = after {
            return end(&client, &server, reset);
        }
        if !server_open && (!client_open || dropped || half_closed) {
            return Ok(());
        }
    }
}

/// How many of these bytes still go through.
fn allow(after: &mut Option<(usize, bool)>, bytes: usize) -> usize {
    let Some((left, _)) = after else { return bytes };
    let allowed = bytes.min(*left);
    *left -= allowed;
    allowed
}

fn end(client: &TcpStream, server: &TcpStream, reset: bool) -> std::io::Result<()> {
    if reset {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    Ok(())
}
