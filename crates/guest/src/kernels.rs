//! The kernels that the guest can boot.

mod drivers;

use crate::{Error, Guest, GuestPath};
use fs::Kind;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// A kernel and what belongs to it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Kernel {
    /// The version as the kernel names its modules, as "6.1.0-18-amd64".
    pub version: String,
    /// The kernel image.
    pub image: GuestPath,
    /// The initial ramdisk that boots with it, where there is one.
    pub initramfs: Option<GuestPath>,
    /// The directory of its modules, canonical, as `/usr/lib/modules/6.1.0-18-amd64`.
    pub modules: Option<GuestPath>,
    /// The configuration it was built with.
    pub config: Option<GuestPath>,
    /// Whether it is built to find errors, not to serve: "debug" in its version.
    pub debug: bool,
    /// Whether it boots as a paravirtual guest of Xen alone, as RHEL 5's `kernel-xen` does: no
    /// instance type of today starts such a kernel.
    pub paravirtual: bool,
    /// The drivers of EC2's disks and networks that it has, as modules or built in, by their
    /// modules' names with `_`; none where nothing in the guest tells.
    pub drivers: Option<Vec<String>>,
}

impl Kernel {
    /// Whether it has one of these drivers; where that cannot be told, it may have them.
    pub fn may_have_any(&self, drivers: &[&str]) -> bool {
        self.drivers
            .as_ref()
            .is_none_or(|own| own.iter().any(|driver| drivers.contains(&driver.as_str())))
    }

    /// How it compares with another by version; of the same version, one that is built to serve is
    /// higher than one that is built to find errors.
    pub fn compare(&self, other: &Self) -> Ordering {
        let plain = |kernel: &Self| {
            let version = kernel.version.replace("debug", "");
            version.trim_end_matches(['+', '-', '.']).to_owned()
        };
        compare(&plain(self), &plain(other)).then(other.debug.cmp(&self.debug))
    }
}

/// Finds the kernels, highest version first.
///
/// A kernel is an image in `/boot`, or `vmlinuz` in its module directory. Rescue images and
/// kdump's are none: they don't boot the guest.
///
/// # Errors
/// What reading the guest meets.
pub fn inspect(guest: &Guest) -> Result<Vec<Kernel>, Error> {
    let boot = Boot::read(guest)?;
    let mut kernels: BTreeMap<String, Kernel> = BTreeMap::new();
    for name in &boot.files {
        let Some(version) = image_version(name) else {
            continue;
        };
        let mut kernel = boot.kernel(guest, version, boot.dir.join(name))?;
        if kernel.modules.is_none() {
            // Arch names its images after packages, people as they like: the image knows better.
            if let Some(version) = version_in_image(guest, &kernel.image)? {
                let named = boot.kernel(guest, &version, kernel.image.clone())?;
                kernel = Kernel {
                    initramfs: named.initramfs.or(kernel.initramfs),
                    config: named.config.or(kernel.config),
                    ..named
                };
            }
        }
        kernels.entry(kernel.version.clone()).or_insert(kernel);
    }
    for version in module_trees(guest)? {
        if kernels.contains_key(&version) {
            continue;
        }
        let image = GuestPath::from("/lib/modules")
            .join(&version)
            .join("vmlinuz");
        let image = guest.canonical(&image, true)?;
        let is_file = guest
            .stat(&image)?
            .is_some_and(|meta| meta.kind == Kind::File);
        // A link of this name leads to an image in /boot, which is listed already.
        let known = kernels.values().any(|kernel| kernel.image == image);
        if is_file && !known {
            let kernel = boot.kernel(guest, &version, image)?;
            kernels.insert(version, kernel);
        }
    }
    let mut kernels: Vec<Kernel> = kernels.into_values().collect();
    kernels.sort_by(|a, b| b.compare(a));
    for kernel in &mut kernels {
        kernel.drivers = drivers::of(guest, kernel.modules.as_ref(), kernel.config.as_ref())?;
    }
    Ok(kernels)
}

/// The names in `/boot`.
struct Boot {
    dir: GuestPath,
    files: Vec<String>,
}

impl Boot {
    fn read(guest: &Guest) -> Result<Self, Error> {
        let dir = guest.canonical(&"/boot".into(), true)?;
        let entries = guest.list(&dir)?;
        // Links are other names of what is there.
        let files = entries.into_iter().filter(|entry| entry.kind == Kind::File);
        let files = files.filter_map(|entry| String::from_utf8(entry.name).ok());
        Ok(Self {
            dir,
            files: files.take(MAX_NAMES).collect(),
        })
    }

