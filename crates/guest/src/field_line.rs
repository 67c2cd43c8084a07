//! A line of fields with white space between them, edited without loss.

use std::ops::Range;

/// A line of fields with white space between them. Everything that an edit does not name keeps its
/// bytes: spacing, comments, the end of the line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct FieldLine {
    text: Vec<u8>,
    fields: Vec<Range<usize>>,
}

impl FieldLine {
    /// Splits a line, with its line end, at spaces and tabs; none if it is blank or a comment.
    /// At most `max` fields are told apart; what follows them, and a comment, is left alone.
    pub(crate) fn parse(line: &[u8], max: usize) -> Option<Self> {
        let end = line.trim_ascii_end().len();
        let mut fields = Vec::new();
        let mut at = 0;
        while fields.len() < max {
            let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
            let Some(start) = line[at..end].iter().position(|byte| !blank(byte)) else {
                break;
            };
            let start = at + start;
            if line[start] == b'#' {
                break;
            }
            let len = line[start..end].iter().position(blank);
            at = len.map_or(end, |len| start + len);
            fields.push(start..at);
        }
        (!fields.is_empty()).then(|| Self {
            text: line.to_vec(),
            fields,
        })
    }

    /// How many fields there are.
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The bytes of a field; empty if the line ends before.
    pub(crate) fn field(&self, index: usize) -> &[u8] {
        let range = self.fields.get(index).cloned().unwrap_or_default();
        &self.text[range]
    }

    /// The line as it stands.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Puts other bytes in the place of a field. A field that is not there is appended; fields
    /// missing before it are filled with `filler`.
    pub(crate) fn set(&mut self, index: usize, value: &[u8], filler: &[u8]) {
        while self.fields.len() <= index {
            let last = self.fields.last().map_or(0, |last| last.end);
            let text = if self.fields.len() == index {
                value
            } else {
                filler
            };
            self.text.splice(last..last, [b" ", text].concat());
            self.fields.push(last + 1..last + 1 + text.len());
        }
        let range = self.fields[index].clone();
        let (old, new) = (range.len(), value.len());
        self.text.splice(range.clone(), value.iter().copied());
        self.fields[index].end = range.start + new;
        for later in &mut self.fields[index + 1..] {
            *later = later.start - old + new..later.end - old + new;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_keeps_everything_else() {
        let mut line =
            FieldLine::parse(b"\t/dev/sda1  /\text4 defaults 0 1 # root\r\n", 6).unwrap();
        assert_eq!(line.len(), 6);
        line.set(0, b"UUID=1234567890", b"");
        line.set(3, b"ro", b"");
        line.set(5, b"2", b"");
        assert_eq!(line.text(), b"\tUUID=1234567890  /\text4 ro 0 2 # root\r\n");
        assert_eq!(line.field(2), b"ext4");
    }

    #[test]
    fn missing_fields_are_appended_before_the_line_end() {
        let mut line = FieldLine::parse(b"a b\n", 6).unwrap();
        line.set(3, b"d", b"-");
        assert_eq!(line.text(), b"a b - d\n");
        assert_eq!(line.field(3), b"d");
        assert_eq!(line.field(4), b"");
    }

    #[test]
    fn blank_lines_and_comments_have_no_fields() {
        for line in [&b""[..], b"\n", b" \t\n", b"# a b c\n", b"  #\n"] {
            assert_eq!(FieldLine::parse(line, 6), None);
        }
    }
}
