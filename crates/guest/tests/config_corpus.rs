//! Configuration files that others made, as input of the parsers.
//!
//! `REHOST_CORPUS` names the directory of cases; without it the test says so and passes. Every
//! file must come back byte for byte from every parser that keeps files. Where a case brings an
//! answer that the parsers claim to give, it is compared, and the table at the end says how many
//! agreed.

use fs::{FileSystem, FileSystemEdit, MemoryFs, NewNode};
use guest::assignment::Assignments;
use guest::boot::{CommandLine, GrubCfg, GrubEnv, LoaderEntry, choose};
use guest::ini::Ini;
use guest::network::{Interfaces, Netplan, UdevRules};
use guest::{Guest, GuestPath};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

#[derive(Default)]
struct Tally {
    files: usize,
    agree: usize,
    differ: Vec<String>,
    not_claimed: usize,
}

#[test]
fn files_of_others_come_back_as_they_were() {
    let Some(corpus) = std::env::var_os("REHOST_CORPUS").map(PathBuf::from) else {
        println!("skipped: REHOST_CORPUS names no directory of cases");
        return;
    };
    for class in ["bootcfg", "netcfg", "confmisc", "osdetect"] {
        let mut tally = Tally::default();
        let packs = std::fs::read_dir(corpus.join(class)).unwrap();
        let mut packs: Vec<PathBuf> = packs.map(|pack| pack.unwrap().path()).collect();
        packs.sort();
        for pack in packs {
            let directory = tempfile::tempdir().unwrap();
            let unpacked = Command::new("tar")
                .args(["--zstd", "-xSf"])
                .arg(&pack)
                .arg("-C")
                .arg(directory.path())
                .status()
                .unwrap();
            assert!(unpacked.success(), "{}", pack.display());
            case(class, directory.path(), &mut tally);
        }
        println!(
            "{class}: {} files kept, {} answers agree, {} differ, {} cases without an answer of ours",
            tally.files,
            tally.agree,
            tally.differ.len(),
            tally.not_claimed
        );
        assert!(tally.differ.is_empty(), "{:#?}", tally.differ);
    }
}

fn case(class: &str, directory: &Path, tally: &mut Tally) {
    let mut files = BTreeMap::new();
    collect(directory, directory, &mut files);
    for bytes in files.values() {
        tally.files += 1;
        round_trip(bytes);
    }
    let description: serde_json::Value = serde_json::from_slice(&files["case.json"]).unwrap();
    let id = description["id"].as_str().unwrap();
    let answer = match class {
        "bootcfg" => {
            grub_default(&description, &files).or_else(|| environment(&description, &files))
        }
        "netcfg" => interface_names(&files),
        _ => None,
    };
    match answer {
        None => tally.not_claimed += 1,
        Some((ours, theirs)) if ours == theirs => tally.agree += 1,
        Some((ours, theirs)) => tally
            .differ
            .push(format!("{id}: {ours:?} is not {theirs:?}")),
    }
}

fn round_trip(bytes: &[u8]) {
    assert_eq!(GrubCfg::parse(bytes).render(), bytes);
    GrubCfg::parse(bytes).entries();
    assert_eq!(LoaderEntry::parse(bytes).render(), bytes);
    assert_eq!(Ini::parse(bytes).render(), bytes);
    assert_eq!(Assignments::parse(bytes).render(), bytes);
    assert_eq!(Interfaces::parse(bytes).render(), bytes);
    assert_eq!(UdevRules::parse(bytes).render(), bytes);
    if let Ok(environment) = GrubEnv::parse(bytes) {
        assert_eq!(environment.render(), bytes);
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        assert_eq!(CommandLine::parse(text).render(), text);
        drop(Netplan::parse(text));
    }
}

