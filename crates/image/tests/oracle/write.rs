//! Images that we write, against QEMU.

use crate::qemu::{Lab, Random, assert_same, disk, open, patch};
use block::{BlockRead, Extent, Memory};
use image::{
    Compression, Error, Format, OpenOptions, Qcow2Options, WriteFormat, WriteOptions, Written,
};
use ondisk::{Interrupt, NoProgress, Progress, Task, Unit};
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SIZE: u64 = (11 << 20) + 7 * 512;

fn qcow2(cluster_size: u32, compression: Compression) -> WriteFormat {
    WriteFormat::Qcow2(Qcow2Options {
        cluster_size,
        compression,
    })
}

fn write(device: &dyn BlockRead, to: &Path, format: WriteFormat) -> Result<Written, Error> {
    let options = WriteOptions {
        format,
        ..WriteOptions::default()
    };
    image::write(device, to, &options, &NoProgress, &Interrupt::default())
}

/// Names in a directory, sorted.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn qemu_finds_nothing_wrong_with_what_we_write() {
    let Some(lab) = Lab::new() else { return };
    let source = lab.source("source.raw", SIZE);
    let truth = fs::read(&source).unwrap();
    let device = open(&source).device();
    for cluster_size in [4096, 65_536, 2 << 20] {
        for compression in [Compression::None, Compression::Zlib, Compression::Zstd] {
            let name = format!("t-{cluster_size}-{compression:?}.qcow2");
            let path = lab.path(&name);
            let written = write(&device, &path, qcow2(cluster_size, compression)).unwrap();
            assert_eq!(written.virtual_size, SIZE);
            lab.img(&format!("check -q -f qcow2 {name}"));
            lab.img(&format!("compare -q -f qcow2 -F raw {name} source.raw"));
            assert_same(&open(&path), &truth, &name);
        }
    }
}

#[test]
fn one_content_gives_one_file_whatever_the_source_and_the_threads() {
    let Some(lab) = Lab::new() else { return };
    let source = lab.source("source.raw", SIZE);
    lab.img("convert -O qcow2 -o cluster_size=4k source.raw other.qcow2");
    lab.img("convert -O vmdk source.raw other.vmdk");
    let memory: Arc<dyn BlockRead> = Arc::new(Memory::new(fs::read(&source).unwrap()));
    for compression in [Compression::None, Compression::Zlib, Compression::Zstd] {
        let mut first: Option<Vec<u8>> = None;
        for (name, threads) in [
            ("source.raw", 1),
            ("other.qcow2", 2),
            ("other.vmdk", 5),
            ("", 3),
        ] {
            let device = if name.is_empty() {
                memory.clone()
            } else {
                open(&lab.path(name)).device()
            };
            let options = WriteOptions {
                format: qcow2(65_536, compression),
                threads: NonZeroUsize::new(threads),
                overwrite: true,
                ..WriteOptions::default()
            };
            let to = lab.path("t.qcow2");
            image::write(&device, &to, &options, &NoProgress, &Interrupt::default()).unwrap();
            let bytes = fs::read(&to).unwrap();
            assert!(
                *first.get_or_insert_with(|| bytes.clone()) == bytes,
                "from {name:?}"
            );
        }
    }
}

#[test]
fn raw_keeps_every_byte_and_takes_no_room_for_zeros() {
    let Some(lab) = Lab::new() else { return };
    for size in [SIZE, SIZE + 77, 1, 4096] {
        let truth = disk(size, 3);
        let device = Memory::new(truth.clone());
        let path = lab.path(&format!("t-{size}.raw"));
        let written = write(&device, &path, WriteFormat::Raw).unwrap();
        assert_eq!(written.virtual_size, size);
        assert!(fs::read(&path).unwrap() == truth, "{size}");
        let used = fs::metadata(&path).unwrap().blocks() * 512;
        assert!(used <= written.data + 65_536, "{used} for {}", written.data);
    }
    write(
        &Memory::new(Vec::new()),
        &lab.path("empty.raw"),
        WriteFormat::Raw,
    )
    .unwrap();
    assert_eq!(fs::metadata(lab.path("empty.raw")).unwrap().len(), 0);
}

#[test]
fn disks_of_every_odd_size_become_whole_sectors_in_qcow2() {
    let Some(lab) = Lab::new() else { return };
    for size in [0, 1, 511, 512, 65_537, (2 << 20) + 1] {
        let mut truth = vec![7; size];
        let to = lab.path(&format!("t-{size}.qcow2"));
        let compressed = qcow2(65_536, Compression::Zstd);
        let written = write(&Memory::new(truth.clone()), &to, compressed).unwrap();
        truth.resize(size.next_multiple_of(512), 0);
        assert_eq!(written.virtual_size, truth.len() as u64);
        lab.img(&format!("check -q -f qcow2 t-{size}.qcow2"));
        if size > 0 {
            assert_same(&open(&to), &truth, &format!("{size} bytes"));
        }
    }
}

