//! Findings, what to check by hand, and what was made.

use super::room::Room;
use super::{Shown, Writer, brief, more, name, prose, section};
use crate::size::{bytes, grouped};
use crate::{Finding, Machine, Output, Severity};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// The heading above what matters most.
pub(super) const ATTENTION: &str = "Needs attention first";

/// Most findings under that heading; the others follow below.
pub(super) const FIRST: usize = 5;

/// Problems, then warnings.
pub(super) fn urgent(machine: &Machine) -> Vec<&Finding> {
    let findings = machine.findings.iter();
    let mut urgent: Vec<_> = findings
        .filter(|it| it.severity != Severity::Info)
        .collect();
    urgent.sort_by_key(|finding| Reverse(finding.severity));
    urgent
}

pub(super) fn finding(html: &mut Writer, finding: &Finding) {
    let (class, word) = match finding.severity {
        Severity::Problem => ("problem", "Problem"),
        Severity::Warning => ("warning", "Warning"),
        Severity::Info => ("info", "Note"),
    };
    html.element("li", class, |html| {
        html.leaf("b", "", word);
        html.text(" ");
        prose(html, &finding.text);
        html.text(" ");
        html.leaf("code", "rule", &name(&finding.rule));
    });
}

/// The findings that do not stand under [`ATTENTION`] already.
pub(super) fn findings(html: &mut Writer, one: &Shown<'_>) {
    let notes = one.machine.findings.iter();
    let notes = notes.filter(|it| it.severity == Severity::Info);
    let findings = urgent(one.machine).into_iter().skip(FIRST).chain(notes);
    let findings: Vec<_> = findings.collect();
    if findings.is_empty() {
        return;
    }
    section(html, "Findings", Some(findings.len()), |html| {
        html.element("ul", "cards", |html| {
            for it in findings.iter().take(Room::LIST) {
                finding(html, it);
            }
        });
        let left_out = findings.len().saturating_sub(Room::LIST);
        more(html, left_out, "findings", one.file);
    });
}

/// What to check by hand; what is a finding was said with it.
pub(super) fn checks(html: &mut Writer, one: &Shown<'_>) {
    let urgent = urgent(one.machine);
    let told: BTreeSet<&str> = urgent.iter().map(|it| it.text.as_str()).collect();
    let checks = one.machine.checks.iter();
    let checks: Vec<_> = checks
        .filter(|it| !told.contains(it.text.as_str()))
        .collect();
    if checks.is_empty() && told.is_empty() {
        return;
    }
    let count = checks.len() + usize::from(!told.is_empty());
    section(html, "To check by hand", Some(count), |html| {
        html.element("ul", "checks", |html| {
            if !told.is_empty() {
                html.element("li", "urgent", |html| {
                    html.text("Everything under “");
                    html.text(ATTENTION);
                    html.text("”.");
                });
            }
            for check in checks.iter().take(Room::LIST) {
                html.element("li", if check.urgent { "urgent" } else { "" }, |html| {
                    prose(html, &check.text);
                    html.text(" ");
                    html.leaf("code", "rule", &name(&check.rule));
                });
            }
        });
        let left_out = checks.len().saturating_sub(Room::LIST);
        more(html, left_out, "checks", one.file);
    });
}

pub(super) fn outputs(html: &mut Writer, one: &Shown<'_>) {
    let outputs = &one.machine.outputs;
    if outputs.is_empty() {
        return;
    }
    section(html, "What was made", Some(outputs.len()), |html| {
        html.element("ul", "outputs", |html| {
            for output in outputs.iter().take(Room::LIST) {
                html.element("li", "", |html| self::output(html, output));
            }
        });
        let left_out = outputs.len().saturating_sub(Room::LIST);
        more(html, left_out, "outputs", one.file);
    });
}

fn output(html: &mut Writer, output: &Output) {
    html.leaf("code", "name", &name(&output.name));
    let mut words = vec![kind(&output.kind).to_owned()];
    words.extend(output.format.clone());
    words.extend(output.place.as_ref().map(|place| format!("in {place}")));
    words.extend(output.disk.as_ref().map(|disk| format!("of {disk}")));
    words.extend(output.parent.as_ref().map(|it| format!("child of {it}")));
    if let Some(blocks) = output.put_blocks {
        let size = bytes(blocks.saturating_mul(512 << 10));
        words.push(format!("{} blocks put ({size})", grouped(blocks)));
    }
    words.extend(output.data.map(|data| format!("{} of data", bytes(data))));
    words.extend(output.read.map(|read| format!("{} read", bytes(read))));
    if !output.made {
        words.push("was there before".to_owned());
    }
    html.leaf("span", "note", &brief(&words.join(" · ")));
}

fn kind(kind: &str) -> &str {
    match kind {
        "file" => "image file",
        "snapshot" => "snapshot in a store",
        "ebs-snapshot" => "snapshot in EBS",
        "image" => "machine image",
        other => other,
    }
}
