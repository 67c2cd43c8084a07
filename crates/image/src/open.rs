//! Opening an image with everything that belongs to it.

use crate::chain::Chain;
use crate::content_id::ContentId;
use crate::error::{Damage, Feature};
use crate::file::{Identity, ImageFile};
use crate::format::probe_file;
use crate::layer::Layer;
use crate::map::Mappings;
use crate::qcow2::SnapshotInfo;
use crate::raw::RawLayer;
use crate::salvage::{LostRange, Salvage};
use crate::{Error, Format, Gate, qcow2, vhd, vhdx, vmdk};
use block::BlockRead;
use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How an image is opened.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// The format; if it is not said, it is found out as by [`crate::probe`].
    pub format: Option<Format>,
    /// Which files the image may name.
    pub gate: Gate,
    /// The internal snapshot of a qcow2 image that is read instead of its current state, by name
    /// or by number (`id`).
    pub snapshot: Option<String>,
    /// Whether reading goes on over damage: what cannot be read becomes zeros, and is listed by
    /// [`Image::lost`]. Without it such a read is an error.
    pub salvage: bool,
}

/// An open image: the disk as its guest saw it.
#[derive(Clone, Debug)]
pub struct Image {
    chain: Arc<Chain>,
    /// Lies over the chain if the image was opened so.
    salvage: Option<Arc<Salvage>>,
    layers: Vec<LayerInfo>,
    files: Vec<PathBuf>,
}

/// One layer of an [`Image`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LayerInfo {
    /// The file, by the path it was opened with.
    pub path: PathBuf,
    /// What it was opened as.
    pub format: Format,
    /// Bytes of the disk as this layer knows it.
    pub virtual_size: u64,
    /// What the format says about this layer: cluster size, compression, kind of VMDK…
    pub details: Vec<Detail>,
    /// Snapshots inside the image: only qcow2 has such.
    pub snapshots: Vec<SnapshotInfo>,
}

/// A fact about a layer that only its format has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Detail {
    /// In kebab case: `cluster-size`.
    pub name: &'static str,
    /// For people; sizes are in bytes.
    pub value: String,
}

impl Detail {
    pub(crate) fn new(name: &'static str, value: impl Display) -> Self {
        Self {
            name,
            value: value.to_string(),
        }
    }
}

/// Most layers of a chain, the image itself included.
const MAX_LAYERS: usize = 32;

/// Opens an image read-only, and every file that it needs.
///
/// All metadata is checked as far as it is needed to say where things are; what is damaged inside
/// is found when it is read.
///
/// # Errors
/// What [`Error`] lists: nothing is ever replaced by zeros or by raw bytes.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Image, Error> {
    let mut opener = Opener {
        gate: &options.gate,
        snapshot: options.snapshot.as_deref(),
        salvage: options.salvage,
        seen: Vec::new(),
        files: Vec::new(),
    };
    let mut layers: Vec<Arc<dyn Layer>> = Vec::new();
    let mut infos = Vec::new();
    let mut next = Some(Next {
        file: opener.first(path)?,
        format: options.format,
        content_id: None,
    });
    while let Some(Next {
        file,
        format,
        content_id,
    }) = next
    {
        if layers.len() == MAX_LAYERS {
            return Err(Error::unsupported(path, Feature::Depth(MAX_LAYERS)));
        }
        let format = match format {
            Some(format) => format,
            None => probe_file(&file)?.format,
        };
        let path = file.path().to_owned();
        let opened = match format {
            Format::Raw => Opened {
                layer: Arc::new(RawLayer::new(file)),
                parent: None,
                content_id: None,
                details: Vec::new(),
                snapshots: Vec::new(),
            },
            Format::Qcow2 => qcow2::open(file, &mut opener)?,
            Format::Vmdk => vmdk::open(file, &mut opener)?,
            Format::Vhd => vhd::open(file, &mut opener)?,
            Format::Vhdx => vhdx::open(file, &mut opener)?,
        };
        if let Some(name) = opener.snapshot.take() {
            return Err(Error::Options {
                reason: format!(
                    "snapshot {name:?}: only qcow2 images have snapshots inside, {} is {format}",
                    path.display()
                ),
            });
        }
        if let Some(expected) = content_id
            && opened.content_id != Some(expected)
        {
            let found = opened.content_id;
            return Err(Error::corrupt(
                &path,
                Damage::ParentChanged { expected, found },
            ));
        }
        infos.push(LayerInfo {
            virtual_size: opened.layer.size(),
            path,
            format,
            details: opened.details,
            snapshots: opened.snapshots,
        });
        layers.push(opened.layer);
        next = opened.parent;
    }
    let chain = Arc::new(Chain::new(layers));
    Ok(Image {
        salvage: options
            .salvage
            .then(|| Arc::new(Salvage::new(chain.clone()))),
        chain,
        layers: infos,
        files: opener.files,
    })
}

