//! Node numbers: FAT has none of its own.

use crate::{Corrupt, Error, Unsupported};
use fs::NodeId;
use std::collections::HashMap;

/// Gives numbers to what was looked up, by directory and name.
#[derive(Debug)]
pub(crate) struct Nodes {
    by_id: HashMap<NodeId, Place>,
    by_place: HashMap<Place, NodeId>,
    next: u64,
}

/// Where a node is named.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Place {
    pub(crate) dir: NodeId,
    /// As the directory has it.
    pub(crate) name: String,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        Self {
            by_id: HashMap::new(),
            by_place: HashMap::new(),
            next: ROOT.0.saturating_add(1),
        }
    }

    /// The number of what is named in a place, a new one the first time.
    pub(crate) fn id(&mut self, place: Place) -> Result<NodeId, Error> {
        if let Some(id) = self.by_place.get(&place) {
            return Ok(*id);
        }
        if self.by_id.len() >= MAX_NODES {
            return Err(Unsupported::TooManyNodes(MAX_NODES).into());
        }
        let id = NodeId(self.next);
        self.next = self.next.saturating_add(1);
        self.by_id.insert(id, place.clone());
        self.by_place.insert(place, id);
        Ok(id)
    }

    /// Where a node is named; nothing for the root, or if it is not known or gone.
    pub(crate) fn place(&self, node: NodeId) -> Option<Place> {
        self.by_id.get(&node).cloned()
    }

    /// The names from the root down; nothing if the node is not known or gone.
    pub(crate) fn path(&self, node: NodeId) -> Result<Option<Vec<String>>, Error> {
        let mut names = Vec::new();
        let mut node = node;
        while node != ROOT {
            let Some(place) = self.by_id.get(&node) else {
                return Ok(None);
            };
            if names.len() >= MAX_DEPTH {
                return Err(Corrupt::TooDeep(MAX_DEPTH).into());
            }
            names.push(place.name.clone());
            node = place.dir;
        }
        names.reverse();
        Ok(Some(names))
    }

    /// Whether `node` is `ancestor` or lies below it.
    pub(crate) fn is_below(&self, node: NodeId, ancestor: NodeId) -> bool {
        let mut node = node;
        // No directory is ever moved below itself, so this ends at the root.
        loop {
            if node == ancestor {
                return true;
            }
            match self.by_id.get(&node) {
                Some(place) => node = place.dir,
                None => return false,
            }
        }
    }

    /// Forgets what was named in a place.
    pub(crate) fn remove(&mut self, place: &Place) {
        if let Some(id) = self.by_place.remove(place) {
            self.by_id.remove(&id);
        }
    }

    /// Follows a node to its new place.
    pub(crate) fn rename(&mut self, from: &Place, to: Place) {
        if let Some(id) = self.by_place.remove(from) {
            self.by_id.insert(id, to.clone());
            self.by_place.insert(to, id);
        }
    }
}

pub(crate) const ROOT: NodeId = NodeId(1);
/// A million names are some 100 MB here; no EFI system partition has a thousandth of that.
const MAX_NODES: usize = 1 << 20;
/// Windows allows paths of 260 characters: 130 levels.
pub(crate) const MAX_DEPTH: usize = 130;
