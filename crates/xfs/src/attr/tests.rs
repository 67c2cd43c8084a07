//! Attributes in memory, through all forms and back.

use super::*;
use crate::da::memory::{Kind, MemoryFork};
use std::collections::BTreeMap;

/// A fork with what it should hold.
struct Node {
    fork: MemoryFork,
    model: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Node {
    fn new(kind: Kind) -> Self {
        Self {
            fork: MemoryFork::new(kind),
            model: BTreeMap::new(),
        }
    }

    fn set(&mut self, name: &str, value: &[u8]) {
        set(&mut self.fork, name.as_bytes(), Some(value)).unwrap();
        self.model.insert(name.into(), value.to_vec());
    }

    fn remove(&mut self, name: &str) {
        set(&mut self.fork, name.as_bytes(), None).unwrap();
        self.model.remove(name.as_bytes()).unwrap();
    }

    fn verify(&self) {
        assert_eq!(check(&self.fork).unwrap(), [""; 0]);
        let listed = list(&self.fork).unwrap();
        let listed: Vec<_> = listed.into_iter().map(|x| (x.name, x.value)).collect();
        let model: Vec<_> = self.model.clone().into_iter().collect();
        assert_eq!(listed.len(), model.len());
        assert!(listed == model);
    }
}

fn kinds() -> [Kind; 4] {
    [
        Kind::new(512, false),
        Kind::new(1024, true),
        Kind::new(4096, true),
        Kind::new(65536, true),
    ]
}

fn name(number: usize) -> String {
    let space = ["user", "trusted", "security"][number % 3];
    format!("{space}.{number}{}", "n".repeat(number * 13 % 200))
}

#[test]
fn attributes_take_every_form_as_they_grow_and_shrink() {
    for kind in kinds() {
        let mut node = Node::new(kind);
        let lens = [0, 1, 100, 255, 256, 700, 3000, 5000, 65536];
        for number in 0..90 {
            node.set(&name(number), &vec![b'a'; lens[number * 5 % lens.len()]]);
            if number % 7 == 0 {
                node.verify();
                node.set(&name(number / 2), b"another");
            }
        }
        node.verify();
        assert!(node.fork.mapped() > 10);
        for number in 0..90 {
            node.remove(&name(number * 7 % 90));
            if number % 7 == 0 {
                node.verify();
            }
        }
        node.verify();
        assert_eq!(node.fork.mapped(), 0);
        assert_eq!(node.fork.inline(), None);
    }
}

#[test]
fn many_attributes_need_a_tree_of_three_levels() {
    let mut fork = MemoryFork::new(Kind::new(512, false));
    let attribute = |number: usize| Attribute {
        key: Key::from_full_name(name(number).as_bytes()).unwrap(),
        value: vec![9; number % 250],
    };
    let attributes: Vec<_> = (0..10_000).map(attribute).collect();
    build::store(&mut fork, &attributes).unwrap();
    let root = fork.read(0, 1).unwrap().unwrap();
    let root = crate::da::IndexBlock::decode(false, &root).unwrap();
    assert_eq!(root.level, 3);
    assert_eq!(check(&fork).unwrap(), [""; 0]);
    assert_eq!(list(&fork).unwrap().len(), 10_000);
    build::store(&mut fork, &attributes[..40]).unwrap();
    assert_eq!(check(&fork).unwrap(), [""; 0]);
    assert_eq!(list(&fork).unwrap().len(), 40);
}

#[test]
fn what_is_too_large_or_not_there_is_refused() {
    let mut fork = MemoryFork::new(Kind::new(4096, false));
    assert!(matches!(
        set(&mut fork, b"user.a", Some(&vec![0; 65537])),
        Err(Error::Unsupported(_))
    ));
    assert!(matches!(
        set(&mut fork, b"user.a", None),
        Err(Error::NotFound)
    ));
    let entry = [2, 0, 4, 0, 1, 0, 0, 0];
    let list = |count| [&[2, 0, 0, 0][..], &entry.repeat(count)].concat();
    let name = b"system.posix_acl_access";
    assert!(set(&mut fork, name, Some(&list(25))).is_ok());
    assert!(matches!(
        set(&mut fork, name, Some(&list(26))),
        Err(Error::Unsupported(_))
    ));
    fork.free = 0;
    let full = set(&mut fork, b"user.a", Some(&[0; 5000]));
    assert!(matches!(full, Err(Error::NoSpace { .. })));
}

#[test]
fn an_access_list_follows_the_mode() {
    let mut node = Node::new(Kind::new(4096, true));
    follow_mode(&mut node.fork, 0o700).unwrap();
    let list = [
        2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0,
        255, 255, 255, 255,
    ];
    node.set("system.posix_acl_access", &list);
    node.set("user.a", b"b");
    node.verify();
    follow_mode(&mut node.fork, 0o751).unwrap();
    let mut after = list;
    (after[6], after[14], after[22]) = (7, 5, 1);
    node.model
        .insert(b"system.posix_acl_access".to_vec(), after.to_vec());
    node.verify();
}

#[test]
fn flips_are_found_and_neither_panic_nor_hang() {
    for v5 in [false, true] {
        let mut whole = Node::new(Kind::new(1024, v5));
        for number in 0..30 {
            whole.set(&name(number), &vec![b'v'; number * 97 % 2500]);
        }
        let blocks = whole.fork.mapped_blocks();
        assert!(blocks.len() > 15);
        let geometry = Geometry::of_attributes(&whole.fork);
        for step in 0..3000_usize {
            let block = blocks[step * 31 % blocks.len()];
            let at = step * 7 % if step % 2 == 0 { 128 } else { 1024 };
            let before = whole.fork.bytes_mut(block).clone();
            whole.fork.bytes_mut(block)[at] ^= 1 << (step % 8);
            if v5 {
                assert!(matches!(list(&whole.fork), Err(Error::Corrupt(_))));
            }
            // The same under a right checksum.
            let is_value = before.starts_with(b"XARM");
            let header = if is_value {
                crate::da::Header::Value
            } else {
                crate::da::Header::Index
            };
            let bytes = whole.fork.bytes_mut(block).clone();
            geometry
                .write(&mut whole.fork, block, header, bytes)
                .unwrap();
            drop(list(&whole.fork));
            drop(check(&whole.fork));
            *whole.fork.bytes_mut(block) = before;
        }
        whole.verify();
    }
}
