//! A fixed list of edits, looked at with mtools and fsck.fat.

use crate::common::{Volume, at, content, tree};
use block::{BlockRead, BlockWrite};
use fs::{FileSystem, FileSystemEdit, NewNode, Time};

const NEW: NewNode = NewNode {
    mode: 0o644,
    uid: 0,
    gid: 0,
};

fn now() -> Time {
    Time {
        seconds: 1_763_825_234,
        nanoseconds: 0,
    }
}

fn edit(volume: &Volume, edits: impl FnOnce(&mut dyn FileSystemEdit)) {
    let mut fat = volume.open();
    let editor = fat.edit().unwrap();
    editor.set_now(now());
    edits(editor);
    editor.commit().unwrap();
    let expected = tree(&fat).unwrap();
    drop(fat);
    volume.assert_clean();
    assert_eq!(tree(&volume.open()).unwrap(), expected);
    assert_eq!(volume.tree_by_mtools(), expected);
}

fn each(test: impl Fn(&Volume)) {
    for bits in [12, 16, 32] {
        test(&Volume::new(bits));
    }
}

fn write(fs: &mut dyn FileSystemEdit, path: &str, content: &[u8]) {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let dir = at(&*fs, dir).unwrap();
    let node = fs.create(dir, name.as_bytes(), NEW).unwrap();
    fs.replace(node, content).unwrap();
}

fn make_dir(fs: &mut dyn FileSystemEdit, path: &str) {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    let dir = at(&*fs, dir).unwrap();
    fs.make_dir(dir, name.as_bytes(), NEW).unwrap();
}

#[test]
fn files_and_nested_directories() {
    each(|volume| {
        edit(volume, |fs| {
            make_dir(fs, "EFI");
            make_dir(fs, "EFI/BOOT");
            make_dir(fs, "EFI/a longer name for a directory");
            make_dir(fs, "EFI/a longer name for a directory/lower");
            write(fs, "EFI/BOOT/BOOTX64.EFI", &content(1, 900_000));
            write(fs, "EFI/BOOT/grub.cfg", b"search --fs-uuid\n");
            write(
                fs,
                "EFI/a longer name for a directory/lower/Ünïcödé.txt",
                b"x",
            );
            write(fs, "startup.nsh", b"");
        });
        assert_eq!(
            volume.mtools("mtype", &["::/EFI/BOOT/grub.cfg"]),
            b"search --fs-uuid\n"
        );
        let listing = volume.mtools("mdir", &["::/EFI/BOOT"]);
        let listing = String::from_utf8(listing).unwrap();
        assert!(listing.contains("2025-11-22  15:27"), "{listing}");
    });
}

#[test]
fn three_hundred_entries_in_the_root_and_below() {
    // The fixed root of FAT12 and FAT16 has 512 slots, so names there stay short.
    each(|volume| {
        edit(volume, |fs| {
            make_dir(fs, "D");
            for n in 0..300 {
                write(
                    fs,
                    &format!("D/a name of more than one slot {n}.conf"),
                    &[1; 20],
                );
                if n < 200 {
                    write(fs, &format!("F{n}"), &[]);
                }
            }
        });
        edit(volume, |fs| {
            let dir = at(&*fs, "D").unwrap();
            for n in (0..300).step_by(2) {
                let name = format!("A NAME of more than one slot {n}.conf");
                fs.remove(dir, name.as_bytes()).unwrap();
            }
            for n in 0..40 {
                write(
                    fs,
                    &format!("D/another, much longer name of more slots {n}.conf"),
                    b"y",
                );
            }
        });
    });
}

#[test]
fn a_file_of_twenty_megabytes() {
    for bits in [16, 32] {
        let volume = Volume::new(bits);
        edit(&volume, |fs| write(fs, "vmlinuz", &content(4, 20 << 20)));
        edit(&volume, |fs| {
            let node = at(&*fs, "vmlinuz").unwrap();
            fs.replace(node, &content(5, 20 << 20)).unwrap();
        });
    }
}

