//! Launching a target.

use super::{RecordArgs, SourceArgs};
use crate::{duration, size};
use clap::{Args, ValueEnum, ValueHint};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Args, Debug)]
pub(crate) struct LaunchArgs {
    /// The disks of the target in their order: store:DIR#SNAPSHOT, ebs:SNAPSHOT, or image files
    #[arg(required = true, value_name = "SNAPSHOT", value_hint = ValueHint::FilePath)]
    pub(crate) images: Vec<String>,
    /// Launch on this machine, in QEMU
    #[arg(long, required = true)]
    pub(crate) local: bool,
    /// Take the machine's name, firmware, memory and CPUs from this blueprint (YAML or JSON)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) blueprint: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) machine: LocalArgs,
    /// Print a report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
}

const HEADING: &str = "Local target";

/// What a local target runs on, and how long.
#[derive(Args, Clone, Debug)]
pub(crate) struct LocalArgs {
    /// The instruction set; auto: what the guest's programs are made for, else x86_64
    #[arg(long, value_enum, default_value_t = ArchArg::Auto, requires = "local", help_heading = HEADING)]
    pub(crate) arch: ArchArg,
    /// What starts the boot loader; auto: what the blueprint says, else what the disks boot with
    #[arg(long, value_enum, default_value_t = FirmwareArg::Auto, requires = "local", help_heading = HEADING)]
    pub(crate) firmware: FirmwareArg,
    /// Memory, as 512M or 4G [default: that of the blueprint's instance type, else 2G]
    ///
    /// At most three quarters of what the host has free are given.
    #[arg(long, value_name = "SIZE", value_parser = size::parse_mib, requires = "local", help_heading = HEADING)]
    pub(crate) memory: Option<u32>,
    /// CPUs [default: those of the blueprint's instance type, else 2]; at most those of the host
    #[arg(long, value_name = "N", requires = "local", help_heading = HEADING)]
    pub(crate) cpus: Option<NonZeroU32>,
    /// The network interface, which stands for EC2's; nobody is reached through it
    #[arg(long, value_enum, default_value_t = NicArg::Virtio, requires = "local", help_heading = HEADING)]
    pub(crate) nic: NicArg,
    /// What runs the target; auto: KVM if the target's kernel runs on it, else emulation
    #[arg(long, value_enum, default_value_t = AccelArg::Auto, requires = "local", help_heading = HEADING)]
    pub(crate) accel: AccelArg,
    /// How long the target may take [default: 5m, under emulation 20m, and less if it does nothing]
    #[arg(long, value_name = "TIME", value_parser = duration::parse, requires = "local", help_heading = HEADING)]
    pub(crate) timeout: Option<Duration>,
    /// Wait for this text on the console, and for nothing else, to call the target up
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new(), requires = "local", help_heading = HEADING)]
    pub(crate) marker: Option<String>,
    /// Write what the serial console says to FILE [default: MACHINE.console.log; of `test`:
    /// targets/MACHINE/console.log in the project's state]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "local", help_heading = HEADING)]
    pub(crate) console: Option<PathBuf>,
    /// Write the screen of a target that does not come up to FILE [default: beside the console's log]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "local", help_heading = HEADING)]
    pub(crate) screenshot: Option<PathBuf>,
    /// Keep the volumes of the target in DIR, with all that it wrote; replaces the target kept there
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, requires = "local", help_heading = HEADING)]
    pub(crate) keep: Option<PathBuf>,
    /// The QEMU to use [default: qemu-system-x86_64 or qemu-system-aarch64]
    #[arg(long, value_name = "PATH", value_hint = ValueHint::ExecutablePath, requires = "local", help_heading = HEADING)]
    pub(crate) qemu: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ArchArg {
    /// As the disks say
    Auto,
    /// 64-bit PC
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit ARM
    Arm64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum FirmwareArg {
    /// As the blueprint or the disks say
    Auto,
    /// PC BIOS
    Bios,
    /// UEFI with no variables, as a new instance has it
    Uefi,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum NicArg {
    /// virtio-net
    Virtio,
    /// Intel 82574L
    E1000e,
    /// No network
    None,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum AccelArg {
    /// KVM if the target's kernel runs on it, else emulation
    Auto,
    /// KVM, untried
    Kvm,
    /// Emulation
    Tcg,
}
