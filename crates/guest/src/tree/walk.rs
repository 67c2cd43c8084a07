//! Following a path through directories, links and mounts.

use super::{Guest, at};
use crate::{Error, GuestPath};
use fs::{Kind, Meta, NodeId};

/// Where a path led.
#[derive(Debug)]
pub(super) struct Walked {
    /// The path without links, with what does not exist appended.
    pub(super) path: GuestPath,
    /// The node, if everything exists.
    pub(super) found: Option<Found>,
}

/// A node and the file system that it is on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) mount: usize,
    pub(super) node: NodeId,
    pub(super) meta: Meta,
}

/// The most links that one path may pass, as `MAXSYMLINKS` in `include/linux/namei.h`.
const MAX_LINKS: u32 = 40;
/// The longest path that is left to follow once links were put into it. The kernel takes a target
/// of at most a page; a chain of them is not met outside of attacks.
const MAX_PENDING: usize = 1 << 16;

impl Guest {
    /// Follows `path` from the root; a link in the last place only with `follow_last`.
    pub(super) fn walk(&self, path: &GuestPath, follow_last: bool) -> Result<Walked, Error> {
        // The parts still to go, the next one last.
        let mut pending: Vec<Vec<u8>> = path.components().rev().map(<[u8]>::to_vec).collect();
        let mut here = GuestPath::root();
        // The nodes of all directories from the root to `here`.
        let mut trail = vec![self.mount_root(0, path)?];
        let mut links = 0;

        while let Some(part) = pending.pop() {
            // The trail always keeps the root.
            let dir = trail[trail.len() - 1];
            if part == b".." {
                if let Some(parent) = here.parent() {
                    here = parent;
                    trail.pop();
                }
                continue;
            }
            let next = here.join(&part);
            let found = if let Some(mount) = self.mounted_at(&next) {
                Some(self.mount_root(mount, path)?)
            } else if dir.meta.kind == Kind::Dir {
                self.enter(dir, &part, path)?
            } else {
                None
            };
            let Some(found) = found else {
                let rest = pending.iter().rev();
                let path = rest.fold(next, |missing, part| missing.join(part));
                return Ok(Walked { path, found: None });
            };
            if found.meta.kind != Kind::Symlink || (pending.is_empty() && !follow_last) {
                here = next;
                trail.push(found);
                continue;
            }

            links += 1;
            let target = self
                .file_system(found.mount)
                .read_link(found.node)
                .map_err(at("follow", path))?;
            let left: usize = pending.iter().map(|part| part.len() + 1).sum();
            if links > MAX_LINKS || left + target.len() > MAX_PENDING {
                return Err(Error::TooManyLinks { path: path.clone() });
            }
            if target.first() == Some(&b'/') {
                here = GuestPath::root();
                trail.truncate(1);
            }
            let parts = target.split(|byte| *byte == b'/').rev();
            let parts = parts.filter(|part| !part.is_empty() && *part != b".");
            pending.extend(parts.map(<[u8]>::to_vec));
        }
        Ok(Walked {
            path: here,
            found: trail.last().copied(),
        })
    }

    /// The last file system mounted exactly at `canonical`.
    fn mounted_at(&self, canonical: &GuestPath) -> Option<usize> {
        self.mounts.iter().rposition(|mount| mount.at == *canonical)
    }

    fn mount_root(&self, mount: usize, path: &GuestPath) -> Result<Found, Error> {
        let file_system = self.file_system(mount);
        let node = file_system.root();
        let meta = file_system.stat(node).map_err(at("look up", path))?;
        Ok(Found { mount, node, meta })
    }

