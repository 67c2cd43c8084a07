//! OVA and OVF packages: tar archives, descriptors and manifests.

use crate::package::{self, controller, drive, ovf, ovf_of, tar};
use crate::{assert_cuts_are_told, assert_flips_do_no_harm, make, read_device, words};
use image::{Container, Error, Format, Image, OpenOptions};
use ondisk::width::u64_of;
use ondisk::{Interrupt, NoProgress};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory with a file that is written and opened again and again.
pub(crate) struct Case {
    pub(crate) dir: TempDir,
    pub(crate) path: PathBuf,
}

impl Case {
    pub(crate) fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        Self { dir, path }
    }

    pub(crate) fn open_all(&self, bytes: &[u8]) -> Result<Vec<Image>, Error> {
        fs::write(&self.path, bytes).unwrap();
        let options = OpenOptions {
            verify: true,
            ..OpenOptions::default()
        };
        image::open_all(&self.path, &options)
    }

    /// What is said about a package that is not opened.
    pub(crate) fn refusal(&self, bytes: &[u8]) -> String {
        match self.open_all(bytes) {
            Ok(images) => panic!("it opens: {images:?}"),
            Err(error) => words(&error),
        }
    }

    pub(crate) fn beside(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.dir.path().join(name), content).unwrap();
    }
}

/// A disk of one byte throughout.
pub(crate) fn plain(byte: u8) -> Vec<u8> {
    vec![byte; 1 << 20]
}

pub(crate) fn first_bytes(images: &[Image]) -> Vec<u8> {
    let first = |image: &Image| {
        let mut byte = [0xee];
        image.device().read_at(0, &mut byte).unwrap();
        byte[0]
    };
    images.iter().map(first).collect()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_member_is_read_in_place_and_the_archive_is_its_file() {
    let case = Case::new("m.ova");
    let descriptor = ovf_of(&["disk.vmdk"]);
    for compressed in [false, true] {
        let disk = make::vmdk(compressed);
        let images = case
            .open_all(&tar(&[
                ("m.ovf", descriptor.as_bytes()),
                ("disk.vmdk", &disk),
            ]))
            .unwrap();
        let [image] = &images[..] else {
            panic!("{images:?}");
        };
        assert!(read_device(image).unwrap() == make::disk());
        assert_eq!(image.format(), Format::Vmdk);
        assert_eq!(image.path(), case.path.join("disk.vmdk"));
        assert_eq!(image.name(), "disk.vmdk");
        assert_eq!(image.files(), std::slice::from_ref(&case.path));
        assert_eq!(image::container(&case.path).unwrap(), Some(Container::Ova));
        let error = image::probe(&case.path).unwrap_err();
        assert!(error.to_string().contains("an OVA"), "{error}");
    }
}

#[test]
fn disks_come_in_the_order_of_the_hardware() {
    let case = Case::new("m.ova");
    let names = ["a.img", "b.img", "c.img", "d.img", "e.img", "f.img"];
    let files: String = names
        .iter()
        .map(|name| format!("<File ovf:id=\"{name}\" ovf:href=\"{name}\"/>"))
        .collect();
    let disks: String = names
        .iter()
        .map(|name| format!("<Disk ovf:diskId=\"{name}\" ovf:fileRef=\"{name}\"/>"))
        .collect();
    // Two IDE controllers in the wrong order, a SCSI one with an identifier between theirs; a disk
    // that the hardware does not use, and one that it names by its file.
    let items = [
        controller(9, 6, 0),
        controller(7, 5, 1),
        controller(8, 5, 0),
        drive(20, "ovf:/disk/a.img", 9, 10),
        drive(21, "ovf:/disk/b.img", 9, 2),
        drive(22, "/disk/c.img", 7, 0),
        drive(23, "ovf:/disk/d.img", 8, 1),
        drive(24, "ovf:/file/e.img", 77, 0),
    ]
    .concat();
    let descriptor = ovf(&files, &disks, &items);
    let contents: Vec<_> = (b'a'..=b'f').map(plain).collect();
    let mut members: Vec<_> = names
        .iter()
        .zip(&contents)
        .map(|(n, c)| (*n, &c[..]))
        .collect();
    members.push(("m.ovf", descriptor.as_bytes()));
    let images = case.open_all(&tar(&members)).unwrap();
    // The file that a drive names makes no disk of that file used.
    assert_eq!(first_bytes(&images), b"dcbaef");

    let error = image::open(&case.path, &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, Error::SeveralDisks { .. }), "{error}");
    let text = error.to_string();
    for word in [
        "6 disks",
        "by its number",
        "1 is d.img, 2 is c.img",
        "6 is f.img",
    ] {
        assert!(text.contains(word), "{text}");
    }
    let open = |disk| {
        let disk = Some(disk);
        image::open(
            &case.path,
            &OpenOptions {
                disk,
                ..OpenOptions::default()
            },
        )
    };
    assert_eq!(first_bytes(&[open(3).unwrap()]), b"b");
    for disk in [0, 7] {
        let error = open(disk).unwrap_err().to_string();
        assert!(error.contains("has disks 1 to 6"), "{error}");
    }
}

