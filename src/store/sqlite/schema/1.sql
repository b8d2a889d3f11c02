-- Version 1. A version is never changed after its release: what comes later is a file of its own, which starts from here.
-- Times are microseconds since 1970. JIDs are normalised text. `account` is account.id everywhere.

CREATE TABLE account (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    jid TEXT NOT NULL UNIQUE,
    head INTEGER NOT NULL DEFAULT 0,    -- the highest position of the feed given so far
    roster_version TEXT
) STRICT;

CREATE TABLE conversation (
    id INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    jid TEXT NOT NULL,
    UNIQUE (account, jid)
) STRICT;

CREATE TABLE message (
    id INTEGER PRIMARY KEY AUTOINCREMENT,   -- LogId
    account INTEGER NOT NULL,
    conversation INTEGER NOT NULL,
    ord INTEGER NOT NULL,
    feed INTEGER NOT NULL,      -- 0 history, 1 held, 2 delivered
    position INTEGER,
    copies INTEGER NOT NULL,    -- Copies::bits
    direction INTEGER NOT NULL, -- 0 incoming, 1 outgoing
    kind INTEGER NOT NULL,      -- 0 normal, 1 chat, 2 groupchat, 3 headline, 4 error
    from_bare TEXT,
    from_resource TEXT,
    stanza_id TEXT,             -- the attribute `id`
    origin_id TEXT,
    archive_ids BLOB,           -- a Vec<ArchiveId>; NULL where there is none
    stamp INTEGER NOT NULL,
    received INTEGER NOT NULL,
    flags INTEGER NOT NULL,     -- MessageFlags::bits
    xml TEXT NOT NULL,
    text TEXT
) STRICT;

-- The timelines end in what filters look at, so that a walk along them reads nothing else.
CREATE INDEX message_by_account ON message (account, ord, id, stamp);
CREATE INDEX message_by_conversation ON message (conversation, ord, id, stamp);
CREATE INDEX message_by_sender ON message (account, from_bare, ord, id, stamp, from_resource);
CREATE INDEX message_by_stamp ON message (account, stamp);
CREATE INDEX message_by_received ON message (account, received);
CREATE INDEX message_by_position ON message (account, position) WHERE position IS NOT NULL;
CREATE INDEX message_held ON message (account, conversation) WHERE feed = 1;
CREATE INDEX message_readable ON message (conversation, ord, id) WHERE text IS NOT NULL AND kind <> 4;
CREATE INDEX message_unread ON message (conversation)
    WHERE text IS NOT NULL AND kind <> 4 AND direction = 0 AND flags & 1 = 0;

-- Every id under which a message may be referred to: stanza_id, origin_id, archive_ids.
CREATE TABLE message_id (
    conversation INTEGER NOT NULL,
    id TEXT NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (conversation, id, message)
) STRICT, WITHOUT ROWID;

-- Text search: rowid is message.id, the tokens are made from message.text by search.rs. Nothing but the index is kept, so a
-- text is taken out of it by giving the same tokens again.
CREATE VIRTUAL TABLE message_text USING fts5 (tokens, content = '', columnsize = 0, tokenize = 'ascii');
CREATE TABLE search (unicode TEXT NOT NULL) STRICT; -- the version of Unicode by which the tokens were made

-- R17. Keys outlive their message; what is still known of one that is gone stands in `gone`.
CREATE TABLE identity (
    account INTEGER NOT NULL,
    key BLOB NOT NULL,
    exact INTEGER NOT NULL,
    message INTEGER NOT NULL,
    PRIMARY KEY (account, key, exact, message)
) STRICT, WITHOUT ROWID;

CREATE TABLE gone (
    message INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    copies INTEGER NOT NULL,
    stamp INTEGER NOT NULL
) STRICT;

CREATE TABLE gap (
    account INTEGER NOT NULL,
    position INTEGER NOT NULL,
    kind TEXT NOT NULL,
    conversation TEXT,
    archive TEXT,
    after_id TEXT,
    before_id TEXT,
    since INTEGER,
    until INTEGER,
    PRIMARY KEY (account, position)
) STRICT, WITHOUT ROWID;

-- Ranges of positions whose messages were pruned.
CREATE TABLE lost (
    account INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (account, first)
) STRICT, WITHOUT ROWID;

CREATE TABLE cursor (
    account INTEGER NOT NULL,
    name TEXT NOT NULL,
    through INTEGER NOT NULL,
    above BLOB NOT NULL,        -- a Vec<Position>
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE archive_cursor (
    account INTEGER NOT NULL,
    archive TEXT NOT NULL,
    last TEXT,
    first TEXT,
    reached_start INTEGER NOT NULL,
    stamp INTEGER NOT NULL,
    PRIMARY KEY (account, archive)
) STRICT, WITHOUT ROWID;

CREATE TABLE sent (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    account INTEGER NOT NULL,
    id TEXT NOT NULL,
    recipient TEXT,
    xml TEXT,
    ephemeral INTEGER NOT NULL,
    number INTEGER,
    archive_after BLOB,         -- an ArchiveId
    settled INTEGER NOT NULL,
    status BLOB NOT NULL,       -- a SendStatus
    UNIQUE (account, id)
) STRICT;
CREATE INDEX sent_queued ON sent (account, place) WHERE settled = 0;

CREATE TABLE session (
    account INTEGER PRIMARY KEY,
    record BLOB NOT NULL,       -- a SessionRecord
    h INTEGER NOT NULL,
    above BLOB NOT NULL,        -- a Vec<u32>
    last_contact INTEGER NOT NULL
) STRICT;

CREATE TABLE session_row (
    account INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (account, namespace, key)
) STRICT;

CREATE TABLE contact (
    account INTEGER NOT NULL,
    jid TEXT NOT NULL,
    item TEXT NOT NULL,
    PRIMARY KEY (account, jid)
) STRICT;

CREATE TABLE caps (
    account INTEGER NOT NULL,
    key TEXT NOT NULL,
    info TEXT NOT NULL,
    learnt INTEGER NOT NULL,
    PRIMARY KEY (account, key)
) STRICT;

CREATE TABLE credential (
    account INTEGER NOT NULL,
    name TEXT NOT NULL,
    secret BLOB NOT NULL,
    PRIMARY KEY (account, name)
) STRICT, WITHOUT ROWID;

CREATE TABLE extension_row (
    account INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (account, namespace, key)
) STRICT;

CREATE TABLE extension_schema (
    account INTEGER NOT NULL,
    namespace TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (account, namespace)
) STRICT, WITHOUT ROWID;
