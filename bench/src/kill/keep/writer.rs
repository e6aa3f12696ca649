// SPDX-License-Identifier: Apache-2.0
//! The only writer of a partition: idempotent, one batch at a time, repeated until its outcome is told.
//!
//! Owns: producer, sequence, the batch in doubt. Must not know: what the records are for.

use super::super::shared::Shared;
use super::BUSY_PAUSE;
use crate::wire::{Api, Code, Connection, Produced, WireError};
use bytes::Bytes;
use model::batch::{self, NewRecord, Numbering};
use model::compression::Compression;
use model::{ProducerEpoch, ProducerId};

/// A batch is sent so often to a broker that cannot now.
const TRIES_MAX: u32 = 500;

pub const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// See the module.
pub struct Writer {
    topic: String,
    /// Settings that the topic is made with.
    settings: Vec<(&'static str, &'static str)>,
    made: bool,
    /// Id and epoch.
    pub producer: Option<(i64, i16)>,
    /// Of the next batch.
    pub sequence: i32,
    /// Sent, and nobody told.
    in_doubt: Option<(Bytes, i32)>,
    produced: Vec<Produced>,
}

impl Writer {
    pub fn new(topic: &str, settings: &[(&'static str, &'static str)]) -> Writer {
        Writer {
            topic: topic.to_owned(),
            settings: settings.to_vec(),
            made: false,
            producer: None,
            sequence: 0,
            in_doubt: None,
            produced: Vec::new(),
        }
    }

    /// Before the first record: the topic, unless a life that broke made it, and the producer.
    pub fn ready(&mut self, connection: &mut Connection, shared: &Shared) -> Result<(i64, i16), WireError> {
        if !self.made {
            match connection.create_topic(&self.topic, 1, &self.settings) {
                Ok(()) | Err(WireError::Refused { code: Code::TOPIC_ALREADY_EXISTS, .. }) => self.made = true,
                Err(error) => return Err(error),
            }
        }
        match self.producer {
            Some(producer) => Ok(producer),
            None => {
                let producer = connection.init_producer_id()?;
                shared.producer_given(producer.0);
                Ok(*self.producer.insert(producer))
            }
        }
    }

    /// What became of the batch in doubt, sent again until it is told. `None`: there is none.
    pub fn settle(&mut self, connection: &mut Connection) -> Result<Option<Produced>, WireError> {
        let Some((bytes, count)) = self.in_doubt.clone() else { return Ok(None) };
        let mut tries = 0;
        loop {
            tries += 1;
            connection.send_produce(&self.topic, -1, &[(0, &bytes)])?;
            connection.receive_produce(&mut self.produced)?;
            let Some(answer) = self.produced.first().copied() else {
                return Err(WireError::Malformed { api: Api::Produce, why: "no answer for the partition" });
            };
            match answer.error {
                Code::NONE => {
                    self.in_doubt = None;
                    self.sequence = batch::sequence_plus(self.sequence, count);
                    return Ok(Some(answer));
                }
                code if code.retriable() && tries < TRIES_MAX => std::thread::sleep(BUSY_PAUSE),
                code => return Err(WireError::Refused { api: Api::Produce, code }),
            }
        }
    }

    /// Sends a batch and waits for its outcome. Nothing may be in doubt before.
    pub fn write(
        &mut self,
        connection: &mut Connection,
        shared: &Shared,
        records: &[NewRecord],
        codec: Compression,
    ) -> Result<Produced, WireError> {
        let (id, epoch) = self.ready(connection, shared)?;
        let numbering = Numbering {
            producer_id: ProducerId(id),
            producer_epoch: ProducerEpoch(epoch),
            base_sequence: self.sequence,
        };
        let plain = batch::build(records, numbering);
        let batch = if codec == Compression::None { plain } else { batch::compressed(&plain, codec)? };
        self.in_doubt = Some((batch.bytes().clone(), records.len() as i32));
        let told = self.settle(connection)?;
        told.ok_or(WireError::Malformed { api: Api::Produce, why: "no answer for the partition" })
    }
}
