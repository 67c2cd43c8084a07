//! What the tests over other people's files share.

use block::{BlockRead, Error};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// A raw image on the host.
#[derive(Debug)]
struct RawImage {
    file: File,
    size: u64,
}

impl BlockRead for RawImage {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        self.file
            .read_exact_at(buf, offset)
            .map_err(|source| Error::Io { offset, source })
    }
}

/// Opens a raw image for reading.
pub(crate) fn raw_image(path: &Path) -> Arc<dyn BlockRead> {
    let file = File::open(path).unwrap();
    let size = file.metadata().unwrap().len();
    Arc::new(RawImage { file, size })
}
