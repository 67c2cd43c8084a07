//! `rehost launch --local`

use crate::args::{AccelArg, ArchArg, FirmwareArg, LaunchArgs, LocalArgs, NicArg, SourceArgs};
use crate::blueprint;
use crate::exit::{Absent, NOT_UP};
use crate::machine::{self, Opened};
use crate::record::{Notes, Recorder};
use crate::snapshot_home::Snapshot;
use crate::source::Purpose;
use crate::terminal::{Colour, Terminal};
use crate::{output, source_facts, target};
use anyhow::{Context, Result, bail};
use guest::{Facts, Guest};
use launch::blueprint::{self as description, Blueprint, BootMode, SourceFacts, Unresolved};
use launch::instances::Table;
use launch::local::{
    Accel, Architecture, Firmware, Hardware, Nic, Options, Outcome, Source, Target,
};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

pub(super) fn run(args: &LaunchArgs, terminal: &Terminal) -> Result<ExitCode> {
    let mut recorder = Recorder::begin("launch", args.record.report.as_deref())?;
    let mut notes = recorder.notes(args.images.first().map_or("", String::as_str));
    let ended = launch_noted(args, &mut notes, terminal);
    recorder.add(notes, &ended);
    match recorder.end(ended, terminal) {
        // It was told, with the console.
        Err(error) if error.is::<Absent>() => Ok(NOT_UP.into()),
        ended => ended.map(|()| ExitCode::SUCCESS),
    }
}

fn launch_noted(args: &LaunchArgs, notes: &mut Notes, terminal: &Terminal) -> Result<()> {
    let blueprint = args.blueprint.as_deref().map(blueprint::load).transpose()?;
    let blueprint = blueprint.map(|loaded| loaded.blueprint);
    let opened = machine::open(&args.images, &args.source, Purpose::Copy, terminal)?;
    let name = match &blueprint {
        Some(blueprint) => blueprint.metadata.machine.clone(),
        None => name(&opened),
    };
    let described = Described {
        name: &name,
        blueprint: blueprint.as_ref(),
        types: Table::built_in(),
        at_once: 1,
    };
    notes.machine.name.clone_from(&name);
    notes.machine.sources.clone_from(&opened.reported);
    let outcome = notes.watch().step("launch the target", || {
        launch(&described, &opened, &args.source, &args.machine, terminal)
    })?;
    notes.machine.target = Some(reported(&outcome));
    render(&outcome, args.json, terminal)?;
    if outcome.is_up() {
        Ok(())
    } else {
        Err(Absent(outcome.reason).into())
    }
}

/// As reports have it.
fn reported(outcome: &Outcome) -> report::Target {
    let hardware = &outcome.hardware;
    let tail = outcome.console_tail.join("\n");
    report::Target {
        kind: "local".to_owned(),
        instance_type: Some(format!(
            "{}, {}, {} CPU, {} MiB, {}",
            hardware.architecture,
            hardware.firmware,
            hardware.cpus,
            hardware.memory_mib,
            outcome.accelerator
        )),
        boot: Some(report::Boot {
            up: outcome.is_up(),
            evidence: outcome.reason.clone(),
            took: Duration::try_from_secs_f64(outcome.seconds)
                .ok()
                .and_then(|took| took.as_millis().try_into().ok()),
            screenshot: outcome
                .screenshot
                .as_ref()
                .map(|path| path.display().to_string()),
        }),
        console: (!outcome.is_up()).then(|| report::Console::new(tail.as_bytes())),
        ..report::Target::default()
    }
}

/// A machine is called as its first disk is: by the snapshot's machine, or by the file.
fn name(opened: &Opened) -> String {
    let snapshot = opened.snapshots.iter().flatten().next();
    let named = snapshot.and_then(Snapshot::of).map(|(machine, _)| machine);
    let named = named.filter(|machine| !machine.is_empty());
    named.unwrap_or_else(|| opened.stems.first().cloned().unwrap_or_default())
}