/// More refcount blocks and L2 tables than one, and a table that counts itself.
#[test]
fn an_image_of_many_tables_is_sound() {
    let Some(lab) = Lab::new() else { return };
    let mut truth = vec![0; 96 << 20];
    let mut random = Random(5);
    for page in truth.chunks_mut(4096) {
        if random.below(10) < 8 {
            page[random.below(4096) as usize] = 1;
        }
    }
    let source = lab.path("source.raw");
    fs::write(&source, &truth).unwrap();
    let device = open(&source).device();
    for compression in [Compression::None, Compression::Zstd, Compression::Zlib] {
        let name = format!("t-{compression:?}.qcow2");
        write(&device, &lab.path(&name), qcow2(4096, compression)).unwrap();
        lab.img(&format!("check -q -f qcow2 {name}"));
        lab.img(&format!("compare -q -f qcow2 -F raw {name} source.raw"));
    }
}

#[test]
fn holes_are_never_read() {
    #[derive(Debug)]
    struct Counting(Arc<dyn BlockRead>, AtomicU64);
    impl BlockRead for Counting {
        fn size(&self) -> u64 {
            self.0.size()
        }
        fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), block::Error> {
            self.1.fetch_add(buf.len() as u64, Ordering::Relaxed);
            self.0.read_at(offset, buf)
        }
        fn extent_at(&self, offset: u64) -> Result<Extent, block::Error> {
            self.0.extent_at(offset)
        }
    }
    let Some(lab) = Lab::new() else { return };
    lab.img("create -q -f qcow2 t.qcow2 40G");
    lab.io(
        "t.qcow2",
        &["write -q -P 1 20G 100k", "write -q -P 2 39G 5M"],
    );
    let device = Counting(open(&lab.path("t.qcow2")).device(), AtomicU64::new(0));
    for format in [WriteFormat::Raw, qcow2(65_536, Compression::None)] {
        let to = lab.path("out");
        let options = WriteOptions {
            format,
            overwrite: true,
            ..WriteOptions::default()
        };
        image::write(&device, &to, &options, &NoProgress, &Interrupt::default()).unwrap();
        let read = device.1.swap(0, Ordering::Relaxed);
        assert!(read <= 6 << 20, "{read} bytes were read");
        lab.img("compare -q -f qcow2 t.qcow2 out");
    }
}

#[test]
fn a_target_that_exists_is_kept_unless_it_may_be_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("disk.raw");
    fs::write(&to, "precious").unwrap();
    let device = Memory::new(vec![1; 5000]);
    let error = write(&device, &to, WriteFormat::Raw).unwrap_err();
    assert!(matches!(error, Error::Exists { .. }), "{error}");
    assert_eq!(fs::read(&to).unwrap(), b"precious");
    let options = WriteOptions {
        overwrite: true,
        ..WriteOptions::default()
    };
    image::write(&device, &to, &options, &NoProgress, &Interrupt::default()).unwrap();
    assert_eq!(fs::read(&to).unwrap(), vec![1; 5000]);
    assert_eq!(names(dir.path()), ["disk.raw"]);
    for wrong in [dir.path(), &dir.path().join("absent/disk.raw")] {
        assert!(
            image::write(&device, wrong, &options, &NoProgress, &Interrupt::default()).is_err()
        );
    }
}

#[test]
fn a_source_that_fails_leaves_nothing_behind() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    lab.img("convert -O qcow2 -c source.raw t.qcow2");
    // Garbage where the last quarter of the compressed data is.
    let len = fs::metadata(lab.path("t.qcow2")).unwrap().len();
    patch(&lab.path("t.qcow2"), len * 3 / 4, &[0xff; 4096]);
    let device = open(&lab.path("t.qcow2")).device();
    let dir = lab.path("out");
    fs::create_dir(&dir).unwrap();
    for format in [WriteFormat::Raw, qcow2(65_536, Compression::None)] {
        let error = write(&device, &dir.join("disk"), format).unwrap_err();
        assert!(matches!(error, Error::Source(_)), "{error}");
        assert_eq!(names(&dir), [""; 0]);
    }
}

