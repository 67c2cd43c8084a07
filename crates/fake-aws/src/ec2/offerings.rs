//! Where instance types are offered: everywhere, but for [`crate::Surroundings::not_offered`].

use super::cloud::Cloud;
use super::filter::Filters;
use super::form::Form;
use super::network::zone;
use super::page::Page;
use super::refusal::bad;
use super::types::InstanceType;
use super::xml::Xml;
use crate::error::Refusal;
use crate::world::World;
use std::collections::BTreeMap;

impl Cloud {
    fn offers(&self, kind: &str, letter: char) -> bool {
        let mut without = self.surroundings.not_offered.iter();
        !without.any(|(name, zone)| name == kind && *zone == letter)
    }

    /// Refuses a type that the zone does not have.
    pub(super) fn check_offered(
        &self,
        world: &World,
        kind: &InstanceType,
        letter: char,
    ) -> Result<(), Refusal> {
        if self.offers(kind.name, letter) {
            return Ok(());
        }
        let message = format!(
            "Your requested instance type ({}) is not supported in your requested Availability \
             Zone ({}).",
            kind.name,
            zone(world, letter)
        );
        Err(bad("Unsupported", message))
    }
}

/// DescribeInstanceTypeOfferings: by region, where nothing is said, or by zone.
pub(super) fn describe(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let by = form
        .whole()
        .word("LocationType", &["region", "availability-zone"])?
        .unwrap_or_else(|| "region".into());
    let filters = Filters::parse(form, &["location", "instance-type"])?;
    let cloud = world.cloud();
    let zones = &cloud.surroundings.zones;
    let mut found: Vec<(&str, String)> = Vec::new();
    for kind in InstanceType::all() {
        let offered = |letter: &&char| cloud.offers(kind.name, **letter);
        let letters: Vec<&char> = zones.iter().filter(offered).collect();
        if by == "region" && !letters.is_empty() {
            found.push((kind.name, world.config.region.clone()));
        } else if by != "region" {
            found.extend(
                letters
                    .iter()
                    .map(|letter| (kind.name, zone(world, **letter))),
            );
        }
    }
    found.retain(|(kind, location)| {
        filters.pass(&BTreeMap::new(), |name| match name {
            "location" => vec![location.clone()],
            _ => vec![(*kind).to_owned()],
        })
    });
    let page = Page::cut(world, form, false, 5, found)?;
    form.settle()?;
    Ok(
        page.answer("instanceTypeOfferingSet", |xml, (kind, location)| {
            xml.text("instanceType", kind);
            xml.text("locationType", &by);
            xml.text("location", location);
        }),
    )
}
