//! What `fsck` finds.

use crate::support::{Disk, Random, files, write};
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, NoProgress};
use std::fs;
use std::path::{Path, PathBuf};
use store::{BLOCK, Error, NewSnapshot, Report, SnapshotId, Store};

/// A store of a snapshot and its child.
fn store(dir: &Path) -> (Store, [SnapshotId; 2]) {
    let store = Store::create(dir).unwrap();
    let mut disk = Disk::new(4 * BLOCK + 1000);
    disk.set(0, Some(1));
    disk.set(9, Some(2));
    Random(3).fill(&mut disk.bytes[..3000]);
    let new = NewSnapshot {
        machine: "web1",
        disk: "1",
        description: "a \"quoted\" name",
        ..NewSnapshot::default()
    };
    let first = write(&store, &disk, &new).id;
    disk.set(9, None);
    disk.set(32, Some(3));
    let new = NewSnapshot {
        parent: Some(&first),
        ..new
    };
    let second = write(&store, &disk, &new).id;
    (store, [first, second])
}

fn fsck(store: &Store) -> Report {
    store.fsck(&NoProgress, &Interrupt::default()).unwrap()
}

fn path_of(problem: &Error) -> PathBuf {
    match problem {
        Error::Corrupt { path, .. }
        | Error::Json { path, .. }
        | Error::Format { path, .. }
        | Error::Io { path, .. } => path.clone(),
        other => panic!("{other:?} names no file"),
    }
}

#[test]
fn a_bit_that_flips_in_any_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store(dir.path());
    let report = fsck(&store);
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.snapshots, report.blocks), (2, 3));
    let mut random = Random(11);
    let mut kinds = [0; 4];
    for path in files(dir.path()) {
        let sound = fs::read(&path).unwrap();
        let bits = u64_of(sound.len()) * 8;
        if bits == 0 {
            assert!(path.ends_with("lock"));
            continue;
        }
        let extension = path.extension().unwrap().to_str().unwrap();
        kinds[match (extension, path.ends_with("rehost-store.json")) {
            ("json", true) => 0,
            ("json", false) => 1,
            ("index", _) => 2,
            _ => 3,
        }] += 1;
        // Frames have their headers first and checksums last.
        let chosen: Vec<u64> = if bits < 600 {
            (0..bits).collect()
        } else {
            let some = (0..20).map(|_| random.below(bits));
            (0..80).chain(bits - 100..bits).chain(some).collect()
        };
        for bit in chosen {
            let mut bytes = sound.clone();
            bytes[usize_of(bit / 8)] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            match Store::open(dir.path()) {
                Err(problem) => assert_eq!(path_of(&problem), path, "bit {bit}"),
                Ok(store) => {
                    let report = fsck(&store);
                    let told = report
                        .problems
                        .iter()
                        .any(|problem| path_of(problem) == path);
                    assert!(told, "bit {bit} of {}: {report:?}", path.display());
                }
            }
        }
        fs::write(&path, sound).unwrap();
    }
    assert_eq!(kinds, [1, 2, 2, 3]);
    assert!(fsck(&store).is_sound());
}

#[test]
fn every_bit_of_a_manifest_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ids) = store(dir.path());
    let manifest = store.manifest(&ids[1]).unwrap();
    let (path, sound) = (Path::new("x.json"), manifest.encode());
    assert_eq!(store::Manifest::decode(path, &sound).unwrap(), manifest);
    for bit in 0..sound.len() * 8 {
        let mut bytes = sound.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(store::Manifest::decode(path, &bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn what_is_missing_is_found_and_who_needs_it_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ids) = store(dir.path());
    let index = store.read(&ids[0]).unwrap().index().clone();
    let [(_, shared), (_, alone)] = index.records() else {
        panic!("{index:?}");
    };
    let block = |digest: &store::Digest| {
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        dir.path().join("blocks").join(&hex[..2]).join(hex + ".zst")
    };
    for (digest, hurt) in [(shared, &[(0, 1), (1, 1)][..]), (alone, &[(0, 1)])] {
        let path = block(digest);
        let sound = fs::read(&path).unwrap();
        let short = sound[..5].to_vec();
        for damage in [None, Some(short), Some(Vec::new())] {
            match damage {
                None => fs::remove_file(&path).unwrap(),
                Some(bytes) => fs::write(&path, bytes).unwrap(),
            }
            let report = fsck(&store);
            assert_eq!(report.problems.len(), 1, "{report:?}");
            assert_eq!(path_of(&report.problems[0]), path);
            let mut expected: Vec<_> = hurt.iter().map(|(at, n)| (ids[*at].clone(), *n)).collect();
            expected.sort();
            assert_eq!(report.hurt, expected);
        }
        fs::write(&path, sound).unwrap();
    }
    let index = dir.path().join(format!("snapshots/{}.index", ids[0]));
    let sound = fs::read(&index).unwrap();
    for damage in [
        None,
        Some(&sound[..36]),
        Some(&[&sound[..], &sound].concat()),
    ] {
        fs::remove_file(&index).unwrap();
        if let Some(bytes) = damage {
            fs::write(&index, bytes).unwrap();
        }
        let report = fsck(&store);
        assert_eq!(path_of(&report.problems[0]), index);
        // Which blocks it needs is not known, so nothing is removed.
        assert!(store.gc(&NoProgress, &Interrupt::default()).is_err());
        assert_eq!(files(&dir.path().join("blocks")).len(), 3);
        fs::write(&index, &sound).unwrap();
    }
    // A manifest under the name of another one.
    let [first, second] = ids
        .each_ref()
        .map(|id| dir.path().join(format!("snapshots/{id}.json")));
    let sound = fs::read(&first).unwrap();
    fs::copy(&second, &first).unwrap();
    assert_eq!(path_of(&fsck(&store).problems[0]), first);
    assert!(matches!(store.read(&ids[0]), Err(Error::Corrupt { .. })));
    fs::write(&first, sound).unwrap();
    for name in ["blocks/x", "snapshots/y.json", "z", "blocks/ab/0.zst"] {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(path_of(&fsck(&store).problems[0]), path);
        fs::remove_file(&path).unwrap();
    }
    let _ = fs::remove_dir(dir.path().join("blocks/ab"));
    assert!(fsck(&store).is_sound());
}

#[test]
fn a_damaged_block_is_written_anew_when_it_is_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store(dir.path());
    for path in files(&dir.path().join("blocks")) {
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    assert_eq!(fsck(&store).problems.len(), 3);
    let dir = tempfile::tempdir().unwrap();
    let (other, ids) = self::store(dir.path());
    let disks = ids.map(|id| other.read(&id).unwrap());
    for disk in &disks {
        write(&store, disk, &NewSnapshot::default());
    }
    assert!(fsck(&store).is_sound());
}