/// What is known about a target besides its disks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Described<'a> {
    pub(crate) name: &'a str,
    pub(crate) blueprint: Option<&'a Blueprint>,
    /// What tells the memory and the CPUs of the blueprint's instance type.
    pub(crate) types: &'a Table,
    /// How many targets share this host.
    pub(crate) at_once: u16,
}

/// Launches the machine of opened disks.
pub(crate) fn launch(
    described: &Described<'_>,
    opened: &Opened,
    source: &SourceArgs,
    args: &LocalArgs,
    terminal: &Terminal,
) -> Result<Outcome> {
    let Described {
        name, blueprint, ..
    } = *described;
    let boot = blueprint.map_or(BootMode::Auto, |blueprint| blueprint.boot.mode);
    let look = Look::at(opened, source.root.as_deref(), args.accel == AccelArg::Auto);
    if let Err(error) = &look {
        let why = format!("{error:#}");
        let why = why
            .lines()
            .next()
            .unwrap_or_default()
            .trim_end_matches(". What is there:");
        let text = format!("rehost: what is on the disks is not known: {why}");
        eprintln!("{}", terminal.paint_err(Colour::Warning, &text));
    }
    let look = look.unwrap_or_default();
    let facts = look.facts.as_ref();
    let origin = facts.map(|facts| source_facts::of(opened, facts));
    let size = size(described, origin.as_ref(), args, terminal);
    let hardware = Hardware {
        architecture: match (args.arch, facts.map(|facts| facts.architecture)) {
            (ArchArg::X86_64, _) => Architecture::X86_64,
            (ArchArg::Arm64, _) => Architecture::Arm64,
            (ArchArg::Auto, Some(guest::Architecture::Aarch64)) => Architecture::Arm64,
            (ArchArg::Auto, _) => Architecture::X86_64,
        },
        firmware: firmware(args.firmware, boot, facts.map(|facts| facts.firmware))?,
        memory_mib: size.memory_mib,
        cpus: size.cpus,
        nic: match args.nic {
            NicArg::Virtio => Nic::Virtio,
            NicArg::E1000e => Nic::E1000e,
            NicArg::None => Nic::None,
        },
    };
    let file = |given: &Option<PathBuf>, ending: &str| -> Result<PathBuf> {
        let path = match (given, &args.keep) {
            (Some(path), _) => path.clone(),
            (None, Some(dir)) => dir.join(ending),
            (None, None) => format!("{}.{ending}", file_stem(name)).into(),
        };
        // The logs of earlier launches are replaced, sources never.
        target::claim(&path, &opened.files, true)?;
        Ok(path)
    };
    let temporary = std::env::temp_dir();
    let kernel = match &look.kernel {
        Some(kernel) => Some(temporary_file(kernel, &temporary)?),
        None => None,
    };
    let options = Options {
        program: args.qemu.clone(),
        accel: match args.accel {
            AccelArg::Auto => Accel::Auto,
            AccelArg::Kvm => Accel::Kvm,
            AccelArg::Tcg => Accel::Tcg,
        },
        kernel: kernel.as_ref().map(|kernel| kernel.path().to_owned()),
        time_limit: args.timeout,
        marker: args.marker.clone(),
        keep: args.keep.clone(),
        at_once: u32::from(described.at_once),
        ..Options::new(
            temporary,
            file(&args.console, "console.log")?,
            file(&args.screenshot, "screen.png")?,
        )
    };
    let target = Target {
        name: name.to_owned(),
        hardware,
        sources: sources(opened, args.keep.is_some()),
    };
    launch::local::launch(&target, &options, &*terminal.progress, &terminal.interrupt)
        .with_context(|| format!("{name} was not launched"))
}

/// Memory and CPUs of a target.
#[derive(Debug, Eq, PartialEq)]
struct Size {
    memory_mib: u32,
    cpus: u32,
}

