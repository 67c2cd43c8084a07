//! Walking the directories of a volume, those of both states side by side.

use super::content::{self, Failed, File};
use super::tally::Tally;
use super::{FileState, Owner, Ranges, content_bytes};
use crate::content::chain;
use crate::path::escape;
use crate::{Error, GuestPath};
use fs::{FileSystem, Kind, NodeId, Places, Role};
use ondisk::{Interrupt, Task};
use std::collections::{HashMap, HashSet};

/// What can be read of a volume.
#[derive(Clone, Copy)]
pub(super) enum Sides<'a> {
    /// Both states.
    Both(&'a dyn FileSystem, &'a dyn FileSystem),
    /// The old one, and what is said of its files.
    Old(&'a dyn FileSystem, FileState),
    /// The new one, and what is said of its files.
    New(&'a dyn FileSystem, FileState),
}

/// A node that differs, with its path on the volume.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) state: FileState,
    pub(super) kind: Kind,
    pub(super) path: Vec<u8>,
    pub(super) links: u32,
    pub(super) bytes: u64,
}

/// What a walk found.
#[derive(Debug)]
pub(super) struct Walked {
    pub(super) rows: Vec<Row>,
    pub(super) tally: Tally,
    pub(super) findings: Vec<String>,
}

/// A walk over one volume. Positions are those on the volume.
pub(super) struct Walk<'a> {
    old: Option<&'a dyn FileSystem>,
    new: Option<&'a dyn FileSystem>,
    /// What is said of nodes that one side has.
    alone: [FileState; 2],
    /// With both sides a name that one of them lacks is a difference whatever blocks it has.
    both: bool,
    /// Where the bytes differ.
    changed: &'a Ranges,
    /// Where what the drivers see may differ.
    suspect: &'a Ranges,
    /// Whether a node has its record in one place on both sides if it has one number.
    same_places: bool,
    interrupt: &'a Interrupt,
    /// Directories that were entered, on both sides.
    entered: [HashSet<NodeId>; 2],
    /// Nodes with several names that do not differ.
    quiet: HashSet<NodeId>,
    /// Nodes with several names whose bytes are counted, and how many these are.
    counted: HashMap<NodeId, u64>,
    /// Nodes with several names that are listed.
    listed: HashSet<(FileState, NodeId)>,
    /// Bytes of all parts that may still be met.
    budget: u64,
    skipped: u64,
    ended: bool,
    found: Walked,
}

/// A name in a directory, on one side or on both.
struct Child {
    name: Vec<u8>,
    nodes: [Option<NodeId>; 2],
}

/// Names in a directory, sorted.
type Names = Vec<(Vec<u8>, NodeId)>;

/// A directory that is being walked.
struct Level {
    children: std::vec::IntoIter<Child>,
    path_len: usize,
}

const OLD: usize = 0;
const NEW: usize = 1;
/// Directories in each other; the kernel's longest path has half as many.
const MAX_DEPTH: usize = 4096;
/// Directories of a volume, some 150 MB.
const MAX_DIRECTORIES: usize = 1 << 23;
/// Nodes that are listed, some 200 MB.
const MAX_ROWS: usize = 1 << 20;
const MAX_FINDINGS: u64 = 20;
/// How often each byte of a volume may belong to something before the volume is believed to be
/// made to keep us busy: blocks are shared by reflinks, but not without end.
const MAX_SHARING: u64 = 64;
/// The same for the smallest volumes.
const MIN_BUDGET: u64 = 1 << 30;

impl<'a> Walk<'a> {
    pub(super) fn new(
        sides: Sides<'a>,
        changed: &'a Ranges,
        suspect: &'a Ranges,
        interrupt: &'a Interrupt,
    ) -> Self {
        let (old, new, alone) = match sides {
            Sides::Both(old, new) => (Some(old), Some(new), [FileState::Removed, FileState::Added]),
            Sides::Old(old, state) => (Some(old), None, [state; 2]),
            Sides::New(new, state) => (None, Some(new), [state; 2]),
        };
        Self {
            old,
            new,
            alone,
            both: matches!(sides, Sides::Both(..)),
            changed,
            suspect,
            same_places: false,
            interrupt,
            entered: Default::default(),
            quiet: HashSet::new(),
            counted: HashMap::new(),
            listed: HashSet::new(),
            budget: 0,
            skipped: 0,
            ended: false,
            found: Walked {
                rows: Vec::new(),
                tally: Tally::default(),
                findings: Vec::new(),
            },
        }
    }

