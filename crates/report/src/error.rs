//! Why a report could not be read.

use crate::document::API_VERSION;
use std::path::PathBuf;

/// Why a report could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file, and what it is about it.
    #[error("cannot read the report {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<Self>,
    },
    /// The host could not read it.
    #[error("the file cannot be read")]
    Io(#[source] std::io::Error),
    /// It is larger than any report.
    #[error("it is larger than 256 MiB, so it is no report")]
    TooLarge,
    /// It is something else, or was cut off.
    #[error("it is no JSON of a report")]
    Json(#[source] serde_json::Error),
    /// It is a document of another kind.
    #[error("it is no report: its `kind` is {}, not \"Report\"", named(.0.as_deref()))]
    Kind(Option<String>),
    /// It is a report of another version.
    #[error(
        "its `apiVersion` is {}, and this rehost reads {API_VERSION:?}; use the rehost that wrote it, or a newer one",
        named(.0.as_deref())
    )]
    Version(Option<String>),
    /// It is not as this version writes reports.
    #[error(
        "it is not as rehost {} writes reports{}",
        env!("CARGO_PKG_VERSION"),
        writer.as_ref().map(|it| format!(" (rehost {it} wrote it; that or a newer one reads it)")).unwrap_or_default()
    )]
    Shape {
        /// The version that says it wrote it.
        writer: Option<String>,
        /// Which field, and where.
        source: serde_json::Error,
    },
}

fn named(value: Option<&str>) -> String {
    value.map_or_else(|| "missing".to_owned(), |value| format!("{value:?}"))
}
