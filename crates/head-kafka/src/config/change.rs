// SPDX-License-Identifier: Apache-2.0
//! How a set of given values changes: one by one (set, delete, append, subtract) or all of them at once.
//!
//! Owns: the meaning of the four operations and what is refused with which number. Must not know: whose settings they are.
//! Source: Apache Kafka's `ConfigAdminManager` and `ConfigurationControlManager` (behaviour).

use super::Definition;
use super::kind::items;
use crate::wire::ErrorCode;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Longest value: what a list has grown to must still fit into an answer.
const VALUE_BYTES_MAX: usize = i16::MAX as usize;

/// The values that were given, by name.
pub type Given = BTreeMap<Arc<str>, Arc<str>>;

/// What is done to one setting, by the protocol's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Set = 0,
    Delete = 1,
    Append = 2,
    Subtract = 3,
}

impl Operation {
    pub fn from_number(number: i8) -> Option<Operation> {
        [Operation::Set, Operation::Delete, Operation::Append, Operation::Subtract]
            .into_iter()
            .find(|operation| *operation as i8 == number)
    }
}

/// One change of a request.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    pub name: &'a str,
    pub operation: Operation,
    /// Not looked at by a delete.
    pub value: Option<&'a str>,
}

/// Why changes are refused, all of them.
pub type Wrong = (ErrorCode, String);

/// What is known of the settings of one kind of resource.
#[derive(Clone, Copy)]
pub struct Rules<F> {
    /// A setting's definition; one without takes anything.
    pub find: F,
    /// The number for a value of the wrong type.
    pub wrong_value: ErrorCode,
}

/// The given values after the changes. `is_complete`: what is not named goes back to its default.
///
/// # Errors
/// What is wrong. Nothing is to be changed then.
pub fn apply<'a>(
    given: &Given,
    changes: &[Change<'a>],
    is_complete: bool,
    rules: &Rules<impl Fn(&str) -> Result<Option<&'static Definition>, Wrong>>,
) -> Result<Given, Wrong> {
    let mut after = if is_complete { Given::new() } else { given.clone() };
    let mut seen: BTreeSet<&'a str> = BTreeSet::new();
    for change in changes {
        let name = change.name;
        if !seen.insert(name) {
            return Err((ErrorCode::InvalidRequest, format!("Error due to duplicate config keys: {name}")));
        }
        let definition = match ((rules.find)(name), change.operation) {
            // What nobody knows is not there either.
            (Err((ErrorCode::InvalidConfig, _)) | Ok(_), Operation::Delete) => {
                after.remove(name);
                continue;
            }
            (found, _) => found?,
        };
        let Some(value) = change.value else {
            return Err((ErrorCode::InvalidRequest, format!("Null value not supported for: {name}")));
        };
        let value: Arc<str> = match (change.operation, definition) {
            (Operation::Append | Operation::Subtract, Some(definition)) if definition.kind.is_list() => {
                let before = given.get(name).map(|value| &**value).or(definition.default).unwrap_or("");
                changed_list(before, value, change.operation == Operation::Append).into()
            }
            (Operation::Append | Operation::Subtract, _) => {
                let message = format!("Config value append and subtract are not allowed for config key: {name}");
                return Err((ErrorCode::InvalidConfig, message));
            }
            (_, _) => value.into(),
        };
        if value.len() > VALUE_BYTES_MAX {
            return Err((ErrorCode::InvalidConfig, format!("The value is too long for configuration {name}")));
        }
        if let Some(definition) = definition {
            definition.check(&value).map_err(|message| (rules.wrong_value, message))?;
        }
        after.insert(name.into(), value);
    }
    Ok(after)
}

fn changed_list(before: &str, change: &str, is_append: bool) -> String {
    let mut list: Vec<&str> = items(before).collect();
    if is_append {
        // In the order given, what is not there yet.
        let mut seen: BTreeSet<&str> = list.iter().copied().collect();
        list.extend(items(change).filter(|item| seen.insert(item)));
    } else {
        let taken: BTreeSet<&str> = items(change).collect();
        list.retain(|item| !taken.contains(item));
    }
    list.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::topic;

    fn given(pairs: &[(&str, &str)]) -> Given {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    fn changed(before: &[(&str, &str)], changes: &[(&str, Operation, Option<&str>)]) -> Result<Given, i16> {
        let changes: Vec<Change<'_>> = changes
            .iter()
            .map(|(name, operation, value)| Change { name, operation: *operation, value: *value })
            .collect();
        apply(&given(before), &changes, false, &topic::RULES).map_err(|(code, _)| code.number())
    }

    #[test]
    fn values_are_set_deleted_appended_and_taken_away() {
        use Operation::*;
        let before = [("retention.ms", "1"), ("segment.ms", "2")];
        let after = changed(&before, &[("retention.ms", Set, Some("5")), ("segment.ms", Delete, Some("ignored"))]);
        assert_eq!(after, Ok(given(&[("retention.ms", "5")])));
        assert_eq!(changed(&[], &[("retention.md", Delete, None)]), Ok(given(&[])), "it is not there");
        let after = changed(&[], &[("cleanup.policy", Append, Some("compact"))]);
        assert_eq!(after, Ok(given(&[("cleanup.policy", "delete,compact")])), "appended to the default");
        let after = changed(&[("cleanup.policy", "delete,compact")], &[("cleanup.policy", Subtract, Some("delete"))]);
        assert_eq!(after, Ok(given(&[("cleanup.policy", "compact")])));
        let after = changed(&[], &[("cleanup.policy", Append, Some("delete"))]);
        assert_eq!(after, Ok(given(&[("cleanup.policy", "delete")])), "nothing stands in a list twice");
    }

    #[test]
    fn what_is_wrong_has_its_number() {
        use Operation::*;
        let wrong = [
            (("retention.ms", Append, Some("1")), 40),
            (("retention.ms", Set, Some("soon")), 40),
            (("retention.md", Set, Some("1")), 40),
            (("cleanup.policy", Append, Some("shred")), 40),
            (("retention.ms", Set, None), 42),
        ];
        for (change, code) in wrong {
            assert_eq!(changed(&[], &[change]), Err(code), "{change:?}");
        }
        let long = "1:1,".repeat(6_000);
        let replicas = "leader.replication.throttled.replicas";
        assert_eq!(changed(&[(replicas, &long)], &[(replicas, Append, Some(&"2:2,".repeat(9_000)))]), Err(40));
        let twice = [("retention.ms", Set, Some("1")), ("retention.ms", Delete, None)];
        assert_eq!(changed(&[], &twice), Err(42));
    }

    #[test]
    fn a_complete_set_leaves_nothing_of_the_one_before() {
        let changes = [Change { name: "segment.ms", operation: Operation::Set, value: Some("3") }];
        let after = apply(&given(&[("retention.ms", "1")]), &changes, true, &topic::RULES);
        assert_eq!(after, Ok(given(&[("segment.ms", "3")])));
    }
}
