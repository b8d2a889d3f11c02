//! The protocol core: one XMPP stream without sockets, clocks or tasks.
