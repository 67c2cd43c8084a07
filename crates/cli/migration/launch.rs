//! A launch of one machine: the earlier target goes, the disks get a snapshot, that is converted, and
//! the target is made of it.
//!
//! Each step can be done twice and is not done for nothing: a launch that is stopped anywhere, the
//! process killed or the host lost, goes on with the same command.

use super::{Migration, conversions, locally, now, on_ec2, recover};
use crate::args::{LocalArgs, TargetArgs};
use crate::blueprint;
use crate::commands::{convert, replicate};
use crate::record::Notes;
use crate::terminal::Terminal;
use ::launch::blueprint::Hardware;
use ::launch::lifecycle::{Kind, State};
use ::launch::project::Machine;
use ::launch::record::{Converted, Place, Record, Running, Snapshot, Target};
use ::launch::records::Locked;
use anyhow::{Context, Result, bail};
use serde::Serialize;

/// What for, and how.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    /// The cutover of a machine of which no test has come up is fine.
    pub(crate) untested: bool,
    pub(crate) args: TargetArgs,
    /// What a local target runs on.
    pub(crate) hardware: Option<LocalArgs>,
    /// How many targets may run on this host at a time.
    pub(crate) at_once: u16,
}

/// What became of a launch.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Outcome {
    pub(crate) machine: String,
    pub(crate) kind: Kind,
    pub(crate) place: Place,
    pub(crate) launch: u32,
    pub(crate) came_up: bool,
    /// By what that was seen, or why it did not.
    pub(crate) because: String,
    /// What was launched, as arguments of commands.
    pub(crate) snapshots: Vec<String>,
    pub(crate) converted: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) target: Option<Target>,
    pub(crate) findings: Vec<String>,
    /// The end of the console, if the target did not come up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) console: Option<String>,
}

/// Whether a target came up, and what there is of it.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) came_up: bool,
    pub(crate) because: String,
    pub(crate) target: Option<Target>,
    pub(crate) console: Option<String>,
}

impl Arrived {
    /// As reports have it.
    fn reported(&self) -> report::Target {
        let target = self.target.as_ref();
        let volume = |name: &String| report::TargetVolume {
            name: name.clone(),
            ..report::TargetVolume::default()
        };
        report::Target {
            kind: match target.map(|target| target.place) {
                Some(Place::Local) => "local",
                Some(Place::Ec2) | None => "ec2",
            }
            .to_owned(),
            instance: target.and_then(|target| target.instance.clone()),
            image: target.and_then(|target| target.image.clone()),
            addresses: target.map_or_else(Vec::new, |target| target.addresses.clone()),
            volumes: target.map_or_else(Vec::new, |target| {
                target.volumes.iter().map(volume).collect()
            }),
            boot: Some(report::Boot {
                up: self.came_up,
                evidence: self.because.clone(),
                ..report::Boot::default()
            }),
            console: self
                .console
                .as_ref()
                .map(|console| report::Console::new(console.as_bytes())),
            ..report::Target::default()
        }
    }
}

/// What a machine was cut over to.
#[derive(Debug)]
pub(crate) struct Lives {
    pub(crate) id: String,
    /// Its instance, if that is still there.
    pub(crate) target: Option<Target>,
}

impl Lives {
    pub(crate) fn refusal(&self, machine: &str) -> String {
        format!(
            "{} is what the machine was cut over to, and stays; `rehost mark ready {machine}` allows its \
             removal",
            self.id
        )
    }
}

/// A launch under way.
pub(crate) struct Launch<'a> {
    pub(crate) migration: &'a Migration,
    pub(crate) machine: &'a Machine,
    pub(crate) request: &'a Request,
    pub(crate) terminal: &'a Terminal,
}

