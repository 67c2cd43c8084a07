//! Machines whose record is lost, marked by hand, or somebody else's.

use super::Site;
use super::cycle::{both, counted};
use std::fs;

#[test]
fn what_is_lost_is_found_again_by_tags() {
    let site = Site::new();
    site.run(&["test", "web1"]).ok();
    let state = site.aws.path(".rehost");
    fs::remove_dir_all(&state).unwrap();
    let status = site.json(&["status", "web1"]);
    assert_eq!(status[0]["state"], "tested", "{status}");
    let instance = status[0]["targets"][0]["instance"]
        .as_str()
        .unwrap()
        .to_owned();
    site.run(&["test", "web1"]).ok();
    let status = site.json(&["status", "web1"]);
    assert_ne!(status[0]["targets"][0]["instance"], instance.as_str());
    assert_eq!(status[0]["targets"][0]["launch"], 2);
    // A cutover whose record is lost is not taken for nothing.
    site.run(&["cutover", "web1"]).ok();
    fs::remove_dir_all(&state).unwrap();
    let refused = site.run(&["test", "web1"]);
    let refused = refused.failed(1);
    assert!(refused.contains("mark ready"), "{refused}");
    site.run(&["mark", "ready", "web1"]).ok();
    fs::remove_dir_all(&state).unwrap();
    site.run(&["test", "web1"]).ok();
    assert_eq!(counted(&site)["instances"], 1);
}

#[test]
fn a_record_that_says_less_than_the_tags_removes_nothing() {
    let site = Site::new();
    site.run(&["test", "web1"]).ok();
    let record = site.aws.path(".rehost/web1.json");
    let before = fs::read(&record).unwrap();
    site.run(&["cutover", "web1"]).ok();
    // As another host has it that did not see the cutover.
    fs::write(&record, before).unwrap();
    let refused = site.run(&["test", "web1"]);
    let refused = refused.failed(1);
    assert!(refused.contains("was cut over to"), "{refused}");
    assert_eq!(counted(&site)["instances"], 1);
}

#[test]
fn what_belongs_to_nobody_is_listed_and_removed_on_request() {
    let site = Site::new();
    site.run(&["test"]).ok();
    assert_eq!(counted(&site), both());
    site.run(&["cutover", "web1"]).ok();
    // The project file forgets both; one of them lives there now.
    site.write(
        "rehost.yaml",
        "metadata: {name: shop}\nstore: 'ebs:'\nmachines:\n- {name: other, sources: [x.raw]}\n",
    );
    let listed = site.json(&["gc"]);
    let listed = listed.as_array().unwrap();
    assert!(!listed.is_empty());
    assert!(
        listed
            .iter()
            .any(|one| one["what"] == "instance" && one["machine"] == "db1")
    );
    let lives = |one: &&serde_json::Value| one["machine"] == "web1";
    assert_eq!(listed.iter().filter(lives).count(), 0, "{listed:?}");
    assert_eq!(
        counted(&site)["instances"],
        2,
        "nothing is removed without a word"
    );
    site.run(&["gc", "--remove"]).ok();
    let left = counted(&site);
    assert_eq!(
        (left["instances"], left["images"], left["volumes"]),
        (1, 1, 1)
    );
    assert_eq!(left["converted"], 1);
}

#[test]
fn a_project_of_another_name_is_not_touched() {
    let site = Site::new();
    site.run(&["test", "web1"]).ok();
    let other = fs::read_to_string(site.aws.path("rehost.yaml")).unwrap();
    site.write(
        "other.yaml",
        &other
            .replace("name: shop", "name: other")
            .replace("kind: Project", "state: other-state"),
    );
    site.write(
        "web1.yaml",
        &fs::read_to_string(site.aws.path("web1.yaml"))
            .unwrap()
            .replace("10.0.1.50", "10.0.1.51"),
    );
    site.run(&["test", "web1", "--project", "other.yaml"]).ok();
    let left = counted(&site);
    assert_eq!(
        (left["instances"], left["images"], left["converted"]),
        (2, 2, 2)
    );
    let gc = site.json(&["gc", "--project", "other.yaml"]);
    assert_eq!(gc, serde_json::json!([]));
}
