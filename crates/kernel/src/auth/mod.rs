// SPDX-License-Identifier: Apache-2.0
//! One decision function, called on every path that touches data or names.
//!
//! Owns: principals and the decision. Must not know: how a principal proved itself (that is the head's and the node's).
//! Until credentials exist there is one principal, the anonymous one; whether it may connect at all is the node's listener rule
//! (loopback only unless told otherwise), and once connected it may do everything in its namespace.

use model::NamespaceId;
use std::sync::Arc;

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// Nobody proved to be anybody.
    Anonymous,
    /// The system itself: retention, recovery.
    System,
    /// A proven identity.
    User(Arc<str>),
}

/// What is acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource<'a> {
    Topic {
        namespace: NamespaceId,
        name: &'a str,
    },
    /// Producer ids, coordinators, the node itself.
    Node,
}

/// What is done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Describe,
    Read,
    Write,
    Create,
    Delete,
    Alter,
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Deny,
}

/// May `principal`, connected to `namespace`, do this?
pub fn decide(principal: &Principal, namespace: NamespaceId, resource: Resource<'_>, _action: Action) -> Verdict {
    let same_namespace = match resource {
        Resource::Topic { namespace: of_topic, .. } => of_topic == namespace,
        Resource::Node => true,
    };
    match principal {
        Principal::System => Verdict::Allow,
        Principal::Anonymous if same_namespace => Verdict::Allow,
        // No user has been given any right yet.
        Principal::Anonymous | Principal::User(_) => Verdict::Deny,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_reaches_into_another_namespace() {
        let there = Resource::Topic { namespace: NamespaceId(1), name: "t" };
        assert_eq!(decide(&Principal::Anonymous, NamespaceId(1), there, Action::Read), Verdict::Allow);
        assert_eq!(decide(&Principal::Anonymous, NamespaceId::DEFAULT, there, Action::Read), Verdict::Deny);
        assert_eq!(decide(&Principal::User("u".into()), NamespaceId(1), there, Action::Read), Verdict::Deny);
    }
}
