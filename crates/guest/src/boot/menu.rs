//! GRUB's menu as a whole: what stands in the configuration and what `blscfg` adds.

use super::{BootEntry, KernelLine, MenuEntry, MenuName};

/// Puts Boot Loader Specification entries, in GRUB's order, into a menu behind its first `before`
/// entries, as `blscfg` does; positions count on.
pub fn merge_loader_entries(
    menu: Vec<MenuEntry>,
    before: usize,
    entries: &[&BootEntry],
) -> Vec<MenuEntry> {
    let (mut merged, mut behind) = (Vec::new(), Vec::new());
    for mut entry in menu {
        match entry.path.first_mut() {
            Some(top) if top.index >= before => {
                top.index = top.index.saturating_add(entries.len());
                behind.push(entry);
            }
            _ => merged.push(entry),
        }
    }
    for (at, entry) in entries.iter().enumerate() {
        merged.push(MenuEntry {
            path: vec![MenuName {
                index: before.saturating_add(at),
                title: entry.title.clone(),
                id: entry.id.clone(),
            }],
            kernel: Some(KernelLine {
                line: entry.line,
                kernel: entry.kernel.clone(),
                arguments: entry.arguments.clone(),
            }),
            initrds: entry.initrds.clone(),
            submenu: false,
        });
    }
    merged.extend(behind);
    merged
}

/// The value of `default` that chooses an entry of the menu and no other: for every submenu and for
/// the entry its title or its identifier, as `titles_first` says, where only one has it, else its
/// position.
pub fn name_of(menu: &[MenuEntry], entry: &MenuEntry, titles_first: bool) -> String {
    let parts = entry.path.iter().enumerate().map(|(depth, name)| {
        let around = entry.path.get(..depth).unwrap_or_default();
        let beside = menu.iter().filter_map(|other| {
            let same =
                other.path.len() == depth.saturating_add(1) && other.path.starts_with(around);
            other.path.last().filter(|_| same)
        });
        let beside: Vec<&MenuName> = beside.collect();
        let chosen_by = |name: &str| {
            let fits = |other: &&&MenuName| {
                other.title == name
                    || other.id.as_deref() == Some(name)
                    || name.parse() == Ok(other.index)
            };
            !name.is_empty() && beside.iter().filter(fits).count() == 1
        };
        let (title, id) = (Some(name.title.as_str()), name.id.as_deref());
        let names = if titles_first {
            [title, id]
        } else {
            [id, title]
        };
        let mut names = names.into_iter().flatten();
        let found = names.find(|name| chosen_by(name));
        found.map_or_else(|| name.index.to_string(), |name| name.replace('>', ">>"))
    });
    parts.collect::<Vec<_>>().join(">")
}

#[cfg(test)]
mod tests {
    use super::super::{GrubCfg, choose};
    use super::*;

    fn loader_entry(id: &str, title: &str) -> BootEntry {
        BootEntry {
            file: "/boot/loader/entries/x.conf".into(),
            line: 1,
            title: title.to_owned(),
            id: Some(id.to_owned()),
            kernel: "/vmlinuz".to_owned(),
            initrds: Vec::new(),
            arguments: String::new(),
        }
    }

    #[test]
    fn loader_entries_stand_where_blscfg_does() {
        let cfg = GrubCfg::parse(b"menuentry 'A' {\n}\nblscfg\nmenuentry 'B' {\n}\n");
        let entries = [loader_entry("m-6.1", "New"), loader_entry("m-5.1", "Old")];
        let refs: Vec<&BootEntry> = entries.iter().collect();
        let before = cfg.entries_before_blscfg().unwrap();
        let menu = merge_loader_entries(cfg.entries(), before, &refs);
        for (default, title) in [
            ("0", "A"),
            ("1", "New"),
            ("2", "Old"),
            ("3", "B"),
            ("m-5.1", "Old"),
            ("New", "New"),
        ] {
            let chosen = choose(&menu, default).and_then(|entry| entry.path.last());
            assert_eq!(
                chosen.map(|name| name.title.as_str()),
                Some(title),
                "{default}"
            );
        }
        assert_eq!(name_of(&menu, &menu[1], false), "m-6.1");
    }

    #[test]
    fn a_name_chooses_one_entry() {
        // Since grubby copies them, identifiers of RHEL 7 stand for several entries.
        let cfg = GrubCfg::parse(
            b"menuentry 'A (3.10.0-2)' --id 'same' {\n linux /b\n}\nmenuentry 'A (3.10.0-1)' --id 'same' {\n linux /a\n}\n\
              submenu 'More > old' --id more {\nmenuentry '1' {\n linux /c\n}\nmenuentry 'x' {\n linux /d\n}\n}\n",
        );
        let menu = cfg.entries();
        let names: Vec<String> = menu
            .iter()
            .map(|entry| name_of(&menu, entry, false))
            .collect();
        assert_eq!(
            names,
            ["A (3.10.0-2)", "A (3.10.0-1)", "more", "more>0", "more>x"]
        );
        assert_eq!(name_of(&menu, &menu[4], true), "More >> old>x");
        for entry in menu.iter().filter(|entry| !entry.submenu) {
            for titles in [true, false] {
                let found = choose(&menu, &name_of(&menu, entry, titles));
                assert!(std::ptr::eq(found.unwrap(), entry));
            }
        }
    }
}
