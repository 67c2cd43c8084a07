//! The fake from outside: every rule by a request over a socket, and the official SDK as a client.

mod blocks;
mod client;
mod ec2;
mod faults;
mod hold;
mod images;
mod launch;
mod life;
mod network;
mod query;
mod read;
mod sdk;
mod signatures;
mod start;
mod tags;
mod volumes;
