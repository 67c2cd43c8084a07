//! Volume groups made by LVM2's own tools over loop devices, without device-mapper; what they say
//! about themselves is where each byte has to come from.

use crate::common::{FileDisk, run};
use block::{BlockRead, BlockWrite, Memory};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use volume::lvm::{Assembled, Error, Finding, LogicalVolume, Member, assemble};

const PV: u64 = 64 << 20;
const EXTENT: u64 = 4 << 20;
const START: u64 = 1 << 20;
const BLOCK: u64 = 4096;

/// Physical volumes as files, behind loop devices while tools work on them.
struct Group {
    dir: tempfile::TempDir,
    loops: Vec<String>,
}

impl Drop for Group {
    fn drop(&mut self) {
        for device in &self.loops {
            // What is left behind would only be a loop device.
            let _ = Command::new("losetup").args(["-d", device]).status();
        }
    }
}

impl Group {
    /// A group `vg-t` over three devices, with `lin` over the first two and `str` striped over the
    /// other two; none without root or LVM2.
    fn new() -> Option<Self> {
        let missing = Command::new("lvm").arg("version").output().is_err();
        if missing || !is_root() {
            println!("skipped: needs root and the tools of LVM2");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut group = Self {
            dir,
            loops: Vec::new(),
        };
        for index in 0..3 {
            let path = group.file(index);
            File::create(&path).unwrap().set_len(PV).unwrap();
            let device = run(Command::new("losetup").args(["-f", "--show"]).arg(&path));
            let device = String::from_utf8(device).unwrap().trim().to_owned();
            group.loops.push(device);
        }
        std::fs::create_dir(group.dir.path().join("etc")).unwrap();
        std::fs::write(group.dir.path().join("etc/lvm.conf"), "").unwrap();
        let [a, b, c] = [0, 1, 2].map(|index| group.loops[index].clone());
        group.lvm(&["pvcreate", "-q", &a, &b, &c]);
        group.lvm(&["vgcreate", "-q", "vg-t", &a, &b, &c]);
        let make = ["lvcreate", "--driverloaded", "n", "-an", "-Zn", "-Wn"];
        group.lvm(&[&make[..], &["-n", "lin", "-L", "100M", "vg-t", &a, &b]].concat());
        let striped = ["-n", "str", "-i2", "-I64", "-L24M", "vg-t", &b, &c];
        group.lvm(&[&make[..], &striped].concat());
        Some(group)
    }

    fn file(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("pv{index}"))
    }

    fn lvm(&self, args: &[&str]) -> String {
        let filters: Vec<String> = self
            .loops
            .iter()
            .map(|device| format!("\"a|^{device}$|\""))
            .collect();
        let config = format!(
            "devices {{ filter=[{},\"r|.*|\"] use_devicesfile=0 }} backup {{ backup=0 archive=0 }} \
             activation {{ udev_sync=0 udev_rules=0 monitoring=0 }}",
            filters.join(",")
        );
        let (command, args) = args.split_first().unwrap();
        let mut lvm = Command::new("lvm");
        lvm.env("LVM_SYSTEM_DIR", self.dir.path().join("etc"))
            .env("LVM_SUPPRESS_FD_WARNINGS", "1")
            .args([command, "--config", &config])
            .args(args);
        String::from_utf8(run(&mut lvm)).unwrap()
    }

    /// Writes the metadata anew, with `volumes` beside those that are there.
    fn restore(&self, volumes: &str) {
        let with = format!("logical_volumes {{\n{volumes}\n");
        self.change("", "logical_volumes {", &with);
    }

