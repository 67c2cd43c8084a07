//! EC2 shows the first serial port: it is the only console of an instance that does not start.
//!
//! The consoles of Xen's paravirtual guests, hvc0 and xvc0, exist on no EC2 instance
//! (linux-guests.md, item 21). GRUB's menu goes to the serial port too, as in Debian's own cloud
//! images, so that another kernel can be chosen.

use super::command_lines::{self, Edit};
use crate::{Draft, Error, Rule};
use guest::GuestPath;
use guest::assignment::Assignments;
use guest::boot::{CommandLine, GrubCfg, GrubLegacy};

/// Puts kernel messages and GRUB's menu on the serial console.
pub(super) const RULE: Rule = Rule {
    id: "serial-console",
    summary: "send kernel messages and the GRUB menu to the serial console",
    applies: |_, _| true,
    run,
};

const TERMINALS: &str = "console serial";
/// GRUB Legacy shows its menu where somebody presses a key first, else on the first terminal.
const LEGACY: &str = "serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1\n\
    terminal --timeout=5 serial console\n";
const SERIAL: &str = "serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1";

fn run(draft: &mut Draft<'_>) -> Result<(), Error> {
    command_lines::edit(
        draft,
        &Edit {
            why: "the serial port is the only console that EC2 shows",
            replace: &|line| {
                line.remove(|word| {
                    word.starts_with("console=hvc") || word.starts_with("console=xvc")
                });
            },
            add: &|line, _| consoles(line),
        },
    )?;
    let why = "the boot menu has to be usable on the serial port";
    let boot = &draft.facts().boot;
    let configs: Vec<GuestPath> = boot.grubs().map(|grub| grub.config.clone()).collect();
    let legacy = boot.legacy.as_ref().map(|legacy| legacy.menu.clone());
    for path in configs {
        if let Some(bytes) = draft.read(&path)?
            && let Some(new) = with_serial_menu(&bytes)
        {
            draft.write(&path, new, why)?;
        }
    }
    if let Some(path) = legacy
        && let Some(bytes) = draft.read(&path)?
        && let Some(new) = with_serial_legacy_menu(&bytes)
    {
        draft.write(&path, new, why)?;
    }
    let mut files = command_lines::read_defaults(draft)?;
    let mut texts: Vec<&mut Assignments> = files.iter_mut().map(|(_, file)| file).collect();
    serial_terminal(&mut texts);
    command_lines::write_defaults(draft, files, why)
}

/// What a command line lacks. The last console is the one that init and its messages use.
fn consoles(line: &CommandLine) -> Vec<String> {
    let has = |prefix: &str| {
        line.values("console")
            .any(|value| value.starts_with(prefix))
    };
    if has("ttyS0") {
        return Vec::new();
    }
    let mut words = Vec::new();
    if !has("tty0") && !has("tty1") {
        words.push("console=tty0".to_owned());
    }
    words.push("console=ttyS0,115200n8".to_owned());
    words
}

/// A `grub.cfg` as `grub-mkconfig` makes it with our terminals; none if it has a serial one.
fn with_serial_menu(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut cfg = GrubCfg::parse(bytes);
    let is_terminal = |words: &[String]| {
        let command = words.first().map(String::as_str);
        matches!(
            command,
            Some("terminal_input" | "terminal_output" | "terminal")
        )
    };
    let terminals: Vec<Vec<String>> = ["terminal_input", "terminal_output", "terminal"]
        .iter()
        .flat_map(|command| cfg.commands(command))
        .collect();
    let serial = |words: &Vec<String>| words.iter().any(|word| word.starts_with("serial"));
    if terminals.iter().any(serial) {
        return None;
    }
    let block = format!("{SERIAL}\nterminal_input {TERMINALS}\nterminal_output {TERMINALS}\n");
    if terminals.is_empty() {
        let start = |words: &[String]| {
            let command = words.first().map(String::as_str);
            matches!(command, Some("menuentry" | "submenu" | "blscfg"))
        };
        if cfg.entries().is_empty() && !cfg.blscfg() {
            return None;
        }
        cfg.insert_before(&block, start);
        return Some(cfg.render());
    }
    // The last of them is where everything is loaded that terminals need.
    let count = terminals.len();
    let mut seen = 0usize;
    let replacement = std::cell::RefCell::new(&mut seen);
    cfg.edit_lines(|words| {
        if !is_terminal(words) {
            return None;
        }
        let mut seen = replacement.borrow_mut();
        **seen += 1;
        Some(if **seen == count {
            block.clone()
        } else {
            String::new()
        })
    });
    Some(cfg.render())
}

/// GRUB Legacy's menu with a serial terminal; none if it has one. Its picture goes: it is drawn on
/// the screen alone.
fn with_serial_legacy_menu(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut menu = GrubLegacy::parse(bytes);
    let terminals = menu.commands("terminal");
    if menu.entries().is_empty() || terminals.iter().any(|line| line.contains("serial")) {
        return None;
    }
    menu.replace_commands(&["terminal", "serial", "splashimage"], LEGACY);
    Some(menu.render())
}

