//! What the metadata of a volume group says, checked.

use super::Uuid;
use super::text::{Malformed, Section, Value};
use std::collections::BTreeMap;
use thiserror::Error;

/// A volume group as one copy of its metadata describes it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) id: Uuid,
    pub(super) seqno: u64,
    /// Bytes.
    pub(super) extent_size: u64,
    pub(super) exported: bool,
    /// How machines that share it keep each other out, if they do.
    pub(super) lock: Option<String>,
    /// The one machine that may use it, if only one may.
    pub(super) system: Option<String>,
    /// By the name that the rest of the metadata uses.
    pub(super) physical: BTreeMap<String, Physical>,
    /// In the order of the text, which is that of their making.
    pub(super) logical: Vec<Logical>,
}

/// A physical volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Physical {
    pub(super) id: Uuid,
    /// The device that it was last seen on: a hint for people.
    pub(super) device: Option<String>,
    /// First byte of the first extent.
    pub(super) start: u64,
    pub(super) extents: u64,
    /// LVM2 gave it up: what it holds is old, even if it is there.
    pub(super) missing: bool,
}

/// A logical volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Logical {
    pub(super) name: String,
    pub(super) id: Uuid,
    pub(super) visible: bool,
    pub(super) rebuild: bool,
    /// Device-mapper reads it only if no other leg is left.
    pub(super) write_mostly: bool,
    pub(super) segments: Vec<Segment>,
}

/// A run of extents that is made in one way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Segment {
    /// Number of extents.
    pub(super) extents: u64,
    pub(super) kind: SegmentKind,
}

/// How extents are made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum SegmentKind {
    /// Chunks of so many bytes over the areas; of one area, all.
    Striped { chunk: u64, areas: Vec<Place> },
    /// Each area holds all; a log says what of it.
    Mirror {
        log: Option<String>,
        areas: Vec<Place>,
    },
    /// Images, each with what describes it.
    Raid {
        level: RaidLevel,
        chunk: u64,
        copies: u64,
        /// Names of the volumes with the superblock, if there is one, and with the data.
        images: Vec<(Option<String>, String)>,
    },
    /// What a pool maps.
    Thin {
        pool: String,
        device_id: u64,
        origin: Option<String>,
        /// The volume whose content this one is to become.
        merge: Option<String>,
    },
    /// Data that thin volumes share.
    ThinPool {
        metadata: String,
        data: String,
        /// Bytes that are mapped at once.
        chunk: u64,
        /// Counts the changes that both LVM2 and the pool know of.
        transaction: u64,
    },
    /// Describes that `cow` is what `origin` was, or is to become again.
    Snapshot {
        origin: String,
        cow: String,
        merging: bool,
    },
    /// Zeros.
    Zero,
    /// A type that is not read.
    Other(String),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum RaidLevel {
    Raid0,
    Raid1,
    Raid10,
}

/// Extents from this one on of a physical or another logical volume.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) name: String,
    pub(super) first: u64,
}

