//! `/etc/fstab`: what is mounted where, as fstab(5) and libmount read it.

use crate::field_line::FieldLine;
use crate::path::escape;
use crate::{FstabFact, GuestPath};

/// The table, line by line; rendering it gives back every byte that was not edited.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Fstab {
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Line {
    Entry(Entry),
    /// Comments and blank lines.
    Comment(Vec<u8>),
    /// What neither the guest nor this program understands.
    Broken(Vec<u8>),
}

/// One entry. Fields are called as in fstab(5), where `fs_spec` is the device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    line: usize,
    fields: FieldLine,
}

const FS_SPEC: usize = 0;
const FS_FILE: usize = 1;
const FS_VFSTYPE: usize = 2;
const FS_MNTOPS: usize = 3;
const FS_FREQ: usize = 4;
const FS_PASSNO: usize = 5;

impl Fstab {
    /// Splits the table. Nothing is an error: lines that cannot be understood are kept and
    /// [listed](Self::broken).
    pub fn parse(content: &[u8]) -> Self {
        let lines = content.split_inclusive(|byte| *byte == b'\n');
        let lines = lines.enumerate().map(|(index, line)| {
            let Some(fields) = FieldLine::parse(line, FS_PASSNO + 1) else {
                return Line::Comment(line.to_vec());
            };
            let entry = Entry {
                line: index + 1,
                fields,
            };
            match entry.is_sound() {
                true => Line::Entry(entry),
                false => Line::Broken(line.to_vec()),
            }
        });
        Self {
            lines: lines.collect(),
        }
    }

    /// The entries in the order of the table.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.lines.iter().filter_map(|line| match line {
            Line::Entry(entry) => Some(entry),
            _ => None,
        })
    }

    /// The entries, to be edited.
    pub fn entries_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.lines.iter_mut().filter_map(|line| match line {
            Line::Entry(entry) => Some(entry),
            _ => None,
        })
    }

    /// The entry in this line, counted from 1.
    pub fn entry_mut(&mut self, line: usize) -> Option<&mut Entry> {
        self.entries_mut().find(|entry| entry.line == line)
    }

    /// The lines that cannot be understood, with their numbers from 1.
    pub fn broken(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let numbered = self.lines.iter().enumerate();
        numbered.filter_map(|(index, line)| match line {
            Line::Broken(text) => Some((index + 1, text.as_slice())),
            _ => None,
        })
    }

    /// Makes a comment of the entry in this line, counted from 1, and says whether there was one.
    pub fn comment_out(&mut self, line: usize) -> bool {
        let place = line.checked_sub(1).and_then(|i| self.lines.get_mut(i));
        let Some(place @ Line::Entry(_)) = place else {
            return false;
        };
        *place = Line::Comment([b"#", place.text()].concat());
        true
    }

    /// The whole table.
    pub fn render(&self) -> Vec<u8> {
        self.lines.iter().flat_map(Line::text).copied().collect()
    }
}

impl Line {
    fn text(&self) -> &[u8] {
        match self {
            Self::Entry(entry) => entry.fields.text(),
            Self::Comment(text) | Self::Broken(text) => text,
        }
    }
}

impl Entry {
    /// Line in the file, from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// `fs_spec`: the device, with `\NNN` escapes resolved.
    pub fn spec(&self) -> Vec<u8> {
        unescape(self.fields.field(FS_SPEC))
    }

    /// Sets `fs_spec`.
    pub fn set_spec(&mut self, spec: &str) {
        self.fields.set(FS_SPEC, &encode(spec.as_bytes()), b"");
    }

    /// `fs_file`: the mount point, with escapes resolved; `none` or `swap` for swap space.
    pub fn file(&self) -> Vec<u8> {
        unescape(self.fields.field(FS_FILE))
    }

    /// The mount point as a path; none if it is not absolute.
    pub fn mount_point(&self) -> Option<GuestPath> {
        let file = self.file();
        file.starts_with(b"/").then(|| GuestPath::new(file))
    }

    /// `fs_vfstype`: the type, as `ext4`.
    pub fn vfstype(&self) -> String {
        escape(&unescape(self.fields.field(FS_VFSTYPE)))
    }

    /// `fs_mntops`: the options.
    pub fn options(&self) -> Vec<String> {
        let options = unescape(self.fields.field(FS_MNTOPS));
        let options = options.split(|byte| *byte == b',');
        options
            .filter(|option| !option.is_empty())
            .map(escape)
            .collect()
    }

    /// Whether one of the options is `name`, or begins with `name=`.
    pub fn has_option(&self, name: &str) -> bool {
        self.fact().has_option(name)
    }

    /// Adds an option behind the others, unless it is there.
    pub fn add_option(&mut self, option: &str) {
        if self.options().iter().any(|there| there == option) {
            return;
        }
        let mut options = self.fields.field(FS_MNTOPS).to_vec();
        if !options.is_empty() {
            options.push(b',');
        }
        options.extend(encode(option.as_bytes()));
        self.fields.set(FS_MNTOPS, &options, b"");
    }

