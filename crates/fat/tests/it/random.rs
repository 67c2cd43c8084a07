//! Random edits against a model.

use crate::common::{Random, Volume, at, content, tree};
use fs::{FileSystem, FileSystemEdit, NewNode, Time};
use std::collections::BTreeMap;

const NEW: NewNode = NewNode {
    mode: 0o644,
    uid: 0,
    gid: 0,
};

/// Path to content, of directories none.
type Model = BTreeMap<String, Option<Vec<u8>>>;

#[test]
fn five_hundred_random_edits_leave_what_the_model_has() {
    for (bits, seed) in [(12, 1), (16, 2), (32, 3), (32, 4)] {
        let volume = Volume::new(bits);
        let mut model = Model::new();
        let mut random = Random(seed);
        let mut done = 0;
        // In five sessions, so that what one leaves the next one starts from.
        for _ in 0..5 {
            let mut fat = volume.open();
            let editor = fat.edit().unwrap();
            for step in 0..100 {
                editor.set_now(Time {
                    seconds: 1_700_000_000 + step,
                    nanoseconds: 0,
                });
                done += usize::from(one(editor, &mut model, &mut random));
            }
            editor.commit().unwrap();
            drop(fat);
            volume.assert_clean();
        }
        let expected: Vec<_> = model.into_iter().collect();
        assert!(
            tree(&volume.open()).unwrap() == expected,
            "FAT{bits} seed {seed}"
        );
        assert!(volume.tree_by_mtools() == expected, "FAT{bits} seed {seed}");
        println!(
            "FAT{bits}: {done} of 500 edits done, {} names",
            expected.len()
        );
        assert!(done > 350);
    }
}

/// One edit; whether it could be done.
fn one(fs: &mut dyn FileSystemEdit, model: &mut Model, random: &mut Random) -> bool {
    let pick = |model: &Model, random: &mut Random, dirs: bool| {
        let all: Vec<_> = model.iter().filter(|(_, c)| c.is_none() == dirs).collect();
        (!all.is_empty()).then(|| all[random.below(all.len())].0.clone())
    };
    let dir = match random.below(3) {
        0 => String::new(),
        _ => pick(model, random, true).unwrap_or_default(),
    };
    let path = format!("{dir}/{}", name(random));
    let taken = model.keys().any(|known| known.eq_ignore_ascii_case(&path));
    let depth = dir.matches('/').count();
    let len = [0, 1, 511, 512, 2048, 5_000, 40_000][random.below(7)];
    let bytes = content(random.next(), len);
    let split = |path: &str| {
        let (dir, name) = path.rsplit_once('/').unwrap();
        (dir.to_owned(), name.to_owned())
    };
    let (to_dir, to_name) = split(&path);
    let to_node = at(&*fs, &to_dir).unwrap();
    let result = match random.below(10) {
        0..=2 if !taken => fs.create(to_node, to_name.as_bytes(), NEW).map(|node| {
            model.insert(path.clone(), Some(Vec::new()));
            if fs.replace(node, &bytes).is_ok() {
                model.insert(path, Some(bytes));
            }
        }),
        3 if !taken && depth < 4 => fs.make_dir(to_node, to_name.as_bytes(), NEW).map(|_| {
            model.insert(path, None);
        }),
        4 | 5 => match pick(model, random, false) {
            Some(file) => {
                let node = at(&*fs, &file).unwrap();
                fs.replace(node, &bytes)
                    .map(|()| drop(model.insert(file, Some(bytes))))
            }
            None => return false,
        },
        6 => match pick(model, random, false) {
            Some(file) => {
                let node = at(&*fs, &file).unwrap();
                let offset = random.below(20_000);
                let at = u64::try_from(offset).unwrap();
                let written = fs.write_at(node, at, &bytes);
                written.map(|()| {
                    let old = model.get_mut(&file).unwrap().as_mut().unwrap();
                    let end = offset + bytes.len();
                    old.resize(old.len().max(end), 0);
                    old[offset..end].copy_from_slice(&bytes);
                })
            }
            None => return false,
        },
        7 => match pick(model, random, false) {
            Some(file) => {
                let size = random.below(30_000);
                let node = at(&*fs, &file).unwrap();
                fs.truncate(node, u64::try_from(size).unwrap()).map(|()| {
                    let old = model.get_mut(&file).unwrap().as_mut().unwrap();
                    old.resize(size, 0);
                })
            }
            None => return false,
        },
        8 => {
            let dirs = random.below(4) == 0;
            let Some(victim) = pick(model, random, dirs) else {
                return false;
            };
            let (dir, name) = split(&victim);
            let dir = at(&*fs, &dir).unwrap();
            let below = format!("{victim}/");
            let empty = !model.keys().any(|path| path.starts_with(&below));
            match fs.remove(dir, name.as_bytes()) {
                Err(fs::Error::NotEmpty) if !empty => return false,
                removed => removed.map(|()| {
                    assert!(empty);
                    model.remove(&victim);
                }),
            }
        }
        _ if !taken => {
            let dirs = random.below(3) == 0;
            let Some(moved) = pick(model, random, dirs) else {
                return false;
            };
            let below = format!("{moved}/");
            if dirs && (path.starts_with(&below) || depth > 2) {
                return false;
            }
            let (dir, name) = split(&moved);
            let dir = at(&*fs, &dir).unwrap();
            fs.rename((dir, name.as_bytes()), (to_node, to_name.as_bytes()))
                .map(|()| {
                    let names: Vec<_> = model.keys().cloned().collect();
                    for known in names {
                        if let Some(rest) = known.strip_prefix(&below) {
                            let content = model.remove(&known).unwrap();
                            model.insert(format!("{path}/{rest}"), content);
                        }
                    }
                    let content = model.remove(&moved).unwrap();
                    model.insert(path, content);
                })
        }
        _ => return false,
    };
    match result {
        Ok(()) => true,
        Err(fs::Error::NoSpace { .. }) => false,
        Err(error) => panic!("{error:?}"),
    }
}

fn name(random: &mut Random) -> String {
    let n = random.below(200);
    match random.below(6) {
        0 => format!("F{n}"),
        1 => format!("KERNEL{n}.EFI"),
        2 => format!("kernel{n}.efi"),
        3 => format!("a long name with spaces {n}.conf"),
        4 => format!("Ünïcödé-ñ{n}"),
        _ => format!("{}{n}.x", "very-".repeat(random.below(40))),
    }
}
