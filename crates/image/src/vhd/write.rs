//! Writing VHD images, fixed and dynamic.

use super::content::Content;
use super::geometry;
use super::header::bitmap_len;
use super::raw::{self, FOOTER, HEADER, SECTOR};
use crate::Error;
use crate::growth::{self, Growth, Piece, PieceBytes};
use crate::raw::write_sparse;
use crate::units::Unit;
use crate::write::{Job, Written};
use crate::zeros::data_runs;
use ondisk::width::{u64_of, usize_of};
use std::num::NonZeroU64;
use std::ops::Range;
use zerocopy::{FromZeros, IntoBytes};

/// How a VHD image is written.
///
/// The disk has exactly the device's size, to whole sectors, for readers that go by
/// `current_size`: Hyper-V, Azure, VirtualBox and QEMU do; only Virtual PC shows less of it. Azure
/// takes fixed disks alone, and of whole MiB: such a device has to be that large itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct VhdOptions {
    /// What the image holds of the disk.
    pub subformat: VhdSubformat,
}

/// What a VHD image holds of its disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum VhdSubformat {
    /// All of it, with holes in the file where it is zero.
    Fixed,
    /// The blocks of 2 MiB that are not zero.
    #[default]
    Dynamic,
}

/// The largest disk: the specification says 2040 GiB, and QEMU opens no larger one.
const MAX_SIZE: u64 = 2040 << 30;
/// The block size of nearly all dynamic disks; others are hardly tested in readers.
const BLOCK: NonZeroU64 = NonZeroU64::new(2 << 20).unwrap();
/// Bytes that are written or left out together: a page of most file systems.
const PIECE: usize = 4096;
/// Where the data of blocks begins: at pages, as Hyper-V puts it since 2012.
const ALIGN: u64 = 4096;
/// Hyper-V's name: readers that know neither ours nor a later one go by `current_size` for it.
const CREATOR: [u8; 4] = *b"win ";
const CREATOR_VERSION: u32 = 0xa_0000;
const CREATOR_HOST_OS: [u8; 4] = *b"Wi2k";

/// Writes an image into an empty file.
pub(crate) fn write(job: &Job, options: VhdOptions) -> Result<Written, Error> {
    let size = job
        .device
        .size()
        .checked_next_multiple_of(SECTOR)
        .filter(|size| *size <= MAX_SIZE)
        .ok_or_else(|| Error::Options {
            reason: format!(
                "a disk of {} bytes is too large for VHD, which ends at {MAX_SIZE} (2040 GiB): \
                 use vhdx",
                job.device.size()
            ),
        })?;
    match options.subformat {
        VhdSubformat::Fixed => write_fixed(job, size),
        VhdSubformat::Dynamic => write_dynamic(job, size),
    }
}

fn write_fixed(job: &Job, size: u64) -> Result<Written, Error> {
    let len = size.saturating_add(FOOTER);
    job.file.set_len(len).map_err(|e| job.failed(e))?;
    let content = Content::default();
    let data = write_sparse(job, |at, bytes| content.add(at, bytes))?;
    let footer = footer(size, raw::FIXED, raw::NOTHING, content.unique_id(size));
    job.write_at(footer.as_bytes(), size)?;
    Ok(Written {
        virtual_size: size,
        data,
    })
}

fn write_dynamic(job: &Job, size: u64) -> Result<Written, Error> {
    let mut image = Writer::new(size);
    growth::write(job, &mut image)?;
    image.finish(job)
}

/// The table of an image that grows: copy of the footer, header, table, blocks, footer.
struct Writer {
    size: u64,
    table: Vec<u32>,
    /// Where the next block goes.
    end: u64,
    blocks: u64,
    content: Content,
}

impl Writer {
    fn new(size: u64) -> Self {
        let table = vec![raw::UNUSED; usize_of(size.div_ceil(BLOCK.get()))];
        let table_len = u64_of(table.len()).saturating_mul(4);
        Self {
            size,
            end: TABLE.saturating_add(table_len.next_multiple_of(SECTOR)),
            table,
            blocks: 0,
            content: Content::default(),
        }
    }