    pub(super) fn run(mut self, task: &dyn Task) -> Result<Walked, Error> {
        let size = |side: &dyn FileSystem| side.space().map_or(0, |space| space.total_bytes);
        let sides = [self.old, self.new].into_iter().flatten();
        let size = sides.map(size).max().unwrap_or(0);
        self.budget = size.saturating_mul(MAX_SHARING * 2).max(MIN_BUDGET);
        if let (Some(old), Some(new)) = (self.old, self.new) {
            self.same_places = same_places(old, new).unwrap_or(false);
        }
        let roots = [self.old, self.new].map(|side| side.map(FileSystem::root));
        let mut path = Vec::new();
        let mut stack = Vec::new();
        let root = Child {
            name: Vec::new(),
            nodes: roots,
        };
        stack.push(Level {
            children: vec![root].into_iter(),
            path_len: 0,
        });
        while let Some(level) = stack.last_mut() {
            self.interrupt.check().map_err(Error::Interrupted)?;
            let Some(child) = level.children.next() else {
                stack.pop();
                continue;
            };
            path.truncate(level.path_len);
            if !child.name.is_empty() {
                path.push(b'/');
                path.extend_from_slice(&child.name);
            }
            let children = self.visit(child.nodes, &path)?;
            task.advance(1);
            if self.ended {
                break;
            }
            let Some(children) = children else {
                continue;
            };
            if stack.len() >= MAX_DEPTH {
                self.skip(&path, "its directories lie too deep in each other");
                continue;
            }
            stack.push(Level {
                children: children.into_iter(),
                path_len: path.len(),
            });
        }
        if let Some(new) = self.new
            && let Err(error) = self.found.tally.finish(new, self.changed)
        {
            if let fs::Error::Block(_) = error {
                return Err(failed(b"/", error));
            }
            let why = chain(&error);
            let finding = format!("what is free and what is metadata cannot be told: {why}");
            self.found.findings.push(finding);
        }
        if self.skipped > MAX_FINDINGS {
            let more = self.skipped - MAX_FINDINGS;
            let finding = format!("{more} more places cannot be compared");
            self.found.findings.push(finding);
        }
        Ok(self.found)
    }

    /// Looks at a name; returns what is in it, if it is a directory.
    fn visit(
        &mut self,
        nodes: [Option<NodeId>; 2],
        path: &[u8],
    ) -> Result<Option<Vec<Child>>, Error> {
        match nodes {
            [Some(old), Some(new)] => self.pair(old, new, path),
            [Some(old), None] => self.single(OLD, old, path),
            [None, Some(new)] => self.single(NEW, new, path),
            [None, None] => Ok(None),
        }
    }

    fn pair(&mut self, old: NodeId, new: NodeId, path: &[u8]) -> Result<Option<Vec<Child>>, Error> {
        let one_number = self.same_places && old == new;
        if one_number && self.quiet.contains(&new) {
            return Ok(None);
        }
        let Some(new_places) = self.places(NEW, new, path)? else {
            return Ok(None);
        };
        let (kind, links) = (new_places.meta.kind, new_places.meta.links);
        let touched = self.is_touched(&new_places);
        if one_number && !touched {
            // Record, map and content are the same bytes on both sides.
            if kind == Kind::Dir {
                let Some(names) = self.enter(NEW, new, path)? else {
                    return Ok(None);
                };
                self.entered[OLD].insert(old);
                let children = names.into_iter().map(|(name, node)| Child {
                    name,
                    nodes: [Some(node); 2],
                });
                return Ok(Some(children.collect()));
            }
            if links > 1 {
                self.quiet.insert(new);
            }
            return Ok(None);
        }
        let Some(old_places) = self.places(OLD, old, path)? else {
            return Ok(None);
        };
        if old_places.meta.kind != kind {
            self.lonely(OLD, old, &old_places, path);
            self.lonely(NEW, new, &new_places, path);
            return match (old_places.meta.kind, kind) {
                (Kind::Dir, _) => self.children(OLD, old, path),
                (_, Kind::Dir) => self.children(NEW, new, path),
                _ => Ok(None),
            };
        }
        let bytes = self.count(new, &new_places);
        if kind == Kind::Dir {
            return self.both_children(old, new, path);
        }
        let sides = [(OLD, old, &old_places), (NEW, new, &new_places)];
        let differs = self.differs(sides, kind, path)?;
        let state = match differs {
            Some(true) => FileState::Changed,
            Some(false) if bytes > 0 => FileState::Moved,
            Some(false) => {
                if links > 1 && one_number {
                    self.quiet.insert(new);
                }
                return Ok(None);
            }
            None if bytes > 0 => FileState::Touched,
            None => return Ok(None),
        };
        self.list(state, new, &new_places, bytes, path);
        Ok(None)
    }

