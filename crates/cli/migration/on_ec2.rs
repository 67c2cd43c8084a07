//! Targets on EC2: the one module of the program that knows `launch::ec2`.
//!
//! A build without the feature `aws` has `no_ec2.rs` in its place, with the same names.

use super::launch::{Arrived, Launch, Lives};
use super::{Migration, now};
use crate::args::{IamPolicyArgs, PolicyFor};
use crate::terminal::Terminal;
use crate::{blueprint, ebs};
use ::launch::blueprint::{Blueprint, TypeChoice};
use ::launch::ec2::{
    Ec2, Error as Ec2Error, Event, Found, Grants, Level, Limits, NewTarget, RemoveOptions,
    Resource, TargetDisk, Thing, Use, tag,
};
use ::launch::instances::Table;
use ::launch::lifecycle::{Kind, State};
use ::launch::project::Machine;
use ::launch::record::{Converted, Launched, Place, Record, Running, Target};
use anyhow::{Context, Result, bail};
use std::borrow::Cow;
use std::collections::BTreeSet;

/// What a launch on EC2 needs besides the disks, all of it read and checked.
#[derive(Debug)]
pub(crate) struct Plan {
    ec2: Ec2,
    blueprint: Blueprint,
    types: Cow<'static, Table>,
}

/// Something that belongs to no launch.
#[derive(Debug)]
pub(crate) struct Stray(Resource);

fn connect(migration: &Migration) -> Result<Ec2> {
    let limits = Limits {
        max_requests_per_second: migration.aws.max_requests,
        ..Limits::default()
    };
    Ok(Ec2::new(ebs::account(&migration.aws)?, &limits))
}

impl Plan {
    pub(crate) fn new(launch: &Launch<'_>) -> Result<Self> {
        let (migration, machine) = (launch.migration, launch.machine);
        if migration.store()?.is_some() {
            let instead = match launch.request.kind {
                Kind::Test => "; `rehost test --local` needs no EC2",
                Kind::Cutover => "",
            };
            bail!(
                "the project's snapshots are in {}, and EC2 launches from EBS: write `store: ebs:` in \
                 the project file{instead}",
                migration.home
            );
        }
        let types = blueprint::types(launch.request.args.instance_types.as_deref())?;
        let Some(blueprint) = migration.target_of(machine, &types)? else {
            bail!(
                "{} has no blueprint; `rehost blueprint new` drafts one, and `blueprint: FILE` in the \
                 project file names it",
                machine.name
            );
        };
        Ok(Self {
            ec2: connect(migration)?,
            blueprint,
            types,
        })
    }

    /// Whether the target is to be as large as the source.
    pub(crate) fn copies_size(&self) -> bool {
        matches!(
            self.blueprint.instance.choice,
            Some(TypeChoice::CopyOrigin(_))
        )
    }

    /// Removes what there is of all launches of the machine but this one, unless the machine was cut
    /// over to some of it, whatever the record here says: another host may have done that.
    pub(crate) fn remove_others(
        &self,
        launch: &Launch<'_>,
        running: &Running,
    ) -> Result<Option<Lives>> {
        let (project, machine) = (launch.project(), launch.machine.name.as_str());
        let interrupt = &launch.terminal.interrupt;
        let found = self.ec2.find(project, Some(machine), interrupt)?;
        if let Some(lives) = lives(&found) {
            return Ok(Some(lives));
        }
        let other = |one: &Resource| one.launch != Some(running.launch);
        let others: Vec<_> = found.there.into_iter().filter(other).collect();
        if others.is_empty() {
            return Ok(None);
        }
        let options = RemoveOptions {
            lift_protection: launch.request.args.lift_protection,
        };
        let mut events = |event: Event| launch.say(&event.to_string());
        self.ec2.remove(&others, options, &mut events, interrupt)?;
        Ok(None)
    }