/// grubby's questions for the default entry of a `grub.cfg`.
fn grub_default(
    description: &serde_json::Value,
    files: &BTreeMap<String, Vec<u8>>,
) -> Option<(String, String)> {
    let expected = &description["expected"];
    if expected["kind"] != "grub2DisplayTest" {
        return None;
    }
    let arguments: Vec<&str> = expected["args"]
        .as_array()?
        .iter()
        .filter_map(|argument| argument.as_str())
        .collect();
    let cfg = GrubCfg::parse(&files[description["primary"].as_str()?]);
    let mut default = cfg.default().unwrap_or_else(|| "0".to_owned());
    if default.contains('$') {
        let at = arguments.iter().position(|argument| *argument == "--env");
        let environment = at
            .and_then(|at| arguments.get(at + 1))
            .and_then(|name| files.iter().find(|(path, _)| path.ends_with(*name)))
            .or_else(|| files.iter().find(|(path, _)| path.starts_with("grubenv")));
        default = environment
            .and_then(|(_, bytes)| GrubEnv::parse(bytes).ok())
            .and_then(|environment| environment.value("saved_entry"))
            .unwrap_or_else(|| "0".to_owned());
    }
    let entries = cfg.entries();
    let chosen = choose(&entries, &default).or_else(|| choose(&entries, "0"))?;
    let name = chosen.path.last()?;
    let ours = if arguments.contains(&"--default-index") {
        let starts = |entry: &&guest::boot::MenuEntry| entry.kernel.is_some();
        let index = entries
            .iter()
            .filter(starts)
            .position(|entry| entry == chosen)?;
        index.to_string()
    } else if arguments.contains(&"--default-title") {
        name.title.clone()
    } else {
        return None;
    };
    let theirs = String::from_utf8_lossy(&files[expected["expected_file"].as_str()?]).into_owned();
    Some((ours, theirs.trim().to_owned()))
}

/// Whether environment blocks are valid, as the case says.
fn environment(
    description: &serde_json::Value,
    files: &BTreeMap<String, Vec<u8>>,
) -> Option<(String, String)> {
    let valid = description["expected"]["valid"].as_bool()?;
    let (_, bytes) = files.iter().find(|(path, _)| path.ends_with("grubenv"))?;
    let ours = GrubEnv::parse(bytes).is_ok();
    Some((ours.to_string(), valid.to_string()))
}

/// The name of the interface that has each address, where the tree configures it.
fn interface_names(files: &BTreeMap<String, Vec<u8>>) -> Option<(String, String)> {
    let addresses = String::from_utf8_lossy(files.get("root/tmp/macToIP")?).into_owned();
    let theirs = String::from_utf8_lossy(files.get("expected-udev.rule")?).into_owned();
    let guest = guest_of(files);
    let network = guest::network::inspect(&guest).unwrap();
    let mut rules = String::new();
    for line in addresses.lines() {
        let (mac, rest) = line.split_once(":ip:")?;
        let address = rest.split(',').next()?;
        let has = |interface: &&guest::network::Interface| {
            let own = interface.addresses.iter();
            own.filter_map(|own| own.split('/').next())
                .any(|own| own == address)
        };
        if let Some(interface) = network.interfaces.iter().find(has) {
            let name = interface.name.as_deref()?;
            rules.push_str(&format!(
                "SUBSYSTEM==\"net\",ACTION==\"add\",ATTR{{address}}==\"{mac}\",NAME=\"{name}\"\n"
            ));
        }
    }
    // Leases and generated files of the running system are no configuration.
    let claimed = files.keys().any(|path| path.starts_with("root/etc/"))
        && !files.keys().any(|path| path.starts_with("root/run/"));
    claimed.then(|| (rules, theirs.trim_end().to_owned() + "\n"))
}

fn guest_of(files: &BTreeMap<String, Vec<u8>>) -> Guest {
    let mut system = MemoryFs::new("5e1f", None);
    for (path, bytes) in files {
        let Some(path) = path.strip_prefix("root/") else {
            continue;
        };
        let path = GuestPath::from(path);
        let mut parts: Vec<&[u8]> = path.components().collect();
        let name = parts.pop().unwrap();
        let mut directory = system.root();
        for part in parts {
            directory = system
                .lookup(directory, part)
                .or_else(|_| system.make_dir(directory, part, NewNode::root(0o755)))
                .unwrap();
        }
        let file = system
            .create(directory, name, NewNode::root(0o644))
            .unwrap();
        system.replace(file, bytes).unwrap();
    }
    Guest::of(Box::new(system))
}

fn collect(top: &Path, directory: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            collect(top, &path, files);
        } else {
            let name = path
                .strip_prefix(top)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            files.insert(name, std::fs::read(&path).unwrap());
        }
    }
}
