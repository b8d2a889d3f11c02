//! Starting and stopping a real server.
//!
//! A server runs in a directory of its own under the target directory, which is removed with it. Its ports come from the
//! kernel and stay the same over a restart, as do its data. The older pair of servers is looked for on this machine, the newer
//! pair there and in a Debian 13 root (`XMPPKIT_TRIXIE_ROOT`, made by `scripts/trixie-root`), in which they run chrooted.

use std::fmt;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::certs::{Authority, Cert, Material};
use super::{Failure, RawStream, ServerUnderTest, Trust, ejabberd, prosody, report};

/// The domains every server serves. Prosody stores keys for SCRAM-SHA-1 in the first and for SCRAM-SHA-256 in the second.
pub(super) const DOMAINS: &[&str] = &["localhost", "example.test"];

/// A start takes 1 to 9 seconds on an idle machine; tests may share it with a build.
const START: Duration = Duration::from_secs(90);
/// How long a server may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(30);
/// Between two looks at something that gives no notice: a process that may end, a port that may answer.
const POLL: Duration = Duration::from_millis(25);

/// Where a chrooted server sees its directory: a folder that every Debian root has, so nothing is written into the root.
const INSIDE: &str = "/mnt";
/// Marks the environment of the processes that belong to a directory.
const MARK: &str = "XMPPKIT_SERVER_DIR";

/// A server in a version that the tests are run against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Prosody 0.12, as in Debian 12.
    Prosody012,
    /// ejabberd 23, as in Debian 12.
    Ejabberd23,
    /// Prosody 13, as in Debian 13.
    Prosody13,
    /// ejabberd 24, as in Debian 13.
    Ejabberd24,
}

impl Kind {
    pub(crate) fn is_prosody(self) -> bool {
        matches!(self, Self::Prosody012 | Self::Prosody13)
    }

    fn version_prefix(self) -> &'static str {
        match self {
            Self::Prosody012 => "0.12.",
            Self::Prosody13 => "13.",
            Self::Ejabberd23 => "23.",
            Self::Ejabberd24 => "24.",
        }
    }

    /// The mechanism to expect of the default TLS backend, whose only channel binding is tls-server-end-point: ejabberd 24 has
    /// it; Prosody 13 has -PLUS by tls-exporter alone, and ejabberd 23 does not say by what (R36, rows 2 to 4).
    fn mechanism(self) -> &'static str {
        match self {
            Self::Prosody012 | Self::Prosody13 => "SCRAM-SHA-1",
            Self::Ejabberd23 => "SCRAM-SHA-512",
            Self::Ejabberd24 => "SCRAM-SHA-512-PLUS",
        }
    }

    /// The same for the second domain: Prosody keeps its passwords there as SHA-256 hashes.
    fn second_mechanism(self) -> &'static str {
        if self.is_prosody() { "SCRAM-SHA-256" } else { self.mechanism() }
    }

    fn log_line_when_started(self) -> &'static str {
        // Prosody has no such line at every log level; its port answers only when it is ready. ejabberd's answers too early.
        if self.is_prosody() { "" } else { "is started in the node" }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Prosody012 => "Prosody 0.12",
            Self::Ejabberd23 => "ejabberd 23",
            Self::Prosody13 => "Prosody 13",
            Self::Ejabberd24 => "ejabberd 24",
        })
    }
}

/// How a server takes those who want an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registering {
    /// Everybody, at any time.
    Open,
    /// One in a while from one address: ejabberd as it is by default, Prosody with its module for it.
    Limited,
    /// Only with a good password.
    Picky,
    /// Nobody.
    Closed,
}

/// Why there is no server.
#[derive(Debug)]
pub(crate) enum StartError {
    /// It is not installed, or may not be run here: the text says which.
    Missing(String),
    /// It was found and did not start.
    Failed(Failure),
}

impl<E: Into<Failure>> From<E> for StartError {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// What a configuration is made from. Paths are as the server sees them.
pub(super) struct Layout<'a> {
    pub(super) dir: &'a str,
    pub(super) version: &'a str,
    /// Client port, client port for direct TLS, server port.
    pub(super) ports: [u16; 3],
    pub(super) registering: Registering,
}

/// A server that runs for as long as this value lives.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    /// The version that was found, for example `0.12.3`.
    pub(crate) version: String,
    /// The address it listens on.
    pub(crate) host: &'static str,
    /// The first of its domains; `example.test` is the other.
    pub(crate) domain: &'static str,
    pub(crate) c2s_port: u16,
    pub(crate) direct_tls_port: u16,
    /// The authority that signed its certificate.
    pub(crate) ca_pem: String,
    cert: Cert,
    registering: Registering,
    leaf_der: Vec<u8>,
    authority: Authority,
    found: Found,
    ports: [u16; 3],
    dir: PathBuf,
    running: Option<Running>,
}

