//! What the names of files tell.

use std::path::Path;

/// What VMware appends to a disk's name to call its extents, but for those that are numbered.
const SUFFIXES: [&str; 3] = ["-flat", "-delta", "-sesparse"];
/// Digits of the number of an extent: `disk-s001.vmdk`.
const DIGITS: usize = 3;

/// How the descriptor file of an extent is called, if the extent's name follows the custom.
pub(super) fn descriptor_of(extent: &Path) -> Option<String> {
    let stem = extent.file_stem()?.to_str()?;
    let suffixed = SUFFIXES.iter().find_map(|suffix| stem.strip_suffix(suffix));
    let numbered = || {
        let (disk, number) = stem.rsplit_once('-')?;
        let digits = number.strip_prefix(['s', 'f'])?;
        let counted = digits.len() >= DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
        counted.then_some(disk)
    };
    let disk = suffixed.or_else(numbered).filter(|disk| !disk.is_empty())?;
    Some(format!("{disk}.vmdk"))
}

/// The last component of a path of Unix or Windows that has more than one.
pub(super) fn last_component(path: &str) -> Option<&str> {
    let (_, last) = path.rsplit_once(['/', '\\'])?;
    Some(last).filter(|last| !last.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_guessed_from_the_names_of_extents() {
        for (extent, descriptor) in [
            ("/a/disk-s001.vmdk", Some("disk.vmdk")),
            ("a-b-f1024.vmdk", Some("a-b.vmdk")),
            ("vm-000001-delta.vmdk", Some("vm-000001.vmdk")),
            ("vm-sesparse.vmdk", Some("vm.vmdk")),
            ("disk.vmdk", None),
            ("disk-s01.vmdk", None),
            ("disk-x001.vmdk", None),
            ("-flat.vmdk", None),
        ] {
            assert_eq!(
                descriptor_of(Path::new(extent)).as_deref(),
                descriptor,
                "{extent}"
            );
        }
    }

    #[test]
    fn only_paths_have_a_last_component() {
        for (path, last) in [
            ("/vmfs/volumes/x/base.vmdk", Some("base.vmdk")),
            ("C:\\VMs\\my base.vmdk", Some("my base.vmdk")),
            ("../base/base.vmdk", Some("base.vmdk")),
            ("base.vmdk", None),
            ("/a/", None),
        ] {
            assert_eq!(last_component(path), last, "{path}");
        }
    }
}
