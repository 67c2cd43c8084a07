//! Network interfaces, of instances and alone.

use super::cloud::Cloud;
use super::filter::Filters;
use super::form::{Form, Scope, client_token};
use super::id::Kind;
use super::instances::InstanceState;
use super::network::zone;
use super::page::Page;
use super::refusal::{bad, combination, missing, value};
use super::tags::TagSpecifications;
use super::xml::Xml;
use crate::action::Action;
use crate::chance::Random;
use crate::clock::iso;
use crate::error::Refusal;
use crate::surroundings::Subnet;
use crate::world::World;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// A network interface.
#[derive(Debug, Clone, Serialize)]
pub struct Interface {
    /// Its id.
    pub id: String,
    /// Its subnet's id.
    pub subnet: String,
    /// Its VPC's id.
    pub vpc: String,
    /// Its zone's name.
    pub zone: String,
    /// Its description.
    pub description: String,
    /// Its hardware address.
    pub mac: String,
    /// Its private addresses, the primary one first.
    pub addresses: Vec<Ipv4Addr>,
    /// The address that the subnet or the launch gave it for as long as the instance runs.
    pub public_address: Option<Ipv4Addr>,
    /// Whether it gets such an address.
    pub public: bool,
    /// The ids of its security groups.
    pub security_groups: Vec<String>,
    /// Whether packets that are not for it are dropped.
    pub source_dest_check: bool,
    /// What it is attached to.
    pub attachment: Option<InterfaceAttachment>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// Where an interface is attached.
#[derive(Debug, Clone, Serialize)]
pub struct InterfaceAttachment {
    /// The attachment's id.
    pub id: String,
    /// The instance's id.
    pub instance: String,
    /// 0 is the primary interface.
    pub device_index: u32,
    /// Whether it goes with its instance.
    pub delete_on_termination: bool,
    /// Milliseconds since 1970.
    pub since_ms: u64,
}

/// An interface that passed all checks and is still to be made.
#[derive(Debug, Clone)]
pub(super) struct NewInterface {
    pub(super) subnet: Subnet,
    pub(super) addresses: Vec<Ipv4Addr>,
    pub(super) security_groups: Vec<String>,
    pub(super) description: String,
}

/// What a request says of addresses and groups of an interface.
#[derive(Debug, Clone, Default)]
pub(super) struct Wish {
    pub(super) addresses: Vec<Ipv4Addr>,
    pub(super) more_addresses: usize,
    pub(super) security_groups: Vec<String>,
    pub(super) description: String,
}

impl Wish {
    /// Reads it of CreateNetworkInterface, or of an interface of RunInstances.
    pub(super) fn parse(form: &Scope<'_>) -> Result<Wish, Refusal> {
        let mut primary: Option<Ipv4Addr> = form.parse("PrivateIpAddress")?;
        let mut others = Vec::new();
        for item in form.items("PrivateIpAddresses") {
            let address: Option<Ipv4Addr> = item.parse("PrivateIpAddress")?;
            let address = address.ok_or_else(|| missing("PrivateIpAddress"))?;
            if item.flag("Primary")?.unwrap_or(false) {
                if primary.replace(address).is_some() {
                    return Err(combination(
                        "Only one primary private IP address can be specified",
                    ));
                }
            } else {
                others.push(address);
            }
        }
        if primary.is_none() && !others.is_empty() {
            return Err(combination(
                "There are private IP addresses, but none is the primary one",
            ));
        }
        let groups = form.list("SecurityGroupId");
        Ok(Wish {
            addresses: primary.into_iter().chain(others).collect(),
            more_addresses: form
                .parse("SecondaryPrivateIpAddressCount")?
                .unwrap_or_default(),
            security_groups: groups.into_iter().map(str::to_owned).collect(),
            description: form.text("Description").unwrap_or_default(),
        })
    }

