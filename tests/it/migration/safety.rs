//! What must never be lost or mistaken: machines that live on EC2, and moments of their disks.

use super::Site;
use super::cycle::counted;
use fake_aws::{Action, Hold};
use serde_json::Value;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Lets the program run to the `at`-th request of one kind, which is held.
fn until_held(site: &Site, arguments: &[&str], action: Action, at: u64, after: bool) -> Child {
    site.aws.fake.hold(Hold {
        at,
        after,
        actions: [action].into(),
        ..Hold::default()
    });
    let mut program = site.program(arguments);
    let program = program.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    let start = Instant::now();
    while site.aws.fake.held().is_none() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        assert!(start.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

/// Kills it there.
fn killed(site: &Site, arguments: &[&str], action: Action, at: u64, after: bool) {
    let mut child = until_held(site, arguments, action, at, after);
    child.kill().unwrap();
    child.wait().unwrap();
    site.aws.fake.release();
}

/// The instances that are not terminated.
fn living(site: &Site) -> Vec<String> {
    let all = serde_json::to_value(site.aws.fake.resources()).unwrap();
    let all = all["instances"].as_array().unwrap().iter();
    let all = all.filter(|one| one["state"] != "terminated");
    all.map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

fn forget_the_machines(site: &Site) {
    site.write(
        "rehost.yaml",
        "metadata: {name: shop}\nstore: 'ebs:'\nmachines:\n- {name: other, sources: [x.raw]}\n",
    );
}

#[test]
fn a_cutover_that_was_stopped_and_is_marked_by_hand_is_no_stray() {
    let site = Site::new();
    // It runs, but the launch is not complete: neither record nor tags say that it lives.
    let cutover = ["cutover", "--untested", "web1"];
    killed(&site, &cutover, Action::CreateTags, 1, false);
    let lives = living(&site);
    assert_eq!(lives.len(), 1);
    site.run(&["mark", "cut-over", "web1"]).ok();
    let status = site.json(&["status", "--offline", "web1"]);
    assert_eq!(status[0]["targets"][0]["instance"], lives[0].as_str());
    site.run(&["gc", "--remove"]).ok();
    assert_eq!(living(&site), lives);
    fs::remove_dir_all(site.aws.path(".rehost")).unwrap();
    let refused = site.run(&["test", "web1"]).failed(1);
    assert!(refused.contains("mark ready"), "{refused}");
    forget_the_machines(&site);
    site.run(&["gc", "--remove"]).ok();
    assert_eq!(living(&site), lives);
}

#[test]
fn a_test_target_that_was_taken_for_good_stays() {
    let site = Site::new();
    site.run(&["test", "web1"]).ok();
    let lives = living(&site);
    let record = site.aws.path(".rehost/web1.json");
    let before = fs::read(&record).unwrap();
    site.run(&["mark", "cut-over", "web1"]).ok();
    // As another host has it.
    fs::write(&record, &before).unwrap();
    let refused = site.run(&["test", "--dry-run", "web1"]).failed(1);
    assert!(refused.contains("was cut over to"), "{refused}");
    assert_eq!(fs::read(&record).unwrap(), before, "nothing is changed");
    let refused = site.run(&["test", "web1"]).failed(1);
    assert!(refused.contains("was cut over to"), "{refused}");
    assert_eq!(living(&site), lives);
    // The record is put right, whatever it said.
    assert_eq!(site.states()[0], "cut-over");
    forget_the_machines(&site);
    site.run(&["gc", "--remove"]).ok();
    assert_eq!(living(&site), lives);
}

#[test]
fn what_another_host_cut_over_goes_when_this_one_says_so() {
    let site = Site::new();
    site.run(&["test", "web1"]).ok();
    let record = site.aws.path(".rehost/web1.json");
    let before = fs::read(&record).unwrap();
    site.run(&["cutover", "web1"]).ok();
    fs::write(&record, before).unwrap();
    let first = living(&site);
    site.run(&["mark", "ready", "web1"]).ok();
    site.run(&["test", "web1"]).ok();
    assert_eq!(living(&site).len(), 1);
    assert_ne!(living(&site), first);
}

#[test]
fn a_cutover_that_was_stopped_when_all_was_done_is_done() {
    let site = Site::new();
    // The first tags are the volume's, the second say that all is complete.
    let cutover = ["cutover", "--untested", "web1"];
    killed(&site, &cutover, Action::CreateTags, 2, true);
    let lives = living(&site);
    assert_eq!(site.states()[0], "cutting-over");
    // The source has lived since, and that is no reason to replace the machine.
    site.write_to("web1.raw", 9);
    site.run(&["cutover", "web1"]).ok();
    assert_eq!(living(&site), lives);
    assert_eq!(site.states()[0], "cut-over");
}

#[test]
fn a_launch_of_another_host_is_no_stray() {
    let site = Site::new();
    site.run(&["test", "web1"]).ok();
    let record = site.aws.path(".rehost/web1.json");
    let before = fs::read(&record).unwrap();
    site.run(&["test", "web1"]).ok();
    fs::write(&record, before).unwrap();
    let lives = living(&site);
    site.run(&["gc", "--remove"]).ok();
    assert_eq!(living(&site), lives);
}

#[test]
fn what_somebody_works_on_is_not_collected() {
    let site = Site::new();
    let project = ["--project", "rehost.yaml", "web1"];
    for byte in [1, 2] {
        site.write_to("web1.raw", byte);
        site.run(&[&["replicate"][..], &project].concat()).ok();
        site.run(&[&["convert"][..], &project].concat()).ok();
    }
    assert_eq!(counted(&site)["converted"], 2);
    let lock = site.aws.path(".rehost/web1.lock");
    let lock = File::options().write(true).open(lock).unwrap();
    lock.try_lock().unwrap();
    let gc = site.run(&["gc", "--remove"]);
    drop(lock);
    assert!(gc.stderr.contains("worked on"), "{}", gc.stderr);
    assert_eq!(gc.ok(), "", "nothing is said to be removed");
    assert_eq!(counted(&site)["converted"], 2);
    site.run(&["gc", "--remove"]).ok();
    assert_eq!(counted(&site)["converted"], 1);
}

#[test]
fn the_last_snapshot_is_the_last_whoever_made_it() {
    let site = Site::new();
    site.run(&["test", "web1"]).ok();
    // The host that has the disks keeps its own records.
    let text = fs::read_to_string(site.aws.path("rehost.yaml")).unwrap();
    let other = text.replace("kind: Project", "state: other-state");
    site.write("other.yaml", &other);
    site.write_to("web1.raw", 5);
    let made = site.run(&["replicate", "--project", "other.yaml", "web1"]);
    let made = format!("ebs:{}", made.ok().trim());
    let outcome = site.json(&["test", "--no-snapshot", "web1"]);
    assert_eq!(outcome[0]["snapshots"], serde_json::json!([made]));
    // And so it is for conversions.
    site.write_to("web1.raw", 6);
    let made = site.run(&["replicate", "--project", "other.yaml", "web1"]);
    let made = format!("ebs:{}", made.ok().trim());
    let converted = site.json(&["convert", "--project", "rehost.yaml", "web1"]);
    assert_eq!(converted["snapshots"], serde_json::json!([made]));
}

fn write_to_both_disks(site: &Site, byte: u8) {
    site.write_to("db1.raw", byte);
    let data = site.aws.path("db1-data.raw");
    let data = File::options().write(true).open(data).unwrap();
    data.write_all_at(&[byte; 512], (8 << 20) - (64 << 10))
        .unwrap();
}

#[test]
fn disks_of_different_moments_are_not_launched() {
    let site = Site::new();
    let replicate = ["replicate", "--project", "rehost.yaml", "db1"];
    let refused = |why: &str| {
        let refused = site.run(&["test", "--no-snapshot", "db1"]).failed(1);
        assert!(refused.contains(why), "{refused}");
        let refused = site.run(&["convert", "--project", "rehost.yaml", "db1"]);
        assert_eq!(refused.status, Some(1), "{}", refused.stderr);
        assert_eq!(counted(&site)["instances"], 0);
        assert_eq!(counted(&site)["converted"], 0);
    };
    // One disk of two was stored when the first run was killed.
    killed(&site, &replicate, Action::StartSnapshot, 2, false);
    refused("cannot be told");
    site.run(&replicate).ok();
    write_to_both_disks(&site, 3);
    let state = site.aws.path(".rehost");
    let known = fs::read(state.join("db1.json")).unwrap();
    killed(&site, &replicate, Action::StartSnapshot, 2, false);
    // The first disk is newer than the second, and the record knows nothing of that, or is lost.
    refused("cannot be told");
    fs::remove_dir_all(&state).unwrap();
    refused("cannot be told");
    fs::create_dir_all(&state).unwrap();
    fs::write(state.join("db1.json"), known).unwrap();
    let outcome = site.json(&["test", "db1"]);
    assert_eq!(outcome[0]["snapshots"].as_array().unwrap().len(), 2);
    // What is whole is launched again.
    site.run(&["test", "--no-snapshot", "db1"]).ok();
}

#[test]
fn a_disk_that_was_added_is_not_left_behind() {
    let site = Site::new();
    site.run(&["test", "web1"]).ok();
    let text = fs::read_to_string(site.aws.path("rehost.yaml")).unwrap();
    let more = text.replace("[web1.raw]", "[web1.raw, db1-more.raw]");
    site.write("rehost.yaml", &more);
    let refused = site.run(&["cutover", "--no-snapshot", "web1"]).failed(1);
    assert!(refused.contains("of 1 disks"), "{refused}");
    // Nothing is removed for what cannot be launched.
    assert_eq!(counted(&site)["instances"], 1);
    assert_eq!(site.states()[0], "tested");
}

#[test]
fn how_many_disks_an_archive_has_is_not_guessed() {
    let site = Site::new();
    site.run(&["replicate", "--project", "rehost.yaml", "web1"])
        .ok();
    fs::remove_dir_all(site.aws.path(".rehost")).unwrap();
    let text = fs::read_to_string(site.aws.path("rehost.yaml")).unwrap();
    site.write("rehost.yaml", &text.replace("web1.raw", "web1.ova"));
    let refused = site.run(&["cutover", "--untested", "--no-snapshot", "web1"]);
    let refused = refused.failed(1);
    assert!(refused.contains("cannot be told"), "{refused}");
    assert_eq!(counted(&site)["instances"], 0);
}

#[test]
fn who_stops_a_launch_is_told_what_stays() {
    let site = Site::new();
    for (arguments, action) in [
        (&["test", "web1"][..], Action::RunInstances),
        (&["test", "web1"], Action::CreateTags),
    ] {
        let child = until_held(&site, arguments, action, 1, true);
        let id = child.id().to_string();
        crate::support::tool(Command::new("kill").args(["-INT", &id]));
        let output = child.wait_with_output().unwrap();
        site.aws.fake.release();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(130), "{stderr}");
        assert!(stderr.contains("the same command goes on"), "{stderr}");
        assert!(!stderr.contains("nothing was published"), "{stderr}");
        assert_eq!(site.states()[0], "testing");
    }
    let first = living(&site);
    site.run(&["test", "web1"]).ok();
    assert_eq!(living(&site), first);
    // The same of what is removed.
    forget_the_machines(&site);
    let child = until_held(
        &site,
        &["gc", "--remove"],
        Action::TerminateInstances,
        1,
        true,
    );
    let id = child.id().to_string();
    crate::support::tool(Command::new("kill").args(["-INT", &id]));
    let output = child.wait_with_output().unwrap();
    site.aws.fake.release();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("the same command goes on"), "{stderr}");
    site.run(&["gc", "--remove"]).ok();
    assert_eq!(living(&site), Vec::<String>::new());
}

#[test]
fn local_targets_of_another_project_stay() {
    let site = Site::new();
    site.run(&["replicate", "--project", "rehost.yaml", "web1"])
        .ok();
    let target = site.aws.path(".rehost/targets/web1");
    fs::create_dir_all(&target).unwrap();
    // Another project whose records are in the same directory.
    site.write(
        "other.yaml",
        "metadata: {name: other}\nstore: 'ebs:'\nmachines:\n- {name: web9, sources: [x.raw]}\n",
    );
    let listed = site.json(&["gc", "--project", "other.yaml"]);
    assert_eq!(listed, Value::Array(Vec::new()));
    site.run(&["gc", "--remove", "--project", "other.yaml"])
        .ok();
    assert!(target.is_dir());
}
