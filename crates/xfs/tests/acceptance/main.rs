//! Acceptance: what the driver writes is read back through the kernel, `xfs_repair` and another
//! reader, and compared with what was meant, byte for byte.
//!
//! Images are made by `mkfs.xfs` and by the kernel's own mount; what the kernel does not mount
//! (version 4, names without case) is filled from a prototype and judged by `xfs_repair` and
//! lamxfs. Where that is not possible (no root, no loop devices, no xfsprogs) the tests say so and
//! pass. `REHOST_LONG=1` runs all feature sets with 200 scripts of edits for each state of the file
//! system; another number is the number of scripts. `REHOST_SETS=default,v4` runs only these.

mod blocks;
mod corpus;
mod dirty;
mod editing;
mod features;
mod growth;
mod hostile;
mod image;
mod log_cuts;
mod oracle;
mod places;
mod prototype;
mod reading;
