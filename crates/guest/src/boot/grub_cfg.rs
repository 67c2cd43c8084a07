//! GRUB 2's generated configuration, `grub.cfg`.
//!
//! The script is not run. Commands are recognised line by line (a `\` at the end of a line joins
//! the next one to it), menu entries by the braces around them. Source: GRUB manual, sections
//! "Writing full configuration files directly" and "menuentry".

mod variables;

use super::command_line::{CommandLine, plain};

/// Submenus inside each other that are followed. `grub-mkconfig` makes one level.
const MAX_DEPTH: usize = 8;

/// A `grub.cfg`, losslessly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GrubCfg {
    /// Lines with their ends; joined lines are one.
    lines: Vec<Line>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Line {
    raw: Vec<u8>,
    /// Number of the first physical line, from 1.
    number: usize,
}

/// A menu entry or a submenu.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MenuEntry {
    /// Title and identifier of every submenu around it from the outermost on, then its own.
    pub path: Vec<MenuName>,
    /// The kernel that it starts; none for submenus and entries that start something else.
    pub kernel: Option<KernelLine>,
    /// What its `initrd` commands load.
    pub initrds: Vec<String>,
    /// Whether it is a submenu.
    pub submenu: bool,
}

/// How an entry is chosen among those beside it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MenuName {
    /// Its position, from 0.
    pub index: usize,
    /// Its title.
    pub title: String,
    /// Its `--id`.
    pub id: Option<String>,
}

/// A command that loads a Linux kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KernelLine {
    /// Line number in the file, from 1.
    pub line: usize,
    /// The kernel, as GRUB names it.
    pub kernel: String,
    /// The command line.
    pub arguments: String,
}

