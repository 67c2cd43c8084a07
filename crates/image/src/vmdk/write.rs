//! Writing stream-optimised VMDK, which is what OVF packages carry and importers take: compressed
//! grains in the order of the disk, each grain table behind the grains it maps, the directory and
//! the footer that points to it at the end.

use super::header::MAX_DIRECTORY;
use super::raw::{self, GrainMarker, MetadataMarker, SECTOR, SparseExtentHeader};
use crate::Error;
use crate::codec::Packer;
use crate::growth::{self, Growth, Piece, PieceBytes};
use crate::units::Unit;
use crate::write::{Job, Written};
use crate::zeros::is_zero;
use ondisk::width::{u64_of, usize_of};
use std::num::NonZeroU64;
use zerocopy::IntoBytes;

/// Bytes of a grain.
const GRAIN: NonZeroU64 = NonZeroU64::new(64 << 10).unwrap();
/// Entries of a grain table.
const TABLE_LEN: NonZeroU64 = NonZeroU64::new(512).unwrap();
/// Sectors of the embedded descriptor, and sectors before the first grain: what VMware's own
/// streams have.
const DESCRIPTOR_SECTORS: u64 = 20;
const OVERHEAD_SECTORS: u64 = 128;
/// Bytes that a stream may have more than its grain. Deflate stores what it cannot shorten in
/// blocks with five bytes each, of some thousand bytes at least; header and checksum are six more.
const WORST_GROWTH: u64 = 1024;

/// Writes an image into an empty file.
pub(crate) fn write(job: &Job) -> Result<Written, Error> {
    let mut image = Writer::new(job)?;
    growth::write(job, &mut image)?;
    image.finish()
}

/// A compressed grain on its way.
struct PackedGrain {
    /// Its number on the disk.
    number: u64,
    /// Marker, stream, and zeros up to a whole sector.
    bytes: Vec<u8>,
    /// The Adler-32 of its content.
    checksum: u32,
}

/// The tables of an image that grows.
struct Writer<'j> {
    job: &'j Job<'j>,
    size: u64,
    /// Where in the file the next thing goes.
    next: u64,
    directory: Vec<u32>,
    /// The grain table that is being filled, and its number.
    table: Option<(u64, Vec<u32>)>,
    content: ContentHash,
    grains: u64,
}

impl Growth for Writer<'_> {
    type Prepared = Vec<PackedGrain>;

    fn prepare(&self, unit: &Unit, bytes: &[u8]) -> Result<Vec<PackedGrain>, Error> {
        let first = unit.range.start / GRAIN;
        let chunks = bytes.chunks(usize_of(GRAIN.get())).enumerate();
        chunks
            .filter(|(_, chunk)| !is_zero(chunk))
            .map(|(index, chunk)| pack(first.saturating_add(u64_of(index)), chunk))
            .collect()
    }

    fn place(
        &mut self,
        _: &Unit,
        prepared: Vec<PackedGrain>,
        out: &mut Vec<Piece>,
    ) -> Result<(), Error> {
        for grain in prepared {
            let number = grain.number / TABLE_LEN;
            if self.table.as_ref().is_none_or(|(open, _)| *open != number) {
                out.extend(self.close_table()?);
                self.table = Some((number, vec![0; usize_of(TABLE_LEN.get())]));
            }
            let sector = self.sector(self.next)?;
            let within = usize_of(grain.number % TABLE_LEN);
            if let Some(slot) = self.table.as_mut().and_then(|(_, t)| t.get_mut(within)) {
                *slot = sector;
            }
            self.content.add(grain.number);
            self.content.add(u64::from(grain.checksum));
            self.grains = self.grains.saturating_add(1);
            out.push(self.piece(grain.bytes));
        }
        Ok(())
    }
}

