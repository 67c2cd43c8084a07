//! VHDX images against QEMU, and where QEMU does not go, against the crate `vhdx-core`.

use crate::craft::{
    self, BAT, Change, Craft, DATA_GUID, Entry, FULLY_PRESENT, LOG, MIB, PARTIALLY_PRESENT,
};
use crate::qemu::{Lab, Random, assert_same, disk, open};
use ::vhdx::VhdxReader;
use block::{BlockRead, ExtentKind, Memory};
use image::{
    Error, Format, MappedPlace, OpenOptions, VhdxOptions, WriteFormat, WriteOptions, Written,
};
use ondisk::{Interrupt, NoProgress};
use std::fs::{self, File};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Further states of payload blocks.
const UNDEFINED: u64 = 1;
const ZERO: u64 = 2;
const UNMAPPED: u64 = 3;

const SIZE: u64 = (13 << 20) + 7 * 512;

fn write(
    device: &dyn BlockRead,
    to: &Path,
    block_size: Option<u32>,
    threads: usize,
) -> Result<Written, Error> {
    let options = WriteOptions {
        format: WriteFormat::Vhdx(VhdxOptions { block_size }),
        threads: NonZeroUsize::new(threads),
        overwrite: true,
        ..WriteOptions::default()
    };
    image::write(device, to, &options, &NoProgress, &Interrupt::default())
}

fn detail(image: &image::Image, name: &str) -> String {
    let details = &image.layers()[0].details;
    let found = details.iter().find(|detail| detail.name == name);
    found.unwrap_or_else(|| panic!("no {name}")).value.clone()
}

/// What the other reader sees.
fn other(reader: VhdxReader) -> Vec<u8> {
    use std::io::Read;
    let mut reader = reader;
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn every_variant_of_qemu_reads_the_same() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    for (number, options) in [
        "subformat=dynamic",
        "subformat=fixed",
        "subformat=dynamic,block_size=1M",
        "subformat=fixed,block_size=1M,log_size=2M",
        "block_size=8M,log_size=16M",
        "block_size=256M",
        "block_state_zero=on,block_size=1M",
        "block_state_zero=off,block_size=2M",
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("{number}.vhdx");
        lab.img(&format!("convert -O vhdx -o {options} source.raw {name}"));
        lab.assert_agrees(&name, Format::Vhdx);
        let image = open(&lab.path(&name));
        let fixed = options.contains("fixed");
        let kind = if fixed { "fixed" } else { "dynamic" };
        assert_eq!(detail(&image, "kind"), kind);
        assert!(detail(&image, "creator").starts_with("QEMU v"), "{name}");
        assert_eq!(detail(&image, "log"), "empty");
        if options.contains("=8M") {
            assert_eq!(detail(&image, "block-size"), "8388608");
        }
    }
}

#[test]
fn scattered_writes_and_a_grown_disk_read_the_same() {
    let Some(lab) = Lab::new() else { return };
    lab.img("create -q -f vhdx -o block_size=1M t.vhdx 70M");
    let mut random = Random(4);
    for number in 0..60 {
        let at = random.below(70 << 11) * 512;
        let len = (random.below(3000) * 512).min((70 << 20) - at).max(512);
        let command = format!("write -q -P {} {at} {len}", number % 250 + 1);
        lab.io("t.vhdx", &[&command]);
    }
    lab.assert_agrees("t.vhdx", Format::Vhdx);
}

