//! `rehost blueprint`: drafts of phony guests, checks, imports, the schema.

use crate::support::{Ran, phony, program, rehost, temp, tool};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The rules of a file's problems in the JSON of `check`.
fn rules(checked: &Value, file: usize) -> Vec<&str> {
    let problems = checked[file]["problems"].as_array().unwrap();
    problems
        .iter()
        .map(|problem| problem["rule"].as_str().unwrap())
        .collect()
}

#[test]
fn the_size_of_a_source_is_told_where_its_disks_do_not() {
    let dir = temp();
    let image = dir.path().join("web1.img");
    symlink(phony(&["debian12"]), &image).unwrap();
    let draft = rehost!["blueprint", "new", &image].ok();
    assert!(draft.contains("the disks do not tell"), "{draft}");
    let draft = rehost![
        "blueprint",
        "new",
        &image,
        "--vcpus",
        "8",
        "--memory",
        "32G"
    ]
    .ok();
    assert!(
        draft.contains("8 vCPUs, 32768 MiB: as the source had"),
        "{draft}"
    );
    let blueprint = dir.path().join("web1.yaml");
    let text =
        "metadata: {machine: web1}\ninstance: {type: copy-origin}\ndisks: [{source: web1.img}]\n";
    fs::write(&blueprint, text).unwrap();
    let check = |options: &[&str]| {
        let mut command = program();
        command.args(["blueprint", "check"]).args(options);
        Ran::of(command.arg(&blueprint).output().unwrap())
    };
    let said = check(&["--inspect"]).ended(3);
    assert!(said.contains("copy-origin-unknown"), "{said}");
    let said = check(&["--inspect", "--vcpus", "8"]).ended(3);
    assert!(said.contains("copy-origin-unknown"), "{said}");
    let said = check(&["--inspect", "--vcpus", "8", "--memory", "32G"]).ok();
    assert!(!said.contains("copy-origin"), "{said}");
    let said = check(&["--inspect", "--vcpus", "800", "--memory", "32G"]).ended(3);
    assert!(said.contains("instance-type-too-large"), "{said}");
    let said = check(&["--vcpus", "8"]).failed(1);
    assert!(said.contains("--inspect"), "{said}");
    check(&["--inspect", "--vcpus", "0"]).ended(2);
}

#[test]
fn a_draft_of_a_guest_passes_its_check_and_converts() {
    let dir = temp();
    symlink(phony(&["debian12"]), dir.path().join("web 1.img")).unwrap();
    let blueprint = dir.path().join("web1.yaml");
    let image = dir.path().join("web 1.img");
    rehost!["blueprint", "new", &image, "-o", &blueprint].ok();
    let text = fs::read_to_string(&blueprint).unwrap();
    assert!(text.contains("source: \"web 1.img\""), "beside it: {text}");
    let said = rehost!["blueprint", "check", "--inspect", &blueprint].ok();
    assert_eq!(said, "", "{text}");
    let plan = rehost!["plan", "--json", "--blueprint", &blueprint].json();
    assert_eq!(plan["options"]["target"], "nitro");
    let said = rehost!["blueprint", "new", &image, "-o", &blueprint].failed(1);
    assert!(said.contains("--force"), "{said}");
    let said = rehost!["blueprint", "new", &image, "--name", "../x"].failed(1);
    assert!(said.contains("--name"), "{said}");

    // What the disks say against the blueprint.
    let changed = text
        .replace("sizeGiB: ", "sizeGiB: 1 # ")
        .replace("mode: legacy-bios", "mode: uefi")
        .replace("mode: uefi-preferred", "mode: legacy-bios")
        .replace("type: m", "type: m7g.large # ")
        .replace("type: c", "type: c7g.large # ");
    fs::write(&blueprint, changed).unwrap();
    rehost!["blueprint", "check", "--inspect", &blueprint].ended(3);
    let checked = rehost!["blueprint", "check", "--inspect", "--json", &blueprint].ended(3);
    let checked: Value = serde_json::from_str(&checked).unwrap();
    assert!(rules(&checked, 0).contains(&"architecture"), "{checked}");
    assert!(
        rules(&checked, 0)
            .iter()
            .any(|rule| rule.starts_with("boot-mode-of-")),
        "{checked}"
    );
}

