//! The faults, and the plan of them.

use xmppkit::jid::BareJid;
use xmppkit::testing::{Cut, Moment, Server, Way};

use crate::options::Random;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    Rst,
    Fin,
    HalfClose,
    /// Nothing comes through any more, and nothing says so.
    Stall,
    /// The same, and what was under way is gone.
    Drop,
    MidStanza,
    InTls,
    InResume,
    /// The session's time is over; the server still knows how far it was.
    Expired,
    /// The server knows nothing of the session any more.
    Forgotten,
    Kill,
    Restart,
}

impl Fault {
    /// Every kind, with how many of a hundred faults are of it.
    pub(crate) const SHARES: [(Self, usize); 12] = [
        (Self::Rst, 14),
        (Self::Fin, 12),
        (Self::HalfClose, 8),
        (Self::Stall, 7),
        (Self::Drop, 7),
        (Self::MidStanza, 14),
        (Self::InTls, 6),
        (Self::InResume, 12),
        (Self::Expired, 7),
        (Self::Forgotten, 2),
        (Self::Kill, 9),
        (Self::Restart, 2),
    ];

    /// This many faults or a few more, each kind by its share, at least one of each, in an order of chance.
    pub(crate) fn plan(kinds: &[(Self, usize)], count: usize, random: &mut Random) -> Vec<Self> {
        let all: usize = kinds.iter().map(|(_, share)| share).sum();
        let some = |(fault, share): &(Self, usize)| std::iter::repeat_n(*fault, (share * count).div_ceil(all));
        let mut plan: Vec<Self> = kinds.iter().flat_map(some).collect();
        for i in (1..plan.len()).rev() {
            plan.swap(i, random.below(i + 1));
        }
        plan
    }

    /// Does it to this account's client. [`Kill`](Self::Kill) and [`Restart`](Self::Restart) are not the network's matter.
    pub(crate) fn strike(self, server: &Server, victim: &BareJid, random: &mut Random) {
        let how = random.choose(&[Cut::Rst, Cut::Fin]);
        match self {
            Self::Rst => server.cut(victim, Cut::Rst),
            Self::Fin => server.cut(victim, Cut::Fin),
            Self::HalfClose => server.cut(victim, Cut::HalfClose),
            Self::Stall => server.stall(victim, Way::Both),
            Self::Drop => server.cut(victim, Cut::Drop),
            Self::MidStanza => {
                let way = random.choose(&[Way::FromClient, Way::ToClient, Way::Both]);
                server.cut_after(victim, way, 1 + random.below(600), how)
            }
            Self::InTls => {
                server.cut_at(Moment::TlsHandshake, how);
                server.cut(victim, how)
            }
            Self::InResume => {
                server.cut_at(random.choose(&[Moment::ResumeRead, Moment::ResumeDone, Moment::Resumed]), how);
                server.cut(victim, how)
            }
            Self::Expired => {
                server.expire_sessions();
                server.cut(victim, how)
            }
            Self::Forgotten => {
                server.forget_sessions();
                server.cut(victim, how)
            }
            Self::Kill | Self::Restart => 0,
        };
    }
}
