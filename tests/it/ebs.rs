//! The program against a fake of EBS that checks what the real service checks, over real sockets.

use crate::support::{Ran, phony, program, qemu_img, qemu_io, rehost, temp};
use fake_aws::{Action, Config, Credentials, FakeAws, Faults, Signatures, State};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;
const BLOCK: u64 = 512 << 10;
const KEY: &str = "AKIAREHOSTPROGRAMTEST";
const SECRET: &str = "wJalrXUtnFEMI-a-secret-that-nobody-may-see";
const TOKEN: &str = "a-session-token-that-nobody-may-see";

/// A fake, and a directory with the disks and the state of the program.
pub(crate) struct Aws {
    pub(crate) fake: FakeAws,
    dir: tempfile::TempDir,
}

impl Aws {
    pub(crate) fn new() -> Self {
        let credentials = Credentials {
            access_key: KEY.to_owned(),
            secret_key: SECRET.to_owned(),
            session_token: Some(TOKEN.to_owned()),
        };
        let fake = FakeAws::start(Config {
            signatures: Signatures::Verify(vec![credentials]),
            ..Config::default()
        });
        Self {
            fake: fake.unwrap(),
            dir: temp(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The program with the environment of somebody who uses AWS.
    pub(crate) fn program(&self) -> Command {
        let mut command = program();
        let named = std::env::vars_os().map(|(name, _)| name);
        for name in named.filter(|name| name.as_encoded_bytes().starts_with(b"AWS_")) {
            command.env_remove(name);
        }
        command
            .env("HOME", self.dir.path())
            .env("AWS_ENDPOINT_URL_EBS", self.fake.endpoint())
            .env("AWS_ENDPOINT_URL_EC2", self.fake.endpoint())
            .env("AWS_REGION", "us-east-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ACCESS_KEY_ID", KEY)
            .env("AWS_SECRET_ACCESS_KEY", SECRET)
            .env("AWS_SESSION_TOKEN", TOKEN)
            .env("REHOST_STATE", self.state());
        command
    }

    pub(crate) fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: &[S]) -> Ran {
        Ran::of(self.program().args(arguments).output().unwrap())
    }

    /// Replicates, and gives the report.
    #[track_caller]
    pub(crate) fn replicate(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["replicate", "--to", "ebs:", "--json"];
        all.extend(arguments);
        self.run(&all).json()
    }

    fn snapshot(&self, id: &str) -> State {
        self.fake.snapshot(id).unwrap()
    }

    fn ok(&self, action: Action) -> u64 {
        self.fake.counter(action).ok
    }

    fn asked(&self, action: Action) -> u64 {
        self.fake.counter(action).requests
    }

    /// Whether a snapshot holds what an image has.
    #[track_caller]
    fn assert_holds(&self, id: &str, image: &Path) {
        assert_eq!(self.snapshot(id).status, "completed");
        let disk = fs::read(image).unwrap();
        let mut expected = vec![0; 512 << 10];
        let content = self.fake.snapshot_content(id).unwrap();
        let mut found = content.iter().peekable();
        for (index, block) in (0..).zip(disk.chunks(512 << 10)) {
            expected[..block.len()].copy_from_slice(block);
            expected[block.len()..].fill(0);
            match found.next_if(|block| block.index == index) {
                Some(block) => assert!(block.data.as_ref().unwrap() == &expected, "{index}"),
                None => assert!(block.iter().all(|byte| *byte == 0), "{index} is missing"),
            }
        }
        let rest = found.all(|block| block.data.as_ref().unwrap().iter().all(|byte| *byte == 0));
        assert!(rest, "there is more than the disk has");
    }
}

/// A raw disk of `mib` MiB with data in the first `data` of them.
pub(crate) fn disk(path: &Path, mib: u64, data: u64) {
    let file = File::create(path).unwrap();
    file.set_len(mib * MIB).unwrap();
    let words = (0..data * MIB / 8).flat_map(|word: u64| (word / 64 + 1).to_le_bytes());
    file.write_all_at(&words.collect::<Vec<u8>>(), 0).unwrap();
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[test]
fn two_disks_are_two_chains_and_each_snapshot_holds_what_changed() {
    let aws = Aws::new();
    let disks = ["web1.raw", "data.raw"].map(|name| aws.path(name));
    disk(&disks[0], 16, 4);
    disk(&disks[1], 9, 3);
    let names = disks.each_ref().map(|path| path.to_str().unwrap());
    let mut before = [Value::Null, Value::Null];
    for (writes, puts) in [
        ([&[][..], &[][..]], [8, 6]),
        (
            [
                &["write -P 7 1000 512", "write -P 9 9M 1k"][..],
                &["write -z 512k 512k"][..],
            ],
            [2, 1],
        ),
        ([&["write -P 1 15M 1M"][..], &[][..]], [2, 0]),
    ] {
        for (path, writes) in disks.iter().zip(writes) {
            qemu_io(path, "raw", writes);
        }
        let put_before = aws.ok(Action::PutSnapshotBlock);
        let report = aws.replicate(&names);
        let outputs = report["outputs"].as_array().unwrap();
        let put = aws.ok(Action::PutSnapshotBlock) - put_before;
        assert_eq!(put, puts.iter().sum::<u64>(), "{report}");
        for (at, output) in outputs.iter().enumerate() {
            let id = text(&output["id"]);
            assert_eq!(output["put_blocks"], puts[at], "{output}");
            aws.assert_holds(id, &disks[at]);
            if puts[at] == 0 {
                assert_eq!(
                    (&output["id"], &output["made"]),
                    (&before[at], &false.into())
                );
                continue;
            }
            assert_eq!(output["parent"], before[at], "{output}");
            let state = aws.snapshot(id);
            assert_eq!(state.parent.as_deref(), before[at].as_str());
            let tag = |name: &str| state.tags[&format!("rehost:{name}")].clone();
            assert_eq!(
                (tag("machine"), tag("disk")),
                ("web1".into(), (at + 1).to_string())
            );
            assert_eq!(
                (tag("role"), tag("tool")),
                ("staging".into(), "rehost".into())
            );
            assert_eq!(tag("set"), text(&output["set"]));
            before[at] = output["id"].clone();
        }
        if puts[1] > 0 {
            assert_eq!(outputs[0]["set"], outputs[1]["set"]);
        }
    }
    // Nothing changed: nothing is begun, and the same ids are printed.
    let begun = aws.asked(Action::StartSnapshot);
    let ran = aws.run(&["replicate", "--to", "ebs:", names[0], names[1]]);
    assert!(
        ran.stderr.contains("nothing changed since"),
        "{}",
        ran.stderr
    );
    let lines = before.each_ref().map(text).join("\n");
    assert_eq!(ran.ok(), format!("{lines}\n"));
    assert_eq!(aws.asked(Action::StartSnapshot), begun);
    // A full one is new each time.
    let full = || text(&aws.replicate(&[names[0], "--full"])["outputs"][0]["id"]).to_owned();
    let (first, second) = (full(), full());
    assert_ne!(first, second);
    for id in [first, second] {
        assert_eq!(aws.snapshot(&id).parent, None);
        aws.assert_holds(&id, &disks[0]);
    }
    let left = fs::read_dir(aws.state().join("ebs/us-east-1")).unwrap();
    for entry in left {
        let path = entry.unwrap().path();
        let kind = path.extension().unwrap();
        assert!(kind == "index" || kind == "source", "{}", path.display());
    }
}

#[test]
fn what_a_list_says_is_read_and_what_the_disk_has_grown_by() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    disk(&path, 16, 4);
    let name = path.to_str().unwrap();
    aws.replicate(&[name]);
    qemu_io(&path, "raw", &["write -P 7 1M 512", "write -P 7 3M 512"]);
    File::options()
        .append(true)
        .open(&path)
        .and_then(|file| file.set_len(20 * MIB))
        .unwrap();
    qemu_io(&path, "raw", &["write -P 8 18M 512"]);
    let list = aws.path("changed");
    fs::write(&list, "1048576 512\n").unwrap();
    let report = aws.replicate(&[name, "--changed", list.to_str().unwrap()]);
    let output = &report["outputs"][0];
    // What the list left out is believed to be as it was.
    assert_eq!(output["put_blocks"], 2, "{output}");
    assert!(output["read"].as_u64().unwrap() <= 9 * BLOCK, "{output}");
    qemu_io(&path, "raw", &["write -P 1 3M 512"]);
    let report = aws.replicate(&[name]);
    assert_eq!(report["outputs"][0]["put_blocks"], 1);
    aws.assert_holds(text(&report["outputs"][0]["id"]), &path);
    // A smaller disk cannot be the child of a larger one.
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(8 * MIB))
        .unwrap();
    let ran = aws.run(&["replicate", "--to", "ebs:", name]);
    assert!(ran.stderr.contains("a new chain begins"), "{}", ran.stderr);
    let id = ran.ok();
    assert_eq!(aws.snapshot(id.trim()).parent, None);
    aws.assert_holds(id.trim(), &path);
}

/// Waits until the fake has seen something.
#[track_caller]
fn until(what: impl Fn() -> bool) {
    let start = Instant::now();
    while !what() {
        assert!(
            start.elapsed() < Duration::from_secs(60),
            "it did not happen"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_killed_replication_continues_the_same_snapshots() {
    let aws = Aws::new();
    let disks = ["web1.raw", "data.raw"].map(|name| aws.path(name));
    let names = disks.each_ref().map(|path| path.to_str().unwrap());
    disk(&disks[0], 4, 1);
    disk(&disks[1], 64, 48);
    let slow = |latency_ms| {
        aws.fake.set_faults(Faults {
            latency_ms,
            ..Faults::default()
        });
    };
    for round in 0..3 {
        let put_before = aws.ok(Action::PutSnapshotBlock);
        slow(20);
        let mut child = aws
            .program()
            .args(["replicate", "--full", "--to", "ebs:", names[0], names[1]])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        until(|| aws.ok(Action::PutSnapshotBlock) >= put_before + 2 + 25);
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().code(), None);
        slow(0);
        let pending = |state: &State| state.status == "pending";
        let pending: Vec<_> = aws.fake.snapshots().into_iter().filter(pending).collect();
        assert_eq!(pending.len(), 1, "round {round}");
        // Meanwhile the disk goes on.
        qemu_io(
            &disks[1],
            "raw",
            &[&format!("write -P {} 1M 1k", round + 1)],
        );
        let report = aws.replicate(&[names[0], names[1], "--full"]);
        let output = &report["outputs"][1];
        assert_eq!(output["id"], pending[0].id, "round {round}");
        let again = output["put_before"].as_u64().unwrap();
        assert!(again > 0, "{output}");
        aws.assert_holds(&pending[0].id, &disks[1]);
        assert_eq!(report["outputs"][0]["set"], output["set"]);
        // The first disk twice, the second once and what was under way.
        let put = aws.ok(Action::PutSnapshotBlock) - put_before;
        assert!((2 + 2 + 96..=2 + 2 + 96 + 70).contains(&put), "{put}");
    }
}

#[test]
fn what_was_killed_while_it_was_completed_is_not_taken_for_what_the_disk_has_now() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    let name = path.to_str().unwrap();
    disk(&path, 8, 4);
    for arguments in [
        &["replicate", name, "--to", "ebs:"][..],
        &["replicate", name, "--to", "ebs:", "--full"],
        &["copy", name, "ebs:"],
    ] {
        qemu_io(
            &path,
            "raw",
            &[&format!("write -P {} 2M 1k", arguments.len())],
        );
        aws.fake.set_faults(Faults {
            completion_delay_ms: 1500,
            ..Faults::default()
        });
        let sealed = aws.ok(Action::CompleteSnapshot);
        let mut child = aws
            .program()
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        until(|| aws.ok(Action::CompleteSnapshot) > sealed);
        child.kill().unwrap();
        child.wait().unwrap();
        qemu_io(
            &path,
            "raw",
            &[&format!("write -P {} 1M 1k", arguments.len())],
        );
        let id = aws.run(arguments).ok();
        aws.assert_holds(id.trim(), &path);
    }
}

#[test]
fn what_was_discarded_after_a_kill_is_not_in_the_next_snapshot() {
    let aws = Aws::new();
    let raw = aws.path("a.raw");
    let [base, first, second] = ["a.qcow2", "b.qcow2", "c.qcow2"].map(|name| aws.path(name));
    disk(&raw, 16, 8);
    qemu_img!["convert", "-O", "qcow2", &raw, &base];
    crate::deltas::settle();
    let arguments = |path: &Path| {
        let path = path.to_str().unwrap().to_owned();
        ["replicate", "--to", "ebs:", "--machine", "web1"]
            .map(str::to_owned)
            .into_iter()
            .chain([path])
            .collect::<Vec<_>>()
    };
    aws.run(&arguments(&base)).ok();
    for (path, write) in [(&first, "write -P 7 2M 1k"), (&second, "write -P 8 4M 1k")] {
        qemu_img![
            "create", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", path
        ];
        qemu_io(path, "qcow2", &[write]);
    }
    crate::deltas::settle();
    aws.fake.set_faults(Faults {
        completion_delay_ms: 3000,
        ..Faults::default()
    });
    let sealed = aws.ok(Action::CompleteSnapshot);
    let mut child = aws
        .program()
        .args(arguments(&first))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until(|| aws.ok(Action::CompleteSnapshot) > sealed);
    child.kill().unwrap();
    child.wait().unwrap();
    // The machine was set back: what the first layer held is no more.
    let ran = aws.run(&arguments(&second));
    assert!(ran.stderr.contains("1 layer above"), "{}", ran.stderr);
    let id = ran.ok();
    qemu_io(&raw, "raw", &["write -P 8 4M 1k"]);
    aws.assert_holds(id.trim(), &raw);
}

/// The ids of the snapshots of which an index is kept, and of those of which the source is.
fn kept(aws: &Aws) -> [Vec<String>; 2] {
    let dir = aws.state().join("ebs/us-east-1");
    let names = || {
        let entries = fs::read_dir(&dir).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap())
    };
    ["index", "source"].map(|kind| {
        let end = format!(".{kind}");
        let names = names().filter_map(|name| Some(name.strip_suffix(&end)?.to_owned()));
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    })
}

#[test]
fn only_what_the_next_run_needs_is_kept() {
    let aws = Aws::new();
    let disks = ["web1.raw", "data.raw"].map(|name| aws.path(name));
    disk(&disks[0], 8, 2);
    disk(&disks[1], 8, 2);
    let names = disks.each_ref().map(|path| path.to_str().unwrap());
    let ids = |report: &Value| {
        let outputs = report["outputs"].as_array().unwrap().iter();
        let mut ids: Vec<_> = outputs
            .map(|output| text(&output["id"]).to_owned())
            .collect();
        ids.sort();
        ids
    };
    let mut last = Vec::new();
    for round in 1..=3 {
        qemu_io(&disks[0], "raw", &[&format!("write -P {round} 1M 512")]);
        crate::deltas::settle();
        last = ids(&aws.replicate(&names));
        let [indexes, sources] = kept(&aws);
        assert_eq!((&indexes, &sources), (&last, &last), "round {round}");
    }
    // What is no end of a chain leaves nothing, and takes nothing away.
    aws.run(&["copy", names[0], "ebs:"]).ok();
    let source = format!("ebs:{}", last[0]);
    aws.run(&["convert", &source, "-o", "ebs:", "--allow-unconverted"])
        .ok();
    assert_eq!(kept(&aws)[0], last);
    // A run that fails takes back what it made, and the next one goes on from what was before.
    qemu_io(&disks[0], "raw", &["write -P 9 1M 512"]);
    let got = aws.asked(Action::GetSnapshotBlock);
    let broken = aws.path("broken.qcow2");
    damaged_image(&aws.path("broken.raw"), &broken);
    let broken = broken.to_str().unwrap();
    aws.run(&["replicate", "--to", "ebs:", names[0], broken])
        .failed(4);
    assert_eq!(aws.ok(Action::DeleteSnapshot), 1);
    assert_eq!(kept(&aws)[0], last);
    let next = ids(&aws.replicate(&names));
    assert_eq!(aws.asked(Action::GetSnapshotBlock), got);
    assert_eq!(kept(&aws)[0], next);
}

#[test]
fn two_disks_that_a_store_has_under_one_name_become_two_snapshots() {
    let aws = Aws::new();
    let disks = ["a.raw", "b.raw"].map(|name| aws.path(name));
    let store = format!("store:{}", aws.path("s").display());
    let sources: Vec<_> = disks
        .iter()
        .zip([2, 4])
        .map(|(path, data)| {
            disk(path, 8, data);
            let id = rehost!["copy", path, &store].ok();
            format!("{store}#{}", id.trim())
        })
        .collect();
    let arguments = ["convert", "--allow-unconverted", "-o", "ebs:"];
    let mut all = arguments.to_vec();
    all.extend(sources.iter().map(String::as_str));
    let ids = aws.run(&all).ok();
    let ids: Vec<_> = ids.lines().collect();
    assert_eq!(ids.len(), 2);
    for (id, path) in ids.iter().zip(&disks) {
        aws.assert_holds(id, path);
    }
}

#[test]
fn zeros_that_a_larger_disk_left_behind_the_end_are_nothing() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    let name = path.to_str().unwrap();
    disk(&path, 16, 12);
    aws.replicate(&[name]);
    qemu_io(&path, "raw", &["write -z 8M 8M"]);
    aws.replicate(&[name]);
    File::options()
        .write(true)
        .open(&path)
        .and_then(|file| file.set_len(8 * MIB))
        .unwrap();
    qemu_io(&path, "raw", &["write -P 7 2M 1k"]);
    let last = aws.replicate(&[name])["outputs"][0].take();
    assert_eq!(last["put_blocks"], 1, "{last}");
    let elsewhere = aws.path("elsewhere");
    for _ in 0..2 {
        let state = elsewhere.to_str().unwrap();
        let ran = aws.run(&["replicate", name, "--to", "ebs:", "--state", state]);
        assert!(!ran.stderr.contains("new chain begins"), "{}", ran.stderr);
        assert_eq!(ran.ok().trim(), text(&last["id"]));
    }
}

