//! Segments that independent programs wrote, and what breaks them.

use initramfs::cpio::Writer;
use initramfs::{Compression, Error, Initramfs, StopReason};
use ondisk::width::u64_of;
use std::io::Write;
use std::process::{Command, Stdio};

/// The archive of one file that is large enough for several blocks of a codec.
fn archive(name: &str) -> Vec<u8> {
    let mut writer = Writer::new();
    let text: Vec<u8> = (0..200_000_u32)
        .flat_map(|number| (number.wrapping_mul(2_654_435_761) >> 20).to_le_bytes())
        .collect();
    writer.file(name, 0o644, &text).unwrap();
    writer.symlink(&format!("{name}.link"), name).unwrap();
    writer.finish()
}

/// Pipes `bytes` through a program; nothing if there is no such program.
fn pipe(program: &str, arguments: &[&str], bytes: &[u8]) -> Option<Vec<u8>> {
    let spawned = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = spawned else {
        println!("skipped: no {program}");
        return None;
    };
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success(), "{program} failed");
    Some(output.stdout)
}

const PACKERS: [(Compression, &str, &[&str]); 8] = [
    (Compression::Gzip, "gzip", &["-nc"]),
    (Compression::Bzip2, "bzip2", &["-c"]),
    (Compression::Xz, "xz", &["-c", "--check=crc32"]),
    (Compression::Lzma, "xz", &["-c", "--format=lzma"]),
    (Compression::Lz4, "lz4", &["-lc"]),
    (Compression::Zstd, "zstd", &["-qc", "-1"]),
    (Compression::Zstd, "zstd", &["-qc", "--no-check", "-19"]),
    (Compression::Gzip, "gzip", &["-c1"]),
];