/// QEMU's own log: the write of the BAT fails, so that only the log has it when QEMU dies.
#[test]
fn a_log_that_qemu_left_is_replayed_as_qemu_does() {
    let Some(lab) = Lab::new() else { return };
    lab.img("create -q -f vhdx -o block_size=1M t.vhdx 20M");
    lab.io("t.vhdx", &["write -q -P 9 0 3M"]);
    let bat = "sector = \"4096\"";
    fs::write(
        lab.path("fail.conf"),
        format!("[inject-error]\nevent = \"none\"\niotype = \"write\"\nerrno = \"5\"\n{bat}\n"),
    )
    .unwrap();
    let output = Command::new("qemu-io")
        .args(["-c", "write -P 7 5M 64k", "-c", "abort"])
        .arg("blkdebug:fail.conf:t.vhdx")
        .current_dir(lab.path(""))
        .output()
        .unwrap();
    assert!(!output.status.success());
    let before = fs::read(lab.path("t.vhdx")).unwrap();
    let image = open(&lab.path("t.vhdx"));
    assert!(detail(&image, "log").starts_with("replayed"));
    fs::copy(lab.path("t.vhdx"), lab.path("copy.vhdx")).unwrap();
    lab.img("check -q -r all copy.vhdx");
    let truth = lab.truth("copy.vhdx", "vhdx");
    assert!(truth[5 << 20] == 7, "the log has the write");
    assert_same(&image, &truth, "a log of QEMU");
    assert!(
        fs::read(lab.path("t.vhdx")).unwrap() == before,
        "it is only read"
    );
}

/// A sector of the BAT in which the first blocks are where `places` says.
fn bat_sector(places: &[usize]) -> Vec<u8> {
    let mut sector = vec![0; 4096];
    for (number, place) in places.iter().enumerate() {
        let entry = *place as u64 | if *place == 0 { 0 } else { FULLY_PRESENT };
        sector[number * 8..][..8].copy_from_slice(&entry.to_le_bytes());
    }
    sector
}

/// Compares a crafted image whose log is dirty with what QEMU reads once it replayed it.
fn assert_replays(lab: &Lab, craft: &Craft, what: &str) -> Vec<u8> {
    let path = lab.path("t.vhdx");
    fs::write(&path, &craft.bytes).unwrap();
    fs::copy(&path, lab.path("copy.vhdx")).unwrap();
    lab.img("check -q -r all copy.vhdx");
    let truth = lab.truth("copy.vhdx", "vhdx");
    assert_same(&open(&path), &truth, what);
    truth
}

#[test]
fn crafted_logs_are_replayed_as_qemu_does() {
    let Some(lab) = Lab::new() else { return };
    let mut base = Craft::new(10 << 20, MIB, 512);
    let blocks: Vec<_> = (0..4_usize)
        .map(|n| {
            let content = disk(MIB as u64, n as u64 + 1);
            base.block(n, FULLY_PRESENT, &content)
        })
        .collect();
    base.dirty();
    let len = base.bytes.len();
    let fresh = || {
        let mut craft = Craft::new(10 << 20, MIB, 512);
        craft.bytes.clone_from(&base.bytes);
        craft
    };
    let swap = Change::Sector(
        BAT as u64,
        bat_sector(&[blocks[1], blocks[0], 0, blocks[3]]),
    );
    let swap_back = Change::Sector(BAT as u64, bat_sector(&[blocks[2], 0, blocks[0]]));
    let mut noise = vec![0x5a; 4096];
    noise[..8].copy_from_slice(b"leading.");
    noise[4092..].copy_from_slice(b"last");

    let mut craft = fresh();
    craft.log(0, &Entry::new(1, 0, len, [swap.clone()]));
    let truth = assert_replays(&lab, &craft, "one entry");
    assert!(truth[2 * MIB..3 * MIB].iter().all(|b| *b == 0));

    // Later entries win, payload is logged too, zeros hide what was there.
    let mut craft = fresh();
    let payload = blocks[3] as u64 + 8192;
    let next = craft.log(4096 * 5, &Entry::new(7, 4096 * 5, len, [swap.clone()]));
    let changes = [
        swap_back.clone(),
        Change::Sector(payload, noise.clone()),
        Change::Zero(blocks[0] as u64 + 65_536, 131_072),
        Change::Sector(blocks[0] as u64 + 4096 * 20, noise.clone()),
    ];
    craft.log(next, &Entry::new(8, 4096 * 5, len, &changes));
    assert_replays(&lab, &craft, "two entries");

    // What is before the tail is in its place already.
    let mut craft = fresh();
    craft.put(BAT, &bat_sector(&[blocks[2], 0, blocks[0]]));
    let tail = craft.log(0, &Entry::new(1, 0, len, [swap_back.clone()]));
    craft.log(
        tail,
        &Entry::new(2, tail, len, &[Change::Sector(payload, noise.clone())]),
    );
    assert_replays(&lab, &craft, "a tail");

    // Around the end of the log, the first entry in two parts.
    let mut craft = fresh();
    let at = LOG.len() - 20 * 4096;
    let many: Vec<_> = (0..100)
        .map(|n| Change::Sector((blocks[2] + n * 4096) as u64, noise.clone()))
        .collect();
    let next = craft.log(at, &Entry::new(90, at, len, many));
    craft.log(next, &Entry::new(91, at, len, [swap.clone()]));
    assert_replays(&lab, &craft, "around the end");

    // An older sequence that is sound too, and a torn entry behind the active one.
    let mut craft = fresh();
    craft.log(0, &Entry::new(3, 0, len, [swap_back.clone()]));
    let next = craft.log(4096 * 40, &Entry::new(50, 4096 * 40, len, [swap.clone()]));
    craft.log(next, &Entry::new(51, 4096 * 40, len, &[swap_back]));
    craft.bytes[LOG.start + next + 4096 + 99] ^= 1;
    assert_replays(&lab, &craft, "a torn entry");

    // The replay makes the file longer, and a block is in what it appends.
    let mut craft = fresh();
    let grown = bat_sector(&[blocks[0], blocks[1], len]);
    let mut entry = Entry::new(1, 0, len, &[Change::Sector(BAT as u64, grown)]);
    // QEMU only looks at it if it is no whole number of MiB.
    entry.last = (len + MIB + 4096) as u64;
    craft.log(0, &entry);
    assert_replays(&lab, &craft, "a longer file");
}

