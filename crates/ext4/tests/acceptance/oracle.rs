//! Who else reads what the driver wrote.

use crate::features::View;
use crate::image::mount;
use ext4_view::{DirEntryName, FileType};
use fs::{FileSystem, Kind};
use fs_acceptance::tree::{Depth, Node, Tree, assert_same, join};
use std::path::Path;
use std::process::Command;

/// Fails unless `e2fsck` finds nothing to repair.
pub(crate) fn e2fsck_is_clean(image: &Path) {
    let output = Command::new("e2fsck")
        .args(["-f", "-n"])
        .arg(image)
        .output();
    let output = output.expect("e2fsck runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        output.status.code(),
        Some(0),
        "e2fsck finds faults:\n{text}"
    );
}

/// Fails unless everybody reads the same from an image.
pub(crate) fn everybody_reads(image: &Path, view: View, want: &Tree) {
    e2fsck_is_clean(image);
    assert_same("the kernel", want, &mount(image, "ro").tree(), Depth::All);
    if view != View::Nothing {
        let has_hole = |path: &[u8]| {
            let content = want.get(path).map_or(&[][..], |node| &node.content);
            // The smallest hole is a block of 1024 bytes.
            let mut blocks = content.chunks(1024);
            view == View::WithoutHoles && blocks.any(|block| block.iter().all(|byte| *byte == 0))
        };
        let mut want = want.clone();
        for (path, node) in &mut want {
            if has_hole(path) {
                node.content.clear();
            }
        }
        let seen = seen_by_ext4_view(image, &has_hole);
        assert_same("ext4-view", &want, &seen, Depth::Content);
    }
    let again = crate::workload::open(image);
    assert_same(
        "the driver",
        want,
        &fs_acceptance::tree::read(&again).expect("sound"),
        Depth::All,
    );
    assert_eq!(again.check().expect("readable"), []);
}

/// Reads everything but attributes and device numbers through ext4-view.
fn seen_by_ext4_view(image: &Path, skip: &dyn Fn(&[u8]) -> bool) -> Tree {
    let fs = ext4_view::Ext4::load_from_path(image).expect("ext4-view opens it");
    let mut tree = Tree::new();
    view_below(&fs, b"", skip, &mut tree);
    tree
}

fn view_below(fs: &ext4_view::Ext4, path: &[u8], skip: &dyn Fn(&[u8]) -> bool, tree: &mut Tree) {
    let full = [b"/", path].concat();
    let view_path = ext4_view::Path::try_from(full.as_slice()).expect("a possible path");
    let metadata = fs
        .symlink_metadata(view_path)
        .expect("ext4-view reads every inode");
    let kind = match metadata.file_type() {
        FileType::Regular => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
    };
    let content = match kind {
        Kind::File if !skip(path) => fs.read(view_path).expect("ext4-view reads every file"),
        Kind::Symlink => {
            let target = fs.read_link(view_path).expect("ext4-view reads every link");
            AsRef::<[u8]>::as_ref(&target).to_vec()
        }
        _ => Vec::new(),
    };
    tree.insert(
        path.to_vec(),
        Node {
            kind,
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            content,
            device: None,
            xattrs: Default::default(),
        },
    );
    if kind == Kind::Dir {
        for entry in fs
            .read_dir(view_path)
            .expect("ext4-view lists every directory")
        {
            let entry = entry.expect("ext4-view lists every directory");
            let name: DirEntryName<'_> = entry.file_name();
            let name: &[u8] = name.as_ref();
            if name != b"." && name != b".." {
                view_below(fs, &join(path, name), skip, tree);
            }
        }
    }
}
