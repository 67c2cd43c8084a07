//! What the fuzz targets do with their input, as ordinary functions: `tests/fuzz_smoke.rs` runs
//! them too.
//!
//! A body returns whatever the input is; it panics where something that has to hold does not.
//! Disks and images come as [sparse](disk) input, so that seeds are small and mutations hit what
//! is not zero.

mod documents;
mod file_systems;
mod guest_files;
mod images;
mod initramfs_files;
mod packages;
mod volumes;
mod xfs_seal;

pub use documents::{blueprint, manifest, plan};
pub use file_systems::{ext4_file_system, fat_file_system, xfs_file_system};
pub use guest_files::{
    boot_files, file_contexts, guest_files, mount_tables, network_conversion, network_files,
};
pub use images::{GZIPPED, ova, ovf, qcow2, vhd, vhdx, vmdk, vmdk_descriptor};
pub use initramfs_files::{initramfs_image, kernel_modules};
pub use packages::{rpm_bdb, rpm_ndb, rpm_sqlite};
pub use volumes::{logical_volumes, partitions, raid_members};

/// The disk that sparse input stands for: two bytes give its size in units of 4 KiB, then come
/// records of a sector number in two bytes and the 512 bytes of the sector. All numbers are
/// little endian; what has no record is zero. Nothing if it would be larger than 16 MiB.
pub fn disk(data: &[u8]) -> Option<Vec<u8>> {
    let ([low, high], mut records) = data.split_first_chunk()?;
    let size = usize::from(u16::from_le_bytes([*low, *high])) * 4096;
    if size > 16 << 20 {
        return None;
    }
    let mut bytes = vec![0; size];
    while let Some((sector, rest)) = records.split_first_chunk() {
        let content = rest.get(..512).unwrap_or(rest);
        let at = usize::from(u16::from_le_bytes(*sector)) * 512;
        if let Some(place) = bytes.get_mut(at..at + content.len()) {
            place.copy_from_slice(content);
        }
        records = rest.get(512..).unwrap_or_default();
    }
    Some(bytes)
}
