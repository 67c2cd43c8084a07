//! Directories on real file systems: made by `mkfs.xfs` or the kernel, changed here, read by
//! `xfs_repair` and, of version 5, by the kernel. `REHOST_LONG=1` runs more sizes and more names.

use super::*;
use crate::fork_access::{ForkEditor, ForkReader};
use crate::inode::{Fork, Inode};
use crate::real::{Image, is_long};
use crate::volume::Volume;
use ondisk::width::u64_of;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::Write;
use std::fs as host;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Options for `mkfs.xfs`, and whether this machine's kernel can mount what they make.
const OPTIONS: [(&[&str], bool); 6] = [
    (&["-m", "rmapbt=1,reflink=1"], true),
    (&["-b", "size=1024", "-n", "size=4096"], true),
    (&["-m", "crc=0", "-b", "size=512", "-n", "ftype=0"], false),
    (&["-m", "crc=0", "-n", "size=16384,ftype=1"], false),
    (&["-n", "version=ci,size=4096", "-b", "size=1024"], false),
    (&["-n", "size=65536", "-i", "size=2048"], true),
];

/// Numbers that look random and are not.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64_of(limit)).unwrap()
    }
}

/// A name of any length, for wave `wave`.
fn name(wave: usize, number: usize, random: &mut Random) -> Vec<u8> {
    let short = format!("{wave}n{number:x}");
    let len = if random.below(10) == 0 { 200 } else { 24 };
    let tail = "tail".repeat(64);
    [short.as_bytes(), &tail.as_bytes()[..random.below(len)]].concat()
}

/// What a directory should hold.
type Model = BTreeMap<Vec<u8>, Target>;

/// A file system with the one directory, named `d`, that is looked at.
struct Changed {
    volume: Volume,
    inode: Inode,
}

impl Changed {
    fn open(image: &Image) -> Self {
        let volume = image.open();
        let root = volume.superblock.raw().sb_rootino.get();
        let inode = volume.inode(root).unwrap();
        let mut changed = Self { volume, inode };
        let target = lookup(&changed.reader(), b"d").unwrap().unwrap();
        assert!(matches!(target.kind(), None | Some(fs::Kind::Dir)));
        changed.inode = changed.volume.inode(target.inode).unwrap();
        changed
    }

    fn reader(&self) -> ForkReader<'_> {
        ForkReader {
            volume: &self.volume,
            inode: &self.inode,
            fork: Fork::Data,
        }
    }

    fn editor(&mut self) -> ForkEditor<'_> {
        ForkEditor {
            volume: &mut self.volume,
            inode: &mut self.inode,
            fork: Fork::Data,
        }
    }

    fn model(&self) -> Model {
        let listed = list(&self.reader()).unwrap();
        listed.into_iter().map(|e| (e.name, e.target)).collect()
    }

    fn verify(&self, model: &Model) {
        assert_eq!(check(&self.reader()).unwrap(), [""; 0]);
        assert_eq!(list(&self.reader()).unwrap().len(), model.len());
        assert!(self.model() == *model);
        let step = model.len() / 300 + 1;
        for (name, target) in model.iter().step_by(step) {
            assert_eq!(lookup(&self.reader(), name).unwrap(), Some(*target));
        }
    }
}

/// Looks through the kernel: lists all names, and finds each by its name.
fn seen_by_kernel(root: &Path) -> BTreeMap<Vec<u8>, u64> {
    let place = root.join("d");
    let mut found = BTreeMap::new();
    for entry in host::read_dir(&place).unwrap() {
        let name = entry.unwrap().file_name();
        let inode = host::symlink_metadata(place.join(&name)).unwrap().ino();
        found.insert(name.as_bytes().to_vec(), inode);
    }
    found
}

fn inodes(model: &Model) -> BTreeMap<Vec<u8>, u64> {
    let pairs = model.iter();
    pairs.map(|(name, t)| (name.clone(), t.inode)).collect()
}

