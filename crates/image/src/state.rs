//! In which state the files of an image were before anything of them was read.
//!
//! A file that has the same state again is taken for unchanged: every write sets `mtime` and
//! `ctime`, and nobody can set `ctime` back. Not seen are two writes in one tick of the clock, so
//! that a file that changed a moment ago has no fingerprint, and writes through a mapping, whose
//! times may come late: so callers trust only files that nobody writes any more, those below a
//! layer that takes the writes.

use crate::Format;
use ondisk::width::u64_of;
use sha2::{Digest, Sha256};
use std::fmt;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A digest of the states of a layer's files and of all below it: 64 hex digits.
///
/// Two that are equal were made over the same files in the same state, opened in the same way by
/// the same version of this program.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Fingerprint([u8; 32]);

/// The longest time that a file system takes for one moment: FAT counts in two seconds.
pub(crate) const TICK: Duration = Duration::from_secs(2);

/// What the host says about a file that changes with every write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Stamp {
    dev: u64,
    ino: u64,
    size: u64,
    /// Seconds since 1970, and nanoseconds.
    mtime: (i64, i64),
    ctime: (i64, i64),
}

/// A stamp, and how long one has to wait until a write would give another one for sure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    stamp: Stamp,
    settles_in: Duration,
}

/// A file of a layer, or the part of one that the layer is in.
#[derive(Clone, Debug)]
pub(crate) struct FileState {
    pub(crate) file: Arc<File>,
    pub(crate) seen: Seen,
    pub(crate) start: u64,
    pub(crate) len: u64,
}

/// A layer with everything that its content depends on but for the layers below it.
#[derive(Clone, Debug)]
pub(crate) struct LayerState {
    pub(crate) format: Format,
    pub(crate) virtual_size: u64,
    /// Absent where files do not tell: block devices, what came through a pipe, what was expanded.
    pub(crate) files: Option<Vec<FileState>>,
}

impl Seen {
    /// Looks at a regular file.
    pub(crate) fn of(file: &File) -> Option<Self> {
        Self::at(file, SystemTime::now())
    }

    fn at(file: &File, now: SystemTime) -> Option<Self> {
        let stamp = Stamp::of(file)?;
        let settled = stamp.changed()?.checked_add(TICK)?;
        let now = now.duration_since(UNIX_EPOCH).ok()?;
        Some(Self {
            stamp,
            settles_in: settled.saturating_sub(now),
        })
    }
}

impl Stamp {
    fn of(file: &File) -> Option<Self> {
        let meta = file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime: (meta.mtime(), meta.mtime_nsec()),
            ctime: (meta.ctime(), meta.ctime_nsec()),
        })
    }

    /// When the file was changed last, since 1970. The user may set `mtime` at will.
    fn changed(&self) -> Option<Duration> {
        let (seconds, nanoseconds) = self.ctime;
        let seconds = u64::try_from(seconds).ok()?;
        Some(Duration::new(seconds, u32::try_from(nanoseconds).ok()?))
    }
}

impl LayerState {
    /// Digests the layer over what lies below it.
    fn digest(&self, below: &Fingerprint) -> Option<Fingerprint> {
        let files = self.files.as_ref()?;
        let mut digest = Sha256::new();
        // What another version makes of the same bytes may be something else.
        digest.update(concat!("rehost ", env!("CARGO_PKG_VERSION"), "\0"));
        digest.update(below.0);
        digest.update(self.format.name());
        digest.update([0]);
        digest.update(self.virtual_size.to_le_bytes());
        digest.update(u64_of(files.len()).to_le_bytes());
        for FileState {
            seen, start, len, ..
        } in files
        {
            if !seen.settles_in.is_zero() {
                return None;
            }
            let Stamp {
                dev,
                ino,
                size,
                mtime,
                ctime,
            } = seen.stamp;
            for number in [dev, ino, size, *start, *len] {
                digest.update(number.to_le_bytes());
            }
            for number in [mtime.0, mtime.1, ctime.0, ctime.1] {
                digest.update(number.to_le_bytes());
            }
        }
        Some(Fingerprint(digest.finalize().into()))
    }

    fn files(&self) -> impl Iterator<Item = &FileState> {
        self.files.iter().flatten()
    }
}

