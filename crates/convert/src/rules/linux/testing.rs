//! Guests in memory that rules are run on.

use crate::change::{self, After};
use crate::labels::Labels;
use crate::{Draft, Options, Rule};
use fs::{FileSystem, FileSystemEdit, Kind, MemoryFs, NewNode};
use guest::{Content, Facts, Guest, GuestPath, VolumeFact, VolumeId};
use std::collections::BTreeMap;

/// A guest of text files; content that starts with `-> ` is the target of a link.
///
/// Its first disk has swap space (`swap-uuid`) on partition 1 and the root file system
/// (`root-uuid`) on partition 2.
#[derive(Clone, Debug)]
pub(super) struct TestGuest {
    files: BTreeMap<String, String>,
    pub(super) options: Options,
    mounts: Vec<&'static str>,
    kernels: bool,
    adjust: fn(&mut Facts),
}

/// What rules left.
#[derive(Debug)]
pub(super) struct Outcome {
    files: BTreeMap<String, String>,
    /// What differs from before, in path order, new directories left out.
    pub(super) changed: Vec<String>,
    /// Permission bits of changed files.
    pub(super) modes: BTreeMap<String, u16>,
    /// SELinux labels of changed files, links and new directories.
    pub(super) labels: BTreeMap<String, String>,
    pub(super) findings: Vec<String>,
}

impl TestGuest {
    pub(super) fn of(files: &[(&str, &str)]) -> Self {
        let owned = |(path, content): &(&str, &str)| ((*path).to_owned(), (*content).to_owned());
        Self {
            files: files.iter().map(owned).collect(),
            options: Options::default(),
            mounts: Vec::new(),
            kernels: false,
            adjust: |_| {},
        }
    }

    pub(super) fn with_options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Puts what lies below this path on a file system of its own.
    pub(super) fn with_mount(mut self, at: &'static str) -> Self {
        self.mounts.push(at);
        self
    }

    /// Lets inspection find the kernels among the files.
    pub(super) fn with_kernels(mut self) -> Self {
        self.kernels = true;
        self
    }

    /// Changes the facts that inspection found.
    pub(super) fn with_facts(mut self, adjust: fn(&mut Facts)) -> Self {
        self.adjust = adjust;
        self
    }

    /// Runs rules, and runs them again on what they left: the second run must change nothing.
    pub(super) fn run(&self, rules: &[Rule]) -> Outcome {
        let outcome = self.run_once(rules);
        let mut after = self.clone();
        after.files.clone_from(&outcome.files);
        let again = after.run_once(rules);
        assert!(again.changed.is_empty(), "not stable: {:?}", again.changed);
        outcome
    }

    /// Runs a rule that has to fail, and returns what it says.
    pub(super) fn fails(&self, rule: &Rule) -> String {
        let guest = self.guest();
        let facts = self.facts(&guest);
        let labels = Labels::of(&guest, &facts, &self.options).unwrap();
        let mut draft = Draft::new(&guest, &facts, &self.options, &labels);
        (rule.run)(&mut draft).unwrap_err().to_string()
    }

    fn run_once(&self, rules: &[Rule]) -> Outcome {
        let guest = self.guest();
        let facts = self.facts(&guest);
        let labels = Labels::of(&guest, &facts, &self.options).unwrap();
        let mut draft = Draft::new(&guest, &facts, &self.options, &labels);
        for rule in rules {
            if (rule.applies)(&facts, &self.options) {
                draft.enter(rule.id);
                (rule.run)(&mut draft).unwrap();
            }
        }
        let (mut files, mut changed, mut modes) = (self.files.clone(), Vec::new(), BTreeMap::new());
        let mut labels = BTreeMap::new();
        let (changes, findings) = draft.finish();
        for change in changes {
            let path = change.path.to_string();
            if let Some(label) = change.after.state().selinux() {
                labels.insert(path.clone(), label.to_owned());
            }
            match change.after {
                After::Dir { .. } => continue,
                After::Absent => drop(files.remove(&path)),
                After::Symlink { target, .. } => {
                    let target = String::from_utf8(target.0).unwrap();
                    files.insert(path.clone(), format!("-> {target}"));
                }
                After::File { content, node, .. } => {
                    files.insert(path.clone(), self.content(&path, content));
                    modes.insert(path.clone(), node.mode);
                }
            }
            changed.push(path);
        }
        Outcome {
            files,
            changed,
            modes,
            labels,
            findings: findings.into_iter().map(|finding| finding.text).collect(),
        }
    }

