//! Several that use a store at once. Each opens it for itself, as a process does.

use crate::support::{Disk, Random, content, write};
use ondisk::{Interrupt, NoProgress};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use store::{BLOCK, Children, NewSnapshot, SnapshotId, Store};

const ROUNDS: u64 = 12;

/// Makes snapshots of a disk that comes back to what it was, and removes the ones before.
fn writer(dir: &Path, machine: &str) -> (SnapshotId, Disk) {
    let store = Store::create(dir).unwrap();
    // Both writers have the same seed, so they store the same blocks at the same time.
    let mut random = Random(5);
    let mut disk = Disk::new(6 * BLOCK);
    let mut last: Option<SnapshotId> = None;
    for round in 0..ROUNDS {
        for _ in 0..3 {
            let byte = u8::try_from(random.below(3)).unwrap();
            for cell in 0..8 {
                disk.set(8 * random.below(6) + cell, Some(byte));
            }
        }
        let parent = last.take_if(|_| round % 3 != 0);
        let new = NewSnapshot {
            parent: parent.as_ref(),
            machine,
            ..NewSnapshot::default()
        };
        let id = write(&store, &disk, &new).id;
        assert!(
            content(&store, &id) == disk.bytes,
            "round {round} of {machine}"
        );
        for old in parent.into_iter().chain(last.take()) {
            if old != id {
                store
                    .remove(&[old], Children::Keep, &Interrupt::default())
                    .unwrap();
            }
        }
        last = Some(id);
    }
    (last.unwrap(), disk)
}

#[test]
fn two_writers_and_a_collector_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("store");
    let store = Store::create(&dir).unwrap();
    let (collected, running) = (AtomicU64::new(0), AtomicU64::new(2));
    std::thread::scope(|scope| {
        let writers = ["web1", "web2"].map(|machine| {
            let (dir, running) = (&dir, &running);
            scope.spawn(move || {
                let result = std::panic::catch_unwind(|| writer(dir, machine));
                running.fetch_sub(1, Ordering::Release);
                result
            })
        });
        scope.spawn(|| {
            let store = Store::open(&dir).unwrap();
            while running.load(Ordering::Acquire) > 0 {
                let gone = store.gc(&NoProgress, &Interrupt::default()).unwrap();
                collected.fetch_add(gone.blocks, Ordering::Relaxed);
                // Who always has the lock keeps the others from getting it.
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        for writer in writers {
            let (id, disk) = writer.join().unwrap().unwrap();
            assert!(content(&store, &id) == disk.bytes);
        }
    });
    assert!(collected.into_inner() > 0, "nothing was ever collected");
    let report = store.fsck(&NoProgress, &Interrupt::default()).unwrap();
    assert!(report.is_sound(), "{:?}", report.problems);
    assert_eq!(report.snapshots, 2);
}

#[test]
fn whoever_waits_for_a_writer_can_be_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    // What a writer does.
    let lock = std::fs::File::open(dir.path().join("lock")).unwrap();
    lock.lock_shared().unwrap();
    let interrupt = Interrupt::default();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.gc(&NoProgress, &interrupt));
        // Others that write or check do not wait.
        assert!(
            store
                .fsck(&NoProgress, &Interrupt::default())
                .unwrap()
                .is_sound()
        );
        write(&store, &Disk::new(5), &NewSnapshot::default());
        assert!(!waiting.is_finished());
        interrupt.set();
        let result = waiting.join().unwrap();
        assert!(matches!(result, Err(store::Error::Interrupted(_))));
    });
}

#[test]
fn a_lock_that_was_replaced_is_not_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::create(dir.path()).unwrap();
    let path = dir.path().join("lock");
    let old = std::fs::File::open(&path).unwrap();
    old.lock().unwrap();
    let interrupt = Interrupt::default();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| store.gc(&NoProgress, &interrupt));
        std::thread::sleep(Duration::from_millis(50));
        // Somebody restored the directory from a copy, and others lock what is there now.
        std::fs::remove_file(&path).unwrap();
        let new = std::fs::File::create(&path).unwrap();
        new.lock().unwrap();
        drop(old);
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waiting.is_finished());
        drop(new);
        waiting.join().unwrap().unwrap();
    });
}
