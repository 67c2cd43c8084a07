//! Disk image formats as block devices, and devices as images.
//!
//! [`open`] takes the file that the user named, finds out its format (or is told), opens every
//! file that the image names as far as the [`Gate`] allows, and gives one read-only
//! [`block::BlockRead`] of the disk as the guest saw it: raw, qcow2, VMDK, VHD and VHDX, with
//! their chains of backing files and parents; the disks of an OVA, or of an OVF with its files; and what comes
//! through the standard input. Of an image with snapshots *inside* the disk is its current state,
//! unless one of them is asked for.
//!
//! ```
//! use image::{Format, OpenOptions};
//!
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("disk.img");
//! std::fs::write(&path, [7; 4096])?;
//! let image = image::open(&path, &OpenOptions::default())?;
//! assert_eq!(image.format(), Format::Raw);
//! let mut sector = [0; 512];
//! image.device().read_at(512, &mut sector)?;
//! assert_eq!(sector, [7; 512]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Errors
//! [`Error::Corrupt`] breaks the format's rules, [`Error::Unsupported`] keeps them but is not done
//! here, [`Error::Refused`] and [`Error::Missing`] are about files that an image names,
//! [`Error::Unrecognised`] is a file of which nothing says what it is. Reads of the device say the
//! same as the source of [`block::Error::Format`]. Missing data is an error, never zeros.
//!
//! # Out of scope
//! Encrypted images and writing into existing images. VDI, compressed files and archives
//! other than OVAs are recognised and refused by name.
#![warn(clippy::arithmetic_side_effects)]

mod cache;
mod chain;
mod coarse;
mod codec;
mod compare;
mod content_id;
mod error;
mod file;
mod format;
mod gate;
mod granules;
mod growth;
mod layer;
mod lost;
mod map;
mod open;
mod ovf;
mod publish;
mod qcow2;
mod raw;
mod salvage;
mod spool;
mod state;
mod units;
mod vhd;
mod vhdx;
mod vmdk;
mod write;
mod zeros;

pub use compare::{Difference, compare};
pub use error::{Corrupt, Error, Refused, UnknownFormat, Unsupported};
pub use format::{Evidence, Foreign, Format, Probe, probe};
pub use gate::Gate;
pub use map::{MappedPlace, Mapping, Mappings};
pub use open::{Detail, Image, LayerInfo, OpenOptions, open, open_all};
pub use ovf::{Container, MachineSize, container};
pub use qcow2::{BitmapInfo, Compression, Dirty, Qcow2Options, SnapshotInfo};
pub use salvage::LostRange;
pub use state::Fingerprint;
pub use vhd::{VhdOptions, VhdSubformat};
pub use vhdx::VhdxOptions;
pub use write::{WriteFormat, WriteOptions, Written, write};
