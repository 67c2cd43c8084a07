//! Patterns of paths: Perl's regular expressions, of which policies use the plainest.

use regex_lite::RegexBuilder;

/// A pattern that a whole path has to fit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Pattern {
    text: String,
    /// What every path that fits begins with: all of it, if the pattern is plain.
    beginning: String,
    plain: bool,
}

/// The size of a compiled pattern. The largest of distributions take some ten KiB.
const MAX_SIZE: usize = 1 << 20;

impl Pattern {
    pub(super) fn new(text: &str) -> Self {
        let (beginning, plain) = beginning(text);
        Self {
            text: text.to_owned(),
            beginning,
            plain,
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether it is a path and nothing else.
    pub(super) fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether a path fits; none if it begins as the pattern does and the rest of that is not
    /// understood.
    pub(super) fn fits(&self, path: &str) -> Option<bool> {
        if self.plain {
            return Some(path == self.beginning);
        }
        if !path.starts_with(&self.beginning) {
            return Some(false);
        }
        // As libselinux puts it together; few patterns come so far, so that they are not kept.
        let regex = RegexBuilder::new(&format!("^{}$", self.text))
            .dot_matches_new_line(true)
            .size_limit(MAX_SIZE)
            .build();
        Some(regex.ok()?.is_match(path))
    }
}

/// What a pattern begins with before anything special, and whether there is nothing special.
fn beginning(text: &str) -> (String, bool) {
    let (beginning, plain) = common(text);
    // An alternative on the outermost level may begin otherwise.
    match plain || !has_outer_branch(text) {
        true => (beginning, plain),
        false => (String::new(), false),
    }
}

/// As [`beginning`], of the first of several branches.
fn common(text: &str) -> (String, bool) {
    let mut beginning = String::new();
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            // What can be left out, or occur more than once, is not sure to be there.
            '?' | '*' | '{' => {
                beginning.pop();
                return (beginning, false);
            }
            '|' | '.' | '^' | '$' | '+' | '[' | '(' => return (beginning, false),
            '\\' => match characters.next() {
                // A letter or digit behind it is a class or a reference.
                Some(next) if !next.is_ascii_alphanumeric() => beginning.push(next),
                _ => return (beginning, false),
            },
            other => beginning.push(other),
        }
    }
    (beginning, true)
}

/// Whether there is a `|` outside of all parentheses. Brackets may hide one: then it is taken for
/// one all the same, and the pattern is tried on more paths than it has to be.
fn has_outer_branch(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => drop(characters.next()),
            '(' => depth = depth.saturating_add(1),
            ')' => depth = depth.saturating_sub(1),
            '|' if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_is_what_every_fitting_path_has() {
        for (text, start, plain) in [
            ("/etc/passwd", "/etc/passwd", true),
            ("/etc/resolv\\.conf", "/etc/resolv.conf", true),
            ("/etc(/.*)?", "/etc", false),
            ("/etc/rc\\.d?/x", "/etc/rc.", false),
            ("/usr/lib(64)?/x", "/usr/lib", false),
            ("/a|/b.*", "", false),
            ("/a.*|/b.*", "", false),
            ("/ab?|/c", "", false),
            ("/a\\d|/b", "", false),
            ("/a\\d+", "/a", false),
            ("/ab{0,2}", "/a", false),
            ("", "", true),
        ] {
            assert_eq!(beginning(text), (start.to_owned(), plain), "{text}");
        }
    }

    #[test]
    fn whole_paths_fit() {
        let fits = |pattern: &str, path: &str| Pattern::new(pattern).fits(path);
        assert_eq!(fits("/etc(/.*)?", "/etc"), Some(true));
        assert_eq!(fits("/etc(/.*)?", "/etcetera"), Some(false));
        assert_eq!(fits("/etc/[^/]+\\.conf", "/etc/a.conf"), Some(true));
        assert_eq!(fits("/etc/[^/]+\\.conf", "/etc/a/b.conf"), Some(false));
        assert_eq!(
            fits("/usr/lib(64)?/.*\\.so(\\.[^/]*)*", "/usr/lib64/x.so.6"),
            Some(true)
        );
        assert_eq!(fits("/x(?=y)", "/xy"), None);
        assert_eq!(fits("/x(?=y)", "/z"), Some(false));
        assert_eq!(
            fits("/.*((((a{1,99}){1,99}){1,99}){1,99})", "/a"),
            None,
            "too large"
        );
    }
}
