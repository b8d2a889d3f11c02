//! How servers differ, as data (R57).
//!
//! The server's behaviour reads [`Differences`] and never asks for a dialect's name. Each value below names where the
//! difference was read or seen: a source file of that server, or a running server (*seen*).

use std::time::Duration;

use super::options::Mechanism;
use super::tree::ns;

/// A named list of [`Differences`]: how a kind of server answers where the specifications leave a choice, or where it
/// departs from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Dialect {
    /// RFC 6120, RFC 6121 and XEP-0077 to the letter, with every optional part this server knows.
    #[default]
    Strict,
    /// Prosody 0.12 and 13.
    Prosody,
    /// ejabberd 23.01, as in Debian 12.
    OldEjabberd,
    /// Openfire. Read from its source; never compared with a running one.
    Openfire,
}

impl Dialect {
    /// All dialects, for suites that run on each.
    pub const ALL: [Self; 4] = [Self::Strict, Self::Prosody, Self::OldEjabberd, Self::Openfire];

    /// The differences this dialect stands for.
    #[must_use]
    pub fn differences(self) -> Differences {
        match self {
            Self::Strict => Differences::strict(),
            Self::Prosody => Differences::prosody(),
            Self::OldEjabberd => Differences::old_ejabberd(),
            Self::Openfire => Differences::openfire(),
        }
    }
}

/// What differs from server to server, each a value the in-process server acts on.
///
/// Start from a [`Dialect`] and change what a test needs with [`Builder::differences`](super::Builder::differences).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Differences {
    /// SASL mechanisms, in the order they are offered.
    pub mechanisms: Vec<Mechanism>,
    /// PBKDF2 iterations of SCRAM.
    pub iterations: u32,
    /// Whether SCRAM's server signature comes in a last challenge, with an empty success after it, instead of in the
    /// success (RFC 6120 §6.3.10 allows both, R32).
    pub signature_in_challenge: bool,
    /// Failed authentications until the stream is closed with `policy-violation` (RFC 6120 §6.4.5).
    pub auth_attempts: u32,
    /// Whether ALPN `xmpp-client` is answered on the direct TLS port (XEP-0368).
    pub alpn: bool,
    /// The `from` of answers to requests without `to` (R48).
    pub own_result_from: OwnFrom,
    /// The `from` of roster pushes (RFC 6121 §2.1.6; R49).
    pub push_from: OwnFrom,
    /// The `to` of roster pushes.
    pub push_to: PushTo,
    /// Whether a roster push comes before the result of the set that caused it.
    pub push_before_result: bool,
    /// Whether errors carry the payload of the request they answer (RFC 6120 §8.3.1 allows both).
    pub errors_echo_payload: bool,
    /// Whether `from` on a client's stanzas is checked, with the stream error `invalid-from`, or replaced in silence
    /// (RFC 6120 §8.1.2.1).
    pub checks_from: bool,
    /// Whether `<session/>` of RFC 3921 is offered, as optional.
    pub session_feature: bool,
    /// Whether roster versioning is offered, and how a client's old version is answered.
    pub roster_versioning: Versioning,
    /// Whether subscriptions can be approved before they are asked for (RFC 6121 §3.4), and the feature is offered.
    pub pre_approval: bool,
    /// Whether the server sends a client's own presence back to it (RFC 6121 §4.2.2).
    pub echo_own_presence: bool,
    /// Which resources get a message to the bare JID (RFC 6121 §8.5.2.1.1).
    pub message_routing: MessageRouting,
    /// Whether a message of type normal to a resource that is gone is handled as one to the bare JID, as chat messages
    /// are, instead of being refused.
    pub full_jid_fallback: bool,
    /// The text of the `<delay/>` that offline messages get, if any (XEP-0203).
    pub offline_delay_text: Option<String>,
    /// Whether accounts have an archive, and announce it (XEP-0313).
    pub archive: bool,
    /// Whether it is of the extended kind: queries by ids, metadata (XEP-0313 §7).
    pub archive_extended: bool,
    /// Whether the ids that it gives are the time in microseconds.
    pub archive_ids_are_times: bool,
    /// The most results on a page of it.
    pub archive_page_limit: usize,
    /// The field of its form that searches in texts, if it has one.
    pub archive_text_field: Option<String>,
    /// Whether a session that has asked the archive for messages gets no offline messages.
    pub archive_replaces_offline: bool,
    /// Whether messages get the id that the archive gave them, forged ones are taken out, and this is announced (XEP-0359).
    pub stanza_ids: bool,
    /// Whether carbons are offered (XEP-0280).
    pub carbons: bool,
    /// Whether clients can say that nobody is looking (XEP-0352).
    pub client_states: bool,
    /// Whether push notifications can be asked for (XEP-0357).
    pub push: bool,
    /// Whether registration offers a data form beside the legacy fields (XEP-0077 §3.1, §4).
    pub registration_form: bool,
    /// Legacy fields asked for beside `username` and `password`; they may stay empty.
    pub registration_extra_fields: Vec<String>,
    /// Whether registration is announced as a stream feature, where it is open (XEP-0077 §8 leaves it to the server).
    pub announces_registration: bool,
    /// What a client that is not logged in gets where registration is closed: the error's condition.
    pub registration_closed: String,
    /// The largest stanza accepted, in bytes.
    pub max_stanza_bytes: usize,
    /// Whether the limit is told in stream features (XEP-0478).
    pub advertises_limits: bool,
    /// What closes the stream after a stanza that is too large.
    pub oversize: Oversize,
    /// What a session meets whose resource another one binds (RFC 6120 §7.7.2.2).
    pub resource_conflict: ResourceConflict,
    /// The quotes around the attributes of the stream header.
    pub header_quote: char,
    /// Prefixes declared on the stream header, as prefix and namespace, for stanzas sent with
    /// [`Server::inject`](super::Server::inject).
    pub header_prefixes: Vec<(String, String)>,
    /// The `xml:lang` of the stream header.
    pub header_lang: Option<String>,
    /// How often a blank is sent to a client that is sent nothing else (RFC 6120 §4.6.1).
    pub whitespace_keepalive: Option<Duration>,
    /// Whether the server announces its own capabilities in stream features (XEP-0115 §6.3).
    pub announces_caps: bool,
    /// Stream management (XEP-0198).
    pub management: Management,
    /// Name and version told by XEP-0092.
    pub software: (String, String),
}