#[test]
fn two_disks_of_a_guest_are_drafted_with_their_roles() {
    let os = phony(&["ubuntu2204"]);
    let data = temp();
    let data = data.path().join("data.raw");
    fs::write(&data, vec![0; 3 << 20]).unwrap();
    let text = rehost!["blueprint", "new", &data, &os].ok();
    let roles: Vec<_> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("role: "))
        .collect();
    assert_eq!(roles, ["data", "root"], "{text}");
}

#[test]
fn all_problems_of_all_files_are_told_at_their_places() {
    let dir = temp();
    let one = dir.path().join("one.yaml");
    let two = dir.path().join("two.yaml");
    let interface =
        "network:\n  interfaces:\n  - {subnetId: subnet-01234567, privateIps: [10.0.0.4]}\n";
    let text = |machine| {
        format!("metadata: {{machine: {machine}}}\ninstance: {{type: m7i.large}}\n{interface}")
    };
    fs::write(&one, text("one")).unwrap();
    fs::write(&two, text("two")).unwrap();
    assert_eq!(rehost!["blueprint", "check", &one].ok(), "");
    let said = rehost!["blueprint", "check", &one, &two].ended(3);
    let place = format!(
        "{}:5:46: network.interfaces[0].privateIps[0]: one has",
        two.display()
    );
    assert!(said.starts_with(&place), "{said}");
    assert_eq!(said.lines().count(), 1);

    let broken = "metadata: {machine: one}\nregoin: eu-west-1\ndisks:\n- {sizeGiB: many}\n";
    fs::write(&one, broken).unwrap();
    let said = rehost!["blueprint", "check", &one, &two].ended(3);
    let lines: Vec<_> = said.lines().collect();
    let file = one.display();
    assert_eq!(
        lines,
        [
            format!(
                "{file}:2:1: regoin: there is no such field; did you mean region? [unknown-field]"
            ),
            format!(
                "{file}:4:13: disks[0].sizeGiB: a whole number is wanted, not \"many\"; write it as in \
                 20 [wrong-type]"
            ),
        ]
    );
    let checked = rehost!["blueprint", "check", "--json", &one, &two].ended(3);
    let checked: Value = serde_json::from_str(&checked).unwrap();
    assert_eq!(rules(&checked, 0), ["unknown-field", "wrong-type"]);
    assert_eq!(rules(&checked, 1), [""; 0]);
    assert_eq!(checked[0]["problems"][0]["line"], 2);

    // A warning does not fail.
    fs::write(&one, "metadata: {machine: one}\n").unwrap();
    let said = rehost!["blueprint", "check", &one].ok();
    assert!(said.contains("warning: instance.type"), "{said}");
    let said = rehost!["blueprint", "check", "/nowhere.yaml"].failed(1);
    assert!(said.contains("/nowhere.yaml"), "{said}");
    let said = rehost!["plan", "--blueprint", &one].failed(1);
    assert!(said.contains("names no disks"), "{said}");
    let said = rehost!["blueprint", "check", "--inspect", &one].failed(1);
    assert!(said.contains("source:"), "{said}");
}

#[test]
fn newer_instance_types_come_from_a_file() {
    let dir = temp();
    let blueprint = dir.path().join("a.yaml");
    fs::write(
        &blueprint,
        "metadata: {machine: a}\ninstance: {type: m99i.large}\n",
    )
    .unwrap();
    let said = rehost!["blueprint", "check", &blueprint].ended(3);
    assert!(said.contains("--instance-types"), "{said}");
    let known = repository("crates/launch/src/instances/describe-instance-types.json");
    let types = dir.path().join("types.json");
    let text = fs::read_to_string(known)
        .unwrap()
        .replace("m6i.large", "m99i.large");
    fs::write(&types, text).unwrap();
    let check = rehost!["blueprint", "check", "--instance-types", &types, &blueprint];
    assert_eq!(check.ok(), "");
    fs::write(&types, "[]").unwrap();
    let said = rehost!["blueprint", "check", "--instance-types", &types, &blueprint].failed(1);
    assert!(said.contains("describe-instance-types"), "{said}");
}

