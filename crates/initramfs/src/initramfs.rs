use crate::contents::{Contents, Entry};
use crate::error::{Error, UnsupportedKind};
use crate::kind::Kind;
use crate::segment::{Segment, Stop, Walk};
use std::fmt;

/// An initramfs that was walked once: its segments and what they unpack to.
pub struct Initramfs<'a> {
    bytes: &'a [u8],
    walk: Walk,
    kind: Kind,
}

impl<'a> Initramfs<'a> {
    /// Walks the whole initramfs, as the kernel does. What is unpacked is not held, but for small
    /// files.
    ///
    /// # Errors
    /// Corrupt if a segment is damaged; unsupported if it is compressed by lzo, ends in a boot
    /// configuration or hides its files in a squashfs; too large if it unpacks to more than 1 GiB
    /// or by far more than files shrink.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Error> {
        let walk = Walk::new(bytes)?;
        for path in SQUASH {
            if walk.original.exists(path) {
                return Err(UnsupportedKind::Squash { path }.into());
            }
        }
        let kind = Kind::of(&walk.original);
        Ok(Self { bytes, walk, kind })
    }

    /// The segments, in order.
    pub fn segments(&self) -> &[Segment] {
        &self.walk.segments
    }

    /// Where the kernel stops unpacking, if that is before the end.
    pub fn stop(&self) -> Option<Stop> {
        self.walk.stop
    }

    /// The generator that made it.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The releases of the kernels that it has modules for.
    pub fn releases(&self) -> Vec<String> {
        self.contents()
            .below("lib/modules")
            .filter(|(path, entry)| *entry == Entry::Directory && !path.contains(&b'/'))
            .map(|(path, _)| String::from_utf8_lossy(path).into_owned())
            .collect()
    }

    /// What the kernel will have unpacked.
    pub fn contents(&self) -> &Contents {
        self.walk.extended.as_ref().unwrap_or(&self.walk.original)
    }

    /// What it would have unpacked without the segment that an earlier conversion appended: what is
    /// asked for in an extension has to be judged by this.
    pub fn original(&self) -> &Contents {
        &self.walk.original
    }

    pub(crate) fn original_end(&self) -> u64 {
        self.walk.original_end()
    }

    pub(crate) fn original_segments(&self) -> &[Segment] {
        self.walk.original_segments()
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

impl fmt::Debug for Initramfs<'_> {
    /// Leaves out the bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initramfs")
            .field("segments", &self.walk.segments)
            .field("stop", &self.walk.stop)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

/// Where dracut-squash puts the image that holds everything else.
const SQUASH: [&str; 4] = [
    "squash-root.img",
    "squash/root.img",
    "squashfs-root.img",
    "erofs-root.img",
];
