//! The buckets of a hash table.

use super::meta::Hash;
use super::page::{HASH, HASH_UNSORTED, Pager};
use super::pairs;
use crate::error::CorruptKind;
use crate::{Error, Take};
use ondisk::width::usize_of_u32;

/// Gives every header to `take`.
pub(super) fn walk(pager: &Pager<'_>, hash: &Hash, take: &mut Take<'_>) -> Result<(), Error> {
    for bucket in 0..=hash.max_bucket {
        let mut number = page_of(bucket, hash)?;
        // Every turn reads a page, of which there are only so many reads.
        loop {
            let page = pager.page(number)?;
            if page.is_unused() {
                break;
            }
            if ![HASH, HASH_UNSORTED].contains(&page.kind) {
                return Err(page
                    .wrong("type", u32::from(page.kind), "that of a hash page")
                    .into());
            }
            pairs(pager, &page, take)?;
            if page.next == 0 {
                break;
            }
            number = page.next;
        }
    }
    Ok(())
}

/// `BUCKET_TO_PAGE`: the table doubles, and each doubling has its own run of pages.
fn page_of(bucket: u32, hash: &Hash) -> Result<u32, Error> {
    // `__db_log2` of the number of buckets up to this one, rounded up.
    let buckets = bucket.saturating_add(1);
    let doubling = buckets.checked_next_power_of_two().map_or(32, u32::ilog2);
    let spare = hash.spares.get(usize_of_u32(doubling)).copied();
    let page = spare.and_then(|spare| spare.checked_add(bucket));
    Ok(page.ok_or(CorruptKind::NoSuchPage {
        page: bucket,
        pages: 0,
    })?)
}
