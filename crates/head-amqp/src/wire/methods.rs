// SPDX-License-Identifier: Apache-2.0
//! Every method of AMQP 0-9-1, and RabbitMQ's, as one table.
//!
//! A row: name, (class, method), type, reserved fields before the others, fields in order, reserved fields behind them. Reserved fields
//! are read and forgotten, and written empty. `exchange.unbind-ok` really is 51: RabbitMQ made it so, and clients know it as that.
//!
//! Layout of a method's payload: `class u16 | method u16 | fields`, exactly.

use super::{Field, Malformed, Reader, ShortString, Table, Writer};
use bytes::Bytes;
use std::fmt;

/// Which method: what a close says was at fault. Zeros: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodId {
    pub class_id: u16,
    pub method_id: u16,
}

impl MethodId {
    /// No method in particular.
    pub const NONE: MethodId = MethodId { class_id: 0, method_id: 0 };
}

impl fmt::Display for MethodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.class_id, self.method_id)
    }
}

/// Why a method cannot be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MethodError {
    /// There is none of these numbers.
    Unknown(MethodId),
    /// Its fields are not laid out so.
    Fields(MethodId, Malformed),
    /// Not even its numbers are there.
    Short,
}

macro_rules! methods {
    ($(
        $name:literal ($class:literal, $number:literal) $method:ident
            [ $($before:ty),* ] { $( $field:ident : $type:ty ),* $(,)? } [ $($after:ty),* ];
    )*) => {
        $(
            #[doc = concat!("`", $name, "`")]
            #[derive(Clone, Debug, Default, PartialEq, Eq)]
            pub struct $method {
                $( pub $field: $type, )*
            }

            impl $method {
                pub const ID: MethodId = MethodId { class_id: $class, method_id: $number };
            }

            impl Field for $method {
                #[allow(unused_variables, reason = "some methods have no fields")]
                fn read(reader: &mut Reader) -> Result<$method, Malformed> {
                    $( <$before as Field>::read(reader)?; )*
                    let method = $method { $( $field: <$type as Field>::read(reader)?, )* };
                    $( <$after as Field>::read(reader)?; )*
                    Ok(method)
                }

                #[allow(unused_variables, reason = "some methods have no fields")]
                fn write(&self, writer: &mut Writer<'_>) {
                    $( <$before>::default().write(writer); )*
                    $( self.$field.write(writer); )*
                    $( <$after>::default().write(writer); )*
                }
            }

            impl From<$method> for Method {
                fn from(method: $method) -> Method {
                    Method::$method(method)
                }
            }
        )*

        /// Any method.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Method {
            $( $method($method), )*
        }

        impl Method {
            /// All there are.
            pub const ALL: &'static [(MethodId, &'static str)] = &[ $( ($method::ID, $name), )* ];

            pub fn id(&self) -> MethodId {
                match self {
                    $( Method::$method(_) => $method::ID, )*
                }
            }

            /// As the specification writes it: `queue.declare-ok`.
            pub fn name(&self) -> &'static str {
                match self {
                    $( Method::$method(_) => $name, )*
                }
            }

            fn read_fields(id: MethodId, reader: &mut Reader) -> Option<Result<Method, Malformed>> {
                Some(match (id.class_id, id.method_id) {
                    $( ($class, $number) => <$method as Field>::read(reader).map(Method::$method), )*
                    _ => return None,
                })
            }

            fn write_fields(&self, writer: &mut Writer<'_>) {
                match self {
                    $( Method::$method(method) => method.write(writer), )*
                }
            }
        }

        #[cfg(test)]
        impl Method {
            /// One of each.
            pub fn samples(sampler: &mut super::sample::Sampler) -> Vec<Method> {
                use super::sample::Sample;
                vec![ $( Method::$method($method { $( $field: <$type>::sample(sampler), )* }), )* ]
            }

            /// As a line of a script.
            pub fn show(&self) -> String {
                let mut line = super::sample::Line::new(self.name());
                match self {
                    $( Method::$method(_method) => { $( line.show(stringify!($field), &_method.$field); )* } )*
                }
                line.into_text()
            }

            /// From a line of a script: the method's name and what of its fields is not empty.
            pub fn parse(text: &str) -> Method {
                let mut line = super::sample::Line::parse(text);
                let method = match line.name() {
                    $( $name => Method::$method($method { $( $field: line.take(stringify!($field)), )* }), )*
                    name => panic!("no method {name}"),
                };
                line.expect_empty();
                method
            }
        }
    };
}