/// The fingerprint of each layer with all below it, the image's first.
pub(crate) fn fingerprints(layers: &[LayerState]) -> Vec<Option<Fingerprint>> {
    let mut below = Some(Fingerprint([0; 32]));
    let mut all: Vec<_> = layers
        .iter()
        .rev()
        .map(|layer| {
            below = below.and_then(|below| layer.digest(&below));
            below
        })
        .collect();
    all.reverse();
    all
}

/// How long it takes until every file that has a state could have a fingerprint.
pub(crate) fn settles_in(layers: &[LayerState]) -> Duration {
    let files = layers.iter().flat_map(LayerState::files);
    let times = files.map(|file| file.seen.settles_in);
    times.max().unwrap_or_default()
}

/// Whether no file that has a state got another one.
pub(crate) fn is_as_opened(layers: &[LayerState]) -> bool {
    let mut files = layers.iter().flat_map(LayerState::files);
    files.all(|file| Stamp::of(&file.file) == Some(file.seen.stamp))
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn layer(file: &File, later: Duration) -> LayerState {
        let seen = Seen::at(file, SystemTime::now().checked_add(later).unwrap()).unwrap();
        LayerState {
            format: Format::Raw,
            virtual_size: 512,
            files: Some(vec![FileState {
                file: Arc::new(file.try_clone().unwrap()),
                seen,
                start: 0,
                len: 512,
            }]),
        }
    }

    #[test]
    fn a_file_that_changed_a_moment_ago_has_no_fingerprint() {
        let file = tempfile::tempfile().unwrap();
        let young = layer(&file, Duration::from_millis(500));
        assert_eq!(fingerprints(std::slice::from_ref(&young)), [None]);
        let rest = settles_in(std::slice::from_ref(&young));
        assert!(!rest.is_zero() && rest <= TICK, "{rest:?}");
        let old = layer(&file, TICK * 2);
        assert!(settles_in(std::slice::from_ref(&old)).is_zero());
        assert!(fingerprints(std::slice::from_ref(&old))[0].is_some());
        // What lies over it has one only if it has one itself, and the other way round.
        let found = fingerprints(&[young.clone(), old.clone()]);
        assert!(found[0].is_none() && found[1].is_some());
        assert_eq!(fingerprints(&[old, young]), [None, None]);
    }

    #[test]
    fn whatever_a_layer_depends_on_is_in_its_fingerprint() {
        let mut file = tempfile::tempfile().unwrap();
        let later = TICK * 2;
        let sound = layer(&file, later);
        let print = |layers: &[LayerState]| fingerprints(layers)[0].unwrap();
        let first = print(std::slice::from_ref(&sound));
        assert_eq!(first.to_string().len(), 64);
        assert_eq!(print(&[layer(&file, later * 2)]), first);
        let changes: [fn(&mut LayerState); 9] = [
            |layer| layer.format = Format::Qcow2,
            |layer| layer.virtual_size += 1,
            |layer| layer.files.as_mut().unwrap()[0].start += 1,
            |layer| layer.files.as_mut().unwrap()[0].len += 1,
            |layer| layer.files.as_mut().unwrap()[0].seen.stamp.dev += 1,
            |layer| layer.files.as_mut().unwrap()[0].seen.stamp.ino += 1,
            |layer| layer.files.as_mut().unwrap()[0].seen.stamp.size += 1,
            |layer| layer.files.as_mut().unwrap()[0].seen.stamp.mtime.1 += 1,
            |layer| layer.files.as_mut().unwrap()[0].seen.stamp.ctime.1 += 1,
        ];
        for change in changes {
            let mut changed = sound.clone();
            change(&mut changed);
            assert_ne!(print(&[changed.clone()]), first);
            // It changes what lies over it too, and not what lies below.
            let over = [sound.clone(), changed];
            assert_ne!(print(&over), print(&[sound.clone(), sound.clone()]));
            let under = [over[1].clone(), over[0].clone()];
            assert_eq!(fingerprints(&under)[1], Some(first));
        }
        assert!(is_as_opened(std::slice::from_ref(&sound)));
        file.write_all(b"x").unwrap();
        assert!(!is_as_opened(std::slice::from_ref(&sound)));
        let mut without = sound;
        without.files = None;
        assert_eq!(fingerprints(&[without]), [None]);
    }
}
