//! Stream-optimised images that we write, against QEMU and against a reader of somebody else.

use crate::qemu::{Lab, Random, assert_same, disk, open};
use block::{BlockRead, Extent, ExtentKind, Memory};
use image::{Error, Format, OpenOptions, WriteFormat, WriteOptions, Written};
use ondisk::{Interrupt, NoProgress};
use std::fs;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;

const SIZE: u64 = (35 << 20) + 7 * 512;

fn write(device: &dyn BlockRead, to: &Path) -> Result<Written, Error> {
    let options = WriteOptions {
        format: WriteFormat::Vmdk,
        overwrite: true,
        ..WriteOptions::default()
    };
    image::write(device, to, &options, &NoProgress, &Interrupt::default())
}

/// What `vmdk-core` reads.
fn read_by_vmdk_core(path: &Path) -> Vec<u8> {
    let file = fs::File::open(path).unwrap();
    let mut reader = vmdk::VmdkReader::open(file).unwrap();
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn everybody_reads_the_streams_that_we_write() {
    let Some(lab) = Lab::new() else { return };
    let source = lab.source("source.raw", SIZE);
    let truth = fs::read(&source).unwrap();
    let path = lab.path("t.vmdk");
    let written = write(&open(&source).device(), &path).unwrap();
    assert_eq!(written.virtual_size, SIZE);
    let grains = truth.chunks(65_536);
    let data: usize = grains.filter(|grain| grain.iter().any(|b| *b != 0)).count();
    assert_eq!(written.data, data as u64 * 65_536);
    lab.img("check -q -f vmdk t.vmdk");
    lab.img("compare -q -f vmdk -F raw t.vmdk source.raw");
    assert_same(&open(&path), &truth, "t.vmdk");
    assert!(read_by_vmdk_core(&path) == truth, "vmdk-core");
    let image = open(&path);
    let detail = |name: &str| {
        let details = &image.layers()[0].details;
        let found = details.iter().find(|detail| detail.name == name);
        found.map(|detail| detail.value.clone())
    };
    assert_eq!(detail("create-type").as_deref(), Some("streamOptimized"));
    assert_eq!(detail("compression").as_deref(), Some("zlib"));
    assert_eq!(detail("extents").as_deref(), Some("1 sparse"));
    assert_eq!(detail("grain-size").as_deref(), Some("65536"));
    assert_eq!(detail("parent-cid"), None);
}

#[test]
fn one_content_gives_one_stream_whatever_the_source_and_the_threads() {
    let Some(lab) = Lab::new() else { return };
    let source = lab.source("source.raw", SIZE);
    lab.img("convert -O qcow2 -o cluster_size=4k source.raw other.qcow2");
    let memory = Memory::new(fs::read(&source).unwrap());
    let mut first: Option<Vec<u8>> = None;
    for (name, threads) in [("source.raw", 1), ("other.qcow2", 5), ("", 3)] {
        let to = lab.path("t.vmdk");
        let options = WriteOptions {
            format: WriteFormat::Vmdk,
            threads: NonZeroUsize::new(threads),
            overwrite: true,
            ..WriteOptions::default()
        };
        let interrupt = Interrupt::default();
        if name.is_empty() {
            image::write(&memory, &to, &options, &NoProgress, &interrupt).unwrap();
        } else {
            let device = open(&lab.path(name)).device();
            image::write(&device, &to, &options, &NoProgress, &interrupt).unwrap();
        }
        let bytes = fs::read(&to).unwrap();
        assert!(
            *first.get_or_insert_with(|| bytes.clone()) == bytes,
            "from {name:?}"
        );
    }
    // Another content has another id.
    let cid = |bytes: &[u8]| String::from_utf8_lossy(&bytes[512..600]).into_owned();
    let before = cid(&first.unwrap());
    let mut other = fs::read(&source).unwrap();
    let at = other.iter().position(|b| *b != 0).unwrap();
    other[at] ^= 1;
    write(&Memory::new(other), &lab.path("t.vmdk")).unwrap();
    assert_ne!(cid(&fs::read(lab.path("t.vmdk")).unwrap()), before);
}

#[test]
fn disks_of_every_odd_size_become_whole_sectors() {
    let Some(lab) = Lab::new() else { return };
    let path = lab.path("t.vmdk");
    for size in [1, 511, 512, 65_535, 65_536, 65_537, (2 << 20) + 1] {
        for content in [vec![7; size], vec![0; size]] {
            let mut truth = content.clone();
            let written = write(&Memory::new(content), &path).unwrap();
            truth.resize(size.next_multiple_of(512), 0);
            assert_eq!(written.virtual_size, truth.len() as u64);
            lab.img("check -q -f vmdk t.vmdk");
            lab.assert_agrees("t.vmdk", Format::Vmdk);
            assert_same(&open(&path), &truth, &format!("{size} bytes"));
        }
    }
    let error = write(&Memory::new(Vec::new()), &lab.path("empty.vmdk")).unwrap_err();
    assert!(matches!(error, Error::Options { .. }), "{error}");
    assert!(!lab.path("empty.vmdk").exists());
}

#[test]
fn noise_becomes_hardly_longer() {
    let Some(lab) = Lab::new() else { return };
    let mut random = Random(5);
    let truth: Vec<u8> = (0..(3 << 20) / 8)
        .flat_map(|_| (random.next() << 24 ^ random.next()).to_le_bytes())
        .collect();
    let path = lab.path("t.vmdk");
    write(&Memory::new(truth.clone()), &path).unwrap();
    let len = fs::metadata(&path).unwrap().len();
    let grains = truth.len() as u64 / 65_536;
    let most = truth.len() as u64 + grains * 1024 + (128 + 20) * 512;
    assert!(len > truth.len() as u64 && len < most, "{len}");
    lab.assert_agrees("t.vmdk", Format::Vmdk);
    assert_same(&open(&path), &truth, "noise");
}

/// A huge disk with a little data here and there.
#[derive(Debug)]
struct Spots(u64, Vec<u64>);

impl BlockRead for Spots {
    fn size(&self) -> u64 {
        self.0
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
        buf.fill(0);
        for spot in &self.1 {
            if let Some(at) = spot.checked_sub(offset)
                && let Some(byte) = buf.get_mut(at as usize)
            {
                *byte = 0xa5;
            }
        }
        Ok(())
    }

    fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
        let next = self.1.iter().copied().find(|spot| *spot >= offset);
        Ok(match next {
            Some(spot) if spot == offset => Extent {
                range: spot..spot + 1,
                kind: ExtentKind::Data,
            },
            next => Extent {
                range: offset..next.unwrap_or(self.0),
                kind: ExtentKind::Zero,
            },
        })
    }
}

