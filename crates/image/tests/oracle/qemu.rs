//! Running QEMU's tools, and comparing with what they say.

use block::{BlockRead, ExtentKind};
use image::{Format, Image, OpenOptions};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A directory in which QEMU's tools run.
pub(crate) struct Lab {
    dir: TempDir,
}

impl Lab {
    /// A new directory, or nothing (and a line that says so) where the tools are missing.
    pub(crate) fn new() -> Option<Self> {
        let works = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
        if works("qemu-img") && works("qemu-io") {
            let dir = tempfile::tempdir().unwrap();
            Some(Self { dir })
        } else {
            eprintln!("skipped: qemu-img and qemu-io are not installed");
            None
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The first number of QEMU's version.
    pub(crate) fn qemu_version(&self) -> u32 {
        let output = Command::new("qemu-img").arg("--version").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        // qemu-img version 10.0.2 (Debian …)
        let version = text.split_whitespace().nth(2).unwrap();
        version.split('.').next().unwrap().parse().unwrap()
    }

    /// Runs `qemu-img` with words that are split at spaces.
    pub(crate) fn img(&self, words: &str) {
        self.run("qemu-img", &words.split(' ').collect::<Vec<_>>());
    }

    /// Runs commands of `qemu-io` on an image.
    pub(crate) fn io(&self, image: &str, commands: &[&str]) {
        let mut words = vec![image];
        for command in commands {
            words.extend(["-c", command]);
        }
        self.run("qemu-io", &words);
    }

    pub(crate) fn run(&self, tool: &str, words: &[&str]) {
        let output = Command::new(tool)
            .args(words)
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{tool} {words:?}: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Makes a raw file of runs of text, noise, zeros and holes, each a few to some hundred KiB.
    pub(crate) fn source(&self, name: &str, size: u64) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, disk(size, 1)).unwrap();
        // The tools and the host see the zeros of this many bytes as a hole.
        self.run("fallocate", &["--dig-holes", path.to_str().unwrap()]);
        path
    }

    /// What QEMU reads from an image.
    pub(crate) fn truth(&self, image: &str, format: &str) -> Vec<u8> {
        self.img(&format!("convert -f {format} -O raw {image} truth.raw"));
        fs::read(self.path("truth.raw")).unwrap()
    }

    /// Opens an image and compares every byte and extent with what QEMU reads.
    pub(crate) fn assert_agrees(&self, image: &str, format: Format) {
        let truth = self.truth(image, format.name());
        let opened = open(&self.path(image));
        assert_eq!(opened.format(), format, "{image}");
        assert_same(&opened, &truth, image);
    }
}

pub(crate) fn open(path: &Path) -> Image {
    image::open(path, &OpenOptions::default())
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Pseudo-random bytes of a disk: runs of text, noise and zeros.
pub(crate) fn disk(size: u64, seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let size = usize::try_from(size).unwrap();
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        let len = usize::try_from(4096 + random.next() % 400_000).unwrap();
        match random.next() % 4 {
            0 | 1 => bytes.extend(std::iter::repeat_n(0, len)),
            2 => bytes.extend((0..len / 8).flat_map(|_| random.next().to_le_bytes())),
            _ => {
                let word = random.next() % 1000;
                bytes.extend(
                    (0..len / 8).flat_map(|n| format!("{word:4}{:4}", n % 97).into_bytes()),
                );
            }
        }
    }
    bytes.truncate(size);
    bytes
}

/// A small generator of numbers that are the same each time (Knuth's MMIX constants).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 20
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Compares a device with the bytes it should have: large reads, small reads, extents.
pub(crate) fn assert_same(image: &Image, truth: &[u8], what: &str) {
    let device = image.device();
    assert_eq!(device.size(), truth.len() as u64, "{what}: size");
    for (n, want) in truth.chunks(3 << 20).enumerate() {
        let mut got = vec![0xee; want.len()];
        device.read_at((n as u64) * (3 << 20), &mut got).unwrap();
        if let Some(at) = got.iter().zip(want).position(|(a, b)| a != b) {
            panic!("{what}: differs at byte {}", n * (3 << 20) + at);
        }
    }
    let mut random = Random(7);
    for _ in 0..300 {
        let at = random.below(device.size());
        let len = random.below(20_000).min(device.size() - at);
        let mut got = vec![0xee; len as usize];
        device.read_at(at, &mut got).unwrap();
        assert!(
            got == truth[at as usize..][..len as usize],
            "{what}: {len} bytes at {at}"
        );
        let extent = device.extent_at(at).unwrap();
        assert!(extent.range.contains(&at), "{what}: {extent:?} for {at}");
    }
    let mut end = 0;
    for extent in device.extents() {
        let extent = extent.unwrap();
        assert_eq!(extent.range.start, end, "{what}");
        end = extent.range.end;
        if extent.kind == ExtentKind::Zero {
            let range = extent.range.start as usize..extent.range.end as usize;
            assert!(
                truth[range].iter().all(|b| *b == 0),
                "{what}: {extent:?} is not zero"
            );
        }
    }
    assert_eq!(end, device.size(), "{what}");
    assert!(device.read_at(device.size(), &mut [0]).is_err(), "{what}");
}

/// Changes bytes of a file in place.
pub(crate) fn patch(path: &Path, offset: u64, bytes: &[u8]) {
    let file = File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}
