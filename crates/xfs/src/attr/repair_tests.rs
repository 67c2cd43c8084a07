//! Attributes on real file systems: set by the kernel, changed here, read by `xfs_repair` and by
//! the kernel.

use super::*;
use crate::fork_access::{ForkEditor, ForkReader};
use crate::inode::{Fork, Inode};
use crate::real::{Image, is_long};
use crate::volume::Volume;
use rustix::fs::XattrFlags;
use std::collections::BTreeMap;
use std::path::Path;

/// What a file should have.
type Model = BTreeMap<Vec<u8>, Vec<u8>>;

struct Changed {
    volume: Volume,
    inode: Inode,
}

impl Changed {
    fn open(image: &Image, name: &[u8]) -> Self {
        let volume = image.open();
        let root = volume.superblock.raw().sb_rootino.get();
        let inode = volume.inode(root).unwrap();
        let reader = ForkReader {
            volume: &volume,
            inode: &inode,
            fork: Fork::Data,
        };
        let target = crate::dir::lookup(&reader, name).unwrap().unwrap();
        let inode = volume.inode(target.inode).unwrap();
        Self { volume, inode }
    }

    fn reader(&self) -> ForkReader<'_> {
        ForkReader {
            volume: &self.volume,
            inode: &self.inode,
            fork: Fork::Attributes,
        }
    }

    fn set(&mut self, name: &[u8], value: Option<&[u8]>) {
        let mut editor = ForkEditor {
            volume: &mut self.volume,
            inode: &mut self.inode,
            fork: Fork::Attributes,
        };
        set(&mut editor, name, value).unwrap();
    }

    fn verify(&self, model: &Model) {
        assert_eq!(check(&self.reader()).unwrap(), [""; 0]);
        let listed = list(&self.reader()).unwrap();
        let listed: Model = listed.into_iter().map(|x| (x.name, x.value)).collect();
        assert!(listed == *model);
    }
}

/// All attributes as the kernel shows them, without those that it shows a second time by the names
/// that lists have on disk.
fn seen_by_kernel(path: &Path) -> Model {
    let mut names = vec![0_u8; 1 << 16];
    let len = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..len].split(|byte| *byte == 0);
    let mut model = Model::new();
    for name in names.filter(|name| !name.is_empty()) {
        if name.starts_with(b"trusted.SGI_ACL_") {
            continue;
        }
        let mut value = vec![0_u8; 65536];
        let len = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        model.insert(name.to_vec(), value[..len].to_vec());
    }
    model
}

fn attribute(number: usize) -> (Vec<u8>, Vec<u8>) {
    let space = ["user", "trusted", "security"][number % 3];
    let name = format!("{space}.{number}{}", "n".repeat(number * 13 % 200));
    let lens = [0, 20, 200, 255, 256, 900, 2900, 3300, 9000, 65536];
    let value = vec![u8::try_from(number % 251).unwrap(); lens[number * 7 % lens.len()]];
    (name.into_bytes(), value)
}

const LIST: &[u8] = &[
    2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 4, 0, 0xe8, 3, 0, 0, 4, 0, 4, 0, 0xff,
    0xff, 0xff, 0xff, 0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff, 0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff,
];

#[test]
fn repair_and_the_kernel_agree_with_what_was_set() {
    let options: [&[&str]; 3] = [
        &["-m", "rmapbt=1"],
        &["-b", "size=1024", "-i", "size=512"],
        &["-i", "size=2048"],
    ];
    let counts: &[usize] = if is_long() {
        &[1, 3, 10, 40, 150, 500]
    } else {
        &[2, 12, 60]
    };
    for args in options {
        let Some(image) = Image::make(args, None) else {
            return;
        };
        for count in counts {
            let file = format!("file{count}");
            let mut model = Model::new();
            image.mounted("rw", |root| {
                let path = root.join(&file);
                std::fs::write(&path, "content").unwrap();
                let acl = "system.posix_acl_access";
                rustix::fs::setxattr(&path, acl, LIST, XattrFlags::empty()).unwrap();
                for number in 0..*count {
                    let (name, value) = attribute(number);
                    let flags = XattrFlags::empty();
                    rustix::fs::setxattr(&path, &*name, &value, flags).unwrap();
                }
                for number in (0..*count).step_by(4) {
                    rustix::fs::removexattr(&path, &*attribute(number).0).unwrap();
                }
                model = seen_by_kernel(&path);
            });
            if model.is_empty() {
                return;
            }
            assert_eq!(model[&b"system.posix_acl_access"[..]], LIST);
            let mut changed = Changed::open(&image, file.as_bytes());
            changed.verify(&model);
            // One more of each kind, one less of some.
            for number in *count..count * 2 {
                let (name, value) = attribute(number);
                changed.set(&name, Some(&value));
                model.insert(name, value);
            }
            for (name, _) in (0..count * 2).step_by(3).map(attribute) {
                if model.remove(&name).is_some() {
                    changed.set(&name, None);
                }
            }
            changed.verify(&model);
            image.commit(&mut changed.volume, &changed.inode).unwrap();
            let look = |root: &Path| assert!(seen_by_kernel(&root.join(&file)) == model);
            image.mounted("ro", look);
            // The kernel changes and takes all of it.
            image.mounted("rw", |root| {
                let path = root.join(&file);
                for (number, name) in model.keys().enumerate() {
                    if number % 2 == 0 {
                        let flags = XattrFlags::REPLACE;
                        let value = LIST.to_vec();
                        rustix::fs::setxattr(&path, &**name, &value, flags).unwrap();
                    } else {
                        rustix::fs::removexattr(&path, &**name).unwrap();
                    }
                }
            });
            let names: Vec<_> = model.keys().step_by(2).cloned().collect();
            let mut changed = Changed::open(&image, file.as_bytes());
            for name in &names {
                changed.set(name, None);
            }
            changed.verify(&Model::new());
            image.commit(&mut changed.volume, &changed.inode).unwrap();
        }
    }
}

#[test]
fn repair_agrees_with_what_was_set_on_version_4() {
    let options: [&[&str]; 3] = [
        &["-m", "crc=0"],
        &["-m", "crc=0", "-i", "attr=1,size=512"],
        &["-m", "crc=0", "-b", "size=512", "-i", "size=256"],
    ];
    let prototype = "/\n0 0\nd--755 0 0\nfile ---644 0 0 /etc/passwd\n$\n";
    for args in options {
        let Some(image) = Image::make(args, Some(prototype)) else {
            return;
        };
        let mut changed = Changed::open(&image, b"file");
        let mut model = Model::new();
        for count in [1, 4, 30, 90, 20, 3] {
            let len = model.len();
            for (name, value) in (len..count).map(attribute) {
                changed.set(&name, Some(&value));
                model.insert(name, value);
            }
            let gone: Vec<_> = model.keys().skip(count).cloned().collect();
            for name in gone {
                changed.set(&name, None);
                model.remove(&name);
            }
            changed.verify(&model);
            let raw = changed.volume.superblock.raw_mut();
            // `XFS_SB_VERSION_ATTRBIT`: there are attributes.
            raw.sb_versionnum.set(raw.sb_versionnum.get() | 0x10);
            image.commit(&mut changed.volume, &changed.inode).unwrap();
        }
    }
}
