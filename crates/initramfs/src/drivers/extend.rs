use super::assess::Report;
use super::installed::Installed;
use super::{index, load, nash, overlay, repack, unpack_module};
use crate::codec::Compression;
use crate::contents::Entry;
use crate::error::{Error, UnsupportedKind};
use crate::initramfs::Initramfs;
use crate::kind::Kind;
use crate::kmod::{ModuleFile, Modules};
use crate::marker;
use crate::module_tree::{self, ModuleTree};
use ondisk::width::usize_of;
use std::collections::BTreeMap;

/// What an initramfs is to have.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// Module names of drivers; `-` and `_` are alike.
    pub wanted: &'a [&'a str],
    /// The device that `conf/conf.d/resume` of initramfs-tools is to name, as `UUID=...`; other
    /// kinds have no such file.
    pub resume: Option<&'a str>,
    /// Further files, by their paths without a leading slash.
    pub extra: BTreeMap<String, ExtraFile>,
    /// Symbolic links by their paths without a leading slash, and what they lead to. One that leads
    /// nowhere hides the file that was there.
    pub links: BTreeMap<String, String>,
    /// How to write it.
    pub method: Method,
}

/// A regular file, owned by root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExtraFile {
    /// Permissions, as in `0o644`.
    pub mode: u32,
    /// The whole contents.
    pub data: Vec<u8>,
}

/// How an initramfs is extended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Method {
    /// Append a plain archive; where the kernel would not see it, [`Repack`](Self::Repack).
    #[default]
    Append,
    /// Append an archive compressed by gzip, about a third of the size; else as
    /// [`Append`](Self::Append).
    AppendCompressed,
    /// Pack the whole initramfs anew. Smaller than a plain append only if the old one is packed
    /// less well than by gzip.
    Repack,
}

/// How an initramfs becomes one that has what was asked for: its first `keep` bytes stay, `tail`
/// follows them, and nothing else.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Extension {
    /// Bytes of the existing file that stay as they are. What is cut off is padding, the segment of
    /// an earlier conversion, or bytes that the kernel never unpacked.
    pub keep: u64,
    /// The bytes that follow.
    pub tail: Vec<u8>,
    /// How it was done: append may have become repack.
    pub method: Method,
    /// The drivers, as they were found.
    pub report: Report,
    /// Files and links in the new archive, where they will stand, the marker left out.
    pub files: Vec<String>,
}

impl Extension {
    /// The extended initramfs, made of the one that was read.
    pub fn apply(&self, original: &[u8]) -> Vec<u8> {
        let kept = original.get(..usize_of(self.keep)).unwrap_or(original);
        [kept, &self.tail].concat()
    }
}

impl Initramfs<'_> {
    /// Makes the segment that gives the initramfs what it lacks of `request`; nothing if it lacks
    /// nothing. The same inputs give the same bytes, whether or not an earlier conversion has
    /// extended the initramfs.
    ///
    /// # Errors
    /// As [`assess`](Self::assess); corrupt if a compressed module does not unpack where the
    /// initramfs needs it plain; unsupported if a file is in the way of a directory.
    pub fn extend(
        &self,
        tree: &dyn ModuleTree,
        request: &Request<'_>,
    ) -> Result<Option<Extension>, Error> {
        let modules = Modules::read(tree)?;
        let report = self.report(self.contents(), tree, &modules, request.wanted)?;
        let mut files = request.extra.clone();
        if let (Kind::InitramfsTools, Some(device)) = (self.kind(), request.resume) {
            let data = format!("RESUME={device}\n").into_bytes();
            let file = ExtraFile { mode: 0o644, data };
            files.insert("conf/conf.d/resume".to_owned(), file);
        }
        let has_files = files
            .iter()
            .all(|(path, file)| self.contents().read(path) == Some(&file.data));
        let has_links = request.links.iter().all(|(path, target)| {
            self.contents().entry(path) == Some(Entry::Symlink(target.as_bytes()))
        });
        if report.leave_alone() && has_files && has_links {
            return Ok(None);
        }
        // from here on as if there had been no earlier conversion
        let report = self.report(self.original(), tree, &modules, request.wanted)?;
        if !report.leave_alone() && *self.kind() == Kind::Nash {
            nash::add_drivers(self.original(), tree, &modules, &report, &mut files)?;
        } else if !report.leave_alone() {
            let original = Installed::of(self.original(), tree.release())?;
            add_drivers(self, tree, &modules, &original, &report, &mut files)?;
        }
        let marker = ExtraFile {
            mode: 0o644,
            data: marker::contents(report.to_add.iter().map(|module| &**module)),
        };
        let archive = overlay::archive(self.original(), &marker, &files, &request.links)?;
        let method = self.method(request.method, tree.release());
        let (keep, tail) = match method {
            Method::Repack => repack::repack(self, &archive)?,
            Method::Append | Method::AppendCompressed => {
                let keep = self.original_end();
                let mut tail = padding(keep);
                if method == Method::Append {
                    tail.extend_from_slice(&archive);
                } else {
                    tail.extend_from_slice(&repack::gzip(&archive)?);
                }
                (keep, tail)
            }
        };
        Ok(Some(Extension {
            keep,
            tail,
            method,
            report,
            files: files
                .into_keys()
                .chain(request.links.keys().cloned())
                .collect(),
        }))
    }

    /// Kernels before 5.10 do not see that the zeros after an lz4 stream end it.
    fn method(&self, asked: Method, release: &str) -> Method {
        let last = self.original_segments().last();
        let lz4 = last.is_some_and(|last| last.compression == Some(Compression::Lz4));
        if lz4 && !is_at_least(release, (5, 10)) {
            Method::Repack
        } else {
            asked
        }
    }
}

