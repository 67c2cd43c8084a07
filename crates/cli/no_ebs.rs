//! In the place of `ebs.rs` in a build without the feature `aws`: nothing of it can exist.

use crate::args::{AwsArgs, PolicyFor, UploadArgs};
use crate::exit::Blame;
use crate::facts::Facts;
use crate::since::Last;
use crate::snapshot_home::{New, Role};
use crate::terminal::Terminal;
use anyhow::{Error, Result, bail};
use block::{BlockRead, Extent};
use serde::Serialize;
use std::ops::Range;
use std::time::Duration;
use store::SourceState;

#[derive(Clone, Debug, Default)]
pub(crate) struct Connection;

#[derive(Debug)]
pub(crate) enum Snapshot {}

#[derive(Debug)]
pub(crate) enum Home {}

#[derive(Debug)]
pub(crate) enum Parent {}

#[derive(Debug)]
pub(crate) enum Set {}

#[derive(Debug, Serialize)]
pub(crate) enum Made {}

const ABSENT: &str = "this build of rehost has no AWS support; build it with the feature `aws`, which is on by default";

pub(crate) fn open(_: &str, args: &AwsArgs, _: &Terminal) -> Result<Snapshot> {
    let Connection = args.connection;
    bail!(ABSENT)
}

pub(crate) fn latest(_: &str, _: &str, _: &AwsArgs, _: &Terminal) -> Result<Vec<Facts>> {
    bail!(ABSENT)
}

pub(crate) fn converted(
    _: &str,
    _: Option<&str>,
    _: &AwsArgs,
    _: &Terminal,
) -> Result<Vec<(String, String)>> {
    bail!(ABSENT)
}

impl Snapshot {
    pub(crate) fn of(&self) -> Option<(String, String)> {
        match *self {}
    }

    pub(crate) fn as_parent(&self, _: &[Range<u64>], _: &Terminal) -> Result<Parent> {
        match *self {}
    }

    pub(crate) fn diff(&self, _: &Self) -> Result<Option<Vec<Range<u64>>>> {
        match *self {}
    }
}

impl BlockRead for Snapshot {
    fn size(&self) -> u64 {
        match *self {}
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), block::Error> {
        match *self {}
    }

    fn extent_at(&self, _: u64) -> Result<Extent, block::Error> {
        match *self {}
    }
}

impl Home {
    pub(crate) fn open(_: &AwsArgs, _: &UploadArgs) -> Result<Self> {
        bail!(ABSENT)
    }

    pub(crate) fn begin(&self, _: Role, _: &[&str]) -> Result<Set> {
        match *self {}
    }

    pub(crate) fn latest(&self, _: &str, _: &str, _: &Terminal) -> Result<Option<Parent>> {
        match *self {}
    }

    pub(crate) fn last(&self, _: &Parent) -> Last {
        match *self {}
    }

    pub(crate) fn source_of(&self, _: &str) -> Option<String> {
        match *self {}
    }

    pub(crate) fn keep_source(&self, _: &Made, _: &SourceState) -> Result<()> {
        match *self {}
    }

    pub(crate) fn write(
        &self,
        _: &Set,
        _: &New<'_>,
        _: Option<&Parent>,
        _: &Terminal,
    ) -> Result<Made> {
        match *self {}
    }
}

impl Set {
    pub(crate) fn end(self) -> Result<()> {
        match self {}
    }
}

impl Made {
    pub(crate) fn id(&self) -> &str {
        match *self {}
    }

    pub(crate) fn disk(&self) -> &str {
        match *self {}
    }

    pub(crate) fn put_blocks(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn made(&self) -> bool {
        match *self {}
    }

    pub(crate) fn parent(&self) -> Option<&str> {
        match *self {}
    }

    pub(crate) fn region(&self) -> &str {
        match *self {}
    }

    pub(crate) fn read(&self) -> u64 {
        match *self {}
    }

    pub(crate) fn settle(&self) {
        match *self {}
    }

    pub(crate) fn remove(&self) {
        match *self {}
    }
}

pub(crate) fn is_interruption(_: &(dyn std::error::Error + 'static)) -> bool {
    false
}

pub(crate) fn blame(_: &(dyn std::error::Error + 'static)) -> Option<Blame> {
    None
}

pub(crate) fn may_pass(_: &Error) -> bool {
    false
}

pub(crate) fn list(_: Option<&str>, _: &AwsArgs, _: &Terminal) -> Result<Vec<Facts>> {
    bail!(ABSENT)
}

pub(crate) fn describe(_: &str, _: &AwsArgs, _: &Terminal) -> Result<Facts> {
    bail!(ABSENT)
}

pub(crate) fn changed(_: &Facts, _: &AwsArgs, _: &Terminal) -> Result<Option<Vec<Range<u64>>>> {
    bail!(ABSENT)
}

pub(crate) fn remove(_: &[String], _: bool, _: &AwsArgs, _: &Terminal) -> Result<()> {
    bail!(ABSENT)
}

pub(crate) fn abandoned(_: Duration, _: &AwsArgs, _: &Terminal) -> Result<Vec<Facts>> {
    bail!(ABSENT)
}

pub(crate) fn policy(_: &[PolicyFor], _: Option<&str>) -> Result<serde_json::Value> {
    bail!(ABSENT)
}