#[test]
fn on_another_host_the_parent_is_read_to_be_compared_with() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    let name = path.to_str().unwrap();
    disk(&path, 16, 8);
    let first = text(&aws.replicate(&[name])["outputs"][0]["id"]).to_owned();
    qemu_io(&path, "raw", &["write -P 7 2M 1k"]);
    let elsewhere = aws.path("elsewhere");
    let state = elsewhere.to_str().unwrap();
    let ran = aws.run(&["replicate", name, "--to", "ebs:", "--state", state]);
    assert!(ran.stderr.contains("read from EBS"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--full"), "{}", ran.stderr);
    let second = ran.ok();
    assert_eq!(aws.ok(Action::GetSnapshotBlock), 16);
    let state_of = aws.snapshot(second.trim());
    assert_eq!((state_of.parent, state_of.own_blocks), (Some(first), 1));
    aws.assert_holds(second.trim(), &path);
    // It is known from then on.
    let third = aws
        .run(&["replicate", name, "--to", "ebs:", "--state", state])
        .ok();
    assert_eq!(third, second);
    assert_eq!(aws.ok(Action::GetSnapshotBlock), 16);
}

#[test]
fn of_an_image_with_a_new_layer_only_that_is_read() {
    let aws = Aws::new();
    let (raw, base, top) = (aws.path("a.raw"), aws.path("a.qcow2"), aws.path("b.qcow2"));
    disk(&raw, 16, 8);
    qemu_img!["convert", "-O", "qcow2", &raw, &base];
    crate::deltas::settle();
    let replicate = |path: &Path, state: &str| {
        let arguments = [
            "replicate",
            "--json",
            "--to",
            "ebs:",
            "--machine",
            "web1",
            "--state",
        ];
        let mut all = arguments.to_vec();
        all.extend([state, path.to_str().unwrap()]);
        aws.run(&all).json()["outputs"][0].take()
    };
    let (here, elsewhere) = (aws.path("here"), aws.path("elsewhere"));
    let (here, elsewhere) = (here.to_str().unwrap(), elsewhere.to_str().unwrap());
    let first = replicate(&base, here);
    qemu_img![
        "create", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", &top
    ];
    qemu_io(&top, "qcow2", &["write -P 7 2M 1k"]);
    let second = replicate(&top, here);
    assert_eq!(second["parent"], first["id"], "{second}");
    assert_eq!(
        (&second["put_blocks"], &second["read"]),
        (&1.into(), &BLOCK.into())
    );
    qemu_io(&raw, "raw", &["write -P 7 2M 1k"]);
    aws.assert_holds(text(&second["id"]), &raw);
    // Where nobody knows of which files it was made, all of it is read.
    let third = replicate(&top, elsewhere);
    assert_eq!(
        (&third["id"], &third["made"]),
        (&second["id"], &false.into())
    );
    assert_eq!(third["read"], 16 * BLOCK);
}

#[test]
fn what_a_killed_run_had_of_a_layer_that_is_gone_is_taken_back() {
    let aws = Aws::new();
    let (raw, base) = (aws.path("base.raw"), aws.path("base.qcow2"));
    let tops = ["gone.qcow2", "new.qcow2"].map(|name| aws.path(name));
    disk(&raw, 16, 8);
    qemu_img!["convert", "-O", "qcow2", &raw, &base];
    for (top, write) in tops.iter().zip(["write -P 7 2M 1k", "write -P 9 4M 1k"]) {
        qemu_img![
            "create",
            "-q",
            "-f",
            "qcow2",
            "-b",
            "base.qcow2",
            "-F",
            "qcow2",
            top
        ];
        qemu_io(top, "qcow2", &[write]);
    }
    crate::deltas::settle();
    let arguments = |path: &Path| {
        let path = path.to_str().unwrap().to_owned();
        let fixed = ["replicate", "--to", "ebs:", "--machine", "web1"];
        fixed
            .map(str::to_owned)
            .into_iter()
            .chain([path])
            .collect::<Vec<_>>()
    };
    aws.run(&arguments(&base)).ok();
    aws.fake.set_faults(Faults {
        completion_delay_ms: 6000,
        ..Faults::default()
    });
    let sealed = aws.ok(Action::CompleteSnapshot);
    let mut child = aws
        .program()
        .args(arguments(&tops[0]))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until(|| aws.ok(Action::CompleteSnapshot) > sealed);
    child.kill().unwrap();
    child.wait().unwrap();
    // The machine goes back to the base, and on from there.
    let ran = aws.run(&arguments(&tops[1]));
    let line = "1 layer above the last snapshot";
    assert!(ran.stderr.contains(line), "{}", ran.stderr);
    let id = ran.ok();
    qemu_io(&raw, "raw", &["write -P 9 4M 1k"]);
    aws.assert_holds(id.trim(), &raw);
}

#[test]
fn a_conversion_reads_what_it_needs_and_puts_what_it_rewrote() {
    let aws = Aws::new();
    let os = phony(&["debian12"]);
    let staged = aws.replicate(&[os.to_str().unwrap(), "--machine", "web1"]);
    let staged = text(&staged["outputs"][0]["id"]).to_owned();
    let source = format!("ebs:{staged}");
    let inspected = aws.run(&["inspect", "--json", &source]).json();
    assert!(
        text(&inspected["os"]["pretty_name"]).contains("Debian"),
        "{inspected}"
    );
    let fstab = aws.run(&["cat", &source, "/etc/fstab"]).ok();
    assert_eq!(fstab, rehost!["cat", &os, "/etc/fstab"].ok());
    assert_eq!(
        aws.run(&["ls", &source, "/etc"]).ok(),
        rehost!["ls", &os, "/etc"].ok()
    );
    let dated = |command: &mut Command| {
        command.env("SOURCE_DATE_EPOCH", "1700000000");
        Ran::of(command.output().unwrap())
    };
    aws.fake.clear_log();
    let mut command = aws.program();
    command.args(["convert", &source, "-o", "ebs:", "--json"]);
    let report = dated(&mut command).json();
    let output = &report[0]["outputs"][0];
    let (got, put) = (
        aws.asked(Action::GetSnapshotBlock),
        aws.ok(Action::PutSnapshotBlock),
    );
    println!("converting read {got} blocks and put {put}: {output}");
    assert!(got * BLOCK < 64 * MIB, "{got} blocks were read");
    assert_eq!(output["put_blocks"], put);
    let id = text(&output["id"]);
    let state = aws.snapshot(id);
    assert_eq!(state.parent.as_ref(), Some(&staged));
    assert_eq!(u64::try_from(state.own_blocks).unwrap(), put);
    let tag = |name: &str| state.tags[&format!("rehost:{name}")].clone();
    assert_eq!(
        (tag("role"), tag("machine"), tag("disk")),
        ("converted".into(), "web1".into(), "1".into())
    );
    // It is what a conversion of the image is, and every block of it differs from the parent's.
    let raw = aws.path("converted.raw");
    let mut command = program();
    command.arg("convert").arg(&os).arg("-o").arg(&raw);
    dated(&mut command).ok();
    aws.assert_holds(id, &raw);
    let contents = [&staged, id].map(|id| aws.fake.snapshot_content(id).unwrap());
    let same = |block: &&fake_aws::ContentBlock| {
        contents[0]
            .iter()
            .any(|old| old.index == block.index && old.digest == block.digest)
    };
    let changed = contents[1].iter().filter(|block| !same(block)).count();
    assert_eq!(u64::try_from(changed).unwrap(), put);
    aws.run(&["plan", "--check", &format!("ebs:{id}")]).ended(0);
    // The next replication goes on from the staging snapshot.
    let again = aws.replicate(&[os.to_str().unwrap(), "--machine", "web1"]);
    assert_eq!(
        (&again["outputs"][0]["id"], &again["outputs"][0]["made"]),
        (&staged.as_str().into(), &false.into())
    );
    // No index of the converted one was kept as if it were whole.
    assert!(
        !aws.state()
            .join(format!("ebs/us-east-1/{id}.index"))
            .exists()
    );
    // Down again.
    let down = aws.path("down.raw");
    let mut command = aws.program();
    command.arg("convert").arg(&source).arg("-o").arg(&down);
    dated(&mut command).ok();
    rehost!["compare", &down, &raw].ok();
    // From an image all of it goes up.
    let whole = aws
        .run(&["convert", os.to_str().unwrap(), "-o", "ebs:", "--json"])
        .json();
    let whole = &whole[0]["outputs"][0];
    assert_eq!(whole["parent"], Value::Null);
    assert!(whole["put_blocks"].as_u64().unwrap() > put);
    rehost!["compare", &raw, &raw].ok();
}

#[test]
fn disks_are_copied_and_compared_both_ways() {
    let aws = Aws::new();
    let (raw, image, back) = (
        aws.path("a.raw"),
        aws.path("a.qcow2"),
        aws.path("back.qcow2"),
    );
    disk(&raw, 1024, 5);
    qemu_img!["convert", "-O", "qcow2", "-c", &raw, &image];
    let image = image.to_str().unwrap();
    let id = aws
        .run(&["copy", image, "ebs:", "--tag", "owner=me", "--tag", "x="])
        .ok();
    let id = id.trim();
    aws.assert_holds(id, &raw);
    let state = aws.snapshot(id);
    assert_eq!(
        (state.tags["owner"].as_str(), state.tags["x"].as_str()),
        ("me", "")
    );
    assert_eq!(state.tags["rehost:role"], "copy");
    let source = format!("ebs:{id}");
    aws.run(&["copy", &source, back.to_str().unwrap()]).ok();
    qemu_img!["compare", "-f", "raw", "-F", "qcow2", &raw, &back];
    aws.run(&["compare", "--strict", &source, image]).ok();
    qemu_io(&raw, "raw", &["write -P 7 2M 1k"]);
    let said = aws
        .run(&["compare", raw.to_str().unwrap(), &source])
        .ended(3);
    assert!(said.contains("byte 2097152"), "{said}");
    let info = aws.run(&["info", "--json", &source]).json();
    assert_eq!(
        (&info[0]["format"], &info[0]["virtual_size"]),
        (&"ebs".into(), &(1024 * MIB).into())
    );
    assert_eq!(info[0]["extents"]["data"], 5 * MIB);
    let map = aws.run(&["map", "--json", &source]).json();
    assert_eq!(map[0]["length"], 5 * MIB);
    // Through a store and up again, by another limit.
    let store = format!("store:{}", aws.path("s").display());
    let local = aws.run(&["copy", &source, &store]).ok();
    let local = format!("{store}#{}", local.trim());
    let again = aws
        .run(&[
            "copy",
            &local,
            "ebs:",
            "--max-requests",
            "200",
            "--max-mbps",
            "1000",
        ])
        .ok();
    assert_ne!(again.trim(), id);
    let again = format!("ebs:{}", again.trim());
    aws.run(&["compare", "--strict", &again, &source]).ok();
    let child = aws
        .run(&["replicate", "--to", "ebs:", raw.to_str().unwrap()])
        .ok();
    let diff = aws
        .run(&["diff", "--json", &format!("ebs:{}", child.trim()), &source])
        .json();
    assert_eq!(
        (&diff[0]["start"], &diff[0]["length"]),
        (&(2 * MIB).into(), &BLOCK.into())
    );
}

#[test]
fn the_limit_of_requests_is_of_all_disks_together() {
    let aws = Aws::new();
    let disks = ["a.raw", "b.raw", "c.raw"].map(|name| aws.path(name));
    for path in &disks {
        disk(path, 16, 12);
    }
    let mut arguments = vec!["replicate", "--to", "ebs:", "--max-requests", "40"];
    arguments.extend(disks.iter().map(|path| path.to_str().unwrap()));
    aws.run(&arguments).ok();
    let mut times: Vec<_> = aws.fake.log().iter().map(|entry| entry.at_ms).collect();
    times.sort_unstable();
    assert!(times.len() > 72);
    // They leave evenly, but a busy machine may let them arrive in bunches.
    let (first, last) = (times[0], times[times.len() - 1]);
    let least = u64::try_from(times.len() - 1).unwrap() * 1000 / 40;
    assert!(
        last - first >= least,
        "{} ms are less than {least}",
        last - first
    );
}

#[test]
fn an_encrypted_snapshot_has_no_undefined_block_and_its_child_is_encrypted() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    let name = path.to_str().unwrap();
    disk(&path, 16, 4);
    let first = aws.replicate(&[name, "--encrypt"])["outputs"][0].take();
    assert_eq!(
        (&first["put_blocks"], &first["encrypted"]),
        (&32.into(), &true.into())
    );
    aws.assert_holds(text(&first["id"]), &path);
    // A child is encrypted as its parent is, whatever is asked for.
    let arguments = ["replicate", "--to", "ebs:", name];
    let ran = aws.run(&[&arguments[..], &["--unencrypted"]].concat());
    assert!(ran.stderr.contains("its parent snap-"), "{}", ran.stderr);
    assert_eq!(ran.ok().trim(), text(&first["id"]));
    qemu_io(&path, "raw", &["write -P 7 12M 1k"]);
    let second = aws.replicate(&[name, "--encrypt"])["outputs"][0].take();
    assert_eq!(
        (&second["put_blocks"], &second["parent"]),
        (&1.into(), &first["id"])
    );
    assert!(aws.snapshot(text(&second["id"])).key.is_some());
    let key = "arn:aws:kms:us-east-1:123456789012:key/11111111-2222-4333-8444-555555555555";
    let holes = aws
        .run(&["copy", name, "ebs:", "--kms-key", key, "--no-zero-fill"])
        .ok();
    let state = aws.snapshot(holes.trim());
    assert_eq!((state.key.as_deref(), state.own_blocks), (Some(key), 9));
    aws.fake.set_faults(Faults {
        encryption_by_default: true,
        ..Faults::default()
    });
    let said = aws.run(&["copy", name, "ebs:", "--unencrypted"]).failed(1);
    assert!(said.contains("StartSnapshot"), "{said}");
    let by_default = aws.run(&["copy", name, "ebs:"]).ok();
    assert_eq!(aws.snapshot(by_default.trim()).own_blocks, 32);
    aws.run(&["copy", name, "ebs:", "--unencrypted", "--encrypt"])
        .ended(2);
}

