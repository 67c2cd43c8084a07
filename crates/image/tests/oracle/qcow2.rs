//! qcow2 images against QEMU.

use crate::qemu::{Lab, assert_same, open};
use image::{Format, OpenOptions};

const SIZE: u64 = (12 << 20) + 5 * 512;

#[test]
fn every_way_to_write_qcow2_reads_the_same() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", SIZE);
    for (name, options) in [
        ("v2", "-o compat=0.10"),
        ("v3", "-o compat=1.1"),
        ("cluster-512", "-o cluster_size=512"),
        ("cluster-4k", "-o cluster_size=4k"),
        ("cluster-2M", "-o cluster_size=2M"),
        ("refcount-1", "-o refcount_bits=1"),
        ("refcount-64", "-o refcount_bits=64"),
        ("lazy", "-o lazy_refcounts=on"),
        ("preallocated", "-o preallocation=metadata"),
        ("zlib-v2", "-c -o compat=0.10"),
        ("zlib", "-c"),
        ("zlib-512", "-c -o cluster_size=512"),
        ("zlib-2M", "-c -o cluster_size=2M"),
        ("zstd", "-c -o compression_type=zstd"),
        ("zstd-4k", "-c -o compression_type=zstd,cluster_size=4k"),
        ("zstd-2M", "-c -o compression_type=zstd,cluster_size=2M"),
        ("extended", "-o extended_l2=on"),
        ("extended-16k", "-o extended_l2=on,cluster_size=16k"),
        (
            "extended-zstd",
            "-c -o extended_l2=on,compression_type=zstd",
        ),
        ("data", "-o data_file=data.bin"),
        ("data-raw", "-o data_file=data-raw.bin,data_file_raw=on"),
    ] {
        lab.img(&format!(
            "convert -O qcow2 {options} source.raw {name}.qcow2"
        ));
        lab.assert_agrees(&format!("{name}.qcow2"), Format::Qcow2);
    }
}

#[test]
fn subclusters_of_each_kind_are_told_apart() {
    let Some(lab) = Lab::new() else { return };
    lab.source("base.raw", 4 << 20);
    lab.img("create -q -f qcow2 -o extended_l2=on,cluster_size=64k -F raw -b base.raw t.qcow2");
    lab.io(
        "t.qcow2",
        &[
            "write -q -P 1 2k 2k",
            "write -q -P 2 70k 1k",
            "write -q -z 80k 6k",
            "write -q -P 3 128k 64k",
            "write -q -z 140k 4k",
            "discard -q 256k 128k",
            "write -q -P 4 1000k 300k",
            "write -q -z -u 1100k 100k",
        ],
    );
    lab.assert_agrees("t.qcow2", Format::Qcow2);
}

#[test]
fn zero_clusters_hide_what_is_below_and_what_was_there() {
    let Some(lab) = Lab::new() else { return };
    lab.source("base.raw", 4 << 20);
    for options in ["compat=1.1", "compat=1.1,cluster_size=4k"] {
        lab.img(&format!(
            "create -q -f qcow2 -o {options} -F raw -b base.raw t.qcow2"
        ));
        lab.io(
            "t.qcow2",
            &[
                "write -q -P 1 0 1M",
                "write -q -z 128k 256k",
                "write -q -z -u 512k 64k",
                "write -q -z 2M 512k",
                "discard -q 3M 256k",
            ],
        );
        lab.assert_agrees("t.qcow2", Format::Qcow2);
    }
}

