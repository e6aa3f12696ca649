// SPDX-License-Identifier: Apache-2.0
//! Looks whether JSON is what a schema says. Knows the words that our document uses, and fails on any other: a word that nobody
//! looks at would prove nothing.

use serde_json::Value;

/// Panics with the place of whatever does not fit.
pub fn check(document: &Value, schema: &Value, value: &Value) {
    if let Err(why) = fits(document, schema, value, "answer") {
        panic!("{why}\nin {value:#}");
    }
}

fn fits(document: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let wrong = |why: String| Err(format!("{place}: {why}"));
    for (word, rule) in schema.as_object().unwrap() {
        match word.as_str() {
            "description" | "format" | "default" => {}
            "$ref" => {
                let pointer = rule.as_str().unwrap().strip_prefix('#').unwrap();
                fits(document, document.pointer(pointer).unwrap(), value, place)?;
            }
            "anyOf" => {
                let tried: Vec<_> =
                    rule.as_array().unwrap().iter().map(|schema| fits(document, schema, value, place)).collect();
                if tried.iter().all(Result::is_err) {
                    return wrong(format!("none of {tried:?}"));
                }
            }
            "type" => {
                let is = match rule.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "null" => value.is_null(),
                    other => panic!("unknown type {other}"),
                };
                if !is {
                    return wrong(format!("is no {rule}"));
                }
            }
            "minimum" if value.as_f64() < rule.as_f64() => return wrong(format!("is below {rule}")),
            "maximum" if value.as_f64() > rule.as_f64() => return wrong(format!("is above {rule}")),
            "minimum" | "maximum" => {}
            "enum" if !rule.as_array().unwrap().contains(value) => return wrong(format!("is none of {rule}")),
            "enum" => {}
            "items" => {
                for (number, item) in value.as_array().unwrap().iter().enumerate() {
                    fits(document, rule, item, &format!("{place}[{number}]"))?;
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        return wrong(format!("{name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(field) = value.get(name) {
                        fits(document, schema, field, &format!("{place}.{name}"))?;
                    }
                }
            }
            "additionalProperties" => {
                for (name, field) in value.as_object().unwrap() {
                    if schema["properties"].get(name).is_some() {
                        continue;
                    }
                    match rule {
                        Value::Bool(false) => return wrong(format!("{name} is not described")),
                        schema => fits(document, schema, field, &format!("{place}.{name}"))?,
                    }
                }
            }
            other => panic!("{place}: the schema says {other:?}, which is not looked at"),
        }
    }
    Ok(())
}
