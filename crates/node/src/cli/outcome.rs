// SPDX-License-Identifier: Apache-2.0
//! How a command ends: exit codes, and what is said about it on standard error.

use crate::client::producer::ProduceError;
use crate::client::refusal::{ClientError, name_of};
use head_kafka::wire::ErrorCode;
use std::io::ErrorKind;

/// The broker refused it, or something failed on the way.
pub const FAILED: u8 = 1;
/// The command line makes no sense.
pub const USAGE: u8 = 2;
/// A topic, partition or group that does not exist.
pub const NOT_FOUND: u8 = 3;
/// No broker there, or it does not answer.
pub const UNREACHABLE: u8 = 4;

/// Stands below the help of every command that talks to a broker.
pub const HELP: &str = "\
Data goes to standard output, talk to standard error.
Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 not found, 4 no broker reached.";

/// Why a command did not do what it should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError {
    pub exit: u8,
    /// Empty: nothing needs to be said.
    pub text: String,
}

impl CommandError {
    pub fn new(exit: u8, text: impl Into<String>) -> CommandError {
        CommandError { exit, text: text.into() }
    }

    pub fn failed(text: impl Into<String>) -> CommandError {
        CommandError::new(FAILED, text)
    }

    pub fn usage(text: impl Into<String>) -> CommandError {
        CommandError::new(USAGE, text)
    }
}

/// Exit code of what a broker answered.
pub fn exit_of(error_code: i16) -> u8 {
    match ErrorCode::from_number(error_code) {
        Some(ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId | ErrorCode::GroupIdNotFound) => NOT_FOUND,
        _ => FAILED,
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> CommandError {
        let exit = match &error {
            ClientError::Unreachable { .. } | ClientError::Silent { .. } => UNREACHABLE,
            ClientError::NotFound { .. } => NOT_FOUND,
            ClientError::Refused { error_code, .. } => exit_of(*error_code),
            ClientError::Unspoken { .. }
            | ClientError::Malformed { .. }
            | ClientError::NoLeader { .. }
            | ClientError::Damaged { .. }
            | ClientError::Interrupted => FAILED,
        };
        CommandError::new(exit, error.to_string())
    }
}

impl From<ProduceError> for CommandError {
    fn from(error: ProduceError) -> CommandError {
        match error {
            ProduceError::Client(error) => error.into(),
            ProduceError::Refused { first_line, last_line, partition, error_code, message } => {
                let lines = if first_line == last_line {
                    format!("line {first_line}")
                } else {
                    format!("the batch of lines {first_line} to {last_line}")
                };
                let message = message.map(|message| format!(": {message}")).unwrap_or_default();
                CommandError::new(
                    exit_of(error_code),
                    format!("{lines} was refused by partition {partition}: {}{message}", name_of(error_code)),
                )
            }
            ProduceError::NoPartition { line, partition, count } => CommandError::new(
                NOT_FOUND,
                format!(
                    "line {line}: there is no partition {partition}; the topic has 0 to {}",
                    count.saturating_sub(1)
                ),
            ),
            ProduceError::Unfit { line, why } => CommandError::failed(format!("line {line}: {why}")),
            ProduceError::Late { first_line, why } => CommandError::failed(format!(
                "line {first_line} was not acknowledged in time, it may or may not be written; last answer: {why}"
            )),
        }
    }
}

/// For standard output. A reader that has gone away (`| head`) is no failure.
impl From<std::io::Error> for CommandError {
    fn from(error: std::io::Error) -> CommandError {
        if error.kind() == ErrorKind::BrokenPipe {
            return CommandError::new(0, "");
        }
        CommandError::failed(format!("cannot write the output: {error}"))
    }
}