#[test]
fn every_internal_snapshot_and_the_current_state_are_read() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", 4 << 20);
    for options in [
        "compat=1.1",
        "compat=0.10",
        "compat=1.1,extended_l2=on",
        "compat=1.1,cluster_size=4k",
    ] {
        lab.img(&format!("convert -O qcow2 -o {options} source.raw t.qcow2"));
        lab.img("snapshot -c one t.qcow2");
        lab.io("t.qcow2", &["write -q -P 9 0 300k", "write -q -z 1M 1M"]);
        lab.img("snapshot -c two t.qcow2");
        lab.io("t.qcow2", &["discard -q 2M 512k", "write -q -P 8 3M 64k"]);
        let mut snapshots = vec!["one", "two"];
        if options.contains("1.1") {
            // QEMU resizes no image of version 2 that has snapshots.
            lab.img("resize -q t.qcow2 7M");
            lab.io("t.qcow2", &["write -q -P 7 6M 100k"]);
            lab.img("snapshot -c 3 t.qcow2");
            snapshots.push("3");
        }
        lab.assert_agrees("t.qcow2", Format::Qcow2);
        let names: Vec<_> = open(&lab.path("t.qcow2")).layers()[0]
            .snapshots
            .iter()
            .map(|snapshot| (snapshot.id.clone(), snapshot.name.clone()))
            .collect();
        assert_eq!(names.len(), snapshots.len());
        for (number, (id, name)) in names.iter().enumerate() {
            assert_eq!(
                (id, name.as_str()),
                (&(number + 1).to_string(), snapshots[number])
            );
            lab.img(&format!(
                "convert -l snapshot.name={name} -O raw t.qcow2 truth.raw"
            ));
            let mut truth = std::fs::read(lab.path("truth.raw")).unwrap();
            // QEMU gives every snapshot the size that the disk has now.
            let size = if name == "3" { 7 << 20 } else { 4 << 20 };
            assert!(truth[size..].iter().all(|b| *b == 0));
            truth.truncate(size);
            for wanted in [id, name] {
                let options = OpenOptions {
                    snapshot: Some(wanted.clone()),
                    ..OpenOptions::default()
                };
                let image = image::open(&lab.path("t.qcow2"), &options).unwrap();
                assert_same(&image, &truth, &format!("{options:?}"));
            }
        }
    }
}

