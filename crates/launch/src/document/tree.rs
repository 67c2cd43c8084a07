//! The tree of a document, each node with its place.

use super::{MAX_SIZE, Path, Problem, scalar};
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;

/// Levels of lists and maps: blueprints have five.
const MAX_DEPTH: usize = 32;
/// Nodes of a document; what is made of them is not larger than the text by more than a factor.
const MAX_NODES: usize = 50_000;
/// Problems that are told; who has more began with the wrong file.
pub(super) const MAX_PROBLEMS: usize = 200;

pub(super) const TOO_LARGE: (&str, &str) = (
    "this is larger than 1 MiB",
    "name the file that was meant, or split it",
);

/// Line and column, from 1.
pub(super) type Place = (usize, usize);

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    /// Of a single value where it stands; of lists and maps where their name does.
    pub(super) place: Place,
    pub(super) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    /// In the order of the text, no name twice.
    Map(Vec<Field>),
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) name: String,
    /// Where the name stands.
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    /// The node of this path, or the one that it would be in; and whether it is the node itself.
    pub(super) fn find(&self, path: &str) -> (&Self, bool) {
        let (mut node, mut rest) = (self, path);
        while !rest.is_empty() {
            match node.child(rest) {
                Some((child, left)) => (node, rest) = (child, left),
                None => return (node, false),
            }
        }
        (node, true)
    }

    /// The node of the first step of a path, and the rest of the path.
    fn child<'p>(&self, path: &'p str) -> Option<(&Self, &'p str)> {
        let root = Path::root();
        let after = |step: &Path<'_>| {
            let rest = path.strip_prefix(step.to_string().as_str())?;
            let ends = rest.is_empty() || rest.starts_with(['.', '[']);
            ends.then(|| rest.strip_prefix('.').unwrap_or(rest))
        };
        match &self.value {
            Value::List(items) => items
                .iter()
                .enumerate()
                .find_map(|(index, item)| after(&root.item(index)).map(|rest| (item, rest))),
            Value::Map(fields) => fields
                .iter()
                .find_map(|field| after(&root.field(&field.name)).map(|rest| (&field.node, rest))),
            _ => None,
        }
    }
}

/// Reads one document.
pub(super) fn parse(text: &str) -> Result<Node, Vec<Problem>> {
    if text.len() > MAX_SIZE {
        let (message, fix) = TOO_LARGE;
        return Err(vec![Problem::new("", (1, 1), "too-large", message, fix)]);
    }
    let mut builder = Builder::default();
    // The parser looks ahead, and so meets brackets before the builder does.
    let options = granit_parser::options! {
        flow_nesting_limit: MAX_DEPTH,
        block_nesting_limit: MAX_DEPTH,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let proceed = match event {
            Ok((event, span)) => builder.event(event, &span),
            Err(error) => {
                let place = (error.marker().line().max(1), error.marker().col() + 1);
                if *error.kind() == ErrorKind::RecursionLimitExceeded {
                    builder.too_deep(place);
                } else {
                    let message = format!("this is not YAML: {}", error.info());
                    let fix = "correct it here or just before";
                    builder.tell(place, "yaml-syntax", message, fix);
                }
                false
            }
        };
        if !proceed || builder.problems.len() >= MAX_PROBLEMS {
            break;
        }
    }
    builder.end()
}

/// A list or map that is not closed yet.
struct Open {
    place: Place,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map {
        fields: Vec<Field>,
        names: BTreeMap<String, Place>,
        /// The name whose value comes next.
        name: Option<(String, Place)>,
    },
}

#[derive(Default)]
struct Builder {
    stack: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    problems: Vec<Problem>,
}

