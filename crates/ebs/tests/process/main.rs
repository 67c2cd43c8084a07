//! What needs a process of its own: one that is killed, one that is measured, one whose whole log is
//! read. This program starts itself for the first two.

#[path = "../common/mod.rs"]
mod common;
mod memory;
mod secrets;

use common::{Content, Disk, KEY, Random, SECRET, TOKEN, fake, long, request};
use fake_aws::{Action, FakeAws, Faults};
use ondisk::{Interrupt, NoProgress};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use store::BLOCK;

const ENDPOINT: &str = "REHOST_TEST_ENDPOINT";
const DIR: &str = "REHOST_TEST_DIR";
/// Of the disk, without holes and zeros.
const BLOCKS: u64 = 80;
const AT_A_TIME: u32 = 8;

fn main() {
    match (std::env::var(ENDPOINT), std::env::var(DIR)) {
        (Ok(endpoint), Ok(dir)) if std::env::var_os(memory::SIZE).is_some() => {
            memory::upload(&endpoint, Path::new(&dir));
        }
        (Ok(_), Ok(dir)) => println!("{}", upload(Path::new(&dir))),
        _ => {
            memory::a_huge_sparse_disk_takes_little_memory();
            a_killed_upload_continues_with_the_same_snapshot();
            secrets::no_credentials_are_ever_said();
        }
    }
}

/// The disk of the upload that is killed.
fn disk() -> Disk {
    Disk::new(BLOCKS * 5 / 4 * BLOCK, |block| match block % 10 {
        3 => Content::Hole,
        8 => Content::Zeros,
        _ => Content::Seed(block),
    })
}

/// Region, credentials and addresses are what the environment says.
fn upload(dir: &Path) -> String {
    let limits = ebs::Config {
        max_concurrency: AT_A_TIME,
        ..ebs::Config::default()
    };
    let ebs = common::connect_as(&aws::Config::default(), &limits);
    let disk = disk();
    let request = request(&disk, dir, "1");
    let done = ebs.upload(&request, &NoProgress, &Interrupt::default());
    done.unwrap().id
}

/// The upload in a process of its own.
fn start(fake: &FakeAws, dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .env(ENDPOINT, fake.endpoint())
        .env(DIR, dir)
        .env("AWS_REGION", "us-east-1")
        .env("AWS_ENDPOINT_URL_EBS", fake.endpoint())
        .env("AWS_ENDPOINT_URL_EC2", fake.endpoint())
        .env("AWS_ACCESS_KEY_ID", KEY)
        .env("AWS_SECRET_ACCESS_KEY", SECRET)
        .env("AWS_SESSION_TOKEN", TOKEN)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn slow_fake() -> FakeAws {
    let fake = fake();
    fake.set_faults(Faults {
        // Most of the time of an upload is that of its blocks.
        latency_ms: 60,
        completion_delay_ms: 50,
        ..Faults::default()
    });
    fake
}

/// What an upload that is not killed takes here, in milliseconds.
fn whole_upload() -> u64 {
    let (fake, dir) = (slow_fake(), tempfile::tempdir().unwrap());
    let from = Instant::now();
    let mut child = start(&fake, dir.path());
    assert!(child.wait().unwrap().success());
    u64::try_from(from.elapsed().as_millis()).unwrap()
}

/// Kills at random moments until an upload is done, again and again.
fn a_killed_upload_continues_with_the_same_snapshot() {
    let wanted = std::env::var("REHOST_KILLS").ok();
    let wanted = wanted.map_or(if long() { 100 } else { 8 }, |kills| kills.parse().unwrap());
    let mut random = Random(u64::from(std::process::id()));
    let whole = whole_upload();
    // How many kills came before the first block, among the blocks, and after the last one.
    let (mut kills, mut moments) = (0, [0; 3]);
    while kills < wanted {
        let (fake, dir) = (slow_fake(), tempfile::tempdir().unwrap());
        let mut killed = 0;
        let id = loop {
            let mut child = start(&fake, dir.path());
            if killed < 4 && kills + killed < wanted {
                std::thread::sleep(Duration::from_millis(random.below(whole)));
                child.kill().unwrap();
            }
            let output = child.wait_with_output().unwrap();
            if output.status.success() {
                break String::from_utf8(output.stdout).unwrap().trim().to_owned();
            }
            assert!(output.status.code().is_none(), "it failed by itself");
            killed += 1;
            moments[match fake.snapshots().first() {
                Some(snapshot) if u64::try_from(snapshot.own_blocks).unwrap() == BLOCKS => 2,
                Some(snapshot) if snapshot.own_blocks > 0 => 1,
                _ => 0,
            }] += 1;
        };
        kills += killed;
        assert_whole(&fake, &id, killed);
    }
    println!(
        "{kills} kills: {} before the first block, {} among the blocks, {} after the last one",
        moments[0], moments[1], moments[2]
    );
}

/// There is one snapshot, it is the disk, and no block was put again that was not under way.
fn assert_whole(fake: &FakeAws, id: &str, killed: u64) {
    let snapshots = fake.snapshots();
    assert_eq!(snapshots.len(), 1, "{snapshots:?}");
    // The fake completes nothing that has another count or checksum than was said.
    assert_eq!((&*snapshots[0].id, snapshots[0].status), (id, "completed"));
    let disk = disk();
    let content = fake.snapshot_content(id).unwrap();
    let data = (0..disk.blocks.len()).filter(|index| !disk.is_zero(*index));
    assert_eq!(content.len(), data.count());
    for block in content {
        let index = usize::try_from(block.index).unwrap();
        assert!(block.data.unwrap() == disk.block(index), "{index}");
    }
    let mut times = BTreeMap::<u32, u64>::new();
    for entry in fake.log() {
        if let Some(index) = entry
            .index
            .filter(|_| entry.action == Action::PutSnapshotBlock)
        {
            *times.entry(index).or_default() += 1;
        }
    }
    assert!(
        times.values().all(|times| *times <= killed + 1),
        "{times:?}"
    );
    let puts: u64 = times.values().sum();
    let most = BLOCKS + u64::from(AT_A_TIME) * killed;
    assert!(
        (BLOCKS..=most).contains(&puts),
        "{puts} puts after {killed} kills"
    );
    println!("{killed} kills: {puts} puts of {BLOCKS} blocks, {id}");
}
