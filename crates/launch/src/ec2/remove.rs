//! Removing what is ours, and nothing else.

use super::describe::{absent, after};
use super::failure::Failure;
use super::retry::{Asked, End};
use super::wait::{Watch, not_in_time};
use super::{Action, Ec2, Error, Event, Resource, Thing, tag};
use aws_sdk_ec2::types::{
    AttributeBooleanValue, ImageState, NetworkInterfaceStatus, Volume, VolumeState,
};
use ondisk::Interrupt;
use std::collections::BTreeSet;
use std::time::Instant;

/// How things are removed.
#[derive(Clone, Copy, Debug, Default)]
pub struct RemoveOptions {
    /// Lifts the protection of instances against termination.
    pub lift_protection: bool,
}

/// What is removed, and by whom.
struct Removal<'a> {
    ec2: &'a Ec2,
    options: RemoveOptions,
    events: &'a mut dyn FnMut(Event),
    interrupt: &'a Interrupt,
    /// The instances that are removed in this call.
    instances: BTreeSet<&'a str>,
}

/// What a look at something before its removal found.
enum Look {
    /// It is gone.
    Gone,
    /// It is ours, and in this state.
    Ours(String),
}

impl Ec2 {
    /// Removes instances, and when they are terminated the volumes, interfaces and images that are
    /// named, in this order. What is gone already is no error.
    ///
    /// Each of them is looked at again just before it is removed, and has to bear our tags with the
    /// project, machine and mark that the resource names.
    ///
    /// # Errors
    /// [`Error::NotOurs`] at the first that does not, after which nothing more is touched;
    /// [`Error::Protected`]; [`Error::InUse`] if something else has a volume or interface; or what
    /// EC2 refused.
    pub fn remove(
        &self,
        resources: &[Resource],
        options: RemoveOptions,
        events: &mut dyn FnMut(Event),
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let of_rank = |rank| resources.iter().filter(move |one| one.rank() == rank);
        let mut removal = Removal {
            ec2: self,
            options,
            events,
            interrupt,
            instances: of_rank(0).map(|one| one.id.as_str()).collect(),
        };
        for instance in of_rank(0) {
            removal.terminate(instance)?;
        }
        // They shut down at the same time.
        let until = after(self.0.limits.terminated);
        for instance in of_rank(0) {
            removal.watch().terminated(&instance.id, until)?;
            removal.removed(&instance.id);
        }
        for other in (1..=3).flat_map(of_rank) {
            removal.delete(other, until)?;
            removal.removed(&other.id);
        }
        Ok(())
    }
}

