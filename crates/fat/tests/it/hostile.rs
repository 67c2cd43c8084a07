//! Damaged volumes end in errors.

use crate::common::{Random, Volume, at, content, tree};
use block::{BlockWrite, Memory};
use fat::Fat;
use fs::{FileSystem, NewNode};
use std::sync::Arc;

const NEW: NewNode = NewNode {
    mode: 0o644,
    uid: 0,
    gid: 0,
};

/// A small volume with something of everything in it.
fn sound(bits: u32) -> Vec<u8> {
    let volume = match bits {
        12 => Volume::with(12, 1440, &["-s", "1"]),
        16 => Volume::with(16, 2200, &["-s", "1", "-r", "64"]),
        _ => Volume::with(32, 33_800, &["-s", "1"]),
    };
    let mut fat = volume.open();
    let fs = fat.edit().unwrap();
    let root = fs.root();
    let dir = fs.make_dir(root, b"A directory", NEW).unwrap();
    let inner = fs.make_dir(dir, b"inner", NEW).unwrap();
    for n in 0..20 {
        let name = format!("a file with a long name {n}");
        let node = fs.create(dir, name.as_bytes(), NEW).unwrap();
        fs.replace(node, &content(n, 3_000)).unwrap();
    }
    let node = fs.create(inner, b"x.efi", NEW).unwrap();
    fs.replace(node, &content(1, 20_000)).unwrap();
    fs.commit().unwrap();
    std::fs::read(&volume.path).unwrap()
}

/// Everything that can be done with a volume; errors are fine.
fn use_all(bytes: Vec<u8>) -> Result<(), fs::Error> {
    let device = Arc::new(Memory::new(bytes));
    let _ = fat::probe(&*device);
    let mut fat = Fat::open(device)?;
    let read = tree(&fat);
    let _ = fat.check();
    let _ = fat.space();
    let fs = fat.edit()?;
    let root = fs.root();
    let dir = fs.make_dir(root, b"new dir", NEW)?;
    let node = fs.create(dir, b"a new file with a long name", NEW)?;
    fs.replace(node, &[1; 5_000])?;
    if let Ok(old) = at(&*fs, "A directory") {
        fs.rename((root, b"A directory"), (dir, b"moved"))?;
        for entry in fs.entries(old)? {
            if entry.kind == Some(fs::Kind::File) {
                fs.replace(entry.node, b"short")?;
            }
        }
        let _ = fs.remove(dir, b"moved");
    }
    fs.commit()?;
    read.map(drop)
}

#[test]
fn changed_bytes_never_panic_or_hang() {
    for (bits, rounds) in [(12, 400), (16, 200), (32, 20)] {
        let sound = sound(bits);
        use_all(sound.clone()).unwrap();
        let used: Vec<_> = (0..sound.len())
            .filter(|at| !matches!(sound[*at], 0 | 0xa5))
            .collect();
        let mut random = Random(u64::from(bits));
        let (mut fine, mut refused) = (0, 0);
        for round in 0..rounds {
            let mut bytes = sound.clone();
            for _ in 0..=random.below(8) {
                // The boot sector and FSInfo, the tables and directories, or anywhere.
                let at = match round % 3 {
                    0 => random.below(1_024),
                    1 => used[random.below(used.len().min(6_000))],
                    _ => random.below(bytes.len()),
                };
                bytes[at] = random.next().to_le_bytes()[0];
            }
            match use_all(bytes) {
                Ok(()) => fine += 1,
                Err(_) => refused += 1,
            }
        }
        println!("FAT{bits}: {fine} fine, {refused} refused");
        assert!(refused > 0);
    }
}

/// A FAT16 volume whose tables both get `entries` set; an entry has two bytes.
fn with_entries(entries: &[(u64, u16)]) -> Memory {
    let bytes = sound(16);
    let reserved = u64::from(u16::from_le_bytes([bytes[14], bytes[15]]));
    let size = u64::from(u16::from_le_bytes([bytes[22], bytes[23]])) * 512;
    let device = Memory::new(bytes);
    for (cluster, value) in entries {
        for copy in 0..2 {
            let at = reserved * 512 + copy * size + cluster * 2;
            device.write_at(at, &value.to_le_bytes()).unwrap();
        }
    }
    device
}

