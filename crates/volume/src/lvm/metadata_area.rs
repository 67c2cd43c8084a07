//! A copy of a volume group's metadata: a header, and a ring buffer of texts behind it.

use super::Damage;
use super::checksum::checksum;
use super::label::Area;
use block::BlockRead;
use ondisk::width::{u64_of, usize_of};
use ondisk::{Cursor, Short, cap};

/// `MDA_HEADER_SIZE` of lib/format_text/layout.h in LVM2.
const HEADER: u64 = 512;
/// `FMTT_MAGIC`.
const MAGIC: &[u8; 16] = b" LVM2 x[5A%r0N*>";
/// `RAW_LOCN_IGNORED`: this copy is not kept up to date.
const IGNORED: u32 = 1;
/// Text of a volume group of ten thousand logical volumes.
const TEXT_CAP: u64 = 8 << 20;

/// Reads the text that a metadata area holds; none if it holds none or is not kept up to date.
/// `left` are the bytes of text that may still be read, of all areas.
///
/// # Errors
/// The outer one is what reading the device meets; the inner one says how the area is damaged.
pub(super) fn read(
    device: &dyn BlockRead,
    area: Area,
    left: &mut u64,
) -> Result<Result<Option<Vec<u8>>, Damage>, block::Error> {
    let at = area.offset;
    let leaves = Damage::AreaLeavesDevice {
        at,
        size: area.size,
        device: device.size(),
    };
    let end = at.checked_add(area.size);
    if area.size <= HEADER || end.is_none_or(|end| end > device.size()) {
        return Ok(Err(leaves));
    }
    let mut sector = [0; usize_of(HEADER)];
    device.read_at(at, &mut sector)?;
    let place = match Header::parse(&sector, area) {
        Ok(Some(place)) => place,
        Ok(None) => return Ok(Ok(None)),
        Err(damage) => return Ok(Err(damage)),
    };
    match left.checked_sub(u64_of(place.size)) {
        Some(rest) => *left = rest,
        None => return Ok(Err(Damage::TooMuchText { at })),
    }
    let mut text = vec![0; place.size];
    let (first, second) = text.split_at_mut(place.before_wrap);
    device.read_at(at.saturating_add(place.offset), first)?;
    device.read_at(at.saturating_add(HEADER), second)?;
    if checksum(&[&text]) != place.checksum {
        return Ok(Err(Damage::TextChecksum {
            at: at.saturating_add(place.offset),
        }));
    }
    Ok(Ok(Some(text)))
}

/// Where the text lies.
struct Header {
    /// From the start of the area.
    offset: u64,
    size: usize,
    /// Bytes before the end of the area; the rest follows the header.
    before_wrap: usize,
    checksum: u32,
}

