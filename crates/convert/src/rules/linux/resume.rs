//! Where initramfs-tools looks for a hibernation image.
//!
//! `RESUME=/dev/sda2` makes the initramfs wait 30 seconds for a device that never comes.

use crate::{Draft, Error, Rule, Severity};
use guest::{Content, DeviceName, Facts, GuestPath};

/// Names the resume device by identifier.
pub(super) const RULE: Rule = Rule {
    id: "resume-by-uuid",
    summary: "name the resume device of initramfs-tools by UUID instead of by device",
    applies: |_, _| true,
    run,
};

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    let facts = draft.facts();
    for volume in &facts.volumes {
        if let Content::Swap {
            hibernated: true, ..
        } = volume.content
        {
            let text = format!(
                "{} holds the memory of a hibernated machine: the target would resume it on foreign \
                 hardware. Shut the source down and take its disks anew",
                volume.id
            );
            draft.find(Severity::Problem, text);
        }
    }
    let path = GuestPath::from("/etc/initramfs-tools/conf.d/resume");
    let Some(content) = draft.read_text(&path)? else {
        return Ok(());
    };
    if let Some(new) = rewritten(&content, facts) {
        draft.write(
            &path,
            new,
            "waiting for the old device name takes 30 seconds at every boot",
        )?;
    }
    Ok(())
}

/// The file with a device that exists on EC2, or none; `None` if it is right as it is.
pub(super) fn rewritten(content: &str, facts: &Facts) -> Option<String> {
    let mut new = String::with_capacity(content.len());
    for line in content.split_inclusive('\n') {
        let device = line
            .trim()
            .strip_prefix("RESUME=")
            .map(|value| value.trim_matches('"'));
        match device {
            Some(device) if DeviceName::parse(device).depends_on_hardware() => {
                let volume = facts.resolve(device).and_then(|id| facts.volume(&id));
                let uuid = volume.and_then(|volume| volume.uuid.as_ref());
                let value = uuid.map_or_else(|| "none".to_owned(), |uuid| format!("UUID={uuid}"));
                new.push_str(&format!("RESUME={value}\n"));
            }
            _ => new.push_str(line),
        }
    }
    (new != content).then_some(new)
}