/// Memory and CPUs: what the command line says, else what the blueprint's instance type has.
fn size(
    described: &Described<'_>,
    source: Option<&SourceFacts>,
    args: &LocalArgs,
    terminal: &Terminal,
) -> Size {
    let context = description::Context {
        types: described.types,
        source,
    };
    let chosen = described
        .blueprint
        .map(|blueprint| blueprint.instance_type(&context));
    let of_type = match chosen {
        Some(Ok(chosen)) => Some(chosen),
        None | Some(Err(Unresolved::NoType)) => None,
        Some(Err(error)) => {
            // A test needs no type, and says what it runs on.
            if args.memory.is_none() || args.cpus.is_none() {
                let text = format!("rehost: {}: {error}", described.name);
                eprintln!("{}", terminal.paint_err(Colour::Warning, &text));
            }
            None
        }
    };
    let default = Hardware::default();
    let memory = of_type.map(|chosen| u32::try_from(chosen.memory_mib).unwrap_or(u32::MAX));
    let cpus = of_type.map(|chosen| chosen.vcpus);
    Size {
        memory_mib: args.memory.or(memory).unwrap_or(default.memory_mib),
        cpus: args
            .cpus
            .map(NonZeroU32::get)
            .or(cpus)
            .unwrap_or(default.cpus),
    }
}

/// A machine's name as that of a file: the name may be out of a store that others wrote.
fn file_stem(name: &str) -> String {
    let plain = |letter: char| match letter {
        '/' => '-',
        letter if letter.is_control() => '-',
        letter => letter,
    };
    let stem: String = name.chars().take(100).map(plain).collect();
    match stem.strip_prefix('.') {
        Some(rest) => format!("-{rest}"),
        None => stem,
    }
}

/// What QEMU can open by itself is not copied, unless the target is to write to it.
fn sources(opened: &Opened, keep: bool) -> Vec<Source> {
    let disks = opened.machine.disks().iter().zip(&opened.plain);
    disks
        .map(|(disk, plain)| match plain {
            Some((path, format)) if !keep => Source::File {
                path: path.clone(),
                format: *format,
            },
            // Looking for a guest replays journals into the overlay: the disk is below it.
            _ => Source::Device {
                device: disk.overlay.base().clone(),
                size: 0,
            },
        })
        .collect()
}

/// What the disks say about the machine that they boot.
#[derive(Default)]
struct Look {
    facts: Option<Facts>,
    /// The kernel that it boots, or another of its own.
    kernel: Option<Vec<u8>>,
}

/// Bytes of a kernel that are read; those of distributions have up to 60 MB.
const MAX_KERNEL: u64 = 256 << 20;

impl Look {
    fn at(opened: &Opened, root: Option<&str>, with_kernel: bool) -> Result<Self> {
        let root = opened.root(root)?;
        let guest = Guest::open(&opened.machine, &root).context("cannot open the guest")?;
        let facts = guest::inspect(&opened.machine, &guest).context("cannot inspect the guest")?;
        let kernel = facts.kernels.first().filter(|_| with_kernel);
        let kernel = match kernel {
            Some(kernel) => guest
                .read(&kernel.image, MAX_KERNEL)
                .with_context(|| format!("cannot read {}", kernel.image))?,
            None => None,
        };
        Ok(Self {
            facts: Some(facts),
            kernel,
        })
    }
}

fn firmware(
    wanted: FirmwareArg,
    boot: BootMode,
    found: Option<guest::Firmware>,
) -> Result<Firmware> {
    let has_uefi = found.map(guest::Firmware::has_uefi);
    Ok(match (wanted, boot, has_uefi) {
        (FirmwareArg::Bios, ..) => Firmware::Bios,
        (FirmwareArg::Uefi, ..) => Firmware::Uefi,
        (_, BootMode::LegacyBios, _) => Firmware::Bios,
        (_, BootMode::Uefi, _) => Firmware::Uefi,
        // What can do both gets what EC2 prefers then.
        (_, _, Some(true)) => Firmware::Uefi,
        (_, _, Some(false)) => Firmware::Bios,
        (_, _, None) => bail!("what the disks boot with cannot be told; say it with --firmware"),
    })
}

