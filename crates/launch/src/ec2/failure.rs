//! What a failed attempt means: try again, look again, or stop.

use super::{Action, Error};
use aws_sdk_ec2::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

/// A failed attempt.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) kind: Kind,
    /// The service's code; empty if it did not answer.
    pub(crate) code: String,
    pub(crate) message: String,
}

/// What to do about it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    /// It passes: the network, or a server that fell over.
    Transient,
    /// Too fast.
    Throttled,
    /// There is no such thing, or not yet.
    NotFound,
    /// It belongs to something else, or does still.
    InUse,
    /// AWS has none left.
    Capacity,
    /// The account may have no more.
    Quota,
    /// The signature or the session is too old.
    Expired,
    /// Not allowed.
    Denied,
    /// Nobody with these credentials is known, or there are none.
    Credentials,
    /// A dry run that would have succeeded.
    DryRun,
    /// Asking again will not help.
    Permanent,
}

/// The longest text of the service that is kept: its longest own is some 1200 characters.
const MAX_MESSAGE: usize = 2000;

impl Failure {
    pub(crate) fn new(kind: Kind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind,
            code: code.into(),
            message: message.into(),
        }
    }

    /// An attempt that got no answer in time.
    pub(crate) fn timed_out() -> Self {
        Self::new(Kind::Transient, "", "no answer in time")
    }

    /// What the SDK says of an attempt.
    pub(crate) fn of_sdk<E>(error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let text = || DisplayErrorContext(error).to_string();
        match error {
            SdkError::ServiceError(answer) => {
                let status = answer.raw().status().as_u16();
                let code = error.code().unwrap_or("unknown");
                Self::of_code(status, code, error.message().unwrap_or_default())
            }
            SdkError::TimeoutError(_) => Self::timed_out(),
            SdkError::ResponseError(_) => Self::new(Kind::Transient, "", text()),
            // Whatever reached for the network and failed there; what failed before has no kind.
            SdkError::DispatchFailure(failure) => {
                let user =
                    failure.is_user() || (failure.is_other() && failure.as_other().is_none());
                let kind = if user && !failure.is_timeout() {
                    Kind::Credentials
                } else {
                    Kind::Transient
                };
                Self::new(kind, "", text())
            }
            _ => Self::new(Kind::Permanent, "", text()),
        }
    }

    fn of_code(status: u16, code: &str, message: &str) -> Self {
        let mut message = message.trim();
        // A kilobyte that only `sts:DecodeAuthorizationMessage` can read, and that few may ask.
        if let Some((plain, _)) = message.split_once("Encoded authorization failure message") {
            message = plain.trim_end();
        }
        let text: String = message.chars().take(MAX_MESSAGE).collect();
        Self::new(kind_of_code(status, code), code, text)
    }

    /// The error that ends the operation.
    pub(crate) fn into_error(self, action: Action) -> Error {
        let Self {
            kind,
            code,
            message,
        } = self;
        match kind {
            Kind::Denied => Error::Denied {
                action,
                denied: denied(&message).unwrap_or_else(|| action.iam().to_owned()),
                message,
            },
            Kind::Credentials | Kind::Expired => {
                let parts = [code, message];
                let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
                Error::Credentials(parts.join(": "))
            }
            Kind::NotFound => Error::NoSuch {
                action,
                code,
                message,
            },
            Kind::InUse => Error::InUse {
                action,
                code,
                message,
            },
            Kind::Capacity => Error::Capacity { code, message },
            Kind::Quota => Error::Quota { code, message },
            _ => Error::Refused {
                action,
                code,
                message,
            },
        }
    }
}

/// The action that a message names as the one that is not allowed: RunInstances may be, while
/// iam:PassRole or ec2:CreateTags is not.
fn denied(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("not authorized to perform: ")?;
    let name: String = rest
        .chars()
        .take_while(|letter| letter.is_ascii_alphanumeric() || matches!(letter, ':' | '-'))
        .take(100)
        .collect();
    name.contains(':').then_some(name)
}

/// By the code first: a lack of capacity, for one, has the status 500, and asking again for two
/// minutes would not help.
fn kind_of_code(status: u16, code: &str) -> Kind {
    match code {
        "RequestLimitExceeded"
        | "Throttling"
        | "ThrottlingException"
        | "EC2ThrottledException"
        | "SlowDown" => Kind::Throttled,
        "DryRunOperation" => Kind::DryRun,
        "SignatureDoesNotMatch"
        | "InvalidSignatureException"
        | "RequestExpired"
        | "ExpiredToken"
        | "ExpiredTokenException" => Kind::Expired,
        "UnrecognizedClientException"
        | "InvalidClientTokenId"
        | "AuthFailure"
        | "MissingAuthenticationToken"
        | "IncompleteSignature" => Kind::Credentials,
        "UnauthorizedOperation" | "AccessDenied" | "AccessDeniedException" => Kind::Denied,
        "InsufficientInstanceCapacity"
        | "InsufficientHostCapacity"
        | "InsufficientCapacity"
        | "InsufficientReservedInstanceCapacity"
        | "InsufficientVolumeCapacity"
        | "InsufficientCapacityOnHost" => Kind::Capacity,
        "InsufficientFreeAddressesInSubnet"
        | "MaxIOPSLimitExceeded"
        | "MaxSpotInstanceCountExceeded" => Kind::Quota,
        "InvalidIPAddress.InUse"
        | "InvalidNetworkInterface.InUse"
        | "InvalidParameterInUse"
        | "Resource.AlreadyAssociated"
        | "AddressInUse"
        | "VolumeInUse" => Kind::InUse,
        "InvalidPlacementGroup.Unknown" => Kind::NotFound,
        _ if code.ends_with(".NotFound") => Kind::NotFound,
        _ if code.ends_with("LimitExceeded") => Kind::Quota,
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

    #[test]
    fn codes_come_before_the_status() {
        for (status, code, kind) in [
            (503, "RequestLimitExceeded", Kind::Throttled),
            (500, "InsufficientInstanceCapacity", Kind::Capacity),
            (500, "InternalError", Kind::Transient),
            (503, "Unavailable", Kind::Transient),
            (400, "VcpuLimitExceeded", Kind::Quota),
            (400, "InvalidSubnetID.NotFound", Kind::NotFound),
            (400, "InvalidIPAddress.InUse", Kind::InUse),
            (412, "DryRunOperation", Kind::DryRun),
            (403, "UnauthorizedOperation", Kind::Denied),
            (400, "InvalidParameterValue", Kind::Permanent),
        ] {
            assert_eq!(kind_of_code(status, code), kind, "{code}");
        }
    }

    #[test]
    fn what_iam_has_to_allow_is_read_from_the_message() {
        let message = "You are not authorized to perform this operation. User: arn:aws:iam::1:user/x \
                       is not authorized to perform: iam:PassRole on resource: arn:aws:iam::1:role/y \
                       because no identity-based policy allows the iam:PassRole action. Encoded \
                       authorization failure message: AAAA";
        let failure = Failure::of_code(403, "UnauthorizedOperation", message);
        assert!(!failure.message.contains("AAAA"));
        let Error::Denied { denied, action, .. } = failure.into_error(Action::RunInstances) else {
            panic!("not denied");
        };
        assert_eq!(denied, "iam:PassRole");
        assert_eq!(action, Action::RunInstances);
        let plain = Failure::of_code(403, "UnauthorizedOperation", "You are not authorized.");
        let text = plain.into_error(Action::StopInstances).to_string();
        assert!(text.contains("ec2:StopInstances"), "{text}");
    }
}
