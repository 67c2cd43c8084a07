//! `rehost convert`

use super::options;
use crate::args::ConvertArgs;
use crate::blueprint::{Blueprint, BootMode};
use crate::exit::Unconvertible;
use crate::locator::{Destination, Source};
use crate::machine::Opened;
use crate::terminal::{Colour, Terminal};
use crate::{machine, output};
use ::convert::{Because, Conversion, Finding, Options, Severity};
use anyhow::{Context, Result, anyhow, bail};
use block::BlockRead;
use fs::Time;
use guest::{Firmware, GuestPath};
use image::{Compression, Qcow2Options, WriteFormat, WriteOptions};
use rayon::prelude::*;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use store::Store;

/// One machine to convert.
struct Job {
    name: String,
    images: Vec<String>,
    options: Options,
    boot: BootMode,
}

/// What became of a machine.
#[derive(Serialize)]
struct Report {
    machine: String,
    os: Option<String>,
    changes: Vec<ReportedChange>,
    findings: Vec<Finding>,
    outputs: Vec<Output>,
}

#[derive(Serialize)]
struct ReportedChange {
    path: GuestPath,
    because: Vec<Because>,
}

/// A converted disk.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
enum Output {
    File {
        disk: String,
        path: PathBuf,
        format: &'static str,
    },
    Snapshot {
        disk: String,
        store: PathBuf,
        id: String,
        blocks: u64,
        new_blocks: u64,
    },
}

pub(super) fn run(args: &ConvertArgs, terminal: &Terminal) -> Result<ExitCode> {
    let now = source_date_epoch()?;
    let jobs = jobs(args)?;
    let destination = match &args.output {
        Some(text) => Destination::parse(text),
        None => Destination::Store(
            std::env::var_os("REHOST_STORE")
                .unwrap_or_else(|| "rehost-store".into())
                .into(),
        ),
    };
    let several = jobs.len() > 1 || jobs.iter().any(|job| job.images.len() > 1);
    let target = Target::new(destination, several, args)?;
    let opened = jobs
        .iter()
        .map(|job| machine::open(&job.images, &args.source));
    let opened: Vec<_> = opened.collect();
    let places = Places::claim(&jobs, &opened, &target)?;
    let results: Vec<_> = jobs
        .par_iter()
        .zip(opened)
        .zip(places.0)
        .map(|((job, opened), paths)| {
            let report = opened
                .and_then(|opened| convert(job, &opened, &paths, args, &target, now, terminal));
            report.with_context(|| format!("{} was not converted", job.name))
        })
        .collect();
    let (mut reports, mut failed) = (Vec::new(), None);
    for result in results {
        match (result, &failed) {
            (Ok(report), _) => reports.push(report),
            (Err(error), None) => failed = Some(error),
            (Err(error), Some(_)) => {
                crate::exit::report(&error, terminal);
            }
        }
    }
    render(&reports, args.json, terminal)?;
    failed.map_or(Ok(ExitCode::SUCCESS), Err)
}

fn jobs(args: &ConvertArgs) -> Result<Vec<Job>> {
    if args.each {
        let job = |image: &String| Job {
            name: image.clone(),
            images: vec![image.clone()],
            options: options(&args.rules, None),
            boot: BootMode::Auto,
        };
        return Ok(args.images.iter().map(job).collect());
    }
    if args.rules.blueprint.is_empty() {
        let name = args.images.first().cloned().unwrap_or_default();
        let (images, options) = (args.images.clone(), options(&args.rules, None));
        return Ok(vec![Job {
            name,
            images,
            options,
            boot: BootMode::Auto,
        }]);
    }
    if !args.images.is_empty() && args.rules.blueprint.len() > 1 {
        bail!("with several blueprints, each has to name its own disks");
    }
    let mut jobs = Vec::new();
    for path in &args.rules.blueprint {
        let blueprint = Blueprint::read(path)?;
        let mut images = args.images.clone();
        if images.is_empty() {
            images.extend(blueprint.disks.iter().map(|disk| disk.source.clone()));
        }
        if images.is_empty() {
            bail!("{} names no disks, and no IMAGE is given", path.display());
        }
        jobs.push(Job {
            name: blueprint.metadata.machine.clone(),
            images,
            options: options(&args.rules, Some(&blueprint)),
            boot: blueprint.boot.mode,
        });
    }
    Ok(jobs)
}

/// Where converted disks go, with everything decided before work starts.
struct Target {
    place: Place,
    format: WriteFormat,
    overwrite: bool,
}

enum Place {
    File(PathBuf),
    Dir(PathBuf),
    Store(Store),
}