    /// The node that `name` names in `dir`, if any.
    fn enter(&self, dir: Found, name: &[u8], path: &GuestPath) -> Result<Option<Found>, Error> {
        let file_system = self.file_system(dir.mount);
        let node = match file_system.lookup(dir.node, name) {
            Ok(node) => node,
            // A name that cannot be is a name that is not there.
            Err(fs::Error::NotFound | fs::Error::BadName) => return Ok(None),
            Err(error) => return Err(at("look up", path)(error)),
        };
        let meta = file_system.stat(node).map_err(at("look up", path))?;
        Ok(Some(Found {
            mount: dir.mount,
            node,
            meta,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fs::{FileSystem, FileSystemEdit, MemoryFs, NewNode};

    fn dir(fs: &mut MemoryFs, parent: NodeId, name: &str) -> NodeId {
        fs.make_dir(parent, name.as_bytes(), NewNode::root(0o755))
            .unwrap()
    }

    fn link(fs: &mut MemoryFs, parent: NodeId, name: &str, target: &str) {
        fs.symlink(
            parent,
            name.as_bytes(),
            target.as_bytes(),
            NewNode::root(0o777),
        )
        .unwrap();
    }

    fn file(fs: &mut MemoryFs, parent: NodeId, name: &[u8], content: &[u8]) {
        let node = fs.create(parent, name, NewNode::root(0o644)).unwrap();
        fs.replace(node, content).unwrap();
    }

    /// A root with links of every kind and a `/boot` on its own file system.
    fn guest() -> Guest {
        let mut root = MemoryFs::new("root", None);
        let top = root.root();
        let etc = dir(&mut root, top, "etc");
        let usr = dir(&mut root, top, "usr");
        dir(&mut root, top, "boot");
        let lib = dir(&mut root, usr, "lib");
        file(&mut root, lib, b"os-release", b"ID=x\n");
        link(&mut root, top, "lib", "usr/lib");
        link(&mut root, etc, "os-release", "../usr/lib/os-release");
        link(&mut root, etc, "up", "../../../../boot/../boot/vmlinuz");
        link(&mut root, etc, "absolute", "/boot/vmlinuz");
        link(&mut root, etc, "loop", "loop");
        link(&mut root, etc, "ping", "/etc/pong");
        link(&mut root, etc, "pong", "ping");
        link(&mut root, etc, "dangling", "/nowhere/at/../all");
        let mut boot = MemoryFs::new("boot", None);
        let top = boot.root();
        file(&mut boot, top, b"vmlinuz", b"kernel");
        link(&mut boot, top, "etc", "../etc");
        Guest::of(Box::new(root)).with_mount("/boot".into(), Box::new(boot))
    }

    fn canonical(guest: &Guest, path: &str) -> String {
        guest.canonical(&path.into(), true).unwrap().to_string()
    }

    #[test]
    fn links_resolve_inside_the_guest_and_across_mounts() {
        let guest = guest();
        assert_eq!(canonical(&guest, "/lib/os-release"), "/usr/lib/os-release");
        assert_eq!(canonical(&guest, "/etc/os-release"), "/usr/lib/os-release");
        assert_eq!(canonical(&guest, "/etc/up"), "/boot/vmlinuz");
        assert_eq!(canonical(&guest, "/boot/etc/absolute"), "/boot/vmlinuz");
        let read = |path: &str| guest.read(&path.into(), 100).unwrap();
        assert_eq!(read("/boot/etc/up").unwrap(), b"kernel");
        assert_eq!(read("/lib"), None);
    }

    #[test]
    fn what_does_not_exist_is_appended() {
        let guest = guest();
        assert_eq!(
            canonical(&guest, "/lib/modules/6.1"),
            "/usr/lib/modules/6.1"
        );
        assert_eq!(canonical(&guest, "/etc/dangling"), "/nowhere/all");
        assert_eq!(
            canonical(&guest, "/usr/lib/os-release/x"),
            "/usr/lib/os-release/x"
        );
        assert!(
            guest
                .stat(&"/usr/lib/os-release/x".into())
                .unwrap()
                .is_none()
        );
        assert!(!guest.exists(&"/etc/dangling".into()).unwrap());
    }

    #[test]
    fn the_last_link_stays_when_asked() {
        let guest = guest();
        let path = GuestPath::from("/lib");
        assert_eq!(guest.canonical(&path, false).unwrap(), "/lib");
        assert_eq!(guest.stat(&path).unwrap().unwrap().kind, Kind::Symlink);
        assert_eq!(guest.read_link(&path).unwrap().unwrap(), b"usr/lib");
        assert_eq!(guest.read_link(&"/etc".into()).unwrap(), None);
    }

    #[test]
    fn loops_are_errors_that_name_the_path() {
        let guest = guest();
        for path in ["/etc/loop", "/etc/ping", "/etc/pong/x"] {
            let error = guest.read(&path.into(), 10).unwrap_err();
            assert!(
                matches!(&error, Error::TooManyLinks { path: named } if *named == path),
                "{error}"
            );
        }
        assert!(guest.stat(&"/etc/loop".into()).unwrap().is_some());
    }

    #[test]
    fn forty_links_pass_and_one_more_does_not() {
        let mut fs = MemoryFs::new("1", None);
        let top = fs.root();
        file(&mut fs, top, b"l0", b"end");
        for n in 1..=41 {
            link(&mut fs, top, &format!("l{n}"), &format!("l{}", n - 1));
        }
        let guest = Guest::of(Box::new(fs));
        assert_eq!(guest.read(&"/l40".into(), 3).unwrap().unwrap(), b"end");
        assert!(guest.read(&"/l41".into(), 3).is_err());
    }

    #[test]
    fn targets_that_multiply_are_refused() {
        let mut fs = MemoryFs::new("1", None);
        let top = fs.root();
        for n in 0..40 {
            let next = format!("/l{}/", n + 1);
            link(&mut fs, top, &format!("l{n}"), &next.repeat(900));
        }
        let guest = Guest::of(Box::new(fs));
        assert!(matches!(
            guest.stat_followed(&"/l0".into()),
            Err(Error::TooManyLinks { .. })
        ));
    }

    #[test]
    fn names_may_be_any_bytes() {
        let mut fs = MemoryFs::new("1", None);
        let top = fs.root();
        file(&mut fs, top, b"\xff\\", b"x");
        let guest = Guest::of(Box::new(fs));
        let path = GuestPath::root().join(b"\xff\\");
        assert_eq!(guest.read(&path, 1).unwrap().unwrap(), b"x");
        assert_eq!(guest.list(&GuestPath::root()).unwrap()[0].name, b"\xff\\");
    }

    #[test]
    fn large_files_are_refused_by_size() {
        let mut fs = MemoryFs::new("1", None);
        let top = fs.root();
        let node = fs.create(top, b"huge", NewNode::root(0o644)).unwrap();
        fs.truncate(node, 1000).unwrap();
        let guest = Guest::of(Box::new(fs));
        let error = guest.read(&"/huge".into(), 999).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/huge in the guest has 1000 bytes, more than the 999 that are read"
        );
        let mut part = [1; 4];
        assert_eq!(
            guest.read_range(&"/huge".into(), 998, &mut part).unwrap(),
            2
        );
    }
}
