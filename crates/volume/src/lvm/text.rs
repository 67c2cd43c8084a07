//! The text of LVM2's metadata: sections, and keys with numbers, strings or lists.
//!
//! The grammar is that of libdm/libdm-config.c in LVM2, which its configuration files share:
//! `name { … }`, `name = value`, comments from `#` to the end of the line.

use thiserror::Error;

/// A section: keys and sections by name, in the order of the text.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Section {
    entries: Vec<(String, Node)>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Node {
    Section(Section),
    Value(Value),
}

/// What stands behind `=`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Value {
    Number(i64),
    /// A number with a fraction, as it stands there; metadata has none that matters here.
    Fraction(String),
    Text(String),
    List(Vec<Value>),
}

/// Why a text cannot be read.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("{what} at byte {at} of the text")]
pub struct Malformed {
    /// Byte of the text, from 0.
    pub at: usize,
    /// What is wrong there.
    pub what: &'static str,
}

/// Sections in each other: metadata has four.
const MAX_DEPTH: usize = 16;

impl Section {
    /// Parses a whole text; a NUL ends it.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Malformed> {
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        let mut parser = Parser { text, at: 0 };
        parser.section(MAX_DEPTH, true)
    }

    pub(super) fn section(&self, name: &str) -> Option<&Self> {
        match self.find(name) {
            Some(Node::Section(section)) => Some(section),
            _ => None,
        }
    }

    /// The sections in the order of the text.
    pub(super) fn sections(&self) -> impl Iterator<Item = (&str, &Self)> {
        self.entries.iter().filter_map(|(name, node)| match node {
            Node::Section(section) => Some((name.as_str(), section)),
            Node::Value(_) => None,
        })
    }

    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        match self.find(name) {
            Some(Node::Value(value)) => Some(value),
            _ => None,
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.as_text()
    }

    /// A number that is not negative.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.value(name)?.as_number()
    }

    /// The elements of a list; one value alone is a list of one.
    pub(super) fn list(&self, name: &str) -> Option<&[Value]> {
        match self.value(name)? {
            Value::List(values) => Some(values),
            value => Some(std::slice::from_ref(value)),
        }
    }

    /// Whether a list of texts holds this one.
    pub(super) fn lists(&self, name: &str, wanted: &str) -> bool {
        let values = self.list(name).unwrap_or_default();
        values.iter().any(|value| value.as_text() == Some(wanted))
    }

    fn find(&self, name: &str) -> Option<&Node> {
        let mut entries = self.entries.iter();
        entries.find(|(key, _)| key == name).map(|(_, node)| node)
    }
}

impl Value {
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_number(&self) -> Option<u64> {
        match self {
            Self::Number(number) => u64::try_from(*number).ok(),
            _ => None,
        }
    }
}

struct Parser<'t> {
    text: &'t [u8],
    at: usize,
}

