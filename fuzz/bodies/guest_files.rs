//! Configuration files of guests, and what the rules make of them.

use fs::{FileSystem, FileSystemEdit, Kind, NewNode, Time};
use std::collections::BTreeMap;

/// fstab and crypttab: what is not changed stays as it was, byte by byte.
pub fn mount_tables(data: &[u8]) {
    let mut fstab = guest::fstab::Fstab::parse(data);
    assert_eq!(fstab.render(), data);
    for entry in fstab.entries_mut() {
        let (spec, passno) = (entry.spec(), entry.passno());
        entry.add_option("nofail");
        entry.set_passno(passno.wrapping_add(1));
        entry.remove_option("nofail");
        assert_eq!(entry.spec(), spec);
        entry.set_spec("UUID=a b");
        assert_eq!(entry.spec(), b"UUID=a b");
        let _ = (entry.mount_point(), entry.vfstype(), entry.options());
    }
    let again = guest::fstab::Fstab::parse(&fstab.render());
    assert_eq!(again.entries().count(), fstab.entries().count());
    let mut crypttab = guest::crypttab::Crypttab::parse(data);
    assert_eq!(crypttab.render(), data);
    for entry in crypttab.entries_mut() {
        entry.set_device("UUID=1");
        assert_eq!(entry.device(), "UUID=1");
        entry.add_option("nofail");
        let _ = (entry.name(), entry.key_file(), entry.options());
    }
}

/// Boot loader files.
pub fn boot_files(data: &[u8]) {
    use guest::boot::{
        CommandLine, GrubCfg, GrubEnv, GrubLegacy, LoaderEntry, choose, compare_entries,
        device_map, name_of, with_default,
    };
    let mut grub = GrubCfg::parse(data);
    assert_eq!(grub.render(), data);
    let entries = grub.entries();
    let default = grub.default().unwrap_or_default();
    let _ = (
        choose(&entries, &default),
        grub.kernels(),
        grub.blscfg(),
        grub.commands("set"),
    );
    grub.edit_kernels(|_, line| {
        line.remove(|word| word.starts_with("rd."));
        line.push("nvme_core.io_timeout=4294967295");
    });
    let kernels = GrubCfg::parse(&grub.render()).kernels().len();
    assert_eq!(kernels, grub.kernels().len());
    for entry in entries.iter().take(100) {
        let _ = name_of(&entries, entry, true);
    }
    let _ = (grub.entries_before_blscfg(), grub.is_stub());
    grub.edit_kernel_options(|line| line.push("console=ttyS0"));
    if grub.set_default("a>\"b") {
        let now = GrubCfg::parse(&grub.render()).default();
        // What a variable says is not written over, and goes before what is.
        assert!(default.contains('$') || now.as_deref() == Some("a>\"b"));
    }
    let mut legacy = GrubLegacy::parse(data);
    assert_eq!(legacy.render(), data);
    let count = legacy.entries().len();
    legacy.edit_kernels(|_, line| line.push("console=ttyS0"));
    legacy.set_default(7);
    legacy.replace_commands(&["terminal"], "terminal serial\n");
    assert_eq!(legacy.entries().len(), count);
    let _ = with_default(data, "x.conf");
    let names: Vec<_> = data.split(|byte| *byte == b'\n').take(16).collect();
    for pair in names.windows(2) {
        let [one, other] = [pair[0], pair[1]].map(String::from_utf8_lossy);
        let order = compare_entries(&one, &other);
        assert_eq!(order.reverse(), compare_entries(&other, &one));
    }
    if let Ok(mut env) = GrubEnv::parse(data)
        && env.set("saved_entry", "0").is_ok()
    {
        let again = GrubEnv::parse(&env.render()).expect("what was rendered parses");
        assert_eq!(again.value("saved_entry").as_deref(), Some("0"));
    }
    let mut entry = LoaderEntry::parse(data);
    assert_eq!(entry.render(), data);
    let _ = entry.options();
    entry.edit_options(|line, first| {
        if first {
            line.push("console=ttyS0");
        }
    });
    let _ = device_map(data);
    if let Ok(text) = str::from_utf8(data) {
        assert_eq!(CommandLine::parse(text).render(), text);
    }
}

