//! Memory for blocks that is used again and again.

use bytes::Bytes;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Buffers that were used and are free. Fresh memory for each block comes from the system in 128
/// pages, each of which is a fault and is zeroed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

/// A buffer that goes back when nobody sends it any more.
struct Lent {
    content: Vec<u8>,
    pool: Pool,
}

impl Pool {
    /// One that was used, as it was then, or an empty one.
    pub(crate) fn take(&self) -> Vec<u8> {
        self.lock().pop().unwrap_or_default()
    }

    /// The bytes, of which no clone is a copy. There are never more buffers than were lent at a time.
    pub(crate) fn lend(&self, content: Vec<u8>) -> Bytes {
        let pool = self.clone();
        Bytes::from_owner(Lent { content, pool })
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // Whole at any time.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.content
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let content = std::mem::take(&mut self.content);
        self.pool.lock().push(content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_with_its_last_user_and_not_before() {
        let pool = Pool::default();
        let first = pool.lend(vec![7; 1000]);
        let second = first.slice(10..20);
        drop(first);
        assert!(pool.take().is_empty());
        assert_eq!(&second[..], [7; 10]);
        drop(second);
        assert_eq!(pool.take(), [7; 1000]);
        assert!(pool.take().is_empty());
    }
}
