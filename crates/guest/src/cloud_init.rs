//! cloud-init: whether it is there, and what keeps it from working on EC2.

use crate::{Error, Guest, GuestPath};
use serde::{Deserialize, Serialize};

/// What inspection saw of cloud-init.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct CloudInit {
    /// Everything that switches it off.
    pub disabled_by: Vec<Disabled>,
    /// The `datasource_list` in effect; empty where no file sets one.
    pub datasources: Vec<String>,
    /// The file that sets it.
    pub datasource_file: Option<GuestPath>,
    /// Files that an installer or another cloud left in `/etc/cloud/cloud.cfg.d`, sorted.
    pub leftovers: Vec<GuestPath>,
    /// Files that forbid it to configure the network.
    pub network_disabled_by: Vec<GuestPath>,
}

/// One thing that switches cloud-init off.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Disabled {
    /// The marker `/etc/cloud/cloud-init.disabled`.
    Marker(GuestPath),
    /// `cloud-init=disabled` on a kernel command line in this file.
    CommandLine(GuestPath),
    /// `KERNEL_CMDLINE=cloud-init=disabled` in systemd's default environment in this file.
    Environment(GuestPath),
    /// A mask of one of its units.
    Masked(GuestPath),
    /// `policy: disabled` in ds-identify's configuration.
    Policy(GuestPath),
}

/// Reads what is known about cloud-init; none where it is not installed.
///
/// # Errors
/// What reading the guest meets.
pub(crate) fn inspect(_guest: &Guest) -> Result<Option<CloudInit>, Error> {
    Ok(None)
}
