//! Which of the drivers that an instance may need a kernel has.

use crate::{Error, Guest, GuestPath};
use std::collections::BTreeSet;

/// Drivers of EC2's disks and networks: the module's name with `_`, and the symbol of the kernel's
/// configuration, where there is one. `xen_vbd` and `xen_vnif` are what RHEL 5 calls the frontends
/// in its kernel for whole virtual machines.
const DRIVERS: [(&str, Option<&str>); 7] = [
    ("nvme", Some("BLK_DEV_NVME")),
    ("ena", Some("ENA_ETHERNET")),
    ("ixgbevf", Some("IXGBEVF")),
    ("xen_blkfront", Some("XEN_BLKDEV_FRONTEND")),
    ("xen_netfront", Some("XEN_NETDEV_FRONTEND")),
    ("xen_vbd", None),
    ("xen_vnif", None),
];

/// Those of [`DRIVERS`] that are modules or built in, by module tree and configuration; none where
/// neither is there to tell. A module that only the configuration promises counts where there is
/// no index of modules to contradict it.
pub(super) fn of(
    guest: &Guest,
    modules: Option<&GuestPath>,
    config: Option<&GuestPath>,
) -> Result<Option<Vec<String>>, Error> {
    let text = |path: Option<GuestPath>| -> Result<Option<String>, Error> {
        let Some(path) = path else { return Ok(None) };
        let bytes = guest.read(&path, INDEX_CAP)?;
        Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    };
    let index = text(modules.map(|dir| dir.join("modules.dep")))?;
    let builtin = text(modules.map(|dir| dir.join("modules.builtin")))?;
    let config = text(config.cloned())?;
    if index.is_none() && config.is_none() {
        return Ok(None);
    }
    let mut names = BTreeSet::new();
    let indexed = index.iter().flat_map(|text| text.lines());
    names.extend(indexed.filter_map(|line| module_name(line.split(':').next()?)));
    let built_in = builtin.iter().flat_map(|text| text.lines());
    names.extend(built_in.filter_map(module_name));
    let has = |(name, symbol): &(&str, Option<&str>)| {
        let configured = symbol.is_some_and(|symbol| {
            let lines = config.iter().flat_map(|text| text.lines());
            let mut values = lines.filter_map(|line| {
                let rest = line.strip_prefix("CONFIG_")?.strip_prefix(symbol)?;
                rest.strip_prefix('=')
            });
            values.any(|value| value == "y" || (value == "m" && index.is_none()))
        });
        configured || names.contains(*name)
    };
    let found = DRIVERS.iter().filter(|driver| has(driver));
    Ok(Some(found.map(|(name, _)| (*name).to_owned()).collect()))
}

/// The module that a file of a module tree holds, with `_` for `-`.
fn module_name(path: &str) -> Option<String> {
    let name = path.trim().rsplit('/').next()?;
    let (stem, rest) = name.split_once(".ko")?;
    let known = matches!(rest, "" | ".gz" | ".xz" | ".zst");
    (known && !stem.is_empty()).then(|| stem.replace('-', "_"))
}

/// Largest index that is read: that of a distribution's whole kernel has 1 MiB.
const INDEX_CAP: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::guest;

    const TREE: &str = "/lib/modules/5.14.0-70.el9.x86_64";

    fn drivers(files: &[(&str, &str)]) -> Option<Vec<String>> {
        let (modules, config) = (GuestPath::from(TREE), GuestPath::from("/boot/config-5.14"));
        of(&guest(files), Some(&modules), Some(&config)).unwrap()
    }

    #[test]
    fn modules_and_what_is_built_in_count() {
        let index = format!("{TREE}/modules.dep");
        let builtin = format!("{TREE}/modules.builtin");
        let found = drivers(&[
            (
                &index,
                "kernel/drivers/nvme/host/nvme.ko.xz: kernel/drivers/nvme/host/nvme-core.ko.xz\n\
                 kernel/drivers/block/xen-blkfront.ko.xz:\nkernel/ena.ko.old:\n",
            ),
            (&builtin, "kernel/drivers/net/xen-netfront.ko\n"),
            (
                "/boot/config-5.14",
                "CONFIG_IXGBEVF=y\nCONFIG_ENA_ETHERNET=m\n",
            ),
        ]);
        let expected = ["nvme", "ixgbevf", "xen_blkfront", "xen_netfront"];
        assert_eq!(found.unwrap(), expected);
    }

    #[test]
    fn without_an_index_the_configuration_is_believed() {
        let found = drivers(&[(
            "/boot/config-5.14",
            "CONFIG_BLK_DEV_NVME=m\n# CONFIG_ENA_ETHERNET is not set\nCONFIG_IXGBEVF_X=y\n",
        )]);
        assert_eq!(found.unwrap(), ["nvme"]);
        assert_eq!(drivers(&[("/etc/x", "")]), None);
    }

    #[test]
    fn rhel_5_writes_whole_paths() {
        let index = format!("{TREE}/modules.dep");
        let line = "/lib/modules/2.6.18-398.el5/kernel/drivers/xenpv_hvm/blkfront/xen-vbd.ko: \
                    /lib/modules/2.6.18-398.el5/kernel/drivers/xenpv_hvm/platform-pci/xen-platform-pci.ko\n";
        assert_eq!(drivers(&[(&index, line)]).unwrap(), ["xen_vbd"]);
    }
}
