//! A broken blueprint for each rule.

mod broken;

use super::*;
use crate::blueprint::{SourceDisk, SourceFirmware};
use crate::document::{Severity, read};
use crate::instances::Architecture;
use broken::BROKEN;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// A text before which stands what every blueprint has, in line 1.
fn text(rest: &str) -> String {
    format!("metadata: {{machine: web1}}\n{rest}\n")
}

fn check(text: &str, source: Option<&SourceFacts>) -> Vec<Problem> {
    let context = Context {
        source,
        ..Context::default()
    };
    match read::<Blueprint>(text) {
        Ok(document) => Blueprint::check(&document, &context),
        Err(problems) => problems,
    }
}

fn disk(gib: u64, root: bool) -> SourceDisk {
    SourceDisk {
        name: "web1.vmdk".to_owned(),
        size: (gib << 30) - 512,
        mbr: true,
        root,
    }
}

/// A machine of one disk with an MBR that a BIOS boots.
fn bios() -> SourceFacts {
    SourceFacts {
        architecture: Some(Architecture::X86_64),
        firmware: SourceFirmware {
            bios: true,
            uefi: false,
        },
        disks: vec![disk(20, true)],
        vcpus: Some(4),
        memory_mib: Some(16_384),
        addresses: Vec::new(),
    }
}

const NITRO: &str = "instance: {type: m7i.large}\n";

/// The same against what the source is.
fn broken_by_source() -> Vec<(SourceFacts, &'static str, &'static str, &'static str, usize)> {
    let base = bios;
    vec![
        (
            base(),
            "boot: {mode: uefi}",
            "boot-mode-of-source",
            "boot.mode",
            3,
        ),
        (
            base(),
            "boot: {mode: uefi-preferred}",
            "boot-mode-of-source",
            "boot.mode",
            3,
        ),
        (
            SourceFacts {
                architecture: Some(Architecture::Arm64),
                ..base()
            },
            "",
            "architecture",
            "instance.type",
            2,
        ),
        (
            SourceFacts {
                architecture: None,
                ..base()
            },
            "",
            "architecture-of-guest",
            "metadata.machine",
            1,
        ),
        (
            base(),
            "disks:\n- {sizeGiB: 19}",
            "disk-smaller-than-source",
            "disks[0].sizeGiB",
            4,
        ),
        (
            base(),
            "disks:\n- {sizeGiB: 2048}",
            "disk-size-of-mbr",
            "disks[0].sizeGiB",
            4,
        ),
        (base(), "disks:\n- {}\n- {}", "disk-count", "disks[1]", 5),
        (
            SourceFacts {
                disks: vec![disk(20, true), disk(5, false)],
                ..base()
            },
            "disks:\n- {}",
            "disk-count",
            "disks",
            3,
        ),
        (
            SourceFacts {
                disks: vec![disk(20, false), disk(5, true)],
                ..base()
            },
            "disks:\n- {role: root}\n- {}",
            "root-disk-of-source",
            "disks[0].role",
            4,
        ),
        (
            SourceFacts {
                disks: vec![disk(20, true), disk(20_000, false)],
                ..base()
            },
            "disks:\n- {}\n- {type: gp2}",
            "disk-size-of-type",
            "disks[1]",
            5,
        ),
        (
            base(),
            "network:\n  interfaces:\n  - {subnetId: subnet-01234567, privateIpAction: copy-origin}",
            "copy-origin-address",
            "network.interfaces[0].privateIpAction",
            5,
        ),
    ]
}