    /// Launches the target; `None` if what there is of this launch was begun as another one.
    pub(crate) fn launch(
        &self,
        launch: &Launch<'_>,
        running: &Running,
        converted: &Converted,
    ) -> Result<Option<Arrived>> {
        let disks = snapshots(converted)?;
        let new = self.target(launch, running, converted, &disks);
        let mut events = |event: Event| launch.say(&event.to_string());
        let launched = self
            .ec2
            .launch(&new, &mut events, &launch.terminal.interrupt);
        match launched {
            Ok(target) => Ok(Some(Arrived {
                came_up: true,
                because: format!("EC2 says that it is {}", target.state),
                target: Some(record_of(target)),
                console: None,
            })),
            Err(error @ (Ec2Error::AnotherRequest { .. } | Ec2Error::Terminated { .. })) => {
                launch.say(&format!("{error}; so it is"));
                Ok(None)
            }
            Err(Ec2Error::DidNotComeUp {
                instance,
                why,
                console,
            }) => Ok(Some(Arrived {
                came_up: false,
                because: why,
                target: Some(self.left(launch, running, instance)),
                console: Some(console).filter(|console| !console.is_empty()),
            })),
            Err(error) => Err(error.into()),
        }
    }

    /// Asks whether the launch would be allowed and possible, and says what was found.
    pub(crate) fn dry_run(
        &self,
        launch: &Launch<'_>,
        running: &Running,
        converted: &Converted,
    ) -> Result<()> {
        let (project, machine) = (launch.project(), launch.machine.name.as_str());
        let found = self
            .ec2
            .find(project, Some(machine), &launch.terminal.interrupt)?;
        if let Some(lives) = lives(&found) {
            bail!(lives.refusal(machine));
        }
        let disks = snapshots(converted)?;
        let new = self.target(launch, running, converted, &disks);
        let findings = self.ec2.dry_run(&new, &launch.terminal.interrupt)?;
        let mut problems = 0_usize;
        for finding in &findings {
            let level = match finding.level {
                Level::Good => "good",
                Level::Hint => "hint",
                Level::Problem => {
                    problems += 1;
                    "problem"
                }
            };
            launch.say(&format!(
                "{level}: {}: {}",
                finding.subject, finding.message
            ));
        }
        if problems > 0 {
            bail!("EC2 would not launch it: {problems} problems");
        }
        Ok(())
    }

    fn target<'a>(
        &'a self,
        launch: &Launch<'a>,
        running: &Running,
        converted: &'a Converted,
        disks: &'a [TargetDisk<'a>],
    ) -> NewTarget<'a> {
        NewTarget {
            project: &launch.migration.project.metadata.name,
            machine: &launch.machine.name,
            kind: running.kind,
            launch: running.launch,
            blueprint: &self.blueprint,
            source: &converted.source,
            types: &self.types,
            disks,
        }
    }

    /// What a launch left whose instance did not come up. Why it did not is more important than what
    /// cannot be listed.
    fn left(&self, launch: &Launch<'_>, running: &Running, instance: String) -> Target {
        let (project, machine) = (launch.project(), launch.machine.name.as_str());
        let mut target = Target {
            kind: running.kind,
            launch: running.launch,
            place: Place::Ec2,
            instance: Some(instance),
            image: None,
            volumes: Vec::new(),
            addresses: Vec::new(),
        };
        let found = self
            .ec2
            .find(project, Some(machine), &launch.terminal.interrupt);
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                launch.say(&format!("its image and volumes cannot be listed: {error}"));
                return target;
            }
        };
        for one in found
            .there
            .iter()
            .filter(|one| one.launch == Some(running.launch))
        {
            match &one.thing {
                Thing::Image { .. } => target.image = Some(one.id.clone()),
                Thing::Volume { .. } => target.volumes.push(one.id.clone()),
                Thing::Instance { .. } | Thing::Interface { .. } => {}
            }
        }
        target
    }
}

