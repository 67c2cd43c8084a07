//! Snapshots by other names than their ids, and as images again.

use crate::copy::{WRITTEN, disk};
use crate::support::{Ran, program, qemu_img, qemu_io, rehost, temp};
use std::path::Path;

fn store(dir: &Path) -> String {
    format!("store:{}", dir.join("s").display())
}

fn replicate(source: &Path, machine: &str, store: &str) -> String {
    let id = rehost!["replicate", source, "--machine", machine, "--to", store].ok();
    id.trim().to_owned()
}

#[test]
fn a_snapshot_deep_in_a_chain_is_exported_into_every_format() {
    let dir = temp();
    let (store, raw) = (store(dir.path()), dir.path().join("disk.raw"));
    disk(&raw, 12);
    let (mut deep, expected) = (String::new(), dir.path().join("expected.raw"));
    for round in 0..6 {
        let at = 700 * round;
        let writes = [
            format!("write -P {round} {at}k 40k"),
            format!("write -z {}k 512k", 1024 * (round + 1)),
            format!("write -P 9 {}k 512", 12_000 - at),
        ];
        qemu_io(&raw, "raw", &writes.each_ref().map(String::as_str));
        let id = replicate(&raw, "web1", &store);
        if round == 3 {
            std::fs::copy(&raw, &expected).unwrap();
            deep = format!("{store}#{id}");
        }
    }
    for (number, (name, qemu_name, options)) in WRITTEN.into_iter().enumerate() {
        let out = dir.path().join(format!("{number}.{name}"));
        let mut command = program();
        command.arg("copy").args(options).arg(&deep).arg(&out);
        Ran::of(command.output().unwrap()).ok();
        qemu_img!["compare", "-f", "raw", "-F", qemu_name, &expected, &out];
        rehost!["compare", "--strict", &deep, &out].ok();
    }
    // Nor does it need what it was made from, or what was made from it.
    let ids = rehost!["snapshots", "list", "--json", &store].json();
    for line in ids.as_array().unwrap() {
        let name = format!("{store}#{}", line["id"].as_str().unwrap());
        if name != deep {
            rehost!["snapshots", "rm", "--keep-children", name].ok();
        }
    }
    rehost!["snapshots", "gc", &store].ok();
    rehost!["compare", "--strict", &deep, &expected].ok();
    rehost!["snapshots", "fsck", &store].ok();
}

#[test]
fn a_snapshot_has_shorter_names_that_mean_one_or_are_refused() {
    let dir = temp();
    let (store, raw) = (store(dir.path()), dir.path().join("disk.raw"));
    disk(&raw, 2);
    let first = replicate(&raw, "web1", &store);
    qemu_io(&raw, "raw", &["write -P 7 0 512"]);
    let second = replicate(&raw, "web1", &store);
    let other = replicate(&raw, "a:b", &store);
    rehost!["replicate", &raw, &raw, "--machine", "pair", "--to", &store].ok();
    let shows = |name: &str| {
        let shown = rehost!["snapshots", "show", "--json", format!("{store}#{name}")];
        shown.json()["id"].as_str().unwrap().to_owned()
    };
    let refused = |name: &str| rehost!["snapshots", "show", format!("{store}#{name}")].failed(1);

    let unique = |id: &str| {
        let all = rehost!["snapshots", "list", "--json", &store].json();
        let ids: Vec<_> = all
            .as_array()
            .unwrap()
            .iter()
            .map(|line| line["id"].clone())
            .collect();
        let starting = |start: &str| {
            let starts = |id: &&serde_json::Value| id.as_str().unwrap().starts_with(start);
            ids.iter().filter(starts).count()
        };
        let mut lengths = 6..id.len();
        id[..lengths.find(|len| starting(&id[..*len]) == 1).unwrap()].to_owned()
    };
    for id in [&first, &second, &other] {
        assert_eq!(shows(&unique(id)), *id);
        assert_eq!(shows(&id[..id.len() - 1]), *id);
    }
    // Five ids of sixteen first digits may all differ: look among more.
    let ids = |start: &str| {
        let names = std::fs::read_dir(dir.path().join("s/snapshots")).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let named = |name: &String| name.starts_with(start) && name.ends_with(".json");
        names.filter(named).count()
    };
    for machine in 0..16 {
        replicate(&raw, &format!("m{machine}"), &store);
    }
    let digits = "0123456789abcdef"
        .chars()
        .map(|digit| format!("snap-{digit}"));
    let shared = digits.into_iter().find(|start| ids(start) > 1).unwrap();
    let said = refused(&shared);
    assert!(said.contains(&format!("{shared} may be snap-")), "{said}");
    assert!(said.contains("give more digits"), "{said}");

    assert_eq!(shows("latest:web1"), second);
    assert_eq!(shows("latest:web1:1"), second);
    assert_eq!(shows("latest:a:b:1"), other);
    assert_ne!(shows("latest:pair:1"), shows("latest:pair:2"));
    for (name, why) in [
        (
            "latest:pair",
            "several disks of \"pair\": name one of pair:1, pair:2",
        ),
        ("latest:web1:3", "web1:1"),
        ("latest:none", "no staging snapshot of a machine \"none\""),
        (
            "converted:web1",
            "no converted snapshot of a machine \"web1\"; it has those of none",
        ),
        ("latest:", "no staging snapshot of a machine \"\""),
        ("snap-", "is no snapshot id"),
        ("snap-0123456789abcdef01", "is no snapshot id"),
        ("snap-G", "is no snapshot id"),
        ("0123", "is no snapshot id"),
        ("../snapshots/x", "is no snapshot id"),
    ] {
        let said = refused(name);
        assert!(said.contains(why), "{name}: {said}");
    }
    // They are names for every command, and what is converted has one too.
    rehost!["compare", "--strict", &raw, format!("{store}#latest:web1")].ok();
    rehost!["snapshots", "rm", format!("{store}#latest:web1")].ok();
    assert_eq!(shows("latest:web1"), first);
    let os = crate::support::phony(&["debian12"]);
    replicate(&os, "os", &store);
    let child = rehost!["convert", format!("{store}#latest:os"), "-o", &store].ok();
    assert_eq!(shows("converted:os"), child.trim());
    let said = rehost!["snapshots", "list", format!("{store}-none")].failed(1);
    assert!(said.contains("there is no store in"), "{said}");

    // What is damaged may be what is meant, so nothing else is.
    std::fs::write(dir.path().join(format!("s/snapshots/{other}.json")), "{}").unwrap();
    let said = rehost!["snapshots", "show", format!("{store}#latest:web1")].failed(4);
    assert!(said.contains(&other), "{said}");
    let ran = rehost!["snapshots", "list", "--json", &store];
    assert!(ran.stderr.contains(&other), "{}", ran.stderr);
    assert!(ran.ended(4).contains(&first), "the others are listed");
    let ran = rehost!["replicate", &raw, "--machine", "web1", "--to", &store];
    assert!(ran.stderr.contains("snapshots fsck"), "{}", ran.stderr);
    ran.ok();
    let list = dir.path().join("changed");
    std::fs::write(&list, "0 512\n").unwrap();
    let mut command = program();
    command
        .arg("replicate")
        .arg(&raw)
        .args(["--machine", "web1", "--to", &store]);
    let said = Ran::of(command.arg("--changed").arg(&list).output().unwrap()).failed(4);
    assert!(said.contains("no list is believed"), "{said}");
    rehost!["snapshots", "rm", format!("{store}#{other}")].ok();
    rehost!["snapshots", "fsck", &store].ok();
}
