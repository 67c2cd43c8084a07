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

/// The code of an answer that has none.
const UNKNOWN: &str = "unknown";

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
        Self::of_service(status, meta.code().unwrap_or(UNKNOWN), reason, message)
    }

    /// What the EBS direct APIs answered to a request that the SDK's client did not make.
    pub(crate) fn of_answer(answer: &Answer) -> Result<(), Self> {
        if answer.is_success() {
            return Ok(());
        }
        // What is no JSON comes from something on the way.
        let body: Value = serde_json::from_str(&answer.text).unwrap_or_default();
        let text = |names: &[&str]| names.iter().find_map(|name| body[name].as_str());
        let code = answer
            .error_type
            .as_deref()
            .or_else(|| text(&["__type", "code"]));
        // It may have a namespace before it, and where it is explained behind it.
        let code = code
            .unwrap_or(UNKNOWN)
            .split(':')
            .next()
            .unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        let message = text(&["Message", "message"]).unwrap_or_default();
        Err(Self::of_service(
            answer.status,
            code,
            text(&["Reason"]),
            message,
        ))
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

    /// What EC2 answered, or EBS where its model has no name for it.
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
            429 => Kind::Throttled,
            500.. => Kind::Transient,
            _ => Kind::Permanent,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_ebs::error::ErrorMetadata;
    use aws_sdk_ebs::types::error::{ResourceNotFoundException, ValidationException};

    /// What is made of an answer, as the SDK's client reads it and as we do.
    fn both(status: u16, kind: &str, reason: Option<&str>, message: &str) -> Failure {
        let meta = ErrorMetadata::builder().code(kind).message(message).build();
        let error = match kind {
            "ValidationException" => aws_sdk_ebs::Error::ValidationException(
                ValidationException::builder()
                    .message(message)
                    .set_reason(reason.map(ValidationExceptionReason::from))
                    .meta(meta)
                    .build(),
            ),
            "ResourceNotFoundException" => aws_sdk_ebs::Error::ResourceNotFoundException(
                ResourceNotFoundException::builder()
                    .message(message)
                    .set_reason(reason.map(ResourceNotFoundExceptionReason::from))
                    .meta(meta)
                    .build(),
            ),
            _ => panic!("{kind}"),
        };
        let theirs = Failure::of_model(status, &error);
        let ours = Failure::of_answer(&Answer {
            status,
            error_type: Some(format!("{kind}:http://internal.amazon.com/coral/")),
            text: serde_json::json!({"Message": message, "Reason": reason}).to_string(),
        });
        let ours = ours.unwrap_err();
        assert_eq!(
            (theirs.kind, &theirs.code, &theirs.message),
            (ours.kind, &ours.code, &ours.message)
        );
        ours
    }

    #[test]
    fn a_validation_error_is_final_but_for_the_ones_that_pass() {
        let refusal = |message, reason| both(400, "ValidationException", reason, message).kind;
        assert_eq!(refusal("no such block", None), Kind::Permanent);
        assert_eq!(refusal("Failed to read block data.", None), Kind::Transient);
        let conflict = Some("CONFLICTING_BLOCK_UPDATE");
        assert_eq!(refusal("", conflict), Kind::Transient);
        assert_eq!(refusal("", Some("INVALID_BLOCK_TOKEN")), Kind::Token);
        assert_eq!(refusal("", Some("INVALID_CUSTOMER_KEY")), Kind::Permanent);
        assert_eq!(refusal("", Some("of a later day")), Kind::Permanent);
    }

    #[test]
    fn a_missing_snapshot_may_come_and_a_missing_grant_will_not() {
        let missing = |reason| both(404, "ResourceNotFoundException", reason, "none");
        assert_eq!(missing(None).kind, Kind::NotFound);
        assert_eq!(missing(Some("SNAPSHOT_NOT_FOUND")).kind, Kind::NotFound);
        let grant = missing(Some("GRANT_NOT_FOUND"));
        assert_eq!(grant.kind, Kind::Permanent);
        assert_eq!(grant.code, "ResourceNotFoundException, GRANT_NOT_FOUND");
    }

    #[test]
    fn what_something_on_the_way_answers_is_judged_by_its_status() {
        let of = |status, error_type: Option<&str>, text: &str| {
            Failure::of_answer(&Answer {
                status,
                error_type: error_type.map(str::to_owned),
                text: text.to_owned(),
            })
        };
        assert!(of(201, None, "").is_ok());
        let proxy = of(502, None, "<html>Bad Gateway</html>").unwrap_err();
        assert_eq!(
            (proxy.kind, proxy.code.as_str()),
            (Kind::Transient, UNKNOWN)
        );
        assert_eq!(of(403, None, "no").unwrap_err().kind, Kind::Permanent);
        let bare = "{\"__type\":\"com.amazon#RequestThrottledException\",\"message\":\"slow\"}";
        let bare = of(400, None, bare).unwrap_err();
        assert_eq!(
            (bare.kind, bare.message.as_str()),
            (Kind::Throttled, "slow")
        );
        assert_eq!(of(400, Some(""), "[]").unwrap_err().kind, Kind::Permanent);
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