    /// Checks it against the subnet and what is there already; `taken` are addresses that this
    /// request uses besides.
    pub(super) fn settle(
        self,
        cloud: &Cloud,
        random: &Random,
        subnet: &Subnet,
        taken: &mut BTreeSet<Ipv4Addr>,
    ) -> Result<NewInterface, Refusal> {
        let mut groups = self.security_groups;
        if groups.is_empty() {
            let mut all = cloud.surroundings.security_groups.iter();
            let default = all.find(|group| group.vpc == subnet.vpc && group.name == "default");
            groups.extend(default.map(|group| group.id.clone()));
        }
        check_groups(cloud, &groups, subnet)?;
        let mut used = cloud.addresses_of(&subnet.id);
        used.append(&mut taken.clone());
        let mut addresses = Vec::new();
        for address in self.addresses {
            if !subnet.cidr.contains(address) {
                return Err(value(format!(
                    "Address {address} does not fall within the subnet's address range"
                )));
            }
            if subnet.cidr.reserves(address) {
                return Err(value(format!(
                    "Address {address} is in subnet's reserved address range"
                )));
            }
            if !used.insert(address) {
                let message = format!("Address {address} is in use.");
                return Err(bad("InvalidIPAddress.InUse", message));
            }
            addresses.push(address);
        }
        let primary = usize::from(addresses.is_empty());
        for _ in 0..self.more_addresses.min(1000) + primary {
            let address = free(subnet, &used, random)?;
            used.insert(address);
            addresses.push(address);
        }
        taken.extend(&addresses);
        Ok(NewInterface {
            subnet: subnet.clone(),
            addresses,
            security_groups: groups,
            description: self.description,
        })
    }
}

/// An address of the subnet that nobody has.
fn free(subnet: &Subnet, used: &BTreeSet<Ipv4Addr>, random: &Random) -> Result<Ipv4Addr, Refusal> {
    let length = subnet.cidr.len();
    let begin = random.below(length);
    (0..length)
        .filter_map(|step| subnet.cidr.nth((begin + step) % length))
        .find(|address| !subnet.cidr.reserves(*address) && !used.contains(address))
        .ok_or_else(|| {
            let message = format!(
                "There are not enough free addresses in subnet '{}'",
                subnet.id
            );
            bad("InsufficientFreeAddressesInSubnet", message)
        })
}

/// Refuses groups that do not exist, are too many, or are of another network.
fn check_groups(cloud: &Cloud, groups: &[String], subnet: &Subnet) -> Result<(), Refusal> {
    if groups.len() > cloud.surroundings.groups_per_interface {
        return Err(bad(
            "SecurityGroupsPerInterfaceLimitExceeded",
            "You have exceeded the maximum number of security groups allowed per network interface.",
        ));
    }
    for id in groups {
        if cloud.group(id)?.vpc != subnet.vpc {
            let message = format!(
                "Security group {id} and subnet {} belong to different networks.",
                subnet.id
            );
            return Err(bad("InvalidParameter", message));
        }
    }
    Ok(())
}

impl Cloud {
    /// The private addresses that interfaces of the subnet have.
    pub(super) fn addresses_of(&self, subnet: &str) -> BTreeSet<Ipv4Addr> {
        let interfaces = self.interfaces.values();
        interfaces
            .filter(|interface| interface.subnet == subnet)
            .flat_map(|interface| interface.addresses.iter().copied())
            .collect()
    }

    /// Makes an interface of a plan.
    pub(super) fn make_interface(
        &mut self,
        world: &World,
        plan: NewInterface,
        tags: BTreeMap<String, String>,
    ) -> &mut Interface {
        let random = &world.switches.random;
        let id = Kind::Interface.make(random);
        let mac = random.bits().to_be_bytes();
        let [_, _, a, b, c, d, e, _] = mac;
        let interface = Interface {
            id: id.clone(),
            zone: zone(world, plan.subnet.zone),
            subnet: plan.subnet.id,
            vpc: plan.subnet.vpc,
            description: plan.description,
            mac: format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}"),
            addresses: plan.addresses,
            public_address: None,
            public: false,
            security_groups: plan.security_groups,
            source_dest_check: true,
            attachment: None,
            tags,
        };
        self.interfaces.entry(id).insert_entry(interface).into_mut()
    }

