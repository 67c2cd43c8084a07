//! Drivers: which an initramfs has, and the segment that adds those it lacks.

mod assess;
mod extend;
mod index;
mod installed;
mod load;
mod nash;
mod overlay;
mod parameter;
mod repack;

pub use assess::Report;
pub use extend::{Extension, ExtraFile, Method, Request};
pub use parameter::{Parameter, parameter_type};

use crate::codec::{Compression, Unpacker};
use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::kmod::ModuleFile;
use std::io::Read;

/// Unpacks a compressed module file.
///
/// # Errors
/// Corrupt if it does not unpack, unsupported if it is larger than any module.
fn unpack_module(path: &str, bytes: &[u8]) -> Result<Vec<u8>, Error> {
    let suffix = ModuleFile::parse(path).map_or("", |file| file.suffix);
    let compression = match suffix {
        "gz" => Compression::Gzip,
        "xz" => Compression::Xz,
        _ => Compression::Zstd,
    };
    let broken = |source| CorruptKind::Module {
        path: path.to_owned(),
        source,
    };
    let mut module = Vec::new();
    if let Some(unpacker) = Unpacker::new(compression, bytes).map_err(broken)? {
        unpacker
            .take(LARGEST_MODULE.saturating_add(1))
            .read_to_end(&mut module)
            .map_err(broken)?;
    }
    if ondisk::width::u64_of(module.len()) > LARGEST_MODULE {
        return Err(UnsupportedKind::LargeModule {
            path: path.to_owned(),
        }
        .into());
    }
    Ok(module)
}

/// Bytes; the largest modules of distributions, with debugging data cut off, have 10 MB.
const LARGEST_MODULE: u64 = 256 << 20;
