//! Files of shell assignments that other programs source: `/etc/default/*`, `/etc/sysconfig/*`.
//!
//! Assignments are found and edited in place; every other byte, be it comment or code, survives.
//! The shell is not run: expansions stay in a value as they are written.

/// A file of shell assignments, losslessly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Assignments {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Piece {
    /// Everything between two assignments, line ends included.
    Text(Vec<u8>),
    Assignment(Assignment),
}

/// One assignment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Assignment {
    /// What stands before the value: indentation, `export`, name and `=` or `+=`.
    head: Vec<u8>,
    name: String,
    appends: bool,
    quoting: Quoting,
    /// The value between its quotes, as written.
    inner: Vec<u8>,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Quoting {
    Bare,
    Single,
    Double,
    /// Several pieces in a row, kept as they are.
    Mixed,
}

impl Assignments {
    /// Reads a file; whatever bytes it holds, it can be read.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            if let Some((assignment, tail)) = assignment(rest) {
                if !text.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut text)));
                }
                pieces.push(Piece::Assignment(assignment));
                rest = tail;
            }
            let end = rest.iter().position(|byte| *byte == b'\n');
            let (line, tail) = rest.split_at(end.map_or(rest.len(), |end| end + 1));
            text.extend_from_slice(line);
            rest = tail;
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Self { pieces }
    }

    /// The file's bytes.
    pub fn render(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => bytes.extend_from_slice(text),
                Piece::Assignment(assignment) => {
                    bytes.extend_from_slice(&assignment.head);
                    let quote: &[u8] = match assignment.quoting {
                        Quoting::Bare | Quoting::Mixed => b"",
                        Quoting::Single => b"'",
                        Quoting::Double => b"\"",
                    };
                    bytes.extend_from_slice(quote);
                    bytes.extend_from_slice(&assignment.inner);
                    bytes.extend_from_slice(quote);
                }
            }
        }
        bytes
    }

    /// All assignments, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Assignment> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Assignment(assignment) => Some(assignment),
            Piece::Text(_) => None,
        })
    }

    /// All assignments for editing, in order.
    pub fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Assignment> {
        self.pieces.iter_mut().filter_map(|piece| match piece {
            Piece::Assignment(assignment) => Some(assignment),
            Piece::Text(_) => None,
        })
    }

    /// The value that the last assignment of this name gives.
    pub fn value(&self, name: &str) -> Option<String> {
        let last = self.iter().rfind(|assignment| assignment.name == name)?;
        Some(last.value())
    }

    /// Gives a name a value: its last assignment is changed where it stands; without one, a line
    /// is put at the end.
    pub fn set(&mut self, name: &str, value: &str) {
        if let Some(last) = self.iter_mut().rfind(|assignment| assignment.name == name) {
            if last.value() != value {
                last.set(value);
            }
            return;
        }
        let line = format!("{name}={}\n", quoted(value));
        self.append_line(&line);
    }

    /// Removes the assignments for which `gone` says so, with the rest of their lines.
    pub fn remove(&mut self, gone: impl Fn(&Assignment) -> bool) {
        let mut pieces: Vec<Piece> = Vec::new();
        let mut cut = false;
        for piece in std::mem::take(&mut self.pieces) {
            match piece {
                Piece::Assignment(assignment) if gone(&assignment) => cut = true,
                Piece::Text(mut text) if cut => {
                    let end = text.iter().position(|byte| *byte == b'\n');
                    text.drain(..end.map_or(text.len(), |end| end + 1));
                    cut = false;
                    if !text.is_empty() {
                        pieces.push(Piece::Text(text));
                    }
                }
                kept => {
                    cut = false;
                    pieces.push(kept);
                }
            }
        }
        self.pieces = pieces;
    }

    /// Puts a line of shell, with its line end, at the end of the file.
    pub fn append_line(&mut self, line: &str) {
        let mut bytes = self.render();
        let last_line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let backslashes = last_line.iter().rev().take_while(|byte| **byte == b'\\');
        let goes_on = backslashes.count() % 2 == 1;
        if !bytes.is_empty() && !bytes.ends_with(b"\n") {
            bytes.push(b'\n');
        }
        if goes_on {
            // The next line would be part of the last one: let that be an empty line.
            bytes.push(b'\n');
        }
        bytes.extend_from_slice(line.as_bytes());
        *self = Self::parse(&bytes);
    }
}