    /// Writes the metadata anew, with something else in the first place behind `after`.
    fn change(&self, after: &str, from: &str, to: &str) {
        let path = self.dir.path().join("text");
        self.lvm(&["vgcfgbackup", "-f", path.to_str().unwrap(), "vg-t"]);
        let text = std::fs::read_to_string(&path).unwrap();
        let start = text.find(&format!("{after} {{")).unwrap();
        let (before, behind) = text.split_at(start);
        let text = format!("{before}{}", behind.replacen(from, to, 1));
        std::fs::write(&path, text).unwrap();
        let path = path.to_str().unwrap();
        self.lvm(&[
            "vgcfgrestore",
            "--force",
            "--driverloaded",
            "n",
            "-f",
            path,
            "vg-t",
        ]);
    }

    /// Fills each block of the extents with the number of its device and its own.
    fn fill(&self) {
        for index in 0..3_u64 {
            let path = self.file(usize::try_from(index).unwrap());
            let file = File::options().write(true).open(path).unwrap();
            let mut bytes = Vec::new();
            for block in START / BLOCK..PV / BLOCK {
                bytes.extend((index << 32 | block).to_le_bytes().repeat(512));
            }
            file.write_all_at(&bytes, START).unwrap();
        }
    }

    fn put(&self, index: usize, at: u64, bytes: &[u8]) {
        let file = File::options().write(true).open(self.file(index)).unwrap();
        file.write_all_at(bytes, at).unwrap();
    }

    fn members(&self, of: &[usize]) -> Vec<Member> {
        let member = |index: &usize| {
            let disk = FileDisk::open(&self.file(*index));
            let mut bytes = vec![0; usize::try_from(disk.size()).unwrap()];
            disk.read_at(0, &mut bytes).unwrap();
            Member {
                name: format!("pv{index}"),
                device: Arc::new(Memory::new(bytes)),
            }
        };
        of.iter().map(member).collect()
    }

    /// Where the tools say that the bytes of a volume lie: device and block of each of its blocks.
    fn map(&self, volume: &str) -> Vec<(u64, u64)> {
        let report = self.lvm(&[
            "lvs",
            "--driverloaded",
            "n",
            "--segments",
            "-o",
            "seg_start_pe,stripe_size,seg_pe_ranges",
            "--units=b",
            "--nosuffix",
            "--noheadings",
            "--separator=|",
            &format!("vg-t/{volume}"),
        ]);
        let mut map = Vec::new();
        for line in report.lines() {
            let [_, stripe, ranges] = line.split('|').collect::<Vec<_>>().try_into().unwrap();
            let ranges: Vec<(u64, u64, u64)> = ranges
                .split_whitespace()
                .map(|range| {
                    let (device, range) = range.split_once(':').unwrap();
                    let (first, last) = range.split_once('-').unwrap();
                    let device = self.loops.iter().position(|it| it == device).unwrap();
                    let first: u64 = first.parse().unwrap();
                    let last: u64 = last.parse().unwrap();
                    (u64::try_from(device).unwrap(), first, last - first + 1)
                })
                .collect();
            let stripe: u64 = stripe.trim().parse().unwrap();
            let legs = u64::try_from(ranges.len()).unwrap();
            let chunk = if legs == 1 { EXTENT } else { stripe } / BLOCK;
            let blocks = ranges[0].2 * legs * EXTENT / BLOCK;
            for block in 0..blocks {
                let (row, leg) = (block / chunk / legs, block / chunk % legs);
                let (device, first, _) = ranges[usize::try_from(leg).unwrap()];
                let at = START + first * EXTENT;
                map.push((device, at / BLOCK + row * chunk + block % chunk));
            }
        }
        map
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    id.stdout == b"0\n"
}

fn volume<'a>(assembled: &'a Assembled, name: &str) -> &'a LogicalVolume {
    let volumes = &assembled.groups[0].volumes;
    volumes.iter().find(|volume| volume.name == name).unwrap()
}

fn device(assembled: &Assembled, name: &str) -> Arc<dyn BlockWrite> {
    volume(assembled, name).device.clone().unwrap()
}