impl GrubCfg {
    /// Reads a file; whatever bytes it holds, it can be read.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut lines: Vec<Line> = Vec::new();
        for (index, raw) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
            match lines.last_mut() {
                Some(open) if is_open(&open.raw) => open.raw.extend_from_slice(raw),
                _ => lines.push(Line {
                    raw: raw.to_vec(),
                    number: index.saturating_add(1),
                }),
            }
        }
        Self { lines }
    }

    /// The file's bytes.
    pub fn render(&self) -> Vec<u8> {
        self.lines
            .iter()
            .flat_map(|line| line.raw.iter().copied())
            .collect()
    }

    /// All entries and submenus, in order.
    pub fn entries(&self) -> Vec<MenuEntry> {
        let mut entries: Vec<MenuEntry> = Vec::new();
        // Open braces: the entry that each belongs to, none for functions and other blocks.
        let mut open: Vec<Option<usize>> = Vec::new();
        // Entries met so far at each level of the innermost open submenu.
        let mut met = vec![0usize];
        for line in &self.lines {
            let words = line.words();
            let innermost = open.iter().rev().find_map(|block| *block);
            match words.first().map(String::as_str) {
                Some(command @ ("menuentry" | "submenu")) if met.len() <= MAX_DEPTH => {
                    let mut path =
                        innermost.map_or_else(Vec::new, |around| entries[around].path.clone());
                    met.truncate(path.len().saturating_add(1));
                    let index = met.last_mut().map_or(0, |count| {
                        *count = count.saturating_add(1);
                        count.saturating_sub(1)
                    });
                    path.push(name(index, &words));
                    met.push(0);
                    if words.last().is_none_or(|word| word != "}") {
                        open.push(Some(entries.len()));
                    }
                    entries.push(MenuEntry {
                        path,
                        kernel: None,
                        initrds: Vec::new(),
                        submenu: command == "submenu",
                    });
                }
                Some("}") => {
                    if let Some(Some(closed)) = open.pop() {
                        met.truncate(entries[closed].path.len());
                    }
                }
                Some(command) => {
                    let entry = innermost.and_then(|entry| entries.get_mut(entry));
                    if let Some(entry) = entry {
                        if let Some(kernel) = line.kernel() {
                            entry.kernel.get_or_insert(kernel);
                        } else if is_initrd(command) {
                            entry.initrds.extend(words.iter().skip(1).cloned());
                        }
                    }
                    if words.last().is_some_and(|word| word == "{") {
                        open.push(None);
                    }
                }
                None => {}
            }
        }
        entries
    }

    /// What `set default=` says: the last value that is not taken from a variable other than
    /// `saved_entry`.
    pub fn default(&self) -> Option<String> {
        let mut values = self.lines.iter().filter_map(|line| {
            let words = line.words();
            let [first, second] = &words[..] else {
                return None;
            };
            let value = second.strip_prefix("default=")?;
            (first == "set").then(|| value.to_owned())
        });
        values.rfind(|value| !value.contains('$') || value.contains("saved_entry"))
    }

    /// Whether entries are taken from `/boot/loader/entries`.
    pub fn blscfg(&self) -> bool {
        self.lines.iter().any(Line::is_blscfg)
    }

    /// How many entries of the menu stand before those from `/boot/loader/entries`; none where no
    /// entries are taken from there.
    pub fn entries_before_blscfg(&self) -> Option<usize> {
        let at = self.lines.iter().position(Line::is_blscfg)?;
        let before = Self {
            lines: self.lines.iter().take(at).cloned().collect(),
        };
        let entries = before.entries();
        Some(entries.iter().filter(|entry| entry.path.len() == 1).count())
    }

    /// Whether it has no entries of its own and leads to another configuration, as what lies on the
    /// EFI system partition often does.
    pub fn is_stub(&self) -> bool {
        let leads = |line: &Line| {
            line.words()
                .iter()
                .any(|word| word == "configfile" || word == "normal")
        };
        self.entries().is_empty() && !self.blscfg() && self.lines.iter().any(leads)
    }

    /// The word lists of all lines whose first word is `command`.
    pub fn commands(&self, command: &str) -> Vec<Vec<String>> {
        self.lines
            .iter()
            .map(Line::words)
            .filter(|words| words.first().is_some_and(|word| word == command))
            .collect()
    }

    /// All commands that load a Linux kernel, in entries and outside of them.
    pub fn kernels(&self) -> Vec<KernelLine> {
        self.lines.iter().filter_map(Line::kernel).collect()
    }

    /// Lets `change` edit the command line of every Linux kernel, given the kernel's name, and
    /// returns how many lines changed.
    pub fn edit_kernels(&mut self, change: impl Fn(&str, &mut CommandLine)) -> usize {
        let mut changed = 0usize;
        for line in &mut self.lines {
            let Some((head, kernel, arguments, end)) = line.parts() else {
                continue;
            };
            let mut command_line = CommandLine::parse(arguments);
            change(&plain(kernel), &mut command_line);
            let new = command_line.render();
            if new != arguments {
                let gap = if new.is_empty() || new.starts_with([' ', '\t']) {
                    ""
                } else {
                    " "
                };
                line.raw = format!("{head}{kernel}{gap}{new}{end}").into_bytes();
                changed = changed.saturating_add(1);
            }
        }
        changed
    }

    /// Replaces every line whose words `change` answers with other text, line end included.
    pub fn edit_lines(&mut self, change: impl Fn(&[String]) -> Option<String>) -> usize {
        let mut changed = 0usize;
        for line in &mut self.lines {
            if let Some(text) = change(&line.words()) {
                let blank = |byte: &&u8| matches!(byte, b' ' | b'\t');
                let indent: Vec<u8> = line.raw.iter().take_while(blank).copied().collect();
                let mut raw = Vec::new();
                for part in text.split_inclusive('\n') {
                    raw.extend_from_slice(&indent);
                    raw.extend_from_slice(part.as_bytes());
                }
                if raw != line.raw {
                    line.raw = raw;
                    changed = changed.saturating_add(1);
                }
            }
        }
        changed
    }

    /// Puts text, line end included, before the first line for which `at` says so, else at the
    /// start of the file.
    pub fn insert_before(&mut self, text: &str, at: impl Fn(&[String]) -> bool) {
        let index = self.lines.iter().position(|line| at(&line.words()));
        let raw = text.as_bytes().to_vec();
        self.lines
            .insert(index.unwrap_or(0), Line { raw, number: 0 });
        *self = Self::parse(&self.render());
    }
}