/// What is long, and so made.
fn long() -> Vec<(String, &'static str, &'static str, usize)> {
    let tags: String = (0..41).map(|n| format!("  t{n}: a\n")).collect();
    let disks: String = (0..28).map(|_| "- {}\n".to_owned()).collect();
    let many: String = (0..41).map(|_| "- {}\n".to_owned()).collect();
    vec![
        (format!("tags:\n{tags}"), "tag-count", "tags", 2),
        (
            format!("tags: {{{}: a}}", "k".repeat(129)),
            "tag-key-length",
            "tags",
            2,
        ),
        (
            format!("tags: {{a: {}}}", "v".repeat(257)),
            "tag-value-length",
            "tags.a",
            2,
        ),
        (
            format!("launch: {{userData: {}}}", "u".repeat(16_385)),
            "user-data-size",
            "launch.userData",
            2,
        ),
        (
            format!("instance: {{type: m6i.large}}\ndisks:\n{disks}"),
            "disks-of-type",
            "disks[26]",
            30,
        ),
        (format!("disks:\n{many}"), "disks-many", "disks", 2),
    ]
}

#[track_caller]
fn is_refused(problems: &[Problem], rule: &str, path: &str, line: usize, text: &str) {
    let found: Vec<_> = problems.iter().filter(|one| one.rule == rule).collect();
    let [problem] = found.as_slice() else {
        panic!("{rule} is wanted once: {problems:#?}\n{text}");
    };
    assert!(problem.path.starts_with(path), "{problem}, not {path}");
    assert_eq!(problem.line, line, "{problem}\n{text}");
    assert!(
        !problem.fix.is_empty() && !problem.message.is_empty(),
        "{problem}"
    );
    // Messages are read after `file:line:col: path: `.
    assert!(
        !problem.message.ends_with('.') && !problem.fix.ends_with('.'),
        "{problem}"
    );
    let others = problems
        .iter()
        .filter(|one| one.severity == Severity::Error);
    let others: Vec<_> = others.filter(|one| one.rule != rule).collect();
    assert!(
        others.is_empty(),
        "{rule} alone is broken: {others:#?}\n{text}"
    );
}

#[test]
fn every_rule_refuses_its_blueprint_and_says_how_to_mend_it() {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for (rest, rule, path, line) in BROKEN {
        is_refused(&check(&text(rest), None), rule, path, *line, rest);
        seen.insert(*rule);
        count += 1;
    }
    for (rest, rule, path, line) in long() {
        is_refused(&check(&text(&rest), None), rule, path, line, &rest);
        seen.insert(rule);
        count += 1;
    }
    for (source, rest, rule, path, line) in broken_by_source() {
        let text = text(&format!("{NITRO}{rest}"));
        is_refused(&check(&text, Some(&source)), rule, path, line, rest);
        seen.insert(rule);
        count += 1;
    }
    assert!(count >= 60, "{count}");
    // Those about several blueprints and about sizes have tests of their own below.
    for elsewhere in [
        "machine-twice",
        "ip-twice-in-project",
        "network-id-twice-in-project",
        "smaller-than-source",
        "tpm-of-type",
    ] {
        seen.insert(elsewhere);
    }
    let untested: Vec<_> = RULES
        .iter()
        .filter(|(rule, _)| !seen.contains(rule))
        .collect();
    assert!(untested.is_empty(), "{untested:?}");
    let structural = [
        "length",
        "missing-field",
        "not-in-enum",
        "out-of-range",
        "pattern",
        "unknown-field",
        "wrong-type",
    ];
    let known =
        |rule: &str| structural.contains(&rule) || RULES.iter().any(|(known, _)| *known == rule);
    let unlisted: Vec<_> = seen.into_iter().filter(|rule| !known(rule)).collect();
    assert!(unlisted.is_empty(), "{unlisted:?}");
}

#[test]
fn a_type_without_a_tpm_is_refused() {
    let text = text("instance: {type: t2.micro}\nboot: {mode: uefi, tpm: v2.0}");
    let rules: Vec<_> = check(&text, None).into_iter().map(|one| one.rule).collect();
    assert_eq!(rules, ["boot-mode-of-type", "tpm-of-type"]);
}

