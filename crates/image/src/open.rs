//! Opening an image with everything that belongs to it.

use crate::chain::Chain;
use crate::content_id::ContentId;
use crate::error::{Damage, Feature, RefusedReason};
use crate::file::{Identity, ImageFile};
use crate::format::probe_file;
use crate::layer::Layer;
use crate::lost::{Lost, LostLayer};
use crate::map::Mappings;
use crate::ovf::{self, Archive, Check, MachineSize, Package};
use crate::qcow2::{BitmapInfo, Dirty, SnapshotInfo};
use crate::raw::RawLayer;
use crate::salvage::{LostRange, Salvage};
use crate::spool::{self, STANDARD_INPUT};
use crate::state::{self, FileState, Fingerprint, LayerState};
use crate::{Error, Format, Gate, qcow2, vhd, vhdx, vmdk};
use block::BlockRead;
use ondisk::{Interrupt, NoProgress, Progress};
use std::borrow::Cow;
use std::fmt::Display;
use std::num::NonZeroU64;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

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
    /// Which disk of an OVA or OVF [`open`] opens, counted from 1 in the order of the machine's
    /// hardware; not needed if there is only one.
    pub disk: Option<usize>,
    /// Whether the files of an OVA or OVF are compared with its manifest before anything is opened:
    /// see [`Image::verify_manifest`].
    pub verify: bool,
    /// Takes reports of what must be done before an image can be read at all: spooling, expanding,
    /// verifying.
    pub progress: Option<Arc<dyn Progress>>,
    /// Stops that.
    pub interrupt: Interrupt,
}

impl OpenOptions {
    pub(crate) fn progress(&self) -> &dyn Progress {
        match &self.progress {
            Some(progress) => &**progress,
            None => &NoProgress,
        }
    }
}

/// An open image: the disk as its guest saw it.
#[derive(Clone, Debug)]
pub struct Image {
    chain: Arc<Chain>,
    /// Lies over the chain if the image was opened so.
    salvage: Option<Arc<Salvage>>,
    layers: Vec<LayerInfo>,
    /// As many as layers, or none if nothing can be told by them.
    states: Arc<[LayerState]>,
    files: Vec<PathBuf>,
    /// What the manifest of its package says about files that it is in.
    checks: Arc<[Check]>,
    machine_size: MachineSize,
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
/// is found when it is read. Of an OVA or OVF the only disk is opened, or the one that
/// [`OpenOptions::disk`] names. The path `-` is the standard input: a file is read in place, from
/// where it was read to; what comes through a pipe is kept in a temporary file.
///
/// # Errors
/// What [`Error`] lists: nothing is ever replaced by zeros or by raw bytes.
/// [`Error::SeveralDisks`] if the choice is the caller's.
pub fn open(path: &Path, options: &OpenOptions) -> Result<Image, Error> {
    match Source::open(path, options)? {
        Source::File(start) => start.open_only(options),
        Source::Package(package) => package.open_one(options),
    }
}

/// Opens every disk of an OVA or OVF, in the order of the machine's hardware; any other file as
/// [`open`] does, as the only one. [`OpenOptions::disk`] means nothing here.
///
/// # Errors
/// As [`open`].
pub fn open_all(path: &Path, options: &OpenOptions) -> Result<Vec<Image>, Error> {
    match Source::open(path, options)? {
        Source::File(start) => Ok(vec![start.open(options)?]),
        Source::Package(package) => package.open_all(options),
    }
}

/// What a path leads to.
enum Source {
    File(Start),
    Package(Package),
}

/// A file that is an image by itself.
struct Start {
    file: ImageFile,
    /// Its path on the host, which is not always what it is called.
    path: Option<PathBuf>,
    names: Names,
}

impl Source {
    fn open(path: &Path, options: &OpenOptions) -> Result<Self, Error> {
        let standard_input = path == Path::new(STANDARD_INPUT);
        let (file, path) = if standard_input {
            spool::standard_input(options.progress(), &options.interrupt)?
        } else {
            (ImageFile::open(path)?, Some(path.to_owned()))
        };
        // Whoever says the format means the file itself.
        if options.format.is_none()
            && let Some(container) = ovf::container_of(&file, options.salvage)?
        {
            let package = Package::open(container, file, path, options)?;
            return Ok(Self::Package(package));
        }
        Ok(Self::File(Start {
            file,
            path,
            names: if standard_input {
                Names::Nowhere
            } else {
                Names::Host
            },
        }))
    }
}

impl Start {
    fn open(self, options: &OpenOptions) -> Result<Image, Error> {
        let mut opener = Opener::new(options, self.names);
        opener.files.extend(self.path);
        open_layers(self.file, options.format, &mut opener, options)
    }