impl Launch<'_> {
    /// Launches the machine, or goes on with a launch that was stopped.
    pub(crate) fn run(&self, notes: &mut Notes) -> Result<Outcome> {
        let Request { kind, place, .. } = *self.request;
        let mut locked = self.migration.lock(&self.machine.name)?;
        if !locked.found {
            recover::record(self.migration, self.machine, &mut locked, self.terminal)?;
        }
        locked.record.state.launch(kind, self.request.untested)?;
        // Whatever can be known to be wrong is, before the earlier target is gone.
        let plan = match place {
            Place::Ec2 => Some(on_ec2::Plan::new(self)?),
            Place::Local => {
                let types = blueprint::types(self.request.args.instance_types.as_deref())?;
                self.migration.target_of(self.machine, &types)?;
                None
            }
        };
        if self.request.args.no_snapshot {
            recover::refresh(self.migration, self.machine, &mut locked, self.terminal)?;
            let Some(snapshot) = &locked.record.snapshot else {
                bail!(
                    "there is no snapshot to launch; leave --no-snapshot out, or `rehost replicate`"
                );
            };
            check_disks(self.machine, snapshot)?;
        }
        if let Some(plan) = &plan {
            self.know_size(plan, &mut locked)?;
        }
        // What was begun with other disks or another blueprint is given up. Where the record was lost
        // EC2 may remember more numbers than its tags tell.
        const MAX_NUMBERS: u32 = 20;
        for _ in 0..MAX_NUMBERS {
            let before = locked.record.running.clone();
            let running = locked.record.begin(kind, place, now());
            locked.save()?;
            let goes_on = before.as_ref() == Some(&running);
            match self.launch(&mut locked, &running, goes_on, plan.as_ref(), notes)? {
                Some(outcome) => return Ok(outcome),
                None => locked.record.running = None,
            }
        }
        bail!(
            "each launch is found to have been begun as another one; `rehost gc` lists what is there"
        )
    }

    /// Asks EC2 whether it would do it, with what was converted last.
    pub(super) fn dry_run(&self) -> Result<()> {
        let plan = on_ec2::Plan::new(self)?;
        let name = &self.machine.name;
        let mut record = match self.migration.record(name)? {
            Some(record) => record,
            None => {
                let mut record = Record::new(self.project(), name, now());
                recover::into(self.migration, self.machine, &mut record, self.terminal)?;
                record
            }
        };
        record
            .state
            .launch(self.request.kind, self.request.untested)?;
        let known = known_hardware(self.machine, &record);
        let Some(mut converted) = record.converted.clone() else {
            bail!(
                "nothing was converted yet that EC2 could be asked about; `rehost convert --project` does it"
            );
        };
        converted.source.set_hardware(known);
        let running = record.begin(self.request.kind, self.request.place, now());
        plan.dry_run(self, &running, &converted)
    }

    /// Sees that the size of the source is known, if the blueprint copies it.
    fn know_size(&self, plan: &on_ec2::Plan, locked: &mut Locked) -> Result<()> {
        if !plan.copies_size() {
            return Ok(());
        }
        let complete = |known: Hardware| known.vcpus.is_some() && known.memory_mib.is_some();
        if !complete(known_hardware(self.machine, &locked.record)) && !self.request.args.no_snapshot
        {
            let args = self.migration.replicate(self.machine);
            let told = replicate::told_hardware(&args, self.terminal)?;
            locked.record.hardware = told.or(locked.record.hardware);
        }
        if complete(known_hardware(self.machine, &locked.record)) {
            return Ok(());
        }
        let name = &self.machine.name;
        bail!(
            "the blueprint of {name} has `type: copy-origin`, and nothing tells the CPUs and the memory \
             of the source; write `hardware: {{vcpus: N, memoryMib: N}}` at {name} in the project file"
        )
    }

    /// The project's name.
    pub(super) fn project(&self) -> &str {
        &self.migration.project.metadata.name
    }

    /// One launch; `None` if what there is of it was begun as another one.
    fn launch(
        &self,
        locked: &mut Locked,
        running: &Running,
        goes_on: bool,
        plan: Option<&on_ec2::Plan>,
        notes: &mut Notes,
    ) -> Result<Option<Outcome>> {
        if let Some(lives) = self.remove(locked, running, plan, notes)? {
            return self.lives(locked, running, goes_on, lives, notes).map(Some);
        }
        self.snapshot(locked, notes)?;
        let converted = self.convert(locked, notes)?;
        let watch = notes.watch();
        let arrived = watch.step("launch the target", || match plan {
            Some(plan) => plan.launch(self, running, &converted),
            None => locally::launch(self, running, &converted).map(Some),
        })?;
        let Some(arrived) = arrived else {
            return Ok(None);
        };
        notes.machine.target = Some(arrived.reported());
        let outcome = self.end(locked, running, Some(converted), arrived);
        notes.machine.lifecycle = Some(locked.record.state.to_string());
        outcome.map(Some)
    }

    /// The earlier target of the same place goes.
    fn remove(
        &self,
        locked: &mut Locked,
        running: &Running,
        plan: Option<&on_ec2::Plan>,
        notes: &Notes,
    ) -> Result<Option<Lives>> {
        let name = &self.machine.name;
        let removed = notes
            .watch()
            .step("remove the earlier target", || match plan {
                Some(plan) => plan.remove_others(self, running),
                None => locally::remove(self.migration, name).map(|()| None),
            });
        let lives =
            removed.with_context(|| format!("the earlier target of {name} cannot be removed"))?;
        if lives.is_some() {
            return Ok(lives);
        }
        let targets = &mut locked.record.targets;
        targets.retain(|target| target.place != running.place || target.launch == running.launch);
        locked.save()?;
        Ok(None)
    }

    /// The machine was cut over already: by this very launch, which was stopped when all was done but
    /// to write that down, or by one that the record here does not know, which then is put right.
    fn lives(
        &self,
        locked: &mut Locked,
        running: &Running,
        goes_on: bool,
        lives: Lives,
        notes: &mut Notes,
    ) -> Result<Outcome> {
        let refusal = lives.refusal(&self.machine.name);
        let target = lives.target;
        let own = |target: &Target| {
            (target.kind, target.launch) == (Kind::Cutover, running.launch)
                && running.kind == Kind::Cutover
        };
        if goes_on && target.as_ref().is_some_and(own) {
            let arrived = Arrived {
                came_up: true,
                because: "its tags say that it had come up when the launch was stopped".to_owned(),
                target,
                console: None,
            };
            notes.machine.target = Some(arrived.reported());
            let converted = locked.record.converted.clone();
            let outcome = self.end(locked, running, converted, arrived);
            notes.machine.lifecycle = Some(locked.record.state.to_string());
            return outcome;
        }
        let record = &mut locked.record;
        record.running = None;
        record.enter(State::CutOver, now());
        record.targets.retain(|one| one.place != running.place);
        if let Some(target) = target {
            record.launches = record.launches.max(target.launch);
            record.targets.push(target);
        }
        locked.save()?;
        bail!(refusal);
    }

    fn snapshot(&self, locked: &mut Locked, notes: &mut Notes) -> Result<()> {
        if self.request.args.no_snapshot {
            return Ok(());
        }
        // Also where a launch goes on that was stopped: the source has lived since. What has not
        // changed makes no new snapshot.
        self.say("taking a snapshot");
        let args = self.migration.replicate(self.machine);
        let name = &self.machine.name;
        let taken = replicate::once(&args, name, notes, self.terminal);
        let taken = taken.with_context(|| format!("cannot take a snapshot of {name}"))?;
        let record = &mut locked.record;
        record.hardware = taken.hardware.or(record.hardware);
        record.snapshot = Some(self.migration.taken(&taken.outputs));
        Ok(locked.save()?)
    }

    fn convert(&self, locked: &mut Locked, notes: &mut Notes) -> Result<Converted> {
        self.say("converting it");
        let before = locked.record.converted.clone();
        let converted = convert_latest(self.migration, self.machine, locked, notes, self.terminal)?;
        self.drop_superseded(before.as_ref(), locked);
        Ok(converted)
    }

    /// Earlier conversions are of no use once there is a new one; that they stay is no failure.
    fn drop_superseded(&self, before: Option<&Converted>, locked: &Locked) {
        let targets = &locked.record.targets;
        if targets
            .iter()
            .any(|target| target.place != self.request.place)
        {
            // That one was made of an earlier conversion, and stays.
            return;
        }
        let known = before.map_or(&[][..], |before| &before.disks);
        let stay = locked.record.converted.as_ref();
        let stay = stay.map_or(&[][..], |converted| &converted.disks);
        let (migration, name) = (self.migration, &self.machine.name);
        let dropped = conversions::superseded(migration, name, known, stay, self.terminal)
            .and_then(|disks| conversions::remove(migration, &disks, self.terminal));
        if let Err(error) = dropped {
            let error = format!("{error:#}");
            tracing::warn!(machine = %name, %error, "earlier conversions stay; `rehost gc` lists them");
        }
    }

    fn end(
        &self,
        locked: &mut Locked,
        running: &Running,
        converted: Option<Converted>,
        arrived: Arrived,
    ) -> Result<Outcome> {
        let record = &mut locked.record;
        let Arrived {
            came_up,
            because,
            target,
            console,
        } = arrived;
        record.end(running, came_up, because.clone(), now());
        record
            .targets
            .retain(|target| target.place != running.place);
        record.targets.extend(target.clone());
        let findings = record.findings.clone();
        locked.save()?;
        let (snapshots, converted) = converted.map_or_else(Default::default, |converted| {
            (converted.from, converted.disks)
        });
        Ok(Outcome {
            machine: self.machine.name.clone(),
            kind: running.kind,
            place: running.place,
            launch: running.launch,
            came_up,
            because,
            snapshots,
            converted,
            target,
            findings,
            console,
        })
    }

    /// One line on stderr about what happens to the machine.
    pub(crate) fn say(&self, what: &str) {
        self.terminal.say(&self.machine.name, what);
    }
}

