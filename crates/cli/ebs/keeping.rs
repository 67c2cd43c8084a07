//! Looking after snapshots in EBS: finding, describing and removing them.

use super::{GIB, connect};
use crate::args::{AwsArgs, PolicyFor};
use crate::facts::Facts;
use crate::terminal::Terminal;
use anyhow::{Context, Result, bail};
use block::{BlockRead, ExtentKind};
use ebs::{SnapshotInfo, State, Use, tag};
use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

/// Every snapshot that rehost made, or those of one machine, the latest first.
pub(crate) fn list(
    machine: Option<&str>,
    aws: &AwsArgs,
    terminal: &Terminal,
) -> Result<Vec<Facts>> {
    let ebs = connect(aws)?;
    let mut tags = vec![(tag::TOOL, tag::TOOL_VALUE)];
    tags.extend(machine.map(|machine| (tag::MACHINE, machine)));
    let found = ebs.find(&tags, &terminal.interrupt);
    let found = found.with_context(|| format!("cannot list snapshots in {}", ebs.region()))?;
    Ok(found.iter().map(facts).collect())
}

/// What is known about one snapshot.
pub(crate) fn describe(id: &str, aws: &AwsArgs, terminal: &Terminal) -> Result<Facts> {
    let ebs = connect(aws)?;
    let info = ebs.info(id, &terminal.interrupt);
    let info = info.with_context(|| format!("cannot look at {id} in {}", ebs.region()))?;
    Ok(facts(&info))
}

/// The last staging snapshots of a machine of a project, in the order of its disks, up to the first
/// disk that has none.
pub(crate) fn latest(
    project: &str,
    machine: &str,
    aws: &AwsArgs,
    terminal: &Terminal,
) -> Result<Vec<Facts>> {
    let ebs = connect(aws)?;
    let mut disks = Vec::new();
    for number in 1_usize.. {
        let (number, role) = (number.to_string(), ebs::Role::Staging);
        let latest = ebs.latest(project, machine, &number, role, &terminal.interrupt);
        let latest =
            latest.with_context(|| format!("cannot list snapshots in {}", ebs.region()))?;
        let Some(latest) = latest else { break };
        disks.push(facts(&latest));
    }
    Ok(disks)
}

/// What conversions of a project's machines made, or of one machine: the machine and the snapshot.
pub(crate) fn converted(
    project: &str,
    machine: Option<&str>,
    aws: &AwsArgs,
    terminal: &Terminal,
) -> Result<Vec<(String, String)>> {
    let ebs = connect(aws)?;
    let mut tags = vec![
        (tag::TOOL, tag::TOOL_VALUE),
        (tag::PROJECT, project),
        (tag::ROLE, ebs::Role::Converted.as_str()),
    ];
    tags.extend(machine.map(|machine| (tag::MACHINE, machine)));
    let found = ebs.find(&tags, &terminal.interrupt);
    let found = found.with_context(|| format!("cannot list snapshots in {}", ebs.region()))?;
    let of = |info: SnapshotInfo| {
        (
            info.tag(tag::MACHINE).unwrap_or_default().to_owned(),
            info.id,
        )
    };
    Ok(found.into_iter().map(of).collect())
}

/// Where a completed snapshot differs from its parent, or what it holds without one; `None` if the
/// parent was removed.
pub(crate) fn changed(
    of: &Facts,
    aws: &AwsArgs,
    terminal: &Terminal,
) -> Result<Option<Vec<Range<u64>>>> {
    let ebs = connect(aws)?;
    let Facts { id, parent, .. } = of;
    let Some(parent) = parent else {
        let snapshot = ebs.open(id, &terminal.interrupt);
        return Ok(Some(data(
            &snapshot.with_context(|| format!("cannot list the blocks of {id}"))?,
        )?));
    };
    match ebs.changed(parent, id, &terminal.interrupt) {
        Ok(ranges) => Ok(Some(ranges)),
        Err(ebs::Error::NoSnapshot(_)) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot compare {id} with {parent}")),
    }
}

/// The ranges of a disk that are data.
fn data(disk: &dyn BlockRead) -> Result<Vec<Range<u64>>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    let mut at = 0;
    while at < disk.size() {
        let extent = disk.extent_at(at)?;
        let end = extent.range.end.max(at.saturating_add(1));
        if extent.kind == ExtentKind::Data {
            match ranges.last_mut() {
                Some(last) if last.end == at => last.end = end,
                _ => ranges.push(at..end),
            }
        }
        at = end;
    }
    Ok(ranges)
}