/// Name, entries to set, and what is said of them.
type ChainCase<'a> = (&'a str, &'a [(u64, u16)], &'a str);

#[test]
fn broken_chains_are_told_apart_and_refused_before_an_edit() {
    // Cluster 2 is "A directory", 3 is "inner"; the directory grows later, files lie between.
    let cases: [ChainCase<'_>; 5] = [
        ("loop in a directory", &[(2, 2)], "has more than"),
        ("free", &[(2, 0)], "which is free or bad"),
        ("bad", &[(2, 0xfff7)], "which is free or bad"),
        ("out of range", &[(2, 0xfff0)], "does not exist"),
        ("two owners", &[(3, 2)], "used twice"),
    ];
    for (name, entries, message) in cases {
        let mut fat = Fat::open(Arc::new(with_entries(entries))).unwrap();
        let problems = format!("{:?}", fat.check().unwrap());
        assert!(problems.contains(message), "{name}: {problems}");
        let Err(fs::Error::Corrupt(source)) = fat.edit().map(drop) else {
            panic!("{name}: edited");
        };
        assert!(source.to_string().contains(message), "{name}: {source}");
    }
}

#[test]
fn a_chain_that_is_too_short_for_its_file_gives_no_bytes() {
    let sound = Fat::open(Arc::new(with_entries(&[]))).unwrap();
    let path = "A directory/inner/x.efi";
    assert_eq!(
        fs::read_file(&sound, at(&sound, path).unwrap(), 1 << 20)
            .unwrap()
            .len(),
        20_000
    );
    // Ending every chain after its first cluster must not shorten what is read.
    let all: Vec<_> = (4..4_000).map(|cluster| (cluster, 0xffff)).collect();
    let fat = Fat::open(Arc::new(with_entries(&all))).unwrap();
    let Ok(node) = at(&fat, path) else {
        return;
    };
    let read = fs::read_file(&fat, node, 1 << 20);
    assert!(matches!(read, Err(fs::Error::Corrupt(_))), "{read:?}");
}

#[test]
fn a_device_that_fails_ends_the_edit() {
    #[derive(Debug)]
    struct Failing {
        inner: Memory,
        left: std::sync::atomic::AtomicU64,
    }
    impl Failing {
        fn count(&self, offset: u64) -> Result<(), block::Error> {
            use std::sync::atomic::Ordering::Relaxed;
            let left = self.left.load(Relaxed);
            self.left.store(left.saturating_sub(1), Relaxed);
            let source = std::io::Error::other("gone");
            if left == 0 {
                Err(block::Error::Io { offset, source })
            } else {
                Ok(())
            }
        }
    }
    impl block::BlockRead for Failing {
        fn size(&self) -> u64 {
            self.inner.size()
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
            self.count(offset)?;
            self.inner.read_at(offset, buf)
        }
    }
    impl BlockWrite for Failing {
        fn write_at(&self, offset: u64, buf: &[u8]) -> Result<(), block::Error> {
            self.count(offset)?;
            self.inner.write_at(offset, buf)
        }
    }
    let bytes = sound(12);
    let mut ended = 0;
    for left in 0..200 {
        let device = Failing {
            inner: Memory::new(bytes.clone()),
            left: left.into(),
        };
        let edits = || -> Result<(), fs::Error> {
            let mut fat = Fat::open(Arc::new(device))?;
            let fs = fat.edit()?;
            let dir = at(&*fs, "A directory")?;
            fs.remove(dir, b"a file with a long name 3")?;
            let node = fs.create(dir, b"new", NEW)?;
            fs.replace(node, &[7; 60_000])?;
            fs.commit()
        };
        match edits() {
            Ok(()) => ended += 1,
            Err(fs::Error::Block(_)) => {}
            Err(error) => panic!("{left}: {error:?}"),
        }
    }
    assert!(ended > 0);
}
