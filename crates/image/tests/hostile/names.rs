//! What a file is taken for.

use image::{Error, Evidence, Foreign, Format, OpenOptions, Probe};
use std::fs;

const BY_NAME: Probe = Probe {
    format: Format::Raw,
    evidence: Evidence::Name,
};

#[test]
fn unknown_content_is_raw_only_under_a_name_that_allows_it() {
    let dir = tempfile::tempdir().unwrap();
    let probe = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, content).unwrap();
        image::probe(&path)
    };
    for name in [
        "disk", "disk.raw", "disk.img", "disk.IMG", "disk.bin", "cd.iso",
    ] {
        assert_eq!(probe(name, &[7; 5000]).unwrap(), BY_NAME, "{name}");
        assert!(probe(name, b"").is_err(), "{name} is empty");
    }
    for name in [
        "a.qcow2",
        "a.vmdk",
        "a-flat.vmdk",
        "a.vhd",
        "a.vhdx",
        "a.ova",
        "a.dat",
        "a.txt",
    ] {
        let error = probe(name, &[7; 5000]).unwrap_err();
        assert!(
            matches!(error, Error::Unrecognised { .. }),
            "{name}: {error}"
        );
        let asked = OpenOptions {
            format: Some(Format::Raw),
            ..OpenOptions::default()
        };
        assert!(
            image::open(&dir.path().join(name), &asked).is_ok(),
            "{name}"
        );
    }
    // The content decides against the name, also where it is damaged further on.
    for name in ["disk.raw", "disk", "disk.vmdk"] {
        let probed = probe(name, b"QFI\xfb garbage").unwrap();
        assert_eq!(
            (probed.format, probed.evidence),
            (Format::Qcow2, Evidence::Content)
        );
        assert!(image::open(&dir.path().join(name), &OpenOptions::default()).is_err());
    }
}

#[test]
fn formats_are_known_by_their_names_and_one_by_another() {
    for format in Format::ALL {
        assert_eq!(format.name().parse(), Ok(format));
    }
    // So QEMU calls it, and writes it into qcow2 headers.
    assert_eq!("vpc".parse(), Ok(Format::Vhd));
    let error = "vdi".parse::<Format>().unwrap_err().to_string();
    assert!(error.contains("vmdk, vhd"), "{error}");
}

#[test]
fn formats_that_are_not_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    for (foreign, at, magic) in [
        (Foreign::Vdi, 0x40, &[0x7f, 0x10, 0xda, 0xbe][..]),
        (Foreign::Gzip, 0, &[0x1f, 0x8b, 8]),
        (Foreign::Xz, 0, b"\xfd7zXZ\0"),
    ] {
        let mut content = vec![0; 8192];
        content[at..at + magic.len()].copy_from_slice(magic);
        fs::write(&path, content).unwrap();
        let error = image::open(&path, &OpenOptions::default()).unwrap_err();
        assert_eq!(error.recognised_format(), Some(foreign), "{error}");
        assert!(error.to_string().contains("cannot be read yet"), "{error}");
    }
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe.raw");
    let made = std::process::Command::new("mkfifo")
        .arg(&pipe)
        .status()
        .unwrap();
    assert!(made.success());
    for path in [pipe.as_path(), dir.path(), "/dev/null".as_ref()] {
        let error = image::open(path, &OpenOptions::default()).unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
    }
    let absent = image::open(&dir.path().join("absent"), &OpenOptions::default());
    assert!(matches!(absent.unwrap_err(), Error::Io { .. }));
}
