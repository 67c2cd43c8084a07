//! The two actions of EC2 that the EBS direct APIs have no counterpart of, by EC2's query protocol.
//!
//! The official SDK for EC2 is a million lines, which every build of this crate would pay for; these
//! two calls are a form, and some XML.

mod answer;

use crate::failure::Failure;
use crate::signed::{Payload, Signed};
use answer::Page;
use aws::Connection;
use std::fmt::Write as _;

/// A client of EC2's query protocol.
#[derive(Debug)]
pub(crate) struct Ec2(Signed);

const VERSION: &str = "2016-11-15";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// The most snapshots of a page that EC2 gives.
const PAGE: &str = "1000";

impl Ec2 {
    pub(crate) fn new(aws: &Connection) -> Self {
        let region = aws.region();
        let url = aws.endpoint_url("EC2").unwrap_or_else(|| {
            let china = region.starts_with("cn-");
            let suffix = if china { ".cn" } else { "" };
            format!("https://ec2.{region}.amazonaws.com{suffix}")
        });
        Self(Signed::new(aws, "ec2", &url))
    }

    /// A page of our own snapshots with all of these tags.
    pub(crate) async fn find(
        &self,
        tags: &[(String, String)],
        next: Option<&str>,
    ) -> Result<Page, Failure> {
        let mut form = vec![
            ("Owner.1".to_owned(), "self"),
            ("MaxResults".to_owned(), PAGE),
        ];
        for (at, (key, value)) in (1..).zip(tags) {
            form.push((format!("Filter.{at}.Name"), key));
            form.push((format!("Filter.{at}.Value.1"), value));
        }
        if let Some(token) = next {
            form.push(("NextToken".to_owned(), token));
        }
        answer::page(&self.call("DescribeSnapshots", &form).await?)
    }

    /// The snapshot of that id.
    pub(crate) async fn describe(&self, id: &str) -> Result<Page, Failure> {
        let form = [("SnapshotId.1".to_owned(), id)];
        answer::page(&self.call("DescribeSnapshots", &form).await?)
    }

    /// Removes a snapshot.
    pub(crate) async fn delete(&self, id: &str) -> Result<(), Failure> {
        let form = [("SnapshotId".to_owned(), id)];
        self.call("DeleteSnapshot", &form).await.map(drop)
    }

    async fn call(&self, action: &str, form: &[(String, &str)]) -> Result<String, Failure> {
        let mut body = format!("Action={action}&Version={VERSION}");
        for (name, value) in form {
            body.push('&');
            encode(&mut body, name);
            body.push('=');
            encode(&mut body, value);
        }
        let headers = [("content-type", CONTENT_TYPE)];
        let sent = self.0.send("POST", "", &headers, Payload::Text(body));
        let answer = sent.await?;
        let success = answer.is_success();
        let text = String::from_utf8(answer.body);
        let text = text.map_err(|_| Failure::lost("the answer is no UTF-8"))?;
        if success {
            return Ok(text);
        }
        let (code, message) = answer::error(&text).unwrap_or_default();
        Err(Failure::of_code(answer.status, &code, &message))
    }
}

/// Percent-encodes all but the unreserved characters of RFC 3986.
fn encode(into: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                into.push(char::from(byte));
            }
            _ => {
                let _ = write!(into, "%{byte:02X}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tag_holds_cannot_end_its_field() {
        let mut text = String::new();
        encode(&mut text, "a&b=c d+ü");
        assert_eq!(text, "a%26b%3Dc%20d%2B%C3%BC");
    }
}
