//! Copies of the guest's configuration inside its initramfs: what they say of the old machine's disks
//! holds until the image is made anew.
//!
//! dracut puts root and resume device into `etc/cmdline.d`, the configuration of LVM, md and multipath
//! beside it, and hooks that wait for the host's devices, if it makes an image for this host only.

use super::{lvm, mdadm, multipath, root_by_uuid};
use guest::boot::CommandLine;
use guest::{DeviceName, Facts};
use initramfs::{Contents, Entry, ExtraFile};
use std::collections::BTreeMap;

/// Where a link leads that hides the file behind it.
const NOWHERE: &str = "/etc/rehost/hidden";
/// Where dracut keeps what has to be true before it goes on, over its versions.
const FINISHED: [&str; 3] = [
    "lib/dracut/hooks/initqueue/finished",
    "var/lib/dracut/hooks/initqueue/finished",
    "initqueue-finished",
];
/// Beginnings of the names that systemd gives to devices by hardware.
const UNITS: [&str; 6] = [
    "dev-sd",
    "dev-vd",
    "dev-hd",
    "dev-xvd",
    r"dev-disk-by\x2did-",
    r"dev-disk-by\x2dpath-",
];
const MULTIPATHD: [&str; 4] = [
    "sbin/multipathd",
    "usr/sbin/multipathd",
    "bin/multipathd",
    "usr/bin/multipathd",
];

/// Files of the initramfs that have to say something else, as they have to be.
pub(super) fn rewritten(contents: &Contents, facts: &Facts) -> BTreeMap<String, ExtraFile> {
    let mut files = BTreeMap::new();
    let mut put = |path: &str, text: String| {
        let data = text.into_bytes();
        files.insert(path.to_owned(), ExtraFile { mode: 0o644, data });
    };
    let text = |path: &str| {
        let data = contents.read(path)?;
        str::from_utf8(data).ok()
    };
    for (name, _) in contents.below("etc/cmdline.d") {
        let path = format!("etc/cmdline.d/{}", String::from_utf8_lossy(name));
        let Some(old) = text(&path) else { continue };
        let mut line = CommandLine::parse(old);
        root_by_uuid::replace(&mut line, facts);
        let new = line.render();
        if new != old {
            put(&path, new);
        }
    }
    for directory in FINISHED {
        for (name, _) in contents.below(directory) {
            let path = format!("{directory}/{}", String::from_utf8_lossy(name));
            // `[ -e "/dev/sda2" ]`: a hook that says nothing is content.
            let device = text(&path).and_then(|text| text.split('"').nth(1));
            if device.is_some_and(|device| DeviceName::parse(device).depends_on_hardware()) {
                put(&path, String::new());
            }
        }
    }
    for path in lvm::CONFIGURATION {
        let path = path.trim_start_matches('/');
        if let Some(new) = text(path).and_then(lvm::widened) {
            put(path, new);
        }
    }
    for path in mdadm::CONFIGURATION {
        let path = path.trim_start_matches('/');
        if let Some(new) = text(path).and_then(mdadm::scanning_all) {
            put(path, new);
        }
    }
    if MULTIPATHD.iter().any(|path| contents.exists(path)) {
        let path = multipath::OWN.trim_start_matches('/');
        put(path, multipath::TEXT.to_owned());
    }
    files
}

/// Devices of the old machine that systemd waits for in the initramfs; nothing that is appended
/// changes that.
pub(super) fn awaited(contents: &Contents) -> Vec<String> {
    let paths = contents.below("etc/systemd/system").map(|(path, _)| path);
    let names = paths.filter_map(|path| {
        let path = str::from_utf8(path).ok()?;
        let (directory, name) = path.rsplit_once('/')?;
        let old = UNITS.iter().any(|unit| name.starts_with(unit));
        let wanted = directory.ends_with(".wants") || directory.ends_with(".requires");
        (old && wanted && name.ends_with(".device")).then(|| name.to_owned())
    });
    names.collect()
}

