//! `rehost inspect`

use crate::args::InspectArgs;
use crate::source::Purpose;
use crate::terminal::{Colour, Terminal};
use crate::{machine, output, size};
use ::convert::{Generation, Readiness, Verdict};
use anyhow::{Context, Result};
use guest::boot::BootEntry;
use guest::network::{Interface, InterfaceKind};
use guest::{Facts, Guest, Kernel};
use serde::Serialize;
use std::fmt::Write as _;
use std::process::ExitCode;

pub(super) fn run(args: &InspectArgs, terminal: &Terminal) -> Result<ExitCode> {
    let opened = machine::open(&args.images, &args.source, Purpose::Look, terminal)?;
    let root = opened.root(args.source.root.as_deref())?;
    let guest = Guest::open(&opened.machine, &root).context("cannot open the guest")?;
    let facts = guest::inspect(&opened.machine, &guest).context("cannot inspect the guest")?;
    let readiness = ::convert::readiness(&guest, &facts);
    if args.json {
        output::json(&Inspection {
            facts: &facts,
            readiness,
        })?;
    } else {
        let text = text(&facts, terminal) + &verdicts(&readiness, terminal);
        output::write(text.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// All that is known of a guest.
#[derive(Serialize)]
struct Inspection<'a> {
    #[serde(flatten)]
    facts: &'a Facts,
    readiness: Vec<Readiness>,
}

/// A line for each generation of instances, and below it why a guest does not run there or what may
/// need work by hand.
fn verdicts(readiness: &[Readiness], terminal: &Terminal) -> String {
    let mut text = String::new();
    for Readiness {
        generation,
        verdict,
        reasons,
        warnings,
    } in readiness
    {
        let generation = match generation {
            Generation::Nitro => "Nitro",
            Generation::Xen => "Xen",
            Generation::Arm64 => "arm64",
        };
        let (verdict, colour, below) = match verdict {
            Verdict::Ready => ("ready", Colour::Added, warnings),
            Verdict::AfterConversion => ("ready after conversion", Colour::Added, warnings),
            Verdict::NotPossible => ("not possible", Colour::Removed, reasons),
        };
        let verdict = terminal.paint(colour, verdict);
        let _ = writeln!(text, "  on {generation:<11} {verdict}");
        for reason in below {
            let _ = writeln!(text, "  {:<14} {reason}", "");
        }
    }
    text
}

fn text(facts: &Facts, terminal: &Terminal) -> String {
    let mut text = String::new();
    let name = facts.hostname.as_deref().unwrap_or("unnamed");
    let title = format!("{} ({name})", facts.os.pretty_name);
    let _ = writeln!(text, "{}", terminal.paint(Colour::Bold, &title));
    let mut line = |name: &str, value: &str| {
        let _ = writeln!(text, "  {name:<14} {value}");
    };
    line(
        "architecture",
        &format!("{:?}", facts.architecture).to_lowercase(),
    );
    line("firmware", &format!("{:?}", facts.firmware).to_uppercase());
    for (at, volume) in facts.volumes.iter().enumerate() {
        let mut value = format!(
            "{:<6} {:>9}  {}",
            machine::argument(&volume.id),
            size::text(volume.size),
            machine::content(&volume.content)
        );
        if let Some(path) = &volume.mounted_at {
            let _ = write!(value, " on {path}");
        }
        line(if at == 0 { "volumes" } else { "" }, &value);
    }
    for (at, kernel) in facts.kernels.iter().enumerate() {
        line(if at == 0 { "kernels" } else { "" }, &kernel_text(kernel));
    }
    let default = facts.boot.default.and_then(|at| facts.boot.entries.get(at));
    if let Some(BootEntry {
        kernel, arguments, ..
    }) = default
    {
        line("boots", &format!("{kernel} {arguments}"));
    }
    for grub in facts.boot.grubs() {
        line("boot loader", &format!("GRUB 2, {}", grub.config));
    }
    if let Some(legacy) = &facts.boot.legacy {
        line("boot loader", &format!("GRUB Legacy, {}", legacy.menu));
    }
    for other in &facts.boot.others {
        line("boot loader", other);
    }
    if let Some(esp) = &facts.boot.esp {
        let fallback = if esp.fallback.is_empty() {
            "no fallback loader"
        } else {
            "fallback loader"
        };
        line("ESP", &format!("{}, {fallback}", esp.mount));
    }
    let shown = facts
        .network
        .interfaces
        .iter()
        .filter(|i| i.kind != InterfaceKind::Loopback);
    for interface in shown {
        line("network", &interface_text(interface));
    }
    if let Some(selinux) = &facts.selinux {
        let mode = format!("{:?}", selinux.mode).to_lowercase();
        line("SELinux", &format!("{mode}, policy {}", selinux.policy));
    }
    if let Some(cloud_init) = &facts.cloud_init {
        let state = if cloud_init.disabled_by.is_empty() {
            "enabled"
        } else {
            "disabled"
        };
        line(
            "cloud-init",
            &format!("{state}, datasources {:?}", cloud_init.datasources),
        );
    }
    for tool in &facts.source_tools {
        let state = if tool.starts() {
            "starts at boot"
        } else {
            "does not start"
        };
        line("source tools", &format!("{:?}, {state}", tool.kind));
    }
    line("packages", &facts.packages.count.to_string());
    for finding in &facts.findings {
        let _ = writeln!(
            text,
            "{}",
            terminal.paint(Colour::Warning, &format!("  {finding}"))
        );
    }
    text
}

fn kernel_text(kernel: &Kernel) -> String {
    let initramfs = kernel.initramfs.as_ref();
    let initramfs = initramfs.map_or_else(|| "no initramfs".to_owned(), ToString::to_string);
    format!("{}, {initramfs}", kernel.version)
}

fn interface_text(interface: &Interface) -> String {
    let mut text = interface.name.clone().unwrap_or_else(|| "any".to_owned());
    if let Some(method) = interface.ipv4.or(interface.ipv6) {
        let _ = write!(text, " {}", format!("{method:?}").to_lowercase());
    }
    for address in &interface.addresses {
        let _ = write!(text, " {address}");
    }
    let _ = write!(text, " ({}, {})", interface.stack.name(), interface.file);
    text
}
