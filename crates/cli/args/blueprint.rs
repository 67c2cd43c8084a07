//! The commands about blueprints.

use super::SourceArgs;
use crate::size;
use clap::{Args, Subcommand, ValueHint};
use launch::blueprint::Hardware;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(crate) enum BlueprintCommand {
    /// Draft a blueprint from the disks of a machine
    ///
    /// The draft holds what the disks tell: firmware, architecture, disks with their sizes, an instance
    /// type that fits; and, in comments, what only you can know.
    #[command(
        after_help = "Examples:\n  rehost blueprint new web1.vmdk -o web1.yaml\n  rehost blueprint new os.qcow2 data.qcow2 --name db1 | tee db1.yaml"
    )]
    New(Box<NewArgs>),
    /// Check blueprints against the rules of EC2, without asking it
    ///
    /// All problems are printed at once, as FILE:LINE:COLUMN: FIELD: what is wrong; what to do. Several
    /// files are checked against each other too: no address and no interface twice.
    #[command(
        after_help = "Examples:\n  rehost blueprint check web1.yaml\n  rehost blueprint check --inspect machines/*.yaml\n  rehost blueprint check --json web1.yaml | jq '.[].problems'\n  aws ec2 describe-instance-types > types.json && rehost blueprint check --instance-types types.json web1.yaml\n\nExit status: 0 no errors (there may be warnings), 3 errors, others as for every command."
    )]
    Check(Box<CheckArgs>),
    /// Make blueprints out of those of CloudEndure, or out of a launch configuration of AWS MGN
    ///
    /// What has no counterpart is listed in comments at the top, and on stderr.
    #[command(
        after_help = "Examples:\n  rehost blueprint import cloudendure.json -o machines/\n  aws mgn get-launch-configuration --source-server-id s-… > mgn.json\n  aws ec2 describe-launch-template-versions --launch-template-id lt-… > lt.json\n  rehost blueprint import mgn.json --template lt.json > db1.yaml"
    )]
    Import(ImportArgs),
    /// Print the JSON Schema of blueprints, by which editors complete them
    #[command(
        after_help = "Examples:\n  rehost blueprint schema > blueprint.schema.json\n  and as the first line of a blueprint:\n  # yaml-language-server: $schema=blueprint.schema.json"
    )]
    Schema,
}

#[derive(Args, Debug)]
pub(crate) struct NewArgs {
    /// The disks of one machine in their order: image files, store:DIR#SNAPSHOT, or ebs:SNAPSHOT
    #[arg(required = true, value_name = "SRC", value_hint = ValueHint::FilePath)]
    pub(crate) sources: Vec<String>,
    /// The machine's name [default: the guest's own]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Write to FILE instead of stdout; disks are named from its directory then
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
    /// Replace FILE if it exists
    #[arg(long)]
    pub(crate) force: bool,
    /// Know these instance types: what `aws ec2 describe-instance-types` printed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) instance_types: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) hardware: HardwareArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

/// How large the source is, where its disks do not tell.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct HardwareArgs {
    /// The CPUs of the source [default: those that its OVA or OVF tells]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    vcpus: Option<u32>,
    /// The memory of the source, as 512M or 4G [default: what its OVA or OVF tells]
    #[arg(long, value_name = "SIZE", value_parser = size::parse_mib)]
    memory: Option<u32>,
}

impl HardwareArgs {
    pub(crate) fn hardware(self) -> Hardware {
        Hardware {
            vcpus: self.vcpus,
            memory_mib: self.memory.map(u64::from),
        }
    }
}

#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Blueprints, in YAML or JSON
    #[arg(required = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) files: Vec<PathBuf>,
    /// Know these instance types: what `aws ec2 describe-instance-types` printed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) instance_types: Option<PathBuf>,
    /// Look at the disks that the blueprints name too: architecture, firmware, sizes
    #[arg(long)]
    pub(crate) inspect: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) hardware: HardwareArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}

#[derive(Args, Debug)]
pub(crate) struct ImportArgs {
    /// A blueprint of CloudEndure or a list of them, or a launch configuration of MGN, in JSON
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,
    /// The EC2 launch template of the launch configuration, or its data, in JSON
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) template: Option<PathBuf>,
    /// Write to OUT instead of stdout; a directory, with MACHINE.yaml in it, for several
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
}