/// What blocks say that they are.
fn blocks(device: &dyn BlockRead) -> Vec<(u64, u64)> {
    let mut bytes = vec![0; usize::try_from(device.size()).unwrap()];
    device.read_at(0, &mut bytes).unwrap();
    let words = bytes.chunks_exact(usize::try_from(BLOCK).unwrap());
    words
        .map(|block| {
            let word = u64::from_le_bytes(*block.first_chunk().unwrap());
            assert_eq!(block, word.to_le_bytes().repeat(512));
            (word >> 32, word & 0xffff_ffff)
        })
        .collect()
}

/// What the first block says that it is.
fn first_block(device: &dyn BlockRead) -> (u64, u64) {
    let mut word = [0; 8];
    device.read_at(0, &mut word).unwrap();
    let word = u64::from_le_bytes(word);
    (word >> 32, word & 0xffff_ffff)
}

/// An identifier but for its last digit.
const ID: &str = "aaaaaa-0000-0000-0000-0000-0000-00000";

/// A volume of one segment, as metadata describes it.
fn described(name: &str, number: u32, visible: bool, extents: u64, segment: &str) -> String {
    let status = if visible { ", \"VISIBLE\"" } else { "" };
    format!(
        "{name} {{\nid = \"{ID}{number}\"\nstatus = [\"READ\", \"WRITE\"{status}]\nflags = []\n\
         segment_count = 1\nsegment1 {{\nstart_extent = 0\nextent_count = {extents}\n{segment}\n}}\n}}\n"
    )
}

fn linear(name: &str, number: u32, visible: bool, extents: u64, place: &str) -> String {
    let segment = format!("type = \"striped\"\nstripe_count = 1\nstripes = [{place}]");
    described(name, number, visible, extents, &segment)
}

#[test]
fn content_is_where_the_tools_say() {
    let Some(group) = Group::new() else { return };
    group.fill();
    let members = group.members(&[2, 0, 1]);
    let assembled = assemble(&members).unwrap();
    assert_eq!(assembled.findings, []);
    for name in ["lin", "str"] {
        let map = group.map(name);
        let device = device(&assembled, name);
        assert_eq!(blocks(&device), map, "{name}");
        // What is written lands there and nowhere else.
        let at = map.len() / 2 + 3;
        let (pv, block) = map[at];
        let offset = u64::try_from(at).unwrap() * BLOCK;
        device.write_at(offset, b"changed!").unwrap();
        let member = (usize::try_from(pv).unwrap() + 1) % 3;
        let mut there = [0; 8];
        members[member]
            .device
            .read_at(block * BLOCK, &mut there)
            .unwrap();
        assert_eq!(&there, b"changed!");
    }
    let lin = volume(&assembled, "lin");
    assert_eq!((lin.size, lin.members.as_slice()), (100 << 20, &[1, 2][..]));
    assert_eq!(volume(&assembled, "str").members, [0, 2]);
    // The tools still find everything in order.
    assert!(group.lvm(&["vgck", "vg-t"]).is_empty());
}

#[test]
fn a_physical_volume_that_is_not_there_is_named() {
    let Some(group) = Group::new() else { return };
    let report = group.lvm(&["pvs", "--noheadings", "-o", "pv_name,pv_uuid"]);
    let uuids: BTreeMap<_, _> = report
        .lines()
        .map(|line| line.trim().split_once(char::is_whitespace).unwrap())
        .collect();
    let assembled = assemble(&group.members(&[0, 1])).unwrap();
    assert!(assembled.groups[0].incomplete);
    assert!(volume(&assembled, "lin").device.is_ok());
    let error = volume(&assembled, "str").device.as_ref().unwrap_err();
    let lost = uuids[group.loops[2].as_str()].trim();
    let expected = format!(
        "needs the physical volume {lost} (last seen as {}), which is on none of the disks given",
        group.loops[2]
    );
    assert_eq!(error.to_string(), expected);
    assert!(matches!(&assembled.findings[..], [Finding::Missing { .. }]));

    let twice = assemble(&group.members(&[0, 1, 2, 2])).unwrap();
    assert!(volume(&twice, "lin").device.is_ok());
    let error = volume(&twice, "str").device.as_ref().unwrap_err();
    assert!(matches!(error, Error::DuplicatePhysical { .. }), "{error}");
}

