//! The target that was launched, and raw facts of the guest and the run.

use super::room::Room;
use super::summary::firmware;
use super::{Shown, Writer, brief, section};
use crate::diff::beginning;
use crate::size::{bytes, duration};
use crate::{Guest, Outcome, Target, Volume};

/// Writes a term and its values, each in a line of its own, if there are any.
fn fact<T: AsRef<str>>(html: &mut Writer, name: &str, values: impl IntoIterator<Item = T>) {
    let values: Vec<T> = values.into_iter().collect();
    if values.is_empty() {
        return;
    }
    html.leaf("dt", "", name);
    for value in values.iter().take(Room::LIST) {
        html.leaf("dd", "", &brief(value.as_ref()));
    }
    if values.len() > Room::LIST {
        html.leaf(
            "dd",
            "cut",
            &format!("and {} more", values.len() - Room::LIST),
        );
    }
}

pub(super) fn target(html: &mut Writer, one: &Shown<'_>) {
    let Some(target) = &one.machine.target else {
        return;
    };
    section(html, "Target", None, |html| {
        html.element("dl", "facts", |html| target_facts(html, target));
        if let Some(console) = &target.console {
            let failed = target.boot.as_ref().is_some_and(|boot| !boot.up);
            let attributes: &[_] = if failed { &[("open", "")] } else { &[] };
            html.with("details", attributes, |html| {
                html.leaf("summary", "", "The end of its console");
                html.element("pre", "console", |html| {
                    html.text(beginning(&console.tail, Room::DIFF * 3));
                });
                if console.cut > 0 {
                    html.leaf(
                        "p",
                        "cut",
                        &format!("{} before it are left out.", bytes(console.cut)),
                    );
                }
                if let Some(file) = &console.file {
                    html.element("p", "cut", |html| {
                        html.text("All of it is in ");
                        html.leaf("code", "", &brief(file));
                        html.text(".");
                    });
                }
            });
        }
    });
}

fn target_facts(html: &mut Writer, target: &Target) {
    fact(html, "kind", [&target.kind]);
    fact(html, "instance", &target.instance);
    fact(html, "type", &target.instance_type);
    fact(html, "place", &target.place);
    fact(html, "image", &target.image);
    fact(html, "addresses", &target.addresses);
    let volumes = target.volumes.iter().map(|volume| {
        let mut words = vec![volume.name.clone()];
        words.extend(volume.device.clone());
        words.extend(volume.size.map(bytes));
        words.extend(volume.snapshot.as_ref().map(|it| format!("from {it}")));
        words.join(" · ")
    });
    fact(html, "volumes", volumes);
    fact(html, "replaces", &target.replaced);
    if let Some(boot) = &target.boot {
        let mut text = if boot.up {
            "came up"
        } else {
            "did not come up"
        }
        .to_owned();
        text.push_str(": ");
        text.push_str(&boot.evidence);
        if let Some(took) = boot.took {
            text.push_str(&format!(" after {}", duration(took)));
        }
        fact(html, "boot", [text]);
        fact(html, "screen", &boot.screenshot);
    }
}

pub(super) fn write(html: &mut Writer, one: &Shown<'_>) {
    let Shown { machine, run, file } = one;
    section(html, "Facts", None, |html| {
        html.element("details", "", |html| {
            html.leaf("summary", "", "Guest, disks and run");
            html.element("dl", "facts", |html| {
                if let Some(guest) = &machine.guest {
                    guest_facts(html, guest);
                }
                let sources = machine.sources.iter().map(|disk| {
                    let mut words = vec![disk.name.clone(), bytes(disk.size)];
                    words.extend(disk.format.clone());
                    words.extend(disk.path.clone());
                    words.join(" · ")
                });
                fact(html, "source disks", sources);
                fact(html, "command", [&run.command]);
                fact(html, "rehost", [&run.rehost]);
                fact(html, "started", [run.started.to_string()]);
                fact(html, "ended", [run.ended.to_string()]);
                fact(html, "host", &run.host);
                let shard = run.shard.map(|it| format!("{} of {}", it.index, it.count));
                fact(html, "shard", shard);
                if run.result == Outcome::Failed {
                    let whole = ["the run failed".to_owned()];
                    fact(html, "result", whole.iter().chain(&run.error));
                }
                fact(html, "report", [file]);
            });
        });
    });
}

fn guest_facts(html: &mut Writer, guest: &Guest) {
    fact(html, "system", [&guest.os]);
    fact(html, "host name", &guest.hostname);
    fact(html, "architecture", [&guest.architecture]);
    fact(html, "firmware", [firmware(&guest.firmware)]);
    let kernels = guest.kernels.iter().map(|kernel| match &kernel.initramfs {
        Some(initramfs) => format!("{} with {initramfs}", kernel.version),
        None => format!("{} without an initramfs", kernel.version),
    });
    fact(html, "kernels", kernels);
    fact(html, "volumes", guest.volumes.iter().map(volume));
    fact(html, "network", &guest.interfaces);
    fact(html, "source tools", &guest.source_tools);
}

fn volume(volume: &Volume) -> String {
    let mounted = volume.mounted_at.as_ref().map(|path| format!(" on {path}"));
    format!(
        "{} · {} · {}{}",
        volume.name,
        bytes(volume.size),
        volume.content,
        mounted.unwrap_or_default()
    )
}
