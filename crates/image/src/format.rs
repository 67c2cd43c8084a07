//! The formats, and telling them apart by content.

use crate::error::{Feature, UnknownFormat};
use crate::file::ImageFile;
use crate::{Error, ovf, qcow2, vhd, vhdx, vmdk};
use ondisk::width::{u64_of, usize_of};
use std::fmt;
use std::path::Path;
use std::str::FromStr;

/// A format that images are opened as.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum Format {
    /// The bytes of the disk, nothing else.
    Raw,
    /// QEMU copy-on-write, versions 2 and 3.
    Qcow2,
    /// VMware virtual disk: a descriptor, or a file with one inside.
    Vmdk,
    /// Virtual hard disk of Virtual PC and Hyper-V, generation 1.
    Vhd,
    /// Hyper-V virtual hard disk, version 2.
    Vhdx,
}

impl Format {
    /// Every format, in the order of declaration.
    pub const ALL: [Self; 5] = [Self::Raw, Self::Qcow2, Self::Vmdk, Self::Vhd, Self::Vhdx];

    /// The name that is used on command lines, and in qcow2 headers but for VHD, which is `vpc` there.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vmdk => "vmdk",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Takes what [`name`](Self::name) gives, and `vpc`: so QEMU calls VHD.
    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        let known = if name == "vpc" { "vhd" } else { name };
        Self::ALL
            .into_iter()
            .find(|format| format.name() == known)
            .ok_or_else(|| UnknownFormat {
                name: name.to_owned(),
            })
    }
}

/// What [`probe`] found out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Probe {
    /// The format to open the file as.
    pub format: Format,
    /// What says so.
    pub evidence: Evidence,
}

/// What the answer of [`probe`] rests on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Evidence {
    /// The content begins as the format prescribes.
    Content,
    /// No other format was recognised, and the name (or that it is a block device) allows raw.
    Name,
}

/// Finds out the format of a file by its content; raw also needs a name that allows it.
///
/// Unknown content is raw in a block device and in a file with the extension `.raw`, `.img`,
/// `.bin`, `.iso` or none.
///
/// # Errors
/// [`Error::Unsupported`] if the content is of a format that is recognised but not read, or an OVA
/// or OVF, in which the disks have the formats ([`crate::container`] tells),
/// [`Error::Unrecognised`] if it is unknown and the name does not allow raw, [`Error::Io`] if the
/// file cannot be read.
pub fn probe(path: &Path) -> Result<Probe, Error> {
    probe_file(&ImageFile::open(path)?)
}

/// A format that is recognised by content but not read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Foreign {
    /// VirtualBox.
    Vdi,
    /// A tar archive that is no OVA.
    Tar,
    /// Compressed with gzip.
    Gzip,
    /// Compressed with xz.
    Xz,
    /// Compressed with zstd.
    Zstd,
    /// Compressed with bzip2.
    Bzip2,
    /// A zip archive.
    Zip,
    /// QEMU enhanced disk.
    Qed,
    /// Parallels.
    Parallels,
    /// Expert witness format (EnCase).
    Ewf,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vdi => "a VirtualBox VDI image",
            Self::Tar => "a tar archive without an OVF descriptor",
            Self::Gzip => "compressed with gzip",
            Self::Xz => "compressed with xz",
            Self::Zstd => "compressed with zstd",
            Self::Bzip2 => "compressed with bzip2",
            Self::Zip => "a zip archive",
            Self::Qed => "a QED image",
            Self::Parallels => "a Parallels image",
            Self::Ewf => "an EWF (EnCase) image",
        })
    }
}

impl Foreign {
    /// What to do about it, for the end of a sentence.
    pub(crate) fn hint(self) -> &'static str {
        match self {
            Self::Gzip => "; expand it first, or pipe it in: zcat FILE | rehost ... -",
            Self::Xz => "; expand it first, or pipe it in: xzcat FILE | rehost ... -",
            Self::Zstd => "; expand it first, or pipe it in: zstdcat FILE | rehost ... -",
            Self::Bzip2 => "; expand it first, or pipe it in: bzcat FILE | rehost ... -",
            Self::Zip => "; unpack it first, or pipe it in: unzip -p FILE | rehost ... -",
            Self::Tar => "; unpack it first",
            _ => "",
        }
    }
}

