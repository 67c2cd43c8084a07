//! Tags, which any resource can have.

use super::form::Form;
use super::refusal::{missing, value};
use super::snapshots::{no_snapshot, well_formed};
use crate::error::Refusal;
use crate::world::World;
use hyper::StatusCode;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn create_tags(world: &World, form: &Form) -> Result<String, Refusal> {
    let ids = form.list("ResourceId");
    if ids.is_empty() {
        return Err(missing("resourceIdSet"));
    }
    let mut snapshots = Vec::new();
    for id in ids {
        if !id.starts_with("snap-") {
            let message = format!("The ID '{id}' is not valid: this fake tags snapshots only");
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "InvalidID", message));
        }
        well_formed(id)?;
        snapshots.push(world.snapshot(id).ok_or_else(|| no_snapshot(id))?);
    }
    let mut tags = BTreeMap::new();
    for number in 1..=form.parameters.len() {
        let Some(key) = form.get(&format!("Tag.{number}.Key")) else {
            break;
        };
        let text = form.get(&format!("Tag.{number}.Value")).unwrap_or_default();
        if key.is_empty() || key.chars().count() > 128 || text.chars().count() > 256 {
            return Err(value(format!(
                "the tag {key:?}: a key has 1 to 128 characters, a value 256"
            )));
        }
        if key.starts_with("aws:") {
            return Err(value(
                "Tag keys starting with 'aws:' are reserved for internal use",
            ));
        }
        if tags.insert(key.to_owned(), text.to_owned()).is_some() {
            return Err(value(format!("Duplicate tag key '{key}' specified.")));
        }
    }
    if tags.is_empty() {
        return Err(missing("tagSet"));
    }
    // All of them or none: first the limit for each.
    for snapshot in &snapshots {
        let live = snapshot.live(world.minute());
        let keys: BTreeSet<&String> = live.tags.keys().chain(tags.keys()).collect();
        if keys.len() > 50 {
            return Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                "TagLimitExceeded",
                format!(
                    "{} would have {} tags, 50 are allowed",
                    snapshot.id,
                    keys.len()
                ),
            ));
        }
    }
    for snapshot in &snapshots {
        snapshot.live(world.minute()).tags.extend(tags.clone());
    }
    Ok("<return>true</return>".into())
}
