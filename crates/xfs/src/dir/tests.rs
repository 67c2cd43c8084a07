//! Directories in memory, through all forms and back.

use super::*;
use crate::da::memory::{Kind, MemoryFork, OWNER};
use crate::da::{Geometry, Header, IndexBlock, IndexEntry, Owner, hash_name};
use ondisk::width::u64_of;
use std::collections::{BTreeMap, HashMap};

/// The format of a directory with entries that tell the kind.
pub(super) fn format(block_size: usize, v5: bool) -> Format {
    Format {
        geometry: Geometry {
            owner: Owner {
                inode: OWNER,
                uuid: v5.then_some([7; 16]),
            },
            block_size,
            count: 1,
            directory: true,
        },
        file_type: true,
        ascii_ci: false,
    }
}

const PARENT: u64 = 128;

/// A directory with what it should hold.
struct Dir {
    fork: MemoryFork,
    model: BTreeMap<Vec<u8>, Target>,
    parent: u64,
}

impl Dir {
    fn new(kind: Kind) -> Self {
        let mut fork = MemoryFork::new(kind);
        create(&mut fork, PARENT).unwrap();
        Self {
            fork,
            model: BTreeMap::new(),
            parent: PARENT,
        }
    }

    fn insert(&mut self, name: &[u8]) {
        let target = Target::new(1000 + u64_of(self.model.len()), fs::Kind::File);
        insert(&mut self.fork, name, target).unwrap();
        assert!(self.model.insert(name.to_vec(), target).is_none());
    }

    fn remove(&mut self, name: &[u8]) {
        let removed = remove(&mut self.fork, name).unwrap();
        assert_eq!(removed, self.model.remove(name));
    }

    /// Compares all names by listing, and some of them, and some others, by looking them up.
    fn verify(&self) {
        assert_eq!(check(&self.fork).unwrap(), [""; 0]);
        let listed = list(&self.fork).unwrap();
        assert_eq!(listed.len(), self.model.len());
        let listed: BTreeMap<_, _> = listed.into_iter().map(|e| (e.name, e.target)).collect();
        assert_eq!(listed, self.model);
        let step = self.model.len() / 500 + 1;
        for (name, target) in self.model.iter().step_by(step) {
            assert_eq!(lookup(&self.fork, name).unwrap(), Some(*target));
            let absent = [name, &b"-"[..]].concat();
            assert_eq!(lookup(&self.fork, &absent).unwrap(), None);
        }
        assert_eq!(parent(&self.fork).unwrap(), self.parent);
    }

    fn form(&self) -> &'static str {
        match Form::of(&Format::of(&self.fork), &self.fork).unwrap() {
            Form::Short(_) => "short",
            Form::Single(_) => "single",
            Form::Leaf(_) => "leaf",
            Form::Node => "node",
        }
    }
}

fn kinds() -> [Kind; 6] {
    [
        Kind::new(512, false),
        Kind::new(1024, true),
        Kind::new(4096, true),
        Kind {
            dir_block_size: 4096,
            ..Kind::new(1024, true)
        },
        Kind {
            dir_block_size: 2048,
            ..Kind::new(512, false)
        },
        Kind {
            ascii_ci: true,
            ..Kind::new(1024, true)
        },
    ]
}

fn name(number: usize) -> Vec<u8> {
    let len = number * 7 % 40;
    format!("{number}{}", "x".repeat(len)).into_bytes()
}

#[test]
fn a_directory_takes_every_form_as_it_grows_and_shrinks() {
    for kind in kinds() {
        let mut dir = Dir::new(kind);
        let mut forms = vec![dir.form()];
        let count = if kind.dir_block_size == 4096 {
            9000
        } else {
            4000
        };
        for number in 0..count {
            dir.insert(&name(number));
            if dir.form() != forms[forms.len() - 1] {
                forms.push(dir.form());
                dir.verify();
            }
            if number % 997 == 0 {
                dir.verify();
            }
        }
        assert_eq!(forms, ["short", "single", "leaf", "node"], "{kind:?}");
        dir.verify();
        // Every third name stays for a while, and the rest goes from front and back in turn.
        let going: Vec<_> = (0..count).filter(|number| number % 3 != 0).collect();
        let half = going.len() / 2;
        let order = (0..half).flat_map(|at| [going[at], going[going.len() - 1 - at]]);
        let then = (0..count).step_by(3);
        for (step, number) in order.chain(then).enumerate() {
            dir.remove(&name(number));
            if dir.form() != forms[forms.len() - 1] {
                forms.push(dir.form());
                dir.verify();
            }
            if step % 997 == 0 {
                dir.verify();
            }
        }
        for number in 0..count {
            if dir.model.contains_key(&name(number)) {
                dir.remove(&name(number));
            }
        }
        dir.verify();
        assert_eq!(dir.form(), "short", "{kind:?}");
        assert_eq!(dir.fork.mapped(), 0);
    }
}

