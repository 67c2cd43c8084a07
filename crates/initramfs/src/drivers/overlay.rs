//! Files that are to stand over what an initramfs unpacks, as one archive.

use super::extend::ExtraFile;
use crate::contents::{Contents, Entry};
use crate::cpio::Writer;
use crate::error::{Error, UnsupportedKind};
use crate::marker;
use std::collections::{BTreeMap, BTreeSet};

/// The archive that lays `files` and `links` over `contents`: the marker first, directories that are missing
/// before what is in them. Everything goes to its real path, because a directory entry over a
/// symbolic link would remove the link.
///
/// # Errors
/// Unsupported if a file stands where a directory is needed, or the other way round.
pub(super) fn archive(
    contents: &Contents,
    marker: &ExtraFile,
    files: &BTreeMap<String, ExtraFile>,
    links: &BTreeMap<String, String>,
) -> Result<Vec<u8>, Error> {
    let mut archive = Archive {
        contents,
        writer: Writer::new(),
        made: BTreeSet::new(),
    };
    archive.file(marker::PATH, marker)?;
    for (path, file) in files {
        archive.file(path, file)?;
    }
    for (path, target) in links {
        archive.link(path, target)?;
    }
    Ok(archive.writer.finish())
}

struct Archive<'a> {
    contents: &'a Contents,
    writer: Writer,
    made: BTreeSet<String>,
}

impl Archive<'_> {
    fn file(&mut self, path: &str, file: &ExtraFile) -> Result<(), Error> {
        let real = self.place(path)?;
        // The kernel would write into the file that both names mean. It removes what is of
        // another kind first, so a link in between parts them.
        if let Some(Entry::File(existing)) = self.contents.entry(&real)
            && existing.names() > 1
        {
            self.writer.symlink(&real, "rehost")?;
        }
        self.writer.file(&real, file.mode, &file.data)
    }

    /// For a link the kernel removes whatever else stands there, but for a directory.
    fn link(&mut self, path: &str, target: &str) -> Result<(), Error> {
        let real = self.place(path)?;
        self.writer.symlink(&real, target)
    }

    /// Where something goes, its directories made.
    fn place(&mut self, path: &str) -> Result<String, Error> {
        let real = self
            .contents
            .real_path(path)
            .ok_or_else(|| UnsupportedKind::NotADirectory {
                path: path.to_owned(),
            })?;
        self.directories_of(&real)?;
        match self.contents.entry(&real) {
            Some(Entry::Directory) => Err(UnsupportedKind::IsADirectory { path: real }.into()),
            _ => Ok(real),
        }
    }

    fn directories_of(&mut self, path: &str) -> Result<(), Error> {
        for (end, _) in path.match_indices('/') {
            let directory = path.get(..end).unwrap_or_default();
            match self.contents.entry(directory) {
                Some(Entry::Directory) => (),
                Some(_) => {
                    return Err(UnsupportedKind::NotADirectory {
                        path: directory.to_owned(),
                    }
                    .into());
                }
                None if self.made.contains(directory) => (),
                None => {
                    self.writer.directory(directory)?;
                    self.made.insert(directory.to_owned());
                }
            }
        }
        Ok(())
    }
}
