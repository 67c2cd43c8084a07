//! Requests that the SDK's client does not make: signed by the official `aws-sigv4`, sent over the
//! SDK's own connections.
//!
//! They are of two kinds. EC2's, because the SDK for EC2 is a million lines. And putting a block,
//! which is what uploads do all the time: the SDK's client took a fifth of their CPU for it, beside
//! reading, hashing and sending, and this takes less than half of that.

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
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

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
    /// When the service last said that it has failed.
    failed: Mutex<Option<Instant>>,
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
/// So long after a service failed the connections of its answers are looked at. To do so always
/// takes a fortieth of an upload's CPU.
const SICK: Duration = Duration::from_secs(60);

impl Signed {
    /// The service that answers at `url`.
    pub(crate) fn new(aws: &Connection, service: &'static str, url: &str) -> Self {
        Self {
            aws: aws.clone(),
            service,
            url: format!("{}/", url.trim_end_matches('/')),
            connector: aws.connector(),
            ahead: AtomicI64::new(0),
            failed: Mutex::default(),
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
        let connection = self.is_sick().then(CaptureSmithyConnection::new);
        if let Some(connection) = &connection {
            request.add_extension(connection.clone());
        }
        let response = self.connector.call(request).await.map_err(|error| {
            let message = DisplayErrorContext(&error).to_string();
            if error.is_timeout() {
                Failure::new(Kind::TimedOut, "", message)
            } else {
                Failure::lost(message)
            }
        })?;
        let status = response.status().as_u16();
        if (500..=504).contains(&status) {
            *self.failed() = Some(Instant::now());
            // What is behind the connection is sick, so another attempt shall take another one.
            if let Some(connection) = connection.and_then(|connection| connection.get()) {
                connection.poison();
            }
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

    /// Whether the service failed not long ago.
    fn is_sick(&self) -> bool {
        self.failed().is_some_and(|failed| failed.elapsed() < SICK)
    }

    fn failed(&self) -> MutexGuard<'_, Option<Instant>> {
        // Whole at any time.
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
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
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc::{Receiver, Sender, channel};

    const DATE: &str = "Wed, 01 Jan 2031 12:00:00 GMT";

    /// A service with a clock of its own that answers so. Tells of each request the number
    /// of the connection that it came over, and its `x-amz-date`.
    fn service(answers: &'static [u16]) -> (String, Receiver<(usize, String)>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let mut answers = answers.iter();
            for (number, stream) in listener.incoming().enumerate() {
                converse(&stream.unwrap(), number, &mut answers, &tell);
            }
        });
        (url, told)
    }

    /// Answers over one connection until its other end is closed.
    fn converse(
        mut stream: &TcpStream,
        number: usize,
        answers: &mut std::slice::Iter<'_, u16>,
        tell: &Sender<(usize, String)>,
    ) {
        let mut reader = BufReader::new(stream);
        loop {
            let (mut signed, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap() == 0 {
                    return;
                }
                match line.trim().split_once(": ") {
                    Some(("x-amz-date", value)) => value.clone_into(&mut signed),
                    Some(("content-length", value)) => length = value.parse().unwrap(),
                    None if line.trim().is_empty() => break,
                    _ => {}
                }
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
            tell.send((number, signed)).unwrap();
            let status = answers.next().unwrap();
            let head = format!("HTTP/1.1 {status} X\r\ndate: {DATE}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
        }
    }

    fn connection(url: &str) -> Connection {
        Connection::open(&aws::Config {
            region: Some("us-east-1".to_owned()),
            endpoint_url: Some(url.to_owned()),
            credentials: Some(aws::Credentials {
                access_key_id: "AKIAREHOSTTESTKEY".to_owned(),
                secret_access_key: "secret".to_owned(),
                session_token: None,
            }),
            ..aws::Config::default()
        })
        .unwrap()
    }

    #[test]
    fn a_sick_connection_is_left_and_the_services_clock_is_followed() {
        let (url, told) = service(&[201, 503, 503, 403, 201, 201]);
        let aws = connection(&url);
        let signed = Signed::new(&aws, "ebs", &url);
        let mut seen = Vec::new();
        for _ in 0..6 {
            let block = Payload::Block(Bytes::from_static(b"block"));
            aws.handle()
                .block_on(signed.send("PUT", "snapshots/snap-1/blocks/0", &[], block))
                .unwrap();
            let (number, date) = told.recv().unwrap();
            seen.push((number, date.starts_with("20310101T")));
        }
        let (ours, theirs) = (false, true);
        // The first failure may be a hiccup.
        let expected = [
            (0, ours),
            (0, ours),
            (0, ours),
            (1, ours),
            (1, theirs),
            (1, theirs),
        ];
        assert_eq!(seen, expected);
    }

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
