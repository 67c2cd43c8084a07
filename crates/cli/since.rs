//! What can have changed on a disk since its last snapshot, where something tells: the user's list,
//! a dirty bitmap, or the layers of the image above the files that were read the last time.

use crate::args::ReplicateArgs;
use crate::changed::Changed;
use crate::size;
use crate::source::{Content, Disk};
use crate::terminal::Terminal;
use anyhow::{Context, Result, bail};
use block::{BlockRead, ExtentKind};
use image::Image;
use std::num::NonZeroU64;
use std::ops::Range;
use std::time::Duration;
use store::SourceState;

/// Ranges are looked at in whole blocks of a snapshot.
const BLOCK: NonZeroU64 = NonZeroU64::new(store::BLOCK).unwrap();
/// The longest that replication waits so that it can tell layers the next time.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the user says about a disk.
#[derive(Debug)]
pub(crate) enum Told {
    Nothing,
    /// Not to go by layers.
    ReadAll,
    /// Where it can differ from its last snapshot, and by what that is known.
    Ranges(Vec<Range<u64>>, &'static str),
}

/// The last snapshot of a disk, wherever it is kept.
#[derive(Debug)]
pub(crate) struct Last {
    /// Bytes of the disk, if that is known.
    pub(crate) disk_size: Option<u64>,
    /// What [`Since::source`] gave when it was made, if it was kept.
    pub(crate) source: Option<String>,
}

/// Where a disk can differ from its last snapshot.
#[derive(Debug)]
pub(crate) struct Since {
    ranges: Option<Vec<Range<u64>>>,
    /// Whether somebody says so whose word cannot be checked.
    believed: bool,
}

/// What the user says about each of the disks.
pub(crate) fn told(
    args: &ReplicateArgs,
    lists: &[Changed],
    disks: &[Disk],
    terminal: &Terminal,
) -> Result<Vec<Told>> {
    if !lists.is_empty() && lists.len() != disks.len() {
        bail!(
            "there are {} disks and {} lists of changes; give --changed once for each disk",
            disks.len(),
            lists.len()
        );
    }
    let mut all = Vec::new();
    for (index, disk) in disks.iter().enumerate() {
        all.push(match (lists.get(index), &args.bitmap) {
            (Some(list), _) => Told::Ranges(list.on_disk(disk.device().size())?, "list"),
            (None, Some(name)) => dirty(disk, name, terminal)?,
            (None, None) if args.read_all => Told::ReadAll,
            (None, None) => Told::Nothing,
        });
    }
    if let Some(name) = &args.bitmap
        && !all.iter().any(|told| matches!(told, Told::Ranges(..)))
    {
        bail!("no disk has a bitmap {name:?}; `rehost info` lists the bitmaps of an image");
    }
    Ok(all)
}

/// What a bitmap says about a disk. That one of several has none is no mistake: not every format
/// has bitmaps.
fn dirty(disk: &Disk, name: &str, terminal: &Terminal) -> Result<Told> {
    let Content::Image(image) = &disk.content else {
        return Ok(Told::Nothing);
    };
    let dirty = image.dirty(name, BLOCK, &terminal.interrupt);
    let dirty = dirty.with_context(|| {
        format!(
            "cannot use the bitmap of {}; without --bitmap all of it is read",
            disk.name
        )
    })?;
    let Some(dirty) = dirty else {
        eprintln!(
            "rehost: {} has no bitmap {name:?}, so all of it is read",
            disk.name
        );
        return Ok(Told::ReadAll);
    };
    if !dirty.enabled {
        eprintln!(
            "rehost: the bitmap {name:?} of {} is disabled: what was written since then is not in it",
            disk.name
        );
    }
    Ok(Told::Ranges(dirty.ranges, "bitmap"))
}

/// How long to wait before the disks are opened again, so that what is read can be told from what
/// comes later: see [`Image::settles_in`]. Only where there are layers to tell.
pub(crate) fn settles_in(disks: &[Disk]) -> Option<Duration> {
    let images = disks.iter().filter_map(|disk| match &disk.content {
        Content::Image(image) if image.layers().len() > 1 => Some(image.settles_in()),
        _ => None,
    });
    images
        .max()
        .filter(|time| !time.is_zero() && *time <= PATIENCE)
}

impl Since {
    /// Finds out, and says on stderr by what.
    pub(crate) fn of(
        disk: &Disk,
        told: &Told,
        last: Option<&Last>,
        terminal: &Terminal,
    ) -> Result<Self> {
        let everything = Self {
            ranges: None,
            believed: false,
        };
        let Some(last) = last else {
            if let Told::Ranges(_, by) = told {
                eprintln!(
                    "rehost: {} has no snapshot yet, so all of it is read, whatever the {by} says",
                    disk.name
                );
            }
            return Ok(everything);
        };
        let (mut ranges, believed) = match (told, &disk.content) {
            (Told::Ranges(ranges, _), _) => (ranges.clone(), true),
            (Told::Nothing, Content::Image(image)) => match layers(disk, image, last, terminal)? {
                Some(ranges) => (ranges, false),
                None => return Ok(everything),
            },
            (Told::Nothing | Told::ReadAll, _) => return Ok(everything),
        };
        // What the disk has grown by is in no snapshot.
        if let Some(size) = last.disk_size {
            ranges.push(size..disk.device().size());
        }
        Ok(Self {
            ranges: Some(ranges),
            believed,
        })
    }

