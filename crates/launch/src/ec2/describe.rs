//! Looking at what there is.

use super::retry::{Asked, End};
use super::tag::{self, Tags};
use super::target::{Interface, Volume};
use super::{Action, Ec2, Error};
use aws_sdk_ec2::types;
use ondisk::Interrupt;
use std::time::{Duration, Instant};

/// Pages of a list: a project has hundreds of machines, and pages have up to a thousand items. A
/// service that has always one more is not followed for ever.
const MAX_PAGES: u32 = 1000;
/// The most that a page has.
const PAGE: i32 = 1000;

/// An instance as it stands.
#[derive(Clone, Debug)]
pub(crate) struct InstanceSeen {
    pub(crate) id: String,
    pub(crate) image: String,
    pub(crate) state: String,
    /// Why it came to this state.
    pub(crate) reason: String,
    pub(crate) token: String,
    pub(crate) instance_type: String,
    pub(crate) availability_zone: String,
    pub(crate) private_ip: Option<String>,
    pub(crate) public_ip: Option<String>,
    pub(crate) launched: Option<i64>,
    pub(crate) volumes: Vec<Volume>,
    pub(crate) interfaces: Vec<Interface>,
    pub(crate) tags: Tags,
}

impl InstanceSeen {
    /// Whether it is gone, or going.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self.state.as_str(), "shutting-down" | "terminated")
    }

    /// What an answer says; nothing if it has no id.
    pub(crate) fn of(instance: &types::Instance) -> Option<Self> {
        let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
        let reason = instance.state_reason();
        let code = reason.and_then(|reason| reason.code()).unwrap_or_default();
        let message = reason
            .and_then(|reason| reason.message())
            .unwrap_or_default();
        // The message begins with the code, as a rule.
        let reason = if message.starts_with(code) {
            message.to_owned()
        } else {
            format!("{code}: {message}")
        };
        let reason = if reason.is_empty() {
            owned(instance.state_transition_reason())
        } else {
            reason
        };
        let mut interfaces: Vec<Interface> = instance
            .network_interfaces()
            .iter()
            .map(interface)
            .collect();
        interfaces.sort_by_key(|interface| interface.index);
        let mut volumes: Vec<Volume> = instance
            .block_device_mappings()
            .iter()
            .filter_map(volume)
            .collect();
        volumes.sort_by(|a, b| a.device.cmp(&b.device));
        let id = instance.instance_id().filter(|id| !id.is_empty())?;
        Some(Self {
            id: id.to_owned(),
            image: owned(instance.image_id()),
            state: owned(
                instance
                    .state()
                    .and_then(|state| state.name())
                    .map(types::InstanceStateName::as_str),
            ),
            reason,
            token: owned(instance.client_token()),
            instance_type: owned(instance.instance_type().map(types::InstanceType::as_str)),
            availability_zone: owned(
                instance
                    .placement()
                    .and_then(types::Placement::availability_zone),
            ),
            private_ip: instance.private_ip_address().map(str::to_owned),
            public_ip: instance.public_ip_address().map(str::to_owned),
            launched: instance.launch_time().map(aws_smithy_types::DateTime::secs),
            volumes,
            interfaces,
            tags: tag::read(instance.tags()),
        })
    }
}

fn interface(seen: &types::InstanceNetworkInterface) -> Interface {
    let mut private: Vec<(bool, String)> = seen
        .private_ip_addresses()
        .iter()
        .filter_map(|address| {
            let text = address.private_ip_address()?.to_owned();
            Some((!address.primary().unwrap_or(false), text))
        })
        .collect();
    private.sort();
    let ipv6 = seen.ipv6_addresses().iter();
    let association = seen.association();
    Interface {
        id: seen.network_interface_id().unwrap_or_default().to_owned(),
        index: seen
            .attachment()
            .and_then(types::InstanceNetworkInterfaceAttachment::device_index)
            .unwrap_or_default(),
        private_ips: private.into_iter().map(|(_, text)| text).collect(),
        ipv6: ipv6
            .filter_map(|address| address.ipv6_address().map(str::to_owned))
            .collect(),
        public_ip: association
            .and_then(types::InstanceNetworkInterfaceAssociation::public_ip)
            .map(str::to_owned),
    }
}

