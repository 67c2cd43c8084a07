//! Kernel command lines, as the kernel, GRUB scripts and shell assignments write them.

/// A kernel command line whose words can be changed while everything between and around them
/// stays as it is.
///
/// Words end at blanks outside of quotes; `\` protects the next byte. Where the text comes out of
/// a GRUB script or from between the quotes of a shell assignment, words keep the quotes and
/// expansions they are written with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CommandLine {
    /// Blanks before each word, and the word as written.
    words: Vec<(String, String)>,
    tail: String,
}

impl CommandLine {
    /// Takes a command line apart.
    pub fn parse(text: &str) -> Self {
        let mut words = Vec::new();
        let mut rest = text;
        loop {
            let start = rest.find(|c: char| !is_blank(c)).unwrap_or(rest.len());
            let (blanks, after) = rest.split_at(start);
            if after.is_empty() {
                return Self {
                    words,
                    tail: blanks.to_owned(),
                };
            }
            let (word, after) = after.split_at(word_length(after));
            words.push((blanks.to_owned(), word.to_owned()));
            rest = after;
        }
    }

    /// The text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for (blanks, word) in &self.words {
            text.push_str(blanks);
            text.push_str(word);
        }
        text + &self.tail
    }

    /// The words without their quotes, in order.
    pub fn words(&self) -> impl DoubleEndedIterator<Item = String> {
        self.words.iter().map(|(_, word)| plain(word))
    }

    /// The first word as it is written.
    pub(crate) fn first_written(&self) -> Option<&str> {
        self.words.first().map(|(_, word)| word.as_str())
    }

    /// The values of `key=value` words with this key, in order. As the kernel does it, `-` and `_`
    /// in the key are the same.
    pub fn values(&self, key: &str) -> impl DoubleEndedIterator<Item = String> {
        self.words().filter_map(move |word| {
            let (name, value) = word.split_once('=')?;
            same_key(name, key).then(|| value.to_owned())
        })
    }

    /// Gives every `key=value` word for which `change` returns a value that value, and returns
    /// whether any word changed.
    pub fn replace(&mut self, key: &str, change: impl Fn(&str) -> Option<String>) -> bool {
        let mut changed = false;
        for (_, word) in &mut self.words {
            let bare = plain(word);
            let Some((name, value)) = bare.split_once('=') else {
                continue;
            };
            if same_key(name, key)
                && let Some(new) = change(value)
                && new != value
            {
                *word = format!("{name}={new}");
                changed = true;
            }
        }
        changed
    }

    /// Removes the words, quotes left out, for which `gone` says so, and returns whether there
    /// were any.
    pub fn remove(&mut self, gone: impl Fn(&str) -> bool) -> bool {
        let before = self.words.len();
        let first = self.words.first().map(|(blanks, _)| blanks.clone());
        self.words.retain(|(_, word)| !gone(&plain(word)));
        // What leads the text in is no gap between words.
        if let (Some(first), Some((blanks, _))) = (first, self.words.first_mut()) {
            *blanks = first;
        }
        self.words.len() != before
    }

    /// Adds a word at the end, before the `--` that ends the kernel's part.
    pub fn push(&mut self, word: &str) {
        let end = self.words.iter().position(|(_, word)| word == "--");
        let index = end.unwrap_or(self.words.len());
        let blanks = if index == 0 { "" } else { " " };
        self.words
            .insert(index, (blanks.to_owned(), word.to_owned()));
        if index == 0
            && let Some((blanks, _)) = self.words.get_mut(1)
            && blanks.is_empty()
        {
            blanks.push(' ');
        }
    }
}

/// Whether two parameter names are the same to the kernel.
fn same_key(one: &str, other: &str) -> bool {
    let dash = |byte: u8| if byte == b'-' { b'_' } else { byte };
    one.len() == other.len() && one.bytes().map(dash).eq(other.bytes().map(dash))
}

fn is_blank(character: char) -> bool {
    character.is_ascii_whitespace()
}

/// Bytes up to the blank that ends the first word.
fn word_length(text: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (index, character) in text.char_indices() {
        match (quote, character) {
            _ if escaped => escaped = false,
            (None | Some('"'), '\\') => escaped = true,
            (Some(open), close) if open == close => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"') => quote = Some(character),
            (None, blank) if is_blank(blank) => return index,
            (None, _) => {}
        }
    }
    text.len()
}

/// A word without its quotes and escapes.
pub(crate) fn plain(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    let mut quote = None;
    let mut characters = word.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), close) if open == close => quote = None,
            (None, '\'' | '"') => quote = Some(character),
            (None | Some('"'), '\\') => text.extend(characters.next()),
            (_, other) => text.push(other),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_edited_survives() {
        for text in [
            "",
            "  ",
            "root=/dev/sda2 ro  quiet ",
            "\ta \"b c\" 'd e' dyndbg=\\\"file x.c +p\\\" $kernelopts -- init",
            "\"never closed",
            "\\",
        ] {
            assert_eq!(CommandLine::parse(text).render(), text);
        }
    }

    #[test]
    fn quotes_hold_words_together() {
        let line = CommandLine::parse("a \"b c\" 'd e' f\\ g $h");
        let words: Vec<String> = line.words().collect();
        assert_eq!(words, ["a", "b c", "d e", "f g", "$h"]);
    }

    #[test]
    fn only_the_word_named_changes() {
        let mut line = CommandLine::parse("ro root=/dev/sda2  quiet xroot=/dev/sda2 ");
        assert!(line.replace("root", |_| Some("UUID=1".into())));
        assert_eq!(line.render(), "ro root=UUID=1  quiet xroot=/dev/sda2 ");
        assert!(!line.replace("root", |_| Some("UUID=1".into())));
        let mut line = CommandLine::parse("nvme-core.io_timeout=5");
        assert_eq!(line.values("nvme_core.io_timeout").next().unwrap(), "5");
        assert!(!line.replace("nvme_core.io_timeout", |_| None));
    }

    #[test]
    fn words_are_added_before_the_end_of_the_kernels_part() {
        for (before, after) in [
            ("", "new"),
            ("ro quiet ", "ro quiet new "),
            ("ro -- single", "ro new -- single"),
            ("-- single", "new -- single"),
        ] {
            let mut line = CommandLine::parse(before);
            line.push("new");
            assert_eq!(line.render(), after, "{before}");
        }
    }

    #[test]
    fn words_are_removed_with_the_blanks_before_them() {
        let mut line = CommandLine::parse("\tconsole=hvc0 ro console=xvc0  quiet");
        assert!(line.remove(|word| word.ends_with("vc0")));
        assert_eq!(line.render(), "\tro  quiet");
        assert!(!line.remove(|word| word.ends_with("vc0")));
    }
}
