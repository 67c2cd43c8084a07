//! Extended initramfs, asked by kmod's own programs and read back by ours.

mod guest;

use guest::{Guest, RELEASE, tool};
use initramfs::cpio::Writer;
use initramfs::{ExtraFile, Initramfs, Kind, Method, Request};
use ondisk::width::u64_of;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

const WANTED: [&str; 3] = ["nvme", "xen-blkfront", "virtio_pci"];

/// A binary index of nothing.
const EMPTY_INDEX: [u8; 12] = [0xb0, 7, 0xf4, 0x57, 0, 2, 0, 1, 0, 0, 0, 12];

fn request() -> Request<'static> {
    Request {
        wanted: &WANTED,
        ..Request::default()
    }
}

fn initramfs_tools(guest: &Guest, modules: &[&str]) -> Vec<u8> {
    guest.initramfs(modules, |writer| {
        writer.directory("scripts").unwrap();
        writer.file("scripts/functions", 0o644, b"").unwrap();
        writer.file("init", 0o755, b"#!/bin/sh\n").unwrap();
        writer.directory("conf").unwrap();
        writer.file("conf/modules", 0o644, b"sd_mod\nahci").unwrap();
    })
}

#[test]
fn modprobe_finds_added_drivers_with_all_they_need() {
    let Some(guest) = Guest::new() else { return };
    let original = initramfs_tools(&guest, &["sd_mod", "crc_common"]);
    let initramfs = Initramfs::read(&original).unwrap();
    let extension = initramfs.extend(&guest, &request()).unwrap().unwrap();
    assert_eq!(extension.report.built_in, ["virtio_pci"]);
    assert_eq!(extension.report.absent, ["nvme", "xen_blkfront"]);
    assert_eq!(
        extension.report.to_add,
        ["crc_fast", "crc", "nvme_core", "nvme", "xen_blkfront"]
    );
    let extended = extension.apply(&original);
    let unpacked = guest::unpack(&[&original, &extended[guest::second_segment(&extended)..]]);
    let modprobe = |arguments: &[&str]| {
        let output = Command::new(tool("modprobe").unwrap())
            .args(["-n", "-S", RELEASE, "-d"])
            .arg(unpacked.path())
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = modprobe(&["--show-depends", "nvme"]);
    let loaded: Vec<_> = shown
        .split_whitespace()
        .filter_map(|word| word.rsplit_once('/').map(|(_, name)| name))
        .collect();
    assert_eq!(loaded.last(), Some(&"nvme.ko"));
    for needed in ["crc-common.ko", "crc-fast.ko", "crc.ko", "nvme-core.ko"] {
        assert!(loaded.contains(&needed), "{shown}");
    }
    let device = "pci:v0000144Dd0000A808sv0000144Dsd0000A801bc01sc08i02";
    assert_eq!(modprobe(&["-R", device]), "nvme\n");
    assert_eq!(modprobe(&["-R", "xen:vbd"]), "xen_blkfront\n");
    assert_eq!(modprobe(&["-R", "scsi:t-0x00"]), "sd_mod\n");
    assert_eq!(
        fs::read_to_string(unpacked.path().join("conf/modules")).unwrap(),
        "sd_mod\nahci\nnvme\nxen_blkfront\n"
    );
}

#[test]
fn merged_indexes_are_those_that_depmod_writes() {
    let Some(guest) = Guest::new() else { return };
    let original = initramfs_tools(&guest, &["sd_mod", "crc_common"]);
    let initramfs = Initramfs::read(&original).unwrap();
    let extension = initramfs.extend(&guest, &request()).unwrap().unwrap();
    let extended = extension.apply(&original);
    let unpacked = guest::unpack(&[&original, &extended[guest::second_segment(&extended)..]]);
    let directory = unpacked.path().join("usr/lib/modules").join(RELEASE);
    let names = [
        "modules.dep",
        "modules.dep.bin",
        "modules.alias",
        "modules.alias.bin",
        "modules.softdep",
    ];
    let ours = names.map(|name| fs::read(directory.join(name)).unwrap());
    guest::depmod(unpacked.path());
    for (name, ours) in names.iter().zip(ours) {
        let theirs = fs::read(directory.join(name)).unwrap();
        assert!(ours == theirs, "{name} differs");
    }
}

#[test]
fn extending_again_changes_nothing() {
    let Some(guest) = Guest::new() else { return };
    let original = initramfs_tools(&guest, &["sd_mod"]);
    for method in [Method::Append, Method::AppendCompressed, Method::Repack] {
        let request = Request {
            method,
            ..request()
        };
        let extend = |bytes: &[u8], request: &Request<'_>| {
            let initramfs = Initramfs::read(bytes).unwrap();
            initramfs
                .extend(&guest, request)
                .unwrap()
                .map(|extension| extension.apply(bytes))
        };
        let extended = extend(&original, &request).unwrap();
        assert_eq!(extend(&original, &request).unwrap(), extended);
        assert_eq!(extend(&extended, &request), None);
        let report = Initramfs::read(&extended)
            .unwrap()
            .assess(&guest, &WANTED)
            .unwrap();
        assert!(report.leave_alone(), "{report:?}");
        assert_eq!(report.present, ["nvme", "xen_blkfront"]);
        if method == Method::Repack {
            continue;
        }
        // something else is asked for: the earlier segment goes
        let more = Request {
            resume: Some("UUID=1234"),
            ..request.clone()
        };
        let from_extended = extend(&extended, &more).unwrap();
        assert_eq!(from_extended, extend(&original, &more).unwrap());
        let initramfs = Initramfs::read(&from_extended).unwrap();
        assert_eq!(
            initramfs.contents().read("conf/conf.d/resume"),
            Some(&b"RESUME=UUID=1234\n"[..])
        );
    }
}

