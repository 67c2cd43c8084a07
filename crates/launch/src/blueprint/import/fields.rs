//! Taking fields out of a JSON object until nothing is left.

use serde_json::{Map, Value};
use std::fmt;

/// Something of a document that the blueprint does not say.
///
/// Displays as `field = value: why`, in one line.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// The field in the other tool's document.
    pub field: String,
    /// Its value.
    pub value: Value,
    /// Why it is not in the blueprint, or what became of it.
    pub why: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In a comment nothing may look like the end of a line, to no reader of YAML.
        let breaks =
            |letter: char| letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}');
        let line = format!("{} = {}: {}", self.field, self.value, self.why);
        f.write_str(&line.replace(breaks, "\u{fffd}"))
    }
}

/// An object of a document.
pub(super) struct Fields<'n> {
    path: String,
    map: Map<String, Value>,
    notes: &'n mut Vec<Note>,
}

impl<'n> Fields<'n> {
    pub(super) fn new(
        path: impl Into<String>,
        map: Map<String, Value>,
        notes: &'n mut Vec<Note>,
    ) -> Self {
        Self {
            path: path.into(),
            map,
            notes,
        }
    }

    fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    pub(super) fn note(&mut self, name: &str, value: impl Into<Value>, why: impl Into<String>) {
        let field = self.path(name);
        self.notes.push(Note {
            field,
            value: value.into(),
            why: why.into(),
        });
    }

    /// Takes a field; what is empty says nothing.
    fn take(&mut self, name: &str) -> Option<Value> {
        self.map.remove(name).filter(|value| !is_empty(value))
    }

    /// Takes a field if `as_wanted` makes something of it; else it is noted.
    fn take_as<T>(&mut self, name: &str, as_wanted: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let value = self.take(name)?;
        let wanted = as_wanted(&value);
        if wanted.is_none() {
            self.note(name, value, "this is not of the kind that belongs here");
        }
        wanted
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.take_as(name, |value| value.as_str().map(str::to_owned))
    }

    pub(super) fn bool(&mut self, name: &str) -> Option<bool> {
        self.take_as(name, Value::as_bool)
    }

    pub(super) fn number(&mut self, name: &str) -> Option<u32> {
        self.take_as(name, |value| u32::try_from(value.as_u64()?).ok())
    }

    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        let all = |value: &Value| {
            let texts = value.as_array()?.iter();
            texts.map(|text| text.as_str().map(str::to_owned)).collect()
        };
        self.take_as(name, all).unwrap_or_default()
    }

    /// Takes a list of objects, each with its path.
    pub(super) fn objects(&mut self, name: &str) -> Vec<(String, Map<String, Value>)> {
        let all = |value: &Value| -> Option<Vec<_>> {
            let objects = value.as_array()?.iter();
            objects.map(|one| one.as_object().cloned()).collect()
        };
        let path = self.path(name);
        let objects = self.take_as(name, all).unwrap_or_default();
        objects
            .into_iter()
            .enumerate()
            .map(|(at, one)| (format!("{path}[{at}]"), one))
            .collect()
    }

    /// Takes an object and all of its fields.
    pub(super) fn object(&mut self, name: &str, take: impl FnOnce(&mut Fields<'_>)) {
        let path = self.path(name);
        if let Some(map) = self.take_as(name, |value| value.as_object().cloned()) {
            self.inside(path, map, take);
        }
    }

    /// Takes all fields of an object; what is left of it is noted.
    pub(super) fn inside(
        &mut self,
        path: String,
        map: Map<String, Value>,
        take: impl FnOnce(&mut Fields<'_>),
    ) {
        let mut fields = Fields::new(path, map, self.notes);
        take(&mut fields);
        fields.end(&[]);
    }

    /// Notes what is left, with the reason where there is one.
    pub(super) fn end(mut self, why: &[(&str, &str)]) {
        for (name, value) in std::mem::take(&mut self.map) {
            if is_empty(&value) {
                continue;
            }
            let why = why.iter().find(|(known, _)| *known == name);
            let why = why.map_or("a blueprint has no such field", |(_, why)| why);
            self.note(&name, value, why);
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
