//! What needs a process of its own: one that is killed, one that is measured, one whose whole log is
//! read. This program starts itself for the first two.

#[path = "../common/mod.rs"]
mod common;
mod memory;
mod secrets;

use common::{Content, Disk, KEY, Random, SECRET, TOKEN, fake, request};
use ebs::Ebs;
use fake_aws::{Action, Faults};
use ondisk::{Interrupt, NoProgress};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
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
    let ebs = Ebs::connect(&ebs::Config {
        max_concurrency: AT_A_TIME,
        ..ebs::Config::default()
    });
    let disk = disk();
    let request = request(&disk, dir, "1");
    let done = ebs
        .unwrap()
        .upload(&request, &NoProgress, &Interrupt::default());
    done.unwrap().id
}

fn a_killed_upload_continues_with_the_same_snapshot() {
    let long = std::env::var("REHOST_LONG").is_ok_and(|value| value == "1");
    let kills_wanted = if long { 100 } else { 8 };
    let mut random = Random(u64::from(std::process::id()));
    let mut kills = 0;
    while kills < kills_wanted {
        let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
        fake.set_faults(Faults {
            latency_ms: 10,
            completion_delay_ms: 50,
            ..Faults::default()
        });
        let mut killed = 0;
        let id = loop {
            let mut child = Command::new(std::env::current_exe().unwrap())
                .env(ENDPOINT, fake.endpoint())
                .env(DIR, dir.path())
                .env("AWS_REGION", "us-east-1")
                .env("AWS_ENDPOINT_URL_EBS", fake.endpoint())
                .env("AWS_ENDPOINT_URL_EC2", fake.endpoint())
                .env("AWS_ACCESS_KEY_ID", KEY)
                .env("AWS_SECRET_ACCESS_KEY", SECRET)
                .env("AWS_SESSION_TOKEN", TOKEN)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            if killed < 4 {
                std::thread::sleep(Duration::from_millis(100 + random.below(500)));
                child.kill().unwrap();
            }
            let output = child.wait_with_output().unwrap();
            if output.status.success() {
                break String::from_utf8(output.stdout).unwrap().trim().to_owned();
            }
            assert!(output.status.code().is_none(), "it failed by itself");
            killed += 1;
        };
        kills += killed;
        let snapshots = fake.snapshots();
        assert_eq!(snapshots.len(), 1, "{snapshots:?}");
        assert_eq!((&snapshots[0].id, snapshots[0].status), (&id, "completed"));
        let disk = disk();
        let content = fake.snapshot_content(&id).unwrap();
        let data = (0..disk.blocks.len()).filter(|index| !disk.is_zero(*index));
        assert_eq!(content.len(), data.count());
        for block in content {
            let index = usize::try_from(block.index).unwrap();
            assert!(block.data.unwrap() == disk.block(index), "{index}");
        }
        let puts = fake.counter(Action::PutSnapshotBlock).requests;
        let most = BLOCKS + u64::from(AT_A_TIME) * killed;
        assert!(
            (BLOCKS..=most).contains(&puts),
            "{puts} puts after {killed} kills"
        );
        println!("{killed} kills: {puts} puts of {BLOCKS} blocks, {id}");
    }
}
