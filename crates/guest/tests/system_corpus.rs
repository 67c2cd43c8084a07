//! Release files, tables and volumes that others made, with what others say they are.
//!
//! `REHOST_CORPUS` names the directory of cases; without it the tests say so and pass.

#[path = "support/cases.rs"]
mod cases;
#[path = "support/environment.rs"]
mod environment;
mod support;

use cases::{Tally, packs, unpack};
use environment::directory;
use fs::{FileSystem, FileSystemEdit, MemoryFs, NewNode};
use guest::fstab::Fstab;
use guest::{Content, Guest, GuestPath, Machine, Os, SourceDisk};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use support::raw_image;

#[derive(Deserialize)]
struct ReleaseCase {
    expected: Expected,
    files: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Expected {
    distro: String,
    major: serde_json::Value,
    minor: serde_json::Value,
}

#[test]
fn distributions_are_told_as_others_tell_them() {
    let Some(corpus) = directory("REHOST_CORPUS") else {
        return;
    };
    let mut tally = Tally::default();
    for pack in packs(&corpus, "osdetect") {
        let (directory, description) = unpack(&pack);
        let id = description["id"].as_str().unwrap();
        let primary = description["primary"].as_str().unwrap();
        if !id.starts_with("gcpos-") {
            tally.not_claimed += 1;
            continue;
        }
        let text = std::fs::read_to_string(directory.path().join(primary)).unwrap();
        let case: ReleaseCase = serde_saphyr::from_str(&text).unwrap();
        let os = Os::of(&guest_of(&case.files)).unwrap().unwrap();
        let version = os.point_release.or(os.version).unwrap_or_default();
        let mut parts = version.split('.');
        let mut part = |want: &serde_json::Value| match want {
            // They don't say, so neither do we.
            serde_json::Value::Null => String::new(),
            _ => parts.next().unwrap_or_default().to_owned(),
        };
        let ours = (
            os.id.trim_end_matches("_sap"),
            part(&case.expected.major),
            part(&case.expected.minor),
        );
        let theirs = (
            their_id(&case.expected.distro),
            plain(&case.expected.major),
            // A first release has no point.
            match plain(&case.expected.minor).as_str() {
                "0" if ours.2.is_empty() => String::new(),
                minor => minor.to_owned(),
            },
        );
        tally.compare(id, &ours, &theirs);
    }
    tally.report("osdetect");
}

/// Their names for what os-release calls otherwise.
fn their_id(distro: &str) -> &str {
    match distro {
        "amazon" => "amzn",
        "oracle" => "ol",
        "clear" => "clear-linux-os",
        "opensuse" => "opensuse-leap",
        // The product is told apart by a file that is no release file.
        "sles-sap" => "sles",
        other => other,
    }
}

fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn guest_of(files: &BTreeMap<String, String>) -> Guest {
    let mut system = MemoryFs::new("1", None);
    for (path, content) in files {
        let path = GuestPath::from(path.as_str());
        let parts: Vec<&[u8]> = path.components().collect();
        let (name, directories) = parts.split_last().unwrap();
        let mut directory = system.root();
        for part in directories {
            directory = match system.lookup(directory, part) {
                Ok(node) => node,
                Err(_) => system
                    .make_dir(directory, part, NewNode::root(0o755))
                    .unwrap(),
            };
        }
        let node = system
            .create(directory, name, NewNode::root(0o644))
            .unwrap();
        system.replace(node, content.as_bytes()).unwrap();
    }
    Guest::of(Box::new(system))
}

#[test]
fn tables_are_read_as_findmnt_reads_them() {
    let Some(corpus) = directory("REHOST_CORPUS") else {
        return;
    };
    let mut tally = Tally::default();
    for pack in packs(&corpus, "fstab") {
        let (directory, description) = unpack(&pack);
        let id = description["id"].as_str().unwrap();
        let path = directory.path().join("etc/fstab");
        let bytes = std::fs::read(&path).unwrap();
        let table = Fstab::parse(&bytes);
        assert_eq!(table.render(), bytes, "{id}");
        let ours: Vec<_> = table
            .entries()
            .map(|entry| {
                [
                    String::from_utf8(entry.spec()).unwrap(),
                    // A mount point is a path for us: one spelling.
                    entry.mount_point().map_or_else(
                        || String::from_utf8(entry.file()).unwrap(),
                        |path| path.to_string(),
                    ),
                    entry.vfstype(),
                ]
            })
            .collect();
        tally.compare(id, &ours, &findmnt(&path));
    }
    tally.report("fstab");
}

/// Source, target and type of every entry as libmount reads them.
fn findmnt(table: &Path) -> Vec<[String; 3]> {
    let output = Command::new("findmnt")
        .args(["--list", "--json", "--output", "SOURCE,TARGET,FSTYPE"])
        .arg("--tab-file")
        .arg(table)
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let entries = answer["filesystems"].as_array().unwrap().iter();
    let entries = entries.map(|entry| {
        let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
        let target = text("target");
        let target = match target.trim_end_matches('/') {
            "" => target.as_str(),
            trimmed => trimmed,
        };
        [text("source"), target.to_owned(), text("fstype")]
    });
    entries.collect()
}

#[test]
fn volumes_are_told_as_blkid_tells_them() {
    let Some(corpus) = directory("REHOST_CORPUS") else {
        return;
    };
    let mut tally = Tally::default();
    for pack in packs(&corpus, "blkid") {
        let (directory, description) = unpack(&pack);
        let id = description["id"].as_str().unwrap();
        let Some(upstream) = description["expected"]["upstream"].as_str() else {
            tally.not_claimed += 1;
            continue;
        };
        let theirs = |key: &str| {
            let mut lines = upstream.lines();
            lines
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
                .map(str::to_owned)
        };
        let image = directory
            .path()
            .join(description["primary"].as_str().unwrap());
        let machine = Machine::open(vec![SourceDisk {
            name: id.to_owned(),
            device: raw_image(&image),
        }])
        .unwrap();
        let content = &machine.volumes()[0].content;
        let kind = content.type_name().map(str::to_owned);
        // A disc's label is that of its first volume descriptor; blkid prefers Joliet's.
        if kind.as_deref() == Some("iso9660") {
            tally.not_claimed += 1;
            continue;
        }
        if kind.is_none() && !CLAIMED.contains(&theirs("ID_FS_TYPE").unwrap().as_str()) {
            assert!(
                matches!(content, Content::Unknown | Content::Unreadable(_)),
                "{id}: {content:?}"
            );
            tally.not_claimed += 1;
            continue;
        }
        if let Content::Unreadable(reason) = content {
            // Images cut short by those who keep them: blkid looks no further than the superblock.
            assert!(CUT_SHORT.contains(&id), "{id}: {reason}");
            tally.not_claimed += 1;
            continue;
        }
        tally.compare(id, &kind, &theirs("ID_FS_TYPE"));
        // Names are read of what is only recognised where they are cheap to read.
        let cheap = matches!(content, Content::Other { .. });
        let uuid = content.uuid().map(str::to_owned);
        if uuid.is_some() || !cheap {
            tally.compare(id, &uuid, &theirs("ID_FS_UUID"));
        }
        // The labels of FAT have a corpus of their own, in their driver's tests.
        let label = content.label().map(|label| label.replace(' ', "_"));
        if kind.as_deref() != Some("vfat") && (label.is_some() || !cheap) {
            tally.compare(id, &label, &theirs("ID_FS_LABEL"));
        }
    }
    tally.report("blkid");
}

/// Images whose file system says that it is larger than they are.
const CUT_SHORT: [&str; 2] = ["ulfs-ext4", "ulfs-fat16_noheads"];
/// The types that must be recognised.
const CLAIMED: [&str; 16] = [
    "ext2",
    "ext3",
    "ext4",
    "vfat",
    "swap",
    "swsuspend",
    "crypto_LUKS",
    "LVM2_member",
    "linux_raid_member",
    "xfs",
    "btrfs",
    "ntfs",
    "exfat",
    "f2fs",
    "jfs",
    "reiserfs",
];
