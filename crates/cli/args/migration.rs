//! The commands about the machines of a project file.

use super::aws::AwsArgs;
use super::launch::LocalArgs;
use crate::duration;
use clap::{Args, ValueEnum, ValueHint};
use launch::shard::ShardChoice;
use std::path::PathBuf;
use std::time::Duration;

/// Which machines, and where they are described.
#[derive(Args, Clone, Debug)]
pub(crate) struct ProjectArgs {
    /// The file that names the machines
    #[arg(long, value_name = "FILE", default_value = "rehost.yaml", value_hint = ValueHint::FilePath)]
    pub(crate) project: PathBuf,
    /// Of the machines only every N-th from the I-th on; `auto` takes I and N from the batch system
    #[arg(long, value_name = "I/N")]
    pub(crate) shard: Option<ShardChoice>,
    /// Work on so many machines at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

/// The machines of a project, where a command can do without one.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct OfProjectArgs {
    /// Work on the machines of this project file, as it says
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) project: Option<PathBuf>,
    /// Of the machines only every N-th from the I-th on; `auto` takes I and N from the batch system
    #[arg(long, value_name = "I/N", requires = "project")]
    pub(crate) shard: Option<ShardChoice>,
    /// Work on so many machines of a project at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) jobs: u16,
}

impl OfProjectArgs {
    /// As the commands take it that need a project.
    pub(crate) fn required(&self, aws: &AwsArgs) -> Option<ProjectArgs> {
        Some(ProjectArgs {
            project: self.project.clone()?,
            shard: self.shard,
            jobs: self.jobs,
            aws: aws.clone(),
        })
    }
}

/// How targets of machines are launched, whatever for.
#[derive(Args, Clone, Debug)]
pub(crate) struct TargetArgs {
    /// The machines [default: all of the project]
    #[arg(value_name = "MACHINE")]
    pub(crate) machines: Vec<String>,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    /// Launch the last snapshots; take no new ones
    #[arg(long)]
    pub(crate) no_snapshot: bool,
    /// Ask EC2 whether it would do it, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Write the JSON report of each machine into DIR [default: beside the records]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) report: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    /// Also remove an earlier target that is protected from termination
    #[arg(long)]
    pub(crate) lift_protection: bool,
    /// Know these instance types: what `aws ec2 describe-instance-types` printed
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) instance_types: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct TestArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Launch in QEMU on this host instead of on EC2
    #[arg(long, conflicts_with_all = ["dry_run", "lift_protection"])]
    pub(crate) local: bool,
    #[command(flatten)]
    pub(crate) hardware: LocalArgs,
}

#[derive(Args, Clone, Debug)]
pub(crate) struct CutoverArgs {
    #[command(flatten)]
    pub(crate) target: TargetArgs,
    /// Cut over machines of which no test has come up, too
    #[arg(long)]
    pub(crate) untested: bool,
}

#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// The machines [default: all of the project]
    #[arg(value_name = "MACHINE")]
    pub(crate) machines: Vec<String>,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
    /// Do not look at the disks, nor ask AWS: what the state directory says
    #[arg(long)]
    pub(crate) offline: bool,
    /// Look again every 90s, 3m, 2h or 1d
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "10s", value_parser = duration::parse)]
    pub(crate) watch: Option<Duration>,
    /// Print JSON; with --watch one value for each look
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct MarkArgs {
    /// Where they are
    pub(crate) state: MarkedState,
    /// The machines
    #[arg(required = true, value_name = "MACHINE")]
    pub(crate) machines: Vec<String>,
    #[command(flatten)]
    pub(crate) project: ProjectArgs,
}

/// What can be marked by hand.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum MarkedState {
    /// Launches are allowed again; a launch that was begun is given up
    Ready,
    /// A test was looked at and is good
    Tested,
    /// The machine lives on EC2 now: no launch touches it
    CutOver,
}

#[derive(Args, Debug)]
pub(crate) struct GcArgs {
    /// The file that names the machines
    #[arg(long, value_name = "FILE", default_value = "rehost.yaml", value_hint = ValueHint::FilePath)]
    pub(crate) project: PathBuf,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
    /// Remove what is listed
    #[arg(long)]
    pub(crate) remove: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl GcArgs {
    /// As the commands take it that work on machines: all of them, for what belongs to nobody is not
    /// divided.
    pub(crate) fn whole_project(&self) -> ProjectArgs {
        ProjectArgs {
            project: self.project.clone(),
            shard: None,
            jobs: 1,
            aws: self.aws.clone(),
        }
    }
}
