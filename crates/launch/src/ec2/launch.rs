//! Making a target, or what is missing of it.

use super::describe::{InstanceSeen, after, filter};
use super::failure::{Failure, Kind as Failed};
use super::request::Request;
use super::retry::{Asked, End};
use super::tag::{self, Tags};
use super::wait::Watch;
use super::{Action, Ec2, Error, Event, NewTarget, Target};
use aws_sdk_ec2::types::AttributeBooleanValue;
use ondisk::Interrupt;
use std::time::Instant;

/// What a launch is given and tells on its way.
struct Launch<'a> {
    ec2: &'a Ec2,
    new: &'a NewTarget<'a>,
    request: Request,
    events: &'a mut dyn FnMut(Event),
    interrupt: &'a Interrupt,
}

impl Ec2 {
    /// Makes the target, and waits until it has come up as its blueprint says; or continues what an
    /// earlier call with the same launch number began, wherever that ended. What an earlier launch of
    /// the machine left has to be [removed](Ec2::remove) before, if it has the same addresses.
    ///
    /// # Errors
    /// [`Error::Request`] if the blueprint, the guest and the disks do not go together; else what
    /// EC2 refused, or that the instance did not come up. What was made stays, with its tags.
    pub fn launch(
        &self,
        new: &NewTarget<'_>,
        events: &mut dyn FnMut(Event),
        interrupt: &Interrupt,
    ) -> Result<Target, Error> {
        let request = new.request(self.region())?;
        let mut launch = Launch {
            ec2: self,
            new,
            request,
            events,
            interrupt,
        };
        let instance = match launch.begun()? {
            Some(seen) if seen.tags.contains_key(tag::STATE) => {
                (launch.events)(Event::Complete {
                    id: seen.id.clone(),
                });
                return Ok(launch.target(seen));
            }
            Some(seen) => {
                (launch.events)(Event::Instance {
                    id: seen.id.clone(),
                    earlier: true,
                });
                seen.id
            }
            None => {
                let image = launch.image()?;
                launch.run(&image)?
            }
        };
        launch.complete(&instance)
    }

    /// Tags what there is; a tag of that key is replaced.
    ///
    /// # Errors
    /// What EC2 refused.
    pub fn tag(
        &self,
        ids: &[&str],
        tags: &[(&str, &str)],
        interrupt: &Interrupt,
    ) -> Result<(), Error> {
        let action = Action::CreateTags;
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let tags: Tags = tags.iter().map(pair).collect();
        let call = self
            .0
            .sdk
            .create_tags()
            .set_resources(Some(ids.iter().map(|id| (*id).to_owned()).collect()))
            .set_tags(Some(tag::write(&tags)));
        // It may have been made a moment ago.
        let asked = Asked::not_found_until(action, self.settled());
        let answer = self.ask(asked, interrupt, || call.clone().send());
        answer.map(drop).map_err(|end| end.into_error(action))
    }
}

