//! The OVF descriptor (DMTF DSP0243): which disks the machine has, and in which files they are.
//!
//! Elements and attributes are told by their local names: the versions of OVF differ in their
//! namespaces, and early ones have sections of the same content under other names.

use super::error::{Damage, Feature};
use super::hardware;
use super::size::MachineSize;
use crate::Error;
use crate::error::Damage as AnyDamage;
use ondisk::cap;
use ondisk::width::u64_of;
use roxmltree::{Document, Node, ParsingOptions};
use std::collections::BTreeMap;
use std::path::Path;

/// A descriptor as far as it is about disks.
#[derive(Debug)]
pub(super) struct Envelope {
    /// Machines that have disks.
    pub(super) machines: usize,
    /// In the order of the machine's hardware, then those that it does not use.
    pub(super) disks: Vec<Disk>,
    /// Of the machine, if there is one of it.
    pub(super) size: MachineSize,
}

/// A disk of the machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Disk {
    /// `diskId`, or the file's `id` if the hardware names the file itself.
    pub(super) id: String,
    pub(super) backing: Backing,
    /// Bytes, if the descriptor says how many in a way that is understood.
    pub(super) capacity: Option<u64>,
    /// Whether `format` says that the file holds the plain bytes of the disk.
    pub(super) raw: bool,
}

/// Where a disk's content is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Backing {
    File(FileRef),
    /// There is none: the disk is as many zeros.
    Blank(u64),
    /// Somewhere that is not followed.
    Refused(Feature),
}

/// A file of the package.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct FileRef {
    pub(super) href: String,
    /// Whether `compression` is gzip.
    pub(super) gzip: bool,
    /// Bytes, as the descriptor says; of the file or of what it expands to, by who wrote it.
    pub(super) size: Option<u64>,
}

/// Whether a file begins as a descriptor, whatever it is called.
pub(super) fn is_recognised(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = text.trim_ascii_start();
    // All namespaces of OVF, VMware's early one too, have a part of this name.
    text.starts_with(b"<") && contains(text, b"Envelope") && contains(text, b"/ovf/")
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

/// Most bytes of a descriptor: those of large machines have some hundred KiB, mostly licences.
pub(super) const MAX_LEN: u64 = 16 << 20;
/// Most nodes: a machine has some thousand; each takes about 100 bytes of memory.
const MAX_NODES: u32 = 500_000;
/// Most attributes of an element: each is compared with each. OVF has seven.
const MAX_ATTRIBUTES: u64 = 200;
/// Most declarations of namespaces: inner elements get a copy of the outer ones'. OVF has seven.
const MAX_NAMESPACES: u64 = 300;
/// Most disks: hypervisors give a machine 256 at most.
const MAX_DISKS: u64 = 1000;
/// Most bytes of an empty disk: the largest that hypervisors make have 64 TiB.
const MAX_BLANK: u64 = 64 << 40;

impl Envelope {
    /// Parses the descriptor that stands in the file at `path`.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        Self::read(bytes).map_err(|damage| Error::corrupt(path, damage))
    }

    fn read(bytes: &[u8]) -> Result<Self, AnyDamage> {
        let text = str::from_utf8(bytes).map_err(|e| Damage::NotText(e.valid_up_to()))?;
        check_costs(text)?;
        let options = ParsingOptions {
            // Entities of a DTD could expand without bounds.
            allow_dtd: false,
            nodes_limit: MAX_NODES,
            ..ParsingOptions::default()
        };
        let document = Document::parse_with_options(text.trim_end_matches('\0'), options)
            .map_err(|e| Damage::Xml(e.to_string()))?;
        let root = document.root_element();
        if root.tag_name().name() != "Envelope" {
            let name = root.tag_name().name().to_owned();
            return Err(Damage::NotEnvelope(name).into());
        }
        let sections = Sections::read(root)?;
        let (mut disks, mut machines) = (Vec::new(), 0_usize);
        let mut size = MachineSize::default();
        for machine in hardware::machines(root) {
            let drives = hardware::drives(machine)?;
            if !drives.is_empty() {
                machines = machines.saturating_add(1);
                size = MachineSize::read(root, machine)?;
            }
            for drive in drives {
                disks.push(sections.drive(&drive)?);
                cap::length("the number of disks", u64_of(disks.len()), MAX_DISKS)?;
            }
        }
        for id in &sections.order {
            if !disks.iter().any(|disk| disk.id == *id) {
                disks.extend(sections.disk(id));
            }
            cap::length("the number of disks", u64_of(disks.len()), MAX_DISKS)?;
        }
        if machines > 1 {
            // Whose a disk is, is not told.
            size = MachineSize::default();
        }
        Ok(Self {
            machines,
            disks,
            size,
        })
    }
}

