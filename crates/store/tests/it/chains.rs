//! Snapshots and their parents.

use crate::support::{content, write};
use block::Memory;
use ondisk::width::usize_of;
use ondisk::{Interrupt, NoProgress};
use std::path::Path;
use store::{BLOCK, Children, Error, Manifest, NewSnapshot, Role, SourceState, Store};

fn disk(blocks: &[u8]) -> Memory {
    let block = |byte: &u8| vec![*byte; usize_of(BLOCK)];
    Memory::new(blocks.iter().flat_map(block).collect())
}

#[test]
fn an_id_is_that_of_the_run_and_not_of_the_moment() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let disk = disk(&[1, 0, 2]);
    let new = NewSnapshot {
        machine: "web1",
        disk: "1",
        created: 10,
        description: "first",
        ..NewSnapshot::default()
    };
    let id = write(&store, &disk, &new).id;
    let later = NewSnapshot {
        created: 11,
        description: "again",
        ..new
    };
    assert_eq!(write(&store, &disk, &later).id, id);
    let manifest = store.manifest(&id).unwrap();
    assert_eq!((manifest.created, &*manifest.description), (10, "first"));
    let others = [
        NewSnapshot {
            machine: "web2",
            ..new
        },
        NewSnapshot { disk: "2", ..new },
        // Names that only look alike when they are joined.
        NewSnapshot {
            machine: "web",
            disk: "11",
            ..new
        },
        NewSnapshot {
            role: Role::Converted,
            ..new
        },
        NewSnapshot {
            parent: Some(&id),
            ..new
        },
    ];
    for other in &others {
        let written = write(&store, &disk, other);
        assert_eq!(written.new_blocks, 0);
        assert_eq!(write(&store, &disk, other).id, written.id);
    }
    let mut all: Vec<_> = store
        .snapshots()
        .unwrap()
        .into_iter()
        .map(|one| one.id)
        .collect();
    all.dedup();
    assert_eq!(all.len(), 6);
}

#[test]
fn the_state_of_a_source_is_kept_and_changes_no_id() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let interrupt = Interrupt::default();
    let id = write(&store, &disk(&[1, 2]), &NewSnapshot::default()).id;
    let before = store.manifest(&id).unwrap();
    assert_eq!(before.source, None);
    assert!(
        !String::from_utf8(before.encode())
            .unwrap()
            .contains("source")
    );
    let state = |text: &str| text.parse::<SourceState>().unwrap();
    for kept in [state("0123abc"), state(&"e".repeat(64))] {
        store.keep_source(&id, &kept, &interrupt).unwrap();
        let manifest = store.manifest(&id).unwrap();
        assert_eq!(manifest.source, Some(kept));
        assert_eq!((&manifest.id, manifest.created), (&id, before.created));
        assert!(store.fsck(&NoProgress, &interrupt).unwrap().is_sound());
    }
    // The same run later leaves it as it is.
    assert!(!write(&store, &disk(&[1, 2]), &NewSnapshot::default()).made);
    let manifest = store.manifest(&id).unwrap();
    assert_eq!(manifest.source, Some(state(&"e".repeat(64))));

    // It is under the checksum too, and nothing but hex.
    let text = String::from_utf8(manifest.encode()).unwrap();
    for other in [
        "e".repeat(63) + "f",
        "E".repeat(64),
        "e".repeat(65),
        String::new(),
    ] {
        let text = text.replace(&"e".repeat(64), &other);
        let decoded = Manifest::decode(Path::new("m"), text.as_bytes());
        assert!(decoded.is_err(), "{other}");
    }
    store
        .remove(std::slice::from_ref(&id), Children::Refuse, &interrupt)
        .unwrap();
    let gone = store.keep_source(&id, &state("0"), &interrupt);
    assert!(matches!(gone, Err(Error::NoSnapshot { .. })));
}

