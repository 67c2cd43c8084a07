//! Runs what the fuzz targets do over their seeds and over some hundred mutations of them, on
//! stable Rust and without libFuzzer. The mutations are the same on every run.

#[path = "../fuzz/bodies/mod.rs"]
#[expect(
    unreachable_pub,
    reason = "public for the fuzz targets, whose library it is"
)]
mod bodies;

use block::Memory;
use fs::FileSystem;
use image::{Format, OpenOptions};
use ondisk::Interrupt;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// The longest that one input may take: a thousand times what seeds take.
const ONE_INPUT: Duration = Duration::from_secs(20);
/// When mutating ends, whether all were done or not; the seeds always are.
const ALL_INPUTS: Duration = Duration::from_secs(10);
const MUTATIONS: usize = 400;
/// Address space of the whole process: an allocation by an unchecked number from a file fails.
const MEMORY: u64 = 4 << 30;

macro_rules! targets {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                smoke(stringify!($name), bodies::$name);
            }
        )*

        #[test]
        fn every_target_has_seeds_and_is_run_here() {
            let ours = [$(stringify!($name)),*];
            for folder in ["targets", "corpus"] {
                let entries = std::fs::read_dir(fuzz().join(folder)).unwrap();
                let mut names: Vec<_> = entries
                    .map(|entry| entry.unwrap().path().file_stem().unwrap().to_owned())
                    .collect();
                names.sort();
                let mut ours = ours.to_vec();
                ours.sort_unstable();
                assert_eq!(names, ours, "fuzz/{folder}");
            }
            // What cargo-fuzz is not told of, nobody can run.
            for (file, quote) in [("Cargo.toml", '"'), ("README.md", '`')] {
                let text = std::fs::read_to_string(fuzz().join(file)).unwrap();
                for name in ours {
                    assert!(text.contains(&format!("{quote}{name}{quote}")), "{file}: {name}");
                }
            }
        }
    };
}

targets! {
    blueprint
    boot_files
    ext4_file_system
    fat_file_system
    file_contexts
    guest_files
    initramfs_image
    kernel_modules
    logical_volumes
    manifest
    mount_tables
    network_conversion
    network_files
    ova
    ovf
    partitions
    plan
    qcow2
    raid_members
    rpm_bdb
    rpm_ndb
    rpm_sqlite
    vhd
    vhdx
    vmdk
    xfs_file_system
}