#[test]
fn content_is_replaced_extended_and_cut() {
    each(|volume| {
        edit(volume, |fs| write(fs, "f", &content(1, 10_000)));
        edit(volume, |fs| {
            let node = at(&*fs, "f").unwrap();
            let mut want = content(1, 10_000);
            let check = |fs: &mut dyn FileSystemEdit, want: &[u8]| {
                assert_eq!(fs::read_file(&*fs, node, 1 << 20).unwrap(), want);
            };
            fs.write_at(node, 100, &[9; 5_000]).unwrap();
            want[100..5_100].fill(9);
            check(fs, &want);
            fs.write_at(node, 12_345, &[8; 10]).unwrap();
            want.resize(12_345, 0);
            want.extend([8; 10]);
            check(fs, &want);
            for size in [20_000, 8_192, 8_191, 4_096, 1, 0, 3] {
                fs.truncate(node, size).unwrap();
                want.resize(usize::try_from(size).unwrap(), 0);
                check(fs, &want);
            }
            fs.replace(node, b"end").unwrap();
        });
        assert_eq!(volume.mtools("mtype", &["::/f"]), b"end");
    });
}

#[test]
fn names_change_move_and_take_over() {
    each(|volume| {
        edit(volume, |fs| {
            make_dir(fs, "a");
            make_dir(fs, "b");
            make_dir(fs, "a/inner directory");
            write(fs, "a/inner directory/f", b"1");
            write(fs, "a/grub.cfg", b"old");
            write(fs, "a/grub.cfg.new", b"new");
        });
        edit(volume, |fs| {
            let (a, b) = (at(&*fs, "a").unwrap(), at(&*fs, "b").unwrap());
            let inner = at(&*fs, "a/inner directory").unwrap();
            fs.rename((a, b"grub.cfg.new"), (a, b"GRUB.CFG")).unwrap();
            fs.rename((a, b"inner directory"), (b, b"Moved Directory"))
                .unwrap();
            assert_eq!(fs.lookup(b, b"moved directory").unwrap(), inner);
            write(fs, "b/Moved Directory/g", b"2");
            fs.rename((b, b"moved directory"), (b, b"MOVED DIRECTORY"))
                .unwrap();
            fs.rename((b, b"MOVEDD~1"), (fs.root(), b"Top"))
                .unwrap_or_else(|error| {
                    assert!(matches!(error, fs::Error::NotFound));
                    fs.rename((b, b"MOVED DIRECTORY"), (fs.root(), b"Top"))
                        .unwrap();
                });
            assert!(matches!(
                fs.rename((fs.root(), b"Top"), (inner, b"self")),
                Err(fs::Error::Unsupported(_))
            ));
            assert!(matches!(
                fs.rename((fs.root(), b"Top"), (a, b"GRUB.CFG")),
                Err(fs::Error::NotADirectory)
            ));
            assert!(matches!(
                fs.rename((a, b"GRUB.CFG"), (fs.root(), b"b")),
                Err(fs::Error::IsADirectory)
            ));
        });
        let names: Vec<_> = volume
            .tree_by_mtools()
            .into_iter()
            .map(|(path, _)| path)
            .collect();
        assert_eq!(
            names,
            ["/Top", "/Top/f", "/Top/g", "/a", "/a/GRUB.CFG", "/b"]
        );
        assert_eq!(volume.mtools("mtype", &["::/a/GRUB.CFG"]), b"new");
    });
}

#[test]
fn what_cannot_be_is_refused_and_changes_nothing() {
    let volume = Volume::new(12);
    edit(&volume, |fs| {
        make_dir(fs, "d");
        write(fs, "d/f", b"1");
        let root = fs.root();
        for name in ["", "a/b", "a:b", "a.", " a", "x\u{1}", "😀", "."] {
            let made = fs.create(root, name.as_bytes(), NEW);
            assert!(matches!(made, Err(fs::Error::BadName)), "{name:?}");
        }
        assert!(matches!(
            fs.create(root, b"\xff", NEW),
            Err(fs::Error::BadName)
        ));
        assert!(matches!(fs.create(root, b"D", NEW), Err(fs::Error::Exists)));
        assert!(matches!(fs.remove(root, b"d"), Err(fs::Error::NotEmpty)));
        assert!(matches!(fs.remove(root, b"x"), Err(fs::Error::NotFound)));
        let file = at(&*fs, "d/f").unwrap();
        assert!(matches!(
            fs.symlink(root, b"l", b"d", NEW),
            Err(fs::Error::Unsupported(_))
        ));
        assert!(matches!(
            fs.set_xattr(file, b"user.a", None),
            Err(fs::Error::Unsupported(_))
        ));
        assert!(matches!(
            fs.truncate(file, 1 << 32),
            Err(fs::Error::Unsupported(_))
        ));
        fs.set_owner(file, NEW).unwrap();
        fs.set_mtime(
            file,
            Time {
                seconds: 951_827_696,
                nanoseconds: 9,
            },
        )
        .unwrap();
        assert_eq!(fs.stat(file).unwrap().mtime.seconds, 951_827_696);
        let free = fs.space().unwrap().free_bytes;
        let much = vec![0; usize::try_from(free).unwrap() + 4096];
        let Err(fs::Error::NoSpace { needed, .. }) = fs.replace(file, &much) else {
            panic!("not refused");
        };
        assert!(needed > free);
        assert_eq!(fs::read_file(&*fs, file, 10).unwrap(), b"1");
    });
}