impl<'j> Writer<'j> {
    fn new(job: &'j Job<'j>) -> Result<Self, Error> {
        let refuse = |reason: String| Err(Error::Options { reason });
        // The specification asks for a capacity of whole grains, but VMware's own writer rounds to
        // sectors, and so its readers take that. A disk that became longer would have its backup
        // partition table in the wrong place.
        let size = job.device.size().next_multiple_of(SECTOR);
        if size == 0 {
            return refuse("an empty disk cannot be written as VMDK".to_owned());
        }
        let tables = size.div_ceil(GRAIN.saturating_mul(TABLE_LEN).get());
        if tables > MAX_DIRECTORY {
            return refuse(format!("a disk of {size} bytes is too large for VMDK"));
        }
        let mut content = ContentHash::new();
        content.add(size);
        Ok(Self {
            job,
            size,
            next: OVERHEAD_SECTORS.saturating_mul(SECTOR),
            directory: vec![0; usize_of(tables)],
            table: None,
            content,
            grains: 0,
        })
    }

    /// The sector of a place in the file, as tables count.
    fn sector(&self, at: u64) -> Result<u32, Error> {
        u32::try_from(at / SECTOR).map_err(|_| Error::Options {
            reason: "the image would become larger than 2 TiB, which VMDK cannot count".to_owned(),
        })
    }

    /// Gives whole sectors the next place in the file.
    fn piece(&mut self, bytes: Vec<u8>) -> Piece {
        let offset = self.next;
        self.next = offset.saturating_add(u64_of(bytes.len()));
        Piece {
            offset,
            bytes: PieceBytes::Made(bytes),
        }
    }

    /// The grain table that is full, behind its marker.
    fn close_table(&mut self) -> Result<Option<Piece>, Error> {
        let Some((number, table)) = self.table.take() else {
            return Ok(None);
        };
        let bytes = marked(raw::MARKER_GT, &words(&table));
        // Entries point behind the marker.
        let sector = self.sector(self.next.saturating_add(SECTOR))?;
        if let Some(slot) = self.directory.get_mut(usize_of(number)) {
            *slot = sector;
        }
        Ok(Some(self.piece(bytes)))
    }

    fn finish(mut self) -> Result<Written, Error> {
        let mut tail = Vec::new();
        let start = self.next;
        if let Some(Piece {
            bytes: PieceBytes::Made(table),
            ..
        }) = self.close_table()?
        {
            tail.extend(table);
        }
        let gd_offset = (self.next / SECTOR).saturating_add(1);
        tail.extend(marked(raw::MARKER_GD, &words(&self.directory)));
        let footer = self.header(gd_offset);
        tail.extend(marked(raw::MARKER_FOOTER, footer.as_bytes()));
        tail.extend(marker(raw::MARKER_EOS, 0).as_bytes());
        self.job.write_at(&tail, start)?;
        let mut head = self.header(raw::GD_AT_END).as_bytes().to_vec();
        head.extend(self.descriptor().as_bytes());
        self.job.write_at(&head, 0)?;
        Ok(Written {
            virtual_size: self.size,
            data: self.grains.saturating_mul(GRAIN.get()).min(self.size),
        })
    }

    fn header(&self, gd_offset: u64) -> SparseExtentHeader {
        let table_len = u32::try_from(TABLE_LEN.get())
            // It is 512.
            .expect("a small constant");
        SparseExtentHeader {
            magic_number: raw::MAGIC_SPARSE,
            version: 3.into(),
            flags: (raw::VALID_LINE_ENDS | raw::COMPRESSED | raw::MARKERS).into(),
            capacity: (self.size / SECTOR).into(),
            grain_size: (GRAIN.get() / SECTOR).into(),
            descriptor_offset: 1.into(),
            descriptor_size: DESCRIPTOR_SECTORS.into(),
            num_gtes_per_gt: table_len.into(),
            rgd_offset: 0.into(),
            gd_offset: gd_offset.into(),
            over_head: OVERHEAD_SECTORS.into(),
            unclean_shutdown: 0,
            line_ends: raw::LINE_ENDS,
            compress_algorithm: raw::DEFLATE.into(),
            pad: [0; 433],
        }
    }

