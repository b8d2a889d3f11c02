//! What a run is asked to be.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::time::Duration;

use xmppkit::testing::Dialect;

const HELP: &str = "\
the soak: messages both ways through faults, counted

  --full            the long run: 20000 messages each way, 300 faults; without it a short one
  --messages N      messages each way
  --faults N        faults
  --seed N          the same faults in the same order
  --servers         2000 messages each way and 60 faults on each of the real servers that are installed
  --only NAME       of those this one, for example 'prosody 13'
  --kinds NAMES     faults of these kinds only, for example kill,expired
  --dialect NAME    the server inside resembles prosody, oldejabberd or openfire
  --no-archive      a server without archives: what nobody can tell may come twice
  --settle N        how many seconds the last messages may take to arrive, 90 unless this says otherwise
  --verbose         say each fault";

/// A run.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) messages: u64,
    pub(crate) faults: usize,
    pub(crate) seed: u64,
    pub(crate) archive: bool,
    pub(crate) verbose: bool,
    /// On the real servers.
    pub(crate) servers: bool,
    pub(crate) only: Option<String>,
    /// Which kinds of faults, by parts of their names.
    pub(crate) kinds: Option<String>,
    pub(crate) dialect: Dialect,
    /// How long the last messages may take to arrive. A client that cannot tell what a lost session had sent waits before it asks
    /// (R12).
    pub(crate) settle: Duration,
}

impl Options {
    /// `None`: there is nothing to run.
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let seed = RandomState::new().build_hasher().finish() % 1_000_000;
        let mut options = Self {
            messages: 600,
            faults: 30,
            seed,
            archive: true,
            verbose: false,
            servers: false,
            only: None,
            kinds: None,
            dialect: Dialect::Strict,
            settle: Duration::from_secs(90),
        };
        let mut arguments = arguments;
        while let Some(argument) = arguments.next() {
            let mut number = || arguments.next().and_then(|text| text.parse().ok()).ok_or(format!("{argument} takes a number"));
            match argument.as_str() {
                "--help" => {
                    println!("{HELP}");
                    return Ok(None);
                }
                // What the test harness of cargo would be asked.
                "--list" => {
                    println!("soak: test");
                    return Ok(None);
                }
                "--full" => (options.messages, options.faults) = (20_000, 300),
                "--servers" => (options.messages, options.faults, options.servers) = (2_000, 60, true),
                "--only" => options.only = arguments.next(),
                "--kinds" => options.kinds = arguments.next(),
                "--dialect" => {
                    let name = arguments.next().unwrap_or_default();
                    let named = |dialect: &Dialect| format!("{dialect:?}").eq_ignore_ascii_case(&name);
                    options.dialect = Dialect::ALL.into_iter().find(named).ok_or(format!("no dialect {name}"))?;
                }
                "--messages" => options.messages = number()?,
                "--faults" => options.faults = number()? as usize,
                "--settle" => options.settle = Duration::from_secs(number()?),
                "--seed" => options.seed = number()?,
                "--no-archive" => options.archive = false,
                "--verbose" => options.verbose = true,
                filter if !filter.starts_with('-') && !"soak".contains(filter) => return Ok(None),
                // Filters that mean this one, and options of the harness.
                _ => {}
            }
        }
        Ok(Some(options))
    }

    /// Whether it must have everything that makes a run a test: a short one, or one of chosen faults, shows what it shows.
    pub(crate) fn is_whole(&self) -> bool {
        self.kinds.is_none() && self.faults >= 60
    }

    /// A figure of the long run, in proportion to this one.
    pub(crate) fn share(&self, of: usize) -> usize {
        (of * self.faults.min(300)) / 300
    }
}

/// SplitMix64: the same numbers for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    pub(crate) fn choose<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())]
    }
}