/// Removes snapshots, or none of them: only what rehost made, and what others were made from only
/// if they go too or `keep_children` says so.
pub(crate) fn remove(
    ids: &[String],
    keep_children: bool,
    aws: &AwsArgs,
    terminal: &Terminal,
) -> Result<()> {
    let ebs = connect(aws)?;
    for id in ids {
        if !describe(id, aws, terminal)?.ours {
            bail!(
                "{id} was not made by rehost (it has no tag {}={}); remove it with AWS's own tools",
                tag::TOOL,
                tag::TOOL_VALUE
            );
        }
        if keep_children {
            continue;
        }
        let children = ebs.find(&[(tag::PARENT, id)], &terminal.interrupt)?;
        if let Some(child) = children.iter().find(|child| !ids.contains(&child.id)) {
            bail!(
                "{} was made from {id}: remove it too, or give --keep-children (it stays whole)",
                child.id
            );
        }
    }
    for id in ids {
        let removed = ebs.delete(id, &terminal.interrupt);
        removed.with_context(|| format!("cannot remove {id} in {}", ebs.region()))?;
    }
    Ok(())
}

/// Uploads that were begun longer than `age` ago and are still not complete.
pub(crate) fn abandoned(age: Duration, aws: &AwsArgs, terminal: &Terminal) -> Result<Vec<Facts>> {
    let ebs = connect(aws)?;
    let found = ebs.abandoned(&[], age, &terminal.interrupt);
    let found = found.with_context(|| format!("cannot list snapshots in {}", ebs.region()))?;
    Ok(found.iter().map(facts).collect())
}

/// The least policy for what the commands do with snapshots.
pub(crate) fn policy(commands: &[PolicyFor], kms_key: Option<&str>) -> Result<serde_json::Value> {
    let uses: Vec<Use> = commands
        .iter()
        .flat_map(|command| match command {
            // Without the index of the parent, that one is read.
            PolicyFor::Replicate => &[Use::Write, Use::List, Use::Read, Use::Remove][..],
            PolicyFor::Convert => &[Use::Write, Use::List, Use::Read, Use::Remove],
            // They replicate and convert.
            PolicyFor::Test | PolicyFor::Cutover => {
                &[Use::Write, Use::List, Use::Read, Use::Remove]
            }
            // A source may be a snapshot.
            PolicyFor::Status => &[Use::List, Use::Read],
            PolicyFor::Gc => &[Use::List, Use::Remove],
            PolicyFor::Copy => &[Use::Write, Use::List, Use::Read, Use::Remove],
            PolicyFor::Read => &[Use::Read],
            PolicyFor::Diff => &[Use::Diff, Use::Read],
            PolicyFor::Snapshots => &[Use::List, Use::Diff, Use::Read, Use::Remove],
        })
        .copied()
        .collect();
    Ok(ebs::iam_policy(&uses, kms_key))
}

fn facts(info: &SnapshotInfo) -> Facts {
    let tag_of = |key| info.tag(key).map(str::to_owned);
    let size = info.tag(tag::SIZE).and_then(|size| size.parse().ok());
    let started = info.started.duration_since(UNIX_EPOCH);
    Facts {
        machine: tag_of(tag::MACHINE).unwrap_or_default(),
        disk: tag_of(tag::DISK).unwrap_or_default(),
        role: tag_of(tag::ROLE).unwrap_or_default(),
        id: info.id.clone(),
        parent: tag_of(tag::PARENT).filter(|parent| !parent.is_empty()),
        set: tag_of(tag::SET).filter(|set| !set.is_empty()),
        created: started.map_or(0, |since| since.as_secs()),
        virtual_size: size.unwrap_or(u64::from(info.volume_size).saturating_mul(GIB)),
        state: match &info.state {
            State::Pending => "pending",
            State::Completed => "completed",
            State::Error => "error",
            State::Other(name) => name,
        }
        .to_owned(),
        encrypted: info.encrypted,
        description: info.description.clone(),
        message: info.message.clone(),
        ours: info.tag(tag::TOOL) == Some(tag::TOOL_VALUE),
    }
}
