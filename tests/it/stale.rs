//! A plan that was made for another state of the guest.

use crate::support::{debugfs, phony, temp};
use ::convert::{Error, Options, Plan, plan};
use guest::{Guest, Machine, SourceDisk, VolumeId};
use image::OpenOptions;
use std::fs::{Permissions, copy, set_permissions, write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Where partition 1 begins.
const OFFSET: &str = "?offset=1048576";

fn machine(path: &Path) -> (Machine, VolumeId) {
    let image = image::open(path, &OpenOptions::default()).unwrap();
    let disk = SourceDisk {
        name: path.display().to_string(),
        device: image.device(),
    };
    let machine = Machine::open(vec![disk]).unwrap();
    let root = machine.roots().unwrap()[0].volume.clone();
    (machine, root)
}

fn plan_for(path: &Path) -> Plan {
    let (machine, root) = machine(path);
    let guest = Guest::open(&machine, &root).unwrap();
    let facts = guest::inspect(&machine, &guest).unwrap();
    let plan = plan(&guest, &facts, &Options::default()).unwrap();
    drop(guest);
    assert!(
        machine.disks()[0].overlay.dirty_extents().is_empty(),
        "planning wrote"
    );
    plan
}

#[test]
fn a_stale_plan_touches_nothing() {
    let source = phony(&["debian12"]);
    let plan = plan_for(&source);
    let dir = temp();
    // The first object that the plan changes, one in the middle, and one at its end.
    let paths = [
        "/boot/grub/grub.cfg",
        "/etc/fstab",
        "/etc/udev/rules.d/70-persistent-net.rules",
    ];
    for path in paths {
        let target = dir.path().join("copy.raw");
        copy(&source, &target).unwrap();
        set_permissions(&target, Permissions::from_mode(0o644)).unwrap();
        let edited = dir.path().join("edited");
        write(&edited, "# somebody else was here\n").unwrap();
        let volume = format!("{}{OFFSET}", target.display());
        for request in [
            format!("rm {path}"),
            format!("write {} {path}", edited.display()),
        ] {
            let mut debugfs = Command::new("/usr/sbin/debugfs");
            let status = debugfs
                .args(["-w", "-R", &request, &volume])
                .output()
                .unwrap();
            assert!(status.status.success());
        }
        let text = debugfs(Path::new(&volume), &format!("cat {path}"));
        assert_eq!(text, b"# somebody else was here\n");

        let (machine, root) = machine(&target);
        let overlay = machine.disks()[0].overlay.clone();
        let mut guest = Guest::open(&machine, &root).unwrap();
        let before = overlay.dirty_extents();
        match plan.apply(&mut guest, fs::Time::default()) {
            Err(Error::Stale(stale)) => assert_eq!(stale.path, path),
            other => panic!("{path}: {other:?}"),
        }
        drop(guest);
        assert_eq!(overlay.dirty_extents(), before, "{path}");
    }
}

#[test]
fn a_plan_is_the_same_after_a_round_trip_through_json() {
    let plan = plan_for(&phony(&["ubuntu2004"]));
    let text = serde_json::to_string(&plan).unwrap();
    let read: Plan = serde_json::from_str(&text).unwrap();
    assert_eq!(read, plan);
}
