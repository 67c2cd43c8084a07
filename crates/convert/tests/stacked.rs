//! A guest whose root file system is a logical volume over two disks, or an array, converted.
//!
//! The volume group is made by LVM2's own tools, which also say where its bytes lie: the file
//! system goes in and comes out by that map. Needs root, lvm2, e2fsprogs, fdisk and python3.

use block::{BlockRead, Memory};
use convert::{Options, Severity, convert, plan};
use guest::{Content, Facts, Guest, Machine, SourceDisk, VolumeId};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

const EXTENT: usize = 4 << 20;

/// Makes a guest in `$1`: its root file system in `root`, and where the tools say that its extents
/// lie in `map`, as lines of disk, first byte and number of extents.
const MAKE: &str = r#"
set -euo pipefail
cd "$1"; fixture=$2
python3 "$fixture" debian12 whole >/dev/null
eval "$(sfdisk -d whole | sed -n 's/^.* : start= *\([0-9]*\), size= *\([0-9]*\).*/start=\1 size=\2/p' | head -1)"
dd if=whole of=root bs=512 skip="$start" count="$size" status=none
rm whole
printf '/dev/mapper/vg--t-root / ext4 errors=remount-ro 0 1\n/dev/vg-t/data /srv ext4 nofail 0 2\n/dev/sda3 none swap sw 0 0\n' > fstab
debugfs -w -R 'rm /etc/fstab' root 2>/dev/null
debugfs -w -R 'write fstab /etc/fstab' root 2>/dev/null >/dev/null
extents=$(( ($(stat -c %s root) + 4194303) / 4194304 ))
first=$(( extents * 4 / 2 ))
truncate -s $(( first + 2 ))M disk0
truncate -s $(( first + 16 ))M disk1
printf 'label: dos\nstart=2048, type=8e\n' | sfdisk -q disk0
a=$(losetup -f --show -o 1048576 disk0)
trap 'losetup -d $a' EXIT
b=$(losetup -f --show disk1)
trap 'losetup -d $a $b' EXIT
mkdir etc; touch etc/lvm.conf
export LVM_SYSTEM_DIR=$PWD/etc LVM_SUPPRESS_FD_WARNINGS=1
config="devices { filter=[\"a|^$a\$|\",\"a|^$b\$|\",\"r|.*|\"] use_devicesfile=0 } backup { backup=0 archive=0 } activation { udev_sync=0 udev_rules=0 monitoring=0 }"
lvm pvcreate -q --config "$config" "$a" "$b" >/dev/null
lvm vgcreate -q --config "$config" vg-t "$a" "$b" >/dev/null
lvm lvcreate -q --config "$config" --driverloaded n -an -Zn -Wn -n root -l "$extents" vg-t >/dev/null 2>&1
lvm lvs --config "$config" --driverloaded n --segments --noheadings -o seg_pe_ranges vg-t/root 2>/dev/null |
    sed "s|$a:|0 2097152 |; s|$b:|1 1048576 |; s|-| |" > map
"#;

fn tools() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    let there = |name: &str| Command::new(name).arg("--help").output().is_ok();
    let all = id.stdout == b"0\n"
        && ["lvm", "python3", "debugfs", "sfdisk"]
            .iter()
            .all(|it| there(it));
    if !all {
        println!("skipped: needs root, lvm2, e2fsprogs, fdisk and python3");
    }
    all
}