fn corrupt(bytes: &[u8]) -> String {
    match Initramfs::read(bytes) {
        Err(Error::Corrupt(corrupt)) => corrupt.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_compression_ends_where_its_writer_ended_it() {
    for (compression, program, arguments) in PACKERS {
        let plain = archive("first");
        let Some(packed) = pipe(program, arguments, &plain) else {
            continue;
        };
        for zeros in [4, 5, 512, 70_000] {
            // lz4 has no end mark but 4 zeros; a plain archive starts at a multiple of 4
            let mut bytes = packed.clone();
            bytes.resize((packed.len() + zeros).next_multiple_of(4), 0);
            let second = bytes.len();
            bytes.extend(archive("second"));
            let initramfs = Initramfs::read(&bytes).unwrap();
            let [one, two] = initramfs.segments() else {
                panic!("{program}: {:?}", initramfs.segments());
            };
            assert_eq!(one.compression, Some(compression));
            assert_eq!(
                (one.offset, one.end),
                (0, u64_of(packed.len())),
                "{program}"
            );
            assert_eq!(one.unpacked_size, u64_of(plain.len()));
            assert_eq!((two.offset, two.end), (u64_of(second), u64_of(bytes.len())));
            assert_eq!((one.members, two.members), (2, 2));
            assert!(initramfs.contents().exists("first.link"));
            assert_eq!(initramfs.contents().file("second").unwrap().size(), 800_000);
            assert_eq!(initramfs.stop(), None);
        }
    }
}

#[test]
fn compressed_segments_need_no_padding_between_them() {
    let [Some(one), Some(two), Some(three)] = [
        pipe("gzip", &["-nc"], &archive("one")),
        pipe("zstd", &["-qc"], &archive("two")),
        pipe("gzip", &["-nc"], &archive("three")),
    ] else {
        return;
    };
    let bytes = [&one[..], &two, &three].concat();
    let initramfs = Initramfs::read(&bytes).unwrap();
    let ends: Vec<_> = initramfs.segments().iter().map(|it| it.end).collect();
    let lens = [one.len(), one.len() + two.len(), bytes.len()].map(u64_of);
    assert_eq!(ends, lens);
    assert!(initramfs.contents().exists("three"));
}

#[test]
fn an_lz4_stream_swallows_a_segment_that_follows_it_at_once() {
    let Some(packed) = pipe("lz4", &["-lc"], &archive("first")) else {
        return;
    };
    let bytes = [&packed[..], &archive("second")].concat();
    assert!(corrupt(&bytes).contains("cannot unpack lz4"));
}

#[test]
fn the_kernel_stops_at_a_misaligned_archive() {
    let Some(mut bytes) = pipe("gzip", &["-nc"], &archive("first")) else {
        return;
    };
    bytes.resize(bytes.len().next_multiple_of(4) + 1, 0);
    let offset = u64_of(bytes.len());
    bytes.extend(archive("second"));
    let initramfs = Initramfs::read(&bytes).unwrap();
    let stop = initramfs.stop().unwrap();
    assert_eq!((stop.offset, stop.reason), (offset, StopReason::Misaligned));
    assert!(initramfs.contents().exists("first"));
    assert!(!initramfs.contents().exists("second"));
}

#[test]
fn the_kernel_stops_at_what_it_does_not_know() {
    let mut bytes = archive("first");
    let offset = u64_of(bytes.len());
    // a skippable zstd frame is no zstd magic to the kernel
    bytes.extend([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
    let initramfs = Initramfs::read(&bytes).unwrap();
    let stop = initramfs.stop().unwrap();
    assert_eq!(stop.offset, offset);
    assert_eq!(stop.reason, StopReason::UnknownMagic([0x50, 0x2a]));
}

#[test]
fn lzo_is_unsupported_by_name() {
    let error = Initramfs::read(b"\x89LZO\0\r\n\x1a\n").unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)));
    assert_eq!(error.to_string(), "byte 0: lzo compression");
}

#[test]
fn a_boot_configuration_is_unsupported_by_name() {
    let mut bytes = archive("first");
    let offset = bytes.len();
    bytes.extend(b"kernel.x=\0\0\0");
    bytes.extend(12_u32.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(b"#BOOTCONFIG\n");
    let error = Initramfs::read(&bytes).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("byte {offset}: a boot configuration ends the initramfs")
    );
}

#[test]
fn truncated_streams_are_errors_wherever_they_end() {
    for (compression, program, arguments) in PACKERS {
        let Some(packed) = pipe(program, arguments, &archive("first")) else {
            continue;
        };
        let lens = (2..64).chain((64..packed.len()).step_by(packed.len() / 24));
        for len in lens.chain(packed.len() - 12..packed.len()) {
            let result = Initramfs::read(&packed[..len]);
            // up to 3 bytes after a chunk end an lz4 stream, and an empty stream is sound
            let sound = compression == Compression::Lz4 && (4..8).contains(&len);
            assert_eq!(
                result.is_ok(),
                sound,
                "{program}: {len} of {}",
                packed.len()
            );
        }
    }
}

#[test]
fn garbled_streams_end_without_panic() {
    for (_, program, arguments) in PACKERS {
        let Some(packed) = pipe(program, arguments, &archive("first")) else {
            continue;
        };
        for at in (0..64).chain((64..packed.len()).step_by(packed.len() / 24)) {
            let mut garbled = packed.clone();
            garbled[at] ^= 0x55;
            // whatever it is, it ends
            let _ = Initramfs::read(&garbled);
        }
    }
}

#[test]
fn a_bomb_is_refused() {
    let zeros = vec![0; 80 << 20];
    for (program, arguments) in [("gzip", &["-c1"]), ("zstd", &["-qc"])] {
        let Some(packed) = pipe(program, arguments, &zeros) else {
            continue;
        };
        let error = Initramfs::read(&packed).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
    // as one member
    let mut writer = Writer::new();
    writer.file("bomb", 0o644, &zeros).unwrap();
    if let Some(packed) = pipe("zstd", &["-qc"], &writer.finish()) {
        let error = Initramfs::read(&packed).unwrap_err();
        assert!(matches!(error, Error::TooLarge { .. }), "{error}");
    }
}

#[test]
fn junk_inside_a_compressed_archive_is_an_error() {
    let plain = archive("first");
    let mut junk = plain.clone();
    junk.extend(b"junk");
    let mut misaligned = plain.clone();
    misaligned.push(0);
    misaligned.extend(archive("second"));
    for (bytes, message) in [(junk, "junk"), (misaligned, "multiple of 4")] {
        let Some(packed) = pipe("gzip", &["-nc"], &bytes) else {
            return;
        };
        assert!(corrupt(&packed).contains(message));
    }
}

#[test]
fn archives_of_gnu_cpio_are_read() {
    let directory = tempfile::tempdir().unwrap();
    for path in ["usr", "usr/lib", "etc"] {
        std::fs::create_dir(directory.path().join(path)).unwrap();
    }
    std::fs::write(directory.path().join("etc/one"), "shared").unwrap();
    std::fs::hard_link(
        directory.path().join("etc/one"),
        directory.path().join("etc/two"),
    )
    .unwrap();
    std::os::unix::fs::symlink("usr/lib", directory.path().join("lib")).unwrap();
    for format in ["newc", "crc"] {
        let Ok(output) = Command::new("sh")
            .current_dir(directory.path())
            .args([
                "-c",
                "find . | LC_ALL=C sort | cpio -o --quiet -H \"$0\"",
                format,
            ])
            .output()
        else {
            return;
        };
        if !output.status.success() {
            println!("skipped: no cpio");
            return;
        }
        let initramfs = Initramfs::read(&output.stdout).unwrap();
        let contents = initramfs.contents();
        assert_eq!(contents.read("etc/one"), Some(&b"shared"[..]), "{format}");
        assert_eq!(contents.file("etc/two").unwrap().names(), 2);
        assert_eq!(contents.real_path("lib/x").unwrap(), "usr/lib/x");
        // cpio pads to 512 bytes behind its trailer
        assert_eq!(initramfs.segments().len(), 1);
        assert!(initramfs.segments()[0].end <= u64_of(output.stdout.len()));
    }
}
