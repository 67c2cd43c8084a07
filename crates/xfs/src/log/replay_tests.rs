//! Replay of logs made here: what no kernel at hand writes any more, above all version 4.
//!
//! An image is changed by the driver, the difference is logged into a copy of the image, and the
//! copy's recovery must bring the change back, byte for byte.

use super::inode::{InodeItem, Outcome};
use super::intent::{Intents, Work};
use super::tests::{HEADER, Ring, operation};
use super::transaction::{Item, Transaction, Transactions};
use super::*;
use crate::Xfs;
use block::{BlockRead, Memory};
use fs::{FileSystem, NewNode};
use std::process::Command;

const MEGABYTES: usize = 32;

/// An image of version 4; none, with a word about it, where there is no `mkfs.xfs`.
fn image(options: &[&str]) -> Option<Vec<u8>> {
    made(&[&["-m", "crc=0"], options].concat())
}

/// An image of any version.
fn made(options: &[&str]) -> Option<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(u64::try_from(MEGABYTES << 20).unwrap())
        .unwrap();
    let made = Command::new("mkfs.xfs")
        .args(["-q", "-f"])
        .args(options)
        .arg(&path)
        // Without these it makes nothing below 300 MB.
        .envs([("TEST_DIR", "1"), ("TEST_DEV", "1"), ("QA_CHECK_FS", "1")])
        .output();
    match made {
        Ok(output) if output.status.success() => Some(std::fs::read(&path).unwrap()),
        other => {
            println!("skipped: mkfs.xfs {options:?}: {other:?}");
            None
        }
    }
}

/// The image with some names more and some less.
fn changed(image: &[u8]) -> Vec<u8> {
    let memory = Arc::new(Memory::new(image.to_vec()));
    let mut xfs = Xfs::open(memory.clone()).unwrap();
    let root = xfs.root();
    let edit = xfs.edit().unwrap();
    let dir = edit
        .make_dir(root, b"directory", NewNode::root(0o755))
        .unwrap();
    for number in 0..200 {
        let name = format!("a name that takes some room, {number}");
        let file = edit
            .create(dir, name.as_bytes(), NewNode::root(0o644))
            .unwrap();
        edit.replace(file, &vec![7; number * 37]).unwrap();
        edit.set_xattr(file, b"user.name", Some(&vec![3; number]))
            .unwrap();
    }
    edit.symlink(root, b"link", b"target", NewNode::root(0o777))
        .unwrap();
    for number in 50..90 {
        let name = format!("a name that takes some room, {number}");
        edit.remove(dir, name.as_bytes()).unwrap();
    }
    edit.commit().unwrap();
    memory.bytes()
}

/// The item that says that the chunks of 128 bytes which differ were logged.
fn buffer_item(at: usize, before: &[u8], after: &[u8]) -> Option<Vec<Vec<u8>>> {
    let differs = |chunk: usize| {
        let range = chunk * 128..(chunk + 1) * 128;
        before[range.clone()] != after[range]
    };
    let chunks = after.len() / 128;
    let mut map = vec![0_u32; chunks.div_ceil(32)];
    let mut regions = Vec::new();
    let mut chunk = 0;
    while chunk < chunks {
        let run = (chunk..chunks).take_while(|chunk| differs(*chunk)).count();
        for logged in chunk..chunk + run {
            map[logged / 32] |= 1 << (logged % 32);
        }
        // Long runs are logged in parts.
        for part in after[chunk * 128..(chunk + run) * 128].chunks(1024) {
            regions.push(part.to_vec());
        }
        chunk += run + 1;
    }
    let mut format = Vec::new();
    let size = u16::try_from(regions.len() + 1).unwrap();
    for number in [0x123c, size, 0, u16::try_from(after.len() / 512).unwrap()] {
        format.extend(number.to_le_bytes());
    }
    format.extend((ondisk::width::u64_of(at) / 512).to_le_bytes());
    format.extend(u32::try_from(map.len()).unwrap().to_le_bytes());
    format.extend(map.iter().flat_map(|word| word.to_le_bytes()));
    regions.insert(0, format);
    (size > 1).then_some(regions)
}

