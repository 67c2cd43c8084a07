//! Machines of several disks, made here with the host's own tools.
//!
//! Where `mkfs.ext4`, `mkfs.vfat`, `mkswap` or `sfdisk` is missing, the tests say so and pass.

mod support;

use fs::NewNode;
use guest::{Content, Family, Firmware, Guest, GuestPath, Machine, SourceDisk, VolumeId, inspect};
use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::raw_image;

/// What a partition of a made disk holds.
enum Holds<'t> {
    /// ext4 with these files.
    Ext4(&'t str, &'t [(&'t str, &'t str)]),
    Fat(&'t str),
    Swap,
    /// These bytes at the start.
    Bytes(&'t [u8]),
}

const PART: u64 = 16 << 20;
const FIRST: u64 = 1 << 20;

fn run(command: &mut Command) -> Option<()> {
    let program = command.get_program().to_owned();
    match command.stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Ok(status) => {
            assert!(status.success(), "{program:?}");
            Some(())
        }
        Err(_) => {
            println!("skipped: {} is missing", program.display());
            None
        }
    }
}

/// Makes an MBR disk of equal partitions; the type of each follows from what it holds.
fn make_disk(dir: &Path, name: &str, parts: &[Holds<'_>]) -> Option<PathBuf> {
    let disk = dir.join(name);
    let mut bytes =
        vec![0; usize::try_from(FIRST + PART * u64::try_from(parts.len()).unwrap()).unwrap()];
    let mut script = "label: dos\nlabel-id: 0x12345678\n".to_owned();
    for (index, part) in parts.iter().enumerate() {
        let file = dir.join(format!("{name}.{index}"));
        std::fs::File::create(&file).unwrap().set_len(PART).unwrap();
        let kind = match part {
            Holds::Ext4(label, files) => {
                let tree = dir.join(format!("{name}.{index}.tree"));
                std::fs::create_dir(&tree).unwrap();
                plant(&tree, files);
                let mut mkfs = Command::new("mkfs.ext4");
                mkfs.args(["-q", "-L", label, "-d"]).arg(&tree).arg(&file);
                run(&mut mkfs)?;
                "83"
            }
            Holds::Fat(label) => {
                run(Command::new("mkfs.vfat").args(["-n", label]).arg(&file))?;
                "ef"
            }
            Holds::Swap => {
                run(Command::new("mkswap").arg(&file))?;
                "82"
            }
            Holds::Bytes(start) => {
                let mut content = vec![0; usize::try_from(PART).unwrap()];
                content[..start.len()].copy_from_slice(start);
                std::fs::write(&file, content).unwrap();
                "83"
            }
        };
        let start = FIRST + PART * u64::try_from(index).unwrap();
        let at = usize::try_from(start).unwrap();
        let content = std::fs::read(&file).unwrap();
        bytes[at..at + content.len()].copy_from_slice(&content);
        script += &format!("start={}, size={}, type={kind}\n", start / 512, PART / 512);
    }
    std::fs::write(&disk, bytes).unwrap();
    let table = dir.join(format!("{name}.sfdisk"));
    std::fs::write(&table, script).unwrap();
    let table = std::fs::File::open(&table).unwrap();
    run(Command::new("sfdisk").arg("-q").arg(&disk).stdin(table))?;
    Some(disk)
}

/// Writes files below a directory of the host; content that starts with `-> ` is a link's target,
/// a name that ends in `/` is an empty directory.
fn plant(tree: &Path, files: &[(&str, &str)]) {
    for (name, content) in files {
        let path = tree.join(std::ffi::OsStr::from_bytes(&name.as_bytes()[1..]));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if name.ends_with('/') {
            std::fs::create_dir_all(&path).unwrap();
        } else if let Some(target) = content.strip_prefix("-> ") {
            std::os::unix::fs::symlink(target, &path).unwrap();
        } else {
            std::fs::write(&path, content).unwrap();
        }
    }
}

fn open(disks: &[PathBuf]) -> Machine {
    let disks = disks.iter().map(|path| SourceDisk {
        name: path.display().to_string(),
        device: raw_image(path),
    });
    Machine::open(disks.collect()).unwrap()
}

fn id(disk: usize, partition: u32) -> VolumeId {
    VolumeId::partition(disk, partition)
}

const DEBIAN: (&str, &str) = (
    "/etc/os-release",
    "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n",
);

#[test]
fn disks_are_put_together_as_fstab_says() {
    let dir = tempfile::tempdir().unwrap();
    let fstab = "/dev/sda1 / ext4 defaults 0 1\n\
        /dev/sdb1 /srv/data/ ext4 defaults 0 2\n\
        LABEL=spare /srv/data ext4 defaults 0 2\n\
        /dev/sda3 none swap sw 0 0\n\
        /dev/sdb2 /home ext4 defaults 0 2\n\
        LABEL=ESP /boot/efi vfat noauto 0 0\n\
        UUID=gone /gone ext4 defaults 0 0\n\
        LABEL=spare /srv ext4 defaults 0 2\n\
        tmpfs /tmp tmpfs defaults 0 0\n";
    let root = [
        DEBIAN,
        ("/etc/fstab", fstab),
        ("/etc/hostname", "# name\nweb1\n"),
        ("/usr/bin/", ""),
        ("/boot/vmlinuz-6.1.0-1-amd64", "kernel"),
        ("/boot/initrd.img-6.1.0-1-amd64", "initrd"),
        ("/usr/lib/modules/6.1.0-1-amd64/", ""),
        ("/lib", "-> usr/lib"),
        ("/where", "-> /srv/data/../data/file"),
    ];
    let Some(first) = make_disk(
        dir.path(),
        "first",
        &[Holds::Ext4("root", &root), Holds::Fat("ESP"), Holds::Swap],
    ) else {
        return;
    };
    let second = make_disk(
        dir.path(),
        "second",
        &[
            Holds::Ext4("data", &[("/file", "on the second disk")]),
            Holds::Swap,
            Holds::Ext4("spare", &[("/data/", "")]),
        ],
    )
    .unwrap();
    let machine = open(&[first, second.clone()]);
    let roots = machine.roots().unwrap();
    assert_eq!(roots.len(), 1);
    assert_eq!(roots[0].os.as_ref().unwrap().family, Family::Debian);

    let mut guest = Guest::open(&machine, &roots[0].volume).unwrap();
    let mounts: Vec<_> = guest
        .mounts()
        .iter()
        .map(|mount| (mount.at.to_string(), mount.volume.clone().unwrap()))
        .collect();
    assert_eq!(
        mounts,
        [
            ("/".to_owned(), id(0, 1)),
            ("/srv".to_owned(), id(1, 3)),
            ("/srv/data".to_owned(), id(1, 1)),
            ("/boot/efi".to_owned(), id(0, 2)),
        ]
    );
    let content = guest.read(&"/where".into(), 100).unwrap().unwrap();
    assert_eq!(content, b"on the second disk");

    let facts = inspect(&machine, &guest).unwrap();
    assert_eq!(facts.hostname.as_deref(), Some("web1"));
    assert_eq!(facts.firmware, Firmware::Uefi);
    assert_eq!(facts.root, id(0, 1));
    let resolved: BTreeMap<_, _> = facts
        .fstab
        .iter()
        .map(|entry| (entry.line, entry.resolved.clone()))
        .collect();
    assert_eq!(resolved[&4], Some(id(0, 3)));
    assert_eq!(resolved[&5], None);
    assert_eq!(resolved[&7], None);
    let kernel = &facts.kernels[0];
    assert_eq!(
        kernel.modules,
        Some("/usr/lib/modules/6.1.0-1-amd64".into())
    );
    let mounted = facts.mounted_at(&"/srv/data".into()).unwrap();
    assert_eq!(mounted.id, id(1, 1));
    for expected in [
        "line 3 of /etc/fstab mounts /srv/data a second time; the first entry was used",
        "line 5 of /etc/fstab says that /dev/sdb2 is ext4, but disk 2 partition 2 holds swap space",
        "line 7 of /etc/fstab: UUID=gone is none of the volumes of the disks given",
        "PARTUUID=12345678-01 stands for disk 1 partition 1 and for disk 2 partition 1",
    ] {
        assert!(
            facts.findings.iter().any(|finding| finding == expected),
            "{expected}: {:#?}",
            facts.findings
        );
    }

    // Edits go to the overlay of the disk that holds the path, and to no other.
    let before = std::fs::read(&second).unwrap();
    let path = GuestPath::from("/srv/data/new");
    guest.set_now(guest.last_write().unwrap());
    guest.check_editable(&path).unwrap();
    guest
        .create_file(&path, b"content", NewNode::root(0o600))
        .unwrap();
    guest.commit().unwrap();
    assert_eq!(guest.check([&path]).unwrap(), []);
    assert!(machine.disks()[0].overlay.dirty_extents().is_empty());
    assert!(!machine.disks()[1].overlay.dirty_extents().is_empty());
    assert_eq!(std::fs::read(&second).unwrap(), before);
    let again = Guest::open(&machine, &id(0, 1)).unwrap();
    assert_eq!(again.read(&path, 10).unwrap().unwrap(), b"content");
}

#[test]
fn every_root_is_reported_and_damage_stops_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let debian = [DEBIAN, ("/usr/", "")];
    let alpine = [
        ("/etc/os-release", "ID=alpine\nVERSION_ID=3.20\n"),
        ("/bin/", ""),
    ];
    let mut damaged = vec![0; 4096];
    damaged[1024 + 56..1024 + 58].copy_from_slice(&[0x53, 0xef]);
    let Some(disk) = make_disk(
        dir.path(),
        "disk",
        &[
            Holds::Bytes(&damaged),
            Holds::Ext4("one", &debian),
            Holds::Bytes(b"LUKS\xba\xbe\x00\x02"),
            Holds::Ext4("two", &alpine),
        ],
    ) else {
        return;
    };
    let noise: Vec<u8> = (0..FIRST)
        .map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()[1])
        .collect();
    let other = dir.path().join("noise");
    std::fs::write(&other, noise).unwrap();
    let machine = open(&[other, disk]);
    assert!(matches!(
        machine.volumes()[0].content,
        Content::Unknown | Content::Unreadable(_)
    ));
    let content = |partition| &machine.volume(&id(1, partition)).unwrap().content;
    assert!(
        matches!(content(1), Content::Unreadable(_)),
        "{:?}",
        content(1)
    );
    assert!(matches!(content(3), Content::Luks { version: 2, .. }));
    let roots: Vec<_> = machine
        .roots()
        .unwrap()
        .into_iter()
        .map(|root| (root.volume, root.os.unwrap().family))
        .collect();
    assert_eq!(
        roots,
        [(id(1, 2), Family::Debian), (id(1, 4), Family::Alpine)]
    );
    let error = machine.open_file_system(&id(1, 3)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "disk 2 partition 3 holds an encrypted volume (LUKS), not a file system that can be opened"
    );
    let error = machine.open_file_system(&id(5, 1)).unwrap_err();
    assert_eq!(error.to_string(), "there is no disk 6 partition 1");
}