#[test]
fn a_volume_is_filled_to_the_last_cluster_and_a_root_to_the_last_slot() {
    let volume = Volume::with(12, 1440, &["-s", "1", "-r", "32"]);
    edit(&volume, |fs| {
        write(fs, "all", b"");
        let free = fs.space().unwrap().free_bytes;
        let node = at(&*fs, "all").unwrap();
        fs.replace(node, &content(3, usize::try_from(free).unwrap()))
            .unwrap();
        assert_eq!(fs.space().unwrap().free_bytes, 0);
        let root = fs.root();
        assert!(matches!(
            fs.make_dir(root, b"d", NEW),
            Err(fs::Error::NoSpace { .. })
        ));
        // The label, "all" in two slots, and 14 more of two.
        let made = (0..40).take_while(|n| fs.create(root, format!("n{n}").as_bytes(), NEW).is_ok());
        assert_eq!(made.count(), 14);
        let full = fs.create(root, b"x", NEW);
        assert!(matches!(full, Err(fs::Error::NoSpace { .. })), "{full:?}");
    });
}

#[test]
fn the_same_edits_make_the_same_bytes() {
    let bytes = || {
        let volume = Volume::new(32);
        edit(&volume, |fs| {
            make_dir(fs, "EFI");
            write(fs, "EFI/x.efi", &content(1, 100_000));
        });
        std::fs::read(&volume.path).unwrap()
    };
    assert!(bytes() == bytes());
}

#[test]
fn the_dirty_flag_stays_as_it_was() {
    for (bits, at) in [(12, 0x25), (16, 0x25), (32, 0x41)] {
        for dirty in [0, 1] {
            let volume = Volume::new(bits);
            let device = volume.device();
            device.write_at(at, &[dirty]).unwrap();
            let mut fat = volume.open();
            let says = fat.info().features.contains(&String::from("dirty"));
            assert_eq!(says, dirty == 1);
            write(fat.edit().unwrap(), "f", b"1");
            fat.edit().unwrap().commit().unwrap();
            let mut flag = [9];
            device.read_at(at, &mut flag).unwrap();
            assert_eq!(flag, [dirty], "FAT{bits}");
        }
    }
}

#[test]
fn nothing_is_written_without_an_edit() {
    each(|volume| {
        let before = std::fs::read(&volume.path).unwrap();
        let mut fat = volume.open();
        tree(&fat).unwrap();
        fat.edit().unwrap().commit().unwrap();
        assert!(std::fs::read(&volume.path).unwrap() == before);
    });
}

#[test]
fn counters_and_copies_that_were_wrong_are_right_after_a_commit() {
    let volume = Volume::new(32);
    let device = volume.device();
    device.write_at(512 + 488, &7_u32.to_le_bytes()).unwrap();
    let table = u64::from(32_u16) * 512;
    let mut size = [0; 4];
    device.read_at(36, &mut size).unwrap();
    let second = table + u64::from(u32::from_le_bytes(size)) * 512;
    device.write_at(second + 4000, &[1]).unwrap();
    let problems = volume.open().check().unwrap();
    assert_eq!(problems.len(), 2, "{problems:?}");
    edit(&volume, |fs| write(fs, "f", b"1"));
}

#[test]
fn a_loader_of_two_megabytes_is_replaced_quickly() {
    let volume = Volume::new(32);
    edit(&volume, |fs| write(fs, "x.efi", &content(1, 1 << 20)));
    let mut fat = volume.open();
    let node = at(&fat, "x.efi").unwrap();
    let start = std::time::Instant::now();
    fat.edit()
        .unwrap()
        .replace(node, &content(2, 2 << 20))
        .unwrap();
    fat.edit().unwrap().commit().unwrap();
    let took = start.elapsed();
    println!("2 MiB in clusters of 512 bytes: {took:?}");
    assert!(took.as_secs() < 20, "{took:?}");
}
