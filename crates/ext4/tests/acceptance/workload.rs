//! Workloads on every feature set.

use crate::features::{self, FeatureSet, View};
use crate::image::{self, Image, State, mount, possible};
use crate::oracle::everybody_reads;
use ext4::Ext4;
use fs::{Error, FileSystem, NewNode, Time};
use fs_acceptance::device::FileDevice;
use fs_acceptance::long;
use fs_acceptance::model::{self, Limits};
use fs_acceptance::operation::{Operation, Step, apply, apply_to_model, resolve};
use fs_acceptance::random::Random;
use fs_acceptance::tree::{self, Depth, Tree, assert_same};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Instant;

/// Opens an image for reading and writing in place.
pub(crate) fn open(image: &Path) -> Ext4 {
    Ext4::open(FileDevice::open(image)).expect("the driver opens it")
}

const NOW: Time = Time {
    seconds: 1_800_000_000,
    nanoseconds: 5,
};

#[test]
fn what_the_kernel_wrote_is_read() {
    if !possible() {
        return;
    }
    for set in features::ALL {
        for state in [State::Clean, State::Dirty, State::Orphan] {
            if state != State::Clean && !set.journal {
                continue;
            }
            let image = Image::new(*set, state, 64);
            let label = format!("{} {state:?}", set.name);
            let fs = open(&image.path);
            assert_eq!(fs.info().recovered, state != State::Clean, "{label}");
            assert_same(
                &label,
                &image.tree,
                &tree::read(&fs).expect("readable"),
                Depth::All,
            );
        }
    }
}

#[test]
fn random_changes_read_back_everywhere() {
    each_set(|set| {
        let seeds = if long() { 1..4 } else { 1..2 };
        for seed in seeds {
            random_workload(set, State::Clean, seed);
        }
    });
}

#[test]
fn random_changes_after_recovery_read_back_everywhere() {
    each_set(|set| {
        if set.journal {
            let seeds = if long() { 1..4 } else { 1..2 };
            for seed in seeds {
                random_workload(set, State::Dirty, seed);
            }
        }
    });
}

#[test]
fn orphans_are_freed() {
    each_set(|set| {
        if set.journal {
            random_workload(set, State::Orphan, 7);
        }
    });
}

#[test]
fn what_a_conversion_does_works_on_every_feature_set() {
    if !possible() {
        return;
    }
    for set in features::ALL {
        let started = Instant::now();
        let image = Image::new(*set, State::Clean, 200);
        let operations = conversion();
        let mut want = image.tree.clone();
        let mut fs = open(&image.path);
        let edit = fs.edit().expect("editable");
        edit.set_now(NOW);
        for operation in &operations {
            let done = apply(edit, operation);
            done.unwrap_or_else(|error| {
                panic!("{}: {}: {error:?}", set.name, operation.describe())
            });
            apply_to_model(&mut want, operation);
        }
        let fstab = resolve(edit, b"etc/fstab").expect("it is there");
        edit.set_mtime(fstab, NOW).expect("it is there");
        edit.commit().expect("room");
        let again = open(&image.path);
        let meta = again.stat(resolve(&again, b"etc/fstab").expect("it is there"));
        let mtime = meta.expect("it is there").mtime;
        assert_eq!(mtime.seconds, NOW.seconds);
        everybody_reads(&image.path, set.view, &want);
        println!("{}: conversion in {:?}", set.name, started.elapsed());
    }
}

/// Fifty megabytes, two hundred names in a directory of many, and what else conversions do.
fn conversion() -> Vec<Operation> {
    let root = NewNode::root;
    let do_to = |path: &str, step| Operation {
        path: path.into(),
        step,
    };
    let xattr = |name: &str, value: Vec<u8>| Step::SetXattr {
        name: name.into(),
        value: Some(value),
    };
    let mut random = Random::new(3);
    let mut operations = vec![
        do_to(
            "etc/fstab",
            Step::Replace {
                content: b"UUID=x / ext4 defaults 0 1\n".to_vec(),
            },
        ),
        do_to(
            "initramfs.img",
            Step::Create {
                content: random.bytes(50 << 20),
                new: root(0o600),
            },
        ),
        do_to("boot", Step::MakeDir { new: root(0o755) }),
        do_to(
            "initramfs.img",
            Step::Rename {
                to: b"boot/initramfs.img".to_vec(),
            },
        ),
        do_to("many/name-of-file-0001", Step::Remove),
        do_to("long", Step::Remove),
        do_to("empty", Step::Remove),
        do_to(
            "etc/link",
            Step::Symlink {
                target: b"fstab".to_vec(),
                new: root(0o777),
            },
        ),
        do_to(
            "etc/long",
            Step::Symlink {
                target: [[b'y'; 150], [b'/'; 150]].concat().repeat(3),
                new: root(0o777),
            },
        ),
        do_to(
            "etc/fstab",
            xattr("security.selinux", b"system_u:object_r:etc_t:s0\0".to_vec()),
        ),
        do_to("boot/initramfs.img", xattr("user.note", vec![5; 900])),
        do_to(
            "etc/sub",
            Step::SetOwner {
                new: NewNode {
                    mode: 0o1750,
                    uid: 70_000,
                    gid: 5,
                },
            },
        ),
        do_to(
            "etc/fstab.new",
            Step::Create {
                content: b"renamed over\n".to_vec(),
                new: root(0o644),
            },
        ),
        do_to(
            "etc/fstab.new",
            Step::Rename {
                to: b"etc/sub/hundred".to_vec(),
            },
        ),
        do_to(
            "etc/sub",
            Step::Rename {
                to: b"boot/sub".to_vec(),
            },
        ),
    ];
    for number in 0..200 {
        operations.push(do_to(
            &format!("many/added-by-the-driver-{number}"),
            Step::Create {
                content: vec![b'z'; number * 10],
                new: root(0o644),
            },
        ));
    }
    operations
}