/// Whether the user stopped it.
pub(crate) fn is_interruption(cause: &(dyn std::error::Error + 'static)) -> bool {
    matches!(cause.downcast_ref(), Some(Ec2Error::Interrupted(_)))
}

/// The converted snapshots as disks of a target.
fn snapshots(converted: &Converted) -> Result<Vec<TargetDisk<'_>>> {
    let facts = &converted.source.disks;
    if facts.len() != converted.disks.len() {
        bail!("the record of the conversion has other disks than its snapshots; convert again");
    }
    let mut disks = Vec::new();
    for (number, (name, facts)) in converted.disks.iter().zip(facts).enumerate() {
        let Some(snapshot) = name.strip_prefix("ebs:") else {
            bail!("{name} is not in EBS, so EC2 cannot launch it");
        };
        disks.push(TargetDisk {
            number,
            name: &facts.name,
            snapshot,
            size_gib: u32::try_from(facts.size_gib()).context("a disk is too large for EBS")?,
            root: facts.root,
        });
    }
    Ok(disks)
}

fn record_of(target: ::launch::ec2::Target) -> Target {
    Target {
        kind: target.kind,
        launch: target.launch,
        place: Place::Ec2,
        instance: Some(target.instance),
        image: Some(target.image),
        volumes: target.volumes.into_iter().map(|volume| volume.id).collect(),
        addresses: target
            .private_ip
            .into_iter()
            .chain(target.public_ip)
            .collect(),
    }
}

/// Statements of IAM that allow what commands do with targets.
pub(crate) fn policy(args: &IamPolicyArgs) -> Vec<serde_json::Value> {
    let uses = args.commands().iter().flat_map(|command| match command {
        PolicyFor::Test | PolicyFor::Cutover => {
            &[Use::Launch, Use::Find, Use::Remove, Use::Check][..]
        }
        PolicyFor::Status => &[Use::Find],
        PolicyFor::Gc => &[Use::Find, Use::Remove],
        PolicyFor::Replicate
        | PolicyFor::Convert
        | PolicyFor::Copy
        | PolicyFor::Read
        | PolicyFor::Diff
        | PolicyFor::Snapshots => &[],
    });
    let uses: Vec<Use> = uses.copied().collect();
    let grants = Grants {
        role: args.role.as_deref(),
        kms_key: args.kms_key.as_deref(),
        interfaces: &args
            .interface
            .iter()
            .map(String::as_str)
            .collect::<Vec<_>>(),
        addresses: &args.address.iter().map(String::as_str).collect::<Vec<_>>(),
    };
    ::launch::ec2::policy(&uses, &grants)
}

/// Fills a new record with what the tags tell of targets.
pub(crate) fn recover(
    migration: &Migration,
    machine: &Machine,
    record: &mut Record,
    terminal: &Terminal,
) -> Result<()> {
    let ec2 = connect(migration)?;
    let project = &migration.project.metadata.name;
    let found = ec2.find(project, Some(&machine.name), &terminal.interrupt)?;
    record.launches = found.highest_launch(&machine.name);
    if let Some(lives) = lives(&found) {
        record.enter(State::CutOver, now());
        if let Some(target) = lives.target {
            record.last_cutover = Some(told_by_tags(&target, now()));
            record.targets.push(target);
        }
        return Ok(());
    }
    let instances = found.there.iter().filter(|one| is_instance(one));
    let Some(last) = instances.max_by_key(|one| one.launch) else {
        return Ok(());
    };
    let (Some(kind), Some(target)) = (last.kind, target_of(last)) else {
        return Ok(());
    };
    let at = match &last.thing {
        Thing::Instance { launched, .. } => launched.and_then(|at| u64::try_from(at).ok()),
        _ => None,
    };
    let at = at.unwrap_or_else(now);
    let marked = last
        .mark
        .as_deref()
        .and_then(|mark| mark.parse::<State>().ok());
    let state = match (last.is_complete(), marked) {
        (_, Some(marked)) => marked,
        (true, None) => kind.done(),
        (false, None) => kind.under_way(),
    };
    record.enter(state, at);
    let ended = last.is_complete().then(|| told_by_tags(&target, at));
    match kind {
        Kind::Test => record.last_test = ended,
        Kind::Cutover => record.last_cutover = ended,
    }
    record.targets.push(target);
    Ok(())
}

