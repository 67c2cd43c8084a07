//! `--report`, and what `report` and `fleet report` make of it.

use crate::support::{Ran, phony, program, qemu_img, rehost, temp, tool};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn store(dir: &Path) -> String {
    format!("store:{}", dir.join("s").display())
}

#[test]
fn a_conversion_into_a_store_reports_what_it_found_and_did() {
    let dir = temp();
    let store = store(dir.path());
    let image = phony(&["debian12"]);
    let file = dir.path().join("web1.json");
    let staging = rehost!["replicate", &image, "--machine", "web1", "--to", &store].ok();
    let staging = format!("{store}#{}", staging.trim());
    let printed = rehost![
        "convert", &staging, "-o", &store, "--json", "--report", &file
    ]
    .json();
    let report = read(&file);
    assert_eq!(report["apiVersion"], "rehost/v1");
    assert_eq!(report["run"]["command"], "convert");
    assert_eq!(report["run"]["result"], "ok");
    let machine = &report["machines"][0];
    assert_eq!(machine["name"], "web1");
    let source = &machine["sources"][0];
    assert_eq!(source["format"], "store");
    assert_eq!(source["path"], *staging);
    assert!(machine["guest"]["os"].as_str().unwrap().contains("Debian"));
    assert_eq!(machine["guest"]["architecture"], "x86_64");
    let printed = &printed[0];
    let (changes, short) = (&machine["changes"], &printed["changes"]);
    let count = short.as_array().unwrap().len();
    assert!(count > 5);
    assert_eq!(changes.as_array().unwrap().len(), count);
    let fstab = changes.as_array().unwrap().iter();
    let fstab = fstab.clone().find(|it| it["path"] == "/etc/fstab").unwrap();
    assert_eq!(fstab["kind"], "changed");
    assert_eq!(fstab["because"][0]["rule"], "fstab-by-uuid");
    let diff = fstab["diff"]["text"].as_str().unwrap();
    assert!(diff.contains("\n+UUID="), "{diff}");

    // The picture agrees with what the store counted, to the byte.
    let (regions, output) = (&machine["regions"][0], &printed["outputs"][0]);
    assert_eq!(regions["size"], source["size"]);
    assert_eq!(regions["changedSince"], "conversion");
    let blocks = |bytes: &Value| bytes.as_u64().unwrap() / (512 << 10);
    assert_eq!(blocks(&regions["totals"]["uploaded"]), output["put_blocks"]);
    assert!(regions["totals"]["changed"].as_u64().unwrap() > 0);
    assert!(regions["totals"]["changed"].as_u64() <= regions["totals"]["uploaded"].as_u64());
    let parts = regions["parts"].as_array().unwrap();
    assert!(
        parts
            .iter()
            .any(|it| it["name"].as_str().unwrap().ends_with("ext4 /"))
    );
    assert_eq!(machine["outputs"][0]["name"], output["id"]);
    assert_eq!(machine["outputs"][0]["parent"], output["parent"]);
    let steps: Vec<_> = machine["steps"].as_array().unwrap().iter().collect();
    assert!(steps.len() == 3 && steps.iter().all(|it| it["result"] == "ok"));
    assert!(!machine["checks"].as_array().unwrap().is_empty());

    let page = rehost!["report", &file].ok();
    assert!(page.starts_with("<!DOCTYPE html>"));
    assert!(page.contains("/etc/fstab") && page.contains("Regions of the disks"));
    assert!(!page.contains("<script") && !page.contains("src="));
}

