//! What `fsck` finds.

use crate::support::{Disk, Random, files, write};
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, NoProgress};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use store::{BLOCK, Children, Error, NewSnapshot, Report, SnapshotId, Store};

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

/// What opening the store or checking it says about a path, by kind; what else it says is about what
/// misses it.
fn finds(dir: &Path, path: &Path) -> bool {
    match Store::open(dir) {
        Err(problem) => path_of(&problem) == path,
        Ok(store) => match store.fsck(&NoProgress, &Interrupt::default()) {
            Err(problem) => path_of(&problem) == path,
            Ok(report) => report.problems.iter().any(|one| path_of(one) == path),
        },
    }
}

/// Every file of a store, and how often each kind is among them: marker, lock, manifest, index, block.
fn all(dir: &Path) -> (Vec<PathBuf>, [u32; 5]) {
    let paths = files(dir);
    let mut kinds = [0; 5];
    for path in &paths {
        let extension = path.extension().and_then(|extension| extension.to_str());
        kinds[match extension {
            Some("json") if path.ends_with("rehost-store.json") => 0,
            None => 1,
            Some("json") => 2,
            Some("index") => 3,
            _ => 4,
        }] += 1;
    }
    (paths, kinds)
}

#[test]
fn a_bit_that_flips_in_any_file_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store(dir.path());
    let report = fsck(&store);
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!((report.snapshots, report.blocks), (2, 3));
    let mut random = Random(11);
    let (paths, kinds) = all(dir.path());
    assert_eq!(kinds, [1, 1, 2, 2, 3]);
    for path in paths {
        let sound = fs::read(&path).unwrap();
        let bytes = u64_of(sound.len());
        // Frames have their headers first and checksums last.
        let mut chosen: Vec<u64> = if bytes < 1000 {
            (0..bytes).map(|byte| 8 * byte + byte % 8).collect()
        } else {
            let some = (0..50).map(|_| random.below(8 * bytes));
            (0..80)
                .chain(8 * bytes - 100..8 * bytes)
                .chain(some)
                .collect()
        };
        if bytes < 60 {
            chosen = (0..8 * bytes).collect();
        }
        for bit in chosen {
            let mut bytes = sound.clone();
            bytes[usize_of(bit / 8)] ^= 1 << (bit % 8);
            fs::write(&path, bytes).unwrap();
            assert!(finds(dir.path(), &path), "bit {bit} of {}", path.display());
        }
        fs::write(&path, sound).unwrap();
    }
    assert!(fsck(&store).is_sound());
}

#[test]
fn a_file_that_is_too_short_or_too_long_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store(dir.path());
    for path in all(dir.path()).0 {
        let sound = fs::read(&path).unwrap();
        let len = sound.len();
        let shorter = [0, 1, len / 2, len.saturating_sub(4), len.saturating_sub(1)];
        for end in shorter.into_iter().filter(|end| *end < len) {
            fs::write(&path, &sound[..end]).unwrap();
            assert!(finds(dir.path(), &path), "{end} of {}", path.display());
        }
        for tail in [&b"\0"[..], b"\n", b" ", b"}", &sound[..], &[0; 4096]] {
            if !tail.is_empty() {
                fs::write(&path, [&sound, tail].concat()).unwrap();
                assert!(finds(dir.path(), &path), "{tail:?} on {}", path.display());
            }
        }
        fs::write(&path, sound).unwrap();
    }
    assert!(fsck(&store).is_sound());
}

#[test]
fn what_is_no_file_is_found_in_a_files_place_and_never_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let outside = tempfile::tempdir().unwrap();
    let (store, _) = store(dir.path());
    let aside = outside.path().join("aside");
    for path in all(dir.path()).0 {
        fs::rename(&path, &aside).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(finds(dir.path(), &path), "directory {}", path.display());
        fs::remove_dir(&path).unwrap();
        // Though all that is read is right, it is not the store's.
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        assert!(finds(dir.path(), &path), "link {}", path.display());
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("nowhere", &path).unwrap();
        assert!(finds(dir.path(), &path), "dead link {}", path.display());
        fs::remove_file(&path).unwrap();
        let made = Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        assert!(finds(dir.path(), &path), "pipe {}", path.display());
        fs::remove_file(&path).unwrap();
        fs::rename(&aside, &path).unwrap();
    }
    let sub = files(&dir.path().join("blocks"))[0]
        .parent()
        .unwrap()
        .to_owned();
    fs::rename(&sub, &aside).unwrap();
    std::os::unix::fs::symlink(&aside, &sub).unwrap();
    assert!(finds(dir.path(), &sub));
    fs::remove_file(&sub).unwrap();
    fs::rename(&aside, &sub).unwrap();
    assert!(fsck(&store).is_sound());
}