    fn open_only(self, options: &OpenOptions) -> Result<Image, Error> {
        if let Some(wanted) = options.disk.filter(|disk| *disk != 1) {
            let path = self.file.path().display();
            return Err(Error::Options {
                reason: format!("disk {wanted} is wanted, but {path} is one disk"),
            });
        }
        self.open(options)
    }
}

/// Opens a file and its parents.
pub(crate) fn open_layers(
    file: ImageFile,
    format: Option<Format>,
    opener: &mut Opener,
    options: &OpenOptions,
) -> Result<Image, Error> {
    opener.seen.push(file.identity());
    let path = file.path().to_owned();
    let mut layers: Vec<Arc<dyn Layer>> = Vec::new();
    let mut infos = Vec::new();
    let mut states = Vec::new();
    let mut next = Some(Next {
        file,
        format,
        content_id: None,
    });
    while let Some(Next {
        file,
        format,
        content_id,
    }) = next
    {
        if layers.len() == MAX_LAYERS {
            return Err(Error::unsupported(&path, Feature::Depth(MAX_LAYERS)));
        }
        let path = file.path().to_owned();
        // What lies in an image besides its current state is no part of its chain.
        let state = file.state().filter(|_| opener.snapshot.is_none());
        let (format, opened) = match open_layer(file, format, opener) {
            Ok(opened) => opened,
            Err(error) => match layers.last() {
                Some(child) if options.salvage => {
                    let lost = Lost::new(&path, &error);
                    layers.push(Arc::new(LostLayer::new(child.size(), lost)));
                    break;
                }
                _ => return Err(error),
            },
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
        let size = opened.layer.size();
        states.push(LayerState {
            format,
            virtual_size: size,
            files: opener.states(state, opened.parent.as_ref()),
        });
        layers.push(opened.layer);
        next = match opened.parent {
            Some(Parent::Found(next)) => Some(next),
            Some(Parent::Lost(lost)) => {
                layers.push(Arc::new(LostLayer::new(size, lost)));
                None
            }
            None => None,
        };
    }
    let files = std::mem::take(&mut opener.files);
    Ok(Image::of_layers(layers, infos, files, options).with_states(states, options))
}

/// Opens one file of a chain, as the format that it is said to be or is found to be.
fn open_layer(
    file: ImageFile,
    format: Option<Format>,
    opener: &mut Opener,
) -> Result<(Format, Opened), Error> {
    let format = match format {
        Some(format) => format,
        None => probe_file(&file)?.format,
    };
    let opened = match format {
        Format::Raw => Opened {
            layer: Arc::new(RawLayer::new(file)),
            parent: None,
            content_id: None,
            details: Vec::new(),
            snapshots: Vec::new(),
        },
        Format::Qcow2 => qcow2::open(file, opener)?,
        Format::Vmdk => vmdk::open(file, opener)?,
        Format::Vhd => vhd::open(file, opener)?,
        Format::Vhdx => vhdx::open(file, opener)?,
    };
    Ok((format, opened))
}

impl Image {
    pub(crate) fn of_layers(
        layers: Vec<Arc<dyn Layer>>,
        infos: Vec<LayerInfo>,
        files: Vec<PathBuf>,
        options: &OpenOptions,
    ) -> Self {
        let chain = Arc::new(Chain::new(layers));
        Self {
            salvage: options
                .salvage
                .then(|| Arc::new(Salvage::new(chain.clone()))),
            chain,
            layers: infos,
            states: Arc::default(),
            files,
            checks: Arc::default(),
            machine_size: MachineSize::default(),
        }
    }

    fn with_states(mut self, states: Vec<LayerState>, options: &OpenOptions) -> Self {
        // What was lost may be there the next time.
        if !options.salvage {
            self.states = states.into();
        }
        self
    }

    /// Says which checks [`verify_manifest`](Self::verify_manifest) does.
    pub(crate) fn with_checks(mut self, checks: Vec<Check>) -> Self {
        self.checks = checks.into();
        self
    }

    pub(crate) fn with_machine_size(mut self, size: MachineSize) -> Self {
        self.machine_size = size;
        self
    }

    /// How large the machine is that the disk is of, as far as the descriptor of its OVA or OVF tells.
    pub fn machine_size(&self) -> MachineSize {
        self.machine_size
    }

    pub(crate) fn checks(&self) -> &[Check] {
        &self.checks
    }

    /// Compares the files of an OVA or OVF that this disk is in with the digests of the package's
    /// manifest, and gives the number of files; 0 if there is no manifest or it does not list them.
    /// All of them are read.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if one is not what the manifest says, [`Error::Io`],
    /// [`Error::Interrupted`].
    pub fn verify_manifest(
        &self,
        progress: &dyn Progress,
        interrupt: &Interrupt,
    ) -> Result<usize, Error> {
        ovf::verify(self.checks.iter(), progress, interrupt)
    }

    /// What to call the disk: the name of the file, without directories.
    pub fn name(&self) -> Cow<'_, str> {
        let path = self.path();
        path.file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
    }

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

    /// The fingerprint of each layer with all layers below it, as [`layers`](Self::layers) has
    /// them: of the whole image first. It is made of what the host says of their files before
    /// anything is read: device, inode, size and times.
    ///
    /// Absent for what lies over a block device, a pipe, something compressed or a file that was
    /// written to less than two seconds before, and for a snapshot inside an image. Writes through
    /// a memory mapping may not be told.
    pub fn fingerprints(&self) -> Vec<Option<Fingerprint>> {
        let mut all = state::fingerprints(&self.states);
        all.resize(self.layers.len(), None);
        all
    }

    /// How long to wait before the image is opened again until no file of it is too young for a
    /// fingerprint; zero if none is. Long if the host's clock was set back.
    pub fn settles_in(&self) -> Duration {
        state::settles_in(&self.states)
    }

    /// Whether no file was written to since the image was opened, as far as files tell.
    pub fn is_as_opened(&self) -> bool {
        state::is_as_opened(&self.states)
    }

    /// Where the first `layers` layers decide what the disk holds: they store it, say that it is
    /// zero, or end before the layers below do or behind them. The rest of the disk is as the layers
    /// below have it. Ascending ranges that do not touch, in whole granules of the disk.
    ///
    /// # Errors
    /// As for reads of the device; [`Error::Interrupted`].
    pub fn decided_above(
        &self,
        layers: usize,
        granule: NonZeroU64,
        interrupt: &Interrupt,
    ) -> Result<Vec<Range<u64>>, Error> {
        self.chain.decided_above(layers, granule, interrupt)
    }

    /// The dirty bitmaps in the file of a layer, of which only qcow2 has any.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if their directory is damaged, [`Error::Io`], [`Error::Interrupted`]; what
    /// is wrong with a single one is in [`BitmapInfo::problem`].
    pub fn bitmaps(&self, layer: usize, interrupt: &Interrupt) -> Result<Vec<BitmapInfo>, Error> {
        match self.chain.layer(layer).and_then(Layer::bitmaps) {
            Some(bitmaps) => bitmaps.list(interrupt),
            None => Ok(Vec::new()),
        }
    }

    /// What a dirty bitmap of the image itself says was written, in whole granules of the disk;
    /// nothing if there is no bitmap of that name.
    ///
    /// # Errors
    /// [`Error::Options`] if it does not have to be right, [`Error::Corrupt`],
    /// [`Error::Unsupported`], [`Error::Io`], [`Error::Interrupted`].
    pub fn dirty(
        &self,
        bitmap: &str,
        granule: NonZeroU64,
        interrupt: &Interrupt,
    ) -> Result<Option<Dirty>, Error> {
        match self.chain.layer(0).and_then(Layer::bitmaps) {
            Some(bitmaps) => bitmaps.dirty(bitmap, granule, interrupt),
            None => Ok(None),
        }
    }

    fn top(&self) -> &LayerInfo {
        // `open` makes an image of one layer at least.
        self.layers.first().expect("an image has a layer")
    }
}

/// What opening one file of a chain gives.
pub(crate) struct Opened {
    pub(crate) layer: Arc<dyn Layer>,
    pub(crate) parent: Option<Parent>,
    /// By which children know that this is the content they were made over.
    pub(crate) content_id: Option<ContentId>,
    pub(crate) details: Vec<Detail>,
    pub(crate) snapshots: Vec<SnapshotInfo>,
}

/// What lies under a layer.
pub(crate) enum Parent {
    Found(Next),
    /// It is not there, and reading goes on without it.
    Lost(Lost),
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
    names: Names,
    /// The snapshot that is wanted of the first layer; a format that knows snapshots takes it.
    pub(crate) snapshot: Option<&'g str>,
    /// Whether damage that a read would find may pass when the image is opened.
    pub(crate) salvage: bool,
    seen: Vec<Identity>,
    /// The files that were opened for the layer that is being opened; absent if one has no state.
    named: Vec<(Identity, Option<FileState>)>,
    /// Files of the host.
    pub(crate) files: Vec<PathBuf>,
    /// Files of the archive, if names are looked up there.
    pub(crate) members: Vec<ImageFile>,
}

/// Where names that stand in images are looked up.
#[derive(Debug)]
pub(crate) enum Names {
    /// On the host, as far as the gate allows.
    Host,
    /// In an archive, and nowhere else.
    Archive(Arc<Archive>),
    /// The image is in no directory.
    Nowhere,
}

impl<'g> Opener<'g> {
    pub(crate) fn new(options: &'g OpenOptions, names: Names) -> Self {
        Self {
            gate: &options.gate,
            names,
            snapshot: options.snapshot.as_deref(),
            salvage: options.salvage,
            seen: Vec::new(),
            named: Vec::new(),
            files: Vec::new(),
            members: Vec::new(),
        }
    }

