//! YAML as plain values, for files whose every key is optional.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A YAML value; what its scalars mean is up to who reads them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) enum Yaml {
    /// Nothing.
    #[default]
    Null,
    /// Any scalar, as text.
    Scalar(String),
    /// A sequence.
    List(Vec<Yaml>),
    /// A mapping, in order.
    Map(Vec<(String, Yaml)>),
}

/// Values inside each other that are read; more is no configuration.
const MAX_DEPTH: usize = 32;

impl Yaml {
    /// Reads a document.
    ///
    /// # Errors
    /// The reason, as a line of text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || line == "---"
        }) {
            return Ok(Self::Null);
        }
        let yaml: Self = serde_saphyr::from_str(text).map_err(|error| {
            let text = error.to_string();
            text.lines().next().unwrap_or_default().to_owned()
        })?;
        if yaml.depth() > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} values inside each other"));
        }
        Ok(yaml)
    }

    fn depth(&self) -> usize {
        let deepest = match self {
            Self::Null | Self::Scalar(_) => return 1,
            Self::List(items) => items.iter().map(Self::depth).max(),
            Self::Map(entries) => entries.iter().map(|(_, value)| value.depth()).max(),
        };
        deepest.unwrap_or(0).saturating_add(1)
    }

    /// The value of a key; nothing where this is no mapping or has no such key.
    pub(crate) fn key(&self, key: &str) -> &Self {
        const NULL: &Yaml = &Yaml::Null;
        self.entries()
            .iter()
            .find(|(name, _)| name == key)
            .map_or(NULL, |(_, value)| value)
    }

    /// Keys and values; none where this is no mapping.
    pub(crate) fn entries(&self) -> &[(String, Self)] {
        match self {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Items; a lone scalar counts as one.
    pub(crate) fn items(&self) -> &[Self] {
        match self {
            Self::List(items) => items,
            Self::Scalar(_) => std::slice::from_ref(self),
            _ => &[],
        }
    }

    /// The text of a scalar.
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// Whether this is a scalar that YAML 1.1 takes for true.
    pub(crate) fn is_true(&self) -> bool {
        self.text().is_some_and(|text| {
            ["true", "yes", "on", "y"]
                .iter()
                .any(|word| text.eq_ignore_ascii_case(word))
        })
    }

    /// The texts of all items that are scalars, or of their keys where they are mappings, as
    /// netplan writes addresses with options.
    pub(crate) fn texts(&self) -> Vec<String> {
        let texts = self.items().iter().filter_map(|item| match item {
            Self::Scalar(text) => Some(text.clone()),
            Self::Map(entries) => entries.first().map(|(key, _)| key.clone()),
            _ => None,
        });
        texts.collect()
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Any)
    }
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Yaml, E> {
        Ok(Yaml::Scalar(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        Yaml::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Yaml, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Yaml::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Yaml, A::Error> {
        let mut map = Vec::new();
        while let Some((key, value)) = entries.next_entry::<Yaml, Yaml>()? {
            let key = match key {
                Yaml::Scalar(text) => text,
                _ => String::new(),
            };
            map.push((key, value));
        }
        Ok(Yaml::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_without_a_schema() {
        let yaml = Yaml::parse("a:\n  b: [1, yes, \"x\", {c: 1.5}]\n  d: ~\n  e: on\n").unwrap();
        let list = yaml.key("a").key("b");
        assert_eq!(list.texts(), ["1", "true", "x", "c"]);
        assert_eq!(yaml.key("a").key("d"), &Yaml::Null);
        assert!(yaml.key("a").key("e").is_true());
        assert_eq!(yaml.key("z").key("y"), &Yaml::Null);
        assert_eq!(Yaml::parse("# nothing\n").unwrap(), Yaml::Null);
    }

    #[test]
    fn what_is_no_yaml_is_refused() {
        assert!(Yaml::parse("a: [1").is_err());
        assert!(Yaml::parse("a:\n\tb: 1\n").is_err());
        assert!(Yaml::parse(&"[".repeat(100_000)).is_err());
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let item = format!("*a{}, ", level - 1).repeat(9);
            bomb.push_str(&format!(
                "a{level}: &a{level} [{}]\n",
                item.trim_end_matches(", ")
            ));
        }
        assert!(Yaml::parse(&bomb).is_err());
    }
}