#[test]
fn the_newest_metadata_counts_and_damage_is_told() {
    let Some(group) = Group::new() else { return };
    let old: Vec<Member> = group.members(&[0]);
    for round in 0..12 {
        let tag = format!("{round}-{}", "x".repeat(1000));
        group.lvm(&["vgchange", "-q", "--addtag", &tag, "vg-t"]);
    }
    let mut members = group.members(&[1, 2]);
    members.extend(old);
    let assembled = assemble(&members).unwrap();
    assert_eq!(assembled.groups[0].volumes.len(), 2);
    assert!(
        matches!(&assembled.findings[..], [Finding::Older { device, .. }] if device == "pv0"),
        "{:?}",
        assembled.findings
    );
    assert!(volume(&assembled, "lin").device.is_ok());

    let area = 4096;
    let members = group.members(&[0, 1, 2]);
    members[0].device.write_at(area + 40, &[0xff]).unwrap();
    members[1].device.write_at(512 + 40, &[0xff]).unwrap();
    let assembled = assemble(&members).unwrap();
    let said: Vec<String> = assembled.findings.iter().map(ToString::to_string).collect();
    assert!(said[0].starts_with("pv0: checksum of the metadata area at byte 4096"));
    assert!(said[1].starts_with("pv1: checksum of the label at byte 512"));
    assert!(said[2].contains("lacks the physical volume"), "{said:?}");
    assert!(volume(&assembled, "lin").device.is_err());
}

/// `struct dm_raid_superblock`.
fn raid_superblock(position: u32, level: u32, events: u64, failed: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    for number in [0x6452_6d44, 0, 2, position] {
        bytes.extend(u32::to_le_bytes(number));
    }
    for number in [events, failed, u64::MAX, u64::MAX] {
        bytes.extend(u64::to_le_bytes(number));
    }
    bytes.extend(level.to_le_bytes());
    bytes
}

