//! Paths that lead through symbolic links, inside the initramfs alone.

use super::{Contents, Node};
use std::collections::VecDeque;

/// Where a path leads.
pub(super) enum Resolved {
    /// To something that exists, at this path without links.
    Found { path: Vec<u8> },
    /// The directory `path` exists, the first name of `rest` is not in it.
    Missing { path: Vec<u8>, rest: Vec<Vec<u8>> },
    /// Through something that is no directory, or around in circles.
    Blocked,
}

impl Contents {
    /// Follows `path` from the root; a link at its end only if `follow_last`.
    pub(super) fn resolve(&self, path: &[u8], follow_last: bool) -> Resolved {
        let mut todo: VecDeque<Vec<u8>> = names(path).collect();
        let mut links = 0;
        let mut at = Vec::new();
        while let Some(name) = todo.pop_front() {
            if name == b".." {
                pop(&mut at);
                continue;
            }
            let parent = at.len();
            push(&mut at, &name);
            match self.nodes.get(&at) {
                Some(Node::Directory) => (),
                Some(Node::Symlink(target)) if follow_last || !todo.is_empty() => {
                    links = u32::saturating_add(links, 1);
                    if links > MAX_LINKS {
                        return Resolved::Blocked;
                    }
                    at.truncate(if target.first() == Some(&b'/') {
                        0
                    } else {
                        parent
                    });
                    for name in names(target).collect::<Vec<_>>().into_iter().rev() {
                        todo.push_front(name);
                    }
                }
                Some(_) if todo.is_empty() => (),
                Some(_) => return Resolved::Blocked,
                None => {
                    at.truncate(parent);
                    let mut rest = vec![name];
                    for name in todo {
                        if name == b".." {
                            rest.pop();
                        } else {
                            rest.push(name);
                        }
                    }
                    return Resolved::Missing { path: at, rest };
                }
            }
        }
        Resolved::Found { path: at }
    }
}

/// Appends a name.
pub(super) fn push(path: &mut Vec<u8>, name: &[u8]) {
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

fn pop(path: &mut Vec<u8>) {
    let parent = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    path.truncate(parent);
}

fn names(path: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    path.split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty() && *name != b".")
        .map(<[u8]>::to_vec)
}

/// The kernel follows as many (`MAXSYMLINKS`).
const MAX_LINKS: u32 = 40;
