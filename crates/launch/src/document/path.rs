//! The name of a place in a document, as `disks[1].iops`.

use std::fmt;

/// A place in a document, from the root down.
#[derive(Clone, Copy, Debug)]
pub struct Path<'a> {
    parent: Option<&'a Path<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Item(usize),
}

impl<'a> Path<'a> {
    /// The whole document; its name is empty.
    pub fn root() -> Self {
        Self {
            parent: None,
            step: Step::Root,
        }
    }

    /// A field of what is here.
    pub fn field(&'a self, name: &'a str) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Step::Field(name),
        }
    }

    /// An item of the list here, from 0.
    pub fn item(&'a self, index: usize) -> Path<'a> {
        Path {
            parent: Some(self),
            step: Step::Item(index),
        }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(parent) = self.parent else {
            return Ok(());
        };
        parent.fmt(f)?;
        match self.step {
            Step::Root => Ok(()),
            Step::Item(index) => write!(f, "[{index}]"),
            Step::Field(name) if !is_plain(name) => write!(f, "[{name:?}]"),
            Step::Field(name) if parent.parent.is_none() => f.write_str(name),
            Step::Field(name) => write!(f, ".{name}"),
        }
    }
}

/// Whether a name needs no quotes: one that holds a dot would look like two.
fn is_plain(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$');
    !name.is_empty() && name.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_misread_are_quoted() {
        let root = Path::root();
        let disks = root.field("disks");
        let disk = disks.item(1);
        assert_eq!(root.to_string(), "");
        assert_eq!(disk.field("iops").to_string(), "disks[1].iops");
        assert_eq!(disk.field("a.b").to_string(), "disks[1][\"a.b\"]");
        assert_eq!(disk.field("\n").to_string(), "disks[1][\"\\n\"]");
    }
}
