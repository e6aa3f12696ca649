// SPDX-License-Identifier: Apache-2.0
//! What an operation answers: JSON, or a problem in one shape (RFC 9457) with its status.

use crate::asker::Unanswered;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use kernel::error::CoordinatorError;
use ops::api::Problem;
use ops::api::document::PROBLEM_TYPE;
use serde::Serialize;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    status: StatusCode,
    detail: String,
}

impl Refused {
    /// The asker gave something that cannot be read.
    pub fn wrong(detail: impl Into<String>) -> Refused {
        Refused { status: StatusCode::BAD_REQUEST, detail: detail.into() }
    }

    /// What was asked for does not exist.
    pub fn missing(detail: impl Into<String>) -> Refused {
        Refused { status: StatusCode::NOT_FOUND, detail: detail.into() }
    }

    /// It exists, but is read only.
    pub fn method() -> Refused {
        Refused { status: StatusCode::METHOD_NOT_ALLOWED, detail: "everything here is read with GET".to_owned() }
    }

    /// Asking again later may help.
    pub fn not_now(detail: impl Into<String>) -> Refused {
        Refused { status: StatusCode::SERVICE_UNAVAILABLE, detail: detail.into() }
    }
}

impl From<Unanswered> for Refused {
    fn from(why: Unanswered) -> Refused {
        match why {
            Unanswered::TooLate => Refused::not_now("the shards did not answer in time"),
            Unanswered::Stopping => Refused::not_now("the node is stopping"),
        }
    }
}

impl From<CoordinatorError> for Refused {
    fn from(error: CoordinatorError) -> Refused {
        Refused::not_now(format!("the group coordinator did not answer: {error:?}"))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let problem = Problem {
            r#type: "about:blank".to_owned(),
            title: self.status.canonical_reason().unwrap_or("Unknown").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
        };
        written(self.status, PROBLEM_TYPE, &problem)
    }
}

/// A good answer.
pub fn json(value: &impl Serialize) -> Response {
    written(StatusCode::OK, "application/json", value)
}

fn written(status: StatusCode, media_type: &'static str, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(mut text) => {
            text.push('\n');
            (status, [(header::CONTENT_TYPE, media_type)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
