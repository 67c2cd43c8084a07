//! `rehost info`

use crate::args::InfoArgs;
use crate::exit::SOURCE;
use crate::snapshot_home::Snapshot;
use crate::source::{self, Content, Disk, Purpose};
use crate::terminal::{Colour, Terminal};
use crate::{output, size};
use anyhow::Result;
use block::{BlockRead, ExtentKind};
use image::{BitmapInfo, Image, LayerInfo, MappedPlace, SnapshotInfo};
use ondisk::Interrupted;
use serde::Serialize;
use std::fmt::Write as _;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What is known about a disk without reading its content.
#[derive(Serialize)]
struct Info {
    name: String,
    format: &'static str,
    virtual_size: u64,
    files: Vec<HostFile>,
    /// The image, then its parents.
    layers: Vec<Layer>,
    /// Absent if the image is damaged.
    extents: Option<Extents>,
    /// Why it cannot be said where everything is.
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<String>,
}

#[derive(Serialize)]
struct HostFile {
    path: PathBuf,
    /// Bytes of the file and of what it takes from the host; nobody knows of a block device.
    #[serde(flatten)]
    size: Option<HostSize>,
}

#[derive(Clone, Copy, Serialize)]
struct HostSize {
    file_size: u64,
    allocated_size: u64,
}

#[derive(Serialize)]
struct Layer {
    path: PathBuf,
    format: &'static str,
    virtual_size: u64,
    #[serde(flatten)]
    size: Option<HostSize>,
    /// What only the format knows; a name may come several times.
    details: Vec<Detail>,
    /// Earlier states of the disk inside a qcow2 image.
    snapshots: Vec<InnerSnapshot>,
    /// The dirty bitmaps of a qcow2 image.
    bitmaps: Vec<Bitmap>,
}

#[derive(Serialize)]
struct Bitmap {
    name: String,
    granularity: u64,
    enabled: bool,
    in_use: bool,
    /// Bytes of the disk; nothing if the bitmap cannot be relied on.
    dirty: Option<u64>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

#[derive(Serialize)]
struct InnerSnapshot {
    id: String,
    name: String,
    /// When it was made, in seconds since 1970.
    seconds: u32,
    virtual_size: u64,
    vm_state_size: u64,
}

#[derive(Serialize)]
struct Detail {
    name: &'static str,
    value: String,
}

/// What the whole disk consists of, in bytes of it.
#[derive(Default, Serialize)]
struct Extents {
    /// Runs that are kept in one place each.
    count: u64,
    data: u64,
    /// Of the data, what is compressed.
    compressed: u64,
    /// What a layer says is zero.
    zero: u64,
    /// What no layer has.
    unallocated: u64,
}

pub(super) fn run(args: &InfoArgs, terminal: &Terminal) -> Result<ExitCode> {
    let mut infos = Vec::new();
    for text in &args.sources {
        for disk in source::open_chosen(text, &args.disk, Purpose::Look, terminal)? {
            infos.push(Info::of(&disk, terminal)?);
        }
    }
    if args.json {
        output::json(&infos)?;
    } else {
        let texts: Vec<_> = infos.iter().map(|info| info.text(terminal)).collect();
        output::write(texts.join("\n").as_bytes())?;
    }
    let mut status = 0;
    for damage in infos.iter().filter_map(|info| info.damage.as_deref()) {
        let damage = output::printable(&format!("rehost: {damage}"));
        eprintln!("{}", terminal.paint_err(Colour::Warning, &damage));
        status = SOURCE;
    }
    Ok(status.into())
}

impl Info {
    fn of(disk: &Disk, terminal: &Terminal) -> Result<Self> {
        let check = || terminal.interrupt.check();
        let (format, layers, extents) = match &disk.content {
            Content::Image(image) => (
                image.format().name(),
                Layer::all(image, terminal)?,
                Extents::of_image(image, check)?,
            ),
            Content::Snapshot(snapshot) => (
                snapshot.format(),
                Layer::of_snapshot(snapshot).into_iter().collect(),
                Extents::of_snapshot(snapshot, check)?,
            ),
        };
        let (extents, damage) = match extents {
            Ok(extents) => (Some(extents), None),
            Err(error) => {
                let error = anyhow::Error::new(error);
                let words: Vec<_> = error.chain().map(ToString::to_string).collect();
                (None, Some(words.join(": ")))
            }
        };
        let file = |path: &PathBuf| HostFile {
            path: path.clone(),
            size: HostSize::of(path),
        };
        Ok(Self {
            name: disk.name.clone(),
            format,
            virtual_size: disk.device().size(),
            files: disk.files().iter().map(file).collect(),
            layers,
            extents,
            damage,
        })
    }

