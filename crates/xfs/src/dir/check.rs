//! Whether a directory holds together: what the format's own checker looks at.

use super::data::{DataBlock, DataKind};
use super::form::{self, Form};
use super::format::Format;
use super::free::{self, Free, NO_BLOCK};
use super::single::{self, Single};
use super::tree;
use crate::da::{Header, IndexEntry};
use crate::error::Error;
use crate::fork::ForkRead;
use ondisk::width::u64_of;
use std::collections::HashSet;

/// Says what is wrong with a directory whose parts can all be read.
///
/// # Errors
/// A part that cannot be read.
pub(crate) fn check(fork: &dyn ForkRead) -> Result<Vec<String>, Error> {
    let format = Format::of(fork);
    let mut check = Check {
        format: &format,
        fork,
        problems: Vec::new(),
    };
    match Form::of(&format, fork)? {
        Form::Short(short) => {
            let names = short.entries.iter().map(|entry| &*entry.name);
            check.names(names);
            if fork.inline().map_or(0, <[u8]>::len) > fork.max_inline() {
                check.say("the names are longer than the inode has room for");
            }
        }
        Form::Single(bytes) => {
            let corrupt = |fault| format.corrupt(0, fault);
            let end = single::index_start(&format, &bytes).map_err(corrupt)?;
            let index = single::index(&format, &bytes).map_err(corrupt)?;
            let data = DataBlock::parse(&format, DataKind::Single, bytes, end).map_err(corrupt)?;
            check.data(&[(0, data)], index)?;
            if fork.end()? != u64::from(format.geometry.count) {
                check.say("there is something behind the only block");
            }
        }
        Form::Leaf(leaf) => {
            let blocks = check.all_data()?;
            let bests = check.data(&blocks, leaf.entries)?;
            if bests != leaf.bests {
                check.say("the index knows other unused places than there are");
            }
        }
        Form::Node => {
            let blocks = check.all_data()?;
            let (index, problems) = tree::check(&format, fork)?;
            for problem in problems {
                check.say(problem);
            }
            let bests = check.data(&blocks, index)?;
            check.free(&bests)?;
        }
    }
    Ok(check.problems)
}

struct Check<'a> {
    format: &'a Format,
    fork: &'a dyn ForkRead,
    problems: Vec<String>,
}

impl Check<'_> {
    fn say(&mut self, problem: &str) {
        let inode = self.format.geometry.owner.inode;
        self.problems
            .push(format!("directory inode {inode}: {problem}"));
    }

    /// Reads all of several blocks with names.
    fn all_data(&self) -> Result<Vec<(u32, DataBlock)>, Error> {
        let mut blocks = Vec::new();
        let mut from = 0;
        while let Some(mapped) = self.fork.next_mapped(from)?
            && mapped < self.format.leaf_block()
        {
            form::cap_listed(blocks.len(), self.format)?;
            let (number, block) = self.format.data_number(mapped);
            blocks.push((number, form::read_data(self.format, self.fork, number)?));
            from = block.saturating_add(self.format.geometry.count.into());
        }
        Ok(blocks)
    }

    /// Checks names, and that the index leads to all of them and to nothing else. Gives back the
    /// largest unused place of each block.
    fn data(
        &mut self,
        blocks: &[(u32, DataBlock)],
        mut index: Vec<IndexEntry>,
    ) -> Result<Vec<u16>, Error> {
        let mut bests: Vec<u16> = Vec::new();
        let mut names = Vec::new();
        let mut expected = Vec::new();
        for (number, data) in blocks {
            let block = self.format.data_block(*number);
            let corrupt = |fault| self.format.corrupt(block, fault);
            for (at, entry) in data.entries(self.format).map_err(corrupt)? {
                expected.push(IndexEntry {
                    hash: self.format.hash(&entry.name),
                    value: self.format.address(*number, at)?,
                });
                names.push(entry.name);
            }
            bests.resize(ondisk::width::usize_of_u32(*number), NO_BLOCK);
            bests.push(data.largest_unused());
            if data.is_empty() {
                self.say("a block holds no name");
            }
            if !data.knows_its_unused(self.format) {
                self.say("a block keeps other unused places than it has");
            }
        }
        self.names(names.iter().map(|name| &**name));
        match blocks.first() {
            Some((0, data)) => {
                let single = Single::of(self.format, data);
                single.map_err(|fault| self.format.corrupt(0, fault))?;
            }
            _ => self.say("the first block is not there"),
        }
        let key = |entry: &IndexEntry| (entry.hash, entry.value);
        index.sort_by_key(key);
        expected.sort_by_key(key);
        if index != expected {
            self.say("the index does not lead to every name, or leads elsewhere");
        }
        let size = u64_of(bests.len()).saturating_mul(u64_of(self.format.block_size()));
        if self.fork.size() != size {
            self.say("the size is not that of its blocks with names");
        }
        Ok(bests)
    }

    fn names<'n>(&mut self, names: impl Iterator<Item = &'n [u8]>) {
        let mut known = HashSet::new();
        for name in names {
            if !known.insert(self.format.folded(name)) {
                let name = String::from_utf8_lossy(name).into_owned();
                self.say(&format!("two entries are named {name}"));
            }
        }
    }

    /// Checks what is kept about unused places apart from the index.
    fn free(&mut self, bests: &[u16]) -> Result<(), Error> {
        let capacity = ondisk::width::usize_of_u32(free::capacity(self.format)).max(1);
        let mut from = self.format.free_block(0);
        let mut chunks = bests.chunks(capacity);
        let mut index = 0;
        loop {
            let chunk = chunks.next();
            let block = self.format.free_block(index);
            let header = Header::Names;
            let bytes = self
                .format
                .geometry
                .read_if_there(self.fork, block, header)?;
            let kept = match bytes {
                Some(bytes) => {
                    from = block.saturating_add(self.format.geometry.count.into());
                    Free::decode(self.format, index, &bytes)
                        .map_err(|fault| self.format.corrupt(block, fault))?
                        .bests
                }
                None => Vec::new(),
            };
            let mut chunk_bests = chunk.unwrap_or_default().to_vec();
            while chunk_bests.last() == Some(&NO_BLOCK) {
                chunk_bests.pop();
            }
            if kept != chunk_bests {
                self.say("what is kept about unused places is wrong");
            }
            if chunk.is_none() {
                break;
            }
            index = index.saturating_add(1);
        }
        if self.fork.end()? > from {
            self.say("there is something behind what is kept about unused places");
        }
        Ok(())
    }
}
