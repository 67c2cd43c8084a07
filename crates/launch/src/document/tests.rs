use super::*;
use serde::Deserialize;
use std::collections::BTreeMap as Map;

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Machine {
    #[schemars(
        example = &"web1",
        length(min = 1, max = 8),
        regex(pattern = r"^[a-z0-9]+$")
    )]
    name: String,
    #[serde(default)]
    disks: Vec<Disk>,
    mode: Option<Mode>,
    size: Option<Size>,
    #[serde(default)]
    tags: Map<String, String>,
    wait: Option<bool>,
}

#[derive(Debug, Default, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Disk {
    #[schemars(range(min = 1, max = 100))]
    size_gib: Option<u32>,
    count: u8,
    share: Option<f64>,
}

/// How.
#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Mode {
    /// Of old.
    LegacyBios,
    Uefi,
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(untagged)]
enum Size {
    Name(String),
    Wanted(Wanted),
}

#[derive(Debug, Deserialize, JsonSchema, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wanted {
    cpus: u32,
}

fn refused(text: &str) -> Vec<Problem> {
    read::<Machine>(text).expect_err(text)
}

#[test]
fn a_text_becomes_a_value_that_knows_its_places() {
    let text = "name: web1\ndisks:\n- sizeGib: 8\n  count: 2\n- {sizeGib: 9, share: 1}\n\
                mode: uefi\nsize: {cpus: 4}\ntags: {a.b: x, 'c': \"1\"}\nwait:\n";
    let document = read::<Machine>(text).unwrap();
    let value = document.value();
    assert_eq!(value.disks[0].size_gib, Some(8));
    assert_eq!(value.disks[1].share, Some(1.0));
    assert_eq!(value.mode, Some(Mode::Uefi));
    assert_eq!(value.size, Some(Size::Wanted(Wanted { cpus: 4 })));
    assert_eq!(value.tags["c"], "1");
    assert_eq!(value.wait, None);
    for (path, place) in [
        ("name", (1, 7)),
        ("disks", (2, 1)),
        ("disks[0]", (3, 3)),
        ("disks[0].count", (4, 10)),
        ("disks[1].sizeGib", (5, 13)),
        ("tags[\"a.b\"]", (8, 13)),
        ("disks[1].missing.deeper", (5, 3)),
        ("disks[7].x", (2, 1)),
        ("nothing", (1, 1)),
    ] {
        assert_eq!(document.at(path), place, "{path}");
    }
    assert!(document.has("disks[1].sizeGib") && !document.has("disks[1].count"));
    assert!(document.has("wait") && !document.has("na"));
}

#[test]
fn json_is_read_as_well() {
    let text = "{\n\t\"name\": \"web1\",\n\t\"disks\": [{\"sizeGib\": 8, \"count\": 1}],\n\
                \t\"mode\": null, \"tags\": {\"k\": \"a\\u00e9\\/\\n\"}\n}\n";
    let document = read::<Machine>(text).unwrap();
    assert_eq!(document.value().tags["k"], "a\u{e9}/\n");
    assert_eq!(document.at("disks[0].sizeGib"), (3, 24));
}

#[test]
fn every_problem_is_told_at_its_place_with_a_fix() {
    let text = "nmae: web1\ndisks:\n- size_gib: 8\n- sizeGib: 0\n  count: 300\n- sizeGib: '8'\n\
                mode: ueffi\nsize: {cpu: 1}\ntags: {a: 1, b: yes}\nwait: yes\n";
    let problems = refused(text);
    let told: Vec<_> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "1:1: nmae: there is no such field; did you mean name?",
            "1:1: name: this field has to be there; add it, as in `name: web1`",
            "3:3: disks[0].size_gib: there is no such field; did you mean sizeGib?",
            "4:12: disks[1].sizeGib: 0 is out of range; write 1 to 100",
            "5:10: disks[1].count: 300 is out of range; write 0 to 255",
            "6:12: disks[2].sizeGib: a whole number is wanted, not \"8\"; write 8 without quotes",
            "7:7: mode: \"ueffi\" is not one of uefi, legacy-bios; did you mean uefi?",
            "8:1: size.cpus: this field has to be there; add `cpus:`",
            "8:8: size.cpu: there is no such field; did you mean cpus?",
            "9:11: tags.a: text is wanted, not 1; put it into quotes: \"1\"",
            "10:7: wait: true or false is wanted, not \"yes\"; write true",
        ]
        .map(str::to_owned)
    );
}