#[test]
fn the_latest_is_the_end_of_the_chain_whatever_the_clock_says() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let latest = |disk, role| {
        let latest = store.latest("web1", disk, role).unwrap();
        latest.map(|manifest| manifest.id)
    };
    let new = NewSnapshot {
        machine: "web1",
        disk: "1",
        created: 1000,
        ..NewSnapshot::default()
    };
    assert_eq!(latest("1", Role::Staging), None);
    let first = write(&store, &disk(&[1, 1]), &new).id;
    let next = NewSnapshot {
        created: 5,
        parent: Some(&first),
        ..new
    };
    let second = write(&store, &disk(&[1, 2]), &next).id;
    let converted = NewSnapshot {
        role: Role::Converted,
        parent: Some(&second),
        ..next
    };
    let converted = write(&store, &disk(&[3, 2]), &converted).id;
    write(
        &store,
        &disk(&[3, 2]),
        &NewSnapshot {
            machine: "web2",
            ..new
        },
    );
    assert_eq!(latest("1", Role::Staging), Some(second.clone()));
    assert_eq!(latest("1", Role::Converted), Some(converted.clone()));
    assert_eq!(latest("2", Role::Staging), None);
    let children = store.children(&second).unwrap();
    assert_eq!(children.len(), 1);
    assert_eq!(children[0].id, converted);
    // Of two branches the later one counts.
    let branch = NewSnapshot { created: 6, ..next };
    let branch = write(&store, &disk(&[9, 9]), &branch).id;
    assert_eq!(latest("1", Role::Staging), Some(branch));
}

#[test]
fn a_child_outlives_its_parent_and_loses_no_block() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let (progress, interrupt) = (NoProgress, Interrupt::default());
    let new = NewSnapshot::default();
    let first = write(&store, &disk(&[1, 2, 3]), &new).id;
    let child = NewSnapshot {
        parent: Some(&first),
        ..new
    };
    let second = write(&store, &disk(&[1, 0, 4]), &child);
    assert_eq!(
        (second.blocks, second.put_blocks, second.new_blocks),
        (2, 2, 1)
    );
    let one = std::slice::from_ref(&first);
    let refused = store.remove(one, Children::Refuse, &interrupt);
    assert!(matches!(refused, Err(Error::HasChildren { .. })));
    store.remove(one, Children::Keep, &interrupt).unwrap();
    let gone = store.remove(one, Children::Keep, &interrupt);
    assert!(matches!(gone, Err(Error::NoSnapshot { .. })));
    assert!(matches!(store.read(&first), Err(Error::NoSnapshot { .. })));
    let orphan = store.write(&disk(&[1]), &child, &progress, &interrupt);
    assert!(matches!(orphan, Err(Error::NoSnapshot { .. })));

    let collected = store.gc(&progress, &interrupt).unwrap();
    assert_eq!(
        (collected.blocks, collected.kept, collected.leftovers),
        (2, 2, 0)
    );
    assert!(collected.bytes > 0);
    let source = disk(&[1, 0, 4]);
    assert_eq!(content(&store, &second.id), source.bytes());
    assert_eq!(store.manifest(&second.id).unwrap().parent, Some(first));
    let report = store.fsck(&progress, &interrupt).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!(
        (report.snapshots, report.blocks, report.unneeded),
        (1, 2, 0)
    );
    store
        .remove(&[second.id], Children::Refuse, &interrupt)
        .unwrap();
    assert_eq!(store.gc(&progress, &interrupt).unwrap().blocks, 2);
}

#[test]
fn what_killed_runs_left_is_collected_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let id = write(&store, &disk(&[1, 2]), &NewSnapshot::default()).id;
    let block = crate::support::files(&dir.path().join("blocks"));
    let leftovers = [
        dir.path().join(".partial-a"),
        dir.path().join("snapshots/.partial-b"),
        dir.path().join("snapshots/snap-00000000000000000.index"),
        dir.path()
            .join("snapshots/.partial-snap-00000000000000000-x"),
        block[0].with_file_name(".partial-c"),
    ];
    for path in &leftovers {
        std::fs::write(path, "x").unwrap();
    }
    let precious = dir.path().join("snapshots/precious.txt");
    std::fs::write(&precious, "x").unwrap();
    let collected = store.gc(&NoProgress, &Interrupt::default()).unwrap();
    assert_eq!((collected.leftovers, collected.bytes), (5, 5));
    assert_eq!((collected.blocks, collected.kept), (0, 2));
    assert!(leftovers.iter().all(|path| !path.exists()) && precious.exists());
    assert_eq!(content(&store, &id), disk(&[1, 2]).bytes());
}