    fn kernel(&self, guest: &Guest, version: &str, image: GuestPath) -> Result<Kernel, Error> {
        let modules = GuestPath::from("/lib/modules").join(version);
        let modules = guest.canonical(&modules, true)?;
        let has_modules = guest
            .stat(&modules)?
            .is_some_and(|meta| meta.kind == Kind::Dir);
        let in_boot = |name: String| {
            let there = self.files.contains(&name);
            there.then(|| self.dir.join(name))
        };
        let mut config = in_boot(format!("config-{version}"));
        if config.is_none() && has_modules {
            let beside = modules.join("config");
            config = guest.exists(&beside)?.then_some(beside);
        }
        Ok(Kernel {
            version: version.to_owned(),
            initramfs: self.initramfs(version).map(|name| self.dir.join(name)),
            modules: has_modules.then_some(modules),
            config,
            image,
            debug: version.contains("debug"),
            // 2.6.18-398.el5xen, 2.6.26-2-xen-amd64; a kernel of today has Xen among other things.
            paravirtual: version.ends_with("xen") || version.contains("-xen-"),
            drivers: None,
        })
    }

    /// The initial ramdisk of a version: of all names that fit the shortest, as `linux_kernels.ml`
    /// of virt-v2v chooses, so that backups and variants lose.
    fn initramfs(&self, version: &str) -> Option<&str> {
        let fits = |name: &&str| {
            ["initrd.img-", "initramfs-", "initrd-"]
                .iter()
                .any(|prefix| {
                    let rest = name.strip_prefix(prefix);
                    let rest = rest.and_then(|rest| rest.strip_prefix(version));
                    matches!(rest, Some("" | ".img" | ".gz" | ".img.gz"))
                })
                && !is_special(name)
        };
        let names = self.files.iter().map(String::as_str);
        names.filter(fits).min_by_key(|name| name.len())
    }
}

/// The version in the name of a kernel image; none if it names none that boots the guest.
fn image_version(name: &str) -> Option<&str> {
    let prefixes = ["vmlinuz-", "kernel-", "vmlinux-", "Image-", "bzImage-"];
    let version = prefixes
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))?;
    let left_over = [
        ".dpkg-", ".rpmsave", ".rpmnew", ".old", ".bak", ".gz", ".hmac", ".sig", "~",
    ];
    let usable = !version.is_empty()
        && !is_special(name)
        && !left_over.iter().any(|suffix| version.contains(suffix));
    usable.then_some(version)
}

/// The version that a PC kernel image names itself by, as the kernel's
/// `Documentation/arch/x86/boot.rst` defines it; none for images of other kinds.
fn version_in_image(guest: &Guest, image: &GuestPath) -> Result<Option<String>, Error> {
    let mut start = vec![0; IMAGE_START];
    let read = guest.read_range(image, 0, &mut start)?;
    start.truncate(read);
    if start.get(0x202..0x206) != Some(b"HdrS") {
        return Ok(None);
    }
    // Little-endian, counted from the second sector; 0 where there is none.
    let Some(&[low, high]) = start.get(0x20e..0x210) else {
        return Ok(None);
    };
    let at = usize::from(u16::from_le_bytes([low, high]));
    let text = start.get(at.saturating_add(0x200)..).unwrap_or_default();
    let word = text
        .split(|byte| *byte == 0 || byte.is_ascii_whitespace())
        .next()
        .unwrap_or_default();
    let version = str::from_utf8(word).ok().filter(|version| {
        // The version becomes the name of a directory.
        at != 0 && version.len() < 256 && version.starts_with(|c: char| c.is_ascii_digit())
    });
    Ok(version
        .filter(|version| !version.contains('/'))
        .map(str::to_owned))
}

/// Whether a name in `/boot` belongs to crash dumps or rescue, not to the guest's own boot.
fn is_special(name: &str) -> bool {
    name.contains("kdump") || name.contains("rescue") || name.contains("fallback")
}

/// The versions that have a module directory.
fn module_trees(guest: &Guest) -> Result<Vec<String>, Error> {
    let entries = guest.list(&"/lib/modules".into())?;
    let dirs = entries.into_iter().filter(|entry| entry.kind == Kind::Dir);
    let names = dirs.filter_map(|entry| String::from_utf8(entry.name).ok());
    Ok(names.take(MAX_NAMES).collect())
}

/// Compares kernel versions: runs of digits as numbers, everything else as text.
fn compare(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() && !b.is_empty() {
        let digits = |text: &[u8]| text.iter().take_while(|c| c.is_ascii_digit()).count();
        let (run_a, run_b) = (digits(a), digits(b));
        if run_a > 0 && run_b > 0 {
            let trim = |run: &[u8]| {
                let zeros = run.iter().take_while(|c| **c == b'0').count();
                run[zeros..].to_vec()
            };
            let (number_a, number_b) = (trim(&a[..run_a]), trim(&b[..run_b]));
            let order = number_a
                .len()
                .cmp(&number_b.len())
                .then(number_a.cmp(&number_b));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (&a[run_a..], &b[run_b..]);
        } else {
            if a[0] != b[0] {
                return a[0].cmp(&b[0]);
            }
            (a, b) = (&a[1..], &b[1..]);
        }
    }
    a.len().cmp(&b.len())
}