/// Network configuration, and the plain formats that other files share with it.
pub fn network_files(data: &[u8]) {
    use guest::network::{IfaceEdit, Interfaces, Netplan, UdevRules};
    let mut interfaces = Interfaces::parse(data);
    assert_eq!(interfaces.render(), data);
    let _ = (interfaces.autos(), interfaces.sources());
    interfaces.edit(|iface| match iface.options.len() {
        0 => IfaceEdit::Keep,
        1 => IfaceEdit::Remove,
        _ => IfaceEdit::Change {
            method: String::from("dhcp"),
            drop: vec![0],
        },
    });
    let _ = Interfaces::parse(&interfaces.render()).ifaces();
    let mut rules = UdevRules::parse(data);
    assert_eq!(rules.render(), data);
    let _ = rules.naming();
    rules.remove_naming();
    assert_eq!(UdevRules::parse(&rules.render()).naming().len(), 0);
    let _ = guest::network::name_servers(data);
    let mut ini = guest::ini::Ini::parse(data);
    assert_eq!(ini.render(), data);
    ini.set("Network", "DHCP", "yes");
    assert!(ini.values("Network", "DHCP").any(|value| value == "yes"));
    let mut assignments = guest::assignment::Assignments::parse(data);
    assert_eq!(assignments.render(), data);
    assignments.set("BOOTPROTO", "dhcp");
    assert_eq!(assignments.value("BOOTPROTO").as_deref(), Some("dhcp"));
    if let Ok(text) = str::from_utf8(data)
        && let Ok(netplan) = Netplan::parse(text)
    {
        for definition in &netplan.definitions {
            let _ = (
                definition.name(),
                definition.is_wildcard(),
                definition.ipv4(),
            );
        }
    }
}

/// All rules over a guest of these files: `\n== PATH\n` begins one. What was applied is there then;
/// where a file is in the way of a directory, it cannot be.
pub fn guest_files(data: &[u8]) {
    let mut system = fs::MemoryFs::new("root-uuid", None);
    for (path, content) in sections(data) {
        put(&mut system, path, content);
    }
    let mut guest = guest::Guest::of(Box::new(system));
    let (Ok(boot), Ok(kernels)) = (guest::boot::inspect(&guest), guest::kernels(&guest)) else {
        return;
    };
    let mut facts = guest::Facts {
        cloud_init: guest::cloud_init::inspect(&guest, &boot).ok().flatten(),
        network: guest::network::inspect(&guest).unwrap_or_default(),
        kernels,
        boot,
        ..guest::Facts::default()
    };
    facts.os = guest::Os::of(&guest).ok().flatten().unwrap_or_default();
    let options = convert::Options::default();
    if let Ok(plan) = convert::plan(&guest, &facts, &options)
        && plan.apply(&mut guest, Time::default()).is_ok()
    {
        plan.verify(&guest).expect("what was done is there");
    }
    let _ = convert::readiness(&guest, &facts);
}

/// A file and its directories, where nothing is in their way.
fn put(system: &mut fs::MemoryFs, path: &str, content: &[u8]) -> Option<()> {
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let name = parts.pop()?;
    let mut dir = system.root();
    for part in parts {
        dir = match system.lookup(dir, part.as_bytes()) {
            Ok(found) => found,
            Err(_) => system
                .make_dir(dir, part.as_bytes(), NewNode::root(0o755))
                .ok()?,
        };
    }
    let name = name.as_bytes();
    let node = system.create(dir, name, NewNode::root(0o644)).ok()?;
    system.replace(node, content).ok()
}