fn change(args: &[&str], mounts: bool, count: usize, waves: usize) {
    let mut random = Random(u64_of(count) << 7 | 1);
    let mut names: Vec<_> = (0..count).map(|n| name(0, n, &mut random)).collect();
    let mut prototype = "/\n0 0\nd--755 0 0\nd d--755 0 0\n".to_owned();
    for name in &names {
        let name = std::str::from_utf8(name).unwrap();
        writeln!(prototype, "{name} ---644 0 0 /dev/null").unwrap();
    }
    prototype.push_str("$\n$\n");
    let Some(image) = Image::make(args, Some(&prototype)) else {
        return;
    };
    let mut changed = Changed::open(&image);
    let mut model = changed.model();
    names.sort();
    assert!(model.keys().eq(&names));
    changed.verify(&model);
    for wave in 1..=waves {
        // Most names are replaced: some at once, some when much else is gone.
        let old: Vec<_> = model.keys().cloned().collect();
        let mut homeless = Vec::new();
        for (number, old) in old.iter().enumerate() {
            if random.below(8) == 0 {
                continue;
            }
            let target = remove(&mut changed.editor(), old).unwrap();
            assert_eq!(target, model.remove(old));
            homeless.push(target.unwrap());
            if random.below(if wave % 2 == 0 { 3 } else { 100 }) == 0 {
                let new = name(wave, number, &mut random);
                let at = random.below(homeless.len());
                let target = homeless.swap_remove(at);
                insert(&mut changed.editor(), &new, target).unwrap();
                model.insert(new, target);
            }
        }
        changed.verify(&model);
        for (number, target) in homeless.into_iter().enumerate() {
            let new = name(wave, count + number, &mut random);
            insert(&mut changed.editor(), &new, target).unwrap();
            model.insert(new, target);
        }
        changed.verify(&model);
        image.commit(&mut changed.volume, &changed.inode).unwrap();
        if mounts {
            image.mounted("ro", |root| assert!(seen_by_kernel(root) == inodes(&model)));
        }
    }
}

#[test]
fn repair_and_the_kernel_agree_with_what_was_written() {
    let (counts, waves): (&[usize], _) = if is_long() {
        (&[3, 12, 40, 90, 250, 700, 2500, 10_000], 4)
    } else {
        (&[40, 700], 2)
    };
    for (args, mounts) in OPTIONS {
        for count in counts {
            change(args, mounts, *count, waves);
        }
    }
}

#[test]
fn what_the_kernel_made_is_read_and_goes_on_to_be_changed() {
    let counts: &[usize] = if is_long() {
        &[10, 100, 1000, 10_000, 200_000]
    } else {
        &[10, 100, 3000]
    };
    for (args, mounts) in OPTIONS {
        if !mounts {
            continue;
        }
        let Some(image) = Image::make(args, None) else {
            return;
        };
        for count in counts {
            let mut random = Random(u64_of(*count) << 7 | 1);
            let mut expected = BTreeMap::new();
            image.mounted("rw", |root| {
                let place = root.join("d");
                // What was there leaves stale entries, holes and gaps behind.
                host::create_dir_all(&place).unwrap();
                host::write(place.join("file"), "").unwrap();
                for number in 0..*count {
                    let name = name(9, number, &mut random);
                    let path = place.join(OsStr::from_bytes(&name));
                    host::hard_link(place.join("file"), path).unwrap();
                }
                for entry in host::read_dir(&place).unwrap() {
                    let entry = entry.unwrap();
                    let is_gone = random.below(3) == 0;
                    if is_gone && entry.file_name() != "file" {
                        host::remove_file(entry.path()).unwrap();
                    }
                }
                expected = seen_by_kernel(root);
            });
            if expected.is_empty() {
                return;
            }
            let mut changed = Changed::open(&image);
            let mut model = changed.model();
            assert!(inodes(&model) == expected);
            changed.verify(&model);
            // The kernel's blocks are full of what it has forgotten, and as irregular as it gets.
            let target = model[&b"file"[..]];
            let names: Vec<_> = model.keys().cloned().collect();
            for (number, old) in names.iter().enumerate() {
                if random.below(2) == 0 {
                    continue;
                }
                remove(&mut changed.editor(), old).unwrap();
                model.remove(old);
                let new = name(8, number, &mut random);
                insert(&mut changed.editor(), &new, target).unwrap();
                model.insert(new, target);
            }
            changed.verify(&model);
            image.commit(&mut changed.volume, &changed.inode).unwrap();
            image.mounted("ro", |root| assert!(seen_by_kernel(root) == inodes(&model)));
            // And the kernel goes on as well.
            image.mounted("rw", |root| {
                for name in model.keys() {
                    let path = root.join("d").join(OsStr::from_bytes(name));
                    host::remove_file(path).unwrap();
                }
                assert!(seen_by_kernel(root).is_empty());
                host::remove_dir(root.join("d")).unwrap();
            });
        }
    }
}