/// A seed that is refused at the door would test nothing behind it.
#[test]
fn seeds_are_understood() {
    let device = |seed: &[u8]| Arc::new(Memory::new(bodies::disk(seed).unwrap()));
    for seed in seeds("ext4_file_system") {
        let mut ext4 = ext4::Ext4::open(device(&seed)).unwrap();
        assert_eq!(ext4.check().unwrap(), []);
        ext4.edit().unwrap();
    }
    for seed in seeds("fat_file_system") {
        let mut fat = fat::Fat::open(device(&seed)).unwrap();
        assert_eq!(fat.check().unwrap(), []);
        let few = fat.info().features == ["FAT32"];
        assert_eq!(
            fat.edit().is_err(),
            few,
            "FAT32 with few clusters is only read"
        );
    }
    for seed in seeds("xfs_file_system") {
        let mut xfs = xfs::Xfs::open(device(&seed)).unwrap();
        assert_eq!(xfs.check().unwrap(), []);
        xfs.edit().unwrap();
    }
    let tables = seeds("partitions").into_iter();
    let readable = tables.filter(|seed| volume::scan(&*device(seed)).is_ok());
    assert_eq!(
        readable.count(),
        4,
        "all but the one with a protective MBR alone"
    );
    for seed in seeds("initramfs_image") {
        let initramfs = initramfs::Initramfs::read(&seed).unwrap();
        assert!(initramfs.contents().exists("lib/modules/6.1.0/modules.dep"));
    }
    let plan: convert::Plan = serde_json::from_slice(&seeds("plan")[0]).unwrap();
    assert_eq!(plan.changes.len(), 5);
    let [id, index, manifest] = &seeds("manifest")[..] else {
        panic!("seeds are missing");
    };
    let path = Path::new("a seed");
    let manifest = store::Manifest::decode(path, manifest).unwrap();
    assert_eq!(manifest.parent.unwrap().to_string().as_bytes(), id);
    assert_eq!(store::Index::decode(path, index, 4).unwrap().len(), 2);
    let images = seeds("qcow2").into_iter().map(|seed| (seed, Format::Qcow2));
    let disks = seeds("vmdk").into_iter();
    let disks = disks.map(|seed| (bodies::disk(&seed).unwrap(), Format::Vmdk));
    let more = seeds("vhdx").into_iter();
    let more = more.map(|seed| (bodies::disk(&seed).unwrap(), Format::Vhdx));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image");
    let mut marked: Vec<u64> = Vec::new();
    let opened = images.chain(disks).chain(more).filter(|(file, format)| {
        // Extents of ESX are opened by a descriptor.
        match bodies::vmdk_descriptor(file) {
            Some(text) => {
                std::fs::write(dir.path().join("extent"), file).unwrap();
                std::fs::write(&path, text).unwrap();
            }
            None => std::fs::write(&path, file).unwrap(),
        }
        let options = OpenOptions {
            format: Some(*format),
            ..OpenOptions::default()
        };
        let image = image::open(&path, &options);
        if let Ok(image) = &image {
            let bitmaps = image.bitmaps(0, &Interrupt::default()).unwrap();
            let dirty = bitmaps.iter().filter_map(|bitmap| bitmap.dirty);
            marked.extend(dirty);
        }
        image.is_ok()
    });
    assert_eq!(
        opened.count(),
        13,
        "all but three whose other file is not there"
    );
    // All bits of the first cluster, and what was written: in granules of two sizes.
    assert_eq!(marked, [(2 << 20) + 5632, 8192]);
    std::fs::write(dir.path().join("disk.img"), [7; 4096]).unwrap();
    std::fs::write(dir.path().join("disk.img.gz"), bodies::GZIPPED).unwrap();
    for (target, name, disks) in [("ova", "m.ova", [1, 1, 3]), ("ovf", "m.ovf", [3, 1, 1])] {
        let path = dir.path().join(name);
        let found = seeds(target).into_iter().map(|seed| {
            std::fs::write(&path, seed).unwrap();
            let verify = true;
            let options = OpenOptions {
                verify,
                ..OpenOptions::default()
            };
            let images = image::open_all(&path, &options).unwrap();
            images.len()
        });
        assert!(found.eq(disks), "{target}");
    }
}

/// As above.
#[test]
fn rpm_seeds_are_understood() {
    for (target, packages) in [
        ("rpm_bdb", [2, 2, 2]),
        ("rpm_ndb", [2, 2, 0]),
        ("rpm_sqlite", [2, 3, 0]),
    ] {
        let found = seeds(target).into_iter().map(|seed| {
            let (file, log) = match target {
                "rpm_sqlite" => {
                    let len =
                        usize::try_from(u32::from_le_bytes(*seed.first_chunk().unwrap())).unwrap();
                    let (file, log) = seed[4..].split_at(len);
                    (file.to_vec(), log.to_vec())
                }
                _ => (seed, Vec::new()),
            };
            let list = rpmdb::read(&Memory::new(file), Some(&Memory::new(log))).unwrap();
            assert_eq!(list.damaged, [""; 0]);
            list.packages.len()
        });
        let wanted = packages.into_iter().filter(|number| *number > 0);
        assert!(found.eq(wanted), "{target}");
    }
}