impl Target {
    fn new(destination: Destination, several: bool, args: &ConvertArgs) -> Result<Self> {
        let ending = match &destination {
            Destination::Path(path) => path.extension().is_some_and(|e| e == "qcow2"),
            Destination::Store(_) => false,
        };
        let to_store = matches!(destination, Destination::Store(_));
        let qcow2 = match args.to_format.as_deref() {
            _ if to_store && (args.to_format.is_some() || args.compress.is_some()) => {
                bail!("--to-format and --compress are about image files, not about stores")
            }
            Some(format) => format == "qcow2",
            None => ending || args.compress.is_some(),
        };
        let compression = match args.compress.as_deref() {
            Some(_) if !qcow2 => bail!("--compress needs a qcow2 file"),
            Some("zlib") => Compression::Zlib,
            Some(_) => Compression::Zstd,
            None => Compression::None,
        };
        let format = if qcow2 {
            WriteFormat::Qcow2(Qcow2Options {
                compression,
                ..Qcow2Options::default()
            })
        } else {
            WriteFormat::Raw
        };
        let place = match destination {
            Destination::Store(dir) => Place::Store(Store::create(&dir)?),
            Destination::Path(path) => {
                let named_as_dir = path.as_os_str().as_encoded_bytes().ends_with(b"/");
                if several || named_as_dir || path.is_dir() {
                    std::fs::create_dir_all(&path).with_context(|| {
                        format!(
                            "several disks need a directory, and {} is none",
                            path.display()
                        )
                    })?;
                    Place::Dir(path)
                } else {
                    Place::File(path)
                }
            }
        };
        Ok(Self {
            place,
            format,
            overwrite: args.force,
        })
    }

    fn ending(&self) -> &'static str {
        match self.format {
            WriteFormat::Qcow2(_) => "qcow2",
            _ => "raw",
        }
    }
}

fn convert(
    job: &Job,
    opened: &Opened,
    paths: &[PathBuf],
    args: &ConvertArgs,
    target: &Target,
    now: Option<Time>,
    terminal: &Terminal,
) -> Result<Report> {
    let mut report = Report {
        machine: job.name.clone(),
        os: None,
        changes: Vec::new(),
        findings: Vec::new(),
        outputs: Vec::new(),
    };
    let mut converted = true;
    match convert_guest(job, opened, args.source.root.as_deref(), now) {
        Ok(conversion) => {
            report.os = Some(conversion.plan.guest.os);
            report.findings = conversion.plan.findings;
            let changes = conversion.plan.changes.into_iter();
            report.changes.extend(changes.map(|change| ReportedChange {
                path: change.path,
                because: change.because,
            }));
        }
        Err(error) if args.allow_unconverted && error.is::<Unconvertible>() => {
            converted = false;
            let text = format!("the disks are written as they are: {error}");
            let rule = "convert".to_owned();
            report.findings.push(Finding {
                severity: Severity::Problem,
                rule,
                text,
            });
        }
        Err(error) => return Err(error),
    }
    terminal.interrupt.check()?;
    let disks = opened.machine.disks();
    let outputs: Vec<_> = disks
        .par_iter()
        .zip(paths)
        .map(|(disk, path)| {
            // Looking for a guest replays journals into the overlay: "as they are" is below it.
            let device: &dyn BlockRead = if converted {
                &*disk.overlay
            } else {
                disk.overlay.base()
            };
            write(&disk.name, device, path, target, terminal)
        })
        .collect();
    if outputs.iter().any(Result::is_err) && !target.overwrite {
        // Disks of one machine belong together: none stays without the others.
        for output in outputs.iter().flatten() {
            output.remove();
        }
    }
    report.outputs = outputs.into_iter().collect::<Result<_>>()?;
    Ok(report)
}

fn convert_guest(
    job: &Job,
    opened: &Opened,
    root: Option<&str>,
    now: Option<Time>,
) -> Result<Conversion> {
    let root = opened.root(root)?;
    let mut conversion = ::convert::convert(&opened.machine, root, &job.options, now)?;
    let firmware = conversion.facts.firmware;
    let boots = match job.boot {
        BootMode::Auto => true,
        BootMode::LegacyBios => firmware != Firmware::Uefi,
        BootMode::Uefi => firmware != Firmware::Bios,
        BootMode::UefiPreferred => firmware == Firmware::Both,
    };
    if !boots {
        let text = format!(
            "the blueprint wants boot mode {:?}, but the disks boot with {firmware:?}",
            job.boot
        );
        let rule = "blueprint".to_owned();
        conversion.plan.findings.push(Finding {
            severity: Severity::Problem,
            rule,
            text,
        });
    }
    Ok(conversion)
}

