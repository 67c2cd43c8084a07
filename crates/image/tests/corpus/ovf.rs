//! Descriptors of the corpus, in packages that are made here: their disks are not in it.

use block::Memory;
use image::{OpenOptions, Qcow2Options, WriteFormat, WriteOptions};
use ondisk::{Interrupt, NoProgress};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn descriptors_have_the_disks_that_virt_v2v_finds() {
    let Some(corpus) = std::env::var_os("REHOST_CORPUS").map(PathBuf::from) else {
        eprintln!("skipped: REHOST_CORPUS does not name a directory");
        return;
    };
    let mut packs: Vec<_> = fs::read_dir(corpus.join("vmx-ovf"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains("v2v-ova-"))
        .collect();
    packs.sort();
    assert!(!packs.is_empty());
    for pack in packs {
        let (dir, case) = super::unpack(&pack);
        let id = case["id"].as_str().unwrap();
        let descriptor = case["primary"].as_str().unwrap();
        let text = fs::read_to_string(dir.path().join(descriptor)).unwrap();
        let hrefs: Vec<_> = text
            .split("ovf:href=\"")
            .skip(1)
            .map(|rest| rest.split_once('"').unwrap().0)
            .collect();
        for (n, href) in (1..).zip(&hrefs) {
            make_disk(&dir.path().join(href), n);
        }
        // Beside the descriptor, and packed from the directory above it.
        let own = dir.path().file_name().unwrap().to_str().unwrap();
        let ova = dir.path().with_extension("ova");
        let mut tar = Command::new("tar");
        tar.arg("-C")
            .arg(dir.path().parent().unwrap())
            .arg("-cf")
            .arg(&ova);
        tar.args(
            hrefs
                .iter()
                .chain(&[descriptor])
                .map(|name| format!("{own}/{name}")),
        );
        assert!(tar.status().unwrap().success());
        for path in [dir.path().join(descriptor), ova.clone()] {
            let images = image::open_all(&path, &OpenOptions::default())
                .unwrap_or_else(|error| panic!("{id}: {error}"));
            let sizes: Vec<_> = images.iter().map(|image| image.device().size()).collect();
            // All of them list their files in the order of the hardware.
            let expected: Vec<_> = (1..).zip(&hrefs).map(|(n, _)| n << 20).collect();
            assert_eq!(sizes, expected, "{id}");
            // `0 [scsi]`, a line for each disk.
            if let Ok(truth) = fs::read_to_string(dir.path().join("expected.txt")) {
                let lines = truth.lines().map(str::trim);
                let disks = lines
                    .skip_while(|line| *line != "disks:")
                    .skip(1)
                    .take_while(|line| line.ends_with(']'))
                    .count();
                assert_eq!(sizes.len(), disks, "{id}");
            }
        }
        println!("vmx-ovf {id:28} {} disks", hrefs.len());
        fs::remove_file(ova).unwrap();
    }
}

/// Writes a disk of `size` MiB, compressed if its name says so.
fn make_disk(path: &Path, size: u64) {
    let bytes = vec![7; usize::try_from(size << 20).unwrap()];
    let options = WriteOptions {
        format: WriteFormat::Qcow2(Qcow2Options::default()),
        ..WriteOptions::default()
    };
    let device = Memory::new(bytes);
    image::write(&device, path, &options, &NoProgress, &Interrupt::default()).unwrap();
    if path.extension().is_some_and(|extension| extension == "gz") {
        let image = fs::read(path).unwrap();
        let file = fs::File::create(path).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
        encoder.write_all(&image).unwrap();
        encoder.finish().unwrap();
    }
}
