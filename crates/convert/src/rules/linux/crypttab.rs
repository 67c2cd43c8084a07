//! `/etc/crypttab` has to name encrypted volumes by their identifier, as fstab its file systems.

use crate::{Draft, Error, Rule, Severity};
use guest::crypttab::Crypttab;
use guest::{DeviceName, GuestPath};

/// Names by hardware become names by identifier.
pub(super) const RULE: Rule = Rule {
    id: "crypttab-by-uuid",
    summary: "name encrypted volumes in /etc/crypttab by UUID instead of by device",
    applies: |_, _| true,
    run,
};

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let path = GuestPath::from("/etc/crypttab");
    let Some(content) = draft.read(&path)? else {
        return Ok(());
    };
    let mut crypttab = Crypttab::parse(&content);
    let facts = draft.facts();
    let (mut names, mut unknown) = (Vec::new(), Vec::new());
    for entry in crypttab.entries_mut() {
        let device = entry.device();
        let volume = facts.resolve(&device).and_then(|id| facts.volume(&id));
        if !DeviceName::parse(&device).depends_on_hardware() {
            continue;
        }
        // Swap that is encrypted anew at every boot has no identifier of its own.
        let name = volume.and_then(|volume| {
            let uuid = volume.uuid.as_ref().map(|uuid| format!("UUID={uuid}"));
            uuid.or(volume
                .partuuid
                .as_ref()
                .map(|uuid| format!("PARTUUID={uuid}")))
        });
        match name {
            Some(name) => {
                entry.set_device(&name);
                names.push(device);
            }
            None => unknown.push(device),
        }
    }
    for device in unknown {
        let text = format!("/etc/crypttab names {device}, which has no UUID: it will not be found");
        draft.find(Severity::Warning, text);
    }
    if names.is_empty() {
        return Ok(());
    }
    let why = format!("{} will have other names on EC2", names.join(", "));
    draft.write(&path, crypttab.render(), why)
}
