//! Images that were damaged on purpose: errors are welcome, panics and endless loops are not.

use crate::random::Random;
use block::{BlockRead, BlockWrite, Overlay};
use fs::{FileSystem, Kind, NewNode, NodeId};
use std::sync::mpsc;
use std::time::Duration;

/// Longer than any walk over a small image takes, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of damaged images.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// Images that the driver opened.
    pub opened: usize,
    /// Names that were found.
    pub nodes: usize,
    /// Operations that failed.
    pub errors: usize,
    /// Images that were edited.
    pub edits: usize,
    /// What checks found before edits.
    pub problems: usize,
    /// Images that could be read and that the driver would not edit.
    pub refused_edits: usize,
}

impl Outcomes {
    /// Adds what became of others.
    pub fn add(&mut self, other: &Self) {
        self.opened += other.opened;
        self.nodes += other.nodes;
        self.errors += other.errors;
        self.edits += other.edits;
        self.problems += other.problems;
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
pub fn watched<T: Send + 'static>(what: &str, run: impl FnOnce() -> T + Send + 'static) -> T {
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
pub fn used_sectors(bytes: &[u8]) -> Vec<u64> {
    let sectors = (0..).zip(bytes.chunks(512));
    let used = sectors.filter(|(_, sector)| sector.iter().any(|byte| *byte != sector[0]));
    used.map(|(number, _)| number).collect()
}

/// Changes 1 to 24 bytes; in half of the images near the start, where superblock and groups are.
/// Says where.
pub fn damage(random: &mut Random, device: &Overlay, sectors: &[u64]) -> Vec<u64> {
    let mut touched = Vec::new();
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
            _ => random.number().to_le_bytes()[..1]
                .try_into()
                .expect("one byte"),
        };
        device
            .write_at(offset, &changed)
            .expect("it is on the device");
        touched.push(offset);
    }
    touched
}

/// Reads everything, changes something in many places, and checks.
pub fn visit<F: FileSystem, E>(opened: Result<F, E>) -> Outcomes {
    let mut outcomes = Outcomes::default();
    let Ok(mut fs) = opened else {
        return outcomes;
    };
    outcomes.opened = 1;
    let mut found = Vec::new();
    walk(&fs, fs.root(), 12, &mut found, &mut outcomes);
    outcomes.nodes = found.len();
    let problems = fs.check();
    outcomes.problems = outcomes.note(problems).map_or(0, |problems| problems.len());
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
