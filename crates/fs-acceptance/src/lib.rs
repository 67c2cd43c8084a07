//! What the acceptance tests of the file system drivers share: trees as values, operations that
//! are done by a driver, by the kernel and to a model, and damage. Not in the binary.
//!
//! Everything here panics where a test has to fail.

pub mod damage;
pub mod device;
pub mod fill;
pub mod kernel;
pub mod model;
pub mod operation;
pub mod random;
pub mod tree;

/// How often something random is done: `few` times, `many` times if `REHOST_LONG` is 1, or as often
/// as it says.
pub fn runs(few: u64, many: u64) -> u64 {
    let wanted = std::env::var("REHOST_LONG").ok();
    match wanted.map(|text| text.parse()) {
        None => few,
        Some(Ok(number)) if number > 1 => number,
        Some(_) => many,
    }
}

/// Whether everything is to be tested at length: `REHOST_LONG` is set.
pub fn long() -> bool {
    std::env::var_os("REHOST_LONG").is_some()
}
