//! The manifest of a package (DSP0243, "Manifest file"): digests of its files.

use super::error::{Damage, Feature};
use crate::Error;
use crate::file::ImageFile;
use ondisk::width::{u64_of, usize_of};
use ondisk::{Interrupt, Progress, Task, Unit, cap};
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// A parsed manifest.
#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) path: PathBuf,
    pub(super) entries: Vec<Entry>,
}

/// What the manifest says about one file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    /// The file's name, relative to the directory of the manifest.
    pub(super) name: String,
    algorithm: Algorithm,
    /// In lower case hexadecimal digits.
    digest: String,
}

/// A digest of a file that is to be what the manifest says.
#[derive(Debug)]
pub(crate) struct Check {
    manifest: PathBuf,
    entry: Entry,
    file: ImageFile,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Algorithm {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

/// Most bytes of a manifest: a package of a thousand files has a tenth of it.
pub(super) const MAX_LEN: u64 = 1 << 20;
/// Most lines: each is looked up among the files.
const MAX_ENTRIES: u64 = 4096;
/// Bytes that are read at once; what keeps a disk busy.
const PIECE: u64 = 1 << 20;

impl Manifest {
    /// Parses lines `SHA256(NAME)= HEX`, with spaces as everybody likes.
    pub(super) fn parse(path: &Path, bytes: &[u8]) -> Result<Self, Error> {
        let mut entries = Vec::new();
        for (number, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if line.is_empty() {
                continue;
            }
            let damaged = || {
                let shown = line.get(..200).unwrap_or(line);
                let (line, text) = (
                    number.saturating_add(1),
                    String::from_utf8_lossy(shown).into_owned(),
                );
                Error::corrupt(path, Damage::ManifestLine { line, text })
            };
            let (algorithm, name, digest) = split(line).ok_or_else(damaged)?;
            let algorithm = Algorithm::named(algorithm).ok_or_else(|| {
                let manifest = path.display().to_string();
                let algorithm = algorithm.to_owned();
                Error::unsupported(
                    path,
                    Feature::Algorithm {
                        manifest,
                        algorithm,
                    },
                )
            })?;
            let hexadecimal = digest.bytes().all(|b| b.is_ascii_hexdigit());
            if !hexadecimal || digest.len() != algorithm.digits() {
                return Err(damaged());
            }
            entries.push(Entry {
                name: name.to_owned(),
                algorithm,
                digest: digest.to_ascii_lowercase(),
            });
            cap::length("the number of lines", u64_of(entries.len()), MAX_ENTRIES)
                .map_err(|error| Error::corrupt(path, error))?;
        }
        let path = path.to_owned();
        Ok(Self { path, entries })
    }

    /// The entry as something to do.
    pub(super) fn check(&self, entry: &Entry, file: &ImageFile) -> Result<Check, Error> {
        Ok(Check {
            manifest: self.path.clone(),
            entry: entry.clone(),
            file: file.part(file.path().to_owned(), 0, file.len())?,
        })
    }
}

/// Algorithm, name and digest of a line.
fn split(line: &[u8]) -> Option<(&str, &str, &str)> {
    let line = str::from_utf8(line).ok()?;
    let (algorithm, rest) = line.split_once('(')?;
    // Names may have parentheses and `=`, digests have not.
    let (name, digest) = rest.rsplit_once('=')?;
    let name = name.trim_end().strip_suffix(')')?;
    (!name.is_empty()).then_some((algorithm.trim(), name, digest.trim()))
}

impl Algorithm {
    fn named(name: &str) -> Option<Self> {
        match name.replace('-', "").to_ascii_uppercase().as_str() {
            "SHA1" => Some(Self::Sha1),
            "SHA256" => Some(Self::Sha256),
            "SHA384" => Some(Self::Sha384),
            "SHA512" => Some(Self::Sha512),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "SHA-1",
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        }
    }

    /// Hexadecimal digits of a digest.
    fn digits(self) -> usize {
        match self {
            Self::Sha1 => 40,
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }
}

impl Check {
    /// Whether two checks do the same work.
    fn is_same(&self, other: &Self) -> bool {
        self.entry == other.entry && self.file.identity() == other.file.identity()
    }

    /// Reads the file and compares.
    fn run(&self, task: &dyn Task, interrupt: &Interrupt) -> Result<(), Error> {
        let found = match self.entry.algorithm {
            Algorithm::Sha1 => self.digest::<Sha1>(task, interrupt),
            Algorithm::Sha256 => self.digest::<Sha256>(task, interrupt),
            Algorithm::Sha384 => self.digest::<Sha384>(task, interrupt),
            Algorithm::Sha512 => self.digest::<Sha512>(task, interrupt),
        }?;
        if found == self.entry.digest {
            return Ok(());
        }
        let damage = Damage::Digest {
            manifest: self.manifest.display().to_string(),
            algorithm: self.entry.algorithm.name(),
            expected: self.entry.digest.clone(),
            found,
        };
        Err(Error::corrupt(self.file.path(), damage))
    }

    fn digest<D: Digest>(&self, task: &dyn Task, interrupt: &Interrupt) -> Result<String, Error> {
        let mut hash = D::new();
        let mut buffer = vec![0; usize_of(PIECE.min(self.file.len()))];
        let mut at = 0_u64;
        while at < self.file.len() {
            interrupt.check()?;
            let len = self.file.read_up_to(at, &mut buffer)?;
            hash.update(&buffer[..len]);
            task.advance(u64_of(len));
            at = at.saturating_add(u64_of(len));
        }
        let mut text = String::new();
        for byte in hash.finalize() {
            // Writing into a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        Ok(text)
    }
}

/// Does every check once, on all threads, and gives their number.
pub(crate) fn run<'c>(
    checks: impl Iterator<Item = &'c Check>,
    progress: &dyn Progress,
    interrupt: &Interrupt,
) -> Result<usize, Error> {
    let mut todo: Vec<&Check> = Vec::new();
    for check in checks {
        if !todo.iter().any(|other| check.is_same(other)) {
            todo.push(check);
        }
    }
    if todo.is_empty() {
        return Ok(0);
    }
    let total = todo
        .iter()
        .fold(0, |sum: u64, check| sum.saturating_add(check.file.len()));
    let task = progress.start("verify", Unit::Bytes, Some(total));
    todo.par_iter()
        .try_for_each(|check| check.run(&*task, interrupt))?;
    Ok(todo.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_however_they_are_spaced() {
        let hex = "0123456789abcdef0123456789abcdef01234567";
        let sha256 = "ab".repeat(32);
        let text = format!(
            "SHA1(a b.vmdk)= {hex}\r\n\n  sha1 (x(1)=2.ovf) ={}\nSHA256(d)={sha256}  \n",
            hex.to_uppercase()
        );
        let manifest = Manifest::parse(Path::new("a.mf"), text.as_bytes()).unwrap();
        let entry = |name: &str, algorithm, digest: &str| Entry {
            name: name.to_owned(),
            algorithm,
            digest: digest.to_owned(),
        };
        assert_eq!(
            manifest.entries,
            [
                entry("a b.vmdk", Algorithm::Sha1, hex),
                entry("x(1)=2.ovf", Algorithm::Sha1, hex),
                entry("d", Algorithm::Sha256, &sha256),
            ]
        );
    }

    #[test]
    fn what_is_not_understood_is_told_with_its_line() {
        let good = format!("SHA256(a)= {}\n", "00".repeat(32));
        for (bad, expected) in [
            ("hello", "line 2 of the manifest, \"hello\""),
            ("SHA1(a)= 00", "line 2"),
            ("SHA1()= 0123456789abcdef0123456789abcdef01234567", "line 2"),
            (
                "SHA1(a)= 0123456789abcdef0123456789abcdef0123456g",
                "line 2",
            ),
            ("MD5(a)= 0123456789abcdef0123456789abcdef", "\"MD5\""),
            (
                "SHA1 a = 0123456789abcdef0123456789abcdef01234567",
                "line 2",
            ),
        ] {
            let text = format!("{good}{bad}\n");
            let error = Manifest::parse(Path::new("a.mf"), text.as_bytes()).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert!(Manifest::parse(Path::new("a.mf"), b"SHA1(\xff)= 00").is_err());
    }
}
