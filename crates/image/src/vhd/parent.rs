//! Finding the parent of a differencing disk.

use super::error::Damage;
use super::raw;
use crate::content_id::ContentId;
use crate::file::ImageFile;
use crate::open::{Next, Opener};
use crate::{Error, Format};
use ondisk::cap;

/// Most bytes of a parent locator: the longest path of Windows, in UTF-16.
const MAX_LOCATOR: u64 = 64 << 10;

/// Opens the parent by the first of its names that leads to a file. The chain checks afterwards
/// that it is the one that the child was made over.
pub(super) fn open(
    file: &ImageFile,
    header: &raw::DynamicHeader,
    opener: &mut Opener,
) -> Result<Next, Error> {
    let mut first_error = None;
    for name in names(file, header)? {
        match opener.named(file.path(), name.as_bytes(), "parent") {
            Ok(parent) => {
                return Ok(Next {
                    file: parent,
                    format: Some(Format::Vhd),
                    content_id: Some(ContentId::Vhd(header.parent_unique_id)),
                });
            }
            Err(error @ Error::Io { .. }) => return Err(error),
            // The next name may lead to it; the first one says best what was looked for.
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.unwrap_or_else(|| Error::corrupt(file.path(), Damage::NoParentName)))
}

/// What the parent may be called here, the best name first.
///
/// Locators hold paths of the machine that made the image. A relative one is followed as far as
/// the gate lets it; of an absolute one, as of those that lead nowhere, the last component is
/// looked for beside the image: that is where files lie that were carried away together.
fn names(file: &ImageFile, header: &raw::DynamicHeader) -> Result<Vec<String>, Error> {
    let mut paths = Vec::new();
    for code in [raw::WINDOWS_RELATIVE, raw::WINDOWS_ABSOLUTE, raw::MAC_URL] {
        for locator in &header.parent_locators {
            if locator.platform_code != code {
                continue;
            }
            let data = locator_data(file, locator)?;
            paths.push(if code == raw::MAC_URL {
                path_of_url(&data)
            } else {
                utf16(&data, u16::from_le_bytes)
            });
        }
    }
    paths.push(utf16(&header.parent_unicode_name, u16::from_be_bytes));
    let (mut whole, mut last): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for path in &paths {
        let path = path.replace('\\', "/");
        let is_absolute = path.starts_with('/') || path.get(1..2) == Some(":");
        let plain = path.trim_start_matches("./");
        if !is_absolute {
            whole.push(plain.to_owned());
        }
        last.push(plain.rsplit('/').next().unwrap_or(plain).to_owned());
    }
    let mut names: Vec<String> = Vec::new();
    for name in whole.into_iter().chain(last) {
        if !name.is_empty() && !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn locator_data(file: &ImageFile, locator: &raw::ParentLocator) -> Result<Vec<u8>, Error> {
    let len = u64::from(locator.platform_data_length.get());
    let len = cap::length("platform_data_length", len, MAX_LOCATOR)
        .map_err(|error| Error::corrupt(file.path(), error))?;
    let mut data = vec![0; len];
    file.read_exact(locator.platform_data_offset.get(), &mut data)?;
    Ok(data)
}

/// Text up to its first zero; what is no character is replaced, and leads to no file.
fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> String {
    let (pairs, _) = bytes.as_chunks::<2>();
    let units: Vec<u16> = pairs
        .iter()
        .map(|pair| unit(*pair))
        .take_while(|unit| *unit != 0)
        .collect();
    String::from_utf16_lossy(&units)
}

/// The path in a URL like `file://localhost/directory/parent.vhd`. Escapes are left alone: a name
/// that has any is found by another locator or not at all.
fn path_of_url(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.trim_end_matches('\0');
    let text = text.strip_prefix("file://").unwrap_or(text);
    text.strip_prefix("localhost").unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    fn le(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    #[test]
    fn names_of_every_shape_are_found_in_their_order() {
        let mut data = vec![0; 512];
        let mut header = raw::DynamicHeader::new_zeroed();
        let locators = [
            (b"W2ku", le("C:\\vm\\absolute.vhd")),
            (b"Wi2k", b"not read".to_vec()),
            (b"W2ru", le("..\\up\\relative.vhd\0garbage")),
            (b"MacX", b"file://localhost/Users/x/url.vhd".to_vec()),
            (b"MacX", b"file://./beside.vhd\0".to_vec()),
        ];
        for (locator, (code, bytes)) in header.parent_locators.iter_mut().zip(&locators) {
            locator.platform_code = **code;
            locator.platform_data_length = u32::try_from(bytes.len()).unwrap().into();
            locator.platform_data_offset = ondisk::width::u64_of(data.len()).into();
            data.extend(bytes);
        }
        for (at, unit) in "\\\\server\\share\\\u{e4}.vhd".encode_utf16().enumerate() {
            header.parent_unicode_name[2 * at..][..2].copy_from_slice(&unit.to_be_bytes());
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("child.vhd");
        std::fs::write(&path, &data).unwrap();
        let file = ImageFile::open(&path).unwrap();
        assert_eq!(
            names(&file, &header).unwrap(),
            [
                "../up/relative.vhd",
                "beside.vhd",
                "relative.vhd",
                "absolute.vhd",
                "url.vhd",
                "\u{e4}.vhd"
            ]
        );
        header.parent_locators[7] = header.parent_locators[0];
        header.parent_locators[7].platform_data_length = 65_537.into();
        let error = names(&file, &header).unwrap_err().to_string();
        assert!(error.contains("platform_data_length is 65537"), "{error}");
        header.parent_locators[7].platform_data_length = 600.into();
        let error = names(&file, &header).unwrap_err().to_string();
        assert!(error.contains("but the file ends"), "{error}");
    }
}