/// The `from` of what a server sends in the name of the user's own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OwnFrom {
    /// None.
    Absent,
    /// The account's bare JID.
    Bare,
}

/// The `to` of a roster push.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PushTo {
    /// None.
    Absent,
    /// The account's bare JID.
    Bare,
    /// The resource's full JID.
    Full,
}

/// How roster versioning (RFC 6121 §2.6) is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Versioning {
    /// It is not offered.
    Off,
    /// An old version is answered with the whole roster.
    Whole,
    /// An old version is answered with an empty result and a push for each change since.
    Pushes,
}

/// Which resources get a message to the bare JID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MessageRouting {
    /// Every available resource whose priority is not negative.
    AllNonNegative,
    /// Every resource of the highest priority, unless that is negative.
    HighestPriority,
    /// One resource of the highest priority: the one that logged in last.
    MostRecent,
}

/// How stream management (XEP-0198) is done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Management {
    /// The namespaces offered, in this order; none for a server without stream management.
    pub versions: Vec<String>,
    /// For how long a session without a connection is kept at most.
    pub max: Duration,
    /// Whether that is told in `<enabled/>`.
    pub tells_max: bool,
    /// Where clients are told to resume, host and port, if they are (XEP-0198 §5).
    pub location: Option<String>,
    /// Whether `<failed/>` says how many stanzas had been handled, for a session whose time is over (XEP-0198 §5).
    pub failed_tells_count: bool,
    /// Whether messages and presence that are sent again after a resume say when they were sent first (XEP-0203).
    pub delays_resent: bool,
    /// What a client meets that acknowledges less than it did before. More than was sent always ends the stream.
    pub low_count: WrongCount,
    /// How many stanzas may wait for the client's acknowledgement.
    pub max_unacknowledged: usize,
    /// What happens when more do.
    pub overflow: Overflow,
}

/// What a client meets whose count of handled stanzas went back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WrongCount {
    /// Nothing.
    Ignored,
    /// The end of the stream; a resume is refused.
    Closes,
}

/// What happens when too many stanzas wait for a client's acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Overflow {
    /// The oldest is forgotten, and the session cannot be resumed: `<failed/>` with `resource-constraint`.
    Unresumable,
    /// The stream ends with `policy-violation`, and nothing that waited is sent again.
    CloseStream,
    /// Nothing that waited is sent again, and the server neither asks nor answers any more.
    Silence,
}

impl Management {
    fn strict() -> Self {
        Self {
            versions: vec![ns::SM.into()],
            max: Duration::from_secs(300),
            tells_max: true,
            location: None,
            failed_tells_count: true,
            delays_resent: false,
            low_count: WrongCount::Closes,
            max_unacknowledged: usize::MAX,
            overflow: Overflow::Unresumable,
        }
    }