/// The version lies inside the real-mode part of an image, which has at most 32 KiB.
const IMAGE_START: usize = 0x200 + 0x1_0000 + 256;
/// A guest with more kernels than this is not one that runs.
const MAX_NAMES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_that_do_not_boot_the_guest_are_none() {
        for name in [
            "vmlinuz-0-rescue-7b0f3d1c",
            "vmlinuz-6.1.0-18-amd64.dpkg-bak",
            "vmlinuz-5.14.0-70.el9.x86_64.rpmsave",
            ".vmlinuz-5.14.0-70.el9.x86_64.hmac",
            "initrd.img-6.1.0-18-amd64",
            "vmlinuz-",
            "vmlinux-6.4.0-default.gz",
            "config-6.1.0-18-amd64",
        ] {
            assert_eq!(image_version(name), None, "{name}");
        }
        assert_eq!(
            image_version("vmlinuz-6.1.0-18-amd64"),
            Some("6.1.0-18-amd64")
        );
    }

    #[test]
    fn the_initramfs_is_the_shortest_name_that_fits() {
        let files = [
            "initramfs-5.14.0-70.el9.x86_64.img",
            "initramfs-5.14.0-70.el9.x86_64kdump.img",
            "initramfs-0-rescue-7b0f.img",
            "initrd.img-6.1.0",
            "initrd.img-6.1.0.old",
            "initrd.img-6.1.0-rt",
        ];
        let boot = Boot {
            dir: "/boot".into(),
            files: files.map(str::to_owned).to_vec(),
        };
        assert_eq!(boot.initramfs("5.14.0-70.el9.x86_64"), Some(files[0]));
        assert_eq!(boot.initramfs("6.1.0"), Some(files[3]));
        assert_eq!(boot.initramfs("6.1"), None);
    }

    #[test]
    fn names_of_the_red_hat_family_are_taken_apart() {
        for (image, version) in [
            ("vmlinuz-2.6.18-398.el5", "2.6.18-398.el5"),
            ("vmlinuz-2.6.32-754.el6.x86_64", "2.6.32-754.el6.x86_64"),
            (
                "vmlinuz-5.15.0-200.131.27.el8uek.x86_64",
                "5.15.0-200.131.27.el8uek.x86_64",
            ),
            (
                "vmlinuz-6.1.79-99.164.amzn2023.x86_64",
                "6.1.79-99.164.amzn2023.x86_64",
            ),
        ] {
            assert_eq!(image_version(image), Some(version));
        }
        let files = [
            "initrd-2.6.18-398.el5.img",
            "initrd-2.6.18-398.el5kdump.img",
            "initramfs-5.15.0-200.131.27.el8uek.x86_64.img",
            "initramfs-5.15.0-200.131.27.el8uek.x86_64kdump.img",
        ];
        let boot = Boot {
            dir: "/boot".into(),
            files: files.map(str::to_owned).to_vec(),
        };
        assert_eq!(boot.initramfs("2.6.18-398.el5"), Some(files[0]));
        assert_eq!(
            boot.initramfs("5.15.0-200.131.27.el8uek.x86_64"),
            Some(files[2])
        );
    }

    #[test]
    fn of_one_version_the_kernel_that_serves_is_higher() {
        let kernel = |version: &str| {
            let boot = Boot {
                dir: "/boot".into(),
                files: Vec::new(),
            };
            boot.kernel(&crate::testing::guest(&[]), version, "/boot/x".into())
                .unwrap()
        };
        let serves = kernel("5.14.0-70.el9.x86_64");
        let debugs = kernel("5.14.0-70.el9.x86_64+debug");
        assert_eq!(serves.compare(&debugs), Ordering::Greater);
        assert_eq!(
            debugs.compare(&kernel("5.14.0-8.el9.x86_64")),
            Ordering::Greater
        );
        assert!(kernel("2.6.18-398.el5xen").paravirtual);
        assert!(!serves.paravirtual);
    }

    #[test]
    fn versions_are_compared_by_number() {
        for (lower, higher) in [
            ("6.1.0-9-amd64", "6.1.0-18-amd64"),
            ("5.10.0-28-amd64", "6.1.0-1-amd64"),
            ("4.18.0", "4.18.0-1"),
            ("5.4.09", "5.4.10"),
        ] {
            assert_eq!(compare(lower, higher), Ordering::Less, "{lower} {higher}");
            assert_eq!(compare(higher, lower), Ordering::Greater);
        }
        assert_eq!(compare("6.1", "6.1"), Ordering::Equal);
    }
}
