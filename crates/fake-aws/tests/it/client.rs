//! A client by hand, so that requests can be wrong in every way.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fake_aws::{BLOCK, Config, FakeAws, Faults, Signatures};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A fake that does not look at signatures.
pub(crate) fn unsigned() -> FakeAws {
    FakeAws::start(Config {
        signatures: Signatures::Off,
        ..Config::default()
    })
    .expect("a fake")
}

/// The same with switches.
pub(crate) fn with(faults: Faults) -> FakeAws {
    let fake = unsigned();
    fake.set_faults(faults);
    fake
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    /// What is between the first `<name>` and its end.
    pub(crate) fn element(&self, name: &str) -> Option<String> {
        let text = self.text();
        let (_, rest) = text.split_once(&format!("<{name}>"))?;
        rest.split_once(&format!("</{name}>"))
            .map(|(value, _)| value.to_owned())
    }

    /// The error's name without its URI, and its reason.
    pub(crate) fn error(&self) -> (u16, String, String) {
        let kind = self.header("x-amzn-errortype").unwrap_or_default();
        let (kind, _) = kind.split_once(':').expect("a URI behind the name");
        let reason = self.json()["Reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        assert!(self.json()["Message"].is_string());
        (self.status, kind.to_owned(), reason)
    }
}

/// Asserts an error of EBS.
#[track_caller]
pub(crate) fn refused(answer: &Answer, status: u16, kind: &str, reason: &str) {
    assert_eq!(
        answer.error(),
        (status, kind.to_owned(), reason.to_owned()),
        "{}",
        answer.text()
    );
}

pub(crate) fn try_send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> io::Result<Answer> {
    let stream = TcpStream::connect(address)?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    (&stream).write_all(head.as_bytes())?;
    (&stream).write_all(body)?;
    receive(&stream)
}

pub(crate) fn receive(stream: &TcpStream) -> io::Result<Answer> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    stream.read_line(&mut line)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let status = status.ok_or(io::ErrorKind::UnexpectedEof)?;
    let mut headers = Vec::new();
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        headers.push((name.to_owned(), value.to_owned()));
    }
    let mut answer = Answer {
        status,
        headers,
        body: Vec::new(),
    };
    let length: usize = answer
        .header("content-length")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0);
    answer.body.resize(length, 0);
    stream.read_exact(&mut answer.body)?;
    Ok(answer)
}

pub(crate) fn send(
    fake: &FakeAws,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    try_send(fake.address(), method, path, headers, body).expect("an answer")
}

pub(crate) fn start(fake: &FakeAws, body: &str) -> Answer {
    send(
        fake,
        "POST",
        "/snapshots",
        &[("content-type", "application/json")],
        body.as_bytes(),
    )
}

/// Starts a snapshot of one GiB.
pub(crate) fn started(fake: &FakeAws) -> String {
    id(&start(fake, r#"{"VolumeSize":1}"#))
}

pub(crate) fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{}", answer.text());
    answer.json()["SnapshotId"]
        .as_str()
        .expect("an id")
        .to_owned()
}

/// A block that is `fill` all over.
pub(crate) fn block(fill: u8) -> Vec<u8> {
    vec![fill; BLOCK]
}

pub(crate) fn checksum(bytes: &[u8]) -> String {
    STANDARD.encode(Sha256::digest(bytes))
}

pub(crate) fn try_put(fake: &FakeAws, id: &str, index: u32, bytes: &[u8]) -> io::Result<Answer> {
    let path = format!("/snapshots/{id}/blocks/{index}");
    let headers = [
        ("x-amz-Data-Length", "524288"),
        ("x-amz-Checksum", &checksum(bytes)),
        ("x-amz-Checksum-Algorithm", "SHA256"),
    ];
    try_send(fake.address(), "PUT", &path, &headers, bytes)
}

pub(crate) fn put(fake: &FakeAws, id: &str, index: u32, bytes: &[u8]) -> Answer {
    try_put(fake, id, index, bytes).expect("an answer")
}

pub(crate) fn complete(fake: &FakeAws, id: &str, count: usize) -> Answer {
    let count = count.to_string();
    let path = format!("/snapshots/completion/{id}");
    send(
        fake,
        "POST",
        &path,
        &[("x-amz-ChangedBlocksCount", &count)],
        b"",
    )
}

/// A completed snapshot of one GiB with these blocks.
pub(crate) fn completed(fake: &FakeAws, parent: Option<&str>, blocks: &[(u32, u8)]) -> String {
    let parent = parent.map_or(String::new(), |id| format!(r#","ParentSnapshotId":"{id}""#));
    let id = id(&start(fake, &format!(r#"{{"VolumeSize":1{parent}}}"#)));
    for (index, fill) in blocks {
        assert_eq!(put(fake, &id, *index, &block(*fill)).status, 201);
    }
    assert_eq!(complete(fake, &id, blocks.len()).status, 202);
    assert_eq!(status(fake, &id), "completed");
    id
}

pub(crate) fn status(fake: &FakeAws, id: &str) -> &'static str {
    fake.snapshot(id).expect("a snapshot").status
}

pub(crate) fn get(fake: &FakeAws, path: &str) -> Answer {
    send(fake, "GET", path, &[], b"")
}

/// Encodes a token for a query.
pub(crate) fn encoded(token: &str) -> String {
    token
        .replace('%', "%25")
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D")
}

/// What `look` sees in the end; it is given some seconds.
#[track_caller]
pub(crate) fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "it does not happen"
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}
