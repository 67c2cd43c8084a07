//! Which operating system the guest is.

mod release;

use crate::{Error, Guest};
use release::Release;
use serde::{Deserialize, Serialize};

/// The operating system as it names itself.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Os {
    /// The distribution.
    pub family: Family,
    /// `ID` of os-release, or the same word for systems older than that file.
    pub id: String,
    /// `ID_LIKE` of os-release.
    pub id_like: Vec<String>,
    /// The version as in `VERSION_ID`: "12", "22.04", "8.5"; none for rolling releases.
    pub version: Option<String>,
    /// The version with the point release where another file knows better than `VERSION_ID`: on
    /// Debian "12.5" of `/etc/debian_version`.
    pub point_release: Option<String>,
    /// The name of the version, as "bookworm".
    pub codename: Option<String>,
    /// The whole name for people, as "Debian GNU/Linux 12 (bookworm)".
    pub pretty_name: String,
}

/// The distributions: the one list of them.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize,
)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Family {
    /// Debian.
    Debian,
    /// Ubuntu and its flavours.
    Ubuntu,
    /// Raspberry Pi OS, Kali, Mint and others that are made from Debian.
    OtherDebian,
    /// Red Hat Enterprise Linux.
    Rhel,
    /// CentOS, Linux and Stream.
    Centos,
    /// Fedora.
    Fedora,
    /// Rocky Linux.
    Rocky,
    /// AlmaLinux.
    Alma,
    /// Oracle Linux.
    Oracle,
    /// Amazon Linux.
    Amazon,
    /// Scientific Linux and others that are made from Red Hat's.
    OtherRedHat,
    /// SUSE Linux Enterprise.
    Sles,
    /// openSUSE Leap and Tumbleweed.
    OpenSuse,
    /// Arch Linux and what is made from it.
    Arch,
    /// Alpine.
    Alpine,
    /// Gentoo.
    Gentoo,
    /// VMware Photon OS.
    Photon,
    /// Anything else.
    #[default]
    Other,
}

/// Distributions that share their ways: package format, names and places of configuration.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Lineage {
    /// dpkg, initramfs-tools, ifupdown or netplan.
    Debian,
    /// rpm, dracut, ifcfg or NetworkManager.
    RedHat,
    /// rpm, dracut, wicked.
    Suse,
    /// A world of its own.
    Other,
}

impl Family {
    /// The lineage that the distribution belongs to.
    pub fn lineage(self) -> Lineage {
        match self {
            Self::Debian | Self::Ubuntu | Self::OtherDebian => Lineage::Debian,
            Self::Rhel
            | Self::Centos
            | Self::Fedora
            | Self::Rocky
            | Self::Alma
            | Self::Oracle
            | Self::Amazon
            | Self::OtherRedHat => Lineage::RedHat,
            Self::Sles | Self::OpenSuse => Lineage::Suse,
            Self::Arch | Self::Alpine | Self::Gentoo | Self::Photon | Self::Other => Lineage::Other,
        }
    }

    /// Finds the distribution by `ID`, else by the first `ID_LIKE` that is known.
    fn of(id: &str, id_like: &[String]) -> Self {
        match id {
            "debian" => Self::Debian,
            "ubuntu" => Self::Ubuntu,
            "rhel" | "redhat" => Self::Rhel,
            "centos" => Self::Centos,
            "fedora" => Self::Fedora,
            "rocky" => Self::Rocky,
            "almalinux" => Self::Alma,
            "ol" | "oracle" | "oraclelinux" => Self::Oracle,
            "amzn" | "amazon" => Self::Amazon,
            "scientific" => Self::OtherRedHat,
            "alpine" => Self::Alpine,
            "arch" => Self::Arch,
            "gentoo" => Self::Gentoo,
            "photon" => Self::Photon,
            "opensuse" => Self::OpenSuse,
            "sled" | "suse" => Self::Sles,
            _ if id.starts_with("sles") || id.starts_with("sle_") => Self::Sles,
            _ if id.starts_with("opensuse-") => Self::OpenSuse,
            _ => Self::like(id_like),
        }
    }

    fn like(id_like: &[String]) -> Self {
        let known = |like: &String| match like.as_str() {
            "debian" | "ubuntu" => Some(Self::OtherDebian),
            "rhel" | "centos" | "fedora" => Some(Self::OtherRedHat),
            "suse" | "opensuse" => Some(Self::OpenSuse),
            "arch" | "archlinux" => Some(Self::Arch),
            "gentoo" => Some(Self::Gentoo),
            "alpine" => Some(Self::Alpine),
            _ => None,
        };
        id_like.iter().find_map(known).unwrap_or(Self::Other)
    }
}

impl Os {
    /// Reads what the guest says it is; none where no file says anything.
    ///
    /// The order is that of trust: os-release, then the files that were before it.
    ///
    /// # Errors
    /// What reading the guest meets.
    pub fn of(guest: &Guest) -> Result<Option<Self>, Error> {
        let read = |path: &str| -> Result<Option<String>, Error> {
            let content = guest.read(&path.into(), RELEASE_CAP)?;
            Ok(content.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
        };
        Ok(Release::gather(read)?.into_os())
    }
}

/// Files that name a release have some hundred bytes.
const RELEASE_CAP: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_found_by_its_relatives() {
        let of = |id: &str, like: &[&str]| {
            let like: Vec<String> = like.iter().map(|like| (*like).to_owned()).collect();
            Family::of(id, &like)
        };
        assert_eq!(of("sles_sap", &["suse"]), Family::Sles);
        assert_eq!(of("opensuse-leap", &["suse", "opensuse"]), Family::OpenSuse);
        assert_eq!(of("linuxmint", &["ubuntu", "debian"]), Family::OtherDebian);
        assert_eq!(of("virtuozzo", &["rhel", "fedora"]), Family::OtherRedHat);
        assert_eq!(of("haiku", &[]), Family::Other);
        assert_eq!(of("haiku", &[]).lineage(), Lineage::Other);
        assert_eq!(Family::OtherDebian.lineage(), Lineage::Debian);
    }
}
