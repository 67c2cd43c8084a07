//! What the account has from the start: DescribeSubnets, DescribeSecurityGroups,
//! DescribeAvailabilityZones and DescribeKeyPairs.

use super::cloud::Cloud;
use super::filter::Filters;
use super::form::Form;
use super::page::Page;
use super::refusal::{bad, value};
use super::xml::Xml;
use crate::error::Refusal;
use crate::surroundings::{SecurityGroup, Subnet};
use crate::world::World;
use std::collections::BTreeMap;

/// The name of the zone with that letter.
pub(super) fn zone(world: &World, letter: char) -> String {
    format!("{}{letter}", world.config.region)
}

/// The letter of a zone's name.
pub(super) fn letter(world: &World, cloud: &Cloud, name: &str) -> Result<char, Refusal> {
    let mut letters = cloud.surroundings.zones.iter().copied();
    letters
        .find(|letter| zone(world, *letter) == name)
        .ok_or_else(|| value(format!("Invalid availability zone: [{name}]")))
}

/// The zone's id, which is the same in all accounts.
fn zone_id(letter: char) -> String {
    format!(
        "use1-az{}",
        u32::from(letter).saturating_sub(u32::from('a')) + 1
    )
}

/// DescribeSubnets
pub(super) fn subnets(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let ids = form.list("SubnetId");
    let filters = Filters::parse(
        form,
        &[
            "subnet-id",
            "vpc-id",
            "availability-zone",
            "availabilityZone",
            "cidr-block",
            "cidr",
            "cidrBlock",
            "state",
            "default-for-az",
        ],
    )?;
    let cloud = world.cloud();
    for id in &ids {
        cloud.subnet(id)?;
    }
    let fact = |subnet: &Subnet, name: &str| match name {
        "subnet-id" => vec![subnet.id.clone()],
        "vpc-id" => vec![subnet.vpc.clone()],
        "availability-zone" | "availabilityZone" => vec![zone(world, subnet.zone)],
        "cidr-block" | "cidr" | "cidrBlock" => vec![subnet.cidr.to_string()],
        "state" => vec!["available".into()],
        "default-for-az" => vec!["false".into()],
        _ => Vec::new(),
    };
    let found: Vec<&Subnet> = cloud
        .surroundings
        .subnets
        .iter()
        .filter(|subnet| ids.is_empty() || ids.contains(&subnet.id.as_str()))
        .filter(|subnet| filters.pass(&subnet.tags, |name| fact(subnet, name)))
        .collect();
    let page = Page::cut(world, form, !ids.is_empty(), 5, found)?;
    form.settle()?;
    Ok(page.answer("subnetSet", |xml, subnet| {
        let used = cloud.addresses_of(&subnet.id).len();
        let used = u64::try_from(used).unwrap_or(u64::MAX);
        xml.text("subnetId", &subnet.id);
        xml.text("state", "available");
        xml.text("vpcId", &subnet.vpc);
        xml.text("cidrBlock", subnet.cidr);
        let free = subnet.cidr.len().saturating_sub(5).saturating_sub(used);
        xml.text("availableIpAddressCount", free);
        xml.text("availabilityZone", zone(world, subnet.zone));
        xml.text("availabilityZoneId", zone_id(subnet.zone));
        xml.text("defaultForAz", false);
        xml.text("mapPublicIpOnLaunch", subnet.public);
        xml.text("ownerId", &world.config.account);
        xml.tags(&subnet.tags);
    }))
}

/// DescribeSecurityGroups
pub(super) fn security_groups(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let ids = form.list("GroupId");
    let names = form.list("GroupName");
    let filters = Filters::parse(form, &["group-id", "group-name", "vpc-id", "owner-id"])?;
    let cloud = world.cloud();
    for id in &ids {
        cloud.group(id)?;
    }
    let groups = &cloud.surroundings.security_groups;
    for name in &names {
        if groups.iter().all(|group| group.name != *name) {
            let message = format!("The security group '{name}' does not exist");
            return Err(bad("InvalidGroup.NotFound", message));
        }
    }
    let fact = |group: &SecurityGroup, name: &str| match name {
        "group-id" => vec![group.id.clone()],
        "group-name" => vec![group.name.clone()],
        "vpc-id" => vec![group.vpc.clone()],
        "owner-id" => vec![world.config.account.clone()],
        _ => Vec::new(),
    };
    let found: Vec<&SecurityGroup> = groups
        .iter()
        .filter(|group| ids.is_empty() || ids.contains(&group.id.as_str()))
        .filter(|group| names.is_empty() || names.contains(&group.name.as_str()))
        .filter(|group| filters.pass(&group.tags, |name| fact(group, name)))
        .collect();
    let page = Page::cut(world, form, !ids.is_empty(), 5, found)?;
    form.settle()?;
    Ok(page.answer("securityGroupInfo", |xml, group| {
        xml.text("groupId", &group.id);
        xml.text("groupName", &group.name);
        xml.text("groupDescription", &group.name);
        xml.text("vpcId", &group.vpc);
        xml.text("ownerId", &world.config.account);
        xml.tags(&group.tags);
    }))
}

/// DescribeAvailabilityZones
pub(super) fn zones(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let names = form.list("ZoneName");
    form.whole().flag("AllAvailabilityZones")?;
    let filters = Filters::parse(form, &["zone-name", "region-name", "state", "zone-type"])?;
    let cloud = world.cloud();
    for name in &names {
        letter(world, &cloud, name)?;
    }
    let region = &world.config.region;
    let letters: Vec<char> = cloud
        .surroundings
        .zones
        .iter()
        .copied()
        .filter(|letter| names.is_empty() || names.contains(&zone(world, *letter).as_str()))
        .filter(|letter| {
            filters.pass(&BTreeMap::new(), |name| match name {
                "zone-name" => vec![zone(world, *letter)],
                "region-name" => vec![region.clone()],
                "state" => vec!["available".into()],
                "zone-type" => vec!["availability-zone".into()],
                _ => Vec::new(),
            })
        })
        .collect();
    form.settle()?;
    let mut xml = Xml::default();
    xml.list("availabilityZoneInfo", letters, |xml, letter| {
        xml.text("zoneName", zone(world, letter));
        xml.text("zoneState", "available");
        xml.text("regionName", region);
        xml.text("zoneId", zone_id(letter));
        xml.text("zoneType", "availability-zone");
        xml.text("optInStatus", "opt-in-not-required");
    });
    Ok(xml)
}

/// DescribeKeyPairs
pub(super) fn key_pairs(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let names = form.list("KeyName");
    let filters = Filters::parse(form, &["key-name"])?;
    let cloud = world.cloud();
    for name in &names {
        cloud.key_pair(name)?;
    }
    let pairs: Vec<&String> = cloud
        .surroundings
        .key_pairs
        .iter()
        .filter(|pair| names.is_empty() || names.contains(&pair.as_str()))
        .filter(|pair| filters.pass(&BTreeMap::new(), |_| vec![(*pair).clone()]))
        .collect();
    form.settle()?;
    let mut xml = Xml::default();
    xml.list("keySet", pairs, |xml, name| {
        xml.text("keyName", name);
        xml.text("keyType", "ed25519");
    });
    Ok(xml)
}