#[test]
fn a_disk_without_a_file_is_zeros_of_its_size() {
    let case = Case::new("m.ova");
    let disks = "<Disk ovf:diskId=\"blank\" ovf:capacity=\"3\" \
                 ovf:capacityAllocationUnits=\"byte * 2^20\"/>\
                 <Disk ovf:diskId=\"d\" ovf:fileRef=\"f\"/>";
    let file = "<File ovf:id=\"f\" ovf:href=\"a.img\"/>";
    let build = |disks: &str| {
        let descriptor = ovf(file, disks, "");
        tar(&[("m.ovf", descriptor.as_bytes()), ("a.img", &plain(1))])
    };
    let images = case.open_all(&build(disks)).unwrap();
    assert_eq!(first_bytes(&images), [0, 1]);
    assert_eq!(read_device(&images[0]).unwrap(), [0; 3 << 20]);
    assert_eq!(images[0].files(), std::slice::from_ref(&case.path));
    for capacity in ["", "${size}", "-1", "99999999999"] {
        let disks = disks.replace("\"3\"", &format!("\"{capacity}\""));
        let text = case.refusal(&build(&disks));
        assert!(
            text.contains("the size of the empty disk \"blank\""),
            "{text}"
        );
    }
}

#[test]
fn what_is_not_as_the_manifest_says_is_named() {
    let case = Case::new("m.ova");
    let (descriptor, disk) = (ovf_of(&["a.img"]), plain(1));
    let files = [("m.ovf", descriptor.as_bytes()), ("a.img", &disk[..])];
    let sound = package::manifest(&files);
    let ova = |manifest: &str| tar(&[files[0], files[1], ("m.mf", manifest.as_bytes())]);
    let images = case.open_all(&ova(&sound)).unwrap();
    let verify = |image: &Image| image.verify_manifest(&NoProgress, &Interrupt::default());
    assert_eq!(verify(&images[0]).unwrap(), 1);
    let interrupt = Interrupt::default();
    interrupt.set();
    let error = images[0]
        .verify_manifest(&NoProgress, &interrupt)
        .unwrap_err();
    assert!(matches!(error, Error::Interrupted(_)), "{error}");

    // The disk: only who asks for it reads all of it.
    let (listed, digest) = sound.lines().nth(1).unwrap().split_once("= ").unwrap();
    assert_eq!(listed, "SHA256(a.img)");
    let wrong = "00".repeat(32);
    let ova_with_wrong_disk = ova(&sound.replace(digest, &wrong));
    let text = case.refusal(&ova_with_wrong_disk);
    for word in ["m.ova/a.img", "SHA-256", digest, &wrong, "m.ova/m.mf"] {
        assert!(text.contains(word), "{text}");
    }
    let image = image::open(&case.path, &OpenOptions::default()).unwrap();
    let error = verify(&image).unwrap_err();
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    let one = OpenOptions {
        disk: Some(1),
        verify: true,
        ..OpenOptions::default()
    };
    assert!(image::open(&case.path, &one).is_err());

    // The descriptor: always.
    let digest = &sound.lines().next().unwrap()["SHA256(m.ovf)= ".len()..];
    fs::write(&case.path, ova(&sound.replace(digest, &wrong))).unwrap();
    let error = image::open(&case.path, &OpenOptions::default()).unwrap_err();
    assert!(error.to_string().contains("m.ova/m.ovf"), "{error}");
    let salvage = OpenOptions {
        salvage: true,
        ..OpenOptions::default()
    };
    assert!(image::open(&case.path, &salvage).is_ok());

    let text = case.refusal(&ova(
        &(sound.clone() + &package::manifest(&[("x.iso", b"")]))
    ));
    assert!(
        text.contains("m.mf names \"x.iso\" as its listed file, which does not exist"),
        "{text}"
    );
    let text = case.refusal(&ova(&(sound.clone() + "what?\n")));
    assert!(text.contains("line 3 of the manifest, \"what?\""), "{text}");
    let text = case.refusal(&ova(&format!("MD5(a.img)= {}\n", "0".repeat(32))));
    assert!(text.contains("\"MD5\""), "{text}");
    // What is not listed is not compared.
    let first = sound.lines().next().unwrap();
    let images = case.open_all(&ova(first)).unwrap();
    assert_eq!(verify(&images[0]).unwrap(), 0);
}

