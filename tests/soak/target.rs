//! The server a run is made on: the one inside this process, or a real one behind a network that fails.

use std::net::SocketAddr;
use std::time::Duration;

use xmppkit::jid::BareJid;
use xmppkit::testing::{self, Way};

use crate::client::Failure;
use crate::faults::Fault;
use crate::options::Random;
use crate::proxy::{Harm, Proxy};
use crate::support::{Cert, Kind, Server, StartError};

pub(crate) const PASSWORD: &str = "secret";

/// A server that says nothing and does nothing for so long has done what it had read.
const QUIET: Duration = Duration::from_millis(1_500);
/// The most processor time, in hundredths of a second, that doing nothing takes meanwhile.
const IDLE: u64 = 12;

pub(crate) enum Target {
    InProcess { server: testing::Server, name: &'static str },
    Real { server: Box<Server>, proxies: Vec<Proxy> },
}

impl Target {
    pub(crate) async fn in_process(archive: bool, dialect: testing::Dialect) -> Result<Self, Failure> {
        let server = testing::Server::builder()
            .domain("example.org")
            .dialect(dialect)
            .account("romeo", PASSWORD)
            .account("juliet", PASSWORD)
            .differences(|differences| differences.archive &= archive)
            .start()
            .await?;
        // As far apart as in a town: so messages are under way when a fault strikes.
        server.delay(testing::Target::All, Way::Both, Duration::from_millis(10));
        Ok(Self::InProcess { server, name: if archive { "in-process" } else { "in-process-without-archive" } })
    }

    /// `None`: it is not installed, which was said.
    pub(crate) async fn real(kind: Kind) -> Result<Option<Self>, Failure> {
        let server = match Server::start(kind).await {
            Ok(server) => server,
            Err(StartError::Missing(why)) => {
                println!("soak: SKIPPED {kind}: {why}");
                return Ok(None);
            }
            Err(StartError::Failed(error)) => return Err(error),
        };
        let address: SocketAddr = format!("{}:{}", server.host, server.c2s_port).parse()?;
        let mut proxies = Vec::new();
        for name in ["romeo", "juliet"] {
            server.register_account(name, PASSWORD).await?;
            proxies.push(Proxy::start(address).await?);
        }
        Ok(Some(Self::Real { server: Box::new(server), proxies }))
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::InProcess { name, .. } => (*name).to_owned(),
            Self::Real { server, .. } => format!("{}-{}", server.kind.to_string().replace(' ', "-"), server.version),
        }
    }

    pub(crate) fn jid(&self, name: &str) -> Result<BareJid, Failure> {
        match self {
            Self::InProcess { server, .. } => Ok(server.jid(name)?),
            Self::Real { server, .. } => Ok(format!("{name}@{}", server.domain).parse()?),
        }
    }

    /// After how long a silence the client asks, and how long it waits for the answer. Real servers are slow on a machine that has
    /// few cores, and a client that takes that for a cut again and again makes them slower.
    pub(crate) fn keep_alive(&self) -> [Duration; 2] {
        match self {
            Self::InProcess { .. } => [300, 600].map(Duration::from_millis),
            Self::Real { .. } => [500, 2_000].map(Duration::from_millis),
        }
    }

    /// How many messages may be behind when a fault strikes, and how long that is waited for.
    pub(crate) fn backlog(&self) -> (u64, Duration) {
        match self {
            Self::InProcess { .. } => (600, Duration::from_secs(6)),
            Self::Real { .. } => (100, Duration::from_secs(20)),
        }
    }

    /// Where the client of this number connects to.
    pub(crate) fn address(&self, client: usize) -> (String, u16) {
        match self {
            Self::InProcess { server, .. } => (server.address().ip().to_string(), server.address().port()),
            Self::Real { proxies, .. } => ("127.0.0.1".to_owned(), proxies[client].port),
        }
    }

    pub(crate) fn ca_pem(&self) -> Vec<u8> {
        match self {
            Self::InProcess { server, .. } => server.ca_pem().to_vec(),
            Self::Real { server, .. } => server.ca_pem.clone().into_bytes(),
        }
    }

