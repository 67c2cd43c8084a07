//! The log: what a machine that stopped had promised and not yet put in place.
//!
//! [`recover`] replays it into the volume, as the kernel does when it mounts. What remains is work
//! that a transaction announced and that later ones were to do ([`Work`]); who changes the trees
//! does it, and then [`Recovery::write_clean`] leaves the log as an unmount leaves it.
//!
//! Sources: "Journaling Log" in "XFS Algorithms & Data Structures", and the kernel's
//! `fs/xfs/libxfs/xfs_log_format.h`, `xfs_log_recover.c` and `xfs_*_item_recover.c`.

mod area;
mod buffer;
mod chunk;
mod clean;
mod head;
mod inode;
mod intent;
mod owner;
mod quota;
mod record;
mod replay;
#[cfg(test)]
mod replay_tests;
mod structure;
#[cfg(test)]
mod tests;
mod transaction;

pub(crate) use intent::{Mapping, OwnerChange, OwnerUpdate, ShareChange, Work};

use replay::Replayed;

use crate::error::{CorruptKind, Error, UnsupportedKind};
use crate::features::ro_compat;
use crate::superblock::Superblock;
use area::LogArea;
use block::BlockWrite;
use head::Head;
use std::sync::Arc;

/// The largest log, `XFS_MAX_LOG_BYTES`, rounded up.
const MAX_LOG: u64 = 2 << 30;
/// `XFS_SB_FEAT_INCOMPAT_LOG_XATTRS`: updates of attributes may be announced.
const LOG_XATTRS: u32 = 1;
/// `XFS_SB_VERSION_LOGV2BIT`.
const LOGV2: u16 = 0x400;
/// Read-only compatible features whose items are known here.
const KNOWN: u32 = ro_compat::FINOBT | ro_compat::RMAPBT | ro_compat::REFLINK | ro_compat::INOBTCNT;
/// The largest stripe unit of a log.
const MAX_UNIT: u32 = 256 * 1024;

/// A log that was found clean, or was replayed.
#[derive(Debug)]
pub(crate) struct Recovery {
    area: LogArea,
    head: Option<Head>,
    /// What replay did; nothing if the log was clean.
    pub(crate) replayed: Option<Replayed>,
    /// What is still to be done, in this order.
    pub(crate) work: Vec<Work>,
}

/// Replays the log of a file system. The superblock may be another one afterwards.
///
/// # Errors
/// [`Unsupported`](Error::Unsupported), with nothing written yet, for logs with items or features
/// that are not known here; [`Corrupt`](Error::Corrupt) for a log that the kernel would not replay
/// either.
pub(crate) fn recover(
    device: &Arc<dyn BlockWrite>,
    superblock: &Superblock,
) -> Result<Recovery, Error> {
    let area = area_of(device, superblock)?;
    let head = head::find(&area)?;
    let mut recovery = Recovery {
        area,
        head,
        replayed: None,
        work: Vec::new(),
    };
    let Some(head) = head.filter(|head| !head.clean) else {
        return Ok(recovery);
    };
    if superblock.features.v5() {
        check_features(superblock, &head)?;
    }
    let (replayed, work) = if head.tail == head.block {
        Default::default()
    } else {
        replay::replay(&recovery.area, superblock, &head)?
    };
    tracing::debug!(?replayed, work = work.len(), "log replayed");
    recovery.replayed = Some(replayed);
    recovery.work = work;
    Ok(recovery)
}

impl Recovery {
    /// Whether there was something to replay.
    pub(crate) fn was_dirty(&self) -> bool {
        self.replayed.is_some()
    }

    /// Says in the log that the file system was unmounted, if the log was not found so. All work
    /// must be done by then.
    ///
    /// # Errors
    /// What the device says.
    pub(crate) fn write_clean(&mut self) -> Result<(), Error> {
        if let Some(head) = self.head.as_mut().filter(|head| !head.clean) {
            clean::write(&self.area, head)?;
            head.clean = true;
        }
        Ok(())
    }
}

fn area_of(device: &Arc<dyn BlockWrite>, superblock: &Superblock) -> Result<LogArea, Error> {
    let raw = superblock.raw();
    let v5 = superblock.features.v5();
    let version2 = v5 || raw.sb_versionnum.get() & LOGV2 != 0;
    let bytes = superblock
        .log_blocks()
        .saturating_mul(superblock.block_bytes());
    if !(clean::smallest_log()..=MAX_LOG).contains(&bytes) {
        let expected = "a log of 512 KiB to 2 GiB";
        return Err(wrong("sb_logblocks", superblock.log_blocks(), expected));
    }
    let unit = match raw.sb_logsunit.get() {
        0 | 1 => 512,
        unit if version2 => unit,
        _ => 512,
    };
    if unit > MAX_UNIT || unit % 512 != 0 {
        let expected = "a multiple of 512 up to 256 KiB";
        return Err(wrong("sb_logsunit", unit.into(), expected));
    }
    Ok(LogArea {
        device: Arc::clone(device),
        start: superblock.position(superblock.log_start()),
        blocks: u32::try_from(bytes >> 9).unwrap_or(u32::MAX),
        version2,
        summed: v5,
        uuid: raw.sb_uuid,
        unit,
    })
}

/// Checks that everything in a dirty log of version 5 can be understood.
fn check_features(superblock: &Superblock, head: &Head) -> Result<(), Error> {
    let raw = superblock.raw();
    let words = [
        (
            "log_incompat",
            raw.sb_features_log_incompat.get() & !LOG_XATTRS,
        ),
        ("ro_compat", raw.sb_features_ro_compat.get() & !KNOWN),
    ];
    if let Some((word, unknown)) = words.iter().find(|(_, unknown)| *unknown != 0) {
        let names = format!("{word} {unknown:#x} in a log that must be replayed");
        return Err(UnsupportedKind::Incompatible { names }.into());
    }
    if raw.sb_lsn.get() > head.lsn() {
        let expected = "nothing later than the end of the log";
        return Err(wrong("sb_lsn", raw.sb_lsn.get(), expected));
    }
    Ok(())
}

fn wrong(field: &'static str, value: u64, expected: &'static str) -> Error {
    CorruptKind::Superblock {
        field,
        value,
        expected,
    }
    .into()
}
