//! Scripts of edits, through the driver and through the kernel, on copies of one image.

use crate::features::{self, FeatureSet};
use crate::image::{Image, State, mount, possible};
use crate::oracle::{everybody_reads, open, seen, without_stored_acls, xfs_repair_is_content};
use fs::{Error, FileSystem, FileSystemEdit, Time};
use fs_acceptance::device::{FileDevice, UndoDevice};
use fs_acceptance::model::{self, Limits};
use fs_acceptance::operation::{Operation, Step, apply, apply_to_model, resolve};
use fs_acceptance::random::Random;
use fs_acceptance::runs;
use fs_acceptance::tree::{self, Depth, Tree, assert_same, show};
use std::path::Path;
use std::time::Instant;
use xfs::Xfs;

pub(crate) const NOW: Time = Time {
    seconds: 1_800_000_000,
    nanoseconds: 5,
};

/// Attributes of all sizes that XFS can have.
const LIMITS: Limits = Limits {
    content: 12 << 20,
    nodes: 600,
    xattr: 12_000,
};

/// Megabytes of a volume.
const SIZE: u64 = 40;

#[test]
fn scripts_on_fresh_volumes() {
    each_set(State::Fresh, runs(1, 200));
}

#[test]
fn scripts_on_aged_volumes() {
    each_set(State::Aged, runs(1, 200));
}

#[test]
fn scripts_on_full_volumes() {
    each_set(State::Full, runs(1, 200));
}

/// Runs scripts on the feature sets that are to be covered, if images can be made at all.
fn each_set(state: State, scripts: u64) {
    if !possible() {
        return;
    }
    for set in features::covered().filter(|set| !set.ignores_case()) {
        let started = Instant::now();
        let mut image = if set.mounts {
            Image::new(*set, state, SIZE)
        } else {
            aged_by_the_driver(*set, state)
        };
        image.tree = without_stored_acls(image.tree);
        let mut refused = 0;
        for seed in 0..scripts {
            let script = Script {
                set: *set,
                label: format!("{} {state:?} seed {seed}", set.name),
                // After every operation costs too much to do it always.
                closely: seed % 50 == 1,
                random: Random::new(seed ^ 0x5eed),
            };
            if state == State::Full {
                refused += script.run_where_room_is_short(&image);
            } else {
                script.run_beside_the_kernel(&image);
            }
        }
        println!(
            "{} {state:?}: {scripts} scripts, {refused} operations refused, {:?}",
            set.name,
            started.elapsed()
        );
    }
}

struct Script {
    set: FeatureSet,
    label: String,
    /// Whether `xfs_repair` looks after every operation.
    closely: bool,
    random: Random,
}

impl Script {
    fn steps(&mut self) -> usize {
        10 + self.random.below(50)
    }

    fn run_beside_the_kernel(mut self, image: &Image) {
        let mut want = image.tree.clone();
        let ours = image.copy("ours");
        let kernels = self.set.mounts.then(|| image.copy("kernel"));
        let kernel = kernels.as_deref().map(|path| mount(path, "rw"));
        let mut fs = open(&ours);
        let edit = fs.edit().expect("editable");
        edit.set_now(NOW);
        for step in 0..self.steps() {
            let operation = model::next(&mut self.random, &want, &LIMITS);
            let label = format!("{} step {step}: {}", self.label, operation.describe());
            if let Some(kernel) = &kernel {
                let done = kernel.apply(&operation);
                done.unwrap_or_else(|error| panic!("{label}: kernel: {error}"));
            }
            let done = apply(edit, &operation);
            done.unwrap_or_else(|error| panic!("{label}: {error:?}"));
            apply_to_model(&mut want, &operation);
            if self.closely {
                edit.commit().expect("the device does not fail");
                xfs_repair_is_content(&label, &ours);
            }
        }
        edit.commit().expect("the device does not fail");
        drop(fs);
        if let Some(kernel) = kernel {
            let what = format!("{}: the kernel's copy", self.label);
            assert_same(&what, &want, &seen(&kernel), Depth::All);
        }
        everybody_reads(&self.label, &ours, self.set, &want);
        self.the_kernel_goes_on(&ours, want);
    }

    /// Where operations may be refused: what is refused is taken back, and all else stays.
    fn run_where_room_is_short(mut self, image: &Image) -> usize {
        let mut want = image.tree.clone();
        let ours = image.copy("ours");
        let device = UndoDevice::new(FileDevice::open(&ours));
        let mut fs = Xfs::open(device.clone()).expect("the driver opens it");
        let mut refused = 0;
        // Every other time with almost nothing left.
        let mut first = self.random.one_in(2).then(|| self.leave_little(&fs));
        for step in 0..self.steps() {
            let next = || model::next(&mut self.random, &want, &LIMITS);
            let operation = first.take().unwrap_or_else(next);
            let label = format!("{} step {step}: {}", self.label, operation.describe());
            let edit = fs.edit().expect("editable");
            edit.set_now(NOW);
            match apply(edit, &operation).and_then(|()| edit.commit()) {
                Ok(()) => {
                    device.keep();
                    apply_to_model(&mut want, &operation);
                }
                Err(Error::NoSpace { .. } | Error::NoInodes) => {
                    refused += 1;
                    others_are_untouched(&label, &fs, &want, &operation);
                    device.undo();
                    fs = Xfs::open(device.clone()).expect("the driver opens it again");
                }
                Err(error) => panic!("{label}: {error:?}"),
            }
            if self.closely {
                xfs_repair_is_content(&label, &ours);
            }
        }
        drop(fs);
        everybody_reads(&self.label, &ours, self.set, &want);
        self.the_kernel_goes_on(&ours, want);
        refused
    }

