//! The command line.

mod aws;
mod blueprint;
mod images;
mod launch;
mod migration;
mod report;
mod snapshots;

pub(crate) use aws::{AwsArgs, UploadArgs};
pub(crate) use blueprint::{BlueprintCommand, CheckArgs, ImportArgs, NewArgs};
pub(crate) use images::{
    Codec, CompareArgs, CopyArgs, DiskArgs, FormatArgs, InfoArgs, MapArgs, PairArgs, Subformat,
    ToFormat,
};
pub(crate) use launch::{AccelArg, ArchArg, FirmwareArg, LaunchArgs, LocalArgs, NicArg};
pub(crate) use migration::{
    CutoverArgs, GcArgs, MarkArgs, MarkedState, OfProjectArgs, ProjectArgs, StatusArgs, TargetArgs,
    TestArgs,
};
pub(crate) use report::{FleetCommand, FleetReportArgs, RecordArgs, ReportArgs};
pub(crate) use snapshots::{DiffArgs, IamPolicyArgs, PolicyFor, ReplicateArgs, SnapshotsCommand};

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;
use images::format_names;
use std::path::PathBuf;

/// Make disks of machines that lived elsewhere boot on Amazon EC2
///
/// rehost reads the disk images of a machine (raw, qcow2, VMDK, VHD, VHDX, OVA), finds the operating
/// system on them, and writes a copy that boots from EC2's hardware: drivers in the initramfs, boot loader,
/// fstab, network, console. Nothing of the guest is run, no root and no mounts are needed, and the
/// source is opened read-only. It also copies images between formats, says what is in them, and
/// compares them.
#[derive(Debug, Parser)]
#[command(
    name = "rehost",
    version,
    max_term_width = 100,
    disable_help_subcommand = true,
    after_long_help = EXAMPLES
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  rehost inspect web1.vmdk               what is on the disk
  rehost plan web1.vmdk                  what a conversion would change, with diffs
  rehost convert web1.vmdk -o web1.raw   convert into a raw image
  rehost convert a.vmdk b.vmdk           convert a machine of two disks into the local store
  rehost convert --each *.vmdk -o out/   convert several machines of one disk each
  rehost copy web1.vmdk web1.qcow2       the same disk in another format
  rehost blueprint new web1.vmdk -o web1.yaml   draft what the target is to be
  rehost replicate web1.vmdk --to store:/srv/rehost     keep what changed since the last time
  rehost replicate web1.vmdk --to ebs:   the same, as snapshots in Amazon EBS
  rehost convert ebs:snap-0123456789abcdef0 -o ebs:     convert one of them there
  rehost launch --local web1.raw         does the converted machine boot? in QEMU, on this host
  rehost test --local web1               the same for a machine of rehost.yaml, from its disks on
  rehost test web1                       launch it on EC2, to look at it; `rehost cutover web1` for good
  rehost status                          how far the machines of rehost.yaml are
  rehost report web1.json -o web1.html   a page of what `convert --report web1.json` did

Exit status:
    0  done; `plan --check`: nothing to change; `compare`: equal
    1  failed: a file or the host did not do what was asked
    2  the command line is not understood
    3  `plan --check`: there are changes to make; `compare`: the disks differ; `blueprint
       check`: there are errors
    4  the source is damaged, or holds something that is not supported; `copy --salvage`: the
       copy was made, but not all of the source could be read; `snapshots fsck`: the store is
       damaged
    5  the guest cannot be converted as asked; nothing was written
    6  `launch`, `test`, `cutover`: the target did not come up; `fleet report`: a machine failed or
       is missing, or a run failed before any machine
  130  interrupted; nothing was published
  Where several machines fail: 1 if one of them may go well the next time, else the highest

Environment:
  REHOST_STORE        the store that `convert` without -o writes to [rehost-store]
  REHOST_STATE        where uploads to EBS keep journals and indexes [~/.local/state/rehost]
  AWS_*               region, credentials and addresses of AWS, as AWS's own tools take them
  SOURCE_DATE_EPOCH   the time that changed files get, in seconds since 1970
  REHOST_LOG          what -v shows, as in RUST_LOG (convert=debug)
  NO_COLOR            no colours";