/// The item of an inode as it lies on the volume, described as 32-bit machines do or others.
fn inode_item(at: usize, number: u64, inode: &[u8], short: bool) -> Vec<Vec<u8>> {
    let mut core = inode[..96].to_vec();
    for (at, len) in [
        (0, 2),
        (2, 2),
        (6, 2),
        (8, 4),
        (12, 4),
        (16, 4),
        (20, 2),
        (22, 2),
        (30, 2),
    ]
    .into_iter()
    .chain([32, 36, 40, 44, 48, 52].map(|at| (at, 4)))
    .chain([
        (56, 8),
        (64, 8),
        (72, 4),
        (76, 4),
        (80, 2),
        (84, 4),
        (88, 2),
        (90, 2),
        (92, 4),
    ]) {
        core[at..at + len].reverse();
    }
    let forks = &inode[100..];
    let border = match usize::from(inode[82]) * 8 {
        0 => forks.len(),
        border => border,
    };
    let (data, attributes) = forks.split_at(border);
    let mut fields = 0x1 | 0x4;
    let mut regions = vec![core, data.to_vec()];
    if !attributes.is_empty() {
        fields |= 0x40;
        regions.push(attributes.to_vec());
    }
    let mut format = Vec::new();
    format.extend(0x123b_u16.to_le_bytes());
    format.extend(u16::try_from(regions.len() + 1).unwrap().to_le_bytes());
    format.extend(u32::to_le_bytes(fields));
    format.extend([0; 4]);
    if !short {
        format.extend([0; 4]);
    }
    format.extend(number.to_le_bytes());
    format.extend([0; 16]);
    let buffer = at / 8192 * 8192;
    format.extend((ondisk::width::u64_of(buffer) / 512).to_le_bytes());
    format.extend(16_u32.to_le_bytes());
    format.extend(u32::try_from(at - buffer).unwrap().to_le_bytes());
    regions.insert(0, format);
    regions
}

/// An image with a dirty log.
struct Logged {
    memory: Arc<Memory>,
    log: std::ops::Range<usize>,
    /// Inodes that were logged as such, of so many bytes.
    inodes: std::ops::Range<usize>,
    size: usize,
}

/// Logs into `before` what makes `after` of it.
fn logged(before: &[u8], after: &[u8]) -> Logged {
    let memory = Arc::new(Memory::new(before.to_vec()));
    let device: Arc<dyn BlockWrite> = memory.clone();
    let superblock = Superblock::read(&device).unwrap();
    let area = area_of(&device, &superblock).unwrap();
    let log = usize::try_from(area.start).unwrap();
    let log = log..log + usize::try_from(area.blocks).unwrap() * 512;
    // Inodes that were there are logged by inode, everything else by buffer.
    let root = superblock.raw().sb_rootino.get();
    let (group, block, within) = superblock.split_inode(root).unwrap();
    let root_at = superblock.position(superblock.fs_block(group, block));
    let inodes = usize::try_from(root_at).unwrap() + within;
    let size = usize::try_from(superblock.inode_size).unwrap();
    let inodes = inodes..inodes + 64 * size;
    let mut items = Vec::new();
    for at in (0..before.len()).step_by(8192) {
        if log.contains(&at) || inodes.contains(&at) {
            continue;
        }
        let range = at..at + 8192;
        if before[range.clone()] == after[range.clone()] {
            continue;
        }
        items.extend(buffer_item(at, &before[range.clone()], &after[range]));
    }
    for (index, at) in inodes.clone().step_by(size).enumerate() {
        let range = at..at + size;
        if before[range.clone()] != after[range.clone()] {
            let number = root + u64::try_from(index).unwrap();
            items.push(inode_item(at, number, &after[range], index % 2 == 0));
        }
    }
    assert!(items.len() > 20);
    let mut operations = vec![operation(9, 1, &[]), operation(9, 0, HEADER)];
    for region in items.iter().flatten() {
        // In two halves, as if the record had ended between.
        let (one, other) = region.split_at(region.len() / 8 * 4);
        operations.push(operation(9, 4, one));
        operations.push(operation(9, 0x18, other));
    }
    operations.push(operation(9, 2, &[]));
    let mut ring = Ring::after(&memory, area);
    ring.write_operations(&operations);
    Logged {
        memory,
        log,
        inodes,
        size,
    }
}