    fn content(&self, path: &str, content: change::Content) -> String {
        let before = |path: &str| self.files.get(path).cloned().unwrap_or_default();
        match content {
            change::Content::Whole(bytes) => String::from_utf8(bytes.0).unwrap(),
            change::Content::Copy { from, .. } => before(&from.to_string()),
            change::Content::Extend { keep, tail, .. } => {
                let mut text = before(path);
                text.truncate(usize::try_from(keep).unwrap());
                text + std::str::from_utf8(&tail.0).unwrap()
            }
        }
    }

    fn guest(&self) -> Guest {
        let mut systems: Vec<(&str, MemoryFs)> = vec![("", MemoryFs::new("root-uuid", None))];
        // Its root has a label, so that it is one of those that have.
        let root = systems[0].1.root();
        let label = Some(&b"a:root\0"[..]);
        systems[0]
            .1
            .set_xattr(root, guest::selinux::ATTRIBUTE, label)
            .unwrap();
        for at in &self.mounts {
            put(&mut systems[0].1, &GuestPath::from(*at).join("below"), "");
            systems.push((at, MemoryFs::new("more-uuid", None)));
        }
        for (path, content) in &self.files {
            let (at, system) = systems
                .iter_mut()
                .rfind(|(at, _)| path.starts_with(*at))
                .unwrap();
            put(system, &GuestPath::from(&path[at.len()..]), content);
        }
        let mut systems = systems.into_iter();
        let (_, root) = systems.next().unwrap();
        systems.fold(Guest::of(Box::new(root)), |guest, (at, system)| {
            guest.with_mount(at.into(), Box::new(system))
        })
    }

    fn facts(&self, guest: &Guest) -> Facts {
        let volume = |partition, uuid: &str| VolumeFact {
            id: VolumeId::partition(0, partition),
            uuid: Some(uuid.to_owned()),
            content: Content::Unknown,
            ..VolumeFact::default()
        };
        let boot = guest::boot::inspect(guest).unwrap();
        let kernels = if self.kernels {
            guest::kernels(guest).unwrap()
        } else {
            Vec::new()
        };
        let mut facts = Facts {
            kernels,
            volumes: vec![volume(1, "swap-uuid"), volume(2, "root-uuid")],
            root: VolumeId::partition(0, 2),
            network: guest::network::inspect(guest).unwrap(),
            cloud_init: guest::cloud_init::inspect(guest, &boot).unwrap(),
            selinux: guest::selinux::inspect(guest, &boot).unwrap(),
            source_tools: guest::source_tools::inspect(guest).unwrap(),
            boot,
            ..Facts::default()
        };
        (self.adjust)(&mut facts);
        facts
    }
}

impl Outcome {
    pub(super) fn text(&self, path: &str) -> &str {
        self.files.get(path).map_or("(absent)", String::as_str)
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.files.contains_key(path)
    }
}

fn put(system: &mut MemoryFs, path: &GuestPath, content: &str) {
    let mut parts: Vec<&[u8]> = path.components().collect();
    let name = parts.pop().unwrap();
    let mut directory = system.root();
    for part in parts {
        directory = match system.lookup(directory, part) {
            Ok(node) => node,
            Err(_) => system
                .make_dir(directory, part, NewNode::root(0o755))
                .unwrap(),
        };
    }
    if let Some(target) = content.strip_prefix("-> ") {
        system
            .symlink(directory, name, target.as_bytes(), NewNode::root(0o777))
            .unwrap();
    } else {
        let node = system
            .create(directory, name, NewNode::root(0o644))
            .unwrap();
        system.replace(node, content.as_bytes()).unwrap();
        assert_eq!(system.stat(node).unwrap().kind, Kind::File);
    }
}
