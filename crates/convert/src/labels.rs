//! SELinux labels of what a conversion makes.
//!
//! What is replaced in place keeps its label. A new node gets the one that the guest's own policy
//! gives to its path (linux-guests.md, item 52); where the policy leaves it open, that of its
//! directory, as the kernel does.

use crate::change::After;
use crate::{Error, Options, State};
use fs::Kind;
use guest::selinux::{self, ATTRIBUTE, FileContexts};
use guest::{Facts, Guest, GuestPath, SelinuxMode};

/// The rule that can be skipped to have none.
pub(crate) const RULE_ID: &str = "selinux-labels";

/// Finds labels for new nodes.
#[derive(Debug)]
pub(crate) struct Labels<'g> {
    guest: &'g Guest,
    policy: Policy,
}

#[derive(Debug)]
enum Policy {
    /// SELinux is not there, or off.
    Off,
    /// It is on, and its policy says nothing of files.
    Silent,
    Known(Box<FileContexts>),
}

/// The label of a new node.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Found {
    /// This one, or none: SELinux is off, or the file system has no labels.
    Label(Option<String>),
    /// There should be one, and this is why it cannot be told.
    Missing(String),
}

impl<'g> Labels<'g> {
    /// Reads the policy of a guest, if it has one that is on.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub(crate) fn of(guest: &'g Guest, facts: &Facts, options: &Options) -> Result<Self, Error> {
        let on = facts
            .selinux
            .as_ref()
            .filter(|selinux| selinux.mode != SelinuxMode::Disabled)
            .filter(|_| !options.skip.contains(RULE_ID));
        let policy = match on {
            None => Policy::Off,
            Some(selinux) => match selinux::file_contexts(guest, &selinux.policy)? {
                Some(contexts) => Policy::Known(Box::new(contexts)),
                None => Policy::Silent,
            },
        };
        Ok(Self { guest, policy })
    }

    /// The label of a new node at a path without links.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub(crate) fn label(&self, path: &GuestPath, kind: Kind) -> Result<Found, Error> {
        let contexts = match &self.policy {
            Policy::Off => return Ok(Found::Label(None)),
            Policy::Silent => {
                let reason = "the policy has no file_contexts".to_owned();
                return Ok(Found::Missing(reason));
            }
            Policy::Known(contexts) => contexts,
        };
        // FAT has none, and neither has what is mounted with one label for all.
        if of(self.guest, self.guest.mount_point(path)?)?.is_none() {
            return Ok(Found::Label(None));
        }
        let text = String::from_utf8_lossy(path.as_bytes());
        Ok(match contexts.label(&text, kind) {
            selinux::Label::Context(label) => Found::Label(Some(label.to_owned())),
            selinux::Label::Unknown(pattern) => {
                Found::Missing(format!("the policy's pattern {pattern} is not understood"))
            }
            selinux::Label::Unspecified => match path.parent() {
                None => Found::Label(None),
                Some(parent) if self.guest.stat(&parent)?.is_some() => {
                    Found::Label(of(self.guest, &parent)?)
                }
                Some(parent) => self.label(&parent, Kind::Dir)?,
            },
        })
    }

    /// The label of what comes into the place of `before`.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub(crate) fn after(
        &self,
        path: &GuestPath,
        before: &State,
        after: &After,
    ) -> Result<Found, Error> {
        let stays = match (before, after) {
            // Content is replaced in place: the node is the same.
            (State::File { .. }, After::File { .. }) | (State::Dir { .. }, After::Dir { .. }) => {
                true
            }
            (State::Symlink { target, .. }, After::Symlink { target: new, .. }) => target == new,
            _ => false,
        };
        match after.kind() {
            Some(kind) if !stays => self.label(path, kind),
            _ => Ok(Found::Label(
                before.selinux().filter(|_| stays).map(str::to_owned),
            )),
        }
    }
}

/// The label that the node itself has.
///
/// # Errors
/// What reading the guest meets.
pub(crate) fn of(guest: &Guest, path: &GuestPath) -> Result<Option<String>, Error> {
    let attributes = guest.xattrs(path)?;
    let label = attributes.iter().find(|xattr| xattr.name == ATTRIBUTE);
    Ok(label.map(|label| {
        let value = label.value.strip_suffix(b"\0").unwrap_or(&label.value);
        String::from_utf8_lossy(value).into_owned()
    }))
}

/// Gives the node itself a label, or takes it away.
///
/// # Errors
/// What writing the guest meets.
pub(crate) fn set(guest: &mut Guest, path: &GuestPath, label: Option<&str>) -> Result<(), Error> {
    let value = label.map(|label| [label.as_bytes(), b"\0"].concat());
    Ok(guest.set_xattr(path, ATTRIBUTE, value.as_deref())?)
}
