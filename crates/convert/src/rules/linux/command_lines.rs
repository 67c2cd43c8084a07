//! Everywhere a guest keeps kernel command lines: what its boot loader reads, and what the next
//! `update-grub` or kernel installation makes that from. Both are edited alike, so that the
//! guest's own tools come to the same result.

use crate::{Draft, Error, Severity};
use guest::GuestPath;
use guest::assignment::Assignments;
use guest::boot::{CommandLine, Grub, GrubCfg, GrubEnv, GrubLegacy, LoaderEntry};

/// Variables of `/etc/default/grub` that become part of command lines.
const VARIABLES: [&str; 3] = [
    "GRUB_CMDLINE_LINUX",
    "GRUB_CMDLINE_LINUX_DEFAULT",
    "GRUB_CMDLINE_LINUX_RECOVERY",
];
/// The variable that becomes part of all of them.
const FOR_ALL: &str = "GRUB_CMDLINE_LINUX";

/// A change of command lines.
pub(super) struct Edit<'e> {
    /// Why, for the plan.
    pub(super) why: &'e str,
    /// Changes words where they stand.
    pub(super) replace: &'e dyn Fn(&mut CommandLine),
    /// The words that a line must have at its end: given the line and the name of its kernel,
    /// which is none where the line is for all kernels.
    pub(super) add: &'e dyn Fn(&CommandLine, Option<&str>) -> Vec<String>,
}

/// Edits all command lines.
pub(super) fn edit(draft: &mut Draft<'_>, edit: &Edit<'_>) -> Result<(), Error> {
    let grubs: Vec<Grub> = draft.facts().boot.grubs().cloned().collect();
    for grub in &grubs {
        grub_cfg(draft, grub, edit)?;
        grubenv(draft, grub, edit)?;
    }
    legacy(draft, edit)?;
    loader_entries(draft, edit)?;
    kernel_cmdline(draft, edit)?;
    defaults(draft, edit)
}

impl Edit<'_> {
    fn apply(&self, line: &mut CommandLine, kernel: Option<&str>) {
        (self.replace)(line);
        // A line that takes its words from the environment block gets them there.
        if line.words().any(|word| is_reference(&word, "kernelopts")) {
            return;
        }
        for word in (self.add)(line, kernel) {
            line.push(&word);
        }
    }
}

fn is_reference(word: &str, variable: &str) -> bool {
    word.strip_prefix('$')
        .map(|rest| rest.trim_start_matches('{').trim_end_matches('}'))
        == Some(variable)
}

fn grub_cfg(draft: &mut Draft<'_>, grub: &Grub, edit: &Edit<'_>) -> Result<(), Error> {
    let path = &grub.config;
    let Some(bytes) = draft.read(path)? else {
        return Ok(());
    };
    let mut cfg = GrubCfg::parse(&bytes);
    let lines = cfg.edit_kernels(|kernel, line| {
        if !kernel.contains("memtest") {
            edit.apply(line, Some(kernel));
        }
    });
    let for_all = cfg.edit_kernel_options(|line| edit.apply(line, None));
    if lines > 0 || for_all > 0 {
        draft.write(path, cfg.render(), edit.why)?;
    }
    Ok(())
}

/// Red Hat 8 keeps the words of all entries in `kernelopts`.
fn grubenv(draft: &mut Draft<'_>, grub: &Grub, edit: &Edit<'_>) -> Result<(), Error> {
    let Some(path) = &grub.environment else {
        return Ok(());
    };
    let Some(mut environment) = draft
        .read(path)?
        .and_then(|bytes| GrubEnv::parse(&bytes).ok())
    else {
        return Ok(());
    };
    let Some(old) = environment.value("kernelopts") else {
        return Ok(());
    };
    let mut line = CommandLine::parse(&old);
    edit.apply(&mut line, None);
    let new = line.render();
    if new == old {
        return Ok(());
    }
    match environment.set("kernelopts", &new) {
        Ok(()) => draft.write(path, environment.render(), edit.why),
        Err(error) => {
            draft.find(
                Severity::Problem,
                format!("{path}: kernelopts cannot become {new:?}: {error}"),
            );
            Ok(())
        }
    }
}

