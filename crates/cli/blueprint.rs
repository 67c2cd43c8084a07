//! What a blueprint says about the conversion of a machine.
//!
//! The fields about the instance itself (type, subnet, addresses…) come with launching; a field
//! that is not known here is refused, not ignored.

use crate::locator::Source;
use anyhow::{Context, Result, bail};
use convert::{NetworkMode, Options, Target};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// What the target is to be, as far as a conversion needs it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Blueprint {
    /// `rehost/v1`, if it is said.
    pub(crate) api_version: Option<String>,
    /// `Blueprint`, if it is said.
    pub(crate) kind: Option<String>,
    pub(crate) metadata: Metadata,
    #[serde(default)]
    pub(crate) boot: Boot,
    #[serde(default)]
    pub(crate) conversion: Conversion,
    #[serde(default)]
    pub(crate) disks: Vec<Disk>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metadata {
    /// The machine's name: letters, digits, `.`, `_` and `-`, at most 64.
    pub(crate) machine: String,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Boot {
    #[serde(default)]
    pub(crate) mode: BootMode,
}

/// How the instance starts, in EC2's words.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BootMode {
    /// As the source did.
    #[default]
    Auto,
    LegacyBios,
    Uefi,
    UefiPreferred,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Conversion {
    pub(crate) target: Option<Target>,
    pub(crate) network: Option<NetworkMode>,
    #[serde(default)]
    pub(crate) skip: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Disk {
    /// The image, by a path from the blueprint's directory, or a snapshot as on the command line.
    pub(crate) source: String,
}

impl Blueprint {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the blueprint {}", path.display()))?;
        let mut blueprint =
            Self::parse(&text).with_context(|| format!("in the blueprint {}", path.display()))?;
        let dir = path.parent().map_or_else(PathBuf::new, Path::to_owned);
        for disk in &mut blueprint.disks {
            // What cannot be understood is told when it is opened.
            if matches!(Source::parse(&disk.source), Ok(Source::File(_))) {
                disk.source = dir.join(&disk.source).to_string_lossy().into_owned();
            }
        }
        Ok(blueprint)
    }

    fn parse(text: &str) -> Result<Self> {
        let blueprint: Self = serde_saphyr::from_str(text)?;
        if blueprint
            .api_version
            .as_deref()
            .is_some_and(|version| version != "rehost/v1")
        {
            bail!("apiVersion must be rehost/v1");
        }
        if blueprint
            .kind
            .as_deref()
            .is_some_and(|kind| kind != "Blueprint")
        {
            bail!("kind must be Blueprint");
        }
        let name = &blueprint.metadata.machine;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if name.is_empty() || name.len() > 64 || name.starts_with('.') || !name.bytes().all(plain) {
            bail!(
                "metadata.machine must be 1 to 64 letters, digits, '.', '_' or '-', not {name:?}"
            );
        }
        Ok(blueprint)
    }

    /// Fills in what the command line left open.
    pub(crate) fn complete(&self, options: &mut Options, target: bool, network: bool) {
        if let (false, Some(wanted)) = (target, self.conversion.target) {
            options.target = wanted;
        }
        if let (false, Some(wanted)) = (network, self.conversion.network) {
            options.network = wanted;
        }
        options.skip.extend(self.conversion.skip.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_used_now_are_read() {
        let text = "metadata: {machine: web1}\nboot: {mode: uefi}\n\
                    conversion: {target: nitro, network: preserve}\ndisks:\n- source: web1.vmdk\n";
        let blueprint = Blueprint::parse(text).unwrap();
        let mut options = Options::default();
        blueprint.complete(&mut options, false, false);
        assert_eq!(
            (options.target, options.network),
            (Target::Nitro, NetworkMode::Preserve)
        );
        assert_eq!(blueprint.boot.mode, BootMode::Uefi);
        let mut options = Options::default();
        blueprint.complete(&mut options, true, true);
        assert_eq!(options.target, Target::Both, "the command line goes first");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "metadata: {machine: ../x}",
            "metadata: {machine: a}\ninstance: {type: m6i.large}",
            "kind: Other\nmetadata: {machine: a}",
            "metadata: {machine: a}\nconversion: {target: azure}",
        ] {
            assert!(Blueprint::parse(bad).is_err(), "{bad}");
        }
    }
}
