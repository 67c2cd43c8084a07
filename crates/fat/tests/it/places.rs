//! Where things lie on the device, by us and by mtools.

use crate::common::{Volume, content};
use fs::{FileSystem, Kind, NodeId, Role};
use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// The clusters of a file as `mshowfat` prints them: `::/a <2-5> <9>`.
fn clusters_by_mtools(volume: &Volume, path: &str) -> Vec<u64> {
    let said = volume.mtools("mshowfat", &[&format!("::{path}")]);
    let said = String::from_utf8(said).unwrap();
    let runs = said
        .split('<')
        .skip(1)
        .filter_map(|run| run.split_once('>'));
    let mut clusters = Vec::new();
    for (run, _) in runs {
        let (first, last) = run.split_once('-').unwrap_or((run, run));
        clusters.extend(first.parse::<u64>().unwrap()..=last.parse().unwrap());
    }
    clusters
}

/// Every node with its path.
fn nodes(fs: &dyn FileSystem) -> Vec<(String, NodeId)> {
    let mut nodes = vec![(String::new(), fs.root())];
    let mut at = 0;
    while let Some((path, node)) = nodes.get(at).cloned() {
        at += 1;
        if fs.places(node).unwrap().meta.kind == Kind::Dir {
            for entry in fs.entries(node).unwrap() {
                let name = String::from_utf8(entry.name).unwrap();
                nodes.push((format!("{path}/{name}"), entry.node));
            }
        }
    }
    nodes
}

#[test]
fn files_lie_where_mtools_says_and_every_byte_belongs_to_one_thing() {
    for bits in [12, 16, 32] {
        let volume = Volume::new(bits);
        let source = volume.dir.path().join("source");
        std::fs::create_dir_all(source.join("EFI/deep")).unwrap();
        for n in 0..60_u8 {
            std::fs::write(
                source.join(format!("EFI/file number {n}.txt")),
                content(n.into(), 9000),
            )
            .unwrap();
        }
        std::fs::write(source.join("EFI/deep/empty"), []).unwrap();
        let efi = source.join("EFI");
        volume.mtools("mcopy", &["-s", "-m", efi.to_str().unwrap(), "::/"]);
        // Room in pieces, and a file in them.
        for n in (0..60).step_by(2) {
            volume.mtools("mdel", &[&format!("::/EFI/file number {n}.txt")]);
        }
        let large = volume.dir.path().join("large");
        std::fs::write(&large, content(9, 200_000)).unwrap();
        volume.mtools("mcopy", &[large.to_str().unwrap(), "::/EFI/deep/"]);

        let fat = volume.open();
        let size = u64::from(fat.space().unwrap().block_size);
        let device = File::open(&volume.path).unwrap();
        let structures = fat.structures().unwrap();
        let mut owned: BTreeMap<u64, (u64, String)> = BTreeMap::new();
        let mut own = |bytes: &Range<u64>, owner: &str| {
            assert!(bytes.start < bytes.end);
            let before = owned.insert(bytes.start, (bytes.end, owner.to_owned()));
            assert_eq!(before, None, "FAT{bits}");
        };
        for structure in &structures {
            own(&structure.bytes, "structure");
        }
        let mut several = 0;
        // By the last cluster of a directory of one cluster it is known where clusters begin.
        let mut first_cluster = None;
        for (path, node) in nodes(&fat) {
            let places = fat.places(node).unwrap();
            let mut found = Vec::new();
            for part in &places.parts {
                let Role::Content { offset, .. } = part.role else {
                    assert_eq!(part.role, Role::Record);
                    assert_eq!(part.bytes.end - part.bytes.start, 32);
                    continue;
                };
                own(&part.bytes, &path);
                if places.meta.kind == Kind::File {
                    let mut there =
                        vec![0; usize::try_from(part.bytes.end - part.bytes.start).unwrap()];
                    device.read_exact_at(&mut there, part.bytes.start).unwrap();
                    let mut content = vec![0; there.len()];
                    let read = fat.read_at(node, offset, &mut content).unwrap();
                    assert!(there[..read] == content[..read], "FAT{bits} {path}");
                }
                found.extend(
                    (part.bytes.start..part.bytes.end).step_by(usize::try_from(size).unwrap()),
                );
            }
            several += usize::from(places.content().count() > 1);
            if path.is_empty() || found.is_empty() {
                continue;
            }
            let by_mtools = clusters_by_mtools(&volume, &path);
            let first = *first_cluster.get_or_insert(found[0] - by_mtools[0] * size);
            let expected: Vec<u64> = by_mtools
                .iter()
                .map(|cluster| first + cluster * size)
                .collect();
            assert_eq!(found, expected, "FAT{bits} {path}");
        }
        assert!(several > 0);
        let end = std::fs::metadata(&volume.path).unwrap().len();
        for bytes in fat.free(0..end).unwrap() {
            own(&bytes, "nobody");
        }
        // All of it without a gap, but for sectors at the end that make no cluster.
        let mut at = 0;
        for (start, (end, owner)) in owned {
            assert_eq!(start, at, "FAT{bits} {owner}");
            at = end;
        }
        assert!(end - at < size, "FAT{bits}");
        // A part of a cluster is free as the cluster is.
        let part = at - 9..at - 5;
        assert_eq!(fat.free(part.clone()).unwrap(), std::slice::from_ref(&part));
        assert_eq!(fat.free(0..512).unwrap(), []);
        let gone = fat.places(NodeId(99_999));
        assert!(matches!(gone, Err(fs::Error::NotFound)));
    }
}
