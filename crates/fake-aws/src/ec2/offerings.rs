//! DescribeInstanceTypeOfferings: every type of the table is offered in every zone.

use super::filter::Filters;
use super::form::Form;
use super::network::zone;
use super::page::Page;
use super::types::InstanceType;
use super::xml::Xml;
use crate::error::Refusal;
use crate::world::World;
use std::collections::BTreeMap;

/// DescribeInstanceTypeOfferings
pub(super) fn describe(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let filters = Filters::parse(form, &["location", "instance-type"])?;
    let kind = form
        .whole()
        .word("LocationType", &["region", "availability-zone"])?
        .unwrap_or_else(|| "region".into());
    let cloud = world.cloud();
    let locations: Vec<String> = if kind == "region" {
        vec![world.config.region.clone()]
    } else {
        let zones = cloud.surroundings.zones.iter();
        zones.map(|letter| zone(world, *letter)).collect()
    };
    let fact = |name: &str, location: &String, of: &str| match name {
        "location" => vec![location.clone()],
        "instance-type" => vec![of.to_owned()],
        _ => Vec::new(),
    };
    let all = locations.iter().flat_map(|location| {
        let types = InstanceType::all().map(|one| one.name);
        types.map(move |name| (location, name))
    });
    let found: Vec<_> = all
        .filter(|(location, of)| filters.pass(&BTreeMap::new(), |name| fact(name, location, of)))
        .collect();
    let page = Page::cut(world, form, false, 5, found)?;
    form.settle()?;
    Ok(
        page.answer("instanceTypeOfferingSet", |xml, (location, name)| {
            xml.text("instanceType", name);
            xml.text("locationType", &kind);
            xml.text("location", location);
        }),
    )
}