#[test]
fn a_guest_that_wants_to_confuse_is_inspected_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let garbage = "\u{1}\t\\999\nUUID= / ext4\n/dev/sdzzzz9 /x ext4\n/dev/sda4294967296 /y ext4\n\
        /dev/sda1 /../../etc ext4 defaults 0 0\n/dev/sda1 /loop/below ext4 defaults 0 0\n";
    let root = [
        ("/etc/os-release", "-> os-release"),
        ("/usr/lib/os-release", "ID=debian\n"),
        ("/etc/fstab", garbage),
        ("/etc/hostname", "-> /dev/../etc/hostname/x"),
        (
            "/etc/debian_version",
            "-> ../../../../../etc/debian_version2",
        ),
        ("/loop", "-> loop"),
        ("/boot", "-> boot/boot"),
        ("/bin/sh", "\u{7f}ELF"),
        (
            "/var/lib/dpkg/status",
            "Package\n:\n\nPackage: \u{1}\nStatus: installed",
        ),
    ];
    let Some(disk) = make_disk(dir.path(), "disk", &[Holds::Ext4("root", &root)]) else {
        return;
    };
    let machine = open(&[disk]);
    let guest = Guest::open(&machine, &id(0, 1)).unwrap();
    let facts = inspect(&machine, &guest).unwrap();
    assert_eq!(facts.kernels, []);
    assert_eq!(facts.hostname, None);
    for expected in [
        "line 1 of /etc/fstab cannot be understood",
        "/etc is missing from what was inspected: disk 1 partition 1 is mounted elsewhere too",
        "too many symbolic links in /etc/os-release in the guest",
        "too many symbolic links in /boot in the guest",
    ] {
        assert!(
            facts.findings.iter().any(|finding| finding == expected),
            "{expected}: {:#?}",
            facts.findings
        );
    }
}

