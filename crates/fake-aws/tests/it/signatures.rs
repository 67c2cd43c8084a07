//! Signature Version 4, one field changed at a time. Our own signer signs; that it does so rightly is
//! shown by the published examples and by the SDK.

use crate::client::{Answer, block, checksum, try_send};
use fake_aws::{Config, Credentials, FakeAws, Signatures};
use hyper::Request;
use sha2::{Digest, Sha256};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn credentials() -> Credentials {
    Credentials {
        access_key: "AKIDFAKE".into(),
        secret_key: "secret".into(),
        session_token: None,
    }
}

fn verifying() -> FakeAws {
    let signatures = Signatures::Verify(vec![credentials()]);
    FakeAws::start(Config {
        signatures,
        ..Config::default()
    })
    .expect("a fake")
}

fn hash(body: &[u8]) -> String {
    Sha256::digest(body)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// `X-Amz-Date` of so many seconds from now.
fn date(offset: i64) -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let now = now.checked_add_signed(offset).expect("a time");
    // `date` is somebody else's calendar.
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{now}"), "+%Y%m%dT%H%M%SZ"])
        .output()
        .expect("date runs");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim()
        .to_owned()
}

/// A request that is right, until a test changes it.
struct Signed {
    method: &'static str,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    payload: String,
    region: &'static str,
    service: &'static str,
    date: String,
    credentials: Credentials,
}

impl Signed {
    fn new(method: &'static str, path: &str, body: &[u8]) -> Self {
        Signed {
            method,
            path: path.into(),
            headers: Vec::new(),
            body: body.into(),
            payload: hash(body),
            region: "us-east-1",
            service: "ebs",
            date: date(0),
            credentials: credentials(),
        }
    }

