//! The label of a physical volume: who it is, and where its metadata lies.

use super::checksum::checksum;
use super::{Damage, Uuid};
use block::BlockRead;
use ondisk::width::{u64_of, usize_of, usize_of_u32};
use ondisk::{Cursor, Short};

/// What the label of a physical volume says: `struct label_header`, `struct pv_header` and the
/// lists behind it, lib/label/label.h and lib/format_text/layout.h in LVM2.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Label {
    /// Identifier of the physical volume.
    pub uuid: Uuid,
    /// Size in bytes that it was made for.
    pub device_size: u64,
    /// Where copies of the metadata lie.
    pub(super) metadata_areas: Vec<Area>,
}

/// `struct disk_locn`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Area {
    /// First byte on the device.
    pub(super) offset: u64,
    /// Bytes.
    pub(super) size: u64,
}

const SECTOR: u64 = 512;
/// `LABEL_SCAN_SECTORS`.
const SCAN_SECTORS: u64 = 4;
/// A label has one sector, which ends far before this many areas; the lists end by themselves.
const MAX_AREAS: usize = 32;

impl Label {
    /// Finds the label in the first four sectors.
    ///
    /// None if there is none. A label whose checksum is wrong is passed by as LVM2 does, and is the
    /// damage only if no sound one follows.
    ///
    /// # Errors
    /// The outer one is what reading the device meets; the inner one says how the label is damaged.
    pub fn read(device: &dyn BlockRead) -> Result<Result<Option<Self>, Damage>, block::Error> {
        let sectors = (device.size() / SECTOR).min(SCAN_SECTORS);
        let mut start = vec![0; usize_of(sectors.saturating_mul(SECTOR))];
        device.read_at(0, &mut start)?;
        let mut damage = None;
        for (number, sector) in start.chunks_exact(usize_of(SECTOR)).enumerate() {
            if !sector.starts_with(b"LABELONE") {
                continue;
            }
            match Self::parse(u64_of(number), sector) {
                Ok(Some(label)) => return Ok(Ok(Some(label))),
                Ok(None) => {}
                Err(bad) => drop(damage.get_or_insert(bad)),
            }
        }
        Ok(damage.map_or(Ok(None), Err))
    }

    /// Parses a sector; none if it is a label of something else than LVM2.
    fn parse(number: u64, sector: &[u8]) -> Result<Option<Self>, Damage> {
        let at = number.saturating_mul(SECTOR);
        let short = |_: Short| Damage::LabelFields { at };
        let mut cursor = Cursor::new(sector);
        cursor.skip(8).map_err(short)?;
        let sector_xl = cursor.u64_le().map_err(short)?;
        let crc_xl = cursor.u32_le().map_err(short)?;
        let summed = cursor.rest();
        let offset_xl = cursor.u32_le().map_err(short)?;
        if cursor.take(8).map_err(short)? != b"LVM2 001" {
            return Ok(None);
        }
        if checksum(&[summed]) != crc_xl {
            return Err(Damage::LabelChecksum { at });
        }
        if sector_xl != number {
            return Err(Damage::LabelFields { at });
        }
        let mut cursor = Cursor::new(sector);
        cursor.skip(usize_of_u32(offset_xl)).map_err(short)?;
        let uuid = Uuid::parse_bytes(&cursor.take_array().map_err(short)?)
            .ok_or(Damage::LabelFields { at })?;
        let device_size = cursor.u64_le().map_err(short)?;
        // The data areas are where the metadata says, too.
        areas(&mut cursor).map_err(short)?;
        let metadata_areas = areas(&mut cursor).map_err(short)?;
        Ok(Some(Self {
            uuid,
            device_size,
            metadata_areas,
        }))
    }
}

/// A list of areas, which an entry of zeros ends.
fn areas(cursor: &mut Cursor<'_>) -> Result<Vec<Area>, Short> {
    let mut areas = Vec::new();
    loop {
        let (offset, size) = (cursor.u64_le()?, cursor.u64_le()?);
        if offset == 0 || areas.len() >= MAX_AREAS {
            return Ok(areas);
        }
        areas.push(Area { offset, size });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Memory;

    const ID: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyzABCDEF";

    /// A label in this sector, as pvcreate writes it.
    fn labelled(sector: u64) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        let at = usize_of(sector) * 512;
        let label = &mut bytes[at..at + 512];
        label[..8].copy_from_slice(b"LABELONE");
        label[8..16].copy_from_slice(&sector.to_le_bytes());
        label[20..24].copy_from_slice(&32_u32.to_le_bytes());
        label[24..32].copy_from_slice(b"LVM2 001");
        label[32..64].copy_from_slice(ID);
        label[64..72].copy_from_slice(&(64_u64 << 20).to_le_bytes());
        label[72..80].copy_from_slice(&(1_u64 << 20).to_le_bytes());
        label[104..112].copy_from_slice(&4096_u64.to_le_bytes());
        label[112..120].copy_from_slice(&1_044_480_u64.to_le_bytes());
        seal(label);
        bytes
    }

    fn seal(label: &mut [u8]) {
        let crc = checksum(&[&label[20..]]);
        label[16..20].copy_from_slice(&crc.to_le_bytes());
    }

    fn read(bytes: Vec<u8>) -> Result<Option<Label>, Damage> {
        Label::read(&Memory::new(bytes)).unwrap()
    }

    #[test]
    fn a_label_is_found_in_any_of_the_first_four_sectors() {
        for sector in 0..4 {
            let label = read(labelled(sector)).unwrap().unwrap();
            assert_eq!(
                label.uuid.to_string(),
                "abcdef-ghij-klmn-opqr-stuv-wxyz-ABCDEF"
            );
            assert_eq!(label.device_size, 64 << 20);
            let area = Area {
                offset: 4096,
                size: 1_044_480,
            };
            assert_eq!(label.metadata_areas, [area]);
        }
        assert_eq!(read(labelled(4)), Ok(None));
        assert_eq!(read(vec![0; 600]), Ok(None));
        assert_eq!(read(Vec::new()), Ok(None));
    }

    #[test]
    fn each_damage_is_told() {
        let damaged = |at: usize, byte: u8, sealed: bool| {
            let mut bytes = labelled(1);
            bytes[512 + at] ^= byte;
            if sealed {
                seal(&mut bytes[512..1024]);
            }
            read(bytes)
        };
        let fields = Err(Damage::LabelFields { at: 512 });
        assert_eq!(
            damaged(500, 1, false),
            Err(Damage::LabelChecksum { at: 512 })
        );
        assert_eq!(damaged(8, 1, true), fields);
        assert_eq!(damaged(21, 2, true), fields);
        assert_eq!(damaged(35, 0x80, true), fields);
        // Another kind of label is none of ours.
        assert_eq!(damaged(28, 1, true), Ok(None));
        // A sound one behind a damaged one is used.
        let mut bytes = labelled(3);
        bytes[..512].copy_from_slice(&labelled(0)[..512]);
        bytes[100] ^= 1;
        assert!(read(bytes).unwrap().is_some());
    }
}
