//! The server's ports, and the task that accepts connections on them.
//!
//! A second socket stays bound to each port and never listens. It keeps the port for this server while it refuses
//! connections or is stopped: the kernel gives it to nobody else, and answers clients with RST.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection;
use super::management::Fate;
use super::state::{Command, Shared};
use super::tls::Identity;
use crate::error::StreamError;

/// How long connections may take to end before they are dropped.
const STOP: Duration = Duration::from_secs(3);

/// Connections the kernel holds until they are accepted.
const BACKLOG: u32 = 1024;

/// A port of this server, for as long as this lives.
pub(super) struct Port {
    address: SocketAddr,
    /// `None` where the system allows no second socket on a port.
    _reservation: Option<TcpSocket>,
}

impl Port {
    /// A free port, and its first listener.
    fn open() -> io::Result<(Self, TcpListener)> {
        let reservation = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let address = reservation.local_addr()?;
        match bind(address).and_then(|socket| socket.listen(BACKLOG)) {
            Ok(listener) => Ok((Self { address, _reservation: Some(reservation) }, listener)),
            Err(_) => {
                let listener = reservation.listen(BACKLOG)?;
                Ok((Self { address: listener.local_addr()?, _reservation: None }, listener))
            }
        }
    }

    fn listen(&self) -> io::Result<TcpListener> {
        bind(self.address)?.listen(BACKLOG)
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// What the accepting task is asked to do; it answers when it is done.
pub(super) enum Order {
    Listen(oneshot::Sender<io::Result<()>>),
    Refuse(oneshot::Sender<()>),
    /// Refuses connections and ends the open ones.
    Stop(oneshot::Sender<()>),
}

/// The accepting task; the connections' tasks end with it.
pub(super) struct Acceptor {
    shared: Arc<Shared>,
    identity: Arc<Identity>,
    ports: [Port; 2],
    listeners: Option<[TcpListener; 2]>,
    connections: JoinSet<()>,
}

impl Acceptor {
    /// Opens the ports for STARTTLS and for direct TLS.
    pub(super) fn open(shared: Arc<Shared>, identity: Arc<Identity>) -> io::Result<Self> {
        let (starttls, starttls_listener) = Port::open()?;
        let (direct, direct_listener) = Port::open()?;
        let listeners = Some([starttls_listener, direct_listener]);
        Ok(Self { shared, identity, ports: [starttls, direct], listeners, connections: JoinSet::new() })
    }

    /// The addresses for STARTTLS and for direct TLS.
    pub(super) fn addresses(&self) -> [SocketAddr; 2] {
        [self.ports[0].address, self.ports[1].address]
    }

    pub(super) async fn run(mut self, mut orders: mpsc::UnboundedReceiver<Order>) {
        loop {
            tokio::select! {
                order = orders.recv() => match order {
                    Some(order) => self.obey(order).await,
                    None => return,
                },
                accepted = accept(self.listeners.as_ref()) => match accepted {
                    Ok((tcp, direct)) => {
                        let task = connection::serve(tcp, direct, Arc::clone(&self.shared), Arc::clone(&self.identity));
                        self.connections.spawn(task);
                    }
                    Err(error) => tracing::warn!(%error, "cannot accept a connection"),
                },
            }
            while self.connections.try_join_next().is_some() {}
        }
    }

    async fn obey(&mut self, order: Order) {
        match order {
            Order::Listen(done) => {
                let result = self.listen();
                let _ = done.send(result);
            }
            Order::Refuse(done) => {
                self.listeners = None;
                let _ = done.send(());
            }
            Order::Stop(done) => {
                self.listeners = None;
                self.shared.change(|state| {
                    let ids: Vec<_> = state.connections.keys().copied().collect();
                    for id in ids {
                        state.command(id, Command::Close(Some(StreamError::new("system-shutdown", None))));
                    }
                });
                let all = async { while self.connections.join_next().await.is_some() {} };
                let _ = timeout(STOP, all).await;
                self.connections.shutdown().await;
                self.shared.change(|state| state.give_up_sessions(Fate::Forgotten));
                let _ = done.send(());
            }
        }
    }

    fn listen(&mut self) -> io::Result<()> {
        if self.listeners.is_none() {
            self.listeners = Some([self.ports[0].listen()?, self.ports[1].listen()?]);
        }
        Ok(())
    }
}

/// The next connection, and whether it came to the port for direct TLS.
async fn accept(listeners: Option<&[TcpListener; 2]>) -> io::Result<(TcpStream, bool)> {
    let Some([starttls, direct]) = listeners else { return std::future::pending().await };
    tokio::select! {
        accepted = starttls.accept() => accepted.map(|(tcp, _)| (tcp, false)),
        accepted = direct.accept() => accepted.map(|(tcp, _)| (tcp, true)),
    }
}