#[derive(Args, Debug)]
pub(crate) struct GlobalArgs {
    /// Say more about what happens; twice for everything
    #[arg(short, long, action = ArgAction::Count, global = true)]
    pub(crate) verbose: u8,
    /// Show no progress
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what is on the disks of a machine, and whether it can run on EC2
    ///
    /// For Nitro, Xen and arm64 instances there is a verdict: ready as it is, ready after conversion,
    /// or not possible, and why.
    #[command(
        after_help = "Examples:\n  rehost inspect web1.vmdk\n  rehost inspect --json disk1.qcow2 disk2.qcow2 | jq .os\n  rehost inspect --json web1.vmdk | jq '.readiness[] | {generation, verdict}'"
    )]
    Inspect(InspectArgs),
    /// Show what a conversion would change and why; write nothing
    #[command(
        after_help = "Examples:\n  rehost plan web1.vmdk\n  rehost plan --no-diff --skip resolv-conf web1.vmdk\n  rehost plan --check web1.raw && echo already converted"
    )]
    Plan(PlanArgs),
    /// Convert a machine and write its disks to images or to snapshots
    #[command(
        after_help = "Examples:\n  rehost convert web1.vmdk -o web1.qcow2\n  rehost convert --target nitro --network preserve web1.vmdk -o web1.raw\n  rehost convert os.vmdk data.vmdk -o web1/\n  rehost convert --blueprint web1.yaml -o store:/srv/rehost\n  rehost convert ebs:snap-0123456789abcdef0 -o ebs: --region eu-west-1"
    )]
    Convert(Box<ConvertArgs>),
    /// Draft, check and import blueprints: what the targets of machines are to be
    #[command(subcommand)]
    Blueprint(BlueprintCommand),
    /// Copy a disk into another file, format, block device or store
    ///
    /// The content of the disk stays the same; nothing is converted. The copy appears under its name
    /// when it is whole: whenever the work ends before, nothing is left (a block device excepted,
    /// which is written in place). Holes and zeros of the source are neither read nor written. The
    /// path of the copy, or the id of the snapshot, is printed.
    #[command(
        after_help = "Examples:\n  rehost copy web1.vmdk web1.qcow2\n  rehost copy --compress zstd --cluster-size 2M web1.raw web1.qcow2\n  rehost copy --force web1.ova --disk 2 /dev/sdx\n  rehost copy web1.qcow2 store:/srv/rehost\n  rehost copy web1.qcow2 ebs: --encrypt --tag owner=me\n  rehost copy ebs:snap-0123456789abcdef0 web1.qcow2\n  ssh host cat /dev/vda | rehost copy - web1.qcow2\n  rehost copy --salvage --json damaged.qcow2 rescued.raw | jq .lost"
    )]
    Copy(CopyArgs),
    /// Show what is known about disk images without reading their content
    #[command(
        after_help = "Examples:\n  rehost info web1.vmdk\n  rehost info --json *.qcow2 | jq '.[].extents.data'"
    )]
    Info(InfoArgs),
    /// Show where the bytes of a disk are kept
    ///
    /// Each line is a run that is kept in one place: what it is (data, compressed, zero, or a hole
    /// that no layer has), the number of the layer, and the place in a file.
    #[command(
        after_help = "Examples:\n  rehost map web1.qcow2\n  rehost map --json web1.qcow2 | jq 'map(select(.data).length) | add'"
    )]
    Map(MapArgs),
    /// Find the first byte in which two disks differ
    ///
    /// Formats do not matter, only what the guest would see. Where disks have different sizes, the
    /// rest of the larger one must be zeros.
    #[command(
        after_help = "Examples:\n  rehost compare web1.vmdk web1.qcow2 && echo equal\n  rehost compare --strict --json web1.qcow2 store:/srv/rehost#snap-0123456789abcdef0\n\nExit status: 0 equal, 3 different, others as for every command."
    )]
    Compare(CompareArgs),
    /// List the ranges or the files in which two disks differ
    ///
    /// Two snapshots of one store are compared by their indexes, and no block is read; other disks
    /// are read where they hold data. Ranges are whole blocks of 512 KiB. With --files, blocks that
    /// differ are read and compared by sectors, and what is listed are the files that these belong to
    /// (added, changed, removed), and everything else that differs: free space, journal, swap, boot
    /// loader.
    #[command(
        after_help = "Examples:\n  rehost diff store:/srv/rehost#snap-0123456789abcdef0 store:/srv/rehost#snap-00fedcba987654321\n  rehost diff --json monday.qcow2 tuesday.qcow2 > changed.json\n  rehost diff --files monday.qcow2 tuesday.qcow2\n  rehost diff --files --json web1.vmdk web1-converted.raw | jq -r '.files[].path'\n\nExit status: 0 whether they differ or not; `compare` tells that. Others as for every command."
    )]
    Diff(DiffArgs),
    /// Take a snapshot of a machine's disks that holds only what changed since the last one
    ///
    /// The last snapshot of the same machine and disk becomes the parent; blocks of 512 KiB that
    /// are as it has them are not stored again. Of an image that has got layers above the files
    /// which the last snapshot was made of, only these layers are read. If nothing changed, there
    /// is no new snapshot, and the last one stands for the disk. If one disk fails, no new snapshot
    /// of the others stays. The ids are printed, a line for each disk.
    #[command(
        after_help = "Examples:\n  rehost replicate web1.vmdk --to store:/srv/rehost\n  rehost replicate /dev/vg/web1-snap /dev/vg/data-snap --machine web1 --to store:/srv/rehost\n  rehost replicate web1.qcow2 --to store:/srv/rehost --every 3m\n  rehost replicate web1.raw --changed changed.txt --to store:/srv/rehost\n  rehost replicate os.vmdk data.vmdk --machine web1 --to ebs: --max-requests 200\n  rehost replicate web1.qcow2 --bitmap b0 --to store:/srv/rehost && qemu-img bitmap --clear web1.qcow2 b0"
    )]
    Replicate(ReplicateArgs),
    /// Boot a converted machine and say whether it comes up
    ///
    /// The disks boot in QEMU on this machine, on hardware as near to an EC2 instance as QEMU has it:
    /// NVMe, an empty UEFI variable store or a BIOS, a serial console. A login prompt or systemd's
    /// multi-user target means that the target came up; a panic, an emergency shell or a boot loader
    /// without anything to boot, that it did not. Neither the disks nor anything on a network is
    /// changed: the target reaches nobody, and what it writes goes away with it. The path of the
    /// console's log is printed.
    #[command(
        after_help = "Examples:\n  rehost launch --local web1.raw\n  rehost launch --local store:/srv/rehost#snap-0123456789abcdef0 --firmware uefi --memory 4G\n  rehost launch --local os.qcow2 data.qcow2 --marker 'web1 is ready' --timeout 10m\n  rehost launch --local web1.raw --json | jq -e '.verdict == \"came-up\"'\n  rehost launch --local web1.raw --keep targets/web1\n\nExit status: 0 it came up, 6 it did not, others as for every command."
    )]
    Launch(LaunchArgs),
    /// Show how far each machine of a project is
    ///
    /// Its last snapshot, how much can have changed since, the last test and cutover, and what runs.
    #[command(
        after_help = "Examples:\n  rehost status\n  rehost status --json web1 | jq '.[0].state'\n  rehost status --project shop/rehost.yaml --watch 30s\n\nBEHIND: `nothing` and `up to` come from the files and layers of the images; `? of SIZE` means that\nonly reading the disk tells."
    )]
    Status(StatusArgs),
    /// Launch targets to look whether the machines work there; again replaces them
    ///
    /// For each machine the target launched before is removed, a snapshot of the disks is taken and
    /// converted, and the target that the blueprint describes is launched: on EC2, or with --local in
    /// QEMU on this host. A launch that was stopped goes on where it was with the same command. The
    /// ids of the instances are printed; with --local the directories of volumes that --keep keeps.
    #[command(
        after_help = "Examples:\n  rehost test web1\n  rehost test --no-snapshot --jobs 8\n  rehost test --local web1 && echo it boots\n  rehost test --shard auto --report reports/\n\nExit status: 6 if a target did not come up, others as for every command."
    )]
    Test(TestArgs),
    /// Launch the targets in which machines live from now on
    ///
    /// As `test`, for machines of which a test came up. Stop the source first, so that the last
    /// snapshot has all of it. After a cutover no launch touches the machine until `rehost mark ready`.
    /// Without names, machines that are cut over are left as they are, and those that are not go on.
    #[command(
        after_help = "Examples:\n  rehost cutover web1\n  rehost cutover --dry-run\n  rehost cutover --untested --report reports/ web1\n\nExit status: 6 if a target did not come up, others as for every command."
    )]
    Cutover(CutoverArgs),
    /// Say by hand where machines are
    #[command(
        after_help = "Examples:\n  rehost mark tested web1 web2      somebody looked at them\n  rehost mark ready web1            back: launches are allowed again\n\nNothing is launched or removed by it."
    )]
    Mark(MarkArgs),
    /// List what a project has made that belongs to no launch any more; remove it on request
    #[command(
        after_help = "Examples:\n  rehost gc\n  rehost gc --remove\n\nOnly what has the project's tags is looked at: targets of machines that the project no longer has,\nwhat launches left that were given up, and snapshots of earlier conversions."
    )]
    Gc(GcArgs),
    /// Look at the snapshots of a store, remove and check them
    #[command(subcommand)]
    Snapshots(SnapshotsCommand),
    /// Make one HTML page of the reports of one run or several
    ///
    /// What was found, what was changed and why, which regions of each disk were data, changed and
    /// uploaded, and what to check by hand. The page is one file without scripts that asks nothing
    /// from anywhere; it can be mailed, printed and read on a phone.
    #[command(
        after_help = "Examples:\n  rehost convert web1.vmdk -o web1.raw --report web1.json\n  rehost report web1.json -o web1.html\n  rehost report -o last.html\n  rehost report reports/*.json > all.html"
    )]
    Report(ReportArgs),
    /// Look at what became of many machines
    #[command(subcommand)]
    Fleet(FleetCommand),
    /// Print the least that IAM has to allow for snapshots in EBS and targets on EC2
    ///
    /// Making, filling and removing is allowed for snapshots that have rehost's own tag, and nothing
    /// else. Snapshots that others made can be read by adding their ARNs to the statement `Read`.
    /// Statements about targets have names that begin with `Target`.
    #[command(
        after_help = "Examples:\n  rehost iam-policy > policy.json\n  rehost iam-policy replicate convert test cutover --role arn:aws:iam::111122223333:role/web\n  rehost iam-policy replicate --kms-key arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab\n  aws iam create-policy --policy-name rehost --policy-document \"$(rehost iam-policy replicate convert)\""
    )]
    IamPolicy(IamPolicyArgs),
    /// List the conversion rules
    Rules(RulesArgs),
    /// List a directory of the guest
    #[command(after_help = "Example:\n  rehost ls web1.vmdk /etc/network")]
    Ls(LsArgs),
    /// Print a file of the guest
    #[command(after_help = "Example:\n  rehost cat web1.vmdk /etc/fstab")]
    Cat(CatArgs),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  rehost completions bash > /etc/bash_completion.d/rehost")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the man pages into a directory
    Man {
        /// Where to write them
        #[arg(value_hint = ValueHint::DirPath)]
        dir: PathBuf,
    },
}

