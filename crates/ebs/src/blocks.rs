//! The blocks of a snapshot and the tokens that read them.

use crate::failure::Kind;
use crate::retry::End;
use crate::{Action, Ebs, Error};
use ondisk::Interrupt;
use ondisk::width::{u64_of, usize_of_u32};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Instant;
use store::BLOCK;

/// Blocks in ascending order. Their tokens are in a temporary file without a name: those of a full
/// disk of 1 TiB are some 200 MiB.
#[derive(Debug)]
pub(crate) struct Blocks {
    /// Block, and where in the file its token is.
    places: Vec<Place>,
    tokens: File,
    /// The disk's size in bytes.
    pub(crate) size: u64,
    /// When the tokens were made.
    pub(crate) listed: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    block: u32,
    len: u32,
    at: u64,
}

/// The longest token of the API's model.
const MAX_TOKEN: usize = 256;
/// The largest volume, in GiB.
const MAX_VOLUME: u32 = 65_536;
/// Blocks of a GiB.
const GIB_BLOCKS: u64 = 2048;
const GIB: u64 = 1 << 30;
/// Empty pages are legal; so many in a row of them are no list.
const MAX_EMPTY: u32 = 1000;
/// Page tokens live for an hour, so a list that outlives three is stuck.
const MAX_RESTARTS: u32 = 3;

impl Blocks {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Position of a block, or of the first one behind it.
    pub(crate) fn find(&self, block: u32) -> Result<usize, usize> {
        self.places
            .binary_search_by_key(&block, |place| place.block)
    }

    /// The block at a position.
    pub(crate) fn at(&self, position: usize) -> Option<u32> {
        self.places.get(position).map(|place| place.block)
    }

    /// The blocks of which some bytes are in `ranges`, ascending.
    pub(crate) fn within(&self, ranges: &[Range<u64>]) -> Vec<u32> {
        let mut found = Vec::new();
        for range in ranges.iter().filter(|range| range.start < range.end) {
            // Beyond any disk there is no block either.
            let block = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            let (first, end) = (block(range.start / BLOCK), block(range.end.div_ceil(BLOCK)));
            let from = self.places.partition_point(|place| place.block < first);
            let places = self.places.get(from..).unwrap_or_default().iter();
            found.extend(places.map(|place| place.block).take_while(|one| *one < end));
        }
        found.sort_unstable();
        found.dedup();
        found
    }

    /// The token of the block at a position.
    pub(crate) fn token(&self, position: usize) -> Result<String, Error> {
        let Some(place) = self.places.get(position) else {
            return Ok(String::new());
        };
        let mut bytes = vec![0; usize_of_u32(place.len)];
        self.tokens
            .read_exact_at(&mut bytes, place.at)
            .map_err(temporary)?;
        String::from_utf8(bytes)
            .map_err(|error| temporary(std::io::Error::new(std::io::ErrorKind::InvalidData, error)))
    }
}

fn temporary(source: std::io::Error) -> Error {
    Error::Io {
        path: PathBuf::from("a temporary file of block tokens"),
        source,
    }
}

/// Checks what pages of a list say, whichever list it is.
struct Walk {
    action: Action,
    blocks: Option<u64>,
    last: Option<u32>,
    empty: u32,
    restarts: u32,
}

impl Walk {
    fn new(action: Action) -> Self {
        Self {
            action,
            blocks: None,
            last: None,
            empty: 0,
            restarts: 0,
        }
    }

    fn bad(&self, what: impl Into<String>) -> Error {
        Error::Answer {
            action: self.action,
            what: what.into(),
        }
    }

    /// A page with its sizes; every page must say the same.
    fn page(&mut self, volume: Option<i64>, block: Option<i32>, len: usize) -> Result<(), Error> {
        if block.map(i64::from) != Some(512 << 10) {
            return Err(self.bad(format!("its blocks have {block:?} bytes, not 524288")));
        }
        let gib = volume.and_then(|gib| u32::try_from(gib).ok());
        let gib = gib.filter(|gib| (1..=MAX_VOLUME).contains(gib));
        let gib = gib.ok_or_else(|| self.bad(format!("the volume's size is {volume:?} GiB")))?;
        let blocks = u64::from(gib).saturating_mul(GIB_BLOCKS);
        if self.blocks.is_some_and(|known| known != blocks) {
            return Err(self.bad("the volume's size differs between pages"));
        }
        self.blocks = Some(blocks);
        self.empty = if len == 0 {
            self.empty.saturating_add(1)
        } else {
            0
        };
        if self.empty > MAX_EMPTY {
            return Err(self.bad("the list does not end"));
        }
        Ok(())
    }

    /// A block's index: ascending, and on the volume.
    fn block(&mut self, index: Option<i32>) -> Result<u32, Error> {
        let block = index.and_then(|index| u32::try_from(index).ok());
        let on_disk = |block: &u32| u64::from(*block) < self.blocks.unwrap_or(0);
        let ascends = |block: &u32| self.last.is_none_or(|last| last < *block);
        match block.filter(on_disk).filter(ascends) {
            Some(block) => {
                self.last = Some(block);
                Ok(block)
            }
            None => Err(self.bad(format!(
                "block {index:?} is out of order or beyond the volume"
            ))),
        }
    }