/// QEMU does not take entries whose descriptors fill more than one sector.
#[test]
fn entries_of_many_descriptors_are_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let mut craft = Craft::new(2 << 20, MIB, 512);
    let mut truth = disk(2 << 20, 5);
    let block = craft.block(0, FULLY_PRESENT, &truth[..MIB]);
    craft.block(1, FULLY_PRESENT, &truth[MIB..]);
    craft.dirty();
    let mut changes = Vec::new();
    for number in 0..200 {
        let sector = disk(4096, number as u64 + 50);
        truth[number * 4096..][..4096].copy_from_slice(&sector);
        changes.push(Change::Sector((block + number * 4096) as u64, sector));
        if number % 3 == 0 {
            let at = MIB + number * 4096;
            truth[at..at + 8192].fill(0);
            changes.push(Change::Zero((block + at) as u64, 8192));
        }
    }
    // Its first sectors are at the end of the log, the others at its beginning.
    for at in [0, LOG.len() - 4096, LOG.len() - 8192] {
        let mut image = Craft::new(2 << 20, MIB, 512);
        image.bytes.clone_from(&craft.bytes);
        image.log(
            at,
            &Entry::new(u64::MAX - 9, at, craft.bytes.len(), changes.clone()),
        );
        let path = dir.path().join("t.vhdx");
        fs::write(&path, &image.bytes).unwrap();
        assert_same(&open(&path), &truth, "many descriptors");
    }
}

/// QEMU does not know padding, which hosts with larger sectors put behind entries.
#[test]
fn padded_log_entries_are_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let mut craft = Craft::new(4 << 20, MIB, 512);
    let block = craft.block(1, FULLY_PRESENT, &[7; MIB]);
    craft.dirty();
    let len = craft.bytes.len();
    let bat = |places: &[usize]| [Change::Sector(BAT as u64, bat_sector(places))];
    let mut first = Entry::new(1, 0, len, bat(&[block]));
    first.padding = 14;
    let next = craft.log(0, &first);
    assert_eq!(next, 65_536);
    craft.log(next, &Entry::new(2, 0, len, bat(&[0, 0, block])));
    let path = dir.path().join("t.vhdx");
    fs::write(&path, &craft.bytes).unwrap();
    let mut truth = vec![0; 4 << 20];
    truth[2 * MIB..3 * MIB].fill(7);
    assert_same(&open(&path), &truth, "padded");
}

