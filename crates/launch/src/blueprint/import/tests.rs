//! Examples with every field of the two tools.

use super::*;
use crate::blueprint::{Context, Disposition, PrivateIpAction, TypeChoice, VolumeType};
use crate::document::{Severity, read};

const CLOUDENDURE: &[u8] = include_bytes!("examples/cloudendure.json");
const MGN: &[u8] = include_bytes!("examples/mgn.json");
const TEMPLATE: &[u8] = include_bytes!("examples/template.json");

/// Every leaf of a document as `path = value`.
fn leaves(value: &Value, path: &str, out: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                leaves(value, &format!("{path}{dot}{name}"), out);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                leaves(item, &format!("{path}[{at}]"), out);
            }
        }
        Value::Null => {}
        Value::String(text) if text.is_empty() => {}
        value => out.push((path.to_owned(), value.clone())),
    }
}

/// Fails unless each leaf is in a note or, by its value, in the blueprint or `words`.
#[track_caller]
fn nothing_is_lost(document: &Value, path: &str, imported: &Imported, words: &[(&str, &str)]) {
    let mut all = Vec::new();
    leaves(document, path, &mut all);
    assert!(!all.is_empty());
    let written = imported.blueprint.to_yaml().unwrap();
    for (path, value) in all {
        let noted = imported.notes.iter().any(|note| {
            let base = path.split_once(&note.field).map(|(before, _)| before);
            base == Some("") && note.value.to_string().contains(value.to_string().as_str())
        });
        let text = match &value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let known = words.iter().find(|(field, _)| path == *field);
        let said = match known {
            Some((_, word)) => written.contains(word),
            None => written.contains(&text) && !matches!(value, Value::Bool(_)),
        };
        assert!(
            noted || said,
            "{path} = {value} is lost in\n{}",
            imported.to_yaml().unwrap()
        );
    }
}

/// The text can be read again, with the same blueprint in it, and has no errors.
#[track_caller]
fn is_good(imported: &Imported) {
    let text = imported.to_yaml().unwrap();
    let document = read::<Blueprint>(&text).unwrap_or_else(|error| panic!("{error:?}\n{text}"));
    assert_eq!(document.value(), &imported.blueprint, "{text}");
    let mut problems = Blueprint::check(&document, &Context::default());
    problems.retain(|problem| problem.severity == Severity::Error);
    assert_eq!(problems, [], "{text}");
}

#[test]
fn blueprints_of_cloudendure_are_imported_whole() {
    let imported = import(CLOUDENDURE, None).unwrap();
    assert_eq!(imported.len(), 2);
    let document: Value = serde_json::from_slice(CLOUDENDURE).unwrap();
    let (first, second) = (&imported[0], &imported[1]);
    nothing_is_lost(
        &document["items"][0],
        "",
        first,
        &[
            ("instanceType", "copy-origin"),
            ("privateIPAction", "custom"),
            ("publicIPAction", "publicIp: "),
            // What this says is what happens anyway.
            ("staticIpAction", ""),
            ("disks[0].type", "gp3"),
            ("disks[1].type", "st1"),
            ("disks[1].iops", ""),
            ("disks[2].type", "io1"),
            ("disks[3].type", "gp2"),
            ("disks[4].type", ""),
            ("tenancy", "dedicated"),
            ("byolOnDedicatedInstance", "byol: true"),
            ("runAfterLaunch", "disposition: stopped"),
            ("forceUEFI", "mode: uefi"),
        ],
    );
    let blueprint = &first.blueprint;
    assert_eq!(blueprint.metadata.machine, "web01.corp.example");
    assert_eq!(blueprint.disks[2].volume_type(), VolumeType::Io1);
    assert_eq!(blueprint.disks[3].iops, None);
    assert_eq!(blueprint.launch.disposition, Disposition::Stopped);
    is_good(first);
    nothing_is_lost(
        &document["items"][1],
        "",
        second,
        &[
            ("instanceType", "minVcpu"),
            ("privateIPAction", "use-eni"),
            ("publicIPAction", ""),
            ("disks[0].type", "standard"),
            ("tenancy", "host"),
            ("runAfterLaunch", ""),
        ],
    );
    let interface = &second.blueprint.network.interfaces[0];
    assert_eq!(interface.private_ip_action(), PrivateIpAction::UseEni);
    assert_eq!(second.blueprint.region.as_deref(), Some("eu-west-1"));
    is_good(second);
    let head = first.to_yaml().unwrap();
    assert!(
        head.contains("#   notHeardOf = {\"a\":1}: a blueprint has no such field\n"),
        "{head}"
    );
}

