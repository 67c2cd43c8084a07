//! Memory does not grow with the disk.

use crate::common::{Content, Disk, account, connect_as, fake, limits, request};
use crate::{DIR, ENDPOINT};
use fake_aws::Faults;
use ondisk::{Interrupt, NoProgress};
use std::path::Path;
use std::process::Command;

pub(crate) const SIZE: &str = "REHOST_TEST_SPARSE";
/// What the issue allows for 1 TiB.
const MOST_KIB: u64 = 200 << 10;
const EVERY: u64 = 5000;

pub(crate) fn a_huge_sparse_disk_takes_little_memory() {
    let (fake, dir) = (fake(), tempfile::tempdir().unwrap());
    // So that blocks pile up wherever they can.
    fake.set_faults(Faults {
        latency_ms: 100,
        ..Faults::default()
    });
    let output = Command::new(std::env::current_exe().unwrap())
        .env(ENDPOINT, fake.endpoint())
        .env(DIR, dir.path())
        .env(SIZE, "1")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let peak: u64 = String::from_utf8(output.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let snapshots = fake.snapshots();
    assert_eq!(snapshots[0].status, "completed");
    println!(
        "1 TiB with {} blocks: {} MiB at most",
        snapshots[0].own_blocks,
        peak >> 10
    );
    assert!(snapshots[0].own_blocks > 400);
    assert!(peak < MOST_KIB, "{peak} KiB");
}

/// Uploads and prints the most memory it took, in KiB.
pub(crate) fn upload(endpoint: &str, dir: &Path) {
    let disk = Disk::new(1 << 40, |block| match block % EVERY {
        0 => Content::Seed(block + 1),
        _ => Content::Hole,
    });
    let ebs = connect_as(&account(endpoint), &limits());
    let request = request(&disk, dir, "1");
    ebs.upload(&request, &NoProgress, &Interrupt::default())
        .unwrap();
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    println!("{}", line.split_whitespace().nth(1).unwrap());
}
