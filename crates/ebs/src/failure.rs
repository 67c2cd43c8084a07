//! What a failed attempt means: try again, look again, or stop.

use crate::signed::Answer;
use crate::{Action, Error};
use aws_sdk_ebs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ebs::types::{ResourceNotFoundExceptionReason, ValidationExceptionReason};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use serde_json::Value;

/// A failed attempt.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// The service's code, with its reason if it gave one; empty if it did not answer.
    pub(crate) code: String,
    pub(crate) message: String,
}

/// Bytes of an answer without a code that its error tells.
const EXCERPT: usize = 200;

/// What to do about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// It passes: the network, a server that fell over, a block that was not read.
    Transient,
    /// No answer in time: as [`Transient`](Self::Transient), but too much may be under way.
    TimedOut,
    /// Too fast.
    Throttled,
    /// There is no such thing, or not yet.
    NotFound,
    /// The block's bytes and the checksum that was said do not match.
    Checksum,
    /// The block token is no longer good.
    Token,
    /// The page token is no longer good.
    Page,
    /// The signature or the session is too old.
    Expired,
    /// Not allowed.
    Denied,
    /// Nobody with these credentials is known, or there are none.
    Credentials,
    /// Asking again will not help.
    Permanent,
}

impl Failure {
    /// An attempt that got no usable answer.
    pub(crate) fn lost(message: impl Into<String>) -> Self {
        Self::new(Kind::Transient, "", message)
    }

    /// An attempt that got no answer in time.
    pub(crate) fn timed_out() -> Self {
        Self::new(Kind::TimedOut, "", "no answer in time")
    }

    pub(crate) fn new(kind: Kind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
        }
    }

    /// What the EBS direct APIs answered.
    pub(crate) fn of_sdk<E>(error: SdkError<E, HttpResponse>) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
        aws_sdk_ebs::Error: From<SdkError<E, HttpResponse>>,
    {
        match &error {
            SdkError::ServiceError(_) => {
                let status = error.raw_response().map_or(0, |raw| raw.status().as_u16());
                Self::of_model(status, &error.into())
            }
            SdkError::TimeoutError(_) => Self::timed_out(),
            SdkError::ResponseError(_) => Self::lost(DisplayErrorContext(&error).to_string()),
            // Whatever reached for the network and failed there; what failed before has no kind.
            SdkError::DispatchFailure(failure) => {
                let message = DisplayErrorContext(&error).to_string();
                if failure.is_timeout() {
                    Self::new(Kind::TimedOut, "", message)
                } else if failure.is_user() || (failure.is_other() && failure.as_other().is_none())
                {
                    Self::new(Kind::Credentials, "", message)
                } else {
                    Self::lost(message)
                }
            }
            _ => Self::new(Kind::Permanent, "", DisplayErrorContext(&error).to_string()),
        }
    }

    fn of_model(status: u16, error: &aws_sdk_ebs::Error) -> Self {
        use aws_sdk_ebs::Error as Sdk;
        let reason = match error {
            Sdk::ValidationException(refusal) => {
                refusal.reason().map(ValidationExceptionReason::as_str)
            }
            Sdk::ResourceNotFoundException(missing) => missing
                .reason()
                .map(ResourceNotFoundExceptionReason::as_str),
            Sdk::AccessDeniedException(denied) => Some(denied.reason().as_str()),
            _ => None,
        };
        let meta = error.meta();
        let message = meta.message().unwrap_or_default();
        Self::of_service(status, meta.code().unwrap_or("unknown"), reason, message)
    }

    /// What the EBS direct APIs answered to a request that the SDK's client did not make.
    pub(crate) fn of_answer(answer: &Answer) -> Result<(), Self> {
        if answer.is_success() {
            return Ok(());
        }
        // What is no JSON comes from something on the way.
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        let text = |names: &[&str]| names.iter().find_map(|name| body[name].as_str());
        let code = answer.error_type.as_deref();
        let Some(code) = code.or_else(|| text(&["code", "__type"])) else {
            let start = answer.body.get(..EXCERPT).unwrap_or(&answer.body);
            let start = String::from_utf8_lossy(start);
            let message = start.replace(char::is_control, " ");
            let code = format!("HTTP {}", answer.status);
            return Err(Self::of_service(answer.status, &code, None, &message));
        };
        // It may have a namespace before it, and where it is explained behind it.
        let code = code.split(':').next().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        let message = text(&["message", "Message", "errorMessage"]).unwrap_or_default();
        let reason = text(&["Reason"]);
        Err(Self::of_service(answer.status, code, reason, message))
    }

    fn of_service(status: u16, code: &str, reason: Option<&str>, message: &str) -> Self {
        use {ResourceNotFoundExceptionReason as Missing, ValidationExceptionReason as Invalid};
        let kind = match code {
            "ValidationException" => match reason.map(Invalid::from) {
                Some(Invalid::WriteRequestTimeout | Invalid::ConflictingBlockUpdate) => {
                    Kind::Transient
                }
                Some(Invalid::InvalidBlockToken) => Kind::Token,
                Some(Invalid::InvalidPageToken) => Kind::Page,
                _ if message.contains("Failed to read block data") => Kind::Transient,
                _ => Kind::Permanent,
            },
            "ResourceNotFoundException" => match reason.map(Missing::from) {
                Some(Missing::GrantNotFound | Missing::ImageNotFound) => Kind::Permanent,
                _ => Kind::NotFound,
            },
            _ => kind_of_code(status, code, message),
        };
        let code = reason.map_or_else(|| code.to_owned(), |reason| format!("{code}, {reason}"));
        Self::new(kind, code, message)
    }

    /// What EC2 answered.
    pub(crate) fn of_code(status: u16, code: &str, message: &str) -> Self {
        Self::new(kind_of_code(status, code, message), code, message)
    }

    /// The error that ends the operation.
    pub(crate) fn into_error(self, action: Action) -> Error {
        match self.kind {
            Kind::Denied => Error::Denied {
                action,
                message: self.message,
            },
            Kind::Credentials | Kind::Expired => {
                let parts = [self.code, self.message];
                let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                Error::Credentials(parts.join(": "))
            }
            _ => Error::Refused {
                action,
                code: self.code,
                message: self.message,
            },
        }
    }
}