fn told_by_tags(target: &Target, at: u64) -> Launched {
    Launched {
        at,
        launch: target.launch,
        place: Place::Ec2,
        came_up: true,
        because: "its tags say so".to_owned(),
    }
}

fn is_instance(one: &Resource) -> bool {
    matches!(one.thing, Thing::Instance { .. })
}

/// An instance as records have it; `None` of anything else.
fn target_of(one: &Resource) -> Option<Target> {
    let Thing::Instance {
        image,
        volumes,
        private_ip,
        public_ip,
        ..
    } = &one.thing
    else {
        return None;
    };
    Some(Target {
        // What lives and has lost its tag is no test.
        kind: one.kind.unwrap_or(Kind::Cutover),
        launch: one.launch.unwrap_or_default(),
        place: Place::Ec2,
        instance: Some(one.id.clone()),
        image: Some(image.clone()),
        volumes: volumes.iter().map(|volume| volume.id.clone()).collect(),
        addresses: private_ip.iter().chain(public_ip).cloned().collect(),
    })
}

/// What the machine was cut over to: its instance, or what that one left.
fn lives(found: &Found) -> Option<Lives> {
    let all = || found.there.iter().filter(|one| is_cut_over(one));
    let one = all()
        .find(|one| is_instance(one))
        .or_else(|| all().next())?;
    Some(Lives {
        id: one.id.clone(),
        target: target_of(one),
    })
}

/// Says in the tags of the machine's targets where the machine is, so that it is known where its
/// record is lost or another one. The targets are those that EC2 knows: one whose launch was stopped
/// is in no record.
pub(crate) fn mark(
    migration: &Migration,
    record: &mut Record,
    state: State,
    terminal: &Terminal,
) -> Result<()> {
    let known = record
        .targets
        .iter()
        .any(|target| target.place == Place::Ec2);
    if migration.store()?.is_some() && !known {
        return Ok(());
    }
    let marked = mark_all(migration, record, state, terminal);
    marked.context("the state is kept here, but not in the tags of what there is on EC2")
}

fn mark_all(
    migration: &Migration,
    record: &mut Record,
    state: State,
    terminal: &Terminal,
) -> Result<()> {
    let ec2 = connect(migration)?;
    let project = &migration.project.metadata.name;
    let found = ec2.find(project, Some(&record.machine), &terminal.interrupt)?;
    let ids: Vec<&str> = found
        .there
        .iter()
        .filter(|one| !is_leaving(one))
        .filter(|one| is_instance(one) || matches!(one.thing, Thing::Volume { .. }))
        .map(|one| one.id.as_str())
        .collect();
    if !ids.is_empty() {
        ec2.tag(&ids, &[(tag::STATE, state.name())], &terminal.interrupt)?;
    }
    record.launches = record.launches.max(found.highest_launch(&record.machine));
    for target in found.there.iter().filter_map(target_of) {
        if !record
            .targets
            .iter()
            .any(|one| one.instance == target.instance)
        {
            record.targets.push(target);
        }
    }
    Ok(())
}

/// Whether a machine was cut over to this, and nobody has said that it may go. Volumes count as their
/// instance does: they hold what the machine has become, also where somebody removed the instance.
fn is_cut_over(one: &Resource) -> bool {
    let Some(mark) = one.mark.as_deref() else {
        return false;
    };
    if is_leaving(one) {
        return false;
    }
    match one.kind {
        // A test that people have taken for good.
        _ if mark == State::CutOver.name() => true,
        Some(Kind::Test) => false,
        // What has lost its tag may be anything.
        Some(Kind::Cutover) | None => mark != State::Ready.name(),
    }
}

/// Whether it is about to be gone, whatever is done.
fn is_leaving(one: &Resource) -> bool {
    match &one.thing {
        Thing::Instance { state, .. } => matches!(state.as_str(), "shutting-down" | "terminated"),
        Thing::Volume { state, .. } => matches!(state.as_str(), "deleting" | "deleted"),
        Thing::Interface { .. } | Thing::Image { .. } => false,
    }
}

