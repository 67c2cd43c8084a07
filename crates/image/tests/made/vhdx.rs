//! VHDX images made field by field, after \[MS-VHDX\]: what no tool here writes, and what is to be
//! damaged.
#![expect(
    clippy::as_conversions,
    reason = "offsets in these small images fit every width"
)]

use std::ops::Range;

pub(crate) const MIB: usize = 1 << 20;

/// Where things are in an image of [`Craft`].
pub(crate) const HEADERS: [usize; 2] = [64 << 10, 128 << 10];
pub(crate) const REGIONS: [usize; 2] = [192 << 10, 256 << 10];
pub(crate) const LOG: Range<usize> = MIB..2 * MIB;
pub(crate) const METADATA: usize = 2 * MIB;
pub(crate) const ITEMS: usize = METADATA + (64 << 10);
pub(crate) const BAT: usize = 3 * MIB;

pub(crate) const LOG_GUID: [u8; 16] = *b"the log's own id";
pub(crate) const DATA_GUID: [u8; 16] = *b"the content's id";

/// States of payload blocks.
pub(crate) const FULLY_PRESENT: u64 = 6;
pub(crate) const PARTIALLY_PRESENT: u64 = 7;

/// An image in memory. The BAT has room for the blocks of one chunk.
pub(crate) struct Craft {
    pub(crate) bytes: Vec<u8>,
    block: usize,
    chunk_ratio: usize,
    items: usize,
}

impl Craft {
    /// A dynamic image without blocks.
    pub(crate) fn new(size: u64, block: usize, sector: u32) -> Self {
        let mut craft = Self {
            bytes: vec![0; 4 * MIB],
            block,
            chunk_ratio: (sector as usize * (1 << 23)) / block,
            items: 0,
        };
        craft.put(0, b"vhdxfile");
        craft.put(8, b"c\0r\0a\0f\0t\0");
        for (number, at) in HEADERS.into_iter().enumerate() {
            craft.put(at, b"head");
            craft.put(at + 8, &(number as u64 + 7).to_le_bytes());
            craft.put(at + 16, b"the file's own..");
            craft.put(at + 32, &DATA_GUID);
            craft.put(at + 66, &1_u16.to_le_bytes());
            craft.put(at + 68, &(LOG.len() as u32).to_le_bytes());
            craft.put(at + 72, &(LOG.start as u64).to_le_bytes());
        }
        for at in REGIONS {
            craft.put(at, b"regi");
            craft.put(at + 8, &2_u32.to_le_bytes());
            let regions = [
                ("2dc27766f62342009d64115e9bfd4a08", BAT),
                ("8b7ca20647904b9ab8fe575f050f886e", METADATA),
            ];
            for (number, (guid, place)) in regions.into_iter().enumerate() {
                let at = at + 16 + number * 32;
                craft.put(at, &guid_bytes(guid));
                craft.put(at + 16, &(place as u64).to_le_bytes());
                craft.put(at + 24, &(MIB as u32).to_le_bytes());
                craft.put(at + 28, &1_u32.to_le_bytes());
            }
        }
        craft.put(METADATA, b"metadata");
        let parameters = [block as u32, 0].map(u32::to_le_bytes).concat();
        craft.item("caa16737fa364d43b3b633f0aa44e76b", 4, &parameters);
        craft.item("2fa54224cd1b4876b2115dbed83bf4b8", 6, &size.to_le_bytes());
        craft.item("8141bf1da96f4709ba47f233a8faab5f", 6, &sector.to_le_bytes());
        craft.item(
            "cda348c7445d44719cc9e9885251c556",
            6,
            &4096_u32.to_le_bytes(),
        );
        craft.item("beca12abb2e6452393efc309e000c746", 6, b"the disk's own..");
        craft.seal();
        craft
    }

    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Makes every checksum of headers and region tables right.
    pub(crate) fn seal(&mut self) {
        for at in HEADERS {
            seal(&mut self.bytes[at..at + 4096]);
        }
        for at in REGIONS {
            seal(&mut self.bytes[at..at + (64 << 10)]);
        }
    }

    /// Adds a metadata item; each has 256 bytes of room but the last one.
    pub(crate) fn item(&mut self, guid: &str, flags: u32, content: &[u8]) {
        let offset = (64 << 10) + self.items * 256;
        let entry = METADATA + 32 + self.items * 32;
        self.put(entry, &guid_bytes(guid));
        let numbers = [offset as u32, content.len() as u32, flags];
        self.put(entry + 16, &numbers.map(u32::to_le_bytes).concat());
        self.put(METADATA + offset, content);
        self.items += 1;
        self.put(METADATA + 10, &(self.items as u16).to_le_bytes());
    }

    /// Position of the BAT entry of a payload block.
    pub(crate) fn entry(&self, block: usize) -> usize {
        BAT + (block + block / self.chunk_ratio) * 8
    }

    /// Position of the BAT entry of the first chunk's sector bitmap.
    pub(crate) fn bitmap_entry(&self) -> usize {
        BAT + self.chunk_ratio * 8
    }

    /// Says that a block has a state, and where it is.
    pub(crate) fn set(&mut self, block: usize, state: u64, place: usize) {
        let at = self.entry(block);
        self.put(at, &(place as u64 | state).to_le_bytes());
    }