impl Line {
    fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.raw).ok()
    }

    /// Words without quotes; none of a comment, and none where the line is no UTF-8.
    fn words(&self) -> Vec<String> {
        let text = self.text().unwrap_or_default();
        if text.trim_start().starts_with('#') {
            return Vec::new();
        }
        CommandLine::parse(&text.replace("\\\n", ""))
            .words()
            .collect()
    }

    fn is_blscfg(&self) -> bool {
        let words = self.words();
        let first = words.first().map(String::as_str);
        matches!(first, Some("blscfg" | "bls_import"))
    }

    fn kernel(&self) -> Option<KernelLine> {
        let (_, kernel, arguments, _) = self.parts()?;
        Some(KernelLine {
            line: self.number,
            kernel: plain(kernel),
            arguments: arguments.replace("\\\n", "").trim().to_owned(),
        })
    }

    /// A kernel line in four parts: up to the kernel, the kernel, the arguments with the blanks
    /// before them, the line end.
    fn parts(&self) -> Option<(&str, &str, &str, &str)> {
        let text = self.text()?;
        let body = text.trim_end_matches(['\r', '\n']);
        let end = &text[body.len()..];
        let blanks = |text: &str| text.len() - text.trim_start_matches([' ', '\t']).len();
        let command_start = blanks(body);
        let rest = &body[command_start..];
        let command_length = rest.find([' ', '\t'])?;
        if !is_linux(&rest[..command_length]) {
            return None;
        }
        let gap = blanks(&rest[command_length..]);
        let kernel_start = command_start + command_length + gap;
        let words = CommandLine::parse(&body[kernel_start..]);
        let arguments_start = kernel_start + words.first_written()?.len();
        Some((
            &body[..kernel_start],
            &body[kernel_start..arguments_start],
            &body[arguments_start..],
            end,
        ))
    }
}

fn name(index: usize, words: &[String]) -> MenuName {
    let mut id = None;
    let mut title = None;
    let mut rest = words.iter().skip(1);
    while let Some(word) = rest.next() {
        match word.as_str() {
            "{" => break,
            "--id" | "$menuentry_id_option" | "${menuentry_id_option}" => id = rest.next().cloned(),
            "--class" | "--users" | "--hotkey" | "--source" => drop(rest.next()),
            option if option.starts_with("--id=") => id = option.get(5..).map(str::to_owned),
            option if option.starts_with("--") => {}
            _ => drop(title.get_or_insert_with(|| word.clone())),
        }
    }
    MenuName {
        index,
        title: title.unwrap_or_default(),
        id,
    }
}

fn is_linux(command: &str) -> bool {
    matches!(command, "linux" | "linux16" | "linuxefi")
}

fn is_initrd(command: &str) -> bool {
    matches!(command, "initrd" | "initrd16" | "initrdefi")
}

/// Whether the next line belongs to this one.
fn is_open(raw: &[u8]) -> bool {
    let Some(body) = raw.strip_suffix(b"\n") else {
        return false;
    };
    let comment = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'#');
    let slashes = body.iter().rev().take_while(|byte| **byte == b'\\').count();
    !comment && slashes % 2 == 1
}

