//! What grows and shrinks through every form: directories, maps of extents, attributes, and the
//! trees of free space and of inodes under them.

use crate::editing::{NOW, do_all};
use crate::features::{self, FeatureSet};
use crate::image::{Image, State, mkfs, possible};
use crate::oracle::{everybody_reads, open, without_stored_acls, xfs_repair_is_content};
use fs::{Error, FileSystem, NewNode};
use fs_acceptance::long;
use fs_acceptance::operation::{Operation, Step, resolve};
use fs_acceptance::random::Random;
use fs_acceptance::tree::Tree;
use std::time::Instant;

/// The feature sets whose forms differ, of which every run covers those that say so.
fn each_set(names: &[&str], test: impl Fn(FeatureSet)) {
    if !possible() {
        return;
    }
    for set in features::covered().filter(|set| names.contains(&set.name)) {
        let started = Instant::now();
        test(*set);
        println!("{}: {:?}", set.name, started.elapsed());
    }
}

const FORMS: [&str; 9] = [
    "default",
    "rmapbt",
    "1k",
    "1k_rmapbt",
    "dir_64k",
    "1k_dir_8k",
    "inode_2k",
    "v4",
    "v4_1k",
];

fn fresh(set: FeatureSet, state: State) -> (Image, Tree) {
    let image = Image::new(set, state, 128);
    let tree = without_stored_acls(image.tree.clone());
    (image, tree)
}

/// The kernel takes one border alone between the number of a device and attributes.
#[test]
fn nodes_without_content_get_attributes() {
    each_set(&["default", "v4"], |set| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, prototype) = (dir.path().join("image"), dir.path().join("prototype"));
        let text = "x\n0 0\nd--755 0 0\npipe p--644 0 0\nnull c--666 0 0 1 3\n$\n";
        std::fs::write(&prototype, text).expect("there is room");
        let prototype = prototype.to_str().expect("plain text");
        mkfs(&path, &[set.mkfs, &["-p", prototype]].concat(), 128);
        let mut fs = open(&path);
        for name in [&b"pipe"[..], b"null"] {
            let node = fs.lookup(fs.root(), name).expect("it was made");
            let edit = fs.edit().expect("editable");
            edit.set_xattr(
                node,
                b"security.selinux",
                Some(b"system_u:object_r:device_t:s0"),
            )
            .expect("there is room");
        }
        fs.edit()
            .expect("editable")
            .commit()
            .expect("the device does not fail");
        drop(fs);
        xfs_repair_is_content("nodes", &path);
    });
}

fn step(path: impl Into<Vec<u8>>, step: Step) -> Operation {
    Operation {
        path: path.into(),
        step,
    }
}

fn create(path: impl Into<Vec<u8>>, content: Vec<u8>) -> Operation {
    let new = NewNode::root(0o644);
    step(path, Step::Create { content, new })
}

fn make_dir(path: &str) -> Operation {
    let new = NewNode::root(0o755);
    step(path, Step::MakeDir { new })
}

#[test]
fn a_directory_of_thousands_of_names_grows_and_shrinks() {
    each_set(&FORMS, |set| {
        let (image, mut want) = fresh(set, State::Fresh);
        let count = if long() { 9000 } else { 2000 };
        let mut random = Random::new(53);
        let mut path = |number: usize| {
            let len = random.below(if number.is_multiple_of(50) { 240 } else { 40 });
            format!("d/{number:05}-{}", "n".repeat(len)).into_bytes()
        };
        let mut paths: Vec<_> = (0..count).map(&mut path).collect();
        let mut fs = open(&image.path);
        let edit = fs.edit().expect("editable");
        edit.set_now(NOW);
        do_all(set.name, edit, &mut want, &[make_dir("d")]);
        // Through all forms, with a look at each size.
        let mut made = 0;
        for stop in [1, 4, 20, 60, 150, 400, count] {
            let new: Vec<_> = paths[made..stop]
                .iter()
                .map(|path| create(path.clone(), vec![]))
                .collect();
            do_all(set.name, edit, &mut want, &new);
            edit.commit().expect("the device does not fail");
            made = stop;
            if stop != 60 && stop != 4 {
                let label = format!("{}: {stop} names", set.name);
                everybody_reads(&label, &image.path, set, &want);
            }
        }
        let mut random = Random::new(59);
        for left in [count / 3, 300, 50, 3, 0] {
            while paths.len() > left {
                let path = paths.swap_remove(random.below(paths.len()));
                do_all(set.name, edit, &mut want, &[step(path, Step::Remove)]);
            }
            edit.commit().expect("the device does not fail");
            let label = format!("{}: {left} names left", set.name);
            everybody_reads(&label, &image.path, set, &want);
        }
        do_all(set.name, edit, &mut want, &[step("d", Step::Remove)]);
        edit.commit().expect("the device does not fail");
        everybody_reads(set.name, &image.path, set, &want);
    });
}

