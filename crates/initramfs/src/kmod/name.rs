use std::borrow::Cow;

/// A module's file: its path below the directory of the kernel's modules, taken apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct ModuleFile<'a> {
    /// The path up to and with `.ko`.
    pub(crate) uncompressed: &'a str,
    /// What follows: nothing, or the suffix of a compression, without its dot.
    pub(crate) suffix: &'a str,
}

impl<'a> ModuleFile<'a> {
    /// Takes `path` apart; nothing if it is no module.
    pub(crate) fn parse(path: &'a str) -> Option<Self> {
        let (_, name) = path.rsplit_once('/').unwrap_or(("", path));
        let stem = ["", "gz", "xz", "zst"].into_iter().find_map(|suffix| {
            let stem = match suffix {
                "" => name,
                _ => name.strip_suffix(suffix)?.strip_suffix('.')?,
            };
            Some((stem.strip_suffix(".ko")?, suffix))
        });
        let (stem, suffix) = stem?;
        if stem.is_empty() {
            return None;
        }
        let uncompressed = path
            .strip_suffix(suffix)
            .map(|path| path.strip_suffix('.').unwrap_or(path))?;
        Some(Self {
            uncompressed,
            suffix,
        })
    }

    /// The module's name, as kmod writes it: with `_` for every `-`.
    pub(crate) fn module(&self) -> String {
        let (_, name) = self
            .uncompressed
            .rsplit_once('/')
            .unwrap_or(("", self.uncompressed));
        name.strip_suffix(".ko").unwrap_or(name).replace('-', "_")
    }
}

/// An alias pattern with `_` for every `-` outside of brackets, as the keys of indexes have it;
/// nothing if a bracket is not closed (`alias_normalize` of kmod).
pub(crate) fn normalize(alias: &str) -> Option<Cow<'_, str>> {
    if !alias.contains(['-', '[', ']']) {
        return Some(Cow::Borrowed(alias));
    }
    let mut inside = false;
    let mut normal = String::with_capacity(alias.len());
    for char in alias.chars() {
        match char {
            ']' if !inside => return None,
            ']' => inside = false,
            '[' => inside = true,
            _ => (),
        }
        normal.push(if char == '-' && !inside { '_' } else { char });
    }
    (!inside).then_some(Cow::Owned(normal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn module_files_have_a_name_and_perhaps_a_compression() {
        let file = ModuleFile::parse("kernel/drivers/nvme/host/nvme-core.ko.xz").unwrap();
        assert_eq!(file.uncompressed, "kernel/drivers/nvme/host/nvme-core.ko");
        assert_eq!((file.suffix, &*file.module()), ("xz", "nvme_core"));
        assert_eq!(ModuleFile::parse("a.ko").unwrap().module(), "a");
        assert_eq!(ModuleFile::parse("x/.ko"), None);
        assert_eq!(ModuleFile::parse("modules.dep"), None);
        assert_eq!(ModuleFile::parse("a.ko.bz2"), None);
    }

    #[test]
    fn dashes_are_kept_inside_brackets() {
        assert_eq!(normalize("a-b[0-9]-c").unwrap(), "a_b[0-9]_c");
        assert_eq!(normalize("a[b"), None);
        assert_eq!(normalize("a]b"), None);
    }
}
