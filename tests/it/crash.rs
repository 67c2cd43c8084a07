//! Conversions that are ended at any moment.

use crate::support::{Ran, assert_same, names, phony, program, rehost, temp};
use block::BlockRead;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};
use store::Store;

const ROUNDS: u32 = 20;

/// Starts a conversion and lets it run for `part` of `whole`.
fn started(out: &str, whole: Duration, part: u32) -> Child {
    let mut command = program();
    command
        .args(["convert", "--force", "-o", out])
        .arg(source());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().unwrap();
    std::thread::sleep(whole * part / ROUNDS);
    child
}

fn source() -> std::path::PathBuf {
    phony(&["debian12", "--filler", "3000"])
}

/// How long a whole conversion takes, and what it makes.
fn reference(out: &str) -> Duration {
    let from = Instant::now();
    rehost!["convert", "-o", out, source()].ok();
    from.elapsed()
}

#[test]
fn a_killed_conversion_leaves_a_whole_image_or_none() {
    let before = fs::read(source()).unwrap();
    for name in ["out.raw", "out.qcow2"] {
        let dir = temp();
        let whole = dir.path().join(format!("whole-{name}"));
        let time = reference(whole.to_str().unwrap());
        let out = dir.path().join(name);
        let mut killed = 0;
        for round in 0..ROUNDS {
            let _ = fs::remove_file(&out);
            let mut child = started(out.to_str().unwrap(), time, round);
            // It may have ended already.
            let _ = child.kill();
            killed += u32::from(child.wait().unwrap().code().is_none());
            if out.exists() {
                assert_same(&out, &whole);
            }
        }
        assert!(
            // Other work on the machine may have made the first one slow, and these quick.
            killed > ROUNDS / 10,
            "{killed} of {ROUNDS} rounds were killed"
        );
        rehost!["convert", "--force", "-o", &out, source()].ok();
        assert_same(&out, &whole);
    }
    assert!(fs::read(source()).unwrap() == before);
}

#[test]
fn a_killed_conversion_leaves_no_broken_snapshot() {
    let dir = temp();
    let raw = dir.path().join("whole.raw");
    rehost!["convert", "-o", &raw, source()].ok();
    let content = fs::read(&raw).unwrap();
    let time = reference(&format!("store:{}", dir.path().join("timed").display()));
    let dirs = ["fresh", "filled"].map(|name| dir.path().join(name));
    for round in 0..ROUNDS {
        // In one store every round finds what the others left.
        let store = &dirs[usize::from(round % 2 == 1)];
        if round % 2 == 0 && store.exists() {
            fs::remove_dir_all(store).unwrap();
        }
        let mut child = started(&format!("store:{}", store.display()), time, round);
        let _ = child.kill();
        child.wait().unwrap();
        snapshots_hold(store, &content);
    }
    for store in &dirs {
        rehost![
            "convert",
            "-o",
            format!("store:{}", store.display()),
            source()
        ]
        .ok();
        assert_eq!(snapshots_hold(store, &content), 1);
    }
}

/// Reads every snapshot of a store and counts them.
fn snapshots_hold(dir: &Path, content: &[u8]) -> usize {
    let store = match Store::open(dir) {
        Ok(store) => store,
        // It was killed before it made one.
        Err(store::Error::NoStore(_)) => return 0,
        Err(error) => panic!("{error}"),
    };
    let snapshots = store.snapshots().unwrap();
    for manifest in &snapshots {
        let snapshot = store.read(&manifest.id).unwrap();
        assert_eq!(snapshot.size(), u64::try_from(content.len()).unwrap());
        let mut found = vec![0; content.len()];
        snapshot.read_at(0, &mut found).unwrap();
        assert!(found == content, "snapshot {} is broken", manifest.id);
    }
    snapshots.len()
}

#[test]
fn an_interrupted_conversion_says_so_and_leaves_nothing() {
    let dir = temp();
    let timed = dir.path().join("timed.raw");
    let time = reference(timed.to_str().unwrap());
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        let out = temp();
        let path = out.path().join("out.raw");
        let child = started(path.to_str().unwrap(), time, round);
        let pid = Pid::from_child(&child);
        // It may have ended already.
        let _ = kill_process(pid, Signal::INT);
        let ran = Ran::of(child.wait_with_output().unwrap());
        match ran.status {
            Some(130) => {
                interrupted += 1;
                assert!(ran.stderr.contains("interrupted; nothing was published"));
                assert!(names(out.path()).is_empty());
            }
            Some(0) => assert_same(&path, &timed),
            // The signal came before the program could listen for it.
            None => assert!(!path.exists()),
            other => panic!("{other:?}: {}", ran.stderr),
        }
    }
    assert!(interrupted > 0);
}