#[test]
fn qemu_finds_nothing_wrong_with_what_we_write() {
    let Some(lab) = Lab::new() else { return };
    let source = lab.source("source.raw", SIZE);
    let truth = fs::read(&source).unwrap();
    let device = open(&source).device();
    for block_size in [None, Some(1 << 20), Some(8 << 20), Some(256 << 20)] {
        let name = format!("t-{block_size:?}.vhdx").replace(['(', ')'], "-");
        let path = lab.path(&name);
        let written = write(&device, &path, block_size, 2).unwrap();
        assert_eq!(written.virtual_size, SIZE);
        lab.img(&format!("check -q -f vhdx {name}"));
        lab.img(&format!("compare -q -f vhdx -F raw {name} source.raw"));
        assert_same(&open(&path), &truth, &name);
        assert!(other(VhdxReader::open(&path).unwrap()) == truth, "{name}");
        // It is one that QEMU can go on with.
        lab.io(&name, &["write -q -P 5 3M 70k", "write -q -P 6 11M 64k"]);
        lab.img(&format!("check -q -f vhdx {name}"));
        lab.assert_agrees(&name, Format::Vhdx);
    }
}

#[test]
fn one_content_gives_one_file_whatever_the_source_and_the_threads() {
    let Some(lab) = Lab::new() else { return };
    let source = lab.source("source.raw", SIZE);
    lab.img("convert -O qcow2 -o cluster_size=4k source.raw other.qcow2");
    lab.img("convert -O vhdx -o block_size=1M source.raw other.vhdx");
    let mut first: Option<Vec<u8>> = None;
    let to = lab.path("t.vhdx");
    for (name, threads) in [("source.raw", 1), ("other.qcow2", 2), ("other.vhdx", 5)] {
        write(&open(&lab.path(name)).device(), &to, None, threads).unwrap();
        let bytes = fs::read(&to).unwrap();
        let same = *first.get_or_insert_with(|| bytes.clone()) == bytes;
        assert!(same, "from {name}");
    }
    // Another content has another identity, for the sake of its children.
    let id = |path: &Path| detail(&open(path), "data-write-id");
    let before = id(&to);
    let mut bytes = fs::read(source).unwrap();
    bytes[5_000_000] ^= 1;
    write(&Memory::new(bytes), &to, None, 2).unwrap();
    assert_ne!(id(&to), before);
}

#[test]
fn disks_of_every_odd_size_become_whole_sectors() {
    let Some(lab) = Lab::new() else { return };
    for size in [0, 1, 511, 512, 65_537, (1 << 20) + 1, (4 << 20) - 1] {
        let mut truth = vec![7; size];
        let name = format!("t-{size}.vhdx");
        let written = write(
            &Memory::new(truth.clone()),
            &lab.path(&name),
            Some(1 << 20),
            2,
        );
        truth.resize(size.next_multiple_of(512), 0);
        assert_eq!(written.unwrap().virtual_size, truth.len() as u64);
        let image = open(&lab.path(&name));
        assert_eq!(image.format(), Format::Vhdx);
        if size > 0 {
            lab.img(&format!("check -q -f vhdx {name}"));
            assert_same(&image, &truth, &name);
            lab.assert_agrees(&name, Format::Vhdx);
        } else {
            assert_eq!(image.device().size(), 0);
        }
    }
    let device = Memory::new(vec![1; 512]);
    for wrong in [0, 512, 1 << 19, (1 << 20) + 1, 3 << 20, 512 << 20] {
        let error = write(&device, &lab.path("w.vhdx"), Some(wrong), 1).unwrap_err();
        assert!(matches!(error, Error::Options { .. }), "{wrong}: {error}");
    }
}

/// A device of zeros, but for a few bytes.
#[derive(Debug)]
struct Sparse(u64, Vec<u64>);

