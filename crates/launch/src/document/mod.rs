//! Files that people write: YAML or JSON, read into a typed value, with every problem told at its
//! place.
//!
//! A text becomes a tree whose nodes know their line and column; the tree is compared with the
//! JSON Schema of the Rust type, and all that does not fit is told at once. What fits becomes the
//! value, and the [`Document`] says where each field stood, so that rules about the meaning can
//! point at it too.
//!
//! ```
//! #[derive(serde::Deserialize, schemars::JsonSchema)]
//! #[serde(deny_unknown_fields)]
//! struct Disk {
//!     size: u32,
//! }
//!
//! let disk = launch::document::read::<Disk>("size: 8\n").unwrap();
//! assert_eq!((disk.value().size, disk.at("size")), (8, (1, 7)));
//!
//! let problems = launch::document::read::<Disk>("siez: 8\n").err().unwrap();
//! assert_eq!(
//!     problems[0].to_string(),
//!     "1:1: siez: there is no such field; did you mean size?"
//! );
//! ```
//!
//! Texts are hostile: they have at most [`MAX_SIZE`] bytes, 32 levels and 50 000 nodes; anchors,
//! aliases, tags and a second document are refused. Scalars mean what YAML 1.2's core schema says:
//! `yes` is text, `true` is not.

mod check;
mod path;
mod problem;
mod scalar;
mod schema;
mod suggest;
mod tree;
mod typed;

pub use path::Path;
pub use problem::{Problem, Problems, Severity, worst};
pub use schema::{schema, unread_keywords};
pub use suggest::nearest;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path as FilePath, PathBuf};
use tree::Node;

/// The longest text that is read, in bytes: a thousand machines' worth.
pub const MAX_SIZE: usize = 1 << 20;

/// A value that was read from a text, and where its fields stood.
#[derive(Clone, Debug)]
pub struct Document<T> {
    value: T,
    root: Node,
}

/// Why a file could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The system did not give the file.
    #[error("cannot read {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its content is not what it should be.
    #[error(transparent)]
    Problems(#[from] Problems),
}

/// Reads a text.
///
/// # Errors
///
/// All problems that were found, in the order of the text, at least one.
pub fn read<T: JsonSchema + DeserializeOwned>(text: &str) -> Result<Document<T>, Vec<Problem>> {
    let root = tree::parse(text)?;
    let problems = check::check(&root, &schema::<T>());
    if !problems.is_empty() {
        return Err(problems);
    }
    let value = typed::value(&root).map_err(|problem| vec![problem])?;
    Ok(Document { value, root })
}

/// Reads a file.
///
/// # Errors
///
/// See [`Error`].
pub fn load<T: JsonSchema + DeserializeOwned>(path: &FilePath) -> Result<Document<T>, Error> {
    let text = text_of(path)?;
    read(&text).map_err(|problems| Problems::in_file(path, problems).into())
}

/// The text of a file, of which at most [`MAX_SIZE`] bytes are read.
///
/// # Errors
///
/// See [`Error`].
pub fn text_of(path: &FilePath) -> Result<String, Error> {
    let failed = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let refused = |rule, message: &str, fix: &str| {
        let problem = Problem::new("", (1, 1), rule, message, fix);
        Error::Problems(Problems::in_file(path, vec![problem]))
    };
    let limit = u64::try_from(MAX_SIZE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() > MAX_SIZE {
        return Err(refused("too-large", tree::TOO_LARGE.0, tree::TOO_LARGE.1));
    }
    String::from_utf8(bytes)
        .map_err(|_| refused("not-text", "this is not UTF-8 text", "save it as UTF-8"))
}

impl<T> Document<T> {
    /// The value.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// The value alone.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Line and column of a field, from 1, as in `disks[1].iops`: of its value if that is a single
    /// one, else of its name. For what is not in the text, those of what it would be in.
    pub fn at(&self, path: &str) -> (usize, usize) {
        self.root.find(path).0.place
    }

    /// Whether the text has this field.
    pub fn has(&self, path: &str) -> bool {
        self.root.find(path).1
    }

    /// A problem with a field, at its place.
    pub fn problem(
        &self,
        path: impl Into<String>,
        rule: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Problem {
        let path = path.into();
        let place = self.at(&path);
        Problem::new(path, place, rule, message, fix)
    }
}

#[cfg(test)]
mod tests;
