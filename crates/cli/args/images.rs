//! The commands about images as such, whatever machine is on them.

use super::aws::{AwsArgs, UploadArgs};
use super::report::RecordArgs;
use crate::size;
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum, ValueHint};
use image::Format;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// The names of all formats that are read.
pub(crate) fn format_names() -> PossibleValuesParser {
    Format::ALL.map(Format::name).into()
}

/// Which disk of a source is meant, and how it is opened.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DiskArgs {
    /// Take the source for this format instead of looking at its content
    #[arg(long, value_name = "FORMAT", value_parser = format_names())]
    pub(crate) format: Option<String>,
    /// Take this snapshot inside a qcow2 image, by name or number, not its current state
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// Take the N-th disk, from 1 on, of a source that holds several (OVA, OVF)
    #[arg(long, value_name = "N")]
    pub(crate) disk: Option<NonZeroUsize>,
    /// Also open files that an image names if they are below DIR; else only beside the image
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) allow_path: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

/// What is written, and how.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct FormatArgs {
    /// Format of what is written [default: by the name's ending, else raw]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) to_format: Option<ToFormat>,
    /// Compress the clusters of a qcow2 file; a vmdk file always is
    #[arg(long, value_enum, value_name = "CODEC")]
    pub(crate) compress: Option<Codec>,
    /// Bytes of a cluster of a qcow2 file: 4K to 2M [default: 64K]
    #[arg(long, value_name = "SIZE", value_parser = size::parse_u32)]
    pub(crate) cluster_size: Option<u32>,
    /// Kind of a vhd file [default: dynamic]
    #[arg(long, value_enum, value_name = "KIND")]
    pub(crate) subformat: Option<Subformat>,
    /// Bytes of a block of a vhdx file: 1M to 256M [default: by the size of the disk]
    #[arg(long, value_name = "SIZE", value_parser = size::parse_u32)]
    pub(crate) block_size: Option<u32>,
}

impl FormatArgs {
    /// Whether anything is said.
    pub(crate) fn is_given(&self) -> bool {
        let Self {
            to_format,
            compress,
            cluster_size,
            subformat,
            block_size,
        } = self;
        let sizes = [cluster_size, block_size];
        to_format.is_some()
            || compress.is_some()
            || subformat.is_some()
            || sizes.iter().any(|size| size.is_some())
    }
}

/// The formats that are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum ToFormat {
    /// The bytes of the disk, zeros as holes
    Raw,
    /// QEMU, version 3
    Qcow2,
    /// VMware, stream-optimized
    Vmdk,
    /// Virtual PC, Hyper-V generation 1, Azure
    Vhd,
    /// Hyper-V generation 2
    Vhdx,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Codec {
    /// Every reader knows it
    Zlib,
    /// Faster; QEMU 5.1 and newer read it
    Zstd,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Subformat {
    /// The whole disk; what Azure takes
    Fixed,
    /// Only blocks with data
    Dynamic,
}

#[derive(Args, Debug)]
pub(crate) struct CopyArgs {
    /// An image file, a block device, - for a raw disk from stdin, store:DIR#SNAPSHOT, or ebs:SNAPSHOT
    #[arg(value_name = "SRC", value_hint = ValueHint::FilePath)]
    pub(crate) source: String,
    /// A file, a block device, store:DIR, or ebs:
    #[arg(value_name = "DEST", value_hint = ValueHint::AnyPath)]
    pub(crate) destination: String,
    #[command(flatten)]
    pub(crate) disk: DiskArgs,
    #[command(flatten)]
    pub(crate) format: FormatArgs,
    /// Work on this many threads [default: as many as there are cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZeroUsize>,
    /// Reserve room for the whole disk in a raw file
    #[arg(long)]
    pub(crate) preallocate: bool,
    /// Wait until the copy is on the disk, so that not even a power failure takes it back
    #[arg(long)]
    pub(crate) sync: bool,
    /// Replace DEST if it exists; needed for every block device
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not compare the files of an OVA or OVF with its manifest before
    #[arg(long)]
    pub(crate) no_verify: bool,
    /// Go on over damage: list what cannot be read, write zeros there, and exit with 4
    #[arg(long)]
    pub(crate) salvage: bool,
    /// Print a report as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) record: RecordArgs,
    #[command(flatten)]
    pub(crate) upload: UploadArgs,
}

#[derive(Args, Debug)]
pub(crate) struct InfoArgs {
    /// Image files, block devices, - for a raw disk from stdin, store:DIR#SNAPSHOT, or ebs:SNAPSHOT
    #[arg(required = true, value_name = "SRC", value_hint = ValueHint::FilePath)]
    pub(crate) sources: Vec<String>,
    #[command(flatten)]
    pub(crate) disk: DiskArgs,
    /// Print JSON: an array with an object for each disk
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct MapArgs {
    /// An image file, a block device, store:DIR#SNAPSHOT, or ebs:SNAPSHOT
    #[arg(value_name = "SRC", value_hint = ValueHint::FilePath)]
    pub(crate) source: String,
    #[command(flatten)]
    pub(crate) disk: DiskArgs,
    /// Print JSON: an array with an object for each run, with the keys of `qemu-img map`
    #[arg(long)]
    pub(crate) json: bool,
}

/// Two disks to compare.
#[derive(Args, Debug)]
pub(crate) struct PairArgs {
    /// An image file, a block device, - for a raw disk from stdin, store:DIR#SNAPSHOT, or ebs:SNAPSHOT
    #[arg(value_name = "A", value_hint = ValueHint::FilePath)]
    pub(crate) left: String,
    /// The one to compare it with
    #[arg(value_name = "B", value_hint = ValueHint::FilePath)]
    pub(crate) right: String,
    /// Take A for this format instead of looking at its content
    #[arg(long, value_name = "FORMAT", value_parser = format_names())]
    pub(crate) format_a: Option<String>,
    /// Take B for this format instead of looking at its content
    #[arg(long, value_name = "FORMAT", value_parser = format_names())]
    pub(crate) format_b: Option<String>,
    /// Take this snapshot inside A, a qcow2 image
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot_a: Option<String>,
    /// Take this snapshot inside B, a qcow2 image
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot_b: Option<String>,
    /// Take the N-th disk of A, from 1 on
    #[arg(long, value_name = "N")]
    pub(crate) disk_a: Option<NonZeroUsize>,
    /// Take the N-th disk of B, from 1 on
    #[arg(long, value_name = "N")]
    pub(crate) disk_b: Option<NonZeroUsize>,
    /// Also open files that an image names if they are below DIR; else only beside the image
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) allow_path: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) aws: AwsArgs,
}

#[derive(Args, Debug)]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) pair: PairArgs,
    /// Disks of different sizes differ, even if only zeros follow
    #[arg(long)]
    pub(crate) strict: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl PairArgs {
    /// How each of the two is opened.
    pub(crate) fn disks(&self) -> [DiskArgs; 2] {
        let disk = |format: &Option<String>, snapshot: &Option<String>, disk| DiskArgs {
            format: format.clone(),
            snapshot: snapshot.clone(),
            disk,
            allow_path: self.allow_path.clone(),
            aws: self.aws.clone(),
        };
        [
            disk(&self.format_a, &self.snapshot_a, self.disk_a),
            disk(&self.format_b, &self.snapshot_b, self.disk_b),
        ]
    }
}