#[test]
fn no_report_holds_what_only_root_may_read() {
    let dir = temp();
    let file = dir.path().join("a.json");
    let image = phony(&["debian12"]);
    let out = dir.path().join("a.raw");
    rehost!["convert", &image, "-o", &out, "--report", &file].ok();
    let report = read(&file);
    let changes = report["machines"][0]["changes"].as_array().unwrap();
    for change in changes {
        let protected = ["before", "after"].iter().any(|side| {
            let mode = change[side]["mode"].as_str();
            change[side]["kind"] == "file" && mode.is_some_and(|mode| mode.ends_with('0'))
        });
        let path = change["path"].as_str().unwrap();
        let is_shown = change["diff"].is_object() || change["after"]["sha256"].is_string();
        if protected && !path.starts_with("/boot/") {
            assert!(!is_shown, "{change}");
        }
    }
    let receipt = changes
        .iter()
        .find(|it| it["path"] == "/var/lib/rehost/receipt.json");
    assert!(
        receipt.unwrap()["note"]
            .as_str()
            .unwrap()
            .contains("secret")
    );
}

#[test]
fn replication_reports_where_a_disk_changed() {
    let dir = temp();
    let store = store(dir.path());
    let (raw, file) = (dir.path().join("d.raw"), dir.path().join("d.json"));
    let replicate = || {
        rehost!["replicate", &raw, "--to", &store, "--report", &file].ok();
        read(&file)["machines"][0].take()
    };
    let mut content = vec![7; 4 << 20];
    fs::write(&raw, &content).unwrap();
    let first = replicate();
    assert_eq!(first["regions"][0]["totals"]["uploaded"], 4 << 20);
    assert!(first["regions"][0]["changedSince"].is_null());
    content[(1 << 20) + 5] = 8;
    fs::write(&raw, &content).unwrap();
    let second = replicate();
    let regions = &second["regions"][0];
    assert_eq!(regions["changedSince"], "lastSnapshot");
    assert_eq!(regions["totals"]["changed"], 512 << 10);
    assert_eq!(regions["totals"]["uploaded"], 512 << 10);
    // Cells of 512 KiB: two as before, the one that changed, five as before.
    let runs: Vec<_> = regions["runs"].as_array().unwrap().iter().collect();
    assert_eq!(runs.len(), 3, "{regions}");
    assert_eq!(runs[1][0], 1);
    let third = replicate();
    assert_eq!(third["regions"][0]["totals"]["uploaded"], 0);
    assert_eq!(third["outputs"][0]["made"], false);
    let page = rehost!["report", &file].ok();
    assert!(page.contains("nothing new"), "{page}");
}

#[test]
fn a_run_that_fails_is_reported_with_its_reasons_and_its_status() {
    let dir = temp();
    let file = dir.path().join("a.json");
    let empty = dir.path().join("empty.raw");
    File::create(&empty).unwrap().set_len(1 << 20).unwrap();
    let out = dir.path().join("a.raw");
    let said = rehost!["convert", &empty, "-o", &out, "--report", &file].failed(5);
    let report = read(&file);
    assert_eq!(report["run"]["result"], "failed");
    let machine = &report["machines"][0];
    assert_eq!(machine["result"], "failed");
    for reason in machine["error"].as_array().unwrap() {
        assert!(said.contains(reason.as_str().unwrap()), "{reason}: {said}");
    }
    assert_eq!(machine["steps"][1]["result"], "failed");
    // Run again it replaces its report, here by one of a run that came to no machine.
    rehost!["convert", &empty, "-o", &empty, "--report", &file].failed(1);
    let report = read(&file);
    assert_eq!(report["machines"], Value::Array(Vec::new()));
    assert!(
        report["run"]["error"][0]
            .as_str()
            .unwrap()
            .contains("is a source")
    );
}

