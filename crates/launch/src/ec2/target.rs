//! What is launched, and what it became.

use crate::blueprint::{Blueprint, SourceFacts};
use crate::instances::Table;
use crate::lifecycle::Kind;
use serde::Serialize;

/// A target to launch.
#[derive(Clone, Copy, Debug)]
pub struct NewTarget<'a> {
    /// The project that the machine belongs to: 1 to 64 letters, digits, dots, dashes, underscores.
    pub project: &'a str,
    /// The machine: the same.
    pub machine: &'a str,
    /// What it is launched for.
    pub kind: Kind,
    /// The number of this launch of the machine. The same number is the same launch: what there is
    /// of it is continued, and never made twice.
    pub launch: u32,
    /// What the target is to be.
    pub blueprint: &'a Blueprint,
    /// What inspection found in the converted disks: architecture, firmware, addresses.
    pub source: &'a SourceFacts,
    /// The instance types that are known.
    pub types: &'a Table,
    /// The machine's disks, all of them, in any order; exactly one is the root.
    pub disks: &'a [TargetDisk<'a>],
}

/// A disk of the machine, as a snapshot.
#[derive(Clone, Copy, Debug)]
pub struct TargetDisk<'a> {
    /// Which one it is of the source, from 0; the blueprint's disk at that place is about it.
    pub number: usize,
    /// Its name at the source.
    pub name: &'a str,
    /// The converted snapshot.
    pub snapshot: &'a str,
    /// Its size in GiB, rounded up, 1 to 65536; the volume is that large, or as the blueprint says.
    pub size_gib: u32,
    /// Whether the guest boots from it.
    pub root: bool,
}

/// A target as it was launched.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Target {
    /// The instance.
    pub instance: String,
    /// Its image.
    pub image: String,
    /// What it was launched for.
    pub kind: Kind,
    /// The number of the launch.
    pub launch: u32,
    /// `running` or `stopped`.
    pub state: String,
    /// Its type.
    pub instance_type: String,
    /// Where it is.
    pub availability_zone: String,
    /// The primary address.
    pub private_ip: Option<String>,
    /// The public address, or Elastic IP address.
    pub public_ip: Option<String>,
    /// When it was launched: seconds since 1970.
    pub launched: Option<i64>,
    /// The volumes, by their device.
    pub volumes: Vec<Volume>,
    /// The interfaces, by their index.
    pub interfaces: Vec<Interface>,
}

/// A volume of an instance.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Volume {
    /// Its id.
    pub id: String,
    /// The device that it is mapped as.
    pub device: String,
    /// Whether it goes with the instance.
    pub delete_on_termination: bool,
}

/// An interface of an instance.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Interface {
    /// Its id.
    pub id: String,
    /// Its index.
    pub index: i32,
    /// The primary address first.
    pub private_ips: Vec<String>,
    /// IPv6 addresses.
    pub ipv6: Vec<String>,
    /// The public address, or Elastic IP address.
    pub public_ip: Option<String>,
}
