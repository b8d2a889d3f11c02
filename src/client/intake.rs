//! Messages on their way into the log: those of the stream, staged one by one, and those an extension fetched.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jid::BareJid;

use crate::client::dispatch::{logged_by_default, record};
use crate::client::identity;
use crate::client::shared::Shared;
use crate::driver::TakenOver;
use crate::error::{ErrorKind, Result};
use crate::event::Inbound;
use crate::ext::{Ctx, InboundDraft, Intake, Notes, TakenIn};
use crate::store::{
    Applied, Batch, Change, Direction, Feed, IdentityKey, LoggedMessage, MessageFlags, NewMessage, Origin, Place,
};
use crate::xml::belongs_to;

/// How long taking in waits for subscribers that are slow; they are then cut off (R2 gives the live lane as long).
const PATIENCE: Duration = Duration::from_secs(5);

/// A message that passed the stages.
#[expect(clippy::large_enum_variant, reason = "nearly all are logged")]
pub(super) enum Staged {
    /// It is neither stored nor delivered; what was noted is.
    Discarded(Inbound, Vec<Change>),
    /// It is delivered and not kept.
    Unlogged(Inbound, Vec<Change>),
    /// It is kept, and delivered unless it is known.
    Logged(Inbound, NewMessage, Vec<Change>),
}

impl Shared {
    /// What becomes of a message that passed the stages.
    pub(super) fn staged(&self, draft: InboundDraft) -> Staged {
        // Without a sender it is the account that speaks: one that is no JID must not end up in its conversation.
        let has_sender = draft.stanza().from_jid().is_some() || draft.stanza().from().is_none();
        let discarded = draft.discarded();
        if discarded.is_none() && !has_sender {
            tracing::warn!(from = ?draft.stanza().from(), "a message from what is no JID; only raw subscribers see it");
        }
        let logged = has_sender && draft.logged().unwrap_or_else(|| logged_by_default(draft.stanza()));
        let (inbound, mut notes) = draft.into_parts();
        let mut changes = std::mem::take(&mut notes.changes);
        if discarded.is_none() && logged {
            let message = self.new_message(&inbound, notes);
            return Staged::Logged(inbound, message, changes);
        }
        changes.extend(notes.rows.into_iter().map(Change::from));
        match discarded {
            Some(reason) => {
                tracing::debug!(reason, "a message was discarded");
                Staged::Discarded(inbound, changes)
            }
            None => Staged::Unlogged(inbound, changes),
        }
    }

    fn new_message(&self, inbound: &Inbound, notes: Notes) -> NewMessage {
        let stanza = inbound.stanza();
        let from = stanza.from_jid();
        let own = from.is_some_and(|from| belongs_to(from, &self.account));
        let (direction, other) = if own {
            (Direction::Outgoing, stanza.to_jid().map(|to| to.into_bare().into()))
        } else {
            (Direction::Incoming, stanza.sender().map(|from| from.bare().into()))
        };
        let conversation = other.unwrap_or_else(|| BareJid::clone(&self.account).into());
        let mut record = record(stanza, conversation, direction, inbound.received());
        if let Some(stamp) = inbound.stamp() {
            record.stamp = stamp;
            record.flags = record.flags.union(MessageFlags::STAMPED);
        }
        record.archive_ids = notes.archive_ids;
        let (keys, life) = (notes.keys, self.key_life());
        let mut message = identity::received(record, inbound.origin(), keys, life, &self.account, stanza).feed(notes.feed);
        message.when_new = notes.rows;
        message
    }

    /// Applies a batch, and wakes durable subscriptions.
    pub(crate) async fn commit_and_tell(&self, batch: Batch) -> Result<Applied> {
        let applied = self.write(batch).await?;
        self.hub.news();
        Ok(applied)
    }

    /// See [`Ctx::take_in`].
    pub(crate) async fn take_in(&self, intake: Intake) -> Result<Vec<TakenIn>> {
        let Some(cx) = self.ctx() else { return Err(ErrorKind::ClientClosed.into()) };
        let slow = Arc::new(TakenOver::default());
        let (taken, mut held) = {
            let _one_at_a_time = self.intake.lock().await;
            self.take_in_now(intake, &cx, &slow).await?
        };
        let everybody = async {
            while held > 0 {
                slow.gathered().await;
                held = held.saturating_sub(slow.drain().len());
            }
        };
        if tokio::time::timeout(PATIENCE, everybody).await.is_err() {
            let count = self.hub.cut_off_slow();
            tracing::warn!(count, "slow subscribers were cut off; each is told where its gap is");
        }
        Ok(taken)
    }

