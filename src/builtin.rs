//! The extensions every client has unless they are removed: the one place that knows them all.

use crate::archive::ArchiveService;
use crate::ext::Entry;
use crate::messaging::MessagingService;
use crate::presence::PresenceService;
use crate::register::RegistrationService;
use crate::roster::RosterService;
use crate::xep::caps::CapsService;
use crate::xep::carbons::CarbonsService;
use crate::xep::csi::CsiService;
use crate::xep::disco::DiscoService;
use crate::xep::last_activity::LastActivityService;
use crate::xep::ping::PingService;
use crate::xep::push::PushService;
use crate::xep::time::TimeService;
use crate::xep::version::VersionService;

/// The built-in extensions.
pub(crate) fn extensions() -> Vec<Entry> {
    vec![
        Entry::new(DiscoService::new()),
        Entry::new(MessagingService::new()),
        // What one login asks for in one flight, in this order (R20).
        Entry::new(CarbonsService::new()),
        Entry::new(ArchiveService::new()),
        Entry::new(RosterService::new()),
        Entry::new(PresenceService::new()),
        Entry::new(RegistrationService::new()),
        Entry::new(CapsService::new()),
        Entry::new(PingService::new()),
        Entry::new(VersionService::new()),
        Entry::new(TimeService::new()),
        Entry::new(LastActivityService::new()),
        Entry::new(CsiService::new()),
        Entry::new(PushService::new()),
    ]
}
