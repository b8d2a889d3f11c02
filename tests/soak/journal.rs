//! What the clients said, and the judgement of it (R55, R56).

use std::collections::BTreeSet;

use crate::client::Line;

/// One client's journal, over all its processes.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    /// The last number that was sent, and that the server acknowledged in this process.
    pub(crate) sent: u64,
    pub(crate) ok: u64,
    pub(crate) resumed: u64,
    pub(crate) fresh: u64,
    pub(crate) unverified: Option<u64>,
    pub(crate) faults: Vec<String>,
    got: BTreeSet<u64>,
    acked: BTreeSet<u64>,
    last: u64,
    pub(crate) duplicated: u64,
    pub(crate) redelivered: u64,
    pub(crate) out_of_order: u64,
}

impl Journal {
    pub(crate) fn read(&mut self, line: Line) {
        match line {
            Line::Online(true) => self.resumed += 1,
            Line::Online(false) => self.fresh += 1,
            Line::Try(_) => {}
            Line::Sent(number) => self.sent = self.sent.max(number),
            Line::Ok(number) => self.ok = self.ok.max(number),
            Line::Got(number, again) => self.receive(number, again),
            Line::Acked(number) => drop(self.acked.insert(number)),
            Line::Unverified(count) => self.unverified = Some(count),
            Line::Fault(what) => self.faults.push(what),
        }
    }

    fn receive(&mut self, number: u64, again: bool) {
        if !self.got.insert(number) {
            // Only what was not acknowledged may come again, and must say so.
            if again && !self.acked.contains(&number) {
                self.redelivered += 1;
            } else {
                self.duplicated += 1;
                self.faults.push(format!("{number} came twice"));
            }
            return;
        }
        if number < self.last {
            self.out_of_order += 1;
            self.faults.push(format!("{number} came behind {}", self.last));
        }
        self.last = self.last.max(number);
    }

    pub(crate) fn received(&self) -> u64 {
        self.got.len() as u64
    }

    /// Numbers up to this one that never came.
    pub(crate) fn missing(&self, sent: u64) -> Vec<u64> {
        (1..=sent).filter(|number| !self.got.contains(number)).collect()
    }

    /// The process was killed: of what it had sent nobody is told any more.
    pub(crate) fn killed(&mut self) {
        self.ok = self.sent;
    }
}