fn legacy(draft: &mut Draft<'_>, edit: &Edit<'_>) -> Result<(), Error> {
    let legacy = draft.facts().boot.legacy.as_ref();
    let Some(path) = legacy.map(|legacy| legacy.menu.clone()) else {
        return Ok(());
    };
    let Some(bytes) = draft.read(&path)? else {
        return Ok(());
    };
    let mut menu = GrubLegacy::parse(&bytes);
    if menu.edit_kernels(|kernel, line| edit.apply(line, kernel)) > 0 {
        draft.write(&path, menu.render(), edit.why)?;
    }
    Ok(())
}

fn loader_entries(draft: &mut Draft<'_>, edit: &Edit<'_>) -> Result<(), Error> {
    let entries = draft.facts().boot.entries.iter();
    let files: Vec<(GuestPath, String)> = entries
        .filter(|entry| entry.file.has_suffix(".conf"))
        .map(|entry| (entry.file.clone(), entry.kernel.clone()))
        .collect();
    for (path, kernel) in files {
        let Some(bytes) = draft.read(&path)? else {
            continue;
        };
        let mut entry = LoaderEntry::parse(&bytes);
        let whole = CommandLine::parse(&entry.options());
        let changed = entry.edit_options(|line, first| {
            (edit.replace)(line);
            let elsewhere = whole.words().any(|word| is_reference(&word, "kernelopts"));
            if first && !elsewhere {
                for word in (edit.add)(&whole, Some(&kernel)) {
                    line.push(&word);
                }
            }
        });
        if changed {
            draft.write(&path, entry.render(), edit.why)?;
        }
    }
    Ok(())
}

/// `/etc/kernel/cmdline` is one command line.
fn kernel_cmdline(draft: &mut Draft<'_>, edit: &Edit<'_>) -> Result<(), Error> {
    for path in draft.facts().boot.kernel_cmdline.clone() {
        let Some(text) = draft.read_text(&path)? else {
            continue;
        };
        let mut line = CommandLine::parse(&text);
        edit.apply(&mut line, None);
        let new = line.render();
        if new != text {
            draft.write(&path, new, edit.why)?;
        }
    }
    Ok(())
}

/// The files that `grub-mkconfig` reads, in its order.
pub(super) fn read_defaults(draft: &Draft<'_>) -> Result<Vec<(GuestPath, Assignments)>, Error> {
    let grub = draft.facts().boot.grub.as_ref();
    let paths = grub.map(|grub| grub.defaults.clone()).unwrap_or_default();
    let mut files = Vec::new();
    for path in paths {
        if let Some(bytes) = draft.read(&path)? {
            files.push((path, Assignments::parse(&bytes)));
        }
    }
    Ok(files)
}

/// Writes the files that differ from what the draft holds.
pub(super) fn write_defaults(
    draft: &mut Draft<'_>,
    files: Vec<(GuestPath, Assignments)>,
    why: &str,
) -> Result<(), Error> {
    for (path, file) in files {
        let new = file.render();
        if draft.read(&path)?.as_ref() != Some(&new) {
            draft.write(&path, new, why)?;
        }
    }
    Ok(())
}

fn defaults(draft: &mut Draft<'_>, edit: &Edit<'_>) -> Result<(), Error> {
    let mut files = read_defaults(draft)?;
    let mut texts: Vec<&mut Assignments> = files.iter_mut().map(|(_, file)| file).collect();
    edit_defaults(&mut texts, edit);
    write_defaults(draft, files, edit.why)
}

