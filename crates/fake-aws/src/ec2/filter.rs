//! The wildcards of filters.

/// Whether `text` is what `pattern` says: `*` is any text, `?` any byte, `\` makes the next plain.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Where to go on after the last star: pattern behind it, and the text that it has not swallowed.
    let mut star: Option<(&[u8], &[u8])> = None;
    let (mut pattern, mut text) = (pattern, text);
    loop {
        match (pattern, text) {
            ([], []) => return true,
            ([b'*', rest @ ..], _) => {
                star = Some((rest, text));
                pattern = rest;
                continue;
            }
            ([b'\\', plain, rest @ ..], [byte, after @ ..]) if plain == byte => {
                (pattern, text) = (rest, after);
                continue;
            }
            ([b'?', rest @ ..], [_, after @ ..]) => {
                (pattern, text) = (rest, after);
                continue;
            }
            ([plain, rest @ ..], [byte, after @ ..]) if plain == byte && *plain != b'\\' => {
                (pattern, text) = (rest, after);
                continue;
            }
            _ => {}
        }
        // The star takes one byte more; there are only so many.
        let Some((rest, [_, after @ ..])) = star else {
            return false;
        };
        star = Some((rest, after));
        (pattern, text) = (rest, after);
    }
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn filters_have_wildcards() {
        for (pattern, text, fits) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbbc", true),
            ("a*c*", "abcbd", true),
            ("a*d", "abc", false),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a\\*c", "a*c", true),
            ("a\\*c", "abc", false),
            ("*ab*ab", "abxabyab", true),
            ("web", "web-1", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), text.as_bytes()),
                fits,
                "{pattern} {text}"
            );
        }
    }
}
