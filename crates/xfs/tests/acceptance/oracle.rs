//! Who else reads what the driver wrote.

use crate::features::FeatureSet;
use crate::image::mount;
use fs::{FileSystem, Kind};
use fs_acceptance::device::FileDevice;
use fs_acceptance::tree::{self, Depth, Node, Tree, assert_same, join};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use xfs::Xfs;

/// Opens an image for reading and writing in place.
pub(crate) fn open(image: &Path) -> Xfs {
    Xfs::open(FileDevice::open(image)).expect("the driver opens it")
}

/// Fails unless `xfs_repair` finds nothing to repair.
pub(crate) fn xfs_repair_is_content(what: &str, image: &Path) {
    if let Some(found) = xfs_repair_finds(image) {
        panic!("{what}: xfs_repair finds faults:\n{found}");
    }
}

/// What `xfs_repair` finds to repair, if anything.
pub(crate) fn xfs_repair_finds(image: &Path) -> Option<String> {
    let look = || {
        let output = Command::new("xfs_repair")
            .args(["-f", "-n", "-o", "force_geometry"])
            .arg(image)
            .output();
        output.expect("xfs_repair runs")
    };
    let mut output = look();
    // With stripes it works in threads, and 6.1 falls over one of its own now and then: the same
    // image passes the next time. A checker that died has said nothing.
    for _ in 0..4 {
        if output.status.code().is_some() {
            break;
        }
        output = look();
    }
    if output.status.code() == Some(0) {
        return None;
    }
    // What it does is listed by lines that begin so; what it finds is not.
    let steps = [
        "        - ",
        "Phase ",
        "Cannot get host",
        "Repair may fail",
        "the image and the host",
        "No modify flag set",
    ];
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let is_found = |line: &&str| !steps.iter().any(|step| line.starts_with(step));
    let found: Vec<&str> = text.lines().filter(is_found).collect();
    // A program that says nothing and fails is told by its status.
    let status = found
        .is_empty()
        .then(|| format!("{}:\n{text}", output.status));
    Some(status.unwrap_or_else(|| found.join("\n")))
}

/// Fails unless everybody reads the same from an image.
pub(crate) fn everybody_reads(what: &str, image: &Path, set: FeatureSet, want: &Tree) {
    let again = open(image);
    let read = tree::read(&again).unwrap_or_else(|error| panic!("{what}: the driver: {error:?}"));
    assert_same(&format!("{what}: the driver"), want, &read, Depth::All);
    let problems = again.check().expect("readable");
    assert_eq!(problems, [], "{what}");
    drop(again);
    xfs_repair_is_content(what, image);
    others_read(what, image, set, want);
}

/// Fails unless the kernel, or lamxfs in its place, reads this from an image.
pub(crate) fn others_read(what: &str, image: &Path, set: FeatureSet, want: &Tree) {
    if set.mounts {
        let mount = mount(image, "ro");
        assert_same(
            &format!("{what}: the kernel"),
            want,
            &seen(&mount),
            Depth::All,
        );
    } else if set.lamxfs {
        let mut want = want.clone();
        for node in want.values_mut() {
            (node.uid, node.gid) = (0, 0);
        }
        let seen = seen_by_lamxfs(image);
        assert_same(&format!("{what}: lamxfs"), &want, &seen, Depth::Content);
    }
}

/// Everything that the kernel reads, without what it lists a second time: lists of access control
/// lie in attributes of the root user, by other names and in another form.
pub(crate) fn seen(mount: &fs_acceptance::kernel::Mount) -> Tree {
    without_stored_acls(mount.tree())
}

/// Leaves lists of access control only as they are set and read.
pub(crate) fn without_stored_acls(mut tree: Tree) -> Tree {
    for node in tree.values_mut() {
        let stored = |name: &[u8]| name.starts_with(b"trusted.SGI_ACL_");
        node.xattrs.retain(|name, _| !stored(name));
    }
    tree
}

/// An image as lamxfs wants it.
struct Source(File);

impl lamxfs::BlockRead for Source {
    type Error = std::io::Error;

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        self.0.read_exact_at(buf, offset)
    }
}

/// Reads kinds, permissions, content and targets of links through lamxfs.
fn seen_by_lamxfs(image: &Path) -> Tree {
    let file = File::open(image).expect("it is there");
    let size = file.metadata().expect("it is there").len();
    let mut fs = lamxfs::Xfs::open(Source(file), size).expect("lamxfs opens it");
    let mut tree = Tree::new();
    let root = fs
        .resolve(lamxfs::Path::new(b"/"))
        .expect("lamxfs finds the root");
    view_below(&mut fs, root, b"", &mut tree);
    tree
}

fn view_below(fs: &mut lamxfs::Xfs<Source>, inode: lamxfs::Inode, path: &[u8], tree: &mut Tree) {
    let metadata = fs.metadata(&inode).expect("lamxfs reads every inode");
    let kind = match metadata.mode() >> 12 {
        0o10 => Kind::File,
        0o04 => Kind::Dir,
        0o12 => Kind::Symlink,
        0o06 => Kind::BlockDevice,
        0o02 => Kind::CharDevice,
        0o01 => Kind::Fifo,
        _ => Kind::Socket,
    };
    let full = [b"/", path].concat();
    let content = match kind {
        Kind::File => {
            let mut content = vec![0; ondisk::width::usize_of(metadata.size())];
            let read = fs.read_file_at(&inode, 0, &mut content);
            content.truncate(read.expect("lamxfs reads every file"));
            content
        }
        Kind::Symlink => fs
            .read_link(lamxfs::Path::new(&full))
            .expect("lamxfs reads every link"),
        _ => Vec::new(),
    };
    let node = Node {
        kind,
        mode: u16::try_from(metadata.mode() & 0o7777).expect("twelve bits"),
        uid: 0,
        gid: 0,
        content,
        device: None,
        xattrs: Default::default(),
    };
    tree.insert(path.to_vec(), node);
    if kind != Kind::Dir {
        return;
    }
    let entries = fs.read_dir(lamxfs::Path::new(&full));
    for entry in entries.expect("lamxfs lists every directory") {
        if entry.name != b"." && entry.name != b".." {
            let inode = lamxfs::Inode {
                ino: entry.inode_number,
            };
            view_below(fs, inode, &join(path, &entry.name), tree);
        }
    }
}
