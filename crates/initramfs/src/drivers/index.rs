//! Module indexes that cover what an initramfs had and what is added.

use super::installed::Installed;
use crate::error::{Error, UnsupportedKind};
use crate::kmod::{Dependencies, Modules, index, normalize};
use std::collections::{BTreeMap, HashMap, HashSet};

/// The names and contents of the merged index files; `added` holds the files of added modules by
/// the modules' names, as they will be in the initramfs.
///
/// # Errors
/// Unsupported if an index grows beyond what its format holds.
pub(super) fn merged(
    installed: &Installed,
    modules: &Modules,
    added: &BTreeMap<String, String>,
) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
    let files: HashMap<&str, &str> = installed
        .files
        .iter()
        .chain(added)
        .map(|(module, path)| (&**module, &**path))
        .collect();
    let mut order: Vec<_> = files
        .iter()
        .map(|(module, path)| (*module, *path))
        .collect();
    order.sort_by_key(|(module, path)| (modules.order().place(module), *path));

    let mut dep = String::new();
    let mut dep_bin = index::Writer::new();
    let mut alias = String::from("# Aliases extracted from modules themselves.\n");
    let mut alias_bin = index::Writer::new();
    let mut aliases = aliases(installed, modules, &files);
    for (priority, (module, path)) in (0..).zip(order) {
        let line = dependencies(installed, modules, &files, module, path).line();
        dep.push_str(&line);
        dep.push('\n');
        dep_bin.insert(module, &line, priority);
        for pattern in aliases.remove(module).unwrap_or_default() {
            alias.push_str(&format!("alias {pattern} {module}\n"));
            if let Some(key) = normalize(pattern) {
                alias_bin.insert(&key, module, priority);
            }
        }
    }

    let mut softdep = String::new();
    let mut seen = HashSet::new();
    let own = installed.soft_lines.iter().map(|line| &**line);
    for line in own.chain(modules.soft_lines(|module| files.contains_key(module))) {
        if seen.insert(line) {
            softdep.push_str(line);
            softdep.push('\n');
        }
    }

    let finish = |name: &str, writer: index::Writer| {
        writer.finish().ok_or_else(|| {
            Error::from(UnsupportedKind::LargeIndex {
                file: name.to_owned(),
            })
        })
    };
    Ok(vec![
        ("modules.alias", alias.into_bytes()),
        ("modules.alias.bin", finish("modules.alias.bin", alias_bin)?),
        ("modules.dep", dep.into_bytes()),
        ("modules.dep.bin", finish("modules.dep.bin", dep_bin)?),
        ("modules.softdep", softdep.into_bytes()),
    ])
}

/// What a module needs, in files of the initramfs: as its own index says, else as the guest's does.
fn dependencies(
    installed: &Installed,
    modules: &Modules,
    files: &HashMap<&str, &str>,
    module: &str,
    path: &str,
) -> Dependencies {
    if installed.is_loadable(module)
        && let Some(own) = installed.dependencies.get(module)
        && own.path == path
    {
        return own.clone();
    }
    Dependencies {
        path: path.to_owned(),
        needs: modules
            .needs(module)
            .filter_map(|needed| files.get(&*needed).copied())
            .map(str::to_owned)
            .collect(),
    }
}

/// The aliases of each module: its own in their order, then those of the guest that it lacks.
fn aliases<'a>(
    installed: &'a Installed,
    modules: &'a Modules,
    files: &HashMap<&str, &str>,
) -> HashMap<&'a str, Vec<&'a str>> {
    let mut aliases: HashMap<_, Vec<_>> = HashMap::new();
    let own = installed
        .aliases
        .iter()
        .map(|(pattern, module)| (&**pattern, &**module));
    let known: HashSet<_> = own
        .clone()
        .map(|(pattern, module)| (normalize(pattern), module))
        .collect();
    let guests = modules
        .aliases()
        .filter(|(pattern, module)| !known.contains(&(normalize(pattern), module)));
    for (pattern, module) in own.chain(guests) {
        if files.contains_key(module) {
            aliases.entry(module).or_default().push(pattern);
        }
    }
    aliases
}
