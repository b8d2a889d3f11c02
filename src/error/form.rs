//! What a server asks for before it makes an account. It lives here because an error carries it.

/// The form a server wants filled in (XEP-0077): its list of simple fields, or a data form (XEP-0004).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AccountForm {
    /// The form's title.
    pub title: Option<String>,
    /// What the server says to whoever fills it in; lines are separated by line feeds.
    pub instructions: String,
    /// The fields, in the order to show them in. User name and password are among them.
    pub fields: Vec<FormField>,
    /// A web page on which an account can be had instead (XEP-0066).
    pub url: Option<String>,
}

impl AccountForm {
    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&FormField> {
        self.fields.iter().find(|field| field.name == name)
    }
}

/// A field of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FormField {
    /// Its name, by which it is filled in; empty for a note.
    pub name: String,
    /// What it holds.
    pub kind: FieldKind,
    /// Its name for people.
    pub label: Option<String>,
    /// What is to be filled in, for people.
    pub description: Option<String>,
    /// Whether it must be filled in.
    pub required: bool,
    /// What it holds already: a default, the text of a note, or what the server wants back as it is.
    pub values: Vec<String>,
    /// What can be chosen from.
    pub options: Vec<FormOption>,
    /// Pictures or sounds that belong to the question: a CAPTCHA's (XEP-0158, XEP-0221).
    pub media: Vec<Media>,
}

impl FormField {
    /// A field of this name and kind.
    #[must_use]
    pub fn new(name: impl Into<String>, kind: FieldKind) -> Self {
        Self {
            name: name.into(),
            kind,
            label: None,
            description: None,
            required: false,
            values: Vec::new(),
            options: Vec::new(),
            media: Vec::new(),
        }
    }
}

/// What a field holds (XEP-0004 §3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FieldKind {
    /// A line of text.
    Text,
    /// A line of text that is not shown while it is typed.
    Secret,
    /// Several lines of text.
    Lines,
    /// `true` or `false`.
    Boolean,
    /// One of the options.
    Choice,
    /// Any of the options.
    Choices,
    /// An address.
    Jid,
    /// Addresses.
    Jids,
    /// Nothing: a text for people.
    Note,
    /// Nothing to be shown: it goes back as it is.
    Hidden,
}

/// One of the options of a choice.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FormOption {
    /// What is filled in when it is chosen.
    pub value: String,
    /// Its name for people.
    pub label: Option<String>,
}

impl FormOption {
    /// An option.
    #[must_use]
    pub fn new(value: impl Into<String>, label: Option<String>) -> Self {
        Self { value: value.into(), label }
    }
}

/// A picture, a sound or a video (XEP-0221).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Media {
    /// Where it is: `http:`, `https:`, or `cid:` for one that came with the form.
    pub uri: String,
    /// Its MIME type, for example `image/png`.
    pub mime_type: String,
    /// The data, if it came with the form (XEP-0231).
    pub data: Option<Vec<u8>>,
    /// The width it should be shown with, in pixels.
    pub width: Option<u16>,
    /// The height it should be shown with, in pixels.
    pub height: Option<u16>,
}

impl Media {
    /// A medium at this place.
    #[must_use]
    pub fn new(uri: impl Into<String>, mime_type: impl Into<String>) -> Self {
        Self { uri: uri.into(), mime_type: mime_type.into(), data: None, width: None, height: None }
    }
}