/// Zeros after `end` bytes: at least 4, which end an lz4 stream, up to a multiple of 512.
pub(super) fn padding(end: u64) -> Vec<u8> {
    let start = end.saturating_add(4).next_multiple_of(512);
    vec![0; usize_of(start.saturating_sub(end))]
}

/// Puts the modules, the merged indexes and the load configuration among the files.
fn add_drivers(
    initramfs: &Initramfs<'_>,
    tree: &dyn ModuleTree,
    modules: &Modules,
    installed: &Installed,
    report: &Report,
    files: &mut BTreeMap<String, ExtraFile>,
) -> Result<(), Error> {
    let unpacks = unpacks_modules(installed);
    let mut added = BTreeMap::new();
    for module in &report.to_add {
        // `to_add` names modules of the tree only
        let Some(line) = modules.dependencies(module) else {
            continue;
        };
        let missing = || UnsupportedKind::ModuleFile {
            path: line.path.clone(),
        };
        let mut data = module_tree::read(tree, &line.path)?.ok_or_else(missing)?;
        let file = ModuleFile::parse(&line.path).ok_or_else(missing)?;
        let mut path = line.path.clone();
        if unpacks && !file.suffix.is_empty() {
            data = unpack_module(&line.path, &data)?;
            path = file.uncompressed.to_owned();
        }
        files.insert(installed.file(&path), ExtraFile { mode: 0o644, data });
        added.insert(module.clone(), path);
    }
    for (name, data) in index::merged(installed, modules, &added)? {
        files.insert(installed.file(name), ExtraFile { mode: 0o644, data });
    }
    let load = report.to_load();
    if let Some((path, file)) = load::configuration(initramfs.kind(), initramfs.original(), &load)?
    {
        files.insert(path, file);
    }
    Ok(())
}

/// Whether modules have to be plain in the initramfs: where the generator unpacked its own, or where
/// busybox loads them.
fn unpacks_modules(installed: &Installed) -> bool {
    if installed.files.is_empty() {
        return !installed.has_kmod;
    }
    installed
        .files
        .values()
        .all(|path| ModuleFile::parse(path).is_some_and(|file| file.suffix.is_empty()))
}

/// Whether a kernel release, like `5.10.0-32-amd64`, is of this version or a later one.
fn is_at_least(release: &str, version: (u32, u32)) -> bool {
    let mut numbers = release.split(|char: char| !char.is_ascii_digit());
    let mut number = || numbers.next().and_then(|digits| digits.parse().ok());
    match (number(), number()) {
        (Some(major), Some(minor)) => (major, minor) >= version,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ondisk::width::u64_of;

    #[test]
    fn padding_reaches_a_sector_and_ends_lz4() {
        for end in [0, 1, 508, 509, 511, 512, 513] {
            let len = u64_of(padding(end).len());
            assert!((4..516).contains(&len), "{end}");
            assert_eq!((end + len) % 512, 0);
        }
    }

    #[test]
    fn releases_compare_by_number() {
        assert!(is_at_least("5.10.0-32-amd64", (5, 10)));
        assert!(is_at_least("6.1.0-50-amd64", (5, 10)));
        assert!(!is_at_least("5.9.16", (5, 10)));
        assert!(!is_at_least("4.19.0-27-amd64", (5, 10)));
        assert!(!is_at_least("next", (5, 10)));
    }
}
