//! Waiting until something is in a state.

use super::describe::{InstanceSeen, after};
use super::retry::Asked;
use super::{Action, Ec2, Error, Event, console};
use aws_sdk_ec2::types::{ImageState, InstanceStateName, InstanceStatusSummary, SummaryStatus};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use ondisk::Interrupt;
use std::time::{Duration, Instant};

/// Looks again and again, and tells what is new.
pub(super) struct Watch<'a> {
    pub(super) ec2: &'a Ec2,
    pub(super) events: &'a mut dyn FnMut(Event),
    pub(super) interrupt: &'a Interrupt,
}

impl Watch<'_> {
    /// Tells a state that is another one than before.
    fn tell(&mut self, id: &str, before: &mut String, state: &str) {
        if before != state {
            (self.events)(Event::State {
                id: id.to_owned(),
                state: state.to_owned(),
            });
            state.clone_into(before);
        }
    }

    /// Until an image can be used.
    pub(super) fn image(&mut self, id: &str) -> Result<(), Error> {
        let limit = self.ec2.0.limits.image;
        let (new, until) = (self.ec2.settled(), after(limit));
        let mut before = String::new();
        let since = Instant::now();
        loop {
            let seen = self.ec2.image(id, Some(new), self.interrupt)?;
            // An answer without it is a place that does not know it yet.
            let state = seen.as_ref().and_then(|image| image.state());
            let name = state.map_or("pending", ImageState::as_str).to_owned();
            self.tell(id, &mut before, &name);
            match state {
                Some(ImageState::Available) => return Ok(()),
                None | Some(ImageState::Pending | ImageState::Transient) => {}
                Some(_) => {
                    let reason = seen.as_ref().and_then(|image| image.state_reason());
                    let reason = reason.and_then(|reason| reason.message());
                    return Err(Error::Image {
                        image: id.to_owned(),
                        state: name,
                        reason: reason.unwrap_or("EC2 says no reason").to_owned(),
                    });
                }
            }
            if Instant::now() >= until {
                return Err(not_in_time(id, &name, "available", limit));
            }
            self.ec2.pause(since, self.interrupt)?;
        }
    }

    /// Until an instance runs; one that an earlier call stopped may be stopped.
    pub(super) fn instance(&mut self, id: &str) -> Result<InstanceSeen, Error> {
        let limit = self.ec2.0.limits.running;
        let (new, until) = (self.ec2.settled(), after(limit));
        let mut before = String::new();
        let since = Instant::now();
        loop {
            let seen = self.ec2.instance(id, Some(new), self.interrupt)?;
            let state = seen.as_ref().map_or("pending", |seen| seen.state.as_str());
            let state = state.to_owned();
            self.tell(id, &mut before, &state);
            match seen {
                Some(seen) if seen.state != "pending" => return Ok(seen),
                _ => {}
            }
            if Instant::now() >= until {
                return Err(self.late(id, &state, "running", limit));
            }
            self.ec2.pause(since, self.interrupt)?;
        }
    }

    /// Until the checks of the hardware and of the guest are passed.
    pub(super) fn status_ok(&mut self, id: &str) -> Result<(), Error> {
        let action = Action::DescribeInstanceStatus;
        let limits = self.ec2.0.limits;
        let until = after(limits.status_ok);
        let mut before = String::new();
        let mut impaired_since = None;
        let call = self.ec2.0.sdk.describe_instance_status().instance_ids(id);
        let call = call.include_all_instances(true);
        let since = Instant::now();
        loop {
            let asked = Asked::not_found_until(action, self.ec2.settled());
            let answer = self
                .ec2
                .ask(asked, self.interrupt, || call.clone().send())
                .map_err(|end| end.into_error(action))?;
            let status = answer.instance_statuses().first();
            let state = status
                .and_then(|status| status.instance_state())
                .and_then(|state| state.name());
            if let Some(state) = state.map(InstanceStateName::as_str)
                && !matches!(state, "pending" | "running")
            {
                let seen = self.ec2.instance(id, None, self.interrupt)?;
                let reason = seen.map(|seen| seen.reason).unwrap_or_default();
                return Err(self.did_not_come_up(id, &format!("it is {state}: {reason}")));
            }
            let of = |summary: Option<&InstanceStatusSummary>| {
                let status = summary.and_then(|summary| summary.status());
                status.cloned().unwrap_or(SummaryStatus::Initializing)
            };
            let guest = of(status.and_then(|status| status.instance_status()));
            let system = of(status.and_then(|status| status.system_status()));
            let name = format!("running, guest {guest}, system {system}");
            self.tell(id, &mut before, &name);
            if (&guest, &system) == (&SummaryStatus::Ok, &SummaryStatus::Ok) {
                return Ok(());
            }
            if guest == SummaryStatus::Impaired || system == SummaryStatus::Impaired {
                let since = *impaired_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= limits.impaired {
                    let which = if system == SummaryStatus::Impaired {
                        "the check of the system that it runs on fails"
                    } else {
                        "the check of the guest fails: it does not answer on the network"
                    };
                    return Err(self.did_not_come_up(id, which));
                }
            } else {
                impaired_since = None;
            }
            if Instant::now() >= until {
                return Err(self.late(id, &name, "ok in both", limits.status_ok));
            }
            self.ec2.pause(since, self.interrupt)?;
        }
    }

    /// Until an instance has shut down.
    pub(super) fn stopped(&mut self, id: &str, until: Instant) -> Result<(), Error> {
        let mut before = String::new();
        let since = Instant::now();
        loop {
            let seen = self
                .ec2
                .instance(id, Some(self.ec2.settled()), self.interrupt)?;
            let seen = seen.filter(|seen| !seen.state.is_empty());
            let state = seen.as_ref().map_or("stopping", |seen| seen.state.as_str());
            let state = state.to_owned();
            self.tell(id, &mut before, &state);
            match seen {
                Some(seen) if seen.state == "stopped" => return Ok(()),
                Some(seen) if seen.is_over() => {
                    return Err(self.did_not_come_up(id, &seen.reason));
                }
                _ => {}
            }
            if Instant::now() >= until {
                return Err(self.late(id, &state, "stopped", self.ec2.0.limits.stopped));
            }
            self.ec2.pause(since, self.interrupt)?;
        }
    }

    /// Until an instance is terminated.
    pub(super) fn terminated(&mut self, id: &str, until: Instant) -> Result<(), Error> {
        let mut before = String::new();
        let since = Instant::now();
        loop {
            let seen = self.ec2.instance(id, None, self.interrupt)?;
            let state = seen.map_or_else(|| "terminated".to_owned(), |seen| seen.state);
            self.tell(id, &mut before, &state);
            if state == "terminated" {
                return Ok(());
            }
            if Instant::now() >= until {
                let limit = self.ec2.0.limits.terminated;
                return Err(not_in_time(id, &state, "terminated", limit));
            }
            self.ec2.pause(since, self.interrupt)?;
        }
    }

    /// That an instance did not come up, with what it wrote.
    pub(super) fn did_not_come_up(&self, id: &str, why: &str) -> Error {
        let why = why.trim_end_matches([' ', ':']);
        Error::DidNotComeUp {
            instance: id.to_owned(),
            why: if why.is_empty() {
                "EC2 says no reason".to_owned()
            } else {
                why.to_owned()
            },
            console: self.console(id),
        }
    }

    fn late(&self, id: &str, state: &str, wanted: &'static str, waited: Duration) -> Error {
        Error::NotInTime {
            id: id.to_owned(),
            state: state.to_owned(),
            wanted,
            waited,
            console: self.console(id),
        }
    }

    /// The end of what an instance wrote. It is part of another error, which must not be lost: what
    /// fails here is said in its place.
    fn console(&self, id: &str) -> String {
        let action = Action::GetConsoleOutput;
        // What is there now is told on Nitro alone; else it is what was there some minutes ago.
        let mut failure = None;
        for latest in [true, false] {
            let call = self.ec2.0.sdk.get_console_output().instance_id(id);
            let call = call.latest(latest);
            let asked = Asked::plain(action);
            match self.ec2.ask(asked, self.interrupt, || call.clone().send()) {
                Ok(answer) => {
                    let text = answer.output().unwrap_or_default();
                    let text: String = text.split_ascii_whitespace().collect();
                    match BASE64.decode(text) {
                        Ok(bytes) if !bytes.is_empty() => return console::tail(&bytes),
                        Ok(_) => {}
                        Err(_) => failure = Some("its console is no base64".to_owned()),
                    }
                }
                Err(end) => {
                    let error = end.into_error(action);
                    failure = Some(error.to_string());
                    // Enough time went by.
                    if error.may_pass() {
                        break;
                    }
                }
            }
        }
        let text = failure.map(|why| format!("(its console could not be read: {why})"));
        text.unwrap_or_default()
    }
}

pub(super) fn not_in_time(id: &str, state: &str, wanted: &'static str, waited: Duration) -> Error {
    Error::NotInTime {
        id: id.to_owned(),
        state: state.to_owned(),
        wanted,
        waited,
        console: String::new(),
    }
}
