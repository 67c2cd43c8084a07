//! What is done to a file system: by the driver, by the kernel, and to the model.

use crate::tree::{Tree, join, split};
use fs::{Error, FileSystem, FileSystemEdit, Kind, NewNode, NodeId};

/// One change, of the node at a path.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Where the node is before it.
    pub path: Vec<u8>,
    /// What is done.
    pub step: Step,
}

/// What is done to the node.
#[derive(Clone, Debug)]
pub enum Step {
    /// Makes a file with its content.
    Create {
        /// What it holds.
        content: Vec<u8>,
        /// Mode and owner.
        new: NewNode,
    },
    /// Makes a directory.
    MakeDir {
        /// Mode and owner.
        new: NewNode,
    },
    /// Makes a symbolic link.
    Symlink {
        /// Where it leads.
        target: Vec<u8>,
        /// Mode and owner.
        new: NewNode,
    },
    /// Gives a file other content.
    Replace {
        /// All of it.
        content: Vec<u8>,
    },
    /// Writes into a file.
    WriteAt {
        /// Bytes from the start.
        offset: u64,
        /// What is written there.
        content: Vec<u8>,
    },
    /// Cuts a file, or grows it with a hole.
    Truncate {
        /// Bytes it has then.
        size: u64,
    },
    /// Removes the name.
    Remove,
    /// Gives the node another name.
    Rename {
        /// The new path.
        to: Vec<u8>,
    },
    /// Sets mode and owner.
    SetOwner {
        /// The new ones.
        new: NewNode,
    },
    /// Sets an attribute, or removes it.
    SetXattr {
        /// Its full name.
        name: Vec<u8>,
        /// Nothing removes it.
        value: Option<Vec<u8>>,
    },
}

/// Does it through the driver.
///
/// # Errors
/// What the driver answers.
pub fn apply(fs: &mut dyn FileSystemEdit, operation: &Operation) -> Result<(), Error> {
    let (dir, name) = split(&operation.path);
    let dir = resolve(fs, dir)?;
    match &operation.step {
        Step::Create { content, new } => {
            let node = fs.create(dir, name, *new)?;
            fs.replace(node, content)
        }
        Step::MakeDir { new } => fs.make_dir(dir, name, *new).map(drop),
        Step::Symlink { target, new } => fs.symlink(dir, name, target, *new).map(drop),
        Step::Remove => fs.remove(dir, name),
        Step::Rename { to } => {
            let (to_dir, to_name) = split(to);
            let to_dir = resolve(fs, to_dir)?;
            fs.rename((dir, name), (to_dir, to_name))
        }
        Step::Replace { content } => {
            let node = fs.lookup(dir, name)?;
            fs.replace(node, content)
        }
        Step::WriteAt { offset, content } => {
            let node = fs.lookup(dir, name)?;
            fs.write_at(node, *offset, content)
        }
        Step::Truncate { size } => {
            let node = fs.lookup(dir, name)?;
            fs.truncate(node, *size)
        }
        Step::SetOwner { new } => {
            let node = fs.lookup(dir, name)?;
            fs.set_owner(node, *new)
        }
        Step::SetXattr { name: xattr, value } => {
            let node = fs.lookup(dir, name)?;
            fs.set_xattr(node, xattr, value.as_deref())
        }
    }
}

impl Operation {
    /// A short text of it.
    pub fn describe(&self) -> String {
        let mut text = format!("{:?}", self.step);
        text.truncate(120);
        format!("{}: {text}", crate::tree::show(&self.path))
    }
}

/// Walks a path.
///
/// # Errors
/// What the driver answers.
pub fn resolve(fs: &dyn FileSystem, path: &[u8]) -> Result<NodeId, Error> {
    let names = path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty());
    let mut node = fs.root();
    for name in names {
        node = fs.lookup(node, name)?;
    }
    Ok(node)
}

/// Does it to the model, where it cannot fail.
pub fn apply_to_model(tree: &mut Tree, operation: &Operation) {
    let path = &operation.path;
    let node = |kind, new: &NewNode, content: &[u8]| crate::tree::Node {
        kind,
        mode: if kind == Kind::Symlink {
            0o777
        } else {
            new.mode
        },
        uid: new.uid,
        gid: new.gid,
        content: content.to_vec(),
        device: None,
        xattrs: Default::default(),
    };
    match &operation.step {
        Step::Create { content, new } => {
            tree.insert(path.clone(), node(Kind::File, new, content));
        }
        Step::MakeDir { new } => {
            tree.insert(path.clone(), node(Kind::Dir, new, b""));
        }
        Step::Symlink { target, new } => {
            tree.insert(path.clone(), node(Kind::Symlink, new, target));
        }
        Step::Remove => {
            tree.remove(path);
        }
        Step::Rename { to } => {
            let below = join(path, b"");
            let moved: Vec<_> = tree
                .keys()
                .filter(|key| *key == path || key.starts_with(&below))
                .cloned()
                .collect();
            for key in moved {
                let node = tree.remove(&key).expect("it was just listed");
                tree.insert([to, &key[path.len()..]].concat(), node);
            }
        }
        step => {
            let node = tree
                .get_mut(path)
                .expect("operations are made for what is there");
            match step {
                Step::Replace { content } => node.content = content.clone(),
                Step::WriteAt { offset, content } => write_at(&mut node.content, *offset, content),
                Step::Truncate { size } => node.content.resize(ondisk::width::usize_of(*size), 0),
                Step::SetOwner { new } => {
                    (node.mode, node.uid, node.gid) = (new.mode, new.uid, new.gid);
                    if let Some(acl) = node.xattrs.get_mut(&b"system.posix_acl_access"[..]) {
                        change_mask(acl, new.mode);
                    }
                }
                Step::SetXattr { name, value } => match value {
                    Some(value) => drop(node.xattrs.insert(name.clone(), value.clone())),
                    None => drop(node.xattrs.remove(name)),
                },
                _ => unreachable!("the other steps are handled above"),
            }
        }
    }
}

/// Writes into content in memory; a gap is filled with zeros.
pub fn write_at(whole: &mut Vec<u8>, offset: u64, content: &[u8]) {
    let start = ondisk::width::usize_of(offset);
    let end = start + content.len();
    whole.resize(whole.len().max(end), 0);
    whole[start..end].copy_from_slice(content);
}

/// Follows a new mode in an access control list that has a mask, as `chmod` does.
fn change_mask(acl: &mut [u8], mode: u16) {
    for entry in acl[4..].chunks_mut(8) {
        let permissions = match entry[0] {
            0x01 => mode >> 6,
            0x10 => mode >> 3,
            0x20 => mode,
            _ => continue,
        };
        entry[2..4].copy_from_slice(&(permissions & 7).to_le_bytes());
    }
}
