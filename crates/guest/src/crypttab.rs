//! `/etc/crypttab`: encrypted volumes and the names they get, as crypttab(5) defines them.

use crate::field_line::FieldLine;
use crate::path::escape;

/// The table, line by line; rendering it gives back every byte that was not edited.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Crypttab {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Line {
    Entry(CryptEntry),
    Other(Vec<u8>),
}

/// One encrypted volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CryptEntry {
    line: usize,
    fields: FieldLine,
}

const NAME: usize = 0;
const DEVICE: usize = 1;
const KEY_FILE: usize = 2;
const OPTIONS: usize = 3;

impl Crypttab {
    /// Splits the table; lines without a device are kept and are no entries.
    pub fn parse(content: &[u8]) -> Self {
        let lines = content.split_inclusive(|byte| *byte == b'\n');
        let lines = lines.enumerate().map(|(index, line)| {
            match FieldLine::parse(line, OPTIONS + 1).filter(|fields| fields.len() > DEVICE) {
                Some(fields) => Line::Entry(CryptEntry {
                    line: index + 1,
                    fields,
                }),
                None => Line::Other(line.to_vec()),
            }
        });
        Self {
            lines: lines.collect(),
        }
    }

    /// The entries in the order of the table.
    pub fn entries(&self) -> impl Iterator<Item = &CryptEntry> {
        self.lines.iter().filter_map(|line| match line {
            Line::Entry(entry) => Some(entry),
            Line::Other(_) => None,
        })
    }

    /// The entries, to be edited.
    pub fn entries_mut(&mut self) -> impl Iterator<Item = &mut CryptEntry> {
        self.lines.iter_mut().filter_map(|line| match line {
            Line::Entry(entry) => Some(entry),
            Line::Other(_) => None,
        })
    }

    /// The whole table.
    pub fn render(&self) -> Vec<u8> {
        let text = |line: &Line| match line {
            Line::Entry(entry) => entry.fields.text().to_vec(),
            Line::Other(text) => text.clone(),
        };
        self.lines.iter().flat_map(text).collect()
    }
}

impl CryptEntry {
    /// Line in the file, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The name below `/dev/mapper`.
    pub fn name(&self) -> String {
        escape(self.fields.field(NAME))
    }

    /// The encrypted device, as `UUID=...` or `/dev/sda2`.
    pub fn device(&self) -> String {
        escape(self.fields.field(DEVICE))
    }

    /// Sets the encrypted device.
    pub fn set_device(&mut self, device: &str) {
        self.fields.set(DEVICE, device.as_bytes(), b"");
    }

    /// The file of the key; `none` or `-` where it is asked for.
    pub fn key_file(&self) -> String {
        escape(self.fields.field(KEY_FILE))
    }

    /// The options.
    pub fn options(&self) -> Vec<String> {
        let options = self.fields.field(OPTIONS).split(|byte| *byte == b',');
        options
            .filter(|option| !option.is_empty())
            .map(escape)
            .collect()
    }

    /// Adds an option behind the others, unless it is there.
    pub fn add_option(&mut self, option: &str) {
        if self.options().iter().any(|there| there == option) {
            return;
        }
        let mut value = self.fields.field(OPTIONS).to_vec();
        if !value.is_empty() {
            value.push(b',');
        }
        value.extend(option.bytes());
        self.fields.set(OPTIONS, &value, b"none");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] =
        b"# <target> <source>\nroot_crypt\t/dev/sda3 none luks\nswap /dev/sda4\nx\n";

    #[test]
    fn edits_keep_everything_else() {
        let mut table = Crypttab::parse(TABLE);
        assert_eq!(table.render(), TABLE);
        assert_eq!(table.entries().count(), 2);
        let mut entries = table.entries_mut();
        let root = entries.next().unwrap();
        assert_eq!(
            (root.name(), root.key_file()),
            ("root_crypt".into(), "none".into())
        );
        root.set_device("UUID=1");
        root.add_option("initramfs");
        root.add_option("luks");
        let swap = entries.next().unwrap();
        assert_eq!((swap.line(), swap.device()), (3, "/dev/sda4".into()));
        swap.add_option("swap");
        drop(entries);
        assert_eq!(
            table.render(),
            b"# <target> <source>\nroot_crypt\tUUID=1 none luks,initramfs\nswap /dev/sda4 none swap\nx\n"
        );
    }
}
