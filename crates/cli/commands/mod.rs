//! The subcommands: each resolves its options, makes one library call and renders the result.

mod blueprint;
mod browse;
mod compare;
pub(crate) mod convert;
mod copy;
mod diff;
mod diff_files;
mod gc;
mod iam_policy;
mod info;
mod inspect;
pub(crate) mod launch;
mod launch_machines;
mod manual;
mod map;
mod mark;
mod plan;
pub(crate) mod replicate;
mod rules;
mod snapshots;
mod status;

use crate::args::{Command, RuleArgs};
use crate::terminal::Terminal;
use ::convert::{NetworkMode, Options, Target};
use ::launch::blueprint::Blueprint;
use anyhow::Result;
use std::process::ExitCode;

pub(crate) fn run(command: Command, terminal: &Terminal) -> Result<ExitCode> {
    match command {
        Command::Inspect(args) => inspect::run(&args, terminal),
        Command::Plan(args) => plan::run(&args, terminal),
        Command::Convert(args) => convert::run(&args, terminal),
        Command::Blueprint(command) => blueprint::run(&command, terminal),
        Command::Copy(args) => copy::run(&args, terminal),
        Command::Info(args) => info::run(&args, terminal),
        Command::Map(args) => map::run(&args, terminal),
        Command::Compare(args) => compare::run(&args, terminal),
        Command::Diff(args) => diff::run(&args, terminal),
        Command::Replicate(args) => replicate::run(&args, terminal),
        Command::Launch(args) => launch::run(&args, terminal),
        Command::Status(args) => status::run(&args, terminal),
        Command::Test(args) => launch_machines::test(&args, terminal),
        Command::Cutover(args) => launch_machines::cutover(&args, terminal),
        Command::Mark(args) => mark::run(&args, terminal),
        Command::Gc(args) => gc::run(&args, terminal),
        Command::Snapshots(command) => snapshots::run(&command, terminal),
        Command::IamPolicy(args) => iam_policy::run(&args),
        Command::Rules(args) => rules::run(&args),
        Command::Ls(args) => browse::ls(&args, terminal),
        Command::Cat(args) => browse::cat(&args, terminal),
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { dir } => manual::man(&dir),
    }
}

/// What the rules are told: the command line goes first, then the blueprint.
fn options(args: &RuleArgs, blueprint: Option<&Blueprint>) -> Options {
    use crate::args::{NetworkArg, TargetArg};
    let mut options = Options {
        skip: args.skip.iter().cloned().collect(),
        initramfs_network: args.initramfs_network,
        ..Options::default()
    };
    if let Some(target) = args.target {
        options.target = match target {
            TargetArg::Nitro => Target::Nitro,
            TargetArg::Xen => Target::Xen,
            TargetArg::Both => Target::Both,
        };
    }
    if let Some(network) = args.network {
        options.network = match network {
            NetworkArg::Dhcp => NetworkMode::Dhcp,
            NetworkArg::Preserve => NetworkMode::Preserve,
            NetworkArg::Leave => NetworkMode::Leave,
        };
    }
    if let Some(blueprint) = blueprint {
        let conversion = &blueprint.conversion;
        conversion.complete(&mut options, args.target.is_some(), args.network.is_some());
    }
    options
}
