//! .
mod checksum;
