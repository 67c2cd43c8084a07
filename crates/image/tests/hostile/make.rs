//! Sound images, to be damaged.

use block::Memory;
use image::{Compression, Qcow2Options, WriteFormat, WriteOptions};
use ondisk::width::u64_of;
use ondisk::{Interrupt, NoProgress};
use std::path::Path;

/// Bytes of the disks here.
pub(crate) const SIZE: usize = 2 << 20;

/// A disk of text, with zeros in the middle.
pub(crate) fn disk() -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..SIZE / 8)
        .flat_map(|n| format!("{:8}", n * 7 % 99_991).into_bytes())
        .collect();
    bytes[SIZE / 4..SIZE / 2].fill(0);
    bytes
}

/// A qcow2 image of [`disk`].
pub(crate) fn qcow2(dir: &Path, compression: Compression) -> Vec<u8> {
    written(&dir.join("made.qcow2"), disk(), 65_536, compression)
}

/// A qcow2 image of another disk.
pub(crate) fn qcow2_of(path: &Path, disk: Vec<u8>, cluster_size: u32) -> Vec<u8> {
    written(path, disk, cluster_size, Compression::None)
}

fn written(path: &Path, disk: Vec<u8>, cluster_size: u32, compression: Compression) -> Vec<u8> {
    let options = WriteOptions {
        format: WriteFormat::Qcow2(Qcow2Options {
            cluster_size,
            compression,
        }),
        overwrite: true,
        ..WriteOptions::default()
    };
    let device = Memory::new(disk);
    image::write(&device, path, &options, &NoProgress, &Interrupt::default()).unwrap();
    std::fs::read(path).unwrap()
}

/// Where things are in an image of [`vmdk`].
pub(crate) const VMDK_DESCRIPTOR: usize = 512;
pub(crate) const VMDK_DIRECTORY: usize = 21 * 512;
pub(crate) const VMDK_TABLE: usize = 22 * 512;
const VMDK_GRAINS: usize = 26 * 512;
const GRAIN: usize = 65_536;

/// A monolithic sparse VMDK of [`disk`], or one with compressed grains behind markers.
pub(crate) fn vmdk(compressed: bool) -> Vec<u8> {
    let disk = disk();
    let mut image = vec![0; VMDK_GRAINS];
    let flags: u32 = if compressed { 0x3_0001 } else { 1 };
    let mut header = Vec::new();
    header.extend(b"KDMV");
    header.extend(1_u32.to_le_bytes());
    header.extend(flags.to_le_bytes());
    for sectors in [u64_of(SIZE) / 512, 128, 1, 20] {
        header.extend(sectors.to_le_bytes());
    }
    header.extend(512_u32.to_le_bytes());
    for sectors in [0_u64, 21, 26] {
        header.extend(sectors.to_le_bytes());
    }
    header.extend(b"\0\n \r\n");
    header.extend(u16::from(compressed).to_le_bytes());
    image[..header.len()].copy_from_slice(&header);
    let text = format!(
        "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n\
         createType=\"monolithicSparse\"\nRW {} SPARSE \"disk.vmdk\"\n",
        SIZE / 512
    );
    image[VMDK_DESCRIPTOR..][..text.len()].copy_from_slice(text.as_bytes());
    image[VMDK_DIRECTORY..][..4].copy_from_slice(&22_u32.to_le_bytes());
    for (number, grain) in disk.chunks(GRAIN).enumerate() {
        if grain.iter().all(|b| *b == 0) {
            continue;
        }
        let sector = u32::try_from(image.len() / 512).unwrap();
        image[VMDK_TABLE + number * 4..][..4].copy_from_slice(&sector.to_le_bytes());
        if compressed {
            let stream = zlib(grain);
            image.extend((u64_of(number) * 128).to_le_bytes());
            image.extend(u32::try_from(stream.len()).unwrap().to_le_bytes());
            image.extend(stream);
        } else {
            image.extend(grain);
        }
        image.resize(image.len().next_multiple_of(512), 0);
    }
    image
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes of the blocks in an image of [`vhd`], and where things are in one.
pub(crate) const VHD_BLOCK: usize = 65_536;
pub(crate) const VHD_HEADER: usize = 512;
pub(crate) const VHD_TABLE: usize = 1536;
pub(crate) const VHD_LOCATOR: usize = 2048;
/// The bitmap of the first block; its data follows.
pub(crate) const VHD_BLOCKS: usize = 4096 - 512;
/// The unique id of every image of [`vhd`].
pub(crate) const VHD_ID: [u8; 16] = *b"sixteen letters!";

/// What a VHD image holds of its disk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Vhd {
    Fixed,
    Dynamic,
    /// Over `base.vhd`, for which half of the sectors of each block are left.
    Differencing,
}