/// How large a machine is: as the project file says, else as its sources told.
fn known_hardware(machine: &Machine, record: &Record) -> Hardware {
    machine.hardware.unwrap_or_default().or(record.hardware)
}

/// Whether snapshots can be those of all disks. An archive holds any number of disks, but not none.
fn check_disks(machine: &Machine, snapshot: &Snapshot) -> Result<()> {
    let (has, wants) = (snapshot.disks.len(), machine.sources.len());
    if has < wants {
        bail!(
            "the last snapshots are of {has} disks, and the project file names {wants}; take new ones \
             (`rehost replicate`, or without --no-snapshot)"
        );
    }
    Ok(())
}

/// Converts a machine's last snapshots, unless that was done.
pub(super) fn convert_latest(
    migration: &Migration,
    machine: &Machine,
    locked: &mut Locked,
    notes: &mut Notes,
    terminal: &Terminal,
) -> Result<Converted> {
    let snapshot = locked.record.snapshot.clone();
    let snapshot =
        snapshot.context("there is no snapshot to convert; `rehost replicate` makes one")?;
    check_disks(machine, &snapshot)?;
    let args = migration.convert(machine, &snapshot.disks);
    let by = convert::digest(&args)?;
    // Converting a snapshot does not tell it.
    let hardware = known_hardware(machine, &locked.record);
    if let Some(last) = &mut locked.record.converted
        && last.from == snapshot.disks
        && last.by == by
        && conversions::exist(migration, &last.disks, terminal)
    {
        last.source.set_hardware(hardware);
        return Ok(last.clone());
    }
    let report = convert::one(&args, notes, terminal)?;
    let mut source = report.source.context("the guest was not converted")?;
    source.set_hardware(hardware);
    let converted = Converted {
        at: now(),
        from: snapshot.disks,
        by,
        disks: report
            .outputs
            .iter()
            .map(|output| migration.argument(&output.line()))
            .collect(),
        source,
    };
    locked.record.converted = Some(converted.clone());
    locked.record.findings = report
        .findings
        .into_iter()
        .map(|finding| finding.text)
        .collect();
    locked.save()?;
    Ok(converted)
}
