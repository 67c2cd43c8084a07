//! The machine that was launched.

use crate::sensitive;
use serde::{Deserialize, Serialize};

/// The machine that was launched, as far as it came.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// Where it runs: `ec2`, `local`.
    pub kind: String,
    /// The region or zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The instance type, or the hardware that was emulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_type: Option<String>,
    /// The instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The image (AMI) that it was started from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its addresses, with what they are: `private 10.0.0.7`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Its volumes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<TargetVolume>,
    /// What was launched before and removed for it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replaced: Vec<String>,
    /// Whether it came up, if somebody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    /// The end of what it wrote to its console.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<Console>,
}

/// A volume of the target.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetVolume {
    /// Its id, or its file.
    pub name: String,
    /// The device name that it is attached under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The snapshot that it was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// Whether a target came up.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Boot {
    /// Whether it did.
    pub up: bool,
    /// What says so: `login prompt`, `status checks`, or what it stopped at.
    pub evidence: String,
    /// How long that took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<u64>,
    /// A file with a picture of its screen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub screenshot: Option<String>,
}

/// The end of a console's output. What looks like a password or a key is taken out of it.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Console {
    /// The last lines.
    pub tail: String,
    /// Bytes before them that were cut off.
    pub cut: u64,
    /// A file that holds all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Console {
    /// Most bytes of the tail; EC2 keeps as much.
    const LARGEST: usize = 64 << 10;

    /// The end of `output`, at most 64 KiB, without secrets.
    pub fn new(output: &[u8]) -> Self {
        let start = output.len().saturating_sub(Self::LARGEST);
        let tail = output.get(start..).unwrap_or_default();
        // A line that begins before the cut may be about a secret before the cut.
        let skipped = match tail.iter().position(|byte| *byte == b'\n') {
            Some(end) if start > 0 => end.saturating_add(1),
            _ => 0,
        };
        let tail = String::from_utf8_lossy(tail.get(skipped..).unwrap_or_default());
        let tail = plain(&tail);
        let tail = if sensitive::holds_key(&tail) {
            "not shown: it holds a private key".to_owned()
        } else {
            sensitive::take_out(&tail)
        };
        Self {
            tail,
            cut: u64::try_from(start.saturating_add(skipped)).unwrap_or(u64::MAX),
            file: None,
        }
    }
}

/// Text without what steers a terminal: sequences of ECMA-48 that begin with ESC, carriage returns,
/// and what backspaces and bells leave.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\u{1b}' => match letters.next() {
                // Colours and movements end with a letter.
                Some('[') => {
                    letters.find(|it| ('@'..='~').contains(it) || *it == '\n');
                }
                // Titles of windows end with a bell or with ESC and a backslash.
                Some(']') => {
                    let end = letters.find(|it| ['\u{7}', '\u{1b}', '\n'].contains(it));
                    if end == Some('\u{1b}') {
                        letters.next();
                    }
                }
                Some('(' | ')' | '#') => {
                    letters.next();
                }
                _ => {}
            },
            '\r' | '\u{7}' | '\u{8}' | '\0' => {}
            _ => plain.push(letter),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_left_out() {
        for (raw, expected) in [
            (
                "[\u{1b}[0;32m  OK  \u{1b}[0m] Started\r\n",
                "[  OK  ] Started\n",
            ),
            ("\u{1b}[2J\u{1b}[1;1Ha\u{1b}(Bb", "ab"),
            ("\u{1b}]0;title\u{7}a\u{1b}]0;title\u{1b}\\b", "ab"),
            ("\u{1b}", ""),
            ("a\u{1b}[", "a"),
            ("\u{1b}[31", ""),
            ("lo\0gin: \u{8}", "login: "),
        ] {
            assert_eq!(plain(raw), expected, "{raw:?}");
        }
    }

    #[test]
    fn the_end_of_a_console_is_kept_without_secrets() {
        let console = Console::new(b"booting\nroot password: hunter2\nlogin:\xff");
        assert_eq!(
            console.tail,
            "booting\nroot password: [taken out]\nlogin:\u{fffd}"
        );
        assert_eq!(console.cut, 0);
        let long = "a line of some length\n".repeat(10_000);
        let console = Console::new(long.as_bytes());
        assert!(console.tail.len() <= Console::LARGEST);
        assert!(console.tail.starts_with("a line") && console.tail.ends_with("length\n"));
        let all = u64::try_from(console.tail.len()).unwrap() + console.cut;
        assert_eq!(all, u64::try_from(long.len()).unwrap());
    }
}