impl BlockRead for Sparse {
    fn size(&self) -> u64 {
        self.0
    }
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
        buf.fill(0);
        for at in &self.1 {
            if let Some(index) = at.checked_sub(offset)
                && let Some(byte) = buf.get_mut(index as usize)
            {
                *byte = 0xd7;
            }
        }
        Ok(())
    }
    fn extent_at(&self, offset: u64) -> Result<block::Extent, block::Error> {
        let page = |at: &u64| at / 4096 * 4096..(at / 4096 + 1) * 4096;
        let next = self.1.iter().map(page).find(|page| page.end > offset);
        Ok(match next {
            Some(range) if range.contains(&offset) => block::Extent {
                range,
                kind: ExtentKind::Data,
            },
            next => block::Extent {
                range: offset..next.map_or(self.0, |range| range.start),
                kind: ExtentKind::Zero,
            },
        })
    }
}

#[test]
fn the_largest_disk_is_written_read_and_walked_at_once() {
    let Some(lab) = Lab::new() else { return };
    let (size, last) = (64 << 40, (64 << 40) - 1);
    let device = Sparse(size, vec![0, (33 << 40) + 5, last]);
    // The table of the largest disk in the smallest blocks has half a GiB.
    for block_size in [None, Some(1 << 20)] {
        let path = lab.path("t.vhdx");
        let start = Instant::now();
        write(&device, &path, block_size, 2).unwrap();
        let image = open(&path);
        let read = image.device();
        let extents: Vec<_> = read.extents().map(Result::unwrap).collect();
        let data = extents.iter().filter(|e| e.kind == ExtentKind::Data);
        assert_eq!(data.count(), 3, "{extents:?}");
        assert_eq!(extents.last().unwrap().range.end, size);
        for at in &device.1 {
            let mut byte = [0];
            read.read_at(*at, &mut byte).unwrap();
            assert_eq!(byte, [0xd7]);
        }
        let places = image.mappings().map(|mapping| mapping.unwrap().place);
        let data = places.filter(|place| matches!(place, MappedPlace::Data { .. }));
        assert_eq!(data.count(), 3);
        let took = start.elapsed();
        assert!(
            took < Duration::from_secs(5),
            "{block_size:?} took {took:?}"
        );
        assert_eq!(read.size(), size);
        if block_size.is_none() {
            lab.img("check -q -f vhdx t.vhdx");
            lab.io("t.vhdx", &["read -q -P 0xd7 36283883716613 1"]);
        }
    }
    let error = write(&Sparse(size + 1, Vec::new()), &lab.path("u"), None, 1).unwrap_err();
    assert!(matches!(error, Error::Options { .. }), "{error}");
}

/// A disk, its differencing child and the child's disk.
fn family(sector: u32) -> (Craft, Vec<u8>, Craft, Vec<u8>) {
    let size = 12 << 20;
    let (below, above) = (disk(size, 21), disk(size, 22));
    let mut parent = Craft::new(size, 2 * MIB, sector);
    for number in [0, 1, 3, 4, 5] {
        parent.block(number, FULLY_PRESENT, &below[number * 2 * MIB..][..2 * MIB]);
    }
    let mut truth = below.clone();
    truth[4 * MIB..6 * MIB].fill(0);
    let whole = truth.clone();
    let mut child = Craft::new(size, 2 * MIB, sector);
    child.parent(&[
        ("parent_linkage", &craft::braced(DATA_GUID)),
        ("relative_path", ".\\parent.vhdx"),
        ("absolute_win32_path", "C:\\disks\\parent.vhdx"),
    ]);
    // Absent, whole, partial over something, partial over nothing, zero, unmapped.
    let is_mine = |number: usize| number % 977 < 400 || (5000..5300).contains(&number);
    child.block(1, FULLY_PRESENT, &above[2 * MIB..4 * MIB]);
    truth[2 * MIB..4 * MIB].copy_from_slice(&above[2 * MIB..4 * MIB]);
    child.bitmap(is_mine);
    for number in [2, 3] {
        child.block(
            number,
            PARTIALLY_PRESENT,
            &above[number * 2 * MIB..][..2 * MIB],
        );
        let sector = sector as usize;
        for at in (number * 2 * MIB..(number + 1) * 2 * MIB).step_by(sector) {
            if is_mine(at / sector) {
                truth[at..at + sector].copy_from_slice(&above[at..at + sector]);
            }
        }
    }
    child.set(4, ZERO, 0);
    child.set(5, UNMAPPED, 5 * MIB);
    truth[8 * MIB..].fill(0);
    (parent, whole, child, truth)
}