#[test]
fn mirrors_are_read_from_a_leg_in_sync_and_written_on_all() {
    let Some(group) = Group::new() else { return };
    let raid = "type = \"raid1\"\ndevice_count = 2\nregion_size = 1024\n\
        raids = [\"mir_rmeta_0\", \"mir_rimage_0\", \"mir_rmeta_1\", \"mir_rimage_1\"]";
    let mirror = "type = \"mirror\"\nmirror_count = 2\nregion_size = 1024\n\
        mirrors = [\"old_mimage_0\", 0, \"old_mimage_1\", 0]";
    group.restore(
        &[
            described("mir", 1, true, 1, raid),
            linear("mir_rmeta_0", 2, false, 1, "\"pv2\", 8"),
            linear("mir_rimage_0", 3, false, 1, "\"pv2\", 9"),
            linear("mir_rmeta_1", 4, false, 1, "\"pv1\", 13"),
            linear("mir_rimage_1", 5, false, 1, "\"pv1\", 14"),
            described("old", 6, true, 1, mirror),
            linear("old_mimage_0", 7, false, 1, "\"pv2\", 10"),
            linear("old_mimage_1", 8, false, 1, "\"pv2\", 11"),
        ]
        .concat(),
    );
    // The tools read it as it is meant.
    let types = group.lvm(&[
        "lvs",
        "--driverloaded",
        "n",
        "--noheadings",
        "-o",
        "segtype",
        "vg-t",
    ]);
    assert!(
        types.contains("raid1") && types.contains("mirror"),
        "{types}"
    );
    group.fill();
    let at = |extent: u64| START + extent * EXTENT;
    let superblocks = |first: (u64, u64), second: (u64, u64)| {
        group.put(2, at(8), &raid_superblock(0, 1, first.0, first.1));
        group.put(1, at(13), &raid_superblock(1, 1, second.0, second.1));
    };
    // The superblock of the leg, its events and who has failed; the device that is read.
    for (first, second, read) in [
        ((5, 0), (5, 0), 2),
        ((4, 0), (5, 0), 1),
        ((5, 0), (4, 0), 2),
        ((5, 1), (5, 1), 1),
    ] {
        superblocks(first, second);
        let members = group.members(&[0, 1, 2]);
        let assembled = assemble(&members).unwrap();
        let device = device(&assembled, "mir");
        assert_eq!(first_block(&device).0, read, "{first:?} {second:?}");
        device.write_at(8192, b"both").unwrap();
        for (member, extent) in [(2, 9), (1, 14)] {
            let mut there = [0; 4];
            let device = &members[member].device;
            device.read_at(at(extent) + 8192, &mut there).unwrap();
            assert_eq!(&there, b"both");
        }
    }
    // A leg that is written mostly is behind in ways that no superblock tells.
    superblocks((5, 0), (5, 0));
    group.change(
        "mir_rimage_0",
        "\"READ\", \"WRITE\"",
        "\"READ\", \"WRITE\", \"WRITEMOSTLY\"",
    );
    let assembled = assemble(&group.members(&[0, 1, 2])).unwrap();
    assert_eq!(first_block(&device(&assembled, "mir")).0, 1);
    let assembled = assemble(&group.members(&[0, 2])).unwrap();
    assert_eq!(first_block(&device(&assembled, "mir")).0, 2);
    // One leg is enough, if it is not the stale one.
    superblocks((5, 0), (5, 0));
    let assembled = assemble(&group.members(&[0, 1])).unwrap();
    assert_eq!(first_block(&device(&assembled, "mir")).0, 1);
    let error = volume(&assembled, "old").device.as_ref().unwrap_err();
    assert!(matches!(error, Error::MissingPhysical { .. }));
    superblocks((5, 0), (5, 2));
    let assembled = assemble(&group.members(&[0, 1])).unwrap();
    // Nobody that is there says that it failed.
    assert!(volume(&assembled, "mir").device.is_err());
    let assembled = assemble(&group.members(&[0, 1, 2])).unwrap();
    let first = at(10) / BLOCK;
    assert_eq!(first_block(&device(&assembled, "old")), (2, first));
    // A leg that is there and not known for sure would be read by the guest, and not be written.
    superblocks((5, 0), (5, 0));
    let assembled = assemble(&group.members(&[0, 1, 2, 2])).unwrap();
    for name in ["mir", "old"] {
        let error = volume(&assembled, name).device.as_ref().unwrap_err();
        assert!(matches!(error, Error::DuplicatePhysical { .. }), "{error}");
    }
}

#[test]
fn extents_that_were_moved_are_where_they_went() {
    let Some(group) = Group::new() else { return };
    let moving = |start: u32, first: u32, moved: u32| {
        format!(
            "segment{} {{\nstart_extent = {start}\nextent_count = 1\ntype = \"mirror\"\n\
             mirror_count = 2\nregion_size = 1024\nextents_moved = {moved}\n\
             mirrors = [\"pv2\", {first}, \"pv2\", {}]\n}}\n",
            start + 1,
            first + 3
        )
    };
    // The first segment is there, the second on its way, the third has to wait.
    let segments = [moving(0, 5, 1), moving(1, 6, 0), moving(2, 7, 0)].concat();
    let moving = format!(
        "pvmove0 {{\nid = \"{ID}1\"\nstatus = [\"READ\", \"WRITE\", \"PVMOVE\", \"LOCKED\"]\n\
         flags = []\nallocation_policy = \"contiguous\"\nsegment_count = 3\n{segments}}}\n"
    );
    let moved = linear("moved", 2, true, 3, "\"pvmove0\", 0");
    let moved = moved.replace("\"VISIBLE\"", "\"VISIBLE\", \"LOCKED\"");
    group.restore(&[moving, moved].concat());
    group.fill();
    let members = group.members(&[0, 1, 2]);
    let assembled = assemble(&members).unwrap();
    let device = device(&assembled, "moved");
    let at = |extent: u64| (START + extent * EXTENT) / BLOCK;
    let firsts: Vec<_> = blocks(&device)
        .into_iter()
        .step_by(usize::try_from(EXTENT / BLOCK).unwrap())
        .collect();
    assert_eq!(firsts, [(2, at(8)), (2, at(6)), (2, at(7))]);
    device.write_at(0, b"there").unwrap();
    let mut there = [0; 5];
    let there_now = &members[2].device;
    there_now.read_at(at(8) * BLOCK, &mut there).unwrap();
    assert_eq!(&there, b"there");
}

