// SPDX-License-Identifier: Apache-2.0
//! InitProducerId, for idempotent producers: always a new id with epoch 0, whatever id the producer had before (the protocol
//! bumps epochs for transactional ids only).
//!
//! A transactional id is refused with UNSUPPORTED_VERSION: no client retries it, and its text is the truth (this broker does not
//! speak that part).

use super::{Cx, Outcome};
use crate::errors;
use crate::map;
use crate::wire::ErrorCode;
use crate::wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use kernel::error::ProducerError;
use kernel::reply::ProducerReady;

pub fn start(cx: &mut Cx<'_>, request: InitProducerIdRequest) -> Result<(), Outcome> {
    match &request.transactional_id {
        Some(id) if id.as_str().is_empty() => return Err(refuse(cx, ErrorCode::InvalidRequest)),
        Some(_) => return Err(refuse(cx, ErrorCode::UnsupportedVersion)),
        None => {}
    }
    // An id without an epoch, or the other way round.
    if (request.producer_id == -1) != (request.producer_epoch == -1) {
        return Err(refuse(cx, ErrorCode::InvalidRequest));
    }
    cx.send(0, map::init_producer());
    Ok(())
}

pub fn reply(cx: &mut Cx<'_>, result: Result<ProducerReady, ProducerError>) -> Outcome {
    match result {
        Ok(ready) => {
            let (producer_id, producer_epoch) = map::producer(ready);
            answer(cx, ErrorCode::None, producer_id, producer_epoch)
        }
        Err(error) => refuse(cx, errors::producer(&error)),
    }
}

fn refuse(cx: &Cx<'_>, code: ErrorCode) -> Outcome {
    answer(cx, code, -1, -1)
}

fn answer(cx: &Cx<'_>, code: ErrorCode, producer_id: i64, producer_epoch: i16) -> Outcome {
    let response =
        InitProducerIdResponse { throttle_time_ms: 0, error_code: code.number(), producer_id, producer_epoch };
    cx.answer(&response, code.number())
}
