//! XML for people: indented, long tags broken, in colours. It reads what it is given, well-formed or not.

/// How XML is shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Whether with ANSI colours.
    pub(crate) colour: bool,
    /// How many columns a line may have before a tag is broken into its attributes.
    pub(crate) width: usize,
}

/// A colour, as the parameter of the terminal's SGR sequence.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Colour {
    Grey = 90,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Blue = 34,
    Magenta = 35,
    Cyan = 36,
}

impl Style {
    /// Colours on a terminal that takes them, unless `NO_COLOR` is set (no-color.org).
    pub(crate) fn of_terminal() -> Self {
        use std::io::IsTerminal as _;
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let colour =
            std::io::stdout().is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_none_or(|term| term != "dumb");
        Self { colour, width: set("COLUMNS").and_then(|columns| columns.parse().ok()).unwrap_or(100) }
    }

    /// Text in a colour, if there are colours.
    pub(crate) fn paint(self, colour: Colour, text: &str) -> String {
        if self.colour && !text.is_empty() { format!("\x1b[{}m{text}\x1b[0m", colour as u8) } else { text.to_owned() }
    }
}

/// A part of XML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    Start(&'a str),
    Empty(&'a str),
    End(&'a str),
    /// Text, or a declaration, comment or CDATA section as it is written.
    Text(&'a str),
}

/// Takes XML apart.
pub(crate) fn tokens(xml: &str) -> Vec<Token<'_>> {
    let (mut tokens, mut rest) = (Vec::new(), xml);
    while !rest.is_empty() {
        let len = length(rest);
        let (token, after) = rest.split_at(len);
        tokens.push(match token.as_bytes() {
            [b'<', b'!' | b'?', ..] => Token::Text(token),
            [b'<', b'/', ..] => Token::End(token),
            [b'<', .., b'/', b'>'] => Token::Empty(token),
            [b'<', .., b'>'] => Token::Start(token),
            _ => Token::Text(token),
        });
        rest = after;
    }
    tokens
}

fn length(xml: &str) -> usize {
    let until = |end: &str| xml.find(end).map_or(xml.len(), |at| at + end.len());
    if xml.starts_with("<!--") {
        until("-->")
    } else if xml.starts_with("<![CDATA[") {
        until("]]>")
    } else if xml.starts_with('<') {
        let mut quote = None;
        let end = xml.bytes().position(|byte| {
            match (quote, byte) {
                (Some(open), _) if open == byte => quote = None,
                (None, b'\'' | b'"') => quote = Some(byte),
                _ => {}
            }
            quote.is_none() && byte == b'>'
        });
        end.map_or(xml.len(), |end| end + 1)
    } else {
        xml.find('<').unwrap_or(xml.len())
    }
}

/// A tag's name, and its attributes as they are written.
pub(crate) fn parts(tag: &str) -> (&str, Vec<(&str, &str)>) {
    let inner = tag.trim_start_matches(['<', '/']).trim_end_matches('>').trim_end_matches('/');
    let (name, mut rest) = inner.split_at(inner.find(char::is_whitespace).unwrap_or(inner.len()));
    let mut attrs = Vec::new();
    while let Some((attr, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let Some(quote) = after.chars().next().filter(|quote| matches!(quote, '\'' | '"')) else { break };
        let Some((value, after)) = after[1..].split_once(quote) else { break };
        attrs.push((attr.trim(), value));
        rest = after;
    }
    (name, attrs)
}

/// The XML on as many lines as it needs. What would act on the terminal is shown instead.
pub(crate) fn pretty(xml: &str, style: Style) -> String {
    let tokens = tokens(xml);
    let layout = layout(&tokens);
    let (mut out, mut depth, mut fresh) = (String::new(), 0_usize, true);
    for (token, &broken) in tokens.iter().zip(&layout) {
        if matches!(token, Token::End(_)) {
            depth = depth.saturating_sub(1);
        }
        if broken {
            if matches!(token, Token::Text(text) if text.trim().is_empty()) {
                continue;
            }
            if !fresh {
                out.push('\n');
            }
            out.push_str(&"  ".repeat(depth.min(40)));
        }
        fresh = false;
        match token {
            Token::Start(tag) | Token::Empty(tag) | Token::End(tag) => {
                out.push_str(&self::tag(tag, 2 * depth.min(40), broken, style))
            }
            Token::Text(text) => out.push_str(&self::text(text, style)),
        }
        if matches!(token, Token::Start(_)) {
            depth += 1;
        }
    }
    out
}

/// For each token whether it begins a line: where an element holds text that says something, nothing inside does.
fn layout(tokens: &[Token<'_>]) -> Vec<bool> {
    let (mut layout, mut says, mut open) = (Vec::with_capacity(tokens.len()), vec![false; tokens.len()], Vec::new());
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Start(_) => open.push(at),
            Token::End(_) => drop(open.pop()),
            Token::Text(text) if !text.trim().is_empty() && (!text.starts_with('<') || text.starts_with("<![CDATA[")) => {
                if let Some(start) = open.last() {
                    says[*start] = true;
                }
            }
            _ => {}
        }
    }
    open.clear();
    let mut inline: Option<usize> = None;
    for (at, token) in tokens.iter().enumerate() {
        layout.push(inline.is_none());
        match token {
            Token::Start(_) => {
                open.push(at);
                let empty = matches!(tokens.get(at + 1), Some(Token::End(_)));
                if inline.is_none() && (says[at] || empty) {
                    inline = Some(at);
                }
            }
            Token::End(_) => {
                let start = open.pop();
                if inline.is_some() && start == inline {
                    inline = None;
                }
            }
            _ => {}
        }
    }
    layout
}

/// One tag; one attribute to a line where it does not fit.
fn tag(tag: &str, indent: usize, may_break: bool, style: Style) -> String {
    let (name, attrs) = parts(tag);
    let open = if tag.starts_with("</") { "</" } else { "<" };
    let mut out = style.paint(Colour::Blue, &format!("{open}{}", shown(name)));
    let broken = may_break && attrs.len() > 1 && indent + tag.chars().count() > style.width;
    let gap = if broken { format!("\n{}", " ".repeat(indent + 4)) } else { " ".to_owned() };
    for (name, value) in attrs {
        let quote = if value.contains('\'') { '"' } else { '\'' };
        let colour = match value {
            "[redacted]" => Colour::Red,
            _ if name == "xmlns" || name.starts_with("xmlns:") => Colour::Grey,
            _ => Colour::Green,
        };
        let value = style.paint(colour, &format!("{quote}{}{quote}", shown(value)));
        out.push_str(&format!("{gap}{}={value}", style.paint(Colour::Cyan, &shown(name))));
    }
    let close = if tag.ends_with("/>") { "/>" } else { ">" };
    out + &style.paint(Colour::Blue, close)
}

fn text(text: &str, style: Style) -> String {
    match text {
        "[redacted]" => style.paint(Colour::Red, text),
        _ if text.starts_with('<') => style.paint(Colour::Grey, &shown(text)),
        _ => shown(text),
    }
}

/// Control characters could move the cursor or change what was shown before.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() && !matches!(c, '\n' | '\t') { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}