    fn prosody() -> Self {
        Self {
            // mod_smacks.lua `smacks_hibernation_time`.
            max: Duration::from_secs(600),
            // mod_smacks.lua `outgoing_stanza_filter`: what is queued gets a `<delay/>`, unless it is an iq.
            delays_resent: true,
            // util/smqueue.lua `ack`, "tail".
            low_count: WrongCount::Closes,
            // mod_smacks.lua `smacks_max_queue_size`; a ring that overwrites its oldest.
            max_unacknowledged: 500,
            overflow: Overflow::Unresumable,
            ..Self::strict()
        }
    }

    fn old_ejabberd() -> Self {
        Self {
            // mod_stream_mgmt.erl `mod_options`; `add_resent_delay_info`; `check_h_attribute`; `check_queue_length`.
            max: Duration::from_secs(300),
            delays_resent: true,
            low_count: WrongCount::Ignored,
            max_unacknowledged: 5000,
            overflow: Overflow::CloseStream,
            ..Self::strict()
        }
    }

    fn openfire() -> Self {
        Self {
            // StreamManager.java `NAMESPACE_V2`, `NAMESPACE_V3`.
            versions: vec![ns::SM.into(), ns::SM2.into()],
            max: Duration::from_secs(600),
            // StreamManager.java `startResume`: `item-not-found`, nothing else.
            failed_tells_count: false,
            delays_resent: true,
            low_count: WrongCount::Closes,
            // `stream.management.max-unacked`; then `namespace = null`.
            max_unacknowledged: 10_000,
            overflow: Overflow::Silence,
            ..Self::strict()
        }
    }
}

/// What closes the stream after a stanza that is too large.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Oversize {
    /// The stream error's text.
    pub text: Option<String>,
    /// Whether `<stanza-too-big xmlns='urn:xmpp:errors'/>` stands beside `policy-violation`.
    pub application_condition: bool,
}

/// What a session meets whose resource another one binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResourceConflict {
    /// The old session is closed with the stream error `conflict`.
    ReplaceOld,
    /// The new bind is refused with `conflict`.
    RefuseNew,
    /// The new session gets another resource.
    Rename,
}

impl Differences {
    fn strict() -> Self {
        Self {
            mechanisms: vec![Mechanism::ScramSha512, Mechanism::ScramSha256, Mechanism::ScramSha1, Mechanism::Plain],
            iterations: 4096,
            signature_in_challenge: false,
            auth_attempts: 5,
            alpn: true,
            own_result_from: OwnFrom::Bare,
            push_from: OwnFrom::Absent,
            push_to: PushTo::Full,
            push_before_result: false,
            errors_echo_payload: true,
            checks_from: true,
            session_feature: false,
            roster_versioning: Versioning::Pushes,
            pre_approval: true,
            echo_own_presence: true,
            message_routing: MessageRouting::AllNonNegative,
            full_jid_fallback: false,
            offline_delay_text: None,
            archive: true,
            archive_extended: true,
            archive_ids_are_times: false,
            archive_page_limit: 250,
            archive_text_field: Some("{urn:xmpp:fulltext:0}fulltext".into()),
            archive_replaces_offline: false,
            stanza_ids: true,
            carbons: true,
            client_states: true,
            push: true,
            registration_form: true,
            registration_extra_fields: Vec::new(),
            announces_registration: true,
            registration_closed: "service-unavailable".into(),
            max_stanza_bytes: 262_144,
            advertises_limits: true,
            oversize: Oversize { text: None, application_condition: true },
            resource_conflict: ResourceConflict::ReplaceOld,
            header_quote: '\'',
            header_prefixes: Vec::new(),
            header_lang: Some("en".into()),
            whitespace_keepalive: None,
            announces_caps: true,
            management: Management::strict(),
            software: ("xmppkit test server".into(), env!("CARGO_PKG_VERSION").into()),
        }
    }

