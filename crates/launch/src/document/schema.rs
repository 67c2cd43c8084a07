//! The JSON Schema of a type, and which of its words the check reads.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::Value;
use std::collections::BTreeSet;

/// The JSON Schema of a type, of draft 2020-12: what editors complete a file by.
pub fn schema<T: JsonSchema>() -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    generator.into_root_schema_for::<T>().to_value()
}

/// The words of the schema of a type that the check does not read; a document could break them
/// unseen. A type that is given to [`read`](super::read) should have none, which a test can say.
pub fn unread_keywords<T: JsonSchema>() -> BTreeSet<String> {
    let mut unread = BTreeSet::new();
    collect(&schema::<T>(), &mut unread);
    unread
}

/// What `check` compares a node with.
const READ: [&str; 20] = [
    "$ref",
    "additionalProperties",
    "anyOf",
    "const",
    "enum",
    "exclusiveMaximum",
    "exclusiveMinimum",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minimum",
    "oneOf",
    "pattern",
    "properties",
    "required",
    "type",
];

/// What says nothing about what is allowed.
const NOTES: [&str; 8] = [
    "$defs",
    "$schema",
    "default",
    "deprecated",
    "description",
    "examples",
    "format",
    "title",
];

fn collect(schema: &Value, unread: &mut BTreeSet<String>) {
    let Value::Object(words) = schema else {
        return;
    };
    for (word, value) in words {
        match word.as_str() {
            "properties" | "$defs" => {
                for schema in value.as_object().into_iter().flat_map(|map| map.values()) {
                    collect(schema, unread);
                }
            }
            "items" | "additionalProperties" => collect(value, unread),
            "oneOf" | "anyOf" => {
                for schema in value.as_array().into_iter().flatten() {
                    collect(schema, unread);
                }
            }
            word if READ.contains(&word) || NOTES.contains(&word) => {}
            word => {
                unread.insert(word.to_owned());
            }
        }
    }
}