/// What the rules make of one file of network configuration: the first byte says which file it is,
/// the second of which release the guest is, the rest is what it holds. What was converted once is
/// right.
pub fn network_conversion(data: &[u8]) {
    const FILES: [&str; 12] = [
        "/etc/sysconfig/network-scripts/ifcfg-eth0",
        "/etc/sysconfig/network-scripts/ifcfg-eth0:1",
        "/etc/sysconfig/network",
        "/etc/NetworkManager/system-connections/lan.nmconnection",
        "/etc/NetworkManager/conf.d/00-server.conf",
        "/etc/systemd/network/10-lan.link",
        "/etc/systemd/network/10-lan.network",
        "/etc/udev/rules.d/70-persistent-net.rules",
        "/etc/network/interfaces",
        "/etc/sysconfig/network/ifcfg-eth0",
        "/etc/yum.repos.d/a.repo",
        "/etc/selinux/config",
    ];
    const RELEASES: [&str; 6] = ["6.10", "7.9", "8.9", "9.4", "10.0", "x"];
    let [file, release, content @ ..] = data else {
        return;
    };
    let mut root = fs::MemoryFs::new("1-2", None);
    let file = FILES[usize::from(*file) % FILES.len()];
    let files = [
        (file, content),
        ("/usr/lib/systemd/network/99-default.link", b""),
        ("/usr/sbin/NetworkManager", b""),
    ];
    for (path, content) in files {
        put(&mut root, path, content).expect("nothing is in their way");
    }
    let mut guest = guest::Guest::of(Box::new(root));
    let facts = |guest: &guest::Guest| {
        let boot = guest::Boot::default();
        guest::Facts {
            os: guest::Os {
                family: guest::Family::Rhel,
                version: Some(RELEASES[usize::from(*release) % RELEASES.len()].to_owned()),
                ..guest::Os::default()
            },
            network: guest::network::inspect(guest).expect("memory can be read"),
            selinux: guest::selinux::inspect(guest, &boot).expect("memory can be read"),
            boot,
            ..guest::Facts::default()
        }
    };
    let options = convert::Options::default();
    let plan = convert::plan(&guest, &facts(&guest), &options).expect("there is a plan");
    plan.apply(&mut guest, Time::default()).expect("it fits");
    plan.verify(&guest).expect("it was done");
    let again = convert::plan(&guest, &facts(&guest), &options).expect("there is a plan");
    assert!(again.is_empty(), "{}", again.render(true));
}

/// The files in which an SELinux policy has its labels.
pub fn file_contexts(data: &[u8]) {
    use guest::selinux::FileContexts;
    let mut contexts = FileContexts::default();
    contexts.add(data);
    let paths = [
        "/",
        "/etc/fstab",
        "/etc/a.d/b.conf",
        "/usr/lib64/libc.so.6",
        "/var/lib/x y",
    ];
    for substitutions in [&b""[..], data] {
        contexts.substitute(substitutions, substitutions);
        for path in paths {
            for kind in [Kind::File, Kind::Dir, Kind::Symlink] {
                let _ = contexts.label(path, kind);
            }
        }
    }
}

/// The files of input with `\n== NAME\n` before each.
pub(super) fn sections(data: &[u8]) -> BTreeMap<&str, &[u8]> {
    let mut files = BTreeMap::new();
    let marks = (0..data.len()).filter(|at| data[*at..].starts_with(b"\n== "));
    let marks: Vec<_> = marks.take(20).collect();
    for (index, mark) in marks.iter().enumerate() {
        let end = marks.get(index + 1).copied().unwrap_or(data.len());
        let section = &data[mark + 4..end];
        let Some(name_end) = section.iter().position(|byte| *byte == b'\n') else {
            continue;
        };
        if let Ok(name) = str::from_utf8(&section[..name_end]) {
            files.insert(name, &section[name_end + 1..]);
        }
    }
    files
}