#[test]
fn a_store_of_another_version_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    Store::create(dir.path()).unwrap();
    std::fs::write(dir.path().join("rehost-store.json"), "{\"format\":1}").unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert!(matches!(
        error,
        Error::Format {
            found: 1,
            expected: 2,
            ..
        }
    ));
}

#[test]
fn what_did_not_change_needs_no_snapshot_if_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let new = NewSnapshot {
        only_if_changed: true,
        ..NewSnapshot::default()
    };
    let first = write(&store, &disk(&[1, 0]), &new);
    assert!(first.made, "there is no parent to stand for it");
    let new = NewSnapshot {
        parent: Some(&first.id),
        ..new
    };
    let same = write(&store, &disk(&[1, 0]), &new);
    assert_eq!((&same.id, same.made, same.blocks), (&first.id, false, 1));
    assert_eq!(store.snapshots().unwrap().len(), 1);
    // A disk that grew by zeros is another one.
    let grown = write(&store, &disk(&[1, 0, 0]), &new);
    assert_eq!((grown.made, grown.put_blocks), (true, 0));
    assert_ne!(grown.id, first.id);
    assert!(!write(&store, &disk(&[1, 0, 0]), &new).made);
    let wanted = NewSnapshot {
        only_if_changed: false,
        ..new
    };
    assert!(write(&store, &disk(&[1, 0]), &wanted).made);
}

#[test]
fn what_a_disk_has_grown_by_has_changed_whatever_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let parent = write(&store, &disk(&[1]), &NewSnapshot::default()).id;
    let told = NewSnapshot {
        parent: Some(&parent),
        changed: Some(&[]),
        ..NewSnapshot::default()
    };
    // That the first block differs is not told, so it is not looked at.
    let written = write(&store, &disk(&[9, 0, 2]), &told);
    assert_eq!((written.put_blocks, written.read), (1, 2 * BLOCK));
    assert_eq!(content(&store, &written.id), disk(&[1, 0, 2]).bytes());
}

#[test]
fn a_store_that_was_only_begun_is_empty_and_is_not_collected() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let first = write(&store, &disk(&[1]), &NewSnapshot::default());
    std::fs::remove_dir_all(dir.path().join("snapshots")).unwrap();
    let store = Store::open(dir.path()).unwrap();
    assert!(store.snapshots().unwrap().is_empty());
    // Nor is what the blocks are for known when the directory was lost.
    let (progress, interrupt) = (NoProgress, Interrupt::default());
    assert!(store.gc(&progress, &interrupt).is_err());
    let store = Store::create(dir.path()).unwrap();
    let again = write(&store, &disk(&[1]), &NewSnapshot::default());
    assert_eq!((again.id, again.new_blocks), (first.id, 0));
}

#[test]
fn a_set_is_removed_whole_or_not_at_all_and_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let interrupt = Interrupt::default();
    let mut chain: Vec<store::SnapshotId> = Vec::new();
    for byte in 1..=4 {
        let new = NewSnapshot {
            parent: chain.last(),
            ..NewSnapshot::default()
        };
        let id = write(&store, &disk(&[byte]), &new).id;
        chain.push(id);
    }
    let missing = "snap-00000000000000000".parse().unwrap();
    for (set, children) in [
        (vec![chain[3].clone(), chain[1].clone()], Children::Refuse),
        (vec![chain[3].clone(), missing], Children::Keep),
    ] {
        store.remove(&set, children, &interrupt).unwrap_err();
        assert_eq!(store.ids().unwrap().len(), 4);
    }
    let set = [1, 3, 2].map(|at| chain[at].clone());
    store.remove(&set, Children::Refuse, &interrupt).unwrap();
    assert_eq!(store.ids().unwrap(), [chain[0].clone()]);
    assert_eq!(content(&store, &chain[0]), disk(&[1]).bytes());
    let collected = store.gc(&NoProgress, &interrupt).unwrap();
    assert_eq!((collected.blocks, collected.leftovers), (3, 0));
}

