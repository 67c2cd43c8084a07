//! In the place of `on_ec2.rs` in a build without the feature `aws`: nothing of it can exist.

use super::Migration;
use super::launch::{Arrived, Launch, Lives};
use crate::args::IamPolicyArgs;
use crate::terminal::Terminal;
use ::launch::lifecycle::State;
use ::launch::project::Machine;
use ::launch::record::{Converted, Record, Running};
use anyhow::{Result, bail};
use std::collections::BTreeSet;

#[derive(Debug)]
pub(crate) enum Plan {}

#[derive(Debug)]
pub(crate) enum Stray {}

const ABSENT: &str = "this build of rehost has no AWS support, so it launches locally alone (--local); build it with the feature `aws`, which is on by default";

impl Plan {
    pub(crate) fn new(_: &Launch<'_>) -> Result<Self> {
        bail!(ABSENT)
    }

    pub(crate) fn copies_size(&self) -> bool {
        match *self {}
    }

    pub(crate) fn remove_others(&self, _: &Launch<'_>, _: &Running) -> Result<Option<Lives>> {
        match *self {}
    }

    pub(crate) fn launch(
        &self,
        _: &Launch<'_>,
        _: &Running,
        _: &Converted,
    ) -> Result<Option<Arrived>> {
        match *self {}
    }

    pub(crate) fn dry_run(&self, _: &Launch<'_>, _: &Running, _: &Converted) -> Result<()> {
        match *self {}
    }
}

/// What is allowed for snapshots cannot be told either, and says why.
pub(crate) fn policy(_: &IamPolicyArgs) -> Vec<serde_json::Value> {
    Vec::new()
}

pub(crate) fn recover(_: &Migration, _: &Machine, _: &mut Record, _: &Terminal) -> Result<()> {
    bail!(ABSENT)
}

/// No target can be there whose tags had to be set.
pub(crate) fn mark(_: &Migration, _: &mut Record, _: State, _: &Terminal) -> Result<()> {
    Ok(())
}

pub(crate) fn strays(
    _: &Migration,
    _: &dyn Fn(&str, u32) -> bool,
    _: &Terminal,
) -> Result<(Vec<Stray>, BTreeSet<String>)> {
    bail!(ABSENT)
}

pub(crate) fn remove_strays(_: &Migration, strays: &[&Stray], _: &Terminal) -> Result<()> {
    match strays.first() {
        Some(stray) => match **stray {},
        None => Ok(()),
    }
}

pub(crate) fn is_interruption(_: &(dyn std::error::Error + 'static)) -> bool {
    false
}

impl Stray {
    pub(crate) fn launch(&self) -> Option<u32> {
        match *self {}
    }

    pub(crate) fn facts(&self) -> (&str, &str, &'static str) {
        match *self {}
    }
}