#[test]
fn a_file_of_thousands_of_pieces_grows_and_shrinks() {
    each_set(
        &["default", "rmapbt", "1k", "1k_rmapbt", "2k", "v4"],
        |set| {
            let (image, mut want) = fresh(set, State::Fresh);
            let mut random = Random::new(61);
            let mut fs = open(&image.path);
            let edit = fs.edit().expect("editable");
            edit.set_now(NOW);
            do_all(set.name, edit, &mut want, &[create("pieces", vec![])]);
            // Every other block, in no order: the map is a list, then a tree, then a deeper one.
            let count = if long() { 6000 } else { 1000 };
            let mut places: Vec<u64> = (0..count).collect();
            for at in (1..places.len()).rev() {
                places.swap(at, random.below(at + 1));
            }
            let write = |number: &u64, random: &mut Random| {
                let content = random.bytes(1 + random.clone().below(900));
                let offset = number * 8192 + 100;
                step("pieces", Step::WriteAt { offset, content })
            };
            for part in [
                &places[..15],
                &places[15..40],
                &places[40..200],
                &places[200..],
            ] {
                let operations: Vec<_> = part
                    .iter()
                    .map(|number| write(number, &mut random))
                    .collect();
                do_all(set.name, edit, &mut want, &operations);
                edit.commit().expect("the device does not fail");
                let label = format!("{}: pieces up to {:?}", set.name, part.last());
                everybody_reads(&label, &image.path, set, &want);
            }
            // Holes are filled, which joins pieces.
            let fill: Vec<_> = (0..count / 4)
                .map(|number| {
                    let content = random.bytes(5000);
                    step(
                        "pieces",
                        Step::WriteAt {
                            offset: number * 8192 + 4000,
                            content,
                        },
                    )
                })
                .collect();
            do_all(set.name, edit, &mut want, &fill);
            for size in [
                count * 8192 / 2 + 17,
                300 * 8192,
                30 * 8192 + 1,
                5 * 8192,
                50,
                0,
            ] {
                do_all(
                    set.name,
                    edit,
                    &mut want,
                    &[step("pieces", Step::Truncate { size })],
                );
                edit.commit().expect("the device does not fail");
                let label = format!("{}: cut to {size}", set.name);
                everybody_reads(&label, &image.path, set, &want);
            }
        },
    );
}

#[test]
fn attributes_grow_and_shrink_through_every_form() {
    each_set(
        &["default", "rmapbt", "1k", "inode_2k", "v4", "v4_256"],
        |set| {
            let (image, mut want) = fresh(set, State::Fresh);
            let mut random = Random::new(67);
            let mut fs = open(&image.path);
            let edit = fs.edit().expect("editable");
            edit.set_now(NOW);
            let count = if long() { 900 } else { 300 };
            let name =
                |number: usize| format!("user.{number}-{}", "n".repeat(number % 100)).into_bytes();
            let xattr = |number, value| {
                step(
                    "x",
                    Step::SetXattr {
                        name: name(number),
                        value,
                    },
                )
            };
            do_all(
                set.name,
                edit,
                &mut want,
                &[create("x", random.bytes(70_000))],
            );
            let mut made = 0;
            for stop in [1, 5, 30, 120, count] {
                for number in made..stop {
                    let len = if number % 40 == 39 {
                        3000
                    } else {
                        number % 150
                    };
                    do_all(
                        set.name,
                        edit,
                        &mut want,
                        &[xattr(number, Some(random.bytes(len)))],
                    );
                }
                made = stop;
                edit.commit().expect("the device does not fail");
                let label = format!("{}: {stop} attributes", set.name);
                everybody_reads(&label, &image.path, set, &want);
            }
            // Values grow, shrink, and move into blocks of their own and back.
            for number in (0..count).step_by(3) {
                let len = random.below(2500);
                do_all(
                    set.name,
                    edit,
                    &mut want,
                    &[xattr(number, Some(random.bytes(len)))],
                );
            }
            for len in [65_536, 1, 40_000, 0] {
                do_all(
                    set.name,
                    edit,
                    &mut want,
                    &[xattr(7, Some(random.bytes(len)))],
                );
                edit.commit().expect("the device does not fail");
                everybody_reads(
                    &format!("{}: {len} bytes", set.name),
                    &image.path,
                    set,
                    &want,
                );
            }
            let mut rest: Vec<_> = (0..count).collect();
            for left in [count / 2, 40, 4, 0] {
                while rest.len() > left {
                    let number = rest.swap_remove(random.below(rest.len()));
                    do_all(set.name, edit, &mut want, &[xattr(number, None)]);
                }
                edit.commit().expect("the device does not fail");
                let label = format!("{}: {left} attributes left", set.name);
                everybody_reads(&label, &image.path, set, &want);
            }
            do_all(set.name, edit, &mut want, &[step("x", Step::Remove)]);
            edit.commit().expect("the device does not fail");
            everybody_reads(set.name, &image.path, set, &want);
        },
    );
}

