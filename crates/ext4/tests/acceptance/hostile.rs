//! Images that were damaged on purpose: errors are welcome, panics and endless loops are not.

use crate::features::{self, FeatureSet};
use crate::image::{Image, State, possible};
use block::{BlockRead, Memory, Overlay};
use ext4::Ext4;
use fs_acceptance::damage::{Outcomes, damage, used_sectors, visit, watched};
use fs_acceptance::long;
use fs_acceptance::random::Random;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

#[test]
fn random_damage_never_panics_or_hangs() {
    if !possible() {
        return;
    }
    let runs = if long() { 1000 } else { 60 };
    for set in [
        features::named("default"),
        FeatureSet {
            name: "default without checksums",
            mkfs: &["-t", "ext4", "-O", "^metadata_csum"],
            ..features::named("default")
        },
        FeatureSet {
            name: "inline_data without checksums",
            mkfs: &[
                "-t",
                "ext4",
                "-b",
                "1024",
                "-O",
                "inline_data,^metadata_csum",
            ],
            ..features::named("inline_data")
        },
        features::named("ext3_1k"),
    ] {
        for state in [State::Clean, State::Orphan] {
            let image = Image::new(set, state, 24);
            let bytes = std::fs::read(&image.path).expect("it is there");
            let sectors = used_sectors(&bytes);
            let base: Arc<dyn BlockRead> = Arc::new(Memory::new(bytes));
            let started = Instant::now();
            let mut outcomes = Outcomes::default();
            for seed in 0..runs {
                let base = Arc::clone(&base);
                let sectors = sectors.clone();
                outcomes.add(&watched(
                    &format!("{} {state:?} seed {seed}", set.name),
                    move || {
                        let overlay = Arc::new(Overlay::new(base));
                        damage(&mut Random::new(seed), &overlay, &sectors);
                        visit(Ext4::open(overlay))
                    },
                ));
            }
            println!(
                "{} {state:?}: {runs} runs, {outcomes:?}, {:?}",
                set.name,
                started.elapsed()
            );
            assert!(outcomes.opened > 0, "damage everywhere tests nothing");
            assert!(outcomes.errors > 0, "damage nowhere tests nothing");
        }
    }
}

/// An image without checksums, so that what is set by hand is believed.
fn unprotected() -> Image {
    let set = FeatureSet {
        mkfs: &["-t", "ext4", "-O", "^metadata_csum"],
        ..features::named("default")
    };
    Image::new(set, State::Clean, 24)
}

fn debugfs(image: &Path, command: &str) -> String {
    let output = Command::new("debugfs")
        .args(["-w", "-R", command])
        .arg(image)
        .output();
    let output = output.expect("debugfs runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn visit_file(image: &Path) -> Outcomes {
    let bytes = std::fs::read(image).expect("it is there");
    let device = Arc::new(Memory::new(bytes));
    watched("an image set by hand", move || visit(Ext4::open(device)))
}

/// The number that follows `label`.
fn number_after(text: &str, label: &str) -> u64 {
    let at = text.find(label).expect("debugfs says it") + label.len();
    let digits: String = text[at..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().expect("a number")
}

#[test]
fn an_extent_node_that_leads_to_itself_is_an_error() {
    if !possible() {
        return;
    }
    let image = unprotected();
    let node = number_after(&debugfs(&image.path, "stat /sparse"), "(ETB0):");
    let mut bytes = std::fs::read(&image.path).expect("it is there");
    let at = ondisk::width::usize_of(node * 4096);
    // One entry, one level above leaves, leading to this very block.
    bytes[at + 2] = 1;
    bytes[at + 6] = 1;
    bytes[at + 12..at + 16].fill(0);
    bytes[at + 16..at + 20].copy_from_slice(&u32::try_from(node).expect("small").to_le_bytes());
    bytes[at + 20..at + 24].fill(0);
    std::fs::write(&image.path, &bytes).expect("room");
    // With the depth that the root says, and with one more.
    assert!(visit_file(&image.path).errors > 0);
    for depth in [2, 5, 200_u32] {
        debugfs(
            &image.path,
            &format!("sif /sparse block[1] {:#x}", depth << 16),
        );
        debugfs(&image.path, &format!("sif /sparse block[IND] {depth}"));
        assert!(visit_file(&image.path).errors > 0, "depth {depth}");
    }
}

#[test]
fn a_directory_inside_itself_is_walked_no_further_than_asked() {
    if !possible() {
        return;
    }
    let image = unprotected();
    for dir in ["/etc/sub/loop", "/etc/loop", "/loop"] {
        debugfs(&image.path, &format!("ln <2> {dir}"));
    }
    assert_eq!(visit_file(&image.path).opened, 1);
}

#[test]
fn an_attribute_block_that_is_none_is_an_error() {
    if !possible() {
        return;
    }
    let image = unprotected();
    let own = number_after(&debugfs(&image.path, "stat /sparse"), "(ETB0):");
    for block in [1, own, 6000, 4_000_000_000] {
        debugfs(&image.path, &format!("sif /etc/fstab file_acl {block}"));
        assert!(visit_file(&image.path).errors > 0, "block {block}");
    }
}

#[test]
fn indirect_blocks_that_lead_to_themselves_are_an_error() {
    if !possible() {
        return;
    }
    let set = FeatureSet {
        mkfs: &["-t", "ext3", "-b", "1024"],
        ..features::named("ext3")
    };
    let image = Image::new(set, State::Clean, 24);
    let node = number_after(&debugfs(&image.path, "stat /large"), "(DIND):");
    let mut bytes = std::fs::read(&image.path).expect("it is there");
    let at = ondisk::width::usize_of(node * 1024);
    for entry in bytes[at..at + 1024].chunks_mut(4) {
        entry.copy_from_slice(&u32::try_from(node).expect("small").to_le_bytes());
    }
    std::fs::write(&image.path, &bytes).expect("room");
    debugfs(&image.path, &format!("sif /large block[TIND] {node}"));
    assert!(visit_file(&image.path).errors > 0);
}
