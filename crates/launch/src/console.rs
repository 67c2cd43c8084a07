//! A serial console as lines of text: what terminals do with escape sequences is undone.

/// Bytes of a line that are kept; a longer one is cut into several.
const MAX_LINE: usize = 2048;
/// Bytes of a line that was cut which the next one begins with, so that no word is cut in two.
const OVERLAP: usize = 256;
/// Bytes of an escape sequence, after which it is taken for text that went wrong.
const MAX_SEQUENCE: usize = 256;

/// Makes lines of a stream of bytes.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    line: Vec<u8>,
    state: State,
}

/// Where in an escape sequence (ECMA-48) the stream is.
#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Text,
    Escape,
    /// A byte that belongs to the two before it, as in `ESC ( B`.
    Designation,
    /// Parameters, after so many bytes.
    Control(usize),
    /// An operating system command or another string, after so many bytes.
    Command(usize),
}

impl Lines {
    /// Takes bytes and gives the lines that end in them. Empty ones are left out, and a carriage
    /// return ends a line as well: what overwrites a line in a terminal is another one here.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for byte in bytes {
            self.take(*byte, &mut lines);
        }
        lines
    }

    /// The line that has not ended yet: a prompt never does.
    pub(crate) fn rest(&self) -> String {
        text(&self.line)
    }

    fn take(&mut self, byte: u8, lines: &mut Vec<String>) {
        self.state = match (self.state, byte) {
            (_, 0x1b) => State::Escape,
            (State::Text, b'\n' | b'\r') => {
                self.end(lines);
                State::Text
            }
            (State::Text, 0x08) => {
                self.line.pop();
                State::Text
            }
            (State::Text, b'\t') => {
                self.put(b' ', lines);
                State::Text
            }
            (State::Text, 0..0x20 | 0x7f) => State::Text,
            (State::Text, _) => {
                self.put(byte, lines);
                State::Text
            }
            (State::Escape, b'[') => State::Control(0),
            (State::Escape, b']' | b'P' | b'X' | b'^' | b'_') => State::Command(0),
            (State::Escape, 0x20..=0x2f) => State::Designation,
            (State::Escape | State::Designation, _) => State::Text,
            (State::Control(_), 0x40..=0x7e) => {
                // The cursor goes elsewhere: firmware and boot loaders draw their screens so.
                if matches!(byte, b'H' | b'f' | b'd' | b'J') {
                    self.end(lines);
                }
                State::Text
            }
            (State::Control(length), 0x20..=0x3f) if length < MAX_SEQUENCE => {
                State::Control(length.saturating_add(1))
            }
            (State::Control(_), _) => State::Text,
            (State::Command(_), 0x07 | b'\n' | b'\r') => State::Text,
            (State::Command(length), _) if length < MAX_SEQUENCE => {
                State::Command(length.saturating_add(1))
            }
            (State::Command(_), _) => State::Text,
        };
    }

    fn put(&mut self, byte: u8, lines: &mut Vec<String>) {
        if self.line.len() >= MAX_LINE {
            lines.push(text(&self.line));
            let cut = self.line.len().saturating_sub(OVERLAP);
            self.line.drain(..cut);
        }
        self.line.push(byte);
    }

    fn end(&mut self, lines: &mut Vec<String>) {
        let line = text(&self.line);
        self.line.clear();
        if !line.is_empty() {
            lines.push(line);
        }
    }
}

fn text(line: &[u8]) -> String {
    String::from_utf8_lossy(line).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &[u8]) -> (Vec<String>, String) {
        let mut lines = Lines::default();
        let whole = lines.push(text);
        // The same, byte by byte: nothing depends on how the stream is cut.
        let mut again = Lines::default();
        let pieces = text.chunks(1).flat_map(|byte| again.push(byte));
        assert_eq!(pieces.collect::<Vec<_>>(), whole);
        assert_eq!(again.rest(), lines.rest());
        (whole, lines.rest())
    }

    #[test]
    fn escape_sequences_and_carriage_returns_leave_the_text() {
        let (whole, rest) = lines(
            b"\x1b[2J\x1b[01;01H\x1b[=3h\x1b[2J\x1b[01;01HBdsDxe: loading Boot0001\r\n\
              [    0.000000] Linux version 6.1.0\r\n\r\n\
              \r\x1b[K[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mmulti-user.target\x1b[0m - Multi-User System.\r\n\
              \x1b]0;title\x07\x1b(Bsmoke login: ",
        );
        assert_eq!(
            whole,
            [
                "BdsDxe: loading Boot0001",
                "[    0.000000] Linux version 6.1.0",
                "[  OK  ] Reached target multi-user.target - Multi-User System.",
            ]
        );
        assert_eq!(rest, "smoke login:");
    }

    #[test]
    fn a_stream_without_lines_is_cut_and_no_word_is_lost() {
        let mut text = vec![b'x'; MAX_LINE - 4];
        text.extend_from_slice(b"Kernel panic");
        text.resize(10 * MAX_LINE, b'y');
        let (whole, rest) = lines(&text);
        assert!(whole.iter().any(|line| line.contains("Kernel panic")));
        assert!(whole.iter().all(|line| line.len() <= MAX_LINE) && rest.len() <= MAX_LINE);
    }

    #[test]
    fn sequences_that_never_end_do_not_hide_what_follows() {
        for start in [&b"\x1b]"[..], b"\x1b[", b"\x1bP"] {
            let mut text = start.to_vec();
            text.resize(MAX_SEQUENCE + 10, b'1');
            text.extend_from_slice(b"\nKernel panic\n\xff\xfe\x00\x08\x08\n");
            let (whole, _) = lines(&text);
            assert!(whole.iter().any(|line| line == "Kernel panic"), "{whole:?}");
        }
    }
}
