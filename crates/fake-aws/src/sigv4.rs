//! Signature Version 4: what a request says about its signature, and whether it is right.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use crate::action::{Action, Service, pairs};
use crate::clock::{amz_date, now_ms, parse_amz_date};
use crate::config::{Config, Credentials, Signatures};
use crate::error::Refusal;
use hmac::{Hmac, KeyInit, Mac};
use hyper::http::request::Parts;
use hyper::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};
use std::fmt::Write;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// Headers that a client need not sign though they begin with `x-amz-`: they say nothing about the
/// request, and proxies may change them.
const NEED_NOT: [&str; 2] = ["x-amz-user-agent", "x-amzn-trace-id"];

/// The parts of an `Authorization` header.
#[derive(Debug)]
struct Authorization<'a> {
    access_key: &'a str,
    date: &'a str,
    region: &'a str,
    service: &'a str,
    signed: Vec<&'a str>,
    signature: &'a str,
}

/// Checks the signature of a request as closely as the configuration says.
pub(crate) fn check(
    config: &Config,
    request: &Parts,
    body: &[u8; 32],
    service: Service,
    action: Action,
) -> Result<(), Refusal> {
    let secrets = match &config.signatures {
        Signatures::Off => return Ok(()),
        Signatures::Form => None,
        Signatures::Verify(secrets) => Some(secrets),
    };
    let Some(header) = request.headers.get("authorization") else {
        return Err(missing(service));
    };
    let authorization = header
        .to_str()
        .ok()
        .and_then(Authorization::parse)
        .ok_or_else(|| incomplete(service, "Authorization header is not AWS4-HMAC-SHA256 with Credential, SignedHeaders and Signature"))?;
    authorization.scope(config, service)?;
    let date = text(&request.headers, "x-amz-date")
        .ok_or_else(|| incomplete(service, "Authorization header requires X-Amz-Date"))?;
    fresh(config, service, &date, authorization.date)?;
    authorization.covers(&request.headers, service)?;
    let payload = payload(&request.headers, body, service, action)?;
    let Some(secrets) = secrets else {
        return Ok(());
    };
    let Some(known) = secrets
        .iter()
        .find(|known| known.access_key == authorization.access_key)
    else {
        return Err(invalid_key(service));
    };
    if known.session_token != text(&request.headers, "x-amz-security-token") {
        return Err(invalid_key(service));
    }
    let scope = [
        authorization.date,
        authorization.region,
        authorization.service,
    ];
    let canonical = canonical(request, &authorization.signed, &payload);
    let expected = signature(&known.secret_key, &date, scope, &canonical);
    // A fake has no secret to lose to timing.
    if expected != authorization.signature {
        return Err(mismatch(service));
    }
    Ok(())
}