#[test]
fn a_type_that_is_smaller_than_the_source_is_a_warning() {
    let problems = check(&text(NITRO), Some(&bios()));
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].severity, Severity::Warning);
    assert_eq!(problems[0].rule, "smaller-than-source");
    let origin = check(&text("instance: {type: copy-origin}"), Some(&bios()));
    assert_eq!(origin, []);
    let document = read::<Blueprint>(&text("instance: {type: copy-origin}")).unwrap();
    let source = bios();
    let context = Context {
        source: Some(&source),
        ..Context::default()
    };
    let found = document.value().instance_type(&context).unwrap();
    assert_eq!((found.vcpus, found.memory_mib), (4, 16_384));
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_text() {
    let text = text(
        "region: eu-wets-1\ninstance: {type: t2.micro}\nboot: {mode: uefi}\n\
         disks:\n- {type: st1, sizeGiB: 10, iops: 5}\n",
    );
    let told: Vec<_> = check(&text, None)
        .iter()
        .map(|problem| (problem.line, problem.rule))
        .collect();
    assert_eq!(
        told,
        [
            (2, "region-unknown"),
            (4, "boot-mode-of-type"),
            (6, "volume-type-of-root"),
            (6, "disk-size-of-type"),
            (6, "iops-of-type"),
        ]
    );
}

#[test]
fn machines_of_one_project_share_nothing() {
    let blueprint = |machine: &str, interface: &str| {
        let text =
            format!("metadata: {{machine: {machine}}}\nnetwork:\n  interfaces:\n  - {interface}\n");
        read::<Blueprint>(&text).unwrap()
    };
    let a =
        "{subnetId: subnet-0000000a, privateIps: [10.0.0.4], eipAllocationId: eipalloc-00000001}";
    let b = "{subnetId: subnet-0000000b, privateIps: [10.0.0.4]}";
    let documents = [
        blueprint("one", a),
        blueprint("two", a),
        blueprint("one", b),
        blueprint("four", "{eniId: eni-00000001}"),
        blueprint("five", "{eniId: eni-00000001}"),
    ];
    let references: Vec<_> = documents.iter().collect();
    let told: Vec<_> = check_together(&references)
        .into_iter()
        .map(|(at, problem)| (at, problem.rule, problem.line, problem.severity))
        .collect();
    assert_eq!(
        told,
        [
            (1, "ip-twice-in-project", 4, Severity::Error),
            (1, "network-id-twice-in-project", 4, Severity::Error),
            (2, "machine-twice", 1, Severity::Error),
            (2, "ip-twice-in-project", 4, Severity::Warning),
            (4, "network-id-twice-in-project", 4, Severity::Error),
        ]
    );
    assert_eq!(check_together(&references[..1]), []);
}

/// Blueprints that are right, with every field somewhere.
const GOOD: [&str; 5] = [
    include_str!("good/minimal.yaml"),
    include_str!("good/web1.yaml"),
    include_str!("good/database.yaml"),
    include_str!("good/old.yaml"),
    include_str!("good/existing.json"),
];

#[test]
fn good_blueprints_pass_and_survive_being_written() {
    for text in GOOD {
        let document = read::<Blueprint>(text).unwrap();
        assert_eq!(
            Blueprint::check(&document, &Context::default()),
            [],
            "{text}"
        );
        let written = document.value().to_yaml().unwrap();
        let again = read::<Blueprint>(&written).unwrap();
        assert_eq!(again.value(), document.value(), "{written}");
    }
}