/// An installed server.
struct Found {
    version: String,
    /// The Debian root it is in; none: this system.
    root: Option<PathBuf>,
    /// ejabberd: the folder of its libraries, as the server sees it.
    libraries: String,
}

struct Running {
    server: Child,
    /// Stops the server and removes its directory should this process die before it could.
    watchdog: Child,
}

impl Server {
    /// Starts a server with a valid certificate and waits until it is ready.
    pub(crate) async fn start(kind: Kind) -> Result<Self, StartError> {
        let found = find(kind)?;
        let authority = Authority::new()?;
        let dir = make_dir()?;
        let mut server = Self {
            kind,
            version: found.version.clone(),
            host: "127.0.0.1",
            domain: DOMAINS[0],
            c2s_port: 0,
            direct_tls_port: 0,
            ca_pem: String::new(),
            cert: Cert::Valid,
            registering: Registering::Open,
            leaf_der: Vec::new(),
            authority,
            found,
            ports: [0; 3],
            dir,
            running: None,
        };
        // Between the kernel's answer and the server's bind another process may take a port. Then others are tried.
        for attempt in 1.. {
            server.ports = free_ports()?;
            [server.c2s_port, server.direct_tls_port, _] = server.ports;
            match server.start_again(Cert::Valid).await {
                Ok(()) => break,
                Err(error) if attempt == 3 => return Err(StartError::Failed(error)),
                Err(error) => report(&format!("{kind}: starting again on other ports: {error}")),
            }
        }
        Ok(server)
    }

    /// Starts the stopped server on the same ports and data, with such a certificate: the one it has, if it is such a one.
    pub(crate) async fn start_again(&mut self, cert: Cert) -> Result<(), Failure> {
        self.stop().await;
        if cert != self.cert || self.leaf_der.is_empty() {
            let Material { ca_pem, leaf_der } = self.authority.write(&self.dir.join("tls"), cert, DOMAINS)?;
            (self.cert, self.ca_pem, self.leaf_der) = (cert, ca_pem, leaf_der);
        }
        let inside = if self.found.root.is_some() { INSIDE } else { path_str(&self.dir)? };
        let layout = Layout { dir: inside, version: &self.version, ports: self.ports, registering: self.registering };
        let (file, config) = match self.kind.is_prosody() {
            true => ("prosody.cfg.lua", prosody::config(&layout)),
            false => ("ejabberd.yml", ejabberd::config(&layout)),
        };
        std::fs::write(self.dir.join(file), config)?;
        // The log must be this run's: readiness is read from it.
        let _ = std::fs::remove_file(self.log());
        let server = self.command(inside)?.spawn().map_err(|e| format!("{} cannot be run: {e}", self.kind))?;
        let watchdog = watchdog(server.id(), &self.dir)?;
        self.running = Some(Running { server, watchdog });
        if let Err(error) = self.ready().await {
            let error = format!("{} {} did not start: {error}\n{}", self.kind, self.version, self.log_tail(40));
            self.stop().await;
            return Err(error.into());
        }
        Ok(())
    }

    /// Starts the server again, on the same ports and data, taking registrations like this.
    pub(crate) async fn start_registering(&mut self, registering: Registering) -> Result<(), Failure> {
        self.registering = registering;
        self.start_again(Cert::Valid).await
    }

