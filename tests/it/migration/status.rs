//! What `rehost status` tells, and a project file that is wrong.

use super::Site;

#[test]
fn status_tells_how_much_can_have_changed() {
    let site = Site::new();
    let status = site.json(&["status", "web1"]);
    assert_eq!(status[0]["behind"]["known"], "unknown");
    crate::deltas::settle();
    site.run(&["replicate", "--project", "rehost.yaml", "web1"])
        .ok();
    let status = site.json(&["status", "web1"]);
    assert_eq!(status[0]["behind"]["known"], "at-most", "{status}");
    assert_eq!(status[0]["behind"]["bytes"], 0);
    crate::deltas::settle();
    site.write_to("web1.raw", 3);
    let status = site.json(&["status", "web1"]);
    assert_eq!(status[0]["behind"]["known"], "unknown", "{status}");
    let table = site.run(&["status"]).ok();
    let lines: Vec<_> = table.lines().collect();
    assert!(lines[0].starts_with("MACHINE"), "{table}");
    assert!(
        lines[1].starts_with("web1") && lines[1].contains("ready"),
        "{table}"
    );
    assert!(
        lines[2].starts_with("db1") && lines[2].contains("new"),
        "{table}"
    );
}

#[test]
fn all_that_is_wrong_with_a_project_file_is_told_at_once() {
    let site = Site::new();
    site.write(
        "rehost.yaml",
        "metadata: {name: shop}\nstore: 's3:x'\nmachines:\n- {name: a, sources: [a.raw]}\n\
         - {name: a, sources: [b.raw]}\n",
    );
    let refused = site.run(&["status"]);
    let refused = refused.failed(1);
    for said in ["rehost.yaml:2:", "store", "rehost.yaml:5:", "already"] {
        assert!(refused.contains(said), "{said}: {refused}");
    }
    site.write(
        "rehost.yaml",
        "metadata: {name: shop}\nstore: 'ebs:'\nmachine: []\nmachines: []\n",
    );
    let refused = site.run(&["test"]);
    assert!(refused.stderr.contains("machine"), "{}", refused.stderr);
    let unknown = Site::new().run(&["test", "web2"]);
    assert!(
        unknown.stderr.contains("no machine \"web2\""),
        "{}",
        unknown.stderr
    );
}

#[test]
fn two_machines_with_one_address_are_refused_before_anything_is_launched() {
    let site = Site::new();
    let blueprint = std::fs::read_to_string(site.aws.path("db1.yaml")).unwrap();
    site.write("db1.yaml", &blueprint.replace(super::DB, super::WEB));
    for command in [&["test"][..], &["test", "web1"], &["cutover", "--untested"]] {
        let said = site.run(command).failed(1);
        let place = "db1.yaml:8:18: network.interfaces[0].privateIps[0]";
        assert!(said.contains(place), "{said}");
        assert!(said.contains("web1 has 10.0.1.50 already"), "{said}");
    }
    assert!(
        site.aws
            .fake
            .counters()
            .iter()
            .all(|(_, one)| one.requests == 0)
    );
}

/// Every call that commands about targets make is in the policy that is printed for them.
#[test]
fn commands_about_targets_ask_for_what_their_policy_allows() {
    let site = Site::new();
    let check = |command: &str, runs: &[&[&str]]| {
        site.aws.fake.clear_log();
        for run in runs {
            site.run(run).ok();
        }
        let policy = site.run(&["iam-policy", command]).ok();
        for (action, counter) in site.aws.fake.counters() {
            let name = format!(":{action:?}\"");
            assert!(
                counter.requests == 0 || policy.contains(&name),
                "{command} asks for {action:?}"
            );
        }
    };
    check("test", &[&["test", "web1"], &["test", "web1", "--dry-run"]]);
    check("status", &[&["status"]]);
    check("cutover", &[&["cutover", "web1"]]);
    check("gc", &[&["gc"], &["gc", "--remove"]]);
    let role = "arn:aws:iam::111122223333:role/web";
    let policy = site.run(&["iam-policy", "test", "--role", role]).json();
    let statements = policy["Statement"].as_array().unwrap();
    let pass = statements.iter().find(|one| one["Sid"] == "TargetPass");
    assert_eq!(pass.unwrap()["Resource"][0], role);
}
