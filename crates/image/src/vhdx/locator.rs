//! The parent locator: which file a differencing image was made over, and which content it had.

use super::error::{Damage, Feature};
use super::raw::{self, ParentLocatorEntry, ParentLocatorHeader};
use crate::Error;
use crate::error::Feature as AnyFeature;
use crate::file::ImageFile;
use ondisk::Cursor;
use ondisk::width::usize_of_u32;
use std::collections::HashMap;
use uuid::Uuid;
use zerocopy::FromBytes;

/// A parent as its child knows it.
#[derive(Debug)]
pub(super) struct Locator {
    /// `DataWriteGuid` of the parent is one of these.
    pub(super) linkage: Uuid,
    pub(super) linkage2: Option<Uuid>,
    /// From the directory of the child.
    relative_path: Option<String>,
    /// As other hosts know it, in the order in which they are tried.
    absolute_paths: Vec<String>,
}

impl Locator {
    pub(super) fn parse(file: &ImageFile, item: &[u8]) -> Result<Self, Error> {
        let corrupt = |damage: Damage| Error::corrupt(file.path(), damage);
        let mut entries = entries(file, item)?;
        let mut guid = |key: &'static str| match entries.remove(key) {
            None => Ok(None),
            Some(value) => match value.parse::<Uuid>() {
                Ok(guid) => Ok(Some(guid)),
                Err(_) => Err(corrupt(Damage::LocatorGuid(key))),
            },
        };
        let linkage = guid("parent_linkage")?;
        let linkage2 = guid("parent_linkage2")?;
        let mut path = |key| entries.remove(key).filter(|path| !path.is_empty());
        let relative_path = path("relative_path");
        let absolute_paths = ["volume_path", "absolute_win32_path"];
        let absolute_paths: Vec<_> = absolute_paths.into_iter().filter_map(path).collect();
        if relative_path.is_none() && absolute_paths.is_empty() {
            return Err(corrupt(Damage::LocatorLacks("a path")));
        }
        Ok(Self {
            linkage: linkage.ok_or_else(|| corrupt(Damage::LocatorLacks("parent_linkage")))?,
            linkage2,
            relative_path,
            absolute_paths,
        })
    }

    /// The names to try, as the gate takes them: the relative path as it stands, and of each path
    /// the last component, for images that were carried here together.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        let mut add = |name: &str| {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        };
        if let Some(path) = &self.relative_path {
            let path = path.replace('\\', "/");
            add(path.trim_start_matches("./"));
        }
        for path in self.relative_path.iter().chain(&self.absolute_paths) {
            if let Some(last) = path.rsplit(['\\', '/']).next() {
                add(last);
            }
        }
        names
    }
}

/// The keys and their values.
fn entries(file: &ImageFile, item: &[u8]) -> Result<HashMap<String, String>, Error> {
    let corrupt = |damage: Damage| Error::corrupt(file.path(), damage);
    let misplaced = |entry| Damage::LocatorPlace {
        entry,
        length: item.len(),
    };
    let mut cursor = Cursor::new(item);
    let header = cursor
        .take(size_of::<ParentLocatorHeader>())
        .ok()
        .and_then(|bytes| ParentLocatorHeader::read_from_bytes(bytes).ok())
        .ok_or_else(|| corrupt(misplaced(0)))?;
    let locator_type = header.locator_type.uuid();
    if locator_type != raw::LOCATOR_VHDX {
        let feature = AnyFeature::Vhdx(Feature::Locator(locator_type));
        return Err(Error::unsupported(file.path(), feature));
    }
    let mut entries = HashMap::new();
    // Texts stand side by side: without this a small item could stand for gigabytes of them.
    let mut left = item.len();
    for number in 0..usize::from(header.key_value_count.get()) {
        let entry = cursor
            .take(size_of::<ParentLocatorEntry>())
            .ok()
            .and_then(|bytes| ParentLocatorEntry::read_from_bytes(bytes).ok());
        let pair = entry.and_then(|entry| {
            let lengths = [entry.key_length.get(), entry.value_length.get()];
            for length in lengths {
                left = left.checked_sub(usize::from(length))?;
            }
            let key = text(item, entry.key_offset.get(), entry.key_length.get())?;
            let value = text(item, entry.value_offset.get(), entry.value_length.get())?;
            Some((key, value))
        });
        let (key, value) = pair.ok_or_else(|| corrupt(misplaced(number)))?;
        if entries.contains_key(&key) {
            return Err(corrupt(Damage::LocatorTwice(number)));
        }
        entries.insert(key, value);
    }
    Ok(entries)
}

/// The text at a place of the item, if it is UTF-16 and all of it is there.
fn text(item: &[u8], offset: u32, length: u16) -> Option<String> {
    let start = usize_of_u32(offset);
    let end = start.checked_add(usize::from(length))?;
    let (pairs, rest) = item.get(start..end)?.as_chunks::<2>();
    let units: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
    String::from_utf16(&units).ok().filter(|_| rest.is_empty())
}