#[test]
fn thin_volumes_are_read_through_their_trees() {
    let Some(group) = Group::new() else { return };
    if Command::new("thin_restore").arg("-V").output().is_err() {
        println!("skipped: needs thin-provisioning-tools");
        return;
    }
    let pool = "type = \"thin-pool+CROP_METADATA\"\nmetadata = \"pool_tmeta\"\n\
        pool = \"pool_tdata\"\ntransaction_id = 3\nchunk_size = 128\ndiscards = \"passdown\"\n\
        zero_new_blocks = 1\ncrop_metadata = 0";
    let thin = |id: u32| {
        format!("type = \"thin\"\nthin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = {id}")
    };
    group.restore(
        &[
            described("pool", 1, true, 4, pool),
            linear("pool_tmeta", 2, false, 1, "\"pv2\", 8"),
            linear("pool_tdata", 3, false, 4, "\"pv2\", 9"),
            described("one", 4, true, 8, &thin(1)),
            described("two", 5, true, 8, &thin(2)),
            described("none", 6, true, 8, &thin(3)),
        ]
        .concat(),
    );
    group.fill();
    // Blocks of 64 KiB: every third of the first volume, in a shuffled order; the second is a
    // snapshot of it with one block of its own.
    let (mut one, mut two, mut map) = (String::new(), String::new(), BTreeMap::new());
    for index in 0..80_u64 {
        let (block, data) = (index * 3 % 240 + index / 80, index * 7 % 254);
        map.insert(block, data);
    }
    for (block, data) in &map {
        let entry = |time, data| {
            format!(
                "<single_mapping origin_block=\"{block}\" data_block=\"{data}\" time=\"{time}\"/>"
            )
        };
        one += &entry(if *block == 0 { 1 } else { 0 }, *data);
        two += &match block {
            0 => entry(0, 255),
            _ => entry(0, *data),
        };
    }
    let device = |id: u32, mappings: &str| {
        format!(
            "<device dev_id=\"{id}\" mapped_blocks=\"{}\" transaction=\"0\" creation_time=\"0\" \
             snap_time=\"1\">{mappings}</device>",
            map.len()
        )
    };
    let (source, target) = (group.dir.path().join("xml"), group.dir.path().join("tmeta"));
    let restore = |transaction: u32| {
        let xml = format!(
            "<superblock uuid=\"\" time=\"1\" transaction=\"{transaction}\" version=\"2\" \
             data_block_size=\"128\" nr_data_blocks=\"256\">{}{}</superblock>",
            device(1, &one),
            device(2, &two)
        );
        std::fs::write(&source, xml).unwrap();
        File::create(&target).unwrap().set_len(EXTENT).unwrap();
        let mut restore = Command::new("thin_restore");
        run(restore.arg("-i").arg(&source).arg("-o").arg(&target));
        group.put(2, START + 8 * EXTENT, &std::fs::read(&target).unwrap());
    };
    // The pool is where the group says, or about to be.
    for (transaction, fits) in [(1, false), (4, false), (2, true), (3, true)] {
        restore(transaction);
        let assembled = assemble(&group.members(&[0, 1, 2])).unwrap();
        let opened = &volume(&assembled, "one").device;
        let told = format!("pool is at transaction {transaction}, the volume group at 3");
        match opened {
            Ok(_) => assert!(fits, "{transaction}"),
            Err(error) => assert!(!fits && error.to_string().contains(&told), "{error}"),
        }
    }

    let members = group.members(&[0, 1, 2]);
    let assembled = assemble(&members).unwrap();
    let chunk = (64 << 10) / BLOCK;
    let first = (START + 9 * EXTENT) / BLOCK;
    for (name, of_zero) in [("one", map[&0]), ("two", 255)] {
        let device = self::device(&assembled, name);
        let want = (0..8 * EXTENT / BLOCK).map(|block| match map.get(&(block / chunk)) {
            Some(_) if block < chunk => (2, first + of_zero * chunk + block),
            Some(data) => (2, first + data * chunk + block % chunk),
            None => (0, 0),
        });
        assert!(blocks(&device).into_iter().eq(want), "{name}");
        let seen: &dyn BlockRead = &device;
        for extent in seen.extents() {
            let extent = extent.unwrap();
            let mapped = map.contains_key(&(extent.range.start / (64 << 10)));
            assert_eq!(mapped, extent.kind == block::ExtentKind::Data);
        }
    }
    let error = volume(&assembled, "none").device.as_ref().unwrap_err();
    assert!(error.to_string().contains("no volume 3"), "{error}");
    // Only what no snapshot shares is written.
    let one = self::device(&assembled, "one");
    one.write_at(100, b"mine").unwrap();
    let mut there = [0; 4];
    one.read_at(100, &mut there).unwrap();
    assert_eq!(&there, b"mine");
    for (at, why) in [(3 * 65536, "shares its block"), (65536, "has no block")] {
        let error = one.write_at(at, b"x").unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            source.contains(why) && source.contains("vg-t/one"),
            "{source}"
        );
    }
    // A flipped bit anywhere in the metadata is an error or changes nothing.
    let metadata = START + 8 * EXTENT;
    for at in (0..64 * BLOCK).step_by(509) {
        let mut byte = [0];
        members[2].device.read_at(metadata + at, &mut byte).unwrap();
        let flipped = [byte[0] ^ 1 << (at % 8)];
        members[2].device.write_at(metadata + at, &flipped).unwrap();
        if let Ok(device) = &volume(&assemble(&members).unwrap(), "two").device {
            let mut content = [0; 8];
            if device.read_at(3 * 65536, &mut content).is_ok() {
                assert_eq!(
                    u64::from_le_bytes(content) & 0xffff_ffff,
                    first + map[&3] * chunk
                );
            }
        }
        members[2].device.write_at(metadata + at, &byte).unwrap();
    }
}

