//! What EC2 answers, as XML.

use crate::failure::{Failure, Kind};
use crate::{SnapshotInfo, State};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use roxmltree::{Document, Node, ParsingOptions};
use std::time::{Duration, SystemTime};

/// A page of snapshots.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) snapshots: Vec<SnapshotInfo>,
    pub(crate) next: Option<String>,
}

/// 1000 snapshots with 50 tags each are a quarter of that.
const MAX_NODES: u32 = 2_000_000;

/// Reads the answer to DescribeSnapshots.
pub(crate) fn page(text: &str) -> Result<Page, Failure> {
    let document = parse(text)?;
    let root = document.root_element();
    let mut page = Page::default();
    if let Some(set) = child(root, "snapshotSet") {
        for item in items(set) {
            page.snapshots.push(snapshot(item)?);
        }
    }
    let next = child_text(root, "nextToken").filter(|token| !token.is_empty());
    page.next = next.map(str::to_owned);
    Ok(page)
}

/// Code and message of an error.
pub(crate) fn error(text: &str) -> Option<(String, String)> {
    let document = parse(text).ok()?;
    let error = document
        .descendants()
        .find(|node| node.tag_name().name() == "Error")?;
    let of = |name| child_text(error, name).unwrap_or_default().to_owned();
    Some((of("Code"), of("Message")))
}

fn parse(text: &str) -> Result<Document<'_>, Failure> {
    let options = ParsingOptions {
        // An answer with entities of its own is none of EC2's.
        allow_dtd: false,
        nodes_limit: MAX_NODES,
        ..ParsingOptions::default()
    };
    Document::parse_with_options(text, options).map_err(|error| unusable(&error.to_string()))
}

fn snapshot(item: Node<'_, '_>) -> Result<SnapshotInfo, Failure> {
    let need = |name: &str| {
        let missing = || unusable(&format!("a snapshot has no {name}"));
        child_text(item, name).ok_or_else(missing)
    };
    let bad = |name: &str, value: &str| unusable(&format!("{name} is {value:?}"));
    let size = need("volumeSize")?;
    let started = need("startTime")?;
    let mut tags = Vec::new();
    if let Some(set) = child(item, "tagSet") {
        for tag in items(set) {
            let of = |name| child_text(tag, name).unwrap_or_default().to_owned();
            tags.push((of("key"), of("value")));
        }
    }
    Ok(SnapshotInfo {
        id: need("snapshotId")?.to_owned(),
        state: match need("status")? {
            "pending" => State::Pending,
            "completed" => State::Completed,
            "error" => State::Error,
            other => State::Other(other.to_owned()),
        },
        message: child_text(item, "statusMessage")
            .unwrap_or_default()
            .to_owned(),
        started: time(started).ok_or_else(|| bad("startTime", started))?,
        volume_size: size.parse().map_err(|_| bad("volumeSize", size))?,
        encrypted: child_text(item, "encrypted") == Some("true"),
        description: child_text(item, "description")
            .unwrap_or_default()
            .to_owned(),
        tags,
    })
}

fn time(text: &str) -> Option<SystemTime> {
    let time = DateTime::from_str(text, Format::DateTime).ok()?;
    let seconds = u64::try_from(time.secs()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn child<'a, 'i>(node: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    node.children()
        .find(|child| child.tag_name().name() == name)
}

fn child_text<'a>(node: Node<'a, '_>, name: &str) -> Option<&'a str> {
    child(node, name).map(|child| child.text().unwrap_or_default())
}

fn items<'a, 'i>(node: Node<'a, 'i>) -> impl Iterator<Item = Node<'a, 'i>> {
    node.children()
        .filter(|child| child.tag_name().name() == "item")
}

fn unusable(what: &str) -> Failure {
    Failure::new(
        Kind::Permanent,
        "",
        format!("EC2's answer is not usable: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeSnapshotsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>59dbff89</requestId>
  <snapshotSet><item>
    <snapshotId>snap-0123</snapshotId><volumeId>vol-ffffffff</volumeId><status>pending</status>
    <startTime>2026-11-01T10:20:30.000Z</startTime><progress>30%</progress>
    <volumeSize>15</volumeSize><description/><encrypted>true</encrypted>
    <tagSet><item><key>rehost:machine</key><value>a &amp; b</value></item></tagSet>
  </item></snapshotSet>
  <nextToken>more</nextToken>
</DescribeSnapshotsResponse>"#;

    #[test]
    fn a_page_is_read() {
        let page = page(ANSWER).unwrap();
        assert_eq!(page.next.as_deref(), Some("more"));
        let [one] = page.snapshots.as_slice() else {
            panic!("{page:?}")
        };
        assert_eq!(
            (one.id.as_str(), &one.state),
            ("snap-0123", &State::Pending)
        );
        assert_eq!((one.volume_size, one.encrypted), (15, true));
        assert_eq!(one.tag("rehost:machine"), Some("a & b"));
        let started = one.started.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(started.as_secs(), 1_793_528_430);
    }

    #[test]
    fn what_is_missing_or_no_number_is_refused() {
        for (old, new) in [
            ("<volumeSize>15</volumeSize>", ""),
            (">15<", ">-15<"),
            ("<snapshotId>snap-0123</snapshotId>", ""),
            ("2026-11-01T10", "yesterday"),
            ("</snapshotSet>", ""),
            (
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>",
                "<!DOCTYPE a [<!ENTITY b \"c\">]>",
            ),
        ] {
            assert!(ANSWER.contains(old));
            assert!(page(&ANSWER.replace(old, new)).is_err(), "{old}");
        }
    }

    #[test]
    fn an_error_is_read_wherever_it_is() {
        let text = "<Response><Errors><Error><Code>RequestLimitExceeded</Code>\
            <Message>slower</Message></Error></Errors></Response>";
        let expected = ("RequestLimitExceeded".to_owned(), "slower".to_owned());
        assert_eq!(error(text), Some(expected));
        assert_eq!(error("<html>"), None);
    }
}
