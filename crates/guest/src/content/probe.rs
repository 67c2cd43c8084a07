//! Telling what a volume holds.

use super::{Content, OtherFormat};
use block::BlockRead;
use ondisk::width::{u64_of, usize_of};
use uuid::Uuid;

/// Tells what a volume holds. Members of RAID and LVM come first: what lies in them may look like
/// a file system of its own from outside.
pub(crate) fn probe(volume: &dyn BlockRead) -> Content {
    let known = Probe::new(volume).and_then(|probe| {
        let member = probe.md_member()?;
        let member = match member {
            None => probe.firmware_member()?,
            found => found,
        };
        let container = member.or_else(|| probe.container());
        Ok(container.or_else(|| probe.other()))
    });
    match known {
        Ok(Some(content)) => content,
        Ok(None) => file_system(volume),
        Err(error) => Content::Unreadable(chain(&error)),
    }
}

/// Asks the drivers.
fn file_system(volume: &dyn BlockRead) -> Content {
    match ext4::probe(volume) {
        Ok(Some(info)) => return Content::FileSystem(info),
        Ok(None) => {}
        Err(error) => return Content::Unreadable(chain(&error)),
    }
    match fat::probe(volume) {
        Ok(Some(info)) => Content::FileSystem(info),
        Ok(None) => Content::Unknown,
        Err(error) => Content::Unreadable(chain(&error)),
    }
}

/// An error with all its sources, as one text.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// The start of a volume, and the volume for what lies elsewhere.
struct Probe<'v> {
    volume: &'v dyn BlockRead,
    start: Vec<u8>,
}

impl<'v> Probe<'v> {
    fn new(volume: &'v dyn BlockRead) -> Result<Self, block::Error> {
        let mut start = vec![0; usize_of(volume.size().min(START))];
        volume.read_at(0, &mut start)?;
        Ok(Self { volume, start })
    }

    /// Bytes from the start of the volume; none if it ends before.
    fn bytes(&self, at: usize, len: usize) -> Option<&[u8]> {
        self.start.get(at..at.checked_add(len)?)
    }

    fn has(&self, at: usize, magic: &[u8]) -> bool {
        self.bytes(at, magic.len()) == Some(magic)
    }

    fn uuid(&self, at: usize) -> Option<String> {
        Uuid::from_slice(self.bytes(at, 16)?).ok().map(spell)
    }

    /// Text padded with zeros or spaces; none if it is empty.
    fn text(&self, at: usize, len: usize) -> Option<String> {
        text(self.bytes(at, len)?)
    }

    /// Layers that hold other volumes, and swap.
    fn container(&self) -> Option<Content> {
        if self.has(0, b"LUKS\xba\xbe") {
            let version = self.bytes(6, 2)?;
            let version = u16::from_be_bytes([version[0], version[1]]);
            return Some(Content::Luks {
                version,
                // LUKS1: `uuid` and LUKS2: `uuid` stand at the same place, as text.
                uuid: self.text(168, 40),
                label: (version == 2).then(|| self.text(24, 48)).flatten(),
            });
        }
        for sector in 0..4 {
            let label = sector * 512;
            if self.has(label, b"LABELONE") && self.has(label + 24, b"LVM2 001") {
                return Some(Content::LvmPhysical {
                    uuid: self.lvm_uuid(label),
                });
            }
        }
        self.swap()
    }

    /// `pv_header.pv_uuid` of lib/format_text/layout.h in LVM2, hyphened as its tools print it.
    fn lvm_uuid(&self, label: usize) -> Option<String> {
        let offset = self.bytes(label + 20, 4)?;
        let offset = u32::from_le_bytes([offset[0], offset[1], offset[2], offset[3]]);
        let at = label.checked_add(usize::try_from(offset).ok()?)?;
        let id = self
            .text(at, 32)
            .filter(|id| id.len() == 32 && id.is_ascii())?;
        let mut groups = Vec::new();
        let mut rest = id.as_str();
        for len in [6, 4, 4, 4, 4, 4, 6] {
            let (group, tail) = rest.split_at(len);
            groups.push(group);
            rest = tail;
        }
        Some(groups.join("-"))
    }