/// Why metadata cannot be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum BadMetadata {
    /// The text is not of its grammar.
    #[error("cannot be parsed: {0}")]
    Malformed(#[from] Malformed),
    /// A key is missing, or holds what it cannot hold.
    #[error("{section} has no usable {key}")]
    Key {
        /// Name of the section.
        section: String,
        /// Name of the key.
        key: &'static str,
    },
    /// The segments of a logical volume leave holes or overlap.
    #[error("the segments of {volume} are not one after the other")]
    Segments {
        /// Name of the logical volume.
        volume: String,
    },
    /// A version that is not known.
    #[error("not of format {0:?}")]
    Format(&'static str),
}

const SECTOR: u64 = 512;
/// `MAX_STRIPES` of LVM2.
const MAX_AREAS: usize = 128;

impl Description {
    pub(super) fn parse(text: &[u8]) -> Result<Self, BadMetadata> {
        let text = Section::parse(text)?;
        if text.text("contents") != Some("Text Format Volume Group")
            || text.number("version") != Some(1)
        {
            return Err(BadMetadata::Format("Text Format Volume Group, version 1"));
        }
        let (name, group) = text.sections().next().ok_or(BadMetadata::Format("lvm2"))?;
        if group.text("format").is_some_and(|format| format != "lvm2") {
            return Err(BadMetadata::Format("lvm2"));
        }
        let fields = Fields {
            name,
            section: group,
        };
        let extent_size = fields.sectors("extent_size")?;
        if extent_size == 0 {
            return Err(fields.bad("extent_size"));
        }
        let physical = group.section("physical_volumes");
        let physical = physical.into_iter().flat_map(Section::sections);
        let logical = group.section("logical_volumes");
        let logical = logical.into_iter().flat_map(Section::sections);
        Ok(Self {
            name: name.to_owned(),
            id: fields.id()?,
            seqno: fields.number("seqno")?,
            extent_size,
            exported: group.lists("status", "EXPORTED"),
            lock: match group.text("lock_type").filter(|lock| *lock != "none") {
                Some(lock) => Some(lock.to_owned()),
                None if group.lists("status", "CLUSTERED") => Some("clvm".to_owned()),
                None => None,
            },
            system: group
                .text("system_id")
                .filter(|id| !id.is_empty())
                .map(str::to_owned),
            physical: physical
                .map(|(name, section)| {
                    let fields = Fields { name, section };
                    Ok((name.to_owned(), Physical::parse(fields)?))
                })
                .collect::<Result<_, BadMetadata>>()?,
            logical: logical
                .map(|(name, section)| Logical::parse(Fields { name, section }))
                .collect::<Result<_, _>>()?,
        })
    }
}

/// A section with its name, for what is said of it.
#[derive(Clone, Copy)]
struct Fields<'t> {
    name: &'t str,
    section: &'t Section,
}

impl Fields<'_> {
    fn bad(&self, key: &'static str) -> BadMetadata {
        BadMetadata::Key {
            section: self.name.to_owned(),
            key,
        }
    }

    fn id(&self) -> Result<Uuid, BadMetadata> {
        let id = self.section.text("id").and_then(Uuid::parse);
        id.ok_or(self.bad("id"))
    }

    fn number(&self, key: &'static str) -> Result<u64, BadMetadata> {
        self.section.number(key).ok_or(self.bad(key))
    }

    /// A number of sectors, as bytes.
    fn sectors(&self, key: &'static str) -> Result<u64, BadMetadata> {
        let sectors = self.number(key)?;
        sectors.checked_mul(SECTOR).ok_or(self.bad(key))
    }

    fn text(&self, key: &'static str) -> Result<String, BadMetadata> {
        let text = self.section.text(key).map(str::to_owned);
        text.ok_or(self.bad(key))
    }

    fn optional_sectors(&self, key: &'static str) -> Result<u64, BadMetadata> {
        match self.section.value(key) {
            Some(_) => self.sectors(key),
            None => Ok(0),
        }
    }

    /// Names, each with a number.
    fn places(&self, key: &'static str) -> Result<Vec<Place>, BadMetadata> {
        let values = self.section.list(key).ok_or(self.bad(key))?;
        let (pairs, rest) = values.as_chunks::<2>();
        if !rest.is_empty() || pairs.is_empty() || pairs.len() > MAX_AREAS {
            return Err(self.bad(key));
        }
        let place = |[name, first]: &[Value; 2]| {
            Some(Place {
                name: name.as_text()?.to_owned(),
                first: first.as_number()?,
            })
        };
        let places = pairs.iter().map(place).collect::<Option<_>>();
        places.ok_or(self.bad(key))
    }

    /// A number that says how many elements a list has, which has to be true.
    fn counts(&self, key: &'static str, len: usize) -> Result<(), BadMetadata> {
        let count = self.section.number(key);
        match count.and_then(|count| usize::try_from(count).ok()) {
            Some(count) if count == len => Ok(()),
            _ => Err(self.bad(key)),
        }
    }
}

