//! Where things lie on the device: every block belongs to one thing, and content lies where it is
//! said to.

use crate::features::{self, FeatureSet};
use crate::image::{Image, State, possible, run};
use crate::oracle::open;
use fs::{FileSystem, Kind, NodeId, Part, Role};
use std::collections::BTreeSet;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

#[test]
fn every_block_belongs_to_one_thing() {
    if !possible() {
        return;
    }
    for set in features::covered() {
        let state = if set.mounts {
            State::Aged
        } else {
            State::Fresh
        };
        let image = Image::new(*set, state, 64);
        assert_one_use(set.name, *set, &image.path);
    }
}

/// Fails if a block is used twice, or neither in use nor free.
pub(crate) fn assert_one_use(label: &str, set: FeatureSet, image: &Path) {
    let fs = open(image);
    let device = File::open(image).expect("it is there");
    let mut uses: Vec<(Range<u64>, String)> = Vec::new();
    let mut pending = vec![fs.root()];
    let mut seen = BTreeSet::new();
    while let Some(node) = pending.pop() {
        if !seen.insert(node) {
            continue;
        }
        let places = fs
            .places(node)
            .unwrap_or_else(|error| panic!("{label}: {node:?}: {error:?}"));
        if places.meta.kind == Kind::Dir {
            let entries = fs.entries(node).expect("readable");
            pending.extend(entries.into_iter().map(|entry| entry.node));
        }
        for part in &places.parts {
            let is_record = part.role == Role::Record;
            let has_content = places.meta.kind == Kind::File;
            if has_content {
                assert_holds(label, &device, &fs, node, part);
            }
            if !is_record {
                uses.push((part.bytes.clone(), format!("{node:?} {:?}", part.role)));
            }
        }
    }
    for structure in fs.structures().expect("readable") {
        uses.push((structure.bytes, format!("{:?}", structure.kind)));
    }
    let end = fs.space().expect("readable").total_bytes;
    let end = end.max(std::fs::metadata(image).expect("it is there").len());
    for free in fs.free(0..end).expect("readable") {
        uses.push((free, "nobody".to_owned()));
    }
    uses.sort_by_key(|(bytes, _)| (bytes.start, bytes.end));
    let mut at = 0;
    let mut last = "the start";
    for (bytes, what) in &uses {
        assert!(
            bytes.start >= at,
            "{label}: {bytes:?}: {what}, but {last} ends at {at}"
        );
        assert!(
            bytes.start <= at,
            "{label}: {at}..{}: no use, between {last} and {what}",
            bytes.start
        );
        (at, last) = (bytes.end, what);
    }
    // A volume of stripes ends before the device does.
    let sizes = ["-r", "-c", "sb 0", "-c", "p dblocks blocksize"];
    let sizes = run("xfs_db", &sizes, image);
    let sizes = sizes.lines().filter_map(|line| line.rsplit(' ').next());
    let size: u64 = sizes
        .map(|size| size.parse::<u64>().expect("a number"))
        .product();
    assert_eq!(at, size, "{label} {}", set.name);
}

/// Whether the device has what the file has.
fn assert_holds(label: &str, device: &File, fs: &dyn FileSystem, node: NodeId, part: &Part) {
    let Role::Content { offset, unwritten } = part.role else {
        return;
    };
    let len = ondisk::width::usize_of(part.bytes.end - part.bytes.start);
    let mut there = vec![0; len];
    if !unwritten {
        device
            .read_exact_at(&mut there, part.bytes.start)
            .expect("on the device");
    }
    let mut content = vec![0; len];
    let read = fs.read_at(node, offset, &mut content).expect("readable");
    assert!(
        there[..read] == content[..read],
        "{label}: {node:?} at {offset}"
    );
}
