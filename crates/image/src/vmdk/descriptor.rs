//! The descriptor: the text that says of which extents a disk consists.

use super::encoding;
use super::error::{Damage, Feature};
use crate::Error;
use crate::error::Feature as AnyFeature;
use ondisk::cap;
use std::path::Path;

/// A descriptor whose every field can be used.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Descriptor {
    /// The content id: changes with the first write after each opening.
    pub(super) cid: Option<u32>,
    pub(super) parent: Option<Parent>,
    pub(super) extents: Vec<ExtentLine>,
    /// What kind of disk it says it is: only a name, the extents tell what is so.
    pub(super) create_type: Option<String>,
    /// The version of the virtual hardware.
    pub(super) hardware: Option<String>,
}

/// The parent of a delta.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Parent {
    pub(super) cid: u32,
    pub(super) hint: String,
}

/// One extent, as the descriptor describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct ExtentLine {
    /// Sectors of the disk.
    pub(super) sectors: u64,
    pub(super) kind: ExtentKind,
}

/// Where the sectors of an extent are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ExtentKind {
    /// In a file, as they are, from a sector on.
    Flat { name: String, offset: u64 },
    /// In a file with a header that says how.
    Sparse { name: String },
    /// Nowhere: they are zero.
    Zero,
}

/// What `parentCID` says of a disk that has none.
const NO_PARENT: u32 = 0xffff_ffff;
/// Most extents of a disk: 8 TiB in files of 2 GiB.
const MAX_EXTENTS: u64 = 4096;
/// How a descriptor begins.
const TITLE: &str = "disk descriptorfile";

/// Whether bytes are the beginning of a descriptor file.
pub(super) fn is_descriptor(head: &[u8]) -> bool {
    let head = head.trim_ascii_start();
    if !head.starts_with(b"#") {
        return false;
    }
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let title = line.trim_ascii_start().trim_ascii_end();
    let title = title.strip_prefix(b"#").unwrap_or(title).trim_ascii();
    title.eq_ignore_ascii_case(TITLE.as_bytes())
}

impl Descriptor {
    /// Parses the text, which ends at the first zero byte.
    pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Self, Error> {
        let end = text.iter().position(|b| *b == 0).unwrap_or(text.len());
        let text = encoding::decode(path, &text[..end])?;
        let mut descriptor = Self::default();
        let (mut parent_cid, mut hint) = (None, None);
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let misunderstood = || {
                Error::corrupt(
                    path,
                    Damage::Descriptor {
                        line: number.saturating_add(1),
                        text: line.to_owned(),
                    },
                )
            };
            if let Some((access, rest)) = access(line) {
                let extent = ExtentLine::parse(path, access, rest)?.ok_or_else(misunderstood)?;
                descriptor.extents.push(extent);
                let count = ondisk::width::u64_of(descriptor.extents.len());
                cap::length("the number of extents", count, MAX_EXTENTS)
                    .map_err(|error| Error::corrupt(path, error))?;
                continue;
            }
            let (key, value) = line.split_once('=').ok_or_else(misunderstood)?;
            let key = key.trim().to_ascii_lowercase();
            let value = value.trim();
            let hexadecimal = || u32::from_str_radix(value, 16).map_err(|_| misunderstood());
            match key.as_str() {
                "cid" => descriptor.cid = Some(hexadecimal()?),
                "parentcid" => parent_cid = Some(hexadecimal()?),
                "createtype" => descriptor.create_type = Some(unquoted(value).to_owned()),
                "ddb.virtualhwversion" => descriptor.hardware = Some(unquoted(value).to_owned()),
                "parentfilenamehint" => hint = Some(unquoted(value).to_owned()),
                key if key.starts_with("encryption") => {
                    return Err(Error::unsupported(
                        path,
                        AnyFeature::Vmdk(Feature::Encrypted),
                    ));
                }
                _ => {}
            }
        }
        descriptor.parent = match parent_cid {
            None | Some(NO_PARENT) => None,
            Some(cid) => Some(Parent {
                cid,
                hint: hint.ok_or_else(|| {
                    Error::corrupt(
                        path,
                        Damage::DescriptorLacks("parentFileNameHint, though it has a parentCID"),
                    )
                })?,
            }),
        };
        if descriptor.extents.is_empty() {
            return Err(Error::corrupt(path, Damage::DescriptorLacks("extents")));
        }
        Ok(descriptor)
    }
}

impl ExtentLine {
    /// Parses what follows the access: `4096 FLAT "disk-flat.vmdk" 0`, and up to two more fields
    /// that name a partition of a physical disk.
    fn parse(path: &Path, access: Access, rest: &str) -> Result<Option<Self>, Error> {
        let Some((sectors, rest)) = word(rest) else {
            return Ok(None);
        };
        let Some((kind, rest)) = word(rest) else {
            return Ok(None);
        };
        let Ok(sectors) = sectors.parse::<u64>() else {
            return Ok(None);
        };
        let unsupported = |feature| Error::unsupported(path, AnyFeature::Vmdk(feature));
        let kind = kind.to_ascii_uppercase();
        if kind == "ZERO" {
            let kind = ExtentKind::Zero;
            return Ok(Some(Self { sectors, kind }));
        }
        let Some((name, offset)) = quoted(rest) else {
            return Ok(None);
        };
        let name = name.to_owned();
        if access == Access::None {
            return Err(unsupported(Feature::NoAccess(name)));
        }
        let kind = match kind.as_str() {
            "FLAT" | "VMFS" => match word(offset) {
                None => ExtentKind::Flat { name, offset: 0 },
                Some((offset, _)) => match offset.parse() {
                    Ok(offset) => ExtentKind::Flat { name, offset },
                    Err(_) => return Ok(None),
                },
            },
            "SPARSE" | "VMFSSPARSE" | "SESPARSE" => ExtentKind::Sparse { name },
            _ => return Err(unsupported(Feature::ExtentType(kind))),
        };
        Ok(Some(Self { sectors, kind }))
    }
}