    /// The public address of an interface: an Elastic IP address, or what it got at launch.
    pub(super) fn public_address_of(&self, interface: &Interface) -> Option<Ipv4Addr> {
        let mut elastic = self.addresses.values().filter_map(|address| {
            let association = address.association.as_ref()?;
            (association.interface == interface.id).then_some(address.ip)
        });
        elastic.next().or(interface.public_address)
    }
}

/// CreateNetworkInterface
pub(super) fn create(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let all = form.whole();
    let subnet = all.needed("SubnetId")?;
    let wish = Wish::parse(&all)?;
    let tags = TagSpecifications::parse(form, &[Kind::Interface])?;
    let token = client_token(form)?;
    let mut cloud = world.cloud();
    if let Some(id) = cloud.made(form.action, token, &form.fingerprint())?
        && let Some(interface) = cloud.interfaces.get(&id)
    {
        form.settle()?;
        return Ok(created(&cloud, interface, world));
    }
    let subnet = cloud.subnet(subnet)?.clone();
    let mut taken = BTreeSet::new();
    let plan = wish.settle(&cloud, &world.switches.random, &subnet, &mut taken)?;
    form.settle()?;
    let id = cloud
        .make_interface(world, plan, tags.of(Kind::Interface))
        .id
        .clone();
    cloud.remember(
        Action::CreateNetworkInterface,
        token,
        form.fingerprint(),
        &id,
    );
    Ok(created(&cloud, cloud.interface_ref(&id)?, world))
}

fn created(cloud: &Cloud, interface: &Interface, world: &World) -> Xml {
    let mut xml = Xml::default();
    xml.group("networkInterface", |xml| item(xml, cloud, interface, world));
    xml
}

/// DeleteNetworkInterface
pub(super) fn delete(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let id = form.whole().needed("NetworkInterfaceId")?;
    let mut cloud = world.cloud();
    let interface = cloud.interface_ref(id)?;
    if let Some(attachment) = &interface.attachment {
        let message = format!(
            "Network interface '{id}' is currently in use by {}.",
            attachment.instance
        );
        return Err(bad("InvalidNetworkInterface.InUse", message));
    }
    form.settle()?;
    cloud.interfaces.remove(id);
    for address in cloud.addresses.values_mut() {
        address.association.take_if(|it| it.interface == id);
    }
    Ok(Xml::done())
}

/// ModifyNetworkInterfaceAttribute
pub(super) fn modify(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let all = form.whole();
    let id = all.needed("NetworkInterfaceId")?;
    let description = all.inside("Description").and_then(|it| it.text("Value"));
    let check = match all.inside("SourceDestCheck") {
        Some(it) => it.flag("Value")?,
        None => None,
    };
    let groups: Vec<String> = all
        .list("SecurityGroupId")
        .into_iter()
        .map(str::to_owned)
        .collect();
    let mut cloud = world.cloud();
    let interface = cloud.interface_ref(id)?;
    let subnet = cloud.subnet(&interface.subnet)?;
    check_groups(&cloud, &groups, subnet)?;
    form.settle()?;
    let interface = cloud.interface(id)?;
    if let Some(description) = description {
        interface.description = description;
    }
    if let Some(check) = check {
        interface.source_dest_check = check;
    }
    if !groups.is_empty() {
        interface.security_groups = groups;
    }
    Ok(Xml::done())
}