/// How images are opened.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SourceArgs {
    /// Take the images for this format instead of looking at their content
    #[arg(long, value_name = "FORMAT", value_parser = format_names())]
    pub(crate) format: Option<String>,
    /// Also open files that an image names if they are below DIR; else only beside the image
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) allow_path: Vec<PathBuf>,
    /// The root file system, where there are several: sda2, 1:2 (disk:partition), UUID=… or LABEL=…
    #[arg(long, value_name = "VOLUME")]
    pub(crate) root: Option<String>,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

#[derive(Args, Debug)]
pub(crate) struct InspectArgs {
    /// The disks of one machine in their order: image files, store:DIR#SNAPSHOT, or ebs:SNAPSHOT
    #[arg(required = true, value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub(crate) images: Vec<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a conversion is to do.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RuleArgs {
    /// The instances to boot on [default: both]
    #[arg(long, value_enum)]
    pub(crate) target: Option<TargetArg>,
    /// What becomes of the network configuration [default: dhcp]
    #[arg(long, value_enum)]
    pub(crate) network: Option<NetworkArg>,
    /// Leave out a rule; `rehost rules` lists them
    #[arg(long, value_name = "RULE")]
    pub(crate) skip: Vec<String>,
    /// Put network drivers into the initramfs too
    #[arg(long)]
    pub(crate) initramfs_network: bool,
    /// Take the machine's name, target, firmware and disks from this blueprint (YAML or JSON)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) blueprint: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum TargetArg {
    /// Nitro instances: NVMe disks, ENA network
    Nitro,
    /// Xen instances: paravirtual disks and network
    Xen,
    /// Either of them
    Both,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum NetworkArg {
    /// Every configured Ethernet interface asks DHCP, under its own name
    Dhcp,
    /// Addresses stay; only what ties names to the old hardware goes
    Preserve,
    /// Nothing is touched
    Leave,
}

#[derive(Args, Debug)]
pub(crate) struct PlanArgs {
    /// The disks of one machine in their order: image files, store:DIR#SNAPSHOT, or ebs:SNAPSHOT
    #[arg(required_unless_present = "blueprint", value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub(crate) images: Vec<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// Print the plan as JSON
    #[arg(long, conflicts_with = "no_diff")]
    pub(crate) json: bool,
    /// Do not show what changes inside files
    #[arg(long)]
    pub(crate) no_diff: bool,
    /// Print nothing; exit with 3 if there is something to change
    #[arg(long)]
    pub(crate) check: bool,
}

#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConvertArgs {
    /// The disks of one machine in their order: image files, store:DIR#SNAPSHOT, or ebs:SNAPSHOT;
    /// with --project the names of machines
    #[arg(required_unless_present_any = ["blueprint", "project"], value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub(crate) images: Vec<String>,
    #[command(flatten)]
    pub(crate) project: OfProjectArgs,
    /// Every IMAGE is a machine of its own
    #[arg(long, conflicts_with_all = ["blueprint", "project"])]
    pub(crate) each: bool,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    #[command(flatten)]
    pub(crate) rules: RuleArgs,
    /// A file for a machine of one disk, a directory for several, store:DIR, or ebs:
    #[arg(short, long, value_name = "OUT", value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<String>,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Do not compare the files of an OVA or OVF with its manifest before
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Replace files that exist
    #[arg(long)]
    pub(crate) force: bool,
    /// Write the disks even if the guest is not one that rehost can convert
    #[arg(long)]
    pub(crate) allow_unconverted: bool,
    /// Print a report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    #[command(flatten)]
    pub(crate) upload: UploadArgs,
}

#[derive(Args, Debug)]
pub(crate) struct RulesArgs {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct LsArgs {
    /// The disk with the guest: an image file, store:DIR#SNAPSHOT, or ebs:SNAPSHOT
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) image: String,
    /// The directory in the guest
    #[arg(default_value = "/")]
    pub(crate) path: String,
    /// A further disk of the machine
    #[arg(long, value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub(crate) disk: Vec<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct CatArgs {
    /// The disk with the guest: an image file, store:DIR#SNAPSHOT, or ebs:SNAPSHOT
    #[arg(value_hint = ValueHint::FilePath)]
    pub(crate) image: String,
    /// The file in the guest
    pub(crate) path: String,
    /// A further disk of the machine
    #[arg(long, value_name = "IMAGE", value_hint = ValueHint::FilePath)]
    pub(crate) disk: Vec<String>,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
}