    /// Where the data of a block is in the file; a new one also gets a bitmap.
    fn block(&mut self, index: u64, out: &mut Vec<Piece>) -> u64 {
        let bitmap = bitmap_len(BLOCK).get();
        let end = &mut self.end;
        // The table has an entry for every block of the disk.
        let Some(entry) = self.table.get_mut(usize_of(index)) else {
            return *end;
        };
        if *entry == raw::UNUSED {
            let data = end.saturating_add(bitmap).next_multiple_of(ALIGN);
            let at = data.saturating_sub(bitmap);
            // The largest disk with all its bitmaps and gaps ends below 2^32 sectors.
            *entry = u32::try_from(at / SECTOR).unwrap_or(raw::UNUSED);
            *end = data.saturating_add(BLOCK.get());
            self.blocks = self.blocks.saturating_add(1);
            // Every sector of the block is valid: what is not data is zero.
            out.push(Piece {
                offset: at,
                bytes: PieceBytes::Made(vec![0xff; usize_of(bitmap)]),
            });
        }
        u64::from(*entry)
            .saturating_mul(SECTOR)
            .saturating_add(bitmap)
    }

    fn finish(self, job: &Job) -> Result<Written, Error> {
        let entries = u32::try_from(self.table.len()).unwrap_or(u32::MAX);
        let id = self.content.unique_id(self.size);
        let footer = footer(self.size, raw::DYNAMIC, FOOTER, id);
        let mut table: Vec<u8> = self
            .table
            .iter()
            .flat_map(|entry| entry.to_be_bytes())
            .collect();
        table.resize(table.len().next_multiple_of(usize_of(SECTOR)), 0xff);
        let len = self.end.saturating_add(FOOTER);
        job.file.set_len(len).map_err(|e| job.failed(e))?;
        job.write_at(footer.as_bytes(), 0)?;
        job.write_at(header(entries).as_bytes(), FOOTER)?;
        job.write_at(&table, TABLE)?;
        job.write_at(footer.as_bytes(), self.end)?;
        Ok(Written {
            virtual_size: self.size,
            data: self.blocks.saturating_mul(BLOCK.get()).min(self.size),
        })
    }
}

impl Growth for Writer {
    /// Where the unit is not zero.
    type Prepared = Vec<Range<usize>>;

    fn prepare(&self, unit: &Unit, bytes: &[u8]) -> Result<Self::Prepared, Error> {
        let runs = data_runs(bytes, PIECE);
        for run in &runs {
            let at = unit.range.start.saturating_add(u64_of(run.start));
            self.content.add(at, &bytes[run.clone()]);
        }
        Ok(runs)
    }

    fn place(
        &mut self,
        unit: &Unit,
        prepared: Self::Prepared,
        out: &mut Vec<Piece>,
    ) -> Result<(), Error> {
        for run in prepared {
            // A unit is a block, or several where the source has larger ones.
            let mut start = run.start;
            while start < run.end {
                let guest = unit.range.start.saturating_add(u64_of(start));
                let within = guest % BLOCK;
                let left = usize_of(BLOCK.get().saturating_sub(within));
                let end = run.end.min(start.saturating_add(left));
                let data = self.block(guest / BLOCK, out);
                out.push(Piece {
                    offset: data.saturating_add(within),
                    bytes: PieceBytes::OfUnit(start..end),
                });
                start = end;
            }
        }
        Ok(())
    }
}

/// Where the table is: behind the copy of the footer and the header.
const TABLE: u64 = FOOTER + HEADER;

fn footer(size: u64, disk_type: u32, data_offset: u64, unique_id: [u8; 16]) -> raw::Footer {
    let mut footer = raw::Footer {
        cookie: raw::COOKIE,
        features: raw::FEATURES.into(),
        file_format_version: raw::VERSION.into(),
        data_offset: data_offset.into(),
        // The first second of the year 2000: one content gives one file.
        time_stamp: 0.into(),
        creator_application: CREATOR,
        creator_version: CREATOR_VERSION.into(),
        creator_host_os: CREATOR_HOST_OS,
        original_size: size.into(),
        current_size: size.into(),
        disk_geometry: geometry::of_size(size),
        disk_type: disk_type.into(),
        checksum: 0.into(),
        unique_id,
        saved_state: 0,
        reserved: [0; 427],
    };
    footer.checksum = footer.sum().into();
    footer
}

fn header(entries: u32) -> raw::DynamicHeader {
    let mut header = raw::DynamicHeader::new_zeroed();
    header.cookie = raw::HEADER_COOKIE;
    header.data_offset = raw::NOTHING.into();
    header.table_offset = TABLE.into();
    header.header_version = raw::VERSION.into();
    header.max_table_entries = entries.into();
    // Blocks of 2 MiB.
    header.block_size = u32::try_from(BLOCK.get()).unwrap_or(0).into();
    header.checksum = header.sum().into();
    header
}
