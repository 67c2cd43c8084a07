//! cloud-init: whether it is there, and what keeps it from working on EC2.

use crate::boot::{Boot, CONFIG_CAP, present};
use crate::network::Yaml;
use crate::{Error, Guest, GuestPath};
use fs::Kind;
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

/// Any of these says that cloud-init is installed.
const PROGRAMS: [&str; 3] = [
    "/usr/bin/cloud-init",
    "/usr/local/bin/cloud-init",
    "/etc/cloud/cloud.cfg",
];
const MARKER: &str = "/etc/cloud/cloud-init.disabled";
const DS_IDENTIFY: &str = "/etc/cloud/ds-identify.cfg";
const CONFIG: &str = "/etc/cloud/cloud.cfg";
const CONFIG_DIRECTORY: &str = "/etc/cloud/cloud.cfg.d";
const UNITS: [&str; 5] = [
    "cloud-init.service",
    "cloud-init-local.service",
    "cloud-init.target",
    "cloud-config.service",
    "cloud-final.service",
];
/// Parts of the names of files that installers and other clouds leave behind. The first ones are
/// what Google's importer deletes; the others were seen in installed guests.
const LEFTOVERS: [&str; 13] = [
    "azure",
    "curtin",
    "waagent",
    "walinuxagent",
    "subiquity",
    "99-installer",
    "90-installer",
    "99-fake",
    "91-gce",
    "99-datasource",
    "99_vmware",
    "99-vmware",
    "99-openstack",
];

/// Reads what is known about cloud-init; none where it is not installed.
///
/// # Errors
/// What reading the guest meets.
pub fn inspect(guest: &Guest, boot: &Boot) -> Result<Option<CloudInit>, Error> {
    let mut installed = false;
    for path in PROGRAMS {
        installed |= guest.exists(&path.into())?;
    }
    if !installed {
        return Ok(None);
    }
    let mut cloud_init = CloudInit {
        disabled_by: disabled(guest, boot)?,
        ..CloudInit::default()
    };
    for file in config_files(guest)? {
        let name = String::from_utf8_lossy(file.name().unwrap_or_default()).to_lowercase();
        let bytes = guest.read(&file, CONFIG_CAP)?.unwrap_or_default();
        if name != "cloud.cfg" && LEFTOVERS.iter().any(|part| name.contains(part)) {
            cloud_init.leftovers.push(file.clone());
        }
        let Ok(yaml) = Yaml::parse(&String::from_utf8_lossy(&bytes)) else {
            continue;
        };
        let sources = yaml.key("datasource_list").texts();
        if !sources.is_empty() {
            cloud_init.datasources = sources;
            cloud_init.datasource_file = Some(file.clone());
        }
        if yaml.key("network").key("config").text() == Some("disabled") {
            cloud_init.network_disabled_by.push(file);
        }
    }
    Ok(Some(cloud_init))
}

/// `cloud.cfg`, then `cloud.cfg.d/*.cfg` in the order in which a later one overrides.
fn config_files(guest: &Guest) -> Result<Vec<GuestPath>, Error> {
    let mut files: Vec<GuestPath> = present(guest, CONFIG.into())?.into_iter().collect();
    let directory = GuestPath::from(CONFIG_DIRECTORY);
    for entry in guest.list(&directory)? {
        let file = directory.join(&entry.name);
        if file.has_suffix(".cfg") {
            files.extend(present(guest, file)?);
        }
    }
    Ok(files)
}

fn disabled(guest: &Guest, boot: &Boot) -> Result<Vec<Disabled>, Error> {
    let mut reasons = Vec::new();
    if guest.stat(&MARKER.into())?.is_some() {
        reasons.push(Disabled::Marker(MARKER.into()));
    }
    for entry in &boot.entries {
        let reason = Disabled::CommandLine(entry.file.clone());
        let off = entry
            .arguments
            .split_whitespace()
            .any(|word| word == "cloud-init=disabled");
        if off && !reasons.contains(&reason) {
            reasons.push(reason);
        }
    }
    let directory = GuestPath::from("/etc/systemd/system.conf.d");
    let mut settings = vec![GuestPath::from("/etc/systemd/system.conf")];
    for entry in guest.list(&directory)? {
        settings.push(directory.join(&entry.name));
    }
    for file in settings {
        let bytes = guest.read(&file, CONFIG_CAP)?.unwrap_or_default();
        let ini = crate::ini::Ini::parse(&bytes);
        let off = ini
            .values("Manager", "DefaultEnvironment")
            .any(|value| value.contains("KERNEL_CMDLINE=cloud-init=disabled"));
        if off {
            reasons.push(Disabled::Environment(file));
        }
    }
    for unit in UNITS {
        let path = GuestPath::from("/etc/systemd/system").join(unit);
        let masked = guest
            .stat(&path)?
            .is_some_and(|meta| meta.kind == Kind::Symlink)
            && guest.read_link(&path)?.as_deref() == Some(b"/dev/null");
        if masked {
            reasons.push(Disabled::Masked(path));
        }
    }
    let policy = GuestPath::from(DS_IDENTIFY);
    let bytes = guest.read(&policy, CONFIG_CAP)?.unwrap_or_default();
    let off = String::from_utf8_lossy(&bytes).lines().any(|line| {
        let value = line.trim().strip_prefix("policy:").map(str::trim);
        value.is_some_and(|value| value.split(',').next() == Some("disabled"))
    });
    if off {
        reasons.push(Disabled::Policy(policy));
    }
    Ok(reasons)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::guest;

    #[test]
    fn what_switches_it_off_is_found() {
        let guest = guest(&[
            ("/etc/cloud/cloud.cfg", "datasource_list: [NoCloud]\n"),
            (
                "/etc/cloud/cloud.cfg.d/90_dpkg.cfg",
                "datasource_list: [ VMware, None ]\n",
            ),
            (
                "/etc/cloud/cloud.cfg.d/99-net.cfg",
                "network: {config: disabled}\n",
            ),
            ("/etc/cloud/cloud-init.disabled", ""),
            (
                "/etc/cloud/cloud.cfg.d/curtin-preserve-sources.cfg",
                "x: 1\n",
            ),
            ("/etc/cloud/ds-identify.cfg", "# x\npolicy: disabled\n"),
            (
                "/etc/systemd/system.conf",
                "[Manager]\nDefaultEnvironment=KERNEL_CMDLINE=cloud-init=disabled\n",
            ),
            ("/etc/systemd/system/cloud-init.service", "-> /dev/null"),
        ]);
        let found = inspect(&guest, &Boot::default()).unwrap().unwrap();
        assert_eq!(found.disabled_by.len(), 4);
        assert_eq!(found.datasources, ["VMware", "None"]);
        assert_eq!(
            found.leftovers,
            ["/etc/cloud/cloud.cfg.d/curtin-preserve-sources.cfg"]
        );
        assert_eq!(
            found.network_disabled_by,
            ["/etc/cloud/cloud.cfg.d/99-net.cfg"]
        );
    }

    #[test]
    fn nothing_is_said_where_it_is_not_installed() {
        let guest = guest(&[("/etc/cloud/build.info", "x")]);
        assert_eq!(inspect(&guest, &Boot::default()).unwrap(), None);
    }
}
