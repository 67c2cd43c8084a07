//! Uploads against a fake that checks what the real service checks, over real sockets.

use crate::common::{self, Content, Disk, Random, config, fake, request};
use crate::connect;
use ebs::{Ebs, Encryption, Error, UploadRequest, Uploaded, tag};
use fake_aws::{Action, Chance, FakeAws, Faults};
use ondisk::{Interrupt, NoProgress};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use store::{BLOCK, Index};

fn upload(ebs: &Ebs, request: &UploadRequest<'_>) -> Result<Uploaded, Error> {
    ebs.upload(request, &NoProgress, &Interrupt::default())
}

fn puts(fake: &FakeAws) -> u64 {
    fake.counter(Action::PutSnapshotBlock).ok
}

/// That the snapshot has what the disk has, as the fake knows it; a hole of an encrypted disk is nobody's.
fn assert_content(fake: &FakeAws, id: &str, disk: &Disk) {
    let state = fake.snapshot(id).unwrap();
    assert_eq!(state.status, "completed", "{:?}", state.message);
    let content = fake.snapshot_content(id).unwrap();
    let mut found = content.iter().peekable();
    for index in 0..disk.blocks.len() {
        let block = found.next_if(|block| usize::try_from(block.index).unwrap() == index);
        match block {
            Some(block) => assert!(
                block.data.as_ref().unwrap() == &disk.block(index),
                "{index}"
            ),
            None if state.key.is_some() => assert_eq!(disk.blocks[index], Content::Hole),
            None => assert!(disk.is_zero(index), "block {index} is missing"),
        }
    }
    assert_eq!(found.next(), None);
}

fn random_content(random: &mut Random) -> Content {
    match random.below(4) {
        0 => Content::Hole,
        1 => Content::Zeros,
        _ => Content::Seed(random.below(3)),
    }
}

fn assert_chain(seed: u64, encrypted: bool) {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let ebs = connect(&fake);
    let mut random = Random(seed);
    let mut disk = Disk::new(20 * BLOCK + 1000, |_| random_content(&mut random));
    // The model: which blocks any snapshot of the chain has put, and with what.
    let mut stored: Vec<Option<Vec<u8>>> = vec![None; 40];
    let mut parent: Option<(String, Index)> = None;
    for generation in 0..4 {
        let mut expected = 0_u64;
        for (index, stored) in stored.iter_mut().enumerate().take(disk.blocks.len()) {
            let content = disk.block(index);
            let needed = match stored {
                Some(old) => *old != content,
                None if encrypted => disk.blocks[index] != Content::Hole,
                None => !disk.is_zero(index),
            };
            if needed {
                expected += 1;
                *stored = Some(content);
            }
        }
        let identity = generation.to_string();
        let mut request = request(&disk, dir.path(), &identity);
        request.parent = parent
            .as_ref()
            .map(|(id, index)| common::parent(id, index, encrypted));
        if encrypted && parent.is_none() {
            request.encryption = Encryption::DefaultKey;
        }
        let before = puts(&fake);
        let uploaded = upload(&ebs, &request).unwrap();
        assert_eq!(
            uploaded.put, expected,
            "seed {seed}, generation {generation}"
        );
        assert_eq!(puts(&fake) - before, expected);
        assert_eq!(
            fake.snapshot(&uploaded.id).unwrap().key.is_some(),
            encrypted
        );
        assert_content(&fake, &uploaded.id, &disk);
        let (saved, _) = ebs::load_index(dir.path(), &uploaded.id).unwrap().unwrap();
        assert_eq!(saved, uploaded.index);
        parent = Some((uploaded.id, uploaded.index));
        for block in &mut disk.blocks {
            if random.below(3) == 0 {
                *block = random_content(&mut random);
            }
        }
        // The disk grows, and its last block is never whole.
        disk.size += 3 * BLOCK;
        let more = (0..3).map(|_| random_content(&mut random));
        disk.blocks.extend(more.collect::<Vec<_>>());
    }
    // Journals are gone, and only the indexes are left.
    let left = std::fs::read_dir(dir.path()).unwrap();
    assert!(
        left.map(|entry| entry.unwrap().path())
            .all(|path| path.extension().unwrap() == "index")
    );
}

