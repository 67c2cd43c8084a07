//! Compares a tree with a JSON Schema and tells every difference.
//!
//! The words of draft 2020-12 that `schemars` writes for structs, enums, lists and maps are read;
//! see `schema::READ`.

use super::tree::{Field, MAX_PROBLEMS, Node, Value};
use super::{Path, Problem, nearest};
use regex_lite::Regex;
use serde_json::{Map, Value as Json};
use std::net::{Ipv4Addr, Ipv6Addr};

/// References that are followed one after another: to a definition, from there to its parts.
const MAX_REFERENCES: usize = 8;

/// Everything about the tree that the schema does not allow, in the order of the text.
pub(super) fn check(root: &Node, schema: &Json) -> Vec<Problem> {
    let checker = Checker { schema };
    let mut problems = Vec::new();
    checker.node(root, schema, &Path::root(), &mut problems);
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems.truncate(MAX_PROBLEMS);
    problems
}

struct Checker<'s> {
    schema: &'s Json,
}

impl<'s> Checker<'s> {
    fn node(&self, node: &Node, schema: &'s Json, path: &Path<'_>, out: &mut Vec<Problem>) {
        if out.len() >= MAX_PROBLEMS {
            return;
        }
        let Some(words) = self.resolve(schema).as_object() else {
            return;
        };
        for union in ["oneOf", "anyOf"] {
            if let Some(branches) = words.get(union).and_then(Json::as_array) {
                return self.union(node, branches, path, out);
            }
        }
        if let Some(allowed) = choices(words) {
            if !allowed.iter().any(|allowed| equals(node, allowed)) {
                out.push(not_a_choice(node, &allowed, path));
            }
            return;
        }
        let kinds = kinds(words);
        if !kinds.is_empty() && !kinds.iter().any(|kind| is_kind(node, kind)) {
            out.push(wrong_type(node, &kinds, words, path));
            return;
        }
        match &node.value {
            Value::Map(fields) => self.map(node, fields, words, path, out),
            Value::List(items) => self.list(node, items, words, path, out),
            Value::Text(text) => check_text(node, text, words, path, out),
            Value::Integer(_) | Value::Float(_) => check_number(node, words, path, out),
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// What a schema refers to.
    fn resolve(&self, schema: &'s Json) -> &'s Json {
        let mut schema = schema;
        for _ in 0..MAX_REFERENCES {
            let reference = schema.get("$ref").and_then(Json::as_str);
            let target = reference
                .and_then(|reference| reference.strip_prefix('#'))
                .and_then(|pointer| self.schema.pointer(pointer));
            match target {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    fn union(&self, node: &Node, branches: &'s [Json], path: &Path<'_>, out: &mut Vec<Problem>) {
        let mut best: Option<(usize, Vec<Problem>)> = None;
        let (mut kinds_wanted, mut allowed) = (Vec::new(), Vec::new());
        let mut others = false;
        for branch in branches {
            let mut problems = Vec::new();
            self.node(node, branch, path, &mut problems);
            if problems.is_empty() {
                return;
            }
            let words = self.resolve(branch).as_object();
            let own = words.and_then(|words| choices(words));
            let kinds = words.map(|words| kinds(words)).unwrap_or_default();
            if let Some(own) = own {
                allowed.extend(own);
                continue;
            }
            if kinds.as_slice() == ["null"] {
                continue;
            }
            others = true;
            // A branch for another kind of node is not what was meant; among those of this kind the
            // one that has the right word for its tag, then the one with the fewest problems.
            let of_kind = kinds.is_empty() || kinds.iter().any(|kind| is_kind(node, kind));
            let tag_wrong = problems.iter().any(|problem| problem.rule == "not-in-enum");
            kinds_wanted.extend(kinds);
            if of_kind {
                let cost = problems.len() + if tag_wrong { MAX_PROBLEMS } else { 0 };
                if best.as_ref().is_none_or(|(least, _)| cost < *least) {
                    best = Some((cost, problems));
                }
            }
        }
        if let Some((_, problems)) = best {
            out.extend(problems);
        } else if others && !matches!(node.value, Value::Text(_)) {
            if !allowed.is_empty() {
                kinds_wanted.push("string");
            }
            kinds_wanted.dedup();
            out.push(wrong_type(node, &kinds_wanted, &Map::new(), path));
        } else {
            out.push(not_a_choice(node, &allowed, path));
        }
    }

    fn map(
        &self,
        node: &Node,
        fields: &[Field],
        words: &'s Map<String, Json>,
        path: &Path<'_>,
        out: &mut Vec<Problem>,
    ) {
        let known = words.get("properties").and_then(Json::as_object);
        let others = words.get("additionalProperties");
        for field in fields {
            let here = path.field(&field.name);
            if let Some(schema) = known.and_then(|known| known.get(&field.name)) {
                self.node(&field.node, schema, &here, out);
            } else if others == Some(&Json::Bool(false)) {
                let names = known.into_iter().flat_map(|known| known.keys());
                let names: Vec<_> = names.map(String::as_str).collect();
                let fix = self.instead(&field.name, &names);
                let message = "there is no such field";
                out.push(Problem::new(
                    here.to_string(),
                    field.place,
                    "unknown-field",
                    message,
                    fix,
                ));
            } else if let Some(schema) = others {
                self.node(&field.node, schema, &here, out);
            }
        }
        let required = words.get("required").and_then(Json::as_array);
        for name in required.into_iter().flatten().filter_map(Json::as_str) {
            if !fields.iter().any(|field| field.name == name) {
                let schema = known.and_then(|known| known.get(name));
                let fix = match schema.and_then(|schema| example(self.resolve(schema), schema)) {
                    Some(example) => format!("add it, as in `{name}: {example}`"),
                    None => format!("add `{name}:`"),
                };
                out.push(Problem::new(
                    path.field(name).to_string(),
                    node.place,
                    "missing-field",
                    "this field has to be there",
                    fix,
                ));
            }
        }
        if let Some(most) = size(words, "maxProperties").filter(|most| fields.len() > *most) {
            let message = format!("there are {} of at most {most}", fields.len());
            let fix = format!("keep {most}");
            out.push(Problem::new(
                path.to_string(),
                node.place,
                "length",
                message,
                fix,
            ));
        }
    }

    /// What to write instead of a field that is not known.
    fn instead(&self, name: &str, names: &[&str]) -> String {
        if let Some(meant) = nearest(name, names.iter().copied()) {
            return format!("did you mean {meant}?");
        }
        // Often a field is known, but of something else.
        let mut owners = Vec::new();
        self.owners(self.schema, name, 0, &mut String::new(), &mut owners);
        if let Some(owner) = owners.first() {
            return format!("it belongs to {owner}");
        }
        match names {
            [] => "remove it".to_owned(),
            names => format!("remove it, or write one of {}", names.join(", ")),
        }
    }

    /// The paths of the maps that have a field of this name.
    fn owners(
        &self,
        schema: &'s Json,
        name: &str,
        depth: usize,
        path: &mut String,
        out: &mut Vec<String>,
    ) {
        if depth > MAX_REFERENCES || !out.is_empty() {
            return;
        }
        let resolved = self.resolve(schema);
        let known = resolved.get("properties").and_then(Json::as_object);
        for (field, schema) in known.into_iter().flatten() {
            if field == name && !path.is_empty() {
                out.push(path.clone());
                return;
            }
            let length = path.len();
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(field);
            self.owners(schema, name, depth + 1, path, out);
            path.truncate(length);
        }
        for union in ["oneOf", "anyOf"] {
            let branches = resolved.get(union).and_then(Json::as_array);
            for branch in branches.into_iter().flatten() {
                self.owners(branch, name, depth + 1, path, out);
            }
        }
        if let Some(items) = resolved.get("items") {
            path.push_str("[]");
            self.owners(items, name, depth + 1, path, out);
            path.truncate(path.len() - 2);
        }
    }

    fn list(
        &self,
        node: &Node,
        items: &[Node],
        words: &'s Map<String, Json>,
        path: &Path<'_>,
        out: &mut Vec<Problem>,
    ) {
        if let Some(schema) = words.get("items") {
            for (index, item) in items.iter().enumerate() {
                self.node(item, schema, &path.item(index), out);
            }
        }
        let count = items.len();
        let least = size(words, "minItems").filter(|least| count < *least);
        let most = size(words, "maxItems").filter(|most| count > *most);
        let fix = match (least, most) {
            (Some(least), _) => format!("write at least {least}"),
            (_, Some(most)) => format!("write at most {most}"),
            (None, None) => return,
        };
        out.push(Problem::new(
            path.to_string(),
            node.place,
            "length",
            format!("the list has {count} items"),
            fix,
        ));
    }
}

/// The values that are allowed, where a schema counts them up.
fn choices(words: &Map<String, Json>) -> Option<Vec<&Json>> {
    if let Some(only) = words.get("const") {
        return Some(vec![only]);
    }
    let values = words.get("enum")?.as_array()?;
    Some(values.iter().collect())
}

fn kinds(words: &Map<String, Json>) -> Vec<&str> {
    match words.get("type") {
        Some(Json::String(kind)) => vec![kind],
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_kind(node: &Node, kind: &str) -> bool {
    match &node.value {
        Value::Null => kind == "null",
        Value::Bool(_) => kind == "boolean",
        Value::Integer(_) => matches!(kind, "integer" | "number"),
        Value::Float(_) => kind == "number",
        Value::Text(_) => kind == "string",
        Value::List(_) => kind == "array",
        Value::Map(_) => kind == "object",
    }
}

fn equals(node: &Node, allowed: &Json) -> bool {
    match (&node.value, allowed) {
        (Value::Null, Json::Null) => true,
        (Value::Bool(here), Json::Bool(allowed)) => here == allowed,
        (Value::Text(here), Json::String(allowed)) => here == allowed,
        (Value::Integer(here), Json::Number(allowed)) => {
            allowed.as_i128().is_some_and(|allowed| allowed == *here)
        }
        _ => false,
    }
}

/// What a node is, in words; long text is cut.
fn shown(node: &Node) -> String {
    match &node.value {
        Value::Null => "empty".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text(text) if text.chars().count() > 40 => {
            let start: String = text.chars().take(40).collect();
            format!("{start:?}…")
        }
        Value::Text(text) => format!("{text:?}"),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map of fields".to_owned(),
    }
}

fn kind_in_words(kind: &str) -> &str {
    match kind {
        "string" => "text",
        "integer" => "a whole number",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a list",
        "object" => "a map of fields",
        other => other,
    }
}

fn wrong_type(node: &Node, kinds: &[&str], words: &Map<String, Json>, path: &Path<'_>) -> Problem {
    let wanted: Vec<_> = kinds
        .iter()
        .filter(|kind| **kind != "null")
        .map(|kind| kind_in_words(kind))
        .collect();
    let wants = |kind: &str| kinds.contains(&kind);
    let fix = match &node.value {
        Value::Text(text) if wants("boolean") => match text.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" => "write true".to_owned(),
            "no" | "off" | "n" => "write false".to_owned(),
            _ => "write true or false".to_owned(),
        },
        Value::Text(text) if wants("integer") && text.trim().parse::<i64>().is_ok() => {
            format!("write {} without quotes", text.trim())
        }
        Value::Integer(_) | Value::Float(_) | Value::Bool(_) if wants("string") => {
            format!("put it into quotes: \"{}\"", shown(node))
        }
        Value::Map(_) if wants("array") => "put `- ` before each item".to_owned(),
        Value::Text(_) | Value::Integer(_) if wants("array") => {
            format!("write it as a list: [{}]", shown(node).replace('"', ""))
        }
        _ => match words.get("examples").and_then(|examples| examples.get(0)) {
            Some(example) => format!("write it as in {}", plain(example)),
            None if wanted.is_empty() => "remove it".to_owned(),
            None => format!("write {}", wanted.join(" or ")),
        },
    };
    let message = format!("{} is wanted, not {}", wanted.join(" or "), shown(node));
    Problem::new(path.to_string(), node.place, "wrong-type", message, fix)
}

fn not_a_choice(node: &Node, allowed: &[&Json], path: &Path<'_>) -> Problem {
    let words: Vec<_> = allowed
        .iter()
        .filter(|allowed| !allowed.is_null())
        .map(|allowed| plain(allowed))
        .collect();
    let meant = match &node.value {
        Value::Text(text) => nearest(text, words.iter().map(String::as_str)).map(str::to_owned),
        // YAML 1.1 and many people's hands mean these by `yes` and `no`.
        Value::Bool(value) => {
            let word = if *value { "yes" } else { "no" };
            words.iter().find(|allowed| *allowed == word).cloned()
        }
        _ => None,
    };
    let fix = match (meant, words.as_slice()) {
        (Some(meant), _) => format!("did you mean {meant}?"),
        (None, [only]) => format!("write {only}"),
        (None, words) => format!("write one of {}", words.join(", ")),
    };
    let message = format!("{} is not one of {}", shown(node), words.join(", "));
    Problem::new(path.to_string(), node.place, "not-in-enum", message, fix)
}

fn check_text(
    node: &Node,
    text: &str,
    words: &Map<String, Json>,
    path: &Path<'_>,
    out: &mut Vec<Problem>,
) {
    let length = text.chars().count();
    let least = size(words, "minLength").filter(|least| length < *least);
    let most = size(words, "maxLength").filter(|most| length > *most);
    let fix = match (least, most) {
        (Some(1), _) => Some("write something, or remove the field".to_owned()),
        (Some(least), _) => Some(format!("write at least {least}")),
        (_, Some(most)) => Some(format!("write at most {most}")),
        (None, None) => None,
    };
    if let Some(fix) = fix {
        let message = format!("the text has {length} characters");
        out.push(Problem::new(
            path.to_string(),
            node.place,
            "length",
            message,
            fix,
        ));
        return;
    }
    let address = match words.get("format").and_then(Json::as_str) {
        Some("ipv4") if text.parse::<Ipv4Addr>().is_err() => Some(("IPv4", "10.0.1.25")),
        Some("ipv6") if text.parse::<Ipv6Addr>().is_err() => Some(("IPv6", "2001:db8::25")),
        _ => None,
    };
    if let Some((kind, example)) = address {
        let message = format!("{} is not an {kind} address", shown(node));
        let fix = format!("write it as in {example}");
        out.push(Problem::new(
            path.to_string(),
            node.place,
            "pattern",
            message,
            fix,
        ));
        return;
    }
    let Some(pattern) = words.get("pattern").and_then(Json::as_str) else {
        return;
    };
    // A pattern that this cannot read allows nothing, which the first test of its type shows.
    if Regex::new(pattern).is_ok_and(|pattern| pattern.is_match(text)) {
        return;
    }
    let what = words.get("title").and_then(Json::as_str);
    let message = match what {
        Some(what) => format!("{} is not {what}", shown(node)),
        None => format!("{} does not fit {pattern}", shown(node)),
    };
    let fix = match words.get("examples").and_then(|examples| examples.get(0)) {
        Some(example) => format!("write it as in {}", plain(example)),
        None => format!("write what fits {pattern}"),
    };
    out.push(Problem::new(
        path.to_string(),
        node.place,
        "pattern",
        message,
        fix,
    ));
}

fn check_number(node: &Node, words: &Map<String, Json>, path: &Path<'_>, out: &mut Vec<Problem>) {
    // Whole numbers of bounds are exact in a float; those of documents need not be.
    let number = |word: &str| words.get(word).and_then(Json::as_f64);
    let (format_low, format_high) = match words.get("format").and_then(Json::as_str) {
        Some("uint8") => (Some(0.0), Some(255.0)),
        Some("uint16") => (Some(0.0), Some(65_535.0)),
        Some("uint32") => (Some(0.0), Some(4_294_967_295.0)),
        Some("int32") => (Some(-2_147_483_648.0), Some(2_147_483_647.0)),
        Some("uint" | "uint64") => (Some(0.0), Some(18_446_744_073_709_549_568.0)),
        Some("int" | "int64") => (
            Some(-9_223_372_036_854_775_808.0),
            Some(9_223_372_036_854_774_784.0),
        ),
        _ => (None, None),
    };
    let value = match &node.value {
        Value::Integer(value) => value.to_string().parse().unwrap_or(f64::NAN),
        Value::Float(value) => *value,
        _ => return,
    };
    let least = number("minimum").or(format_low);
    let most = number("maximum").or(format_high);
    let above = number("exclusiveMinimum");
    let below = number("exclusiveMaximum");
    let inside = least.is_none_or(|least| value >= least)
        && most.is_none_or(|most| value <= most)
        && above.is_none_or(|above| value > above)
        && below.is_none_or(|below| value < below);
    if inside {
        return;
    }
    let fix = match (least, most, above, below) {
        (Some(least), Some(most), None, None) => format!("write {least} to {most}"),
        (Some(least), None, None, None) => format!("write {least} or more"),
        (None, Some(most), None, None) => format!("write {most} or less"),
        (_, _, Some(above), _) => format!("write more than {above}"),
        (_, _, _, Some(below)) => format!("write less than {below}"),
        (None, None, None, None) => "write a finite number".to_owned(),
    };
    out.push(Problem::new(
        path.to_string(),
        node.place,
        "out-of-range",
        format!("{} is out of range", shown(node)),
        fix,
    ));
}

fn size(words: &Map<String, Json>, word: &str) -> Option<usize> {
    usize::try_from(words.get(word)?.as_u64()?).ok()
}

/// A value as it is written in YAML where it stands alone.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// An example of a field: its own, or that of what it refers to.
fn example(resolved: &Json, own: &Json) -> Option<String> {
    let first = |schema: &Json| schema.get("examples")?.get(0).map(plain);
    let only = |schema: &Json| schema.get("const").map(plain);
    let choice = |schema: &Json| schema.get("enum")?.get(0).map(plain);
    first(own)
        .or_else(|| first(resolved))
        .or_else(|| only(resolved))
        .or_else(|| choice(resolved))
}
