//! What became of messages of a session that is lost: the archive has them, or not (R12, R13).

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use jid::BareJid;

use super::catch_up::is_item_not_found;
use super::{ArchiveService, Archives, KeepByDefault, Preferences, ServerQuery};
use crate::client::{Resolution, Unresolved};
use crate::error::Result;
use crate::ext::Ctx;
use crate::store::{IdentityKey, Origin};

/// For so long after a cut the old connection may still hold bytes of ours that the server has not read.
const UNREAD: Duration = Duration::from_secs(10);
/// How far back the archive is asked: the server's clock may be behind ours.
const SKEW: Duration = Duration::from_secs(60 * 60);

/// Says of each message whether the own archive has it, where it would.
///
/// # Errors
/// The session is over.
pub(super) async fn resolve(unresolved: Vec<Unresolved>, cx: Ctx) -> Result<Vec<(String, Resolution)>> {
    let mut contacts: BTreeMap<BareJid, Vec<&Unresolved>> = BTreeMap::new();
    for message in &unresolved {
        if let Some(to) = &message.to {
            contacts.entry(to.to_bare()).or_default().push(message);
        }
    }
    match archived(&cx, contacts.keys()).await {
        Ok(kept) => contacts.retain(|contact, _| kept.contains(contact)),
        Err(error) if error.is_session_over() => return Err(error),
        Err(error) => {
            tracing::debug!(%error, "no archive can tell what became of messages");
            return Ok(Vec::new());
        }
    }
    let cuts = unresolved.iter().filter(|message| !message.counted).map(|message| message.cut);
    if let Some(cut) = cuts.max() {
        let since = SystemTime::now().duration_since(cut).unwrap_or_default();
        tokio::time::sleep(UNREAD.saturating_sub(since)).await;
    }
    let mut found = Vec::new();
    for (contact, messages) in contacts {
        match ask(&cx, &contact, &messages).await {
            Ok(answers) => found.extend(answers),
            Err(error) if error.is_session_over() => return Err(error),
            Err(error) => tracing::warn!(%error, %contact, "the archive could not be asked what became of messages"),
        }
    }
    Ok(found)
}

/// Which contacts' messages the own archive keeps.
async fn archived<'a>(cx: &Ctx, contacts: impl Iterator<Item = &'a BareJid>) -> Result<Vec<BareJid>> {
    let client = cx.client();
    let service = cx.ext::<ArchiveService>().ok_or(crate::error::ErrorKind::ExtensionMissing("ArchiveService"))?;
    if !service.announced_by(&client, None).await?.archive {
        return Ok(Vec::new());
    }
    // A server that does not tell keeps all: that is what servers without preferences do.
    let preferences = match client.archive().server().preferences().await {
        Err(error) if error.is_session_over() => return Err(error),
        asked => asked.unwrap_or_else(|error| {
            tracing::debug!(%error, "what the archive keeps is not known");
            Preferences::new(KeepByDefault::Always)
        }),
    };
    let roster: HashSet<BareJid> = match preferences.default {
        KeepByDefault::Contacts => cx.store().roster().await?.items.into_iter().map(|(jid, _)| jid).collect(),
        KeepByDefault::Always | KeepByDefault::Never => HashSet::new(),
    };
    Ok(contacts.filter(|contact| preferences.keeps(contact, roster.contains(*contact))).cloned().collect())
}

/// Reads what the archive has of this conversation since; what is found is known in the log afterwards.
async fn ask(cx: &Ctx, contact: &BareJid, messages: &[&Unresolved]) -> Result<Vec<(String, Resolution)>> {
    let query = || cx.client().archive().server().query().with(&contact.clone().into());
    // They come in the order they were sent.
    let after = messages.first().and_then(|message| message.archive_after.as_ref()).filter(|after| after.by == *cx.account());
    let by_id = match after {
        Some(after) => match read(query().after_id(&*after.id)).await {
            Err(error) if is_item_not_found(&error) => false,
            result => result.map(|()| true)?,
        },
        None => false,
    };
    if !by_id {
        let first = messages.iter().map(|message| message.written).min().unwrap_or(SystemTime::UNIX_EPOCH);
        read(query().start(first.checked_sub(SKEW).unwrap_or(SystemTime::UNIX_EPOCH))).await?;
    }
    let mut found = Vec::new();
    for message in messages {
        let logged = cx.store().find(&IdentityKey::own(&message.id)).await?;
        let resolution = match &logged {
            Some(logged) if logged.copies.contains(Origin::Archive) => Resolution::Arrived,
            // Archives keep what has a body (XEP-0313 §4); of anything else they need not tell.
            Some(logged) if logged.text.is_some() => Resolution::Missing,
            _ => Resolution::Unknown,
        };
        found.push((message.id.clone(), resolution));
    }
    Ok(found)
}

async fn read(query: ServerQuery) -> Result<()> {
    let mut results = query.forwards();
    while let Some(result) = results.next().await {
        result?;
    }
    Ok(())
}