#[test]
fn random_changes_keep_a_directory_whole() {
    for (seed, kind) in (1..).zip(kinds()) {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed);
        let mut random = move |limit: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % u64_of(limit)).unwrap()
        };
        let mut dir = Dir::new(kind);
        for step in 0..4000 {
            // Waves of more and of less.
            let grows = if step / 1000 % 2 == 0 { 70 } else { 30 };
            if random(100) < grows {
                let new = name(random(5000));
                if !dir.model.contains_key(&new) {
                    dir.insert(&new);
                }
            } else if !dir.model.is_empty() {
                let at = random(dir.model.len());
                let name = dir.model.keys().nth(at).unwrap().clone();
                if random(5) == 0 {
                    let target = Target::new(1 << 33, fs::Kind::Symlink);
                    let before = retarget(&mut dir.fork, &name, target).unwrap();
                    assert_eq!(before, dir.model.insert(name, target));
                } else {
                    dir.remove(&name);
                }
            }
            if random(200) == 0 {
                dir.parent = u64_of(1 + random(1 << 34));
                set_parent(&mut dir.fork, dir.parent).unwrap();
            }
            if step % 500 == 0 {
                dir.verify();
            }
        }
        dir.verify();
    }
}

/// Names of one hash.
fn colliding(count: usize) -> Vec<Vec<u8>> {
    let mut by_hash: HashMap<u32, Vec<Vec<u8>>> = HashMap::new();
    for number in 0_u32..1 << 12 {
        // The lowest bit of a letter and the highest of the next one do the same to a hash.
        let mut name = b"@@@@@@@@@@@@@@@@@@@@@@@@@@@@@".to_vec();
        for bit in 0..12 {
            if number >> bit & 1 == 1 {
                name[bit * 2] ^= 0x01;
                name[bit * 2 + 1] ^= 0x80;
            }
        }
        by_hash.entry(hash_name(&name)).or_default().push(name);
    }
    let mut names = by_hash.into_values().max_by_key(Vec::len).unwrap();
    names.truncate(count);
    assert_eq!(names.len(), count);
    names
}

#[test]
fn names_of_one_hash_spread_over_several_leaves() {
    for kind in [Kind::new(512, true), Kind::new(1024, false)] {
        let mut dir = Dir::new(kind);
        let twins = colliding(1200);
        for (number, twin) in twins.iter().enumerate() {
            dir.insert(twin);
            dir.insert(&name(number));
        }
        dir.verify();
        assert_eq!(dir.form(), "node");
        for twin in &twins {
            assert_eq!(lookup(&dir.fork, twin).unwrap(), Some(dir.model[twin]));
        }
        for twin in twins
            .iter()
            .step_by(2)
            .chain(twins.iter().skip(1).step_by(2))
        {
            dir.remove(twin);
        }
        dir.verify();
    }
}

#[test]
fn an_index_grows_to_three_levels_and_back() {
    let mut dir = Dir::new(Kind::new(512, true));
    let height = |dir: &Dir| {
        let format = Format::of(&dir.fork);
        let root = format.leaf_block();
        let bytes = format.geometry.read(&dir.fork, root, Header::Index);
        IndexBlock::decode(true, &bytes.unwrap()).unwrap().level
    };
    let count = 12_000;
    for number in 0..count {
        let target = Target::new(1000, fs::Kind::Dir);
        insert(&mut dir.fork, &name(number), target).unwrap();
        dir.model.insert(name(number), target);
    }
    assert_eq!(height(&dir), 2);
    dir.verify();
    for number in 0..count - 100 {
        // Not in the order in which they came.
        dir.remove(&name(number * 7919 % count));
    }
    dir.verify();
    assert_ne!(dir.form(), "single");
    // Little is left of the blocks, but those that have names.
    assert!(dir.fork.mapped() < 200, "{}", dir.fork.mapped());
}

#[test]
fn a_small_inode_and_larger_numbers_push_a_directory_out() {
    let mut dir = Dir::new(Kind::new(4096, true));
    dir.fork.max_inline = 80;
    for number in 0..3 {
        dir.insert(&[b'a' + number; 14]);
    }
    assert_eq!(dir.form(), "short");
    // Eight bytes for each inode number instead of four.
    dir.parent = 1 << 40;
    set_parent(&mut dir.fork, dir.parent).unwrap();
    assert_eq!(dir.form(), "single");
    dir.verify();
    dir.remove(&[b'a'; 14]);
    assert_eq!(dir.form(), "short");
    dir.verify();
    leave_inode(&mut dir.fork).unwrap();
    leave_inode(&mut dir.fork).unwrap();
    assert_eq!(dir.form(), "single");
    dir.verify();
}

#[test]
fn no_room_is_an_error() {
    for free in 0..12 {
        let mut dir = Dir::new(Kind::new(1024, true));
        dir.fork.free = free;
        let target = Target::new(1000, fs::Kind::File);
        let full = (0..10_000).find_map(|n| insert(&mut dir.fork, &name(n), target).err());
        assert!(matches!(full, Some(Error::NoSpace { .. })), "{full:?}");
    }
}

