//! Initramfs images and the modules in them.

use super::guest_files::sections;
use initramfs::{Initramfs, ModuleTree, Request, cpio};
use std::collections::BTreeMap;
use std::path::Path;

/// initramfs images: segments, contents, and their extension.
pub fn initramfs_image(data: &[u8]) {
    let tree = Tree {
        files: BTreeMap::from([
            (
                "modules.dep",
                &b"kernel/nvme.ko: kernel/nvme-core.ko\nkernel/nvme-core.ko:\n"[..],
            ),
            ("kernel/nvme.ko", b"\x7fELF nvme"),
            ("kernel/nvme-core.ko", b"\x7fELF core"),
        ]),
    };
    extend(data, &tree, true);
}

/// kmod's files, in a module tree and in an initramfs: `\n== NAME\n` begins a file.
pub fn kernel_modules(data: &[u8]) {
    let mut files = sections(data);
    let mut archive = cpio::Writer::new();
    for dir in [
        "lib",
        "lib/modules",
        "lib/modules/6.1.0",
        "lib/modules/6.1.0/kernel",
    ] {
        archive.directory(dir).expect("a plain name");
    }
    for (name, content) in &files {
        // A name that an archive cannot hold is left out of it.
        let _ = archive.file(&format!("lib/modules/6.1.0/{name}"), 0o644, content);
    }
    let archive = archive.finish();
    // Aliases that are no text do not come through a text file and back, nor do paths that an
    // archive holds in another spelling.
    let sound = files
        .iter()
        .all(|(name, content)| name.ends_with(".bin") || is_plain(content));
    extend(
        &archive,
        &Tree {
            files: files.clone(),
        },
        sound,
    );
    let mut empty = cpio::Writer::new();
    empty
        .file("init", 0o755, b"#!/bin/sh\n")
        .expect("a plain name");
    files.entry("kernel/nvme.ko").or_insert(b"\x7fELF nvme");
    extend(&empty.finish(), &Tree { files }, sound);
}

struct Tree<'a> {
    files: BTreeMap<&'a str, &'a [u8]>,
}

impl ModuleTree for Tree<'_> {
    fn release(&self) -> &str {
        "6.1.0"
    }

    fn read(
        &self,
        path: &str,
    ) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        let is_module = Path::new(path).extension().is_some_and(|e| e == "ko");
        Ok(match self.files.get(path) {
            Some(content) => Some(content.to_vec()),
            None if is_module => Some(b"\x7fELF".to_vec()),
            None => None,
        })
    }
}

/// Printable text whose paths are all relative and as short as they can be.
fn is_plain(text: &[u8]) -> bool {
    let relative = |word: &&[u8]| {
        let mut parts = word.split(|byte| *byte == b'/');
        !word.contains(&b'/') || parts.all(|part| !matches!(part, b"" | b"." | b".."))
    };
    let words = text.split(|byte| byte.is_ascii_whitespace() || *byte == b':');
    let printable = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\n');
    text.iter().all(printable)
        && words
            .filter(|word| !word.is_empty())
            .all(|word| relative(&word))
}

/// Reads an initramfs and extends it; with a sound tree the result has the drivers.
fn extend(bytes: &[u8], tree: &dyn ModuleTree, sound: bool) {
    let Ok(initramfs) = Initramfs::read(bytes) else {
        return;
    };
    let _ = (initramfs.kind(), initramfs.stop(), initramfs.segments());
    let wanted = ["nvme", "ena"];
    let _ = initramfs.assess(tree, &wanted);
    let request = Request {
        wanted: &wanted,
        ..Request::default()
    };
    if let Ok(Some(extension)) = initramfs.extend(tree, &request) {
        let extended = extension.apply(bytes);
        let extended = Initramfs::read(&extended).expect("an extended initramfs is read");
        let report = extended
            .assess(tree, &wanted)
            .expect("and its drivers told");
        // Only where modules are looked for do their indexes count.
        let place = extended.contents().real_path("lib/modules");
        let usual = place.is_some_and(|place| matches!(&*place, "lib/modules" | "usr/lib/modules"));
        assert!(report.leave_alone() || !sound || !usual, "{report:?}");
    }
}
