//! The properties of plans, over guests in memory. The same over real images: `tests/` of the root.

use convert::{Content, Error, Options, Plan, State, plan};
use fs::{FileSystem, FileSystemEdit, Kind, MemoryFs, NewNode, Time};
use guest::{Content as VolumeContent, Facts, FstabFact, Guest, GuestPath, VolumeFact, VolumeId};

const FSTAB: &str = "# static\n/dev/sda1 /  ext4 errors=remount-ro 0 1\n/dev/sdb1 /data xfs defaults 0 2\n\
                     .host:/ /mnt/hgfs vmhgfs defaults 0 0\n/dev/sr0 /media/cdrom0 udf user,noauto 0 0\n";

fn put(fs: &mut MemoryFs, path: &str, content: &str) {
    let (dirs, name) = path
        .trim_start_matches('/')
        .rsplit_once('/')
        .unwrap_or(("", path));
    let mut dir = fs.root();
    for part in dirs.split('/').filter(|part| !part.is_empty()) {
        dir = match fs.lookup(dir, part.as_bytes()) {
            Ok(found) => found,
            Err(_) => fs
                .make_dir(dir, part.as_bytes(), NewNode::root(0o755))
                .unwrap(),
        };
    }
    let node = fs
        .create(
            dir,
            name.as_bytes(),
            NewNode {
                mode: 0o640,
                uid: 0,
                gid: 7,
            },
        )
        .unwrap();
    fs.replace(node, content.as_bytes()).unwrap();
}

fn guest_with(fstab: &str) -> Guest {
    let mut fs = MemoryFs::new("f0ae", Some("root"));
    put(&mut fs, "/etc/fstab", fstab);
    put(
        &mut fs,
        "/etc/initramfs-tools/conf.d/resume",
        "RESUME=/dev/sda5\n",
    );
    put(&mut fs, "/var/lib/dpkg/status", "");
    Guest::of(Box::new(fs))
}

fn facts() -> Facts {
    let id = VolumeId::partition(0, 1);
    let root = VolumeFact {
        id: id.clone(),
        content: VolumeContent::Unknown,
        uuid: Some("f0ae".to_owned()),
        mounted_at: Some(GuestPath::root()),
        ..VolumeFact::default()
    };
    Facts {
        root: id,
        volumes: vec![root],
        fstab: vec![FstabFact::default()],
        ..Facts::default()
    }
}

fn planned(guest: &Guest) -> Plan {
    plan(guest, &facts(), &Options::default()).unwrap()
}

fn read(guest: &Guest, path: &str) -> String {
    String::from_utf8(guest.read(&path.into(), 1 << 20).unwrap().unwrap()).unwrap()
}

#[test]
fn two_rules_on_one_file_make_one_change_with_both_reasons() {
    let plan = planned(&guest_with(FSTAB));
    let fstab: Vec<_> = plan
        .changes
        .iter()
        .filter(|c| c.path == "/etc/fstab")
        .collect();
    assert_eq!(fstab.len(), 1);
    let rules: Vec<_> = fstab[0]
        .because
        .iter()
        .map(|because| because.rule.as_str())
        .collect();
    assert_eq!(rules, ["fstab-by-uuid", "fstab-nofail"]);
    let diff = fstab[0].diff().unwrap();
    assert!(diff.contains("-/dev/sda1 /  ext4"), "{diff}");
    assert!(diff.contains("+UUID=f0ae /  ext4"), "{diff}");
    assert!(
        diff.contains("+/dev/sdb1 /data xfs defaults,nofail 0 2"),
        "{diff}"
    );
}

#[test]
fn planning_writes_nothing_and_an_applied_guest_needs_nothing() {
    let mut guest = guest_with(FSTAB);
    let plan = planned(&guest);
    assert_eq!(read(&guest, "/etc/fstab"), FSTAB);
    let applied = plan
        .apply(
            &mut guest,
            Time {
                seconds: 5,
                nanoseconds: 0,
            },
        )
        .unwrap();
    assert_eq!(applied.changed, plan.changes.len());
    plan.verify(&guest).unwrap();
    let again = planned(&guest);
    assert!(again.is_empty(), "{}", again.render(true));
    let once_more = plan.apply(&mut guest, Time::default()).unwrap();
    assert_eq!(
        (once_more.changed, once_more.in_place),
        (0, plan.changes.len())
    );
}

#[test]
fn owner_and_mode_stay_and_the_original_is_kept_under_its_own_path() {
    let mut guest = guest_with(FSTAB);
    planned(&guest).apply(&mut guest, Time::default()).unwrap();
    let meta = guest.stat(&"/etc/fstab".into()).unwrap().unwrap();
    assert_eq!((meta.mode, meta.gid), (0o640, 7));
    assert_eq!(read(&guest, "/var/lib/rehost/original/etc/fstab"), FSTAB);
    let receipt = read(&guest, "/var/lib/rehost/receipt.json");
    assert!(
        receipt.contains("/var/lib/rehost/original/etc/fstab"),
        "{receipt}"
    );
    let home = guest.stat(&"/var/lib/rehost".into()).unwrap().unwrap();
    assert_eq!((home.kind, home.mode), (Kind::Dir, 0o700));
}

#[test]
fn a_stale_plan_touches_nothing() {
    let guest = guest_with(FSTAB);
    let plan = planned(&guest);
    let mut changed = guest_with(&format!("{FSTAB}# edited since\n"));
    let error = plan.apply(&mut changed, Time::default()).unwrap_err();
    assert!(matches!(error, Error::Stale(_)), "{error}");
    assert!(error.to_string().contains("/etc/fstab"), "{error}");
    assert!(changed.stat(&"/var/lib/rehost".into()).unwrap().is_none());
    assert_eq!(
        read(&changed, "/etc/initramfs-tools/conf.d/resume"),
        "RESUME=/dev/sda5\n"
    );
}

