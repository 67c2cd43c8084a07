//! SELinux: whether it is on, and which label its policy gives to a path.
//!
//! A file without the label that the policy wants cannot be read by the services that need it, so
//! that a guest with an unlabelled `/etc/fstab` or profile of NetworkManager does not come up.

mod file_contexts;
mod regex;
mod substitutions;

pub use file_contexts::{FileContexts, Label};

use crate::assignment::Assignments;
use crate::boot::CONFIG_CAP;
use crate::{Boot, Error, Guest, GuestPath};
use serde::{Deserialize, Serialize};

/// SELinux as `/etc/selinux/config` and the kernels' command lines have it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Selinux {
    /// What the kernel does with the policy.
    pub mode: SelinuxMode,
    /// The policy, as "targeted".
    pub policy: String,
    /// Whether the policy says which labels files have.
    pub has_file_contexts: bool,
}

/// What the kernel does with the policy.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SelinuxMode {
    /// What the policy forbids does not happen.
    Enforcing,
    /// It happens and is logged.
    Permissive,
    /// No policy is loaded.
    Disabled,
}

/// The attribute that holds a label, with a NUL behind it.
pub const ATTRIBUTE: &[u8] = b"security.selinux";

/// Reads whether SELinux is on; none where no configuration says anything. Source: selinux(8),
/// selinux_config(5).
///
/// # Errors
/// What reading the guest meets.
pub fn inspect(guest: &Guest, boot: &Boot) -> Result<Option<Selinux>, Error> {
    let Some(config) = guest.read(&"/etc/selinux/config".into(), CONFIG_CAP)? else {
        return Ok(None);
    };
    let settings = Assignments::parse(&config);
    let value = |name: &str| settings.value(name).map(|value| value.trim().to_owned());
    // libselinux takes what it does not know, and nothing at all, for disabled and for "targeted".
    let mode = match value("SELINUX").unwrap_or_default().to_lowercase().as_str() {
        "enforcing" => SelinuxMode::Enforcing,
        "permissive" => SelinuxMode::Permissive,
        _ => SelinuxMode::Disabled,
    };
    let policy = value("SELINUXTYPE").filter(|name| is_name(name));
    let policy = policy.unwrap_or_else(|| "targeted".to_owned());
    let off = !boot.entries.is_empty()
        && boot.entries.iter().all(|entry| {
            let mut words = entry.arguments.split_whitespace();
            words.any(|word| word == "selinux=0")
        });
    let has_file_contexts = guest.is_regular(&files(&policy).join("file_contexts"))?;
    Ok(Some(Selinux {
        mode: if off { SelinuxMode::Disabled } else { mode },
        policy,
        has_file_contexts,
    }))
}

/// Reads which labels a policy gives; none if it does not say.
///
/// # Errors
/// What reading the guest meets.
pub fn file_contexts(guest: &Guest, policy: &str) -> Result<Option<FileContexts>, Error> {
    if !is_name(policy) {
        return Ok(None);
    }
    let directory = files(policy);
    let read = |name: &str| guest.read(&directory.join(name), CONTEXTS_CAP);
    let Some(base) = read("file_contexts")? else {
        return Ok(None);
    };
    let mut contexts = FileContexts::default();
    contexts.add(&base);
    // In the order in which libselinux reads them: what comes later counts more.
    for name in ["file_contexts.homedirs", "file_contexts.local"] {
        contexts.add(&read(name)?.unwrap_or_default());
    }
    let distribution = read("file_contexts.subs_dist")?.unwrap_or_default();
    let local = read("file_contexts.subs")?.unwrap_or_default();
    contexts.substitute(&distribution, &local);
    Ok(Some(contexts))
}

fn files(policy: &str) -> GuestPath {
    let policies = GuestPath::from("/etc/selinux");
    policies.join(policy).join("contexts").join("files")
}

/// Whether a text can be the name of one directory.
fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.contains('/') && text != "." && text != ".."
}

/// The largest `file_contexts` of distributions have about 500 KiB.
const CONTEXTS_CAP: u64 = 16 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::guest;

    #[test]
    fn the_mode_is_that_of_configuration_and_command_line() {
        let config = (
            "/etc/selinux/config",
            "# x\nSELINUX=Enforcing\nSELINUXTYPE= targeted \n",
        );
        let contexts = ("/etc/selinux/targeted/contexts/files/file_contexts", "");
        let boot = |guest: &Guest| crate::boot::inspect(guest).unwrap();
        let of = |files: &[(&str, &str)]| {
            let guest = guest(files);
            inspect(&guest, &boot(&guest)).unwrap()
        };
        let found = of(&[config, contexts]).unwrap();
        assert_eq!(
            (found.mode, found.policy.as_str(), found.has_file_contexts),
            (SelinuxMode::Enforcing, "targeted", true)
        );
        let off = (
            "/boot/grub/grub.cfg",
            "menuentry 'A' {\n linux /vmlinuz selinux=0\n}\n",
        );
        assert_eq!(of(&[config, off]).unwrap().mode, SelinuxMode::Disabled);
        let other = (
            "/etc/selinux/config",
            "SELINUX=disabled\nSELINUXTYPE=../x\n",
        );
        let found = of(&[other]).unwrap();
        assert_eq!(
            (found.mode, found.policy.as_str()),
            (SelinuxMode::Disabled, "targeted")
        );
        assert_eq!(of(&[contexts]), None);
    }
}
