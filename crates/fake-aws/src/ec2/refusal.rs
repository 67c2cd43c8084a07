//! The refusals that many actions share.

use crate::error::Refusal;
use hyper::StatusCode;

pub(super) fn missing(name: &str) -> Refusal {
    let message = format!("The request must contain the parameter {name}");
    Refusal::new(StatusCode::BAD_REQUEST, "MissingParameter", message)
}

pub(super) fn value(message: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "InvalidParameterValue", message)
}