#[test]
fn each_structural_rule_refuses() {
    for (text, rule, place) in [
        ("name: a\nother: 1", "unknown-field", (2, 1)),
        ("name: a\ncpus: 1", "unknown-field", (2, 1)),
        ("mode: uefi", "missing-field", (1, 1)),
        ("name: [a]", "wrong-type", (1, 1)),
        ("name: a\ndisks: {count: 1}", "wrong-type", (2, 1)),
        ("name: a\nsize: [1]", "wrong-type", (2, 1)),
        ("[1, 2]", "wrong-type", (1, 1)),
        ("name: a\nmode: bios", "not-in-enum", (2, 7)),
        ("name: A", "pattern", (1, 7)),
        ("name: ''", "length", (1, 7)),
        ("name: abcdefghi", "length", (1, 7)),
        ("name: a\nsize: {cpus: -1}", "out-of-range", (2, 14)),
        (
            "name: a\nsize: {cpus: 99999999999}",
            "out-of-range",
            (2, 14),
        ),
        ("name: a\nname: b", "duplicate-field", (2, 1)),
        ("name: &a a", "yaml-alias", (1, 10)),
        ("name: *a", "yaml-syntax", (1, 7)),
        ("name: !!str a", "yaml-tag", (1, 13)),
        ("? [a]\n: b", "yaml-key", (1, 3)),
        ("name: a\n---\nname: b", "yaml-documents", (2, 1)),
        ("name: [a", "yaml-syntax", (1, 7)),
        ("", "empty", (1, 1)),
        ("# nothing\n", "empty", (1, 1)),
    ] {
        let problems = refused(text);
        let told: Vec<_> = problems
            .iter()
            .map(|problem| (problem.rule, (problem.line, problem.column)))
            .collect();
        assert_eq!(told, [(rule, place)], "{text}: {problems:?}");
        assert!(!problems[0].fix.is_empty(), "{text}");
    }
}

#[test]
fn a_field_of_something_else_is_told_whose_it_is() {
    let problems = refused("name: a\nsizeGib: 8");
    assert_eq!(
        problems[0].to_string(),
        "2:1: sizeGib: there is no such field; it belongs to disks[]"
    );
}

#[test]
fn what_a_type_refuses_itself_is_located() {
    #[derive(Debug, Deserialize, JsonSchema)]
    struct Address {
        #[expect(dead_code, reason = "only read")]
        #[schemars(with = "Map<String, String>")]
        ips: Map<String, std::net::Ipv4Addr>,
    }
    let problems = read::<Address>("ips:\n  a: 10.0.0.1\n  b: 10.0.0.256\n").unwrap_err();
    let problem = &problems[0];
    assert_eq!((problem.path.as_str(), problem.line), ("ips.b", 3));
    assert_eq!(problem.rule, "invalid");
    assert!(problem.message.contains("IPv4"), "{problem}");
}

#[test]
fn the_bounds_hold() {
    let refused_by = |text: &str, rule| {
        let problems = read::<Machine>(text).unwrap_err();
        assert_eq!(problems[0].rule, rule, "{:?}", problems[0]);
        problems.len()
    };
    refused_by(&" ".repeat(MAX_SIZE + 1), "too-large");
    refused_by(&"[".repeat(100_000), "too-deep");
    refused_by(&"a: {".repeat(40), "too-deep");
    refused_by(&"- ".repeat(50), "too-deep");
    refused_by(&format!("[{}]", "1,".repeat(60_000)), "too-large");
    let many: String = (0..5_000).map(|n| format!("f{n}: 1\n")).collect();
    assert_eq!(refused_by(&many, "unknown-field"), tree::MAX_PROBLEMS);
    let twice: String = "a: 1\n".repeat(5_000);
    assert_eq!(refused_by(&twice, "duplicate-field"), tree::MAX_PROBLEMS);
    let long = format!("name: {}", "x".repeat(100_000));
    let problems = refused(&long);
    assert!(problems[0].to_string().len() < 200);
}

#[test]
fn the_schema_of_these_types_is_read_whole() {
    assert_eq!(
        unread_keywords::<Machine>(),
        std::collections::BTreeSet::new()
    );
}

#[test]
fn files_are_named_and_bounded() {
    let dir = std::env::temp_dir();
    let path = dir.join(format!("rehost-document-{}.yaml", std::process::id()));
    std::fs::write(&path, "nmae: a\n").unwrap();
    let error = load::<Machine>(&path).unwrap_err().to_string();
    let first = error.lines().next().unwrap();
    assert!(
        first.starts_with(&format!("{}:1:1: nmae: ", path.display())),
        "{error}"
    );
    std::fs::write(&path, b"\xff\xfe").unwrap();
    assert!(
        load::<Machine>(&path)
            .unwrap_err()
            .to_string()
            .contains("UTF-8")
    );
    std::fs::write(&path, vec![b' '; MAX_SIZE + 1]).unwrap();
    assert!(
        load::<Machine>(&path)
            .unwrap_err()
            .to_string()
            .contains("1 MiB")
    );
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(load::<Machine>(&path), Err(Error::Io { .. })));
}
