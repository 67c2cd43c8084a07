//! What is wrong with a document, where, and what to do.

use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// How bad a problem is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It can be meant so, but seldom is.
    Warning,
    /// It cannot be done.
    Error,
}

/// One thing that is wrong with a document.
///
/// Displays as `line:column: path: message; fix`.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Problem {
    /// The field, as `disks[1].iops`; empty for the whole document.
    pub path: String,
    /// Its line, from 1.
    pub line: usize,
    /// Its column in characters, from 1.
    pub column: usize,
    /// The rule that it breaks, in kebab-case.
    pub rule: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub fix: String,
}

impl Problem {
    /// An error at a line and a column.
    pub fn new(
        path: impl Into<String>,
        (line, column): (usize, usize),
        rule: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            path: path.into(),
            line,
            column,
            rule,
            severity: Severity::Error,
            message: message.into(),
            fix: fix.into(),
        }
    }

    /// The same as a warning.
    #[must_use]
    pub fn warning(self) -> Self {
        Self {
            severity: Severity::Warning,
            ..self
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}; {}", self.message, self.fix)
    }
}

/// The worst severity among problems; none if there are none.
pub fn worst(problems: &[Problem]) -> Option<Severity> {
    problems.iter().map(|problem| problem.severity).max()
}

/// The problems of one file.
///
/// Displays as a line for each, `file:line:column: path: message; fix`, which editors can follow.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Problems {
    /// The file.
    pub file: PathBuf,
    /// Its problems, in the order of the text.
    pub problems: Vec<Problem>,
}

impl Problems {
    /// Names the file of problems, and sorts them.
    pub fn in_file(file: &Path, mut problems: Vec<Problem>) -> Self {
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Self {
            file: file.to_owned(),
            problems,
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.problems.iter().enumerate() {
            if number > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{problem}", self.file.display())?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}