#[test]
fn what_is_made_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(&dir.path().join("new/store")).unwrap();
    let written = write(&store, &disk(&[1, 2]), &NewSnapshot::default());
    assert_eq!(written.new_blocks, 2);
    let mut seen = 0;
    let mut dirs = vec![store.dir().to_owned()];
    while let Some(dir) = dirs.pop() {
        let others = dir.metadata().unwrap().permissions().mode() & 0o077;
        assert_eq!(others, 0, "{}", dir.display());
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                dirs.push(path);
                continue;
            }
            let mode = path.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", path.display());
            seen += 1;
        }
    }
    assert_eq!(seen, 6, "marker, lock, manifest, index, two blocks");
}

#[test]
fn a_store_may_be_at_the_root_of_a_file_system() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("lost+found")).unwrap();
    let found = Store::open(dir.path());
    assert!(matches!(found, Err(Error::NoStore(_))), "{found:?}");
    let store = Store::create(dir.path()).unwrap();
    write(&store, &disk(&[1]), &NewSnapshot::default());
    let report = store.fsck(&NoProgress, &Interrupt::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
}

#[test]
fn where_there_is_no_store_is_told_apart_from_what_is_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    assert!(matches!(Store::open(&absent), Err(Error::NoStore(_))));
    assert!(!absent.exists());
    assert!(matches!(Store::open(dir.path()), Err(Error::NoStore(_))));
    std::fs::write(dir.path().join("x"), "").unwrap();
    assert!(matches!(Store::open(dir.path()), Err(Error::NotAStore(_))));
    let file = dir.path().join("x");
    assert!(matches!(Store::open(&file), Err(Error::Io { .. })));
}

#[test]
fn one_damaged_manifest_keeps_no_other_machine_from_its_snapshots() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let of = |machine, byte| {
        let new = NewSnapshot {
            machine,
            ..NewSnapshot::default()
        };
        write(&store, &disk(&[byte]), &new).id
    };
    let (good, bad) = (of("web1", 1), of("web2", 2));
    let path = dir.path().join(format!("snapshots/{bad}.json"));
    std::fs::write(&path, "{}").unwrap();
    let survey = store.survey().unwrap();
    assert_eq!((survey.manifests.len(), survey.damaged.len()), (1, 1));
    assert!(store.snapshots().is_err());
    let latest = store.latest("web1", "", Role::Staging).unwrap();
    assert_eq!(latest.map(|one| one.id), Some(good.clone()));
    // Nothing is collected as long as it is not given up.
    let (progress, interrupt) = (NoProgress, Interrupt::default());
    assert!(store.gc(&progress, &interrupt).is_err());
    assert_eq!(crate::support::files(&dir.path().join("blocks")).len(), 2);
    store.remove(&[bad], Children::Refuse, &interrupt).unwrap();
    assert_eq!(store.gc(&progress, &interrupt).unwrap().blocks, 1);
    assert_eq!(store.ids().unwrap(), [good]);
}

#[test]
fn a_manifest_of_another_version_is_refused_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let id = write(&store, &disk(&[1]), &NewSnapshot::default()).id;
    let path = dir.path().join(format!("snapshots/{id}.json"));
    let text = std::fs::read_to_string(&path).unwrap();
    let newer = text.replacen("\"format\": 2", "\"format\": 3, \"new\": {}", 1);
    assert_ne!(newer, text);
    std::fs::write(&path, newer).unwrap();
    let error = store.manifest(&id).unwrap_err();
    assert!(matches!(error, Error::Format { found: 3, .. }), "{error:?}");
}
