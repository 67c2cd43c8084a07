//! Boot loader configuration: GRUB 2, Boot Loader Specification entries, the EFI system partition.

mod facts;

pub use facts::{Boot, BootEntry, Esp, EspVendor, Grub};

use crate::{Error, Guest};

/// Reads how the guest boots.
///
/// # Errors
/// What reading the guest meets; a configuration that makes no sense is no error.
pub(crate) fn inspect(_guest: &Guest) -> Result<Boot, Error> {
    Ok(Boot::default())
}