    fn single(
        &mut self,
        side: usize,
        node: NodeId,
        path: &[u8],
    ) -> Result<Option<Vec<Child>>, Error> {
        let Some(places) = self.places(side, node, path)? else {
            return Ok(None);
        };
        self.lonely(side, node, &places, path);
        if places.meta.kind == Kind::Dir {
            self.children(side, node, path)
        } else {
            Ok(None)
        }
    }

    /// Counts and lists a node whose name only one side has.
    fn lonely(&mut self, side: usize, node: NodeId, places: &Places, path: &[u8]) {
        let bytes = match side {
            NEW => self.count(node, places),
            _ if places.meta.kind == Kind::Dir => 0,
            // Whose the bytes are now is counted on the new side.
            _ => {
                let parts = places.parts.iter();
                let bytes = parts.map(|part| content_bytes(part, self.changed));
                bytes.fold(0, u64::saturating_add)
            }
        };
        if self.both || bytes > 0 {
            self.list(self.alone[side], node, places, bytes, path);
        }
    }

    fn list(&mut self, state: FileState, node: NodeId, places: &Places, bytes: u64, path: &[u8]) {
        let meta = &places.meta;
        let several = meta.kind != Kind::Dir && meta.links > 1;
        if several && !self.listed.insert((state, node)) {
            return;
        }
        if self.found.rows.len() >= MAX_ROWS {
            self.end("more than a million files differ; the others are not listed");
            return;
        }
        self.found.rows.push(Row {
            state,
            kind: meta.kind,
            path: path.to_vec(),
            links: meta.links,
            bytes,
        });
    }

    /// Counts whose the bytes of a node of the new side are, and returns those of its content if
    /// it is not a directory.
    fn count(&mut self, node: NodeId, places: &Places) -> u64 {
        let is_dir = places.meta.kind == Kind::Dir;
        let several = !is_dir && places.meta.links > 1;
        if several && let Some(bytes) = self.counted.get(&node) {
            return *bytes;
        }
        let mut content = 0_u64;
        for part in &places.parts {
            let bytes = self.changed.bytes_in(&part.bytes);
            match part.role {
                Role::Record => {}
                Role::Map => self.found.tally.add(Owner::Maps, bytes),
                Role::Attributes => {
                    let start = part.bytes.start;
                    self.found.tally.add_shared(Owner::Attributes, start, bytes);
                }
                Role::Content { .. } => content = content.saturating_add(bytes),
            }
        }
        if is_dir {
            self.found.tally.add(Owner::Directories, content);
            return 0;
        }
        self.found.tally.add_file(content);
        if several {
            self.counted.insert(node, content);
        }
        content
    }

    /// Whether two nodes of one kind, no directories, differ; none if that cannot be told.
    fn differs(
        &mut self,
        sides: [(usize, NodeId, &Places); 2],
        kind: Kind,
        path: &[u8],
    ) -> Result<Option<bool>, Error> {
        let [old, new] = sides.map(|(side, node, places)| {
            self.side(side).map(|file_system| File {
                file_system,
                node,
                places,
            })
        });
        let (Some(old), Some(new)) = (old, new) else {
            return Ok(None);
        };
        let compared = match kind {
            Kind::File => content::differ(old, new, self.suspect, self.interrupt),
            Kind::Symlink => {
                let target = |file: File<'_>| file.file_system.read_link(file.node);
                target(old)
                    .and_then(|old| Ok(old != target(new)?))
                    .map_err(Failed::FileSystem)
            }
            _ => Ok(old.places.meta.device != new.places.meta.device),
        };
        match compared {
            Ok(differs) => Ok(Some(differs)),
            Err(Failed::Interrupted(interrupted)) => Err(Error::Interrupted(interrupted)),
            Err(Failed::FileSystem(error)) => {
                self.trouble(path, error)?;
                Ok(None)
            }
        }
    }

    /// Whether a part of a node lies where the sides may differ.
    fn is_touched(&self, places: &Places) -> bool {
        let mut parts = places.parts.iter();
        parts.any(|part| self.suspect.touch(&part.bytes))
    }