#[test]
fn groups_of_other_machines_are_told() {
    let Some(group) = Group::new() else { return };
    group.lvm(&["vgchange", "-q", "-y", "--systemid", "node-a", "vg-t"]);
    let assembled = assemble(&group.members(&[0, 1, 2])).unwrap();
    assert!(
        matches!(&assembled.findings[..], [Finding::Owned { system, .. }] if system == "node-a"),
        "{:?}",
        assembled.findings
    );
    assert!(volume(&assembled, "lin").device.is_ok());
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let Some(group) = Group::new() else { return };
    let snapshot = "type = \"snapshot\"\nchunk_size = 8\norigin = \"lin\"\ncow_store = \"snap\"";
    group.restore(
        &[
            described("snapshot0", 1, true, 25, snapshot),
            linear("snap", 2, true, 1, "\"pv2\", 8"),
            described("zero", 3, true, 1, "type = \"zero\""),
            described("lost", 4, true, 1, "type = \"error\""),
        ]
        .concat(),
    );
    let assembled = assemble(&group.members(&[0, 1, 2])).unwrap();
    let names: Vec<_> = assembled.groups[0]
        .volumes
        .iter()
        .map(|volume| volume.name.as_str())
        .collect();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, ["lin", "lost", "snap", "str", "zero"]);
    let error = |name: &str| match &volume(&assembled, name).device {
        Ok(_) => "none".to_owned(),
        Err(error) => error.to_string(),
    };
    assert!(error("snap").starts_with("is a snapshot of vg-t/lin"));
    assert_eq!(error("lost"), "is of type error, which is not supported");
    assert_eq!(error("zero"), "none");
    assert!(
        assembled
            .findings
            .iter()
            .any(|finding| finding.to_string().contains("has the snapshot vg-t/snap"))
    );
}