/// Adds a superblock of version 1.0 of a mirror of two, as mdadm does at the end of whole disks.
fn mirrored(disk: &[u8], slot: u8) -> Vec<u8> {
    let mut bytes = disk.to_vec();
    bytes.resize(disk.len() + 65536, 0);
    let sectors = |bytes: usize| u64::try_from(bytes / 512).unwrap().to_le_bytes();
    let at = (bytes.len() / 512 - 16) / 8 * 8 * 512;
    let superblock = &mut bytes[at..at + 512];
    superblock[..8].copy_from_slice(&[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]);
    superblock[16..32].copy_from_slice(b"sixteen letters!");
    superblock[32..41].copy_from_slice(b"web1:boot");
    superblock[72] = 1;
    superblock[80..88].copy_from_slice(&sectors(disk.len()));
    superblock[92] = 2;
    superblock[136..144].copy_from_slice(&sectors(disk.len()));
    superblock[144..152].copy_from_slice(&sectors(at));
    superblock[160] = slot;
    superblock[200] = 5;
    superblock[208..216].fill(0xff);
    superblock[220] = 2;
    superblock[258] = 1;
    let (words, _) = superblock[..260].as_chunks::<4>();
    let words = words
        .iter()
        .map(|word| u64::from(u32::from_le_bytes(*word)));
    let sum: u64 = words.sum();
    let sum = u32::try_from((sum & 0xffff_ffff) + (sum >> 32)).unwrap();
    superblock[216..220].copy_from_slice(&sum.to_le_bytes());
    bytes
}

