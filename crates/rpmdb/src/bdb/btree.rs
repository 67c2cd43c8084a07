//! The leaves of a B-tree, from the leftmost on.

use super::page::{BTREE_INTERNAL, BTREE_LEAF, Pager};
use super::pairs;
use crate::{Error, Take};

/// The deepest tree that Berkeley DB makes, `MAXBTREELEVEL`.
const MAX_LEVEL: u32 = 255;

/// Gives every header to `take`.
pub(super) fn walk(pager: &Pager<'_>, root: u32, take: &mut Take<'_>) -> Result<(), Error> {
    let mut page = pager.page(root)?;
    for _ in 0..MAX_LEVEL {
        if page.kind != BTREE_INTERNAL {
            break;
        }
        page = pager.page(page.child(0)?)?;
    }
    // Every turn reads a page, of which there are only so many reads.
    loop {
        if page.kind != BTREE_LEAF {
            return Err(page
                .wrong("type", u32::from(page.kind), "that of a leaf")
                .into());
        }
        pairs(pager, &page, take)?;
        if page.next == 0 {
            return Ok(());
        }
        page = pager.page(page.next)?;
    }
}