impl Physical {
    fn parse(fields: Fields<'_>) -> Result<Self, BadMetadata> {
        let section = fields.section;
        Ok(Self {
            id: fields.id()?,
            device: section.text("device").map(str::to_owned),
            start: fields.sectors("pe_start")?,
            extents: fields.number("pe_count")?,
            missing: section.lists("status", "MISSING") || section.lists("flags", "MISSING"),
        })
    }
}

impl Logical {
    fn parse(fields: Fields<'_>) -> Result<Self, BadMetadata> {
        let mut segments: Vec<(u64, Segment)> = Vec::new();
        for (name, section) in fields.section.sections() {
            if name.starts_with("segment") {
                let fields = Fields { name, section };
                segments.push((fields.number("start_extent")?, Segment::parse(fields)?));
            }
        }
        segments.sort_by_key(|(start, _)| *start);
        let mut next = 0_u64;
        for (start, segment) in &segments {
            let end = start.checked_add(segment.extents);
            match end {
                Some(end) if *start == next && segment.extents > 0 => next = end,
                _ => {
                    return Err(BadMetadata::Segments {
                        volume: fields.name.to_owned(),
                    });
                }
            }
        }
        fields.counts("segment_count", segments.len())?;
        Ok(Self {
            name: fields.name.to_owned(),
            id: fields.id()?,
            visible: fields.section.lists("status", "VISIBLE"),
            rebuild: fields.section.lists("status", "REBUILD"),
            write_mostly: fields.section.lists("status", "WRITEMOSTLY"),
            segments: segments.into_iter().map(|(_, segment)| segment).collect(),
        })
    }

    /// The volume that takes the content of a snapshot, and that snapshot, if this describes it.
    pub(super) fn merges(&self) -> Option<(&str, &str)> {
        match self.only()? {
            SegmentKind::Snapshot {
                origin,
                cow,
                merging: true,
            } => Some((origin, cow)),
            SegmentKind::Thin {
                merge: Some(origin),
                ..
            } => Some((origin, &self.name)),
            _ => None,
        }
    }

    /// The one segment of volumes that have one.
    pub(super) fn only(&self) -> Option<&SegmentKind> {
        match self.segments.as_slice() {
            [segment] => Some(&segment.kind),
            _ => None,
        }
    }
}

impl Segment {
    fn parse(fields: Fields<'_>) -> Result<Self, BadMetadata> {
        let extents = fields.number("extent_count")?;
        let kind = fields.text("type")?;
        // Flags that older versions must not overlook stand behind the type (`read_lvflags`). This
        // one says whether the end of large metadata is used, which its own trees tell.
        let plain = kind.strip_suffix("+CROP_METADATA").unwrap_or(&kind);
        let kind = match plain {
            "striped" | "linear" => {
                let areas = fields.places("stripes")?;
                fields.counts("stripe_count", areas.len())?;
                let chunk = match areas.len() {
                    1 => 0,
                    _ => fields.sectors("stripe_size")?,
                };
                SegmentKind::Striped { chunk, areas }
            }
            "mirror" => {
                let areas = fields.places("mirrors")?;
                fields.counts("mirror_count", areas.len())?;
                match fields.section.value("extents_moved") {
                    Some(_) => moved(fields, extents, areas)?,
                    None => SegmentKind::Mirror {
                        log: fields.section.text("mirror_log").map(str::to_owned),
                        areas,
                    },
                }
            }
            "raid0" | "raid0_meta" => raid(fields, RaidLevel::Raid0)?,
            "raid1" => raid(fields, RaidLevel::Raid1)?,
            "raid10" | "raid10_near" => raid(fields, RaidLevel::Raid10)?,
            "thin" => SegmentKind::Thin {
                pool: fields.text("thin_pool")?,
                device_id: fields.number("device_id")?,
                origin: fields.section.text("external_origin").map(str::to_owned),
                merge: fields.section.text("merge").map(str::to_owned),
            },
            "thin-pool" => SegmentKind::ThinPool {
                metadata: fields.text("metadata")?,
                data: fields.text("pool")?,
                chunk: fields.sectors("chunk_size")?,
                transaction: fields.number("transaction_id")?,
            },
            "snapshot" => {
                let merging = fields.section.value("merging_store").is_some();
                let cow = match merging {
                    true => "merging_store",
                    false => "cow_store",
                };
                SegmentKind::Snapshot {
                    origin: fields.text("origin")?,
                    cow: fields.text(cow)?,
                    merging,
                }
            }
            "zero" => SegmentKind::Zero,
            _ => SegmentKind::Other(kind),
        };
        Ok(Self { extents, kind })
    }
}

