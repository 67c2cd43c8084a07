//! `modules.order` and `modules.builtin`: one module file per line, without compression.

use super::ModuleFile;
use std::collections::HashMap;

/// Which module goes first where several serve one alias: the order in which the kernel's build
/// linked them.
#[derive(Debug, Default)]
pub(crate) struct Order(HashMap<String, usize>);

impl Order {
    pub(crate) fn parse(text: &str) -> Self {
        Self(
            modules(text)
                .enumerate()
                .map(|(line, name)| (name, line))
                .collect(),
        )
    }

    /// The module's place; modules that are not listed come last.
    pub(crate) fn place(&self, module: &str) -> usize {
        self.0.get(module).copied().unwrap_or(usize::MAX)
    }
}

/// The names of the modules that a file lists.
pub(crate) fn modules(text: &str) -> impl Iterator<Item = String> {
    text.lines()
        .filter_map(|line| ModuleFile::parse(line.trim()))
        .map(|file| file.module())
}

/// The modules that `modules.builtin.modinfo` describes: strings `module.key=value`, each ended by
/// a NUL.
pub(crate) fn described(modinfo: &[u8]) -> impl Iterator<Item = String> {
    modinfo.split(|byte| *byte == 0).filter_map(|string| {
        let string = str::from_utf8(string).ok()?;
        let (module, _) = string.split_once('=')?.0.split_once('.')?;
        Some(module.replace('-', "_"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unlisted_modules_come_last() {
        let order = Order::parse("kernel/b-x.ko\nkernel/a.ko\n");
        assert_eq!(order.place("b_x"), 0);
        assert_eq!(order.place("a"), 1);
        assert!(order.place("other") > 1);
    }

    #[test]
    fn described_modules_are_named_once_for_each_string() {
        let modinfo = b"virtio-pci.license=GPL\0virtio-pci.file=drivers/virtio/virtio_pci\0";
        assert_eq!(
            described(modinfo).collect::<Vec<_>>(),
            ["virtio_pci", "virtio_pci"]
        );
    }
}