#[test]
fn differencing_images_read_through_their_bitmaps() {
    let dir = tempfile::tempdir().unwrap();
    for sector in [512, 4096] {
        let (parent, whole, child, truth) = family(sector);
        let paths = ["parent.vhdx", "child.vhdx"].map(|name| dir.path().join(name));
        fs::write(&paths[0], &parent.bytes).unwrap();
        fs::write(&paths[1], &child.bytes).unwrap();
        assert_same(&open(&paths[0]), &whole, "the parent");
        let image = open(&paths[1]);
        assert_same(&image, &truth, "the child");
        assert_eq!(image.layers().len(), 2);
        assert_eq!(detail(&image, "kind"), "differencing");
        assert_eq!(detail(&image, "logical-sector-size"), sector.to_string());
    }
}

#[test]
fn another_reader_sees_the_same_in_differencing_images() {
    for sector in [512, 4096] {
        let (parent, whole, child, truth) = family(sector);
        let below = VhdxReader::from_bytes(parent.bytes.clone()).unwrap();
        assert!(other(below) == whole);
        let below = VhdxReader::from_bytes(parent.bytes).unwrap();
        let above = VhdxReader::from_bytes_with_parent(child.bytes, below).unwrap();
        let seen = other(above);
        let differs = seen.iter().zip(&truth).position(|(a, b)| a != b);
        assert_eq!(differs, None, "sectors of {sector}");
    }
}

#[test]
fn blocks_that_the_guest_gave_back_read_as_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let mut craft = Craft::new(6 << 20, MIB, 4096);
    let content = disk(MIB as u64, 3);
    let place = craft.block(0, FULLY_PRESENT, &content);
    for (number, state) in [(1, UNDEFINED), (2, ZERO), (3, UNMAPPED), (4, 0)] {
        craft.set(number, state, place);
    }
    let path = dir.path().join("t.vhdx");
    fs::write(&path, &craft.bytes).unwrap();
    let mut truth = content;
    truth.resize(6 << 20, 0);
    assert_same(&open(&path), &truth, "every state");
    if let Some(lab) = Lab::new() {
        fs::copy(&path, lab.path("t.vhdx")).unwrap();
        // QEMU knows no sectors of 4096 bytes.
        let mut plain = Craft::new(6 << 20, MIB, 512);
        plain.bytes[BAT..].copy_from_slice(&craft.bytes[BAT..BAT + MIB]);
        plain.bytes.extend(&craft.bytes[4 * MIB..]);
        fs::write(lab.path("t.vhdx"), &plain.bytes).unwrap();
        lab.assert_agrees("t.vhdx", Format::Vhdx);
    }
}

#[test]
fn damage_is_lost_piece_by_piece_where_it_may_be() {
    let Some(lab) = Lab::new() else { return };
    let source = lab.source("source.raw", SIZE);
    let path = lab.path("t.vhdx");
    write(&open(&source).device(), &path, Some(8 << 20), 2).unwrap();
    let mut truth = fs::read(&source).unwrap();
    // The file ends in its last block but one.
    let len = fs::metadata(&path).unwrap().len() - (11 << 20);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(len)
        .unwrap();
    assert!(image::open(&path, &OpenOptions::default()).is_ok());
    let options = OpenOptions {
        salvage: true,
        ..OpenOptions::default()
    };
    let image = image::open(&path, &options).unwrap();
    let mut bytes = vec![0xee; truth.len()];
    image.device().read_at(0, &mut bytes).unwrap();
    let lost = image.lost();
    assert_eq!(lost.len(), 1, "{lost:?}");
    assert_eq!(lost[0].range, 5 << 20..SIZE, "{lost:?}");
    assert!(lost[0].reason.contains("beyond the end"), "{lost:?}");
    truth[5 << 20..].fill(0);
    assert!(bytes == truth);
}