#[test]
fn what_is_denied_is_named_at_once() {
    for (action, iam) in [
        (Action::StartSnapshot, "ebs:StartSnapshot"),
        (Action::PutSnapshotBlock, "ebs:PutSnapshotBlock"),
        (Action::CompleteSnapshot, "ebs:CompleteSnapshot"),
        (Action::DescribeSnapshots, "ec2:DescribeSnapshots"),
        (Action::CreateTags, "ec2:CreateTags"),
        (Action::ListSnapshotBlocks, "ebs:ListSnapshotBlocks"),
        (Action::GetSnapshotBlock, "ebs:GetSnapshotBlock"),
    ] {
        let aws = Aws::new();
        let path = aws.path("web1.raw");
        disk(&path, 64, 1);
        let id = aws.run(&["copy", path.to_str().unwrap(), "ebs:"]).ok();
        aws.fake.set_faults(Faults {
            denied: [action].into(),
            ..Faults::default()
        });
        let start = Instant::now();
        let said = if iam.starts_with("ebs:List") || iam.starts_with("ebs:Get") {
            let out = aws.path("out.raw");
            let said = aws
                .run(&["copy", &format!("ebs:{}", id.trim()), out.to_str().unwrap()])
                .failed(1);
            assert!(!out.exists());
            said
        } else {
            aws.run(&["replicate", path.to_str().unwrap(), "--to", "ebs:"])
                .failed(1)
        };
        let took = start.elapsed();
        assert!(said.contains(&format!("AWS denies {iam}")), "{said}");
        // What is asked again is asked for two minutes.
        assert!(took < Duration::from_secs(20), "{iam}: {took:?}");
    }
}

