//! DescribeSnapshots and DeleteSnapshot.

use super::filter::Filters;
use super::form::Form;
use super::id::Kind;
use super::page::Page;
use super::refusal::bad;
use super::xml::Xml;
use crate::chance::Setting;
use crate::clock::iso;
use crate::error::Refusal;
use crate::snapshot::{Phase, Snapshot};
use crate::world::World;
use std::sync::Arc;
use std::time::Duration;

/// What the real service says of snapshots that no volume made.
const NO_VOLUME: &str = "vol-ffffffff";

/// The snapshot of that id.
pub(super) fn find(world: &World, id: &str) -> Result<Arc<Snapshot>, Refusal> {
    Kind::Snapshot.well_formed(id)?;
    world
        .snapshot(id)
        .ok_or_else(|| Kind::Snapshot.not_found(id))
}

/// DescribeSnapshots
pub(super) fn describe(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    let ids = form.list("SnapshotId");
    let lag = Duration::from_millis(setting.faults.describe_lag_ms);
    let visible = |snapshot: &Arc<Snapshot>| snapshot.born.elapsed() >= lag;
    let mut found = if ids.is_empty() {
        world.snapshots().into_iter().filter(visible).collect()
    } else {
        let find = |id: &&str| {
            let snapshot = find(world, id)?;
            if visible(&snapshot) {
                Ok(snapshot)
            } else {
                Err(Kind::Snapshot.not_found(id))
            }
        };
        ids.iter().map(find).collect::<Result<Vec<_>, _>>()?
    };
    let account = &world.config.account;
    // Nothing is shared, so that who may restore a snapshot is its owner.
    for parameter in ["Owner", "RestorableBy"] {
        let names = form.list(parameter);
        if !names.is_empty() && !names.iter().any(|name| *name == "self" || name == account) {
            found.clear();
        }
    }
    let filters = Filters::parse(
        form,
        &[
            "status",
            "snapshot-id",
            "volume-size",
            "owner-id",
            "description",
            "encrypted",
            "start-time",
            "progress",
            "volume-id",
        ],
    )?;
    found.retain(|snapshot| {
        let tags = snapshot.live(world.minute()).tags.clone();
        filters.pass(&tags, |name| fact(world, snapshot, name))
    });
    found.sort_by(|a, b| a.id.cmp(&b.id));
    let page = Page::cut(world, form, !ids.is_empty(), 5, found)?;
    form.settle()?;
    Ok(page.answer("snapshotSet", |xml, snapshot| item(world, &snapshot, xml)))
}

/// What a filter compares of a snapshot.
fn fact(world: &World, snapshot: &Snapshot, name: &str) -> Vec<String> {
    let live = snapshot.live(world.minute());
    vec![match name {
        "status" => live.phase.status().into(),
        "snapshot-id" => snapshot.id.clone(),
        "volume-size" => snapshot.origin.volume_size.to_string(),
        "owner-id" => world.config.account.clone(),
        "description" => snapshot.origin.description.clone().unwrap_or_default(),
        "encrypted" => snapshot.origin.key.is_some().to_string(),
        "start-time" => iso(snapshot.start_time),
        "progress" => progress(&live.phase).into(),
        "volume-id" => NO_VOLUME.into(),
        _ => return Vec::new(),
    }]
}

fn progress(phase: &Phase) -> &'static str {
    if *phase == Phase::Completed {
        "100%"
    } else {
        "0%"
    }
}

fn item(world: &World, snapshot: &Snapshot, xml: &mut Xml) {
    let live = snapshot.live(world.minute());
    let origin = &snapshot.origin;
    xml.text("snapshotId", &snapshot.id);
    xml.text("volumeId", NO_VOLUME);
    xml.text("status", live.phase.status());
    if let Phase::Error(why) = &live.phase {
        xml.text("statusMessage", why);
    }
    xml.text("startTime", iso(snapshot.start_time));
    xml.text("progress", progress(&live.phase));
    xml.text("ownerId", &world.config.account);
    xml.text("volumeSize", origin.volume_size);
    xml.text(
        "description",
        origin.description.as_deref().unwrap_or_default(),
    );
    xml.text("encrypted", origin.key.is_some());
    if let Some(key) = &origin.key {
        xml.text("kmsKeyId", key);
        xml.text("sseType", "sse-kms");
    }
    xml.text("storageTier", "standard");
    xml.tags(&live.tags);
}

/// DeleteSnapshot: not while an image needs it; children keep what they inherit, and so do volumes.
pub(super) fn delete(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let id = form.whole().needed("SnapshotId")?;
    let cloud = world.cloud();
    find(world, id)?;
    if let Some(image) = cloud.image_of_snapshot(id) {
        let message = format!("The snapshot {id} is currently in use by {}", image.id);
        return Err(bad("InvalidSnapshot.InUse", message));
    }
    form.settle()?;
    // Another request may have been quicker.
    world
        .remove(id)
        .ok_or_else(|| Kind::Snapshot.not_found(id))?;
    Ok(Xml::done())
}
