//! Boot Loader Specification entries, type 1: `loader/entries/*.conf`.
//!
//! Source: UAPI group specification 1, and Fedora's `grub_users`, `grub_arg`, `grub_class` keys.

use super::command_line::CommandLine;

/// An entry, losslessly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LoaderEntry {
    lines: Vec<Vec<u8>>,
}

impl LoaderEntry {
    /// Reads a file; whatever bytes it holds, it can be read.
    pub fn parse(bytes: &[u8]) -> Self {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        Self {
            lines: lines.map(<[u8]>::to_vec).collect(),
        }
    }

    /// The file's bytes.
    pub fn render(&self) -> Vec<u8> {
        self.lines.concat()
    }

    /// All values of a key, in order.
    pub fn values(&self, key: &str) -> impl Iterator<Item = &str> {
        self.lines
            .iter()
            .filter_map(move |line| Some(value(line, key)?.1.trim()))
    }

    /// The command line: all `options` in a row.
    pub fn options(&self) -> String {
        self.values("options").collect::<Vec<_>>().join(" ")
    }

    /// The command line as GRUB expands it: `variable` knows the value of a variable, and what it
    /// does not know vanishes. Without `options`, GRUB takes `default_kernelopts`.
    pub fn expanded_options(&self, variable: impl Fn(&str) -> Option<String>) -> String {
        let options = self.options();
        if options.is_empty() {
            return variable("default_kernelopts").unwrap_or_default();
        }
        let mut words = Vec::new();
        for word in options.split_ascii_whitespace() {
            let name = word.strip_prefix('$');
            let name = name.map(|name| name.trim_start_matches('{').trim_end_matches('}'));
            match name {
                Some(name) => words.extend(variable(name)),
                None => words.push(word.to_owned()),
            }
        }
        words.join(" ").trim().to_owned()
    }

    /// Line number of the first line of a key, from 1.
    pub fn line_of(&self, key: &str) -> Option<usize> {
        let index = self
            .lines
            .iter()
            .position(|line| value(line, key).is_some())?;
        Some(index.saturating_add(1))
    }

    /// Lets `change` edit the command line, and returns whether it changed. Several `options`
    /// lines are seen one by one; `first` tells the one at whose end words can be added: GRUB reads
    /// no other, systemd-boot puts all in a row.
    pub fn edit_options(&mut self, change: impl Fn(&mut CommandLine, bool)) -> bool {
        let options: Vec<usize> = (0..self.lines.len())
            .filter(|index| value(&self.lines[*index], "options").is_some())
            .collect();
        let mut changed = false;
        for index in &options {
            let line = &mut self.lines[*index];
            let Some((head, text)) = value(line, "options") else {
                continue;
            };
            let body = text.trim_end_matches(['\r', '\n']);
            let end = &text[body.len()..];
            let mut command_line = CommandLine::parse(body);
            change(&mut command_line, Some(index) == options.first());
            let new = command_line.render();
            if new != body {
                *line = format!("{head}{new}{end}").into_bytes();
                changed = true;
            }
        }
        changed
    }
}

/// A line of this key in two parts: key and blanks, and the rest.
fn value<'l>(line: &'l [u8], key: &str) -> Option<(&'l str, &'l str)> {
    let text = std::str::from_utf8(line).ok()?;
    let after = text.trim_start().strip_prefix(key)?;
    let rest = after.trim_start_matches([' ', '\t']);
    (rest.len() < after.len()).then(|| text.split_at(text.len() - rest.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: &str = "title Fedora (5.0)\nversion 5.0\nlinux /vmlinuz-5.0\n\
        initrd /initramfs-5.0.img $tuned_initrd\n# options x\noptions root=/dev/sda2 ro\noptions\tquiet\n";

    #[test]
    fn keys_are_read_and_the_rest_survives() {
        let entry = LoaderEntry::parse(ENTRY.as_bytes());
        assert_eq!(entry.render(), ENTRY.as_bytes());
        assert_eq!(entry.values("title").next(), Some("Fedora (5.0)"));
        assert_eq!(entry.options(), "root=/dev/sda2 ro quiet");
        assert_eq!(entry.line_of("linux"), Some(3));
        assert_eq!(entry.values("option").count(), 0);
    }

    #[test]
    fn variables_are_expanded_as_grub_does_it() {
        let value = |name: &str| (name == "kernelopts").then(|| "root=UUID=1 ro ".to_owned());
        let of = |text: &str| LoaderEntry::parse(text.as_bytes()).expanded_options(value);
        assert_eq!(of("options $kernelopts $tuned_params\n"), "root=UUID=1 ro");
        assert_eq!(of("options ${kernelopts} a=$b\n"), "root=UUID=1 ro  a=$b");
        assert_eq!(of("linux /x\n"), "");
    }

    #[test]
    fn options_are_edited_in_place() {
        let mut entry = LoaderEntry::parse(ENTRY.as_bytes());
        assert!(entry.edit_options(|line, first| {
            line.replace("root", |_| Some("UUID=1".into()));
            if first {
                line.push("console=ttyS0");
            }
        }));
        let text = String::from_utf8(entry.render()).unwrap();
        assert!(
            text.ends_with("options root=UUID=1 ro console=ttyS0\noptions\tquiet\n"),
            "{text}"
        );
    }
}