#[test]
fn regions_and_credentials_that_do_not_fit_are_said() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    disk(&path, 2, 1);
    let name = path.to_str().unwrap();
    let run = |change: &dyn Fn(&mut Command), arguments: &[&str]| {
        let mut command = aws.program();
        change(&mut command);
        Ran::of(command.args(arguments).output().unwrap()).failed(1)
    };
    let up = ["copy", name, "ebs:"];
    let said = run(
        &|command| {
            command.env_remove("AWS_REGION");
        },
        &up,
    );
    assert!(said.contains("--region"), "{said}");
    let without = |command: &mut Command| {
        for name in [
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_SESSION_TOKEN",
        ] {
            command.env_remove(name);
        }
    };
    let said = run(&without, &up);
    assert!(said.contains("no usable AWS credentials"), "{said}");
    let said = run(
        &|command| {
            command.env("AWS_SECRET_ACCESS_KEY", "wrong");
        },
        &up,
    );
    assert!(said.contains("credentials"), "{said}");
    let said = run(&|_| {}, &["copy", name, "ebs:", "--region", "eu-west-1"]);
    assert!(said.contains("eu-west-1"), "{said}");
    let said = run(&|_| {}, &["inspect", "ebs:snap-0123456789abcdef0"]);
    assert!(
        said.contains("there is no snapshot snap-0123456789abcdef0"),
        "{said}"
    );
    assert!(said.contains("us-east-1"), "{said}");
    let said = run(&|_| {}, &["copy", name, "ebs:snap-0123456789abcdef0"]);
    assert!(said.contains("ebs: alone"), "{said}");
    let said = run(&|_| {}, &["inspect", "ebs:web1"]);
    assert!(said.contains("ebs:SNAPSHOT"), "{said}");
    let store = format!("store:{}", aws.path("s").display());
    let said = run(&|_| {}, &["copy", name, &store, "--encrypt"]);
    assert!(said.contains("about snapshots in EBS"), "{said}");
    let said = run(&|_| {}, &["copy", name, "ebs:", "--max-requests", "0"]);
    assert!(said.contains("limit of requests"), "{said}");
    assert_eq!(aws.fake.snapshots(), []);
}