impl Parser<'_> {
    /// The entries of a section up to its brace, or to the end of the text.
    fn section(&mut self, depth: usize, outermost: bool) -> Result<Section, Malformed> {
        let Some(depth) = depth.checked_sub(1) else {
            return self.fail("too many sections in each other");
        };
        let mut names = std::collections::HashSet::new();
        let mut section = Section::default();
        loop {
            self.space();
            match self.peek() {
                None if outermost => return Ok(section),
                None => return self.fail("a section that does not end"),
                Some(b'}') if !outermost => {
                    self.advance();
                    return Ok(section);
                }
                Some(_) => {}
            }
            let at = self.at;
            let name = self.name()?;
            self.space();
            let node = match self.peek() {
                Some(b'{') => {
                    self.advance();
                    Node::Section(self.section(depth, false)?)
                }
                Some(b'=') => {
                    self.advance();
                    Node::Value(self.value()?)
                }
                _ => return self.fail("neither = nor { behind a name"),
            };
            if !names.insert(name.clone()) {
                self.at = at;
                return self.fail("a name that stands there twice");
            }
            section.entries.push((name, node));
        }
    }

    fn name(&mut self) -> Result<String, Malformed> {
        if self.peek() == Some(b'"') {
            return self.quoted(b'"');
        }
        let start = self.at;
        while let Some(byte) = self.peek()
            && !byte.is_ascii_whitespace()
            && !matches!(
                byte,
                b'#' | b'{' | b'}' | b'[' | b']' | b'=' | b',' | b'"' | b'\''
            )
        {
            self.advance();
        }
        match self.text.get(start..self.at) {
            Some(name) if !name.is_empty() => Ok(String::from_utf8_lossy(name).into_owned()),
            _ => self.fail("no name"),
        }
    }

    fn value(&mut self) -> Result<Value, Malformed> {
        self.space();
        if self.peek() != Some(b'[') {
            return self.single();
        }
        self.advance();
        let mut values = Vec::new();
        loop {
            self.space();
            match self.peek() {
                Some(b']') => {
                    self.advance();
                    return Ok(Value::List(values));
                }
                // Commas stand between values; LVM2 takes one behind the last, too.
                Some(b',') if !values.is_empty() => self.advance(),
                Some(_) => values.push(self.single()?),
                None => return self.fail("a list that does not end"),
            }
        }
    }

    fn single(&mut self) -> Result<Value, Malformed> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote).map(Value::Text),
            Some(b'@') => self.name().map(Value::Text),
            Some(byte) if byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.') => {
                self.number()
            }
            _ => self.fail("no value"),
        }
    }

    fn number(&mut self) -> Result<Value, Malformed> {
        let start = self.at;
        while let Some(byte) = self.peek()
            && (byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.'))
        {
            self.advance();
        }
        let digits = self.text.get(start..self.at).unwrap_or_default();
        let digits = String::from_utf8_lossy(digits).into_owned();
        if digits.contains('.') {
            return Ok(Value::Fraction(digits));
        }
        match digits.parse() {
            Ok(number) => Ok(Value::Number(number)),
            Err(_) => self.fail("a number that is none"),
        }
    }

    /// A text in quotes; in double ones a backslash takes the next byte as it is.
    fn quoted(&mut self, quote: u8) -> Result<String, Malformed> {
        self.advance();
        let mut text = Vec::new();
        loop {
            let Some(byte) = self.peek() else {
                return self.fail("a text that does not end");
            };
            self.advance();
            match byte {
                b'\\' if quote == b'"' => {
                    text.extend(self.peek());
                    self.advance();
                }
                _ if byte == quote => return Ok(String::from_utf8_lossy(&text).into_owned()),
                _ => text.push(byte),
            }
        }
    }

    /// Passes white space and comments.
    fn space(&mut self) {
        while let Some(byte) = self.peek() {
            if byte == b'#' {
                while self.peek().is_some_and(|byte| byte != b'\n') {
                    self.advance();
                }
            } else if byte.is_ascii_whitespace() {
                self.advance();
            } else {
                return;
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn advance(&mut self) {
        self.at = self.at.saturating_add(1).min(self.text.len());
    }

    fn fail<T>(&self, what: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, what })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_read() {
        let text = b"vg \"x\" # no\n{".as_slice();
        assert_eq!(Section::parse(text).unwrap_err().at, 3);
        let text = b"# Generated\nvg0 {\n\tid = \"a\\\"b\\\\c\"\nseqno=7 # seven\nempty = []\n\
            list = [\"pv0\", 0,\n\"pv1\" , 12,]\nratio = 0.5\nlow=-3 one = 'q\\'\nsub{x=@t}}\n\
            contents = \"Text\"\n\0ignored {";
        let text = Section::parse(text).unwrap();
        let group = text.section("vg0").unwrap();
        assert_eq!(group.text("id"), Some("a\"b\\c"));
        assert_eq!(group.number("seqno"), Some(7));
        assert_eq!(group.number("low"), None);
        assert_eq!(group.list("empty"), Some(&[][..]));
        assert_eq!(group.list("list").unwrap().len(), 4);
        assert_eq!(group.list("list").unwrap()[3].as_number(), Some(12));
        assert!(group.lists("list", "pv1") && !group.lists("list", "pv2"));
        assert!(group.lists("one", "q\\"));
        assert_eq!(group.value("ratio"), Some(&Value::Fraction("0.5".into())));
        assert_eq!(group.section("sub").unwrap().text("x"), Some("@t"));
        assert_eq!(text.text("contents"), Some("Text"));
        let names: Vec<_> = text.sections().map(|(name, _)| name).collect();
        assert_eq!(names, ["vg0"]);
    }

    #[test]
    fn what_is_malformed_is_refused_with_its_place() {
        let deep = "a{".repeat(1000);
        for (text, what) in [
            ("a", "neither = nor { behind a name"),
            ("a {", "a section that does not end"),
            ("}", "no name"),
            ("a = ", "no value"),
            ("a = b", "no value"),
            ("a = [1, 2", "a list that does not end"),
            ("a = [,1]", "no value"),
            ("a = \"x", "a text that does not end"),
            ("a = \"x\\", "a text that does not end"),
            ("a = 1-2", "a number that is none"),
            ("a = 99999999999999999999", "a number that is none"),
            ("a = 1\na = 2", "a name that stands there twice"),
            (deep.as_str(), "too many sections in each other"),
        ] {
            let error = Section::parse(text.as_bytes()).unwrap_err();
            assert_eq!(error.what, what, "{text}");
            assert!(error.at <= text.len());
        }
    }
}