/// The paths of the outputs of each job.
struct Places(Vec<Vec<PathBuf>>);

impl Places {
    /// Gives every disk of every machine its path, before anything is written: no two of them the
    /// same, and none a file that any machine is read from.
    fn claim(jobs: &[Job], opened: &[Result<Opened>], target: &Target) -> Result<Self> {
        let mut sources: Vec<PathBuf> = Vec::new();
        for (job, opened) in jobs.iter().zip(opened) {
            sources.extend(job.images.iter().map(PathBuf::from));
            sources.extend(
                opened
                    .iter()
                    .flat_map(|opened| opened.files.iter().cloned()),
            );
        }
        let mut seen = BTreeSet::new();
        let mut places = Vec::new();
        for opened in opened {
            let paths = opened
                .as_ref()
                .map_or_else(|_| Vec::new(), |opened| paths(opened, target));
            for path in &paths {
                if let Place::Store(_) = target.place {
                    break;
                }
                if !seen.insert(path.clone()) {
                    bail!(
                        "two disks would both be written to {}; rename one",
                        path.display()
                    );
                }
                if is_source(path, &sources) {
                    bail!(
                        "{} is a source and is never written; name another output",
                        path.display()
                    );
                }
                if path.exists() && !target.overwrite {
                    bail!("{} exists; --force replaces it", path.display());
                }
            }
            places.push(paths);
        }
        Ok(Self(places))
    }
}

/// The path of each disk's output.
fn paths(opened: &Opened, target: &Target) -> Vec<PathBuf> {
    let path = |source: &Source| match &target.place {
        Place::File(path) => path.clone(),
        Place::Dir(dir) => dir.join(format!("{}.{}", source.stem(), target.ending())),
        Place::Store(store) => store.dir().to_owned(),
    };
    opened.sources.iter().map(path).collect()
}

impl Output {
    /// Takes back a file that was published a moment ago.
    fn remove(&self) {
        if let Self::File { path, .. } = self
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "cannot be removed");
        }
    }
}

fn is_source(path: &Path, sources: &[PathBuf]) -> bool {
    let Ok(path) = path.canonicalize() else {
        return false;
    };
    sources
        .iter()
        .any(|source| source.canonicalize().is_ok_and(|source| source == path))
}

fn write(
    disk: &str,
    device: &dyn BlockRead,
    path: &Path,
    target: &Target,
    terminal: &Terminal,
) -> Result<Output> {
    let (progress, interrupt) = (&*terminal.progress, &terminal.interrupt);
    let disk = disk.to_owned();
    if let Place::Store(store) = &target.place {
        let written = store
            .write(device, &disk, progress, interrupt)
            .with_context(|| format!("cannot store {disk}"))?;
        return Ok(Output::Snapshot {
            disk,
            store: path.to_owned(),
            id: written.id.to_string(),
            blocks: written.blocks,
            new_blocks: written.new_blocks,
        });
    }
    let options = WriteOptions {
        format: target.format,
        overwrite: target.overwrite,
        ..WriteOptions::default()
    };
    image::write(device, path, &options, progress, interrupt)
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(Output::File {
        disk,
        path: path.to_owned(),
        format: target.ending(),
    })
}

/// stdout gets the names of what was made, one a line; people read stderr.
fn render(reports: &[Report], json: bool, terminal: &Terminal) -> Result<()> {
    for report in reports {
        let os = report.os.as_deref().unwrap_or("not converted");
        let count = report.changes.len();
        let summary = format!("{}: {os}, {count} changes", report.machine);
        eprintln!("{}", terminal.paint_err(Colour::Bold, &summary));
        for finding in &report.findings {
            let text = format!("  {}", finding.text);
            match finding.severity {
                Severity::Info => eprintln!("{text}"),
                _ => eprintln!("{}", terminal.paint_err(Colour::Warning, &text)),
            }
        }
    }
    if json {
        return output::json(&reports);
    }
    for output in reports.iter().flat_map(|report| &report.outputs) {
        let line = match output {
            Output::File { path, .. } => path.display().to_string(),
            Output::Snapshot { id, .. } => id.clone(),
        };
        output::write(format!("{line}\n").as_bytes())?;
    }
    Ok(())
}

/// The time for changed files that the user gives, by the convention of reproducible builds.
fn source_date_epoch() -> Result<Option<Time>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let Some(value) = std::env::var_os(NAME) else {
        return Ok(None);
    };
    let seconds = value.to_str().and_then(|text| text.parse().ok());
    let seconds = seconds.ok_or_else(|| anyhow!("{NAME} must be seconds since 1970"))?;
    Ok(Some(Time {
        seconds,
        nanoseconds: 0,
    }))
}
