//! Disks made by sfdisk and sgdisk, and what these say about them.

use block::{BlockRead, Error};
use serde_json::Value;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use volume::{Partition, PartitionKind, Table, TableKind};

/// A sparse file as a disk.
#[derive(Debug)]
pub(crate) struct FileDisk {
    file: File,
    size: u64,
}

impl FileDisk {
    pub(crate) fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let size = file.metadata().unwrap().len();
        Self { file, size }
    }
}

impl BlockRead for FileDisk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let read = self.file.read_exact_at(buf, offset);
        read.map_err(|source| Error::Io { offset, source })
    }
}

/// A disk file in a directory of its own.
#[derive(Debug)]
pub(crate) struct Disk {
    _dir: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl Disk {
    pub(crate) fn new(mib: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        File::create(&path).unwrap().set_len(mib << 20).unwrap();
        Self { _dir: dir, path }
    }

    pub(crate) fn sfdisk(mib: u64, script: &str) -> Self {
        let disk = Self::new(mib);
        pipe(Command::new("sfdisk").arg("-q").arg(&disk.path), script);
        disk
    }

    pub(crate) fn sgdisk(mib: u64, args: &[&str]) -> Self {
        let disk = Self::new(mib);
        run(Command::new("sgdisk").args(args).arg(&disk.path));
        disk
    }

    pub(crate) fn scan(&self) -> Result<Table, volume::Error> {
        volume::scan(&FileDisk::open(&self.path))
    }

    pub(crate) fn patch(&self, offset: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(&self.path).unwrap();
        file.write_all_at(bytes, offset).unwrap();
    }

    pub(crate) fn set_mib(&self, mib: u64) {
        let file = File::options().write(true).open(&self.path).unwrap();
        file.set_len(mib << 20).unwrap();
    }

    /// What `sfdisk -J` says.
    pub(crate) fn sfdisk_json(&self) -> Value {
        let out = run(Command::new("sfdisk").arg("-J").arg(&self.path));
        serde_json::from_slice::<Value>(&out).unwrap()["partitiontable"].clone()
    }
}

pub(crate) fn run(command: &mut Command) -> Vec<u8> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
    output.stdout
}

fn pipe(command: &mut Command, input: &str) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success(), "{command:?}");
}

/// What of our table `sfdisk -J` says too, as lines.
pub(crate) fn ours(table: &Table) -> Vec<String> {
    let sector = u64::from(table.sector_size);
    let kind = match table.kind {
        TableKind::Gpt | TableKind::Hybrid => "gpt",
        TableKind::Mbr => "dos",
        TableKind::None => "none",
    };
    let id = table.disk_id.clone().unwrap_or_default();
    let line = |p: &Partition| {
        let (kind, uuid, bootable) = match p.kind {
            PartitionKind::Gpt(guid) => (guid.to_string(), p.uuid.as_deref(), false),
            PartitionKind::Mbr(byte) => (format!("{byte:x}"), None, p.bootable),
            PartitionKind::Disk => (String::from("disk"), None, false),
        };
        let (uuid, label) = (
            uuid.unwrap_or_default(),
            p.label.as_deref().unwrap_or_default(),
        );
        let (start, size) = (p.start / sector, p.size / sector);
        format!(
            "{} {start} {size} {kind} {uuid} {label:?} {bootable}",
            p.number
        )
    };
    std::iter::once(format!("{kind} {id}"))
        .chain(table.partitions.iter().map(line))
        .collect()
}

/// The same lines from `sfdisk -J`; `disk` is the prefix of its node names.
pub(crate) fn theirs(json: &Value, disk: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let id = text(&json["id"]).trim_start_matches("0x").to_lowercase();
    let id = if id == "00000000" { String::new() } else { id };
    let line = |p: &Value| {
        let node = text(&p["node"]);
        format!(
            "{} {} {} {} {} {:?} {}",
            node.trim_start_matches(disk),
            p["start"],
            p["size"],
            text(&p["type"]).to_lowercase(),
            text(&p["uuid"]).to_lowercase(),
            text(&p["name"]),
            p["bootable"].as_bool().unwrap_or(false),
        )
    };
    let partitions = json["partitions"].as_array().cloned().unwrap_or_default();
    std::iter::once(format!("{} {id}", text(&json["label"])))
        .chain(partitions.iter().map(line))
        .collect()
}

/// Compares our reading with `sfdisk -J`.
pub(crate) fn assert_as_sfdisk(disk: &Disk) -> Table {
    let table = disk.scan().unwrap();
    let theirs = theirs(&disk.sfdisk_json(), disk.path.to_str().unwrap());
    assert_eq!(ours(&table), theirs);
    table
}
