//! The meta page.

use super::page::{Order, Pager};
use crate::Error;
use crate::error::{CorruptKind, UnsupportedKind};
use crate::file::File;

/// Which kind of file it is, and in which byte order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    kind: Kind,
    order: Order,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Hash,
    Btree,
}

/// How the pages are put together.
#[derive(Debug)]
pub(super) enum Structure {
    Hash(Hash),
    Btree { root: u32 },
}

/// What finds the buckets of a hash table.
#[derive(Debug)]
pub(super) struct Hash {
    /// The last bucket.
    pub(super) max_bucket: u32,
    /// What is added to the number of a bucket for its page, by the doubling that made it.
    pub(super) spares: Vec<u32>,
}

const HASH_MAGIC: u32 = 0x0006_1561;
const BTREE_MAGIC: u32 = 0x0005_3162;
/// `hash->nelem` and all of the hash's meta page end before byte 512.
const META: usize = 512;
/// `NCACHED`: doublings that the meta page has room for.
const SPARES: usize = 32;
/// Bytes in the meta page.
const MAGIC_AT: usize = 12;
const VERSION_AT: usize = 16;
const PAGE_SIZE_AT: usize = 20;
const ENCRYPTION_AT: usize = 24;
const TYPE_AT: usize = 25;
const FLAGS_AT: usize = 26;
const LAST_PAGE_AT: usize = 32;
const MAX_BUCKET_AT: usize = 72;
const SPARES_AT: usize = 96;
const ROOT_AT: usize = 88;
const TYPE_HASH: u8 = 8;
const TYPE_BTREE: u8 = 9;
/// `DBMETA_CHKSUM`: every page has a checksum. rpm never asks for that.
const FLAG_CHECKSUM: u8 = 1;

impl Meta {
    /// Recognises a file by its first 16 bytes.
    pub(super) fn recognise(start: &[u8]) -> Option<Self> {
        for order in [Order::Little, Order::Big] {
            let kind = match order.u32(start, MAGIC_AT)? {
                HASH_MAGIC => Kind::Hash,
                BTREE_MAGIC => Kind::Btree,
                _ => continue,
            };
            return Some(Self { kind, order });
        }
        None
    }

    /// Reads the meta page.
    ///
    /// # Errors
    /// [`CorruptKind`] or [`UnsupportedKind`] that names the field.
    pub(super) fn read<'f>(self, file: &'f File<'f>) -> Result<(Pager<'f>, Structure), Error> {
        let bytes = file.read(0, META)?;
        let u32 = |at| self.order.u32(&bytes, at).unwrap_or_default();
        let u8 = |at: usize| bytes.get(at).copied().unwrap_or_default();
        let version = u32(VERSION_AT);
        // 8 is that of 4.2 to 4.5, 9 of 4.6 to 5.x, 10 of 6.x; B-trees have had 9 since 4.2.
        if !(8..=10).contains(&version) {
            return Err(UnsupportedKind::Version {
                format: "Berkeley DB",
                found: version,
                known: "8 to 10",
            }
            .into());
        }
        if u8(ENCRYPTION_AT) != 0 {
            return Err(UnsupportedKind::Feature("an encrypted Berkeley DB file").into());
        }
        if u8(FLAGS_AT) & FLAG_CHECKSUM != 0 {
            let what = "a Berkeley DB file with checksums on its pages";
            return Err(UnsupportedKind::Feature(what).into());
        }
        let page_size = u32(PAGE_SIZE_AT);
        if !(512..=65536).contains(&page_size) || !page_size.is_power_of_two() {
            return Err(wrong("page size", page_size, "a power of two from 512 to 65536").into());
        }
        let (kind, expected) = match self.kind {
            Kind::Hash => (TYPE_HASH, "8, that of a hash"),
            Kind::Btree => (TYPE_BTREE, "9, that of a B-tree"),
        };
        if u8(TYPE_AT) != kind {
            return Err(wrong("type of the page", u32::from(u8(TYPE_AT)), expected).into());
        }
        let pager = Pager::new(file, self.order, page_size, u32(LAST_PAGE_AT))?;
        let structure = match self.kind {
            Kind::Btree => Structure::Btree { root: u32(ROOT_AT) },
            Kind::Hash => {
                let max_bucket = u32(MAX_BUCKET_AT);
                if max_bucket > pager.last() {
                    return Err(wrong("max_bucket", max_bucket, "less than the pages").into());
                }
                let spares =
                    (0..SPARES).map(|n| u32(n.saturating_mul(4).saturating_add(SPARES_AT)));
                Structure::Hash(Hash {
                    max_bucket,
                    spares: spares.collect(),
                })
            }
        };
        Ok((pager, structure))
    }
}

fn wrong(field: &'static str, value: u32, expected: &'static str) -> CorruptKind {
    CorruptKind::Field {
        what: "the meta page",
        position: 0,
        field,
        value: u64::from(value),
        expected,
    }
}