/// A raw disk of 4 MiB, and a compressed image of it that opens but cannot be read to its end. Gives
/// the image as it was.
fn damaged_image(raw: &Path, image: &Path) -> Vec<u8> {
    // What can be compressed, but not much: most of the file is data then.
    let mut state = 1_u64;
    let words = (0..4 * MIB / 8).flat_map(|_| {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((state >> 8) & 0x0f0f_0f0f_0f0f_0f0f).to_le_bytes()
    });
    fs::write(raw, words.collect::<Vec<u8>>()).unwrap();
    qemu_img!["convert", "-O", "qcow2", "-c", raw, image];
    let whole = fs::read(image).unwrap();
    let mut damaged = whole.clone();
    let half = damaged.len() / 2;
    damaged[half..half + 2048].fill(0xff);
    fs::write(image, damaged).unwrap();
    whole
}

#[test]
fn if_one_disk_fails_the_others_of_the_run_are_removed() {
    let aws = Aws::new();
    let (good, raw, bad) = (aws.path("a.raw"), aws.path("b.raw"), aws.path("b.qcow2"));
    disk(&good, 8, 2);
    let whole = damaged_image(&raw, &bad);
    let names = [&good, &bad].map(|path| path.to_str().unwrap());
    let said = aws
        .run(&["replicate", "--to", "ebs:", names[0], names[1]])
        .failed(4);
    assert!(said.contains("b.qcow2"), "{said}");
    assert_eq!(aws.ok(Action::DeleteSnapshot), 1);
    assert!(
        aws.fake
            .snapshots()
            .iter()
            .all(|state| state.status == "pending")
    );
    fs::write(&bad, whole).unwrap();
    let report = aws.replicate(&names);
    for (output, image) in report["outputs"]
        .as_array()
        .unwrap()
        .iter()
        .zip([&good, &raw])
    {
        aws.assert_holds(text(&output["id"]), image);
    }
    assert_eq!(report["outputs"][0]["set"], report["outputs"][1]["set"]);
}