#[test]
fn every_snapshot_of_a_chain_has_its_source_and_only_needed_blocks_are_put() {
    for seed in 0..3 {
        assert_chain(seed, false);
    }
}

#[test]
fn an_encrypted_chain_has_no_block_that_was_never_defined() {
    for seed in 10..13 {
        assert_chain(seed, true);
    }
}

#[test]
fn the_same_upload_again_is_the_same_snapshot_and_puts_nothing() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let ebs = connect(&fake);
    let disk = Disk::new(4 * BLOCK, Content::Seed);
    let first = upload(&ebs, &request(&disk, dir.path(), "1")).unwrap();
    assert!(!first.existed);
    let again = upload(&ebs, &request(&disk, dir.path(), "1")).unwrap();
    assert!(again.existed && again.id == first.id && again.index == first.index);
    // From another host, without what the first run kept.
    let elsewhere = tempfile::tempdir().unwrap();
    let again = upload(&ebs, &request(&disk, elsewhere.path(), "1")).unwrap();
    assert!(again.existed && again.id == first.id && again.index == first.index);
    assert_eq!(puts(&fake), 4);
    let other = upload(&ebs, &request(&disk, dir.path(), "2")).unwrap();
    assert_ne!(other.id, first.id);
    let latest = ebs.latest("web1", "sda", ebs::Role::Staging, &Interrupt::default());
    assert_eq!(latest.unwrap().unwrap().id, other.id);
}

#[test]
fn a_disk_that_is_as_its_parent_begins_nothing() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let ebs = connect(&fake);
    let disk = Disk::new(6 * BLOCK, |block| match block {
        0..3 => Content::Seed(block),
        3 => Content::Zeros,
        _ => Content::Hole,
    });
    let one = upload(&ebs, &request(&disk, dir.path(), "1")).unwrap();
    let child = |disk, identity| UploadRequest {
        parent: Some(common::parent(&one.id, &one.index, false)),
        only_if_changed: true,
        ..request(disk, dir.path(), identity)
    };
    let same = upload(&ebs, &child(&disk, "2")).unwrap();
    assert!(same.unchanged && same.id == one.id && same.index == one.index);
    assert_eq!((same.put, same.skipped, same.read), (0, 6, 4 * BLOCK));
    assert_eq!(fake.counter(Action::StartSnapshot).requests, 1);
    // Unless it is to be made in any case, or the volume is to be larger.
    let request = UploadRequest {
        only_if_changed: false,
        ..child(&disk, "3")
    };
    let made = upload(&ebs, &request).unwrap();
    assert!(!made.unchanged && made.id != one.id);
    assert_content(&fake, &made.id, &disk);
    let request = UploadRequest {
        volume_size: Some(2),
        ..child(&disk, "4")
    };
    let larger = upload(&ebs, &request).unwrap();
    assert_eq!(fake.snapshot(&larger.id).unwrap().volume_size, 2);
    // The first block that is to be put begins it, whichever thread comes first.
    let other = Disk::new(6 * BLOCK, |_| Content::Seed(9));
    let two = upload(&ebs, &child(&other, "5")).unwrap();
    assert_eq!((two.unchanged, two.put), (false, 6));
    assert_content(&fake, &two.id, &other);
    assert_eq!(fake.counter(Action::StartSnapshot).requests, 4);
    fake.set_faults(Faults {
        denied: [Action::StartSnapshot].into(),
        ..Faults::default()
    });
    let error = upload(&ebs, &child(&other, "6")).unwrap_err();
    assert!(matches!(error, Error::Denied { .. }), "{error}");
    assert_eq!(fake.counter(Action::StartSnapshot).requests, 5);
}

