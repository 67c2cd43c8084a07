//! GRUB Legacy's menu, `grub.conf` or `menu.lst`.
//!
//! A line is a command and its words; `=` after the command is a blank. `title` begins an entry.
//! Debian's `update-grub` takes the command lines of new kernels from the comments `# kopt=` and
//! `# defoptions=`. Source: GRUB Legacy manual, chapters "Configuration" and "Commands".

use super::command_line::CommandLine;

/// A menu, losslessly.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct GrubLegacy {
    lines: Vec<Vec<u8>>,
}

/// An entry of the menu.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LegacyEntry {
    /// Its title.
    pub title: String,
    /// Line of the kernel command, from 1.
    pub line: usize,
    /// The kernel as GRUB names it; that of Linux where Xen starts it as its first module.
    pub kernel: String,
    /// The kernel's command line.
    pub arguments: String,
    /// What `initrd` loads.
    pub initrds: Vec<String>,
}

/// What `default` says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LegacyDefault {
    /// The entry of this number, from 0.
    Number(usize),
    /// What the file `default` beside the menu says.
    Saved,
}

/// A line in pieces that make it up again.
struct Parts<'l> {
    /// Up to the command line, kernel included.
    head: &'l str,
    kernel: &'l str,
    /// The command line with the blanks before it.
    arguments: &'l str,
    end: &'l str,
}

impl GrubLegacy {
    /// Reads a file; whatever bytes it holds, it can be read.
    pub fn parse(bytes: &[u8]) -> Self {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        Self {
            lines: lines.map(<[u8]>::to_vec).collect(),
        }
    }

    /// The file's bytes.
    pub fn render(&self) -> Vec<u8> {
        self.lines.concat()
    }

    /// All entries by number, from 0; none in place of those that start no Linux.
    pub fn entries(&self) -> Vec<Option<LegacyEntry>> {
        let mut entries: Vec<(String, Option<LegacyEntry>)> = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let Some((command, rest)) = command(line) else {
                continue;
            };
            if command == "title" {
                entries.push((rest.trim().to_owned(), None));
                continue;
            }
            let Some((title, entry)) = entries.last_mut() else {
                continue;
            };
            match (command, entry) {
                ("initrd" | "module", Some(entry)) => {
                    entry
                        .initrds
                        .extend(CommandLine::parse(rest).words().next());
                }
                ("kernel" | "module", entry @ None) => {
                    *entry = parts(line).map(|parts| LegacyEntry {
                        title: title.clone(),
                        line: index.saturating_add(1),
                        kernel: parts.kernel.to_owned(),
                        arguments: parts.arguments.trim().to_owned(),
                        initrds: Vec::new(),
                    });
                }
                _ => {}
            }
        }
        entries.into_iter().map(|(_, entry)| entry).collect()
    }

    /// The last `default` before the first entry; GRUB takes the first entry where there is none.
    pub fn default(&self) -> LegacyDefault {
        let number = self.lines.iter().rev().find_map(|line| {
            let (command, rest) = command(line)?;
            (command == "default").then(|| match rest.trim() {
                "saved" => LegacyDefault::Saved,
                number => LegacyDefault::Number(number.parse().unwrap_or(0)),
            })
        });
        number.unwrap_or(LegacyDefault::Number(0))
    }

    /// Makes the entry of this number the default.
    pub fn set_default(&mut self, number: usize) {
        let mut there = false;
        for line in &mut self.lines {
            let Some(("default", rest)) = command(line) else {
                continue;
            };
            there = true;
            let text = String::from_utf8_lossy(line).into_owned();
            let body = text.trim_end_matches(['\r', '\n']);
            let kept = text.len().saturating_sub(rest.len());
            let head = text.get(..kept).unwrap_or("default=");
            let end = text.get(body.len()..).unwrap_or_default();
            *line = format!("{head}{number}{end}").into_bytes();
        }
        if !there {
            self.lines
                .insert(0, format!("default={number}\n").into_bytes());
        }
    }

    /// Lets `change` edit the command line of every Linux kernel, given the kernel's name, and those
    /// of kernels to come, for which the name is none; returns how many lines changed.
    pub fn edit_kernels(&mut self, change: impl Fn(Option<&str>, &mut CommandLine)) -> usize {
        let mut changed = 0usize;
        for line in &mut self.lines {
            let Some(parts) = parts(line).or_else(|| options_to_come(line)) else {
                continue;
            };
            let mut command_line = CommandLine::parse(parts.arguments);
            let kernel = (!parts.kernel.is_empty()).then_some(parts.kernel);
            change(kernel, &mut command_line);
            let new = command_line.render();
            if new != parts.arguments {
                let gap = if kernel.is_none() || new.is_empty() || new.starts_with([' ', '\t']) {
                    ""
                } else {
                    " "
                };
                *line = format!("{}{gap}{new}{}", parts.head, parts.end).into_bytes();
                changed = changed.saturating_add(1);
            }
        }
        changed
    }

    /// The words of all lines of a command, as `terminal`.
    pub fn commands(&self, name: &str) -> Vec<String> {
        let lines = self.lines.iter().filter_map(|line| command(line));
        let ours = lines.filter(|(command, _)| *command == name);
        ours.map(|(_, rest)| rest.trim().to_owned()).collect()
    }

    /// Replaces every line of these commands by nothing, and puts `text`, line end included, before
    /// the first entry.
    pub fn replace_commands(&mut self, names: &[&str], text: &str) {
        self.lines
            .retain(|line| command(line).is_none_or(|(command, _)| !names.contains(&command)));
        let titles = |line: &Vec<u8>| command(line).is_some_and(|(command, _)| command == "title");
        let first = self.lines.iter().position(titles);
        let at = first.unwrap_or(self.lines.len());
        if let Some(line) = at.checked_sub(1).and_then(|last| self.lines.get_mut(last))
            && !line.ends_with(b"\n")
        {
            line.push(b'\n');
        }
        self.lines.insert(at, text.as_bytes().to_vec());
        *self = Self::parse(&self.render());
    }
}

