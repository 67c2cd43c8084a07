//! The boot sector: whether a device holds FAT, and its geometry.

use crate::{Corrupt, Error};
use block::BlockRead;
use ondisk::{Cursor, Short};

/// A checked boot sector: every number can be used as it is.
#[derive(Clone, Debug)]
pub(crate) struct BootSector {
    pub(crate) kind: FatKind,
    /// Bytes of a cluster, a power of two.
    pub(crate) cluster_size: u32,
    /// First byte of the first table.
    pub(crate) table_start: u64,
    /// Bytes of one table.
    pub(crate) table_size: u64,
    pub(crate) tables: u8,
    /// The one table that is in use, where they are not kept equal (FAT32 only).
    pub(crate) only_table: Option<u8>,
    /// First byte of the fixed root directory, and its bytes; 0 with FAT32.
    pub(crate) root_start: u64,
    pub(crate) root_size: u64,
    /// First cluster of the root directory, FAT32 only.
    pub(crate) root_cluster: Option<u32>,
    /// First byte of cluster 2.
    pub(crate) data_start: u64,
    /// Clusters that have both room and an entry in the table.
    pub(crate) clusters: u32,
    /// Whether the table lacks entries for clusters that there is room for.
    pub(crate) table_too_small: bool,
    /// Bytes of the whole volume.
    pub(crate) size: u64,
    /// Where FSInfo is, FAT32 only.
    pub(crate) fs_info_at: Option<u64>,
    pub(crate) volume_id: Option<u32>,
    /// The label as it stands here, without padding; none if it says "NO NAME".
    pub(crate) label: Option<String>,
    /// Whether the volume was not unmounted.
    pub(crate) dirty: bool,
}

/// Bits of a table entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum FatKind {
    Fat12,
    Fat16,
    Fat32,
}

impl BootSector {
    /// Reads the boot sector; nothing if it is not one of FAT.
    pub(crate) fn read(device: &dyn BlockRead) -> Result<Option<Self>, Error> {
        let mut bytes = [0; SECTOR];
        if device.size() < ondisk::width::u64_of(SECTOR) {
            return Ok(None);
        }
        device.read_at(0, &mut bytes)?;
        // The sector is long enough for every field, so a short read cannot happen.
        let Ok(raw) = Raw::parse(&bytes) else {
            return Ok(None);
        };
        if !raw.is_fat() {
            return Ok(None);
        }
        let boot = raw.check()?;
        if boot.size > device.size() {
            return Err(Corrupt::LargerThanDevice {
                volume: boot.size,
                device: device.size(),
            }
            .into());
        }
        Ok(Some(boot))
    }

    /// The last valid cluster number.
    pub(crate) fn last_cluster(&self) -> u32 {
        self.clusters.saturating_add(1)
    }

    /// First byte of a cluster whose number was checked.
    pub(crate) fn cluster_start(&self, cluster: u32) -> u64 {
        let index = u64::from(cluster.saturating_sub(FIRST_CLUSTER));
        self.data_start
            .saturating_add(index.saturating_mul(u64::from(self.cluster_size)))
    }

    /// Clusters that `size` bytes take.
    pub(crate) fn clusters_for(&self, size: u64) -> u64 {
        size.div_ceil(u64::from(self.cluster_size))
    }

    /// First byte of the table that counts.
    pub(crate) fn active_table_start(&self) -> u64 {
        let skipped = u64::from(self.only_table.unwrap_or(0)).saturating_mul(self.table_size);
        self.table_start.saturating_add(skipped)
    }
}

/// The fields of the specification, unchecked.
#[derive(Debug)]
struct Raw {
    jump: u8,
    oem_name: [u8; 8],
    bpb_byts_per_sec: u16,
    bpb_sec_per_clus: u8,
    bpb_rsvd_sec_cnt: u16,
    bpb_num_fats: u8,
    bpb_root_ent_cnt: u16,
    bpb_tot_sec16: u16,
    bpb_media: u8,
    bpb_fat_sz16: u16,
    bpb_tot_sec32: u32,
    bpb_fat_sz32: u32,
    bpb_ext_flags: u16,
    bpb_fs_ver: u16,
    bpb_root_clus: u32,
    bpb_fs_info: u16,
    bs_reserved1: u8,
    bs_boot_sig: u8,
    bs_vol_id: u32,
    bs_vol_lab: [u8; 11],
    bs_fil_sys_type: [u8; 8],
    signature: u16,
}

