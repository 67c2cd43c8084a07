//! A small store of blocks that were read.

use ondisk::width::u64_of;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Keeps the blocks that were read last; oldest go first.
#[derive(Debug)]
pub struct BlockCache {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    blocks: HashMap<u64, Arc<[u8]>>,
    order: VecDeque<u64>,
}

/// Bytes that are kept: enough for the tables and directories on the way to some hundred files.
const CAPACITY: usize = 8 << 20;

impl BlockCache {
    /// An empty store for blocks of `block_size` bytes.
    pub fn new(block_size: usize) -> Self {
        Self {
            capacity: CAPACITY.checked_div(block_size).unwrap_or(1),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Blocks are whole whenever the lock is free, also after a panic elsewhere.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The block, if it is kept.
    pub fn find(&self, block: u64) -> Option<Arc<[u8]>> {
        self.state().blocks.get(&block).cloned()
    }

    /// Keeps a block.
    pub fn keep(&self, block: u64, bytes: Arc<[u8]>) {
        let mut state = self.state();
        if state.blocks.insert(block, bytes).is_none() {
            state.order.push_back(block);
        }
        while state.order.len() > self.capacity {
            if let Some(oldest) = state.order.pop_front() {
                state.blocks.remove(&oldest);
            }
        }
    }

    /// Forgets blocks that now hold something else.
    pub fn forget(&self, blocks: Range<u64>) {
        let mut state = self.state();
        // What stays in the order only makes the block that comes there next go earlier.
        if blocks.end.saturating_sub(blocks.start) < u64_of(state.blocks.len()) {
            for block in blocks {
                state.blocks.remove(&block);
            }
        } else {
            state.blocks.retain(|block, _| !blocks.contains(block));
        }
    }

    /// Forgets everything.
    pub fn clear(&self) {
        *self.state() = State::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_block_goes_when_there_is_no_room() {
        let cache = BlockCache::new(CAPACITY / 2);
        for block in 0..3 {
            cache.keep(block, Arc::from(vec![1]));
        }
        assert!(cache.find(0).is_none());
        assert!(cache.find(2).is_some());
        cache.forget(2..9);
        assert!(cache.find(2).is_none());
        assert!(cache.find(1).is_some());
    }
}