    /// A page that failed: whether to begin anew.
    fn failed(&mut self, end: End) -> Result<(), Error> {
        match end {
            // To go on where it was would make the tokens of the pages before void.
            End::Failed(failure, _) if failure.kind == Kind::Page => {
                self.restarts = self.restarts.saturating_add(1);
                if self.restarts > MAX_RESTARTS {
                    return Err(failure.into_error(self.action));
                }
                self.last = None;
                Ok(())
            }
            end => Err(end.into_error(self.action)),
        }
    }

    fn size(&self) -> u64 {
        self.blocks.unwrap_or(0).saturating_mul(BLOCK)
    }
}

const _: () = assert!(GIB_BLOCKS * BLOCK == GIB);

impl Ebs {
    /// Lists the blocks of a snapshot. All tokens of the same snapshot that were listed before may
    /// be void from then on.
    pub(crate) async fn blocks(&self, id: &str) -> Result<Blocks, Error> {
        let mut walk = Walk::new(Action::ListSnapshotBlocks);
        'anew: loop {
            let listed = Instant::now();
            let mut tokens = BufWriter::new(tempfile::tempfile().map_err(temporary)?);
            let mut places = Vec::new();
            let (mut next, mut at) = (None::<String>, 0_u64);
            loop {
                let page = match self.list(id, next.as_deref()).await {
                    Ok(page) => page,
                    Err(End::Failed(failure, _)) if failure.kind == Kind::NotFound => {
                        return Err(Error::NoSnapshot(id.to_owned()));
                    }
                    Err(end) => {
                        walk.failed(end)?;
                        continue 'anew;
                    }
                };
                walk.page(page.volume_size, page.block_size, page.blocks.len())?;
                for listed in &page.blocks {
                    let block = walk.block(listed.block_index())?;
                    let token = listed.block_token().unwrap_or_default();
                    if token.is_empty() || token.len() > MAX_TOKEN {
                        let what = format!("the token of block {block} has {} bytes", token.len());
                        return Err(walk.bad(what));
                    }
                    tokens.write_all(token.as_bytes()).map_err(temporary)?;
                    let len = u32::try_from(token.len());
                    places.push(Place {
                        block,
                        // At most 256.
                        len: len.unwrap_or(0),
                        at,
                    });
                    at = at.saturating_add(u64_of(token.len()));
                }
                next = page.next;
                if next.is_none() {
                    let tokens = tokens
                        .into_inner()
                        .map_err(|error| temporary(error.into_error()))?;
                    return Ok(Blocks {
                        places,
                        tokens,
                        size: walk.size(),
                        listed,
                    });
                }
            }
        }
    }

    /// The ranges of bytes in which a snapshot may differ from another one of the same chain,
    /// ascending, not touching, in whole blocks.
    ///
    /// # Errors
    /// [`Error::Refused`] if they are not of one chain; as the service says;
    /// [`Error::Interrupted`].
    pub fn changed(
        &self,
        first: &str,
        second: &str,
        interrupt: &Interrupt,
    ) -> Result<Vec<Range<u64>>, Error> {
        crate::info::check_id(first)?;
        crate::info::check_id(second)?;
        self.wait(interrupt, self.changed_async(first, second))
    }

    async fn changed_async(&self, first: &str, second: &str) -> Result<Vec<Range<u64>>, Error> {
        let mut walk = Walk::new(Action::ListChangedBlocks);
        'anew: loop {
            let mut ranges: Vec<Range<u64>> = Vec::new();
            let mut next = None::<String>;
            loop {
                let page = match self.list_changed(first, second, next.as_deref()).await {
                    Ok(page) => page,
                    Err(End::Failed(failure, _)) if failure.kind == Kind::NotFound => {
                        return Err(Error::NoSnapshot(format!("{first} or {second}")));
                    }
                    Err(end) => {
                        walk.failed(end)?;
                        continue 'anew;
                    }
                };
                walk.page(page.volume_size, page.block_size, page.blocks.len())?;
                for changed in &page.blocks {
                    let start = u64::from(walk.block(changed.block_index())?).saturating_mul(BLOCK);
                    let end = start.saturating_add(BLOCK);
                    match ranges.last_mut() {
                        Some(last) if last.end == start => last.end = end,
                        _ => ranges.push(start..end),
                    }
                }
                next = page.next;
                if next.is_none() {
                    return Ok(ranges);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_no_list_has_are_refused() {
        let walk = || Walk::new(Action::ListSnapshotBlocks);
        assert!(walk().page(Some(1), Some(512), 0).is_err());
        assert!(walk().page(Some(1), None, 0).is_err());
        for gib in [None, Some(0), Some(-1), Some(65_537), Some(i64::MAX)] {
            assert!(walk().page(gib, Some(524_288), 0).is_err(), "{gib:?}");
        }
        let mut walk = walk();
        walk.page(Some(1), Some(524_288), 3).unwrap();
        assert!(walk.page(Some(2), Some(524_288), 3).is_err());
        assert_eq!(walk.block(Some(5)).unwrap(), 5);
        for index in [None, Some(-1), Some(5), Some(2048)] {
            assert!(walk.block(index).is_err(), "{index:?}");
        }
        assert_eq!(walk.block(Some(2047)).unwrap(), 2047);
    }

    #[test]
    fn a_list_of_empty_pages_ends() {
        let mut walk = Walk::new(Action::ListChangedBlocks);
        let ended = (0..2000).any(|_| walk.page(Some(1), Some(524_288), 0).is_err());
        assert!(ended);
    }
}