    /// The states of a layer's files, once it is open: its own and those that it names, but not its
    /// parent, which is the next layer.
    fn states(
        &mut self,
        own: Option<FileState>,
        parent: Option<&Parent>,
    ) -> Option<Vec<FileState>> {
        let parent = match parent {
            Some(Parent::Found(next)) => Some(next.file.identity()),
            Some(Parent::Lost(_)) | None => None,
        };
        let named = std::mem::take(&mut self.named).into_iter();
        let named = named.filter(|(identity, _)| Some(*identity) != parent);
        std::iter::once(own)
            .chain(named.map(|(_, state)| state))
            .collect()
    }

    /// Lets a parent of the image at `by` be missing, if reading goes on over damage.
    pub(crate) fn or_lost(&self, by: &Path, parent: Result<Next, Error>) -> Result<Parent, Error> {
        match parent {
            Ok(next) => Ok(Parent::Found(next)),
            Err(error @ Error::Missing { .. }) if self.salvage => {
                Ok(Parent::Lost(Lost::new(by, &error)))
            }
            Err(error) => Err(error),
        }
    }

    /// Opens the file that the image at `by` calls `name`, if the gate allows it.
    pub(crate) fn named(
        &mut self,
        by: &Path,
        name: &[u8],
        role: &'static str,
    ) -> Result<ImageFile, Error> {
        let (file, host) = match &self.names {
            Names::Host => {
                let path = self.gate.resolve(by, name, role)?;
                (ImageFile::open(&path)?, Some(path))
            }
            Names::Archive(archive) => (ovf::named(archive, by, name, role)?, None),
            Names::Nowhere => {
                return Err(Error::refused(by, name, role, RefusedReason::Nowhere));
            }
        };
        if self.seen.contains(&file.identity()) {
            let name = String::from_utf8_lossy(name).into_owned();
            return Err(Error::corrupt(by, Damage::Cycle(name)));
        }
        self.seen.push(file.identity());
        self.named.push((file.identity(), file.state()));
        match host {
            Some(path) => self.files.push(path),
            None => self
                .members
                .push(file.part(file.path().to_owned(), 0, file.len())?),
        }
        Ok(file)
    }
}
