//! Tags, which any resource can have.

use super::filter::Filters;
use super::form::{Form, Scope};
use super::id::Kind;
use super::page::Page;
use super::refusal::{bad, combination, missing, value};
use super::snapshots;
use super::xml::Xml;
use crate::error::Refusal;
use crate::world::World;
use std::collections::{BTreeMap, BTreeSet};

/// The most tags that a resource can have.
const MOST: usize = 50;

/// The tags that a request wants its new resources to have.
#[derive(Debug)]
pub(super) struct TagSpecifications(Vec<(&'static str, BTreeMap<String, String>)>);

impl TagSpecifications {
    /// Reads `TagSpecification.N`, for the kinds that the action makes.
    pub(super) fn parse(form: &Form, kinds: &[Kind]) -> Result<TagSpecifications, Refusal> {
        let mut all: Vec<(&'static str, BTreeMap<String, String>)> = Vec::new();
        for item in form.whole().items("TagSpecification") {
            let name = item.needed("ResourceType")?;
            let Some(kind) = kinds.iter().find(|kind| kind.resource_type() == name) else {
                let message =
                    format!("'{name}' is not a valid taggable resource type for this operation.");
                return Err(value(message));
            };
            let name = kind.resource_type();
            if all.iter().any(|(other, _)| *other == name) {
                return Err(value(format!(
                    "The resource type {name} has two tag specifications"
                )));
            }
            let tags = read(&item)?;
            if tags.is_empty() {
                return Err(value("Tag specification must have at least one tag"));
            }
            limit(tags.len(), name)?;
            all.push((name, tags));
        }
        Ok(TagSpecifications(all))
    }

    /// The tags of a new resource of this kind.
    pub(super) fn of(&self, kind: Kind) -> BTreeMap<String, String> {
        let name = kind.resource_type();
        let found = self.0.iter().find(|(other, _)| *other == name);
        found.map(|(_, tags)| tags.clone()).unwrap_or_default()
    }

    /// Refuses tags for what the request does not make.
    pub(super) fn without(&self, kind: Kind, why: &str) -> Result<(), Refusal> {
        if self.of(kind).is_empty() {
            return Ok(());
        }
        Err(combination(format!(
            "There are tags for {}, but {why}",
            kind.resource_type()
        )))
    }
}

fn read(form: &Scope<'_>) -> Result<BTreeMap<String, String>, Refusal> {
    let mut tags = BTreeMap::new();
    for tag in form.items("Tag") {
        let key = tag.needed("Key")?;
        let text = tag.get("Value").unwrap_or_default();
        if key.chars().count() > 128 || text.chars().count() > 256 {
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
    Ok(tags)
}

fn limit(count: usize, whose: &str) -> Result<(), Refusal> {
    if count <= MOST {
        return Ok(());
    }
    let message = format!("{whose} would have {count} tags, {MOST} are allowed");
    Err(bad("TagLimitExceeded", message))
}

/// Calls `change` on the tags of each resource, or refuses all if one does not exist or `check` says no.
fn each(
    world: &World,
    form: &Form,
    check: impl Fn(&str, &BTreeMap<String, String>) -> Result<(), Refusal>,
    change: impl Fn(&mut BTreeMap<String, String>),
) -> Result<(), Refusal> {
    let ids = form.list("ResourceId");
    if ids.is_empty() {
        return Err(missing("resourceIdSet"));
    }
    let mut cloud = world.cloud();
    let mut resources = Vec::new();
    for id in ids {
        let Some(kind) = Kind::of(id) else {
            return Err(bad("InvalidID", format!("The ID '{id}' is not valid")));
        };
        kind.well_formed(id)?;
        if kind == Kind::Snapshot {
            check(id, &snapshots::find(world, id)?.live(world.minute()).tags)?;
        } else {
            let tags = cloud.tags(kind, id).ok_or_else(|| kind.not_found(id))?;
            check(id, tags)?;
        }
        resources.push((kind, id));
    }
    form.settle()?;
    for (kind, id) in resources {
        if kind == Kind::Snapshot {
            change(&mut snapshots::find(world, id)?.live(world.minute()).tags);
        } else if let Some(tags) = cloud.tags(kind, id) {
            change(tags);
        }
    }
    Ok(())
}

/// CreateTags
pub(super) fn create(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let tags = read(&form.whole())?;
    let check = |id: &str, has: &BTreeMap<String, String>| {
        if tags.is_empty() {
            return Err(missing("tagSet"));
        }
        let keys: BTreeSet<&String> = has.keys().chain(tags.keys()).collect();
        limit(keys.len(), id)
    };
    each(world, form, check, |has| has.extend(tags.clone()))?;
    Ok(Xml::done())
}

/// DeleteTags: with a value only the tag that has it; without tags all of them.
pub(super) fn delete(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let mut wanted = Vec::new();
    for tag in form.whole().items("Tag") {
        let key = tag.needed("Key")?.to_owned();
        if key.starts_with("aws:") {
            return Err(value(
                "Tag keys starting with 'aws:' are reserved for internal use",
            ));
        }
        wanted.push((key, tag.text("Value")));
    }
    let goes = |key: &String, value: &String| {
        wanted.is_empty()
            || wanted
                .iter()
                .any(|(name, only)| name == key && only.as_ref().is_none_or(|only| only == value))
    };
    each(
        world,
        form,
        |_, _| Ok(()),
        |has| has.retain(|key, value| !goes(key, value)),
    )?;
    Ok(Xml::done())
}

/// DescribeTags
pub(super) fn describe(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let filters = Filters::parse(form, &["key", "value", "resource-id", "resource-type"])?;
    let cloud = world.cloud();
    let mut all: Vec<(Kind, String, String, String)> = Vec::new();
    let mut add = |kind: Kind, id: &str, tags: &BTreeMap<String, String>| {
        for (key, value) in tags {
            let one = BTreeMap::from([(key.clone(), value.clone())]);
            let fits = filters.pass(&one, |name| match name {
                "key" => vec![key.clone()],
                "value" => vec![value.clone()],
                "resource-id" => vec![id.to_owned()],
                "resource-type" => vec![kind.resource_type().into()],
                _ => Vec::new(),
            });
            if fits {
                all.push((kind, id.to_owned(), key.clone(), value.clone()));
            }
        }
    };
    for (kind, id, tags) in cloud.tagged() {
        add(kind, id, tags);
    }
    for snapshot in world.snapshots() {
        add(
            Kind::Snapshot,
            &snapshot.id,
            &snapshot.live(world.minute()).tags,
        );
    }
    all.sort_by(|a, b| (&a.1, &a.2).cmp(&(&b.1, &b.2)));
    let page = Page::cut(world, form, false, 5, all)?;
    form.settle()?;
    Ok(page.answer("tagSet", |xml, (kind, id, key, value)| {
        xml.text("key", key);
        xml.text("resourceId", id);
        xml.text("resourceType", kind.resource_type());
        xml.text("value", value);
    }))
}