impl Assignment {
    /// The name that gets a value.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the value is added to an earlier one, with `+=`.
    pub fn appends(&self) -> bool {
        self.appends
    }

    /// The value without its quotes and escapes; expansions as they are written.
    pub fn value(&self) -> String {
        let inner = String::from_utf8_lossy(&self.inner);
        match self.quoting {
            Quoting::Single => inner.into_owned(),
            Quoting::Double => unquoted(&format!("\"{inner}\"")),
            Quoting::Bare | Quoting::Mixed => unquoted(&inner),
        }
    }

    /// The value between its quotes as it is written, where that is one piece of UTF-8 that can be
    /// edited without knowing the shell's rules for pieces in a row.
    pub fn written(&self) -> Option<&str> {
        match self.quoting {
            Quoting::Mixed => None,
            _ => std::str::from_utf8(&self.inner).ok(),
        }
    }

    /// Replaces what stands between the quotes, as [`written`](Self::written) gives it. A value
    /// without quotes gets double ones if it needs any.
    pub fn write(&mut self, inner: &str) {
        if self.quoting == Quoting::Bare && !inner.bytes().all(is_plain) {
            self.quoting = Quoting::Double;
        }
        self.inner = inner.as_bytes().to_vec();
    }

    /// Gives a plain value, quoted as it was where that can be.
    fn set(&mut self, value: &str) {
        match self.quoting {
            Quoting::Bare if value.bytes().all(is_plain) => {}
            Quoting::Single if !value.contains('\'') => {}
            _ => {
                self.quoting = Quoting::Double;
                self.inner = escaped(value).into_bytes();
                return;
            }
        }
        self.inner = value.as_bytes().to_vec();
    }
}

/// An assignment at the start of a line, and what follows its value.
fn assignment(line: &[u8]) -> Option<(Assignment, &[u8])> {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let mut at = line.iter().take_while(|byte| blank(byte)).count();
    if let Some(rest) = line[at..].strip_prefix(b"export") {
        let gap = rest.iter().take_while(|byte| blank(byte)).count();
        if gap > 0 {
            at += b"export".len() + gap;
        }
    }
    let name_byte = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let length = line[at..].iter().take_while(|byte| name_byte(byte)).count();
    let name = &line[at..at + length];
    if name.first().is_none_or(u8::is_ascii_digit) {
        return None;
    }
    at += length;
    let appends = line[at..].starts_with(b"+=");
    at += usize::from(appends);
    if line.get(at) != Some(&b'=') {
        return None;
    }
    let (head, tail) = line.split_at(at + 1);
    let length = value_length(tail)?;
    let (value, tail) = tail.split_at(length);
    let (quoting, inner) = match value {
        [b'\'', inner @ .., b'\''] if !inner.contains(&b'\'') => (Quoting::Single, inner),
        [b'"', inner @ .., b'"'] if !has_open_quote(inner) => (Quoting::Double, inner),
        bare if !bare.iter().any(|byte| matches!(byte, b'\'' | b'"' | b'\\')) => {
            (Quoting::Bare, bare)
        }
        mixed => (Quoting::Mixed, mixed),
    };
    let assignment = Assignment {
        head: head.to_vec(),
        name: String::from_utf8_lossy(name).into_owned(),
        appends,
        quoting,
        inner: inner.to_vec(),
    };
    Some((assignment, tail))
}

/// Bytes of the word that a value is: none where a quote is never closed.
fn value_length(bytes: &[u8]) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    // Depth of $( ) and ${ } outside of quotes, where blanks end no word.
    let mut depth = 0usize;
    for (index, byte) in bytes.iter().enumerate() {
        match (quote, byte) {
            _ if escaped => escaped = false,
            (None | Some(b'"' | b'`'), b'\\') => escaped = true,
            (Some(open), byte) if open == *byte => quote = None,
            (Some(_), _) => {}
            (None, b'\'' | b'"' | b'`') => quote = Some(*byte),
            (None, b'(' | b'{') => depth = depth.saturating_add(1),
            (None, b')' | b'}') if depth > 0 => depth = depth.saturating_sub(1),
            (None, b' ' | b'\t' | b';' | b'&' | b'|' | b'\n') if depth == 0 => return Some(index),
            (None, b'\n') => return Some(index),
            (None, _) => {}
        }
    }
    quote.is_none().then_some(bytes.len())
}

