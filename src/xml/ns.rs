//! Namespace names, by the specification that defines them.

/// Stanzas of a client stream (RFC 6120 §4.8.3). Nodes report this name for the content namespace of *any* stream.
pub const CLIENT: &str = "jabber:client";
/// Stanzas of a server-to-server stream (RFC 6120 §4.8.3).
pub const SERVER: &str = "jabber:server";
/// Stanzas of a component stream (XEP-0114).
pub const COMPONENT_ACCEPT: &str = "jabber:component:accept";
/// The stream header, stream features and stream errors (RFC 6120 §4.8.1).
pub const STREAM: &str = "http://etherx.jabber.org/streams";
/// Conditions of stream errors (RFC 6120 §4.9).
pub const STREAM_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-streams";
/// Conditions of stanza errors (RFC 6120 §8.3).
pub const STANZA_ERRORS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// STARTTLS (RFC 6120 §5).
pub const TLS: &str = "urn:ietf:params:xml:ns:xmpp-tls";
/// SASL (RFC 6120 §6).
pub const SASL: &str = "urn:ietf:params:xml:ns:xmpp-sasl";
/// Resource binding (RFC 6120 §7).
pub const BIND: &str = "urn:ietf:params:xml:ns:xmpp-bind";
/// Session establishment (RFC 3921 §3, obsolete, still offered).
pub const SESSION: &str = "urn:ietf:params:xml:ns:xmpp-session";
/// Framing over WebSocket (RFC 7395).
pub const FRAMING: &str = "urn:ietf:params:xml:ns:xmpp-framing";
/// The roster (RFC 6121 §2).
pub const ROSTER: &str = "jabber:iq:roster";
/// Roster versioning as a stream feature (RFC 6121 §2.6).
pub const ROSTER_VERSIONING: &str = "urn:xmpp:features:rosterver";
/// Subscription pre-approval as a stream feature (RFC 6121 §3.4).
pub const PRE_APPROVAL: &str = "urn:xmpp:features:pre-approval";
/// Data forms (XEP-0004).
pub const DATA_FORMS: &str = "jabber:x:data";
/// Service discovery, information (XEP-0030).
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// Service discovery, items (XEP-0030).
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// Rooms (XEP-0045).
pub const MUC: &str = "http://jabber.org/protocol/muc";
/// Rooms, what occupants see (XEP-0045).
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// Rooms, administration (XEP-0045).
pub const MUC_ADMIN: &str = "http://jabber.org/protocol/muc#admin";
/// Rooms, configuration (XEP-0045).
pub const MUC_OWNER: &str = "http://jabber.org/protocol/muc#owner";
/// Result set management (XEP-0059).
pub const RSM: &str = "http://jabber.org/protocol/rsm";
/// Publish-subscribe (XEP-0060).
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// Publish-subscribe, events (XEP-0060).
pub const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// Publish-subscribe, owner's calls (XEP-0060).
pub const PUBSUB_OWNER: &str = "http://jabber.org/protocol/pubsub#owner";
/// Account registration (XEP-0077).
pub const REGISTER: &str = "jabber:iq:register";
/// Account registration as a stream feature (XEP-0077).
pub const REGISTER_FEATURE: &str = "http://jabber.org/features/iq-register";
/// Chat states (XEP-0085).
pub const CHAT_STATES: &str = "http://jabber.org/protocol/chatstates";
/// Last activity (XEP-0012).
pub const LAST_ACTIVITY: &str = "jabber:iq:last";
/// Software version (XEP-0092).
pub const VERSION: &str = "jabber:iq:version";
/// Entity capabilities (XEP-0115).
pub const CAPS: &str = "http://jabber.org/protocol/caps";
/// Out-of-band data (XEP-0066).
pub const OOB: &str = "jabber:x:oob";
/// User nickname (XEP-0172).
pub const NICK: &str = "http://jabber.org/protocol/nick";
/// Message receipts (XEP-0184).
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// Blocking (XEP-0191).
pub const BLOCKING: &str = "urn:xmpp:blocking";
/// Stream management (XEP-0198).
pub const SM: &str = "urn:xmpp:sm:3";
/// Stream management, the version before it, which some servers still offer beside the newer one.
pub const SM2: &str = "urn:xmpp:sm:2";
/// Ping (XEP-0199).
pub const PING: &str = "urn:xmpp:ping";
/// Entity time (XEP-0202).
pub const TIME: &str = "urn:xmpp:time";
/// Delayed delivery (XEP-0203).
pub const DELAY: &str = "urn:xmpp:delay";
/// Carbons (XEP-0280).
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// Forwarded stanzas (XEP-0297).
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// Message correction (XEP-0308).
pub const MESSAGE_CORRECT: &str = "urn:xmpp:message-correct:0";
/// The message archive (XEP-0313).
pub const MAM: &str = "urn:xmpp:mam:2";
/// Chat markers (XEP-0333).
pub const CHAT_MARKERS: &str = "urn:xmpp:chat-markers:0";
/// Processing hints (XEP-0334).
pub const HINTS: &str = "urn:xmpp:hints";
/// Client state indication (XEP-0352).
pub const CSI: &str = "urn:xmpp:csi:0";
/// Stanza ids (XEP-0359).
pub const SID: &str = "urn:xmpp:sid:0";
/// Bind 2 (XEP-0386).
pub const BIND2: &str = "urn:xmpp:bind:0";
/// SASL2 (XEP-0388).
pub const SASL2: &str = "urn:xmpp:sasl:2";
/// Occupant ids (XEP-0421).
pub const OCCUPANT_ID: &str = "urn:xmpp:occupant-id:0";
/// Channel-binding types offered (XEP-0440).
pub const SASL_CB: &str = "urn:xmpp:sasl-cb:0";
/// SASL upgrade and downgrade protection (XEP-0474).
pub const SSDP: &str = "urn:xmpp:ssdp:0";
/// Stream limits (XEP-0478).
pub const STREAM_LIMITS: &str = "urn:xmpp:stream-limits:0";
/// Fast authentication with tokens (XEP-0484).
pub const FAST: &str = "urn:xmpp:fast:0";