    /// The text in the file. It names no file, so that the same disk gives the same bytes under any
    /// name: readers look for the extent where they found the text, and ESXi writes this name.
    ///
    /// The tools' version says that the guest looks after them itself, and the hardware version is
    /// one that only ESX 3 still looks at: VMware's own writer has both so.
    fn descriptor(&self) -> String {
        let sectors = self.size / SECTOR;
        let cylinders = sectors
            .div_ceil(HEADS * SECTORS_PER_TRACK)
            .min(MAX_CYLINDERS);
        format!(
            "# Disk DescriptorFile\n\
             version=1\n\
             CID={:08x}\n\
             parentCID=ffffffff\n\
             createType=\"streamOptimized\"\n\
             \n\
             # Extent description\n\
             RW {sectors} SPARSE \"call-me-stream.vmdk\"\n\
             \n\
             # The Disk Data Base\n\
             #DDB\n\
             \n\
             ddb.adapterType = \"lsilogic\"\n\
             ddb.geometry.cylinders = \"{cylinders}\"\n\
             ddb.geometry.heads = \"{HEADS}\"\n\
             ddb.geometry.sectors = \"{SECTORS_PER_TRACK}\"\n\
             ddb.toolsInstallType = \"4\"\n\
             ddb.toolsVersion = \"2147483647\"\n\
             ddb.virtualHWVersion = \"4\"\n",
            self.content.cid()
        )
    }
}

/// The geometry that LSI Logic's adapters show for all but small disks.
const HEADS: u64 = 255;
const SECTORS_PER_TRACK: u64 = 63;
const MAX_CYLINDERS: u64 = 65_535;

/// Compresses a grain. The end of the disk is filled up with zeros: readers may ask for whole
/// grains.
fn pack(number: u64, chunk: &[u8]) -> Result<PackedGrain, Error> {
    let grain = usize_of(GRAIN.get());
    let mut whole = chunk;
    let filled_up;
    if chunk.len() < grain {
        let mut copy = chunk.to_vec();
        copy.resize(grain, 0);
        filled_up = copy;
        whole = &filled_up;
    }
    let failed = |reason: String| Error::Options { reason };
    let stream = Packer::Zlib
        .pack(whole, usize_of(GRAIN.get().saturating_add(WORST_GROWTH)))
        .map_err(failed)?
        .ok_or_else(|| failed(format!("grain {number} grows when it is compressed")))?;
    let size = u32::try_from(stream.len()).map_err(|e| failed(e.to_string()))?;
    let marker = GrainMarker {
        lba: (number.saturating_mul(GRAIN.get()) / SECTOR).into(),
        size: size.into(),
    };
    // What a zlib stream ends with, whatever compressed it.
    let checksum = stream.last_chunk().copied().map_or(0, u32::from_be_bytes);
    let mut bytes = marker.as_bytes().to_vec();
    bytes.extend(stream);
    bytes.resize(bytes.len().next_multiple_of(usize_of(SECTOR)), 0);
    Ok(PackedGrain {
        number,
        bytes,
        checksum,
    })
}

fn words(table: &[u32]) -> Vec<u8> {
    table.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn marker(marker_type: u32, sectors: u64) -> MetadataMarker {
    MetadataMarker {
        num_sectors: sectors.into(),
        size: 0.into(),
        marker_type: marker_type.into(),
        pad: [0; 496],
    }
}

/// Metadata in whole sectors behind its marker.
fn marked(marker_type: u32, metadata: &[u8]) -> Vec<u8> {
    let sectors = u64_of(metadata.len()).div_ceil(SECTOR);
    let mut bytes = marker(marker_type, sectors).as_bytes().to_vec();
    bytes.extend(metadata);
    bytes.resize(bytes.len().next_multiple_of(usize_of(SECTOR)), 0);
    bytes
}

/// FNV-1a over the size of a disk and the place and checksum of each grain: the content id of the
/// same disk is always the same, whatever compressed it.
#[derive(Clone, Copy, Debug)]
struct ContentHash(u32);

impl ContentHash {
    fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn add(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }

    fn cid(self) -> u32 {
        match self.0 {
            // These say that there is no content, that there is no parent, and that nothing was
            // written yet.
            0 | 0xffff_ffff | 0xffff_fffe => 1,
            cid => cid,
        }
    }
}