#[test]
fn case_matters_only_where_it_does() {
    for (ascii_ci, found) in [(false, None), (true, Some(&b"ReadMe\xc9"[..]))] {
        let kind = Kind {
            ascii_ci,
            ..Kind::new(1024, true)
        };
        for others in [0, 20, 300, 3000] {
            let mut dir = Dir::new(kind);
            for number in 0..others {
                dir.insert(&name(number));
            }
            dir.insert(b"ReadMe\xc9");
            let entry = find(&dir.fork, b"README\xe9").unwrap();
            assert_eq!(entry.map(|entry| entry.name).as_deref(), found);
            let removed = remove(&mut dir.fork, b"README\xe9").unwrap();
            assert_eq!(removed.is_some(), ascii_ci);
        }
    }
}

#[test]
fn kinds_and_inode_numbers_survive_every_form() {
    let kinds = [
        fs::Kind::File,
        fs::Kind::Dir,
        fs::Kind::CharDevice,
        fs::Kind::BlockDevice,
        fs::Kind::Fifo,
        fs::Kind::Socket,
        fs::Kind::Symlink,
    ];
    let mut dir = Dir::new(Kind::new(1024, true));
    for number in 0..3000 {
        let target = Target::new(u64_of(number) << 20, kinds[number % kinds.len()]);
        insert(&mut dir.fork, &name(number), target).unwrap();
        dir.model.insert(name(number), target);
    }
    dir.verify();
    let found = lookup(&dir.fork, &name(8)).unwrap().unwrap();
    assert_eq!(found.kind(), Some(fs::Kind::Dir));
}

/// A directory whose index is a tree, of small blocks.
fn large() -> Dir {
    let mut dir = Dir::new(Kind::new(512, true));
    for number in 0..2000 {
        dir.insert(&name(number));
    }
    assert_eq!(dir.form(), "node");
    dir
}

#[test]
fn any_flipped_bit_of_version_5_is_found() {
    let mut dir = large();
    let blocks = dir.fork.mapped_blocks();
    for block in blocks.iter().step_by(blocks.len() / 100 + 1) {
        let at = usize::try_from(block * 37 % 512).unwrap();
        dir.fork.bytes_mut(*block)[at] ^= 1;
        assert!(matches!(check(&dir.fork), Err(Error::Corrupt(_))));
        dir.fork.bytes_mut(*block)[at] ^= 1;
    }
    dir.verify();
}

#[test]
fn bits_flipped_under_a_right_checksum_neither_panic_nor_hang() {
    for v5 in [false, true] {
        for count in [10, 40, 1500] {
            let mut dir = Dir::new(Kind::new(512, v5));
            dir.fork.max_inline = 64;
            for number in 0..count {
                dir.insert(&name(number));
            }
            let blocks = dir.fork.mapped_blocks();
            for step in 0..250_usize {
                let block = blocks[step * 7919 % blocks.len()];
                let mut broken = dir.fork.clone();
                let mut bytes = broken.bytes_mut(block).clone();
                bytes[step * 31 % 512] ^= 1 << (step % 8);
                reseal(&mut broken, block, bytes);
                let target = Target::new(77, fs::Kind::File);
                drop(check(&broken));
                drop(list(&broken));
                for number in 0..6 {
                    let number = (step * 13 + number * 101) % count;
                    drop(lookup(&broken, &name(number)));
                    drop(remove(&mut broken, &name(number)));
                    drop(insert(&mut broken, &name(number + count), target));
                }
            }
        }
    }
}

/// Writes a block with its header and checksum right again.
fn reseal(fork: &mut MemoryFork, block: u64, bytes: Vec<u8>) {
    let format = Format::of(fork);
    let header = if (format.leaf_block()..format.free_block(0)).contains(&block) {
        Header::Index
    } else {
        Header::Names
    };
    format.geometry.write(fork, block, header, bytes).unwrap();
}

#[test]
fn a_tree_that_leads_to_itself_or_to_one_leaf_twice_ends() {
    let dir = large();
    let format = Format::of(&dir.fork);
    let root = format.leaf_block();
    let whole = format.geometry.read(&dir.fork, root, Header::Index);
    let node = IndexBlock::decode(true, &whole.unwrap()).unwrap();
    let first = node.entries[0];
    let itself = IndexEntry {
        value: u32::try_from(root).unwrap(),
        ..first
    };
    // All names of one hash would have to be sought through all of these.
    for (entry, is_error) in [(first, false), (itself, true)] {
        let mut node = node.clone();
        node.entries.fill(entry);
        let mut broken = dir.fork.clone();
        reseal(&mut broken, root, node.encode(true, 512));
        let found = (0..2000).map(|number| lookup(&broken, &name(number)));
        let failures = found.filter(Result::is_err).count();
        assert!(!is_error || failures == 2000, "{failures}");
        assert!(check(&broken).map_or(true, |problems| !problems.is_empty()));
    }
}