/// What stands where in a file of a foreign format.
const MAGICS: [(Foreign, usize, &[u8]); 12] = [
    (Foreign::Vdi, 0x40, &[0x7f, 0x10, 0xda, 0xbe]),
    (Foreign::Gzip, 0, &[0x1f, 0x8b, 0x08]),
    (Foreign::Xz, 0, &[0xfd, b'7', b'z', b'X', b'Z', 0]),
    (Foreign::Zstd, 0, &[0x28, 0xb5, 0x2f, 0xfd]),
    (Foreign::Bzip2, 0, b"BZh91AY&SY"),
    (Foreign::Zip, 0, b"PK\x03\x04"),
    (Foreign::Qed, 0, b"QED\0"),
    (Foreign::Parallels, 0, b"WithoutFreeSpace"),
    (Foreign::Parallels, 0, b"WithouFreSpacExt"),
    (Foreign::Ewf, 0, b"EVF\x09\x0d\x0a\xff\0"),
    (Foreign::Ewf, 0, b"LVF\x09\x0d\x0a\xff\0"),
    (Foreign::Ewf, 0, b"EVF2\x0d\x0a\x81\0"),
];

/// Extensions under which unknown content is raw.
const RAW_EXTENSIONS: [&str; 5] = ["", "raw", "img", "bin", "iso"];

/// Bytes looked at from the beginning of a file.
const HEAD: u64 = 4096;

pub(crate) fn probe_file(file: &ImageFile) -> Result<Probe, Error> {
    let mut head = vec![0; usize_of(HEAD.min(file.len()))];
    file.read_exact(0, &mut head)?;
    let known = if head.starts_with(&qcow2::MAGIC) {
        Some(Format::Qcow2)
    } else if vmdk::is_recognised(&head) {
        Some(Format::Vmdk)
    } else if head.starts_with(&vhdx::MAGIC) {
        Some(Format::Vhdx)
    } else if vhd::is_recognised(file, &head)? {
        Some(Format::Vhd)
    } else {
        None
    };
    if let Some(format) = known {
        return Ok(Probe {
            format,
            evidence: Evidence::Content,
        });
    }
    if let Some(container) = ovf::container_of(file, false)? {
        let feature = ovf::Feature::Container(container);
        return Err(Error::unsupported(file.path(), Feature::Ovf(feature)));
    }
    if let Some(foreign) = foreign(&head) {
        return Err(Error::unsupported(file.path(), Feature::Foreign(foreign)));
    }
    raw_by_name(file).map(|()| Probe {
        format: Format::Raw,
        evidence: Evidence::Name,
    })
}

fn foreign(head: &[u8]) -> Option<Foreign> {
    if ovf::is_tar(head) {
        return Some(Foreign::Tar);
    }
    for (foreign, at, magic) in MAGICS {
        if head.get(at..).is_some_and(|rest| rest.starts_with(magic)) {
            return Some(foreign);
        }
    }
    None
}

/// Checks that a file of unknown content may be taken for raw.
fn raw_by_name(file: &ImageFile) -> Result<(), Error> {
    let unrecognised = |reason: String| Error::Unrecognised {
        path: file.path().to_owned(),
        reason,
    };
    if file.is_empty() {
        return Err(unrecognised("the file is empty".to_owned()));
    }
    if file.is_block_device() {
        return Ok(());
    }
    let extension = file
        .path()
        .extension()
        .map(|extension| extension.to_string_lossy().to_ascii_lowercase())
        .unwrap_or_default();
    if RAW_EXTENSIONS.contains(&extension.as_str()) {
        return Ok(());
    }
    Err(unrecognised(format!(
        "it is called .{extension}, but does not begin as any known format; if it holds the plain \
         bytes of a disk, say that its format is raw"
    )))
}

/// All that [`ovf::is_tar`] looks at, the longest of all, is in a head.
const _: () = assert!(HEAD >= u64_of(512));