#[test]
fn drivers_that_are_there_are_left_alone() {
    let Some(guest) = Guest::new() else { return };
    let modules = ["nvme", "nvme_core", "crc", "crc_common", "xen_blkfront"];
    let original = initramfs_tools(&guest, &modules);
    let initramfs = Initramfs::read(&original).unwrap();
    let report = initramfs
        .assess(&guest, &["nvme", "nvme", "no-such"])
        .unwrap();
    assert_eq!(report.present, ["nvme"]);
    assert_eq!(report.missing, ["no_such"]);
    assert!(report.leave_alone());
    assert_eq!(initramfs.extend(&guest, &request()).unwrap(), None);
}

#[test]
fn drivers_without_indexes_are_indexed() {
    let Some(guest) = Guest::new() else { return };
    let modules = ["nvme", "nvme_core", "crc", "crc_common", "xen_blkfront"];
    let with_indexes = initramfs_tools(&guest, &modules);
    let mut blank = Writer::new();
    for name in ["modules.dep.bin", "modules.dep"] {
        let path = format!("usr/lib/modules/{RELEASE}/{name}");
        // an index of nothing
        let empty = [0xb0, 7, 0xf4, 0x57, 0, 2, 0, 1, 0, 0, 0, 12];
        let data = if name.ends_with("bin") {
            &empty[..]
        } else {
            &[]
        };
        blank.file(&path, 0o644, data).unwrap();
    }
    let mut original = with_indexes;
    original.extend(blank.finish());
    let initramfs = Initramfs::read(&original).unwrap();
    let extension = initramfs.extend(&guest, &request()).unwrap().unwrap();
    assert_eq!(extension.report.unindexed, ["nvme", "xen_blkfront"]);
    let extended = extension.apply(&original);
    let report = Initramfs::read(&extended)
        .unwrap()
        .assess(&guest, &WANTED)
        .unwrap();
    assert!(report.leave_alone(), "{report:?}");
}

#[test]
fn each_kind_gets_its_own_load_list() {
    let Some(guest) = Guest::new() else { return };
    let dracut = |writer: &mut Writer| {
        writer.directory("usr/lib/dracut").unwrap();
        writer.directory("usr/lib/dracut/hooks").unwrap();
    };
    let systemd = |writer: &mut Writer| {
        dracut(writer);
        writer.directory("usr/lib/systemd").unwrap();
        writer
            .file("usr/lib/systemd/systemd-modules-load", 0o755, b"")
            .unwrap();
    };
    let mkinitcpio = |writer: &mut Writer| {
        writer.file("init_functions", 0o755, b"").unwrap();
        writer.file("config", 0o644, b"HOOKS=\"udev\"").unwrap();
    };
    type Build<'a> = &'a dyn Fn(&mut Writer);
    let cases: [(Build<'_>, &str, &str, u32); 3] = [
        (
            &dracut,
            "usr/lib/dracut/hooks/pre-udev/01-rehost.sh",
            "#!/bin/sh\nmodprobe -q nvme\nmodprobe -q xen_blkfront\n",
            0o755,
        ),
        (
            &systemd,
            "etc/modules-load.d/rehost.conf",
            "nvme\nxen_blkfront\n",
            0o644,
        ),
        (
            &mkinitcpio,
            "config",
            "HOOKS=\"udev\"\nMODULES=\"$MODULES nvme xen_blkfront\"\n",
            0o644,
        ),
    ];
    for (build, path, text, mode) in cases {
        let original = guest.initramfs(&[], build);
        let initramfs = Initramfs::read(&original).unwrap();
        assert_ne!(initramfs.kind(), &Kind::Unknown);
        let extension = initramfs.extend(&guest, &request()).unwrap().unwrap();
        let extended = extension.apply(&original);
        let unpacked = guest::unpack(&[&original, &extended[guest::second_segment(&extended)..]]);
        let file = unpacked.path().join(path);
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            mode
        );
    }
}

