use super::installed::Installed;
use super::nash;
use crate::contents::Contents;
use crate::error::Error;
use crate::initramfs::Initramfs;
use crate::kind::Kind;
use crate::kmod::Modules;
use crate::module_tree::ModuleTree;

/// Which of the wanted drivers an initramfs has. All names are module names with `_`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// There, with all that they need, and found by name and by device alias.
    pub present: Vec<String>,
    /// Part of the kernel itself.
    pub built_in: Vec<String>,
    /// In neither the kernel nor its module tree: this kernel has no such driver.
    pub missing: Vec<String>,
    /// There, with all that they need, but the initramfs's indexes do not lead to them.
    pub unindexed: Vec<String>,
    /// Not there, or without something that they need.
    pub absent: Vec<String>,
    /// The modules to be added, in an order in which they can be loaded: the absent drivers and
    /// all that they need and the initramfs has not.
    pub to_add: Vec<String>,
}

impl Report {
    /// Whether the initramfs has all drivers that the kernel has.
    pub fn leave_alone(&self) -> bool {
        self.unindexed.is_empty() && self.absent.is_empty()
    }

    /// The wanted modules that are to be loaded in the initramfs, whether they are to be added or not.
    pub(super) fn to_load(&self) -> Vec<&str> {
        let mut modules: Vec<_> = [&self.present, &self.unindexed, &self.absent]
            .into_iter()
            .flatten()
            .map(|module| &**module)
            .collect();
        modules.sort_unstable();
        modules
    }

    pub(super) fn new(installed: &Installed, modules: &Modules, wanted: &[&str]) -> Self {
        let mut report = Self::default();
        for module in wanted {
            let module = module.replace('-', "_");
            let in_tree = modules.dependencies(&module).is_some();
            let list = if modules.is_builtin(&module) {
                &mut report.built_in
            } else if is_ready(installed, modules, &module) {
                &mut report.present
            } else if !in_tree {
                &mut report.missing
            } else if has_files(installed, modules, &module) {
                &mut report.unindexed
            } else {
                &mut report.absent
            };
            if !list.contains(&module) {
                list.push(module);
            }
        }
        let needed = report.unindexed.iter().chain(&report.absent);
        report.to_add = modules.closure(needed.map(|module| &**module));
        report
            .to_add
            .retain(|module| !installed.files.contains_key(module));
        report
    }
}

impl Initramfs<'_> {
    /// Says which of the `wanted` drivers the initramfs has for the kernel of `tree`.
    ///
    /// # Errors
    /// Corrupt if a kmod index in the initramfs breaks its format, or what the tree's reader says.
    pub fn assess(&self, tree: &dyn ModuleTree, wanted: &[&str]) -> Result<Report, Error> {
        let modules = Modules::read(tree)?;
        self.report(self.contents(), tree, &modules, wanted)
    }

    /// As [`assess`](Self::assess), of what was unpacked with or without an earlier conversion's
    /// segment.
    pub(super) fn report(
        &self,
        contents: &Contents,
        tree: &dyn ModuleTree,
        modules: &Modules,
        wanted: &[&str],
    ) -> Result<Report, Error> {
        if *self.kind() == Kind::Nash {
            return Ok(nash::assess(contents, modules, wanted));
        }
        let installed = Installed::of(contents, tree.release())?;
        Ok(Report::new(&installed, modules, wanted))
    }
}

/// The module can be loaded by its name and by every alias that the guest's own index has for it.
fn is_ready(installed: &Installed, modules: &Modules, module: &str) -> bool {
    installed.is_loadable(module)
        && modules
            .aliases()
            .filter(|(_, of)| *of == module)
            .all(|(pattern, _)| installed.has_alias(pattern, module))
}

/// The files of the module and of all that it needs are there.
fn has_files(installed: &Installed, modules: &Modules, module: &str) -> bool {
    installed.files.contains_key(module)
        && modules
            .needs(module)
            .all(|needed| installed.files.contains_key(&needed))
}
