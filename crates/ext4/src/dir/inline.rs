//! Small directories that live in their inode (`inline_data`).
//!
//! The first four bytes of `i_block` hold what `..` names; the rest of it and the value of the
//! attribute `system.data` are two areas of entries. There are no entries `.` and `..`.

use super::block::Leaf;
use super::entry::{Area, Fault, Found, Name};
use super::{Format, WriteBlocks};
use crate::Error;

/// The two places of a directory in its inode.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Inline {
    /// `i_block`.
    pub(crate) block: [u8; 60],
    /// The value of `system.data`, which may be empty.
    pub(crate) value: Vec<u8>,
}

impl Inline {
    /// The inode that `..` names.
    pub(crate) fn parent(&self) -> u32 {
        let [a, b, c, d, ..] = self.block;
        u32::from_le_bytes([a, b, c, d])
    }

    /// Lets `..` name another inode.
    pub(crate) fn set_parent(&mut self, parent: u32) {
        self.block[..PARENT].copy_from_slice(&parent.to_le_bytes());
    }

    /// Every name.
    pub(crate) fn names(&self, format: &Format) -> Result<Vec<Name>, Error> {
        let mut names = Vec::new();
        for bytes in self.areas() {
            names.extend(area(format).names(bytes).map_err(|f| fault(format, f))?);
        }
        Ok(names)
    }

    /// Finds a name.
    pub(crate) fn find(&self, format: &Format, name: &[u8]) -> Result<Option<Found>, Error> {
        for bytes in self.areas() {
            let entry = area(format).find(bytes, name);
            if let Some(entry) = entry.map_err(|f| fault(format, f))? {
                return Ok(Some(entry.found()));
            }
        }
        Ok(None)
    }

    /// Puts a name in; false if it does not fit and the directory has to leave its inode.
    pub(crate) fn insert(
        &mut self,
        format: &Format,
        name: &[u8],
        target: Found,
    ) -> Result<bool, Error> {
        self.change(format, |area, bytes| area.insert(bytes, name, target))
    }

    /// Removes a name; false if it is not there.
    pub(crate) fn remove(&mut self, format: &Format, name: &[u8]) -> Result<bool, Error> {
        self.change(format, |area, bytes| area.remove(bytes, name))
    }

    /// Lets a name that is there name something else; false if it is not there.
    pub(crate) fn retarget(
        &mut self,
        format: &Format,
        name: &[u8],
        target: Found,
    ) -> Result<bool, Error> {
        self.change(format, |area, bytes| area.retarget(bytes, name, target))
    }

    /// Writes the names into the first block of a directory outside of the inode, which must be
    /// there already.
    pub(crate) fn move_out(
        &self,
        format: &Format,
        blocks: &mut dyn WriteBlocks,
    ) -> Result<(), Error> {
        blocks.write(0, &super::new_block(format, self.parent()))?;
        let mut leaf = Leaf::read_names(format, blocks, 0)?;
        for name in self.names(format)? {
            if !leaf.insert(&name.name, name.found)? {
                return Err(format.corrupt(0, 0, "the inode holds more names than a block", 0));
            }
        }
        leaf.write(blocks)
    }

    fn areas(&self) -> impl Iterator<Item = &[u8]> {
        let block = self.block.get(PARENT..).unwrap_or_default();
        [block, &self.value].into_iter()
    }

    fn change(
        &mut self,
        format: &Format,
        change: impl Fn(Area, &mut [u8]) -> Result<bool, Fault>,
    ) -> Result<bool, Error> {
        for bytes in [&mut self.block[PARENT..], &mut self.value] {
            if change(area(format), bytes).map_err(|f| fault(format, f))? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn area(format: &Format) -> Area {
    format.area()
}

fn fault(format: &Format, fault: Fault) -> Error {
    format.corrupt(0, fault.at, fault.reason, fault.value)
}

/// Bytes that hold what `..` names.
const PARENT: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dir::tests::{Blocks, format};

    #[test]
    fn names_fill_both_areas_and_then_move_out() {
        let format = format(1024, true);
        let mut inline = Inline {
            block: [0; 60],
            value: vec![0; 40],
        };
        inline.set_parent(2);
        format.area().clear(&mut inline.block[PARENT..]);
        format.area().clear(&mut inline.value);
        let target = Found {
            inode: 12,
            kind: Some(fs::Kind::File),
        };
        let mut count = 0;
        while inline
            .insert(&format, format!("name-{count}").as_bytes(), target)
            .unwrap()
        {
            count += 1;
        }
        assert_eq!(count, 3 + 2);
        assert!(inline.remove(&format, b"name-4").unwrap());
        assert!(!inline.remove(&format, b"name-4").unwrap());
        let mut blocks = Blocks::new(1024);
        blocks.append().unwrap();
        inline.move_out(&format, &mut blocks).unwrap();
        assert_eq!(super::super::parent(&format, &blocks).unwrap(), 2);
        let names = super::super::list(&format, &blocks).unwrap();
        assert_eq!(names, inline.names(&format).unwrap());
    }
}