fn kind_of_code(status: u16, code: &str, message: &str) -> Kind {
    match code {
        "ThrottlingException"
        | "RequestThrottledException"
        | "Throttling"
        | "RequestLimitExceeded"
        | "ConcurrentLimitExceededException"
        | "SlowDown" => Kind::Throttled,
        // The real service is said to answer a wrong block checksum under this code.
        "InvalidSignatureException" if message.to_lowercase().contains("checksum") => {
            Kind::Checksum
        }
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "RequestExpired"
        | "ExpiredToken"
        | "ExpiredTokenException" => Kind::Expired,
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "AuthFailure"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "IncompleteSignature" => Kind::Credentials,
        "AccessDeniedException" | "AccessDenied" | "UnauthorizedOperation" => Kind::Denied,
        "ResourceNotFoundException" | "InvalidSnapshot.NotFound" => Kind::NotFound,
        "RequestTimeout" => Kind::TimedOut,
        _ => match status {
            // What is on the way, a proxy say, waited for the request, or was the wrong one for it.
            408 => Kind::TimedOut,
            421 | 425 => Kind::Transient,
            429 => Kind::Throttled,
            500.. => Kind::Transient,
            _ => Kind::Permanent,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ebs::config::retry::RetryConfig;
    use aws_sdk_ebs::config::{BehaviorVersion, Credentials, Region};
    use aws_sdk_ebs::primitives::ByteStream;
    use aws_sdk_ebs::types::ChecksumAlgorithm;
    use aws_smithy_runtime_api::client::http::{
        HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
    };
    use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
    use aws_smithy_types::body::SdkBody;
    use serde_json::json;

    /// A connection at whose other end there is always the same answer.
    #[derive(Clone, Debug)]
    struct Always {
        status: u16,
        error_type: Option<&'static str>,
        body: String,
    }

    impl HttpConnector for Always {
        fn call(&self, _: HttpRequest) -> HttpConnectorFuture {
            let status = self.status.try_into().unwrap();
            let mut response = HttpResponse::new(status, SdkBody::from(self.body.clone()));
            if let Some(error_type) = self.error_type {
                response
                    .headers_mut()
                    .insert("x-amzn-errortype", error_type);
            }
            HttpConnectorFuture::ready(Ok(response))
        }
    }

    /// What the SDK's client makes of an answer to a put.
    fn theirs(always: &Always) -> Result<(), Failure> {
        let connector = SharedHttpConnector::new(always.clone());
        let config = aws_sdk_ebs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new(
                "AKIAREHOSTTEST",
                "secret",
                None,
                None,
                "test",
            ))
            .http_client(http_client_fn(move |_, _| connector.clone()))
            .retry_config(RetryConfig::disabled())
            .build();
        let put = aws_sdk_ebs::Client::from_conf(config)
            .put_snapshot_block()
            .snapshot_id("snap-0123456789abcdef0")
            .block_index(0)
            .data_length(524_288)
            .checksum("none")
            .checksum_algorithm(ChecksumAlgorithm::ChecksumAlgorithmSha256)
            .block_data(ByteStream::from_static(b""));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let sent = runtime.unwrap().block_on(put.send());
        sent.map(drop).map_err(Failure::of_sdk)
    }

    fn ours(always: &Always) -> Result<(), Failure> {
        Failure::of_answer(&Answer {
            status: always.status,
            error_type: always.error_type.map(str::to_owned),
            body: always.body.clone().into_bytes(),
        })
    }

    /// What is made of an answer, by the SDK's client and by us alike.
    fn both(status: u16, error_type: Option<&'static str>, body: &Value) -> Failure {
        let always = Always {
            status,
            error_type,
            body: body.to_string(),
        };
        let (theirs, ours) = (theirs(&always).unwrap_err(), ours(&always).unwrap_err());
        assert_eq!(
            (theirs.kind, &theirs.code, &theirs.message),
            (ours.kind, &ours.code, &ours.message)
        );
        ours
    }

    #[test]
    fn a_validation_error_is_final_but_for_the_ones_that_pass() {
        let refusal = |message: &str, reason: Option<&str>| {
            let code = Some("ValidationException:http://internal.amazon.com/coral/");
            let mut body = json!({"Message": message});
            if let Some(reason) = reason {
                body["Reason"] = reason.into();
            }
            both(400, code, &body).kind
        };
        assert_eq!(refusal("no such block", None), Kind::Permanent);
        assert_eq!(refusal("Failed to read block data.", None), Kind::Transient);
        let conflict = Some("CONFLICTING_BLOCK_UPDATE");
        assert_eq!(refusal("", conflict), Kind::Transient);
        assert_eq!(refusal("", Some("WRITE_REQUEST_TIMEOUT")), Kind::Transient);
        assert_eq!(refusal("", Some("INVALID_BLOCK_TOKEN")), Kind::Token);
        assert_eq!(refusal("", Some("INVALID_CUSTOMER_KEY")), Kind::Permanent);
        assert_eq!(refusal("", Some("OF_A_LATER_DAY")), Kind::Permanent);
    }

    #[test]
    fn both_ways_to_put_a_block_understand_the_service_alike() {
        let denied = json!({"Message": "no", "Reason": "UNAUTHORIZED_ACCOUNT"});
        let denied = both(403, Some("AccessDeniedException"), &denied);
        assert_eq!(denied.kind, Kind::Denied);
        assert_eq!(denied.code, "AccessDeniedException, UNAUTHORIZED_ACCOUNT");
        let missing = |reason| json!({"Message": "none", "Reason": reason});
        let code = Some("ResourceNotFoundException");
        let snapshot = both(404, code, &missing("SNAPSHOT_NOT_FOUND"));
        assert_eq!(snapshot.kind, Kind::NotFound);
        let grant = both(404, code, &missing("GRANT_NOT_FOUND"));
        assert_eq!(grant.kind, Kind::Permanent);
        for (status, code, kind) in [
            (400, "InternalServerException", Kind::Permanent),
            (500, "InternalServerException", Kind::Transient),
            (402, "ServiceQuotaExceededException", Kind::Permanent),
            (400, "RequestThrottledException", Kind::Throttled),
            (403, "InvalidSignatureException", Kind::Expired),
            (403, "ExpiredTokenException", Kind::Expired),
            (403, "UnrecognizedClientException", Kind::Credentials),
            (503, "OfALaterDay", Kind::Transient),
        ] {
            let found = both(status, Some(code), &json!({"message": "text"}));
            assert_eq!((found.kind, found.code.as_str()), (kind, code));
        }
        // The code may be in the body.
        let body = json!({"__type": "com.amazon#ValidationException", "message": "bad"});
        assert_eq!(both(400, None, &body).code, "ValidationException");
        let body = json!({"code": "ValidationException", "message": "bad"});
        assert_eq!(both(400, None, &body).kind, Kind::Permanent);
    }

    #[test]
    fn what_something_on_the_way_answers_is_judged_by_its_status() {
        let of = |status, body: &[u8]| {
            Failure::of_answer(&Answer {
                status,
                error_type: None,
                body: body.to_vec(),
            })
        };
        assert!(of(201, b"\xff").is_ok());
        let proxy = of(502, b"<html>\nBad\xffGateway</html>").unwrap_err();
        assert_eq!(
            (proxy.kind, proxy.code.as_str()),
            (Kind::Transient, "HTTP 502")
        );
        assert_eq!(proxy.message, "<html> Bad\u{fffd}Gateway</html>");
        for (status, kind) in [
            (301, Kind::Permanent),
            (403, Kind::Permanent),
            (408, Kind::TimedOut),
            (421, Kind::Transient),
            (429, Kind::Throttled),
        ] {
            assert_eq!(of(status, b"[]").unwrap_err().kind, kind);
        }
        assert_eq!(of(500, &[b'a'; 1000]).unwrap_err().message.len(), EXCERPT);
    }

    #[test]
    fn a_wrong_checksum_is_not_taken_for_old_credentials() {
        let kind = |message| kind_of_code(403, "InvalidSignatureException", message);
        let text = "The value passed in as x-amz-Checksum does not match the computed checksum";
        assert_eq!(kind(text), Kind::Checksum);
        assert_eq!(kind("Signature expired"), Kind::Expired);
    }

    #[test]
    fn servers_that_fall_over_and_throttle_are_asked_again() {
        assert_eq!(kind_of_code(503, "unknown", ""), Kind::Transient);
        assert_eq!(
            kind_of_code(400, "RequestThrottledException", ""),
            Kind::Throttled
        );
        assert_eq!(
            kind_of_code(402, "ServiceQuotaExceededException", ""),
            Kind::Permanent
        );
        assert_eq!(kind_of_code(409, "ConflictException", ""), Kind::Permanent);
    }
}
