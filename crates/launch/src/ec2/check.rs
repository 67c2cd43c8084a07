//! What a launch would meet, without making anything.

use super::describe::filter;
use super::failure::{Failure, Kind as Failed};
use super::request::{InterfaceRequest, Request};
use super::retry::{Asked, End};
use super::{Action, Ec2, Error, NewTarget, Thing, tag};
use aws_sdk_ec2::types::{LocationType, NetworkInterfaceStatus, Subnet};
use ondisk::Interrupt;
use serde::Serialize;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Something that a launch would meet.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub level: Level,
    /// What it is about: a field of the blueprint, or an action by its name in IAM.
    pub subject: String,
    /// What was found, and what to do about it.
    pub message: String,
}

/// How bad something is that a launch would meet.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// It is as it has to be.
    Good,
    /// It is worth to be known.
    Hint,
    /// The launch would fail.
    Problem,
}

/// What is looked at, and what was found.
struct Check<'a> {
    ec2: &'a Ec2,
    new: &'a NewTarget<'a>,
    interrupt: &'a Interrupt,
    /// Instances of the machine, which are removed before it is launched again.
    earlier: BTreeSet<String>,
    findings: Vec<Finding>,
}

impl Ec2 {
    /// Asks EC2 whether the launch would be allowed and possible, with its DryRun where that can be,
    /// and looks at what the blueprint names. Nothing is made or changed. All that is found is in the
    /// answer, problems first.
    ///
    /// # Errors
    /// Only what keeps it from finding out anything: no credentials, no connection.
    pub fn dry_run(
        &self,
        new: &NewTarget<'_>,
        interrupt: &Interrupt,
    ) -> Result<Vec<Finding>, Error> {
        let mut check = Check {
            ec2: self,
            new,
            interrupt,
            earlier: BTreeSet::new(),
            findings: Vec::new(),
        };
        match new.request(self.region()) {
            Ok(request) => check.all(&request)?,
            Err(Error::Request { field, why }) => check.problem(field, why),
            Err(error) => return Err(error),
        }
        let mut findings = check.findings;
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        Ok(findings)
    }
}

