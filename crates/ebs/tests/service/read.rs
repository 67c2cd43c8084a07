//! Snapshots in EBS as block devices.

use crate::common::{Content, Disk, fake};
use crate::connect;
use block::{BlockRead, ExtentKind};
use ebs::Error;
use fake_aws::{Action, FakeAws, Faults, Seed};
use ondisk::Interrupt;
use std::collections::BTreeMap;
use store::BLOCK;

fn plant(fake: &FakeAws, disk: &Disk, parent: Option<&str>) -> String {
    let blocks: BTreeMap<_, _> = (0..disk.blocks.len())
        .filter(|index| disk.blocks[*index] != Content::Hole)
        .map(|index| (u32::try_from(index).unwrap(), disk.block(index).into()))
        .collect();
    fake.seed_snapshot(Seed {
        volume_size: 1,
        parent: parent.map(str::to_owned),
        blocks,
        ..Seed::default()
    })
    .unwrap()
}

fn sparse() -> Disk {
    Disk::new(1 << 30, |block| match block % 7 {
        0 => Content::Seed(block),
        _ => Content::Hole,
    })
}

#[test]
fn only_what_is_read_is_fetched_and_once() {
    let fake = fake();
    let disk = sparse();
    let id = plant(&fake, &disk, None);
    fake.set_faults(Faults {
        page_limit: 100,
        ..Faults::default()
    });
    let snapshot = connect(&fake).open(&id, &Interrupt::default()).unwrap();
    assert_eq!(snapshot.size(), 1 << 30);
    assert_eq!(fake.counter(Action::GetSnapshotBlock).requests, 0);
    let gets = || fake.counter(Action::GetSnapshotBlock).requests;
    let mut bytes = vec![0xee; 4096];
    // Inside a block, and then a hole.
    snapshot.read_at(7 * BLOCK + 100, &mut bytes).unwrap();
    assert!(bytes == disk.block(7)[100..4196]);
    snapshot.read_at(8 * BLOCK + 100, &mut bytes).unwrap();
    assert!(bytes.iter().all(|byte| *byte == 0));
    assert_eq!(gets(), 1);
    // Over a border, where the first block is known.
    snapshot.read_at(8 * BLOCK - 2048, &mut bytes).unwrap();
    assert!(bytes[..2048] == disk.block(7)[(512 << 10) - 2048..]);
    assert_eq!(gets(), 1);
    snapshot.read_at(14 * BLOCK - 2048, &mut bytes).unwrap();
    assert_eq!(gets(), 2);
    assert!(snapshot.read_at((1 << 30) - 1, &mut bytes).is_err());
    assert!(snapshot.read_at(u64::MAX, &mut bytes).is_err());
    let kinds: Vec<_> = [0, BLOCK, 7 * BLOCK + 5]
        .map(|at| snapshot.extent_at(at).unwrap())
        .into();
    assert_eq!(
        (kinds[0].kind, kinds[0].range.clone()),
        (ExtentKind::Data, 0..BLOCK)
    );
    assert_eq!(
        (kinds[1].kind, kinds[1].range.clone()),
        (ExtentKind::Zero, BLOCK..7 * BLOCK)
    );
    assert_eq!(kinds[2].range, 7 * BLOCK..8 * BLOCK);
    let device: &dyn BlockRead = &snapshot;
    let data = device
        .extents()
        .map(Result::unwrap)
        .filter(|extent| extent.kind == ExtentKind::Data);
    assert_eq!(data.count(), 293);
}

#[test]
fn threads_that_read_the_same_block_share_one_request() {
    let fake = fake();
    let disk = sparse();
    let id = plant(&fake, &disk, None);
    fake.set_faults(Faults {
        latency_ms: 100,
        ..Faults::default()
    });
    let snapshot = connect(&fake).open(&id, &Interrupt::default()).unwrap();
    std::thread::scope(|scope| {
        for at in 0..16 {
            let (snapshot, disk) = (&snapshot, &disk);
            scope.spawn(move || {
                let mut bytes = vec![0; 512];
                snapshot.read_at(at * 512, &mut bytes).unwrap();
                let at = usize::try_from(at).unwrap() * 512;
                assert!(bytes == disk.block(0)[at..at + 512]);
            });
        }
    });
    assert_eq!(fake.counter(Action::GetSnapshotBlock).requests, 1);
}

#[test]
fn a_child_reads_as_the_whole_disk() {
    let fake = fake();
    let base = Disk::new(40 * BLOCK, |block| match block % 3 {
        0 => Content::Hole,
        _ => Content::Seed(block),
    });
    let parent = plant(&fake, &base, None);
    let mut changes = Disk::new(40 * BLOCK, |_| Content::Hole);
    changes.blocks[3] = Content::Seed(100);
    changes.blocks[4] = Content::Zeros;
    changes.blocks[30] = Content::Seed(101);
    let child = plant(&fake, &changes, Some(&parent));
    let ebs = connect(&fake);
    let snapshot = ebs.open(&child, &Interrupt::default()).unwrap();
    let mut bytes = vec![0xee; 40 << 19];
    snapshot.read_at(0, &mut bytes).unwrap();
    for (index, block) in bytes.chunks_exact(512 << 10).enumerate() {
        let from = match changes.blocks[index] {
            Content::Hole => &base,
            _ => &changes,
        };
        assert!(block == from.block(index), "{index}");
    }
    let changed = ebs.changed(&parent, &child, &Interrupt::default()).unwrap();
    assert_eq!(changed, [3 * BLOCK..5 * BLOCK, 30 * BLOCK..31 * BLOCK]);
    let stranger = plant(&fake, &changes, None);
    let error = ebs
        .changed(&stranger, &child, &Interrupt::default())
        .unwrap_err();
    assert!(
        matches!(&error, Error::Refused { code, .. } if code.contains("UNRELATED")),
        "{error}"
    );
}

#[test]
fn void_tokens_are_listed_again() {
    let fake = fake();
    let disk = sparse();
    let id = plant(&fake, &disk, None);
    let ebs = connect(&fake);
    let first = ebs.open(&id, &Interrupt::default()).unwrap();
    // Listing makes the tokens of the first void.
    let second = ebs.open(&id, &Interrupt::default()).unwrap();
    let mut bytes = vec![0; 8];
    for round in 0..6 {
        let at = 7 * round;
        for snapshot in [&first, &second] {
            snapshot.read_at(at * BLOCK, &mut bytes).unwrap();
            assert!(bytes == disk.block(usize::try_from(at).unwrap())[..8]);
        }
    }
}

#[test]
fn what_is_not_there_or_not_complete_is_said() {
    let fake = fake();
    let ebs = connect(&fake);
    let none = Interrupt::default();
    let error = ebs.open("snap-0123456789abcdef0", &none).unwrap_err();
    assert!(matches!(error, Error::NoSnapshot(_)), "{error}");
    assert!(matches!(
        ebs.open("vol-1", &none),
        Err(Error::Setting { .. })
    ));
    let id = plant(&fake, &sparse(), None);
    fake.set_faults(Faults {
        denied: [Action::GetSnapshotBlock].into(),
        ..Faults::default()
    });
    let snapshot = ebs.open(&id, &none).unwrap();
    let error = snapshot.read_at(0, &mut [0; 8]).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("ebs:GetSnapshotBlock"), "{source}");
}
