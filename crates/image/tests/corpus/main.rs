//! Images that others made, with their truth: the directory is named by `REHOST_CORPUS`.
//!
//! Each case is a pack `CLASS/ID.tar.zst` with a `case.json`. The test prints a table and accepts
//! no difference but those that are decided here, each with its reason.

mod ovf;

use block::{BlockRead, ExtentKind};
use image::{Image, OpenOptions};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// The classes that this crate reads.
const CLASSES: [&str; 4] = ["qcow2", "vmdk", "vhd", "vhdx"];

/// Cases in which we knowingly do something else than the oracle.
const DECIDED: [(&str, Outcome, &str); 5] = [
    (
        "vhdx-region1-bad",
        Outcome::Differs,
        "the second region table is as good as the first, QEMU looks at the first alone",
    ),
    (
        "q2-bad-corrupt-bit",
        Outcome::Refused,
        "an image that says it is corrupt is not taken for a source",
    ),
    (
        "vm-desc-size-mismatch",
        Outcome::Refused,
        "a flat extent that is too short is an error, QEMU reads zeros",
    ),
    (
        "vm-desc-zero-extent",
        Outcome::Differs,
        "extents of type ZERO are a part of the disk, QEMU passes over them",
    ),
    (
        "dfvfs-image-diff-vhd",
        Outcome::Refused,
        "ids and parent were put in by hand and the checksums left as they were, so QEMU refuses \
         both files as we do; mended, they read: see below",
    ),
];

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Outcome {
    /// The same bytes, or both refuse.
    Agrees,
    Differs,
    /// We refuse what the oracle reads.
    Refused,
}

impl Outcome {
    fn column(self) -> usize {
        match self {
            Self::Agrees => 0,
            Self::Differs => 1,
            Self::Refused => 2,
        }
    }
}

#[test]
fn the_corpus_reads_as_its_oracles_say() {
    let Some(corpus) = std::env::var_os("REHOST_CORPUS").map(PathBuf::from) else {
        eprintln!("skipped: REHOST_CORPUS does not name a directory");
        return;
    };
    let mut table: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut undecided = Vec::new();
    for class in CLASSES {
        let mut packs: Vec<_> = fs::read_dir(corpus.join(class))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        packs.sort();
        for pack in packs {
            let (id, outcome, why) = run(&pack);
            let counts = table.entry(class).or_default();
            counts[outcome.column()] += 1;
            let decided = DECIDED.iter().find(|(decided, ..)| *decided == id);
            let expected = decided.map_or(Outcome::Agrees, |(_, outcome, _)| *outcome);
            if outcome != Outcome::Agrees || !why.is_empty() {
                let reason = decided.map_or("", |(.., reason)| reason);
                println!("{class:6} {id:28} {outcome:?}: {why} {reason}");
            }
            if outcome != expected {
                undecided.push(format!("{id}: {outcome:?}, {why}"));
            }
        }
    }
    println!(
        "{:6} {:>7} {:>7} {:>7}",
        "class", "agree", "differ", "refused"
    );
    for (class, [agree, differ, refused]) in table {
        println!("{class:6} {agree:7} {differ:7} {refused:7}");
    }
    assert!(undecided.is_empty(), "{undecided:#?}");
}

/// The pair of VHD files whose checksums are wrong, with right ones: the parent reads as
/// dissect.hypervisor says, and the child as its one block says, all of whose bits are set.
#[test]
fn a_mended_differencing_vhd_reads_over_its_parent() {
    let Some(corpus) = std::env::var_os("REHOST_CORPUS").map(PathBuf::from) else {
        eprintln!("skipped: REHOST_CORPUS does not name a directory");
        return;
    };
    let (dir, _) = unpack(&corpus.join("vhd/dfvfs-image-diff-vhd.tar.zst"));
    let mut child = Vec::new();
    for name in ["image.vhd", "image-differential.vhd"] {
        let mut bytes = fs::read(dir.path().join(name)).unwrap();
        let end = bytes.len() - 512;
        for (structure, checksum) in [(0..512, 64), (512..1536, 36), (end..end + 512, 64)] {
            let structure = &mut bytes[structure];
            structure[checksum..checksum + 4].fill(0);
            let sum = !structure.iter().map(|byte| u32::from(*byte)).sum::<u32>();
            structure[checksum..checksum + 4].copy_from_slice(&sum.to_be_bytes());
        }
        fs::write(dir.path().join(name), &bytes).unwrap();
        child = bytes;
    }
    let read = |name: &str| {
        let image = image::open(&dir.path().join(name), &OpenOptions::default()).unwrap();
        let mut bytes = vec![0xee; 104_448];
        image.device().read_at(0, &mut bytes).unwrap();
        assert_eq!(image.device().size(), 104_448);
        (image.layers().len(), bytes)
    };
    let (depth, parent) = read("image.vhd");
    assert_eq!(
        (depth, hex(&Sha256::digest(&parent)).as_str()),
        (
            1,
            "c6db12a7db548e193c29420c1b4533e4708b20c5033db5cc29ef075d48316d25"
        )
    );
    assert_eq!(child[2048..2048 + 512], [0xff; 512]);
    assert!(read("image-differential.vhd") == (2, child[2560..2560 + 104_448].to_vec()));
}

