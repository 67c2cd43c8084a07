//! What a failed attempt means: try again, look again, or stop.

use crate::{Action, Error};
use aws_sdk_ebs::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_ebs::types::{ResourceNotFoundExceptionReason, ValidationExceptionReason};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;

/// A failed attempt.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// The service's code, with its reason if it gave one; empty if it did not answer.
    pub(crate) code: String,
    pub(crate) message: String,
}

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
                Self::of_service(status, &error.into())
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

    fn of_service(status: u16, error: &aws_sdk_ebs::Error) -> Self {
        use aws_sdk_ebs::Error as Sdk;
        let meta = error.meta();
        let code = meta.code().unwrap_or("unknown");
        let message = meta.message().unwrap_or_default();
        let (kind, reason) = match error {
            Sdk::ValidationException(refusal) => {
                let reason = refusal.reason();
                let kind = match reason {
                    Some(
                        ValidationExceptionReason::WriteRequestTimeout
                        | ValidationExceptionReason::ConflictingBlockUpdate,
                    ) => Kind::Transient,
                    Some(ValidationExceptionReason::InvalidBlockToken) => Kind::Token,
                    Some(ValidationExceptionReason::InvalidPageToken) => Kind::Page,
                    _ if message.contains("Failed to read block data") => Kind::Transient,
                    _ => Kind::Permanent,
                };
                (kind, reason.map(ValidationExceptionReason::as_str))
            }
            Sdk::ResourceNotFoundException(missing) => {
                let reason = missing.reason();
                let kind = match reason {
                    Some(
                        ResourceNotFoundExceptionReason::GrantNotFound
                        | ResourceNotFoundExceptionReason::ImageNotFound,
                    ) => Kind::Permanent,
                    _ => Kind::NotFound,
                };
                (kind, reason.map(ResourceNotFoundExceptionReason::as_str))
            }
            Sdk::AccessDeniedException(denied) => (Kind::Denied, Some(denied.reason().as_str())),
            _ => (kind_of_code(status, code, message), None),
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
    use aws_sdk_ebs::types::error::ValidationException;

    #[test]
    fn a_validation_error_is_final_but_for_the_ones_that_pass() {
        let refusal = |message: &str, reason: Option<ValidationExceptionReason>| {
            let meta = ErrorMetadata::builder()
                .code("ValidationException")
                .message(message);
            let error = ValidationException::builder()
                .message(message)
                .set_reason(reason)
                .meta(meta.build())
                .build();
            Failure::of_service(400, &aws_sdk_ebs::Error::ValidationException(error)).kind
        };
        assert_eq!(refusal("no such block", None), Kind::Permanent);
        assert_eq!(refusal("Failed to read block data.", None), Kind::Transient);
        let conflict = ValidationExceptionReason::ConflictingBlockUpdate;
        assert_eq!(refusal("", Some(conflict)), Kind::Transient);
        let token = ValidationExceptionReason::InvalidBlockToken;
        assert_eq!(refusal("", Some(token)), Kind::Token);
        let key = ValidationExceptionReason::InvalidCustomerKey;
        assert_eq!(refusal("", Some(key)), Kind::Permanent);
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