#[test]
fn a_report_replaces_reports_alone() {
    let dir = temp();
    let disk = dir.path().join("a.raw");
    fs::write(&disk, vec![7; 1 << 20]).unwrap();
    let store = store(dir.path());
    let before = fs::read(&disk).unwrap();
    let error = rehost!["replicate", &disk, "--to", &store, "--report", &disk].failed(1);
    assert!(error.contains("is no report"), "{error}");
    assert_eq!(fs::read(&disk).unwrap(), before);
    assert!(!dir.path().join("s").exists(), "nothing was done");
    let nowhere = dir.path().join("missing/a.json");
    let error = rehost!["replicate", &disk, "--to", &store, "--report", &nowhere].failed(1);
    assert!(error.contains("is no directory"), "{error}");

    let (report, page) = (dir.path().join("a.json"), dir.path().join("a.html"));
    rehost!["replicate", &disk, "--to", &store, "--report", &report].ok();
    rehost!["report", &report, "-o", &page].ok();
    rehost!["report", &report, "-o", &page].ok();
    let error = rehost!["report", &report, "-o", &disk].failed(1);
    assert!(error.contains("is no HTML page"), "{error}");
    let error = rehost!["report", &disk].failed(1);
    assert!(
        error.contains("a.raw") && error.contains("no JSON"),
        "{error}"
    );
}

#[test]
fn a_fleet_is_well_once_every_machine_went_well() {
    let dir = temp();
    let (store, reports) = (store(dir.path()), dir.path().join("reports"));
    fs::create_dir(&reports).unwrap();
    fs::write(reports.join("other.json"), "{\"kind\": \"State\"}").unwrap();
    let (good, bad) = (dir.path().join("good.raw"), dir.path().join("bad.qcow2"));
    fs::write(&good, vec![7; 1 << 20]).unwrap();
    fs::write(&bad, "QFI\u{fb}").unwrap();
    let replicate = |source: &Path, name: &str, file: &str| {
        let file = reports.join(file);
        rehost![
            "replicate",
            source,
            "--machine",
            name,
            "--to",
            &store,
            "--report",
            file
        ]
    };
    replicate(&good, "web1", "0.json").ok();
    let why = replicate(&bad, "web2", "1.json");
    assert_ne!(why.status, Some(0));
    let page = dir.path().join("fleet.html");
    let text = rehost!["fleet", "report", &reports, "-o", &page].ended(6);
    let line = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_default().to_owned()
    };
    assert!(line(&text, "web1").contains(" ok "), "{text}");
    assert!(line(&text, "web2").contains(" FAILED "), "{text}");
    assert!(
        text.contains("bad.qcow2") && text.contains("1.json"),
        "{text}"
    );
    assert!(fs::read_to_string(&page).unwrap().contains("not all well"));

    replicate(&good, "web2", "2.json").ok();
    let fleet = rehost!["fleet", "report", &reports, "--json"].json();
    assert_eq!(fleet["kind"], "FleetReport");
    assert_eq!(fleet["totals"]["ok"], 2);
    let web2 = &fleet["machines"][1];
    assert!(
        web2["counts"]["report"]
            .as_str()
            .unwrap()
            .ends_with("2.json")
    );
    assert_eq!(web2["others"].as_array().unwrap().len(), 1);
    let text = rehost!["fleet", "report", &reports].ok();
    assert!(text.contains("other attempts: "), "{text}");

    fs::write(reports.join("3.json"), "{").unwrap();
    let error = rehost!["fleet", "report", &reports].failed(1);
    assert!(error.contains("3.json"), "{error}");
    let error = rehost!["fleet", "report", dir.path()].failed(1);
    assert!(error.contains("there is no report"), "{error}");
}

