//! Opening the disks of a package.

use super::Container;
use super::archive::{Archive, join_plain};
use super::blank::BlankLayer;
use super::envelope::{self, Backing, Disk, Envelope, FileRef};
use super::error::{Damage, Feature};
use super::gzip;
use super::manifest::{self, Check, Entry, Manifest};
use crate::error::RefusedReason;
use crate::file::ImageFile;
use crate::format::probe_file;
use crate::gate::is_address;
use crate::open::{Detail, LayerInfo, Names, Opener, open_layers};
use crate::{Error, Format, Image, OpenOptions};
use ondisk::{NoProgress, cap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A package of which descriptor and manifest were read.
#[derive(Debug)]
pub(crate) struct Package {
    /// What it is called.
    path: PathBuf,
    /// The descriptor's path; files are named relative to it.
    descriptor: PathBuf,
    files: Files,
    envelope: Envelope,
    manifest: Option<Manifest>,
    /// Files of the host that were opened to find the disks.
    opened: Vec<PathBuf>,
}

/// Where the files of a package are.
#[derive(Debug)]
enum Files {
    /// In the archive.
    Archive(Arc<Archive>),
    /// Beside the descriptor.
    Host,
    /// The descriptor came from the standard input.
    Nowhere,
}

/// A file of a package.
struct Found {
    file: ImageFile,
    /// Its path, if it is a file of the host.
    host: Option<PathBuf>,
}

/// What files are to the descriptor and to the manifest, in messages.
const DISK_FILE: &str = "disk file";
const LISTED_FILE: &str = "listed file";

/// Whether a member is a descriptor. Those with two more characters in front are what macOS keeps
/// the attributes of a file in.
pub(super) fn is_descriptor(name: &str) -> bool {
    has_extension(name, "ovf")
}

fn has_extension(name: &str, wanted: &str) -> bool {
    let path = Path::new(name);
    let hidden = path
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"._"));
    !hidden
        && path
            .extension()
            .is_some_and(|have| have.eq_ignore_ascii_case(wanted))
}

/// Opens the member of an archive that the image at `by`, a member too, calls `name`.
pub(crate) fn named(
    archive: &Archive,
    by: &Path,
    name: &[u8],
    role: &'static str,
) -> Result<ImageFile, Error> {
    let refused = |reason| Error::refused(by, name, role, reason);
    let text = str::from_utf8(name).map_err(|_| refused(RefusedReason::NotText))?;
    let inside = by.strip_prefix(archive.file().path()).unwrap_or(by);
    let dir = inside.parent().unwrap_or(Path::new(""));
    let path = join_plain(dir, text).ok_or_else(|| refused(RefusedReason::OutsideArchive))?;
    let found = match path.to_str() {
        Some(path) => archive.member(path)?,
        None => None,
    };
    found.ok_or_else(|| Error::Missing {
        by: by.to_owned(),
        name: text.to_owned(),
        role,
    })
}

impl Package {
    /// Reads descriptor and manifest; `path` is that of the file on the host, if it has one.
    pub(crate) fn open(
        container: Container,
        file: ImageFile,
        path: Option<PathBuf>,
        options: &OpenOptions,
    ) -> Result<Self, Error> {
        let called = file.path().to_owned();
        let standard_input = path.as_deref() != Some(&*called);
        let opened = path.into_iter().collect();
        let (files, descriptor) = match container {
            Container::Ova => {
                let archive = Arc::new(Archive::read(file, options.salvage)?);
                let descriptor = descriptor_of(&archive)?;
                (Files::Archive(archive), descriptor)
            }
            Container::Ovf if standard_input => (Files::Nowhere, file),
            Container::Ovf => (Files::Host, file),
        };
        let mut package = Self {
            path: called,
            descriptor: descriptor.path().to_owned(),
            files,
            envelope: Envelope::parse(descriptor.path(), &text(&descriptor, envelope::MAX_LEN)?)?,
            manifest: None,
            opened,
        };
        package.read_manifest(options)?;
        if !options.salvage {
            package.verify_descriptor(&descriptor, options)?;
        }
        if package.envelope.disks.is_empty() {
            return Err(package.unsupported(Feature::NoDisks));
        }
        Ok(package)
    }

