//! A plan as text for people.

use crate::change::{After, Content};
use crate::{Change, Plan, Severity, State, originals};
use similar::TextDiff;
use std::fmt::Write as _;

impl Plan {
    /// The plan as text: each object with its reasons, with a unified diff if `diffs`, then the
    /// findings.
    pub fn render(&self, diffs: bool) -> String {
        let mut text = String::new();
        let name = self.guest.hostname.as_deref().unwrap_or("unnamed");
        let _ = writeln!(
            text,
            "{} ({name}, root on {})",
            self.guest.os, self.guest.root
        );
        let (kept, asked): (Vec<_>, Vec<_>) = self
            .changes
            .iter()
            .partition(|change| originals::is_record(change));
        for change in asked {
            change.render(&mut text, diffs);
        }
        // People want to see what changes, not that it is written down.
        if let Some(receipt) = kept.last() {
            let _ = writeln!(
                text,
                "+ {} and the originals of what is changed",
                receipt.path
            );
        }
        if self.is_empty() {
            text.push_str("nothing to change\n");
        }
        for finding in &self.findings {
            let severity = match finding.severity {
                Severity::Info => "note",
                Severity::Warning => "warning",
                Severity::Problem => "PROBLEM",
            };
            let _ = writeln!(text, "{severity}: {} [{}]", finding.text, finding.rule);
        }
        text
    }
}

impl Change {
    fn render(&self, text: &mut String, diffs: bool) {
        let sign = match (&self.before, &self.after) {
            (State::Absent, _) => '+',
            (_, After::Absent) => '-',
            _ => '~',
        };
        let _ = writeln!(text, "{sign} {}{}", self.path, self.what());
        for because in &self.because {
            let _ = writeln!(text, "    {}: {}", because.rule, because.reason);
        }
        if diffs && let Some(diff) = self.diff() {
            for line in diff.lines() {
                let _ = writeln!(text, "    | {line}");
            }
        }
    }

    /// What a person cannot see in a diff.
    fn what(&self) -> String {
        match &self.after {
            After::Absent => String::new(),
            After::Dir { .. } => "/".to_owned(),
            After::Symlink { target, .. } => {
                format!(" -> {}", String::from_utf8_lossy(&target.0))
            }
            After::File { content, .. } => match content {
                Content::Whole(_) => String::new(),
                Content::Extend { keep, tail, .. } => {
                    format!(" ({keep} bytes kept, {} bytes appended)", tail.0.len())
                }
                Content::Copy { from, size, .. } => format!(" ({size} bytes, a copy of {from})"),
            },
        }
    }

    /// A unified diff where both sides are text.
    pub fn diff(&self) -> Option<String> {
        let before = match &self.before {
            State::Absent => "",
            State::File {
                content: Some(content),
                ..
            } => content.text()?,
            _ => return None,
        };
        let after = match &self.after {
            After::Absent => "",
            After::File {
                content: Content::Whole(bytes),
                ..
            } => bytes.text()?,
            _ => return None,
        };
        if before == after {
            return None;
        }
        Some(
            TextDiff::from_lines(before, after)
                .unified_diff()
                .context_radius(2)
                .to_string(),
        )
    }
}