fn make(dir: &Path) {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/phony-guest");
    let mut bash = Command::new("bash");
    let made = bash
        .args(["-c", MAKE, "make"])
        .arg(dir)
        .arg(fixture)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// Disk and first byte of each extent of the volume.
fn map(dir: &Path) -> Vec<(usize, usize)> {
    let mut map = Vec::new();
    for line in std::fs::read_to_string(dir.join("map")).unwrap().lines() {
        let numbers: Vec<usize> = line
            .split_whitespace()
            .map(|n| n.parse().unwrap())
            .collect();
        let [disk, start, first, last] = numbers[..] else {
            panic!("{line}");
        };
        map.extend((first..=last).map(|extent| (disk, start + extent * EXTENT)));
    }
    map
}

fn machine(disks: &[Vec<u8>]) -> Machine {
    let disks = disks.iter().enumerate().map(|(index, bytes)| SourceDisk {
        name: format!("disk{index}"),
        device: Arc::new(Memory::new(bytes.clone())),
    });
    Machine::open(disks.collect()).unwrap()
}

fn after(machine: &Machine) -> Vec<Vec<u8>> {
    let read = |disk: &guest::Disk| {
        let mut bytes = vec![0; usize::try_from(disk.overlay.size()).unwrap()];
        disk.overlay.read_at(0, &mut bytes).unwrap();
        bytes
    };
    machine.disks().iter().map(read).collect()
}

fn e2fsck(dir: &Path, bytes: &[u8]) -> PathBuf {
    let path = dir.join("checked");
    std::fs::write(&path, bytes).unwrap();
    let checked = Command::new("e2fsck")
        .arg("-fn")
        .arg(&path)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}");
    path
}

/// Converts, and plans once more, which has to be empty.
fn convert_twice(disks: &[Vec<u8>], root: &VolumeId) -> (Vec<Vec<u8>>, Facts) {
    let first = machine(disks);
    let roots = first.roots().unwrap();
    let found: Vec<_> = roots.iter().map(|root| &root.volume).collect();
    assert_eq!(found, [root]);
    let options = Options::default();
    let done = convert(&first, root, &options, None).unwrap();
    assert!(!done.plan.changes.is_empty());
    let converted = after(&first);
    assert_ne!(converted, disks);
    let again = machine(&converted);
    let guest = Guest::open(&again, root).unwrap();
    let facts = guest::inspect(&again, &guest).unwrap();
    let empty = plan(&guest, &facts, &options).unwrap();
    assert_eq!(empty.changes, []);
    (converted, done.facts)
}

#[test]
fn a_root_on_a_logical_volume_over_two_disks_converts() {
    if !tools() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let mut disks: Vec<Vec<u8>> = ["disk0", "disk1"]
        .map(|name| std::fs::read(dir.path().join(name)).unwrap())
        .into();
    let mut root = std::fs::read(dir.path().join("root")).unwrap();
    let map = map(dir.path());
    assert!(map.iter().any(|(disk, _)| *disk == 0) && map.iter().any(|(disk, _)| *disk == 1));
    root.resize(map.len() * EXTENT, 0);
    for (extent, (disk, at)) in root.chunks(EXTENT).zip(&map) {
        disks[*disk][*at..at + EXTENT].copy_from_slice(extent);
    }
    let id = VolumeId::Logical {
        volume_group: "vg-t".to_owned(),
        logical_volume: "root".to_owned(),
    };
    let (converted, facts) = convert_twice(&disks, &id);
    assert_eq!(facts.root, id);
    let volume = facts.volume(&id).unwrap();
    assert_eq!(volume.disks, [0, 1]);
    assert_eq!(
        volume.device_names[..2],
        ["/dev/mapper/vg--t-root", "/dev/vg-t/root"]
    );
    assert_eq!(facts.resolve("/dev/vg-t/root").as_ref(), Some(&id));
    let resolved: Vec<_> = facts
        .fstab
        .iter()
        .map(|entry| entry.resolved.clone())
        .collect();
    assert_eq!(resolved, [Some(id.clone()), None, None]);
    let physical = |id: VolumeId| {
        let content = &facts.volume(&id).unwrap().content;
        matches!(content, Content::LvmPhysical { .. })
    };
    assert!(physical(VolumeId::partition(0, 1)) && physical(VolumeId::whole_disk(1)));
    // Out by the tools' map, into the file system's own checker.
    let extents = map
        .iter()
        .flat_map(|(disk, at)| &converted[*disk][*at..at + EXTENT]);
    let path = e2fsck(dir.path(), &extents.copied().collect::<Vec<u8>>());
    let cat = Command::new("debugfs")
        .args(["-R", "cat /etc/fstab"])
        .arg(path)
        .output()
        .unwrap();
    let fstab = String::from_utf8(cat.stdout).unwrap();
    assert!(
        fstab.starts_with("/dev/mapper/vg--t-root / ext4"),
        "{fstab}"
    );

    // The second physical volume may as well be a mirror: LVM over RAID, and no disk twice.
    let nested = [0, 1].map(|slot| mirror_member(&disks[1], slot));
    let [first, second] = nested;
    let nested = machine(&[disks[0].clone(), first, second]);
    assert_eq!(nested.findings(), [""; 0]);
    assert_eq!(nested.volume(&id).unwrap().disks, [0, 1, 2]);
    assert_eq!(nested.roots().unwrap().len(), 1);

    // Without the second disk the volume says which physical volume it lacks.
    let half = machine(&disks[..1]);
    let Content::Unreadable(why) = &half.volume(&id).unwrap().content else {
        panic!("it was opened");
    };
    assert!(why.starts_with("needs the physical volume"), "{why}");
    assert!(half.findings()[0].contains("lacks the physical volume"));
    let error = half.open_file_system(&id).unwrap_err().to_string();
    assert!(
        error.contains("vg-t/root") && error.contains("physical volume"),
        "{error}"
    );
}