impl Credentials {
    /// The `Authorization` header of a request, for clients by hand. The headers must hold `host`
    /// and `x-amz-date`; all of them are signed.
    ///
    /// # Panics
    /// If `x-amz-date` is missing.
    #[must_use]
    pub fn authorize(&self, request: &Parts, payload: &str, region: &str, service: &str) -> String {
        let date = text(&request.headers, "x-amz-date").expect("x-amz-date is set");
        let day = date.get(..8).unwrap_or_default();
        let mut signed: Vec<&str> = request
            .headers
            .keys()
            .map(hyper::header::HeaderName::as_str)
            .collect();
        signed.sort_unstable();
        let canonical = canonical(request, &signed, payload);
        let signature = signature(&self.secret_key, &date, [day, region, service], &canonical);
        format!(
            "{ALGORITHM} Credential={}/{day}/{region}/{service}/aws4_request, SignedHeaders={}, \
             Signature={signature}",
            self.access_key,
            signed.join(";")
        )
    }
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Option<Self> {
        let (mut credential, mut signed, mut signature) = (None, None, None);
        for part in header
            .strip_prefix(ALGORITHM)?
            .strip_prefix(' ')?
            .split(',')
        {
            let (name, value) = part.trim().split_once('=')?;
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed,
                "Signature" => &mut signature,
                _ => return None,
            };
            if slot.replace(value).is_some() {
                return None;
            }
        }
        // The key id may hold slashes, the rest of the scope may not.
        let mut scope = credential?.rsplitn(5, '/');
        if scope.next()? != "aws4_request" {
            return None;
        }
        let (service, region, date) = (scope.next()?, scope.next()?, scope.next()?);
        let access_key = scope.next().filter(|key| !key.is_empty())?;
        let signature = signature?;
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if signature.len() != 64 || !signature.bytes().all(hex) {
            return None;
        }
        let signed: Vec<&str> = signed?.split(';').collect();
        let lower = |name: &&str| !name.is_empty() && !name.bytes().any(|b| b.is_ascii_uppercase());
        if !signed.iter().all(lower) || !signed.is_sorted() {
            return None;
        }
        Some(Authorization {
            access_key,
            date,
            region,
            service,
            signed,
            signature,
        })
    }

    fn scope(&self, config: &Config, service: Service) -> Result<(), Refusal> {
        if self.region != config.region {
            let message = format!(
                "Credential should be scoped to a valid region, not '{}'.",
                self.region
            );
            return Err(refused(service, message));
        }
        if self.service != service.scope() {
            let message = format!(
                "Credential should be scoped to correct service: '{}'.",
                service.scope()
            );
            return Err(refused(service, message));
        }
        Ok(())
    }

    /// `host`, and every header that begins with `x-amz-`, must be signed: the checksum of a block
    /// stands in one of them, and is all that protects the block.
    fn covers(&self, headers: &HeaderMap, service: Service) -> Result<(), Refusal> {
        if !self.signed.contains(&"host") {
            return Err(refused(
                service,
                "'Host' must be a 'SignedHeader' in the AWS Authorization.",
            ));
        }
        for name in headers.keys().map(hyper::header::HeaderName::as_str) {
            let needed = name.starts_with("x-amz-") && !NEED_NOT.contains(&name);
            if needed && !self.signed.contains(&name) {
                let message =
                    format!("'{name}' must be a 'SignedHeader' in the AWS Authorization.");
                return Err(refused(service, message));
            }
        }
        match self
            .signed
            .iter()
            .find(|name| !headers.contains_key(**name))
        {
            Some(name) => Err(refused(
                service,
                format!("the signed header '{name}' is not there"),
            )),
            None => Ok(()),
        }
    }
}

/// Checks that the request was signed now, and that the scope says the same day.
fn fresh(config: &Config, service: Service, date: &str, day: &str) -> Result<(), Refusal> {
    let Some(signed) = parse_amz_date(date) else {
        return Err(incomplete(
            service,
            "X-Amz-Date is not in ISO-8601 'basic format'",
        ));
    };
    if date.get(..8) != Some(day) {
        return Err(refused(
            service,
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP",
        ));
    }
    let now = i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX);
    let skew = i64::try_from(config.clock_skew).unwrap_or(i64::MAX);
    let (here, there) = (amz_date(now), amz_date(signed));
    if signed < now.saturating_sub(skew) {
        let message =
            format!("Signature expired: {there} is now earlier than {here} less {skew} s");
        return Err(stale(service, message));
    }
    if signed > now.saturating_add(skew) {
        let message =
            format!("Signature not yet current: {there} is still later than {here} and {skew} s");
        return Err(stale(service, message));
    }
    Ok(())
}

/// The payload's hash as the canonical request has it.
fn payload(
    headers: &HeaderMap,
    body: &[u8; 32],
    service: Service,
    action: Action,
) -> Result<String, Refusal> {
    let hash = hex(body);
    match text(headers, "x-amz-content-sha256") {
        None => Ok(hash),
        // Of the actions here this one alone is modelled with an unsigned body.
        Some(said) if said == UNSIGNED && action == Action::PutSnapshotBlock => Ok(said),
        Some(said) if said == hash => Ok(said),
        Some(said) => Err(refused(
            service,
            format!("x-amz-content-sha256 '{said}' does not match what was computed, '{hash}'"),
        )),
    }
}

fn canonical(request: &Parts, signed: &[&str], payload: &str) -> String {
    let mut query: Vec<(String, String)> = pairs(request.uri.query().unwrap_or_default(), false)
        .into_iter()
        .map(|(name, value)| (encode(&name, false), encode(&value, false)))
        .collect();
    query.sort();
    let query: Vec<String> = query
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    // The path is encoded a second time, but for S3.
    let path = encode(request.uri.path(), true);
    let mut out = format!("{}\n{path}\n{}\n", request.method, query.join("&"));
    for name in signed {
        let values: Vec<String> = request
            .headers
            .get_all(*name)
            .iter()
            .map(|value| {
                let value = String::from_utf8_lossy(value.as_bytes());
                value.split_whitespace().collect::<Vec<_>>().join(" ")
            })
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{name}:{}", values.join(","));
    }
    out + "\n" + &signed.join(";") + "\n" + payload
}