#[test]
fn blueprints_of_other_tools_are_imported() {
    let examples = "crates/launch/src/blueprint/import/examples";
    let dir = temp();
    let out = dir.path().join("machines");
    let file = repository(&format!("{examples}/cloudendure.json"));
    let said = rehost!["blueprint", "import", &file].failed(1);
    assert!(said.contains("-o"), "{said}");
    let ran = rehost!["blueprint", "import", &file, "-o", &out];
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    assert!(ran.stderr.contains("launchOnInstanceId"), "{}", ran.stderr);
    let names = ["c1f7d2c4-5e6a-4b8c-9d0e-1f2a3b4c5d6e", "web01.corp.example"];
    for name in names {
        let path = out.join(format!("{name}.yaml"));
        let said = rehost!["blueprint", "check", &path].ok();
        assert!(!said.contains("error"), "{said}");
    }
    let said = rehost!["blueprint", "import", &file, "-o", &out].failed(1);
    assert!(said.contains("--force"), "{said}");
    rehost!["blueprint", "import", &file, "-o", &out, "--force"].ok();

    let file = repository(&format!("{examples}/mgn.json"));
    let template = repository(&format!("{examples}/template.json"));
    let text = rehost!["blueprint", "import", &file, "--template", &template].ok();
    let blueprint = dir.path().join("db.yaml");
    fs::write(&blueprint, &text).unwrap();
    assert_eq!(rehost!["blueprint", "check", &blueprint].ok(), "", "{text}");
    let said = rehost!["blueprint", "import", &template].failed(1);
    assert!(said.contains("CloudEndure"), "{said}");
}

/// Thousands of blueprints that differ from a good one in one place: what the schema allows, as
/// somebody else reads it, is what is read here.
#[test]
fn the_schema_says_what_is_read() {
    let dir = temp();
    let schema = dir.path().join("schema.json");
    fs::write(&schema, rehost!["blueprint", "schema"].ok()).unwrap();
    let cases = dir.path().join("cases");
    fs::create_dir(&cases).unwrap();
    let mut oracle = Command::new(repository("fixtures/mutated-blueprints"));
    let verdicts = tool(oracle.arg(&schema).arg(&cases));
    let verdicts = String::from_utf8(verdicts).unwrap();
    let verdicts: BTreeMap<_, _> = verdicts
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .collect();
    let mut check = program();
    check.args(["blueprint", "check", "--json"]);
    check.args(
        verdicts
            .keys()
            .map(|name| cases.join(format!("{name}.json"))),
    );
    let checked = check.output().unwrap();
    assert_eq!(checked.status.code(), Some(3));
    let checked: Value = serde_json::from_slice(&checked.stdout).unwrap();
    let structural = [
        "unknown-field",
        "missing-field",
        "wrong-type",
        "not-in-enum",
        "out-of-range",
        "pattern",
        "length",
        "invalid",
    ];
    let mut counts = [0, 0];
    for (file, (name, verdict)) in verdicts.iter().enumerate() {
        let allowed = !rules(&checked, file)
            .iter()
            .any(|rule| structural.contains(rule));
        let text = || fs::read_to_string(cases.join(format!("{name}.json"))).unwrap();
        let problems = &checked[file]["problems"];
        assert_eq!(allowed, *verdict == "yes", "{}: {problems}", text());
        counts[usize::from(allowed)] += 1;
    }
    assert!(counts[0] > 500 && counts[1] > 100, "{counts:?}");
}
