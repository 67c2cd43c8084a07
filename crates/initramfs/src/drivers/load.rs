//! The configuration by which an initramfs loads modules that no device asks for.

use super::extend::ExtraFile;
use crate::contents::Contents;
use crate::error::{Error, UnsupportedKind};
use crate::kind::Kind;

/// The file that makes the initramfs load `modules`, and where it belongs; nothing where udev alone
/// has to do.
///
/// # Errors
/// Unsupported if the configuration that it replaces is larger than a configuration is.
pub(super) fn configuration(
    kind: &Kind,
    contents: &Contents,
    modules: &[&str],
) -> Result<Option<(String, ExtraFile)>, Error> {
    if modules.is_empty() {
        return Ok(None);
    }
    let list = lines("", modules);
    let (path, mode, data) = match kind {
        Kind::InitramfsTools => {
            // the whole file: a later member replaces an earlier one
            let path = "conf/modules";
            let old = existing(contents, path)?;
            let new: Vec<_> = modules
                .iter()
                .filter(|module| !lists(old, module))
                .copied()
                .collect();
            if new.is_empty() {
                return Ok(None);
            }
            (path.to_owned(), 0o644, after(old, &lines("", &new)))
        }
        Kind::DracutSystemd | Kind::MkinitcpioSystemd => (
            "etc/modules-load.d/rehost.conf".to_owned(),
            0o644,
            list.into_bytes(),
        ),
        Kind::Dracut { hooks } => (
            format!("{hooks}pre-udev/01-rehost.sh"),
            0o755,
            format!("#!/bin/sh\n{}", lines("modprobe -q ", modules)).into_bytes(),
        ),
        Kind::Mkinitcpio => {
            let path = "config";
            let line = format!("MODULES=\"$MODULES {}\"\n", modules.join(" "));
            let old = existing(contents, path)?;
            (path.to_owned(), 0o644, after(old, &line))
        }
        // nash loads what its script names, see there
        Kind::Nash | Kind::Unknown => return Ok(None),
    };
    Ok(Some((path, ExtraFile { mode, data })))
}

fn existing<'a>(contents: &'a Contents, path: &'static str) -> Result<&'a [u8], Error> {
    match contents.file(path) {
        None => Ok(&[]),
        Some(file) => file
            .data()
            .ok_or_else(|| UnsupportedKind::LargeConfiguration { path }.into()),
    }
}

/// Whether a line of `conf/modules` names the module; options may follow the name.
fn lists(text: &[u8], module: &str) -> bool {
    String::from_utf8_lossy(text).lines().any(|line| {
        line.split_ascii_whitespace()
            .next()
            .is_some_and(|name| name.replace('-', "_") == module)
    })
}

fn after(old: &[u8], new: &str) -> Vec<u8> {
    let mut text = old.to_vec();
    if text.last().is_some_and(|byte| *byte != b'\n') {
        text.push(b'\n');
    }
    text.extend_from_slice(new.as_bytes());
    text
}

fn lines(before: &str, modules: &[&str]) -> String {
    modules
        .iter()
        .map(|module| format!("{before}{module}\n"))
        .collect()
}
