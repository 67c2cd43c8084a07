//! Answers in XML.

use crate::error::escape;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// The inside of an answer, as it grows.
#[derive(Debug, Default)]
pub(super) struct Xml(String);

impl Xml {
    pub(super) fn text(&mut self, name: &str, text: impl Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "<{name}>{}</{name}>", escape(&text.to_string()));
    }

    pub(super) fn maybe(&mut self, name: &str, text: Option<impl Display>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    pub(super) fn group(&mut self, name: &str, fill: impl FnOnce(&mut Xml)) {
        let _ = write!(self.0, "<{name}>");
        fill(self);
        let _ = write!(self.0, "</{name}>");
    }

    /// A list: each member is an `item`.
    pub(super) fn list<T>(
        &mut self,
        name: &str,
        members: impl IntoIterator<Item = T>,
        mut fill: impl FnMut(&mut Xml, T),
    ) {
        self.group(name, |xml| {
            for member in members {
                xml.group("item", |xml| fill(xml, member));
            }
        });
    }

    /// A list of plain texts.
    pub(super) fn texts(&mut self, name: &str, members: impl IntoIterator<Item: Display>) {
        self.group(name, |xml| {
            for member in members {
                xml.text("item", member);
            }
        });
    }

    pub(super) fn tags(&mut self, tags: &BTreeMap<String, String>) {
        if !tags.is_empty() {
            self.list("tagSet", tags, |xml, (key, value)| {
                xml.text("key", key);
                xml.text("value", value);
            });
        }
    }

    /// `return`, of the actions that say nothing else.
    pub(super) fn done() -> Xml {
        let mut xml = Xml::default();
        xml.text("return", true);
        xml
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}