    /// How much processor time the server has used since it started, in the kernel's hundredths of a second; none where the kernel
    /// does not tell.
    #[allow(dead_code, reason = "not every program that starts servers asks")]
    pub(crate) fn processor_time(&self) -> Option<u64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.running.as_ref()?.server.id())).ok()?;
        // Behind the name, which may hold anything: the state is the first field, user and system time are the 12th and 13th.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    }

    /// Asks the server to stop, and waits until it has; one that will not is killed.
    pub(crate) async fn stop(&mut self) {
        let Some(mut running) = self.running.take() else { return };
        running.terminate();
        let deadline = Instant::now() + STOP;
        while !running.ended() && Instant::now() < deadline {
            tokio::time::sleep(POLL).await;
        }
        running.kill();
    }

    /// Makes an account in the first domain, without the library under test.
    pub(crate) async fn register_account(&self, name: &str, password: &str) -> Result<(), Failure> {
        let mut stream = RawStream::direct_tls(self.host, self.direct_tls_port, self.domain, &self.trust()).await?;
        stream.open().await?;
        stream.register(name, password).await
    }

    /// The server as the suite sees it.
    pub(crate) fn under_test(&self) -> ServerUnderTest {
        let name = format!("{} ({})", self.kind, self.version);
        ServerUnderTest::with_registration(name, self.host, self.c2s_port, Some(self.direct_tls_port), self.domain, self.trust())
            .with_mechanism(self.kind.mechanism())
            .with_second_domain(DOMAINS[1], self.kind.second_mechanism())
    }

    /// What a client must trust to accept the certificate; a bad one is accepted by nothing but blindness.
    pub(crate) fn trust(&self) -> Trust {
        match self.cert {
            Cert::Valid => Trust::Ca(self.ca_pem.clone()),
            _ => Trust::Unverified,
        }
    }

    /// The certificate the server serves (DER).
    pub(crate) fn certificate(&self) -> &[u8] {
        &self.leaf_der
    }

    /// The last lines of the server's log and output.
    pub(crate) fn log_tail(&self, lines: usize) -> String {
        let mut tail = String::new();
        for file in [self.dir.join("output.log"), self.log()] {
            let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap_or_default()).into_owned();
            let all: Vec<_> = text.lines().collect();
            tail += &format!("--- {}\n", file.display());
            for line in &all[all.len().saturating_sub(lines)..] {
                tail += &format!("{line}\n");
            }
        }
        tail
    }

    fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }

    fn command(&self, inside: &str) -> Result<Command, Failure> {
        let words = if self.kind.is_prosody() { prosody::command(inside) } else { ejabberd::command(inside) };
        let mut command = match &self.found.root {
            None => Command::new(&words[0]),
            Some(root) => {
                let mut command = Command::new("sh");
                command.args(["-c", IN_ROOT, "sh"]).arg(root).arg(&self.dir).arg(&words[0]);
                command
            }
        };
        let output = std::fs::File::create(self.dir.join("output.log"))?;
        command.args(&words[1..]).stdin(Stdio::null()).stderr(output.try_clone()?).stdout(output);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C.UTF-8");
        command.env("HOME", format!("{inside}/home")).env(MARK, &self.dir);
        if !self.kind.is_prosody() {
            command.envs(ejabberd::environment(inside, &self.found.libraries));
        }
        Ok(command)
    }

    /// Waits until both client ports answer, as this server and no other: with its certificate.
    async fn ready(&mut self) -> Result<(), Failure> {
        let deadline = Instant::now() + START;
        let started = self.kind.log_line_when_started();
        let mut last = Failure::from("it wrote no log");
        while Instant::now() < deadline {
            if self.running.as_mut().is_none_or(Running::ended) {
                return Err("it ended".into());
            }
            let log = std::fs::read_to_string(self.log()).unwrap_or_default();
            if let Some(line) =
                log.lines().find(|l| l.contains("Failed to open server port") || l.contains("Failed to open socket"))
            {
                return Err(line.into());
            }
            if !log.is_empty() && log.contains(started) {
                match self.answers().await {
                    Ok(()) => return Ok(()),
                    Err(error) => last = error,
                }
            }
            tokio::time::sleep(POLL).await;
        }
        Err(format!("not ready after {} s: {last}", START.as_secs()).into())
    }

    async fn answers(&self) -> Result<(), Failure> {
        let (starttls, direct) = (
            RawStream::starttls(self.host, self.c2s_port, self.domain, &Trust::Unverified).await?,
            RawStream::direct_tls(self.host, self.direct_tls_port, self.domain, &Trust::Unverified).await?,
        );
        for mut stream in [starttls, direct] {
            if stream.certificate() != Some(&self.leaf_der) {
                return Err("a port answers with another certificate".into());
            }
            stream.open().await?;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report(&format!("{} {}, its log's end:\n{}", self.kind, self.version, self.log_tail(60)));
        }
        if let Some(mut running) = self.running.take() {
            running.terminate();
            let deadline = Instant::now() + STOP;
            while !running.ended() && Instant::now() < deadline {
                std::thread::sleep(POLL);
            }
            running.kill();
        }
        // What cannot be removed is left in the target directory; nothing depends on it.
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

impl Running {
    /// Sends SIGTERM. The process is our child and was not waited for, so its number is still its own.
    fn terminate(&mut self) {
        if !self.ended() {
            let _ = Command::new("sh").args(["-c", "kill -TERM \"$1\"", "sh", &self.server.id().to_string()]).status();
        }
    }

    fn ended(&mut self) -> bool {
        matches!(self.server.try_wait(), Ok(Some(_)))
    }

    /// Ends what is left of server and watchdog.
    fn kill(&mut self) {
        // Killing what has ended is no error worth a word.
        let _ = self.watchdog.kill();
        let _ = self.watchdog.wait();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Runs "$3 …" in the Debian root $1, with the directory $2 at /mnt, in a mount namespace of its own that ends with it. Every
/// step is an `exec`, so the server has the number of the child that was spawned. In a root that is itself a chroot, the
/// propagation of mounts cannot be changed and need not be. Without being root, a user namespace serves.
const IN_ROOT: &str = r#"
    root=$1 dir=$2; shift 2
    user=; [ "$(id -u)" = 0 ] || user=-r
    mode=private; unshare $user -m true 2>/dev/null || mode=unchanged
    exec unshare $user -m --propagation $mode sh -c '
        root=$1 dir=$2; shift 2
        mount --rbind /dev "$root/dev" && mount --rbind /proc "$root/proc" && mount --bind "$dir" "$root/mnt" &&
        exec chroot "$root" "$@"' sh "$root" "$dir" "$@"
"#;

/// Waits for the end of its input, which comes when this process ends in whatever way; then stops the server $1, if it is the
/// one of the directory $2, and removes the directory. Killed when the server was stopped in the orderly way.
const WATCHDOG: &str = r#"
    read -r _
    ours() { tr '\0' '\n' 2>/dev/null <"/proc/$1/environ" | grep -qxF "$3=$2"; }
    ours "$@" && kill -TERM "$1"
    i=0; while [ $i -lt 100 ] && ours "$@"; do sleep 0.1; i=$((i + 1)); done
    ours "$@" && kill -KILL "$1"
    rm -rf "$2"
"#;

fn watchdog(server: u32, dir: &Path) -> Result<Child, Failure> {
    let mut command = Command::new("sh");
    command.args(["-c", WATCHDOG, "sh", &server.to_string(), path_str(dir)?, MARK]);
    Ok(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?)
}

/// Looks for this server on this system and in the Debian 13 root.
fn find(kind: Kind) -> Result<Found, StartError> {
    let trixie = std::env::var_os("XMPPKIT_TRIXIE_ROOT")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/trixie-root"), PathBuf::from);
    for root in [None, Some(trixie.clone())] {
        let base = root.as_deref().unwrap_or(Path::new("/"));
        let found = if kind.is_prosody() { find_prosody(base) } else { find_ejabberd(base) };
        let Some((version, libraries)) = found else { continue };
        if !version.starts_with(kind.version_prefix()) {
            continue;
        }
        if root.is_some() && !namespaces_allowed() {
            return Err(StartError::Missing(format!("{kind} is in {}, but running it there takes root", base.display())));
        }
        return Ok(Found { version, root, libraries });
    }
    Err(StartError::Missing(format!("{kind} is neither on this system nor in a Debian 13 root at {}", trixie.display())))
}

fn find_prosody(base: &Path) -> Option<(String, String)> {
    let version = std::fs::read_to_string(base.join("usr/lib/prosody/prosody.version")).ok()?;
    base.join("usr/bin/prosody").exists().then(|| (version.trim().to_owned(), String::new()))
}

/// The version is in the name of the library's folder: `/usr/lib/<architecture>/ejabberd-23.01/ebin`.
fn find_ejabberd(base: &Path) -> Option<(String, String)> {
    for folder in std::fs::read_dir(base.join("usr/lib")).ok()?.flatten() {
        for library in std::fs::read_dir(folder.path()).into_iter().flatten().flatten() {
            let name = library.file_name();
            let Some(version) = name.to_str().and_then(|n| n.strip_prefix("ejabberd-")) else { continue };
            if library.path().join("ebin/ejabberd.app").exists() {
                return Some((version.to_owned(), format!("/usr/lib/{}", folder.file_name().to_str()?)));
            }
        }
    }
    None
}

/// Whether a mount namespace can be had: as root, or where users may have namespaces of their own.
fn namespaces_allowed() -> bool {
    let script = r#"user=; [ "$(id -u)" = 0 ] || user=-r; unshare $user -m --propagation unchanged true"#;
    Command::new("sh").args(["-c", script]).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// A new directory below the target directory, with the folders a server expects.
fn make_dir() -> Result<PathBuf, Failure> {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for n in 0.. {
        let dir = base.join(format!("server-{}-{n}", std::process::id()));
        match std::fs::create_dir(&dir) {
            Ok(()) => {
                for folder in ["data", "home", "tls", "no-certificates"] {
                    std::fs::create_dir(dir.join(folder))?;
                }
                return Ok(dir);
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the loop has no end")
}

/// Ports the kernel gives out, all different because all are held at once.
fn free_ports() -> Result<[u16; 3], Failure> {
    let listeners = [0; 3].map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)));
    let mut ports = [0; 3];
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener?.local_addr()?.port();
    }
    Ok(ports)
}

fn path_str(path: &Path) -> Result<&str, Failure> {
    path.to_str().ok_or_else(|| format!("{} is not UTF-8", path.display()).into())
}