/// Files of the initramfs that must not be there, as links that lead nowhere: what is appended can
/// replace a file, not remove it.
pub(super) fn hidden(contents: &Contents) -> BTreeMap<String, String> {
    let path = lvm::DEVICES.trim_start_matches('/');
    let there = matches!(contents.entry(path), Some(Entry::File(_)));
    let link = there.then(|| (path.to_owned(), NOWHERE.to_owned()));
    link.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use guest::{Content, VolumeFact, VolumeId};
    use initramfs::Initramfs;
    use initramfs::cpio::Writer;

    fn image(files: &[(&str, &str)]) -> Vec<u8> {
        let mut writer = Writer::new();
        for directory in [
            "etc",
            "etc/cmdline.d",
            "etc/lvm",
            "etc/lvm/devices",
            "etc/systemd",
            "etc/systemd/system",
            "etc/systemd/system/initrd.target.wants",
            "lib",
            "lib/dracut",
            "lib/dracut/hooks",
            "lib/dracut/hooks/initqueue",
            "lib/dracut/hooks/initqueue/finished",
            "usr",
            "usr/sbin",
        ] {
            writer.directory(directory).unwrap();
        }
        for (path, text) in files {
            writer.file(path, 0o644, text.as_bytes()).unwrap();
        }
        writer.finish()
    }

    fn facts() -> Facts {
        let id = VolumeId::partition(0, 2);
        Facts {
            volumes: vec![VolumeFact {
                id,
                uuid: Some("root-uuid".to_owned()),
                content: Content::Unknown,
                ..VolumeFact::default()
            }],
            ..Facts::default()
        }
    }

    #[test]
    fn copies_of_configuration_forget_the_old_disks() {
        let bytes = image(&[
            (
                "etc/cmdline.d/95root-dev.conf",
                " root=/dev/sda2 rootfstype=xfs\n",
            ),
            ("etc/cmdline.d/90lvm.conf", " rd.lvm.lv=rhel/root\n"),
            (
                "etc/lvm/lvm.conf",
                "devices {\n\tfilter = [ \"a|/dev/sda.*|\", \"r|.*|\" ]\n}\n",
            ),
            ("etc/lvm/devices/system.devices", "VERSION=1.1.2\n"),
            ("usr/sbin/multipathd", "ELF"),
        ]);
        let initramfs = Initramfs::read(&bytes).unwrap();
        let files = rewritten(initramfs.contents(), &facts());
        let text = |path: &str| String::from_utf8(files[path].data.clone()).unwrap();
        assert_eq!(
            text("etc/cmdline.d/95root-dev.conf"),
            " root=UUID=root-uuid rootfstype=xfs\n"
        );
        assert!(text("etc/lvm/lvm.conf").contains("nvme"));
        assert_eq!(text("etc/multipath/conf.d/rehost.conf"), multipath::TEXT);
        assert_eq!(files.len(), 3);
        let links = hidden(initramfs.contents());
        assert_eq!(links["etc/lvm/devices/system.devices"], NOWHERE);
    }

    #[test]
    fn nothing_waits_for_old_devices() {
        let hooks = "lib/dracut/hooks/initqueue/finished";
        let wants = "etc/systemd/system/initrd.target.wants";
        let old = format!(r"{hooks}/devexists-\x2fdev\x2fsda2.sh");
        let bytes = image(&[
            (&old, "[ -e \"/dev/sda2\" ]\n"),
            (
                &format!(r"{hooks}/devexists-\x2fdev\x2fdisk\x2fby-uuid\x2f1.sh"),
                "[ -e \"/dev/disk/by-uuid/1\" ]\n",
            ),
            (&format!("{wants}/dev-sda2.device"), ""),
            (&format!(r"{wants}/dev-disk-by\x2duuid-1.device"), ""),
        ]);
        let initramfs = Initramfs::read(&bytes).unwrap();
        let files = rewritten(initramfs.contents(), &facts());
        assert_eq!(files.len(), 1);
        assert!(files[&old].data.is_empty());
        assert_eq!(awaited(initramfs.contents()), ["dev-sda2.device"]);
    }

    #[test]
    fn an_image_without_such_copies_needs_nothing() {
        let bytes = image(&[("etc/cmdline.d/x.conf", "root=UUID=1")]);
        let initramfs = Initramfs::read(&bytes).unwrap();
        assert!(rewritten(initramfs.contents(), &facts()).is_empty());
        assert!(hidden(initramfs.contents()).is_empty());
    }
}
