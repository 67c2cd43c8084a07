//! Agents of the platform that the guest lived on.

use crate::boot::{CONFIG_CAP, present};
use crate::{Error, Guest, GuestPath};
use fs::Kind;
use serde::{Deserialize, Serialize};

/// An agent that is installed.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SourceTool {
    /// Which one.
    pub kind: ToolKind,
    /// Its systemd units.
    pub units: Vec<ToolUnit>,
    /// Its init scripts and upstart jobs.
    pub scripts: Vec<ToolScript>,
}

impl SourceTool {
    /// Whether anything of it starts at boot.
    pub fn starts(&self) -> bool {
        self.units
            .iter()
            .any(|unit| unit.state == UnitState::Enabled)
            || self.scripts.iter().any(|script| script.enabled)
    }
}

/// The agents that are known.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ToolKind {
    /// VMware's tools from a distribution.
    OpenVmTools,
    /// VMware's tools from its own archive.
    VmwareTools,
    /// VirtualBox Guest Additions.
    VirtualBoxAdditions,
    /// QEMU's guest agent.
    QemuGuestAgent,
    /// SPICE's agent.
    SpiceAgent,
    /// The key-value, shadow copy and file copy daemons of Hyper-V.
    HyperVDaemons,
    /// Azure's Linux agent.
    AzureAgent,
    /// Citrix and XCP-ng guest utilities.
    XenGuestUtilities,
    /// Google's guest environment.
    GoogleAgents,
    /// Parallels tools.
    ParallelsTools,
}

/// A systemd unit of an agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ToolUnit {
    /// The unit's name, as `open-vm-tools.service`.
    pub name: String,
    /// Whether it starts at boot.
    pub state: UnitState,
    /// The links below `/etc/systemd/system` that start it, or that are other names of it.
    pub links: Vec<GuestPath>,
}

/// Whether a unit starts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitState {
    /// Something in the guest's configuration wants it, or its package does.
    Enabled,
    /// Nothing wants it.
    Disabled,
    /// It is a link to `/dev/null`.
    Masked,
}

/// An init script or an upstart job of an agent.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ToolScript {
    /// The script, as `/etc/init.d/vmware-tools`.
    pub path: GuestPath,
    /// Whether something starts it.
    pub enabled: bool,
    /// The links in `/etc/rcN.d` that start it.
    pub links: Vec<GuestPath>,
}

/// What belongs to an agent.
struct Known {
    kind: ToolKind,
    units: &'static [&'static str],
    /// Names in `/etc/init.d` and, with `.conf`, in `/etc/init`.
    scripts: &'static [&'static str],
}

/// Agents with their units and scripts. Sources: the packages of Debian, Ubuntu, Fedora and SUSE,
/// VMware's and VirtualBox's installers; virt-v2v and Google's importer disable the same ones.
const KNOWN: &[Known] = &[
    Known {
        kind: ToolKind::OpenVmTools,
        units: &[
            "open-vm-tools.service",
            "vmtoolsd.service",
            "vgauth.service",
            "vgauthd.service",
            "run-vmblock-fuse.mount",
            "run-vmblock\\x2dfuse.mount",
            "open-vm-tools-desktop.service",
            "vmware-vmblock-fuse.service",
        ],
        scripts: &["open-vm-tools", "vmtoolsd"],
    },
    Known {
        kind: ToolKind::VmwareTools,
        units: &["vmware-tools.service", "vmware-tools-thinprint.service"],
        scripts: &["vmware-tools", "vmware-tools-thinprint"],
    },
    Known {
        kind: ToolKind::VirtualBoxAdditions,
        units: &[
            "vboxadd.service",
            "vboxadd-service.service",
            "vboxadd-x11.service",
            "vboxservice.service",
            "virtualbox-guest-utils.service",
        ],
        scripts: &[
            "vboxadd",
            "vboxadd-service",
            "vboxadd-x11",
            "virtualbox-guest-utils",
        ],
    },
    Known {
        kind: ToolKind::QemuGuestAgent,
        units: &["qemu-guest-agent.service", "qemu-ga.service"],
        scripts: &["qemu-guest-agent", "qemu-ga"],
    },
    Known {
        kind: ToolKind::SpiceAgent,
        units: &[
            "spice-vdagentd.service",
            "spice-vdagentd.socket",
            "spice-vdagent.service",
        ],
        scripts: &["spice-vdagent", "spice-vdagentd"],
    },
    Known {
        kind: ToolKind::HyperVDaemons,
        units: &[
            "hv-kvp-daemon.service",
            "hv-vss-daemon.service",
            "hv-fcopy-daemon.service",
            "hv_kvp_daemon.service",
            "hv_vss_daemon.service",
            "hv_fcopy_daemon.service",
            "hypervkvpd.service",
            "hypervvssd.service",
            "hypervfcopyd.service",
        ],
        scripts: &[
            "hv-kvp-daemon",
            "hypervkvpd",
            "hypervvssd",
            "hv_kvp_daemon",
            "hyperv-daemons",
        ],
    },
    Known {
        kind: ToolKind::AzureAgent,
        units: &[
            "walinuxagent.service",
            "waagent.service",
            "walinuxagent-network-setup.service",
        ],
        scripts: &["walinuxagent", "waagent"],
    },
    Known {
        kind: ToolKind::XenGuestUtilities,
        units: &["xe-linux-distribution.service", "xe-daemon.service"],
        scripts: &["xe-linux-distribution", "xe-daemon"],
    },
    Known {
        kind: ToolKind::GoogleAgents,
        units: &[
            "google-guest-agent.service",
            "google-guest-agent-manager.service",
            "google-guest-compat-manager.service",
            "google-startup-scripts.service",
            "google-shutdown-scripts.service",
            "google-oslogin-cache.timer",
            "google-osconfig-agent.service",
            "google-disk-expand.service",
            "google-accounts-daemon.service",
            "google-clock-skew-daemon.service",
            "google-instance-setup.service",
            "google-network-daemon.service",
            "google-network-setup.service",
            "gce-workload-cert-refresh.timer",
        ],
        scripts: &[
            "google",
            "google-startup-scripts",
            "google-accounts-manager",
        ],
    },
    Known {
        kind: ToolKind::ParallelsTools,
        units: &["prltoolsd.service", "prl-tools.service"],
        scripts: &["prltoolsd", "prl-x11"],
    },
];

