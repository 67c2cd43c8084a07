//! StartInstances, StopInstances, TerminateInstances and ModifyInstanceAttribute.

use super::form::Form;
use super::instances::{Instance, InstanceState};
use super::mapping::invalid;
use super::refusal::{bad, missing};
use super::xml::Xml;
use crate::chance::Setting;
use crate::clock::now_ms;
use crate::error::Refusal;
use crate::world::World;
use std::time::{Duration, Instant};

/// Checks all the instances that the request names, then changes them all.
fn each(
    world: &World,
    form: &Form,
    check: impl Fn(&Instance) -> Result<(), Refusal>,
    change: impl Fn(&mut Instance),
) -> Result<Xml, Refusal> {
    let ids = form.list("InstanceId");
    if ids.is_empty() {
        return Err(missing("InstanceId"));
    }
    for word in ["Force", "SkipOsShutdown"] {
        form.whole().flag(word)?;
    }
    let mut cloud = world.cloud();
    for id in &ids {
        check(cloud.instance(id)?)?;
    }
    form.settle()?;
    let mut changes = Vec::new();
    for id in ids {
        let instance = cloud.instance(id)?;
        let before = instance.state;
        change(instance);
        changes.push((id, before, instance.state));
    }
    let mut xml = Xml::default();
    xml.list("instancesSet", changes, |xml, (id, before, now)| {
        xml.text("instanceId", id);
        xml.group("currentState", |xml| now.item(xml));
        xml.group("previousState", |xml| before.item(xml));
    });
    Ok(xml)
}

fn wrong_state(instance: &Instance, what: &str) -> Refusal {
    let message = format!(
        "The instance '{}' is not in a state from which it can be {what}: {}",
        instance.id,
        instance.state.name()
    );
    bad("IncorrectInstanceState", message)
}

fn after(ms: u64) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_millis(ms))
}

/// TerminateInstances
pub(super) fn terminate(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    let check = |instance: &Instance| {
        if instance.termination_protection && instance.state != InstanceState::Terminated {
            let message = format!(
                "The instance '{}' may not be terminated. Modify its 'disableApiTermination' \
                 instance attribute and try again.",
                instance.id
            );
            return Err(bad("OperationNotPermitted", message));
        }
        Ok(())
    };
    each(world, form, check, |instance| {
        if !matches!(
            instance.state,
            InstanceState::ShuttingDown | InstanceState::Terminated
        ) {
            instance.state = InstanceState::ShuttingDown;
            instance.due = after(setting.faults.life.shutting_down_ms);
            instance.state_reason = Some((
                "Client.UserInitiatedShutdown".into(),
                "Client.UserInitiatedShutdown: User initiated shutdown".into(),
            ));
        }
    })
}

/// StopInstances
pub(super) fn stop(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    let check = |instance: &Instance| match instance.state {
        _ if instance.stop_protection => {
            let message = format!(
                "The instance '{}' may not be stopped. Modify its 'disableApiStop' instance \
                 attribute and try again.",
                instance.id
            );
            Err(bad("OperationNotPermitted", message))
        }
        InstanceState::Running | InstanceState::Stopping | InstanceState::Stopped => Ok(()),
        _ => Err(wrong_state(instance, "stopped")),
    };
    each(world, form, check, |instance| {
        if instance.state == InstanceState::Running {
            instance.state = InstanceState::Stopping;
            instance.due = after(setting.faults.life.stopping_ms);
            instance.state_reason = Some((
                "Client.UserInitiatedShutdown".into(),
                "Client.UserInitiatedShutdown: User initiated shutdown".into(),
            ));
        }
    })
}

/// StartInstances
pub(super) fn start(world: &World, setting: &Setting, form: &Form) -> Result<Xml, Refusal> {
    let check = |instance: &Instance| match instance.state {
        InstanceState::Running | InstanceState::Pending | InstanceState::Stopped => Ok(()),
        _ => Err(wrong_state(instance, "started")),
    };
    each(world, form, check, |instance| {
        if instance.state == InstanceState::Stopped {
            instance.state = InstanceState::Pending;
            instance.due = after(setting.faults.life.pending_ms);
            instance.state_reason = None;
            instance.launched_ms = now_ms();
        }
    })
}

/// ModifyInstanceAttribute: one attribute in each request, as the service wants it.
pub(super) fn modify(world: &World, form: &Form) -> Result<Xml, Refusal> {
    let all = form.whole();
    let id = all.needed("InstanceId")?;
    let flag = |name: &str| match all.inside(name) {
        Some(it) => it.flag("Value"),
        None => Ok(None),
    };
    let (terminate, stop) = (flag("DisableApiTermination")?, flag("DisableApiStop")?);
    let check = flag("SourceDestCheck")?;
    let mut volumes = Vec::new();
    for item in all.items("BlockDeviceMapping") {
        let device = item.needed("DeviceName")?.to_owned();
        let delete = match item.inside("Ebs") {
            Some(ebs) => ebs.flag("DeleteOnTermination")?,
            None => None,
        };
        volumes.push((
            device,
            delete.ok_or_else(|| missing("DeleteOnTermination"))?,
        ));
    }
    let given = [
        terminate.is_some(),
        stop.is_some(),
        check.is_some(),
        !volumes.is_empty(),
    ];
    match given.iter().filter(|given| **given).count() {
        0 => return Err(missing("attribute")),
        1 => {}
        _ => {
            return Err(bad(
                "InvalidParameterCombination",
                "Fields for multiple attribute types specified",
            ));
        }
    }
    let mut cloud = world.cloud();
    let instance = cloud.instance(id)?;
    if matches!(
        instance.state,
        InstanceState::ShuttingDown | InstanceState::Terminated
    ) {
        return Err(wrong_state(instance, "modified"));
    }
    let interfaces = instance.interfaces.clone();
    if check.is_some() && interfaces.len() != 1 {
        let message = format!(
            "There are multiple interfaces attached to instance '{id}'. Please specify an \
             interface ID for the operation instead."
        );
        return Err(bad("InvalidInstanceID", message));
    }
    let there = cloud.volumes_of(id);
    let mut changes = Vec::new();
    for (device, delete) in volumes {
        let Some((volume, _)) = there.get(&device) else {
            return Err(invalid(format!(
                "No device is currently mapped at {device}"
            )));
        };
        changes.push((volume.id.clone(), delete));
    }
    form.settle()?;
    let instance = cloud.instance(id)?;
    if let Some(terminate) = terminate {
        instance.termination_protection = terminate;
    }
    if let Some(stop) = stop {
        instance.stop_protection = stop;
    }
    if let (Some(check), [interface]) = (check, interfaces.as_slice()) {
        cloud.interface(interface)?.source_dest_check = check;
    }
    for (volume, delete) in changes {
        if let Some(attachment) = &mut cloud.volume(&volume)?.attachment {
            attachment.delete_on_termination = delete;
        }
    }
    Ok(Xml::done())
}