/// What there is of the project's targets that no record knows. What a machine was cut over to is
/// none, even where the project file has forgotten the machine.
///
/// Comes with the snapshots that the images keep which stay.
pub(crate) fn strays(
    migration: &Migration,
    known: &dyn Fn(&str, u32) -> bool,
    terminal: &Terminal,
) -> Result<(Vec<Stray>, BTreeSet<String>)> {
    let ec2 = connect(migration)?;
    let found = ec2.find(&migration.project.metadata.name, None, &terminal.interrupt)?;
    let lives: BTreeSet<(String, Option<u32>)> = found
        .there
        .iter()
        .filter(|one| is_cut_over(one))
        .map(|one| (one.machine.clone(), one.launch))
        .collect();
    let (mut strays, mut used) = (Vec::new(), BTreeSet::new());
    for one in found.there {
        let stays = one.launch.is_some_and(|launch| known(&one.machine, launch))
            || lives.contains(&(one.machine.clone(), one.launch));
        match &one.thing {
            Thing::Image { snapshots, .. } if stays => used.extend(snapshots.iter().cloned()),
            _ if stays => {}
            _ => strays.push(Stray(one)),
        }
    }
    Ok((strays, used))
}

/// Removes what [`strays`] gave; instances that are protected stay, with an error.
pub(crate) fn remove_strays(
    migration: &Migration,
    strays: &[&Stray],
    terminal: &Terminal,
) -> Result<()> {
    let ec2 = connect(migration)?;
    let resources: Vec<Resource> = strays.iter().map(|stray| stray.0.clone()).collect();
    let mut events = |event: Event| terminal.say("gc", &event.to_string());
    let options = RemoveOptions::default();
    Ok(ec2.remove(&resources, options, &mut events, &terminal.interrupt)?)
}

impl Stray {
    /// The launch that it is of, if its tag tells.
    pub(crate) fn launch(&self) -> Option<u32> {
        self.0.launch
    }

    /// Id, machine, and what it is.
    pub(crate) fn facts(&self) -> (&str, &str, &'static str) {
        let what = match self.0.thing {
            Thing::Instance { .. } => "instance",
            Thing::Volume { .. } => "volume",
            Thing::Interface { .. } => "network interface",
            Thing::Image { .. } => "image",
        };
        (&self.0.id, &self.0.machine, what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_was_cut_over_to_is_known_by_its_tags() {
        let volume = |state: &str| Thing::Volume {
            state: state.to_owned(),
            size_gib: 8,
            disk: None,
            instance: None,
        };
        let image = Thing::Image {
            state: "available".to_owned(),
            name: "web1".to_owned(),
            snapshots: Vec::new(),
        };
        for (kind, mark, thing, expected) in [
            (
                Some(Kind::Cutover),
                Some("launched"),
                volume("in-use"),
                true,
            ),
            // Its instance is gone, and this is what is left of the machine.
            (
                Some(Kind::Cutover),
                Some("launched"),
                volume("available"),
                true,
            ),
            (
                Some(Kind::Cutover),
                Some("tested"),
                volume("available"),
                true,
            ),
            (
                Some(Kind::Cutover),
                Some("ready"),
                volume("available"),
                false,
            ),
            (
                Some(Kind::Cutover),
                Some("launched"),
                volume("deleting"),
                false,
            ),
            (Some(Kind::Cutover), None, volume("available"), false),
            (Some(Kind::Test), Some("launched"), volume("in-use"), false),
            (Some(Kind::Test), Some("cut-over"), volume("in-use"), true),
            (None, Some("launched"), volume("in-use"), true),
            (None, None, volume("in-use"), false),
            (Some(Kind::Cutover), None, image, false),
        ] {
            let one = Resource {
                id: "vol-1".to_owned(),
                project: "shop".to_owned(),
                machine: "web1".to_owned(),
                kind,
                launch: Some(1),
                mark: mark.map(str::to_owned),
                thing,
            };
            assert_eq!(is_cut_over(&one), expected, "{one:?}");
        }
    }
}
