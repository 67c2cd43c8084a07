//! Agents of the platform that the guest lived on.

use crate::{Error, Guest, GuestPath};
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

/// Reads which agents are installed, sorted by kind.
///
/// # Errors
/// What reading the guest meets.
pub(crate) fn inspect(_guest: &Guest) -> Result<Vec<SourceTool>, Error> {
    Ok(Vec::new())
}
