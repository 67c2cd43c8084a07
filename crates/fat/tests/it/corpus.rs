//! The FAT volumes of the corpus, against what blkid and the Sleuth Kit say of them.

use crate::common::{run, tree};
use block::Memory;
use fat::Fat;
use fs::FileSystem;
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Where we say something else than the truth, and why.
const OURS: [(&str, &str); 2] = [
    (
        "dfir-fat32_loop",
        "the loop's slot lies behind its directory's end, where mtools does not look either",
    ),
    ("dfir-fat64", "not FAT to blkid either"),
];

#[test]
fn the_corpus_reads_as_its_truth_says() {
    let Some(corpus) = std::env::var_os("REHOST_CORPUS").map(PathBuf::from) else {
        println!("skipped: REHOST_CORPUS names no corpus");
        return;
    };
    let (mut agree, mut differ) = (0, Vec::new());
    for pack in std::fs::read_dir(corpus.join("fat")).unwrap() {
        let pack = pack.unwrap().path();
        let dir = tempfile::tempdir().unwrap();
        run(Command::new("tar")
            .args(["--zstd", "-xSf"])
            .arg(&pack)
            .arg("-C")
            .arg(dir.path()));
        let case = std::fs::read(dir.path().join("case.json")).unwrap();
        let case: Value = serde_json::from_slice(&case).unwrap();
        let (id, image) = (
            case["id"].as_str().unwrap(),
            case["primary"].as_str().unwrap(),
        );
        if Path::new(image).extension().is_none_or(|e| e != "img") {
            println!("{id}: the image is not in the corpus");
            continue;
        }
        let image = dir.path().join(image);
        let ours = match read(&image) {
            Ok(ours) => ours,
            Err(error) => format!("{error:?}\n"),
        };
        let truth = truth(&case["expected"]["blkid"], &image);
        if ours == truth {
            println!("{id}: agree");
            agree += 1;
        } else if let Some((_, why)) = OURS.iter().find(|(name, _)| *name == id) {
            println!(
                "{id}: as meant: {why}: {}",
                ours.lines().last().unwrap_or_default()
            );
        } else {
            differ.push(format!("{id}:\nours\n{ours}truth\n{truth}"));
        }
    }
    println!("agree {agree}, differ {}", differ.len());
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(agree > 25);
}

/// Identifier, label and every file with its digest, sorted.
fn read(image: &Path) -> Result<String, fs::Error> {
    let fat = Fat::open(Arc::new(Memory::new(std::fs::read(image).unwrap())))?;
    let info = fat.info();
    let mut text = format!("uuid {:?}\nlabel {:?}\n", info.uuid, info.label);
    for (path, content) in tree(&fat)? {
        match content {
            None => writeln!(text, "d - {path}"),
            Some(content) => {
                let digest = Sha256::digest(&content);
                let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
                writeln!(text, "f {} {hex} {path}", content.len())
            }
        }
        .unwrap();
    }
    Ok(text)
}

/// The same from blkid and the manifest, which lists label and deleted files too.
fn truth(blkid: &Value, image: &Path) -> String {
    let text = |key: &str| blkid[key].as_str().map(|text| text.replace('\\', ""));
    let label = text("LABEL").or_else(|| text("LABEL_FATBOOT"));
    let manifest = PathBuf::from(format!("{}.tsk-manifest", image.display()));
    let manifest = std::fs::read_to_string(manifest).unwrap_or_default();
    let mut lines: Vec<_> = manifest
        .lines()
        .filter(|line| !line.contains("(Volume\\x20Label\\x20Entry)") && !line.is_empty())
        .map(unescape)
        .collect();
    lines.sort_by_key(|line| line[line.find(" /").unwrap_or(0)..].to_owned());
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("uuid {:?}\nlabel {label:?}\n{lines}", text("UUID"))
}

fn unescape(line: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\\x") {
        bytes.extend(before.bytes());
        bytes.push(u8::from_str_radix(&after[..2], 16).unwrap());
        rest = &after[2..];
    }
    bytes.extend(rest.bytes());
    String::from_utf8(bytes).unwrap()
}