fn volume(mapping: &types::InstanceBlockDeviceMapping) -> Option<Volume> {
    let ebs = mapping.ebs()?;
    Some(Volume {
        id: ebs.volume_id()?.to_owned(),
        device: mapping.device_name().unwrap_or_default().to_owned(),
        delete_on_termination: ebs.delete_on_termination().unwrap_or(false),
    })
}

impl Ec2 {
    /// Until when what was just made may not be known everywhere.
    pub(crate) fn settled(&self) -> Instant {
        after(self.0.limits.settled)
    }

    /// All pages of a list.
    fn pages<T>(
        &self,
        action: Action,
        mut page: impl FnMut(Option<String>) -> Result<(Vec<T>, Option<String>), End>,
    ) -> Result<Vec<T>, Error> {
        let mut all = Vec::new();
        let mut next = None;
        for _ in 0..MAX_PAGES {
            let (items, token) = page(next).map_err(|end| end.into_error(action))?;
            all.extend(items);
            match token.filter(|token| !token.is_empty()) {
                Some(token) => next = Some(token),
                None => return Ok(all),
            }
        }
        Err(Error::Answer {
            action,
            what: format!("it goes on for more than {MAX_PAGES} pages"),
        })
    }

    /// The instances with our tags, terminated ones of the last hour among them.
    pub(crate) fn instances(
        &self,
        project: &str,
        machine: Option<&str>,
        interrupt: &Interrupt,
    ) -> Result<Vec<InstanceSeen>, Error> {
        let action = Action::DescribeInstances;
        let filters = tag::filters(project, machine);
        let all = self.pages(action, |next| {
            let call = self
                .0
                .sdk
                .describe_instances()
                .set_filters(Some(filters.clone()))
                .max_results(PAGE)
                .set_next_token(next);
            let answer = self.ask(Asked::plain(action), interrupt, || call.clone().send())?;
            let instances = answer
                .reservations()
                .iter()
                .flat_map(types::Reservation::instances);
            let seen: Vec<_> = instances.filter_map(InstanceSeen::of).collect();
            Ok((seen, answer.next_token().map(str::to_owned)))
        })?;
        let ours = |seen: &InstanceSeen| tag::check_ours(&seen.tags, project, machine).is_ok();
        Ok(all.into_iter().filter(ours).collect())
    }

    /// The instance of that id, if there is one; what is new may be unknown until then.
    pub(crate) fn instance(
        &self,
        id: &str,
        new_until: Option<Instant>,
        interrupt: &Interrupt,
    ) -> Result<Option<InstanceSeen>, Error> {
        let action = Action::DescribeInstances;
        let call = self.0.sdk.describe_instances().instance_ids(id);
        let asked = patient(action, new_until);
        match self.ask(asked, interrupt, || call.clone().send()) {
            Ok(answer) => {
                let mut all = answer
                    .reservations()
                    .iter()
                    .flat_map(types::Reservation::instances);
                Ok(all.find_map(InstanceSeen::of).filter(|seen| seen.id == id))
            }
            Err(end) => absent(end, action),
        }
    }

    /// The images that these filters find among our own.
    pub(crate) fn images(
        &self,
        filters: &[types::Filter],
        interrupt: &Interrupt,
    ) -> Result<Vec<types::Image>, Error> {
        let action = Action::DescribeImages;
        self.pages(action, |next| {
            let call = self
                .0
                .sdk
                .describe_images()
                .owners("self")
                .set_filters(Some(filters.to_vec()))
                .max_results(PAGE)
                .set_next_token(next);
            let answer = self.ask(Asked::plain(action), interrupt, || call.clone().send())?;
            let next = answer.next_token().map(str::to_owned);
            Ok((answer.images.unwrap_or_default(), next))
        })
    }