    fn side(&self, side: usize) -> Option<&'a dyn FileSystem> {
        if side == OLD { self.old } else { self.new }
    }

    /// Where a node lies, none if that cannot be told.
    fn places(&mut self, side: usize, node: NodeId, path: &[u8]) -> Result<Option<Places>, Error> {
        let Some(file_system) = self.side(side) else {
            return Ok(None);
        };
        let places = match file_system.places(node) {
            Ok(places) => places,
            Err(error) => return self.trouble(path, error).map(|()| None),
        };
        let lengths = places.parts.iter();
        let lengths = lengths.map(|part| part.bytes.end.saturating_sub(part.bytes.start));
        let all = lengths.fold(0, u64::saturating_add);
        match self.budget.checked_sub(all) {
            Some(budget) => {
                self.budget = budget;
                Ok(Some(places))
            }
            None => {
                self.end(
                    "its files claim far more blocks than there are; the rest is not compared",
                );
                Ok(None)
            }
        }
    }

    /// The names in a directory that was not entered before, sorted; none if that cannot be told.
    fn enter(&mut self, side: usize, dir: NodeId, path: &[u8]) -> Result<Option<Names>, Error> {
        let Some(file_system) = self.side(side) else {
            return Ok(None);
        };
        if self.entered[side].len() >= MAX_DIRECTORIES {
            self.end("more than eight million directories; the rest is not compared");
            return Ok(None);
        }
        if !self.entered[side].insert(dir) {
            self.skip(path, "the directory has a second name");
            return Ok(None);
        }
        match file_system.entries(dir) {
            Ok(entries) => {
                let names = entries.into_iter();
                let mut names: Vec<_> = names.map(|entry| (entry.name, entry.node)).collect();
                names.sort_unstable();
                names.dedup_by(|next, kept| next.0 == kept.0);
                Ok(Some(names))
            }
            Err(error) => self.trouble(path, error).map(|()| None),
        }
    }

    /// What is in a directory that one side has.
    fn children(
        &mut self,
        side: usize,
        dir: NodeId,
        path: &[u8],
    ) -> Result<Option<Vec<Child>>, Error> {
        let Some(names) = self.enter(side, dir, path)? else {
            return Ok(None);
        };
        let children = names.into_iter().map(|(name, node)| {
            let mut nodes = [None; 2];
            nodes[side] = Some(node);
            Child { name, nodes }
        });
        Ok(Some(children.collect()))
    }

    /// What is in a directory that both sides have.
    fn both_children(
        &mut self,
        old: NodeId,
        new: NodeId,
        path: &[u8],
    ) -> Result<Option<Vec<Child>>, Error> {
        let Some(left) = self.enter(OLD, old, path)? else {
            return Ok(None);
        };
        let Some(right) = self.enter(NEW, new, path)? else {
            return Ok(None);
        };
        let mut children = Vec::with_capacity(left.len().max(right.len()));
        let mut left = left.into_iter().peekable();
        for (name, node) in right {
            while let Some((gone, node)) = left.next_if(|(old_name, _)| *old_name < name) {
                children.push(Child {
                    name: gone,
                    nodes: [Some(node), None],
                });
            }
            let before = left.next_if(|(old_name, _)| *old_name == name);
            children.push(Child {
                name,
                nodes: [before.map(|(_, node)| node), Some(node)],
            });
        }
        children.extend(left.map(|(name, node)| Child {
            name,
            nodes: [Some(node), None],
        }));
        Ok(Some(children))
    }

    /// Makes a finding of what is damaged or not supported; what a disk refuses is an error.
    fn trouble(&mut self, path: &[u8], error: fs::Error) -> Result<(), Error> {
        if let fs::Error::Block(_) = error {
            return Err(failed(path, error));
        }
        self.skip(path, &chain(&error));
        Ok(())
    }

    fn skip(&mut self, path: &[u8], why: &str) {
        self.skipped += 1;
        if self.skipped <= MAX_FINDINGS {
            let path = if path.is_empty() { b"/" } else { path };
            let finding = format!("{} cannot be compared: {why}", escape(path));
            self.found.findings.push(finding);
        }
    }

    fn end(&mut self, why: &str) {
        if !self.ended {
            self.ended = true;
            self.found.findings.push(why.to_owned());
        }
    }
}

/// Whether a number names the record in one place on both file systems.
fn same_places(old: &dyn FileSystem, new: &dyn FileSystem) -> Result<bool, fs::Error> {
    if !old.numbers_are_places()
        || !new.numbers_are_places()
        || old.info().kind != new.info().kind
        || old.root() != new.root()
        || old.structures()? != new.structures()?
    {
        return Ok(false);
    }
    // The size of records is not among the structures.
    let record = |side: &dyn FileSystem| -> Result<_, fs::Error> {
        let parts = side.places(side.root())?.parts.into_iter();
        let mut records = parts.filter(|part| part.role == Role::Record);
        Ok(records.next().map(|part| part.bytes))
    };
    Ok(record(old)? == record(new)?)
}

fn failed(path: &[u8], source: fs::Error) -> Error {
    Error::Path {
        operation: "compare",
        path: GuestPath::new(path),
        source,
    }
}
