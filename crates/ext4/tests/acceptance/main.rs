//! Acceptance: what the driver writes is read back through the kernel, `e2fsck` and another
//! reader, and compared with what was meant, byte for byte.
//!
//! Images are made by `mkfs` and by the kernel's own mount. Where that is not possible (no root,
//! no loop devices, no e2fsprogs) the tests say so and pass. `REHOST_LONG=1` runs all feature sets
//! with long random workloads from several seeds.

mod features;
mod hostile;
mod image;
mod oracle;
mod places;
mod workload;