    /// The kinds of faults that can be made, with how many of a hundred are of it.
    pub(crate) fn faults(&self) -> Vec<(Fault, usize)> {
        match self {
            Self::InProcess { .. } => Fault::SHARES.to_vec(),
            // Sessions are lost by starting the server anew.
            Self::Real { .. } => {
                let more = |(fault, share)| (fault, if fault == Fault::Restart { 7 } else { share });
                let has = |(fault, _): &(Fault, usize)| !matches!(fault, Fault::Expired | Fault::Forgotten);
                Fault::SHARES.into_iter().filter(has).map(more).collect()
            }
        }
    }

    /// Whether the server waits for an acknowledgement of this client; `None` if that cannot be seen.
    pub(crate) fn waits_for(&self, jid: &BareJid) -> Option<bool> {
        let Self::InProcess { server, .. } = self else { return None };
        Some(server.sessions().iter().any(|s| s.jid.to_bare() == *jid && s.connected && s.unacknowledged > 0))
    }

    /// Does it to this client. [`Fault::Kill`] is not the network's matter.
    pub(crate) async fn strike(
        &mut self,
        fault: Fault,
        client: usize,
        jid: &BareJid,
        random: &mut Random,
    ) -> Result<(), Failure> {
        match self {
            Self::InProcess { server, .. } if fault == Fault::Restart => server.restart().await?,
            Self::InProcess { server, .. } => fault.strike(server, jid, random),
            Self::Real { server, proxies } if fault == Fault::Restart => {
                // First the network is gone, and what the server has read comes to rest in it: one that is stopped amid its work may
                // have a message in its sender's archive that it never brings to anybody (ejabberd), which no client can know.
                for proxy in proxies.iter() {
                    proxy.refuse(true);
                    proxy.harm(Harm::Drop);
                }
                let quiet = async {
                    loop {
                        let before = server.processor_time();
                        tokio::time::sleep(QUIET).await;
                        let used = server.processor_time().zip(before).map_or(0, |(now, before)| now - before);
                        if used <= IDLE && proxies.iter().all(|proxy| proxy.is_quiet(QUIET)) {
                            return;
                        }
                    }
                };
                tokio::time::timeout(Duration::from_secs(60), quiet).await?;
                server.stop().await;
                proxies.iter().for_each(|proxy| proxy.refuse(false));
                tokio::time::timeout(Duration::from_secs(120), server.start_again(Cert::Valid)).await??;
            }
            Self::Real { proxies, .. } => {
                let proxy = &proxies[client];
                let reset = random.below(2) == 0;
                let cut = if reset { Harm::Rst } else { Harm::Fin };
                match fault {
                    Fault::Rst => proxy.harm(Harm::Rst),
                    Fault::Fin => proxy.harm(Harm::Fin),
                    Fault::HalfClose => proxy.harm(Harm::HalfClose),
                    Fault::Stall => proxy.harm(Harm::Stall),
                    Fault::Drop => proxy.harm(Harm::Drop),
                    Fault::MidStanza => proxy.harm(Harm::After(1 + random.below(600), reset)),
                    // A ClientHello has a few hundred bytes, a login with TLS about five thousand.
                    Fault::InTls => {
                        proxy.harm_next(Harm::After(600 + random.below(500), reset));
                        proxy.harm(cut);
                    }
                    Fault::InResume => {
                        proxy.harm_next(Harm::After(4_000 + random.below(3_000), reset));
                        proxy.harm(cut);
                    }
                    Fault::Expired | Fault::Forgotten | Fault::Kill | Fault::Restart => {}
                }
            }
        }
        Ok(())
    }

    /// What it can say when a run fails.
    pub(crate) fn about(&self) -> String {
        match self {
            Self::InProcess { server, .. } => format!("{:#?}", server.sessions()),
            Self::Real { server, .. } => server.log_tail(20),
        }
    }
}
