//! Machines of the RHEL family, from inspection to a conversion that needs no second one.
//!
//! `fixtures/phony-guests/make` makes a disk from each description there, and NAME.expected beside it
//! says what is to be found and what is to become of it. The parts of that file:
//!
//! ```text
//! [facts]          what inspection says, one fact a line
//! [refused]        why it cannot become a Nitro instance; it is converted for Xen then
//! [changes]        each object that is changed (+ new, - gone, ~ else) and the rules that asked for it
//! [findings]       each finding: severity, rule, text
//! [lines PATH]     lines that the file has after the conversion
//! [no lines PATH]  beginnings of lines that it has no longer
//! ```
//!
//! All but the lines are compared as a whole. Where they differ on purpose, `REHOST_WRITE_EXPECTED=1`
//! writes them anew; the difference is to be read then.
//!
//! It needs root for SELinux labels and XFS; without, the tests say so and pass.

#[path = "../../guest/tests/support/mod.rs"]
mod support;

use convert::{After, Change, Options, State, Target, convert, plan};
use guest::{Facts, Guest, GuestPath, Machine, SourceDisk, inspect};
use std::error::Error;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::raw_image;

/// What a description is expected to give.
#[derive(Debug, Default)]
struct Expected {
    /// The parts that are compared as a whole.
    said: String,
    /// Path, line, and whether the file has it after the conversion.
    lines: Vec<(String, String, bool)>,
}

