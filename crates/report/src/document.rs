//! The report as a document: its frame, and reading it safely.

use crate::{Error, Machine, Moment};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The version of the report's JSON that this rehost writes and reads.
pub const API_VERSION: &str = "rehost/v1";

/// Largest report that is read, in bytes: ours are a few MiB, and a file named by mistake may be a
/// disk.
pub const LARGEST: u64 = 256 << 20;

/// What one run found and did.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report {
    api_version: ApiVersion,
    kind: Kind,
    /// The run itself.
    pub run: Run,
    /// The machines that it was about, in the order of the command line.
    pub machines: Vec<Machine>,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum ApiVersion {
    #[serde(rename = "rehost/v1")]
    V1,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Kind {
    Report,
}

/// One run of rehost.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// What was asked for: `convert`, `replicate`, `copy`, `test`, `cutover`, `launch`.
    pub command: String,
    /// The version of rehost.
    pub rehost: String,
    /// When it began.
    pub started: Moment,
    /// When it ended; a run that was killed has written no report.
    pub ended: Moment,
    /// Where it ran, if the caller says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Which part of a fleet it was about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<Shard>,
    /// How it ended.
    pub result: Outcome,
    /// Why it failed: what failed first, then every reason below it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub error: Vec<String>,
}

/// A part of a fleet.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Shard {
    /// Which one, from 0.
    pub index: u32,
    /// Of how many.
    pub count: u32,
}

/// How something ended.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// As asked.
    #[default]
    Ok,
    /// It did not.
    Failed,
}

impl Run {
    /// A run that begins, by this rehost.
    pub fn begin(command: &str, now: Moment) -> Self {
        Self {
            command: command.to_owned(),
            rehost: env!("CARGO_PKG_VERSION").to_owned(),
            started: now,
            ended: now,
            host: None,
            shard: None,
            result: Outcome::Ok,
            error: Vec::new(),
        }
    }

    /// The run ended, well unless [`fail`](Self::fail) said otherwise.
    pub fn end(&mut self, now: Moment) {
        self.ended = now.max(self.started);
    }

    /// The run failed: what failed, then every reason below it.
    pub fn fail<T: ToString>(&mut self, reasons: impl IntoIterator<Item = T>) {
        self.result = Outcome::Failed;
        self.error = reasons.into_iter().map(|it| it.to_string()).collect();
    }
}

impl Report {
    /// A report of a run that ended. It failed if one of its machines did.
    pub fn new(mut run: Run, machines: Vec<Machine>) -> Self {
        if machines.iter().any(|it| it.result == Outcome::Failed) {
            run.result = Outcome::Failed;
        }
        Self {
            api_version: ApiVersion::V1,
            kind: Kind::Report,
            run,
            machines,
        }
    }

    /// The report as JSON, with a newline at the end.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self);
        // Maps with keys that are no strings could fail, and there are none.
        json.expect("a report holds strings and numbers") + "\n"
    }

    /// Reads a report.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::Kind`] and [`Error::Version`] if it is none, or one of another
    /// version; [`Error::Shape`] if it holds what this version does not know.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        // What it is comes first: of another version, its fields are no mistakes.
        let frame: Frame = serde_json::from_slice(json).map_err(Error::Json)?;
        if frame.kind.as_deref() != Some("Report") {
            return Err(Error::Kind(frame.kind.as_deref().map(short)));
        }
        if frame.api_version.as_deref() != Some(API_VERSION) {
            return Err(Error::Version(frame.api_version.as_deref().map(short)));
        }
        serde_json::from_slice(json).map_err(|source| Error::Shape {
            writer: frame.run.and_then(|run| run.rehost).as_deref().map(short),
            source,
        })
    }

    /// Reads a report from a file.
    ///
    /// # Errors
    /// As [`parse`](Self::parse), and [`Error::Io`] and [`Error::TooLarge`], each behind
    /// [`Error::File`] with the file's name.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let read = || {
            let mut json = Vec::new();
            let file = File::open(path).map_err(Error::Io)?;
            file.take(LARGEST + 1)
                .read_to_end(&mut json)
                .map_err(Error::Io)?;
            if u64::try_from(json.len()).is_ok_and(|size| size > LARGEST) {
                return Err(Error::TooLarge);
            }
            Self::parse(&json)
        };
        read().map_err(|source| Error::File {
            path: path.to_owned(),
            source: Box::new(source),
        })
    }
}

/// What tells whether the rest can be understood.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Frame {
    api_version: Option<String>,
    kind: Option<String>,
    run: Option<RunFrame>,
}

#[derive(Deserialize)]
struct RunFrame {
    rehost: Option<String>,
}

/// A few letters of what somebody wrote, for a message.
fn short(text: &str) -> String {
    const MAX: usize = 40;
    let letters = text.chars().filter(|letter| !letter.is_control());
    letters.take(MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_report_survives_json() {
        let report = testing::report();
        let json = report.to_json();
        assert_eq!(Report::parse(json.as_bytes()).unwrap(), report);
        assert!(
            json.starts_with("{\n  \"apiVersion\": \"rehost/v1\",\n  \"kind\": \"Report\""),
            "{json}"
        );
    }

    #[test]
    fn a_report_of_a_failed_machine_is_one_of_a_failed_run() {
        let mut machine = Machine::new("web1");
        machine.fail(["cannot read", "no such file"]);
        let report = Report::new(Run::begin("convert", Moment(7)), vec![machine]);
        assert_eq!(report.run.result, Outcome::Failed);
    }

    #[test]
    fn what_is_no_report_of_this_version_is_refused_and_says_why() {
        let good = testing::report().to_json();
        let cases = [
            ("", "is no JSON"),
            ("[]", "is no JSON of a report"),
            ("{}", "is no report"),
            (r#"{"kind": "Blueprint"}"#, "Blueprint"),
            (r#"{"kind": "Report"}"#, "rehost/v1"),
            (
                r#"{"kind": "Report", "apiVersion": "rehost/v2", "new": 1}"#,
                "rehost/v2",
            ),
        ];
        for (json, expected) in cases {
            let error = Report::parse(json.as_bytes()).unwrap_err();
            let text = testing::chain(&error);
            assert!(text.contains(expected), "{json}: {text}");
        }
        let newer = good.replacen("\"command\"", "\"mood\": 1, \"command\"", 1);
        let error = testing::chain(&Report::parse(newer.as_bytes()).unwrap_err());
        assert!(
            error.contains("unknown field `mood`") && error.contains("line"),
            "{error}"
        );
        assert!(error.contains(env!("CARGO_PKG_VERSION")), "{error}");
    }

    #[test]
    fn an_unreadable_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("web1.json");
        let error = testing::chain(&Report::read(&path).unwrap_err());
        assert!(error.contains("web1.json"), "{error}");
        std::fs::write(&path, testing::report().to_json()).unwrap();
        assert_eq!(Report::read(&path).unwrap(), testing::report());
        File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
        let error = testing::chain(&Report::read(&path).unwrap_err());
        assert!(error.contains("larger than 256 MiB"), "{error}");
    }
}