    /// `union swap_header` of include/linux/swap.h: the signature ends the first page, whose size
    /// is that of the machine; `struct swsusp_header` of kernel/power/swap.c puts its own there.
    fn swap(&self) -> Option<Content> {
        for page in [4096, 8192, 16384, 65536_usize] {
            let signature = self.bytes(page - 10, 10)?;
            let hibernated = HIBERNATED.iter().any(|magic| signature.starts_with(magic))
                || self.has(0, &TUXONICE);
            if hibernated || matches!(signature, b"SWAPSPACE2" | b"SWAP-SPACE") {
                return Some(Content::Swap {
                    uuid: self.uuid(1036).filter(|uuid| *uuid != spell(Uuid::nil())),
                    label: self.text(1052, 16),
                    hibernated,
                });
            }
        }
        None
    }

    /// Members of a Linux software RAID: `struct mdp_superblock_1` and `mdp_superblock_s` of
    /// include/uapi/linux/raid/md_p.h.
    fn md_member(&self) -> Result<Option<Content>, block::Error> {
        let size = self.volume.size();
        let sectors = size / 512;
        let at_end = (sectors.saturating_sub(16) & !7).saturating_mul(512);
        for (metadata, at) in [("1.1", 0), ("1.2", 4096), ("1.0", at_end)] {
            let Some(header) = self.at(at, 64)? else {
                continue;
            };
            if header.starts_with(&MD_MAGIC) && header[4..8] == [1, 0, 0, 0] {
                return Ok(Some(Content::MdMember {
                    metadata: metadata.to_owned(),
                    uuid: Uuid::from_slice(&header[16..32]).ok().map(spell),
                    label: text(&header[32..64]),
                }));
            }
        }
        let at = (size & !0xffff).saturating_sub(0x1_0000);
        let Some(header) = self.at(at, 64)? else {
            return Ok(None);
        };
        if !header.starts_with(&MD_MAGIC) || header[4..8] != [0, 0, 0, 0] {
            return Ok(None);
        }
        // Four numbers of the machine's byte order, of which the tools print each as a number.
        let mut id = [0; 16];
        for (word, from) in [(0, 20), (4, 52), (8, 56), (12, 60)] {
            for byte in 0..4 {
                id[word + byte] = header[from + 3 - byte];
            }
        }
        Ok(Some(Content::MdMember {
            metadata: "0.90".to_owned(),
            uuid: Some(spell(Uuid::from_bytes(id))),
            label: None,
        }))
    }

    /// Members of a RAID that firmware made: `DDF_MAGIC` in the last sector, and Intel's signature
    /// in the one before (super-ddf.c and super-intel.c of mdadm).
    fn firmware_member(&self) -> Result<Option<Content>, block::Error> {
        let sectors = self.volume.size() / 512;
        let other = |format| {
            Some(Content::Other {
                format,
                uuid: None,
                label: None,
            })
        };
        for (from_end, magic, format) in [
            (1, &b"\xde\x11\xde\x11"[..], OtherFormat::DdfRaid),
            (2, b"Intel Raid ISM Cfg Sig. ", OtherFormat::IntelRaid),
        ] {
            let Some(sector) = sectors.checked_sub(from_end) else {
                continue;
            };
            let start = self.at(sector.saturating_mul(512), magic.len())?;
            if start.as_deref() == Some(magic) {
                return Ok(other(format));
            }
        }
        Ok(None)
    }

    /// Bytes from anywhere; none if the volume ends before.
    fn at(&self, at: u64, len: usize) -> Result<Option<Vec<u8>>, block::Error> {
        if at
            .checked_add(u64_of(len))
            .is_none_or(|end| end > self.volume.size())
        {
            return Ok(None);
        }
        let mut bytes = vec![0; len];
        self.volume.read_at(at, &mut bytes)?;
        Ok(Some(bytes))
    }

