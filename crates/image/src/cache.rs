//! A bounded cache for tables and expanded granules.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values by number, of which the least recently used are forgotten.
///
/// Threads share it; no lock is held while a value is loaded, so two may load the same one.
pub(crate) struct Cache<V> {
    shards: [Mutex<Shard<V>>; SHARDS],
    /// Values in each generation of a shard.
    generation: usize,
}

/// Two generations: what was not used while the young one filled is forgotten with the old one.
struct Shard<V> {
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
}

const SHARDS: usize = 8;

impl<V: Clone> Cache<V> {
    /// Keeps at most about `capacity` values, but some for each thread in any case.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            shards: std::array::from_fn(|_| {
                Mutex::new(Shard {
                    young: HashMap::new(),
                    old: HashMap::new(),
                })
            }),
            generation: (capacity / (2 * SHARDS)).max(1),
        }
    }

    /// The value of `key`, loaded if it is not known.
    pub(crate) fn get_or_load<E>(
        &self,
        key: u64,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E> {
        if let Some(value) = self.get(key) {
            return Ok(value);
        }
        let value = load()?;
        self.shard(key).insert(key, value.clone(), self.generation);
        Ok(value)
    }

    /// The value of `key`, if it is known.
    pub(crate) fn get(&self, key: u64) -> Option<V> {
        let mut shard = self.shard(key);
        if let Some(value) = shard.young.get(&key) {
            return Some(value.clone());
        }
        let value = shard.old.remove(&key)?;
        shard.insert(key, value.clone(), self.generation);
        Some(value)
    }

    fn shard(&self, key: u64) -> MutexGuard<'_, Shard<V>> {
        // Keys are offsets of aligned things: mix before the low bits choose.
        let mixed = key.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0];
        self.shards[usize::from(mixed) % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl<V> Shard<V> {
    fn insert(&mut self, key: u64, value: V, generation: usize) {
        if self.young.len() >= generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

impl<V> std::fmt::Debug for Cache<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache")
            .field("generation", &self.generation)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let cache = Cache::new(64);
        let load = |key: u64| cache.get_or_load(key, || Ok::<_, ()>(key * 2)).unwrap();
        for key in 0..10_000 {
            assert_eq!(load(key), key * 2);
            assert_eq!(cache.get(77_777).is_some(), key > 0);
            load(77_777);
        }
        let kept: usize = cache
            .shards
            .iter()
            .map(|s| s.lock().unwrap())
            .map(|s| s.young.len() + s.old.len())
            .sum();
        assert!(kept <= 64 + SHARDS, "{kept}");
    }

    #[test]
    fn a_failed_load_is_not_remembered() {
        let cache = Cache::new(16);
        assert_eq!(cache.get_or_load(1, || Err::<u64, _>("no")), Err("no"));
        assert_eq!(cache.get_or_load(1, || Ok::<_, ()>(5)), Ok(5));
    }
}