#[test]
fn tables_without_grains_are_left_out_of_a_huge_disk() {
    let Some(lab) = Lab::new() else { return };
    let size = 3 << 40;
    let spots = vec![0, 65_536, (32 << 20) - 1, 32 << 20, 1 << 40, size - 1];
    let path = lab.path("t.vmdk");
    let written = write(&Spots(size, spots.clone()), &path).unwrap();
    assert_eq!(written.data, 6 * 65_536);
    // Four tables, the directory of 98304 entries, little else.
    assert!(fs::metadata(&path).unwrap().len() < 500_000);
    lab.img("check -q -f vmdk t.vmdk");
    let image = open(&path);
    assert_eq!(image.device().size(), size);
    let mut reads = Vec::new();
    for spot in &spots {
        let mut byte = [0];
        image.device().read_at(*spot, &mut byte).unwrap();
        assert_eq!(byte, [0xa5], "at {spot}");
        let (sector, within) = (spot / 512 * 512, spot % 512);
        reads.push(format!("read -q -P 0xa5 -s {within} -l 1 {sector} 512"));
    }
    let reads: Vec<&str> = reads.iter().map(String::as_str).collect();
    let mut words = vec!["-r", "-f", "vmdk"];
    for read in &reads {
        words.extend(["-c", read]);
    }
    words.push("t.vmdk");
    lab.run("qemu-io", &words);
}

/// The markers say what follows each of them: the whole file can be read from its beginning to its
/// end, as importers that read from a pipe do.
#[test]
fn a_stream_can_be_read_without_seeking() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vmdk");
    let truth = disk(66 << 20, 3);
    write(&Memory::new(truth.clone()), &path).unwrap();
    let bytes = fs::read(&path).unwrap();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    assert_eq!((&bytes[..4], word(4), word(8)), (&b"KDMV"[..], 3, 0x3_0001));
    let mut at = long(64) * 512;
    let (mut disk, mut last) = (vec![0; truth.len()], None);
    let (mut tables, mut kinds) = (Vec::new(), Vec::new());
    let mut grains = std::collections::HashMap::new();
    loop {
        let (number, size, kind) = (long(at), word(at + 8), word(at + 12));
        if size > 0 {
            assert!(last < Some(number), "grains ascend");
            last = Some(number);
            grains.insert(number / 128, at / 512);
            let mut grain = Vec::new();
            flate2::read::ZlibDecoder::new(&bytes[at + 12..at + 12 + size])
                .read_to_end(&mut grain)
                .unwrap();
            assert_eq!(grain.len(), 65_536);
            disk[number * 512..][..65_536].copy_from_slice(&grain);
            at = (at + 12 + size).next_multiple_of(512);
            continue;
        }
        kinds.push(kind);
        let (start, end) = (at + 512, at + 512 + number * 512);
        match kind {
            0 => break,
            1 => {
                assert_eq!(number, 4);
                let index = last.unwrap() / 128 / 512;
                for n in 0..512 {
                    let expected = grains.get(&(index * 512 + n)).copied().unwrap_or(0);
                    assert_eq!(word(start + n * 4), expected);
                }
                tables.push((index, start / 512));
            }
            2 => {
                for (index, sector) in &tables {
                    assert_eq!(word(start + index * 4), *sector);
                }
                let entries = (start..end).step_by(4).filter(|at| word(*at) != 0);
                assert_eq!(entries.count(), tables.len());
                assert_eq!(long(end + 512 + 56) * 512, start, "the footer points here");
            }
            3 => {
                let mut footer = bytes[start..end].to_vec();
                footer[56..64].fill(0xff);
                assert!(footer == bytes[..512], "the footer is the header");
            }
            _ => panic!("marker {kind}"),
        }
        at = end;
    }
    assert_eq!(at + 512, bytes.len());
    assert_eq!(kinds, [1, 1, 1, 2, 3, 0]);
    assert!(disk == truth);
    // What is cut off anywhere is noticed.
    for part in 1..40 {
        fs::write(&path, &bytes[..bytes.len() * part / 40]).unwrap();
        assert!(image::open(&path, &OpenOptions::default()).is_err());
    }
}