/// As above.
#[test]
fn vhd_seeds_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("image.vhd");
    let errors = seeds("vhd").into_iter().filter_map(|seed| {
        let mut file = bodies::disk(&seed).unwrap();
        let last = file.iter().rposition(|byte| *byte != 0).unwrap();
        file.truncate((last + 1).next_multiple_of(512));
        std::fs::write(&path, file).unwrap();
        image::open(&path, &OpenOptions::default()).err()
    });
    let errors: Vec<_> = errors.map(|error| error.to_string()).collect();
    assert_eq!(errors.len(), 1, "all but the one whose parent is not there");
    assert!(errors[0].contains("base.vhd"), "{errors:?}");
}

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn smoke(target: &'static str, body: fn(&[u8])) {
    bound_memory();
    let seeds = seeds(target);
    let (sender, finished) = channel();
    let now: Arc<Mutex<(Vec<u8>, Instant)>> = Arc::new(Mutex::new((Vec::new(), Instant::now())));
    let running = now.clone();
    let worker = std::thread::spawn(move || {
        let run = |input: Vec<u8>| {
            let mut now = running.lock().unwrap_or_else(PoisonError::into_inner);
            *now = (input.clone(), Instant::now());
            drop(now);
            if catch_unwind(AssertUnwindSafe(|| body(&input))).is_err() {
                panic!("{target} fails with {}", keep(target, &input));
            }
        };
        for seed in &seeds {
            run(seed.clone());
        }
        let (start, mut random, mut done) = (Instant::now(), Random(1), 0);
        while done < MUTATIONS && start.elapsed() < ALL_INPUTS {
            run(mutated(&seeds, &mut random));
            done += 1;
        }
        println!(
            "{target}: {} seeds, {done} mutations, {:?}",
            seeds.len(),
            start.elapsed()
        );
        // The receiver only goes away with the test.
        let _ = sender.send(());
    });
    let watch = Duration::from_millis(200);
    while finished.recv_timeout(watch) == Err(RecvTimeoutError::Timeout) {
        let (input, since) = &*now.lock().unwrap_or_else(PoisonError::into_inner);
        let took = since.elapsed();
        assert!(
            took < ONE_INPUT,
            "{target} takes {took:?} with {}",
            keep(target, input)
        );
    }
    assert!(worker.join().is_ok(), "{target} failed, see above");
}

fn bound_memory() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let limit = Rlimit {
            current: Some(MEMORY),
            ..getrlimit(Resource::As)
        };
        setrlimit(Resource::As, limit).unwrap();
    });
}

/// The seeds in the order of their names, so that every run is the same.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(fuzz().join("corpus").join(target)).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// Writes an input where it outlives the test, and says where.
fn keep(target: &str, input: &[u8]) -> String {
    let path = std::env::temp_dir().join(format!("fuzz-smoke-{target}-{}", std::process::id()));
    std::fs::write(&path, input).unwrap();
    path.display().to_string()
}

/// One of the seeds with one to eight changes.
fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(8) {
        if bytes.is_empty() {
            break;
        }
        let at = random.below(bytes.len());
        match random.below(10) {
            0..=2 => bytes[at] ^= 1 << random.below(8),
            3 | 4 => bytes[at] = random.next().to_le_bytes()[0],
            5 => {
                // A number at the edge of what it can be.
                let number = [0, 1, 0x7f, 0x80, 0xff][random.below(5)];
                let end = bytes.len().min(at + [1, 2, 4, 8][random.below(4)]);
                bytes[at..end].fill(number);
            }
            6 => {
                let from = random.below(bytes.len());
                let len = random
                    .below(64)
                    .min(bytes.len() - from)
                    .min(bytes.len() - at);
                bytes.copy_within(from..from + len, at);
            }
            7 => bytes.truncate(at),
            8 => {
                let end = bytes.len().min(at + 1 + random.below(64));
                bytes.drain(at..end);
            }
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len().max(1));
                let piece = other.iter().skip(from).take(random.below(64));
                bytes.splice(at..at, piece.copied());
            }
        }
    }
    bytes
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 29)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() >> 16).unwrap() % bound
    }
}