/// Refuses what is cheap to write and costly to parse.
fn check_costs(text: &str) -> Result<(), cap::TooLarge> {
    let namespaces = u64_of(text.matches("xmlns").count());
    let what = "the number of namespace declarations";
    cap::length(what, namespaces, MAX_NAMESPACES)?;
    // No attribute has a `<`, so each tag with all its attributes is in a piece of its own.
    for piece in text.split('<') {
        let mut attributes = 0_u64;
        for part in piece.split('=').skip(1) {
            if part.trim_start().starts_with(['"', '\'']) {
                attributes = attributes.saturating_add(1);
            }
        }
        cap::length("the number of attributes", attributes, MAX_ATTRIBUTES)?;
    }
    Ok(())
}

/// References and DiskSection.
#[derive(Debug, Default)]
struct Sections {
    files: BTreeMap<String, Backing>,
    disks: BTreeMap<String, Disk>,
    /// The disks' identifiers, as they are listed.
    order: Vec<String>,
}

impl Sections {
    fn read(root: Node) -> Result<Self, AnyDamage> {
        let mut sections = Self::default();
        for file in elements(root, "References", "File") {
            let id = required(file, "File", "id")?;
            let previous = sections.files.insert(id.clone(), Backing::of_file(file)?);
            if previous.is_some() {
                return Err(same_id("File", id));
            }
        }
        for disk in elements(root, "DiskSection", "Disk") {
            let id = required(disk, "Disk", "diskId")?;
            let disk = sections.read_disk(disk, id.clone())?;
            if sections.disks.insert(id.clone(), disk).is_some() {
                return Err(same_id("Disk", id));
            }
            sections.order.push(id);
        }
        Ok(sections)
    }

    fn read_disk(&self, node: Node, id: String) -> Result<Disk, AnyDamage> {
        let text = attribute(node, "capacity").unwrap_or_default();
        let units = attribute(node, "capacityAllocationUnits").unwrap_or("byte");
        let capacity = capacity(text, units);
        let backing = match (attribute(node, "parentRef"), attribute(node, "fileRef")) {
            (Some(parent), _) => Backing::Refused(Feature::ParentRef {
                disk: id.clone(),
                parent: parent.to_owned(),
            }),
            (None, Some(file)) => self.file(&format!("the disk {id:?}"), file)?,
            (None, None) => match capacity.filter(|bytes| *bytes <= MAX_BLANK) {
                Some(bytes) => Backing::Blank(bytes),
                None => Backing::Refused(Feature::BlankSize {
                    disk: id.clone(),
                    text: format!("{text} {units}"),
                    max: MAX_BLANK,
                }),
            },
        };
        Ok(Disk {
            id,
            backing,
            capacity,
            raw: attribute(node, "format").is_some_and(is_raw),
        })
    }

    fn file(&self, by: &str, id: &str) -> Result<Backing, AnyDamage> {
        let file = self.files.get(id).cloned();
        file.ok_or_else(|| dangling(by, id, "References"))
    }

    fn disk(&self, id: &str) -> Option<Disk> {
        self.disks.get(id).cloned()
    }

    /// The disk that a drive of the hardware is.
    fn drive(&self, drive: &hardware::Drive) -> Result<Disk, AnyDamage> {
        let by = format!("the hard disk {:?}", drive.name);
        match drive.resource() {
            hardware::Resource::Disk(id) => {
                let disk = self.disk(id);
                disk.ok_or_else(|| dangling(&by, id, "DiskSection"))
            }
            hardware::Resource::File(id) => Ok(Disk {
                id: id.to_owned(),
                backing: self.file(&by, id)?,
                capacity: None,
                raw: false,
            }),
            hardware::Resource::Other(resource) => Ok(Disk {
                id: drive.name.clone(),
                backing: Backing::Refused(Feature::HostResource {
                    item: drive.name.clone(),
                    resource: resource.to_owned(),
                }),
                capacity: None,
                raw: false,
            }),
        }
    }
}

impl Backing {
    fn of_file(node: Node) -> Result<Self, AnyDamage> {
        let href = required(node, "File", "href")?;
        if attribute(node, "chunkSize").is_some() {
            return Ok(Self::Refused(Feature::Chunks(href)));
        }
        let gzip = match attribute(node, "compression") {
            None | Some("" | "identity") => false,
            Some("gzip") => true,
            Some(other) => {
                let other = other.to_owned();
                return Ok(Self::Refused(Feature::Compression(other)));
            }
        };
        let size = match attribute(node, "size") {
            Some(text) => Some(text.trim().parse().map_err(|_| Damage::Number {
                what: "the size of a File",
                value: text.to_owned(),
            })?),
            None => None,
        };
        Ok(Self::File(FileRef { href, gzip, size }))
    }
}

