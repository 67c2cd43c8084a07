//! The parameters that a module takes, as it says itself.

use super::unpack_module;
use crate::error::Error;
use crate::kmod::{ModuleFile, Modules};
use crate::module_tree::{self, ModuleTree};

/// What a kernel's module tree says of a parameter.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Parameter {
    /// The module takes it; its type, as `uint` or `byte`.
    Taken(String),
    /// The module is there and takes no such parameter. Before Linux 3.11 it is not loaded if it is
    /// given one all the same.
    Unknown,
    /// There is no such module, or nothing describes it.
    Untold,
}

/// What a module says of a parameter. Names may have `-` for `_`.
///
/// What `modinfo` shows as `parm` is kept in the section `.modinfo`, strings of `parmtype=NAME:TYPE`
/// (`include/linux/moduleparam.h` of the kernel); of what is built in, `modules.builtin.modinfo` has
/// them, the module's name in front.
///
/// # Errors
/// Corrupt if the module's file does not unpack, or what the tree's reader says.
pub fn parameter_type(
    tree: &dyn ModuleTree,
    module: &str,
    parameter: &str,
) -> Result<Parameter, Error> {
    let module = module.replace('-', "_");
    let modules = Modules::read(tree)?;
    if let Some(line) = modules.dependencies(&module)
        && let Some(data) = module_tree::read(tree, &line.path)?
    {
        let packed = ModuleFile::parse(&line.path).is_some_and(|file| !file.suffix.is_empty());
        let data = if packed {
            unpack_module(&line.path, &data)?
        } else {
            data
        };
        let kind = find(&data, &format!("parmtype={parameter}:"));
        // Every module says which kernel it is for; one that does not says nothing of itself.
        return Ok(match kind {
            Some(kind) => Parameter::Taken(kind),
            None if find(&data, "vermagic=").is_some() => Parameter::Unknown,
            None => Parameter::Untold,
        });
    }
    let built_in = module_tree::read(tree, "modules.builtin.modinfo")?.unwrap_or_default();
    let kind = find(&built_in, &format!("{module}.parmtype={parameter}:"));
    Ok(kind.map_or(Parameter::Untold, Parameter::Taken))
}

/// What follows `key` up to the end of its string.
fn find(bytes: &[u8], key: &str) -> Option<String> {
    let mut strings = bytes.split(|byte| *byte == 0);
    let value = strings.find_map(|string| string.strip_prefix(key.as_bytes()))?;
    let plain = value.len() < 256 && value.iter().all(|byte| matches!(byte, b' '..=b'~'));
    plain.then(|| String::from_utf8_lossy(value).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmod::FakeTree;

    #[test]
    fn modules_say_what_they_take() {
        let tree = FakeTree(
            [
                ("modules.dep", "kernel/nvme-core.ko:\nkernel/other.ko:\n"),
                (
                    "kernel/nvme-core.ko",
                    "\x7fELF\0parm=io_timeout:in seconds\0parmtype=io_timeout:uint\0parmtype=x:byte\0vermagic=6.1.0 SMP mod_unload \0",
                ),
                ("kernel/other.ko", "\x7fELF\0"),
                (
                    "modules.builtin.modinfo",
                    "xen_blkfront.parmtype=max:int\0nvme.parmtype=io_timeout:byte\0",
                ),
            ]
            .into_iter()
            .collect(),
        );
        let of = |module, name| parameter_type(&tree, module, name).unwrap();
        let taken = |kind: &str| Parameter::Taken(kind.to_owned());
        assert_eq!(of("nvme-core", "io_timeout"), taken("uint"));
        assert_eq!(of("nvme", "io_timeout"), taken("byte"));
        assert_eq!(of("nvme_core", "io"), Parameter::Unknown);
        assert_eq!(of("other", "io_timeout"), Parameter::Untold);
        assert_eq!(of("ena", "x"), Parameter::Untold);
    }
}