#[test]
fn what_was_logged_of_version_4_comes_back() {
    for options in [
        &["-l", "version=2"][..],
        &["-l", "version=1", "-b", "size=1024"],
        &["-l", "su=32k", "-n", "size=8192"],
        &["-l", "lazy-count=0", "-i", "size=512"],
    ] {
        let Some(before) = image(options) else {
            return;
        };
        let after = changed(&before);
        let Logged {
            memory,
            log,
            inodes,
            size,
        } = logged(&before, &after);
        let recovered = Xfs::open(memory.clone()).unwrap();
        assert!(recovered.info().recovered, "{options:?}");
        let (found, mut wanted) = (memory.bytes(), after.clone());
        // Replay starts the count of flushes anew.
        for inode in inodes.step_by(size) {
            if before[inode..inode + size] != after[inode..inode + size] {
                wanted[inode + 30..inode + 32].fill(0);
            }
        }
        for at in (0..found.len()).step_by(512).filter(|at| !log.contains(at)) {
            assert!(
                found[at..at + 512] == wanted[at..at + 512],
                "{options:?}, byte {at}"
            );
        }
        drop(recovered);
        let mut xfs = Xfs::open(memory.clone()).unwrap();
        xfs.edit().unwrap().commit().unwrap();
        assert!(!Xfs::open(memory.clone()).unwrap().info().recovered);
        assert_eq!(xfs.check().unwrap(), [], "{options:?}");
        repair_is_content(&memory, options);
    }
}

/// The owner of the first inode of a cluster lies where blocks of an index have their magic number.
#[test]
fn inodes_that_look_like_an_index_stay_inodes() {
    let Some(image) = made(&[]) else {
        return;
    };
    let memory = Arc::new(Memory::new(image));
    let mut xfs = Xfs::open(memory.clone()).unwrap();
    let root = xfs.root();
    let owner = NewNode {
        uid: 0x3ebe_0001,
        gid: 17,
        ..NewNode::root(0o755)
    };
    let edit = xfs.edit().unwrap();
    edit.set_owner(root, owner).unwrap();
    edit.commit().unwrap();
    let before = xfs.stat(root).unwrap();
    let device: Arc<dyn BlockWrite> = memory.clone();
    let superblock = Superblock::read(&device).unwrap();
    let (group, block, within) = superblock.split_inode(root.0).unwrap();
    assert_eq!(within, 0, "the root is the first inode");
    let at = superblock.position(superblock.fs_block(group, block));
    let cluster = usize::try_from(at).unwrap()..usize::try_from(at).unwrap() + 16384;
    let cluster = memory.bytes()[cluster].to_vec();
    // `XFS_BLF_INODE_BUF` with the type of inodes: the chain of unlinked inodes was logged.
    let mut after = cluster.clone();
    after[99] ^= 1;
    let mut item = buffer_item(usize::try_from(at).unwrap(), &cluster, &after).unwrap();
    item[0][4..6].copy_from_slice(&(1_u16 | 8 << 11).to_le_bytes());
    item[1] = cluster[..128].to_vec();
    let mut operations = vec![operation(9, 1, &[]), operation(9, 0, HEADER)];
    operations.extend(item.iter().map(|region| operation(9, 0, region)));
    operations.push(operation(9, 2, &[]));
    let area = area_of(&device, &superblock).unwrap();
    Ring::after(&memory, area).write_operations(&operations);
    let recovered = Xfs::open(memory.clone()).unwrap();
    assert!(recovered.info().recovered);
    assert_eq!(recovered.stat(root).unwrap(), before);
}

