//! Answers in XML.

use crate::error::escape;
use std::fmt::Write;

pub(super) fn element(body: &mut String, name: &str, text: &str) {
    // Writing to a string cannot fail.
    let _ = write!(body, "<{name}>{}</{name}>", escape(text));
}
