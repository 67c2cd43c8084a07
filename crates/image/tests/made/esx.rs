//! Extents of ESX and ESXi, which no tool here writes. Both kinds are laid out as QEMU reads them.

#![expect(
    clippy::as_conversions,
    reason = "offsets in these small images fit every width"
)]

/// Bytes of a sector.
const SECTOR: usize = 512;

/// A grain of an extent.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Grain<'g> {
    /// seSparse only.
    Zero,
    /// seSparse only.
    Unmapped,
    Data(&'g [u8]),
}

/// Where things are in an extent.
pub(crate) struct Made {
    pub(crate) bytes: Vec<u8>,
    /// Bytes of the grain directory.
    pub(crate) directory: std::ops::Range<usize>,
    /// Byte of the first grain table that was made.
    pub(crate) table: usize,
}

/// The grains of a disk that are not zero, with their numbers.
pub(crate) fn grains(disk: &[u8], grain: usize) -> Vec<(usize, Grain<'_>)> {
    let chunks = disk.chunks(grain).enumerate();
    chunks
        .filter(|(_, chunk)| chunk.iter().any(|b| *b != 0))
        .map(|(number, chunk)| (number, Grain::Data(chunk)))
        .collect()
}

/// A COWD file of `sectors`, with the grains in the given order.
pub(crate) fn cowd(sectors: u32, grain_sectors: u32, grains: &[(usize, Grain)]) -> Made {
    const TABLE: usize = 4096;
    let span = grain_sectors * 4096;
    let entries = sectors.div_ceil(span);
    let mut bytes = b"COWD".to_vec();
    for word in [1, 3, sectors, grain_sectors, 4, entries, 0] {
        bytes.extend(u32::to_le_bytes(word));
    }
    let directory = 4 * SECTOR;
    bytes.resize(directory + entries as usize * 4, 0);
    pad(&mut bytes);
    let mut first = None;
    for (number, grain) in grains {
        let at = directory + number / TABLE * 4;
        let table = match word(&bytes, at) {
            0 => {
                let table = bytes.len();
                bytes.resize(table + TABLE * 4, 0);
                set(&mut bytes, at, &sector(table));
                table
            }
            sector => sector * SECTOR,
        };
        first.get_or_insert(table);
        let Grain::Data(content) = grain else {
            panic!("COWD has no zero grains");
        };
        let place = sector(bytes.len());
        set(&mut bytes, table + number % TABLE * 4, &place);
        bytes.extend(*content);
        bytes.resize(
            bytes
                .len()
                .next_multiple_of(grain_sectors as usize * SECTOR),
            0,
        );
    }
    let end = sector(bytes.len());
    set(&mut bytes, 28, &end);
    Made {
        bytes,
        directory: directory..directory + entries as usize * 4,
        table: first.unwrap_or_default(),
    }
}

/// A seSparse extent of `sectors`. The number of the first grain in the file is `first`.
pub(crate) fn sesparse(sectors: u64, first: u64, grains: &[(usize, Grain)]) -> Made {
    const TABLE: usize = 4096;
    const GRAIN: u64 = 4096;
    let entries = sectors.div_ceil(8 * 4096);
    let directory_sectors = entries.div_ceil(64);
    let tables_at = 4 + directory_sectors;
    // Tables are numbered from the end of the directory's order, so that the two differ.
    let tables = entries * 64;
    let grains_at = (tables_at + tables).next_multiple_of(8);
    let mut header = vec![0xcafe_babe, 0x2_0000_0001, sectors, 8, 64, 0, 0, 0, 0, 0];
    // Volatile header, journal header, journal; directory, tables; bitmap, back map; grains.
    header.extend([1, 1, 2, 1, 3, 1, 4, directory_sectors, tables_at, tables]);
    header.extend([0, 0, 0, 0, grains_at, (first + grains.len() as u64) * 8]);
    let mut bytes: Vec<u8> = header.iter().flat_map(|n: &u64| n.to_le_bytes()).collect();
    pad(&mut bytes);
    bytes.extend(
        [0xcafe_cafe_u64, 0, 1, 0]
            .iter()
            .flat_map(|n| n.to_le_bytes()),
    );
    bytes.resize((grains_at + first * 8) as usize * SECTOR, 0);
    let (mut next, mut first_table) = (first, None);
    for (number, grain) in grains {
        let index = number / TABLE;
        let table_number = entries - 1 - index as u64;
        let table = (tables_at + table_number * 64) as usize * SECTOR;
        first_table.get_or_insert(table);
        let at = 4 * SECTOR + index * 8;
        set(&mut bytes, at, &((1 << 60) | table_number).to_le_bytes());
        let entry = match grain {
            Grain::Unmapped => 1 << 60,
            Grain::Zero => 2 << 60,
            Grain::Data(content) => {
                let entry = (3 << 60) | ((next % 4096) << 48) | (next / 4096);
                bytes.extend(*content);
                bytes.resize((grains_at * 512 + (next + 1) * GRAIN) as usize, 0);
                next += 1;
                entry
            }
        };
        let at = table + number % TABLE * 8;
        set(&mut bytes, at, &u64::to_le_bytes(entry));
    }
    Made {
        bytes,
        directory: 4 * SECTOR..4 * SECTOR + entries as usize * 8,
        table: first_table.unwrap_or_default(),
    }
}

/// The descriptor of one extent, over a parent if there is one.
pub(crate) fn descriptor(create_type: &str, line: &str, parent: Option<(u32, &str)>) -> String {
    let (cid, hint) = match parent {
        Some((cid, name)) => (cid, format!("parentFileNameHint=\"{name}\"\n")),
        None => (0xffff_ffff, String::new()),
    };
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID={cid:08x}\n\
         createType=\"{create_type}\"\n{hint}# Extent description\n{line}\n\
         # The Disk Data Base\n#DDB\n\nddb.virtualHWVersion = \"8\"\n"
    )
}

fn sector(at: usize) -> [u8; 4] {
    u32::try_from(at / SECTOR).unwrap().to_le_bytes()
}

fn word(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn set(bytes: &mut [u8], at: usize, new: &[u8]) {
    bytes[at..at + new.len()].copy_from_slice(new);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
}