fn repair_is_content(memory: &Memory, options: &[&str]) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    std::fs::write(&path, memory.bytes()).unwrap();
    assert_eq!(memory.size(), std::fs::metadata(&path).unwrap().len());
    let output = Command::new("xfs_repair")
        .args(["-f", "-n"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{options:?}: {output:?}");
}

/// An item of these regions.
fn item(regions: &[Vec<u8>]) -> Item {
    let ring = Ring::after_nothing();
    let mut operations = vec![operation(1, 1, &[]), operation(1, 0, HEADER)];
    operations.extend(regions.iter().map(|region| operation(1, 0, region)));
    operations.push(operation(1, 2, &[]));
    let header = ring.header_of(u32::try_from(operations.len()).unwrap());
    let mut found = None;
    let mut transactions = Transactions::default();
    let take = |transaction: Transaction| {
        found = transaction.items.into_iter().next();
        Ok(())
    };
    transactions
        .add(&header, &operations.concat(), take)
        .unwrap();
    found.unwrap()
}

fn v4_inode(flushes: u16) -> Vec<u8> {
    let mut inode = vec![0; 256];
    inode[..2].copy_from_slice(b"IN");
    inode[2..4].copy_from_slice(&0o100_644_u16.to_be_bytes());
    (inode[4], inode[5]) = (2, 2);
    inode[30..32].copy_from_slice(&flushes.to_be_bytes());
    inode[56..64].copy_from_slice(&u64::from(flushes).to_be_bytes());
    inode
}

#[test]
fn an_inode_of_version_4_that_was_flushed_later_stays() {
    for (logged, written, outcome) in [
        (5, 4, Outcome::Written),
        (5, 5, Outcome::Written),
        (5, 6, Outcome::Newer),
        // The count started over.
        (3, 0xffff, Outcome::Written),
        (0x8000, 0xffff, Outcome::Newer),
    ] {
        let item = item(&inode_item(8192, 131, &v4_inode(logged), logged == 5));
        let inode = InodeItem::parse(&item, false, 256).unwrap();
        assert_eq!(
            (inode.number, inode.position, inode.cluster),
            (131, 8192, (16, 16))
        );
        let mut bytes = v4_inode(written);
        assert_eq!(
            inode.replay(&mut bytes, 0).unwrap(),
            outcome,
            "{logged}, {written}"
        );
        let expected = match outcome {
            Outcome::Written => {
                let mut expected = v4_inode(logged);
                expected[30..32].fill(0);
                expected
            }
            Outcome::Newer => v4_inode(written),
        };
        assert_eq!(bytes, expected);
        let mut no_inode = vec![0; 256];
        assert!(inode.replay(&mut no_inode, 0).is_err());
    }
}

#[test]
fn inodes_that_cannot_be_are_damage() {
    let parse = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut regions = inode_item(8192, 131, &v4_inode(1), false);
        change(&mut regions);
        let item = item(&regions);
        let inode = InodeItem::parse(&item, false, 256)?;
        inode.replay(&mut v4_inode(0), 0)
    };
    assert!(parse(&|_| ()).is_ok());
    assert!(
        parse(&|regions| regions[0].truncate(48)).is_err(),
        "a short description"
    );
    assert!(parse(&|regions| regions[0][52] = 1).is_ok());
    assert!(
        parse(&|regions| regions[0][53] = 0x20).is_err(),
        "behind its buffer"
    );
    assert!(
        parse(&|regions| regions[1][0] = 0).is_err(),
        "another magic number"
    );
    assert!(
        parse(&|regions| regions[1][4] = 3).is_err(),
        "another version"
    );
    assert!(
        parse(&|regions| regions[1][5] = 1).is_err(),
        "a file within its inode"
    );
    assert!(
        parse(&|regions| regions[1][76] = 1).is_err(),
        "an extent without blocks"
    );
    assert!(
        parse(&|regions| regions[1][82] = 99).is_err(),
        "a border behind the end"
    );
    assert!(
        parse(&|regions| regions[1].truncate(90)).is_err(),
        "a short core"
    );
    assert!(
        parse(&|regions| regions[2].push(0)).is_err(),
        "a fork that is too large"
    );
}

