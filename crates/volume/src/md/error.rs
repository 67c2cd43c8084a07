//! Why an array cannot be used, and what is odd about one that can.

use super::Version;
use thiserror::Error;

/// How a superblock is damaged. Positions are bytes of the device.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Damage {
    /// Its checksum is wrong.
    #[error("checksum of the RAID superblock of version {version} at byte {at} is wrong")]
    Checksum {
        /// Version by its place.
        version: Version,
        /// Where it is.
        at: u64,
    },
    /// It has fields that cannot be.
    #[error("the RAID superblock of version {version} at byte {at} has no possible {field}")]
    Field {
        /// Version by its place.
        version: Version,
        /// Where it is.
        at: u64,
        /// Name of the field.
        field: &'static str,
    },
    /// Features that are not known, or not supported.
    #[error("the array uses {0}, which is not supported")]
    Feature(&'static str),
}

/// What is odd about an array that can be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum Finding {
    /// A member is behind the others: written, and not read.
    #[error(
        "{member} is a stale member of the array {array} ({events} events instead of {newest}): \
         it is written and not read; fill it anew afterwards (mdadm --zero-superblock, then --add)"
    )]
    Stale {
        /// Name of the array.
        array: String,
        /// The device.
        member: String,
        /// Its events.
        events: u64,
        /// Those of the freshest member.
        newest: u64,
    },
    /// Members are not there.
    #[error(
        "the array {array} lacks member {slot} of {slots}: if its disk exists, it has to be added \
         anew after a conversion (mdadm --zero-superblock, then --add)"
    )]
    Missing {
        /// Name of the array.
        array: String,
        /// The first that is missing, from 0.
        slot: u32,
        /// Members of the whole array.
        slots: u32,
    },
    /// A member is being filled.
    #[error("{member} of the array {array} is being rebuilt: it is written, but not read")]
    Rebuilding {
        /// Name of the array.
        array: String,
        /// The device.
        member: String,
    },
    /// The array was in use.
    #[error("the array {array} was not stopped: its members may differ, the first counts")]
    Unclean {
        /// Name of the array.
        array: String,
    },
}

/// Why an array cannot be put together.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// Its members contradict each other.
    #[error("{first} and {second} disagree about the {field} of the array")]
    Disagreement {
        /// One member.
        first: String,
        /// The other.
        second: String,
        /// What they disagree about.
        field: &'static str,
    },
    /// Two devices say that they are one member.
    #[error("{first} and {second} both say that they are member {slot} of the array")]
    DuplicateMember {
        /// One device.
        first: String,
        /// The other.
        second: String,
        /// Number of the member.
        slot: u32,
    },
    /// A level that is not read.
    #[error("the array is of level {0}, which is not supported")]
    Level(super::Level),
    /// Something legal that is not read.
    #[error("the array has {0}, which is not supported")]
    Unsupported(&'static str),
    /// Too few members are there.
    #[error("the array lacks member {slot} of {slots}, without which it cannot be read")]
    TooFew {
        /// The first that is missing, from 0.
        slot: u32,
        /// Members of the whole array.
        slots: u32,
    },
    /// The superblocks describe nothing that can be.
    #[error("the array cannot be: {0}")]
    Wrong(String),
}
