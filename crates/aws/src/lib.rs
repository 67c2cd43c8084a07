//! A connection to AWS.