#[test]
fn a_file_that_is_gone_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ids) = store(dir.path());
    for path in all(dir.path()).0 {
        let sound = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // What names a lost manifest is its index.
        let named = match path.extension() {
            Some(extension) if extension == "json" && !path.ends_with("rehost-store.json") => {
                path.with_extension("index")
            }
            _ => path.clone(),
        };
        // Whoever locks the store makes the lock.
        if !path.ends_with("lock") {
            assert!(finds(dir.path(), &named), "{}", path.display());
        }
        fs::write(&path, sound).unwrap();
    }
    for name in ["blocks", "snapshots"] {
        let path = dir.path().join(name);
        let aside = dir.path().with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        assert!(finds(dir.path(), &path), "{name}");
        fs::rename(&aside, &path).unwrap();
    }
    // A lost manifest is not a reason to collect what the snapshot needs.
    let manifest = dir.path().join(format!("snapshots/{}.json", ids[1]));
    fs::remove_file(&manifest).unwrap();
    let (progress, interrupt) = (NoProgress, Interrupt::default());
    let error = store.gc(&progress, &interrupt).unwrap_err();
    assert_eq!(path_of(&error), manifest.with_extension("index"));
    assert_eq!(files(&dir.path().join("blocks")).len(), 3);
    // Until the snapshot is given up.
    let lost = std::slice::from_ref(&ids[1]);
    store.remove(lost, Children::Refuse, &interrupt).unwrap();
    assert!(fsck(&store).is_sound());
    assert_eq!(store.gc(&progress, &interrupt).unwrap().blocks, 1);
}

#[test]
fn a_file_under_another_name_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store(dir.path());
    let (paths, _) = all(dir.path());
    for kind in ["zst", "index", "json"] {
        let of_kind: Vec<_> = paths
            .iter()
            .filter(|path| path.extension().is_some_and(|extension| extension == kind))
            .filter(|path| !path.ends_with("rehost-store.json"))
            .collect();
        let [a, b, ..] = of_kind.as_slice() else {
            panic!("{paths:?}");
        };
        let sound = fs::read(a).unwrap();
        fs::copy(b, a).unwrap();
        assert!(finds(dir.path(), a), "{}", a.display());
        fs::write(a, &sound).unwrap();
        // Nor does anything belong where it is not looked for.
        let name = a.file_name().unwrap().to_str().unwrap();
        for name in [name.to_uppercase(), format!("{name}.bak"), "x".to_owned()] {
            let moved = a.with_file_name(name);
            fs::rename(a, &moved).unwrap();
            assert!(finds(dir.path(), &moved), "{}", moved.display());
            fs::rename(&moved, a).unwrap();
        }
    }
    let block = paths
        .iter()
        .find(|path| path.extension().is_some_and(|extension| extension == "zst"))
        .unwrap();
    let elsewhere = dir
        .path()
        .join("blocks/zz")
        .join(block.file_name().unwrap());
    fs::create_dir(elsewhere.parent().unwrap()).unwrap();
    fs::rename(block, &elsewhere).unwrap();
    assert!(finds(dir.path(), block));
    assert!(finds(dir.path(), elsewhere.parent().unwrap()));
    fs::rename(&elsewhere, block).unwrap();
    fs::remove_dir(elsewhere.parent().unwrap()).unwrap();
    assert!(fsck(&store).is_sound());
}

#[test]
fn a_file_that_may_not_be_read_is_found() {
    use std::os::unix::fs::PermissionsExt;
    if rustix::process::geteuid().is_root() {
        eprintln!("skipped: root may read everything");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = store(dir.path());
    let sub = files(&dir.path().join("blocks"))[0]
        .parent()
        .unwrap()
        .to_owned();
    let (mut paths, _) = all(dir.path());
    paths.extend([sub, dir.path().join("blocks"), dir.path().join("snapshots")]);
    for path in paths {
        let mode = path.metadata().unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
        let found = finds(dir.path(), &path);
        fs::set_permissions(&path, mode).unwrap();
        assert!(found, "{}", path.display());
    }
    assert!(fsck(&store).is_sound());
}

#[test]
fn what_killed_runs_left_is_no_damage_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (store, ids) = store(dir.path());
    let snapshots = dir.path().join("snapshots");
    // A removal that was killed after its first step, and then after its second.
    let manifest = snapshots.join(format!("{}.json", ids[1]));
    fs::rename(
        &manifest,
        snapshots.join(format!(".partial-{}-removed", ids[1])),
    )
    .unwrap();
    let report = fsck(&store);
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!(
        (report.snapshots, report.unfinished, report.unneeded),
        (1, 1, 1)
    );
    fs::write(dir.path().join("blocks/.partial-x"), "").unwrap();
    assert_eq!(fsck(&store).unfinished, 2);
    let collected = store.gc(&NoProgress, &Interrupt::default()).unwrap();
    assert_eq!((collected.blocks, collected.leftovers), (1, 3));
    let report = fsck(&store);
    assert!(report.is_sound());
    assert_eq!((report.unfinished, report.unneeded), (0, 0));
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