#[test]
fn a_directory_of_five_thousand_names_grows_and_shrinks() {
    if !possible() {
        return;
    }
    for name in ["default", "1k", "ext3_1k", "rhel6", "inode_128"] {
        let set = features::named(name);
        let image = Image::empty(set, 64);
        let started = Instant::now();
        let mut want = image.tree.clone();
        let mut operations = vec![Operation {
            path: b"d".to_vec(),
            step: Step::MakeDir {
                new: NewNode::root(0o755),
            },
        }];
        let path =
            |number: usize| format!("d/{number:05}-{}", "n".repeat(number % 60)).into_bytes();
        for number in 0..5000 {
            operations.push(Operation {
                path: path(number),
                step: Step::Create {
                    content: Vec::new(),
                    new: NewNode::root(0o644),
                },
            });
        }
        for number in (0..5000).filter(|number| number % 3 != 0) {
            operations.push(Operation {
                path: path(number),
                step: Step::Remove,
            });
        }
        let mut fs = open(&image.path);
        let edit = fs.edit().expect("editable");
        for (index, operation) in operations.iter().enumerate() {
            if index == 5001 {
                edit.commit().expect("room");
                everybody_reads(&image.path, set.view, &want);
            }
            let done = apply(edit, operation);
            done.unwrap_or_else(|error| panic!("{name}: {}: {error:?}", operation.describe()));
            apply_to_model(&mut want, operation);
        }
        edit.commit().expect("room");
        everybody_reads(&image.path, set.view, &want);
        println!("{name}: five thousand names in {:?}", started.elapsed());
    }
}

#[test]
fn every_hash_of_names_is_the_kernels() {
    if !possible() {
        return;
    }
    for algorithm in ["legacy", "half_md4", "tea"] {
        // As on machines whose characters are signed, and as on those where they are not.
        for flags in ["1", "2"] {
            let image = Image::empty(features::named("1k"), 32);
            image::change_image(
                &image.path,
                "tune2fs",
                &["-E", &format!("hash_alg={algorithm}")],
            );
            let set_flags = format!("set_super_value flags {flags}");
            image::change_image(&image.path, "debugfs", &["-w", "-R", &set_flags]);
            let mut random = Random::new(11);
            let mut want = image.tree.clone();
            let mut fs = open(&image.path);
            let edit = fs.edit().expect("editable");
            for number in 0..800_u32 {
                let mut path = random.bytes(30);
                path.iter_mut().for_each(|byte| *byte |= 0x80);
                path.extend(number.to_string().into_bytes());
                let step = Step::Create {
                    content: Vec::new(),
                    new: NewNode::root(0o644),
                };
                let operation = Operation { path, step };
                apply(edit, &operation).expect("room");
                apply_to_model(&mut want, &operation);
            }
            edit.commit().expect("room");
            // The kernel's tree is read by looking every name up. ext4-view knows only this hash.
            let view = match (algorithm, flags) {
                ("half_md4", "1") => View::All,
                _ => View::Nothing,
            };
            everybody_reads(&image.path, view, &want);
        }
    }
}

#[test]
fn what_is_not_written_is_refused_before_anything_is_touched() {
    if !possible() {
        return;
    }
    let set = FeatureSet {
        name: "bigalloc",
        mkfs: &["-t", "ext4", "-O", "bigalloc", "-N", "1000"],
        ..features::ALL[0]
    };
    let image = Image::new(set, State::Clean, 64);
    let before = std::fs::read(&image.path).expect("it is there");
    let mut fs = open(&image.path);
    assert_same(
        "the driver",
        &image.tree,
        &tree::read(&fs).expect("readable"),
        Depth::All,
    );
    let Err(Error::Unsupported(reason)) = fs.edit().map(drop) else {
        panic!("bigalloc is not refused");
    };
    assert!(reason.to_string().contains("cannot") || !reason.to_string().is_empty());
    let mut text = String::new();
    let mut next: Option<&dyn std::error::Error> = Some(&*reason);
    while let Some(error) = next {
        text += &error.to_string();
        next = error.source();
    }
    assert!(text.contains("bigalloc"), "{text}");
    drop(fs);
    assert!(before == std::fs::read(&image.path).expect("it is there"));
}