impl Raw {
    fn parse(sector: &[u8; SECTOR]) -> Result<Self, Short> {
        let mut at = Cursor::new(sector);
        let jump = at.u8()?;
        at.skip(2)?;
        let oem_name = at.take_array()?;
        let (bpb_byts_per_sec, bpb_sec_per_clus) = (at.u16_le()?, at.u8()?);
        let (bpb_rsvd_sec_cnt, bpb_num_fats) = (at.u16_le()?, at.u8()?);
        let (bpb_root_ent_cnt, bpb_tot_sec16) = (at.u16_le()?, at.u16_le()?);
        let (bpb_media, bpb_fat_sz16) = (at.u8()?, at.u16_le()?);
        at.skip(8)?;
        let bpb_tot_sec32 = at.u32_le()?;
        let (mut bpb_fat_sz32, mut bpb_ext_flags, mut bpb_fs_ver) = (0, 0, 0);
        let (mut bpb_root_clus, mut bpb_fs_info) = (0, 0);
        if bpb_fat_sz16 == 0 {
            bpb_fat_sz32 = at.u32_le()?;
            bpb_ext_flags = at.u16_le()?;
            bpb_fs_ver = at.u16_le()?;
            bpb_root_clus = at.u32_le()?;
            bpb_fs_info = at.u16_le()?;
            at.skip(14)?;
        }
        at.skip(1)?;
        let (bs_reserved1, bs_boot_sig, bs_vol_id) = (at.u8()?, at.u8()?, at.u32_le()?);
        let (bs_vol_lab, bs_fil_sys_type) = (at.take_array()?, at.take_array()?);
        let signature = at
            .rest()
            .last_chunk()
            .map_or(0, |end| u16::from_le_bytes(*end));
        Ok(Self {
            jump,
            oem_name,
            bpb_byts_per_sec,
            bpb_sec_per_clus,
            bpb_rsvd_sec_cnt,
            bpb_num_fats,
            bpb_root_ent_cnt,
            bpb_tot_sec16,
            bpb_media,
            bpb_fat_sz16,
            bpb_tot_sec32,
            bpb_fat_sz32,
            bpb_ext_flags,
            bpb_fs_ver,
            bpb_root_clus,
            bpb_fs_info,
            bs_reserved1,
            bs_boot_sig,
            bs_vol_id,
            bs_vol_lab,
            bs_fil_sys_type,
            signature,
        })
    }

    /// Whether this is FAT at all, as libblkid and Linux tell it from an MBR and from what else
    /// starts with a boot sector.
    fn is_fat(&self) -> bool {
        let named =
            self.bs_fil_sys_type.starts_with(b"FAT") || self.bs_fil_sys_type.starts_with(b"MSDOS");
        let jumps = matches!(self.jump, 0xeb | 0xe9);
        let others = [b"NTFS    ", b"EXFAT   "];
        (named || (jumps && self.signature == 0xaa55))
            && !others.contains(&&self.oem_name)
            && matches!(self.bpb_byts_per_sec, 512 | 1024 | 2048 | 4096)
            && self.bpb_sec_per_clus.is_power_of_two()
            && self.bpb_rsvd_sec_cnt != 0
            && matches!(self.bpb_num_fats, 1..=4)
            && (self.bpb_media == 0xf0 || self.bpb_media >= 0xf8)
            && (self.bpb_tot_sec16 != 0 || self.bpb_tot_sec32 != 0)
            && (self.bpb_fat_sz16 != 0 || self.bpb_fat_sz32 != 0)
    }