/// Which entry a value of `default` chooses: by position, identifier or title, through submenus
/// with `>` between the parts.
pub fn choose<'e>(entries: &'e [MenuEntry], default: &str) -> Option<&'e MenuEntry> {
    // A literal `>` in a title is written twice.
    let protected = default.replace(">>", "\0");
    let parts: Vec<String> = protected
        .split('>')
        .map(|part| part.replace('\0', ">"))
        .collect();
    let chosen = |name: &MenuName, part: &str| {
        name.id.as_deref() == Some(part) || name.title == part || part.parse() == Ok(name.index)
    };
    let found = entries.iter().find(|entry| {
        entry.path.len() == parts.len()
            && entry
                .path
                .iter()
                .zip(&parts)
                .all(|(name, part)| chosen(name, part))
    })?;
    if found.kernel.is_some() || !found.submenu {
        return Some(found);
    }
    // A submenu as default opens and starts its first entry.
    entries
        .iter()
        .find(|entry| !entry.submenu && entry.path.starts_with(&found.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CFG: &str = r#"# generated
if [ "${next_entry}" ] ; then
   set default="${next_entry}"
else
   set default="0"
fi
function load_video {
  insmod all_video
}
menuentry 'Debian' --class debian $menuentry_id_option 'simple-1' {
	load_video
	if [ x$grub_platform = xxen ]; then insmod xzio; fi
	linux	/boot/vmlinuz-6.1 root=/dev/sda2 ro  quiet
	initrd	/boot/ucode.img /boot/initrd.img-6.1
}
submenu 'Advanced' $menuentry_id_option 'advanced-1' {
	menuentry 'Debian 6.1' --id 'six' {
		linux16	/boot/vmlinuz-6.1 root=/dev/sda2 \
			ro
	}
	menuentry "Old > (recovery)" {
		linuxefi "/boot/vm linuz" single
	}
}
menuentry 'Firmware' {
	fwsetup
}
"#;

    #[test]
    fn what_is_not_edited_survives() {
        for text in [
            CFG,
            "",
            "}\n}\n",
            "menuentry {",
            "linux",
            "linux \\\n\\\n",
            "menuentry 'a' { linux /x }",
        ] {
            let cfg = GrubCfg::parse(text.as_bytes());
            assert_eq!(cfg.render(), text.as_bytes());
            cfg.entries();
        }
    }

    #[test]
    fn entries_know_their_place() {
        let entries = GrubCfg::parse(CFG.as_bytes()).entries();
        let place = |entry: &MenuEntry| -> Vec<usize> {
            entry.path.iter().map(|name| name.index).collect()
        };
        let places: Vec<Vec<usize>> = entries.iter().map(place).collect();
        assert_eq!(places, [vec![0], vec![1], vec![1, 0], vec![1, 1], vec![2]]);
        assert_eq!(
            entries[0].initrds,
            ["/boot/ucode.img", "/boot/initrd.img-6.1"]
        );
        let kernel = entries[0].kernel.as_ref().unwrap();
        assert_eq!(
            (kernel.line, kernel.arguments.as_str()),
            (13, "root=/dev/sda2 ro  quiet")
        );
        assert_eq!(entries[3].kernel.as_ref().unwrap().kernel, "/boot/vm linuz");
        assert_eq!(entries[2].path[1].id.as_deref(), Some("six"));
        assert!(entries[4].kernel.is_none());
    }

    #[test]
    fn the_default_is_chosen_by_position_title_or_identifier() {
        let cfg = GrubCfg::parse(CFG.as_bytes());
        assert_eq!(cfg.default().as_deref(), Some("0"));
        let entries = cfg.entries();
        for (default, title) in [
            ("0", Some("Debian")),
            ("1>1", Some("Old > (recovery)")),
            ("advanced-1>six", Some("Debian 6.1")),
            ("Advanced>Old >> (recovery)", Some("Old > (recovery)")),
            ("1", Some("Debian 6.1")),
            ("Firmware", Some("Firmware")),
            ("7", None),
        ] {
            let chosen = choose(&entries, default);
            let chosen = chosen.and_then(|entry| entry.path.last());
            assert_eq!(chosen.map(|name| name.title.as_str()), title, "{default}");
        }
    }

    #[test]
    fn all_kernel_lines_are_edited_and_nothing_else() {
        let mut cfg = GrubCfg::parse(CFG.as_bytes());
        let add = |_: &str, line: &mut CommandLine| {
            line.replace("root", |_| Some("UUID=9".into()));
            line.push("console=ttyS0");
        };
        assert_eq!(cfg.edit_kernels(add), 3);
        let text = String::from_utf8(cfg.render()).unwrap();
        let expected = CFG
            .replace(
                "root=/dev/sda2 ro  quiet",
                "root=UUID=9 ro  quiet console=ttyS0",
            )
            .replace(
                "root=/dev/sda2 \\\n\t\t\tro",
                "root=UUID=9 \\\n\t\t\tro console=ttyS0",
            )
            .replace("single", "single console=ttyS0");
        assert_eq!(text, expected);
    }
}
