use crate::contents::{Contents, Entry};
use crate::error::{Error, UnsupportedKind};
use crate::kmod::{Dependencies, ModuleFile, index, normalize, parse_aliases, parse_dependencies};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// The modules that an initramfs has for one kernel, and what its own indexes say of them.
#[derive(Debug)]
pub(super) struct Installed {
    /// Where they are, links followed.
    pub(super) directory: String,
    /// By the module's name: its file, relative to the directory.
    pub(super) files: BTreeMap<String, String>,
    paths: BTreeSet<String>,
    /// By the module's name; from the index that the initramfs's `modprobe` reads.
    pub(super) dependencies: BTreeMap<String, Dependencies>,
    /// Patterns as they were written where that is known, and the modules they mean.
    pub(super) aliases: Vec<(String, String)>,
    /// Patterns as keys of the index that `modprobe` reads, and the modules.
    indexed: HashSet<(String, String)>,
    pub(super) soft_lines: Vec<String>,
    /// Whether `modprobe` is kmod's, not busybox's.
    pub(super) has_kmod: bool,
}

impl Installed {
    /// Looks for the modules of the kernel `release`.
    ///
    /// # Errors
    /// Corrupt if an index breaks its format; unsupported if the modules' place is no directory.
    pub(super) fn of(contents: &Contents, release: &str) -> Result<Self, Error> {
        let path = format!("lib/modules/{release}");
        let directory = contents
            .real_path(&format!("{path}/"))
            .map(|path| path.trim_end_matches('/').to_owned())
            .ok_or(UnsupportedKind::NotADirectory { path })?;
        let mut installed = Self {
            files: BTreeMap::new(),
            paths: BTreeSet::new(),
            dependencies: BTreeMap::new(),
            aliases: Vec::new(),
            indexed: HashSet::new(),
            soft_lines: Vec::new(),
            has_kmod: has_kmod(contents),
            directory,
        };
        installed.read_dependencies(contents)?;
        installed.read_aliases(contents)?;
        installed.find_files(contents);
        installed.soft_lines = text(contents, &installed.file("modules.softdep"))
            .lines()
            .map(str::to_owned)
            .collect();
        Ok(installed)
    }

    /// Whether the initramfs's own `modprobe` finds the module and all that it needs by its name.
    pub(super) fn is_loadable(&self, module: &str) -> bool {
        self.dependencies.get(module).is_some_and(|line| {
            self.paths.contains(&line.path)
                && line.needs.iter().all(|path| self.paths.contains(path))
        })
    }

    /// Whether the index holds this alias.
    pub(super) fn has_alias(&self, pattern: &str, module: &str) -> bool {
        normalize(pattern).is_none_or(|pattern| {
            self.indexed
                .contains(&(pattern.into_owned(), module.to_owned()))
        })
    }

    /// The path of a file in the directory.
    pub(super) fn file(&self, name: &str) -> String {
        format!("{}/{name}", self.directory)
    }

    fn read_dependencies(&mut self, contents: &Contents) -> Result<(), Error> {
        let mut lines = Vec::new();
        if let Some(bytes) = contents.read(&self.file("modules.dep.bin")) {
            index::read("modules.dep.bin", bytes, |_, line| {
                lines.extend(Dependencies::parse(&String::from_utf8_lossy(line)));
            })?;
        } else if !self.has_kmod {
            lines = parse_dependencies(&text(contents, &self.file("modules.dep")));
        }
        for line in lines {
            if let Some(file) = ModuleFile::parse(&line.path) {
                self.dependencies.insert(file.module(), line);
            }
        }
        Ok(())
    }

    fn read_aliases(&mut self, contents: &Contents) -> Result<(), Error> {
        let written = text(contents, &self.file("modules.alias"));
        self.aliases = parse_aliases(&written)
            .map(|(pattern, module)| (pattern.to_owned(), module.replace('-', "_")))
            .collect();
        if let Some(bytes) = contents.read(&self.file("modules.alias.bin")) {
            let indexed = &mut self.indexed;
            index::read("modules.alias.bin", bytes, |pattern, module| {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                indexed.insert((text(pattern), text(module)));
            })?;
            if self.aliases.is_empty() {
                self.aliases = indexed.iter().cloned().collect();
                self.aliases.sort_unstable();
            }
        } else if !self.has_kmod {
            self.indexed = self
                .aliases
                .iter()
                .filter_map(|(pattern, module)| {
                    Some((normalize(pattern)?.into_owned(), module.clone()))
                })
                .collect();
        }
        Ok(())
    }

    fn find_files(&mut self, contents: &Contents) {
        for (path, entry) in contents.below(&self.directory) {
            let Ok(path) = str::from_utf8(path) else {
                continue;
            };
            let Some(file) = ModuleFile::parse(path) else {
                continue;
            };
            let exists = match entry {
                Entry::File(_) => true,
                Entry::Symlink(_) => contents.file(&self.file(path)).is_some(),
                _ => false,
            };
            if !exists {
                continue;
            }
            let module = file.module();
            self.paths.insert(path.to_owned());
            let indexed = self.dependencies.get(&module);
            if indexed.is_some_and(|line| line.path == path) || !self.files.contains_key(&module) {
                self.files.insert(module, path.to_owned());
            }
        }
    }
}

/// Whether there is kmod's program or library: busybox reads the text indexes, kmod the binary ones.
fn has_kmod(contents: &Contents) -> bool {
    contents.entries().any(|(path, _)| {
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        name == b"kmod" || name.starts_with(b"libkmod.so")
    })
}

fn text(contents: &Contents, path: &str) -> String {
    String::from_utf8_lossy(contents.read(path).unwrap_or_default()).into_owned()
}
