//! Guests in memory, for tests.

use crate::{Guest, GuestPath};
use fs::{FileSystem, FileSystemEdit, MemoryFs, NewNode};

/// A guest of these files; content that starts with `-> ` is the target of a link.
pub(crate) fn guest(files: &[(&str, &str)]) -> Guest {
    Guest::of(Box::new(file_system(files)))
}

/// A file system of these files.
pub(crate) fn file_system(files: &[(&str, &str)]) -> MemoryFs {
    let mut system = MemoryFs::new("5e1f", None);
    for (path, content) in files {
        let path = GuestPath::from(*path);
        let parts: Vec<&[u8]> = path.components().collect();
        let (name, directories) = parts.split_last().expect("a file has a name");
        let mut directory = system.root();
        for part in directories {
            directory = match system.lookup(directory, part) {
                Ok(node) => node,
                Err(_) => system
                    .make_dir(directory, part, NewNode::root(0o755))
                    .expect("the name is free"),
            };
        }
        match content.strip_prefix("-> ") {
            Some(target) => {
                system
                    .symlink(directory, name, target.as_bytes(), NewNode::root(0o777))
                    .expect("the name is free");
            }
            None => {
                let node = system
                    .create(directory, name, NewNode::root(0o644))
                    .expect("the name is free");
                system
                    .replace(node, content.as_bytes())
                    .expect("there is room");
            }
        }
    }
    system
}
