//! Small files whose tables describe huge ranges, over parents of many short runs.

use crate::make::{self, VHD_BLOCKS, VHD_HEADER, VHD_TABLE, Vhd, seal_vhd};
use image::OpenOptions;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// Pages of the parents: every other one is a hole.
const PAGES: u64 = 1024;
const PAGE: u64 = 4096;

/// Makes a file with bytes at some places and holes between them.
fn sparse(path: &Path, len: u64, parts: &[(u64, &[u8])]) {
    let file = File::create(path).unwrap();
    file.set_len(len).unwrap();
    for (at, bytes) in parts {
        file.write_all_at(bytes, *at).unwrap();
    }
}

fn parent(path: &Path, footer: &[u8]) {
    let page = [1; 4096];
    let pages = (0..PAGES).step_by(2).map(|n| (n * PAGE, &page[..]));
    let size = PAGES * PAGE;
    let len = size + u64::try_from(footer.len()).unwrap();
    let parts: Vec<_> = pages.chain([(size, footer)]).collect();
    sparse(path, len, &parts);
}

/// Asserts that the child's table is not walked to its end for each run of the parent, which would
/// take minutes. (Where the file system has no holes there are no runs.)
fn assert_walked_soon(path: &Path) {
    let image = image::open(path, &OpenOptions::default()).unwrap();
    let device = image.device();
    let start = Instant::now();
    let runs = device.extents().take(1024).map(Result::unwrap).count();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(15), "{runs} runs in {took:?}");
}

#[test]
fn a_long_l1_table_is_not_walked_for_every_run() {
    let dir = tempfile::tempdir().unwrap();
    parent(&dir.path().join("base.raw"), b"");
    let path = dir.path().join("t.qcow2");
    let mut header = make::qcow2_of(&path, vec![0; 512], 65_536);
    header.truncate(512);
    header[8..16].copy_from_slice(&256_u64.to_be_bytes());
    header[16..20].copy_from_slice(&8_u32.to_be_bytes());
    header[256..264].copy_from_slice(b"base.raw");
    // 4 Mi entries, each for 512 MiB.
    header[24..32].copy_from_slice(&(1_u64 << 51).to_be_bytes());
    header[36..40].copy_from_slice(&(4_u32 << 20).to_be_bytes());
    header[40..48].copy_from_slice(&65_536_u64.to_be_bytes());
    sparse(&path, (32 << 20) + 65_536, &[(0, &header)]);
    assert_walked_soon(&path);
}

#[test]
fn a_long_grain_directory_is_not_walked_for_every_run() {
    let dir = tempfile::tempdir().unwrap();
    parent(&dir.path().join("base.raw"), b"");
    let sectors = PAGES * PAGE / 512;
    let text = format!(
        "# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\nRW {sectors} FLAT \"base.raw\" 0\n"
    );
    std::fs::write(dir.path().join("base.vmdk"), text).unwrap();
    let path = dir.path().join("t.vmdk");
    let mut image = make::vmdk(false);
    image.truncate(21 * 512);
    // 8 Mi entries, each for 32 MiB.
    image[12..20].copy_from_slice(&(1_u64 << 39).to_le_bytes());
    let text = "# Disk DescriptorFile\nCID=2\nparentCID=1\nparentFileNameHint=\"base.vmdk\"\n\
                RW 549755813888 SPARSE \"t.vmdk\"\n\0";
    image[512..512 + text.len()].copy_from_slice(text.as_bytes());
    sparse(&path, (32 << 20) + 21 * 512, &[(0, &image)]);
    assert_walked_soon(&path);
}

/// Each file takes a page of the host, and 16 MiB of memory.
#[test]
fn directories_of_many_extents_are_counted_together() {
    let dir = tempfile::tempdir().unwrap();
    let mut extent = make::vmdk(false);
    extent.truncate(512);
    // 2 Mi entries, which a disk may have.
    extent[12..20].copy_from_slice(&(1_u64 << 37).to_le_bytes());
    extent[28..36].fill(0);
    let mut text = "# Disk DescriptorFile\nCID=1\nparentCID=ffffffff\n".to_owned();
    let path = dir.path().join("t.vmdk");
    for number in 0..5 {
        let name = format!("t-s{number}.vmdk");
        sparse(&dir.path().join(&name), 9 << 20, &[(0, &extent)]);
        text.push_str(&format!("RW 128 SPARSE \"{name}\"\n"));
        std::fs::write(&path, &text).unwrap();
        let result = image::open(&path, &OpenOptions::default());
        match (number, result) {
            (0..4, result) => assert_eq!(result.unwrap().device().size(), 65_536 * (number + 1)),
            (_, result) => {
                let error = result.unwrap_err().to_string();
                assert!(error.contains("of all extents is 10485760"), "{error}");
            }
        }
    }
}

#[test]
fn a_long_sector_bitmap_is_not_walked_for_every_run() {
    const BLOCK: u64 = 256 << 20;
    const BITMAP: u64 = BLOCK / 512 / 8;
    let dir = tempfile::tempdir().unwrap();
    let fixed = make::vhd(Vhd::Fixed);
    let mut footer = fixed[fixed.len() - 512..].to_vec();
    footer[48..56].copy_from_slice(&(PAGES * PAGE).to_be_bytes());
    seal_vhd_part(&mut footer);
    parent(&dir.path().join("base.vhd"), &footer);
    let mut image = make::vhd(Vhd::Differencing);
    let footer = image.split_off(image.len() - 512);
    image.truncate(VHD_BLOCKS);
    image.extend(footer);
    for start in [0, VHD_BLOCKS] {
        image[start + 48..start + 56].copy_from_slice(&BLOCK.to_be_bytes());
    }
    let block = u32::try_from(BLOCK).unwrap();
    image[VHD_HEADER + 32..VHD_HEADER + 36].copy_from_slice(&block.to_be_bytes());
    let sector = u32::try_from(VHD_BLOCKS / 512).unwrap();
    image[VHD_TABLE..VHD_TABLE + 4].copy_from_slice(&sector.to_be_bytes());
    seal_vhd(&mut image);
    let (head, footer) = image.split_at(VHD_BLOCKS);
    let end = u64::try_from(VHD_BLOCKS).unwrap() + BITMAP + BLOCK;
    let path = dir.path().join("t.vhd");
    sparse(&path, end + 512, &[(0, head), (end, footer)]);
    assert_walked_soon(&path);
}

/// The checksum of a footer alone.
fn seal_vhd_part(footer: &mut [u8]) {
    footer[64..68].fill(0);
    let sum = !footer.iter().map(|b| u32::from(*b)).sum::<u32>();
    footer[64..68].copy_from_slice(&sum.to_be_bytes());
}
