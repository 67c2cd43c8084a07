//! The files by which kmod finds modules: what `depmod` writes and `modprobe` reads.
//!
//! Specification: `modules.dep(5)`, `depmod.d(5)`, and for the binary indexes kmod's
//! `libkmod/libkmod-index.c` and `tools/depmod.c`.

mod alias;
mod dep;
pub(crate) mod index;
mod modules;
mod name;
mod order;
mod softdep;

pub(crate) use alias::parse as parse_aliases;
pub(crate) use dep::{Dependencies, parse as parse_dependencies};
pub(crate) use modules::Modules;
pub(crate) use name::{ModuleFile, normalize};
pub(crate) use order::Order;

#[cfg(test)]
pub(crate) use modules::tests::FakeTree;
