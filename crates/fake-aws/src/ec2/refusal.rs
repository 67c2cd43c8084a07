//! The refusals that many actions share.

use crate::error::Refusal;
use hyper::StatusCode;

/// 400, which most refusals of EC2 are.
pub(super) fn bad(code: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, code, message)
}

pub(super) fn missing(name: &str) -> Refusal {
    let message = format!("The request must contain the parameter {name}");
    bad("MissingParameter", message)
}

pub(super) fn value(message: impl Into<String>) -> Refusal {
    bad("InvalidParameterValue", message)
}

pub(super) fn combination(message: impl Into<String>) -> Refusal {
    bad("InvalidParameterCombination", message)
}

/// A client token that came with other parameters.
pub(super) fn mismatch(token: &str) -> Refusal {
    let message = format!(
        "Arguments on this idempotent request are inconsistent with arguments used in previous \
         request(s): {token}"
    );
    bad("IdempotentParameterMismatch", message)
}