    /// Formats that are known by name only.
    fn other(&self) -> Option<Content> {
        let other = |format, uuid, label| {
            Some(Content::Other {
                format,
                uuid,
                label,
            })
        };
        if self.has(0, b"XFSB") {
            return match xfs::probe(self.volume) {
                Ok(Some(info)) => Some(Content::FileSystem(info)),
                // With a realtime device, say: that is XFS, but nothing that is opened.
                Ok(None) | Err(xfs::Error::Unsupported(_)) => {
                    other(OtherFormat::Xfs, self.uuid(32), self.text(108, 12))
                }
                Err(error) => Some(Content::Unreadable(chain(&error))),
            };
        }
        if self.has(0x1_0040, b"_BHRfS_M") {
            let label = self.text(0x1_012b, 256);
            return other(OtherFormat::Btrfs, self.uuid(0x1_0020), label);
        }
        if self.has(3, b"NTFS    ") {
            let serial = self.bytes(0x48, 8).map(|serial| {
                let digits = serial.iter().rev().map(|byte| format!("{byte:02X}"));
                digits.collect()
            });
            return other(OtherFormat::Ntfs, serial, None);
        }
        if self.has(3, b"EXFAT   ") {
            let serial = self
                .bytes(100, 4)
                .map(|s| format!("{:02X}{:02X}-{:02X}{:02X}", s[3], s[2], s[1], s[0]));
            return other(OtherFormat::Exfat, serial, None);
        }
        if self.has(3, b"-FVE-FS-") {
            return other(OtherFormat::BitLocker, None, None);
        }
        if self.has(1024, &[0x10, 0x20, 0xf5, 0xf2]) {
            return other(OtherFormat::F2fs, self.uuid(1024 + 108), None);
        }
        // bcachefs has the same magic; its second number is no sector of its own.
        if self.has(4096 + 24, &BCACHE_MAGIC) && self.has(4096 + 8, &8_u64.to_le_bytes()) {
            return other(OtherFormat::Bcache, self.uuid(4096 + 40), None);
        }
        if self.has(0x8000, b"JFS1") {
            let label = self.text(0x8000 + 152, 16);
            return other(OtherFormat::Jfs, self.uuid(0x8000 + 136), label);
        }
        let reiser = [&b"ReIsErFs"[..], b"ReIsEr2Fs", b"ReIsEr3Fs"];
        if reiser.iter().any(|magic| self.has(0x1_0034, magic)) {
            let label = self.text(0x1_0064, 16);
            return other(OtherFormat::Reiserfs, self.uuid(0x1_0054), label);
        }
        if self.has(0, b"hsqs") {
            return other(OtherFormat::Squashfs, None, None);
        }
        // A disc may be UDF too, and then it is that for Linux: ECMA-167 3/9.1.
        let udf = (0x8001..usize_of(START))
            .step_by(2048)
            .any(|at| self.has(at, b"NSR0"));
        if self.has(0x8001, b"CD001") && !udf {
            return other(OtherFormat::Iso9660, None, self.text(0x8028, 32));
        }
        None
    }
}

fn spell(uuid: Uuid) -> String {
    uuid.hyphenated().to_string()
}

/// Text padded with zeros or spaces; none if it is empty.
fn text(bytes: &[u8]) -> Option<String> {
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = String::from_utf8_lossy(text.trim_ascii_end()).into_owned();
    (!text.is_empty()).then_some(text)
}

/// Signatures of what hibernates: the kernel's own (`HIBERNATE_SIG`), uswsusp's, and older ones.
const HIBERNATED: [&[u8]; 4] = [b"S1SUSPEND", b"S2SUSPEND", b"ULSUSPEND", b"LINHIB0001"];
/// TuxOnIce keeps the signature of swap and puts its own in front.
const TUXONICE: [u8; 8] = [0xed, 0xc3, 0x02, 0xe9, 0x98, 0x56, 0xe5, 0x0c];
/// `MD_SB_MAGIC`.
const MD_MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
/// `bcache_magic` of include/uapi/linux/bcache.h.
const BCACHE_MAGIC: [u8; 16] = [
    0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca, 0x82, 0x65, 0xf5, 0x7f, 0x48, 0xba, 0x6d, 0x81,
];
/// The farthest signature from the start is that of btrfs and ReiserFS, behind 64 KiB.
const START: u64 = 0x1_1000;