    /// Opens the disk that is wanted.
    pub(crate) fn open_one(&self, options: &OpenOptions) -> Result<Image, Error> {
        let disks = &self.envelope.disks;
        let disk = match (options.disk, &disks[..]) {
            (Some(wanted), _) => {
                let index = wanted.checked_sub(1);
                index.and_then(|index| disks.get(index)).ok_or_else(|| {
                    let (path, count) = (self.path.display(), disks.len());
                    Error::Options {
                        reason: format!(
                            "disk {wanted} is wanted, but {path} has disks 1 to {count}"
                        ),
                    }
                })?
            }
            (None, [only]) => only,
            (None, _) => {
                return Err(Error::SeveralDisks {
                    path: self.path.clone(),
                    disks: disks.iter().map(Disk::name).collect(),
                });
            }
        };
        self.check_all_there(options)?;
        let image = self.open_disk(disk, options)?;
        if options.verify {
            image.verify_manifest(options.progress(), &options.interrupt)?;
        }
        Ok(image)
    }

    /// Opens every disk.
    pub(crate) fn open_all(&self, options: &OpenOptions) -> Result<Vec<Image>, Error> {
        if self.envelope.machines > 1 {
            return Err(self.unsupported(Feature::Machines(self.envelope.machines)));
        }
        self.check_all_there(options)?;
        let images = self
            .envelope
            .disks
            .iter()
            .map(|disk| self.open_disk(disk, options))
            .collect::<Result<Vec<_>, _>>()?;
        if options.verify {
            // Together, so that all of them are read at the same time.
            let checks = images.iter().flat_map(Image::checks);
            manifest::run(checks, options.progress(), &options.interrupt)?;
        }
        Ok(images)
    }

    fn open_disk(&self, disk: &Disk, options: &OpenOptions) -> Result<Image, Error> {
        let image = match &disk.backing {
            Backing::Refused(feature) => return Err(self.unsupported(feature.clone())),
            Backing::Blank(size) => self.blank(disk, *size, options),
            Backing::File(file_ref) => self.open_file(disk, file_ref, options)?,
        };
        Ok(image.with_machine_size(self.envelope.size))
    }

    fn blank(&self, disk: &Disk, size: u64, options: &OpenOptions) -> Image {
        let info = LayerInfo {
            path: self.descriptor.join(&disk.id),
            format: Format::Raw,
            virtual_size: size,
            details: vec![Detail::new("blank", "true")],
            snapshots: Vec::new(),
        };
        let layer = Arc::new(BlankLayer { size });
        Image::of_layers(vec![layer], vec![info], self.opened.clone(), options)
    }

    fn open_file(
        &self,
        disk: &Disk,
        file_ref: &FileRef,
        options: &OpenOptions,
    ) -> Result<Image, Error> {
        let found = self.find_href(&file_ref.href, options)?;
        let mut opener = Opener::new(options, self.files.names());
        opener.files.clone_from(&self.opened);
        match &found.host {
            Some(path) => opener.files.push(path.clone()),
            None => opener.members.push(whole(&found.file)?),
        }
        let compressed = gzip::is_gzip(&found.file)?;
        if file_ref.gzip && !compressed {
            return Err(Error::corrupt(found.file.path(), Damage::NotGzip));
        }
        let file = if compressed {
            let (progress, interrupt) = (options.progress(), &options.interrupt);
            gzip::expand(&found.file, file_ref, disk.capacity, progress, interrupt)?
        } else {
            found.file
        };
        let format = format_of(disk, &file)?;
        if format == Format::Raw && !options.salvage {
            check_length(disk, &file)?;
        }
        let image = open_layers(file, Some(format), &mut opener, options)?;
        let checks = self.checks_of(&image, &opener.members)?;
        Ok(image.with_checks(checks))
    }

    /// The file that an `href` of the descriptor means. It is a URL, so what has no file may be one
    /// with escapes; but not everybody escapes.
    fn find_href(&self, href: &str, options: &OpenOptions) -> Result<Found, Error> {
        let refused = |reason| Error::refused(&self.descriptor, href.as_bytes(), DISK_FILE, reason);
        if is_address(href) {
            return Err(refused(RefusedReason::Url));
        }
        if let Some(found) = self.find(&self.descriptor, href, DISK_FILE, options)? {
            return Ok(found);
        }
        if let Some(name) = percent_decoded(href)
            && let Some(found) = self.find(&self.descriptor, &name, DISK_FILE, options)?
        {
            return Ok(found);
        }
        Err(Error::Missing {
            by: self.descriptor.clone(),
            name: href.to_owned(),
            role: DISK_FILE,
        })
    }