fn edit_defaults(files: &mut [&mut Assignments], edit: &Edit<'_>) {
    for file in files.iter_mut() {
        for assignment in file.iter_mut() {
            if !VARIABLES.contains(&assignment.name()) {
                continue;
            }
            let Some(old) = assignment.written().map(str::to_owned) else {
                continue;
            };
            let mut line = CommandLine::parse(&old);
            (edit.replace)(&mut line);
            let new = line.render();
            if new != old {
                assignment.write(&new);
            }
        }
    }
    let effective = [FOR_ALL, "GRUB_CMDLINE_LINUX_DEFAULT"]
        .map(|name| effective(files, name))
        .join(" ");
    let words = (edit.add)(&CommandLine::parse(&effective), None);
    if words.is_empty() || files.is_empty() {
        return;
    }
    let last = files
        .iter()
        .rposition(|file| file.iter().any(|assignment| assignment.name() == FOR_ALL));
    let file = &mut files[last.unwrap_or(0)];
    let target = file
        .iter_mut()
        .rfind(|assignment| assignment.name() == FOR_ALL);
    let Some(target) = target else {
        file.append_line(&format!("{FOR_ALL}=\"{}\"\n", words.join(" ")));
        return;
    };
    match target.written().map(CommandLine::parse) {
        Some(mut line) => {
            for word in &words {
                line.push(word);
            }
            let text = line.render();
            target.write(&text);
        }
        None => file.append_line(&format!("{FOR_ALL}=\"${FOR_ALL} {}\"\n", words.join(" "))),
    }
}

/// What a variable is after all files were read: its last value, and the ones before it as far as
/// that builds on them.
fn effective(files: &[&mut Assignments], name: &str) -> String {
    let assignments = files.iter().flat_map(|file| file.iter());
    let mut value = String::new();
    for assignment in assignments.filter(|assignment| assignment.name() == name) {
        let own = assignment.value();
        let builds = assignment.appends()
            || own.contains(&format!("${name}"))
            || own.contains(&format!("${{{name}}}"));
        if !builds {
            value.clear();
        }
        value.push(' ');
        value.push_str(&own);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(texts: &[&str]) -> Vec<String> {
        let mut files: Vec<Assignments> = texts
            .iter()
            .map(|text| Assignments::parse(text.as_bytes()))
            .collect();
        let edit = Edit {
            why: "",
            replace: &|line| {
                line.replace("root", |_| Some("UUID=1".into()));
            },
            add: &|line, _| {
                let there = line.words().any(|word| word == "new");
                if there {
                    Vec::new()
                } else {
                    vec!["new".into()]
                }
            },
        };
        let mut all: Vec<&mut Assignments> = files.iter_mut().collect();
        edit_defaults(&mut all, &edit);
        let text = |file: &Assignments| String::from_utf8(file.render()).unwrap();
        files.iter().map(text).collect()
    }

    #[test]
    fn words_go_to_the_last_assignment_that_counts() {
        let one = "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"root=/dev/sda1\"\n";
        assert_eq!(
            edited(&[one]),
            ["GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"root=UUID=1 new\"\n"]
        );
        assert_eq!(
            edited(&["GRUB_CMDLINE_LINUX=\"a\"\n", "GRUB_CMDLINE_LINUX=b\n"]),
            [
                "GRUB_CMDLINE_LINUX=\"a\"\n",
                "GRUB_CMDLINE_LINUX=\"b new\"\n"
            ]
        );
        assert_eq!(
            edited(&["GRUB_TIMEOUT=1", "X=1\n"]),
            ["GRUB_TIMEOUT=1\nGRUB_CMDLINE_LINUX=\"new\"\n", "X=1\n"]
        );
    }

    #[test]
    fn words_that_are_there_are_not_added_again() {
        for texts in [
            [
                "GRUB_CMDLINE_LINUX=new\n",
                "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX x\"\n",
            ],
            [
                "GRUB_CMDLINE_LINUX=\n",
                "GRUB_CMDLINE_LINUX_DEFAULT=\"a new\"\n",
            ],
        ] {
            assert_eq!(edited(&texts), texts);
        }
        let overridden = ["GRUB_CMDLINE_LINUX=new\n", "GRUB_CMDLINE_LINUX=x\n"];
        assert_eq!(edited(&overridden)[1], "GRUB_CMDLINE_LINUX=\"x new\"\n");
    }

    #[test]
    fn a_value_in_pieces_is_followed_by_another_assignment() {
        assert_eq!(
            edited(&["GRUB_CMDLINE_LINUX=a\"b\"\n"]),
            ["GRUB_CMDLINE_LINUX=a\"b\"\nGRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX new\"\n"]
        );
    }
}
