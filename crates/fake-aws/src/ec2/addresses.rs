//! Elastic IP addresses.

use super::cloud::Cloud;
use super::filter::Filters;
use super::form::Form;
use super::id::Kind;
use super::instances::InstanceState;
use super::refusal::{bad, combination, missing, value};
use super::tags::TagSpecifications;
use super::xml::Xml;
use crate::error::Refusal;
use crate::world::World;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// An Elastic IP address.
#[derive(Debug, Clone, Serialize)]
pub struct Address {
    /// Its allocation id.
    pub id: String,
    /// The public address.
    pub ip: Ipv4Addr,
    /// What it is associated with.
    pub association: Option<Association>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// What an address is associated with.
#[derive(Debug, Clone, Serialize)]
pub struct Association {
    /// The association's id.
    pub id: String,
    /// The interface's id.
    pub interface: String,
    /// The private address.
    pub private_address: Ipv4Addr,
}

impl Cloud {
    fn address(&mut self, id: &str) -> Result<&mut Address, Refusal> {
        let address = self.addresses.get_mut(id);
        address.ok_or_else(|| {
            let message = format!("The allocation ID '{id}' does not exist");
            bad("InvalidAllocationID.NotFound", message)
        })
    }
}

/// AllocateAddress
pub(super) fn allocate(world: &World, form: &Form) -> Result<Xml, Refusal> {
    form.whole().word("Domain", &["vpc"])?;
    let tags = TagSpecifications::parse(form, &[Kind::Address])?;
    let mut cloud = world.cloud();
    if cloud.addresses.len() >= cloud.surroundings.address_limit {
        return Err(bad(
            "AddressLimitExceeded",
            "The maximum number of addresses has been reached.",
        ));
    }
    form.settle()?;
    let address = Address {
        id: Kind::Address.make(&world.switches.random),
        ip: cloud.public_address(),
        association: None,
        tags: tags.of(Kind::Address),
    };
    let mut xml = Xml::default();
    xml.text("allocationId", &address.id);
    xml.text("publicIp", address.ip);
    xml.text("domain", "vpc");
    xml.text("publicIpv4Pool", "amazon");
    cloud.addresses.insert(address.id.clone(), address);
    Ok(xml)
}

/// AssociateAddress: with an interface, or with an instance that has one only.
pub(super) fn associate(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let all = form.whole();
    let id = all.needed("AllocationId")?;
    let (instance, interface) = (all.get("InstanceId"), all.get("NetworkInterfaceId"));
    let private: Option<Ipv4Addr> = all.parse("PrivateIpAddress")?;
    let again = all.flag("AllowReassociation")?.unwrap_or(false);
    let mut cloud = world.cloud();
    let interface = match (instance, interface) {
        (None, None) => return Err(missing("instanceId or networkInterfaceId")),
        (Some(_), Some(_)) => {
            return Err(combination(
                "You may specify an instance or an interface, not both",
            ));
        }
        (None, Some(interface)) => interface.to_owned(),
        (Some(id), None) => {
            let instance = cloud.instance(id)?;
            if !matches!(
                instance.state,
                InstanceState::Running | InstanceState::Stopped | InstanceState::Stopping
            ) {
                let message = format!(
                    "The {} instance '{id}' is not in a valid state for this operation.",
                    instance.state.name()
                );
                return Err(bad("InvalidInstanceID", message));
            }
            match instance.interfaces.as_slice() {
                [one] => one.clone(),
                _ => {
                    let message = format!(
                        "There are multiple interfaces attached to instance '{id}'. Please specify an interface ID for the operation instead."
                    );
                    return Err(bad("InvalidInstanceID", message));
                }
            }
        }
    };
    let has = cloud.interface_ref(&interface)?.addresses.clone();
    let private = match (private, has.first()) {
        (Some(private), _) if has.contains(&private) => private,
        (None, Some(primary)) => *primary,
        (private, _) => {
            let private = private.map_or_else(String::new, |private| private.to_string());
            return Err(value(format!(
                "The interface {interface} has no address {private}"
            )));
        }
    };
    if let Some(old) = &cloud.address(id)?.association
        && !again
        && (old.interface != interface || old.private_address != private)
    {
        let message = format!(
            "resource {id} is already associated with associate-id {}",
            old.id
        );
        return Err(bad("Resource.AlreadyAssociated", message));
    }
    let other = |address: &Address| {
        let association = address.association.as_ref();
        address.id != id
            && association
                .is_some_and(|it| it.interface == interface && it.private_address == private)
    };
    if !again && cloud.addresses.values().any(other) {
        let message = format!("resource {interface} is already associated with another address");
        return Err(bad("Resource.AlreadyAssociated", message));
    }
    form.settle()?;
    for address in cloud
        .addresses
        .values_mut()
        .filter(|address| other(address))
    {
        address.association = None;
    }
    let association = format!("eipassoc-0{:016x}", world.switches.random.bits());
    let address = cloud.address(id)?;
    // The same again changes nothing.
    let association = match &address.association {
        Some(old) if old.interface == interface && old.private_address == private => old.id.clone(),
        _ => association,
    };
    address.association = Some(Association {
        id: association.clone(),
        interface,
        private_address: private,
    });
    let mut xml = Xml::done();
    xml.text("associationId", association);
    Ok(xml)
}

/// DisassociateAddress
pub(super) fn disassociate(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let id = form.whole().needed("AssociationId")?;
    let mut cloud = world.cloud();
    let is = |address: &&mut Address| address.association.as_ref().is_some_and(|it| it.id == id);
    let Some(address) = cloud.addresses.values_mut().find(is) else {
        let message = format!("The association ID '{id}' does not exist");
        return Err(bad("InvalidAssociationID.NotFound", message));
    };
    form.settle()?;
    address.association = None;
    Ok(Xml::done())
}

/// ReleaseAddress
pub(super) fn release(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let id = form.whole().needed("AllocationId")?;
    let mut cloud = world.cloud();
    let address = cloud.address(id)?;
    if address.association.is_some() {
        let message = format!("Address {} is in use.", address.ip);
        return Err(bad("InvalidIPAddress.InUse", message));
    }
    form.settle()?;
    cloud.addresses.remove(id);
    Ok(Xml::done())
}

/// DescribeAddresses, which has no pages.
pub(super) fn describe(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let ids = form.list("AllocationId");
    let ips = form.list("PublicIp");
    let filters = Filters::parse(
        form,
        &[
            "allocation-id",
            "association-id",
            "domain",
            "instance-id",
            "network-interface-id",
            "private-ip-address",
            "public-ip",
        ],
    )?;
    let mut cloud = world.cloud();
    for id in &ids {
        cloud.address(id)?;
    }
    for ip in &ips {
        if cloud
            .addresses
            .values()
            .all(|address| address.ip.to_string() != *ip)
        {
            let message = format!("Address '{ip}' not found.");
            return Err(bad("InvalidAddress.NotFound", message));
        }
    }
    let instance = |association: &Association| {
        let interface = cloud.interfaces.get(&association.interface)?;
        interface.attachment.as_ref().map(|it| it.instance.clone())
    };
    let fact = |address: &Address, name: &str| {
        let association = address.association.iter();
        match name {
            "allocation-id" => vec![address.id.clone()],
            "association-id" => association.map(|it| it.id.clone()).collect(),
            "domain" => vec!["vpc".into()],
            "instance-id" => association.filter_map(instance).collect(),
            "network-interface-id" => association.map(|it| it.interface.clone()).collect(),
            "private-ip-address" => association
                .map(|it| it.private_address.to_string())
                .collect(),
            "public-ip" => vec![address.ip.to_string()],
            _ => Vec::new(),
        }
    };
    let found: Vec<&Address> = cloud
        .addresses
        .values()
        .filter(|address| ids.is_empty() || ids.contains(&address.id.as_str()))
        .filter(|address| ips.is_empty() || ips.contains(&address.ip.to_string().as_str()))
        .filter(|address| filters.pass(&address.tags, |name| fact(address, name)))
        .collect();
    form.settle()?;
    let mut xml = Xml::default();
    xml.list("addressesSet", found, |xml, address| {
        xml.text("allocationId", &address.id);
        xml.text("publicIp", address.ip);
        xml.text("domain", "vpc");
        if let Some(association) = &address.association {
            xml.text("associationId", &association.id);
            xml.text("networkInterfaceId", &association.interface);
            xml.text("networkInterfaceOwnerId", &world.config.account);
            xml.text("privateIpAddress", association.private_address);
            xml.maybe("instanceId", instance(association));
        }
        xml.tags(&address.tags);
    });
    Ok(xml)
}