/// A line's command and what follows; none of comments and of lines that are no UTF-8.
fn command(line: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(line).ok()?.trim_start();
    if text.starts_with('#') {
        return None;
    }
    let length = text.find(|c: char| c.is_ascii_whitespace() || c == '=');
    let (command, rest) = text.split_at(length.unwrap_or(text.len()));
    let rest = rest.trim_start_matches([' ', '\t']);
    let rest = rest.strip_prefix('=').unwrap_or(rest);
    (!command.is_empty()).then(|| (command, rest.trim_start_matches([' ', '\t'])))
}

/// A line that loads Linux.
fn parts(line: &[u8]) -> Option<Parts<'_>> {
    let text = std::str::from_utf8(line).ok()?;
    let (command, rest) = command(line)?;
    if !matches!(command, "kernel" | "module") {
        return None;
    }
    let start = text.len().checked_sub(rest.len())?;
    let body = text.trim_end_matches(['\r', '\n']);
    // Options of GRUB's own stand before the kernel.
    let mut at = start;
    let (kernel, end) = loop {
        let left = body.get(at..)?;
        let blanks = left.len() - left.trim_start_matches([' ', '\t']).len();
        let word_start = at + blanks;
        let word = body.get(word_start..)?;
        let length = word.find([' ', '\t']).unwrap_or(word.len());
        let word = word.get(..length)?;
        if word.is_empty() {
            return None;
        }
        at = word_start + length;
        if !word.starts_with("--") {
            break (word, at);
        }
    };
    let name = kernel.rsplit('/').next().unwrap_or(kernel);
    let linux = match command {
        "kernel" => !name.starts_with("xen") && !name.contains("memtest"),
        _ => name.starts_with("vmlinu"),
    };
    linux.then_some(Parts {
        head: text.get(..end)?,
        kernel,
        arguments: text.get(end..body.len())?,
        end: text.get(body.len()..)?,
    })
}

