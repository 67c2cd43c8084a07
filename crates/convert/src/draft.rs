//! The guest as the rules so far would leave it.

use crate::change::{After, Because, Content};
use crate::labels::{Found, Labels};
use crate::{Bytes, Change, Digest, Error, Finding, Options, Severity, State, originals};
use fs::{Kind, Meta, NewNode, Space};
use guest::{DirEntry, Facts, Guest, GuestPath};
use ondisk::width::u64_of;
use std::collections::BTreeMap;

/// The guest as the rules so far would leave it: reads fall through pending edits to the guest,
/// edits are recorded and nothing is written.
#[derive(Debug)]
pub struct Draft<'g> {
    guest: &'g Guest,
    facts: &'g Facts,
    options: &'g Options,
    pending: BTreeMap<GuestPath, Change>,
    findings: Vec<Finding>,
    rule: &'static str,
    labels: &'g Labels<'g>,
    /// Why the SELinux label of something new is not known.
    missing_label: Option<String>,
}

/// Largest file that a rule may read whole. The largest initramfs images in the field have some
/// hundred MiB.
const READ_CAP: u64 = 1 << 30;
/// Links to pending links that are followed; the guest's own links are counted below.
const PENDING_LINKS: usize = 8;

/// A file before its label is known.
fn new_file(content: Content, node: NewNode) -> After {
    After::File {
        content,
        node,
        selinux: None,
    }
}

/// Where a link at `at` leads.
fn link_leads_to(at: &GuestPath, target: &[u8]) -> GuestPath {
    match at.parent() {
        Some(dir) if !target.starts_with(b"/") => dir.join(target),
        _ => GuestPath::new(target),
    }
}

impl<'g> Draft<'g> {
    pub(crate) fn new(
        guest: &'g Guest,
        facts: &'g Facts,
        options: &'g Options,
        labels: &'g Labels<'g>,
    ) -> Self {
        Self {
            guest,
            facts,
            options,
            labels,
            missing_label: None,
            pending: BTreeMap::new(),
            findings: Vec::new(),
            rule: "",
        }
    }

    pub(crate) fn enter(&mut self, rule: &'static str) {
        self.rule = rule;
    }

    /// What differs from the guest, in path order, and what was found.
    pub(crate) fn finish(self) -> (Vec<Change>, Vec<Finding>) {
        let changes = self.pending.into_values();
        let changes = changes.filter(|change| !change.before.same(&change.after.state()));
        (changes.collect(), self.findings)
    }