impl Builder {
    /// Takes an event; whether more make sense.
    fn event(&mut self, event: Event<'_>, span: &Span) -> bool {
        let place = (span.start.line().max(1), span.start.col() + 1);
        let (anchor, tag) = match &event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(_, anchor, tag)
            | Event::MappingStart(_, anchor, tag) => (*anchor != 0, tag.is_some()),
            _ => (false, false),
        };
        if anchor || matches!(event, Event::Alias(_) | Event::UnresolvedAlias(_)) {
            let message = "anchors and aliases are not read";
            self.tell(place, "yaml-alias", message, "write the value out here");
        }
        if tag {
            self.tell(place, "yaml-tag", "tags are not read", "remove the tag");
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                let fix = "keep one document in a file";
                self.tell(
                    place,
                    "yaml-documents",
                    "a second document begins here",
                    fix,
                );
                return false;
            }
            Event::Scalar(text, style, ..) => {
                let is_name = matches!(
                    self.stack.last(),
                    Some(Open {
                        items: Items::Map { name: None, .. },
                        ..
                    })
                );
                if is_name {
                    return self.name(text.into_owned(), place);
                }
                let value = match style {
                    ScalarStyle::Plain => scalar::resolve(&text),
                    _ => Value::Text(text.into_owned()),
                };
                return self.node(Node { place, value });
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                return self.node(Node {
                    place,
                    value: Value::Null,
                });
            }
            Event::SequenceStart(..) => return self.open(place, Items::List(Vec::new())),
            Event::MappingStart(..) => {
                let (fields, names) = (Vec::new(), BTreeMap::new());
                let name = None;
                return self.open(
                    place,
                    Items::Map {
                        fields,
                        names,
                        name,
                    },
                );
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.stack.pop() {
                    let value = match open.items {
                        Items::List(items) => Value::List(items),
                        Items::Map { fields, .. } => Value::Map(fields),
                    };
                    let place = open.place;
                    return self.node(Node { place, value });
                }
            }
            _ => {}
        }
        true
    }

    fn open(&mut self, place: Place, items: Items) -> bool {
        if let Some(Open {
            items: Items::Map { name: None, .. },
            ..
        }) = self.stack.last()
        {
            let message = "a list or map cannot be the name of a field";
            self.tell(place, "yaml-key", message, "write the name as text");
            return false;
        }
        if self.stack.len() >= MAX_DEPTH {
            self.too_deep(place);
            return false;
        }
        self.stack.push(Open { place, items });
        true
    }

    /// Takes the name of a field.
    fn name(&mut self, text: String, place: Place) -> bool {
        if let Some(Open {
            items: Items::Map { name, .. },
            ..
        }) = self.stack.last_mut()
        {
            *name = Some((text, place));
        }
        true
    }

    /// Takes a node that is whole.
    fn node(&mut self, mut node: Node) -> bool {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            let message = format!("there are more than {MAX_NODES} values");
            self.tell(node.place, "too-large", message, "split the file");
            return false;
        }
        let Some(open) = self.stack.last_mut() else {
            self.root = Some(node);
            return true;
        };
        match &mut open.items {
            Items::List(items) => items.push(node),
            Items::Map {
                fields,
                names,
                name,
            } => {
                let Some((name, place)) = name.take() else {
                    // An alias as a name: told already.
                    *name = Some((String::new(), node.place));
                    return true;
                };
                // Nothing stands where an empty value would be.
                if matches!(node.value, Value::Null | Value::List(_) | Value::Map(_)) {
                    node.place = place;
                }
                if let Some((line, _)) = names.get(&name) {
                    let message = format!("this field is here twice, first in line {line}");
                    let path = self.path(&name);
                    let fix = "keep one of them";
                    self.problems
                        .push(Problem::new(path, place, "duplicate-field", message, fix));
                    return true;
                }
                names.insert(name.clone(), place);
                fields.push(Field { name, place, node });
            }
        }
        true
    }

    /// The path of a field of the map that is open.
    fn path(&self, name: &str) -> String {
        let mut steps = Vec::new();
        for open in &self.stack[..self.stack.len().saturating_sub(1)] {
            steps.push(match &open.items {
                Items::List(items) => Err(items.len()),
                Items::Map { name, .. } => Ok(name.as_ref().map_or("", |(name, _)| name.as_str())),
            });
        }
        steps.push(Ok(name));
        render(&steps, &Path::root())
    }

    fn too_deep(&mut self, place: Place) {
        let message = format!("lists and maps are nested more than {MAX_DEPTH} deep");
        self.tell(place, "too-deep", message, "take levels out");
    }

    fn tell(&mut self, place: Place, rule: &'static str, message: impl Into<String>, fix: &str) {
        self.problems
            .push(Problem::new("", place, rule, message, fix));
    }

    fn end(self) -> Result<Node, Vec<Problem>> {
        if !self.problems.is_empty() {
            return Err(self.problems);
        }
        self.root.ok_or_else(|| {
            let fix = "begin with a field, as `metadata:`";
            vec![Problem::new(
                "",
                (1, 1),
                "empty",
                "there is nothing here",
                fix,
            )]
        })
    }
}

/// Each path borrows the one above it.
fn render(steps: &[Result<&str, usize>], above: &Path<'_>) -> String {
    match steps.split_first() {
        None => above.to_string(),
        Some((Ok(name), rest)) => render(rest, &above.field(name)),
        Some((Err(index), rest)) => render(rest, &above.item(*index)),
    }
}
