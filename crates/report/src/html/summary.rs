//! The head of a machine: what it is, how it went, what became of it, what needs attention first.

use super::{Shown, Writer, brief, lists, name, verdict};
use crate::size::{bytes, duration, grouped};
use crate::{Machine, Outcome, Severity};

pub(super) fn write(html: &mut Writer, one: &Shown<'_>, alone: bool) {
    let Shown { machine, run, .. } = one;
    let verdict = verdict::of(one);
    html.element("header", &format!("hero {}", verdict.class), |html| {
        html.leaf("p", "kind", &format!("rehost {}", name(&run.command)));
        html.element("div", "title", |html| {
            html.leaf(
                if alone { "h1" } else { "h2" },
                "name",
                &name(&machine.name),
            );
            html.leaf("span", &format!("pill {}", verdict.class), verdict.word);
            if let Some(lifecycle) = &machine.lifecycle {
                html.leaf("span", "pill plain", &name(lifecycle));
            }
        });
        if let Some(guest) = &machine.guest {
            html.leaf(
                "p",
                "os",
                &format!(
                    "{} · {} · {}",
                    name(&guest.os),
                    name(&guest.architecture),
                    name(firmware(&guest.firmware))
                ),
            );
        }
        html.leaf("p", "verdict", &brief(&verdict.sentence));
        for reason in machine.error.iter().skip(1).take(8) {
            html.leaf("p", "because", &format!("because: {}", brief(reason)));
        }
        flow(html, machine);
        numbers(html, one);
    });
    attention(html, machine);
}

pub(super) fn firmware(firmware: &str) -> &str {
    match firmware {
        "bios" => "BIOS",
        "uefi" => "UEFI",
        "both" => "BIOS and UEFI",
        other => other,
    }
}

/// Source → what was made → target.
fn flow(html: &mut Writer, machine: &Machine) {
    let mut stations: Vec<(&str, Vec<String>)> = Vec::new();
    let sources = machine.sources.iter().map(|disk| {
        let format = disk.format.as_deref().unwrap_or("disk");
        format!("{} ({}, {format})", disk.name, bytes(disk.size))
    });
    stations.push(("source", sources.collect()));
    let outputs = machine.outputs.iter().map(|output| {
        let place = output.place.as_ref().map(|place| format!(" in {place}"));
        format!("{}{}", output.name, place.unwrap_or_default())
    });
    stations.push(("made", outputs.collect()));
    if let Some(target) = &machine.target {
        let name = target.instance.as_deref().unwrap_or(&target.kind);
        let words = [
            Some(name),
            target.instance_type.as_deref(),
            target.place.as_deref(),
        ];
        let words: Vec<_> = words.into_iter().flatten().collect();
        stations.push(("target", vec![words.join(" · ")]));
    }
    stations.retain(|(_, lines)| !lines.is_empty());
    if stations.is_empty() {
        return;
    }
    html.element("ol", "flow", |html| {
        for (label, lines) in &stations {
            html.element("li", "", |html| {
                html.leaf("span", "label", label);
                const SHOWN: usize = 4;
                for line in lines.iter().take(SHOWN) {
                    html.leaf("span", "what", &name(line));
                }
                if lines.len() > SHOWN {
                    html.leaf("span", "what", &format!("and {} more", lines.len() - SHOWN));
                }
            });
        }
    });
}

fn numbers(html: &mut Writer, one: &Shown<'_>) {
    let Shown { machine, run, .. } = one;
    let mut tiles: Vec<(String, &str)> = Vec::new();
    if machine.guest.is_some() {
        tiles.push((machine.changes.len().to_string(), "changes in the guest"));
    }
    let count = |severity| {
        let findings = machine.findings.iter();
        findings.filter(|it| it.severity == severity).count()
    };
    let (problems, warnings) = (count(Severity::Problem), count(Severity::Warning));
    if problems > 0 {
        tiles.push((
            problems.to_string(),
            plural(problems, "problem", "problems"),
        ));
    }
    tiles.push((
        warnings.to_string(),
        plural(warnings, "warning", "warnings"),
    ));
    let sum = |value: fn(&crate::Cell) -> u64| {
        let totals = machine.regions.iter().map(|regions| value(&regions.totals));
        totals.fold(0, u64::saturating_add)
    };
    if !machine.regions.is_empty() {
        tiles.push((bytes(sum(|it| it.data)), "of data"));
        tiles.push((bytes(sum(|it| it.changed)), "changed"));
    }
    let put = machine.outputs.iter().filter_map(|it| it.put_blocks);
    if let Some(blocks) = put.reduce(u64::saturating_add) {
        tiles.push((
            grouped(blocks),
            plural_of(blocks, "block put", "blocks put"),
        ));
    }
    let took = run.ended.0.saturating_sub(run.started.0);
    let steps = machine.steps.iter();
    let steps = steps.map(|step| step.at.saturating_add(step.took)).max();
    tiles.push((
        duration(steps.unwrap_or_else(|| took.saturating_mul(1000))),
        "in all",
    ));
    html.element("ul", "tiles", |html| {
        for (number, what) in &tiles {
            html.element("li", "", |html| {
                html.leaf("b", "", number);
                html.text(" ");
                html.leaf("span", "", what);
            });
        }
    });
}

pub(super) fn plural(count: usize, one: &'static str, several: &'static str) -> &'static str {
    if count == 1 { one } else { several }
}

fn plural_of(count: u64, one: &'static str, several: &'static str) -> &'static str {
    if count == 1 { one } else { several }
}

fn attention(html: &mut Writer, machine: &Machine) {
    let first = lists::urgent(machine);
    let failed = machine.steps.iter();
    let failed = failed.filter(|step| step.result == Outcome::Failed);
    let failed: Vec<_> = failed.take(lists::FIRST).collect();
    if first.is_empty() && failed.is_empty() {
        return;
    }
    html.element("section", "attention", |html| {
        html.leaf("h2", "", lists::ATTENTION);
        html.element("ul", "cards", |html| {
            for step in &failed {
                html.element("li", "problem", |html| {
                    html.leaf("b", "", "Failed");
                    html.text(" ");
                    html.text(&brief(&step.name));
                });
            }
            for finding in first.iter().take(lists::FIRST) {
                lists::finding(html, finding);
            }
        });
        let left = first.len().saturating_sub(lists::FIRST);
        if left > 0 {
            html.leaf("p", "cut", &format!("{left} more are under Findings."));
        }
    });
}
