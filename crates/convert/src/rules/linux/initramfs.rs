//! The initramfs of every kernel has to find the root disk over NVMe, or over xen-blkfront.
//!
//! The modules are in the guest's own module tree; the kernel unpacks one archive behind another.
//! So the drivers that are missing are appended, with all that they need, the indexes through which
//! they are found, and the configuration that loads them. Where nothing is missing the file is left
//! alone. The recipe was proven on guests that boot; the crate `initramfs` says how it is done.

use super::drivers::{boot_drivers, network_drivers};
use super::modules::Modules;
use super::{initramfs_files, kernel_choice, network, resume};
use crate::{Draft, Error, Options, Rule, Severity};
use guest::{Facts, Guest, GuestPath, Kernel};
use initramfs::{Extension, ExtraFile, Initramfs, Method, Report, Request};
use ondisk::width::u64_of;
use rayon::prelude::*;

/// Appends the drivers of the root disk where they are missing.
pub(super) const RULE: Rule = Rule {
    id: "initramfs-drivers",
    summary: "put the drivers of EC2's disks into the initramfs of every kernel that lacks them",
    applies: |facts, _| !facts.kernels.is_empty(),
    run,
};

/// Largest initramfs that is read.
const INITRAMFS_CAP: u64 = 512 << 20;
/// What an appended archive needs of a file system beyond its own bytes, at most.
const ROUNDING: u64 = 64 << 10;

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let naming = network::name_in_initramfs(draft)?;
    let mut outcomes = Outcome::of_all(draft, naming.as_ref(), Method::Append)?;
    if !fits(draft, &outcomes)? {
        outcomes = Outcome::of_all(draft, naming.as_ref(), Method::AppendCompressed)?;
    }
    let starts = kernel_choice::starts(draft)?;
    let mut bootable = false;
    for outcome in outcomes {
        bootable |= outcome.record(draft, starts)?;
    }
    if !bootable {
        let text = "none of the installed kernels has a driver for the disks of the target; install \
                    a newer kernel in the source first";
        draft.find(Severity::Problem, text);
    }
    Ok(())
}

/// Whether everything that is to be appended has room where it goes.
fn fits(draft: &Draft<'_>, outcomes: &[Outcome<'_>]) -> Result<bool, Error> {
    let grown: Vec<_> = outcomes.iter().filter_map(Outcome::growth).collect();
    let Some((path, _)) = grown.first() else {
        return Ok(true);
    };
    // All of them are in /boot.
    let needed: u64 = grown
        .iter()
        .map(|(_, bytes)| bytes.saturating_add(ROUNDING))
        .sum();
    Ok(needed <= draft.space(path)?.free_bytes)
}

/// What was found and made for one kernel.
struct Outcome<'k> {
    kernel: &'k Kernel,
    report: Option<Report>,
    extension: Option<(GuestPath, Extension)>,
    no_network: Vec<&'static str>,
    /// Units of devices that its initramfs waits for and that are not there.
    awaited: Vec<String>,
    /// Why its initramfs cannot be worked on.
    failed: Option<Error>,
}

impl<'k> Outcome<'k> {
    /// For all kernels, each on a core of its own.
    fn of_all(
        draft: &Draft<'k>,
        naming: Option<&(GuestPath, String)>,
        method: Method,
    ) -> Result<Vec<Self>, Error> {
        let (guest, facts, options) = (draft.guest(), draft.facts(), draft.options());
        let kernels = facts.kernels.par_iter();
        kernels
            .map(|kernel| {
                let outcome = Self::of(guest, facts, options, kernel, (naming, method));
                match outcome {
                    // Whether that matters depends on which kernel it is.
                    Err(error @ Error::Initramfs { .. }) => Ok(Self {
                        failed: Some(error),
                        ..Self::new(kernel)
                    }),
                    other => other,
                }
            })
            .collect()
    }

    fn new(kernel: &'k Kernel) -> Self {
        Self {
            kernel,
            report: None,
            extension: None,
            no_network: Vec::new(),
            awaited: Vec::new(),
            failed: None,
        }
    }

    fn of(
        guest: &Guest,
        facts: &Facts,
        options: &Options,
        kernel: &'k Kernel,
        (naming, method): (Option<&(GuestPath, String)>, Method),
    ) -> Result<Self, Error> {
        let mut outcome = Self::new(kernel);
        let (Some(path), Some(tree)) = (&kernel.initramfs, Modules::of(guest, kernel)) else {
            return Ok(outcome);
        };
        let path = guest.canonical(path, true)?;
        let Some(bytes) = guest.read(&path, INITRAMFS_CAP)? else {
            return Ok(outcome);
        };
        let failed = |source: initramfs::Error| Error::Initramfs {
            path: path.clone(),
            source: source.into(),
        };
        let wanted = boot_drivers(options, Some(kernel));
        let initramfs = Initramfs::read(&bytes).map_err(failed)?;
        let resume = stale_resume(&initramfs, facts);
        let network = network_drivers(options, Some(kernel));
        let found = initramfs.assess(&tree, &network).map_err(failed)?;
        let mut extra = initramfs_files::rewritten(initramfs.original(), facts);
        let names_cards =
            options.initramfs_network || !(found.present.is_empty() && found.built_in.is_empty());
        if let Some((path, text)) = naming.filter(|_| names_cards) {
            let data = text.clone().into_bytes();
            let path = path.to_string().trim_start_matches('/').to_owned();
            extra.insert(path, ExtraFile { mode: 0o644, data });
        }
        let request = Request {
            wanted: &wanted,
            resume: resume.as_deref(),
            extra,
            links: initramfs_files::hidden(initramfs.original()),
            method,
        };
        let report = initramfs.assess(&tree, &wanted).map_err(failed)?;
        outcome.no_network = network
            .into_iter()
            .filter(|driver| found.missing.iter().any(|m| m == driver))
            .collect();
        outcome.awaited = initramfs_files::awaited(initramfs.original());
        let extension = initramfs.extend(&tree, &request).map_err(failed)?;
        outcome.report = Some(report);
        outcome.extension = extension.map(|extension| (path.clone(), extension));
        Ok(outcome)
    }

