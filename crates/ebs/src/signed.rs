//! Requests that the SDK's client does not make: signed by the official `aws-sigv4`, sent over the
//! SDK's own connections.
//!
//! They are of two kinds. EC2's, because the SDK for EC2 is a million lines. And putting a block,
//! which is what uploads do all the time: the SDK's client took a fifth of their CPU for it, beside
//! reading, hashing and sending, and this takes less than a tenth.

use crate::failure::{Failure, Kind};
use aws::Connection;
use aws_sdk_ebs::error::DisplayErrorContext;
use aws_sigv4::http_request::{
    PayloadChecksumKind, SignableBody, SignableRequest, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::connection::CaptureSmithyConnection;
use aws_smithy_runtime_api::client::http::{HttpConnector, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_types::DateTime;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use aws_smithy_types::date_time::Format;
use bytes::Bytes;
use std::fmt::Display;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// One service of AWS.
#[derive(Debug)]
pub(crate) struct Signed {
    aws: Connection,
    /// As signatures call it.
    service: &'static str,
    /// Ends in a slash.
    url: String,
    connector: SharedHttpConnector,
    /// Seconds that the service's clock is ahead of ours.
    ahead: AtomicI64,
}

/// A request's body.
#[derive(Debug)]
pub(crate) enum Payload {
    /// The signature covers it.
    Text(String),
    /// The signature does not: a header that it covers has its digest.
    Block(Bytes),
}

/// An answer, whatever it says.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// The header `x-amzn-errortype`.
    pub(crate) error_type: Option<String>,
    pub(crate) body: Vec<u8>,
}

const USER_AGENT: &str = concat!("rehost/", env!("CARGO_PKG_VERSION"));
/// A page of 1000 snapshots with 50 tags each is some 15 MiB at the very most.
const MAX_ANSWER: usize = 32 << 20;

impl Signed {
    /// The service that answers at `url`.
    pub(crate) fn new(aws: &Connection, service: &'static str, url: &str) -> Self {
        Self {
            aws: aws.clone(),
            service,
            url: format!("{}/", url.trim_end_matches('/')),
            connector: aws.connector(),
            ahead: AtomicI64::new(0),
        }
    }

    /// Sends a request once. The path has no slash before it, and only characters that stand for
    /// themselves.
    pub(crate) async fn send(
        &self,
        method: &'static str,
        path: &str,
        headers: &[(&'static str, &str)],
        payload: Payload,
    ) -> Result<Answer, Failure> {
        let mut request = self.signed(method, path, headers, payload).await?;
        let connection = CaptureSmithyConnection::new();
        request.add_extension(connection.clone());
        let response = self.connector.call(request).await.map_err(|error| {
            let message = DisplayErrorContext(&error).to_string();
            if error.is_timeout() {
                Failure::new(Kind::TimedOut, "", message)
            } else {
                Failure::lost(message)
            }
        })?;
        let status = response.status().as_u16();
        // What is behind the connection is sick, so another attempt shall take another one.
        if (500..=504).contains(&status)
            && let Some(connection) = connection.get()
        {
            connection.poison();
        }
        // A signature may be refused for its time.
        if matches!(status, 400 | 401 | 403)
            && let Some(date) = response.headers().get("date")
            && let Some(ahead) = ahead(date, SystemTime::now())
        {
            self.ahead.store(ahead, Ordering::Relaxed);
        }
        let error_type = response.headers().get("x-amzn-errortype");
        Ok(Answer {
            status,
            error_type: error_type.map(str::to_owned),
            body: read(response.into_body()).await?,
        })
    }

    /// The service's time, as far as it told.
    fn now(&self) -> SystemTime {
        let ahead = self.ahead.load(Ordering::Relaxed);
        let by = Duration::from_secs(ahead.unsigned_abs());
        let now = SystemTime::now();
        let there = if ahead < 0 {
            now.checked_sub(by)
        } else {
            now.checked_add(by)
        };
        there.unwrap_or(now)
    }

    async fn signed(
        &self,
        method: &'static str,
        path: &str,
        headers: &[(&'static str, &str)],
        payload: Payload,
    ) -> Result<HttpRequest, Failure> {
        let identity = self.aws.identity().await.map_err(|error| {
            let why = match error {
                aws::Error::Credentials(why) => why,
                other => other.to_string(),
            };
            Failure::new(Kind::Credentials, "", why)
        })?;
        let url = format!("{}{path}", self.url);
        let bad = |error: &dyn Display| {
            let message = format!("no request to {url} can be made: {error}");
            Failure::new(Kind::Permanent, "", message)
        };
        let mut settings = SigningSettings::default();
        let body = match &payload {
            Payload::Text(text) => SignableBody::Bytes(text.as_bytes()),
            Payload::Block(_) => {
                settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
                SignableBody::UnsignedPayload
            }
        };
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.aws.region())
            .name(self.service)
            .time(self.now())
            .settings(settings)
            .build()
            .map_err(|error| bad(&error))?
            .into();
        let signable = SignableRequest::new(method, &url, headers.iter().copied(), body);
        let signed = sign(signable.map_err(|error| bad(&error))?, &params);
        let signed = signed.map_err(|error| bad(&error))?;
        let mut request = HttpRequest::new(match payload {
            Payload::Text(text) => SdkBody::from(text),
            Payload::Block(block) => SdkBody::from(block),
        });
        request.set_method(method).map_err(|error| bad(&error))?;
        request.set_uri(url.as_str()).map_err(|error| bad(&error))?;
        let own = [("user-agent", USER_AGENT)];
        let signature = signed.output().headers();
        for (name, value) in headers.iter().copied().chain(own).chain(signature) {
            request
                .headers_mut()
                .try_insert(name.to_owned(), value.to_owned())
                .map_err(|error| bad(&error))?;
        }
        Ok(request)
    }
}

impl Answer {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Seconds that a clock which says `date` is ahead of `now`, 0 if they agree to a minute.
fn ahead(date: &str, now: SystemTime) -> Option<i64> {
    let there = DateTime::from_str(date, Format::HttpDate).ok()?.secs();
    let here = DateTime::from(now).secs();
    let ahead = there.checked_sub(here)?;
    Some(if ahead.unsigned_abs() > 60 { ahead } else { 0 })
}

async fn read(body: SdkBody) -> Result<Vec<u8>, Failure> {
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
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_minutes_off_is_followed() {
        let now = DateTime::from_str("Fri, 27 Nov 2026 12:00:00 GMT", Format::HttpDate).unwrap();
        let now = SystemTime::try_from(now).unwrap();
        let of = |date| ahead(date, now);
        assert_eq!(of("Fri, 27 Nov 2026 12:00:59 GMT"), Some(0));
        assert_eq!(of("Fri, 27 Nov 2026 12:10:00 GMT"), Some(600));
        assert_eq!(of("Thu, 26 Nov 2026 12:00:00 GMT"), Some(-86_400));
        assert_eq!(of("yesterday"), None);
    }
}