/// What Debian's `update-grub` makes the command lines of new kernels from.
fn options_to_come(line: &[u8]) -> Option<Parts<'_>> {
    let text = std::str::from_utf8(line).ok()?;
    let head = "# kopt=";
    let rest = text.strip_prefix(head)?;
    let body = rest.trim_end_matches(['\r', '\n']);
    Some(Parts {
        head: text.get(..head.len())?,
        kernel: "",
        arguments: body,
        end: rest.get(body.len()..)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As anaconda of RHEL 6 writes it.
    const RHEL: &str = "# grub.conf generated by anaconda\n#boot=/dev/sda\ndefault=1\ntimeout=5\n\
        splashimage=(hd0,0)/grub/splash.xpm.gz\nhiddenmenu\n\
        title Red Hat Enterprise Linux (2.6.32-754.el6.x86_64)\n\troot (hd0,0)\n\
        \tkernel /vmlinuz-2.6.32-754.el6.x86_64 ro root=/dev/mapper/vg-root rd_LVM_LV=vg/root rhgb quiet\n\
        \tinitrd /initramfs-2.6.32-754.el6.x86_64.img\n\
        title Other\n\trootnoverify (hd0,1)\n\tchainloader +1\n\
        title Xen\n\tkernel /xen.gz-2.6.18\n\tmodule /vmlinuz-2.6.18-398.el5xen ro root=LABEL=/\n\
        \tmodule /initrd-2.6.18-398.el5xen.img\n";

    #[test]
    fn what_is_not_edited_survives() {
        for text in [
            RHEL,
            "",
            "default",
            "title",
            "kernel",
            "kernel --x",
            "\tkernel=/a",
        ] {
            let menu = GrubLegacy::parse(text.as_bytes());
            assert_eq!(menu.render(), text.as_bytes());
            menu.entries();
        }
    }

    #[test]
    fn entries_are_counted_as_grub_counts_them() {
        let menu = GrubLegacy::parse(RHEL.as_bytes());
        assert_eq!(menu.default(), LegacyDefault::Number(1));
        let entries = menu.entries();
        let [Some(rhel), None, Some(xen)] = &entries[..] else {
            panic!("{entries:?}");
        };
        assert_eq!(
            rhel.title,
            "Red Hat Enterprise Linux (2.6.32-754.el6.x86_64)"
        );
        assert_eq!(
            (rhel.line, rhel.kernel.as_str()),
            (9, "/vmlinuz-2.6.32-754.el6.x86_64")
        );
        assert_eq!(rhel.initrds, ["/initramfs-2.6.32-754.el6.x86_64.img"]);
        assert_eq!(xen.kernel, "/vmlinuz-2.6.18-398.el5xen");
        assert_eq!(xen.initrds, ["/initrd-2.6.18-398.el5xen.img"]);
    }

    #[test]
    fn command_lines_are_edited_and_nothing_else() {
        let debian = "# kopt=root=/dev/sda1 ro\n# defoptions=quiet\ndefault\t\tsaved\n\
                      title A\nkernel\t\t--no-mem-option (hd0,0)/vmlinuz-2.6.26 root=/dev/sda1 ro\nkernel /memtest86\n";
        let mut menu = GrubLegacy::parse(debian.as_bytes());
        assert_eq!(menu.default(), LegacyDefault::Saved);
        let changed = menu.edit_kernels(|_, line| {
            line.replace("root", |_| Some("UUID=1".into()));
        });
        assert_eq!(changed, 2);
        menu.set_default(3);
        let text = String::from_utf8(menu.render()).unwrap();
        let expected = debian
            .replace("root=/dev/sda1", "root=UUID=1")
            .replace("saved", "3");
        assert_eq!(text, expected);
    }

    #[test]
    fn a_default_is_added_and_commands_are_replaced() {
        let mut menu = GrubLegacy::parse(b"terminal console\ntimeout 5\ntitle A\n");
        menu.set_default(2);
        menu.replace_commands(&["terminal", "serial"], "serial\n");
        let expected = "default=2\ntimeout 5\nserial\ntitle A\n";
        assert_eq!(String::from_utf8(menu.render()).unwrap(), expected);
    }
}
