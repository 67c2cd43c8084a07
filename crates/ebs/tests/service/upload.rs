//! Uploads against a fake that checks what the real service checks, over real sockets.

use crate::common::{
    Content, Disk, Random, account, connect_as, fake, fake_of, limits, long, request,
};
use crate::{connect, parent};
use ebs::{Ebs, Error, UploadRequest, Uploaded, tag};
use fake_aws::{Action, Chance, FakeAws, Faults};
use ondisk::{Interrupt, NoProgress};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use store::{BLOCK, Index};

pub(crate) fn upload(ebs: &Ebs, request: &UploadRequest<'_>) -> Result<Uploaded, Error> {
    ebs.upload(request, &NoProgress, &Interrupt::default())
}

fn puts(fake: &FakeAws) -> u64 {
    fake.counter(Action::PutSnapshotBlock).ok
}

/// That the snapshot has what the disk has, as the fake knows it; a hole of an encrypted disk is nobody's.
pub(crate) fn assert_content(fake: &FakeAws, id: &str, disk: &Disk) {
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
    let latest = ebs.latest(
        "p",
        "web1",
        "sda",
        ebs::Role::Staging,
        &Interrupt::default(),
    );
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
        parent: Some(parent(&one.id, &one.index, false)),
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
fn of_snapshots_of_one_second_the_end_of_the_chain_is_the_latest() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    let ebs = connect(&fake);
    let mut last: Option<Uploaded> = None;
    for round in 0..6 {
        let disk = Disk::new(BLOCK, |_| Content::Seed(round));
        let identity = round.to_string();
        let mut request = request(&disk, dir.path(), &identity);
        request.parent = last.as_ref().map(|up| parent(&up.id, &up.index, false));
        let made = upload(&ebs, &request).unwrap();
        let latest = ebs.latest(
            "p",
            "web1",
            "sda",
            ebs::Role::Staging,
            &Interrupt::default(),
        );
        assert_eq!(latest.unwrap().unwrap().id, made.id, "round {round}");
        last = Some(made);
    }
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
            ..crate::parent(&one.id, &within, false)
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
            ..limits()
        };
        let account = account(&fake.endpoint());
        fake.set_faults(Faults {
            latency_ms: 10,
            ..Faults::default()
        });
        let mut ids = BTreeSet::new();
        for _ in 0..2 {
            let ebs = connect_as(&account, &config);
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
            &connect_as(&account, &config),
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

/// Every fault that passes, each in one of twenty requests.
fn five_percent_of_all() -> Faults {
    let five = || Chance::probability(0.05);
    Faults {
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
        expired_signature: five(),
        not_found_ms: 1500,
        not_found_probability: fake_aws::Probability(0.5),
        describe_lag_ms: 300,
        completion_delay_ms: 300,
        empty_page: five(),
        page_limit: 7,
        ..Faults::default()
    }
}

#[test]
fn five_percent_of_every_fault_change_nothing() {
    let mut met = BTreeSet::new();
    for seed in 1..=if long() { 40 } else { 3 } {
        let (fake, dir) = (fake_of(seed), tempfile::tempdir().unwrap());
        fake.set_faults(five_percent_of_all());
        let ebs = connect(&fake);
        let first = Disk::new(60 * BLOCK, |block| Content::Seed(block % 50));
        let one = upload(&ebs, &request(&first, dir.path(), "1")).unwrap();
        assert_content(&fake, &one.id, &first);
        let mut second = first.clone();
        for index in 0..20 {
            second.blocks[index * 3] = Content::Zeros;
        }
        let child = UploadRequest {
            parent: Some(parent(&one.id, &one.index, false)),
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
        let told = ebs
            .changed(&one.id, &two.id, &Interrupt::default())
            .unwrap();
        assert_eq!(told.len(), 20);
        ebs.delete(&two.id, &Interrupt::default()).unwrap();
        assert_eq!(fake.snapshots().len(), 1);
        for entry in fake.log() {
            met.extend(entry.fault);
            met.extend(
                entry
                    .error
                    .filter(|code| code.contains("NotFound"))
                    .map(|_| "not found"),
            );
        }
    }
    println!("met: {met:?}");
    for fault in [
        "throttle",
        "server_error",
        "reset_before",
        "reset_after",
        "reset_in_body",
        "slow_body",
        "expired_signature",
        "not found",
    ] {
        assert!(met.contains(fault), "{fault} did not happen");
    }
}

/// The most requests that came within any second, by the log.
fn most_in_a_second(fake: &FakeAws) -> usize {
    let mut times: Vec<_> = fake.log().iter().map(|entry| entry.at_ms).collect();
    times.sort_unstable();
    let within = |first: &u64| {
        times
            .iter()
            .filter(|time| (*first..first + 1000).contains(time))
            .count()
    };
    times.iter().map(within).max().unwrap_or(0)
}

#[test]
fn no_second_sees_more_requests_than_allowed() {
    let rates: &[u32] = if long() {
        &[1, 3, 20, 40, 100, 250]
    } else {
        &[3, 40, 100]
    };
    for rate in rates {
        let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
        let limits = ebs::Config {
            max_requests_per_second: Some(f64::from(*rate)),
            ..limits()
        };
        let ebs = connect_as(&account(&fake.endpoint()), &limits);
        // Two seconds of them. Throttles and repetitions count as all others do.
        fake.set_faults(Faults {
            throttle: Chance::probability(0.05),
            reset_after: Chance::probability(0.05),
            ..Faults::default()
        });
        let disk = Disk::new(u64::from(2 * rate) * BLOCK, |block| {
            Content::Seed(block + 1)
        });
        let done = upload(&ebs, &request(&disk, dir.path(), "1")).unwrap();
        let snapshot = ebs.open(&done.id, &Interrupt::default()).unwrap();
        let mut bytes = vec![0; usize::try_from(u64::from(*rate) * BLOCK).unwrap()];
        block::BlockRead::read_at(&snapshot, 0, &mut bytes).unwrap();
        let (most, peak) = (most_in_a_second(&fake), fake.peak());
        println!(
            "{rate} a second allowed: at most {most}, of all {}",
            fake.log().len()
        );
        let allowed = usize::try_from(*rate).unwrap();
        assert!(
            most <= allowed && peak <= allowed,
            "{most}, {peak} in a second of {rate}"
        );
        assert!(
            2 * most >= allowed.min(40),
            "{most} in a second are far fewer than {rate}"
        );
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
    let none = Interrupt::default();
    for action in [
        Action::StartSnapshot,
        Action::PutSnapshotBlock,
        Action::CompleteSnapshot,
        Action::DescribeSnapshots,
        Action::CreateTags,
        Action::ListSnapshotBlocks,
        Action::ListChangedBlocks,
        Action::GetSnapshotBlock,
        Action::DeleteSnapshot,
    ] {
        let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
        let ebs = connect(&fake);
        let small = Disk::new(BLOCK, |_| Content::Seed(1));
        let first = upload(&ebs, &request(&small, dir.path(), "1")).unwrap();
        let snapshot = ebs.open(&first.id, &none).unwrap();
        fake.clear_log();
        fake.set_faults(Faults {
            denied: [action].into(),
            ..Faults::default()
        });
        // The time of the put that is denied counts, not of those that are not.
        let disk = match action {
            Action::CompleteSnapshot => Disk::new(BLOCK, |_| Content::Seed(2)),
            _ => Disk::new(200 * BLOCK, |block| Content::Seed(block + 2)),
        };
        let start = Instant::now();
        let error = match action {
            Action::ListSnapshotBlocks => ebs.open(&first.id, &none).map(drop).unwrap_err(),
            Action::ListChangedBlocks => ebs.changed(&first.id, &first.id, &none).unwrap_err(),
            Action::DeleteSnapshot => ebs.delete(&first.id, &none).unwrap_err(),
            Action::GetSnapshotBlock => {
                let error = block::BlockRead::read_at(&snapshot, 0, &mut [0; 8]).unwrap_err();
                match error {
                    block::Error::Format { source, .. } => *source.downcast().unwrap(),
                    other => panic!("{other}"),
                }
            }
            _ => upload(&ebs, &request(&disk, dir.path(), "2")).unwrap_err(),
        };
        let took = start.elapsed();
        let Error::Denied { action: named, .. } = &error else {
            panic!("{action:?}: {error}")
        };
        assert!(named.iam().ends_with(&format!("{action:?}")), "{error}");
        assert!(error.to_string().contains(named.iam()), "{error}");
        // Nobody asks a second time, or waits for anything.
        let asked = fake.counter(action).requests;
        // Those that were under way, and those that were at hand to be the next.
        let (at_a_time, at_hand) = (8, 6);
        let most = if action == Action::PutSnapshotBlock {
            at_a_time + at_hand
        } else {
            1
        };
        // That tags are what is denied comes as the answer to the start.
        assert!(asked <= most, "{action:?} was asked for {asked} times");
        println!(
            "{}: {took:?}, after {} requests",
            named.iam(),
            fake.log().len()
        );
        // On a host that is busy with other tests this says nothing.
        assert!(
            !long() || took < Duration::from_secs(1),
            "{action:?} took {took:?}"
        );
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
        parent: Some(parent("snap-0123456789abcdef0", &index, false)),
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
    let mut account = account(&fake.endpoint());
    account.credentials.as_mut().unwrap().access_key_id = "AKIANOBODY".to_owned();
    let ebs = connect_as(&account, &limits());
    let start = Instant::now();
    let error = upload(&ebs, &request(&disk, dir.path(), "1")).unwrap_err();
    assert!(matches!(error, Error::Credentials(_)), "{error}");
    assert!(start.elapsed() < Duration::from_secs(1));
}
