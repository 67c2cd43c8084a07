//! Boot loader configuration: GRUB 2, GRUB Legacy, Boot Loader Specification entries, the EFI system
//! partition.
//!
//! The parsers keep every byte that they are not asked to change.

mod command_line;
mod device_map;
mod esp;
mod facts;
mod grub_cfg;
mod grubenv;
mod inspect;
mod legacy;
mod loader_conf;
mod loader_entry;
mod menu;
mod version_order;

pub use command_line::CommandLine;
pub use device_map::device_map;
pub use facts::{Boot, BootEntry, Esp, EspVendor, Grub, LegacyGrub};
pub use grub_cfg::{GrubCfg, KernelLine, MenuEntry, MenuName, choose};
pub use grubenv::{GrubEnv, GrubEnvError};
pub use inspect::inspect;
pub(crate) use inspect::{CONFIG_CAP, present};
pub use legacy::{GrubLegacy, LegacyDefault, LegacyEntry};
pub use loader_conf::{default_pattern, with_default};
pub use loader_entry::LoaderEntry;
pub use menu::{merge_loader_entries, name_of};
pub use version_order::compare_entries;