impl Launch<'_> {
    /// The instance that an earlier call made for this launch.
    fn begun(&self) -> Result<Option<InstanceSeen>, Error> {
        let (project, machine) = (self.new.project, self.new.machine);
        let number = self.new.launch.to_string();
        let all = self.ec2.instances(project, Some(machine), self.interrupt)?;
        let mut ours = all
            .into_iter()
            .filter(|seen| seen.tags.get(tag::LAUNCH) == Some(&number));
        let Some(seen) = ours.next() else {
            return Ok(None);
        };
        if seen.is_over() {
            return Err(self.terminated(&seen));
        }
        let request = seen.tags.get(tag::REQUEST).map(String::as_str);
        if request != Some(self.request.digest()) || seen.token != self.request.token {
            return Err(self.another(format!("{} is {}", seen.id, seen.state)));
        }
        Ok(Some(seen))
    }

    fn another(&self, found: String) -> Error {
        Error::AnotherRequest {
            machine: self.new.machine.to_owned(),
            launch: self.new.launch,
            found,
        }
    }

    fn terminated(&self, seen: &InstanceSeen) -> Error {
        Error::Terminated {
            machine: self.new.machine.to_owned(),
            launch: self.new.launch,
            instance: seen.id.clone(),
            state: seen.state.clone(),
            reason: seen.reason.clone(),
        }
    }

    /// The image, registered now or by an earlier call, when it can be used.
    fn image(&mut self) -> Result<String, Error> {
        let mut earlier = true;
        let mut found = self.image_of_name()?;
        if found.is_none() {
            let action = Action::RegisterImage;
            let call = self.request.image.call(self.ec2);
            // A snapshot that was just completed may not be known everywhere.
            let asked = Asked::not_found_until(action, self.ec2.settled());
            match self.ec2.ask(asked, self.interrupt, || call.clone().send()) {
                Ok(answer) => {
                    earlier = false;
                    found = answer.image_id;
                }
                // It was registered by an attempt whose answer was lost, or by a call before this
                // one, and is not seen everywhere yet.
                Err(End::Failed(failure)) if failure.code == "InvalidAMIName.Duplicate" => {
                    let until = self.ec2.settled();
                    let since = Instant::now();
                    while found.is_none() {
                        if Instant::now() >= until {
                            return Err(failure.into_error(action));
                        }
                        self.ec2.pause(since, self.interrupt)?;
                        found = self.image_of_name()?;
                    }
                }
                Err(end) => return Err(end.into_error(action)),
            }
        }
        let id = found.filter(|id| !id.is_empty()).ok_or(Error::Answer {
            action: Action::RegisterImage,
            what: "it has no image id".to_owned(),
        })?;
        (self.events)(Event::Image {
            id: id.clone(),
            earlier,
        });
        self.watch().image(&id)?;
        Ok(id)
    }

    /// The image of the request's name.
    fn image_of_name(&self) -> Result<Option<String>, Error> {
        let name = &self.request.image.name;
        let found = self.ec2.images(&[filter("name", name)], self.interrupt)?;
        let Some(image) = found.iter().find(|image| image.name() == Some(name)) else {
            return Ok(None);
        };
        let id = image.image_id().unwrap_or_default().to_owned();
        let (project, machine) = (self.new.project, self.new.machine);
        tag::check_ours(&tag::read(image.tags()), project, Some(machine)).map_err(|why| {
            Error::NotOurs {
                id: id.clone(),
                why,
            }
        })?;
        Ok(Some(id))
    }

    /// Runs the instance; asked again with the same token, EC2 answers with the same instance.
    fn run(&mut self, image: &str) -> Result<String, Error> {
        let action = Action::RunInstances;
        let call = self
            .request
            .instance
            .call(self.ec2, image, &self.request.token);
        let asked = Asked::patient(action, self.ec2.settled(), is_settling);
        let answer = self.ec2.ask(asked, self.interrupt, || call.clone().send());
        let answer = match answer {
            Ok(answer) => answer,
            Err(End::Failed(failure)) if failure.code == "IdempotentParameterMismatch" => {
                return Err(self.another(failure.message));
            }
            Err(end) => return Err(end.into_error(action)),
        };
        let seen = answer.instances().first().and_then(InstanceSeen::of);
        let seen = seen.ok_or(Error::Answer {
            action,
            what: "it has no instance id".to_owned(),
        })?;
        // The token still stands for an instance that is gone, for a day or more.
        if seen.is_over() {
            return Err(self.terminated(&seen));
        }
        (self.events)(Event::Instance {
            id: seen.id.clone(),
            earlier: false,
        });
        Ok(seen.id)
    }

    /// From an instance to a complete launch.
    fn complete(mut self, id: &str) -> Result<Target, Error> {
        let seen = self.watch().instance(id)?;
        if seen.is_over() {
            return Err(self.watch().did_not_come_up(id, &seen.reason));
        }
        let volumes = self.tag_volumes(&seen)?;
        self.addresses(&seen)?;
        self.forwarding(&seen)?;
        let stopped = matches!(seen.state.as_str(), "stopping" | "stopped");
        if self.request.after.wait_status_ok && !stopped {
            self.watch().status_ok(id)?;
        }
        if self.request.after.stop {
            self.stop(id)?;
        }
        // The volumes too: they tell what they are when somebody has removed the instance.
        let mut whole: Vec<&str> = vec![id];
        whole.extend(volumes.iter().map(String::as_str));
        let tags = [(tag::STATE, tag::LAUNCHED)];
        self.ec2.tag(&whole, &tags, self.interrupt)?;
        (self.events)(Event::Complete { id: id.to_owned() });
        // With the addresses that it got on its way.
        let seen = self
            .ec2
            .instance(id, Some(self.ec2.settled()), self.interrupt)?;
        let seen = seen.ok_or(Error::Answer {
            action: Action::DescribeInstances,
            what: format!("it does not have {id}, which it had before"),
        })?;
        Ok(self.target(seen))
    }

    fn watch(&mut self) -> Watch<'_> {
        Watch {
            ec2: self.ec2,
            events: &mut *self.events,
            interrupt: self.interrupt,
        }
    }

    /// The tags of single volumes, which it gives: RunInstances takes the same for all.
    fn tag_volumes(&self, seen: &InstanceSeen) -> Result<Vec<String>, Error> {
        let mut volumes = Vec::new();
        let until = self.ec2.settled();
        let mut seen = seen.clone();
        let since = Instant::now();
        for (device, tags) in &self.request.after.volume_tags {
            let volume = loop {
                let volume = seen.volumes.iter().find(|volume| volume.device == *device);
                if let Some(volume) = volume {
                    break volume;
                }
                // They are seen as attached a moment after the instance is seen to run.
                if Instant::now() >= until {
                    return Err(Error::Answer {
                        action: Action::DescribeInstances,
                        what: format!("{} has no volume {device}", seen.id),
                    });
                }
                self.ec2.pause(since, self.interrupt)?;
                if let Some(now) = self.ec2.instance(&seen.id, Some(until), self.interrupt)? {
                    seen = now;
                }
            };
            let pair = |(key, value)| (String::as_str(key), String::as_str(value));
            let tags: Vec<(&str, &str)> = tags.iter().map(pair).collect();
            self.ec2.tag(&[&volume.id], &tags, self.interrupt)?;
            volumes.push(volume.id.clone());
        }
        Ok(volumes)
    }

    fn interface<'s>(&self, seen: &'s InstanceSeen, index: i32) -> Result<&'s str, Error> {
        let mut all = seen.interfaces.iter();
        let found = all.find(|interface| interface.index == index);
        let id = found.map(|interface| interface.id.as_str());
        id.ok_or_else(|| Error::Answer {
            action: Action::DescribeInstances,
            what: format!("{} has no interface {index}", seen.id),
        })
    }

    /// Gives Elastic IP addresses to the interfaces that are to have them, and takes none away from
    /// anybody.
    fn addresses(&mut self, seen: &InstanceSeen) -> Result<(), Error> {
        for (index, allocation) in &self.request.after.addresses {
            let interface = self.interface(seen, *index)?;
            let action = Action::DescribeAddresses;
            let look = self
                .ec2
                .0
                .sdk
                .describe_addresses()
                .allocation_ids(allocation);
            let answer = self
                .ec2
                .ask(Asked::plain(action), self.interrupt, || look.clone().send())
                .map_err(|end| end.into_error(action))?;
            let address = answer.addresses().first();
            let holder = address.and_then(|address| address.network_interface_id());
            if holder == Some(interface) {
                continue;
            }
            let action = Action::AssociateAddress;
            let call = self
                .ec2
                .0
                .sdk
                .associate_address()
                .allocation_id(allocation)
                .network_interface_id(interface)
                .allow_reassociation(false);
            // An earlier target that is gone may still hold it for a moment.
            let asked = Asked::patient(action, self.ec2.settled(), is_settling);
            self.ec2
                .ask(asked, self.interrupt, || call.clone().send())
                .map_err(|end| end.into_error(action))?;
            (self.events)(Event::Address {
                allocation: allocation.clone(),
                interface: interface.to_owned(),
            });
        }
        Ok(())
    }

    /// Lets interfaces carry what is not their own.
    fn forwarding(&self, seen: &InstanceSeen) -> Result<(), Error> {
        for index in &self.request.after.forwarding {
            let action = Action::ModifyNetworkInterfaceAttribute;
            let call = self
                .ec2
                .0
                .sdk
                .modify_network_interface_attribute()
                .network_interface_id(self.interface(seen, *index)?)
                .source_dest_check(AttributeBooleanValue::builder().value(false).build());
            let asked = Asked::not_found_until(action, self.ec2.settled());
            self.ec2
                .ask(asked, self.interrupt, || call.clone().send())
                .map_err(|end| end.into_error(action))?;
        }
        Ok(())
    }

    /// Stops it, which EC2 cannot be asked for before it has run.
    fn stop(&mut self, id: &str) -> Result<(), Error> {
        let action = Action::StopInstances;
        let call = self.ec2.0.sdk.stop_instances().instance_ids(id);
        let asked = Asked::not_found_until(action, self.ec2.settled());
        self.ec2
            .ask(asked, self.interrupt, || call.clone().send())
            .map_err(|end| end.into_error(action))?;
        let until = after(self.ec2.0.limits.stopped);
        self.watch().stopped(id, until)
    }

    fn target(&self, seen: InstanceSeen) -> Target {
        Target {
            instance: seen.id,
            image: seen.image,
            kind: self.new.kind,
            launch: self.new.launch,
            state: seen.state,
            instance_type: seen.instance_type,
            availability_zone: seen.availability_zone,
            private_ip: seen.private_ip,
            public_ip: seen.public_ip,
            launched: seen.launched,
            volumes: seen.volumes,
            interfaces: seen.interfaces,
        }
    }
}

/// An image that was just registered may not be known everywhere, and an earlier target that was just
/// removed may still hold its addresses.
fn is_settling(failure: &Failure) -> bool {
    let image = ["InvalidAMIID.NotFound", "InvalidAMIID.Unavailable"];
    image.contains(&failure.code.as_str()) || failure.kind == Failed::InUse
}
