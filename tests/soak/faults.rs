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

/// Every kind, with how many of a hundred faults are of it.
const KINDS: [(Fault, usize); 12] = [
    (Fault::Rst, 14),
    (Fault::Fin, 12),
    (Fault::HalfClose, 8),
    (Fault::Stall, 7),
    (Fault::Drop, 7),
    (Fault::MidStanza, 14),
    (Fault::InTls, 6),
    (Fault::InResume, 12),
    (Fault::Expired, 7),
    (Fault::Forgotten, 2),
    (Fault::Kill, 9),
    (Fault::Restart, 2),
];

impl Fault {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        KINDS.into_iter().map(|(fault, _)| fault)
    }

    /// This many faults, each kind by its share, at least one of each, in an order of chance.
    pub(crate) fn plan(count: usize, random: &mut Random) -> Vec<Self> {
        let mut plan: Vec<Self> =
            KINDS.into_iter().flat_map(|(fault, share)| std::iter::repeat_n(fault, (share * count).div_ceil(100))).collect();
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
