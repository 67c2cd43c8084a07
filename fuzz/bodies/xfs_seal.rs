//! Puts right sums into damaged XFS metadata, so that damage reaches the parsers behind them.

use crc32c::{crc32c, crc32c_append};

/// Sets the sum of every structure of version 5 that `touched` bytes lie in.
pub fn seal(bytes: &mut [u8], touched: impl IntoIterator<Item = usize>) {
    let power = |at: usize, log: u8, most: u8| -> usize {
        // Sizes are themselves damaged at times.
        1 << bytes.get(at).copied().unwrap_or(log).clamp(8, most)
    };
    let (block, sector, inode) = (power(124, 12, 16), power(125, 9, 15), power(126, 9, 11));
    let blocks_of_dir = 1 << bytes.get(192).copied().unwrap_or(0).min(6);
    for at in touched {
        for (unit, kinds) in [(sector, HEADERS), (inode, INODES), (block, BLOCKS)] {
            seal_at(bytes, at / unit * unit, unit, kinds);
        }
        // Blocks of directories may be of several blocks of the file system, from any block on.
        for back in 0..blocks_of_dir {
            if let Some(start) = (at / block * block).checked_sub(back * block) {
                seal_at(bytes, start, block * blocks_of_dir, DIRECTORIES);
            }
        }
    }
}

/// Sets the sums of the log records that `touched` bytes lie in: each begins with a header of a
/// sector, or several, and says its length. Those that wrap around the end stay as they are.
pub fn seal_log(bytes: &mut [u8], touched: impl IntoIterator<Item = usize>) {
    const SECTOR: usize = 512;
    let number = |bytes: &[u8], at: usize| -> usize {
        let field = bytes.get(at..at + 4).and_then(|field| field.first_chunk());
        field.map_or(0, |field| {
            usize::try_from(u32::from_be_bytes(*field)).unwrap_or(0)
        })
    };
    for at in touched {
        let start = (0..600).find_map(|back| {
            let start = (at / SECTOR).checked_sub(back)? * SECTOR;
            bytes
                .get(start..)?
                .starts_with(b"\xfe\xed\xba\xbe")
                .then_some(start)
        });
        let Some(start) = start else {
            continue;
        };
        let headers = match number(bytes, start + 8) & 2 {
            0 => 1,
            _ => number(bytes, start + 320).div_ceil(32_768).clamp(1, 8),
        };
        let body = start + headers * SECTOR;
        let end = body.saturating_add(number(bytes, start + 12));
        if bytes.get(body..end).is_none() {
            continue;
        }
        // `struct xlog_rec_header` with its padding, then extended headers up to theirs, then data.
        let mut sum = crc32c(&bytes[start..start + 32]);
        sum = crc32c_append(sum, &[0; 4]);
        sum = crc32c_append(sum, &bytes[start + 36..start + 328]);
        for header in 1..headers {
            let at = start + header * SECTOR;
            sum = crc32c_append(sum, &bytes[at..at + 260]);
        }
        sum = crc32c_append(sum, &bytes[body..end]);
        bytes[start + 32..start + 36].copy_from_slice(&sum.to_le_bytes());
    }
}

/// A magic number, where it stands, and where the sum of what it begins stands.
type Kind = (&'static [u8], usize, usize);

const HEADERS: &[Kind] = &[
    (b"XFSB", 0, 224),
    (b"XAGF", 0, 216),
    (b"XAGI", 0, 312),
    (b"XAFL", 0, 32),
];
const INODES: &[Kind] = &[(b"IN", 0, 100)];
const BLOCKS: &[Kind] = &[
    (b"AB3B", 0, 52),
    (b"AB3C", 0, 52),
    (b"IAB3", 0, 52),
    (b"FIB3", 0, 52),
    (b"RMB3", 0, 52),
    (b"R3FC", 0, 52),
    (b"BMA3", 0, 64),
    (b"XSLM", 0, 12),
    (b"XARM", 0, 12),
    // Nodes and leaves of attributes.
    (b"\x3e\xbe", 8, 12),
    (b"\x3b\xee", 8, 12),
];
const DIRECTORIES: &[Kind] = &[
    (b"XDB3", 0, 4),
    (b"XDD3", 0, 4),
    (b"XDF3", 0, 4),
    (b"\x3d\xf1", 8, 12),
    (b"\x3d\xff", 8, 12),
    (b"\x3e\xbe", 8, 12),
];

fn seal_at(bytes: &mut [u8], start: usize, len: usize, kinds: &[Kind]) {
    let end = start.saturating_add(len).min(bytes.len());
    let Some(structure) = bytes.get_mut(start..end) else {
        return;
    };
    for (magic, at, sum) in kinds {
        let is_it = structure
            .get(*at..)
            .is_some_and(|rest| rest.starts_with(magic));
        // Version 4 has the same inodes without sums.
        let has_sum = *magic != b"IN" || structure.get(4) == Some(&3);
        if is_it && has_sum && structure.len() >= sum + 4 {
            let before = crc32c(&structure[..*sum]);
            let new = crc32c_append(crc32c_append(before, &[0; 4]), &structure[sum + 4..]);
            structure[*sum..sum + 4].copy_from_slice(&new.to_le_bytes());
        }
    }
}
