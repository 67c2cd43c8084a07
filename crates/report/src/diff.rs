//! A unified diff, of bounded size.

use serde::{Deserialize, Serialize};

/// A unified diff.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Diff {
    /// The diff, or its beginning.
    pub text: String,
    /// Bytes that were cut off its end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: u64,
}

impl Diff {
    /// A diff of at most `room` bytes: whole lines, unless the first one is longer than that.
    pub fn new(text: &str, room: usize) -> Self {
        let kept = beginning(text, room);
        Self {
            text: kept.to_owned(),
            cut: u64::try_from(text.len() - kept.len()).unwrap_or(u64::MAX),
        }
    }
}

/// As many whole lines of a text as there is room for; of a first line that is too long, as many
/// letters.
pub(crate) fn beginning(text: &str, room: usize) -> &str {
    if text.len() <= room {
        return text;
    }
    let kept = text.get(..text.floor_char_boundary(room));
    let kept = kept.unwrap_or_default();
    match kept.rfind('\n') {
        Some(end) => kept.get(..=end).unwrap_or_default(),
        None => kept,
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diffs_end_with_whole_lines() {
        let text = "-a\n+bb\n+ccc\n";
        for (room, kept) in [
            (100, text),
            (12, text),
            (11, "-a\n+bb\n"),
            (7, "-a\n+bb\n"),
            (6, "-a\n"),
            (2, "-a"),
            (0, ""),
        ] {
            let diff = Diff::new(text, room);
            assert_eq!(diff.text, kept, "room {room}");
            assert_eq!(diff.cut, u64::try_from(text.len() - kept.len()).unwrap());
        }
        assert_eq!(Diff::new("+äö", 4).text, "+ä");
    }
}