    /// The file of the package that the one at `by` calls `name`, if there is one.
    fn find(
        &self,
        by: &Path,
        name: &str,
        role: &'static str,
        options: &OpenOptions,
    ) -> Result<Option<Found>, Error> {
        let found = match &self.files {
            Files::Archive(archive) => {
                let file = named(archive, by, name.as_bytes(), role);
                file.map(|file| Found { file, host: None })
            }
            Files::Host => {
                let path = options.gate.resolve(by, name.as_bytes(), role);
                path.and_then(|path| {
                    let file = ImageFile::open(&path)?;
                    let host = Some(path);
                    Ok(Found { file, host })
                })
            }
            Files::Nowhere => {
                let reason = RefusedReason::Nowhere;
                Err(Error::refused(by, name.as_bytes(), role, reason))
            }
        };
        match found {
            Ok(found) => Ok(Some(found)),
            Err(Error::Missing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Reads the manifest, if there is one: it has the name of the descriptor. In an archive it may
    /// have another, if there is no other manifest beside the descriptor.
    fn read_manifest(&mut self, options: &OpenOptions) -> Result<(), Error> {
        let path = self.descriptor.with_extension("mf");
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
            return Ok(());
        };
        let found = match &self.files {
            Files::Archive(archive) => {
                let path = archive.file().path();
                let beside: Vec<_> = archive
                    .names()
                    .filter(|name| has_extension(name, "mf"))
                    .map(|name| path.join(name))
                    .filter(|path| path.parent() == self.descriptor.parent())
                    .collect();
                let only = match &beside[..] {
                    [only] => only.file_name().and_then(|name| name.to_str()),
                    _ => None,
                };
                self.find(&self.descriptor, only.unwrap_or(name), "manifest", options)?
            }
            Files::Host => self.find(&self.descriptor, name, "manifest", options)?,
            Files::Nowhere => None,
        };
        let Some(Found { file, host }) = found else {
            return Ok(());
        };
        self.opened.extend(host);
        let parsed =
            text(&file, manifest::MAX_LEN).and_then(|text| Manifest::parse(file.path(), &text));
        self.manifest = match parsed {
            Ok(manifest) => Some(manifest),
            // Nobody asked for it.
            Err(_) if options.salvage && !options.verify => None,
            Err(error) => return Err(error),
        };
        Ok(())
    }

    /// Compares the descriptor with the manifest, always: it is small, and all else hangs on it.
    fn verify_descriptor(
        &self,
        descriptor: &ImageFile,
        options: &OpenOptions,
    ) -> Result<(), Error> {
        let mut checks = Vec::new();
        if let Some(manifest) = &self.manifest {
            for entry in &manifest.entries {
                if self
                    .paths_of(&entry.name)
                    .any(|path| path == self.descriptor)
                {
                    checks.push(manifest.check(entry, descriptor)?);
                }
            }
        }
        manifest::run(checks.iter(), &NoProgress, &options.interrupt).map(drop)
    }

    /// Before files are compared: that all files of the manifest are there.
    fn check_all_there(&self, options: &OpenOptions) -> Result<(), Error> {
        let Some(manifest) = self.manifest.as_ref().filter(|_| options.verify) else {
            return Ok(());
        };
        for Entry { name, .. } in &manifest.entries {
            let mut there = self
                .find(&manifest.path, name, LISTED_FILE, options)?
                .is_some();
            if !there && let Some(name) = percent_decoded(name) {
                there = self
                    .find(&manifest.path, &name, LISTED_FILE, options)?
                    .is_some();
            }
            if !there {
                return Err(Error::Missing {
                    by: manifest.path.clone(),
                    name: name.clone(),
                    role: LISTED_FILE,
                });
            }
        }
        Ok(())
    }

    /// What the manifest says about members, or about the files of an image beside it.
    fn checks_of(&self, image: &Image, members: &[ImageFile]) -> Result<Vec<Check>, Error> {
        let Some(manifest) = &self.manifest else {
            return Ok(Vec::new());
        };
        let mut checks = Vec::new();
        for entry in &manifest.entries {
            for path in self.paths_of(&entry.name) {
                if let Some(member) = members.iter().find(|member| member.path() == path) {
                    checks.push(manifest.check(entry, member)?);
                } else if image.files().contains(&path) && path != self.path {
                    checks.push(manifest.check(entry, &ImageFile::open(&path)?)?);
                }
            }
        }
        Ok(checks)
    }

    /// The paths that a file may have been opened with which the manifest calls so.
    fn paths_of(&self, name: &str) -> impl Iterator<Item = PathBuf> {
        let dir = self.descriptor.parent().unwrap_or(Path::new(""));
        let decoded = percent_decoded(name).and_then(|name| join_plain(dir, &name));
        [join_plain(dir, name), decoded].into_iter().flatten()
    }

    fn unsupported(&self, feature: Feature) -> Error {
        Error::unsupported(&self.descriptor, feature)
    }
}

impl Files {
    /// Where the disks' own names are looked up.
    fn names(&self) -> Names {
        match self {
            Self::Archive(archive) => Names::Archive(archive.clone()),
            Self::Host => Names::Host,
            Self::Nowhere => Names::Nowhere,
        }
    }
}

impl Disk {
    /// What the disk is called in lists.
    fn name(&self) -> String {
        match &self.backing {
            Backing::File(file) => file.href.clone(),
            Backing::Blank(size) => format!("{} (empty, {size} bytes)", self.id),
            Backing::Refused(_) => self.id.clone(),
        }
    }
}

/// The only descriptor of an archive.
fn descriptor_of(archive: &Archive) -> Result<ImageFile, Error> {
    let names: Vec<_> = archive.names().filter(|name| is_descriptor(name)).collect();
    let several = || {
        let feature = Feature::Descriptors(names.len());
        Error::unsupported(archive.file().path(), feature)
    };
    let [name] = &names[..] else {
        return Err(several());
    };
    archive.member(name)?.ok_or_else(several)
}

/// The whole of a small file.
fn text(file: &ImageFile, max: u64) -> Result<Vec<u8>, Error> {
    let len = cap::length("the size of the file", file.len(), max)
        .map_err(|error| Error::corrupt(file.path(), error))?;
    let mut text = vec![0; len];
    file.read_exact(0, &mut text)?;
    Ok(text)
}

fn whole(file: &ImageFile) -> Result<ImageFile, Error> {
    file.part(file.path().to_owned(), 0, file.len())
}

/// What a disk's file is opened as. What the guest wrote into a raw disk must not decide that.
fn format_of(disk: &Disk, file: &ImageFile) -> Result<Format, Error> {
    if disk.raw {
        return Ok(Format::Raw);
    }
    Ok(probe_file(file)?.format)
}

/// Nothing but its length says whether a raw disk is whole.
fn check_length(disk: &Disk, file: &ImageFile) -> Result<(), Error> {
    match disk.capacity {
        Some(capacity) if file.len() < capacity => {
            let damage = Damage::ShorterThanDisk {
                len: file.len(),
                capacity,
            };
            Err(Error::corrupt(file.path(), damage))
        }
        _ => Ok(()),
    }
}

/// A name without its `%XX` escapes, if it has any and is printable text then.
fn percent_decoded(name: &str) -> Option<String> {
    if !name.contains('%') {
        return None;
    }
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let escaped = after.split_at_checked(2).filter(|_| *first == b'%');
        let value = escaped.and_then(|(digits, after)| {
            let hexadecimal = digits.iter().all(u8::is_ascii_hexdigit);
            let digits = str::from_utf8(digits).ok().filter(|_| hexadecimal)?;
            Some((u8::from_str_radix(digits, 16).ok()?, after))
        });
        let (byte, after) = value.unwrap_or((*first, after));
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes)
        .ok()
        .filter(|decoded| decoded != name && !decoded.contains(char::is_control))
}

#[cfg(test)]
mod tests {
    use super::percent_decoded;

    #[test]
    fn escapes_stand_for_bytes() {
        for (name, expected) in [
            ("a%20b%C3%a9", Some("a b\u{e9}")),
            ("%%41%", Some("%A%")),
            ("ab", None),
            ("50%", None),
            ("a%zz", None),
            ("a%+1", None),
            ("a%ff", None),
            ("a%1b%00", None),
        ] {
            assert_eq!(percent_decoded(name).as_deref(), expected, "{name}");
        }
    }
}
