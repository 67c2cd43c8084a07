//! The six actions of the EBS direct APIs.

mod read;
mod start;
mod write;

use crate::action::{Action, Target};
use crate::chance::Setting;
use crate::error::Refusal;
use crate::world::World;
use bytes::Bytes;
use hyper::StatusCode;
use hyper::http::request::Parts;
use serde_json::Value;

pub(crate) use start::start;
pub(crate) use write::Put;

/// A successful answer.
#[derive(Debug)]
pub(crate) struct Success {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    pub(crate) content_type: &'static str,
}

impl Success {
    pub(crate) fn json(status: StatusCode, body: &Value) -> Self {
        let body = Bytes::from(body.to_string());
        Success {
            status,
            headers: Vec::new(),
            body,
            content_type: "application/json",
        }
    }
}

/// Dispatches the actions that need no body.
pub(crate) fn act(
    world: &World,
    setting: &Setting,
    target: &Target,
    request: &Parts,
) -> Result<Success, Refusal> {
    let query = request.uri.query();
    match target.action {
        Action::CompleteSnapshot => write::complete(world, setting, target, &request.headers),
        Action::ListSnapshotBlocks => read::list(world, setting, target, query),
        Action::ListChangedBlocks => read::list_changed(world, setting, target, query),
        Action::GetSnapshotBlock => read::get(world, setting, target, query),
        _ => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "UnknownOperationException",
            format!("{} {} is no operation", request.method, request.uri.path()),
        )),
    }
}

/// A timestamp of the JSON protocol: seconds since 1970, with a fraction.
fn seconds(ms: u64) -> Value {
    // The number is written by hand, for want of an exact way from milliseconds to a double.
    serde_json::from_str(&format!("{}.{:03}", ms / 1000, ms % 1000)).unwrap_or(Value::Null)
}

fn parameter(message: impl Into<String>) -> Refusal {
    Refusal::validation("INVALID_PARAMETER_VALUE", message)
}