/// A VHD of [`disk`], or one that is that over such an image.
pub(crate) fn vhd(kind: Vhd) -> Vec<u8> {
    let disk = disk();
    let mut footer = b"conectix\0\0\0\x02\0\x01\0\0".to_vec();
    let data_offset = if kind == Vhd::Fixed {
        u64::MAX
    } else {
        u64_of(VHD_HEADER)
    };
    footer.extend(data_offset.to_be_bytes());
    footer.extend(b"\0\0\0\0test\0\x01\0\0Wi2k");
    footer.extend(u64_of(SIZE).to_be_bytes());
    footer.extend(u64_of(SIZE).to_be_bytes());
    footer.extend([0, 60, 4, 17, 0, 0, 0]);
    footer.push(match kind {
        Vhd::Fixed => 2,
        Vhd::Dynamic => 3,
        Vhd::Differencing => 4,
    });
    footer.extend([0; 4]);
    footer.extend(VHD_ID);
    footer.resize(512, 0);
    if kind == Vhd::Fixed {
        let mut image = [disk, footer].concat();
        seal_vhd(&mut image);
        return image;
    }
    let mut image = footer.clone();
    image.extend(b"cxsparse");
    image.extend([0xff; 8]);
    image.extend(u64_of(VHD_TABLE).to_be_bytes());
    let blocks = SIZE / VHD_BLOCK;
    let block = u32::try_from(VHD_BLOCK).unwrap();
    for number in [0x1_0000, u32::try_from(blocks).unwrap(), block, 0] {
        image.extend(number.to_be_bytes());
    }
    let name: Vec<u8> = ".\\base.vhd"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    if kind == Vhd::Differencing {
        image.extend(VHD_ID);
        image.resize(VHD_HEADER + 576, 0);
        image.extend(b"W2ru\0\0\x02\0");
        image.extend(u32::try_from(name.len()).unwrap().to_be_bytes());
        image.extend([0; 4]);
        image.extend(u64_of(VHD_LOCATOR).to_be_bytes());
    }
    image.resize(VHD_TABLE, 0);
    image.resize(VHD_TABLE + 4 * blocks, 0xff);
    image.resize(VHD_LOCATOR, 0);
    image.extend(name);
    image.resize(VHD_BLOCKS, 0);
    for (number, block) in disk.chunks(VHD_BLOCK).enumerate() {
        if block.iter().all(|b| *b == 0) {
            continue;
        }
        let sector = u32::try_from(image.len() / 512).unwrap();
        image[VHD_TABLE + number * 4..][..4].copy_from_slice(&sector.to_be_bytes());
        let mine = if kind == Vhd::Dynamic { 0xff } else { 0xc5 };
        image.extend([mine; VHD_BLOCK / 512 / 8]);
        image.resize(image.len().next_multiple_of(512), 0);
        image.extend(block);
    }
    image.extend(footer);
    seal_vhd(&mut image);
    image
}

/// Makes the checksums of both footers and of the header right.
pub(crate) fn seal_vhd(image: &mut [u8]) {
    let end = image.len() - 512;
    let mut places = vec![(end, 512, 64)];
    if image.starts_with(b"conectix") {
        places.extend([(0, 512, 64), (VHD_HEADER, 1024, 36)]);
    }
    for (start, len, checksum) in places {
        let structure = &mut image[start..start + len];
        structure[checksum..checksum + 4].fill(0);
        let sum = !structure.iter().map(|b| u32::from(*b)).sum::<u32>();
        structure[checksum..checksum + 4].copy_from_slice(&sum.to_be_bytes());
    }
}
