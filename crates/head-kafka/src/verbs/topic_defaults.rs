// SPDX-License-Identifier: Apache-2.0
//! The broker's settings that are the defaults of topics': asked for before a topic is made or changed, because what the kernel acts
//! upon of a topic is settled then.
//!
//! A default that changes reaches the topics that are there one by one (`config_changes.rs`). A topic that is being made at that very
//! moment may still get the one before; it follows with its next change.

use super::Cx;
use crate::config::topic::Defaults;
use crate::coordinator::configs::{Answer, Ask, BROKER, Get, Resource, Stored};
use crate::errors;
use crate::map;
use crate::wire::{ErrorCode, Text};
use bytes::Bytes;
use kernel::error::CoordinatorError;

/// The part of a request that this question is.
pub const PART: u32 = u32::MAX;

/// Asks for them.
pub fn ask(cx: &mut Cx<'_>) {
    let broker = cx.settings.node_id.to_string();
    let named = |name: &str| Resource { resource_type: BROKER, resource_name: Text::from(name) };
    let get = Get { resources: vec![named(&broker), named("")] };
    cx.send(PART, map::configs(cx.catalog, cx.who, &Ask::Get(get)));
}

/// Takes the answer.
pub fn read(result: Result<Bytes, CoordinatorError>) -> Result<Defaults, ErrorCode> {
    match result.map(Answer::decode) {
        Ok(Ok(Answer::Got(got))) => {
            let mut found = got.found.iter();
            let (broker, all_brokers) = (found.next(), found.next());
            Ok(Defaults::of(|name| value(broker, name), |name| value(all_brokers, name)))
        }
        Ok(_) => Err(ErrorCode::UnknownServerError),
        Err(error) => Err(errors::configs(&error)),
    }
}

fn value<'a>(stored: Option<&'a Stored>, name: &str) -> Option<&'a str> {
    let settings = stored.map_or(&[][..], |stored| &stored.settings);
    settings.iter().find(|setting| setting.name.as_str() == name).map(|setting| setting.value.as_str())
}
