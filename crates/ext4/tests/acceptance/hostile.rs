//! Images that were damaged on purpose: errors are welcome, panics and endless loops are not.

use crate::features::{self, FeatureSet};
use crate::image::{Image, State, possible};
use crate::random::Random;
use block::{BlockRead, BlockWrite, Memory, Overlay};
use ext4::Ext4;
use fs::{FileSystem, Kind, NewNode, NodeId};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Longer than any walk over a small image takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn random_damage_never_panics_or_hangs() {
    if !possible() {
        return;
    }
    let runs = if features::long() { 1000 } else { 60 };
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
                        visit(overlay)
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

/// What became of damaged images.
#[derive(Debug, Default)]
struct Outcomes {
    opened: usize,
    nodes: usize,
    errors: usize,
    edits: usize,
    refused_edits: usize,
}

impl Outcomes {
    fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.nodes += other.nodes;
        self.errors += other.errors;
        self.edits += other.edits;
        self.refused_edits += other.refused_edits;
    }

    fn note<T>(&mut self, result: Result<T, fs::Error>) -> Option<T> {
        if result.is_err() {
            self.errors += 1;
        }
        result.ok()
    }
}

/// Runs something that must end, and must not panic.
fn watched<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        let _ = sender.send(run());
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(value) => value,
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("{what}: does not end"),
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            drop(thread.join());
            panic!("{what}: panicked")
        }
    }
}

/// The 512-byte sectors of metadata: files are filled with one byte each, and metadata is not.
fn used_sectors(bytes: &[u8]) -> Vec<u64> {
    let sectors = (0..).zip(bytes.chunks(512));
    let used = sectors.filter(|(_, sector)| sector.iter().any(|byte| *byte != sector[0]));
    used.map(|(number, _)| number).collect()
}

/// Changes 1 to 24 bytes; in half of the images near the start, where superblock and groups are.
fn damage(random: &mut Random, device: &Overlay, sectors: &[u64]) {
    let near = random.one_in(2);
    let sectors = &sectors[..if near {
        sectors.len().min(300)
    } else {
        sectors.len()
    }];
    for _ in 0..1 + random.below(24) {
        let sector = random.pick(sectors).expect("an image is not empty");
        let offset = sector * 512 + ondisk::width::u64_of(random.below(512));
        let mut byte = [0];
        device
            .read_at(offset, &mut byte)
            .expect("it is on the device");
        let changed = match random.below(4) {
            0 => [0],
            1 => [0xff],
            2 => [byte[0] ^ (1 << random.below(8))],
            _ => random.next().to_le_bytes()[..1]
                .try_into()
                .expect("one byte"),
        };
        device
            .write_at(offset, &changed)
            .expect("it is on the device");
    }
}

/// Reads everything, changes something in many places, and checks.
fn visit(device: Arc<dyn BlockWrite>) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let Ok(mut fs) = Ext4::open(device) else {
        return outcomes;
    };
    outcomes.opened = 1;
    let mut found = Vec::new();
    walk(&fs, fs.root(), 12, &mut found, &mut outcomes);
    outcomes.nodes = found.len();
    let problems = fs.check();
    outcomes.note(problems);
    let Ok(edit) = fs.edit() else {
        outcomes.refused_edits = 1;
        return outcomes;
    };
    outcomes.edits = 1;
    let mut random = Random::new(9);
    for index in 0..60 {
        let Some((dir, name, node)) = random.pick(&found).cloned() else {
            break;
        };
        let other = random.pick(&found).cloned().map_or(dir, |(dir, ..)| dir);
        let new = NewNode::root(0o644);
        let fresh = format!("fresh-{index}").into_bytes();
        let done = match index % 12 {
            0 | 1 => edit
                .create(dir, &fresh, new)
                .and_then(|node| edit.replace(node, &[1; 9000])),
            2 => edit.replace(node, &random.bytes(30_000)),
            3 => edit.write_at(node, 70_000, b"behind the end"),
            4 => edit.truncate(node, 100),
            5 => edit.truncate(node, 0),
            6 | 7 => edit.remove(dir, &name),
            8 => edit.rename((dir, &name), (other, &fresh)),
            9 => edit.set_xattr(node, b"user.hostile", Some(&[1; 200])),
            10 => edit.make_dir(dir, &fresh, new).map(drop),
            _ => edit.symlink(dir, &fresh, &[b'x'; 200], new).map(drop),
        };
        outcomes.note(done);
    }
    let committed = edit.commit();
    outcomes.note(committed);
    let problems = fs.check();
    outcomes.note(problems);
    outcomes
}

/// Bounded by itself: a damaged tree may be a graph.
fn walk(
    fs: &dyn FileSystem,
    dir: NodeId,
    depth: usize,
    found: &mut Vec<(NodeId, Vec<u8>, NodeId)>,
    outcomes: &mut Outcomes,
) {
    let listed = fs.entries(dir);
    for entry in outcomes.note(listed).unwrap_or_default() {
        if found.len() > 1500 {
            return;
        }
        found.push((dir, entry.name.clone(), entry.node));
        let looked_up = fs.lookup(dir, &entry.name);
        outcomes.note(looked_up);
        let xattrs = fs.xattrs(entry.node);
        outcomes.note(xattrs);
        let meta = fs.stat(entry.node);
        let Some(meta) = outcomes.note(meta) else {
            continue;
        };
        match meta.kind {
            Kind::Dir if depth > 0 => walk(fs, entry.node, depth - 1, found, outcomes),
            Kind::Symlink => {
                let target = fs.read_link(entry.node);
                outcomes.note(target);
            }
            Kind::File => {
                let mut buf = vec![0; 300_000];
                for offset in [0, meta.size / 2, meta.size.saturating_sub(10)] {
                    let read = fs.read_at(entry.node, offset, &mut buf);
                    outcomes.note(read);
                }
            }
            _ => {}
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
    watched("an image set by hand", move || visit(device))
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