/// Extents on their way from the first to the second area, by `pvmove`. Until all of them are there
/// the first counts, and what was copied is copied once more; from then on only the second is
/// written (`_mirrored_add_target_line` of lib/mirror/mirrored.c).
fn moved(fields: Fields<'_>, extents: u64, areas: Vec<Place>) -> Result<SegmentKind, BadMetadata> {
    let moved = fields.number("extents_moved")?;
    let counts = usize::from(moved == extents);
    match areas.into_iter().nth(counts) {
        Some(area) if moved <= extents => Ok(SegmentKind::Striped {
            chunk: 0,
            areas: vec![area],
        }),
        _ => Err(fields.bad("extents_moved")),
    }
}

fn raid(fields: Fields<'_>, level: RaidLevel) -> Result<SegmentKind, BadMetadata> {
    let section = fields.section;
    // While the number of legs or the level changes, data lies in two layouts.
    if ["reshape_count", "data_offset", "delta_disks"]
        .iter()
        .any(|key| section.value(key).is_some())
    {
        return Ok(SegmentKind::Other(
            "raid with room for reshaping".to_owned(),
        ));
    }
    let key = match section.value("raids") {
        Some(_) => "raids",
        None => "raid0_lvs",
    };
    let names = section.list(key).ok_or(fields.bad(key))?;
    let names: Option<Vec<String>> = names
        .iter()
        .map(|name| name.as_text().map(str::to_owned))
        .collect();
    let names = names.ok_or(fields.bad(key))?;
    let count_key = match section.value("device_count") {
        Some(_) => "device_count",
        None => "stripe_count",
    };
    let count = usize::try_from(fields.number(count_key)?).unwrap_or(usize::MAX);
    if count == 0 || count > MAX_AREAS {
        return Err(fields.bad(count_key));
    }
    let images: Vec<_> = if names.len() == count {
        names.into_iter().map(|data| (None, data)).collect()
    } else if names.len() == count.saturating_mul(2) {
        let (pairs, _) = names.as_chunks::<2>();
        let pairs = pairs.iter();
        pairs
            .map(|[meta, data]| (Some(meta.clone()), data.clone()))
            .collect()
    } else {
        return Err(fields.bad(key));
    };
    let copies = match (level, section.number("data_copies")) {
        (RaidLevel::Raid0, _) => 1,
        (RaidLevel::Raid1, _) => ondisk::width::u64_of(images.len()),
        (RaidLevel::Raid10, copies) => copies.unwrap_or(2),
    };
    Ok(SegmentKind::Raid {
        level,
        chunk: fields.optional_sectors("stripe_size")?,
        copies,
        images,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_shares_a_group_is_read() {
        for (said, lock) in [
            ("status = [\"READ\"]", None),
            ("lock_type = \"none\"", None),
            ("lock_type = \"sanlock\"", Some("sanlock")),
            ("status = [\"READ\", \"CLUSTERED\"]", Some("clvm")),
        ] {
            let text = format!(
                "contents = \"Text Format Volume Group\" version = 1 vg {{\n\
                 id = \"bbbbbb-0000-0000-0000-0000-0000-000000\" seqno = 1 extent_size = 8 {said} }}"
            );
            let group = Description::parse(text.as_bytes()).unwrap();
            assert_eq!(group.lock.as_deref(), lock);
        }
    }
}