    fn check(&self) -> Result<BootSector, Corrupt> {
        let is_fat32 = self.bpb_fat_sz16 == 0;
        if is_fat32 && self.bpb_root_ent_cnt != 0 {
            return Err(Corrupt::BootSector("FAT32 with a fixed root directory"));
        }
        if !is_fat32 && self.bpb_root_ent_cnt == 0 {
            return Err(Corrupt::BootSector("no root directory"));
        }
        if self.bpb_fs_ver != 0 {
            return Err(Corrupt::BootSector("FAT32 version is not 0.0"));
        }
        let sector_size = u64::from(self.bpb_byts_per_sec);
        let sectors = |count: u64| count.saturating_mul(sector_size);
        let total = match self.bpb_tot_sec16 {
            0 => u64::from(self.bpb_tot_sec32),
            total => u64::from(total),
        };
        let table_sectors = match self.bpb_fat_sz16 {
            0 => u64::from(self.bpb_fat_sz32),
            sectors => u64::from(sectors),
        };
        let table_size = sectors(table_sectors);
        let table_start = sectors(u64::from(self.bpb_rsvd_sec_cnt));
        let all_tables = u64::from(self.bpb_num_fats).saturating_mul(table_size);
        let root_start = table_start.saturating_add(all_tables);
        let root_size = u64::from(self.bpb_root_ent_cnt)
            .saturating_mul(32)
            .next_multiple_of(sector_size);
        let data_start = root_start.saturating_add(root_size);
        let size = sectors(total);
        // At most 4096 * 128, checked above.
        let cluster_size =
            u32::from(self.bpb_byts_per_sec).saturating_mul(u32::from(self.bpb_sec_per_clus));
        let room = size
            .checked_sub(data_start)
            .and_then(|bytes| bytes.checked_div(u64::from(cluster_size)))
            .filter(|clusters| *clusters > 0)
            .ok_or(Corrupt::BootSector("no room for a single cluster"))?;
        let kind = match room {
            _ if is_fat32 => FatKind::Fat32,
            // Linux, MAX_FAT12; the specification's own border.
            0..=4084 => FatKind::Fat12,
            _ => FatKind::Fat16,
        };
        let entries = kind.entries_in(table_size).saturating_sub(2);
        let clusters = u32::try_from(room.min(entries).min(kind.max_clusters()))
            .map_err(|_| Corrupt::BootSector("more clusters than can be numbered"))?;
        if clusters == 0 {
            return Err(Corrupt::BootSector("table without entries"));
        }
        let mirrored = self.bpb_ext_flags & 0x80 == 0;
        let active = self.bpb_ext_flags.to_le_bytes()[0] & 0x0f;
        if !mirrored && active >= self.bpb_num_fats {
            return Err(Corrupt::BootSector("active table does not exist"));
        }
        let last = clusters.saturating_add(1);
        if is_fat32 && !(FIRST_CLUSTER..=last).contains(&self.bpb_root_clus) {
            return Err(Corrupt::NoSuchCluster {
                cluster: self.bpb_root_clus,
                last,
            });
        }
        let has_fs_info =
            is_fat32 && self.bpb_fs_info != 0 && self.bpb_fs_info < self.bpb_rsvd_sec_cnt;
        Ok(BootSector {
            kind,
            cluster_size,
            table_start,
            table_size,
            tables: self.bpb_num_fats,
            only_table: (!mirrored).then_some(active),
            root_start,
            root_size,
            root_cluster: is_fat32.then_some(self.bpb_root_clus),
            data_start,
            clusters,
            table_too_small: entries < room,
            size,
            fs_info_at: has_fs_info.then(|| sectors(u64::from(self.bpb_fs_info))),
            // As libblkid: FAT32 has an identifier whatever the signature says.
            volume_id: (is_fat32 || matches!(self.bs_boot_sig, 0x28 | 0x29))
                .then_some(self.bs_vol_id),
            label: (self.bs_boot_sig == 0x29)
                .then(|| label(&self.bs_vol_lab))
                .filter(|label| !label.is_empty() && label != "NO NAME"),
            dirty: self.bs_reserved1 & 1 != 0,
        })
    }
}

