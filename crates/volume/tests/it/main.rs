//! Partition tables against sfdisk and sgdisk, damaged ones, and the corpus.

mod common;
mod corpus;
mod damage;
mod tables;
