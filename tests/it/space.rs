//! A guest without room for what a conversion adds.

use crate::support::{Partitions, debugfs, names, phony, rehost, temp, tool};
use std::fs::{self, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A guest whose `/boot`, partition 1 at 1 MiB, has only some blocks left beside the reserved ones.
fn with_full_boot(dir: &Path, left: u64) -> PathBuf {
    let source = phony(&["ubuntu2004", "--boot-size", "12"]);
    let partitions = Partitions::of(&source);
    let work = dir.join("boot.fs");
    fs::copy(partitions.file(1), &work).unwrap();
    let stats = String::from_utf8(debugfs(&work, "stats -h")).unwrap();
    let number = |name: &str| -> u64 {
        let line = stats.lines().find(|line| line.starts_with(name)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let blocks = number("Free blocks:") - number("Reserved block count:") - left;
    let size = blocks * number("Block size:");
    let filler = dir.join("filler");
    fs::write(&filler, vec![1; usize::try_from(size).unwrap()]).unwrap();
    let mut command = Command::new("debugfs");
    command.args(["-w", "-R", &format!("write {} filler", filler.display())]);
    tool(command.arg(&work));
    let stat = debugfs(&work, "stat filler");
    assert!(
        String::from_utf8(stat)
            .unwrap()
            .contains(&format!("Size: {size}"))
    );

    let full = dir.join("full.raw");
    fs::write(&full, fs::read(&source).unwrap()).unwrap();
    let mut disk = OpenOptions::new().write(true).open(&full).unwrap();
    disk.seek(SeekFrom::Start(1 << 20)).unwrap();
    disk.write_all(&fs::read(&work).unwrap()).unwrap();
    full
}

#[test]
fn a_full_boot_file_system_is_found_before_anything_is_written() {
    let work = temp();
    let source = with_full_boot(work.path(), 0);
    let before = fs::read(&source).unwrap();
    let out = temp();
    for name in ["out.raw", "out.qcow2"] {
        let said = rehost!["convert", &source, "-o", out.path().join(name)].failed(5);
        assert!(said.contains("no space on the guest's /boot:"), "{said}");
        assert!(said.contains("nothing was written"), "{said}");
    }
    assert!(names(out.path()).is_empty());
    let store = out.path().join("store");
    rehost![
        "convert",
        &source,
        "-o",
        format!("store:{}", store.display())
    ]
    .failed(5);
    assert!(names(&store.join("snapshots")).is_empty());
    assert!(names(&store.join("blocks")).is_empty());
    let said = rehost!["plan", &source].failed(5);
    assert!(said.contains("/boot"), "{said}");
    assert!(fs::read(&source).unwrap() == before);
}

#[test]
fn a_boot_file_system_with_just_enough_room_is_converted() {
    let work = temp();
    let source = with_full_boot(work.path(), 60);
    let out = work.path().join("out.raw");
    rehost!["convert", &source, "-o", &out].ok();
    let partitions = Partitions::of(&out);
    tool(Command::new("e2fsck").arg("-fn").arg(partitions.file(1)));
}
