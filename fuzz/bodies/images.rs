//! Images of disks.

use super::disk;
use block::BlockRead;
use ondisk::Interrupt;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::Path;

/// qcow2 images: open, extents, reads, dirty bitmaps.
pub fn qcow2(data: &[u8]) {
    read_image(data, image::Format::Qcow2);
}

/// VMDK images, sparse and stream-optimised, descriptors, and extents of ESX, which get a
/// descriptor; the input is [sparse](disk).
pub fn vmdk(data: &[u8]) {
    let Some(file) = disk(data) else {
        return;
    };
    read_image(&file, image::Format::Vmdk);
    if let Some(text) = vmdk_descriptor(&file) {
        let dir = tempfile::tempdir().expect("a place for the image");
        let path = dir.path().join("image");
        std::fs::write(&path, text).expect("room for the descriptor");
        std::fs::write(dir.path().join("extent"), &file).expect("room for the extent");
        read_path(&path, image::Format::Vmdk);
    }
}

/// VHD images; the input is [sparse](disk), and the file ends with its last sector that is not zero.
///
/// Few mutations would come past the checksums, so they are made right for a second try. A parent
/// for differencing disks is there, `base.vhd`: see [`vhd_parent`].
pub fn vhd(data: &[u8]) {
    let Some(mut file) = disk(data) else {
        return;
    };
    let sectors = file.as_chunks::<512>().0;
    let last = sectors.iter().rposition(|sector| *sector != [0; 512]);
    file.truncate(last.map_or(0, |last| last + 1) * 512);
    let parent = vhd_parent();
    let beside = [("base.vhd", &parent[..])];
    read_image_beside(&beside, &file, image::Format::Vhd);
    seal_vhd(&mut file);
    read_image_beside(&beside, &file, image::Format::Vhd);
}

/// A fixed VHD of 64 KiB with the unique id `sixteen letters!`.
fn vhd_parent() -> Vec<u8> {
    let size = (64_u64 << 10).to_be_bytes();
    let mut file = vec![7; 64 << 10];
    file.extend(b"conectix\0\0\0\x02\0\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff");
    file.extend(b"\0\0\0\0test\0\x01\0\0Wi2k");
    file.extend([size, size].concat());
    file.extend(b"\0\x01\x04\x11\0\0\0\x02\0\0\0\0sixteen letters!");
    file.resize((64 << 10) + 512, 0);
    seal_vhd(&mut file);
    file
}