/// Unpacks and judges one case.
fn run(pack: &Path) -> (String, Outcome, String) {
    let (dir, case) = unpack(pack);
    let id = case["id"].as_str().unwrap().to_owned();
    let primary = dir.path().join(case["primary"].as_str().unwrap());
    let (outcome, why) = judge(&primary, &case["expected"]);
    (id, outcome, why)
}

/// A pack as a directory, and what is said about it.
pub(crate) fn unpack(pack: &Path) -> (TempDir, Value) {
    let dir = tempfile::tempdir().unwrap();
    let status = Command::new("tar")
        .args(["--zstd", "-xSf"])
        .arg(pack)
        .current_dir(dir.path())
        .status()
        .unwrap();
    assert!(status.success(), "{}", pack.display());
    let case: Value =
        serde_json::from_slice(&fs::read(dir.path().join("case.json")).unwrap()).unwrap();
    (dir, case)
}

fn judge(path: &Path, expected: &Value) -> (Outcome, String) {
    let must = expected["must"].as_str().unwrap_or_default();
    let oracle_refuses = expected.get("error").is_some() || must.starts_with("refuse");
    let image = match image::open(path, &OpenOptions::default()) {
        Ok(_) if oracle_refuses => return (Outcome::Differs, "it opens".to_owned()),
        Ok(image) => image,
        Err(error) if oracle_refuses => return (Outcome::Agrees, error.to_string()),
        Err(error) => return (Outcome::Refused, error.to_string()),
    };
    match compare(&image, expected) {
        Ok(None) => (Outcome::Agrees, String::new()),
        Ok(Some(difference)) => (Outcome::Differs, difference),
        Err(error) => (Outcome::Refused, error.to_string()),
    }
}

/// What differs, if anything does.
fn compare(image: &Image, expected: &Value) -> Result<Option<String>, block::Error> {
    let device = image.device();
    let blocks = NonZeroBlocks::hash(&*device)?;
    let number = |name: &str| expected[name].as_u64();
    let text = |name: &str| expected[name].as_str();
    let mut compared = false;
    if let Some(size) = number("virtual_size")
        && size != device.size()
    {
        return Ok(Some(format!("{} bytes, {size} expected", device.size())));
    }
    if let Some(hash) = text("nz64k") {
        compared = true;
        if blocks.hash != hash {
            return Ok(Some(format!("{} blocks differ", blocks.count)));
        }
    }
    if let Some(hash) = text("sha256_raw")
        && device.size() <= 64 << 20
    {
        let mut bytes = vec![0xee; usize::try_from(device.size()).unwrap()];
        device.read_at(0, &mut bytes)?;
        if hex(&Sha256::digest(&bytes)) != hash {
            return Ok(Some("the whole differs".to_owned()));
        }
    }
    // Two cases tell their content in words.
    let filled = match (text("probe"), text("must")) {
        (Some("64 KiB of 0x5a at 63 TiB, everything else zero"), _) => Some((63 << 40, 1, 0x5a)),
        (_, Some("read as 0xa1 x 2 MiB")) => Some((0, 32, 0xa1)),
        _ => None,
    };
    if let Some((at, count, byte)) = filled {
        compared = true;
        let mut bytes = vec![0; 65_536 * count];
        device.read_at(at, &mut bytes)?;
        if blocks.count != count || bytes.iter().any(|b| *b != byte) {
            return Ok(Some("the content differs".to_owned()));
        }
    }
    Ok((!compared).then(|| "there is nothing to compare with".to_owned()))
}

/// The corpus' hash of sparse disks: offset and content of each block of 64 KiB with data.
struct NonZeroBlocks {
    hash: String,
    count: usize,
}

impl NonZeroBlocks {
    const BLOCK: u64 = 65_536;

    fn hash(device: &dyn BlockRead) -> Result<Self, block::Error> {
        let (mut hash, mut count) = (Sha256::new(), 0);
        let mut done = 0;
        for extent in device.extents() {
            let extent = extent?;
            if extent.kind == ExtentKind::Zero {
                continue;
            }
            let mut at = (extent.range.start / Self::BLOCK * Self::BLOCK).max(done);
            while at < extent.range.end {
                let len = Self::BLOCK.min(device.size() - at);
                let mut block = vec![0; 65_536];
                device.read_at(at, &mut block[..usize::try_from(len).unwrap()])?;
                if block.iter().any(|b| *b != 0) {
                    hash.update(at.to_le_bytes());
                    hash.update(&block);
                    count += 1;
                }
                at += Self::BLOCK;
                done = at;
            }
        }
        let hash = hex(&hash.finalize());
        Ok(Self { hash, count })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
