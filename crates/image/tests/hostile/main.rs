//! Damaged and hostile images: a typed error that says what is wrong, never a panic, never wrong
//! bytes. The images are made here, so no tools are needed.

#[path = "../made/vhdx.rs"]
mod craft;
#[path = "../made/esx.rs"]
mod esx;
mod long_tables;
mod make;
mod names;
mod ovf;
mod ovf_archive;
mod ovf_descriptor;
mod package;
mod qcow2;
mod qcow2_bitmap;
mod salvage;
mod vhd;
mod vhdx;
mod vmdk;
mod vmdk_esx;
mod vmdk_names;

use image::{Error, Image, OpenOptions};
use ondisk::width::u64_of;
use std::error::Error as _;
use std::path::Path;

/// Opens an image and reads all of it: extents, then bytes.
fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let image = open(path)?;
    read_device(&image)
}

/// Opens an image; an extent, which tests here call `.extent`, by the descriptor beside it.
fn open(path: &Path) -> Result<Image, Error> {
    let mut path = path.to_owned();
    if path.extension().is_some_and(|e| e == "extent") {
        path.set_extension("vmdk");
    }
    image::open(&path, &OpenOptions::default())
}

fn read_device(image: &Image) -> Result<Vec<u8>, Error> {
    let device = image.device();
    assert!(
        device.size() <= 1 << 40,
        "only images of sane sizes are read here"
    );
    for extent in device.extents().take(10_000) {
        extent?;
    }
    // A flip may make the disk huge; its beginning and end are enough then.
    let len = usize::try_from(device.size().min(8 << 20)).unwrap();
    let mut bytes = vec![0xee; len];
    device.read_at(0, &mut bytes)?;
    let mut end = vec![0; len.min(1000)];
    device.read_at(device.size() - u64_of(end.len()), &mut end)?;
    Ok(bytes)
}

/// An error with all its sources, as the terminal shows it.
fn words(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Asserts that each edit of a sound image leads to an error with certain words.
fn assert_edits_are_told(sound: &[u8], path: &Path, edits: &[(&str, usize, &[u8], &str)]) {
    for (what, offset, bytes, expected) in edits {
        let mut image = sound.to_vec();
        image[*offset..*offset + bytes.len()].copy_from_slice(bytes);
        std::fs::write(path, image).unwrap();
        match read(path) {
            Ok(_) => panic!("{what}: it reads"),
            Err(error) => {
                let words = words(&error);
                assert!(words.contains(expected), "{what}: {words}");
            }
        }
    }
}

/// Asserts that an image that was cut off somewhere reads as the sound one or not at all.
fn assert_cuts_are_told(sound: &[u8], truth: &[u8], path: &Path) {
    let mut refused = 0;
    for part in 0..60 {
        let len = sound.len() * part / 60;
        std::fs::write(path, &sound[..len]).unwrap();
        match read(path) {
            Ok(bytes) => assert!(bytes == truth, "cut to {len} of {} bytes", sound.len()),
            Err(_) => refused += 1,
        }
    }
    // Refcounts stand at the end of what we write, and readers do without.
    assert!(refused >= 40, "only {refused} cuts were noticed");
}

/// Flips some bits in parts of an image, many times: whatever is said, it is said.
fn assert_flips_do_no_harm(sound: &[u8], metadata: &[std::ops::Range<usize>], path: &Path) {
    let mut state = 1_u64;
    let mut random = move |end: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        usize::try_from(state >> 33).unwrap() % end
    };
    let (mut refused, rounds) = (0, 400);
    for _ in 0..rounds {
        let mut image = sound.to_vec();
        for _ in 0..1 + random(4) {
            let range = &metadata[random(metadata.len())];
            image[range.start + random(range.len())] ^= 1 << random(8);
        }
        std::fs::write(path, image).unwrap();
        let sane = |image: &Image| image.device().size() <= 1 << 40;
        match open(path) {
            Ok(image) if sane(&image) => refused += usize::from(read_device(&image).is_err()),
            Ok(_) => {}
            Err(_) => refused += 1,
        }
    }
    assert!(
        refused > rounds / 10,
        "only {refused} of {rounds} were noticed"
    );
}
