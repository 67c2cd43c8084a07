//! Packed cases and how many of their answers are ours too.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The packed cases of one class.
pub(crate) fn packs(corpus: &Path, class: &str) -> Vec<PathBuf> {
    let packs = std::fs::read_dir(corpus.join(class)).unwrap();
    let mut packs: Vec<PathBuf> = packs.map(|pack| pack.unwrap().path()).collect();
    packs.sort();
    packs
}

/// Unpacks a case and reads its description.
pub(crate) fn unpack(pack: &Path) -> (tempfile::TempDir, serde_json::Value) {
    let directory = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar")
        .args(["--zstd", "-xSf"])
        .arg(pack)
        .arg("-C")
        .arg(directory.path())
        .status()
        .unwrap();
    assert!(unpacked.success(), "{}", pack.display());
    let description = std::fs::read(directory.path().join("case.json")).unwrap();
    let description = serde_json::from_slice(&description).unwrap();
    (directory, description)
}

/// How many answers are the same as theirs.
#[derive(Default)]
pub(crate) struct Tally {
    pub(crate) agree: usize,
    pub(crate) differ: Vec<String>,
    pub(crate) not_claimed: usize,
}

impl Tally {
    pub(crate) fn compare<T: PartialEq + std::fmt::Debug>(
        &mut self,
        id: &str,
        ours: &T,
        theirs: &T,
    ) {
        if ours == theirs {
            self.agree += 1;
        } else {
            self.differ
                .push(format!("{id}: ours {ours:?}, theirs {theirs:?}"));
        }
    }

    pub(crate) fn report(&self, class: &str) {
        println!(
            "{class}: {} agree, {} differ, {} not claimed",
            self.agree,
            self.differ.len(),
            self.not_claimed
        );
        assert!(self.differ.is_empty(), "{class}: {:#?}", self.differ);
    }
}