    /// What a snapshot is made with: bytes of the disk, in any order; everything if absent.
    pub(crate) fn ranges(&self) -> Option<&[Range<u64>]> {
        self.ranges.as_deref()
    }

    /// Whether a list or a bitmap says so, which is about the last snapshot alone.
    pub(crate) fn is_believed(&self) -> bool {
        self.believed
    }

    /// The state of the files that hold what was read, to be kept with the snapshot: ask once the
    /// disk is read. Absent if that is not known.
    pub(crate) fn source(&self, disk: &Disk) -> Option<SourceState> {
        let Content::Image(image) = &disk.content else {
            return None;
        };
        if !image.is_as_opened() {
            eprintln!(
                "rehost: the files of {} changed while they were read: its snapshot may hold a mix \
                 of before and after",
                disk.name
            );
            return None;
        }
        // A list that was wrong is made good when the whole disk is read the next time.
        if self.believed {
            return None;
        }
        let fingerprint = image.fingerprints().into_iter().next().flatten()?;
        fingerprint.to_string().parse().ok()
    }
}

/// Where the layers decide that lie above the files of the last snapshot, if there are such. An
/// image without new layers may have been written to in a way that its files do not tell.
fn layers(
    disk: &Disk,
    image: &Image,
    last: &Last,
    terminal: &Terminal,
) -> Result<Option<Vec<Range<u64>>>> {
    let prints = image.fingerprints();
    if prints.len() < 2 {
        return Ok(None);
    }
    let known = prints
        .iter()
        .position(|print| print.is_some_and(|print| last.source == Some(print.to_string())));
    let above = match (known, &last.source) {
        // The layers below have to be the disk that the snapshot is of.
        (Some(above), _)
            if above > 0
                && image.layers().get(above).map(|layer| layer.virtual_size) == last.disk_size =>
        {
            above
        }
        (Some(_), _) => return Ok(None),
        (None, source) => {
            let why = if source.is_some() {
                "no layer is as it was when the last snapshot was made"
            } else {
                "the last snapshot does not say which files it was made of"
            };
            eprintln!("rehost: {}: {why}, so all of it is read", disk.name);
            return Ok(None);
        }
    };
    let ranges = image
        .decided_above(above, BLOCK, &terminal.interrupt)
        .with_context(|| format!("cannot tell the layers of {} apart", disk.name))?;
    eprintln!(
        "rehost: {}: {above} layer{} above the last snapshot: {} to read",
        disk.name,
        if above == 1 { "" } else { "s" },
        size::text(data(&*disk.device(), &ranges)?)
    );
    Ok(Some(ranges))
}

/// Where a disk can differ from a snapshot that was made of files in this state; `None` if nothing
/// tells. Nothing is said.
pub(crate) fn unread(
    disk: &Disk,
    source: Option<&String>,
    terminal: &Terminal,
) -> Result<Option<Vec<Range<u64>>>> {
    let (Content::Image(image), Some(source)) = (&disk.content, source) else {
        return Ok(None);
    };
    let prints = image.fingerprints();
    let known = prints
        .iter()
        .position(|print| print.is_some_and(|print| *source == print.to_string()));
    match known {
        // The very files of the snapshot, which have not been written to as far as the host tells.
        Some(0) => Ok(Some(Vec::new())),
        Some(above) => {
            let ranges = image.decided_above(above, BLOCK, &terminal.interrupt);
            Ok(Some(ranges.with_context(|| {
                format!("cannot tell the layers of {} apart", disk.name)
            })?))
        }
        None => Ok(None),
    }
}

/// Bytes of these ranges that are data.
pub(crate) fn data(device: &dyn BlockRead, ranges: &[Range<u64>]) -> Result<u64> {
    let mut data = 0;
    for range in ranges {
        let mut at = range.start;
        while at < range.end {
            let extent = device.extent_at(at)?;
            // A device that answers with a range before the question would loop for ever.
            let end = extent.range.end.max(at.saturating_add(1)).min(range.end);
            if extent.kind == ExtentKind::Data {
                data += end - at;
            }
            at = end;
        }
    }
    Ok(data)
}
