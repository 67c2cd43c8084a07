//! OVA and OVF packages: tar archives, descriptors and manifests.

use crate::package::{self, controller, drive, file, header, octal, ovf, ovf_of, tar, typed};
use crate::{assert_cuts_are_told, assert_flips_do_no_harm, make, read_device, words};
use image::{Container, Error, Foreign, Format, Image, OpenOptions};
use ondisk::width::u64_of;
use ondisk::{Interrupt, NoProgress};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A directory with a file that is written and opened again and again.
struct Case {
    dir: TempDir,
    path: PathBuf,
}

impl Case {
    fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        Self { dir, path }
    }

    fn open_all(&self, bytes: &[u8]) -> Result<Vec<Image>, Error> {
        fs::write(&self.path, bytes).unwrap();
        let options = OpenOptions {
            verify: true,
            ..OpenOptions::default()
        };
        image::open_all(&self.path, &options)
    }

    /// What is said about a package that is not opened.
    fn refusal(&self, bytes: &[u8]) -> String {
        match self.open_all(bytes) {
            Ok(images) => panic!("it opens: {images:?}"),
            Err(error) => words(&error),
        }
    }

    fn beside(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.dir.path().join(name), content).unwrap();
    }
}

/// A disk of one byte throughout.
fn plain(byte: u8) -> Vec<u8> {
    vec![byte; 1 << 20]
}