impl Header {
    /// `struct mda_header` and its first `struct raw_locn`: the one that is committed.
    fn parse(sector: &[u8], area: Area) -> Result<Option<Self>, Damage> {
        let at = area.offset;
        let short = |_: Short| Damage::AreaFields { at };
        let mut cursor = Cursor::new(sector);
        let checksum_xl = cursor.u32_le().map_err(short)?;
        let summed = cursor.rest();
        if cursor.take(16).map_err(short)? != MAGIC {
            return Err(Damage::AreaMagic { at });
        }
        if checksum(&[summed]) != checksum_xl {
            return Err(Damage::AreaChecksum { at });
        }
        let version = cursor.u32_le().map_err(short)?;
        let (start, size) = (
            cursor.u64_le().map_err(short)?,
            cursor.u64_le().map_err(short)?,
        );
        if version != 1 || start != at || size != area.size {
            return Err(Damage::AreaFields { at });
        }
        let (offset, len) = (
            cursor.u64_le().map_err(short)?,
            cursor.u64_le().map_err(short)?,
        );
        let (checksum, flags) = (
            cursor.u32_le().map_err(short)?,
            cursor.u32_le().map_err(short)?,
        );
        if offset == 0 || flags & IGNORED != 0 {
            return Ok(None);
        }
        let ring = size.saturating_sub(HEADER);
        if offset < HEADER || offset >= size || len > ring {
            return Err(Damage::TextLeavesArea {
                at,
                offset,
                len,
                size,
            });
        }
        let Ok(size) = cap::length("raw_locn.size", len, TEXT_CAP) else {
            return Err(Damage::TextTooLong { at, len });
        };
        let before_wrap = usize_of(area.size.saturating_sub(offset)).min(size);
        Ok(Some(Self {
            offset,
            size,
            before_wrap,
            checksum,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::Memory;

    const AREA: Area = Area {
        offset: 4096,
        size: 2048,
    };

    /// An area whose text of 16 bytes starts at `offset`.
    fn area(offset: u64) -> Vec<u8> {
        let text = b"text of a group\0";
        let mut bytes = vec![0; 8192];
        for (index, byte) in text.iter().enumerate() {
            let mut at = usize_of(offset) + index;
            if at >= 2048 {
                at = at - 2048 + 512;
            }
            bytes[4096 + at] = *byte;
        }
        let header = &mut bytes[4096..4608];
        header[4..20].copy_from_slice(MAGIC);
        header[20..24].copy_from_slice(&1_u32.to_le_bytes());
        header[24..32].copy_from_slice(&4096_u64.to_le_bytes());
        header[32..40].copy_from_slice(&2048_u64.to_le_bytes());
        header[40..48].copy_from_slice(&offset.to_le_bytes());
        header[48..56].copy_from_slice(&16_u64.to_le_bytes());
        header[56..60].copy_from_slice(&checksum(&[text]).to_le_bytes());
        seal(header);
        bytes
    }

    fn seal(header: &mut [u8]) {
        let crc = checksum(&[&header[4..]]);
        header[..4].copy_from_slice(&crc.to_le_bytes());
    }

    fn text(bytes: Vec<u8>) -> Result<Option<Vec<u8>>, Damage> {
        read(&Memory::new(bytes), AREA, &mut 16).unwrap()
    }

    #[test]
    fn the_ring_wraps_behind_the_header() {
        for offset in [512, 1024, 2048 - 16, 2048 - 15, 2048 - 1] {
            let read = text(area(offset)).unwrap().unwrap();
            assert_eq!(read, b"text of a group\0", "{offset}");
        }
    }

    #[test]
    fn each_damage_is_told() {
        let at = 4096;
        let changed = |place: usize, value: &[u8]| {
            let mut bytes = area(512);
            bytes[4096 + place..][..value.len()].copy_from_slice(value);
            seal(&mut bytes[4096..4608]);
            text(bytes)
        };
        assert_eq!(changed(40, &[0; 8]), Ok(None));
        assert_eq!(changed(60, &[1]), Ok(None));
        assert_eq!(changed(5, b"X"), Err(Damage::AreaMagic { at }));
        assert_eq!(changed(20, &[2]), Err(Damage::AreaFields { at }));
        assert_eq!(changed(24, &[1]), Err(Damage::AreaFields { at }));
        assert_eq!(changed(600, b"X"), Ok(area_text()));
        assert_eq!(
            changed(513, b"X"),
            Err(Damage::TextChecksum { at: at + 512 })
        );
        for (offset, len) in [(511_u64, 16_u64), (2048, 16), (512, 1537)] {
            let mut fields = offset.to_le_bytes().to_vec();
            fields.extend(len.to_le_bytes());
            let told = changed(40, &fields);
            assert!(matches!(told, Err(Damage::TextLeavesArea { .. })));
        }
        let mut bytes = area(512);
        bytes[4096 + 200] = 1;
        assert_eq!(text(bytes), Err(Damage::AreaChecksum { at }));
        let told = read(&Memory::new(vec![0; 5000]), AREA, &mut 16).unwrap();
        assert!(matches!(told, Err(Damage::AreaLeavesDevice { .. })));
        let told = read(&Memory::new(area(512)), AREA, &mut 15).unwrap();
        assert_eq!(told, Err(Damage::TooMuchText { at }));
    }

    fn area_text() -> Option<Vec<u8>> {
        Some(b"text of a group\0".to_vec())
    }
}