fn signature(secret: &str, date: &str, scope: [&str; 3], canonical: &str) -> String {
    let [day, region, service] = scope;
    let hashed = hex(&Sha256::digest(canonical));
    let to_sign = format!("{ALGORITHM}\n{date}\n{day}/{region}/{service}/aws4_request\n{hashed}");
    let mut key = hmac(format!("AWS4{secret}").as_bytes(), day);
    for part in [region, service, "aws4_request"] {
        key = hmac(&key, part);
    }
    hex(&hmac(&key, &to_sign))
}

/// HMAC-SHA-256.
pub(crate) fn hmac(key: &[u8], message: &str) -> [u8; 32] {
    // HMAC takes a key of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any key fits");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().into()
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
            // Writing to a string cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

fn encode(text: &str, slash_stays: bool) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            if byte.is_ascii_alphanumeric()
                || b"-._~".contains(&byte)
                || slash_stays && byte == b'/'
            {
                out.push(char::from(byte));
            } else {
                // Writing to a string cannot fail.
                let _ = write!(out, "%{byte:02X}");
            }
            out
        })
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn missing(service: Service) -> Refusal {
    match service {
        Service::Ebs => Refusal::new(
            StatusCode::FORBIDDEN,
            "MissingAuthenticationTokenException",
            "Missing Authentication Token",
        ),
        Service::Ec2 => Refusal::new(
            StatusCode::BAD_REQUEST,
            "MissingParameter",
            "The request must contain the parameter AWSAccessKeyId",
        ),
    }
}

fn incomplete(service: Service, message: &str) -> Refusal {
    match service {
        Service::Ebs => Refusal::new(
            StatusCode::FORBIDDEN,
            "IncompleteSignatureException",
            message,
        ),
        Service::Ec2 => Refusal::new(StatusCode::BAD_REQUEST, "IncompleteSignature", message),
    }
}

fn invalid_key(service: Service) -> Refusal {
    match service {
        Service::Ebs => Refusal::new(
            StatusCode::FORBIDDEN,
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        Service::Ec2 => Refusal::new(
            StatusCode::UNAUTHORIZED,
            "AuthFailure",
            "AWS was not able to validate the provided access credentials",
        ),
    }
}

fn mismatch(service: Service) -> Refusal {
    refused(
        service,
        "The request signature we calculated does not match the signature you provided. Check your \
         AWS Secret Access Key and signing method. Consult the service documentation for details.",
    )
}

fn refused(service: Service, message: impl Into<String>) -> Refusal {
    let code = match service {
        Service::Ebs => "InvalidSignatureException",
        Service::Ec2 => "SignatureDoesNotMatch",
    };
    Refusal::new(StatusCode::FORBIDDEN, code, message)
}

fn stale(service: Service, message: String) -> Refusal {
    match service {
        Service::Ebs => refused(service, message),
        Service::Ec2 => Refusal::new(StatusCode::BAD_REQUEST, "RequestExpired", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    /// "get-vanilla" and "get-vanilla-query-order-key-case" of the test suite that AWS publishes.
    #[test]
    fn the_published_examples_have_their_signatures() {
        let credentials = Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
        };
        let empty = hex(&Sha256::digest(""));
        let sign = |uri: &str| {
            let request = Request::get(uri)
                .header("host", "example.amazonaws.com")
                .header("x-amz-date", "20150830T123600Z")
                .body(())
                .expect("a request");
            credentials.authorize(&request.into_parts().0, &empty, "us-east-1", "service")
        };
        assert_eq!(
            sign("/"),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, \
             Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
        );
        assert!(
            sign("/?Param2=value2&Param1=value1")
                .ends_with("b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500")
        );
    }

    #[test]
    fn a_header_of_another_form_is_no_authorization() {
        let good = format!(
            "AWS4-HMAC-SHA256 Credential=AK/20150830/us-east-1/ebs/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature={}",
            "0".repeat(64)
        );
        assert!(Authorization::parse(&good).is_some());
        for (from, to) in [
            ("AWS4-HMAC-SHA256 ", "AWS4-HMAC-SHA1 "),
            ("Credential=AK/", "Credential=/"),
            ("aws4_request", "aws_request"),
            ("/ebs", ""),
            ("host;x-amz-date", "x-amz-date;host"),
            ("host;x-amz-date", "Host;x-amz-date"),
            ("SignedHeaders=", "Signed="),
            ("Signature=0", "Signature="),
            ("Signature=0", "Signature=G"),
            (", Signature", ", Signature=0, Signature"),
        ] {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good);
            assert!(Authorization::parse(&bad).is_none(), "{bad}");
        }
    }
}
