//! File content inside a plan: readable in JSON where it is text.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// File content.
///
/// In JSON a string if it is UTF-8, else an object `{"base64": "…"}`.
#[derive(Clone, Eq, PartialEq)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// The content as text, if it is text that a person can read: UTF-8 without NUL.
    pub fn text(&self) -> Option<&str> {
        std::str::from_utf8(&self.0)
            .ok()
            .filter(|text| !text.contains('\0'))
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => write!(f, "{text:?}"),
            None => write!(f, "{} bytes", self.0.len()),
        }
    }
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
enum Shape {
    Text(String),
    Binary { base64: String },
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let shape = match std::str::from_utf8(&self.0) {
            Ok(text) => Shape::Text(text.to_owned()),
            Err(_) => Shape::Binary {
                base64: STANDARD.encode(&self.0),
            },
        };
        shape.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Shape::deserialize(deserializer)? {
            Shape::Text(text) => Ok(Self(text.into_bytes())),
            Shape::Binary { base64 } => STANDARD.decode(base64).map(Self).map_err(D::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_binary_survive_json() {
        for bytes in [b"a\nb".to_vec(), vec![0xff, 0, 7]] {
            let json = serde_json::to_string(&Bytes(bytes.clone())).unwrap();
            assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap(), Bytes(bytes));
        }
        assert!(serde_json::from_str::<Bytes>(r#"{"base64":"?"}"#).is_err());
    }
}
