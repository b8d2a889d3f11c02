//! The order in which a domain's servers are tried (RFC 2782, XEP-0368).

use std::collections::BTreeMap;

use super::{TlsMode, host::Host};

/// A server named by an SRV record, or by what stands in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) mode: TlsMode,
}

impl Server {
    /// A server without SRV: the only one.
    pub(super) fn single(host: Host, port: u16, mode: TlsMode) -> Self {
        Self { priority: 0, weight: 0, host, port, mode }
    }
}

/// Orders servers by priority, and inside a priority by weighted chance: the algorithm of RFC 2782, over the records of
/// both services as if they were one set (XEP-0368, rule 1).
///
/// `random(n)` gives a number from 0 to n, both included.
pub(super) fn order(servers: Vec<Server>, mut random: impl FnMut(u32) -> u32) -> Vec<Server> {
    let mut by_priority: BTreeMap<u16, Vec<Server>> = BTreeMap::new();
    for server in servers {
        by_priority.entry(server.priority).or_default().push(server);
    }
    let mut ordered = Vec::new();
    for mut group in by_priority.into_values() {
        // Records of weight 0 stand first, so that a chance of 0 picks one of them and they keep a small chance.
        group.sort_by_key(|server| server.weight != 0);
        while !group.is_empty() {
            let sum = group.iter().map(|server| u32::from(server.weight)).sum();
            let chosen = random(sum);
            let mut running = 0;
            let index = group.iter().position(|server| {
                running += u32::from(server.weight);
                running >= chosen
            });
            ordered.push(group.remove(index.unwrap_or(0)));
        }
    }
    ordered
}

/// A random number from 0 to `n`, both included. Without randomness the order is that of the records.
pub(super) fn random(n: u32) -> u32 {
    let wide = getrandom::u64().unwrap_or(0);
    u32::try_from(wide % (u64::from(n) + 1)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(priority: u16, weight: u16, port: u16) -> Server {
        Server { priority, weight, host: Host::Name("a.example".into()), port, mode: TlsMode::Direct }
    }

    fn ports(servers: &[Server]) -> Vec<u16> {
        servers.iter().map(|s| s.port).collect()
    }

    #[test]
    fn lower_priorities_come_first_whatever_their_weight() {
        let servers = vec![server(20, 65535, 1), server(5, 0, 2), server(10, 10, 3)];
        assert_eq!(ports(&order(servers, random)), [2, 3, 1]);
    }

    #[test]
    fn the_running_sum_decides_inside_a_priority() {
        let servers = || vec![server(1, 10, 1), server(1, 0, 2), server(1, 30, 3)];
        assert_eq!(ports(&order(servers(), |_| 0)), [2, 1, 3], "a zero weight is picked by zero");
        assert_eq!(ports(&order(servers(), |n| n)), [3, 1, 2], "the highest number picks the last");
        let mut sums = Vec::new();
        order(servers(), |n| {
            sums.push(n);
            11.min(n)
        });
        assert_eq!(sums, [40, 10, 0], "each draw is over what is left");
    }

    #[test]
    fn chances_follow_the_weights() {
        let mut seed = 1u64;
        let mut lcg = |n: u32| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            u32::try_from((seed >> 33) % (u64::from(n) + 1)).unwrap()
        };
        let first =
            (0..10_000).filter(|_| order(vec![server(0, 60, 1), server(0, 20, 2), server(0, 20, 3)], &mut lcg)[0].port == 1);
        let share = first.count();
        assert!((5_700..6_300).contains(&share), "60 of 100 should be about 6000 of 10000, was {share}");
    }

    #[test]
    fn randomness_covers_its_range() {
        let seen: std::collections::BTreeSet<u32> = (0..200).map(|_| random(3)).collect();
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
    }
}