    fn text(&self, terminal: &Terminal) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{}", terminal.paint(Colour::Bold, &self.name));
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<14} {value}");
        };
        line("format", self.format);
        let exact = format!(
            "{} ({} bytes)",
            size::text(self.virtual_size),
            self.virtual_size
        );
        line("virtual size", &exact);
        let sizes: Vec<_> = self.files.iter().filter_map(|file| file.size).collect();
        if !sizes.is_empty() {
            let allocated = sizes.iter().map(|size| size.allocated_size).sum();
            let value = format!(
                "{} allocated, {} long, in {} file{}",
                size::text(allocated),
                size::text(sizes.iter().map(|size| size.file_size).sum()),
                sizes.len(),
                if sizes.len() == 1 { "" } else { "s" }
            );
            line("on this host", &value);
        }
        if let Some(extents) = &self.extents {
            let data = format!(
                "{}, {} of it compressed",
                size::text(extents.data),
                size::text(extents.compressed)
            );
            line("data", &data);
            line("zero", &size::text(extents.zero));
            line("not allocated", &size::text(extents.unallocated));
            line("extents", &extents.count.to_string());
        }
        if let Some(damage) = &self.damage {
            let damage = output::printable(damage);
            line("damage", &terminal.paint(Colour::Warning, &damage));
        }
        for (depth, layer) in self.layers.iter().enumerate() {
            let mut value = format!(
                "{}: {}, {}",
                layer.path.display(),
                layer.format,
                size::text(layer.virtual_size)
            );
            if let Some(host) = layer.size {
                let _ = write!(value, ", {} allocated", size::text(host.allocated_size));
            }
            line(&format!("layer {depth}"), &output::printable(&value));
            for Detail { name, value } in &layer.details {
                line("", &output::printable(&format!("{name}: {value}")));
            }
            for snapshot in &layer.snapshots {
                let InnerSnapshot { id, name, .. } = snapshot;
                let value = format!(
                    "snapshot {id} {name:?}, {}",
                    size::text(snapshot.virtual_size)
                );
                line("", &output::printable(&value));
            }
            for bitmap in &layer.bitmaps {
                line("", &output::printable(&bitmap.text()));
            }
        }
        text
    }
}

impl HostSize {
    fn of(path: &Path) -> Option<Self> {
        /// What the kernel counts in.
        const BLOCK: u64 = 512;
        let meta = std::fs::metadata(path).ok()?;
        (!meta.file_type().is_block_device()).then(|| Self {
            file_size: meta.len(),
            allocated_size: meta.blocks().saturating_mul(BLOCK),
        })
    }
}

impl Layer {
    fn all(image: &Image, terminal: &Terminal) -> Result<Vec<Self>> {
        let mut layers: Vec<_> = image.layers().iter().map(Self::of).collect();
        for (depth, layer) in layers.iter_mut().enumerate() {
            match image.bitmaps(depth, &terminal.interrupt) {
                Ok(bitmaps) => layer.bitmaps = bitmaps.into_iter().map(Bitmap::of).collect(),
                Err(image::Error::Interrupted(interrupted)) => return Err(interrupted.into()),
                // The disk can be read all the same.
                Err(error) => layer.details.push(Detail {
                    name: "bitmaps",
                    value: error.to_string(),
                }),
            }
        }
        Ok(layers)
    }

