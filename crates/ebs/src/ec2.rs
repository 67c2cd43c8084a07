//! The two actions of EC2 that the EBS direct APIs have no counterpart of, by EC2's query protocol.
//!
//! The official SDK for EC2 is a million lines, which every build of this crate would pay for; these
//! two calls are a form, a signature by the official `aws-sigv4`, and some XML.

mod answer;

use crate::failure::{Failure, Kind};
use answer::Page;
use aws::Connection;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sdk_ebs::error::DisplayErrorContext;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use std::fmt::Write as _;
use std::time::SystemTime;

/// A client of EC2's query protocol.
#[derive(Debug)]
pub(crate) struct Ec2 {
    url: String,
    region: String,
    credentials: SharedCredentialsProvider,
    connector: SharedHttpConnector,
}

const VERSION: &str = "2016-11-15";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// A page of 1000 snapshots with 50 tags each is some 15 MiB at the very most.
const MAX_ANSWER: usize = 32 << 20;
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
        Self {
            url: format!("{}/", url.trim_end_matches('/')),
            region: region.to_owned(),
            credentials: aws.credentials().clone(),
            connector: aws.connector(),
        }
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
        let request = self.signed(body).await?;
        let response = self.connector.call(request).await.map_err(|error| {
            let message = DisplayErrorContext(&error).to_string();
            if error.is_timeout() {
                Failure::new(Kind::TimedOut, "", message)
            } else {
                Failure::lost(message)
            }
        })?;
        let status = response.status();
        let text = read(response.into_body()).await?;
        if status.is_success() {
            return Ok(text);
        }
        let (code, message) = answer::error(&text).unwrap_or_default();
        Err(Failure::of_code(status.as_u16(), &code, &message))
    }

    async fn signed(&self, body: String) -> Result<HttpRequest, Failure> {
        let credentials = self.credentials.provide_credentials().await;
        let credentials = credentials.map_err(|error| {
            Failure::new(
                Kind::Credentials,
                "",
                DisplayErrorContext(&error).to_string(),
            )
        })?;
        let identity = credentials.into();
        let bad = |error: &dyn std::fmt::Display| {
            let message = format!("no request to {} can be made: {error}", self.url);
            Failure::new(Kind::Permanent, "", message)
        };
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name("ec2")
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .map_err(|error| bad(&error))?
            .into();
        let headers = [("content-type", CONTENT_TYPE)].into_iter();
        let payload = SignableBody::Bytes(body.as_bytes());
        let signable = SignableRequest::new("POST", self.url.as_str(), headers, payload)
            .map_err(|error| bad(&error))?;
        let signed = sign(signable, &params).map_err(|error| bad(&error))?;
        let mut request = HttpRequest::new(SdkBody::from(body));
        request.set_method("POST").map_err(|error| bad(&error))?;
        request
            .set_uri(self.url.as_str())
            .map_err(|error| bad(&error))?;
        let headers = request.headers_mut();
        let signature = signed.output().headers();
        for (name, value) in std::iter::once(("content-type", CONTENT_TYPE)).chain(signature) {
            headers
                .try_insert(name.to_owned(), value.to_owned())
                .map_err(|error| bad(&error))?;
        }
        Ok(request)
    }
}

async fn read(body: SdkBody) -> Result<String, Failure> {
    let mut stream = ByteStream::new(body);
    let mut bytes = Vec::new();
    while let Some(part) = stream.next().await {
        let part = part.map_err(|error| Failure::lost(DisplayErrorContext(&error).to_string()))?;
        if bytes.len().saturating_add(part.len()) > MAX_ANSWER {
            let message = "the answer is larger than 32 MiB";
            return Err(Failure::new(Kind::Permanent, "", message));
        }
        bytes.extend_from_slice(&part);
    }
    String::from_utf8(bytes).map_err(|_| Failure::lost("the answer is no UTF-8"))
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
