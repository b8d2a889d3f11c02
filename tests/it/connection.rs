//! From a domain to a byte stream, against real DNS and TLS servers on loopback.

mod dns;
pub(crate) mod dns_server;
mod dnsmasq;
mod nets;
#[cfg(feature = "native-tls")]
mod tls;
#[cfg(feature = "native-tls")]
mod tls_server;