    fn of(layer: &LayerInfo) -> Self {
        let detail = |detail: &image::Detail| Detail {
            name: detail.name,
            value: detail.value.clone(),
        };
        Self {
            path: layer.path.clone(),
            format: layer.format.name(),
            virtual_size: layer.virtual_size,
            size: HostSize::of(&layer.path),
            details: layer.details.iter().map(detail).collect(),
            snapshots: layer.snapshots.iter().map(InnerSnapshot::of).collect(),
            bitmaps: Vec::new(),
        }
    }

    /// Of a snapshot in EBS nothing more is known than what it holds.
    fn of_snapshot(snapshot: &Snapshot) -> Option<Self> {
        let Snapshot::Store(snapshot) = snapshot else {
            return None;
        };
        let manifest = snapshot.manifest();
        let detail = |name, value| Detail { name, value };
        Some(Self {
            path: snapshot.store().dir().to_owned(),
            format: "store",
            virtual_size: manifest.disk_size,
            size: None,
            details: vec![
                detail("id", manifest.id.to_string()),
                detail("description", manifest.description.clone()),
                detail("block-size", manifest.block_size.to_string()),
                detail("blocks", manifest.blocks.to_string()),
                detail("linear-sha256", manifest.linear_sha256.clone()),
            ],
            snapshots: Vec::new(),
            bitmaps: Vec::new(),
        })
    }
}

impl InnerSnapshot {
    fn of(snapshot: &SnapshotInfo) -> Self {
        Self {
            id: snapshot.id.clone(),
            name: snapshot.name.clone(),
            seconds: snapshot.seconds,
            virtual_size: snapshot.virtual_size,
            vm_state_size: snapshot.vm_state_size,
        }
    }
}

impl Bitmap {
    fn of(bitmap: BitmapInfo) -> Self {
        Self {
            name: bitmap.name,
            granularity: bitmap.granularity,
            enabled: bitmap.enabled,
            in_use: bitmap.in_use,
            dirty: bitmap.dirty,
            problem: bitmap.problem,
        }
    }

    fn text(&self) -> String {
        let Self {
            name, granularity, ..
        } = self;
        let mut text = format!("bitmap {name:?}, a bit for {}", size::text(*granularity));
        if let Some(dirty) = self.dirty {
            let _ = write!(text, ", {} dirty", size::text(dirty));
        }
        for (flag, word) in [(!self.enabled, "disabled"), (self.in_use, "in use")] {
            if flag {
                let _ = write!(text, ", {word}");
            }
        }
        if let Some(problem) = &self.problem {
            let _ = write!(text, ": {problem}");
        }
        text
    }
}

/// The outer error is that the user does not want to wait, the inner one that there is damage.
type Walked = Result<std::result::Result<Extents, block::Error>, Interrupted>;

impl Extents {
    fn of_image(image: &Image, check: impl Fn() -> Result<(), Interrupted>) -> Walked {
        let mut extents = Self::default();
        for mapping in image.mappings() {
            check()?;
            let mapping = match mapping {
                Ok(mapping) => mapping,
                Err(error) => return Ok(Err(error)),
            };
            let length = mapping.range.end.saturating_sub(mapping.range.start);
            extents.count += 1;
            match mapping.place {
                MappedPlace::Data { compressed, .. } => {
                    extents.data += length;
                    extents.compressed += if compressed { length } else { 0 };
                }
                MappedPlace::Zero { .. } => extents.zero += length,
                MappedPlace::Unallocated => extents.unallocated += length,
            }
        }
        Ok(Ok(extents))
    }

    fn of_snapshot(snapshot: &Snapshot, check: impl Fn() -> Result<(), Interrupted>) -> Walked {
        let mut extents = Self::default();
        let device = snapshot.device();
        let device: &dyn BlockRead = &*device;
        let compressed = matches!(snapshot, Snapshot::Store(_));
        for extent in device.extents() {
            check()?;
            let extent = match extent {
                Ok(extent) => extent,
                Err(error) => return Ok(Err(error)),
            };
            let length = extent.range.end.saturating_sub(extent.range.start);
            extents.count += 1;
            match extent.kind {
                ExtentKind::Data => {
                    extents.data += length;
                    extents.compressed += if compressed { length } else { 0 };
                }
                ExtentKind::Zero => extents.unallocated += length,
            }
        }
        Ok(Ok(extents))
    }
}