    /// Why the SELinux label of something that the plan makes is not known; none if all are.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub(crate) fn missing_label(&self) -> Result<Option<String>, Error> {
        if self.pending.is_empty() || self.missing_label.is_some() {
            return Ok(self.missing_label.clone());
        }
        // Originals are kept of everything that changes.
        let home = self.guest.canonical(&originals::HOME.into(), true)?;
        Ok(match self.labels.label(&home, Kind::Dir)? {
            Found::Label(_) => None,
            Found::Missing(reason) => Some(reason),
        })
    }

    /// The guest below the pending edits.
    pub fn guest(&self) -> &'g Guest {
        self.guest
    }

    /// What inspection saw.
    pub fn facts(&self) -> &'g Facts {
        self.facts
    }

    /// What the user asked for.
    pub fn options(&self) -> &'g Options {
        self.options
    }

    /// The content of a regular file; links are followed. `None` if there is none.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn read(&self, path: &GuestPath) -> Result<Option<Vec<u8>>, Error> {
        let mut path = path.clone();
        for _ in 0..PENDING_LINKS {
            let at = self.place(&path)?;
            match self.pending.get(&at).map(|change| &change.after) {
                None => return Ok(self.guest.read(&at, READ_CAP)?),
                Some(After::Absent | After::Dir { .. }) => return Ok(None),
                Some(After::Symlink { target, .. }) => {
                    path = link_leads_to(&at, &target.0);
                }
                Some(After::File { content, .. }) => return self.pending_content(&at, content),
            }
        }
        Ok(None)
    }

    fn pending_content(
        &self,
        path: &GuestPath,
        content: &Content,
    ) -> Result<Option<Vec<u8>>, Error> {
        match content {
            Content::Whole(bytes) => Ok(Some(bytes.0.clone())),
            Content::Copy { from, .. } => Ok(self.guest.read(from, READ_CAP)?),
            Content::Extend { keep, tail, .. } => {
                let mut all = self.guest.read(path, READ_CAP)?.unwrap_or_default();
                all.truncate(ondisk::width::usize_of(*keep));
                all.extend_from_slice(&tail.0);
                Ok(Some(all))
            }
        }
    }

    /// As [`read`](Self::read), for text. A file that is not UTF-8 is read with replacement
    /// characters, so a rule that edits it must not write it back: it gets `None` and a finding.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn read_text(&mut self, path: &GuestPath) -> Result<Option<String>, Error> {
        let Some(bytes) = self.read(path)? else {
            return Ok(None);
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => {
                self.find(
                    Severity::Warning,
                    format!("{path} is not UTF-8 and was left alone"),
                );
                Ok(None)
            }
        }
    }

    /// Whether there is anything at `path`; links are followed.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn exists(&self, path: &GuestPath) -> Result<bool, Error> {
        let at = self.place(path)?;
        match self.pending.get(&at).map(|change| &change.after) {
            Some(After::Absent) => Ok(false),
            Some(_) => Ok(true),
            None => Ok(self.guest.stat(&at)?.is_some()),
        }
    }

    /// What the guest says of the node itself, without pending edits; links are not followed.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn stat(&self, path: &GuestPath) -> Result<Option<Meta>, Error> {
        Ok(self.guest.stat(&self.guest.canonical(path, false)?)?)
    }

    /// The target of a symbolic link; `None` if there is no link.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn read_link(&self, path: &GuestPath) -> Result<Option<Vec<u8>>, Error> {
        let at = self.guest.canonical(path, false)?;
        match self.pending.get(&at).map(|change| &change.after) {
            Some(After::Symlink { target, .. }) => Ok(Some(target.0.clone())),
            Some(_) => Ok(None),
            None => Ok(self.guest.read_link(&at)?),
        }
    }

    /// The names in a directory with pending edits, by name; empty if there is no directory.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn list(&self, dir: &GuestPath) -> Result<Vec<DirEntry>, Error> {
        let dir = self.place(dir)?;
        let entries = self.guest.list(&dir)?;
        let mut names: BTreeMap<_, _> = entries
            .into_iter()
            .map(|entry| (entry.name, entry.kind))
            .collect();
        for (path, change) in &self.pending {
            let (Some(parent), Some(name)) = (path.parent(), path.name()) else {
                continue;
            };
            if parent != dir {
                continue;
            }
            match change.after {
                After::Absent => names.remove(name),
                After::File { .. } => names.insert(name.to_vec(), Kind::File),
                After::Symlink { .. } => names.insert(name.to_vec(), Kind::Symlink),
                After::Dir { .. } => names.insert(name.to_vec(), Kind::Dir),
            };
        }
        Ok(names
            .into_iter()
            .map(|(name, kind)| DirEntry { name, kind })
            .collect())
    }

    /// The room on the file system that holds `path`.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn space(&self, path: &GuestPath) -> Result<Space, Error> {
        Ok(self.guest.space(&self.guest.canonical(path, true)?)?.1)
    }

    /// Makes `content` the content of a file; links are followed. Owner and mode of an existing
    /// file stay, a new one belongs to root with mode 0644, missing directories are made.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn write(
        &mut self,
        path: &GuestPath,
        content: impl Into<Vec<u8>>,
        why: impl Into<String>,
    ) -> Result<(), Error> {
        self.put(path, content.into(), None, why.into())
    }

    /// As [`write`](Self::write), and the file gets this mode.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn write_with_mode(
        &mut self,
        path: &GuestPath,
        content: impl Into<Vec<u8>>,
        mode: u16,
        why: impl Into<String>,
    ) -> Result<(), Error> {
        self.put(path, content.into(), Some(mode), why.into())
    }

    /// Removes a file or link; nothing happens if there is none.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn remove(&mut self, path: &GuestPath, why: impl Into<String>) -> Result<(), Error> {
        let at = self.guest.canonical(path, false)?;
        self.record(at, After::Absent, why.into())
    }

    /// Puts a symbolic link at `path`, in place of what is there.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn symlink(
        &mut self,
        path: &GuestPath,
        target: &[u8],
        why: impl Into<String>,
    ) -> Result<(), Error> {
        let at = self.guest.canonical(path, false)?;
        let why = why.into();
        self.make_parents(&at, &why)?;
        let target = Bytes(target.to_vec());
        self.record(
            at,
            After::Symlink {
                target,
                node: NewNode::root(0o777),
                selinux: None,
            },
            why,
        )
    }

    /// Gives `to` the content that the file `from` has in the guest, as a new file of the same
    /// mode; nothing happens if there is no such file.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn copy(
        &mut self,
        from: &GuestPath,
        to: &GuestPath,
        why: impl Into<String>,
    ) -> Result<(), Error> {
        let from = self.guest.canonical(from, true)?;
        let State::File {
            size, sha256, node, ..
        } = State::of(self.guest, &from)?
        else {
            return Ok(());
        };
        let to = self.guest.canonical(to, true)?;
        let why = why.into();
        self.make_parents(&to, &why)?;
        let content = Content::Copy { from, size, sha256 };
        self.record(to, new_file(content, node), why)
    }

    /// Keeps the first `keep` bytes of a file and puts `tail` behind them.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn extend(
        &mut self,
        path: &GuestPath,
        keep: u64,
        tail: Vec<u8>,
        why: impl Into<String>,
    ) -> Result<(), Error> {
        let at = self.guest.canonical(path, true)?;
        let mut original = self.guest.read(&at, READ_CAP)?.unwrap_or_default();
        original.truncate(ondisk::width::usize_of(keep));
        let sha256 = Digest::of(&[&original, &tail]);
        let keep = u64_of(original.len());
        let node = self.node_of(&at)?.unwrap_or(NewNode::root(0o644));
        let content = Content::Extend {
            keep,
            tail: Bytes(tail),
            sha256,
        };
        self.record(at, new_file(content, node), why.into())
    }

    /// Tells the user something.
    pub fn find(&mut self, severity: Severity, text: impl Into<String>) {
        let finding = Finding {
            severity,
            rule: self.rule.to_owned(),
            text: text.into(),
        };
        if !self.findings.contains(&finding) {
            self.findings.push(finding);
        }
    }

    fn put(
        &mut self,
        path: &GuestPath,
        content: Vec<u8>,
        mode: Option<u16>,
        why: String,
    ) -> Result<(), Error> {
        let at = self.place(path)?;
        self.make_parents(&at, &why)?;
        let mut node = self.node_of(&at)?.unwrap_or(NewNode::root(0o644));
        node.mode = mode.unwrap_or(node.mode);
        self.record(at, new_file(Content::Whole(Bytes(content)), node), why)
    }

    /// Where `path` leads. A link that a rule removed or replaced is not followed any more.
    fn place(&self, path: &GuestPath) -> Result<GuestPath, Error> {
        let itself = self.guest.canonical(path, false)?;
        if self.pending.contains_key(&itself) {
            return Ok(itself);
        }
        Ok(self.guest.canonical(path, true)?)
    }

    /// Owner and mode of the file at `at`, pending or in the guest.
    fn node_of(&self, at: &GuestPath) -> Result<Option<NewNode>, Error> {
        if let Some(change) = self.pending.get(at) {
            return Ok(match &change.after {
                After::File { node, .. } => Some(*node),
                _ => None,
            });
        }
        let meta = self.guest.stat(at)?.filter(|meta| meta.kind == Kind::File);
        Ok(meta.map(|meta| NewNode {
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
        }))
    }

    fn make_parents(&mut self, at: &GuestPath, why: &str) -> Result<(), Error> {
        let Some(parent) = at.parent() else {
            return Ok(());
        };
        let gone = match self.pending.get(&parent).map(|change| &change.after) {
            Some(After::Dir { .. }) => return Ok(()),
            Some(_) => true,
            None => self.guest.stat(&parent)?.is_none(),
        };
        if gone {
            self.make_parents(&parent, why)?;
            self.record(
                parent,
                After::Dir {
                    node: NewNode::root(0o755),
                    selinux: None,
                },
                why.to_owned(),
            )?;
        }
        Ok(())
    }

    fn record(&mut self, at: GuestPath, after: After, reason: String) -> Result<(), Error> {
        let because = Because {
            rule: self.rule.to_owned(),
            reason,
        };
        let known = self.pending.get(&at).map(|change| change.before.clone());
        let is_known = known.is_some();
        let before = match known {
            Some(before) => before,
            None => State::of(self.guest, &at)?,
        };
        let label = self.labels.after(&at, &before, &after)?;
        let label = match label {
            Found::Label(label) => label,
            Found::Missing(reason) => {
                self.missing_label.get_or_insert(reason);
                None
            }
        };
        let after = after.labelled(label);
        if is_known && let Some(change) = self.pending.get_mut(&at) {
            change.after = after;
            if !change.because.contains(&because) {
                change.because.push(because);
            }
        } else {
            if !before.same(&after.state()) {
                let change = Change {
                    path: at.clone(),
                    before,
                    after,
                    because: vec![because],
                };
                self.pending.insert(at, change);
            }
        }
        Ok(())
    }
}