    fn start() -> Self {
        Self::new("POST", "/snapshots", br#"{"VolumeSize":1}"#)
    }

    fn put(id: &str) -> Self {
        let bytes = block(1);
        let mut put = Self::new("PUT", &format!("/snapshots/{id}/blocks/0"), &bytes);
        put.headers = vec![
            ("x-amz-data-length".into(), "524288".into()),
            ("x-amz-checksum".into(), checksum(&bytes)),
            ("x-amz-checksum-algorithm".into(), "SHA256".into()),
            ("x-amz-content-sha256".into(), "UNSIGNED-PAYLOAD".into()),
        ];
        put.payload = "UNSIGNED-PAYLOAD".into();
        put
    }

    /// Signs, lets `tamper` change the headers, and sends.
    fn send(&self, fake: &FakeAws, tamper: impl FnOnce(&mut Vec<(String, String)>)) -> Answer {
        let host = fake.address().to_string();
        let mut request = Request::builder()
            .method(self.method)
            .uri(&self.path)
            .header("host", host)
            .header("x-amz-date", &self.date);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let authorization =
            self.credentials
                .authorize(&parts, &self.payload, self.region, self.service);
        let mut headers = self.headers.clone();
        headers.push(("x-amz-date".into(), self.date.clone()));
        headers.push(("authorization".into(), authorization));
        tamper(&mut headers);
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        try_send(
            fake.address(),
            self.method,
            &self.path,
            &headers,
            &self.body,
        )
        .expect("an answer")
    }
}

fn nothing(_: &mut Vec<(String, String)>) {}

fn replace(name: &'static str, from: &str, to: &str) -> impl FnOnce(&mut Vec<(String, String)>) {
    let (from, to) = (from.to_owned(), to.to_owned());
    move |headers| {
        let header = headers
            .iter_mut()
            .find(|(key, _)| key == name)
            .expect("the header");
        assert!(header.1.contains(&from), "{}", header.1);
        header.1 = header.1.replacen(&from, &to, 1);
    }
}

#[track_caller]
fn refused(answer: &Answer, code: &str) {
    assert_eq!(
        (answer.status, answer.error().1.as_str()),
        (403, code),
        "{}",
        answer.text()
    );
}

#[test]
fn a_right_signature_passes() {
    let fake = verifying();
    let answer = Signed::start().send(&fake, nothing);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let id = crate::client::id(&answer);
    assert_eq!(Signed::put(&id).send(&fake, nothing).status, 201);
    // A put with a signed payload is right, too.
    let mut put = Signed::put(&id);
    put.headers
        .retain(|(name, _)| name != "x-amz-content-sha256");
    put.payload = hash(&put.body);
    assert_eq!(put.send(&fake, nothing).status, 201);
    let list = Signed::new(
        "GET",
        "/snapshots/snap-0/blocks?pageToken=a%2Bb%3D&maxResults=100",
        b"",
    );
    assert_eq!(list.send(&fake, nothing).status, 404, "past the signature");
}

#[test]
fn whatever_is_changed_after_signing_is_seen() {
    let fake = verifying();
    let id = crate::client::id(&Signed::start().send(&fake, nothing));
    let put = || Signed::put(&id);
    let wrong = "InvalidSignatureException";
    let other = checksum(&block(2));
    refused(
        &put().send(
            &fake,
            replace("x-amz-checksum", &checksum(&block(1)), &other),
        ),
        wrong,
    );
    refused(
        &put().send(&fake, |headers| {
            headers.push(("x-amz-progress".into(), "1".into()));
        }),
        wrong,
    );
    refused(
        &put().send(&fake, |headers| {
            headers.retain(|(name, _)| name != "x-amz-data-length");
        }),
        wrong,
    );
    let mut moved = put();
    moved.path = moved.path.replace("blocks/0", "blocks/1");
    // Signed for block 0, sent to block 1.
    let signature = {
        let mut captured = String::new();
        put().send(&fake, |headers| {
            captured = headers
                .iter()
                .find(|(name, _)| name == "authorization")
                .expect("it")
                .1
                .clone();
        });
        captured
    };
    let answer = moved.send(&fake, |headers| {
        headers
            .iter_mut()
            .find(|(name, _)| name == "authorization")
            .expect("it")
            .1 = signature;
    });
    refused(&answer, wrong);
    let mut start = Signed::start();
    start.body = br#"{"VolumeSize":2}"#.to_vec();
    refused(&start.send(&fake, nothing), wrong);
    assert_eq!(fake.snapshots().len(), 1);
}

#[test]
fn an_unsigned_payload_is_for_puts_only() {
    let fake = verifying();
    let mut start = Signed::start();
    start
        .headers
        .push(("x-amz-content-sha256".into(), "UNSIGNED-PAYLOAD".into()));
    start.payload = "UNSIGNED-PAYLOAD".into();
    refused(&start.send(&fake, nothing), "InvalidSignatureException");
}

#[test]
fn the_form_is_looked_at_without_a_secret() {
    let fake = FakeAws::start(Config::default()).expect("a fake");
    let start = Signed::start;
    assert_eq!(start().send(&fake, nothing).status, 201);
    let tampered = |from: &str, to: &str| start().send(&fake, replace("authorization", from, to));
    // Another signature is not seen: there is no secret to compute it with.
    assert_eq!(tampered("AKIDFAKE", "AKIDOTHER").status, 201);
    let without =
        |name: &str| start().send(&fake, |headers| headers.retain(|(key, _)| key != name));
    refused(
        &without("authorization"),
        "MissingAuthenticationTokenException",
    );
    refused(&without("x-amz-date"), "IncompleteSignatureException");
    refused(
        &tampered("AWS4-HMAC-SHA256", "AWS3"),
        "IncompleteSignatureException",
    );
    refused(
        &tampered("Signature=", "Signature=x"),
        "IncompleteSignatureException",
    );
    refused(
        &tampered("SignedHeaders=host;", "SignedHeaders="),
        "InvalidSignatureException",
    );
    refused(&tampered(";x-amz-date", ""), "InvalidSignatureException");
    refused(
        &tampered(";x-amz-date", ";x-amz-date;x-other"),
        "InvalidSignatureException",
    );
    refused(
        &tampered("/us-east-1/", "/eu-west-1/"),
        "InvalidSignatureException",
    );
    refused(&tampered("/ebs/", "/ec2/"), "InvalidSignatureException");
    refused(
        &tampered("AKIDFAKE/2", "AKIDFAKE/1"),
        "InvalidSignatureException",
    );
}

#[test]
fn old_and_early_signatures_are_refused() {
    let fake = verifying();
    for (offset, words) in [
        (-400, "Signature expired"),
        (400, "Signature not yet current"),
    ] {
        let mut start = Signed::start();
        start.date = date(offset);
        let answer = start.send(&fake, nothing);
        refused(&answer, "InvalidSignatureException");
        assert!(answer.text().contains(words), "{}", answer.text());
    }
    let mut start = Signed::start();
    start.date = date(-200);
    assert_eq!(start.send(&fake, nothing).status, 201);
    let config = Config {
        clock_skew: 1,
        ..Config::default()
    };
    let fake = FakeAws::start(config).expect("a fake");
    let start = Signed::start();
    std::thread::sleep(Duration::from_millis(2500));
    refused(&start.send(&fake, nothing), "InvalidSignatureException");
}

#[test]
fn ec2_has_its_own_scope_and_words() {
    let fake = verifying();
    let mut describe = Signed::new("POST", "/", b"Action=DescribeSnapshots&Version=2016-11-15");
    describe.service = "ec2";
    assert_eq!(describe.send(&fake, nothing).status, 200);
    let code = |answer: Answer| (answer.status, answer.element("Code").expect("a code"));
    describe.service = "ebs";
    assert_eq!(
        code(describe.send(&fake, nothing)),
        (403, "SignatureDoesNotMatch".into())
    );
    describe.service = "ec2";
    describe.credentials.access_key = "AKIDOTHER".into();
    assert_eq!(
        code(describe.send(&fake, nothing)),
        (401, "AuthFailure".into())
    );
    describe.credentials = credentials();
    describe.date = date(-400);
    assert_eq!(
        code(describe.send(&fake, nothing)),
        (400, "RequestExpired".into())
    );
}
