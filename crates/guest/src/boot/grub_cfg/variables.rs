//! Variables of a generated configuration that hold command lines, or the default.

use super::{CommandLine, GrubCfg};

/// Where Red Hat's GRUB takes the words of entries from that have none, or say `$kernelopts`, if
/// the environment block is no help.
const KERNEL_OPTIONS: [&str; 2] = ["kernelopts", "default_kernelopts"];

impl GrubCfg {
    /// Lets `change` edit the command lines that are set for all entries; returns how many lines
    /// changed.
    pub fn edit_kernel_options(&mut self, change: impl Fn(&mut CommandLine)) -> usize {
        let mut changed = 0usize;
        for line in &mut self.lines {
            let Some((head, value, tail)) = assignment(&line.raw, &KERNEL_OPTIONS) else {
                continue;
            };
            let mut command_line = CommandLine::parse(value);
            change(&mut command_line);
            let new = command_line.render();
            if new != value {
                line.raw = format!("{head}{new}{tail}").into_bytes();
                changed = changed.saturating_add(1);
            }
        }
        changed
    }

    /// What a variable that holds command lines is set to, where no environment block sets it.
    pub fn kernel_options(&self, name: &str) -> Option<String> {
        let known = KERNEL_OPTIONS.iter().filter(|known| **known == name);
        let names: Vec<&str> = known.copied().collect();
        let mut values = self.lines.iter().rev();
        values.find_map(|line| assignment(&line.raw, &names).map(|(_, value, _)| value.to_owned()))
    }

    /// Makes `value` the default wherever one is written out, and returns whether there was any.
    /// What is taken from variables stays.
    pub fn set_default(&mut self, value: &str) -> bool {
        let escaped = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('$', "\\$");
        let mut there = false;
        for line in &mut self.lines {
            let words = line.words();
            let (Some(first), Some(second)) = (words.first(), words.get(1)) else {
                continue;
            };
            let written = second
                .strip_prefix("default=")
                .is_some_and(|value| !value.contains('$'));
            if first != "set" || !written || words.len() > 2 {
                continue;
            }
            there = true;
            let text = String::from_utf8_lossy(&line.raw).into_owned();
            let indent = &text[..text.len() - text.trim_start().len()];
            let end = &text[text.trim_end_matches(['\r', '\n']).len()..];
            line.raw = format!("{indent}set default=\"{escaped}\"{end}").into_bytes();
        }
        there
    }
}

/// A line `set NAME="VALUE"` of one of these variables, in three pieces; without quotes the value is
/// one word.
fn assignment<'l>(raw: &'l [u8], names: &[&str]) -> Option<(&'l str, &'l str, &'l str)> {
    let text = std::str::from_utf8(raw).ok()?;
    let rest = text.trim_start().strip_prefix("set")?;
    let after = rest.trim_start_matches([' ', '\t']);
    let (name, value) = after.split_once('=')?;
    if after.len() == rest.len() || !names.contains(&name) {
        return None;
    }
    let body = value.trim_end();
    let start = text.len() - value.len();
    let quoted = ['"', '\'']
        .iter()
        .any(|quote| body.len() >= 2 && body.starts_with(*quote) && body.ends_with(*quote));
    let (from, to) = match quoted {
        true => (start + 1, start + body.len() - 1),
        false if body.contains(['"', '\'', ' ', '\t', ';']) => return None,
        false => (start, start + body.len()),
    };
    Some((text.get(..from)?, text.get(from..to)?, text.get(to..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As RHEL 8 writes it.
    const CFG: &str = "if [ -f ${config_directory}/grubenv ]; then\n  load_env -f ${config_directory}/grubenv\n\
        elif [ -s $prefix/grubenv ]; then\n  load_env\nfi\nif [ \"${next_entry}\" ] ; then\n\
        \x20  set default=\"${next_entry}\"\n   set next_entry=\nelse\n   set default=\"${saved_entry}\"\nfi\n\
        menuentry 'Before' {\n  fwsetup\n}\n\
        if [ -z \"${kernelopts}\" ]; then\n  set kernelopts=\"root=/dev/sda2 ro rd.lvm.lv=rhel/root rhgb quiet \"\nfi\n\
        insmod blscfg\nblscfg\n";

    #[test]
    fn options_for_all_entries_are_edited_between_their_quotes() {
        let mut cfg = GrubCfg::parse(CFG.as_bytes());
        assert!(cfg.blscfg() && !cfg.is_stub());
        assert_eq!(cfg.entries_before_blscfg(), Some(1));
        let options = cfg.kernel_options("kernelopts").unwrap();
        assert!(options.starts_with("root=/dev/sda2 ro"), "{options}");
        assert_eq!(cfg.kernel_options("default_kernelopts"), None);
        let changed = cfg.edit_kernel_options(|line| {
            line.replace("root", |_| Some("UUID=1".into()));
            line.push("console=ttyS0");
        });
        assert_eq!(changed, 1);
        let text = String::from_utf8(cfg.render()).unwrap();
        let expected = CFG
            .replace("root=/dev/sda2", "root=UUID=1")
            .replace("quiet \"", "quiet console=ttyS0 \"");
        assert_eq!(text, expected);
        for text in [
            "set kernelopts=",
            "set kernelopts=\"",
            "setkernelopts=\"a\"",
            "set kernelopts=a b",
        ] {
            let mut cfg = GrubCfg::parse(text.as_bytes());
            cfg.edit_kernel_options(|line| line.push("x"));
            assert_eq!(
                cfg.render().len() > text.len(),
                text.ends_with("kernelopts="),
                "{text}"
            );
        }
    }

    #[test]
    fn only_a_default_that_is_written_out_is_set() {
        let mut cfg = GrubCfg::parse(CFG.as_bytes());
        assert!(!cfg.set_default("x"));
        assert_eq!(cfg.render(), CFG.as_bytes());
        let debian = CFG.replace("${saved_entry}", "0");
        let mut cfg = GrubCfg::parse(debian.as_bytes());
        assert!(cfg.set_default("More>It's \"5\""));
        let text = String::from_utf8(cfg.render()).unwrap();
        assert!(
            text.contains("\n   set default=\"More>It's \\\"5\\\"\"\nfi"),
            "{text}"
        );
        assert_eq!(cfg.default().as_deref(), Some("More>It's \"5\""));
    }

    #[test]
    fn what_leads_elsewhere_is_a_stub() {
        // RHEL 9 and Debian.
        for text in [
            "search --no-floppy --root-dev-only --fs-uuid --set=dev 1-2\nset prefix=($dev)/grub2\n\
             export $prefix\nconfigfile $prefix/grub.cfg\n",
            "search.fs_uuid 1-2 root hd0,gpt2 \nset prefix=($root)'/boot/grub'\nconfigfile $prefix/grub.cfg\n",
        ] {
            assert!(GrubCfg::parse(text.as_bytes()).is_stub());
        }
        assert!(!GrubCfg::parse(b"set timeout=5\n").is_stub());
    }
}