#[test]
fn compressed_members_are_expanded_and_compared_as_they_are() {
    let case = Case::new("m.ova");
    let disk = make::vmdk(false);
    let (front, back) = disk.split_at(100_000);
    let padded = [gzip(front), gzip(b""), gzip(back), vec![0; 700]].concat();
    let build = |name: &str, packed: &[u8], attributes: &str| {
        let descriptor = ovf_of(&[name]).replace("ovf:href", &format!("{attributes} ovf:href"));
        let files = [("m.ovf", descriptor.as_bytes()), (name, packed)];
        let manifest = package::manifest(&files);
        tar(&[files[0], files[1], ("m.mf", manifest.as_bytes())])
    };
    let flag = "ovf:compression=\"gzip\"";
    for (name, packed, flag) in [
        ("disk.vmdk.gz", gzip(&disk), flag),
        ("disk.vmdk", padded, flag),
        // Not everybody says so.
        ("disk.vmdk.gz", gzip(&disk), ""),
    ] {
        let images = case.open_all(&build(name, &packed, flag)).unwrap();
        assert!(read_device(&images[0]).unwrap() == make::disk(), "{name}");
        assert_eq!(images[0].path(), case.path.join("disk.vmdk"));
        assert_eq!(
            images[0]
                .verify_manifest(&NoProgress, &Interrupt::default())
                .unwrap(),
            1
        );
    }
    let whole = gzip(&disk);
    let flipped = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    for (what, packed, expected) in [
        ("cut", whole[..whole.len() - 9].to_vec(), "ends too early"),
        (
            "cut trailer",
            whole[..whole.len() - 1].to_vec(),
            "ends too early",
        ),
        ("flipped", flipped(whole.len() / 2), "cannot be expanded"),
        ("checksum", flipped(whole.len() - 7), "cannot be expanded"),
        ("length", flipped(whole.len() - 2), "cannot be expanded"),
        (
            "garbage",
            [&whole[..], b"garbage"].concat(),
            "cannot be expanded",
        ),
    ] {
        let text = case.refusal(&build("disk.vmdk.gz", &packed, flag));
        assert!(text.contains(expected), "{what}: {text}");
        assert!(text.contains("m.ova/disk.vmdk.gz"), "{what}: {text}");
    }
    // 96 MiB of zeros, where 1 MiB is said.
    let bomb = gzip(&vec![0; 32 << 20]).repeat(3);
    let text = case.refusal(&build("disk.vmdk.gz", &bomb, flag));
    assert!(text.contains("expands to more than"), "{text}");
    let options = OpenOptions {
        interrupt: Interrupt::default(),
        ..OpenOptions::default()
    };
    options.interrupt.set();
    let error = image::open(&case.path, &options).unwrap_err();
    assert!(matches!(error, Error::Interrupted(_)), "{error}");
}

#[test]
fn what_disks_in_an_archive_name_is_looked_up_there_alone() {
    let case = Case::new("m.ova");
    let descriptor = ovf_of(&["sub/disk.vmdk"]);
    let flat = |name: &str| {
        format!(
            "# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\n\
             createType=\"monolithicFlat\"\nRW 2048 FLAT \"{name}\" 0\n"
        )
    };
    let build = |name: &str, manifest: &str| {
        tar(&[
            ("m.ovf", descriptor.as_bytes()),
            ("sub/disk.vmdk", flat(name).as_bytes()),
            ("sub/flat.vmdk", &plain(5)),
            ("m.mf", manifest.as_bytes()),
        ])
    };
    let manifest = package::manifest(&[("sub/flat.vmdk", &plain(5))]);
    let images = case.open_all(&build("flat.vmdk", &manifest)).unwrap();
    assert_eq!(read_device(&images[0]).unwrap(), plain(5));
    assert_eq!(images[0].files(), std::slice::from_ref(&case.path));
    // Extents are what the manifest is about, too.
    let text = case.refusal(&build(
        "flat.vmdk",
        &package::manifest(&[("sub/flat.vmdk", b"")]),
    ));
    assert!(text.contains("m.ova/sub/flat.vmdk"), "{text}");
    case.beside("beside.vmdk", plain(6));
    fs::create_dir(case.dir.path().join("sub")).unwrap();
    case.beside("sub/beside.vmdk", plain(6));
    for (name, expected) in [
        ("beside.vmdk", "does not exist"),
        ("../flat.vmdk", "inside the archive"),
        ("/etc/passwd", "inside the archive"),
        ("disk.vmdk", "refers to itself"),
    ] {
        let text = case.refusal(&build(name, ""));
        assert!(text.contains(expected), "{name}: {text}");
    }
}

