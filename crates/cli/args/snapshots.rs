//! The commands about snapshots.

use super::aws::{AwsArgs, UploadArgs};
use super::images::{PairArgs, format_names};
use super::migration::OfProjectArgs;
use super::report::RecordArgs;
use crate::duration;
use clap::{Args, Subcommand, ValueEnum, ValueHint};
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ReplicateArgs {
    /// The disks of one machine in their order: images, block devices, store:DIR#SNAPSHOT, or
    /// ebs:SNAPSHOT; with --project the names of machines
    #[arg(required_unless_present = "project", value_name = "SRC", value_hint = ValueHint::FilePath)]
    pub(crate) sources: Vec<String>,
    /// Where the snapshots go: store:DIR or ebs:
    #[arg(long, value_name = "HOME", value_hint = ValueHint::AnyPath, required_unless_present = "project")]
    pub(crate) to: Option<String>,
    #[command(flatten)]
    pub(crate) project: OfProjectArgs,
    /// The machine, by a name that stays [default: the first SRC without directory and ending]
    #[arg(long, value_name = "NAME", conflicts_with = "project")]
    pub(crate) machine: Option<String>,
    /// Read only what this file lists as changed since the last snapshot; once for each disk
    ///
    /// Lines of START LENGTH in bytes, or a JSON array of objects with `start` and `length`, as
    /// `rehost map`, `rehost diff` and `qemu-img map` print it. Whatever changed since the last
    /// snapshot has to be in it: the rest is taken from there unread.
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "project")]
    pub(crate) changed: Vec<PathBuf>,
    /// Read only what this dirty bitmap in the qcow2 images says was written since the last snapshot
    ///
    /// Of a machine's disks those that have no bitmap of this name are read as without it; one has
    /// to have it. The bitmap must have been made, or cleared, when the last snapshot was taken, and
    /// every program that wrote to the image since must know bitmaps. It is only read here: clear it
    /// with `qemu-img bitmap --clear` afterwards.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["changed", "project"])]
    pub(crate) bitmap: Option<String>,
    /// Read all of the disks, even where the layers of an image tell what cannot have changed
    #[arg(long, conflicts_with_all = ["changed", "bitmap"])]
    pub(crate) read_all: bool,
    /// Start a new chain: compare with no snapshot
    #[arg(long, conflicts_with_all = ["changed", "bitmap"])]
    pub(crate) full: bool,
    /// Go on for ever, a round every 90s, 3m, 2h or 1d
    #[arg(long, value_name = "TIME", value_parser = duration::parse, conflicts_with_all = ["changed", "bitmap", "full"])]
    pub(crate) every: Option<Duration>,
    /// Also read disks that this host has mounted for writing, or uses as swap
    #[arg(long)]
    pub(crate) allow_mounted: bool,
    /// Take the sources for this format instead of looking at their content
    #[arg(long, value_name = "FORMAT", value_parser = format_names())]
    pub(crate) format: Option<String>,
    /// Also open files that an image names if they are below DIR; else only beside the image
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) allow_path: Vec<PathBuf>,
    /// Do not compare the files of an OVA or OVF with its manifest before
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Print a report as JSON; with --every one for each round
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
    #[command(flatten)]
    pub(crate) upload: UploadArgs,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotsCommand {
    /// List the snapshots of a store, or those in EBS that rehost made
    #[command(
        after_help = "Examples:\n  rehost snapshots list store:/srv/rehost\n  rehost snapshots list ebs: --machine web1 --region eu-west-1\n  rehost snapshots list --json store:/srv/rehost | jq -r '.[] | select(.role == \"converted\").id'"
    )]
    List {
        /// store:DIR, or ebs:
        #[arg(value_name = "STORE")]
        store: String,
        /// Only those of this machine
        #[arg(long, value_name = "NAME")]
        machine: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        aws: AwsArgs,
    },
    /// Show what is known about a snapshot, and which regions of the disk changed
    #[command(
        after_help = "Examples:\n  rehost snapshots show store:/srv/rehost#snap-0123456789abcdef0\n  rehost snapshots show --json store:/srv/rehost#latest:web1 | jq -r .id\n  rehost snapshots show ebs:snap-0123456789abcdef0\n\nA snapshot of a store is named by its id or the beginning of it, or as latest:MACHINE[:DISK], the\nstaging snapshot that the next one is made from, or converted:MACHINE[:DISK], the last converted one."
    )]
    Show {
        /// store:DIR#SNAPSHOT, or ebs:SNAPSHOT
        snapshot: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        aws: AwsArgs,
    },
    /// Remove snapshots
    ///
    /// All that are named are removed, or none; others stay as they are. What only these needed
    /// stays in a store until `rehost snapshots gc`. In EBS only what rehost made is removed.
    #[command(
        after_help = "Examples:\n  rehost snapshots rm store:/srv/rehost#snap-0123456789abcdef0\n  rehost snapshots rm ebs:snap-0123456789abcdef0 ebs:snap-0fedcba9876543210"
    )]
    Rm {
        /// store:DIR#SNAPSHOT, or ebs:SNAPSHOT
        #[arg(required = true, value_name = "SNAPSHOT")]
        snapshots: Vec<String>,
        /// Also remove a snapshot that others were made from; these stay whole
        #[arg(long)]
        keep_children: bool,
        #[command(flatten)]
        aws: AwsArgs,
    },
    /// Remove what no snapshot of a store needs, or uploads to EBS that were never completed
    ///
    /// In a store: waits until nobody writes to it. In EBS: removes what rehost began and nobody
    /// completed for a while. An interrupted upload can be continued until then, and the account
    /// allows a hundred of them at a time.
    #[command(
        after_help = "Examples:\n  rehost snapshots gc store:/srv/rehost\n  rehost snapshots gc ebs: --dry-run\n  rehost snapshots gc ebs: --older-than 12h"
    )]
    Gc {
        /// store:DIR, or ebs:
        #[arg(value_name = "STORE")]
        store: String,
        /// Uploads to EBS that were begun longer ago: 90s, 3m, 2h or 1d [default: 4d]
        ///
        /// One that is still running may be among them, if this is shorter than it takes.
        #[arg(long, value_name = "TIME", value_parser = duration::parse)]
        older_than: Option<Duration>,
        /// List the uploads to EBS that would be removed, and remove none
        #[arg(long)]
        dry_run: bool,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        aws: AwsArgs,
    },
    /// Read and check everything in a store
    #[command(
        after_help = "Example:\n  rehost snapshots fsck store:/srv/rehost || echo damaged\n\nExit status: 0 all is well, 4 something is damaged or missing, others as for every command."
    )]
    Fsck {
        /// The store: store:DIR
        store: String,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args, Debug)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    pub(crate) pair: PairArgs,
    /// List the files of the guest that differ, and what else does, instead of ranges
    #[arg(long)]
    pub(crate) files: bool,
    /// Print JSON: an array with an object for each range; with --files an object
    #[arg(long)]
    pub(crate) json: bool,
}

