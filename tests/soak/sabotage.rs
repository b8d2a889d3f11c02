//! The mistake that needs no place in the library: an extension that moves the archive's cursor by what arrives, whatever is still
//! missing before it (R18).

use xmppkit::ext::{Ctx, Extension, InboundDraft, Position, Registrar, inbound};
use xmppkit::store::{ArchiveCursor, Change};

pub(crate) struct CursorByLive;

impl Extension for CursorByLive {
    fn register(&self, reg: &mut Registrar<'_>) {
        if std::env::var("XMPPKIT_SABOTAGE").is_ok_and(|mistake| mistake == "cursor-by-live") {
            reg.inbound_stage("cursor-by-live", Position::After(inbound::IDENTIFY), move_cursor);
        }
    }
}

fn move_cursor(draft: &mut InboundDraft, cx: &Ctx) {
    let Some(id) = draft.stanza().child("urn:xmpp:sid:0", "stanza-id").and_then(|id| id.attr("id").map(|id| id.into_owned()))
    else {
        return;
    };
    let cursor = ArchiveCursor::new(Some(id), draft.received());
    draft.also(Change::ArchiveCursor(cx.account().clone(), cursor));
}
