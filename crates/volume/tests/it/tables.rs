//! Sound tables made by sfdisk and sgdisk read as these read them.

use crate::common::{Disk, assert_as_sfdisk, run};
use std::process::Command;
use volume::{Finding, PartitionKind, TableKind};

const GPT: &str = "label: gpt
label-id: 11111111-2222-3333-4444-555555555555
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649
size=8192, type=U, name=\"EFI system\", uuid=AAAAAAAA-0002-4000-8000-000000000002
size=8192, type=S
size=8192, type=V, name=\"Ünïcödé\", attrs=\"LegacyBIOSBootable\"
";

#[test]
fn sfdisk_tables_read_as_sfdisk_reads_them() {
    let logical = "label: dos
label-id: 0x1234abcd
size=1M, type=83, bootable
size=20M, type=5
5: size=1M, type=82
6: size=2M, type=8e
7: size=3M, type=83
8: size=4M, type=7
";
    let one_by_one = |n: usize| {
        let lines: String = (5..n + 5)
            .map(|n| format!("{n}: size=64K, type=83\n"))
            .collect();
        format!("label: dos\nlabel-id: 0x1\nsize=1M\nsize=100M, type=f\n{lines}")
    };
    let cases = [
        ("gpt", GPT.to_owned(), TableKind::Gpt),
        ("empty gpt", String::from("label: gpt\n"), TableKind::Gpt),
        ("logical", logical.to_owned(), TableKind::Mbr),
        ("many logical", one_by_one(40), TableKind::Mbr),
        ("empty mbr", String::from("label: dos\n"), TableKind::Mbr),
        (
            "gaps in the slots",
            String::from(
                "label: dos\nlabel-id: 0xffffffff\n2: size=1M, type=c\n4: size=1M, type=ef\n",
            ),
            TableKind::Mbr,
        ),
    ];
    for (name, script, kind) in cases {
        let disk = Disk::sfdisk(128, &script);
        let table = assert_as_sfdisk(&disk);
        assert_eq!((table.kind, table.sector_size), (kind, 512), "{name}");
        assert_eq!(table.findings, [], "{name}");
        assert!(!table.boot_code, "{name}");
    }
}

#[test]
fn partitions_know_what_they_are_for_and_what_names_them() {
    let table = Disk::sfdisk(64, GPT).scan().unwrap();
    let [bios, esp, swap, lvm] = table.partitions.as_slice() else {
        panic!("{table:?}");
    };
    assert!(bios.kind.is_bios_boot() && !bios.kind.is_esp());
    assert!(esp.kind.is_esp());
    assert!(swap.kind.is_linux_swap_hint());
    assert!(lvm.kind.is_lvm());
    let uuid = "aaaaaaaa-0002-4000-8000-000000000002";
    assert_eq!(esp.uuid.as_deref(), Some(uuid));
    assert_eq!(esp.label.as_deref(), Some("EFI system"));
    assert_eq!(bios.label, None);
    assert_eq!((esp.bootable, lvm.bootable), (false, true));

    let script =
        "label: dos\nlabel-id: 0x0a\nsize=1M, type=ef, bootable\nsize=9M, type=5\n5: size=1M\n";
    let table = Disk::sfdisk(64, script).scan().unwrap();
    let names: Vec<_> = table.partitions.iter().map(|p| p.uuid.as_deref()).collect();
    let want = ["0000000a-01", "0000000a-02", "0000000a-05"];
    assert_eq!(names, want.map(Some));
    let kinds: Vec<_> = table.partitions.iter().map(|p| p.kind).collect();
    assert_eq!(kinds, [0xef, 0x05, 0x83].map(PartitionKind::Mbr));
    assert!(kinds[0].is_esp() && kinds[1].is_extended());
    assert_eq!(table.disk_id.as_deref(), Some("0000000a"));
}