#[test]
fn the_links_of_the_original_stay() {
    let Some(guest) = Guest::new() else { return };
    let original = initramfs_tools(&guest, &[]);
    let initramfs = Initramfs::read(&original).unwrap();
    let extra = ExtraFile {
        mode: 0o644,
        data: b"x".to_vec(),
    };
    let request = Request {
        extra: [("lib/new/deep/file".to_owned(), extra)].into(),
        ..request()
    };
    let extension = initramfs.extend(&guest, &request).unwrap().unwrap();
    let extended = extension.apply(&original);
    let read = Initramfs::read(&extended).unwrap();
    assert!(read.segments().last().unwrap().ours);
    assert_eq!(read.contents().real_path("lib/x").unwrap(), "usr/lib/x");
    assert!(read.contents().exists("usr/lib/new/deep/file"));
    let nvme = format!("usr/lib/modules/{RELEASE}/kernel/nvme.ko");
    assert!(read.contents().exists(&nvme));
}

#[test]
fn what_others_append_later_is_kept() {
    let Some(guest) = Guest::new() else { return };
    let original = initramfs_tools(&guest, &["sd_mod"]);
    let initramfs = Initramfs::read(&original).unwrap();
    let extension = initramfs.extend(&guest, &request()).unwrap().unwrap();
    let mut extended = extension.apply(&original);
    let mut later = Writer::new();
    let index = format!("usr/lib/modules/{RELEASE}/modules.dep.bin");
    later.file(&index, 0o644, &EMPTY_INDEX).unwrap();
    later.file("etc/later", 0o644, b"x").unwrap();
    extended.extend(later.finish());
    let initramfs = Initramfs::read(&extended).unwrap();
    assert!(initramfs.segments().iter().all(|segment| !segment.ours));
    assert_eq!(initramfs.releases(), [RELEASE]);
    let again = initramfs.extend(&guest, &request()).unwrap().unwrap();
    assert_eq!(again.keep, u64_of(extended.len()));
    assert_eq!(again.report.unindexed, ["nvme", "xen_blkfront"]);
    let again = again.apply(&extended);
    let read = Initramfs::read(&again).unwrap();
    assert!(read.contents().exists("etc/later"));
    assert!(read.assess(&guest, &WANTED).unwrap().leave_alone());
}

#[test]
fn lz4_before_linux_5_10_is_packed_anew() {
    let Some(guest) = Guest::new() else { return };
    let Some(packed) = guest::pipe("lz4", &["-lc"], &initramfs_tools(&guest, &["sd_mod"])) else {
        return;
    };
    let mut early = Writer::new();
    early.directory("kernel").unwrap();
    let mut original = early.finish();
    let keep = u64_of(original.len());
    original.extend(packed);
    let initramfs = Initramfs::read(&original).unwrap();
    let extension = initramfs.extend(&guest, &request()).unwrap().unwrap();
    assert_eq!(extension.method, Method::Append);
    let old = guest.with_release("4.19.0-27-amd64");
    let extension = initramfs.extend(&old, &request()).unwrap().unwrap();
    assert_eq!((extension.method, extension.keep), (Method::Repack, keep));
    let extended = extension.apply(&original);
    let read = Initramfs::read(&extended).unwrap();
    assert_eq!(read.segments().len(), 2);
    assert!(read.contents().exists("scripts/functions"));
    assert!(read.assess(&old, &WANTED).unwrap().leave_alone());
}

#[test]
fn hard_linked_files_are_parted_before_one_is_replaced() {
    let Some(guest) = Guest::new() else { return };
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("conf")).unwrap();
    fs::write(directory.path().join("conf/one"), "both").unwrap();
    fs::hard_link(
        directory.path().join("conf/one"),
        directory.path().join("conf/two"),
    )
    .unwrap();
    let original = guest::pack(directory.path());
    let initramfs = Initramfs::read(&original).unwrap();
    let extra = ExtraFile {
        mode: 0o644,
        data: b"new".to_vec(),
    };
    let request = Request {
        extra: [("conf/two".to_owned(), extra)].into(),
        ..Request::default()
    };
    let extension = initramfs.extend(&guest, &request).unwrap().unwrap();
    let extended = extension.apply(&original);
    let read = Initramfs::read(&extended).unwrap();
    assert_eq!(read.contents().read("conf/one"), Some(&b"both"[..]));
    assert_eq!(read.contents().read("conf/two"), Some(&b"new"[..]));
    let unpacked = guest::unpack(&[&original, &extended[guest::second_segment(&extended)..]]);
    let text = |name| fs::read_to_string(unpacked.path().join(name)).unwrap();
    assert_eq!(
        (text("conf/one"), text("conf/two")),
        ("both".into(), "new".into())
    );
}