#[test]
fn of_a_parent_no_more_need_be_known_than_what_may_change() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let ebs = connect(&fake);
    let mut disk = Disk::new(40 * BLOCK, |block| match block % 4 {
        3 => Content::Hole,
        _ => Content::Seed(block),
    });
    let one = upload(&ebs, &request(&disk, dir.path(), "1")).unwrap();
    let parent = ebs.open(&one.id, &Interrupt::default()).unwrap();
    assert_eq!(parent.index(None, &NoProgress).unwrap(), one.index);
    disk.blocks[4] = Content::Seed(99);
    disk.blocks[5] = Content::Zeros;
    disk.blocks[7] = Content::Seed(98);
    let changed = [5 * BLOCK..8 * BLOCK + 1, 4 * BLOCK + 5..4 * BLOCK + 6];
    let within = parent.index(Some(&changed), &NoProgress).unwrap();
    let known: Vec<_> = within.records().iter().map(|record| record.0).collect();
    assert_eq!(known, [4, 5, 6, 8]);
    let child = UploadRequest {
        parent: Some(ebs::Parent {
            whole: false,
            ..common::parent(&one.id, &within, false)
        }),
        changed: Some(&changed),
        ..request(&disk, dir.path(), "2")
    };
    let two = upload(&ebs, &child).unwrap();
    assert_eq!(two.put, 3);
    assert_content(&fake, &two.id, &disk);
    assert_eq!(ebs::load_index(dir.path(), &two.id).unwrap(), None);
}

#[test]
fn an_interrupted_upload_continues_and_puts_no_block_twice() {
    for seed in 0..6 {
        let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
        let mut random = Random(seed);
        let disk = Disk::new(60 * BLOCK, Content::Seed);
        let at_a_time = 4;
        let config = ebs::Config {
            max_concurrency: at_a_time,
            ..config(&fake.endpoint())
        };
        fake.set_faults(Faults {
            latency_ms: 10,
            ..Faults::default()
        });
        let mut ids = BTreeSet::new();
        for _ in 0..2 {
            let ebs = Ebs::connect(&config).unwrap();
            let interrupt = Interrupt::default();
            let stop = interrupt.clone();
            let pause = Duration::from_millis(50 + random.below(120));
            let stopper = std::thread::spawn(move || {
                std::thread::sleep(pause);
                stop.set();
            });
            let result = ebs.upload(&request(&disk, dir.path(), "1"), &NoProgress, &interrupt);
            stopper.join().unwrap();
            if let Err(error) = result {
                assert!(matches!(error, Error::Interrupted(_)), "{error}");
            }
            ids.extend(fake.snapshots().into_iter().map(|state| state.id));
        }
        let done = upload(
            &Ebs::connect(&config).unwrap(),
            &request(&disk, dir.path(), "1"),
        );
        let done = done.unwrap();
        ids.insert(done.id.clone());
        assert_eq!(ids.len(), 1, "seed {seed}");
        assert_content(&fake, &done.id, &disk);
        let (puts, most) = (puts(&fake), 60 + 2 * u64::from(at_a_time));
        assert!(
            (60..=most).contains(&puts),
            "seed {seed}: {puts} puts of 60 blocks"
        );
    }
}

#[test]
fn five_percent_of_every_fault_change_nothing() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let five = || Chance::probability(0.05);
    fake.set_faults(Faults {
        throttle: five(),
        server_error: five(),
        reset_before: five(),
        reset_after: five(),
        reset_in_body: five(),
        slow_body: five(),
        slow_body_ms: 50,
        failed_to_read: five(),
        wrong_checksum: five(),
        wrong_data: five(),
        not_found_ms: 1500,
        not_found_probability: fake_aws::Probability(0.5),
        describe_lag_ms: 300,
        completion_delay_ms: 300,
        empty_page: five(),
        page_limit: 7,
        ..Faults::default()
    });
    let ebs = connect(&fake);
    let first = Disk::new(60 * BLOCK, |block| Content::Seed(block % 50));
    let one = upload(&ebs, &request(&first, dir.path(), "1")).unwrap();
    assert_content(&fake, &one.id, &first);
    let mut second = first.clone();
    for index in 0..20 {
        second.blocks[index * 3] = Content::Zeros;
    }
    let child = UploadRequest {
        parent: Some(common::parent(&one.id, &one.index, false)),
        ..request(&second, dir.path(), "2")
    };
    let two = upload(&ebs, &child).unwrap();
    assert_content(&fake, &two.id, &second);
    assert_eq!(fake.snapshots().len(), 2);
    let snapshot = ebs.open(&two.id, &Interrupt::default()).unwrap();
    let mut bytes = vec![0xee; 60 << 19];
    block::BlockRead::read_at(&snapshot, 0, &mut bytes).unwrap();
    for (index, block) in bytes.chunks_exact(512 << 10).enumerate() {
        assert!(block == second.block(index), "{index}");
    }
    let failed: u64 = fake.counters().values().map(|counter| counter.failed).sum();
    assert!(failed > 20, "the faults did not happen: {failed}");
}

