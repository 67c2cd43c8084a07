use super::softdep::SoftDependency;
use super::{Dependencies, ModuleFile, Order, alias, dep, order, parse_aliases};
use crate::error::Error;
use crate::module_tree::{self, ModuleTree};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// What the indexes of a guest's module tree say.
#[derive(Debug)]
pub(crate) struct Modules {
    dependencies: BTreeMap<String, Dependencies>,
    builtin: BTreeSet<String>,
    /// Raw patterns and their modules, in the file's order.
    aliases: Vec<(String, String)>,
    soft: HashMap<String, Vec<SoftDependency>>,
    /// The lines of `modules.softdep`.
    soft_lines: Vec<String>,
    order: Order,
}

impl Modules {
    /// Reads the indexes.
    ///
    /// # Errors
    /// What the tree's reader says.
    pub(crate) fn read(tree: &dyn ModuleTree) -> Result<Self, Error> {
        let text = |path| {
            let bytes = module_tree::read(tree, path)?.unwrap_or_default();
            Ok::<_, Error>(String::from_utf8_lossy(&bytes).into_owned())
        };
        let dependencies = dep::parse(&text("modules.dep")?)
            .into_iter()
            .map(|line| line.below(tree.release()))
            .filter_map(|line| Some((ModuleFile::parse(&line.path)?.module(), line)))
            .collect();
        let mut builtin: BTreeSet<_> = order::modules(&text("modules.builtin")?).collect();
        if builtin.is_empty()
            && let Some(modinfo) = module_tree::read(tree, "modules.builtin.modinfo")?
        {
            builtin.extend(order::described(&modinfo));
        }
        let aliases = parse_aliases(&text("modules.alias")?)
            .map(|(pattern, module)| (pattern.to_owned(), module.replace('-', "_")))
            .collect();
        let soft_lines: Vec<_> = text("modules.softdep")?
            .lines()
            .map(str::to_owned)
            .collect();
        let mut soft: HashMap<_, Vec<_>> = HashMap::new();
        for line in &soft_lines {
            if let Some(line) = SoftDependency::parse(line) {
                soft.entry(line.module.clone()).or_default().push(line);
            }
        }
        Ok(Self {
            dependencies,
            builtin,
            aliases,
            soft,
            soft_lines,
            order: Order::parse(&text("modules.order")?),
        })
    }

    /// The module's file and what it needs.
    pub(crate) fn dependencies(&self, module: &str) -> Option<&Dependencies> {
        self.dependencies.get(module)
    }

    /// The modules that it needs, directly or not; the last one is to be loaded first.
    pub(crate) fn needs(&self, module: &str) -> impl Iterator<Item = String> {
        self.dependencies
            .get(module)
            .into_iter()
            .flat_map(|line| &line.needs)
            .filter_map(|path| ModuleFile::parse(path).map(|file| file.module()))
    }

    /// Whether the kernel has the module built in.
    pub(crate) fn is_builtin(&self, module: &str) -> bool {
        self.builtin.contains(module)
    }

    /// Where the kernel's build placed the modules.
    pub(crate) fn order(&self) -> &Order {
        &self.order
    }

    /// The patterns of all modules, with the modules.
    pub(crate) fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.aliases
            .iter()
            .map(|(pattern, module)| (&**pattern, &**module))
    }

    /// The lines about soft dependencies of the modules that `has` lets through.
    pub(crate) fn soft_lines(&self, has: impl Fn(&str) -> bool) -> impl Iterator<Item = &str> {
        self.soft_lines
            .iter()
            .filter(move |line| SoftDependency::parse(line).is_some_and(|line| has(&line.module)))
            .map(|line| &**line)
    }

    /// `modules` and all that they need, directly or not, the order being one in which they can be
    /// loaded. Soft dependencies count where the tree has them; what is built in or not in the tree
    /// is left out.
    pub(crate) fn closure<'m>(&self, modules: impl IntoIterator<Item = &'m str>) -> Vec<String> {
        let mut closure = Vec::new();
        let mut seen = BTreeSet::new();
        let mut todo: Vec<Step> = modules
            .into_iter()
            .map(|module| Step::Visit(module.to_owned()))
            .collect();
        todo.reverse();
        // every module is visited once, so that circles end
        while let Some(step) = todo.pop() {
            let module = match step {
                Step::Visit(module) => module,
                Step::Emit(module) => {
                    closure.push(module);
                    continue;
                }
            };
            if !self.dependencies.contains_key(&module) || !seen.insert(module.clone()) {
                continue;
            }
            let soft = self.soft.get(&module).map_or(&[][..], Vec::as_slice);
            let resolve = |names: &[String]| -> Vec<String> {
                names.iter().flat_map(|name| self.resolve(name)).collect()
            };
            let before = soft.iter().flat_map(|line| resolve(&line.before));
            let after = soft.iter().flat_map(|line| resolve(&line.after));
            let mut hard: Vec<_> = self.needs(&module).collect();
            hard.reverse();
            let mut steps: Vec<_> = before.chain(hard).map(Step::Visit).collect();
            steps.push(Step::Emit(module.clone()));
            steps.extend(after.map(Step::Visit));
            todo.extend(steps.into_iter().rev());
        }
        closure
    }

    /// The modules that a name or alias means.
    fn resolve(&self, name: &str) -> Vec<String> {
        if self.dependencies.contains_key(name) || self.is_builtin(name) {
            return vec![name.to_owned()];
        }
        let mut modules = Vec::new();
        for (pattern, module) in &self.aliases {
            let normal = super::normalize(pattern);
            if normal.is_some_and(|pattern| alias::matches(&pattern, name))
                && !modules.contains(module)
            {
                modules.push(module.clone());
            }
        }
        modules
    }
}