methods! {
    "connection.start" (10, 10) ConnectionStart [] {
        version_major: u8, version_minor: u8, server_properties: Table, mechanisms: Bytes, locales: Bytes,
    } [];
    "connection.start-ok" (10, 11) ConnectionStartOk [] {
        client_properties: Table, mechanism: ShortString, response: Bytes, locale: ShortString,
    } [];
    "connection.secure" (10, 20) ConnectionSecure [] { challenge: Bytes } [];
    "connection.secure-ok" (10, 21) ConnectionSecureOk [] { response: Bytes } [];
    "connection.tune" (10, 30) ConnectionTune [] { channel_max: u16, frame_max: u32, heartbeat: u16 } [];
    "connection.tune-ok" (10, 31) ConnectionTuneOk [] { channel_max: u16, frame_max: u32, heartbeat: u16 } [];
    "connection.open" (10, 40) ConnectionOpen [] { virtual_host: ShortString } [ShortString, bool];
    "connection.open-ok" (10, 41) ConnectionOpenOk [] {} [ShortString];
    "connection.close" (10, 50) ConnectionClose [] {
        reply_code: u16, reply_text: ShortString, class_id: u16, method_id: u16,
    } [];
    "connection.close-ok" (10, 51) ConnectionCloseOk [] {} [];
    "connection.blocked" (10, 60) ConnectionBlocked [] { reason: ShortString } [];
    "connection.unblocked" (10, 61) ConnectionUnblocked [] {} [];
    "connection.update-secret" (10, 70) ConnectionUpdateSecret [] { new_secret: Bytes, reason: ShortString } [];
    "connection.update-secret-ok" (10, 71) ConnectionUpdateSecretOk [] {} [];

    "channel.open" (20, 10) ChannelOpen [] {} [ShortString];
    "channel.open-ok" (20, 11) ChannelOpenOk [] {} [Bytes];
    "channel.flow" (20, 20) ChannelFlow [] { active: bool } [];
    "channel.flow-ok" (20, 21) ChannelFlowOk [] { active: bool } [];
    "channel.close" (20, 40) ChannelClose [] {
        reply_code: u16, reply_text: ShortString, class_id: u16, method_id: u16,
    } [];
    "channel.close-ok" (20, 41) ChannelCloseOk [] {} [];

    "access.request" (30, 10) AccessRequest [] {
        realm: ShortString, exclusive: bool, passive: bool, active: bool, write: bool, read: bool,
    } [];
    "access.request-ok" (30, 11) AccessRequestOk [] { ticket: u16 } [];

    "exchange.declare" (40, 10) ExchangeDeclare [u16] {
        exchange: ShortString, kind: ShortString, passive: bool, durable: bool, auto_delete: bool, internal: bool,
        nowait: bool, arguments: Table,
    } [];
    "exchange.declare-ok" (40, 11) ExchangeDeclareOk [] {} [];
    "exchange.delete" (40, 20) ExchangeDelete [u16] { exchange: ShortString, if_unused: bool, nowait: bool } [];
    "exchange.delete-ok" (40, 21) ExchangeDeleteOk [] {} [];
    "exchange.bind" (40, 30) ExchangeBind [u16] {
        destination: ShortString, source: ShortString, routing_key: ShortString, nowait: bool, arguments: Table,
    } [];
    "exchange.bind-ok" (40, 31) ExchangeBindOk [] {} [];
    "exchange.unbind" (40, 40) ExchangeUnbind [u16] {
        destination: ShortString, source: ShortString, routing_key: ShortString, nowait: bool, arguments: Table,
    } [];
    "exchange.unbind-ok" (40, 51) ExchangeUnbindOk [] {} [];

    "queue.declare" (50, 10) QueueDeclare [u16] {
        queue: ShortString, passive: bool, durable: bool, exclusive: bool, auto_delete: bool, nowait: bool,
        arguments: Table,
    } [];
    "queue.declare-ok" (50, 11) QueueDeclareOk [] { queue: ShortString, message_count: u32, consumer_count: u32 } [];
    "queue.bind" (50, 20) QueueBind [u16] {
        queue: ShortString, exchange: ShortString, routing_key: ShortString, nowait: bool, arguments: Table,
    } [];
    "queue.bind-ok" (50, 21) QueueBindOk [] {} [];
    "queue.purge" (50, 30) QueuePurge [u16] { queue: ShortString, nowait: bool } [];
    "queue.purge-ok" (50, 31) QueuePurgeOk [] { message_count: u32 } [];
    "queue.delete" (50, 40) QueueDelete [u16] {
        queue: ShortString, if_unused: bool, if_empty: bool, nowait: bool,
    } [];
    "queue.delete-ok" (50, 41) QueueDeleteOk [] { message_count: u32 } [];
    "queue.unbind" (50, 50) QueueUnbind [u16] {
        queue: ShortString, exchange: ShortString, routing_key: ShortString, arguments: Table,
    } [];
    "queue.unbind-ok" (50, 51) QueueUnbindOk [] {} [];

    "basic.qos" (60, 10) BasicQos [] { prefetch_size: u32, prefetch_count: u16, global: bool } [];
    "basic.qos-ok" (60, 11) BasicQosOk [] {} [];
    "basic.consume" (60, 20) BasicConsume [u16] {
        queue: ShortString, consumer_tag: ShortString, no_local: bool, no_ack: bool, exclusive: bool, nowait: bool,
        arguments: Table,
    } [];
    "basic.consume-ok" (60, 21) BasicConsumeOk [] { consumer_tag: ShortString } [];
    "basic.cancel" (60, 30) BasicCancel [] { consumer_tag: ShortString, nowait: bool } [];
    "basic.cancel-ok" (60, 31) BasicCancelOk [] { consumer_tag: ShortString } [];
    "basic.publish" (60, 40) BasicPublish [u16] {
        exchange: ShortString, routing_key: ShortString, mandatory: bool, immediate: bool,
    } [];
    "basic.return" (60, 50) BasicReturn [] {
        reply_code: u16, reply_text: ShortString, exchange: ShortString, routing_key: ShortString,
    } [];
    "basic.deliver" (60, 60) BasicDeliver [] {
        consumer_tag: ShortString, delivery_tag: u64, redelivered: bool, exchange: ShortString, routing_key: ShortString,
    } [];
    "basic.get" (60, 70) BasicGet [u16] { queue: ShortString, no_ack: bool } [];
    "basic.get-ok" (60, 71) BasicGetOk [] {
        delivery_tag: u64, redelivered: bool, exchange: ShortString, routing_key: ShortString, message_count: u32,
    } [];
    "basic.get-empty" (60, 72) BasicGetEmpty [] {} [ShortString];
    "basic.ack" (60, 80) BasicAck [] { delivery_tag: u64, multiple: bool } [];
    "basic.reject" (60, 90) BasicReject [] { delivery_tag: u64, requeue: bool } [];
    "basic.recover-async" (60, 100) BasicRecoverAsync [] { requeue: bool } [];
    "basic.recover" (60, 110) BasicRecover [] { requeue: bool } [];
    "basic.recover-ok" (60, 111) BasicRecoverOk [] {} [];
    "basic.nack" (60, 120) BasicNack [] { delivery_tag: u64, multiple: bool, requeue: bool } [];

    "confirm.select" (85, 10) ConfirmSelect [] { nowait: bool } [];
    "confirm.select-ok" (85, 11) ConfirmSelectOk [] {} [];

    "tx.select" (90, 10) TxSelect [] {} [];
    "tx.select-ok" (90, 11) TxSelectOk [] {} [];
    "tx.commit" (90, 20) TxCommit [] {} [];
    "tx.commit-ok" (90, 21) TxCommitOk [] {} [];
    "tx.rollback" (90, 30) TxRollback [] {} [];
    "tx.rollback-ok" (90, 31) TxRollbackOk [] {} [];
}

