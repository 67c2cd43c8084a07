//! qcow2 images against imago, which shares no code with QEMU. It reads neither zstd nor extended
//! L2 entries.

use crate::qemu::{Lab, open};
use image::{Compression, Qcow2Options, WriteFormat, WriteOptions};
use imago::qcow2::Qcow2;
use imago::{FormatAccess, FormatDriverBuilder, PermissiveImplicitOpenGate};
use ondisk::{Interrupt, NoProgress};
use std::path::Path;

const SIZE: u64 = (6 << 20) + 3 * 512;

/// What imago reads from an image.
fn truth(path: &Path) -> Vec<u8> {
    let image = Qcow2::<imago::file::File>::builder_path(path)
        .open(PermissiveImplicitOpenGate::default())
        .unwrap();
    let access = FormatAccess::new(image);
    let mut bytes = vec![0xee; usize::try_from(access.size()).unwrap()];
    access.read(&mut bytes, 0).unwrap();
    bytes
}

fn content(path: &Path) -> Vec<u8> {
    let device = open(path).device();
    let mut bytes = vec![0xee; usize::try_from(device.size()).unwrap()];
    device.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn imago_reads_what_we_read() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    for (name, options) in [
        ("v2", "-o compat=0.10"),
        ("v3", "-o compat=1.1"),
        ("zlib", "-c"),
        ("zlib-2M", "-c -o cluster_size=2M"),
        ("4k", "-o cluster_size=4k"),
        ("refcount-64", "-o refcount_bits=64"),
        ("data", "-o data_file=data.bin"),
    ] {
        lab.img(&format!(
            "convert -O qcow2 {options} source.raw {name}.qcow2"
        ));
        let path = lab.path(&format!("{name}.qcow2"));
        assert!(content(&path) == truth(&path), "{name}");
    }
    lab.img("create -q -f qcow2 -F qcow2 -b zlib.qcow2 child.qcow2 9M");
    lab.io(
        "child.qcow2",
        &[
            "write -q -P 3 1M 70k",
            "write -q -z 2M 300k",
            "write -q -P 4 8M 9k",
        ],
    );
    let path = lab.path("child.qcow2");
    assert!(content(&path) == truth(&path), "a chain");
}

#[test]
fn imago_reads_what_we_write() {
    let Some(lab) = Lab::new() else { return };
    let source = lab.source("source.raw", SIZE);
    let device = open(&source).device();
    let expected = std::fs::read(&source).unwrap();
    for cluster_size in [4096, 65_536, 2 << 20] {
        for compression in [Compression::None, Compression::Zlib] {
            let options = WriteOptions {
                format: WriteFormat::Qcow2(Qcow2Options {
                    cluster_size,
                    compression,
                }),
                overwrite: true,
                ..WriteOptions::default()
            };
            let to = lab.path("t.qcow2");
            image::write(&device, &to, &options, &NoProgress, &Interrupt::default()).unwrap();
            assert!(truth(&to) == expected, "{cluster_size} {compression:?}");
        }
    }
}
