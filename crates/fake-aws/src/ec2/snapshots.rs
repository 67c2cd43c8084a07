//! DescribeSnapshots and DeleteSnapshot.

use super::filter::matches;
use super::form::Form;
use super::page::page;
use super::refusal::{missing, value};
use super::xml::element;
use crate::action::snapshot_id;
use crate::chance::Setting;
use crate::clock::iso;
use crate::error::Refusal;
use crate::snapshot::{Phase, Snapshot};
use crate::world::World;
use hyper::StatusCode;
use std::sync::Arc;
use std::time::Duration;

pub(super) fn describe(world: &World, setting: &Setting, form: &Form) -> Result<String, Refusal> {
    let ids = form.list("SnapshotId");
    let lag = Duration::from_millis(setting.faults.describe_lag_ms);
    let visible = |snapshot: &Arc<Snapshot>| snapshot.born.elapsed() >= lag;
    let mut found = if ids.is_empty() {
        world.snapshots().into_iter().filter(visible).collect()
    } else {
        let find = |id: &&str| {
            well_formed(id).and_then(|()| {
                world
                    .snapshot(id)
                    .filter(visible)
                    .ok_or_else(|| no_snapshot(id))
            })
        };
        ids.iter().map(find).collect::<Result<Vec<_>, _>>()?
    };
    let owners = form.list("Owner");
    if !owners.is_empty()
        && !owners
            .iter()
            .any(|owner| *owner == "self" || *owner == world.config.account)
    {
        found.clear();
    }
    for number in 1..=form.parameters.len() {
        let Some(name) = form.get(&format!("Filter.{number}.Name")) else {
            break;
        };
        let values = form.list(&format!("Filter.{number}.Value"));
        if values.is_empty() {
            return Err(value(format!("the filter {name} has no value")));
        }
        let filter = Filter::parse(name)?;
        found.retain(|snapshot| {
            let has = filter.of(world, snapshot);
            values.iter().any(|pattern| {
                has.iter()
                    .any(|text| matches(pattern.as_bytes(), text.as_bytes()))
            })
        });
    }
    found.sort_by(|a, b| a.id.cmp(&b.id));
    let (page, next) = page(world, form, &ids, found)?;
    let mut body = "<snapshotSet>".to_owned();
    for snapshot in page {
        item(world, &snapshot, &mut body);
    }
    body.push_str("</snapshotSet>");
    if let Some(next) = next {
        element(&mut body, "nextToken", &next);
    }
    Ok(body)
}

fn item(world: &World, snapshot: &Snapshot, body: &mut String) {
    let live = snapshot.live(world.minute());
    body.push_str("<item>");
    element(body, "snapshotId", &snapshot.id);
    // What the real service says of snapshots that no volume made.
    element(body, "volumeId", "vol-ffffffff");
    element(body, "status", live.phase.status());
    if let Phase::Error(why) = &live.phase {
        element(body, "statusMessage", why);
    }
    element(body, "startTime", &iso(snapshot.start_time));
    element(
        body,
        "progress",
        if live.phase == Phase::Completed {
            "100%"
        } else {
            "0%"
        },
    );
    element(body, "ownerId", &world.config.account);
    element(body, "volumeSize", &snapshot.origin.volume_size.to_string());
    element(
        body,
        "description",
        snapshot.origin.description.as_deref().unwrap_or_default(),
    );
    element(
        body,
        "encrypted",
        if snapshot.origin.key.is_some() {
            "true"
        } else {
            "false"
        },
    );
    if let Some(key) = &snapshot.origin.key {
        element(body, "kmsKeyId", key);
        element(body, "sseType", "sse-kms");
    }
    element(body, "storageTier", "standard");
    if !live.tags.is_empty() {
        body.push_str("<tagSet>");
        for (key, value) in &live.tags {
            body.push_str("<item>");
            element(body, "key", key);
            element(body, "value", value);
            body.push_str("</item>");
        }
        body.push_str("</tagSet>");
    }
    body.push_str("</item>");
}

pub(super) fn delete(world: &World, form: &Form) -> Result<String, Refusal> {
    let id = form
        .get("SnapshotId")
        .ok_or_else(|| missing("snapshotId"))?;
    well_formed(id)?;
    // Children keep what they inherit, as in the real service.
    world.remove(id).ok_or_else(|| no_snapshot(id))?;
    Ok("<return>true</return>".into())
}

/// A filter of DescribeSnapshots.
#[derive(Debug)]
enum Filter {
    Tag(String),
    TagKey,
    Status,
    SnapshotId,
    VolumeSize,
    OwnerId,
    Description,
    Encrypted,
    StartTime,
    Progress,
    VolumeId,
}

impl Filter {
    fn parse(name: &str) -> Result<Filter, Refusal> {
        Ok(match name {
            "tag-key" => Filter::TagKey,
            "status" => Filter::Status,
            "snapshot-id" => Filter::SnapshotId,
            "volume-size" => Filter::VolumeSize,
            "owner-id" => Filter::OwnerId,
            "description" => Filter::Description,
            "encrypted" => Filter::Encrypted,
            "start-time" => Filter::StartTime,
            "progress" => Filter::Progress,
            "volume-id" => Filter::VolumeId,
            _ => match name.strip_prefix("tag:") {
                Some(key) if !key.is_empty() => Filter::Tag(key.to_owned()),
                _ => return Err(value(format!("The filter '{name}' is invalid"))),
            },
        })
    }

    /// What the filter compares of a snapshot.
    fn of(&self, world: &World, snapshot: &Snapshot) -> Vec<String> {
        let live = snapshot.live(world.minute());
        match self {
            Filter::Tag(key) => live.tags.get(key).cloned().into_iter().collect(),
            Filter::TagKey => live.tags.keys().cloned().collect(),
            Filter::Status => vec![live.phase.status().into()],
            Filter::SnapshotId => vec![snapshot.id.clone()],
            Filter::VolumeSize => vec![snapshot.origin.volume_size.to_string()],
            Filter::OwnerId => vec![world.config.account.clone()],
            Filter::Description => vec![snapshot.origin.description.clone().unwrap_or_default()],
            Filter::Encrypted => vec![snapshot.origin.key.is_some().to_string()],
            Filter::StartTime => vec![iso(snapshot.start_time)],
            Filter::Progress => {
                vec![
                    if live.phase == Phase::Completed {
                        "100%"
                    } else {
                        "0%"
                    }
                    .into(),
                ]
            }
            Filter::VolumeId => vec!["vol-ffffffff".into()],
        }
    }
}

pub(super) fn well_formed(id: &str) -> Result<(), Refusal> {
    snapshot_id(id).map(|_| ()).map_err(|_| {
        let message = format!("Invalid id: \"{id}\" (expecting \"snap-...\")");
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "InvalidSnapshotID.Malformed",
            message,
        )
    })
}

pub(super) fn no_snapshot(id: &str) -> Refusal {
    let message = format!("The snapshot '{id}' does not exist.");
    Refusal::new(StatusCode::BAD_REQUEST, "InvalidSnapshot.NotFound", message)
}