#[test]
fn sgdisk_tables_read_as_sfdisk_reads_them() {
    for args in [
        vec![
            "-n",
            "1:2048:+8M",
            "-t",
            "1:ef00",
            "-n",
            "5:0:0",
            "-c",
            "5:root",
        ],
        vec!["-S", "256", "-n", "200:0:+1M", "-n", "3:0:+1M"],
    ] {
        let table = assert_as_sfdisk(&Disk::sgdisk(64, &args));
        assert_eq!((table.kind, table.findings), (TableKind::Gpt, vec![]));
    }
    let hybrid = ["-n", "1:0:+8M", "-n", "2:0:+8M", "-h", "1:2"];
    let table = assert_as_sfdisk(&Disk::sgdisk(64, &hybrid));
    assert_eq!((table.kind, table.findings), (TableKind::Hybrid, vec![]));
}

#[test]
fn a_table_in_sectors_of_4096_bytes_is_read() {
    let disk = Disk::new(64);
    let losetup = Command::new("losetup")
        .args(["-b", "4096", "-f", "--show"])
        .arg(&disk.path)
        .output();
    let device = match losetup {
        Ok(out) if out.status.success() => String::from_utf8(out.stdout).unwrap(),
        other => {
            println!("skipped: no loop device with sectors of 4096 bytes ({other:?})");
            return;
        }
    };
    let device = device.trim();
    let mut sgdisk = Command::new("sgdisk");
    sgdisk.args([
        "-n", "1:0:+8M", "-t", "1:ef00", "-n", "2:0:0", "-c", "2:root", device,
    ]);
    let made = sgdisk.output().unwrap();
    let json = Command::new("sfdisk")
        .arg("-J")
        .arg(device)
        .output()
        .unwrap();
    run(Command::new("losetup").arg("-d").arg(device));
    assert!(made.status.success(), "{made:?}");
    let table = disk.scan().unwrap();
    assert_eq!((table.kind, table.sector_size), (TableKind::Gpt, 4096));
    assert_eq!(table.findings, []);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    let theirs = crate::common::theirs(&json["partitiontable"], &format!("{device}p"));
    assert_eq!(crate::common::ours(&table), theirs);
    // The backup is found in these sectors too.
    disk.patch(4096, &[0; 4096]);
    let from_backup = disk.scan().unwrap();
    assert_eq!(from_backup.partitions, table.partitions);
    assert_eq!(from_backup.sector_size, 4096);
    assert!(matches!(
        from_backup.findings[..],
        [Finding::BackupUsed { .. }]
    ));
}

#[test]
fn a_disk_without_a_table_is_one_volume() {
    let cases: [(&str, &[&str]); 6] = [
        ("mkfs.ext4", &["-q", "-F"]),
        ("mkfs.fat", &["-F", "12"]),
        ("mkfs.fat", &["-F", "16"]),
        ("mkfs.fat", &["-F", "32", "-s", "1"]),
        ("mkfs.fat", &["--mbr=y"]),
        ("mkswap", &["-q"]),
    ];
    for (mkfs, args) in cases {
        let disk = Disk::new(40);
        run(Command::new(mkfs).args(args).arg(&disk.path));
        let table = disk.scan().unwrap();
        assert_eq!(table.kind, TableKind::None, "{mkfs} {args:?}");
        assert!(!table.boot_code, "{mkfs} {args:?}");
        let [whole] = table.partitions.as_slice() else {
            panic!("{table:?}");
        };
        assert_eq!((whole.number, whole.start, whole.size), (0, 0, 40 << 20));
        assert!(whole.in_bounds);
    }
    for size in [0, 1, 511, 512, 513, 4095] {
        let disk = block::Memory::new(vec![0; size]);
        assert_eq!(volume::scan(&disk).unwrap().kind, TableKind::None, "{size}");
    }
}

#[test]
fn boot_code_is_noticed_before_the_disk_signature_only() {
    let disk = Disk::sfdisk(64, "label: dos\nlabel-id: 0x12345678\nsize=1M\n");
    assert!(!disk.scan().unwrap().boot_code);
    disk.patch(439, &[1]);
    assert!(disk.scan().unwrap().boot_code);
}
