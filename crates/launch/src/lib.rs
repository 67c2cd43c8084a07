//! From a blueprint to a running target.