enum Step {
    /// Go to what the module needs.
    Visit(String),
    /// All that goes before the module is in the list.
    Emit(String),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// A module tree in memory.
    #[derive(Debug, Default)]
    pub(crate) struct FakeTree(pub(crate) BTreeMap<&'static str, &'static str>);

    impl ModuleTree for FakeTree {
        fn release(&self) -> &str {
            "6.1.0"
        }

        fn read(
            &self,
            path: &str,
        ) -> Result<Option<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
            match self.0.get(path) {
                Some(&"!") => Err("broken".into()),
                Some(text) => Ok(Some(text.as_bytes().to_vec())),
                None => Ok(None),
            }
        }
    }

    fn modules(files: &[(&'static str, &'static str)]) -> Modules {
        Modules::read(&FakeTree(files.iter().copied().collect())).unwrap()
    }

    #[test]
    fn a_closure_can_be_loaded_in_its_order() {
        let modules = modules(&[
            (
                "modules.dep",
                "a/nvme.ko: a/nvme-core.ko a/t10.ko a/crc.ko\na/nvme-core.ko: a/t10.ko a/crc.ko\n\
                 a/t10.ko: a/crc.ko\na/crc.ko:\na/crc-fast.ko: a/simd.ko\na/simd.ko:\na/late.ko:\n",
            ),
            (
                "modules.softdep",
                "softdep crc pre: crc-alg\nsoftdep nvme post: late nowhere\n",
            ),
            (
                "modules.alias",
                "alias crc-alg crc_fast\nalias crc-al[!g] a\n",
            ),
        ]);
        assert_eq!(
            modules.closure(["nvme"]),
            [
                "simd",
                "crc_fast",
                "crc",
                "t10",
                "nvme_core",
                "nvme",
                "late"
            ]
        );
    }

    #[test]
    fn whole_paths_are_as_good() {
        // module-init-tools up to 3.4, as in RHEL 5
        let modules = modules(&[(
            "modules.dep",
            "/lib/modules/6.1.0/kernel/xen-vbd.ko: /lib/modules/6.1.0/kernel/xen-platform-pci.ko\n\
             /lib/modules/6.1.0/kernel/xen-platform-pci.ko:\n",
        )]);
        assert_eq!(
            modules.closure(["xen_vbd"]),
            ["xen_platform_pci", "xen_vbd"]
        );
        assert_eq!(
            modules.dependencies("xen_vbd").unwrap().path,
            "kernel/xen-vbd.ko"
        );
    }

    #[test]
    fn circles_end() {
        let modules = modules(&[
            ("modules.dep", "a.ko: b.ko\nb.ko: a.ko\n"),
            ("modules.softdep", "softdep a pre: a b post: a\n"),
        ]);
        assert_eq!(modules.closure(["a", "b"]), ["b", "a"]);
    }

    #[test]
    fn built_in_modules_are_known_from_either_file() {
        let listed = modules(&[("modules.builtin", "kernel/virtio-pci.ko\n")]);
        assert!(listed.is_builtin("virtio_pci"));
        assert_eq!(listed.closure(["virtio_pci"]), [""; 0]);
        let described = modules(&[("modules.builtin.modinfo", "nvme.license=GPL\0")]);
        assert!(described.is_builtin("nvme"));
    }

    #[test]
    fn a_tree_that_cannot_be_read_is_an_error() {
        let tree = FakeTree([("modules.dep", "!")].into_iter().collect());
        let error = Modules::read(&tree).unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot read modules.dep of the module tree"
        );
    }
}