#[test]
fn credentials_are_nowhere_in_what_is_said_and_written() {
    let aws = Aws::new();
    let path = aws.path("web1.raw");
    disk(&path, 4, 1);
    let name = path.to_str().unwrap();
    let mut said = Vec::new();
    let mut logged = Vec::new();
    let mut run = |arguments: &[&str], change: &dyn Fn(&mut Command)| {
        let mut command = aws.program();
        command.args(arguments).arg("-vv");
        change(&mut command);
        let output = command.output().unwrap();
        said.extend_from_slice(&output.stdout);
        logged.extend_from_slice(&output.stderr);
        String::from_utf8(output.stdout).unwrap()
    };
    let everything = |command: &mut Command| {
        let all = "trace,aws_sigv4=trace,aws_runtime=trace,aws_config=trace,hyper_util=trace";
        command.env("REHOST_LOG", all).env("RUST_LOG", all);
    };
    aws.fake.set_faults(Faults {
        server_error: fake_aws::Chance::every(3),
        ..Faults::default()
    });
    let id = run(&["copy", name, "ebs:"], &everything);
    let source = format!("ebs:{}", id.trim());
    run(&["replicate", name, "--to", "ebs:", "--json"], &everything);
    run(&["compare", name, &source], &|_| {});
    aws.fake.set_faults(Faults {
        denied: [Action::PutSnapshotBlock].into(),
        ..Faults::default()
    });
    run(&["copy", name, "ebs:"], &everything);
    aws.fake.set_faults(Faults {
        expired_credentials: true,
        ..Faults::default()
    });
    run(&["copy", name, "ebs:"], &everything);
    run(&["copy", name, "ebs:"], &|command| {
        everything(command);
        command.env("AWS_SECRET_ACCESS_KEY", format!("{SECRET}x"));
    });
    let told = String::from_utf8_lossy(&logged);
    assert!(told.contains("asking again"), "nothing was logged: {told}");
    let mut all = [said, logged.clone()].concat();
    for entry in fs::read_dir(aws.state().join("ebs/us-east-1")).unwrap() {
        all.extend(fs::read(entry.unwrap().path()).unwrap());
    }
    for secret in [SECRET, TOKEN, KEY] {
        let at = all
            .windows(secret.len())
            .position(|window| window == secret.as_bytes());
        let around = at
            .map(|at| String::from_utf8_lossy(&all[at.saturating_sub(300)..at + 60]).into_owned());
        assert!(at.is_none(), "{secret} was said: {around:?}");
    }
}