fn first_bytes(images: &[Image]) -> Vec<u8> {
    let first = |image: &Image| {
        let mut byte = [0xee];
        image.device().read_at(0, &mut byte).unwrap();
        byte[0]
    };
    images.iter().map(first).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
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
fn damaged_tar_headers_are_told_by_their_place() {
    let case = Case::new("m.ova");
    let (descriptor, disk) = (ovf_of(&["disk.img"]), plain(7));
    let ova = |members: &[Vec<u8>]| {
        let mut all = vec![file("m.ovf", descriptor.as_bytes())];
        all.extend_from_slice(members);
        package::ended(&all)
    };
    let at = file("m.ovf", descriptor.as_bytes()).len();
    let good = file("disk.img", &disk);
    assert!(case.open_all(&ova(std::slice::from_ref(&good))).is_ok());
    let edited = |edit: fn(&mut Vec<u8>)| {
        let mut block = good[..512].to_vec();
        edit(&mut block);
        [block, good[512..].to_vec()].concat()
    };
    let sized = |size: &[u8]| [header("disk.img", size, b'0'), disk.clone()].concat();
    let pax = |text: &str| [typed("x", b'x', text.as_bytes()), good.clone()].concat();
    let mut long = header("././@LongLink", &octal(1 << 32), b'L');
    long.resize(1 << 16, 0);
    for (what, member, expected) in [
        (
            "checksum",
            edited(|block| block[0] ^= 1),
            "has the checksum",
        ),
        (
            "no checksum",
            edited(|block| block[148..156].fill(0)),
            "has the checksum",
        ),
        ("size", sized(b"0000x000000\0"), "size of the tar header"),
        ("negative", sized(&[0xff; 12]), "size of the tar header"),
        (
            "huge",
            sized(&package::binary(u64::MAX)),
            "bytes expected at byte",
        ),
        ("longer", sized(&octal(1 << 21)), "bytes expected at byte"),
        ("pax", pax("what is this?\n"), "pax record"),
        (
            "pax size",
            pax(&package::record("size", "9999999999")),
            "bytes expected at byte",
        ),
        (
            "pax number",
            pax(&package::record("size", "many")),
            "pax record",
        ),
        ("long name", long, "length of a name or pax header"),
        (
            "global",
            typed("g", b'g', package::record("size", "9").as_bytes()),
            "global pax",
        ),
        ("volumes", typed("disk.img", b'M', &disk), "another volume"),
        ("device", typed("disk.img", b'4', &disk), "is of type '4'"),
        (
            "link",
            typed("disk.img", b'2', b""),
            "not a file but a link",
        ),
        (
            "sparse",
            typed("disk.img", b'S', &disk),
            "stored as a sparse file",
        ),
        (
            "twice",
            [good.clone(), good.clone()].concat(),
            "several members called",
        ),
        ("elsewhere", file("../disk.img", &disk), "does not exist"),
        (
            "pax sparse",
            pax(&(package::record("GNU.sparse.major", "1")
                + &package::record("GNU.sparse.name", "disk.img"))),
            "stored as a sparse file",
        ),
    ] {
        let text = case.refusal(&ova(&[member]));
        assert!(text.contains(expected), "{what}: {text}");
        // The header, or what stands behind it and behind the one before it.
        let places = [at, at + 512, at + 3 * 512].map(|at| format!("byte {at}"));
        let told = places.iter().any(|place| text.contains(place));
        let cap = text.contains("at most");
        assert!(cap || told || text.contains("disk.img"), "{what}: {text}");
    }
}

#[test]
fn names_and_sizes_of_pax_and_gnu_headers_count() {
    let case = Case::new("m.ova");
    let (long, disk) = (format!("{}/disk.img", "directory/".repeat(30)), plain(7));
    let descriptor = ovf_of(&[&long]);
    let wrong_size = header("short", &octal(0), b'0');
    let records = package::record("mtime", "1.5")
        + &package::record("path", &long)
        + &package::record("size", &disk.len().to_string());
    let mut prefixed = header("disk.img", &octal(1 << 20), b'0');
    let prefix = "p".repeat(80);
    prefixed[345..345 + prefix.len()].copy_from_slice(prefix.as_bytes());
    let prefixed = package::summed(prefixed);
    for (name, member) in [
        (
            &*long,
            [typed("x", b'x', records.as_bytes()), wrong_size].concat(),
        ),
        (
            &*long,
            [
                typed("L", b'L', format!("{long}\0").as_bytes()),
                header("x", &package::binary(1 << 20), b'0'),
            ]
            .concat(),
        ),
        (&*format!("{prefix}/disk.img"), prefixed),
    ] {
        let descriptor = descriptor.replace(&long, name);
        let ova = [
            member,
            disk.clone(),
            tar(&[("m.ovf", descriptor.as_bytes())]),
        ]
        .concat();
        assert_eq!(first_bytes(&case.open_all(&ova).unwrap()), [7], "{name}");
    }
}

#[test]
fn a_tar_is_an_ova_by_its_descriptor() {
    let case = Case::new("m.tar");
    let descriptor = ovf_of(&["disk.img"]);
    let disk = ("disk.img", &plain(7)[..]);
    fs::write(&case.path, tar(&[disk, ("m.txt", descriptor.as_bytes())])).unwrap();
    let error = image::open(&case.path, &OpenOptions::default()).unwrap_err();
    assert_eq!(error.recognised_format(), Some(Foreign::Tar));
    assert!(
        error
            .to_string()
            .contains("a tar archive without an OVF descriptor"),
        "{error}"
    );
    assert_eq!(image::container(&case.path).unwrap(), None);
    // Whoever says that it is raw means the archive.
    let raw = OpenOptions {
        format: Some(Format::Raw),
        ..OpenOptions::default()
    };
    assert!(image::open(&case.path, &raw).is_ok());

    let text = case.refusal(&tar(&[
        disk,
        ("a.ovf", descriptor.as_bytes()),
        ("b.OVF", descriptor.as_bytes()),
    ]));
    assert!(text.contains("2 OVF descriptors"), "{text}");
    // What macOS' tar keeps attributes in is no descriptor.
    let images = case.open_all(&tar(&[
        disk,
        ("._m.ovf", b"\0\x05\x16\x07"),
        ("./m.ovf", descriptor.as_bytes()),
    ]));
    assert_eq!(first_bytes(&images.unwrap()), [7]);
    // An archive in an archive is no disk, and neither is itself.
    let inner = tar(&[disk, ("m.ovf", descriptor.as_bytes())]);
    let text = case.refusal(&tar(&[
        ("disk.img", &inner),
        ("m.ovf", descriptor.as_bytes()),
    ]));
    assert!(text.contains("an OVA, which holds disks"), "{text}");
    let itself = ovf_of(&["m.ovf"]);
    let text = case.refusal(&tar(&[("m.ovf", itself.as_bytes())]));
    assert!(
        text.contains("an OVF descriptor, which holds disks"),
        "{text}"
    );
}

#[test]
fn descriptors_that_break_rules_are_told() {
    let case = Case::new("m.ova");
    let sound = ovf_of(&["disk.img"]);
    for (what, from, to, expected) in [
        ("cut", "</Envelope>", "", "not XML as OVF"),
        (
            "entities",
            "<Envelope",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><Envelope",
            "DTD",
        ),
        ("root", "Envelope", "Package", "not the Envelope"),
        ("no id", "ovf:id=\"f0\"", "", "lacks the attribute id"),
        (
            "no href",
            "ovf:href=\"disk.img\"",
            "",
            "lacks the attribute href",
        ),
        (
            "no disk id",
            "ovf:diskId=\"d0\"",
            "",
            "lacks the attribute diskId",
        ),
        (
            "no file",
            "ovf:fileRef=\"f0\"",
            "ovf:fileRef=\"f9\"",
            "not listed in References",
        ),
        (
            "no disk",
            "ovf:/disk/d0",
            "ovf:/disk/d9",
            "not listed in DiskSection",
        ),
        (
            "resource",
            "ovf:/disk/d0",
            "[datastore] x.vmdk",
            "is on \"[datastore] x.vmdk\"",
        ),
        ("no resource", "ovf:/disk/d0", "", "is on \"\""),
        (
            "address",
            "<rasd:AddressOnParent>0",
            "<rasd:AddressOnParent>x",
            "AddressOnParent is \"x\"",
        ),
        (
            "twice",
            "</References>",
            "<File ovf:id=\"f0\" ovf:href=\"x\"/></References>",
            "two File",
        ),
        (
            "disk twice",
            "</DiskSection>",
            "<Disk ovf:diskId=\"d0\"/></DiskSection>",
            "two Disk",
        ),
        (
            "size",
            "ovf:href=\"disk.img\"",
            "ovf:href=\"disk.img\" ovf:size=\"x\"",
            "size of a File",
        ),
        (
            "chunks",
            "ovf:id=\"f0\"",
            "ovf:id=\"f0\" ovf:chunkSize=\"7\"",
            "chunkSize",
        ),
        (
            "bzip2",
            "ovf:id=\"f0\"",
            "ovf:id=\"f0\" ovf:compression=\"bzip2\"",
            "compression \"bzip2\"",
        ),
        (
            "no gzip",
            "ovf:id=\"f0\"",
            "ovf:id=\"f0\" ovf:compression=\"gzip\"",
            "does not begin so",
        ),
        (
            "delta",
            "ovf:fileRef",
            "ovf:parentRef=\"p\" ovf:fileRef",
            "parentRef",
        ),
        (
            "shorter",
            "ovf:capacity=\"1\"",
            "ovf:capacity=\"2\"",
            "the disk has 2097152",
        ),
        (
            "absent",
            "disk.img",
            "absent.img",
            "\"absent.img\" as its disk file, which does not",
        ),
        ("absolute", "disk.img", "/etc/passwd", "inside the archive"),
        (
            "above",
            "disk.img",
            "x/../../disk.img",
            "inside the archive",
        ),
        ("url", "disk.img", "file:///etc/passwd", "addresses"),
        (
            "remote",
            "disk.img",
            "https://example.org/disk.img",
            "addresses",
        ),
    ] {
        let descriptor = sound.replace(from, to);
        assert_ne!(descriptor, sound, "{what}");
        let text = case.refusal(&tar(&[
            ("m.ovf", descriptor.as_bytes()),
            ("disk.img", &plain(1)),
        ]));
        assert!(text.contains(expected), "{what}: {text}");
    }
    let not_text = [b"<Envelope x='/ovf/'>\xff", sound.as_bytes()].concat();
    let text = case.refusal(&tar(&[("m.ovf", &not_text), ("disk.img", &plain(1))]));
    assert!(text.contains("not text at byte 20"), "{text}");
    let none = ovf("", "", "");
    assert!(
        case.refusal(&tar(&[("m.ovf", none.as_bytes())]))
            .contains("no disks")
    );
}

#[test]
fn disks_of_several_machines_are_not_mixed() {
    let case = Case::new("m.ova");
    let descriptor = ovf_of(&["a.img", "b.img"]);
    let (head, machine) = descriptor.split_once("<VirtualSystem").unwrap();
    let machine = format!("<VirtualSystem{}", machine.replace("</Envelope>", ""));
    let second = machine.replace("ovf:/disk/d0", "ovf:/disk/d1");
    let two = format!(
        "{head}<VirtualSystemCollection>{machine}{second}</VirtualSystemCollection></Envelope>"
    );
    let ova = tar(&[
        ("m.ovf", two.as_bytes()),
        ("a.img", &plain(1)),
        ("b.img", &plain(2)),
    ]);
    let text = case.refusal(&ova);
    assert!(text.contains("2 machines"), "{text}");
    let options = OpenOptions {
        disk: Some(3),
        ..OpenOptions::default()
    };
    let image = image::open(&case.path, &options).unwrap();
    assert_eq!(first_bytes(&[image]), [2]);
}

#[test]
fn what_is_cheap_to_write_and_costly_to_parse_is_refused() {
    let case = Case::new("m.ova");
    let refusal = |text: String| {
        let text = format!("<Envelope x='/ovf/'>{text}</Envelope>");
        case.refusal(&tar(&[("m.ovf", text.as_bytes())]))
    };
    let deep = "<a>".repeat(600_000);
    assert!(refusal(deep).contains("nodes limit"));
    let attributes: String = (0..1000).map(|n| format!(" a{n} = ''")).collect();
    assert!(refusal(format!("<a{attributes}/>")).contains("number of attributes is 1000"));
    let spaces: String = (0..1000).map(|n| format!("<a xmlns:a{n}='{n}'>")).collect();
    assert!(refusal(spaces).contains("number of namespace declarations is 1000"));
    let disks: String = (0..2000)
        .map(|n| format!("<Disk diskId='{n}' capacity='1'/>"))
        .collect();
    assert!(refusal(format!("<DiskSection>{disks}</DiskSection>")).contains("number of disks"));
    let items = "<Item/>".repeat(30_000);
    let items = format!(
        "<VirtualSystem><VirtualHardwareSection>{items}</VirtualHardwareSection></VirtualSystem>"
    );
    assert!(refusal(items).contains("number of hardware items"));
    assert!(refusal(" ".repeat(17 << 20)).contains("at most 16777216"));
    let members = file("x", b"").repeat(10_001);
    assert!(
        case.refusal(&[file("m.ovf", b""), members].concat())
            .contains("number of members")
    );
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