#[test]
fn changes_that_are_only_in_fast_commits_are_refused_by_name() {
    if !possible() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("image");
    image::mkfs(&path, features::named("fast_commit").mkfs, 64);
    let copy = dir.path().join("dirty");
    let kernel = mount(&path, "rw");
    std::fs::write(kernel.path(b"first"), b"1").expect("room");
    fs_acceptance::kernel::sync(&kernel);
    let file = std::fs::File::create(kernel.path(b"second")).expect("room");
    file.write_all_at(b"fsync makes a fast commit of this", 0)
        .expect("room");
    file.sync_all().expect("room");
    std::fs::copy(&path, &copy).expect("room");
    drop(file);
    drop(kernel);
    let Err(error) = Ext4::open(FileDevice::open(&copy)) else {
        panic!("fast commits are not seen");
    };
    let source = std::error::Error::source(&error).map(ToString::to_string);
    let text = source.unwrap_or_default();
    assert!(matches!(error, ext4::Error::Unsupported(_)), "{error:?}");
    assert!(text.contains("fast_commit"), "{text}");
}

/// Runs a test on the feature sets that are to be covered, if images can be made at all.
fn each_set(test: impl Fn(FeatureSet)) {
    if !possible() {
        return;
    }
    for set in features::ALL {
        if set.always || long() {
            test(*set);
        }
    }
}

/// Random operations through the driver and through the kernel, on copies of one image.
fn random_workload(set: FeatureSet, state: State, seed: u64) {
    let started = Instant::now();
    let steps = if long() { 1500 } else { 300 };
    let image = Image::new(set, state, 64);
    let mut want = image.tree.clone();
    let kernels = image.copy("kernel");
    let mut fs = open(&image.path);
    let label = format!("{} {state:?} seed {seed}", set.name);
    assert_same(
        &label,
        &want,
        &tree::read(&fs).expect("readable"),
        Depth::All,
    );
    let edit = fs.edit().expect("editable");
    edit.set_now(NOW);
    let mut kernel = mount(&kernels, "rw");
    kernel.whole_files = set.inline_data;
    let mut random = Random::new(seed);
    let mut refused = (0, 0);
    for step in 0..steps {
        let operation = model::next(&mut random, &want, &Limits::default());
        if let Err(error) = kernel.apply(&operation) {
            // Attributes may be larger than a block.
            assert!(
                is_full(&error) && is_xattr(&operation),
                "{label}: kernel: {error}"
            );
            refused.0 += 1;
            continue;
        }
        match apply(edit, &operation) {
            Ok(()) => apply_to_model(&mut want, &operation),
            Err(Error::NoSpace { .. }) if is_xattr(&operation) => {
                undo_xattr(&kernel, &want, &operation);
                refused.1 += 1;
            }
            Err(error) => panic!("{label}: step {step}: {}: {error:?}", operation.describe()),
        }
    }
    edit.commit().expect("room");
    assert_same(&label, &want, &kernel.tree(), Depth::All);
    drop(kernel);
    everybody_reads(&image.path, set.view, &want);
    // The kernel must be able to go on where the driver stopped.
    let mut kernel = mount(&image.path, "rw");
    kernel.whole_files = set.inline_data;
    for _ in 0..steps / 5 {
        let operation = model::next(&mut random, &want, &Limits::default());
        match kernel.apply(&operation) {
            Ok(()) => apply_to_model(&mut want, &operation),
            Err(error) => assert!(is_full(&error) && is_xattr(&operation), "{label}: {error}"),
        }
    }
    drop(kernel);
    everybody_reads(&image.path, set.view, &want);
    println!(
        "{label}: {steps} steps, {} nodes, xattrs refused by the kernel {}, by the driver alone {}, {:?}",
        want.len(),
        refused.0,
        refused.1,
        started.elapsed()
    );
}

fn is_xattr(operation: &Operation) -> bool {
    matches!(operation.step, Step::SetXattr { .. })
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(28 | 7 | 34))
}

/// Takes back in the kernel what the driver refused.
fn undo_xattr(kernel: &fs_acceptance::kernel::Mount, tree: &Tree, operation: &Operation) {
    let Step::SetXattr { name, .. } = &operation.step else {
        return;
    };
    let value = tree[&operation.path].xattrs.get(name).cloned();
    let undo = Operation {
        path: operation.path.clone(),
        step: Step::SetXattr {
            name: name.clone(),
            value,
        },
    };
    kernel
        .apply(&undo)
        .expect("the kernel had room for it before");
}