impl FatKind {
    /// The name that tools use.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Fat12 => "FAT12",
            Self::Fat16 => "FAT16",
            Self::Fat32 => "FAT32",
        }
    }

    /// Whole entries in a table of `bytes`.
    fn entries_in(self, bytes: u64) -> u64 {
        match self {
            Self::Fat12 => bytes.saturating_mul(2) / 3,
            Self::Fat16 => bytes / 2,
            Self::Fat32 => bytes / 4,
        }
    }

    /// Numbers from 0x..f0 on are reserved.
    fn max_clusters(self) -> u64 {
        match self {
            Self::Fat12 => 0xff0 - 2,
            Self::Fat16 => 0xfff0 - 2,
            Self::Fat32 => 0x0fff_fff0 - 2,
        }
    }
}

/// A label without its padding.
pub(crate) fn label(bytes: &[u8]) -> String {
    crate::names::from_code_page(bytes.trim_ascii_end())
}

const SECTOR: usize = 512;
/// The first two entries of a table number no cluster.
pub(crate) const FIRST_CLUSTER: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use block::Memory;

    /// A valid boot sector of FAT16 with 5000 clusters of a sector, and the room for them.
    fn sound() -> Vec<u8> {
        let mut bytes = vec![0; 6000 * 512];
        bytes[..3].copy_from_slice(&[0xeb, 0x3c, 0x90]);
        bytes[11..]
            .get_mut(..14)
            .unwrap()
            .copy_from_slice(&[0, 2, 1, 1, 0, 2, 0, 2, 0x70, 0x17, 0xf8, 20, 0, 32]);
        bytes[38..43].copy_from_slice(&[0x29, 0x34, 0x12, 0xcd, 0xab]);
        bytes[43..62].copy_from_slice(b"MY LABEL   FAT16   ");
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes
    }

    fn read(bytes: Vec<u8>) -> Result<Option<BootSector>, Error> {
        BootSector::read(&Memory::new(bytes))
    }

    #[test]
    fn a_sound_one_gives_its_geometry() {
        let boot = read(sound()).unwrap().unwrap();
        assert_eq!((boot.kind, boot.clusters), (FatKind::Fat16, 5118));
        assert_eq!((boot.table_start, boot.table_size), (512, 20 * 512));
        assert_eq!((boot.root_start, boot.root_size), (41 * 512, 512 * 32));
        assert_eq!(boot.data_start, 73 * 512);
        assert_eq!(
            (boot.volume_id, boot.label.as_deref()),
            (Some(0xabcd_1234), Some("MY LABEL"))
        );
        assert!(boot.table_too_small);
    }

    #[test]
    fn other_boot_sectors_are_not_fat() {
        let cases: [(&str, usize, &[u8]); 8] = [
            ("ntfs", 3, b"NTFS    "),
            ("exfat", 3, b"EXFAT   "),
            ("sector size", 11, &[0, 3]),
            ("cluster size", 13, &[3]),
            ("no reserved sector", 14, &[0, 0]),
            ("no table", 16, &[0]),
            ("media", 21, &[0x12]),
            ("no sectors", 19, &[0, 0]),
        ];
        for (name, at, value) in cases {
            let mut bytes = sound();
            bytes[at..at + value.len()].copy_from_slice(value);
            assert!(read(bytes).unwrap().is_none(), "{name}");
        }
        let mut unsigned = sound();
        unsigned[54..59].fill(b' ');
        assert!(read(unsigned.clone()).unwrap().is_some());
        unsigned[510] = 0;
        assert!(read(unsigned).unwrap().is_none());
        assert!(read(vec![0; 511]).unwrap().is_none());
    }

    #[test]
    fn contradictions_are_named() {
        let cases: [(&str, usize, &[u8]); 2] = [
            ("boot sector: no root directory", 17, &[0, 0]),
            ("boot sector: no room for a single cluster", 19, &[60, 0]),
        ];
        for (message, at, value) in cases {
            let mut bytes = sound();
            bytes[at..at + value.len()].copy_from_slice(value);
            let Err(Error::Corrupt(corrupt)) = read(bytes) else {
                panic!("{message}: accepted");
            };
            assert_eq!(corrupt.to_string(), message);
        }
        let mut short = sound();
        short.truncate(5000 * 512);
        assert!(matches!(
            read(short),
            Err(Error::Corrupt(Corrupt::LargerThanDevice { .. }))
        ));
    }
}
