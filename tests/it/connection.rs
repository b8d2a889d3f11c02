//! From a domain to a byte stream, against real DNS and TLS servers on loopback.

mod dns;
pub(crate) mod dns_server;
mod dnsmasq;
#[cfg(feature = "native-tls")]
mod login;
mod nets;
#[cfg(feature = "native-tls")]
mod tls;
#[cfg(feature = "native-tls")]
mod tls_server;
