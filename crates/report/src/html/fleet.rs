//! The page of a fleet: a table of all machines, what failed, and each machine.

use super::index::{Row, table, tile};
use super::room::Room;
use super::{Shown, Writer, anchor, brief, document, machines, section};
use crate::size::{bytes, grouped};
use crate::{Attempt, Fleet, FleetMachine, Status};

/// Makes one page of a fleet's merged reports.
pub fn fleet_page(fleet: &Fleet) -> String {
    let shown: Vec<Shown<'_>> = fleet.machines.iter().filter_map(shown).collect();
    document("Fleet · rehost", |html| {
        head(html, fleet);
        failed(html, fleet);
        section(html, "Machines", Some(fleet.machines.len()), |html| {
            let mut number = 0;
            let rows = fleet.machines.iter().map(|machine| {
                let row = row(machine, number);
                number += usize::from(row.anchor.is_some());
                row
            });
            table(html, rows.take(Room::MACHINES));
            if fleet.machines.len() > Room::MACHINES {
                let left = fleet.machines.len() - Room::MACHINES;
                html.leaf("p", "cut", &format!("and {left} more machines."));
            }
        });
        machines(html, &shown);
    })
}

fn shown(machine: &FleetMachine) -> Option<Shown<'_>> {
    let (run, detail) = machine.detail.as_deref()?;
    Some(Shown {
        machine: detail,
        run,
        file: machine.counts.as_ref().map_or("", |it| &it.report),
    })
}

fn head(html: &mut Writer, fleet: &Fleet) {
    let totals = &fleet.totals;
    let class = if fleet.is_well() { "good" } else { "bad" };
    html.element("header", &format!("hero {class}"), |html| {
        html.leaf("p", "kind", "rehost fleet report");
        html.element("div", "title", |html| {
            html.leaf("h1", "name", &format!("{} machines", totals.machines));
            let word = if fleet.is_well() {
                "all well"
            } else {
                "not all well"
            };
            html.leaf("span", &format!("pill {class}"), word);
        });
        html.element("ul", "tiles", |html| {
            tile(html, "good", totals.ok, "went well");
            tile(html, "bad", totals.failed, "failed");
            tile(html, "bad", totals.missing, "missing");
            tile(html, "warn", totals.problems, "problems found");
            tile(html, "warn", totals.warnings, "warnings");
        });
        html.leaf(
            "p",
            "note",
            &format!(
                "{} of disks, {} of data; {} read, {} blocks put; {} changes in guests",
                bytes(totals.disk_bytes),
                bytes(totals.data_bytes),
                bytes(totals.read_bytes),
                grouped(totals.put_blocks),
                totals.changes
            ),
        );
    });
}

fn failed(html: &mut Writer, fleet: &Fleet) {
    let reason = |attempt: Option<&Attempt>| match attempt {
        Some(attempt) => format!("{} ({})", attempt.error.join(": "), attempt.report),
        None => "no report is about it".to_owned(),
    };
    let machines = fleet.machines.iter().filter(|it| it.status != Status::Ok);
    let machines = machines.map(|it| (it.name.as_str(), reason(it.counts.as_ref())));
    let broken = fleet.broken.iter();
    let broken = broken.map(|it| ("a run that came to no machine", reason(Some(it))));
    let failed: Vec<_> = broken.chain(machines).collect();
    if failed.is_empty() {
        return;
    }
    html.element("section", "attention", |html| {
        html.leaf("h2", "", "Needs attention first");
        html.element("ul", "cards", |html| {
            for (name, reason) in failed.iter().take(Room::LIST) {
                html.element("li", "problem", |html| {
                    html.leaf("b", "", &brief(name));
                    html.text(" ");
                    html.text(&brief(reason));
                });
            }
        });
        if failed.len() > Room::LIST {
            let left = failed.len() - Room::LIST;
            html.leaf("p", "cut", &format!("and {left} more, see Machines."));
        }
    });
}

fn row(machine: &FleetMachine, number: usize) -> Row {
    if let Some(one) = shown(machine) {
        let mut row = Row::of(&one, anchor(number));
        if let Some(shard) = one.run.shard {
            row.run
                .push_str(&format!(", shard {} of {}", shard.index, shard.count));
        }
        match machine.others.len() {
            0 => {}
            1 => row.run.push_str(", 1 other attempt"),
            more => row.run.push_str(&format!(", {more} other attempts")),
        }
        if machine.failed_later {
            row.run.push_str(", the newest of which failed");
        }
        return row;
    }
    Row {
        anchor: None,
        name: machine.name.clone(),
        class: "bad",
        word: "missing".to_owned(),
        system: String::new(),
        counts: [0; 3],
        run: "no report is about it".to_owned(),
    }
}