impl Check<'_> {
    fn find(&mut self, level: Level, subject: impl Into<String>, message: impl Into<String>) {
        self.findings.push(Finding {
            level,
            subject: subject.into(),
            message: message.into(),
        });
    }

    fn problem(&mut self, subject: impl Into<String>, message: impl Into<String>) {
        self.find(Level::Problem, subject, message);
    }

    fn all(&mut self, request: &Request) -> Result<(), Error> {
        self.register(request)?;
        self.own(request)?;
        let zone = self.network(request)?;
        self.key_pair(request)?;
        self.offered(request, zone.as_deref())?;
        self.addresses(request)?;
        self.encryption(request)
    }

    /// What a look found; what was denied, or is not there, is a finding about the subject.
    fn looked<T>(
        &mut self,
        subject: &str,
        action: Action,
        answer: Result<T, End>,
    ) -> Result<Option<T>, Error> {
        match answer.map_err(|end| end.into_error(action)) {
            Ok(found) => Ok(Some(found)),
            Err(error) => self.failed(subject, error).map(|()| None),
        }
    }

    fn failed(&mut self, subject: &str, error: Error) -> Result<(), Error> {
        match error {
            Error::Denied {
                action,
                denied,
                message,
            } => {
                let text = format!("allow {denied} in IAM, which {action} needs: {message}");
                self.problem(denied, text);
            }
            Error::NoSuch { message, .. } | Error::InUse { message, .. } => {
                self.problem(subject, message);
            }
            Error::Refused { .. } | Error::Quota { .. } | Error::Capacity { .. } => {
                self.problem(subject, error.to_string());
            }
            error => return Err(error),
        }
        Ok(())
    }

    /// What a dry run said.
    fn tried<T>(
        &mut self,
        subject: &str,
        action: Action,
        answer: Result<T, End>,
    ) -> Result<(), Error> {
        match answer {
            Err(End::Failed(failure)) if failure.kind == Failed::DryRun => {
                self.find(Level::Good, action.iam(), "it is allowed");
                Ok(())
            }
            // A dry run that is answered like that has done it.
            Ok(_) => Err(Error::Answer {
                action,
                what: "EC2 did what it was asked to try".to_owned(),
            }),
            Err(end) => self.failed(subject, end.into_error(action)),
        }
    }

    fn register(&mut self, request: &Request) -> Result<(), Error> {
        let action = Action::RegisterImage;
        let call = request.image.call(self.ec2).dry_run(true);
        let asked = Asked::plain(action);
        match self.ec2.ask(asked, self.interrupt, || call.clone().send()) {
            // The image of this very launch: all of it is as it has to be.
            Err(End::Failed(Failure { code, .. })) if code == "InvalidAMIName.Duplicate" => Ok(()),
            answer => self.tried("disks", action, answer),
        }
    }

    /// Tries what needs something to be tried on, where the machine has it.
    fn own(&mut self, request: &Request) -> Result<(), Error> {
        let (ec2, interrupt) = (self.ec2, self.interrupt);
        let found = match ec2.find(self.new.project, Some(self.new.machine), interrupt) {
            Ok(found) => found,
            Err(error) => return self.failed("what there is of the machine", error),
        };
        let mut image = None;
        let mut instance = None;
        for one in &found.there {
            match &one.thing {
                Thing::Instance { .. } => {
                    self.earlier.insert(one.id.clone());
                    instance = Some(one.id.as_str());
                }
                Thing::Image { state, .. } if state == "available" => image = Some(&one.id),
                _ => {}
            }
        }
        let mut untried = Vec::new();
        if let Some(image) = image {
            let action = Action::RunInstances;
            // With a token of its own: that of the launch may stand for an instance already.
            let call = request.instance.call(ec2, image, "").dry_run(true);
            let call = call.set_client_token(None);
            let answer = ec2.ask(Asked::plain(action), interrupt, || call.clone().send());
            match answer {
                // An address or interface that the earlier target has until it is removed; those of
                // others are looked for below.
                Err(End::Failed(failure))
                    if failure.kind == Failed::InUse && !self.earlier.is_empty() =>
                {
                    self.find(Level::Good, action.iam(), "it is allowed");
                }
                answer => self.tried("instance", action, answer)?,
            }
        } else {
            untried.push(Action::RunInstances.iam());
        }
        if let Some(instance) = instance {
            let action = Action::TerminateInstances;
            let call = ec2.0.sdk.terminate_instances().instance_ids(instance);
            let call = call.dry_run(true);
            let answer = ec2.ask(Asked::plain(action), interrupt, || call.clone().send());
            self.tried(instance, action, answer)?;
            let action = Action::CreateTags;
            let mark = tag::write(&[(tag::STATE.to_owned(), tag::LAUNCHED.to_owned())].into());
            let call = ec2.0.sdk.create_tags().resources(instance);
            let call = call.set_tags(Some(mark)).dry_run(true);
            let answer = ec2.ask(Asked::plain(action), interrupt, || call.clone().send());
            self.tried(instance, action, answer)?;
        } else {
            untried.extend([Action::TerminateInstances.iam(), Action::CreateTags.iam()]);
        }
        if !untried.is_empty() {
            let message = format!(
                "whether IAM allows {} is not known: there is nothing of this machine yet to try it on",
                untried.join(", ")
            );
            self.find(Level::Hint, "permissions", message);
        }
        Ok(())
    }

    /// The subnets, their addresses, and security groups; the zone that they are in.
    fn network(&mut self, request: &Request) -> Result<Option<String>, Error> {
        let mut zone = request.instance.availability_zone.clone();
        for (at, interface) in request.instance.interfaces.iter().enumerate() {
            let field = |name: &str| format!("network.interfaces[{at}].{name}");
            let found = if let Some(id) = &interface.existing {
                self.existing(&field("eniId"), id)?
            } else if let Some(id) = &interface.subnet {
                match self.subnet(&field("subnetId"), id)? {
                    Some(subnet) => {
                        self.private(&field("privateIps"), id, &subnet, interface)?;
                        let vpc = subnet.vpc_id().unwrap_or_default();
                        self.groups(&field("securityGroupIds"), vpc, interface)?;
                        subnet.availability_zone().map(str::to_owned)
                    }
                    None => None,
                }
            } else {
                None
            };
            match (&zone, found) {
                (Some(zone), Some(found)) if *zone != found => {
                    let message = format!(
                        "it is in {found}, and the target in {zone}; all of a target is in one zone"
                    );
                    self.problem(field("subnetId"), message);
                }
                (None, Some(found)) => zone = Some(found),
                _ => {}
            }
        }
        Ok(zone)
    }

    fn subnet(&mut self, field: &str, id: &str) -> Result<Option<Subnet>, Error> {
        let action = Action::DescribeSubnets;
        let call = self.ec2.0.sdk.describe_subnets().subnet_ids(id);
        let asked = Asked::plain(action);
        let answer = self.ec2.ask(asked, self.interrupt, || call.clone().send());
        let Some(answer) = self.looked(field, action, answer)? else {
            return Ok(None);
        };
        let subnets = answer.subnets.unwrap_or_default();
        Ok(subnets.into_iter().find(|one| one.subnet_id() == Some(id)))
    }

    /// Whether the addresses are in the subnet, and free.
    fn private(
        &mut self,
        field: &str,
        id: &str,
        subnet: &Subnet,
        interface: &InterfaceRequest,
    ) -> Result<(), Error> {
        let cidr = subnet.cidr_block().unwrap_or_default().to_owned();
        if interface.private_ips.is_empty() && subnet.available_ip_address_count() == Some(0) {
            self.problem(field, format!("{id} ({cidr}) has no free address left"));
        }
        for address in &interface.private_ips {
            if !is_usable(&cidr, address) {
                let message = format!(
                    "{address} is not one of the addresses of {id} ({cidr}) that can be given, which \
                     are all but the first four and the last"
                );
                self.problem(field, message);
                continue;
            }
            let action = Action::DescribeNetworkInterfaces;
            let filters = [
                filter("subnet-id", id),
                filter("addresses.private-ip-address", address),
            ];
            let holders = match self.ec2.interfaces(&filters, self.interrupt) {
                Ok(holders) => holders,
                Err(error) => return self.failed(action.iam(), error),
            };
            for holder in holders {
                let attachment = holder.attachment();
                let instance = attachment.and_then(|one| one.instance_id()).unwrap_or("");
                let who = holder.network_interface_id().unwrap_or_default();
                if self.earlier.contains(instance) {
                    let message =
                        format!("{address} is {instance}'s, which is removed before the launch");
                    self.find(Level::Good, field, message);
                } else {
                    let who = format!("{who} {instance}");
                    let message = format!(
                        "{address} belongs to {}; choose another, or free it",
                        who.trim()
                    );
                    self.problem(field, message);
                }
            }
        }
        Ok(())
    }

    fn groups(
        &mut self,
        field: &str,
        vpc: &str,
        interface: &InterfaceRequest,
    ) -> Result<(), Error> {
        let action = Action::DescribeSecurityGroups;
        for id in &interface.security_groups {
            let call = self.ec2.0.sdk.describe_security_groups().group_ids(id);
            let asked = Asked::plain(action);
            let answer = self.ec2.ask(asked, self.interrupt, || call.clone().send());
            let Some(answer) = self.looked(field, action, answer)? else {
                continue;
            };
            for group in answer.security_groups() {
                let of = group.vpc_id().unwrap_or_default();
                if of != vpc {
                    let message = format!("{id} is of {of}, and the subnet of {vpc}");
                    self.problem(field, message);
                }
            }
        }
        Ok(())
    }

    /// Whether an interface that is there can be used; its zone.
    fn existing(&mut self, field: &str, id: &str) -> Result<Option<String>, Error> {
        let found = match self.ec2.interface(id, self.interrupt) {
            Ok(found) => found,
            Err(error) => return self.failed(field, error).map(|()| None),
        };
        let Some(interface) = found else {
            self.problem(field, format!("there is no interface {id}"));
            return Ok(None);
        };
        let attachment = interface.attachment();
        let instance = attachment.and_then(|one| one.instance_id()).unwrap_or("");
        let free = interface.status() == Some(&NetworkInterfaceStatus::Available);
        if !free && !self.earlier.contains(instance) {
            let message = format!("{id} belongs to {instance}; detach it there, or use another");
            self.problem(field, message);
        }
        Ok(interface.availability_zone().map(str::to_owned))
    }

    fn key_pair(&mut self, request: &Request) -> Result<(), Error> {
        let Some(name) = &request.instance.key_name else {
            return Ok(());
        };
        let action = Action::DescribeKeyPairs;
        let call = self.ec2.0.sdk.describe_key_pairs().key_names(name);
        let asked = Asked::plain(action);
        let answer = self.ec2.ask(asked, self.interrupt, || call.clone().send());
        self.looked("launch.keyName", action, answer).map(drop)
    }

    /// Whether the instance type is offered where the target is to be.
    fn offered(&mut self, request: &Request, zone: Option<&str>) -> Result<(), Error> {
        let action = Action::DescribeInstanceTypeOfferings;
        let wanted = request.instance.instance_type.as_str();
        let (kind, place) = match zone {
            Some(zone) => (LocationType::AvailabilityZone, zone),
            None => (LocationType::Region, self.ec2.region()),
        };
        let call = self
            .ec2
            .0
            .sdk
            .describe_instance_type_offerings()
            .location_type(kind)
            .filters(filter("location", place))
            .filters(filter("instance-type", wanted));
        let asked = Asked::plain(action);
        let answer = self.ec2.ask(asked, self.interrupt, || call.clone().send());
        let Some(answer) = self.looked("instance.type", action, answer)? else {
            return Ok(());
        };
        if answer.instance_type_offerings().is_empty() {
            let message = format!(
                "{wanted} is not offered in {place}; choose another type, or a subnet in another zone"
            );
            self.problem("instance.type", message);
        }
        Ok(())
    }

    fn addresses(&mut self, request: &Request) -> Result<(), Error> {
        let action = Action::DescribeAddresses;
        for (index, allocation) in &request.after.addresses {
            let field = format!("network, interface {index}, eipAllocationId");
            let call = self.ec2.0.sdk.describe_addresses();
            let call = call.allocation_ids(allocation);
            let asked = Asked::plain(action);
            let answer = self.ec2.ask(asked, self.interrupt, || call.clone().send());
            let Some(answer) = self.looked(&field, action, answer)? else {
                continue;
            };
            for address in answer.addresses() {
                let holder = address.instance_id().or(address.network_interface_id());
                let Some(holder) = holder.filter(|holder| !holder.is_empty()) else {
                    continue;
                };
                if !self.earlier.contains(holder) {
                    let message = format!("{allocation} belongs to {holder}; it is not taken away");
                    self.problem(&field, message);
                }
            }
        }
        Ok(())
    }

    fn encryption(&mut self, request: &Request) -> Result<(), Error> {
        let action = Action::GetEbsEncryptionByDefault;
        let call = self.ec2.0.sdk.get_ebs_encryption_by_default();
        let asked = Asked::plain(action);
        let answer = self.ec2.ask(asked, self.interrupt, || call.clone().send());
        let Some(answer) = self.looked("disks", action, answer)? else {
            return Ok(());
        };
        let explicit = request.instance.mappings.len() == request.image.mappings.len();
        if answer.ebs_encryption_by_default() == Some(true) && !explicit {
            let message = "the account encrypts all new volumes: those that no key is named for get \
                           the account's default key";
            self.find(Level::Hint, "disks", message);
        }
        Ok(())
    }
}

