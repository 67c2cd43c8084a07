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
    let path = dir.join("made.qcow2");
    let options = WriteOptions {
        format: WriteFormat::Qcow2(Qcow2Options {
            cluster_size: 65_536,
            compression,
        }),
        overwrite: true,
        ..WriteOptions::default()
    };
    let device = Memory::new(disk());
    image::write(&device, &path, &options, &NoProgress, &Interrupt::default()).unwrap();
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