    /// Appends a block.
    pub(crate) fn block(&mut self, block: usize, state: u64, content: &[u8]) -> usize {
        let place = self.bytes.len();
        self.set(block, state, place);
        self.bytes.extend(content);
        self.bytes.resize(place + self.block, 0);
        place
    }

    /// Appends a sector bitmap of the first chunk.
    pub(crate) fn bitmap(&mut self, sectors: impl Fn(usize) -> bool) -> usize {
        let place = self.bytes.len();
        let at = self.bitmap_entry();
        self.put(at, &(place as u64 | 6).to_le_bytes());
        let bits = (0..MIB).map(|n| {
            (0..8)
                .map(|bit| u8::from(sectors(n * 8 + bit)) << bit)
                .sum()
        });
        self.bytes.extend(bits.collect::<Vec<u8>>());
        place
    }

    /// Makes it a differencing image.
    pub(crate) fn parent(&mut self, pairs: &[(&str, &str)]) {
        self.put(ITEMS + 4, &2_u32.to_le_bytes());
        let locator = locator("b04aefb7d19e4a81b78925b8e9445913", pairs);
        self.item("a8d35f2db30b454dabf7d3d84834ab0c", 4, &locator);
    }

    /// Says that the log has to be replayed.
    pub(crate) fn dirty(&mut self) {
        for at in HEADERS {
            self.put(at + 48, &LOG_GUID);
        }
        self.seal();
    }

    /// Writes an entry into the log, around its end if need be; where the next one goes.
    pub(crate) fn log(&mut self, at: usize, entry: &Entry) -> usize {
        let bytes = entry.bytes();
        for (number, sector) in bytes.chunks(4096).enumerate() {
            let place = LOG.start + (at + number * 4096) % LOG.len();
            self.put(place, sector);
        }
        (at + bytes.len()) % LOG.len()
    }
}

/// An entry of the log.
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) tail: usize,
    pub(crate) flushed: u64,
    pub(crate) last: u64,
    pub(crate) changes: Vec<Change>,
    /// Empty sectors at its end.
    pub(crate) padding: usize,
}

#[derive(Clone)]
pub(crate) enum Change {
    Sector(u64, Vec<u8>),
    Zero(u64, u64),
}

impl Entry {
    pub(crate) fn new(
        sequence: u64,
        tail: usize,
        len: usize,
        changes: impl Into<Vec<Change>>,
    ) -> Self {
        Self {
            sequence,
            tail,
            flushed: len as u64,
            last: len as u64,
            changes: changes.into(),
            padding: 0,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut entry = b"loge\0\0\0\0".to_vec();
        let count = self.changes.len() as u32;
        entry.extend([0, self.tail as u32].map(u32::to_le_bytes).concat());
        entry.extend(self.sequence.to_le_bytes());
        entry.extend([count, 0].map(u32::to_le_bytes).concat());
        entry.extend(LOG_GUID);
        entry.extend([self.flushed, self.last].map(u64::to_le_bytes).concat());
        let mut sectors = Vec::new();
        for change in &self.changes {
            match change {
                Change::Sector(at, content) => {
                    entry.extend(b"desc");
                    entry.extend(&content[4092..]);
                    entry.extend(&content[..8]);
                    entry.extend([*at, self.sequence].map(u64::to_le_bytes).concat());
                    sectors.extend(b"data");
                    sectors.extend(((self.sequence >> 32) as u32).to_le_bytes());
                    sectors.extend(&content[8..4092]);
                    sectors.extend((self.sequence as u32).to_le_bytes());
                }
                Change::Zero(at, len) => {
                    entry.extend(b"zero\0\0\0\0");
                    entry.extend([*len, *at, self.sequence].map(u64::to_le_bytes).concat());
                }
            }
        }
        entry.resize(entry.len().next_multiple_of(4096), 0);
        entry.extend(sectors);
        entry.resize(entry.len() + self.padding * 4096, 0);
        let len = entry.len() as u32;
        entry[8..12].copy_from_slice(&len.to_le_bytes());
        seal(&mut entry);
        entry
    }
}

/// Makes the checksum of a structure right.
pub(crate) fn seal(bytes: &mut [u8]) {
    bytes[4..8].fill(0);
    let sum = crc32c::crc32c(bytes);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// A GUID of 32 digits as it stands on disk.
pub(crate) fn guid_bytes(digits: &str) -> [u8; 16] {
    digits.parse::<uuid::Uuid>().unwrap().to_bytes_le()
}

/// A GUID on disk as it stands in a parent locator.
pub(crate) fn braced(guid: [u8; 16]) -> String {
    format!("{{{}}}", uuid::Uuid::from_bytes_le(guid))
}

pub(crate) fn locator(kind: &str, pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut item = guid_bytes(kind).to_vec();
    item.extend([0, pairs.len() as u16].map(u16::to_le_bytes).concat());
    let utf16 =
        |text: &str| -> Vec<u8> { text.encode_utf16().flat_map(u16::to_le_bytes).collect() };
    let (mut texts, start) = (Vec::new(), 20 + pairs.len() * 12);
    for (key, value) in pairs {
        let (key, value) = (utf16(key), utf16(value));
        let at = start + texts.len();
        item.extend(
            [at as u32, (at + key.len()) as u32]
                .map(u32::to_le_bytes)
                .concat(),
        );
        let lengths = [key.len() as u16, value.len() as u16];
        item.extend(lengths.map(u16::to_le_bytes).concat());
        texts.extend([key, value].concat());
    }
    item.extend(texts);
    item
}
