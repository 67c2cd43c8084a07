//! Images that others made, with their truth: the directory is named by `REHOST_CORPUS`.

use crate::features;
use crate::oracle::{open, others_read};
use fs::{Error, FileSystem, Kind, NodeId, Role};
use fs_acceptance::device::FileDevice;
use fs_acceptance::tree;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Command;
use xfs::Xfs;

/// Cases that are to be refused, and by what they are named.
const REFUSED: [(&str, &str); 2] = [
    ("xfuse-xfs_rt1", "realtime"),
    // An image of the realtime device alone.
    ("xfuse-xfs_rt2", "no XFS"),
];

/// Here the truth has only some names of directories with trees of extents; lamxfs has all.
const SHORT_TRUTH: &str = "xfuse-xfsv4";

#[test]
fn the_corpus_reads_as_its_truth_says() {
    let Some(corpus) = std::env::var_os("REHOST_CORPUS").map(PathBuf::from) else {
        println!("skipped: REHOST_CORPUS names no corpus");
        return;
    };
    let (mut agree, mut refused, mut differ) = (0, 0, Vec::new());
    for pack in std::fs::read_dir(corpus.join("xfs")).unwrap() {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new("tar")
            .args(["--zstd", "-xSf"])
            .arg(pack.unwrap().path())
            .arg("-C")
            .arg(dir.path())
            .status();
        assert!(status.unwrap().success());
        let case = std::fs::read(dir.path().join("case.json")).unwrap();
        let case: Value = serde_json::from_slice(&case).unwrap();
        let id = case["id"].as_str().unwrap();
        let image = dir.path().join(case["primary"].as_str().unwrap());
        if let Some((_, name)) = REFUSED.iter().find(|(refused, _)| *refused == id) {
            let error = Xfs::open(FileDevice::open(&image)).map(drop).unwrap_err();
            let text = chain(&error);
            assert!(text.contains(name), "{id}: {text}");
            println!("{id}: refused: {text}");
            refused += 1;
            continue;
        }
        let manifest = dir.path().join(case["manifest"].as_str().unwrap());
        let manifest = std::fs::read_to_string(manifest).unwrap();
        let fs = open(&image);
        let truth: BTreeMap<_, _> = manifest
            .lines()
            .filter(|line| !line.is_empty())
            .map(parse)
            .collect();
        let owners = truth.values().any(|line| line.starts_with("d 0"));
        let ours = as_manifest(&fs, owners);
        let ours = ours.unwrap_or_else(|error| panic!("{id}: {}", chain(&error)));
        let wrong: Vec<_> = truth
            .iter()
            .filter(|(path, line)| ours.get(*path) != Some(*line))
            .map(|(path, line)| format!("{path}: {:?}, truth {line}", ours.get(path)))
            .collect();
        let all = if id == SHORT_TRUTH {
            let tree = tree::read(&fs).unwrap();
            others_read(id, &image, features::named("v4"), &tree);
            ours.len()
        } else {
            truth.len()
        };
        if wrong.is_empty() && all == ours.len() {
            println!("{id}: agree, {} nodes; check: {:?}", ours.len(), fs.check());
            agree += 1;
        } else {
            let first = &wrong[..wrong.len().min(5)];
            differ.push(format!(
                "{id}: {} nodes, truth {}: {first:#?}",
                ours.len(),
                truth.len()
            ));
        }
    }
    println!("agree {agree}, refused {refused}, differ {}", differ.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(agree >= 8);
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}

/// A line of a manifest as its path and all else.
fn parse(line: &str) -> (String, String) {
    let at = line.find(" /").expect("paths are absolute");
    (line[at + 1..].to_owned(), line[..at].to_owned())
}

/// What manifests would say of a file system: those of the kernel know owners, those of dissect do
/// not.
fn as_manifest(fs: &dyn FileSystem, owners: bool) -> Result<BTreeMap<String, String>, Error> {
    let mut lines = BTreeMap::new();
    let mut pending = vec![(Vec::new(), fs.root())];
    while let Some((dir, node)) = pending.pop() {
        for entry in fs.entries(node)? {
            let path = [&dir[..], b"/", &entry.name].concat();
            let meta = fs.stat(entry.node)?;
            let size = meta.size;
            let (letter, size, what) = match meta.kind {
                Kind::Dir => ("d", "-".to_owned(), "-".to_owned()),
                Kind::File => ("f", size.to_string(), digest(fs, entry.node, size)?),
                Kind::Symlink => ("l", size.to_string(), escaped(&fs.read_link(entry.node)?)),
                kind => {
                    let letter = match kind {
                        Kind::BlockDevice => "b",
                        Kind::CharDevice => "c",
                        Kind::Fifo => "p",
                        _ => "s",
                    };
                    let (major, minor) = meta.device.unwrap_or_default();
                    (
                        letter,
                        "-".to_owned(),
                        format!("{:x}", (major << 8) | minor),
                    )
                }
            };
            let line = match (owners, meta.kind) {
                (true, _) => format!(
                    "{letter} {:04o} {} {} {size} {what}",
                    meta.mode, meta.uid, meta.gid
                ),
                (false, Kind::Dir | Kind::Symlink) => format!("{letter} {what}"),
                (false, _) => format!("{letter} {size} {what}"),
            };
            lines.insert(escaped(&path), line);
            if meta.kind == Kind::Dir {
                pending.push((path, entry.node));
            }
        }
    }
    Ok(lines)
}

/// The sum of a file's content; of large ones, of all blocks that are not zero, with their offsets.
fn digest(fs: &dyn FileSystem, node: NodeId, size: u64) -> Result<String, Error> {
    const BLOCK: u64 = 65_536;
    if size <= 64 << 20 {
        return Ok(hex(Sha256::digest(fs::read_file(fs, node, size)?)));
    }
    let mut blocks = BTreeSet::new();
    for part in fs.places(node)?.content() {
        if let Role::Content {
            offset,
            unwritten: false,
        } = part.role
        {
            let end = (offset + part.bytes.end - part.bytes.start).min(size);
            blocks.extend(offset / BLOCK..end.div_ceil(BLOCK));
        }
    }
    let mut sum = Sha256::new();
    for block in blocks {
        let mut content = vec![0; 65_536];
        fs.read_at(node, block * BLOCK, &mut content)?;
        if content.iter().any(|byte| *byte != 0) {
            sum.update((block * BLOCK).to_le_bytes());
            sum.update(content);
        }
    }
    Ok(format!("nz64k:{}", hex(sum.finalize())))
}

fn hex(digest: impl AsRef<[u8]>) -> String {
    let bytes = digest.as_ref().iter();
    bytes.map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes outside of printable ASCII as `\xNN`.
fn escaped(bytes: &[u8]) -> String {
    let letter = |byte: &u8| match byte {
        0x21..=0x5b | 0x5d..=0x7e => char::from(*byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    };
    bytes.iter().map(letter).collect()
}
