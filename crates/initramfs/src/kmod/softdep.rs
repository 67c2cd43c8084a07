//! `modules.softdep`: what should, but need not, be loaded before or after a module.

/// One line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct SoftDependency {
    /// The module that wants the others.
    pub(crate) module: String,
    /// Modules or aliases to be loaded before.
    pub(crate) before: Vec<String>,
    /// Modules or aliases to be loaded after.
    pub(crate) after: Vec<String>,
}

impl SoftDependency {
    /// Reads one line; nothing if it is no soft dependency.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (Some("softdep"), Some(module)) = (words.next(), words.next()) else {
            return None;
        };
        let mut soft = Self {
            module: module.replace('-', "_"),
            ..Self::default()
        };
        let mut list = None;
        for word in words {
            match word {
                "pre:" => list = Some(&mut soft.before),
                "post:" => list = Some(&mut soft.after),
                _ => {
                    if let Some(list) = &mut list {
                        list.push(word.replace('-', "_"));
                    }
                }
            }
        }
        Some(soft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_are_read() {
        let soft = SoftDependency::parse("softdep a-b pre: c d-e post: f").unwrap();
        assert_eq!(soft.module, "a_b");
        assert_eq!(soft.before, ["c", "d_e"]);
        assert_eq!(soft.after, ["f"]);
        assert_eq!(SoftDependency::parse("# Soft dependencies"), None);
    }
}