/// Whether a `format` is the plain bytes: what oVirt writes for its raw disks.
fn is_raw(format: &str) -> bool {
    format == "http://en.wikipedia.org/wiki/Byte"
}

/// Bytes of a number in its unit: `byte * 2^30` (DSP0004, "Programmatic Units"), `byte`, or the
/// words of early versions.
pub(super) fn capacity(text: &str, units: &str) -> Option<u64> {
    let units = match units.trim() {
        "KiloBytes" => "byte * 2^10",
        "MegaBytes" => "byte * 2^20",
        "GigaBytes" => "byte * 2^30",
        units => units,
    };
    let mut factors = units.split('*').map(str::trim);
    let unit = factors.next()?;
    if !unit.eq_ignore_ascii_case("byte") && !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    let mut bytes: u64 = text.trim().parse().ok()?;
    for factor in factors {
        let (base, exponent) = factor.split_once('^').unwrap_or((factor, "1"));
        let base: u64 = base.trim().parse().ok()?;
        bytes = bytes.checked_mul(base.checked_pow(exponent.trim().parse().ok()?)?)?;
    }
    Some(bytes)
}

/// The elements of one name in all sections of another.
pub(super) fn elements<'a, 'd: 'a>(
    root: Node<'a, 'd>,
    section: &'static str,
    element: &'static str,
) -> impl Iterator<Item = Node<'a, 'd>> {
    let sections = root.children().filter(move |node| is(*node, section));
    sections.flat_map(move |node| node.children().filter(move |child| is(*child, element)))
}

/// Whether a node is an element of a kind: by its name or, as before OVF 1.0, by its type.
pub(super) fn is(node: Node, kind: &str) -> bool {
    if !node.is_element() {
        return false;
    }
    match node.tag_name().name() {
        "Section" | "Content" => attribute(node, "type").is_some_and(|name| {
            let name = name.rsplit(':').next().unwrap_or_default();
            name.strip_suffix("_Type") == Some(kind)
        }),
        name => name == kind,
    }
}

/// An attribute by its local name.
pub(super) fn attribute<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    let mut attributes = node.attributes();
    let found = attributes.find(|attribute| attribute.name() == name)?;
    Some(found.value())
}

fn required(
    node: Node,
    element: &'static str,
    attribute: &'static str,
) -> Result<String, AnyDamage> {
    let value = self::attribute(node, attribute).filter(|value| !value.is_empty());
    let lacks = Damage::Lacks { element, attribute };
    value.map(str::to_owned).ok_or_else(|| lacks.into())
}

fn same_id(element: &'static str, id: String) -> AnyDamage {
    Damage::SameId { element, id }.into()
}

fn dangling(by: &str, id: &str, section: &'static str) -> AnyDamage {
    let (by, id) = (by.to_owned(), id.to_owned());
    Damage::Dangling { by, id, section }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, units, expected) in [
            ("50", "byte * 2^30", Some(50 << 30)),
            (" 8589934592 ", "byte", Some(8 << 30)),
            ("3", "byte*10^9", Some(3_000_000_000)),
            ("3", "byte * 1024 * 2^10", Some(3 << 20)),
            ("2", "MegaBytes", Some(2 << 20)),
            ("2", "bytes", Some(2)),
            ("2", "bit", None),
            ("2", "byte * x", None),
            ("2", "byte * 2^99", None),
            ("2", "byte * 2^-1", None),
            ("18446744073709551615", "byte * 2", None),
            ("${disk.size}", "byte", None),
            ("", "byte", None),
        ] {
            assert_eq!(capacity(text, units), expected, "{text} {units}");
        }
    }

    #[test]
    fn sections_of_early_versions_are_told_by_their_types() {
        let text = "<Envelope xmlns:xsi='x' xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1/'>\
                    <References><File ovf:href='a' ovf:id='f'/></References>\
                    <Section xsi:type='ovf:DiskSection_Type'><Disk ovf:diskId='d' ovf:fileRef='f' \
                    ovf:format='http://en.wikipedia.org/wiki/Byte'/></Section>\
                    <Content xsi:type='ovf:VirtualSystem_Type'>\
                    <Section xsi:type='ovf:VirtualHardwareSection_Type'><Item>\
                    <InstanceId>7</InstanceId><ResourceType>17</ResourceType>\
                    <HostResource>ovf:/disk/d</HostResource></Item></Section></Content></Envelope>";
        assert!(is_recognised(text.as_bytes()));
        let envelope = Envelope::parse(Path::new("a.ovf"), text.as_bytes()).unwrap();
        let backing = Backing::File(FileRef {
            href: "a".to_owned(),
            gzip: false,
            size: None,
        });
        let disk = Disk {
            id: "d".to_owned(),
            backing,
            capacity: None,
            raw: true,
        };
        assert_eq!((envelope.machines, envelope.disks), (1, vec![disk]));
    }
}
