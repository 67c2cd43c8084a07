//! File systems: read whole, edited, checked.

use super::{disk, xfs_seal};
use block::Memory;
use fs::{FileSystem, FileSystemEdit, Kind, NewNode, NodeId, Time};
use std::sync::Arc;

/// ext2, ext3 and ext4 on a [sparse](disk) device: walk, check, edit, check again.
pub fn ext4_file_system(data: &[u8]) {
    let Some(bytes) = disk(data) else {
        return;
    };
    let device = Arc::new(Memory::new(bytes));
    // What a probe refuses, opening may refuse too, by another error.
    let _ = ext4::probe(&*device);
    if let Ok(mut ext4) = ext4::Ext4::open(device.clone()) {
        use_file_system(&mut ext4, true);
    }
    if let Ok(mut again) = ext4::Ext4::open(device) {
        walk(&mut again);
    }
}

/// XFS on a [sparse](disk) device: recover, walk, check, edit, check again; as it is, and with right
/// sums in what the input holds, since few damaged structures get past wrong ones.
pub fn xfs_file_system(data: &[u8]) {
    let Some(bytes) = disk(data) else {
        return;
    };
    let mut sealed = bytes.clone();
    let sectors = data.get(2..).unwrap_or_default().chunks_exact(514);
    let sectors = sectors.map(|record| usize::from(u16::from_le_bytes([record[0], record[1]])));
    let touched = sectors.map(|sector| sector * 512);
    xfs_seal::seal(&mut sealed, touched.clone());
    xfs_seal::seal_log(&mut sealed, touched);
    for bytes in [bytes, sealed] {
        let device = Arc::new(Memory::new(bytes));
        // As above.
        let _ = xfs::probe(&*device);
        if let Ok(mut xfs) = xfs::Xfs::open(device.clone()) {
            use_file_system(&mut xfs, true);
        }
        if let Ok(mut again) = xfs::Xfs::open(device) {
            walk(&mut again);
        }
    }
}

/// FAT on a [sparse](disk) device: walk, check, edit, check again.
pub fn fat_file_system(data: &[u8]) {
    let Some(bytes) = disk(data) else {
        return;
    };
    let device = Arc::new(Memory::new(bytes));
    // As above.
    let _ = fat::probe(&*device);
    if let Ok(mut fat) = fat::Fat::open(device.clone()) {
        use_file_system(&mut fat, false);
    }
    if let Ok(mut again) = fat::Fat::open(device) {
        walk(&mut again);
    }
}

/// Reads all of a small tree, edits it, and reads it again. A file system whose check finds
/// nothing is as clean after the edits.
fn use_file_system(fs: &mut dyn FileSystem, full: bool) {
    walk(fs);
    let clean = fs.check().is_ok_and(|problems| problems.is_empty());
    let Ok(editor) = fs.edit() else {
        return;
    };
    editor.set_now(Time {
        seconds: 1_700_000_000,
        nanoseconds: 0,
    });
    if edit(editor, full).is_ok() && editor.commit().is_ok() {
        walk(fs);
        if clean {
            let problems = fs.check().expect("the check of a clean file system");
            assert_eq!(problems, [], "after edits of a clean file system");
        }
    }
}

fn walk(fs: &mut dyn FileSystem) {
    let _ = (fs.info(), fs.space());
    let mut pending = vec![fs.root()];
    let mut left = 300;
    let mut buf = vec![0; 64 << 10];
    while let Some(dir) = pending.pop() {
        let Ok(entries) = fs.entries(dir) else {
            continue;
        };
        for entry in entries {
            if left == 0 {
                return;
            }
            left -= 1;
            let _ = (fs.lookup(dir, &entry.name), fs.xattrs(entry.node));
            match fs.stat(entry.node).map(|meta| meta.kind) {
                Ok(Kind::Dir) => pending.push(entry.node),
                Ok(Kind::File) => {
                    let _ = fs.read_at(entry.node, 0, &mut buf);
                }
                Ok(Kind::Symlink) => {
                    let _ = fs.read_link(entry.node);
                }
                _ => {}
            }
        }
    }
}

/// A bit of everything that a conversion does.
fn edit(fs: &mut dyn FileSystemEdit, full: bool) -> Result<(), fs::Error> {
    let (root, new) = (fs.root(), NewNode::root(0o644));
    let dir = fs.make_dir(root, b"rehost dir", NewNode::root(0o755))?;
    let file = fs.create(dir, b"new file", new)?;
    fs.replace(file, &[0x5a; 9_000])?;
    fs.write_at(file, 20_000, b"end")?;
    let content = fs::read_file(&*fs, file, 1 << 20)?;
    assert_eq!(content.len(), 20_003);
    assert!(content[..9_000].iter().all(|byte| *byte == 0x5a));
    assert!(content[9_000..20_000].iter().all(|byte| *byte == 0));
    fs.truncate(file, 10)?;
    if full {
        fs.set_xattr(
            file,
            b"security.selinux",
            Some(b"system_u:object_r:etc_t:s0"),
        )?;
        fs.symlink(dir, b"link", b"new file", new)?;
    }
    let old = first_file(fs, root)?;
    if let Some((dir, name, node)) = old {
        fs.replace(node, b"replaced")?;
        assert_eq!(fs::read_file(&*fs, node, 1 << 20)?, b"replaced");
        fs.rename((dir, &name), (root, b"moved"))?;
    }
    fs.rename((dir, b"new file"), (root, b"renamed"))?;
    fs.remove(root, b"renamed")
}

/// The first regular file with one name, in the root or one level below.
fn first_file(
    fs: &dyn FileSystem,
    root: NodeId,
) -> Result<Option<(NodeId, Vec<u8>, NodeId)>, fs::Error> {
    let mut dirs = vec![root];
    for entry in fs.entries(root)? {
        if entry.kind == Some(Kind::Dir) && !entry.name.starts_with(b"rehost") {
            dirs.push(entry.node);
        }
    }
    for dir in dirs.into_iter().take(5) {
        for entry in fs.entries(dir)? {
            let meta = fs.stat(entry.node)?;
            if meta.kind == Kind::File && meta.links == 1 {
                return Ok(Some((dir, entry.name, entry.node)));
            }
        }
    }
    Ok(None)
}