#[test]
fn no_second_sees_more_requests_than_allowed() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let ebs = Ebs::connect(&ebs::Config {
        max_requests_per_second: Some(40.0),
        ..config(&fake.endpoint())
    })
    .unwrap();
    let disk = Disk::new(100 * BLOCK, Content::Seed);
    let start = Instant::now();
    upload(&ebs, &request(&disk, dir.path(), "1")).unwrap();
    let (took, peak) = (start.elapsed(), fake.counter(Action::PutSnapshotBlock).peak);
    assert!(peak <= 40, "{peak} in a second");
    assert!(peak >= 30, "{peak} in a second are far fewer than allowed");
    assert!(took < Duration::from_secs(6), "{took:?}");
    let mut times: Vec<_> = fake.log().iter().map(|entry| entry.at_ms).collect();
    times.sort_unstable();
    for window in times.windows(41) {
        assert!(window[40] - window[0] >= 1000, "{window:?}");
    }
}

#[test]
fn a_throttling_service_is_met_with_fewer_requests_until_all_is_done() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    fake.set_faults(Faults {
        limits: fake_aws::Limits {
            put: Some(60.0),
            ..fake_aws::Limits::default()
        },
        ..Faults::default()
    });
    let disk = Disk::new(150 * BLOCK, Content::Seed);
    let done = upload(&connect(&fake), &request(&disk, dir.path(), "1")).unwrap();
    assert_content(&fake, &done.id, &disk);
    let counter = fake.counter(Action::PutSnapshotBlock);
    assert!(counter.throttled > 0);
    assert!(counter.requests < 3 * counter.ok, "{counter:?}");
}

#[test]
fn what_is_denied_ends_it_within_a_second_and_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(200 * BLOCK, Content::Seed);
    for action in [
        Action::StartSnapshot,
        Action::PutSnapshotBlock,
        Action::CompleteSnapshot,
        Action::DescribeSnapshots,
        Action::CreateTags,
    ] {
        let fake = fake();
        fake.set_faults(Faults {
            denied: [action].into(),
            ..Faults::default()
        });
        // The time of the put that is denied counts, not of those that are not.
        let disk = match action {
            Action::CompleteSnapshot => Disk::new(BLOCK, Content::Seed),
            _ => disk.clone(),
        };
        let ebs = connect(&fake);
        let identity = format!("{action:?}");
        let start = Instant::now();
        let error = upload(&ebs, &request(&disk, dir.path(), &identity)).unwrap_err();
        let took = start.elapsed();
        assert!(took < Duration::from_secs(1), "{action:?} took {took:?}");
        let Error::Denied { action: named, .. } = &error else {
            panic!("{action:?}: {error}")
        };
        assert!(named.iam().ends_with(&identity), "{error}");
        let asked = fake.counter(Action::PutSnapshotBlock).requests;
        assert!(asked <= 20, "{asked} puts were asked for after a refusal");
    }
}

#[test]
fn a_snapshot_that_ends_in_error_is_an_error_and_the_next_run_makes_another() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    fake.set_faults(Faults {
        complete_to_error: Chance::next(1),
        completion_delay_ms: 100,
        ..Faults::default()
    });
    let ebs = connect(&fake);
    let disk = Disk::new(3 * BLOCK, Content::Seed);
    let error = upload(&ebs, &request(&disk, dir.path(), "1")).unwrap_err();
    let Error::SnapshotFailed { id, .. } = error else {
        panic!("{error}")
    };
    let done = upload(&ebs, &request(&disk, dir.path(), "1")).unwrap();
    assert_ne!(done.id, id);
    assert_content(&fake, &done.id, &disk);
}

