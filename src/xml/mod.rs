//! Bytes to stanza frames and back.
//!
//! | type | what it is |
//! |---|---|
//! | [`Framer`] | bytes of a stream in, checked top-level elements out |
//! | [`Frame`] | one top-level element that owns its bytes |
//! | [`Stanza`] | a message, presence or IQ: a frame, or an element inside one |
//! | [`Node`] | the cursor that reads a frame's elements |
//! | [`OutStanza`] | a stanza on its way out, serialised once |
//! | [`ElementWriter`] | writes an element piece by piece, where no value is needed first |
//!
//! Nothing is decoded before it is asked for. A payload becomes a typed value by [`Node::payload`], [`Stanza::payload`] or
//! [`Frame::payload`], of any type that implements `xso::FromXml`: those of xmpp-parsers, or one's own. The derive macros
//! write `xso::…`, so a crate with types of its own needs `xso = { version = "0.4", features = ["macros"] }` as well.
//!
//! ```
//! use xmppkit::xml::Frame;
//! use xmppkit::xso::{AsXml, FromXml};
//!
//! /// A payload of one's own.
//! #[derive(FromXml, AsXml, Debug, PartialEq)]
//! #[xml(namespace = "urn:example:tea", name = "order")]
//! struct Order {
//!     #[xml(attribute)]
//!     cups: u8,
//!     #[xml(text)]
//!     kind: String,
//! }
//!
//! let frame = Frame::parse(
//!     "<message xmlns='jabber:client'><order xmlns='urn:example:tea' cups='2'>Earl Grey</order></message>",
//! )?;
//! let stanza = frame.stanza().expect("a stanza");
//! assert_eq!(stanza.payload::<Order>()?, Some(Order { cups: 2, kind: "Earl Grey".into() }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The layer is pure: it knows no sockets, no clock and no tasks.

mod address;
mod chars;
mod checks;
mod content;
mod datetime;
mod decode;
mod error;
mod frame;
mod framer;
mod jids;
mod limits;
mod node;
pub mod ns;
mod out;
mod packed;
mod payload;
mod read;
mod scan;
mod scope;
mod spare;
mod standalone;
mod stanza;
mod syntax;
#[cfg(test)]
mod tests;
mod write;

pub(crate) use address::bare_of;
pub use address::{bare_str, belongs_to};
pub use datetime::{format_datetime, parse_datetime};
pub use error::{PayloadError, XmlError, XmlErrorKind};
pub use frame::Frame;
pub use framer::{Framer, StreamHeader, StreamItem};
pub(crate) use jids::SharedJid;
pub use limits::Limits;
pub use node::{Attr, Attrs, Children, Node};
pub use out::OutStanza;
pub use payload::PayloadName;
pub(crate) use stanza::InStanza;
pub use stanza::{Stanza, StanzaKind};
pub use write::{ElementWriter, escape_attr, escape_text, write_element};
