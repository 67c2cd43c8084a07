//! The module tree of one kernel in the guest.

use guest::{Guest, GuestPath, Kernel};
use initramfs::ModuleTree;

/// Largest module and index that is read.
const MODULE_CAP: u64 = 64 << 20;

/// The module tree of one kernel in the guest.
pub(super) struct Modules<'a> {
    guest: &'a Guest,
    release: &'a str,
    dir: &'a GuestPath,
}

impl<'a> Modules<'a> {
    /// None where the kernel has no modules.
    pub(super) fn of(guest: &'a Guest, kernel: &'a Kernel) -> Option<Self> {
        Some(Self {
            guest,
            release: &kernel.version,
            dir: kernel.modules.as_ref()?,
        })
    }
}

impl ModuleTree for Modules<'_> {
    fn release(&self) -> &str {
        self.release
    }

    fn read(
        &self,
        path: &str,
    ) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
        Ok(self.guest.read(&self.dir.join(path), MODULE_CAP)?)
    }
}