impl Expected {
    fn parse(text: &str) -> Self {
        let mut expected = Self::default();
        let mut file: Option<(String, bool)> = None;
        for line in text.lines() {
            let section = line
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'));
            if let Some(section) = section {
                let without = section.strip_prefix("no lines ").map(|path| (path, false));
                let with = section.strip_prefix("lines ").map(|path| (path, true));
                file = without.or(with).map(|(path, has)| (path.to_owned(), has));
            }
            match &file {
                None => expected.said += &format!("{line}\n"),
                Some(_) if section.is_some() || line.is_empty() => {}
                Some((path, has)) => expected.lines.push((path.clone(), line.to_owned(), *has)),
            }
        }
        expected
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/phony-guests")
}

/// Makes the disk of a description; none where this process may not.
fn make(name: &str, dir: &Path) -> Option<PathBuf> {
    let id = Command::new("id").arg("-u").output().unwrap();
    if id.stdout != b"0\n" {
        println!("skipped: labels and XFS need root");
        return None;
    }
    let disk = dir.join(format!("{name}.img"));
    let made = Command::new(fixtures().join("make"))
        .arg(name)
        .arg(&disk)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(made.status.success(), "{name}: {said}");
    Some(disk)
}

fn open(name: &str, disk: &Path) -> Machine {
    let device = raw_image(disk);
    let name = name.to_owned();
    Machine::open(vec![SourceDisk { name, device }]).unwrap()
}

/// What is the same on every run and fits on lines.
fn tell(facts: &Facts) -> String {
    let mut said = String::new();
    let mut line = |name: &str, value: String| writeln!(said, "{name}: {value}").unwrap();
    line(
        "os",
        format!("{:?} {}", facts.os.family, facts.os.pretty_name),
    );
    line("hostname", facts.hostname.clone().unwrap_or_default());
    line("firmware", format!("{:?}", facts.firmware));
    line("packages", format!("{}", facts.packages.count));
    for volume in &facts.volumes {
        if let Some(at) = &volume.mounted_at {
            line("mounted", format!("{at} is {}", volume.id));
        }
    }
    for kernel in &facts.kernels {
        let initramfs = kernel.initramfs.as_ref();
        let initramfs = initramfs.map_or("none".to_owned(), ToString::to_string);
        line("kernel", format!("{} with {initramfs}", kernel.version));
    }
    for (index, entry) in facts.boot.entries.iter().enumerate() {
        let default = if facts.boot.default == Some(index) {
            "default entry"
        } else {
            "entry"
        };
        line(default, format!("{} ({})", entry.title, entry.file));
    }
    for tool in &facts.source_tools {
        line("source tool", format!("{tool:?}"));
    }
    for finding in &facts.findings {
        line("finding", finding.clone());
    }
    said
}

fn check(name: &str) {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = make(name, dir.path()) else {
        return;
    };
    let machine = open(name, &disk);
    let roots = machine.roots().unwrap();
    assert_eq!(roots.len(), 1, "{name}: {roots:?}");
    let root = &roots[0].volume;
    let mut options = Options::default();
    let mut refused = String::new();
    let converted = convert(&machine, root, &options, None).unwrap_or_else(|error| {
        let why = error.source().map(ToString::to_string);
        refused = format!("[refused]\n{}\n\n", why.unwrap_or(error.to_string()));
        options.target = Target::Xen;
        convert(&machine, root, &options, None).unwrap()
    });

    let mut said = format!("[facts]\n{}\n{refused}[changes]\n", tell(&converted.facts));
    for change in &converted.plan.changes {
        if change.path.to_string().starts_with("/var/lib/rehost") {
            continue;
        }
        let how = match (&change.before, &change.after) {
            (_, After::Absent) => '-',
            (State::Absent, _) => '+',
            _ => '~',
        };
        let mut rules: Vec<_> = change
            .because
            .iter()
            .map(|because| because.rule.as_str())
            .collect();
        rules.dedup();
        writeln!(said, "{how} {}: {}", change.path, rules.join(", ")).unwrap();
    }
    said += "\n[findings]\n";
    for finding in &converted.plan.findings {
        writeln!(
            said,
            "{:?} {}: {}",
            finding.severity, finding.rule, finding.text
        )
        .unwrap();
    }
    said.push('\n');

    let path = fixtures().join(format!("{name}.expected"));
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let expected = Expected::parse(&text);
    if std::env::var_os("REHOST_WRITE_EXPECTED").is_some() {
        let starts = ["[lines ", "[no lines "].map(|start| text.find(start));
        let start = starts.into_iter().flatten().min();
        let rest = start.map_or("", |start| &text[start..]);
        std::fs::write(&path, format!("{said}{rest}")).unwrap();
        println!("{}", converted.plan.render(true));
    } else {
        let differences = similar::TextDiff::from_lines(&expected.said, &said);
        assert!(
            expected.said == said,
            "{name}:\n{}",
            differences.unified_diff()
        );
    }

    let guest = Guest::open(&machine, root).unwrap();
    for (path, line, has) in &expected.lines {
        let content = guest.read(&path.as_str().into(), 1 << 20).unwrap();
        let content = content.unwrap_or_else(|| panic!("{name}: no {path}"));
        let content = String::from_utf8_lossy(&content).into_owned();
        let found = match has {
            true => content.lines().any(|found| found == line),
            false => content
                .lines()
                .any(|found| found.starts_with(line.as_str())),
        };
        assert_eq!(found, *has, "{name}: {line:?} in {path}:\n{content}");
    }
    let labelled = check_labels(name, &disk, &guest, &converted.plan.changes);
    println!("{name}: {labelled} labels are right");
    let facts = inspect(&machine, &guest).unwrap();
    let again = plan(&guest, &facts, &options).unwrap();
    assert!(again.is_empty(), "{name}: {}", again.render(true));
}

/// Whether everything that was changed has the label that libselinux gives it where it is new, and
/// else the one that it had. Says how many there are: none without a policy in the guest, or without
/// libselinux's program.
fn check_labels(name: &str, disk: &Path, guest: &Guest, changes: &[Change]) -> usize {
    const POLICY: &str = "/etc/selinux/targeted/contexts/files/file_contexts";
    let dir = tempfile::tempdir().unwrap();
    let policy = dir.path().join("file_contexts");
    for suffix in ["", ".homedirs", ".local", ".subs_dist", ".subs"] {
        let path = format!("{POLICY}{suffix}");
        if let Some(content) = guest.read(&path.as_str().into(), 1 << 20).unwrap() {
            std::fs::write(dir.path().join(format!("file_contexts{suffix}")), content).unwrap();
        }
    }
    if !policy.exists() || Command::new("matchpathcon").output().is_err() {
        return 0;
    }
    let machine = open(name, disk);
    let before = Guest::open(&machine, &machine.roots().unwrap()[0].volume).unwrap();
    let label = |guest: &Guest, path: &GuestPath| {
        let attributes = guest.xattrs(path).unwrap();
        let mut labels = attributes
            .into_iter()
            .filter(|it| it.name == b"security.selinux");
        let label = labels.next().map(|it| String::from_utf8(it.value).unwrap());
        label.map(|label| label.trim_end_matches('\0').to_owned())
    };
    let mut labelled = 0;
    for change in changes {
        let kind = match &change.after {
            After::Absent => continue,
            After::File { .. } => "file",
            After::Dir { .. } => "dir",
            After::Symlink { .. } => "lnk_file",
        };
        let path = &change.path;
        // The firmware's volume has no labels.
        if path.to_string().starts_with("/boot/efi/") {
            continue;
        }
        let found = label(guest, path);
        let mut matchpathcon = Command::new("matchpathcon");
        matchpathcon.args(["-n", "-m", kind, "-f"]).arg(&policy);
        let theirs = matchpathcon.arg(path.to_string()).output().unwrap();
        let theirs = String::from_utf8(theirs.stdout).unwrap();
        let wanted = match (&change.before, theirs.trim()) {
            (State::File { .. } | State::Dir { .. }, _) => label(&before, path),
            (_, "<<none>>") => None,
            (_, theirs) => Some(theirs.to_owned()),
        };
        assert_eq!(found, wanted, "{name}: label of {path}");
        labelled += usize::from(found.is_some());
    }
    assert!(labelled > 0, "{name}: nothing has a label");
    labelled
}

/// Machines that differ from others in little more than names are looked at with `REHOST_LONG=1`.
fn check_if_long(name: &str) {
    if std::env::var_os("REHOST_LONG").is_some() {
        check(name);
    } else {
        println!("skipped: {name} is looked at with REHOST_LONG=1");
    }
}

macro_rules! machines {
    ($check:ident: $($test:ident: $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                $check($name);
            }
        )*
    };
}

machines! { check:
    rhel_5_boots_on_xen_alone: "rhel5",
    rhel_6_boots_on_xen_alone: "rhel6",
    rhel_6_1_has_no_nvme: "rhel6-early",
    rhel_7: "rhel7",
    rhel_8_keeps_options_in_grubenv: "rhel8",
    oracle_8_starts_its_own_kernel: "ol8",
    rhel_9: "rhel9",
    rhel_10: "rhel10",
    amazon_2: "amzn2",
    amazon_2023: "amzn2023",
}

machines! { check_if_long:
    centos_7: "centos7",
    alma_8: "alma8",
    rocky_9: "rocky9",
}
