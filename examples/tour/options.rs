//! Where the tour takes place, as its flags say.

use xmppkit::client::ClientBuilder;
use xmppkit::error::{Error, Result};
use xmppkit::prelude::*;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Two accounts log in, become contacts, talk, and start again on the file they kept: without flags on a server inside the program, with flags on a real one.

  --domain D               the server's domain; where it listens is found by DNS
  --server HOST:PORT       where it listens; the domain is HOST unless --domain says otherwise
  --direct-tls             TLS from the first byte on that port, instead of STARTTLS
  --ca FILE                the authority (PEM) that signed its certificate, instead of the system's
  --pin FINGERPRINT        or exactly the certificate with this SHA-256, which may be self-signed
  --register               register two accounts with random names, and delete them in the end
  --account NAME:PASSWORD  or, twice: accounts that are there, and are not contacts of each other";

/// Where the tour takes place, and who takes part.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server's domain.
    pub domain: String,
    /// Its host and port, instead of asking DNS.
    pub server: Option<(String, u16)>,
    /// Whether TLS starts with the first byte there.
    pub tls: TlsMode,
    /// Which certificates are accepted.
    pub trust: Trust,
    /// Two accounts that are there, with their passwords; none: two are registered.
    pub accounts: Option<[(String, String); 2]>,
}

impl Options {
    /// A client for one of the accounts, to be built.
    pub(crate) fn client(&self, (name, password): &(String, String)) -> Result<ClientBuilder> {
        let account = format!("{name}@{}", self.domain).parse()?;
        let builder = Client::builder(account).password(password.as_str()).trust(self.trust.clone());
        Ok(match &self.server {
            Some((host, port)) => builder.server(host, *port, self.tls),
            None => builder,
        })
    }
}

/// What these flags ask for; none without flags.
pub(crate) fn flags(mut flags: impl Iterator<Item = String>) -> Result<Option<Options>> {
    let (mut domain, mut server, mut tls, mut trust) = (None, None, TlsMode::StartTls, Trust::system());
    let (mut register, mut accounts) = (false, Vec::new());
    let mut some = false;
    while let Some(flag) = flags.next() {
        some = true;
        let mut value = || flags.next().ok_or_else(|| Error::other(format!("{flag} needs a value; --help says which")));
        match flag.as_str() {
            "--domain" => domain = Some(value()?),
            "--server" => {
                let value = value()?;
                let (host, port) = value.rsplit_once(':').ok_or_else(|| Error::other("--server HOST:PORT"))?;
                server = Some((host.trim_matches(['[', ']']).to_owned(), port.parse().map_err(Error::other)?));
            }
            "--direct-tls" => tls = TlsMode::Direct,
            "--ca" => trust = Trust::only_ca(std::fs::read(value()?)?)?,
            "--pin" => trust = Trust::pin_hex(&value()?)?,
            "--register" => register = true,
            "--account" => {
                let value = value()?;
                let (name, password) = value.split_once(':').ok_or_else(|| Error::other("--account NAME:PASSWORD"))?;
                accounts.push((name.to_owned(), password.to_owned()));
            }
            _ => return Err(Error::other(format!("{flag}? --help lists the flags"))),
        }
    }
    if !some {
        return Ok(None);
    }
    let domain = domain.or_else(|| server.as_ref().map(|(host, _)| host.clone()));
    let domain = domain.ok_or_else(|| Error::other("which server? --domain or --server"))?;
    if tls == TlsMode::Direct && server.is_none() {
        return Err(Error::other("--direct-tls goes with --server; DNS says by itself what the server offers"));
    }
    let accounts = match (register, <[_; 2]>::try_from(accounts)) {
        (true, Err(accounts)) if accounts.is_empty() => None,
        (false, Ok(accounts)) => Some(accounts),
        _ => return Err(Error::other("who? --register, or --account twice")),
    };
    Ok(Some(Options { domain, server, tls, trust, accounts }))
}