/// What IAM has to allow.
#[derive(Args, Debug)]
pub(crate) struct IamPolicyArgs {
    /// What is done [default: all of it]
    #[arg(value_enum, value_name = "COMMAND")]
    commands: Vec<PolicyFor>,
    /// The key that snapshots and volumes are encrypted with, by its full ARN
    #[arg(long, value_name = "ARN")]
    pub(crate) kms_key: Option<String>,
    /// The role in the targets' instance profile, by its full ARN
    #[arg(long, value_name = "ARN")]
    pub(crate) role: Option<String>,
    /// A network interface that a blueprint names (`eniId`)
    #[arg(long, value_name = "ID")]
    pub(crate) interface: Vec<String>,
    /// An Elastic IP address that a blueprint names (`eipAllocationId`)
    #[arg(long, value_name = "ID")]
    pub(crate) address: Vec<String>,
}

/// Commands by what they ask of AWS.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum PolicyFor {
    /// replicate --to ebs:
    Replicate,
    /// convert with ebs: on either side
    Convert,
    /// copy SRC ebs:
    Copy,
    /// Everything that reads ebs:SNAPSHOT: inspect, plan, info, map, ls, cat, compare, copy to a file
    Read,
    /// diff of two snapshots
    Diff,
    /// snapshots list, show, rm and gc
    Snapshots,
    /// test, --dry-run and mark too
    Test,
    /// cutover, --dry-run and mark too
    Cutover,
    /// status of a project
    Status,
    /// gc of a project
    Gc,
}

impl IamPolicyArgs {
    pub(crate) fn commands(&self) -> &[PolicyFor] {
        if self.commands.is_empty() {
            PolicyFor::value_variants()
        } else {
            &self.commands
        }
    }
}
