//! The conversion knowledge: one file for each rule, in the order in which they run.

mod linux;

use crate::Rule;

/// All rules, in the order in which they run.
pub const RULES: &[Rule] = linux::RULES;
