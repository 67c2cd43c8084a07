//! What descriptors name, where it lies elsewhere, is too short, or is not there.

use crate::make::{self, disk};
use crate::{read_device, words};
use image::{Error, Gate, Image, OpenOptions};
use ondisk::width::u64_of;
use std::fs;
use std::path::Path;

const HEAD: &str = "# Disk DescriptorFile\nversion=1\nCID=2\n";

fn open(path: &Path, options: &OpenOptions) -> Result<Image, Error> {
    image::open(path, options)
}

/// A delta that has nothing of its own.
fn delta(path: &Path, hint: &str) {
    // An extent that maps nothing leaves all to the parent.
    let mut extent = make::vmdk(false);
    extent[make::VMDK_DIRECTORY..make::VMDK_DIRECTORY + 4].fill(0);
    fs::write(path.with_file_name("delta.extent"), extent).unwrap();
    let text = format!(
        "{HEAD}parentCID=12345678\nparentFileNameHint=\"{hint}\"\nRW 4096 SPARSE \"delta.extent\"\n"
    );
    fs::write(path, text).unwrap();
}

#[test]
fn a_parent_named_by_a_path_is_found_beside_the_child() {
    let dir = tempfile::tempdir().unwrap();
    let child = dir.path().join("t.vmdk");
    let default = OpenOptions::default();
    fs::write(dir.path().join("base.vmdk"), make::vmdk(false)).unwrap();
    for hint in [
        "base.vmdk",
        "/vmfs/volumes/5f/vm/base.vmdk",
        "../vm/base.vmdk",
        "C:\\Virtual Machines\\base.vmdk",
        "\\\\server\\share\\base.vmdk",
    ] {
        delta(&child, hint);
        let image = open(&child, &default).unwrap();
        assert!(read_device(&image).unwrap() == disk(), "{hint}");
    }

    // The content id still decides.
    let mut other = make::vmdk(true);
    let at = other.windows(8).position(|w| w == b"12345678").unwrap();
    other[at] = b'9';
    fs::write(dir.path().join("base.vmdk"), other).unwrap();
    delta(&child, "/vmfs/volumes/5f/vm/base.vmdk");
    let error = open(&child, &default).unwrap_err();
    assert!(words(&error).contains("content id"), "{error}");

    for (hint, expected) in [
        (
            "/vmfs/volumes/5f/vm/absent.vmdk",
            "no other \"absent.vmdk\"",
        ),
        // Beside the child, that name is the child itself.
        ("/vmfs/volumes/5f/vm/t.vmdk", "no other \"t.vmdk\""),
        ("vsan://52a1/base.vmdk", "addresses"),
        ("absent.vmdk", "does not exist"),
    ] {
        delta(&child, hint);
        let error = words(&open(&child, &default).unwrap_err());
        assert!(error.contains(expected), "{hint}: {error}");
        assert!(error.contains(hint), "{hint}: {error}");
    }
}

#[test]
fn a_parent_elsewhere_is_followed_where_the_caller_allows_it() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let child = dir.path().join("t.vmdk");
    let base = elsewhere.path().join("base.vmdk");
    fs::write(&base, make::vmdk(false)).unwrap();
    delta(&child, base.to_str().unwrap());
    let error = open(&child, &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Refused(_)), "{error}");
    let allowed = OpenOptions {
        gate: Gate::default().allow_dir(elsewhere.path().to_owned()),
        ..OpenOptions::default()
    };
    let image = open(&child, &allowed).unwrap();
    assert_eq!(image.layers()[1].path, base);
    assert!(read_device(&image).unwrap() == disk());
}

/// An extent has no content id, so its name is all there is.
#[test]
fn extents_are_never_looked_for_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vmdk");
    fs::write(dir.path().join("a.raw"), [7; 512]).unwrap();
    for (name, refused) in [
        ("/tmp/a.raw", true),
        ("../a.raw", true),
        ("vsan://52a1/a.raw", true),
        ("b.raw", false),
    ] {
        let text = format!("{HEAD}parentCID=ffffffff\nRW 1 FLAT \"{name}\" 0\n");
        fs::write(&path, text).unwrap();
        let error = open(&path, &OpenOptions::default()).unwrap_err();
        assert_eq!(matches!(error, Error::Refused(_)), refused, "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
}

#[test]
fn short_extents_are_opened_only_to_save_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vmdk");
    fs::write(dir.path().join("a.raw"), vec![1; 128 << 10]).unwrap();
    fs::write(dir.path().join("b.raw"), vec![2; 100_000]).unwrap();
    fs::write(dir.path().join("c.extent"), make::vmdk(false)).unwrap();
    fs::write(dir.path().join("d.raw"), vec![4; 512]).unwrap();
    let text = format!(
        "{HEAD}parentCID=ffffffff\nRW 256 FLAT \"a.raw\" 0\nRW 256 FLAT \"b.raw\" 0\n\
         RW 4224 SPARSE \"c.extent\"\nRW 1 FLAT \"d.raw\" 9\n"
    );
    fs::write(&path, text).unwrap();
    let error = words(&open(&path, &OpenOptions::default()).unwrap_err());
    assert!(error.contains("256 sectors are expected"), "{error}");
    let salvage = OpenOptions {
        salvage: true,
        ..OpenOptions::default()
    };
    let image = open(&path, &salvage).unwrap();
    let bytes = read_device(&image).unwrap();
    let (b, c) = (128 << 10, 256 << 10);
    let d = c + 4224 * 512;
    assert_eq!(bytes.len(), d + 512);
    assert!(bytes[..b].iter().all(|byte| *byte == 1));
    // What is lost of it is lost by pieces that the tables, too, are made of.
    assert!(bytes[b..b + 65_536].iter().all(|byte| *byte == 2));
    assert!(bytes[b + 100_000..c].iter().all(|byte| *byte == 0));
    assert!(bytes[c..c + make::SIZE] == disk());
    assert!(bytes[c + make::SIZE..].iter().all(|byte| *byte == 0));
    let lost = image.lost();
    let covered = |at: usize| lost.iter().any(|l| l.range.contains(&u64_of(at)));
    for at in [b + 100_000, c - 1, c + make::SIZE, d - 1, d, d + 511] {
        assert!(covered(at), "{at} in {lost:?}");
    }
    for at in [0, b, b + 65_535, c + 65_536, c + make::SIZE - 1] {
        assert!(!covered(at), "{at} in {lost:?}");
    }
}

#[test]
fn descriptors_in_other_encodings_are_read_or_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("t.vmdk");
    fs::write(dir.path().join("café (1).raw"), [7; 512]).unwrap();
    let text = |encoding: &str| {
        let line = b"\r\n# Extents\r\n\r\nRW 1 FLAT \"caf\xe9 (1).raw\" 0\r\n";
        let head = HEAD.replace('\n', "\r\n");
        [
            format!("{head}encoding=\"{encoding}\"\r\nparentCID=ffffffff\r\n").as_bytes(),
            line,
        ]
        .concat()
    };
    fs::write(&path, text("windows-1252")).unwrap();
    let image = open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(read_device(&image).unwrap(), [7; 512]);
    fs::write(&path, text("Shift_JIS")).unwrap();
    let error = open(&path, &OpenOptions::default()).unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert!(error.to_string().contains("shift_jis"), "{error}");
}
