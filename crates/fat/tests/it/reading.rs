//! What mkfs.fat and mtools wrote is read as they wrote it.

use crate::common::{Volume, at, content, tree};
use block::{BlockRead, Memory};
use fs::{FileSystem, FsKind, Kind};

#[test]
fn a_probe_says_what_blkid_says() {
    for bits in [12, 16, 32] {
        let info = fat::probe(&*volume_device(bits)).unwrap().unwrap();
        assert_eq!(info.kind, FsKind::Vfat);
        assert_eq!(info.uuid.as_deref(), Some("1234-ABCD"));
        assert_eq!(info.label.as_deref(), Some("ESP"));
        assert_eq!(info.features, [format!("FAT{bits}")]);
    }
    for other in [vec![], vec![0; 511], vec![0; 4096], vec![0xff; 4096]] {
        assert_eq!(fat::probe(&Memory::new(other)).unwrap(), None);
    }
}

fn volume_device(bits: u32) -> std::sync::Arc<dyn BlockRead> {
    Volume::new(bits).device()
}

#[test]
fn what_mtools_wrote_is_read() {
    for bits in [12, 16, 32] {
        let volume = Volume::new(bits);
        let source = volume.dir.path().join("source");
        std::fs::create_dir_all(source.join("EFI/debian")).unwrap();
        let files = [
            ("EFI/debian/grubx64.efi", content(1, 150_000)),
            ("EFI/debian/A longer name, with Ünïcödé.cfg", content(2, 10)),
            ("empty", vec![]),
            ("MiXeD.TxT", content(3, 512)),
        ];
        for (name, content) in &files {
            std::fs::write(source.join(name), content).unwrap();
        }
        for n in 0..100 {
            std::fs::write(source.join(format!("EFI/file number {n}.txt")), [n]).unwrap();
        }
        let source = source.to_str().unwrap();
        for name in ["EFI", "empty", "MiXeD.TxT"] {
            let path = format!("{source}/{name}");
            volume.mtools("mcopy", &["-s", "-m", &path, "::/"]);
        }
        let fat = volume.open();
        assert_eq!(tree(&fat).unwrap(), volume.tree_by_mtools(), "FAT{bits}");
        for (name, content) in &files {
            let node = at(&fat, &name.to_uppercase()).unwrap();
            assert_eq!(node, at(&fat, name).unwrap());
            assert_eq!(&fs::read_file(&fat, node, 1 << 20).unwrap(), content);
        }
        // By the short name too, as everywhere.
        assert_eq!(
            at(&fat, "EFI/debian/ALONGE~1.CFG").unwrap_or(fat.root()),
            at(&fat, "EFI/debian/A longer name, with Ünïcödé.cfg").unwrap(),
        );
        assert_eq!(fat.check().unwrap(), []);
        assert_eq!(fat.stat(fat.root()).unwrap().kind, Kind::Dir);
        let meta = fat
            .stat(at(&fat, "EFI/debian/grubx64.efi").unwrap())
            .unwrap();
        assert_eq!((meta.kind, meta.size, meta.links), (Kind::File, 150_000, 1));
    }
}

#[test]
fn reads_in_parts_and_past_the_end() {
    let volume = Volume::new(32);
    let bytes = content(7, 5_000);
    let source = volume.dir.path().join("f");
    std::fs::write(&source, &bytes).unwrap();
    volume.mtools("mcopy", &[source.to_str().unwrap(), "::/f"]);
    let fat = volume.open();
    let node = at(&fat, "f").unwrap();
    for (offset, len) in [
        (0, 1),
        (511, 2),
        (512, 512),
        (4_999, 10),
        (5_000, 10),
        (9_999, 1),
    ] {
        let mut buf = vec![0; len];
        let n = fat
            .read_at(node, u64::try_from(offset).unwrap(), &mut buf)
            .unwrap();
        let want = bytes.get(offset..).unwrap_or_default();
        assert_eq!(buf[..n], want[..len.min(want.len())], "{offset}");
    }
    assert!(matches!(
        fat.read_at(fat.root(), 0, &mut [0]),
        Err(fs::Error::NotAFile)
    ));
    assert!(matches!(fat.entries(node), Err(fs::Error::NotADirectory)));
    assert!(matches!(
        fat.lookup(node, b"x"),
        Err(fs::Error::NotADirectory)
    ));
    assert!(matches!(at(&fat, "nothing"), Err(fs::Error::NotFound)));
    assert!(matches!(fat.read_link(node), Err(fs::Error::NotFound)));
}
