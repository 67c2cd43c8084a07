//! The driver against mtools and fsck.fat, on hostile volumes, and on the corpus.

mod common;
mod corpus;
mod editing;
mod hostile;
mod places;
mod random;
mod reading;