/// Editing such a volume would change nothing, or be undone when the machine starts.
#[test]
fn a_volume_that_takes_the_content_of_a_snapshot_is_refused() {
    let Some(group) = Group::new() else { return };
    let snapshot = "type = \"snapshot\"\nchunk_size = 8\norigin = \"lin\"\nmerging_store = \"old\"";
    let pool = "type = \"thin-pool\"\nmetadata = \"pool_tmeta\"\npool = \"pool_tdata\"\n\
        transaction_id = 0\nchunk_size = 128\ndiscards = \"passdown\"\nzero_new_blocks = 1";
    let thin = |id: u32, merge: &str| {
        format!(
            "type = \"thin\"\nthin_pool = \"pool\"\ntransaction_id = 0\ndevice_id = {id}\n{merge}"
        )
    };
    let merge = "origin = \"root\"\nmerge = \"root\"";
    group.restore(
        &[
            described("snapshot0", 1, true, 25, snapshot),
            linear("old", 2, false, 1, "\"pv2\", 5"),
            described("pool", 3, true, 1, pool),
            linear("pool_tmeta", 4, false, 1, "\"pv2\", 6"),
            linear("pool_tdata", 5, false, 1, "\"pv2\", 7"),
            described("root", 6, true, 1, &thin(1, "")),
            described("before", 7, false, 1, &thin(2, merge)),
        ]
        .concat(),
    );
    let assembled = assemble(&group.members(&[0, 1, 2])).unwrap();
    let volumes = assembled.groups[0].volumes.iter();
    let mut names: Vec<_> = volumes.map(|volume| volume.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["lin", "root", "str"]);
    for (name, snapshot) in [("lin", "vg-t/old"), ("root", "vg-t/before")] {
        let error = volume(&assembled, name).device.as_ref().unwrap_err();
        assert!(
            matches!(error, Error::Merging { snapshot: it } if it == snapshot),
            "{error}"
        );
    }
}

/// A thin pool that Linux made: two volumes, whose content another reader summed.
#[test]
fn the_corpus_is_read_as_others_do() {
    let Some(dir) = std::env::var_os("REHOST_CORPUS") else {
        println!("skipped: REHOST_CORPUS is not set");
        return;
    };
    let pack = Path::new(&dir).join("lvm/dissect-lvm-thin.tar.zst");
    let target = tempfile::tempdir().unwrap();
    run(Command::new("tar")
        .args(["--zstd", "-xSf"])
        .arg(&pack)
        .arg("-C")
        .arg(target.path()));
    let bytes = std::fs::read(target.path().join("lvm-thin.img")).unwrap();
    let member = Member {
        name: "image".to_owned(),
        device: Arc::new(Memory::new(bytes)),
    };
    let assembled = assemble(&[member]).unwrap();
    assert_eq!(assembled.findings, []);
    for name in ["lv-1", "lv-2"] {
        let device = device(&assembled, name);
        let mut bytes = vec![0; usize::try_from(device.size()).unwrap()];
        device.read_at(0, &mut bytes).unwrap();
        let path = target.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let sum = run(Command::new("sha256sum").arg(&path));
        let sum = String::from_utf8(sum).unwrap();
        let known = "748cc990c523e324606fe74cd5b780539369a7f93a42d6a9ea57a4b61ad613c2";
        assert!(sum.starts_with(known), "{name}: {sum}");
    }
}
