// SPDX-License-Identifier: Apache-2.0
//! The OpenAPI 3.1 document, made from the list of operations and the shapes of their answers.

use super::operation::{Body, Operation, PAGE_DEFAULT, PAGE_MAX, Parameter, Place};
use super::shape::Shape;
use super::shapes::Problem;
use serde_json::{Map, Value, json};

/// The media type of a [`Problem`].
pub const PROBLEM_TYPE: &str = "application/problem+json";

const ABOUT: &str = "What a node holds and does. Read-only. Nobody is asked who they are yet: listen on loopback, or where the network \
                     keeps strangers out.";

/// See the module.
pub fn document(version: &str) -> Value {
    let mut definitions = Map::new();
    Problem::define(&mut definitions);
    let mut paths = Map::new();
    for operation in Operation::ALL {
        let parameters: Vec<Value> = operation.parameters().iter().map(parameter).collect();
        let media = match operation.body() {
            Body::Json => "application/json",
            Body::Text => "text/plain",
        };
        let mut answers = Map::new();
        let schema = operation.answer(&mut definitions);
        answers.insert(
            "200".to_owned(),
            json!({ "description": "As asked.", "content": { media: { "schema": schema } } }),
        );
        for (status, meaning) in operation.problems() {
            let content = match operation.problem_is_text() {
                true => json!({ "text/plain": { "schema": { "type": "string" } } }),
                false => json!({ PROBLEM_TYPE: { "schema": Problem::schema() } }),
            };
            answers.insert(status.to_string(), json!({ "description": meaning, "content": content }));
        }
        let get = json!({
            "operationId": operation.id(),
            "summary": operation.summary(),
            "parameters": parameters,
            "responses": answers,
        });
        paths.insert(operation.path().to_owned(), json!({ "get": get }));
    }
    json!({
        "openapi": "3.1.1",
        "info": { "title": "Polylog", "version": version, "description": ABOUT },
        "paths": paths,
        "components": { "schemas": definitions },
    })
}

fn parameter(parameter: &Parameter) -> Value {
    let schema = match (parameter.name, parameter.is_number) {
        ("limit", _) => json!({ "type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": PAGE_DEFAULT }),
        (_, true) => json!({ "type": "integer", "minimum": 0 }),
        (_, false) => json!({ "type": "string" }),
    };
    json!({
        "name": parameter.name,
        "in": match parameter.place { Place::Path => "path", Place::Query => "query" },
        "required": parameter.place == Place::Path,
        "description": parameter.meaning,
        "schema": schema,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::shapes::{ListenerShape, NodeAnswer};

    /// Every `$ref` in it.
    fn references(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match value {
                        Value::String(to) if name == "$ref" => found.push(to.clone()),
                        value => references(value, found),
                    }
                }
            }
            Value::Array(values) => values.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_operation_is_there_and_every_reference_leads_somewhere() {
        let document = document("1.2.3");
        for operation in Operation::ALL {
            let get = &document["paths"][operation.path()]["get"];
            let in_path: Vec<&str> = operation.path().split(['{', '}']).skip(1).step_by(2).collect();
            let named: Vec<&str> = get["parameters"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|parameter| parameter["in"] == "path")
                .map(|parameter| parameter["name"].as_str().unwrap())
                .collect();
            assert_eq!(named, in_path, "{operation:?}");
        }
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 10);
        for to in found {
            let pointer = to.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{to} leads nowhere");
        }
    }

    #[test]
    fn schema_and_json_of_a_shape_name_the_same_fields_and_every_field_has_a_meaning() {
        let document = document("1.2.3");
        let schema = &document["components"]["schemas"]["ListenerShape"];
        let shape = ListenerShape {
            name: "default".into(),
            protocol: "kafka".into(),
            address: "127.0.0.1:9092".into(),
            advertised: "127.0.0.1:9092".into(),
        };
        let written = serde_json::to_value(&shape).unwrap();
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&written), names(&schema["properties"]));
        assert_eq!(names(&written).len(), schema["required"].as_array().unwrap().len());
        assert_eq!(names(&document["components"]["schemas"]["Problem"]["properties"])[3], "type");
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            assert!(schema["description"].is_string(), "{name}");
            for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
                assert!(schema["description"].is_string(), "{name}.{field}");
            }
        }
        assert_eq!(NodeAnswer::schema(), json!({ "$ref": "#/components/schemas/NodeAnswer" }));
    }
}