impl Method {
    /// Reads the payload of a method frame.
    ///
    /// # Errors
    /// [`MethodError`], with the method's numbers if they could be read.
    pub fn read(payload: Bytes) -> Result<Method, MethodError> {
        let mut reader = Reader::new(payload);
        let (Ok(class_id), Ok(method_id)) = (reader.u16(), reader.u16()) else { return Err(MethodError::Short) };
        let id = MethodId { class_id, method_id };
        let method = Method::read_fields(id, &mut reader).ok_or(MethodError::Unknown(id))?;
        let method = method.map_err(|malformed| MethodError::Fields(id, malformed))?;
        match reader.rest().is_empty() {
            true => Ok(method),
            false => Err(MethodError::Fields(id, Malformed::TooLong)),
        }
    }

    /// Writes the payload of a method frame.
    pub fn write(&self, writer: &mut Writer<'_>) {
        let MethodId { class_id, method_id } = self.id();
        writer.u16(class_id);
        writer.u16(method_id);
        self.write_fields(writer);
    }

    /// A header frame and a body follow it.
    pub fn has_content(&self) -> bool {
        matches!(
            self,
            Method::BasicPublish(_) | Method::BasicReturn(_) | Method::BasicDeliver(_) | Method::BasicGetOk(_)
        )
    }
}