/// As after `grub-install --force` on a disk without partitions.
#[test]
fn a_boot_sector_without_partitions_leaves_the_disk_one_volume() {
    let dir = tempfile::tempdir().unwrap();
    let disk = dir.path().join("disk");
    std::fs::File::create(&disk).unwrap().set_len(PART).unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    plant(
        &tree,
        &[("/etc/fstab", "LABEL=all / ext4\n"), ("/usr/x", "")],
    );
    let mut mkfs = Command::new("mkfs.ext4");
    mkfs.args(["-q", "-L", "all", "-d"]).arg(&tree).arg(&disk);
    if run(&mut mkfs).is_none() {
        return;
    }
    let mut bytes = std::fs::read(&disk).unwrap();
    bytes[..3].copy_from_slice(&[0xeb, 0x63, 0x90]);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(&disk, bytes).unwrap();
    let machine = open(&[disk]);
    assert_eq!(machine.roots().unwrap()[0].volume, VolumeId::whole_disk(0));
}

#[test]
fn a_mirror_of_whole_disks_has_the_partitions_and_not_its_members() {
    let dir = tempfile::tempdir().unwrap();
    let conf = "ARRAY /dev/md/7 UUID=73697874:65656e20:6c657474:65727321\n";
    let files = [
        DEBIAN,
        (
            "/etc/fstab",
            "/dev/md/7p1 / ext4 defaults 0 1\n/dev/md127p2 none swap sw 0 0\n",
        ),
        ("/etc/mdadm/mdadm.conf", conf),
        ("/usr/", ""),
    ];
    let Some(disk) = make_disk(
        dir.path(),
        "disk",
        &[Holds::Ext4("root", &files), Holds::Swap],
    ) else {
        return;
    };
    let disk = std::fs::read(disk).unwrap();
    let members = [0, 1].map(|slot| {
        let path = dir.path().join(format!("member{slot}"));
        std::fs::write(&path, mirrored(&disk, slot)).unwrap();
        path
    });
    let machine = open(&members);
    let part = |partition| VolumeId::Array {
        array: "md/boot".to_owned(),
        partition: Some(partition),
    };
    let ids: Vec<_> = machine.volumes().iter().map(|it| it.id.clone()).collect();
    let whole = VolumeId::whole_disk;
    assert_eq!(ids, [whole(0), whole(1), part(1), part(2)]);
    let roots = machine.roots().unwrap();
    assert_eq!(roots.len(), 1);
    let guest = Guest::open(&machine, &roots[0].volume).unwrap();
    let facts = inspect(&machine, &guest).unwrap();
    let resolved: Vec<_> = facts.fstab.iter().map(|it| it.resolved.clone()).collect();
    assert_eq!(resolved, [Some(part(1)), Some(part(2))]);
    assert_eq!(facts.volume(&part(1)).unwrap().disks, [0, 1]);
    let by_id = "/dev/disk/by-id/md-name-web1:boot-part1";
    assert_eq!(facts.resolve(by_id), Some(part(1)));
}