    /// The image of that id, if there is one; what is new may be unknown until then.
    pub(crate) fn image(
        &self,
        id: &str,
        new_until: Option<Instant>,
        interrupt: &Interrupt,
    ) -> Result<Option<types::Image>, Error> {
        let action = Action::DescribeImages;
        let call = self.0.sdk.describe_images().image_ids(id);
        let asked = patient(action, new_until);
        match self.ask(asked, interrupt, || call.clone().send()) {
            Ok(answer) => {
                let all = answer.images.unwrap_or_default();
                Ok(all.into_iter().find(|image| image.image_id() == Some(id)))
            }
            Err(end) => absent(end, action),
        }
    }

    /// The volumes that these filters find.
    pub(crate) fn volumes(
        &self,
        filters: &[types::Filter],
        interrupt: &Interrupt,
    ) -> Result<Vec<types::Volume>, Error> {
        let action = Action::DescribeVolumes;
        self.pages(action, |next| {
            let call = self
                .0
                .sdk
                .describe_volumes()
                .set_filters(Some(filters.to_vec()))
                .max_results(PAGE)
                .set_next_token(next);
            let answer = self.ask(Asked::plain(action), interrupt, || call.clone().send())?;
            let next = answer.next_token().map(str::to_owned);
            Ok((answer.volumes.unwrap_or_default(), next))
        })
    }

    /// The volume of that id, if there is one.
    pub(crate) fn volume(
        &self,
        id: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<types::Volume>, Error> {
        let action = Action::DescribeVolumes;
        let call = self.0.sdk.describe_volumes().volume_ids(id);
        match self.ask(Asked::plain(action), interrupt, || call.clone().send()) {
            Ok(answer) => {
                let all = answer.volumes.unwrap_or_default();
                Ok(all
                    .into_iter()
                    .find(|volume| volume.volume_id() == Some(id)))
            }
            Err(end) => absent(end, action),
        }
    }

    /// The interfaces that these filters find.
    pub(crate) fn interfaces(
        &self,
        filters: &[types::Filter],
        interrupt: &Interrupt,
    ) -> Result<Vec<types::NetworkInterface>, Error> {
        let action = Action::DescribeNetworkInterfaces;
        self.pages(action, |next| {
            let call = self
                .0
                .sdk
                .describe_network_interfaces()
                .set_filters(Some(filters.to_vec()))
                .max_results(PAGE)
                .set_next_token(next);
            let answer = self.ask(Asked::plain(action), interrupt, || call.clone().send())?;
            let next = answer.next_token().map(str::to_owned);
            Ok((answer.network_interfaces.unwrap_or_default(), next))
        })
    }

    /// The interface of that id, if there is one.
    pub(crate) fn interface(
        &self,
        id: &str,
        interrupt: &Interrupt,
    ) -> Result<Option<types::NetworkInterface>, Error> {
        let action = Action::DescribeNetworkInterfaces;
        let call = self.0.sdk.describe_network_interfaces();
        let call = call.network_interface_ids(id);
        match self.ask(Asked::plain(action), interrupt, || call.clone().send()) {
            Ok(answer) => {
                let all = answer.network_interfaces.unwrap_or_default();
                let mut all = all.into_iter();
                Ok(all.find(|one| one.network_interface_id() == Some(id)))
            }
            Err(end) => absent(end, action),
        }
    }
}

fn patient(action: Action, new_until: Option<Instant>) -> Asked {
    match new_until {
        Some(until) => Asked::not_found_until(action, until),
        None => Asked::plain(action),
    }
}

/// What is not found is nothing.
pub(crate) fn absent<T>(end: End, action: Action) -> Result<Option<T>, Error> {
    match end.into_error(action) {
        Error::NoSuch { .. } => Ok(None),
        error => Err(error),
    }
}

pub(crate) fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
}

/// A filter with one value.
pub(crate) fn filter(name: &str, value: &str) -> types::Filter {
    types::Filter::builder().name(name).values(value).build()
}