#[test]
fn a_plan_survives_json() {
    let plan = planned(&guest_with(FSTAB));
    let json = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), plan);
}

#[test]
fn a_plan_of_another_format_is_refused() {
    let mut guest = guest_with(FSTAB);
    let mut plan = planned(&guest);
    plan.format += 1;
    let error = plan.apply(&mut guest, Time::default()).unwrap_err();
    assert!(matches!(error, Error::PlanFormat { .. }), "{error}");
}

#[test]
fn no_room_is_said_before_anything_is_written() {
    let mut fs = MemoryFs::new("f0ae", None);
    put(&mut fs, "/etc/fstab", FSTAB);
    fs.set_free_bytes(100);
    let mut guest = Guest::of(Box::new(fs));
    let error = planned(&guest)
        .apply(&mut guest, Time::default())
        .unwrap_err();
    assert!(matches!(error, Error::NoSpace { free: 100, .. }), "{error}");
    assert_eq!(read(&guest, "/etc/fstab"), FSTAB);
}

#[test]
fn a_skipped_rule_does_nothing_and_an_unknown_one_is_an_error() {
    let guest = guest_with(FSTAB);
    let skip = |rule: &str| Options {
        skip: [rule.to_owned()].into(),
        ..Options::default()
    };
    let options = skip("fstab-nofail");
    let made = plan(&guest, &facts(), &options).unwrap();
    let fstab = made
        .changes
        .iter()
        .find(|c| c.path == "/etc/fstab")
        .unwrap();
    assert_eq!(fstab.because.len(), 1);
    let error = plan(&guest, &facts(), &skip("no-such-rule")).unwrap_err();
    assert!(matches!(error, Error::UnknownRule(_)), "{error}");
}

#[test]
fn what_does_not_read_back_is_not_published() {
    let guest = guest_with(FSTAB);
    let plan = planned(&guest);
    let error = plan.verify(&guest).unwrap_err();
    assert!(matches!(error, Error::Verify(_)), "{error}");
}

#[test]
fn the_original_comes_from_before_the_change() {
    let plan = planned(&guest_with(FSTAB));
    let position = |path: &str| plan.changes.iter().position(|c| c.path == *path).unwrap();
    let original = position("/var/lib/rehost/original/etc/fstab");
    assert!(original < position("/etc/fstab"));
    let State::Absent = plan.changes[original].before else {
        panic!("nothing was there")
    };
    let convert::After::File {
        content: Content::Copy { from, .. },
        ..
    } = &plan.changes[original].after
    else {
        panic!("a copy")
    };
    assert_eq!(*from, "/etc/fstab");
}

/// A guest whose policy gives labels, with `/etc/fstab` labelled as the guest left it.
fn labelled_guest() -> Guest {
    let mut fs = MemoryFs::new("f0ae", Some("root"));
    put(&mut fs, "/etc/fstab", FSTAB);
    put(&mut fs, "/var/lib/dpkg/status", "");
    put(
        &mut fs,
        "/etc/selinux/targeted/contexts/files/file_contexts",
        "/etc(/.*)? a:etc\n/var(/.*)? a:var\n/var/lib/rehost/original(/.*)? a:kept\n",
    );
    let top = fs.root();
    let etc = fs.lookup(top, b"etc").unwrap();
    let fstab = fs.lookup(etc, b"fstab").unwrap();
    for (node, label) in [(top, &b"a:root\0"[..]), (fstab, b"a:mine\0")] {
        fs.set_xattr(node, b"security.selinux", Some(label))
            .unwrap();
    }
    Guest::of(Box::new(fs))
}

#[test]
fn labels_are_planned_written_and_verified() {
    let mut guest = labelled_guest();
    let selinux = guest::Selinux {
        mode: guest::SelinuxMode::Enforcing,
        policy: "targeted".to_owned(),
        has_file_contexts: true,
    };
    let facts = Facts {
        selinux: Some(selinux),
        ..facts()
    };
    let planned = plan(&guest, &facts, &Options::default()).unwrap();
    let json = serde_json::to_string(&planned).unwrap();
    assert_eq!(serde_json::from_str::<Plan>(&json).unwrap(), planned);
    planned.apply(&mut guest, Time::default()).unwrap();
    planned.verify(&guest).unwrap();
    let label = |path: &str| {
        let xattrs = guest.xattrs(&path.into()).unwrap();
        let mut own = xattrs
            .into_iter()
            .filter(|xattr| xattr.name == b"security.selinux");
        own.next()
            .map(|xattr| String::from_utf8(xattr.value).unwrap())
    };
    assert_eq!(
        label("/etc/fstab").as_deref(),
        Some("a:mine\0"),
        "it was there before"
    );
    assert_eq!(label("/var/lib/rehost").as_deref(), Some("a:var\0"));
    assert_eq!(
        label("/var/lib/rehost/original/etc/fstab").as_deref(),
        Some("a:kept\0")
    );
    assert_eq!(
        label("/var/lib/rehost/receipt.json").as_deref(),
        Some("a:var\0")
    );
    let again = plan(&guest, &facts, &Options::default()).unwrap();
    assert!(again.is_empty(), "{}", again.render(true));
    // A label that is not the planned one is found.
    let fstab = "/etc/fstab".into();
    guest
        .set_xattr(&fstab, b"security.selinux", Some(b"a:other\0"))
        .unwrap();
    let error = planned.verify(&guest).unwrap_err().to_string();
    assert!(error.contains("labelled a:other"), "{error}");
}