/// Whether a double quote stands unescaped inside.
fn has_open_quote(inner: &[u8]) -> bool {
    let mut escaped = false;
    for byte in inner {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return true,
            _ => {}
        }
    }
    escaped
}

/// Removes quotes and escapes as the shell does, without expanding anything.
fn unquoted(word: &str) -> String {
    let mut plain = String::with_capacity(word.len());
    let mut quote = None;
    let mut characters = word.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some('\''), '\'') => quote = None,
            (Some('\''), other) => plain.push(other),
            (Some(_), '"') => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (_, '\\') => match characters.next() {
                None | Some('\n') => {}
                Some(next) => {
                    if quote.is_some() && !matches!(next, '"' | '\\' | '$' | '`') {
                        plain.push('\\');
                    }
                    plain.push(next);
                }
            },
            (_, other) => plain.push(other),
        }
    }
    plain
}

fn quoted(value: &str) -> String {
    if !value.is_empty() && value.bytes().all(is_plain) {
        value.to_owned()
    } else {
        format!("\"{}\"", escaped(value))
    }
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for character in value.chars() {
        if matches!(character, '"' | '\\' | '$' | '`') {
            text.push('\\');
        }
        text.push(character);
    }
    text
}

/// Bytes that mean themselves in a word without quotes.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'_' | b'-' | b'.' | b'/' | b':' | b',' | b'=' | b'+' | b'%' | b'@'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_edited_survives() {
        for text in [
            "",
            "A=1",
            "# A=1\nB='x y' # note\n\texport C=\"a \\\"b\\\"\nc\"\nif true; then D=$(date +%s); fi\n",
            "A=\"never closed\nB=2\n",
            "A+=(1 2)\nB=a\"b\"'c'\\ d\n",
            "=\nA\n1=2\n",
        ] {
            assert_eq!(
                Assignments::parse(text.as_bytes()).render(),
                text.as_bytes()
            );
        }
    }

    #[test]
    fn values_come_without_quotes() {
        let file = Assignments::parse(
            b"A=1;B=x\nB='x y'\nC=\"a \\\"b\\\" $C\"\nD=a\"b c\"'d'\\ e\nE=\nF=\"1 \\\n2\"\n# G=1\n",
        );
        for (name, value) in [
            ("A", Some("1")),
            ("B", Some("x y")),
            ("C", Some("a \"b\" $C")),
            ("D", Some("ab cd e")),
            ("E", Some("")),
            ("F", Some("1 2")),
            ("G", None),
        ] {
            assert_eq!(file.value(name).as_deref(), value, "{name}");
        }
    }

    #[test]
    fn values_are_set_in_the_quotes_they_had() {
        let mut file = Assignments::parse(b"A=1 # one\nB='x'\nC=\"y\"\nD=a'b'\n");
        file.set("A", "2");
        file.set("B", "p q");
        file.set("C", "a\"b");
        file.set("D", "z");
        file.set("E", "new one");
        assert_eq!(
            String::from_utf8(file.render()).unwrap(),
            "A=2 # one\nB='p q'\nC=\"a\\\"b\"\nD=\"z\"\nE=\"new one\"\n"
        );
        file.set("A", "two words");
        assert_eq!(file.value("A").as_deref(), Some("two words"));
    }

    #[test]
    fn removing_takes_the_whole_line() {
        let mut file = Assignments::parse(b"A=1\nB=2 # two\n# c\nC=3");
        file.remove(|assignment| assignment.name() != "A");
        assert_eq!(file.render(), b"A=1\n# c\n");
    }

    #[test]
    fn a_last_line_that_goes_on_does_not_swallow_what_is_appended() {
        for text in ["A=1\\", "A=1\\\n", "A=1 \\\\\\"] {
            let mut assignments = Assignments::parse(text.as_bytes());
            assignments.set("B", "2");
            let again = Assignments::parse(&assignments.render());
            let found = again.iter().rfind(|assignment| assignment.name == "B");
            assert_eq!(
                found.map(Assignment::value).as_deref(),
                Some("2"),
                "{text:?}"
            );
        }
    }
}
