//! The partition tables of the corpus, against what sfdisk, or dissect where sfdisk does not look
//! at the GPT, says of them.

use crate::common::{FileDisk, ours, run, theirs};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use volume::{Error, PartitionKind, Table, TableKind};

/// What we say of a case and what its truth does, where the two are to differ, and why.
const OURS: [(&str, &str, &str); 13] = [
    (
        "dfirntfs-mbr-4096-p1e0",
        "dos",
        "an MBR does not tell its sector size; 512 is taken",
    ),
    (
        "dfirntfs-mbr-4096-p1e1",
        "dos",
        "an MBR does not tell its sector size; 512 is taken",
    ),
    (
        "dissect-gpt_no_name_xff",
        "damaged",
        "the entry array's checksum is wrong",
    ),
    (
        "gptman-disk4",
        "gpt",
        "sectors of 4096 bytes, which sfdisk was not told",
    ),
    ("dissect-apm", "unsupported", "Apple partition map"),
    ("ulpt-sgi", "unsupported", "SGI label"),
    ("dissect-bsd", "none", "BSD label on the whole disk"),
    ("ulpt-atari-xgm", "none", "Atari"),
    ("ulpt-dasd-cdl", "none", "DASD"),
    ("ulpt-dasd-ldl", "none", "DASD"),
    ("issue-gpt-garbage-pmbr", "none", "no MBR announces the GPT"),
    ("issue-gpt-zero-pmbr", "none", "no MBR announces the GPT"),
    ("issue-superfloppy-ext4", "none", "a file system, no table"),
];

#[test]
fn the_corpus_reads_as_its_truth_says() {
    let Some(corpus) = std::env::var_os("REHOST_CORPUS").map(PathBuf::from) else {
        println!("skipped: REHOST_CORPUS names no corpus");
        return;
    };
    let (mut agree, mut as_meant, mut differ) = (0, 0, Vec::new());
    for pack in std::fs::read_dir(corpus.join("part")).unwrap() {
        let pack = pack.unwrap().path();
        let dir = tempfile::tempdir().unwrap();
        run(Command::new("tar")
            .args(["--zstd", "-xSf"])
            .arg(&pack)
            .arg("-C")
            .arg(dir.path()));
        let case: Value =
            serde_json::from_slice(&std::fs::read(dir.path().join("case.json")).unwrap()).unwrap();
        let (id, image) = (
            case["id"].as_str().unwrap(),
            case["primary"].as_str().unwrap(),
        );
        if Path::new(image).extension().is_some_and(|e| e == "yaml") {
            println!("{id}: no disk");
            continue;
        }
        let table = volume::scan(&FileDisk::open(&dir.path().join(image)));
        let lines = lines(&table);
        if let Some((_, meant, why)) = OURS.iter().find(|(name, ..)| *name == id) {
            if lines[0].split(' ').next() == Some(meant) {
                println!("{id}: as meant: {meant}, {why}");
                as_meant += 1;
            } else {
                differ.push(format!("{id}: {lines:?}, meant {meant}"));
            }
            continue;
        }
        let truth = truth(&case["expected"], &table);
        if lines == truth {
            println!(
                "{id}: agree {:?}",
                table.map(|t| t.findings).unwrap_or_default()
            );
            agree += 1;
        } else {
            differ.push(format!("{id}: {lines:#?}, truth {truth:#?}"));
        }
    }
    println!(
        "agree {agree}, as meant {as_meant}, differ {}",
        differ.len()
    );
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(agree > 15);
}

fn lines(table: &Result<Table, Error>) -> Vec<String> {
    match table {
        Ok(table) => ours(table),
        Err(Error::Unsupported(_)) => vec![String::from("unsupported")],
        Err(_) => vec![String::from("damaged")],
    }
}

/// sfdisk's lines; where it takes the protective MBR for the table, what dissect says of starts
/// and GUIDs (its sizes lack the last sector), with our lines around it.
fn truth(expected: &Value, table: &Result<Table, Error>) -> Vec<String> {
    let sfdisk = &expected["sfdisk"];
    let protective = |p: &Value| p["type"] == "ee";
    let only_mbr = sfdisk["partitions"]
        .as_array()
        .is_some_and(|all| all.iter().any(protective));
    let Ok(table) = table else {
        return theirs(sfdisk, "");
    };
    if !only_mbr || table.kind == TableKind::Mbr {
        return theirs(sfdisk, "");
    }
    let mut as_dissect = table.clone();
    let entries = expected["dissect"]["parts"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let entries: Vec<_> = entries.iter().filter(|p| p["guid"] != "None").collect();
    as_dissect.partitions.truncate(entries.len());
    for (ours, theirs) in as_dissect.partitions.iter_mut().zip(&entries) {
        ours.number = u32::try_from(theirs["n"].as_u64().unwrap()).unwrap();
        ours.start = theirs["off"].as_u64().unwrap();
        ours.uuid = theirs["guid"].as_str().map(str::to_owned);
        ours.kind = PartitionKind::Gpt(theirs["type"].as_str().unwrap().parse().unwrap());
    }
    let mut truth = ours(&as_dissect);
    truth.resize(entries.len() + 1, String::from("missing"));
    truth
}