/// What the prefix `xml` means (Namespaces in XML §3).
pub const XML: &str = "http://www.w3.org/XML/1998/namespace";
/// What the prefix `xmlns` means (Namespaces in XML §3).
pub const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// All of the above.
pub(super) const KNOWN: &[&str] = &[
    CLIENT,
    SERVER,
    COMPONENT_ACCEPT,
    STREAM,
    STREAM_ERRORS,
    STANZA_ERRORS,
    TLS,
    SASL,
    BIND,
    SESSION,
    FRAMING,
    ROSTER,
    ROSTER_VERSIONING,
    PRE_APPROVAL,
    DATA_FORMS,
    DISCO_INFO,
    DISCO_ITEMS,
    MUC,
    MUC_USER,
    MUC_ADMIN,
    MUC_OWNER,
    RSM,
    PUBSUB,
    PUBSUB_EVENT,
    PUBSUB_OWNER,
    REGISTER,
    REGISTER_FEATURE,
    CHAT_STATES,
    LAST_ACTIVITY,
    VERSION,
    CAPS,
    OOB,
    NICK,
    RECEIPTS,
    BLOCKING,
    SM,
    SM2,
    PING,
    TIME,
    DELAY,
    CARBONS,
    FORWARD,
    MESSAGE_CORRECT,
    MAM,
    CHAT_MARKERS,
    HINTS,
    CSI,
    SID,
    BIND2,
    SASL2,
    OCCUPANT_ID,
    SASL_CB,
    SSDP,
    STREAM_LIMITS,
    FAST,
    XML,
    XMLNS,
];