/// What an extent line says about access.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Access {
    Some,
    None,
}

/// The access of an extent line, and the rest of it.
fn access(line: &str) -> Option<(Access, &str)> {
    let (first, rest) = word(line)?;
    match first.to_ascii_uppercase().as_str() {
        "RW" | "RDONLY" => Some((Access::Some, rest)),
        "NOACCESS" => Some((Access::None, rest)),
        _ => None,
    }
}

/// The first word and what follows it.
fn word(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start();
    if text.is_empty() {
        return None;
    }
    Some(text.split_once([' ', '\t']).unwrap_or((text, "")))
}

/// The text between the first quotes and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    text.trim_start().strip_prefix('"')?.split_once('"')
}

fn unquoted(value: &str) -> &str {
    quoted(value).map_or(value, |(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Descriptor, Error> {
        Descriptor::parse(Path::new("d.vmdk"), text.as_bytes())
    }

    const HEAD: &str = "# Disk DescriptorFile\nversion=1\nCID=9a4fee1\nparentCID=ffffffff\n";

    #[test]
    fn extent_lines_of_each_shape_are_read() {
        let descriptor = parse(&format!(
            "{HEAD}RW 63 FLAT \"a (1).vmdk\" 10\r\nRDONLY 5 VMFS \"b.vmdk\"\n\
             rw 7 SPARSE \"c.vmdk\" \nRW 8 VMFSSPARSE \"e.vmdk\"\nRW 6 seSparse \"f.vmdk\"\nRW 9 ZERO\nRW 3 FLAT \"d\" 0 partitionUUID dev\n\
             ddb.x = \"y\"\0garbage"
        ))
        .unwrap();
        let flat = |name: &str, offset| ExtentKind::Flat {
            name: name.to_owned(),
            offset,
        };
        let sparse = |name: &str| ExtentKind::Sparse {
            name: name.to_owned(),
        };
        let line = |sectors, kind| ExtentLine { sectors, kind };
        assert_eq!(
            descriptor.extents,
            [
                line(63, flat("a (1).vmdk", 10)),
                line(5, flat("b.vmdk", 0)),
                line(7, sparse("c.vmdk")),
                line(8, sparse("e.vmdk")),
                line(6, sparse("f.vmdk")),
                line(9, ExtentKind::Zero),
                line(3, flat("d", 0)),
            ]
        );
        assert_eq!(descriptor.cid, Some(0x09a4_fee1));
        assert_eq!(descriptor.parent, None);
    }

    #[test]
    fn a_delta_must_say_where_its_parent_is() {
        let delta = HEAD.replace("parentCID=ffffffff", "parentCID=12ab");
        let error = parse(&format!("{delta}RW 9 ZERO\n")).unwrap_err();
        assert!(error.to_string().contains("parentFileNameHint"), "{error}");
        let good = parse(&format!(
            "{delta}parentFileNameHint=\"base.vmdk\"\nRW 9 ZERO\n"
        ));
        assert_eq!(
            good.unwrap().parent,
            Some(Parent {
                cid: 0x12ab,
                hint: "base.vmdk".to_owned()
            })
        );
    }

    #[test]
    fn what_is_not_understood_is_told_by_line_or_name() {
        for (lines, expected) in [
            ("RW x FLAT \"a\" 0", "line 5"),
            ("RW 1 FLAT a 0", "line 5"),
            ("RW 1 FLAT \"a\" zero", "line 5"),
            ("RW 1", "line 5"),
            ("nonsense", "line 5"),
            ("NOACCESS 1 FLAT \"a\" 0", "NOACCESS"),
            ("RW 1 VMFSRDM \"a\"", "VMFSRDM"),
            ("encryptionKeys=\"vmware:key\"", "encrypted"),
            ("ddb.a = \"b\"", "lacks extents"),
            ("CID=xyz", "line 5"),
        ] {
            let error = parse(&format!("{HEAD}{lines}\n")).unwrap_err().to_string();
            assert!(error.contains(expected), "{lines}: {error}");
        }
        let many = "RW 1 ZERO\n".repeat(5000);
        let error = parse(&format!("{HEAD}{many}")).unwrap_err().to_string();
        assert!(error.contains("at most 4096"), "{error}");
    }

    #[test]
    fn a_descriptor_is_known_by_its_first_line() {
        assert!(is_descriptor(b"# Disk DescriptorFile\nversion=1"));
        assert!(is_descriptor(b"\n  #disk descriptorfile \r\n"));
        assert!(!is_descriptor(b"# Disk\n"));
        assert!(!is_descriptor(b""));
    }
}