#[test]
fn an_upload_that_the_service_gave_up_is_begun_anew() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let ebs = connect(&fake);
    let disk = Disk::new(3 * BLOCK, Content::Seed);
    fake.set_faults(Faults {
        denied: [Action::CompleteSnapshot].into(),
        ..Faults::default()
    });
    upload(&ebs, &request(&disk, dir.path(), "1")).unwrap_err();
    fake.set_faults(Faults::default());
    assert_eq!(fake.expire_pending(), 1);
    let done = upload(&ebs, &request(&disk, dir.path(), "1")).unwrap();
    assert_eq!(fake.snapshots().len(), 2);
    assert_content(&fake, &done.id, &disk);
}

#[test]
fn a_pending_snapshot_without_its_journal_is_not_trusted() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let ebs = connect(&fake);
    let disk = Disk::new(3 * BLOCK, Content::Seed);
    fake.set_faults(Faults {
        denied: [Action::CompleteSnapshot].into(),
        ..Faults::default()
    });
    upload(&ebs, &request(&disk, dir.path(), "1")).unwrap_err();
    fake.set_faults(Faults::default());
    let elsewhere = tempfile::tempdir().unwrap();
    let done = upload(&ebs, &request(&disk, elsewhere.path(), "1")).unwrap();
    assert_content(&fake, &done.id, &disk);
    let tags = [(tag::MACHINE, "web1")];
    let none = Interrupt::default();
    let old = ebs
        .abandoned(&tags, Duration::from_secs(3600), &none)
        .unwrap();
    assert_eq!(old, []);
    let abandoned = ebs.abandoned(&tags, Duration::ZERO, &none).unwrap();
    let [pending] = abandoned.as_slice() else {
        panic!("{abandoned:?}")
    };
    assert_ne!(pending.id, done.id);
    ebs.delete(&pending.id, &none).unwrap();
    assert!(matches!(
        ebs.delete(&pending.id, &none),
        Err(Error::NoSnapshot(_))
    ));
    assert_eq!(fake.snapshots().len(), 1);
}

#[test]
fn a_damaged_journal_is_an_error_that_names_it() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let ebs = connect(&fake);
    let disk = Disk::new(3 * BLOCK, Content::Seed);
    fake.set_faults(Faults {
        denied: [Action::CompleteSnapshot].into(),
        ..Faults::default()
    });
    upload(&ebs, &request(&disk, dir.path(), "1")).unwrap_err();
    fake.set_faults(Faults::default());
    let mut files = std::fs::read_dir(dir.path()).unwrap();
    let path = files.find_map(|entry| {
        let path = entry.unwrap().path();
        (path.extension().unwrap() == "upload").then_some(path)
    });
    let path = path.unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[150] ^= 4;
    std::fs::write(&path, bytes).unwrap();
    let before = puts(&fake);
    match upload(&ebs, &request(&disk, dir.path(), "1")).unwrap_err() {
        Error::Journal {
            path: named,
            offset,
            ..
        } => assert_eq!((named, offset), (path, 136)),
        other => panic!("{other}"),
    }
    assert_eq!(puts(&fake), before);
}

#[test]
fn a_parent_that_is_not_there_is_named() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let ebs = connect(&fake);
    let disk = Disk::new(BLOCK, Content::Seed);
    let index = Index::default();
    let child = UploadRequest {
        parent: Some(common::parent("snap-0123456789abcdef0", &index, false)),
        ..request(&disk, dir.path(), "1")
    };
    let error = upload(&ebs, &child).unwrap_err();
    assert!(
        error.to_string().contains("snap-0123456789abcdef0"),
        "{error}"
    );
}

#[test]
fn credentials_that_nobody_knows_are_said_at_once() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let disk = Disk::new(BLOCK, Content::Seed);
    let mut config = config(&fake.endpoint());
    config.credentials.as_mut().unwrap().access_key_id = "AKIANOBODY".to_owned();
    let ebs = Ebs::connect(&config).unwrap();
    let start = Instant::now();
    let error = upload(&ebs, &request(&disk, dir.path(), "1")).unwrap_err();
    assert!(matches!(error, Error::Credentials(_)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1));
}