    fn prosody() -> Self {
        Self {
            // Debian's default store offers these two (seen on 0.12.3).
            mechanisms: vec![Mechanism::Plain, Mechanism::ScramSha1],
            // util/sasl/scram.lua.
            iterations: 10_000,
            // Nothing in mod_saslauth.lua counts failures.
            auth_attempts: u32::MAX,
            // Seen: connects, answers no ALPN.
            alpn: false,
            // Seen; util/stanza.lua `reply`: `from` is the request's `to`.
            own_result_from: OwnFrom::Absent,
            // core/rostermanager.lua `roster_push`: one stanza for all resources, no addresses.
            push_from: OwnFrom::Absent,
            push_to: PushTo::Absent,
            // mod_roster.lua: `session.send(st.reply(stanza))`, then `rm_roster_push`.
            push_before_result: false,
            // Seen; util/stanza.lua `error_reply`.
            errors_echo_payload: false,
            // core/stanza_router.lua: `stanza.attr.from = origin.full_jid`.
            checks_from: false,
            // mod_saslauth.lua, end of the stream-features hook.
            session_feature: true,
            // mod_roster.lua: `client_ver ~= server_ver` gives the whole roster.
            roster_versioning: Versioning::Whole,
            // mod_presence.lua `pre_approval_stream_feature`.
            pre_approval: true,
            // mod_presence.lua `handle_normal_presence`: "reflect their presence back to them".
            echo_own_presence: true,
            // mod_message.lua `process_to_bare`: `user.top_resources`.
            message_routing: MessageRouting::HighestPriority,
            // mod_message.lua "message/full": a resource that is not online falls to `process_to_bare`.
            full_jid_fallback: true,
            // mod_offline.lua: `<delay/>` without text.
            offline_delay_text: None,
            // Seen: mam:2 and mam:2#extended, sid:0.
            archive: true,
            archive_extended: true,
            archive_ids_are_times: false,
            // mod_mam.lua `max_archive_query_results`.
            archive_page_limit: 50,
            archive_text_field: None,
            // mod_mam.lua `mam_requested`.
            archive_replaces_offline: true,
            stanza_ids: true,
            carbons: true,
            // mod_csi.lua, mod_cloud_notify.lua.
            client_states: true,
            push: true,
            // Seen (0.12.3 and 13.0.1); mod_register_ibr.lua adds a form to the legacy fields.
            registration_form: true,
            registration_extra_fields: Vec::new(),
            announces_registration: true,
            // core/stanza_router.lua `handle_unhandled_stanza`.
            registration_closed: "service-unavailable".into(),
            // mod_c2s.lua `c2s_stanza_size_limit`.
            max_stanza_bytes: 256 * 1024,
            // Seen on 13.0.1 only, so left out: the absence is the harder case.
            advertises_limits: false,
            // Seen: policy-violation with stanza-too-big.
            oversize: Oversize { text: Some("XML stanza is too big".into()), application_condition: true },
            // core/sessionmanager.lua `bind_resource`, the last branch: "Replaced by new connection".
            resource_conflict: ResourceConflict::ReplaceOld,
            header_quote: '\'',
            header_prefixes: Vec::new(),
            header_lang: Some("en".into()),
            whitespace_keepalive: None,
            signature_in_challenge: false,
            // mod_disco.lua `get_server_caps_feature`.
            announces_caps: true,
            management: Management::prosody(),
            software: ("Prosody".into(), "0.12.3".into()),
        }
    }

    fn old_ejabberd() -> Self {
        Self {
            // Seen on 23.01; its -PLUS mechanisms are left out here, this server has no channel binding.
            mechanisms: vec![Mechanism::Plain, Mechanism::ScramSha1, Mechanism::ScramSha256, Mechanism::ScramSha512],
            iterations: 4096,
            auth_attempts: u32::MAX,
            // Seen: connects, answers no ALPN.
            alpn: false,
            // Seen: the bare JID.
            own_result_from: OwnFrom::Bare,
            // mod_roster.erl `push_item`: `from = jid:remove_resource(To)`, `to` each resource.
            push_from: OwnFrom::Bare,
            push_to: PushTo::Full,
            // mod_roster.erl `process_iq_set`: `set_item_and_notify_clients` before `make_iq_result`.
            push_before_result: true,
            // Seen.
            errors_echo_payload: true,
            checks_from: true,
            session_feature: true,
            // mod_roster.erl: "The roster versioning follows an all-or-nothing strategy".
            roster_versioning: Versioning::Whole,
            // Seen: no pre-approval on 23.01 (24.12 and later have it).
            pre_approval: false,
            echo_own_presence: true,
            // ejabberd_sm.erl `route_message`: every resource of the highest priority.
            message_routing: MessageRouting::HighestPriority,
            full_jid_fallback: false,
            // mod_offline.erl `add_delay_info`.
            offline_delay_text: Some("Offline Storage".into()),
            // Seen on 23.01: no mam:2#extended, metadata is answered with bad-request.
            archive: true,
            archive_extended: false,
            archive_ids_are_times: true,
            archive_page_limit: 250,
            // mod_mam.erl `withtext`.
            archive_text_field: Some("withtext".into()),
            // mod_offline.erl: spooled as well, unless `use_mam_for_storage`.
            archive_replaces_offline: false,
            stanza_ids: true,
            carbons: true,
            // mod_client_state.erl, mod_push.erl.
            client_states: true,
            push: true,
            // Seen: legacy fields only.
            registration_form: false,
            registration_extra_fields: Vec::new(),
            announces_registration: true,
            // mod_register.erl: `err_not_allowed` where the access rule refuses.
            registration_closed: "not-allowed".into(),
            max_stanza_bytes: 262_144,
            advertises_limits: false,
            // Seen: policy-violation, nothing beside it.
            oversize: Oversize { text: Some("XML stanza is too big".into()), application_condition: false },
            resource_conflict: ResourceConflict::ReplaceOld,
            header_quote: '\'',
            header_prefixes: Vec::new(),
            header_lang: Some("en".into()),
            whitespace_keepalive: None,
            signature_in_challenge: false,
            // mod_caps.erl `caps_stream_features`.
            announces_caps: true,
            management: Management::old_ejabberd(),
            software: ("ejabberd".into(), "23.01".into()),
        }
    }