#[test]
fn what_the_kernel_never_unpacked_is_cut_off() {
    let Some(guest) = Guest::new() else { return };
    let archive = initramfs_tools(&guest, &[]);
    let end = Initramfs::read(&archive).unwrap().segments()[0].end;
    let original = [&archive[..], b"\0\0\0\0signature"].concat();
    let initramfs = Initramfs::read(&original).unwrap();
    assert!(initramfs.stop().is_some());
    let extension = initramfs.extend(&guest, &request()).unwrap().unwrap();
    assert_eq!(extension.keep, end);
    let extended = extension.apply(&original);
    assert_eq!(Initramfs::read(&extended).unwrap().stop(), None);
}

#[test]
fn modules_are_unpacked_where_the_initramfs_has_them_plain() {
    let Some(mut guest) = Guest::new() else {
        return;
    };
    let original = initramfs_tools(&guest, &["sd_mod"]);
    for (program, suffix) in [("xz", "xz"), ("zstd", "zst"), ("gzip", "gz")] {
        if !guest.compress_modules(program, suffix) {
            return;
        }
        let initramfs = Initramfs::read(&original).unwrap();
        let extension = initramfs.extend(&guest, &request()).unwrap().unwrap();
        let nvme = format!("usr/lib/modules/{RELEASE}/kernel/nvme.ko");
        assert!(extension.files.contains(&nvme), "{:?}", extension.files);
        let extended = extension.apply(&original);
        let unpacked = guest::unpack(&[&original, &extended[guest::second_segment(&extended)..]]);
        assert!(
            fs::read(unpacked.path().join(nvme))
                .unwrap()
                .starts_with(b"\x7fELF")
        );
    }
}

#[test]
fn garbled_guests_end_without_panic() {
    let Some(guest) = Guest::new() else { return };
    let original = initramfs_tools(&guest, &["sd_mod", "nvme_core", "crc", "crc_common"]);
    let extend = |bytes: &[u8]| -> Result<bool, initramfs::Error> {
        let initramfs = Initramfs::read(bytes)?;
        initramfs.assess(&guest, &WANTED)?;
        Ok(initramfs.extend(&guest, &request())?.is_some())
    };
    assert!(extend(&original).unwrap());
    let (mut sound, mut broken) = (0, 0);
    for at in (0..original.len()).step_by(11) {
        for flip in [0x01, 0x80] {
            let mut garbled = original.clone();
            garbled[at] ^= flip;
            match extend(&garbled) {
                Ok(_) => sound += 1,
                Err(_) => broken += 1,
            }
        }
    }
    for len in (0..original.len()).step_by(37) {
        match extend(&original[..len]) {
            Ok(_) => sound += 1,
            Err(_) => broken += 1,
        }
    }
    // both must happen, or nothing was tested
    assert!(sound > 100 && broken > 100, "{sound} {broken}");
}

#[test]
fn a_link_hides_a_file_of_the_initramfs() {
    let Some(guest) = Guest::new() else { return };
    let devices = "etc/lvm/devices/system.devices";
    let original = guest.initramfs(&["sd_mod"], |writer| {
        for directory in ["etc/lvm", "etc/lvm/devices"] {
            writer.directory(directory).unwrap();
        }
        writer.file(devices, 0o600, b"VERSION=1.1.1\n").unwrap();
    });
    let request = Request {
        links: [(devices.to_owned(), "/nowhere".to_owned())].into(),
        ..Request::default()
    };
    let initramfs = Initramfs::read(&original).unwrap();
    let extension = initramfs.extend(&guest, &request).unwrap().unwrap();
    let extended = extension.apply(&original);
    let unpacked = guest::unpack(&[&original, &extended[guest::second_segment(&extended)..]]);
    assert!(!unpacked.path().join(devices).exists());
    let again = Initramfs::read(&extended).unwrap();
    assert!(!again.contents().exists(devices));
    assert_eq!(again.extend(&guest, &request).unwrap(), None);
}
