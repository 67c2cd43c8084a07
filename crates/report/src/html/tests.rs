//! The page holds what it promises: nothing hostile gets through, nothing is asked for, and it stays
//! small.

use super::*;
use crate::testing::{change, finding, report};
use crate::{Fleet, Moment, Outcome, Regions, Severity};

const HOSTILE: &str =
    "</style><script>alert(1)</script>\"'><img onerror=x>\u{202e}\0\u{1b}[2J&amp;";

fn named(report: Report) -> Vec<(String, Report)> {
    vec![("web1.json".to_owned(), report)]
}

/// What a browser would run or fetch.
fn assert_asks_for_nothing(page: &str) {
    let lower = page.to_ascii_lowercase();
    for bad in [
        "http:",
        "https:",
        "src=",
        "url(",
        "<script",
        "<link",
        "@import",
        "<iframe",
        "<img",
        "<object",
        "javascript:",
        " onload",
        " onerror=",
    ] {
        assert!(!lower.contains(bad), "the page contains {bad}");
    }
}

/// The report, with each of its strings replaced.
fn all_hostile(report: &Report) -> Report {
    fn replace(value: &mut serde_json::Value, key: &str) {
        /// What has few values, or is refused.
        const FIXED: [&str; 12] = [
            "apiVersion",
            "kind",
            "started",
            "ended",
            "result",
            "severity",
            "changedSince",
            "command",
            "architecture",
            "firmware",
            "format",
            "rule",
        ];
        match value {
            serde_json::Value::String(text) if !FIXED.contains(&key) => *text = HOSTILE.to_owned(),
            serde_json::Value::Array(items) => items.iter_mut().for_each(|it| replace(it, key)),
            serde_json::Value::Object(fields) => {
                fields.iter_mut().for_each(|(key, it)| replace(it, key));
            }
            _ => {}
        }
    }
    let mut value = serde_json::to_value(report).unwrap();
    replace(&mut value, "");
    serde_json::from_value(value).unwrap()
}

#[test]
fn a_page_says_what_matters_and_asks_for_nothing() {
    let page = page(&named(report()));
    for expected in [
        "<h1 class=\"name\">2 machines</h1>",
        "href=\"#m1\"",
        "id=\"m2\"",
        "Needs attention first",
        "boot mode does not fit",
        "To check by hand",
        "Name file systems and swap in /etc/fstab by UUID",
        "<ins>+UUID=1 /",
        "Regions of the disks",
        "Changed by the conversion",
        "snap-0123456789abcdef0",
        "web1 login:",
        "no operating system was found",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    assert_asks_for_nothing(&page);
}

#[test]
fn nothing_that_a_guest_says_becomes_markup() {
    let hostile = all_hostile(&report());
    let file = HOSTILE.to_owned();
    let pages = [
        page(&[(file.clone(), hostile.clone())]),
        fleet_page(&Fleet::merge(
            vec![(file, hostile)],
            Some(&[HOSTILE.to_owned()]),
        )),
    ];
    for page in pages {
        assert!(page.matches("alert(1)").count() > 20);
        for bad in ["<script", "<img", "\u{202e}", "\0", "\u{1b}"] {
            assert!(!page.contains(bad), "{bad:?} got through");
        }
        // The one end of the one style sheet.
        assert_eq!(page.matches("</style>").count(), 1);
    }
}

#[test]
fn a_page_of_a_large_report_stays_small_and_says_where_the_rest_is() {
    let mut report = report();
    let machine = &mut report.machines[0];
    let mut diff = String::new();
    for number in 0..2000 {
        diff.push_str(&format!("+line {number} of a long file\n"));
    }
    machine.changes = (0..1100)
        .map(|number| change(&format!("/etc/{number}"), "fstab-by-uuid", &diff))
        .collect();
    machine.findings = (0..100_000)
        .map(|number| finding(Severity::Warning, "inspect", &format!("finding {number}")))
        .collect();
    let mut regions = Regions::of("big", 16 << 40);
    for at in (0..16_u64 << 40).step_by(7 << 30) {
        regions.data(at..at + (1 << 29));
        regions.changed(at..at + 4096);
        regions.uploaded(at..at + (1 << 20));
    }
    machine.regions = vec![regions.finish(); 30];
    machine.derive_checks();
    let page = page(&named(report));
    assert!(page.len() < 6 << 20, "{} bytes", page.len());
    for expected in [
        "99895 more findings are in <code>web1.json</code>",
        "100 more changes are in",
        "more lines of the diff are in <code>web1.json</code>",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
}

#[test]
fn two_hundred_changes_with_diffs_are_all_there() {
    let mut report = report();
    let diff = "-a line that is there\n+a line that was there\n".repeat(40);
    report.machines[0].changes = (0..200)
        .map(|number| change(&format!("/etc/file-{number}"), "fstab-by-uuid", &diff))
        .collect();
    let page = page(&named(report));
    assert!((0..200).all(|number| page.contains(&format!("/etc/file-{number}<"))));
    assert_eq!(page.matches("<pre class=\"diff\">").count(), 200);
    assert!(!page.contains("more lines of the diff"));
    assert!(page.len() < 2 << 20, "{} bytes", page.len());
}

#[test]
fn a_page_of_many_machines_shows_all_in_its_table_and_stays_small() {
    let mut report = report();
    let diff = "+a line of some length that fills the page\n".repeat(200);
    report.machines[0].changes = vec![change("/etc/fstab", "fstab-by-uuid", &diff); 50];
    let one = report.machines[0].clone();
    report.machines = (0..1000)
        .map(|number| Machine {
            name: format!("machine-{number}"),
            ..one.clone()
        })
        .collect();
    let page = page(&named(report));
    assert!((0..1000).all(|number| page.contains(&format!("#m{}\"", number + 1))));
    assert!(page.contains("The details are left out"));
    assert!(page.len() < 8 << 20, "{} bytes", page.len());
}

#[test]
fn a_long_line_is_cut() {
    let mut report = report();
    let line = format!("+{}\n", "x".repeat(10_000));
    report.machines[0].changes = vec![change("/etc/a", "fstab-by-uuid", &line)];
    report.machines[0].name = "y".repeat(5000);
    let page = page(&named(report));
    assert!(page.contains("9401 more letters"));
    assert!(!page.contains(&"x".repeat(700)));
}

#[test]
fn an_empty_report_is_a_page_too() {
    let mut run = Run::begin("convert", Moment(7));
    run.fail([HOSTILE]);
    let report = Report::new(run, Vec::new());
    assert_eq!(report.run.result, Outcome::Failed);
    let page = page(&named(report));
    assert!(page.contains("Runs that failed before any machine"));
    assert!(page.contains("alert(1)") && !page.contains("<script"));
    assert!(super::page(&[]).contains("0 machines"));
}

#[test]
fn a_fleet_page_names_what_failed_and_what_is_missing() {
    let fleet = Fleet::merge(named(report()), Some(&["web9".to_owned()]));
    let page = fleet_page(&fleet);
    for expected in [
        "3 machines",
        "not all well",
        "web9",
        "no report is about it",
        "db1 was not converted: no operating system was found (web1.json)",
        "href=\"#m2\"",
    ] {
        assert!(page.contains(expected), "{expected}");
    }
    assert_asks_for_nothing(&page);
}
