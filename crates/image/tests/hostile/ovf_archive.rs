//! The tar archive that an OVA is: headers, names, sizes.

use crate::ovf::{Case, first_bytes, plain};
use crate::package::{self, file, header, octal, ovf_of, tar, typed};
use image::{Foreign, Format, OpenOptions};
use std::fs;

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