    /// Removes every option that is `option`, with its value if it has one; the last one leaves
    /// `defaults`.
    pub fn remove_option(&mut self, option: &str) {
        let all = self.fields.field(FS_MNTOPS).to_vec();
        let kept = all.split(|byte| *byte == b',').filter(|there| {
            let rest = there.strip_prefix(option.as_bytes());
            !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"="))
        });
        let kept = kept.collect::<Vec<_>>().join(&b","[..]);
        let kept = if kept.is_empty() {
            b"defaults".to_vec()
        } else {
            kept
        };
        if kept != all && !all.is_empty() {
            self.fields.set(FS_MNTOPS, &kept, b"");
        }
    }

    /// `fs_passno`: the order of checks at boot; 0 for none.
    pub fn passno(&self) -> u32 {
        number(self.fields.field(FS_PASSNO)).unwrap_or(0)
    }

    /// Sets `fs_passno`.
    pub fn set_passno(&mut self, passno: u32) {
        if self.fields.len() <= FS_MNTOPS {
            self.fields.set(FS_MNTOPS, b"defaults", b"");
        }
        self.fields
            .set(FS_PASSNO, passno.to_string().as_bytes(), b"0");
    }

    /// The entry as plain data; the device is not resolved.
    pub(crate) fn fact(&self) -> FstabFact {
        FstabFact {
            line: self.line,
            spec: escape(&self.spec()),
            mount_point: self.mount_point(),
            file_system: self.vfstype(),
            options: self.options(),
            resolved: None,
        }
    }

    /// As libmount judges: device, mount point and type must be there, and what stands in the
    /// last two fields must be numbers.
    fn is_sound(&self) -> bool {
        let numeric = |index| {
            let field = self.fields.field(index);
            field.is_empty() || number(field).is_some()
        };
        self.fields.len() > FS_VFSTYPE && numeric(FS_FREQ) && numeric(FS_PASSNO)
    }
}

fn number(field: &[u8]) -> Option<u32> {
    str::from_utf8(field).ok()?.parse().ok()
}

/// Resolves `\NNN`, three octal digits, as getmntent(3) does.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, tail)) = rest.split_first() {
        let octal = match tail {
            [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', ..] if *first == b'\\' => {
                Some((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'))
            }
            _ => None,
        };
        match octal {
            Some(byte) => {
                plain.push(byte);
                rest = &tail[3..];
            }
            None => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

/// Spells what would end a field or start an escape as `\NNN`.
fn encode(field: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(field.len());
    for byte in field {
        match byte {
            b' ' | b'\t' | b'\n' | b'\\' | b'#' => {
                encoded.extend(format!("\\{byte:03o}").bytes());
            }
            _ => encoded.push(*byte),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"# /etc/fstab\n\
        /dev/sda1 /               ext4    errors=remount-ro 0       1 # was sdb\n\
        \n\
        LABEL=my\\040data\t/srv/my\\040data\text4\tdefaults,nofail\n\
        this is broken line with unexpected number of fields\n\
        tmpfs /tmp tmpfs\n\
        UUID=x";

    #[test]
    fn what_is_not_edited_keeps_every_byte() {
        assert_eq!(Fstab::parse(TABLE).render(), TABLE);
        let garbage = b"\xff\xfe \0 \t\r\n\\ \\0 \\9999 # \n   \n a";
        assert_eq!(Fstab::parse(garbage).render(), garbage);
    }

    #[test]
    fn fields_are_read_as_mount_reads_them() {
        let fstab = Fstab::parse(TABLE);
        let entries: Vec<_> = fstab.entries().collect();
        assert_eq!(entries.len(), 3);
        assert_eq!(entries[0].passno(), 1);
        assert_eq!(entries[1].line(), 4);
        assert_eq!(entries[1].spec(), b"LABEL=my data");
        assert_eq!(entries[1].mount_point(), Some("/srv/my data".into()));
        assert_eq!(entries[1].options(), ["defaults", "nofail"]);
        assert!(entries[0].has_option("errors"));
        assert!(!entries[0].has_option("error"));
        assert_eq!(entries[2].options(), [""; 0]);
        let broken: Vec<_> = fstab.broken().map(|(line, _)| line).collect();
        assert_eq!(broken, [5, 7]);
    }

    #[test]
    fn edits_keep_spacing_and_comments() {
        let mut fstab = Fstab::parse(TABLE);
        let root = fstab.entry_mut(2).unwrap();
        root.set_spec("UUID=a b");
        root.add_option("noatime");
        root.add_option("noatime");
        root.remove_option("errors");
        root.set_passno(0);
        assert!(fstab.comment_out(4));
        assert!(!fstab.comment_out(4));
        assert!(!fstab.comment_out(0));
        let tmp = fstab.entry_mut(6).unwrap();
        tmp.add_option("size=1G");
        let text = String::from_utf8(fstab.render()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[1],
            "UUID=a\\040b /               ext4    noatime 0       0 # was sdb"
        );
        assert_eq!(
            lines[3],
            "#LABEL=my\\040data\t/srv/my\\040data\text4\tdefaults,nofail"
        );
        assert_eq!(lines[5], "tmpfs /tmp tmpfs size=1G");
    }

    #[test]
    fn a_pass_number_needs_the_fields_before_it() {
        let mut fstab = Fstab::parse(b"a /a ext4\n");
        fstab.entry_mut(1).unwrap().set_passno(2);
        assert_eq!(fstab.render(), b"a /a ext4 defaults 0 2\n");
        let mut fstab = Fstab::parse(b"a /a ext4 nofail\n");
        let entry = fstab.entry_mut(1).unwrap();
        entry.remove_option("nofail");
        assert_eq!(fstab.render(), b"a /a ext4 defaults\n");
    }
}
