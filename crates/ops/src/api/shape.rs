// SPDX-License-Identifier: Apache-2.0
//! From one declaration, a type that is written as JSON and the JSON schema (2020-12, as OpenAPI 3.1 has it) of what is written.
//!
//! Owns: the trait, the schemas of plain values, the two macros. Must not know: which shapes there are.
//! Every field is always written (`null` where there is nothing), so every field is `required` and nothing else is allowed.

use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A type that stands in answers.
pub trait Shape {
    /// How a field of this type is described: in place, or by the name it is defined under.
    fn schema() -> Value;
    /// Adds the definitions that `schema` refers to, by name.
    fn define(_definitions: &mut Map<String, Value>) {}
}

impl Shape for bool {
    fn schema() -> Value {
        json!({ "type": "boolean" })
    }
}

impl Shape for String {
    fn schema() -> Value {
        json!({ "type": "string" })
    }
}

impl Shape for u16 {
    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 0, "maximum": u16::MAX })
    }
}

impl Shape for u32 {
    fn schema() -> Value {
        json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX })
    }
}

impl Shape for u64 {
    fn schema() -> Value {
        json!({ "type": "integer", "format": "int64", "minimum": 0 })
    }
}

impl Shape for i32 {
    fn schema() -> Value {
        json!({ "type": "integer", "format": "int32" })
    }
}

impl Shape for i64 {
    fn schema() -> Value {
        json!({ "type": "integer", "format": "int64" })
    }
}

impl<T: Shape> Shape for Option<T> {
    fn schema() -> Value {
        json!({ "anyOf": [T::schema(), { "type": "null" }] })
    }

    fn define(definitions: &mut Map<String, Value>) {
        T::define(definitions);
    }
}

impl<T: Shape> Shape for Vec<T> {
    fn schema() -> Value {
        json!({ "type": "array", "items": T::schema() })
    }

    fn define(definitions: &mut Map<String, Value>) {
        T::define(definitions);
    }
}

impl<T: Shape> Shape for BTreeMap<String, T> {
    fn schema() -> Value {
        json!({ "type": "object", "additionalProperties": T::schema() })
    }

    fn define(definitions: &mut Map<String, Value>) {
        T::define(definitions);
    }
}

/// Where the document keeps a definition.
pub fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// A field's name as it is written: without the mark of a name that is a word of the language.
pub fn plain(field: &'static str) -> &'static str {
    field.strip_prefix("r#").unwrap_or(field)
}

/// A field's schema with its meaning. Beside a `$ref` a description is allowed since OpenAPI 3.1.
pub fn described(mut schema: Value, meaning: &[&str]) -> Value {
    if let Value::Object(fields) = &mut schema {
        let meaning = meaning.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
        fields.insert("description".to_owned(), Value::String(meaning));
    }
    schema
}

/// Declares objects: comments become descriptions, so each needs one.
macro_rules! objects {
    ($(
        $(#[doc = $meaning:literal])+
        $name:ident {
            $( $(#[doc = $field_meaning:literal])+ $field:ident: $type:ty, )+
        }
    )+) => { $(
        $(#[doc = $meaning])+
        #[derive(Clone, Debug, PartialEq, serde::Serialize)]
        pub struct $name {
            $( $(#[doc = $field_meaning])+ pub $field: $type, )+
        }

        impl $crate::api::shape::Shape for $name {
            fn schema() -> serde_json::Value {
                $crate::api::shape::reference(stringify!($name))
            }

            fn define(definitions: &mut serde_json::Map<String, serde_json::Value>) {
                if definitions.contains_key(stringify!($name)) {
                    return;
                }
                let mut properties = serde_json::Map::new();
                $( properties.insert(
                    $crate::api::shape::plain(stringify!($field)).to_owned(),
                    $crate::api::shape::described(<$type as $crate::api::shape::Shape>::schema(), &[$($field_meaning),+]),
                ); )+
                let required: Vec<&str> = vec![$($crate::api::shape::plain(stringify!($field))),+];
                let schema = serde_json::json!({
                    "type": "object", "properties": properties, "required": required, "additionalProperties": false,
                });
                let schema = $crate::api::shape::described(schema, &[$($meaning),+]);
                definitions.insert(stringify!($name).to_owned(), schema);
                $( <$type as $crate::api::shape::Shape>::define(definitions); )+
            }
        }
    )+ };
}

/// Declares sets of words, of which a field holds one.
macro_rules! words {
    ($(
        $(#[doc = $meaning:literal])+
        $name:ident { $( $(#[doc = $word_meaning:literal])+ $variant:ident = $word:literal, )+ }
    )+) => { $(
        $(#[doc = $meaning])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        pub enum $name {
            $( $(#[doc = $word_meaning])+ #[serde(rename = $word)] $variant, )+
        }

        impl $crate::api::shape::Shape for $name {
            fn schema() -> serde_json::Value {
                $crate::api::shape::reference(stringify!($name))
            }

            fn define(definitions: &mut serde_json::Map<String, serde_json::Value>) {
                let mut meaning: Vec<String> = vec![$($meaning.trim().to_owned()),+];
                $( meaning.push(format!("`{}`: {}", $word, [$($word_meaning.trim()),+].join(" "))); )+
                let words: Vec<&str> = vec![$($word),+];
                let schema = serde_json::json!({ "type": "string", "enum": words, "description": meaning.join(" ") });
                definitions.insert(stringify!($name).to_owned(), schema);
            }
        }
    )+ };
}

pub(crate) use {objects, words};