/// A superblock of version 1.0 for a mirror of two, at the end of a member.
fn mirror_member(file_system: &[u8], slot: u8) -> Vec<u8> {
    let mut bytes = file_system.to_vec();
    bytes.resize(file_system.len() + 65536, 0);
    let sectors = |bytes: usize| u64::try_from(bytes / 512).unwrap().to_le_bytes();
    let at = (bytes.len() / 512 - 16) / 8 * 8 * 512;
    let sb = &mut bytes[at..at + 512];
    sb[..8].copy_from_slice(&[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]);
    sb[16..32].copy_from_slice(b"sixteen letters!");
    sb[32..38].copy_from_slice(b"web1:0");
    sb[72] = 1;
    sb[80..88].copy_from_slice(&sectors(file_system.len()));
    sb[92] = 2;
    sb[136..144].copy_from_slice(&sectors(file_system.len()));
    sb[144..152].copy_from_slice(&sectors(at));
    sb[160] = slot;
    sb[200] = 5;
    sb[208..216].fill(0xff);
    sb[220] = 2;
    sb[258] = 1;
    let (words, _) = sb[..260].as_chunks::<4>();
    let sum: u64 = words
        .iter()
        .map(|word| u64::from(u32::from_le_bytes(*word)))
        .sum();
    let sum = u32::try_from((sum & 0xffff_ffff) + (sum >> 32)).unwrap();
    sb[216..220].copy_from_slice(&sum.to_le_bytes());
    bytes
}

#[test]
fn a_root_on_a_mirror_converts_on_both_legs() {
    if !tools() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    make(dir.path());
    let root = std::fs::read(dir.path().join("root")).unwrap();
    let disks = [mirror_member(&root, 0), mirror_member(&root, 1)];
    let id = VolumeId::Array {
        array: "md0".to_owned(),
        partition: None,
    };
    let (converted, facts) = convert_twice(&disks, &id);
    assert_eq!(facts.resolve("/dev/md0").as_ref(), Some(&id));
    assert_eq!(facts.volume(&id).unwrap().disks, [0, 1]);
    let legs: Vec<_> = converted.iter().map(|leg| &leg[..root.len()]).collect();
    assert!(legs[0] == legs[1]);
    e2fsck(dir.path(), legs[0]);
    // The superblocks are as they were.
    for (before, after) in disks.iter().zip(&converted) {
        assert!(before[root.len()..] == after[root.len()..]);
    }
    // One leg alone is enough; the other has to be added anew.
    let alone = machine(&disks[..1]);
    assert!(alone.findings()[0].contains("lacks member 1 of 2"));
    assert_eq!(alone.roots().unwrap().len(), 1);
    // Whoever converts it is told.
    let done = convert(&alone, &id, &Options::default(), None).unwrap();
    let told = &done.plan.findings[0];
    assert_eq!((&*told.rule, told.severity), ("inspect", Severity::Warning));
    assert_eq!(told.text, alone.findings()[0]);
}