/// Whether an address can be given to an interface of a subnet: AWS keeps the first four and the
/// last for itself.
fn is_usable(cidr: &str, address: &str) -> bool {
    let parse = || {
        let (base, bits) = cidr.split_once('/')?;
        let base = u32::from(base.parse::<Ipv4Addr>().ok()?);
        let bits: u32 = bits.parse().ok()?;
        let host = 32_u32.checked_sub(bits)?;
        let last = u32::MAX.checked_shr(bits).unwrap_or(0);
        let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
        let network = |of: u32| of.checked_shr(host).unwrap_or(0);
        let number = address & last;
        Some(network(base) == network(address) && number >= 4 && number < last)
    };
    parse().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_addresses_of_a_subnet_cannot_be_given() {
        for (address, usable) in [
            ("10.0.1.3", false),
            ("10.0.1.4", true),
            ("10.0.1.254", true),
            ("10.0.1.255", false),
            ("10.0.2.4", false),
            ("nonsense", false),
        ] {
            assert_eq!(is_usable("10.0.1.0/24", address), usable, "{address}");
        }
        assert!(is_usable("10.0.0.64/28", "10.0.0.78"));
        assert!(!is_usable("10.0.0.64/28", "10.0.0.79"));
        for cidr in ["", "10.0.0.0", "10.0.0.0/33", "x/8"] {
            assert!(!is_usable(cidr, "10.0.0.5"), "{cidr}");
        }
    }
}