    /// The file that grows, and by how much.
    fn growth(&self) -> Option<(&GuestPath, u64)> {
        let (path, extension) = self.extension.as_ref()?;
        Some((path, u64_of(extension.tail.len())))
    }

    /// Records it in the draft; says whether the kernel will find its root disk. `starts` is the
    /// kernel that starts by itself, where that is known.
    fn record(self, draft: &mut Draft<'_>, starts: Option<&Kernel>) -> Result<bool, Error> {
        let version = &self.kernel.version;
        if let Some(error) = self.failed {
            if starts.is_none_or(|starts| starts.version == *version) {
                return Err(error);
            }
            let text = format!(
                "kernel {version} will not find its root disk: {}. It does not start by itself; \
                 remove it in the source, or make its initramfs anew there",
                error.in_a_line()
            );
            draft.find(Severity::Warning, text);
            return Ok(false);
        }
        let Some(report) = &self.report else {
            let text = format!(
                "kernel {version} has no initramfs or no modules: whether it finds its root disk \
                 depends on what is built into it"
            );
            draft.find(Severity::Warning, text);
            return Ok(true);
        };
        for driver in &report.missing {
            let text = format!(
                "kernel {version} has no driver {driver}: it cannot boot where that is needed"
            );
            draft.find(Severity::Warning, text);
        }
        for driver in &self.no_network {
            let text = format!(
                "kernel {version} has no network driver {driver}: no network where that is needed"
            );
            draft.find(Severity::Warning, text);
        }
        for unit in &self.awaited {
            let text = format!(
                "the initramfs of kernel {version} waits for {unit}, a device of the old machine: make \
                 it anew in the source, with devices by UUID (dracut's persistent_policy)"
            );
            draft.find(Severity::Warning, text);
        }
        let bootable = report.missing.len() < boot_drivers(draft.options(), None).len();
        if let Some((path, extension)) = self.extension {
            let added = &extension.report.to_add;
            let why = if added.is_empty() {
                let files = extension.files.join(", ");
                format!("{files} in it must not be about the old machine")
            } else {
                format!("it lacks {} for kernel {version}", added.join(", "))
            };
            draft.extend(&path, extension.keep, extension.tail, why)?;
        }
        Ok(bootable)
    }
}

/// What `conf/conf.d/resume` inside the initramfs has to say, if it names a device by an old name.
fn stale_resume(initramfs: &Initramfs<'_>, facts: &Facts) -> Option<String> {
    let content = initramfs.original().read("conf/conf.d/resume")?;
    let new = resume::rewritten(std::str::from_utf8(content).ok()?, facts)?;
    let value = new
        .lines()
        .find_map(|line| line.trim().strip_prefix("RESUME="))?;
    Some(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;
    use initramfs::cpio::Writer;

    const VERSION: &str = "4.18.0-553.el8_10.x86_64";
    const LINK: &str = "etc/systemd/network/10-rehost.link";

    fn install(facts: &mut Facts, systemd: &str) {
        let list = &mut facts.packages.list;
        list.insert("systemd".to_owned(), systemd.to_owned());
    }

    /// The initramfs after conversion of a guest with this systemd, if `ena` is in it or not.
    fn converted(systemd: fn(&mut Facts), ena: bool) -> String {
        let tree = format!("lib/modules/{VERSION}");
        let index = ["nvme", "xen-blkfront", "ena"].map(|name| format!("kernel/{name}.ko:\n"));
        let mut writer = Writer::new();
        for directory in ["lib", "lib/modules", &tree, &format!("{tree}/kernel")] {
            writer.directory(directory).unwrap();
        }
        let inside = if ena { &index[..] } else { &index[..2] };
        let path = format!("{tree}/modules.dep");
        writer
            .file(&path, 0o644, inside.concat().as_bytes())
            .unwrap();
        for line in inside {
            let path = format!("{tree}/{}", line.trim_end_matches(":\n"));
            writer.file(&path, 0o644, b"x").unwrap();
        }
        let image = String::from_utf8(writer.finish()).unwrap();
        let initramfs = format!("/boot/initramfs-{VERSION}.img");
        let guest = TestGuest::of(&[
            (&format!("/boot/vmlinuz-{VERSION}"), ""),
            (&initramfs, &image),
            (&format!("/{tree}/modules.dep"), &index.concat()),
            ("/usr/lib/systemd/network/99-default.link", "[Match]\n"),
            (
                "/etc/sysconfig/network-scripts/ifcfg-ens192",
                "DEVICE=ens192\nBOOTPROTO=dhcp\n",
            ),
        ]);
        let after = guest.with_kernels().with_facts(systemd).run(&[RULE]);
        after.text(&initramfs).to_owned()
    }

    #[test]
    fn a_card_that_is_named_in_the_initramfs_gets_its_name_there() {
        assert!(converted(|facts| install(facts, "239-82.el8"), true).contains(LINK));
        assert!(!converted(|facts| install(facts, "239-82.el8"), false).contains(LINK));
        assert!(!converted(|facts| install(facts, "252-32.el9"), true).contains(LINK));
    }
}
