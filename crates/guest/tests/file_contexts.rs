//! Labels compared with those that libselinux finds, by its program `matchpathcon`: over lines of
//! every kind, and over Debian's policy where that is installed (selinux-policy-default).

use fs::Kind;
use guest::selinux::{FileContexts, Label};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// Lines as policies have them, and odd ones. The second and third files are `.homedirs` and
/// `.local`, then come the substitutions.
const POLICY: [(&str, &str); 5] = [
    (
        "",
        "/.*\tsystem_u:object_r:default_t:s0\n\
         /[^/]+\t--\tsystem_u:object_r:etc_runtime_t:s0\n\
         /\t-d\tsystem_u:object_r:root_t:s0\n\
         /etc(/.*)?\tsystem_u:object_r:etc_t:s0\n\
         /etc/.*\\.lock\t--\tsystem_u:object_r:lock_t:s0\n\
         /etc/.*\\.d/[^/]*\\.conf\t--\tsystem_u:object_r:conf_t:s0\n\
         /etc/sysconfig/network-scripts/.*\t--\tsystem_u:object_r:net_conf_t:s0\n\
         /etc/shadow.*\t--\tsystem_u:object_r:shadow_t:s0\n\
         /etc/shadow\\.bak\tsystem_u:object_r:backup_t:s0\n\
         /etc/resolv\\.conf\tsystem_u:object_r:plain_t:s0\n\
         /var(/.*)?\tsystem_u:object_r:var_t:s0\n\
         /var/lib(/.*)?\tsystem_u:object_r:var_lib_t:s0\n\
         /var/lib/(a|b)/c{2,3}\tsystem_u:object_r:branch_t:s0\n\
         /var/lib/none(/.*)?\t<<none>>\n\
         /usr/lib(64)?/.*\\.so(\\.[^/]*)*\t--\tsystem_u:object_r:lib_t:s0\n\
         /usr/(.*/)?bin(/.*)?\tsystem_u:object_r:bin_t:s0\n\
         /usr/x\\+y\tsystem_u:object_r:escaped_t:s0\n\
         /dev/[0-9].*\t-c\tsystem_u:object_r:usb_t:s0\n\
         /home/[^/]+\t-d\tsystem_u:object_r:user_home_dir_t:s0\n",
    ),
    (
        ".homedirs",
        "/home/[^/]+/.+\tuser_u:object_r:user_home_t:s0\n/root\t-d\troot:object_r:admin_home_t:s0\n",
    ),
    (
        ".local",
        "/srv/web(/.*)?\tsystem_u:object_r:web_t:s0\n/etc/shadow\\.bak\t--\tsystem_u:object_r:local_t:s0\n",
    ),
    (
        ".subs_dist",
        "/run /var/run\n/lib /usr/lib\n/usr/lib/systemd /etc\n/lib/special /srv\n",
    ),
    (".subs", "/opt/web /srv/web\n/opt/lib /lib\n"),
];

const PATHS: &str = "/ /a /etc /etc/ab /etc/a.lock /etc/x.d/a.conf /etc/x.d/a/b.conf /etc/shadow /etc/shadow- \
    /etc/shadow.bak /etc/resolv.conf /etc/resolvxconf /etc/sysconfig/network-scripts/ifcfg-eth0 /var/lib/a/cc \
    /var/lib/a/c /var/lib/b/ccc /var/lib/d/cc /var/lib/none /var/lib/none/x /var/lib/nonex /usr/lib/libc.so.6 \
    /usr/lib64/a/libc.so /usr/lib32/libc.so /usr/bin/x /usr/local/bin /usr/xbin /usr/x+y /usr/xxy /dev/1a \
    /home/a /home/a/b /home/a.b/c /root /root/x /srv/web/a /srv/webs /run/x /runs /lib/x /lib/libm.so /usr/lib/systemd/a.lock \
    /lib/special/x /opt/web/x /opt/lib/libm.so /opt/web /opt/webs /tmp/none";

const KINDS: [(Kind, &str); 4] = [
    (Kind::File, "file"),
    (Kind::Dir, "dir"),
    (Kind::Symlink, "lnk_file"),
    (Kind::CharDevice, "chr_file"),
];

