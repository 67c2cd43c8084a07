//! How a request is refused, in the form of each service.

use crate::action::{Action, Service};
use hyper::StatusCode;

/// An error answer. The codes and reasons are those of the services' models.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) reason: Option<&'static str>,
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Refusal {
            status,
            code,
            reason: None,
            message: message.into(),
        }
    }

    pub(crate) fn because(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }

    /// A parameter breaks a rule.
    pub(crate) fn validation(reason: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "ValidationException", message).because(reason)
    }

    /// There is no such snapshot, or not yet.
    pub(crate) fn no_snapshot(id: &str) -> Self {
        let message = format!("The snapshot '{id}' does not exist.");
        Self::new(StatusCode::NOT_FOUND, "ResourceNotFoundException", message)
            .because("SNAPSHOT_NOT_FOUND")
    }

    /// The account's bucket of requests is empty.
    pub(crate) fn account_throttled(service: Service) -> Self {
        match service {
            Service::Ebs => Self::new(
                StatusCode::BAD_REQUEST,
                "ThrottlingException",
                "Rate exceeded",
            ),
            Service::Ec2 => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "RequestLimitExceeded",
                "Request limit exceeded.",
            ),
        }
    }

    /// A request for which [`Refusal::account_throttled`] is too wide.
    pub(crate) fn request_throttled(reason: &'static str) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "RequestThrottledException",
            "The number of API requests has exceeded the maximum allowed API request throttling \
             limit for the snapshot.",
        )
        .because(reason)
    }

    /// The service broke.
    pub(crate) fn internal(service: Service) -> Self {
        let message = "An internal error has occurred. Retry your request.";
        match service {
            Service::Ebs => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerException",
                message,
            ),
            Service::Ec2 => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message),
        }
    }

    /// IAM has no permission for the action.
    pub(crate) fn denied(service: Service, action: Action, account: &str) -> Self {
        let who = format!(
            "User: arn:aws:iam::{account}:user/fake is not authorized to perform: {}:{}",
            service.scope(),
            action.name()
        );
        match service {
            Service::Ebs => Self::new(StatusCode::FORBIDDEN, "AccessDeniedException", who)
                .because("UNAUTHORIZED_ACCOUNT"),
            Service::Ec2 => Self::new(
                StatusCode::FORBIDDEN,
                "UnauthorizedOperation",
                format!("You are not authorized to perform this operation. {who}"),
            ),
        }
    }

    /// The request was signed too long ago.
    pub(crate) fn expired_signature(service: Service) -> Self {
        match service {
            Service::Ebs => Self::new(
                StatusCode::FORBIDDEN,
                "InvalidSignatureException",
                "Signature expired: it is older than 5 min.",
            ),
            Service::Ec2 => Self::expired_credentials(service),
        }
    }

    /// The session of the credentials is over.
    pub(crate) fn expired_credentials(service: Service) -> Self {
        match service {
            Service::Ebs => Self::new(
                StatusCode::FORBIDDEN,
                "ExpiredTokenException",
                "The security token included in the request is expired",
            ),
            Service::Ec2 => Self::new(
                StatusCode::BAD_REQUEST,
                "RequestExpired",
                "Request has expired.",
            ),
        }
    }

    /// The body as the service writes it, and its content type.
    pub(crate) fn body(&self, service: Service, request: &str) -> (String, &'static str) {
        match service {
            Service::Ebs => {
                let mut body = serde_json::json!({ "Message": self.message });
                if let Some(reason) = self.reason {
                    body["Reason"] = reason.into();
                }
                (body.to_string(), "application/json")
            }
            Service::Ec2 => {
                let body = format!(
                    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Response><Errors><Error><Code>{}\
                     </Code><Message>{}</Message></Error></Errors><RequestID>{request}</RequestID>\
                     </Response>",
                    self.code,
                    escape(&self.message),
                );
                (body, "text/xml;charset=UTF-8")
            }
        }
    }
}

/// Text inside an XML element.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for symbol in text.chars() {
        match symbol {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // What XML 1.0 cannot hold at all.
            control if control.is_control() && !matches!(control, '\t' | '\n' | '\r') => {
                out.push('\u{fffd}');
            }
            other => out.push(other),
        }
    }
    out
}
