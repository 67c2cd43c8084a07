//! OVA and OVF packages against GNU tar, gzip and QEMU.

use crate::package::{self, controller, drive, ovf};
use crate::qemu::{Lab, assert_same, disk};
use image::{Error, Format, Image, OpenOptions};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

const SIZE: u64 = (3 << 20) + 512;

fn verified() -> OpenOptions {
    OpenOptions {
        verify: true,
        ..OpenOptions::default()
    }
}

fn open_all(path: &Path) -> Vec<Image> {
    image::open_all(path, &verified()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Two disks of which the second file is the machine's first disk; gives their contents in the
/// machine's order.
fn two_disks(lab: &Lab, dir: &str) -> [Vec<u8>; 2] {
    fs::create_dir_all(lab.path(dir)).unwrap();
    fs::write(lab.path("one.raw"), disk(SIZE, 1)).unwrap();
    fs::write(lab.path("two.raw"), disk(2 * SIZE, 2)).unwrap();
    for (name, subformat) in [("one", "streamOptimized"), ("two", "monolithicSparse")] {
        lab.img(&format!(
            "convert -O vmdk -o subformat={subformat} {name}.raw {dir}/{name}.vmdk"
        ));
    }
    ["two", "one"].map(|name| lab.truth(&format!("{dir}/{name}.vmdk"), "vmdk"))
}

fn two_disks_descriptor() -> String {
    let file = |name: &str| format!("<File ovf:id=\"{name}\" ovf:href=\"{name}.vmdk\"/>");
    let listed = |name: &str| format!("<Disk ovf:diskId=\"d-{name}\" ovf:fileRef=\"{name}\"/>");
    let items = [
        controller(3, 6, 0),
        drive(10, "ovf:/disk/d-one", 3, 1),
        drive(11, "ovf:/disk/d-two", 3, 0),
    ];
    ovf(
        &(file("one") + &file("two")),
        &(listed("one") + &listed("two")),
        &items.concat(),
    )
}

/// Writes descriptor and manifest of the files in a directory.
fn describe(lab: &Lab, dir: &str, descriptor: &str, files: &[&str]) {
    fs::write(lab.path(&format!("{dir}/m.ovf")), descriptor).unwrap();
    let read = |name: &str| fs::read(lab.path(&format!("{dir}/{name}"))).unwrap();
    let names = files.iter().chain(&["m.ovf"]);
    let contents: Vec<_> = names.map(|name| (*name, read(name))).collect();
    let contents: Vec<_> = contents
        .iter()
        .map(|(name, bytes)| (*name, &bytes[..]))
        .collect();
    fs::write(
        lab.path(&format!("{dir}/m.mf")),
        package::manifest(&contents),
    )
    .unwrap();
}

#[test]
fn archives_of_every_format_read_the_same() {
    let Some(lab) = Lab::new() else { return };
    // Longer than a header's name and its prefix.
    let long = ["directory".repeat(8), "x".repeat(90), "y".repeat(120)].join("/");
    for dir in ["short", &long] {
        let truths = two_disks(&lab, dir);
        describe(
            &lab,
            dir,
            &two_disks_descriptor(),
            &["one.vmdk", "two.vmdk"],
        );
        for (format, order) in [
            ("gnu", "m.ovf one.vmdk two.vmdk m.mf"),
            ("oldgnu", "m.ovf m.mf one.vmdk two.vmdk"),
            ("pax", "two.vmdk one.vmdk m.ovf m.mf"),
            // They cannot hold long names.
            ("ustar", "one.vmdk m.mf m.ovf two.vmdk"),
            ("v7", "m.mf two.vmdk one.vmdk m.ovf"),
        ] {
            if dir == "short" || !matches!(format, "ustar" | "v7") {
                assert_archive_agrees(&lab, dir, format, order, &truths);
            }
        }
    }
}

/// Packs a directory in one order and reads its disks, which are to be `truths`.
fn assert_archive_agrees(lab: &Lab, dir: &str, format: &str, order: &str, truths: &[Vec<u8>; 2]) {
    let option = format!("--format={format}");
    let mut words = vec![&*option, "-cf", "m.ova"];
    let members: Vec<_> = order
        .split(' ')
        .map(|name| format!("./{dir}/{name}"))
        .collect();
    words.extend(members.iter().map(String::as_str));
    lab.run("tar", &words);
    // What tar says is in there.
    let member = format!("./{dir}/one.vmdk");
    let output = Command::new("tar")
        .args(["-xOf", "m.ova", &member])
        .current_dir(lab.path(""))
        .output()
        .unwrap();
    fs::write(lab.path("extracted.vmdk"), output.stdout).unwrap();
    assert!(lab.truth("extracted.vmdk", "vmdk") == truths[1], "{format}");

    let path = lab.path("m.ova");
    let images = open_all(&path);
    assert_eq!(images.len(), 2, "{format}");
    for (image, truth) in images.iter().zip(truths) {
        assert_eq!(image.format(), Format::Vmdk);
        assert_eq!(image.files(), std::slice::from_ref(&path));
        assert_same(image, truth, format);
    }
    assert_eq!(images[0].name(), "two.vmdk");
    let options = OpenOptions {
        disk: Some(2),
        ..verified()
    };
    let image = image::open(&path, &options).unwrap();
    assert_same(&image, &truths[1], "the second disk");
}

#[test]
fn a_descriptor_is_read_with_its_files() {
    let Some(lab) = Lab::new() else { return };
    let truths = two_disks(&lab, "dir");
    describe(
        &lab,
        "dir",
        &two_disks_descriptor(),
        &["one.vmdk", "two.vmdk"],
    );
    let path = lab.path("dir/m.ovf");
    for (image, truth) in open_all(&path).iter().zip(&truths) {
        assert_same(image, truth, "beside");
    }
    fs::remove_file(lab.path("dir/two.vmdk")).unwrap();
    let error = image::open_all(&path, &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

#[test]
fn files_that_gzip_made_are_read() {
    let Some(lab) = Lab::new() else { return };
    let truths = two_disks(&lab, "dir");
    lab.run("gzip", &["dir/one.vmdk", "dir/two.vmdk"]);
    let descriptor =
        two_disks_descriptor().replace(".vmdk\"", ".vmdk.gz\" ovf:compression=\"gzip\"");
    describe(&lab, "dir", &descriptor, &["one.vmdk.gz", "two.vmdk.gz"]);
    lab.run(
        "tar",
        &[
            "-C",
            "dir",
            "-cf",
            "m.ova",
            "m.ovf",
            "m.mf",
            "one.vmdk.gz",
            "two.vmdk.gz",
        ],
    );
    for path in ["m.ova", "dir/m.ovf"] {
        for (image, truth) in open_all(&lab.path(path)).iter().zip(&truths) {
            assert_same(image, truth, path);
        }
    }
}

/// The archive is one large hole, so its members need no room.
#[test]
fn members_beyond_8_gib_are_as_long_as_tar_says() {
    let Some(lab) = Lab::new() else { return };
    let (first, size) = (10_u64 << 30, 9_u64 << 30);
    let path = lab.path("m.ova");
    let descriptor = package::ovf_of(&["large.img", "small.img"]);
    let large = |record: bool| {
        if record {
            let records = package::record("size", &first.to_string());
            let header = package::header("large.img", &package::octal(0), b'0');
            [package::typed("x", b'x', records.as_bytes()), header].concat()
        } else {
            package::header("large.img", &package::binary(first), b'0')
        }
    };
    for pax in [false, true] {
        let front = large(pax);
        let start = front.len() as u64;
        let second = package::header("small.img", &package::binary(size), b'0');
        let rest = package::tar(&[("m.ovf", descriptor.as_bytes())]);
        let file = File::create(&path).unwrap();
        for (at, bytes) in [
            (0, &front[..]),
            (start, b"begin"),
            (start + first - 3, b"end"),
            (start + first, &second),
            (start + first + 512 + (8 << 30) + 77, b"middle"),
            (start + first + 512 + size, &rest),
        ] {
            file.write_all_at(bytes, at).unwrap();
        }
        let output = Command::new("tar").arg("-tvf").arg(&path).output().unwrap();
        let listing = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{listing}");
        for (name, size) in [("large.img", first), ("small.img", size)] {
            let line = listing.lines().find(|line| line.ends_with(name)).unwrap();
            assert!(line.contains(&size.to_string()), "{line}");
        }
        let images = image::open_all(&path, &OpenOptions::default()).unwrap();
        for (index, size, at, expected) in [
            (0, first, 0, &b"begin"[..]),
            (0, first, first - 3, b"end"),
            (1, size, (8 << 30) + 77, b"middle"),
            (1, size, size - 2, b"\0\0"),
        ] {
            let device = images[index].device();
            assert_eq!(device.size(), size);
            let mut buf = vec![0xee; expected.len()];
            device.read_at(at, &mut buf).unwrap();
            assert_eq!(buf, expected);
        }
        let extents = images[1].device().extents().map(Result::unwrap).count();
        assert!(extents >= 3, "holes inside members are seen");
    }
}

#[test]
fn block_devices_are_sources() {
    let Some(lab) = Lab::new() else { return };
    let truth = fs::read(lab.source("disk.raw", 4 << 20)).unwrap();
    lab.img("convert -O qcow2 disk.raw disk.qcow2");
    // A device is as long as whole sectors, and has zeros behind the image.
    for (name, format) in [("disk.raw", Format::Raw), ("disk.qcow2", Format::Qcow2)] {
        let output = Command::new("losetup")
            .args(["--find", "--show", "--read-only"])
            .arg(lab.path(name))
            .output();
        let device = match output {
            Ok(output) if output.status.success() => String::from_utf8(output.stdout).unwrap(),
            _ => {
                eprintln!("skipped: loop devices cannot be made here");
                return;
            }
        };
        let device = device.trim_end();
        let image = image::open(Path::new(device), &OpenOptions::default());
        let image = image.map(|image| {
            assert_eq!(image.format(), format);
            assert_same(&image, &truth, name);
        });
        lab.run("losetup", &["--detach", device]);
        image.unwrap();
    }
}

/// Says that this process is the one whose standard input is read: the file with the truth.
const CHILD: &str = "REHOST_TEST_TRUTH";
/// The format that it is told.
const CHILD_FORMAT: &str = "REHOST_TEST_FORMAT";

#[test]
fn the_standard_input_is_an_image() {
    if let Some(truth) = std::env::var_os(CHILD) {
        let format = std::env::var(CHILD_FORMAT).ok();
        let options = OpenOptions {
            format: format.map(|format| format.parse().unwrap()),
            ..verified()
        };
        let image = image::open(Path::new("-"), &options).unwrap();
        assert_same(&image, &fs::read(truth).unwrap(), "standard input");
        return;
    }
    let Some(lab) = Lab::new() else { return };
    lab.source("disk.raw", SIZE);
    lab.img("convert -O qcow2 disk.raw disk.qcow2");
    lab.img("convert -O vmdk -o subformat=streamOptimized disk.raw disk.vmdk");
    let truth = lab.truth("disk.vmdk", "vmdk");
    assert!(truth == fs::read(lab.path("disk.raw")).unwrap());
    let descriptor = package::ovf_of(&["disk.vmdk"]);
    fs::write(lab.path("m.ovf"), descriptor).unwrap();
    lab.run("tar", &["-cf", "m.ova", "disk.vmdk", "m.ovf"]);
    for (name, format) in [
        ("disk.raw", None),
        ("disk.raw", Some("raw")),
        ("disk.qcow2", Some("qcow2")),
        ("disk.qcow2", None),
        ("m.ova", None),
    ] {
        for pipe in [true, false] {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command
                .args(["--exact", "package_tests::the_standard_input_is_an_image"])
                .env(CHILD, lab.path("disk.raw"))
                .stdout(Stdio::piped());
            if let Some(format) = format {
                command.env(CHILD_FORMAT, format);
            }
            let output = if pipe {
                let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
                let mut stdin = child.stdin.take().unwrap();
                stdin.write_all(&fs::read(lab.path(name)).unwrap()).unwrap();
                drop(stdin);
                child.wait_with_output().unwrap()
            } else {
                let file = File::open(lab.path(name)).unwrap();
                command.stdin(file).output().unwrap()
            };
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{name}, {format:?}: {text}");
            assert!(text.contains("1 passed"), "{text}");
        }
    }
    // A file of that name is another one, and a name inside such an image leads nowhere.
    fs::write(lab.path("-"), fs::read(lab.path("disk.raw")).unwrap()).unwrap();
    let image = image::open(&lab.path("./-"), &OpenOptions::default()).unwrap();
    assert_same(&image, &truth, "a file called -");
}