#[test]
fn a_volume_is_filled_with_small_files_and_emptied_again() {
    each_set(
        &[
            "default",
            "rmapbt",
            "1k",
            "1k_rmapbt",
            "rhel7",
            "v4",
            "v4_256",
            "one_group",
        ],
        |set| {
            let image = Image::new(
                set,
                if set.mounts {
                    State::Aged
                } else {
                    State::Fresh
                },
                64,
            );
            let mut want = without_stored_acls(image.tree.clone());
            let mut fs = open(&image.path);
            let before = fs.space().expect("readable");
            let mut random = Random::new(71);
            let edit = fs.edit().expect("editable");
            edit.set_now(NOW);
            do_all(set.name, edit, &mut want, &[make_dir("full")]);
            edit.commit().expect("the device does not fail");
            let dir = resolve(edit, b"full").expect("it was just made");
            let mut made = Vec::new();
            // Half of the room by files, the rest by one that takes all but a little of it.
            while edit.space().expect("readable").free_bytes > before.free_bytes / 2 {
                let name = format!("file-{}", made.len()).into_bytes();
                let content = random.bytes(random.clone().below(30_000));
                let path = [b"full/", &name[..]].concat();
                do_all(set.name, edit, &mut want, &[create(path, content)]);
                made.push(name);
            }
            edit.commit().expect("the device does not fail");
            everybody_reads(&format!("{}: half full", set.name), &image.path, set, &want);
            for name in made.iter().filter(|name| name.len() % 2 == 0) {
                let path = [b"full/", &name[..]].concat();
                do_all(set.name, edit, &mut want, &[step(path, Step::Remove)]);
            }
            edit.commit().expect("the device does not fail");
            everybody_reads(&format!("{}: in pieces", set.name), &image.path, set, &want);
            // More than there is must be an error.
            let file = edit
                .create(dir, b"too-large", NewNode::root(0o600))
                .expect("room");
            let free = edit.space().expect("readable").free_bytes;
            let len = ondisk::width::usize_of(free + (4 << 20));
            let refused = edit.replace(file, &vec![7; len]);
            assert!(
                matches!(refused, Err(Error::NoSpace { .. })),
                "{}: {refused:?}",
                set.name
            );
        },
    );
}

#[test]
fn what_a_conversion_does_works_on_every_feature_set() {
    if !possible() {
        return;
    }
    for set in features::covered().filter(|set| !set.ignores_case()) {
        let started = Instant::now();
        let image = Image::new(*set, State::Fresh, 200);
        let mut want = without_stored_acls(image.tree.clone());
        let mut random = Random::new(3);
        let mut operations = vec![
            step(
                "etc/fstab",
                Step::Replace {
                    content: b"UUID=x / xfs defaults 0 1\n".to_vec(),
                },
            ),
            create("initramfs.img", random.bytes(50 << 20)),
            make_dir("boot"),
            step(
                "initramfs.img",
                Step::Rename {
                    to: b"boot/initramfs.img".to_vec(),
                },
            ),
            step("long", Step::Remove),
            step("empty", Step::Remove),
        ];
        for number in 0..200 {
            let path = format!("many/added-by-the-driver-{number}");
            operations.push(create(path, vec![b'z'; number * 10]));
        }
        for (path, name, value) in [
            (
                "etc/fstab",
                "security.selinux",
                &b"system_u:object_r:etc_t:s0\0"[..],
            ),
            ("boot", "security.selinux", b"system_u:object_r:boot_t:s0\0"),
            ("boot/initramfs.img", "user.note", &[5; 900]),
        ] {
            let (name, value) = (name.into(), Some(value.to_vec()));
            operations.push(step(path, Step::SetXattr { name, value }));
        }
        let mut fs = open(&image.path);
        let edit = fs.edit().expect("editable");
        edit.set_now(NOW);
        do_all(set.name, edit, &mut want, &operations);
        let fstab = resolve(edit, b"etc/fstab").expect("it is there");
        edit.set_mtime(fstab, NOW).expect("it is there");
        edit.commit().expect("room");
        drop(fs);
        let again = open(&image.path);
        let meta = again.stat(resolve(&again, b"etc/fstab").expect("it is there"));
        assert_eq!(meta.expect("it is there").mtime, NOW, "{}", set.name);
        everybody_reads(set.name, &image.path, *set, &want);
        println!("{}: conversion in {:?}", set.name, started.elapsed());
    }
}