fn temporary_file(content: &[u8], dir: &Path) -> Result<tempfile::NamedTempFile> {
    let failed = || format!("cannot make a file in {}", dir.display());
    let file = tempfile::NamedTempFile::new_in(dir).with_context(failed)?;
    std::fs::write(file.path(), content).with_context(failed)?;
    Ok(file)
}

/// stdout gets the path of the console's log, or JSON; people read stderr.
fn render(outcome: &Outcome, json: bool, terminal: &Terminal) -> Result<()> {
    let hardware = &outcome.hardware;
    let summary = format!(
        "{} {} after {:.1} s: {}",
        outcome.machine,
        outcome.verdict,
        outcome.seconds,
        output::printable(&outcome.reason)
    );
    let colour = if outcome.is_up() {
        Colour::Bold
    } else {
        Colour::Removed
    };
    eprintln!("{}", terminal.paint_err(colour, &summary));
    eprintln!(
        "  {}, {}, {} CPU, {} MiB, {} ({})",
        hardware.architecture,
        hardware.firmware,
        hardware.cpus,
        hardware.memory_mib,
        outcome.accelerator,
        outcome.accelerator.because
    );
    for note in &outcome.notes {
        eprintln!(
            "{}",
            terminal.paint_err(Colour::Warning, &format!("  {note}"))
        );
    }
    if !outcome.is_up() {
        let shown = |of: &str, lines: &[String]| {
            for line in lines.iter().skip(lines.len().saturating_sub(TAIL)) {
                eprintln!("  {of}| {}", output::printable(line));
            }
        };
        shown("console", &outcome.console_tail);
        shown("screen", &outcome.screen_text);
        if outcome.console_tail.is_empty() {
            eprintln!("  the serial console said nothing");
        }
        if let Some(screenshot) = &outcome.screenshot {
            eprintln!("  the screen: {}", screenshot.display());
        }
    }
    if json {
        return output::json(outcome);
    }
    output::write(format!("{}\n", outcome.console.display()).as_bytes())
}

/// Lines of a console that are shown.
const TAIL: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_stay_in_their_directory() {
        assert_eq!(file_stem("web1.example"), "web1.example");
        assert_eq!(file_stem("../../etc/x\n"), "-.-..-etc-x-");
        assert!(file_stem(&"ä".repeat(1000)).len() <= 200);
    }

    #[test]
    fn firmware_is_what_the_user_the_blueprint_or_the_disks_say() {
        use guest::Firmware::{Bios, Both, Uefi};
        for (wanted, boot, found, expected) in [
            (
                FirmwareArg::Bios,
                BootMode::Uefi,
                Some(Uefi),
                Firmware::Bios,
            ),
            (
                FirmwareArg::Uefi,
                BootMode::Auto,
                Some(Bios),
                Firmware::Uefi,
            ),
            (
                FirmwareArg::Uefi,
                BootMode::LegacyBios,
                None,
                Firmware::Uefi,
            ),
            (
                FirmwareArg::Auto,
                BootMode::LegacyBios,
                Some(Both),
                Firmware::Bios,
            ),
            (FirmwareArg::Auto, BootMode::Uefi, None, Firmware::Uefi),
            (
                FirmwareArg::Auto,
                BootMode::UefiPreferred,
                Some(Bios),
                Firmware::Bios,
            ),
            (
                FirmwareArg::Auto,
                BootMode::Auto,
                Some(Both),
                Firmware::Uefi,
            ),
            (
                FirmwareArg::Auto,
                BootMode::Auto,
                Some(Bios),
                Firmware::Bios,
            ),
        ] {
            let found = firmware(wanted, boot, found).unwrap();
            assert_eq!(found, expected, "{wanted:?} {boot:?}");
        }
        let said = firmware(FirmwareArg::Auto, BootMode::Auto, None).unwrap_err();
        assert!(said.to_string().contains("--firmware"), "{said}");
    }
}
