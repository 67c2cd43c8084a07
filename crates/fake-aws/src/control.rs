//! `/_control/`: the switches and the log for whoever has no hold of the Rust value.
//!
//! - `GET log?since=N`, `DELETE log`, `GET counters`, `GET peak`
//! - `GET faults`, `PUT faults` (the whole of [`crate::Faults`]; what is missing is off)
//! - `PUT hold` ([`crate::Hold`]), `GET hold` (the request that is held, and how many were counted),
//!   `DELETE hold`: resets what is held
//! - `GET resources`: images, instances, volumes, interfaces, addresses
//! - `POST expire`: gives up all snapshots that are being written
//! - `GET snapshots`, `GET snapshots/{id}`: states; with the effective blocks' digests

use crate::action::pairs;
use crate::body::Answer;
use crate::config::Faults;
use crate::hold::Hold;
use crate::sigv4::hex;
use crate::world::World;
use crate::{State, content, expire, state};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};
use serde_json::{Value, json};

pub(crate) fn answer(world: &World, request: &Parts, body: &[u8]) -> Response<Answer> {
    let (status, body) = match act(world, request, body) {
        Ok(body) => (StatusCode::OK, body),
        Err((status, why)) => (status, json!({ "Message": why })),
    };
    let mut response = Response::new(Answer::whole(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

fn act(world: &World, request: &Parts, body: &[u8]) -> Result<Value, (StatusCode, String)> {
    let path = request.uri.path().trim_start_matches("/_control/");
    let broken = |error: serde_json::Error| (StatusCode::BAD_REQUEST, error.to_string());
    match (request.method.as_str(), path) {
        ("GET", "log") => {
            let query = pairs(request.uri.query().unwrap_or_default(), false);
            let since = query.iter().find(|(name, _)| name == "since");
            let since = since.map_or(Ok(0), |(_, number)| number.parse());
            let since =
                since.map_err(|_| (StatusCode::BAD_REQUEST, "since is no number".into()))?;
            serde_json::to_value(world.log.since(since)).map_err(broken)
        }
        ("DELETE", "log") => {
            world.log.clear();
            Ok(Value::Null)
        }
        ("GET", "counters") => serde_json::to_value(world.log.counters()).map_err(broken),
        ("GET", "peak") => Ok(json!({ "requests_per_second": world.log.peak() })),
        ("GET", "faults") => serde_json::to_value(&world.switches.get().faults).map_err(broken),
        ("PUT" | "POST", "faults") => {
            let faults: Faults = serde_json::from_slice(body).map_err(broken)?;
            world.switches.set(faults);
            Ok(Value::Null)
        }
        ("GET", "hold") => Ok(json!({ "held": world.holds.held(), "seen": world.holds.seen() })),
        ("PUT" | "POST", "hold") => {
            let hold: Hold = serde_json::from_slice(body).map_err(broken)?;
            world.holds.set(hold);
            Ok(Value::Null)
        }
        ("DELETE", "hold") => {
            world.holds.release();
            Ok(Value::Null)
        }
        ("GET", "resources") => serde_json::to_value(world.cloud().resources()).map_err(broken),
        ("POST", "expire") => Ok(json!({ "expired": expire(world) })),
        ("GET", "snapshots") => {
            let states: Vec<State> = world
                .snapshots()
                .iter()
                .map(|snapshot| state(world, snapshot))
                .collect();
            serde_json::to_value(states).map_err(broken)
        }
        ("GET", other) => {
            let id = other.strip_prefix("snapshots/").unwrap_or_default();
            let snapshot = world.snapshot(id).ok_or_else(|| nothing(path))?;
            let mut body = serde_json::to_value(state(world, &snapshot)).map_err(broken)?;
            body["effective"] = content(world, &snapshot)
                .iter()
                .map(|block| json!([block.index, hex(&block.digest)]))
                .collect();
            Ok(body)
        }
        _ => Err(nothing(path)),
    }
}

fn nothing(path: &str) -> (StatusCode, String) {
    (
        StatusCode::NOT_FOUND,
        format!("there is no /_control/{path}"),
    )
}