#[test]
fn a_launch_configuration_of_mgn_is_imported_with_its_template() {
    let imported = import(MGN, Some(TEMPLATE)).unwrap();
    let [imported] = imported.as_slice() else {
        panic!("{imported:?}");
    };
    let document: Value = serde_json::from_slice(MGN).unwrap();
    let template: Value = serde_json::from_slice(TEMPLATE).unwrap();
    nothing_is_lost(
        &document,
        "",
        imported,
        &[
            ("launchDisposition", "disposition: stopped"),
            ("targetInstanceTypeRightSizingMethod", ""),
            ("copyPrivateIp", ""),
            ("licensing.osByol", "byol: true"),
            ("bootMode", "mode: uefi"),
            ("enableMapAutoTagging", "map-migrated"),
        ],
    );
    nothing_is_lost(
        &template["LaunchTemplateVersions"][1]["LaunchTemplateData"],
        "template",
        imported,
        &[
            ("template.EbsOptimized", "ebsOptimized: true"),
            (
                "template.BlockDeviceMappings[0].Ebs.Encrypted",
                "encrypted: true",
            ),
            (
                "template.BlockDeviceMappings[0].Ebs.DeleteOnTermination",
                "deleteOnTermination: true",
            ),
            (
                "template.BlockDeviceMappings[2].Ebs.DeleteOnTermination",
                "deleteOnTermination: false",
            ),
            (
                "template.NetworkInterfaces[0].AssociatePublicIpAddress",
                "publicIp: ",
            ),
            (
                "template.NetworkInterfaces[0].PrivateIpAddresses[0].Primary",
                "10.20.1.31",
            ),
            (
                "template.NetworkInterfaces[0].PrivateIpAddresses[1].Primary",
                "10.20.1.30",
            ),
            ("template.Placement.Tenancy", ""),
            (
                "template.DisableApiTermination",
                "terminationProtection: true",
            ),
            ("template.UserData", "hostname: db01"),
            ("template.TagSpecifications[0].ResourceType", ""),
            ("template.TagSpecifications[1].ResourceType", ""),
            ("template.TagSpecifications[0].Tags[1].Value", ""),
            (
                "template.MetadataOptions.InstanceMetadataTags",
                "instanceTags: false",
            ),
        ],
    );
    let blueprint = &imported.blueprint;
    assert_eq!(blueprint.metadata.machine, "db-01");
    assert_eq!(blueprint.region.as_deref(), Some("eu-west-1"));
    let first = blueprint.network.interfaces[0].private_ips[0];
    assert_eq!(first.to_string(), "10.20.1.30", "the primary one");
    let choice = blueprint.instance.choice.clone();
    assert_eq!(choice, Some(TypeChoice::Named("t3.large".to_owned())));
    assert_eq!(blueprint.disks.len(), 2);
    is_good(imported);
}

#[test]
fn mgn_may_choose_the_type_and_copy_the_address() {
    let document = MGN_BASIC.as_bytes();
    let data = br#"{"InstanceType": "c5.large", "SecurityGroupIds": ["sg-01234567"],
        "NetworkInterfaces": [{"SubnetId": "subnet-01234567", "PrivateIpAddress": "10.0.0.9"}]}"#;
    let imported = import(document, Some(data)).unwrap().remove(0);
    let notes: Vec<_> = imported.notes.iter().map(ToString::to_string).collect();
    assert!(
        notes.iter().any(|note| note.contains("c5.large")),
        "{notes:?}"
    );
    assert!(
        notes.iter().any(|note| note.contains("10.0.0.9")),
        "{notes:?}"
    );
    let interface = &imported.blueprint.network.interfaces[0];
    assert_eq!(interface.private_ip_action(), PrivateIpAction::CopyOrigin);
    assert_eq!(interface.security_group_ids, ["sg-01234567"]);
    is_good(&imported);
    let without = import(document, None).unwrap().remove(0);
    let notes: Vec<_> = without.notes.iter().map(ToString::to_string).collect();
    assert!(
        notes.iter().any(|note| note.contains("--template")),
        "{notes:?}"
    );
}

const MGN_BASIC: &str = r#"{"sourceServerID": "s-1", "ec2LaunchTemplateID": "lt-1",
    "targetInstanceTypeRightSizingMethod": "BASIC", "copyPrivateIp": true}"#;

#[test]
fn other_documents_are_refused() {
    assert!(matches!(import(b"{", None), Err(Error::Json(_))));
    assert!(matches!(import(b"{}", None), Err(Error::Unknown)));
    assert!(matches!(import(b"[1]", None), Err(Error::Unknown)));
    assert!(matches!(
        import(b"{\"items\": [1]}", None),
        Err(Error::Unknown)
    ));
    assert!(matches!(
        import(CLOUDENDURE, Some(TEMPLATE)),
        Err(Error::Template)
    ));
    assert!(matches!(import(MGN, Some(b"{}")), Err(Error::NoTemplate)));
    assert!(matches!(
        import(MGN, Some(b"{\"a\": 1}")),
        Err(Error::NoTemplate)
    ));
    let deep = "[".repeat(1 << 20);
    assert!(matches!(import(deep.as_bytes(), None), Err(Error::Json(_))));
}

#[test]
fn values_of_a_wrong_kind_are_noted_and_cannot_end_a_comment() {
    let document = r#"{"machineId": "m", "subnetIDs": 5, "tags": [{"key": "a"}, {"key": 5}],
        "region": "x\n\u2028evil: true", "instanceType": "m7i.large"}"#;
    let imported = import(document.as_bytes(), None).unwrap().remove(0);
    let fields: Vec<_> = imported
        .notes
        .iter()
        .map(|note| note.field.as_str())
        .collect();
    assert_eq!(fields, ["region", "subnetIDs", "tags[1].key", "machineId"]);
    is_good(&imported);
}