#[test]
fn what_a_descriptor_names_beside_it_goes_through_the_gate() {
    let case = Case::new("m.ovf");
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret.img"), plain(9)).unwrap();
    let link = case.dir.path().join("link.img");
    std::os::unix::fs::symlink(outside.path().join("secret.img"), link).unwrap();
    fs::create_dir(case.dir.path().join("sub")).unwrap();
    for name in ["a.img", "b c.img", "sub/d.img"] {
        case.beside(name, plain(3));
    }
    let images = case
        .open_all(ovf_of(&["b%20c.img", "a.img"]).as_bytes())
        .unwrap();
    assert_eq!(first_bytes(&images), [3, 3]);
    let (dir, path) = (case.dir.path(), case.path.clone());
    assert_eq!(images[0].files(), [path.clone(), dir.join("b c.img")]);
    assert_eq!(image::container(&path).unwrap(), Some(Container::Ovf));
    let secret = outside.path().join("secret.img");
    for name in [
        "link.img",
        "../a.img",
        "sub/d.img",
        "file:a.img",
        secret.to_str().unwrap(),
    ] {
        fs::write(&path, ovf_of(&[name])).unwrap();
        let error = image::open(&path, &OpenOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{name}: {error}");
        assert!(error.to_string().contains(name), "{error}");
    }

    let descriptor = ovf_of(&["a.img"]);
    let disk = plain(3);
    let files = [("m.ovf", descriptor.as_bytes()), ("a.img", &disk[..])];
    let sound = package::manifest(&files);
    case.beside("m.mf", &sound);
    let images = case.open_all(descriptor.as_bytes()).unwrap();
    let expected = [path, dir.join("m.mf"), dir.join("a.img")];
    assert_eq!(images[0].files(), expected);
    case.beside("a.img", plain(4));
    let text = case.refusal(descriptor.as_bytes());
    assert!(text.contains("a.img is damaged: its SHA-256"), "{text}");
    case.beside("m.mf", sound.replace("a.img", "../a.img"));
    let text = case.refusal(descriptor.as_bytes());
    assert!(text.contains("\"../a.img\" as its listed file"), "{text}");
}

fn package_and_truth() -> (Vec<u8>, Vec<u8>) {
    let (descriptor, disk) = (ovf_of(&["disk.vmdk"]), make::vmdk(false));
    let files = [("m.ovf", descriptor.as_bytes()), ("disk.vmdk", &disk[..])];
    let manifest = package::manifest(&files);
    let ova = tar(&[files[0], ("m.mf", manifest.as_bytes()), files[1]]);
    (ova, make::disk())
}

/// What is whole of a package that was cut in half.
const SALVAGED: usize = 512 << 10;

#[test]
fn cut_packages_are_told() {
    let case = Case::new("m.ova");
    let (ova, truth) = package_and_truth();
    assert_cuts_are_told(&ova, &truth, &case.path);
    // What is left of a package can still be read on.
    fs::write(&case.path, &ova[..ova.len() / 2]).unwrap();
    let salvage = OpenOptions {
        salvage: true,
        ..OpenOptions::default()
    };
    assert!(image::open(&case.path, &OpenOptions::default()).is_err());
    assert!(image::container(Path::new(&case.path)).is_err());
    let image = image::open(&case.path, &salvage).unwrap();
    let found = read_device(&image).unwrap();
    assert!(found[..SALVAGED] == truth[..SALVAGED]);
    let lost = image.lost();
    assert!(
        !lost.is_empty() && lost[0].range.start >= u64_of(SALVAGED),
        "{lost:?}"
    );
}

#[test]
fn flips_in_packages_do_no_harm() {
    let case = Case::new("m.ova");
    let (ova, _) = package_and_truth();
    let descriptor = 512..512 + ovf_of(&["disk.vmdk"]).len();
    let rest = descriptor.end.next_multiple_of(512)..descriptor.end.next_multiple_of(512) + 1536;
    assert_flips_do_no_harm(&ova, &[0..512, descriptor, rest], &case.path);
}
