//! The end of an instance's console, fit to be shown.

use crate::console::Lines;

/// The most lines of a console that an error holds.
const MAX_LINES: usize = 40;
/// The most characters of a line: a screen drawn without line ends is one.
const MAX_LINE: usize = 200;
/// EC2 keeps 64 KiB; more than that is not looked at.
const MAX_INPUT: usize = 64 << 10;

/// The last lines of what a guest wrote, without escape sequences, other control characters and
/// empty lines. What a guest writes is hostile: a terminal must not obey it.
pub(crate) fn tail(output: &[u8]) -> String {
    let start = output.len().saturating_sub(MAX_INPUT);
    let mut lines = Lines::default();
    let mut all = lines.push(output.get(start..).unwrap_or_default());
    all.push(lines.rest());
    let all: Vec<String> = all.iter().map(|line| plain(line)).collect();
    let all: Vec<&String> = all.iter().filter(|line| !line.is_empty()).collect();
    let from = all.len().saturating_sub(MAX_LINES);
    let last: Vec<&str> = all.iter().skip(from).map(|line| line.as_str()).collect();
    last.join("\n")
}

fn plain(line: &str) -> String {
    let shown = |letter: &char| !letter.is_control() && !is_direction(*letter);
    let line: String = line.chars().filter(shown).take(MAX_LINE).collect();
    line.trim_end().to_owned()
}

/// Characters that turn the direction of the text around them.
fn is_direction(letter: char) -> bool {
    matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_and_control_characters_are_gone() {
        let output =
            b"\x1b[2J\x1b[01;01H\x1b[0;31mGRUB\x1b[0m loading\r\n\x1b]0;title\x07Kernel\x00 panic\
                       \r\n\n - not syncing\x1b(B\nroot\xe2\x80\xae\xc2\x9b31m$ ";
        assert_eq!(
            tail(output),
            "GRUB loading\nKernel panic\n - not syncing\nroot31m$"
        );
    }

    #[test]
    fn it_is_bounded_and_has_the_end() {
        let mut long: String = (0..5000).map(|number| format!("line {number}\n")).collect();
        assert!(tail(long.as_bytes()).ends_with("line 4998\nline 4999"));
        assert_eq!(tail(long.as_bytes()).lines().count(), MAX_LINES);
        long.push_str(&"x".repeat(100_000));
        assert!(tail(long.as_bytes()).len() <= MAX_LINES * (MAX_LINE + 1));
        assert_eq!(tail(b""), "");
    }
}