/// The reports that runs left in a directory of state.
fn kept(state: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(state.join("reports")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn a_run_that_is_not_told_where_leaves_its_report_all_the_same() {
    let dir = temp();
    let state = dir.path().join("state");
    let run = |arguments: &[&OsStr]| {
        let mut program = program();
        program.env("REHOST_STATE", &state).args(arguments);
        Ran::of(program.output().unwrap())
    };
    let image = phony(&["debian12"]);
    let store = store(dir.path());
    let raw = dir.path().join("copy.raw");
    let [copy, replicate, convert, to, out, report] =
        ["copy", "replicate", "convert", "--to", "-o", "report"].map(OsStr::new);
    run(&[report]).failed(1);
    run(&[copy, image.as_ref(), raw.as_ref()]).ok();
    run(&[replicate, image.as_ref(), to, store.as_ref()]).ok();
    let failed = run(&[convert, raw.as_ref(), out, raw.as_ref()]);
    assert_ne!(failed.status, Some(0));
    let paths = kept(&state);
    let commands = paths.iter().map(|path| {
        let report = read(path);
        let run = &report["run"];
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&run["command"]), text(&run["result"]))
    });
    let mut commands: Vec<_> = commands.collect();
    commands.sort();
    let expected = [("convert", "failed"), ("copy", "ok"), ("replicate", "ok")];
    let expected = expected.map(|(command, result)| (command.to_owned(), result.to_owned()));
    assert_eq!(commands, expected);

    // All of one second are in no order; the page is of the last one, whichever that is.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    run(&[convert, image.as_ref(), out, store.as_ref()]).ok();
    assert!(run(&[report]).ok().contains("/etc/fstab"));
    let mode = fs::metadata(state.join("reports"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn old_reports_make_room_and_what_is_not_ours_stays() {
    let dir = temp();
    let reports = dir.path().join("reports");
    fs::create_dir(&reports).unwrap();
    for number in 0..150 {
        let name = format!("20200101T000000Z-copy-{number:03}.json");
        fs::write(reports.join(name), "{}").unwrap();
    }
    fs::write(reports.join("a.json"), "mine").unwrap();
    let image = phony(&["debian12"]);
    let raw = dir.path().join("a.raw");
    let mut program = program();
    program.env("REHOST_STATE", dir.path());
    Ran::of(program.arg("copy").args([&image, &raw]).output().unwrap()).ok();
    let left = kept(dir.path());
    assert_eq!(left.len(), 101);
    assert_eq!(fs::read(reports.join("a.json")).unwrap(), b"mine");
    assert!(left[0].ends_with("20200101T000000Z-copy-051.json"));
    assert_eq!(read(&left[99])["run"]["command"], "copy");
}

#[test]
fn a_report_that_cannot_be_kept_fails_no_run() {
    let dir = temp();
    fs::write(dir.path().join("file"), "").unwrap();
    let image = phony(&["debian12"]);
    for (name, value) in [
        ("REHOST_STATE", dir.path().join("file")),
        ("HOME", "".into()),
    ] {
        let raw = dir.path().join(name);
        let mut program = program();
        program
            .env_remove("REHOST_STATE")
            .env_remove("XDG_STATE_HOME")
            .env(name, value);
        let ran = Ran::of(program.arg("copy").args([&image, &raw]).output().unwrap());
        assert_eq!(
            ran.stderr.contains("not kept"),
            name == "REHOST_STATE",
            "{}",
            ran.stderr
        );
        ran.ok();
        assert!(raw.exists());
    }
}

#[test]
fn a_copy_reports_what_it_could_not_read() {
    let dir = temp();
    let image = dir.path().join("short.qcow2");
    qemu_img!["create", "-f", "qcow2", &image, "4M"];
    tool(
        Command::new("qemu-io")
            .args(["-c", "write -P 7 0 2M"])
            .arg(&image),
    );
    let whole = fs::metadata(&image).unwrap().len();
    File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(whole - (1 << 20))
        .unwrap();
    let (raw, file) = (dir.path().join("a.raw"), dir.path().join("a.json"));
    rehost!["copy", "--salvage", &image, &raw, "--report", &file].ended(4);
    let report = read(&file);
    let machine = &report["machines"][0];
    assert_eq!(machine["name"], "short");
    let finding = &machine["findings"][0];
    assert_eq!(
        (&finding["rule"], &finding["severity"]),
        (&"copy".into(), &"problem".into())
    );
    assert_eq!(machine["outputs"][0]["name"], raw.display().to_string());
    assert_eq!(machine["regions"][0]["size"], 4 << 20);
}
