//! What the kernel puts on images.

use crate::kernel::{self, Mount};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

/// Some of everything, made by the kernel.
pub fn fill(mount: &Mount) {
    let path = |path: &str| mount.path(path.as_bytes());
    let write = |name: &str, content: &[u8]| fs::write(path(name), content).expect("room");
    for dir in ["etc", "etc/sub", "many", "keep", "empty"] {
        fs::create_dir(path(dir)).expect("room");
    }
    write("etc/fstab", b"/dev/sda1 / ext4 defaults 0 1\n");
    write("etc/sub/empty", b"");
    write("etc/sub/fifty", &[7; 50]);
    write("etc/sub/hundred", &[8; 100]);
    write("large", &vec![9; 700_000]);
    for number in 0..300 {
        write(
            &format!("many/name-of-file-{number:04}"),
            number.to_string().as_bytes(),
        );
    }
    // Written with gaps, so that the map of blocks has several entries.
    let sparse = File::create(path("sparse")).expect("room");
    for block in [0, 5, 20, 300, 1000_u64] {
        sparse.write_all_at(&[3; 4096], block * 8192).expect("room");
    }
    write("keep/one", b"two names");
    fs::hard_link(path("keep/one"), path("keep/two")).expect("room");
    std::os::unix::fs::symlink("etc/fstab", path("short")).expect("room");
    std::os::unix::fs::symlink("x".repeat(150) + "/" + &"y".repeat(150), path("long"))
        .expect("room");
    for (name, arguments) in [
        ("keep/fifo", &["p"][..]),
        ("keep/null", &["c", "1", "3"]),
        ("keep/disk", &["b", "259", "70000"]),
    ] {
        let status = Command::new("mknod")
            .arg(path(name))
            .args(arguments)
            .status();
        assert!(status.expect("mknod runs").success());
    }
    let label = b"system_u:object_r:etc_t:s0\0";
    for (name, xattr, value) in [
        ("etc/fstab", &b"security.selinux"[..], &label[..]),
        ("etc/sub/fifty", b"user.large", &[1; 600]),
        ("etc/sub/hundred", b"user.large", &[1; 600]),
        ("short", b"security.selinux", label),
        ("keep/one", b"trusted.x", b"y"),
    ] {
        kernel::set_xattr(&path(name), xattr, Some(value)).expect("room");
    }
    let acl = [
        &[2, 0, 0, 0][..],
        &[1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff],
        &[2, 0, 4, 0, 0xe8, 3, 0, 0],
        &[4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x10, 0, 4, 0, 0xff, 0xff, 0xff, 0xff],
        &[0x20, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
    ]
    .concat();
    kernel::set_xattr(&path("large"), b"system.posix_acl_access", Some(&acl)).expect("room");
}

/// What is only in the log when the image is copied.
pub fn change(mount: &Mount) {
    let path = |path: &str| mount.path(path.as_bytes());
    fs::write(path("etc/fstab"), b"changed\n").expect("room");
    for number in 0..100 {
        fs::write(path(&format!("etc/new-{number}")), vec![1; number * 90]).expect("room");
    }
    for number in (0..300).step_by(3) {
        fs::remove_file(path(&format!("many/name-of-file-{number:04}"))).expect("it is there");
    }
    fs::create_dir(path("etc/new")).expect("room");
    fs::rename(path("etc/sub/fifty"), path("etc/new/fifty")).expect("it is there");
    fs::remove_dir(path("empty")).expect("it is there");
    // Freed metadata blocks that become data must not be overwritten by older logged content.
    for number in 0..20 {
        fs::create_dir(path(&format!("gone-{number}"))).expect("room");
    }
    kernel::sync(mount);
    for number in 0..20 {
        fs::remove_dir(path(&format!("gone-{number}"))).expect("it is there");
    }
    fs::write(path("over"), vec![0x55; 300_000]).expect("room");
}

/// Files that are open without a name, one of them with much to free.
pub fn orphans(mount: &Mount) -> Vec<File> {
    let open = |name: &str, len: usize| {
        let path = mount.path(name.as_bytes());
        fs::write(&path, vec![6; len]).expect("room");
        kernel::sync(mount);
        let file = File::open(&path).expect("it was just made");
        fs::remove_file(&path).expect("it was just made");
        file
    };
    vec![
        open("open-1", 500_000),
        open("open-2", 10),
        open("open-3", 0),
    ]
}
