//! The launch configuration of a source server in AWS MGN.

use super::fields::Fields;
use super::{Imported, machine_name, template};
use crate::blueprint::{
    Blueprint, BootMode, CopyOrigin, Disposition, Interface, Metadata, PrivateIpAction, TypeChoice,
};
use serde_json::{Map, Value};

/// Why fields that are left over are.
const REASONS: &[(&str, &str)] = &[
    ("sourceServerID", "the server's number in MGN"),
    (
        "postLaunchActions",
        "rehost runs nothing on targets; use launch.userData, or SSM on the target's tags",
    ),
    ("ResponseMetadata", "about the answer itself"),
];

pub(super) fn import(map: Map<String, Value>, data: Option<Map<String, Value>>) -> Imported {
    let mut notes = Vec::new();
    let id = map.get("sourceServerID").and_then(Value::as_str);
    let fallback = id.map_or_else(|| "machine".to_owned(), machine_name);
    let mut fields = Fields::new("", map, &mut notes);
    let mut blueprint = Blueprint::of_machine(Metadata {
        machine: fallback,
        ..Metadata::default()
    });
    if let Some(name) = fields.text("name") {
        let plain = machine_name(&name);
        if plain != name {
            let why = format!("the machine is called {plain} here");
            fields.note("name", name, why);
        }
        if !plain.is_empty() {
            blueprint.metadata.machine = plain;
        }
    }
    let has_template = data.is_some();
    if let Some(id) = fields.text("ec2LaunchTemplateID") {
        let why = if has_template {
            "its data is in this blueprint"
        } else {
            "its data is missing here; give it by --template"
        };
        fields.note("ec2LaunchTemplateID", id, why);
    }
    if let Some(data) = data {
        template::apply(data, &mut fields, &mut blueprint);
    }
    settings(&mut fields, &mut blueprint);
    fields.end(REASONS);
    Imported {
        blueprint,
        from: "a launch configuration of AWS MGN",
        notes,
    }
}

/// What MGN says over its template.
fn settings(fields: &mut Fields<'_>, blueprint: &mut Blueprint) {
    match fields.text("launchDisposition").as_deref() {
        None | Some("STARTED") => {}
        Some("STOPPED") => blueprint.launch.disposition = Disposition::Stopped,
        Some(other) => fields.note("launchDisposition", other, "no disposition that is known"),
    }
    match fields
        .text("targetInstanceTypeRightSizingMethod")
        .as_deref()
    {
        None | Some("NONE") => {}
        Some("BASIC") => {
            let origin = TypeChoice::CopyOrigin(CopyOrigin::CopyOrigin);
            if let Some(TypeChoice::Named(name)) = blueprint.instance.choice.replace(origin) {
                let why = "MGN chooses by the source's size: instance.type is copy-origin";
                fields.note("targetInstanceTypeRightSizingMethod", name, why);
            }
        }
        Some(other) => {
            let why = "no method that is known; instance.type decides";
            fields.note("targetInstanceTypeRightSizingMethod", other, why);
        }
    }
    if fields.bool("copyPrivateIp") == Some(true) {
        let interfaces = &mut blueprint.network.interfaces;
        if interfaces.is_empty() {
            interfaces.push(Interface::default());
        }
        if let Some(first) = interfaces.first_mut() {
            for address in std::mem::take(&mut first.private_ips) {
                let why = "the address of the template; the source's is copied instead";
                fields.note("copyPrivateIp", address.to_string(), why);
            }
            first.private_ip_action = Some(PrivateIpAction::CopyOrigin);
        }
    }
    if fields.bool("copyTags") == Some(true) {
        let why = "MGN copies the tags of its source server; write them into `tags`";
        fields.note("copyTags", true, why);
    }
    fields.object("licensing", |fields| {
        blueprint.licensing.byol = fields.bool("osByol");
    });
    match fields.text("bootMode").as_deref() {
        None | Some("USE_SOURCE") => {}
        Some("LEGACY_BIOS") => blueprint.boot.mode = BootMode::LegacyBios,
        Some("UEFI") => blueprint.boot.mode = BootMode::Uefi,
        Some(other) => fields.note("bootMode", other, "no boot mode that is known"),
    }
    let enabled = fields.bool("enableMapAutoTagging").unwrap_or_default();
    match (enabled, fields.text("mapAutoTaggingMpeID")) {
        // What MGN's documentation says of it: this key, the id of the engagement as the value.
        (true, Some(id)) => {
            blueprint.tags.insert("map-migrated".to_owned(), id);
        }
        (true, None) => {
            let why = "no engagement is named; write `tags: {map-migrated: …}`";
            fields.note("enableMapAutoTagging", true, why);
        }
        (false, Some(id)) => {
            let why = "enableMapAutoTagging is off";
            fields.note("mapAutoTaggingMpeID", id, why);
        }
        (false, None) => {}
    }
}