#[test]
fn a_snapshot_that_is_not_there_is_told_with_those_that_are() {
    let Some(lab) = Lab::new() else { return };
    lab.img("create -q -f qcow2 t.qcow2 1M");
    let error = |wanted: &str, name: &str| {
        let options = OpenOptions {
            snapshot: Some(wanted.to_owned()),
            ..OpenOptions::default()
        };
        let error = image::open(&lab.path(name), &options).unwrap_err();
        assert!(matches!(error, image::Error::Options { .. }), "{error}");
        error.to_string()
    };
    assert!(error("x", "t.qcow2").contains("has no snapshots inside"));
    for name in ["twin", "twin", "other"] {
        lab.img(&format!("snapshot -c {name} t.qcow2"));
    }
    let text = error("absent", "t.qcow2");
    assert!(text.contains(r#"1 "twin", 2 "twin", 3 "other""#), "{text}");
    let text = error("twin", "t.qcow2");
    assert!(
        text.contains(r#"by its number: 1 "twin", 2 "twin""#),
        "{text}"
    );
    lab.source("source.raw", 1 << 20);
    assert!(error("x", "source.raw").contains("only qcow2 images have snapshots"));
}

#[test]
fn an_overlay_larger_than_its_backing_file_reads_zeros_beyond_it() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", (3 << 20) + 512);
    for backing in ["raw", "qcow2"] {
        lab.img(&format!("convert -O {backing} source.raw base.{backing}"));
        lab.img(&format!(
            "create -q -f qcow2 -F {backing} -b base.{backing} t.qcow2 8M"
        ));
        lab.io(
            "t.qcow2",
            &["write -q -P 5 5M 10k", "write -q -P 6 3100k 1k"],
        );
        lab.assert_agrees("t.qcow2", Format::Qcow2);
        assert_eq!(open(&lab.path("t.qcow2")).layers().len(), 2);
    }
}

#[test]
fn an_overlay_smaller_than_its_backing_file_ends_where_it_says() {
    let Some(lab) = Lab::new() else { return };
    lab.source("base.raw", 8 << 20);
    lab.img("create -q -f qcow2 -F raw -b base.raw t.qcow2 3M");
    lab.io("t.qcow2", &["write -q -P 5 1M 10k"]);
    lab.assert_agrees("t.qcow2", Format::Qcow2);
}

#[test]
fn a_chain_of_every_format_reads_through() {
    let Some(lab) = Lab::new() else { return };
    lab.source("a.raw", 6 << 20);
    lab.img("create -q -f qcow2 -F raw -b a.raw b.qcow2");
    lab.io("b.qcow2", &["write -q -P 1 100k 200k"]);
    lab.img("create -q -f qcow2 -o cluster_size=4k -F qcow2 -b b.qcow2 c.qcow2 9M");
    lab.io(
        "c.qcow2",
        &[
            "write -q -P 2 200k 5k",
            "write -q -z 1M 300k",
            "write -q -P 7 8M 1M",
        ],
    );
    lab.img("create -q -f qcow2 -o extended_l2=on -F qcow2 -b c.qcow2 d.qcow2");
    lab.io(
        "d.qcow2",
        &["write -q -P 3 1100k 3k", "write -q -P 4 8500k 2k"],
    );
    lab.assert_agrees("d.qcow2", Format::Qcow2);
    let layers = open(&lab.path("d.qcow2")).layers().to_vec();
    let formats: Vec<_> = layers.iter().map(|layer| layer.format).collect();
    assert_eq!(
        formats,
        [Format::Qcow2, Format::Qcow2, Format::Qcow2, Format::Raw]
    );
    assert_eq!(layers[3].virtual_size, 6 << 20);
}

#[test]
fn a_raw_backing_file_that_looks_like_qcow2_stays_raw() {
    let Some(lab) = Lab::new() else { return };
    lab.source("source.raw", 1 << 20);
    lab.img("convert -O qcow2 source.raw inner.qcow2");
    std::fs::rename(lab.path("inner.qcow2"), lab.path("base.raw")).unwrap();
    lab.img("create -q -f qcow2 -F raw -b base.raw t.qcow2");
    lab.assert_agrees("t.qcow2", Format::Qcow2);
    assert_eq!(open(&lab.path("t.qcow2")).layers()[1].format, Format::Raw);
}

#[test]
fn a_writer_that_was_killed_leaves_a_readable_image() {
    let Some(lab) = Lab::new() else { return };
    lab.img("create -q -f qcow2 -o lazy_refcounts=on t.qcow2 4M");
    // `abort` ends the program with a signal, so the status is not looked at.
    let _ = std::process::Command::new("qemu-io")
        .args([
            "-c",
            "write -q -P 5 1M 300k",
            "-c",
            "flush",
            "-c",
            "abort",
            "t.qcow2",
        ])
        .current_dir(lab.path(""))
        .output()
        .unwrap();
    let bytes = std::fs::read(lab.path("t.qcow2")).unwrap();
    assert_eq!(bytes[79] & 1, 1, "the dirty bit is set");
    let ours = open(&lab.path("t.qcow2"));
    assert_same(&ours, &lab.truth("t.qcow2", "qcow2"), "dirty");
}

#[test]
fn a_huge_sparse_image_is_walked_without_reading_it() {
    let Some(lab) = Lab::new() else { return };
    lab.img("create -q -f qcow2 t.qcow2 64T");
    lab.io("t.qcow2", &["write -q -P 90 63T 64k"]);
    let image = open(&lab.path("t.qcow2"));
    let device = image.device();
    let extents: Vec<_> = device.extents().map(Result::unwrap).collect();
    assert_eq!(extents.len(), 3);
    assert_eq!(extents[1].range, (63 << 40)..(63 << 40) + 65_536);
    let mut buf = [0; 3];
    device.read_at((63 << 40) - 1, &mut buf).unwrap();
    assert_eq!(buf, [0, 90, 90]);
}

#[test]
fn a_raw_image_of_odd_size_is_read_to_its_last_byte() {
    let Some(lab) = Lab::new() else { return };
    let path = lab.source("odd.raw", (2 << 20) + 77);
    let image = image::open(&path, &OpenOptions::default()).unwrap();
    assert_eq!(image.format(), Format::Raw);
    assert_same(&image, &std::fs::read(&path).unwrap(), "odd");
}