impl Image {
    /// The disk.
    pub fn device(&self) -> Arc<dyn BlockRead> {
        match &self.salvage {
            Some(salvage) => salvage.clone(),
            None => self.chain.clone(),
        }
    }

    /// Walks the disk as runs that are kept in one place, in ascending order.
    pub fn mappings(&self) -> Mappings<'_> {
        Mappings::new(&self.chain)
    }

    /// The ranges of the disk that could not be read so far, ascending; empty unless the image was
    /// opened with [`OpenOptions::salvage`].
    pub fn lost(&self) -> Vec<LostRange> {
        self.salvage
            .as_ref()
            .map_or_else(Vec::new, |salvage| salvage.lost())
    }

    /// What the image was opened as.
    pub fn format(&self) -> Format {
        self.top().format
    }

    /// The file, by the path it was opened with.
    pub fn path(&self) -> &Path {
        &self.top().path
    }

    /// The image itself, then its parents.
    pub fn layers(&self) -> &[LayerInfo] {
        &self.layers
    }

    /// Every file that was opened: layers, extents and external data.
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    fn top(&self) -> &LayerInfo {
        // `open` makes an image of one layer at least.
        self.layers.first().expect("an image has a layer")
    }
}

/// What opening one file of a chain gives.
pub(crate) struct Opened {
    pub(crate) layer: Arc<dyn Layer>,
    pub(crate) parent: Option<Next>,
    /// By which children know that this is the content they were made over.
    pub(crate) content_id: Option<ContentId>,
    pub(crate) details: Vec<Detail>,
    pub(crate) snapshots: Vec<SnapshotInfo>,
}

/// The next file of a chain.
pub(crate) struct Next {
    pub(crate) file: ImageFile,
    /// As the child says it, if it does.
    pub(crate) format: Option<Format>,
    /// The content id that the child expects.
    pub(crate) content_id: Option<ContentId>,
}

/// Opens the files that an image names, each once.
pub(crate) struct Opener<'g> {
    gate: &'g Gate,
    /// The snapshot that is wanted of the first layer; a format that knows snapshots takes it.
    pub(crate) snapshot: Option<&'g str>,
    /// Whether damage that a read would find may pass when the image is opened.
    pub(crate) salvage: bool,
    seen: Vec<Identity>,
    files: Vec<PathBuf>,
}

impl Opener<'_> {
    fn first(&mut self, path: &Path) -> Result<ImageFile, Error> {
        let file = ImageFile::open(path)?;
        self.seen.push(file.identity());
        self.files.push(path.to_owned());
        Ok(file)
    }

    /// Opens the file that the image at `by` calls `name`, if the gate allows it.
    pub(crate) fn named(
        &mut self,
        by: &Path,
        name: &[u8],
        role: &'static str,
    ) -> Result<ImageFile, Error> {
        let path = self.gate.resolve(by, name, role)?;
        let file = ImageFile::open(&path)?;
        if self.seen.contains(&file.identity()) {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(Error::corrupt(by, Damage::Cycle(name)));
        }
        self.seen.push(file.identity());
        self.files.push(path);
        Ok(file)
    }
}
