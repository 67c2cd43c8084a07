//! A tree as a value of a Rust type.

use super::tree::{Field, Node, Place, Value};
use super::{Path, Problem};
use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error as _, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;
use std::fmt;

/// Makes the value. What the schema did not refuse may still be refused by the type.
pub(super) fn value<T: DeserializeOwned>(root: &Node) -> Result<T, Problem> {
    let path = Path::root();
    T::deserialize(Located {
        node: root,
        path: &path,
    })
    .map_err(|error| {
        let (path, place) = error.at.unwrap_or_else(|| (String::new(), root.place));
        let fix = "write what the message asks for";
        Problem::new(path, place, "invalid", error.message, fix)
    })
}

/// A node on its way to a type.
#[derive(Clone, Copy)]
struct Located<'a> {
    node: &'a Node,
    path: &'a Path<'a>,
}

#[derive(Debug)]
struct Refused {
    /// The innermost place that is known.
    at: Option<(String, Place)>,
    message: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}

impl serde::de::Error for Refused {
    fn custom<M: fmt::Display>(message: M) -> Self {
        Self {
            at: None,
            message: message.to_string(),
        }
    }
}

impl Located<'_> {
    fn locate(self, mut error: Refused) -> Refused {
        if error.at.is_none() {
            error.at = Some((self.path.to_string(), self.node.place));
        }
        error
    }
}

impl<'de> Deserializer<'de> for Located<'_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        let result = match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(value) => match (u64::try_from(*value), i64::try_from(*value)) {
                (Ok(value), _) => visitor.visit_u64(value),
                (_, Ok(value)) => visitor.visit_i64(value),
                _ => visitor.visit_i128(*value),
            },
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(items) => visitor.visit_seq(Items {
                items: items.iter().enumerate(),
                path: self.path,
            }),
            Value::Map(fields) => visitor.visit_map(Fields {
                fields: fields.iter(),
                value: None,
                path: self.path,
            }),
        };
        result.map_err(|error| self.locate(error))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let result = visitor.visit_newtype_struct(self);
        result.map_err(|error| self.locate(error))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let result = match &self.node.value {
            Value::Text(text) => {
                let name: StrDeserializer<'_, Refused> = text.as_str().into_deserializer();
                visitor.visit_enum(name)
            }
            Value::Map(fields) => match fields.as_slice() {
                [field] => visitor.visit_enum(Variant {
                    field,
                    path: self.path,
                }),
                _ => Err(Refused::custom("one field is wanted here")),
            },
            _ => Err(Refused::custom("text or one field is wanted here")),
        };
        result.map_err(|error| self.locate(error))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Items<'a, I> {
    items: I,
    path: &'a Path<'a>,
}

impl<'de, 'a, I: Iterator<Item = (usize, &'a Node)>> SeqAccess<'de> for Items<'a, I> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refused> {
        let Some((index, node)) = self.items.next() else {
            return Ok(None);
        };
        let path = self.path.item(index);
        let item = Located { node, path: &path };
        seed.deserialize(item)
            .map(Some)
            .map_err(|error| item.locate(error))
    }
}

struct Fields<'a> {
    fields: std::slice::Iter<'a, Field>,
    value: Option<&'a Field>,
    path: &'a Path<'a>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Refused> {
        self.value = self.fields.next();
        let Some(field) = self.value else {
            return Ok(None);
        };
        let name: StrDeserializer<'_, Refused> = field.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|mut error| {
            let path = self.path.field(&field.name).to_string();
            error.at.get_or_insert((path, field.place));
            error
        })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Refused> {
        let Some(field) = self.value.take() else {
            return Err(Refused::custom("a value was asked for before its name"));
        };
        let path = self.path.field(&field.name);
        let value = Located {
            node: &field.node,
            path: &path,
        };
        seed.deserialize(value).map_err(|error| value.locate(error))
    }
}

/// An enum's variant with what belongs to it.
struct Variant<'a> {
    field: &'a Field,
    path: &'a Path<'a>,
}

impl<'de> EnumAccess<'de> for Variant<'_> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Refused> {
        let name: StrDeserializer<'_, Refused> = self.field.name.as_str().into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        match self.field.node.value {
            Value::Null => Ok(()),
            _ => Err(Refused::custom("nothing is wanted here")),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Refused> {
        let path = self.path.field(&self.field.name);
        seed.deserialize(Located {
            node: &self.field.node,
            path: &path,
        })
    }

    fn tuple_variant<V: Visitor<'de>>(self, _len: usize, visitor: V) -> Result<V::Value, Refused> {
        let path = self.path.field(&self.field.name);
        let node = &self.field.node;
        Located { node, path: &path }.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let path = self.path.field(&self.field.name);
        let node = &self.field.node;
        Located { node, path: &path }.deserialize_any(visitor)
    }
}