/// Where units are, own ones first.
const UNIT_DIRECTORIES: [&str; 4] = [
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
const CONFIGURED_UNITS: &str = "/etc/systemd/system";

/// Reads which agents are installed, sorted by kind.
///
/// # Errors
/// What reading the guest meets.
pub fn inspect(guest: &Guest) -> Result<Vec<SourceTool>, Error> {
    let links = unit_links(guest)?;
    let runlevels = runlevel_links(guest)?;
    let mut tools = Vec::new();
    for known in KNOWN {
        let mut tool = SourceTool {
            kind: known.kind,
            units: Vec::new(),
            scripts: Vec::new(),
        };
        for name in known.units {
            tool.units.extend(unit(guest, name, &links)?);
        }
        for name in known.scripts {
            tool.scripts.extend(job(guest, name)?);
            tool.scripts.extend(script(guest, name, &runlevels)?);
        }
        if !tool.units.is_empty() || !tool.scripts.is_empty() {
            tools.push(tool);
        }
    }
    tools.sort_by_key(|tool| tool.kind);
    Ok(tools)
}

/// A link below `/etc/systemd/system`: where it is, and the names of both its ends.
struct Link {
    path: GuestPath,
    name: Vec<u8>,
    target: Vec<u8>,
}

/// The links in `/etc/systemd/system` and its `.wants` and `.requires` directories.
fn unit_links(guest: &Guest) -> Result<Vec<Link>, Error> {
    let top = GuestPath::from(CONFIGURED_UNITS);
    let mut directories = vec![top.clone()];
    for entry in guest.list(&top)? {
        let path = top.join(&entry.name);
        if entry.kind == Kind::Dir && (path.has_suffix(".wants") || path.has_suffix(".requires")) {
            directories.push(path);
        }
    }
    let mut links = Vec::new();
    for directory in directories {
        for entry in guest.list(&directory)? {
            let path = directory.join(&entry.name);
            if entry.kind == Kind::Symlink
                && let Some(target) = guest.read_link(&path)?
            {
                links.push(Link {
                    path,
                    name: entry.name,
                    target: GuestPath::new(target).name().unwrap_or_default().to_vec(),
                });
            }
        }
    }
    Ok(links)
}

fn unit(guest: &Guest, name: &str, links: &[Link]) -> Result<Option<ToolUnit>, Error> {
    let own = GuestPath::from(CONFIGURED_UNITS).join(name);
    if guest.read_link(&own)?.as_deref() == Some(b"/dev/null") {
        return Ok(Some(ToolUnit {
            name: name.to_owned(),
            state: UnitState::Masked,
            links: Vec::new(),
        }));
    }
    let mut installed = false;
    for directory in UNIT_DIRECTORIES {
        let path = GuestPath::from(directory).join(name);
        installed |= guest.stat_followed(&path)?.is_some();
    }
    if !installed {
        return Ok(None);
    }
    let fits = |link: &&Link| link.name == name.as_bytes() || link.target == name.as_bytes();
    let links: Vec<GuestPath> = links
        .iter()
        .filter(fits)
        .map(|link| link.path.clone())
        .collect();
    let packaged = wanted_by_package(guest, name)?;
    let state = if links.is_empty() && !packaged {
        UnitState::Disabled
    } else {
        UnitState::Enabled
    };
    Ok(Some(ToolUnit {
        name: name.to_owned(),
        state,
        links,
    }))
}

/// Whether a directory of the distribution's own units wants it.
fn wanted_by_package(guest: &Guest, name: &str) -> Result<bool, Error> {
    for directory in ["/usr/lib/systemd/system", "/lib/systemd/system"] {
        for target in [
            "multi-user.target.wants",
            "sysinit.target.wants",
            "basic.target.wants",
        ] {
            let path = GuestPath::from(directory).join(target).join(name);
            if guest.stat(&path)?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// The links that start scripts at boot: `/etc/rcN.d/SNNname`, Red Hat's `/etc/rc.d/rcN.d`, SUSE's
/// `/etc/init.d/rcN.d`, OpenRC's `/etc/runlevels`.
fn runlevel_links(guest: &Guest) -> Result<Vec<(Vec<u8>, GuestPath)>, Error> {
    let mut found: Vec<(Vec<u8>, GuestPath)> = Vec::new();
    let mut seen = Vec::new();
    for level in ["S", "1", "2", "3", "4", "5"] {
        for directory in [
            format!("/etc/rc{level}.d"),
            format!("/etc/rc.d/rc{level}.d"),
            format!("/etc/init.d/rc{level}.d"),
        ] {
            let directory = guest.canonical(&GuestPath::new(&directory), true)?;
            if seen.contains(&directory) {
                continue;
            }
            for entry in guest.list(&directory)? {
                if let Some(name) = entry.name.strip_prefix(b"S").and_then(|rest| rest.get(2..)) {
                    found.push((name.to_vec(), directory.join(&entry.name)));
                }
            }
            seen.push(directory);
        }
    }
    for level in ["boot", "default", "sysinit"] {
        let directory = GuestPath::from("/etc/runlevels").join(level);
        for entry in guest.list(&directory)? {
            found.push((entry.name.clone(), directory.join(&entry.name)));
        }
    }
    Ok(found)
}

/// An upstart job, which starts by itself unless an override says otherwise.
fn job(guest: &Guest, name: &str) -> Result<Option<ToolScript>, Error> {
    let job = GuestPath::from("/etc/init").join(format!("{name}.conf"));
    if present(guest, job.clone())?.is_none() {
        return Ok(None);
    }
    let over = GuestPath::from("/etc/init").join(format!("{name}.override"));
    let text = guest.read(&over, CONFIG_CAP)?.unwrap_or_default();
    let manual = text
        .split(|byte| *byte == b'\n')
        .any(|line| line.trim_ascii() == b"manual");
    Ok(Some(ToolScript {
        path: job,
        enabled: !manual,
        links: Vec::new(),
    }))
}

fn script(
    guest: &Guest,
    name: &str,
    runlevels: &[(Vec<u8>, GuestPath)],
) -> Result<Option<ToolScript>, Error> {
    let script = GuestPath::from("/etc/init.d").join(name);
    if present(guest, script.clone())?.is_none() {
        return Ok(None);
    }
    let links: Vec<GuestPath> = runlevels
        .iter()
        .filter(|(started, _)| started == name.as_bytes())
        .map(|(_, path)| path.clone())
        .collect();
    Ok(Some(ToolScript {
        path: script,
        enabled: !links.is_empty(),
        links,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::guest;

    #[test]
    fn units_are_found_with_what_starts_them() {
        let guest = guest(&[
            ("/lib/systemd/system/open-vm-tools.service", "[Unit]\n"),
            ("/lib/systemd/system/vgauth.service", "[Unit]\n"),
            (
                "/etc/systemd/system/vmtoolsd.service",
                "-> /lib/systemd/system/open-vm-tools.service",
            ),
            (
                "/etc/systemd/system/multi-user.target.wants/open-vm-tools.service",
                "-> /lib/systemd/system/open-vm-tools.service",
            ),
            ("/etc/init.d/open-vm-tools", "#!/bin/sh\n"),
            ("/etc/rc2.d/S01open-vm-tools", "-> ../init.d/open-vm-tools"),
            (
                "/etc/systemd/system/qemu-guest-agent.service",
                "-> /dev/null",
            ),
        ]);
        let tools = inspect(&guest).unwrap();
        let [vmware, qemu] = tools.as_slice() else {
            panic!("{tools:?}");
        };
        assert!(vmware.starts() && !qemu.starts());
        assert_eq!(vmware.units[0].links.len(), 2);
        assert_eq!(vmware.units[0].state, UnitState::Enabled);
        let gone = vmware
            .units
            .iter()
            .find(|unit| unit.name == "vgauth.service");
        assert_eq!(gone.unwrap().state, UnitState::Disabled);
        assert_eq!(vmware.scripts[0].links, ["/etc/rc2.d/S01open-vm-tools"]);
        assert_eq!(qemu.units[0].state, UnitState::Masked);
    }

    #[test]
    fn an_upstart_job_is_off_by_its_override() {
        let files = [("/etc/init/vmware-tools.conf", "start on x\n")];
        assert!(inspect(&guest(&files)).unwrap()[0].starts());
        let files = [files[0], ("/etc/init/vmware-tools.override", "manual\n")];
        assert!(!inspect(&guest(&files)).unwrap()[0].starts());
    }
}