/// An announcement of blocks to free, padded or not.
fn free_intent(id: u64, padded: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(0x1236_u16.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(2_u32.to_le_bytes());
    bytes.extend(id.to_le_bytes());
    for start in [100_u64, 200] {
        bytes.extend(start.to_le_bytes());
        bytes.extend(5_u32.to_le_bytes());
        if padded {
            bytes.extend([0xee; 4]);
        }
    }
    bytes
}

fn done(kind: u16, id: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(kind.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(id.to_le_bytes());
    bytes
}

#[test]
fn what_is_announced_and_not_done_is_left() {
    let left = |items: &[Vec<u8>]| {
        let mut intents = Intents::default();
        for bytes in items {
            intents.note(&item(std::slice::from_ref(bytes)))?;
        }
        intents.finish()
    };
    for padded in [false, true] {
        let work = left(&[
            free_intent(1, padded),
            free_intent(2, padded),
            done(0x1237, 1),
            done(0x1237, 7),
        ]);
        let work = work.unwrap();
        let starts: Vec<_> = work
            .iter()
            .map(|work| match work {
                Work::Free(blocks) => (blocks.start.0, blocks.count),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(starts, [(100, 5), (200, 5)]);
    }
    // The same identifier again, after it was done.
    let again = [free_intent(1, true), done(0x1237, 1), free_intent(1, true)];
    assert_eq!(left(&again).unwrap().len(), 2);
    // What is not done here is refused unless it was done.
    let attribute = done(0x1246, 3);
    assert!(matches!(
        left(std::slice::from_ref(&attribute)),
        Err(Error::Unsupported(_))
    ));
    assert_eq!(left(&[attribute, done(0x1247, 3)]).unwrap().len(), 0);
    let mut short = free_intent(1, true);
    short.pop();
    assert!(left(&[short]).is_err());
    let mut many = free_intent(1, true);
    many[4..8].fill(0xff);
    assert!(left(&[many]).is_err());
}

/// Version 4 has no sums, so what is damaged is looked at.
#[test]
fn damaged_logs_end_without_panic() {
    let Some(before) = image(&[]) else {
        return;
    };
    let Logged { memory, log, .. } = logged(&before, &changed(&before));
    let used = memory.bytes()[log.clone()]
        .chunks(512)
        .position(|block| block.iter().all(|byte| *byte == 0))
        .unwrap();
    let mut seed = 88_172_645_463_325_252_u64;
    let mut below = |end: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        usize::try_from(seed % u64::try_from(end).unwrap()).unwrap()
    };
    let (mut recovered, mut refused) = (0, 0);
    for _ in 0..400 {
        let overlay = Arc::new(block::Overlay::new(memory.clone()));
        for _ in 0..=below(6) {
            let bytes = match below(4) {
                0 => vec![0; 512],
                1 => vec![0xff; 4],
                _ => vec![u8::try_from(below(256)).unwrap(); 1 + below(3)],
            };
            // Most of it among headers and descriptions.
            let at = if below(3) == 0 {
                below(used) * 512 + below(64)
            } else {
                below(used * 512)
            };
            overlay
                .write_at(u64::try_from(log.start + at).unwrap(), &bytes)
                .unwrap();
        }
        let volume = crate::volume::Volume::open(overlay);
        let result = volume.and_then(|mut volume| {
            volume.recover()?;
            volume.finish_recovery()
        });
        match result {
            Ok(()) => recovered += 1,
            Err(_) => refused += 1,
        }
    }
    assert!(recovered > 20 && refused > 20, "{recovered}, {refused}");
}
