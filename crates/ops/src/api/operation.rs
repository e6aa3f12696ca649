// SPDX-License-Identifier: Apache-2.0
//! What can be asked: each operation's path, parameters and answer, as data.
//!
//! Owns: the list. `node` makes its routes from it and the document is made from it, so there is no route that is not described and
//! no description of what is not served.

use super::shape::Shape;
use super::shapes::{GroupAnswer, GroupsAnswer, NodeAnswer, TopicAnswer, TopicsAnswer};
use serde_json::{Map, Value, json};

/// Things in one page, unless the asker says how many.
pub const PAGE_DEFAULT: u32 = 100;
/// Most things in one page.
pub const PAGE_MAX: u32 = 1_000;

/// See the module. All are asked with GET and change nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Node,
    Topics,
    Topic,
    Groups,
    Group,
    Document,
    Metrics,
    Alive,
    Ready,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Path,
    Query,
}

/// Something that the asker gives.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    pub name: &'static str,
    pub place: Place,
    pub is_number: bool,
    pub meaning: &'static str,
}

const LIMIT: Parameter = Parameter {
    name: "limit",
    place: Place::Query,
    is_number: true,
    meaning: "How many, 1 to 1000; 100 if not given.",
};
const AFTER: Parameter = Parameter {
    name: "after",
    place: Place::Query,
    is_number: false,
    meaning: "Begins behind this one: `next_after` of the page before.",
};
const AFTER_NUMBER: Parameter = Parameter { is_number: true, ..AFTER };

/// What an answer's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    Json,
    Text,
}

impl Operation {
    /// In the order of the document.
    pub const ALL: [Operation; 9] = [
        Operation::Node,
        Operation::Topics,
        Operation::Topic,
        Operation::Groups,
        Operation::Group,
        Operation::Document,
        Operation::Metrics,
        Operation::Alive,
        Operation::Ready,
    ];

    /// The path, with parameters in braces.
    pub fn path(self) -> &'static str {
        match self {
            Operation::Node => "/v1/node",
            Operation::Topics => "/v1/topics",
            Operation::Topic => "/v1/topics/{name}",
            Operation::Groups => "/v1/groups",
            Operation::Group => "/v1/groups/{id}",
            Operation::Document => "/v1/openapi.json",
            Operation::Metrics => "/metrics",
            Operation::Alive => "/healthz",
            Operation::Ready => "/readyz",
        }
    }

    /// A name for generated clients.
    pub(super) fn id(self) -> &'static str {
        match self {
            Operation::Node => "node",
            Operation::Topics => "topics",
            Operation::Topic => "topic",
            Operation::Groups => "groups",
            Operation::Group => "group",
            Operation::Document => "openapi",
            Operation::Metrics => "metrics",
            Operation::Alive => "alive",
            Operation::Ready => "ready",
        }
    }

    pub(super) fn summary(self) -> &'static str {
        match self {
            Operation::Node => "The node: who it is, where it listens, what it holds on disk and in memory.",
            Operation::Topics => "Topics, a page at a time, by name.",
            Operation::Topic => "One topic with its settings and a page of its partitions.",
            Operation::Groups => "Consumer groups, a page at a time, by id.",
            Operation::Group => "One group with its members, committed offsets and lag.",
            Operation::Document => "This document.",
            Operation::Metrics => "Figures in the text format of Prometheus.",
            Operation::Alive => "Answers as long as the process does.",
            Operation::Ready => "Whether clients should be sent here, and the phase in words.",
        }
    }

    pub(super) fn parameters(self) -> &'static [Parameter] {
        const NAME: Parameter =
            Parameter { name: "name", place: Place::Path, is_number: false, meaning: "The topic's name." };
        const ID: Parameter =
            Parameter { name: "id", place: Place::Path, is_number: false, meaning: "The group's id." };
        match self {
            Operation::Topics | Operation::Groups => &[LIMIT, AFTER],
            Operation::Topic => &[NAME, LIMIT, AFTER_NUMBER],
            Operation::Group => &[ID],
            Operation::Node | Operation::Document | Operation::Metrics | Operation::Alive | Operation::Ready => &[],
        }
    }

    pub(super) fn body(self) -> Body {
        match self {
            Operation::Metrics | Operation::Alive | Operation::Ready => Body::Text,
            _ => Body::Json,
        }
    }

    /// The schema of a good answer; adds what it refers to.
    pub(super) fn answer(self, definitions: &mut Map<String, Value>) -> Value {
        fn shape<T: Shape>(definitions: &mut Map<String, Value>) -> Value {
            T::define(definitions);
            T::schema()
        }
        match self {
            Operation::Node => shape::<NodeAnswer>(definitions),
            Operation::Topics => shape::<TopicsAnswer>(definitions),
            Operation::Topic => shape::<TopicAnswer>(definitions),
            Operation::Groups => shape::<GroupsAnswer>(definitions),
            Operation::Group => shape::<GroupAnswer>(definitions),
            Operation::Document => json!({ "type": "object" }),
            Operation::Metrics | Operation::Alive | Operation::Ready => json!({ "type": "string" }),
        }
    }

    /// Statuses of what may go wrong, in words.
    pub(super) fn problems(self) -> &'static [(u16, &'static str)] {
        const NOT_NOW: (u16, &str) = (503, "The node is starting or stopping, or did not come to an answer in time.");
        match self {
            Operation::Node | Operation::Document | Operation::Alive => &[],
            Operation::Topics | Operation::Groups => &[(400, "A parameter cannot be read."), NOT_NOW],
            Operation::Topic => &[(400, "A parameter cannot be read."), (404, "There is no such topic."), NOT_NOW],
            Operation::Group => &[(404, "There is no such group."), NOT_NOW],
            Operation::Metrics => &[(500, "The text could not be made.")],
            Operation::Ready => &[(503, "Not now: the phase is the body.")],
        }
    }

    /// What goes wrong is told as a problem; a probe's answer is its phase, whatever that is.
    pub(super) fn problem_is_text(self) -> bool {
        self == Operation::Ready
    }
}