impl<'a> Removal<'a> {
    fn watch(&mut self) -> Watch<'_> {
        Watch {
            ec2: self.ec2,
            events: &mut *self.events,
            interrupt: self.interrupt,
        }
    }

    fn removed(&mut self, id: &str) {
        (self.events)(Event::Removed { id: id.to_owned() });
    }

    /// Looks at it again, and at its tags.
    fn look(&self, resource: &Resource) -> Result<Look, Error> {
        let (id, interrupt) = (resource.id.as_str(), self.interrupt);
        let state = |state: Option<&str>| state.unwrap_or_default().to_owned();
        let found = match &resource.thing {
            Thing::Instance { .. } => {
                let seen = self.ec2.instance(id, None, interrupt)?;
                seen.map(|seen| (seen.tags, seen.state))
            }
            Thing::Volume { .. } => self.ec2.volume(id, interrupt)?.map(|volume| {
                let state = state(volume.state().map(VolumeState::as_str));
                (tag::read(volume.tags()), state)
            }),
            Thing::Interface { .. } => self.ec2.interface(id, interrupt)?.map(|interface| {
                let state = state(interface.status().map(NetworkInterfaceStatus::as_str));
                (tag::read(interface.tag_set()), state)
            }),
            Thing::Image { .. } => self.ec2.image(id, None, interrupt)?.map(|image| {
                let state = state(image.state().map(ImageState::as_str));
                (tag::read(image.tags()), state)
            }),
        };
        let Some((tags, state)) = found else {
            return Ok(Look::Gone);
        };
        // Their tags may be gone too, and there is nothing left to remove.
        if matches!(state.as_str(), "terminated" | "deleted" | "deregistered") {
            return Ok(Look::Gone);
        }
        let (project, machine) = (&resource.project, &resource.machine);
        let ours = tag::check_ours(&tags, project, Some(machine)).and_then(|()| {
            // Another host may have completed its launch, or said that the machine lives there.
            let (now, before) = (tags.get(tag::STATE), resource.mark.as_ref());
            if now == before {
                return Ok(());
            }
            let said = |mark: Option<&String>| mark.map_or("nothing", String::as_str).to_owned();
            let (now, before) = (said(now), said(before));
            let key = tag::STATE;
            Err(format!(
                "its tag {key} says {now}, and said {before} a moment ago"
            ))
        });
        match ours {
            Ok(()) => Ok(Look::Ours(state)),
            Err(why) => Err(Error::NotOurs {
                id: id.to_owned(),
                why,
            }),
        }
    }

    fn terminate(&mut self, resource: &Resource) -> Result<(), Error> {
        let id = resource.id.as_str();
        match self.look(resource)? {
            Look::Gone => return Ok(()),
            Look::Ours(state) if state == "shutting-down" => return Ok(()),
            Look::Ours(_) => {}
        }
        (self.events)(Event::Removing { id: id.to_owned() });
        let action = Action::TerminateInstances;
        let call = self.ec2.0.sdk.terminate_instances().instance_ids(id);
        let mut lifted = false;
        loop {
            let answer = self
                .ec2
                .ask(Asked::plain(action), self.interrupt, || call.clone().send());
            match answer {
                Ok(_) => return Ok(()),
                Err(End::Failed(failure)) if is_protected(&failure) => {
                    if !self.options.lift_protection || lifted {
                        return Err(Error::Protected {
                            instance: id.to_owned(),
                        });
                    }
                    self.lift(id)?;
                    lifted = true;
                }
                Err(end) => return absent(end, action).map(|_: Option<()>| ()),
            }
        }
    }

    fn lift(&mut self, id: &str) -> Result<(), Error> {
        let action = Action::ModifyInstanceAttribute;
        let off = AttributeBooleanValue::builder().value(false).build();
        let call = self
            .ec2
            .0
            .sdk
            .modify_instance_attribute()
            .instance_id(id)
            .disable_api_termination(off);
        self.ec2
            .ask(Asked::plain(action), self.interrupt, || call.clone().send())
            .map_err(|end| end.into_error(action))?;
        (self.events)(Event::Unprotected { id: id.to_owned() });
        Ok(())
    }

    /// Removes what is no instance.
    fn delete(&mut self, resource: &Resource, until: Instant) -> Result<(), Error> {
        let id = resource.id.as_str();
        let mut told = false;
        let since = Instant::now();
        loop {
            let state = match self.look(resource)? {
                Look::Gone => return Ok(()),
                Look::Ours(state) => state,
            };
            if !std::mem::replace(&mut told, true) {
                (self.events)(Event::Removing { id: id.to_owned() });
            }
            // What an instance has, or is about to leave.
            let held = matches!(
                state.as_str(),
                "in-use" | "deleting" | "detaching" | "attaching" | "associated" | "creating"
            );
            if held {
                self.check_holder(resource)?;
            } else if self.delete_once(resource)? {
                return Ok(());
            }
            if Instant::now() >= until {
                let limit = self.ec2.0.limits.terminated;
                return Err(not_in_time(id, &state, "available", limit));
            }
            self.ec2.pause(since, self.interrupt)?;
        }
    }

    /// Asks for its removal; whether that is done, or something still held it.
    fn delete_once(&self, resource: &Resource) -> Result<bool, Error> {
        let (sdk, id) = (&self.ec2.0.sdk, resource.id.as_str());
        let interrupt = self.interrupt;
        let (action, answer) = match &resource.thing {
            Thing::Volume { .. } => {
                let call = sdk.delete_volume().volume_id(id);
                let asked = Asked::plain(Action::DeleteVolume);
                let answer = self.ec2.ask(asked, interrupt, || call.clone().send());
                (asked.action, answer.map(drop))
            }
            Thing::Interface { .. } => {
                let call = sdk.delete_network_interface().network_interface_id(id);
                let asked = Asked::plain(Action::DeleteNetworkInterface);
                let answer = self.ec2.ask(asked, interrupt, || call.clone().send());
                (asked.action, answer.map(drop))
            }
            Thing::Image { .. } => {
                let call = sdk.deregister_image().image_id(id);
                let asked = Asked::plain(Action::DeregisterImage);
                let answer = self.ec2.ask(asked, interrupt, || call.clone().send());
                (asked.action, answer.map(drop))
            }
            // Those are terminated.
            Thing::Instance { .. } => return Ok(true),
        };
        match answer {
            Ok(()) => Ok(true),
            Err(End::Failed(failure)) if failure.code == "InvalidAMIID.Unavailable" => Ok(true),
            Err(end) => match end.into_error(action) {
                Error::NoSuch { .. } => Ok(true),
                Error::InUse { .. } => Ok(false),
                error => Err(error),
            },
        }
    }

    /// Whether one of the instances that are being removed has it; another's is not taken away.
    fn check_holder(&self, resource: &Resource) -> Result<(), Error> {
        let (id, interrupt) = (resource.id.as_str(), self.interrupt);
        let (action, holder) = match &resource.thing {
            Thing::Volume { .. } => {
                let volume = self.ec2.volume(id, interrupt)?;
                let mut attachments = volume.iter().flat_map(Volume::attachments);
                let holder = attachments.find_map(|one| one.instance_id().map(str::to_owned));
                (Action::DeleteVolume, holder)
            }
            Thing::Interface { .. } => {
                let interface = self.ec2.interface(id, interrupt)?;
                let attachment = interface.as_ref().and_then(|one| one.attachment());
                let holder = attachment.and_then(|one| one.instance_id().map(str::to_owned));
                (Action::DeleteNetworkInterface, holder)
            }
            Thing::Instance { .. } | Thing::Image { .. } => return Ok(()),
        };
        let Some(holder) = holder.filter(|holder| !self.instances.contains(holder.as_str())) else {
            return Ok(());
        };
        // An earlier call may have terminated it, and found no time for the rest.
        let seen = self.ec2.instance(&holder, None, interrupt)?;
        if seen.is_none_or(|seen| seen.is_over()) {
            return Ok(());
        }
        Err(Error::InUse {
            action,
            code: "attached".to_owned(),
            message: format!("{id} belongs to {holder}, which is not being removed"),
        })
    }
}

fn is_protected(failure: &Failure) -> bool {
    failure.code == "OperationNotPermitted" && failure.message.contains("disableApiTermination")
}