    async fn take_in_now(&self, intake: Intake, cx: &Ctx, slow: &Arc<TakenOver>) -> Result<(Vec<TakenIn>, usize)> {
        let now = SystemTime::now();
        let mut staged = Vec::with_capacity(intake.messages.len());
        for fetched in intake.messages {
            let mut inbound = Inbound::new(fetched.stanza, 0, now);
            inbound.set_origin(fetched.origin);
            if let Some(stamp) = fetched.stamp {
                inbound.set_stamp(stamp);
            }
            let stamp = fetched.stamp.unwrap_or(now);
            let mut draft = InboundDraft::new(inbound);
            draft.set_feed(intake.feed);
            if let Some(id) = fetched.archive_id {
                draft.add_key(IdentityKey::archive(&id.by, &id.id));
                draft.add_archive_id(id);
            }
            // What was fetched was unwrapped by who fetched it.
            self.run_stages(std::slice::from_mut(&mut draft), cx, self.registry.wrapped);
            let staged_message = self.staged(draft);
            let known = match &staged_message {
                Staged::Logged(_, message, _) => self.known(message).await?,
                _ => None,
            };
            staged.push((staged_message, stamp, known));
        }
        let places: Vec<_> = staged.iter().map(|(_, stamp, known)| (*stamp, known.as_ref().map(|known| known.order))).collect();
        let orders = orders(&places, intake.after, intake.before);

        let mut batch = Batch::new();
        let mut ready = Vec::with_capacity(staged.len());
        for ((staged, _, known), order) in staged.into_iter().zip(orders) {
            match staged {
                Staged::Discarded(_, changes) => {
                    batch.extend(changes);
                    ready.push((None, None, order));
                }
                Staged::Unlogged(inbound, changes) => {
                    batch.extend(changes);
                    ready.push((Some(inbound), None, order));
                }
                Staged::Logged(inbound, message, changes) => {
                    let mut message = message.at(order);
                    if known.is_some_and(|known| was_sent_here(&known)) {
                        message.feed = Feed::History;
                    }
                    ready.push((Some(inbound), Some(message.feed), order));
                    batch.push(Change::Append(message));
                    batch.extend(changes);
                }
            }
        }
        let batch = batch.and(intake.changes);
        let applied = if batch.is_empty() { Applied::default() } else { self.commit_and_tell(batch).await? };
        if let Some(committed) = intake.committed {
            committed();
        }
        let mut appended = applied.appended.into_iter();
        let (mut taken, mut held) = (Vec::with_capacity(ready.len()), 0);
        for (inbound, logged_as, order) in ready {
            let outcome = logged_as.and_then(|_| appended.next());
            taken.push(TakenIn::new(outcome.map(|o| o.id), outcome.is_none_or(|o| !o.duplicate), order));
            let Some(mut inbound) = inbound else { continue };
            if outcome.zip(logged_as).is_some_and(|(outcome, feed)| !outcome.is_news(feed)) {
                continue;
            }
            if let Some(position) = outcome.and_then(|outcome| outcome.position) {
                inbound.set_position(position);
            }
            self.consume(std::iter::once(&inbound));
            let claimed = || self.registry.claims.iter().any(|route| route.matches(&inbound));
            if intake.feed == Feed::Deliver && !self.hub.deliver_fetched(&inbound, crate::driver::now(), slow, claimed) {
                held += 1;
            }
        }
        Ok((taken, held))
    }

    /// The message in the log that this is certainly a copy of.
    async fn known(&self, message: &NewMessage) -> Result<Option<LoggedMessage>> {
        for key in message.made_keys().iter().filter(|key| key.is_exact()) {
            if let Some(known) = self.store.find(key).await? {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }
}

/// A message that was sent here is no news when an archive has it too.
fn was_sent_here(known: &LoggedMessage) -> bool {
    known.direction == Direction::Outgoing && known.copies.contains(Origin::Live) && known.feed == Feed::History
}

/// The keys in the timeline of messages that follow one another: rising, as near to their stamps as those let them that are
/// known and keep theirs.
fn orders(messages: &[(SystemTime, Option<i64>)], after: Option<i64>, before: Option<i64>) -> Vec<i64> {
    // From the end: what each must stay below. A known one that stands out of order bounds nothing.
    let mut ceilings = Vec::with_capacity(messages.len());
    let mut ceiling = before.unwrap_or(i64::MAX);
    for (_, known) in messages.iter().rev() {
        ceilings.push(ceiling);
        ceiling = known.map_or(ceiling.saturating_sub(1), |known| known.min(ceiling));
    }
    ceilings.reverse();
    let mut last = after;
    let place = |(stamp, known): &(SystemTime, Option<i64>), ceiling: i64, last: Option<i64>| {
        let floor = last.map_or(i64::MIN, |last| last.saturating_add(1));
        known.unwrap_or_else(|| Place::order_of(*stamp).min(ceiling.saturating_sub(1)).max(floor))
    };
    let mut orders = Vec::with_capacity(messages.len());
    for (message, ceiling) in messages.iter().zip(ceilings) {
        let order = place(message, ceiling, last);
        last = Some(last.map_or(order, |last| last.max(order)));
        orders.push(order);
    }
    orders
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(messages: &[(u64, Option<i64>)], after: Option<i64>, before: Option<i64>) -> Vec<i64> {
        let messages: Vec<_> =
            messages.iter().map(|(micros, known)| (SystemTime::UNIX_EPOCH + Duration::from_micros(*micros), *known)).collect();
        orders(&messages, after, before)
    }

    #[test]
    fn what_was_fetched_keeps_its_order_whatever_the_stamps_say() {
        for (messages, after, before, expected) in [
            (&[(10, None), (20, None)][..], None, None, &[10, 20][..]),
            // Stamps that are equal, or go back.
            (&[(10, None), (10, None), (5, None)], None, None, &[10, 11, 12]),
            // A page that follows another, and one that comes before another.
            (&[(10, None), (30, None)], Some(15), None, &[16, 30]),
            (&[(10, None), (10, None), (10, None)], None, Some(10), &[7, 8, 9]),
            // Those that are known keep their place, and the others stand between them.
            (&[(10, None), (10, Some(12)), (10, None)], None, None, &[10, 12, 13]),
            (&[(10, Some(10)), (500, None), (500, None), (20, Some(20))], None, None, &[10, 18, 19, 20]),
            // Where there is no room the order of what is fetched decides.
            (&[(10, Some(10)), (10, None), (10, Some(11))], None, None, &[10, 11, 11]),
        ] {
            assert_eq!(keys(messages, after, before), expected, "{messages:?} {after:?} {before:?}");
        }
    }
}
