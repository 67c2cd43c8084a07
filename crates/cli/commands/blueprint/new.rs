//! `rehost blueprint new`

use super::write;
use crate::args::NewArgs;
use crate::blueprint::types;
use crate::locator::Source;
use crate::source::Purpose;
use crate::terminal::Terminal;
use crate::{machine, source_facts};
use anyhow::{Context, Result, bail};
use guest::Guest;
use launch::blueprint::{Draft, OsType, import::machine_name};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(args: &NewArgs, terminal: &Terminal) -> Result<ExitCode> {
    let opened = machine::open(&args.sources, &args.source, Purpose::Look, terminal)?;
    let root = opened.root(args.source.root.as_deref())?;
    let guest = Guest::open(&opened.machine, &root).context("cannot open the guest")?;
    let facts = guest::inspect(&opened.machine, &guest).context("cannot inspect the guest")?;
    let name = match &args.name {
        Some(name) if machine_name(name) == *name && !name.is_empty() => name.clone(),
        Some(name) => bail!(
            "--name {name:?}: a machine's name has 1 to 64 letters, digits, '.', '_' or '-', and \
             does not begin with '.'"
        ),
        None => {
            let own = facts.hostname.as_deref().map(machine_name);
            let first = opened.stems.first().map(|stem| machine_name(stem));
            let named = |name: &String| !name.is_empty() && name != "localhost";
            own.filter(named)
                .or(first.filter(named))
                .unwrap_or_else(|| "machine".to_owned())
        }
    };
    let sources = args
        .sources
        .iter()
        .map(|source| seen_from(args.output.as_deref(), source))
        .collect::<Result<Vec<_>>>()?;
    let mut facts_of_source = source_facts::of(&opened, &facts);
    let hardware = args.hardware.hardware().or(facts_of_source.hardware());
    facts_of_source.set_hardware(hardware);
    let draft = Draft {
        machine: &name,
        os: &facts.os.pretty_name,
        os_type: match facts.os.id.as_str() {
            "rhel" => Some(OsType::Rhel),
            "sles" | "sled" | "sles_sap" => Some(OsType::Suse),
            _ => None,
        },
        sources: &sources,
        facts: &facts_of_source,
        types: &*types(args.instance_types.as_deref())?,
    };
    write(args.output.as_deref(), args.force, &draft.to_yaml())?;
    Ok(ExitCode::SUCCESS)
}

/// How a blueprint names a source: paths are meant from where the blueprint is.
fn seen_from(blueprint: Option<&Path>, source: &str) -> Result<String> {
    let dir = blueprint.and_then(Path::parent).unwrap_or(Path::new(""));
    let Ok(Source::File(path)) = Source::parse(source) else {
        return Ok(source.to_owned());
    };
    if dir == Path::new("") {
        return Ok(source.to_owned());
    }
    if let Ok(below) = path.strip_prefix(dir) {
        return Ok(below.to_string_lossy().into_owned());
    }
    let path: PathBuf =
        std::path::absolute(&path).with_context(|| format!("cannot tell the path of {source}"))?;
    Ok(path.to_string_lossy().into_owned())
}