/// `GRUB_TERMINAL` rules over the variables for input and output.
fn serial_terminal(files: &mut [&mut Assignments]) {
    if files.is_empty() {
        return;
    }
    let mut set = |name: &str, value: &str, fits: &dyn Fn(&str) -> bool| {
        let last = files.iter().rposition(|file| file.value(name).is_some());
        let file = &mut files[last.unwrap_or(0)];
        if !file.value(name).is_some_and(|value| fits(&value)) {
            file.set(name, value);
        }
    };
    set("GRUB_TERMINAL", TERMINALS, &|value| {
        value.contains("serial")
    });
    set("GRUB_SERIAL_COMMAND", SERIAL, &|value| {
        value.starts_with("serial")
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::linux::testing::TestGuest;

    #[test]
    fn consoles_are_completed() {
        for (line, words) in [
            ("ro quiet", &["console=tty0", "console=ttyS0,115200n8"][..]),
            ("console=tty1", &["console=ttyS0,115200n8"]),
            ("console=ttyS0", &[]),
            ("console=ttyS1", &["console=tty0", "console=ttyS0,115200n8"]),
        ] {
            assert_eq!(consoles(&CommandLine::parse(line)), words, "{line}");
        }
    }

    #[test]
    fn generated_menu_and_its_source_agree() {
        let guest = TestGuest::of(&[
            (
                "/boot/grub/grub.cfg",
                "if x; then\n  insmod gettext\nfi\nterminal_input console\nterminal_output console\n\
                 menuentry 'A' {\n\tlinux /vmlinuz-6.1 root=UUID=1 console=hvc0 quiet\n}\n",
            ),
            (
                "/etc/default/grub",
                "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\nGRUB_CMDLINE_LINUX=\"console=hvc0\"\nGRUB_TERMINAL=console\n",
            ),
        ]);
        let after = guest.run(&[RULE]);
        assert_eq!(
            after.text("/boot/grub/grub.cfg"),
            format!(
                "if x; then\n  insmod gettext\nfi\n{SERIAL}\nterminal_input console serial\n\
                 terminal_output console serial\nmenuentry 'A' {{\n\
                 \tlinux /vmlinuz-6.1 root=UUID=1 quiet console=tty0 console=ttyS0,115200n8\n}}\n"
            )
        );
        assert_eq!(
            after.text("/etc/default/grub"),
            format!(
                "GRUB_CMDLINE_LINUX_DEFAULT=\"quiet\"\n\
                 GRUB_CMDLINE_LINUX=\"console=tty0 console=ttyS0,115200n8\"\n\
                 GRUB_TERMINAL=\"console serial\"\nGRUB_SERIAL_COMMAND=\"{SERIAL}\"\n"
            )
        );
    }

    #[test]
    fn a_menu_without_terminals_gets_them_before_its_first_entry() {
        let new = with_serial_menu(b"set timeout=5\nmenuentry 'A' {\n}\n").unwrap();
        let expected = format!(
            "set timeout=5\n{SERIAL}\nterminal_input console serial\nterminal_output console serial\n\
             menuentry 'A' {{\n}}\n"
        );
        assert_eq!(String::from_utf8(new.clone()).unwrap(), expected);
        assert_eq!(with_serial_menu(&new), None);
        assert_eq!(with_serial_menu(b"configfile x\n"), None);
    }

    #[test]
    fn grub_legacy_gets_consoles_and_a_serial_menu() {
        let guest = TestGuest::of(&[(
            "/boot/grub/grub.conf",
            "default=0\nsplashimage=(hd0,0)/grub/splash.xpm.gz\nhiddenmenu\n\
             title RHEL (2.6.32-754.el6.x86_64)\n\troot (hd0,0)\n\
             \tkernel /vmlinuz-2.6.32-754.el6.x86_64 ro root=/dev/mapper/vg-root crashkernel=auto rhgb quiet\n\
             \tinitrd /initramfs-2.6.32-754.el6.x86_64.img\n",
        )]);
        let after = guest.run(&[RULE]);
        assert_eq!(
            after.text("/boot/grub/grub.conf"),
            "default=0\nhiddenmenu\n\
             serial --unit=0 --speed=115200 --word=8 --parity=no --stop=1\n\
             terminal --timeout=5 serial console\n\
             title RHEL (2.6.32-754.el6.x86_64)\n\troot (hd0,0)\n\
             \tkernel /vmlinuz-2.6.32-754.el6.x86_64 ro root=/dev/mapper/vg-root crashkernel=auto rhgb quiet console=tty0 console=ttyS0,115200n8\n\
             \tinitrd /initramfs-2.6.32-754.el6.x86_64.img\n"
        );
    }

    #[test]
    fn a_graphical_menu_becomes_a_serial_one() {
        let new =
            with_serial_menu(b"insmod gfxterm\nterminal_output gfxterm\nmenuentry 'A' {\n}\n");
        let text = String::from_utf8(new.unwrap()).unwrap();
        assert!(
            text.starts_with("insmod gfxterm\nserial --unit=0"),
            "{text}"
        );
        assert!(!text.contains("output gfxterm"));
    }
}