    fn openfire() -> Self {
        Self {
            // SCRAM-SHA-1 is its only SCRAM; DIGEST-MD5 and CRAM-MD5 are not built here.
            mechanisms: vec![Mechanism::Plain, Mechanism::ScramSha1],
            iterations: 4096,
            auth_attempts: u32::MAX,
            alpn: false,
            // IQRosterHandler.java `manageRoster`: `new IQ()`, `setTo(sender)`, no `from`.
            own_result_from: OwnFrom::Absent,
            // Roster.java `broadcast`: `setTo` the bare JID, no `from`.
            push_from: OwnFrom::Absent,
            push_to: PushTo::Bare,
            // IQRosterHandler.java: the item's change broadcasts before the result is returned.
            push_before_result: true,
            // IQRegisterHandler.java and others: `setChildElement(packet.getChildElement().createCopy())`.
            errors_echo_payload: true,
            // SessionPacketRouter sets the sender's address itself.
            checks_from: false,
            // LocalClientSession.java `getAvailableStreamFeatures`.
            session_feature: true,
            // IQRosterHandler.java: `!latestVersion.equals(clientVersion)` gives the whole roster.
            roster_versioning: Versioning::Whole,
            // No such feature in `getAvailableStreamFeatures`.
            pre_approval: false,
            // Roster.java `broadcastPresence`, its end: `broadcastPresenceToResources`.
            echo_own_presence: true,
            // RoutingTableImpl: one session among those of the highest priority, the one active last.
            message_routing: MessageRouting::MostRecent,
            full_jid_fallback: true,
            // OfflineMessageStore.java: `<delay/>` without text.
            offline_delay_text: None,
            // By a plugin only.
            archive: false,
            archive_extended: false,
            archive_ids_are_times: false,
            archive_page_limit: 50,
            archive_text_field: None,
            archive_replaces_offline: false,
            // StanzaIDUtil.java has callers in the rooms' implementation alone.
            stanza_ids: false,
            // IQMessageCarbonsHandler.java.
            carbons: true,
            // CsiManager.java; push only by a plugin.
            client_states: true,
            push: false,
            // IQRegisterHandler.java `initialize`: a form beside the legacy fields, both with name and email.
            registration_form: true,
            registration_extra_fields: vec!["email".into(), "name".into()],
            announces_registration: true,
            // IQRegisterHandler.java `handleIQ`: `forbidden` where registration is off.
            registration_closed: "forbidden".into(),
            // XMLLightweightParser.java `xmpp.parser.buffer.size`.
            max_stanza_bytes: 1_048_576,
            // LocalClientSession.java, unless disabled.
            advertises_limits: true,
            // NettyXMPPDecoder.java `decode`.
            oversize: Oversize { text: Some("Maximum stanza length exceeded".into()), application_condition: false },
            resource_conflict: ResourceConflict::ReplaceOld,
            header_quote: '"',
            header_prefixes: Vec::new(),
            header_lang: Some("en".into()),
            whitespace_keepalive: None,
            signature_in_challenge: false,
            // LocalClientSession.java `getAvailableStreamFeatures`: EntityCapabilitiesManager's hash of the domain.
            announces_caps: true,
            management: Management::openfire(),
            software: ("Openfire".into(), "5.0".into()),
        }
    }
}
