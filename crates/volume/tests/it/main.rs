//! Partition tables against sfdisk and sgdisk, damaged ones, and the corpus; volume groups and
//! arrays against the tools of LVM2 and mdadm.

mod common;
mod corpus;
mod damage;
mod lvm;
mod md;
mod tables;