    /// A file that leaves room for a few blocks more.
    fn leave_little(&mut self, fs: &dyn FileSystem) -> Operation {
        let free = fs.space().expect("readable").free_bytes;
        let left = ondisk::width::u64_of(self.random.below(300_000));
        let len = ondisk::width::usize_of(free.saturating_sub(left));
        Operation {
            path: b"filler".to_vec(),
            step: Step::Create {
                content: self.random.bytes(len),
                new: fs::NewNode::root(0o600),
            },
        }
    }

    /// The kernel must be able to go on where the driver stopped.
    fn the_kernel_goes_on(mut self, ours: &Path, mut want: Tree) {
        if !self.set.mounts {
            return;
        }
        let kernel = mount(ours, "rw");
        for _ in 0..8 {
            let operation = model::next(&mut self.random, &want, &LIMITS);
            // What fails half way leaves something of itself; a new mode may need room for a list of
            // access control.
            let may_fail = !matches!(operation.step, Step::Remove);
            if may_fail && self.is_short_of_room(&kernel) {
                continue;
            }
            let done = kernel.apply(&operation);
            done.unwrap_or_else(|error| {
                panic!("{}: {}: {error}", self.label, operation.describe())
            });
            apply_to_model(&mut want, &operation);
        }
        drop(kernel);
        let label = format!("{}, after the kernel", self.label);
        everybody_reads(&label, ours, self.set, &want);
    }

    fn is_short_of_room(&self, kernel: &fs_acceptance::kernel::Mount) -> bool {
        let room = rustix::fs::statvfs(kernel.root()).expect("it is mounted");
        room.f_bavail * room.f_bsize < 8 << 20
    }
}

/// Whatever a refused operation did to its own node, it did nothing to the others.
fn others_are_untouched(label: &str, fs: &dyn FileSystem, want: &Tree, operation: &Operation) {
    for (path, node) in want {
        let is_its_own = *path == operation.path
            || matches!(&operation.step, Step::Rename { to } if to == path)
            || node.kind != fs::Kind::File;
        if is_its_own {
            continue;
        }
        let content = resolve(fs, path).and_then(|node| fs::read_file(fs, node, 1 << 30));
        let content = content.unwrap_or_else(|error| panic!("{label}: {}: {error:?}", show(path)));
        assert!(content == node.content, "{label}: {} changed", show(path));
    }
}

/// What only the driver can make old: files that were written in turns, of which every other one
/// went away.
fn aged_by_the_driver(set: FeatureSet, state: State) -> Image {
    let mut image = Image::new(set, State::Fresh, SIZE);
    if state == State::Fresh {
        return image;
    }
    let mut random = Random::new(41);
    let mut fs = open(&image.path);
    let edit = fs.edit().expect("editable");
    edit.set_now(NOW);
    let root = edit.root();
    let old = edit.lookup(root, b"keep").expect("it is there");
    let new = fs::NewNode::root(0o600);
    for number in 0..600 {
        let name = format!("small-{number}");
        let node = edit.create(old, name.as_bytes(), new).expect("room");
        edit.replace(node, &vec![1; random.below(2000)])
            .expect("room");
    }
    for pair in 0..12 {
        let names = [format!("stays-{pair}"), format!("goes-{pair}")];
        let nodes = names
            .each_ref()
            .map(|name| edit.create(old, name.as_bytes(), new).expect("room"));
        let mut at = [0, 0];
        while at[0] < 1_300_000 {
            for (node, at) in nodes.iter().zip(&mut at) {
                let bytes = random.bytes(1024 * (1 + random.clone().below(8)));
                edit.write_at(*node, *at, &bytes).expect("room");
                *at += ondisk::width::u64_of(bytes.len());
            }
        }
        edit.remove(old, names[1].as_bytes()).expect("it is there");
    }
    for number in (0..600).filter(|number| number % 9 != 4) {
        let name = format!("small-{number}");
        edit.remove(old, name.as_bytes()).expect("it is there");
    }
    edit.commit().expect("the device does not fail");
    if state == State::Full {
        let space = edit.space().expect("readable");
        let filler = edit.create(old, b"filler", new).expect("room");
        let left = space.total_bytes / 100 * 3;
        let mut at = 0;
        while edit.space().expect("readable").free_bytes > left + (1 << 20) {
            edit.write_at(filler, at, &random.bytes(1 << 20))
                .expect("room");
            at += 1 << 20;
        }
        edit.commit().expect("the device does not fail");
    }
    drop(fs);
    let fs = open(&image.path);
    image.tree = tree::read(&fs).expect("sound");
    drop(fs);
    everybody_reads(set.name, &image.path, set, &image.tree);
    image
}

/// Applies operations that must succeed.
pub(crate) fn do_all(
    label: &str,
    edit: &mut dyn FileSystemEdit,
    want: &mut Tree,
    operations: &[Operation],
) {
    for operation in operations {
        let done = apply(edit, operation);
        done.unwrap_or_else(|error| panic!("{label}: {}: {error:?}", operation.describe()));
        apply_to_model(want, operation);
    }
}