#[test]
fn an_interrupt_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let interrupt = Interrupt::default();
    interrupt.set();
    for format in [WriteFormat::Raw, qcow2(65_536, Compression::None)] {
        let options = WriteOptions {
            format,
            ..WriteOptions::default()
        };
        let device = Memory::new(vec![1; 100_000]);
        let to = dir.path().join("disk");
        let error = image::write(&device, &to, &options, &NoProgress, &interrupt).unwrap_err();
        assert!(matches!(error, Error::Interrupted(_)), "{error}");
        assert_eq!(names(dir.path()), [""; 0]);
    }
}

#[test]
fn progress_ends_at_the_size_of_the_disk() {
    #[derive(Clone, Debug, Default)]
    struct Sum(Arc<AtomicU64>);
    impl Progress for Sum {
        fn start(&self, _: &str, unit: Unit, total: Option<u64>) -> Box<dyn Task> {
            assert_eq!((unit, total), (Unit::Bytes, Some(SIZE)));
            Box::new(self.clone())
        }
    }
    impl Task for Sum {
        fn advance(&self, units: u64) {
            self.0.fetch_add(units, Ordering::Relaxed);
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let mut bytes = disk(SIZE, 9);
    bytes[(8 << 20)..].fill(0);
    fs::write(dir.path().join("source.raw"), bytes).unwrap();
    let device = open(&dir.path().join("source.raw")).device();
    for format in [WriteFormat::Raw, qcow2(65_536, Compression::Zstd)] {
        let sum = Sum::default();
        let options = WriteOptions {
            format,
            overwrite: true,
            ..WriteOptions::default()
        };
        let to = dir.path().join("out");
        image::write(&device, &to, &options, &sum, &Interrupt::default()).unwrap();
        assert_eq!(sum.0.load(Ordering::Relaxed), SIZE);
    }
}

#[test]
fn a_written_image_opens_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let device = Memory::new(disk(1 << 20, 4));
    for (name, format, expected) in [
        ("a.img", WriteFormat::Raw, Format::Raw),
        ("b", qcow2(65_536, Compression::Zlib), Format::Qcow2),
    ] {
        let to = dir.path().join(name);
        write(&device, &to, format).unwrap();
        let image = image::open(&to, &OpenOptions::default()).unwrap();
        assert_eq!(image.format(), expected);
        assert_same(&image, &device.bytes(), name);
    }
    for wrong in [0, 512, 65_535, 4 << 20] {
        let to = dir.path().join("c");
        let error = write(&device, &to, qcow2(wrong, Compression::None)).unwrap_err();
        assert!(matches!(error, Error::Options { .. }), "{wrong}: {error}");
    }
}

/// Needs a loop device, for which it must run as root.
#[test]
fn a_block_device_is_overwritten_in_place_with_its_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let backing = dir.path().join("device");
    fs::write(&backing, vec![0xee; 8 << 20]).unwrap();
    let losetup = |words: &[&str]| {
        let output = std::process::Command::new("losetup").args(words).output();
        output.ok().filter(|output| output.status.success())
    };
    let Some(output) = losetup(&["--find", "--show", backing.to_str().unwrap()]) else {
        eprintln!("skipped: loop devices cannot be made here");
        return;
    };
    let loop_device = String::from_utf8(output.stdout).unwrap();
    let to = Path::new(loop_device.trim());
    let mut truth = disk(6 << 20, 8);
    truth[1 << 20..2 << 20].fill(0);
    fs::write(dir.path().join("source.raw"), &truth).unwrap();
    let device = open(&dir.path().join("source.raw")).device();
    let write_to = |overwrite, format| {
        let options = WriteOptions {
            format,
            overwrite,
            ..WriteOptions::default()
        };
        image::write(&device, to, &options, &NoProgress, &Interrupt::default())
    };
    let refused = write_to(false, WriteFormat::Raw).unwrap_err();
    let no_qcow2 = write_to(true, qcow2(65_536, Compression::None)).unwrap_err();
    let written = write_to(true, WriteFormat::Raw);
    let read_back = image::open(to, &OpenOptions::default());
    let mut start = vec![0; truth.len()];
    let read = read_back
        .as_ref()
        .map(|image| image.device().read_at(0, &mut start));
    losetup(&["--detach", loop_device.trim()]).unwrap();
    assert!(matches!(refused, Error::Exists { .. }), "{refused}");
    assert!(matches!(no_qcow2, Error::Options { .. }), "{no_qcow2}");
    written.unwrap();
    read.unwrap().unwrap();
    assert!(start == truth);
    let after = fs::read(&backing).unwrap();
    assert!(after[..truth.len()] == truth);
    assert!(after[truth.len()..].iter().all(|b| *b == 0xee));
}
