//! A connection to one region of one AWS account: credentials, addresses, TLS, time-outs.
//!
//! The crates for the single services are made over it, so that a process asks for credentials once,
//! and all its requests share connections. Asynchronous work runs on the connection's thread or two;
//! callers wait for it with [`Connection::wait`].
#![warn(clippy::arithmetic_side_effects)]

mod config;
mod connection;
mod error;
mod http;
mod identity;
mod pace;
mod pause;

pub use config::{Config, Credentials, Timeouts};
pub use connection::Connection;
pub use error::Error;
pub use pace::Pace;
pub use pause::pause;