/// DescribeNetworkInterfaces
pub(super) fn describe(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let ids = form.list("NetworkInterfaceId");
    form.whole().flag("IncludeManagedResources")?;
    let filters = Filters::parse(
        form,
        &[
            "network-interface-id",
            "subnet-id",
            "vpc-id",
            "status",
            "private-ip-address",
            "addresses.private-ip-address",
            "attachment.instance-id",
            "attachment.device-index",
            "group-id",
            "availability-zone",
            "description",
        ],
    )?;
    let cloud = world.cloud();
    for id in &ids {
        cloud.interface_ref(id)?;
    }
    let found: Vec<&Interface> = cloud
        .interfaces
        .values()
        .filter(|interface| ids.is_empty() || ids.contains(&interface.id.as_str()))
        .filter(|interface| filters.pass(&interface.tags, |name| fact(interface, name)))
        .collect();
    let page = Page::cut(world, form, !ids.is_empty(), 5, found)?;
    form.settle()?;
    Ok(page.answer("networkInterfaceSet", |xml, interface| {
        item(xml, &cloud, interface, world);
    }))
}

fn fact(interface: &Interface, name: &str) -> Vec<String> {
    let texts = |addresses: &[Ipv4Addr]| addresses.iter().map(ToString::to_string).collect();
    let attachment = interface.attachment.iter();
    match name {
        "network-interface-id" => vec![interface.id.clone()],
        "subnet-id" => vec![interface.subnet.clone()],
        "vpc-id" => vec![interface.vpc.clone()],
        "status" => vec![status(interface).into()],
        "private-ip-address" => texts(interface.addresses.get(..1).unwrap_or_default()),
        "addresses.private-ip-address" => texts(&interface.addresses),
        "attachment.instance-id" => attachment.map(|it| it.instance.clone()).collect(),
        "attachment.device-index" => attachment.map(|it| it.device_index.to_string()).collect(),
        "group-id" => interface.security_groups.clone(),
        "availability-zone" => vec![interface.zone.clone()],
        "description" => vec![interface.description.clone()],
        _ => Vec::new(),
    }
}

fn status(interface: &Interface) -> &'static str {
    if interface.attachment.is_some() {
        "in-use"
    } else {
        "available"
    }
}

/// The part that DescribeInstances and DescribeNetworkInterfaces have in common.
pub(super) fn item(xml: &mut Xml, cloud: &Cloud, interface: &Interface, world: &World) {
    let account = &world.config.account;
    xml.text("networkInterfaceId", &interface.id);
    xml.text("subnetId", &interface.subnet);
    xml.text("vpcId", &interface.vpc);
    xml.text("availabilityZone", &interface.zone);
    xml.text("description", &interface.description);
    xml.text("ownerId", account);
    xml.text("status", status(interface));
    xml.text("interfaceType", "interface");
    xml.text("macAddress", &interface.mac);
    xml.maybe("privateIpAddress", interface.addresses.first());
    xml.text("sourceDestCheck", interface.source_dest_check);
    xml.list("groupSet", &interface.security_groups, |xml, id| {
        xml.text("groupId", id);
        xml.maybe("groupName", cloud.group(id).ok().map(|group| &group.name));
    });
    if let Some(attachment) = &interface.attachment {
        xml.group("attachment", |xml| {
            let instance = cloud.instances.get(&attachment.instance);
            let coming = instance.is_some_and(|it| it.state == InstanceState::Pending);
            xml.text("attachmentId", &attachment.id);
            xml.text("instanceId", &attachment.instance);
            xml.text("instanceOwnerId", account);
            xml.text("deviceIndex", attachment.device_index);
            xml.text("status", if coming { "attaching" } else { "attached" });
            xml.text("attachTime", iso(attachment.since_ms));
            xml.text("deleteOnTermination", attachment.delete_on_termination);
            xml.text("networkCardIndex", 0);
        });
    }
    let public = cloud.public_address_of(interface);
    let association = |xml: &mut Xml| {
        if let Some(ip) = public {
            xml.group("association", |xml| {
                xml.text("publicIp", ip);
                xml.text("ipOwnerId", account);
            });
        }
    };
    association(xml);
    let mut primary = true;
    xml.list(
        "privateIpAddressesSet",
        &interface.addresses,
        |xml, address| {
            xml.text("privateIpAddress", address);
            xml.text("primary", primary);
            if primary {
                association(xml);
            }
            primary = false;
        },
    );
    xml.tags(&interface.tags);
}