/// The label that libselinux finds for each path; none for none.
fn theirs(policy: &Path, kind: &str, paths: &[String]) -> Vec<Option<String>> {
    let mut labels = Vec::new();
    for paths in paths.chunks(500) {
        let mut command = Command::new("matchpathcon");
        command
            .arg("-f")
            .arg(policy)
            .args(["-n", "-m", kind])
            .args(paths);
        let output = command.output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            text.lines().count(),
            paths.len(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        labels.extend(
            text.lines()
                .map(|line| (line != "<<none>>").then(|| line.to_owned())),
        );
    }
    labels
}

fn ours(policy: &Path) -> FileContexts {
    let read = |suffix: &str| {
        let mut name = policy.as_os_str().to_owned();
        name.push(suffix);
        std::fs::read(name).unwrap_or_default()
    };
    let mut contexts = FileContexts::default();
    for suffix in ["", ".homedirs", ".local"] {
        contexts.add(&read(suffix));
    }
    contexts.substitute(&read(".subs_dist"), &read(".subs"));
    contexts
}

fn compare(policy: &Path, paths: &[String]) {
    let contexts = ours(policy);
    let (mut differences, mut labelled) = (String::new(), 0);
    for (kind, name) in KINDS {
        for (path, theirs) in paths.iter().zip(theirs(policy, name, paths)) {
            let ours = match contexts.label(path, kind) {
                Label::Context(context) => Some(context),
                Label::Unspecified => None,
                Label::Unknown(pattern) => panic!("{pattern} is not understood"),
            };
            labelled += usize::from(ours.is_some());
            if ours != theirs.as_deref() {
                let _ = writeln!(differences, "{path} ({name}): {ours:?}, not {theirs:?}");
            }
        }
    }
    println!("{} paths, {labelled} labels", paths.len());
    assert!(differences.is_empty(), "{differences}");
}

fn has_matchpathcon() -> bool {
    let found = Command::new("matchpathcon")
        .stdin(Stdio::null())
        .output()
        .is_ok();
    if !found {
        println!("skipped: matchpathcon is missing (scripts/setup test installs it)");
    }
    found
}

#[test]
fn lines_of_every_kind_give_the_labels_that_libselinux_gives() {
    if !has_matchpathcon() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("file_contexts");
    for (suffix, text) in POLICY {
        std::fs::write(
            directory.path().join(format!("file_contexts{suffix}")),
            text,
        )
        .unwrap();
    }
    let paths: Vec<String> = PATHS.split_whitespace().map(str::to_owned).collect();
    compare(&policy, &paths);
}

#[test]
fn paths_of_this_machine_get_the_labels_of_a_whole_policy() {
    let policy = Path::new("/etc/selinux/default/contexts/files/file_contexts");
    if !has_matchpathcon() || !policy.exists() {
        println!("skipped: Debian's selinux-policy-default is not installed");
        return;
    }
    let mut paths: Vec<String> = Vec::new();
    let few = if std::env::var_os("REHOST_LONG").is_some() {
        20
    } else {
        1
    };
    for top in [
        "/etc",
        "/usr/bin",
        "/usr/sbin",
        "/usr/lib",
        "/var",
        "/boot",
        "/opt",
        "/usr/share",
    ] {
        below(Path::new(top), &mut paths, few * 300);
    }
    for path in PATHS.split_whitespace() {
        paths.push(path.to_owned());
    }
    for path in [
        "/etc/NetworkManager/system-connections/lan.nmconnection",
        "/etc/NetworkManager/conf.d/99-rehost.conf",
        "/etc/sysconfig/network-scripts/ifcfg-eth0",
        "/etc/systemd/network/10-rehost.link",
        "/etc/systemd/system/vmtoolsd.service",
        "/etc/udev/rules.d/75-persistent-net-generator.rules",
        "/etc/dracut.conf.d/zz-rehost.conf",
        "/etc/resolv.conf",
        "/etc/fstab",
        "/etc/yum.repos.d/vmware-tools.repo",
        "/var/lib/rehost",
        "/var/lib/rehost/original/etc/shadow",
        "/boot/loader/entries/a.conf",
        "/boot/initramfs-5.14.img",
        "/.autorelabel",
    ] {
        paths.push(path.to_owned());
    }
    compare(policy, &paths);
}

/// Paths below a directory, so many of them at most.
fn below(directory: &Path, paths: &mut Vec<String>, most: usize) {
    let (mut waiting, mut taken) = (vec![directory.to_owned()], 0);
    while let Some(directory) = waiting.pop() {
        let mut entries: Vec<_> = std::fs::read_dir(directory)
            .into_iter()
            .flatten()
            .flatten()
            .collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let Ok(path) = entry.path().into_os_string().into_string() else {
                continue;
            };
            if taken == most {
                return;
            }
            if path.contains(char::is_whitespace) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
            paths.push(path);
            taken += 1;
        }
    }
}