/// What looks like something else without quotes, to some reader of YAML or other.
#[test]
fn texts_survive_being_written() {
    let tags = [
        "yes",
        "null",
        "~",
        "",
        "True",
        "0x1f",
        "0o17",
        "012",
        "1e3",
        ".inf",
        "1_000",
        "12:30:45",
        "2026-01-01",
        "a: b",
        "a #b",
        "# a",
        "- a",
        "? a",
        "--- a",
        "---",
        "...",
        "@a",
        "%a",
        "!a",
        "&a",
        "*a",
        "|",
        ">",
        "=",
        "<<",
        "'",
        "\"",
        "\\",
        "{",
        "[a",
        "a,",
        ":",
        " a",
        "a ",
        "\ta",
        "a\nb",
        "a\n\n",
        "\n",
        "\r\n",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\u{7f}",
        "é",
        "\u{1f600}",
        "  a\n b\n",
    ];
    let mut blueprint = read::<Blueprint>(GOOD[0]).unwrap().into_value();
    for (number, tag) in tags.iter().enumerate() {
        blueprint
            .tags
            .insert(format!("v{number}"), (*tag).to_owned());
        blueprint.tags.insert((*tag).to_owned(), "k".to_owned());
    }
    for tag in tags {
        blueprint.launch.user_data = Some(tag.to_owned());
        let written = blueprint.to_yaml().unwrap();
        let again = read::<Blueprint>(&written).unwrap_or_else(|e| panic!("{e:?}\n{written}"));
        assert_eq!(again.value(), &blueprint, "{written}");
    }
}

#[test]
fn good_blueprints_hold_every_field_of_the_schema() {
    let schema = crate::document::schema::<Blueprint>();
    let mut fields = BTreeSet::new();
    let definitions = schema["$defs"].as_object().unwrap().values();
    for definition in definitions.chain([&schema]) {
        let properties = definition.get("properties").and_then(|map| map.as_object());
        fields.extend(properties.into_iter().flat_map(|map| map.keys().cloned()));
    }
    let all = GOOD.join("\n");
    let missing: Vec<_> = fields
        .iter()
        .filter(|field| {
            !all.contains(&format!("{field}:")) && !all.contains(&format!("\"{field}\""))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_schema_is_read_whole_and_describes_every_field() {
    assert_eq!(
        crate::document::unread_keywords::<Blueprint>(),
        BTreeSet::new()
    );
    let schema = crate::document::schema::<Blueprint>();
    assert_eq!(
        schema["$schema"],
        "https://json-schema.org/draft/2020-12/schema"
    );
    let definitions = schema["$defs"].as_object().unwrap().values();
    for definition in definitions.chain([&schema]) {
        let properties = definition.get("properties").and_then(|map| map.as_object());
        for (name, field) in properties.into_iter().flatten() {
            assert!(field["description"].is_string(), "{name}");
        }
    }
}

#[test]
fn addresses_are_copied_in_their_order() {
    let text = text(
        "network:\n  interfaces:\n  - {subnetId: subnet-01234567, privateIpAction: copy-origin}\n  \
         - {}\n  - {subnetId: subnet-01234567, privateIpAction: copy-origin}",
    );
    let blueprint = read::<Blueprint>(&text).unwrap().into_value();
    let (first, second) = (Ipv4Addr::new(10, 0, 0, 4), Ipv4Addr::new(10, 0, 0, 5));
    let source = SourceFacts {
        addresses: vec![first, second],
        ..bios()
    };
    assert_eq!(blueprint.private_ips(0, &source).unwrap(), [first]);
    assert!(blueprint.private_ips(1, &source).unwrap().is_empty());
    assert_eq!(blueprint.private_ips(2, &source).unwrap(), [second]);
}

#[test]
fn disks_get_names_that_are_free() {
    let names = |disks: &str| {
        let text = text(&format!("disks: {disks}"));
        read::<Blueprint>(&text).unwrap().value().device_names()
    };
    assert_eq!(names("[{}, {}, {}]"), ["/dev/sda1", "/dev/sdf", "/dev/sdg"]);
    assert_eq!(
        names("[{role: data}, {deviceName: /dev/xvda}, {deviceName: /dev/sdf}]"),
        ["/dev/sdg", "/dev/xvda", "/dev/sdf"]
    );
    let many = format!("[{}]", "{},".repeat(78));
    let names = names(&many);
    let different: BTreeSet<_> = names.iter().collect();
    assert_eq!(different.len(), 78);
    assert!(!names.iter().any(String::is_empty));
}