/// Makes the checksums of footers and header right where they usually are.
fn seal_vhd(file: &mut [u8]) {
    let places = [
        (0, 512, 64, &b"conectix"[..]),
        (file.len().saturating_sub(512), 512, 64, b"conectix"),
        (512, 1024, 36, b"cxsparse"),
    ];
    for (start, len, checksum, cookie) in places {
        if let Some(structure) = file.get_mut(start..start + len)
            && structure.starts_with(cookie)
        {
            structure[checksum..checksum + 4].fill(0);
            let sum = !structure.iter().map(|byte| u32::from(*byte)).sum::<u32>();
            structure[checksum..checksum + 4].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

/// The descriptor of an extent of ESX, which is called `extent`: it takes all that the header has.
pub fn vmdk_descriptor(file: &[u8]) -> Option<String> {
    let (kind, sectors) = if file.starts_with(b"COWD") {
        let field = file.get(12..)?.first_chunk().copied()?;
        ("VMFSSPARSE", u64::from(u32::from_le_bytes(field)))
    } else if file.starts_with(b"\xbe\xba\xfe\xca") {
        let field = file.get(16..)?.first_chunk().copied()?;
        ("SESPARSE", u64::from_le_bytes(field))
    } else {
        return None;
    };
    Some(format!(
        "# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\nRW {sectors} {kind} \"extent\"\n"
    ))
}

/// OVA archives: members, descriptor, manifest, expansion, the disks.
pub fn ova(data: &[u8]) {
    read_package("m.ova", data);
    // No mutation keeps the checksums of the headers, so they are put right too.
    let mut summed = data.to_vec();
    for block in summed.chunks_exact_mut(512) {
        if block[257..].starts_with(b"ustar") {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    read_package("m.ova", &summed);
}

/// OVF descriptors.
pub fn ovf(data: &[u8]) {
    read_package("m.ovf", data);
}

/// VHDX images; the input is [sparse](disk). A parent for differencing disks is there, `base.vhdx`.
///
/// Few mutations would come past the checksums, so they are made right for a second try.
pub fn vhdx(data: &[u8]) {
    let Some(mut file) = disk(data) else {
        return;
    };
    let parent = disk(include_bytes!("../corpus/vhdx/dynamic")).expect("the seed is small");
    let beside = [("base.vhdx", &parent[..])];
    read_image_beside(&beside, &file, image::Format::Vhdx);
    let mut seal = |at: usize, len: usize| {
        if let Some(bytes) = file.get_mut(at..at + len) {
            bytes[4..8].fill(0);
            let sum = crc32c::crc32c(bytes);
            bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        }
    };
    for (header, region_table) in [(64 << 10, 192 << 10), (128 << 10, 256 << 10)] {
        seal(header, 4096);
        seal(region_table, 64 << 10);
    }
    // Where the seeds have entries of the log.
    seal(1 << 20, 8192);
    seal((1 << 20) + 8192, 8192);
    read_image_beside(&beside, &file, image::Format::Vhdx);
}

/// Opens a package, beside which there are two files, with and without comparing it with its
/// manifest, and reads what it holds.
fn read_package(name: &str, data: &[u8]) {
    let dir = tempfile::tempdir().expect("a place for the package");
    let path = dir.path().join(name);
    for (name, content) in [
        (name, data),
        ("disk.img", &[7; 4096]),
        ("disk.img.gz", &GZIPPED),
    ] {
        std::fs::write(dir.path().join(name), content).expect("room for the package");
    }
    let _ = (image::container(&path), image::probe(&path));
    for verify in [false, true] {
        let options = image::OpenOptions {
            verify,
            salvage: !verify,
            ..image::OpenOptions::default()
        };
        for image in image::open_all(&path, &options).unwrap_or_default() {
            let inside = |file: &std::path::PathBuf| file.starts_with(dir.path());
            assert!(image.files().iter().all(inside), "a file of elsewhere");
            read_device(&image);
        }
    }
}

fn read_image(file: &[u8], format: image::Format) {
    read_image_beside(&[], file, format);
}

/// Reads an image in a directory with other files, by their names.
fn read_image_beside(others: &[(&str, &[u8])], file: &[u8], format: image::Format) {
    let dir = tempfile::tempdir().expect("a place for the image");
    for (name, content) in others {
        std::fs::write(dir.path().join(name), content).expect("room for another file");
    }
    let path = dir.path().join("image");
    std::fs::write(&path, file).expect("room for the image");
    read_path(&path, format);
}

fn read_path(path: &Path, format: image::Format) {
    let _ = image::probe(path);
    let options = image::OpenOptions {
        format: Some(format),
        ..image::OpenOptions::default()
    };
    if let Ok(image) = image::open(path, &options) {
        read_device(&image);
        read_layers(&image);
        read_bitmaps(&image);
    }
}

/// What layers decide is all that is data, as far as it is looked at.
fn read_layers(image: &image::Image) {
    let device = image.device();
    // More would take too long, wherever the walk goes.
    if device.size() > 1 << 30 {
        return;
    }
    let layers = image.layers().len();
    let decided = image.decided_above(layers, GRANULE, &Interrupt::default());
    let Ok(decided) = decided else {
        return;
    };
    assert_ranges(&decided, device.size());
    for extent in device.extents().take(64) {
        let Ok(extent) = extent else {
            break;
        };
        let is_inside =
            |range: &Range<u64>| range.start <= extent.range.start && extent.range.end <= range.end;
        assert!(
            extent.kind == block::ExtentKind::Zero || decided.iter().any(is_inside),
            "data that no layer has"
        );
    }
}

fn read_bitmaps(image: &image::Image) {
    let Ok(bitmaps) = image.bitmaps(0, &Interrupt::default()) else {
        return;
    };
    for bitmap in bitmaps.iter().take(16) {
        let dirty = image.dirty(&bitmap.name, GRANULE, &Interrupt::default());
        let Ok(Some(dirty)) = dirty else {
            continue;
        };
        assert_ranges(&dirty.ranges, image.device().size());
        let bytes: u64 = dirty
            .ranges
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        // All bitmaps together may take too much.
        assert!(bitmap.dirty.is_none_or(|counted| counted == bytes));
    }
}

fn assert_ranges(ranges: &[Range<u64>], size: u64) {
    assert!(
        ranges
            .iter()
            .all(|range| range.start < range.end && range.end <= size)
    );
    assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
}

/// The smallest granularity of a bitmap.
const GRANULE: NonZeroU64 = NonZeroU64::new(512).unwrap();

fn read_device(image: &image::Image) {
    let device = image.device();
    let mut buf = vec![0xee; 128 << 10];
    for extent in device.extents().take(64) {
        let Ok(extent) = extent else {
            break;
        };
        assert!(extent.range.start < extent.range.end && extent.range.end <= device.size());
        let len = (extent.range.end - extent.range.start).min(128 << 10);
        let part = &mut buf[..usize::try_from(len).expect("at most 128 KiB")];
        part.fill(0xee);
        let read = device.read_at(extent.range.start, part);
        if extent.kind == block::ExtentKind::Zero && read.is_ok() {
            assert!(
                part.iter().all(|byte| *byte == 0),
                "a zero extent that is not zero"
            );
        }
    }
    // At the end, and over it.
    let _ = device.read_at(device.size().saturating_sub(512), &mut buf[..512]);
    assert!(device.read_at(device.size(), &mut buf[..1]).is_err());
}

/// What gzip makes of `x`, stored.
pub const GZIPPED: [u8; 24] = [
    0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 1, 1, 0, 0xfe, 0xff, b'x', 0x83, 0x16, 0xdc, 0x8c, 1, 0, 0,
    0,
];
