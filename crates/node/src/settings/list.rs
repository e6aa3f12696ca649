// SPDX-License-Identifier: Apache-2.0
//! The list of settings: each is declared once, here, as data.
//!
//! Owns: name, kind with range, default, flag, meaning. From this list come the flags and their help, the reading of the file and
//! of the environment, `polylog settings`, and the typed [`Settings`] that the rest of the node uses.
//! Must not know: how values are read or which source wins.
//!
//! A name says its unit (`_bytes`, `_ms`), a bound ends in `_max`. The environment variable of `kafka.default_partitions` is
//! `POLYLOG_KAFKA_DEFAULT_PARTITIONS`.

use super::value::{Kind, Value};
use std::net::SocketAddr;
use std::path::PathBuf;

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1_000;
const DAY: u64 = 24 * 3_600 * SECOND;

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Declaration {
    pub name: &'static str,
    pub kind: Kind,
    /// In the words of the file.
    pub default: &'static str,
    /// The flag and what stands for its value in the help, for the settings that have one.
    pub flag: Option<(&'static str, &'static str)>,
    pub meaning: &'static str,
}

impl Declaration {
    /// The environment variable.
    pub fn env(&self) -> String {
        format!("POLYLOG_{}", self.name.replace('.', "_").to_ascii_uppercase())
    }
}

/// A type that a setting's value becomes.
pub trait FromValue {
    /// `value` was read by the declaration's kind, which goes with the type.
    fn from_value(value: Value) -> Self;
}

macro_rules! from_value {
    ($type:ty, $($pattern:pat => $result:expr),+) => {
        impl FromValue for $type {
            fn from_value(value: Value) -> $type {
                match value {
                    $($pattern => $result,)+
                    other => unreachable!("the kind of a setting goes with its type: {other:?}"),
                }
            }
        }
    };
}

from_value!(u64, Value::Number(number) => number);
from_value!(Option<u64>, Value::Number(number) => Some(number), Value::Auto => None);
from_value!(bool, Value::Switch(on) => on);
from_value!(String, Value::Text(text) => text);
from_value!(PathBuf, Value::Text(text) => PathBuf::from(text));
from_value!(SocketAddr, Value::Address(address) => address);

macro_rules! settings {
    ($($field:ident: $type:ty = $name:literal, $kind:expr, $default:literal, $flag:expr, $meaning:literal;)+) => {
        /// Every setting, in the order in which they are shown.
        pub static LIST: &[Declaration] = &[
            $(Declaration { name: $name, kind: $kind, default: $default, flag: $flag, meaning: $meaning },)+
        ];

        /// All values, typed. What each means stands in the list.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Settings {
            $(pub $field: $type,)+
        }

        impl Settings {
            /// Types the values; `value_of` knows one for each name of the list.
            pub fn from_values(mut value_of: impl FnMut(&'static str) -> Value) -> Settings {
                Settings { $($field: FromValue::from_value(value_of($name)),)+ }
            }
        }
    };
}

settings! {
    data_dir: PathBuf = "data_dir", Kind::Path, "./polylog-data", Some(("data-dir", "DIR")),
        "Directory that holds everything kept.";
    storage: String = "storage", Kind::Choice(&["local", "memory"]), "local", Some(("storage", "MODE")),
        "Where bytes rest: local = files in data_dir, synced before anything is acknowledged; memory = nowhere, all is lost at the end.";
    shards: Option<u64> = "shards", Kind::CountOrAuto { min: 1, max: 64 }, "auto", Some(("shards", "N")),
        "Shards of the data, fixed when the directory is made. auto = one for every 8 processors, 1 to 8.";
    insecure_allow_anonymous: bool = "insecure_allow_anonymous", Kind::Switch, "false", Some(("insecure-allow-anonymous", "")),
        "Lets clients without credentials reach this node from other machines.";

    kafka_bind: SocketAddr = "kafka.bind", Kind::Address, "127.0.0.1:9092", Some(("kafka", "ADDR")),
        "Where Kafka clients connect: the address of the first listener.";
    kafka_advertise: String = "kafka.advertise", Kind::Host, "", Some(("advertise", "HOST")),
        "Host, or host:port, that the first listener tells its clients to connect to. Empty = the address it is bound to, or, if bound to all, the one the client came to.";
    kafka_default_partitions: u64 = "kafka.default_partitions", Kind::Count { min: 1, max: 100_000 }, "1", None,
        "Partitions of a topic whose maker did not say.";
    kafka_auto_create_topics: bool = "kafka.auto_create_topics", Kind::Switch, "true", None,
        "Makes a topic when a client first names it.";
    kafka_accept_any_replication_factor: bool = "kafka.accept_any_replication_factor", Kind::Switch, "false", None,
        "Takes replication factors other than 1 and -1, and means 1.";
    kafka_request_bytes_max: u64 = "kafka.request_bytes_max", Kind::Size { min: 16 * KIB, max: GIB }, "100MiB", None,
        "Largest request; a client that announces more is disconnected.";
    kafka_fetch_bytes_max: u64 = "kafka.fetch_bytes_max", Kind::Size { min: 16 * KIB, max: GIB }, "55MiB", None,
        "Most that one fetch is answered with, whatever the client would take; one batch always fits.";
    kafka_fetch_session_partitions_max: u64 = "kafka.fetch_session_partitions_max", Kind::Count { min: 0, max: 10_000_000 }, "100000", None,
        "Partitions remembered in the fetch session of one connection; beyond, the client sends them each time.";
    kafka_inflight_requests_max: u64 = "kafka.inflight_requests_max", Kind::Count { min: 1, max: 10_000 }, "64", None,
        "Requests of one connection under way at once; beyond, no more is read from it until one is answered.";
    kafka_inflight_bytes_max: u64 = "kafka.inflight_bytes_max", Kind::Size { min: 16 * KIB, max: GIB }, "8MiB", None,
        "The same in bytes; one request of any size is always taken.";
    kafka_output_bytes_max: u64 = "kafka.output_bytes_max", Kind::Size { min: 16 * KIB, max: GIB }, "8MiB", None,
        "Answers waiting to be sent on one connection; beyond, no more is read from it until the client takes some.";
    kafka_request_bytes_per_s_min: u64 = "kafka.request_bytes_per_s_min", Kind::Size { min: 0, max: GIB }, "1KiB", None,
        "A request that has begun must arrive at this pace, after kafka.request_grace_ms, or its connection is closed.";
    kafka_request_grace_ms: u64 = "kafka.request_grace_ms", Kind::Time { min_ms: 10, max_ms: DAY }, "30s", None,
        "How long a request may take to arrive before its pace is looked at.";
    kafka_idle_ms_max: u64 = "kafka.idle_ms_max", Kind::Time { min_ms: 10, max_ms: 30 * DAY }, "10m", None,
        "A connection without a request for this long is closed.";
    kafka_write_stall_ms: u64 = "kafka.write_stall_ms", Kind::Time { min_ms: 10, max_ms: DAY }, "1m", None,
        "A client that takes nothing of its answer for this long is disconnected.";
    kafka_connections_max: u64 = "kafka.connections_max", Kind::Count { min: 1, max: 10_000_000 }, "10000", None,
        "Open connections of all listeners; beyond, the oldest that never made a request is closed, or else the new one. Never more than the limit on open files allows.";
    kafka_connections_per_address_max: u64 = "kafka.connections_per_address_max", Kind::Count { min: 1, max: 10_000_000 }, "5000", None,
        "Open connections from one address; beyond, the oldest of them that never made a request is closed, or else the new one.";
    kafka_group_session_timeout_ms_min: u64 = "kafka.group_session_timeout_ms_min", Kind::Time { min_ms: 1, max_ms: DAY }, "1s", None,
        "Shortest session time-out that a member of a consumer group may ask for (group.min.session.timeout.ms).";
    kafka_group_session_timeout_ms_max: u64 = "kafka.group_session_timeout_ms_max", Kind::Time { min_ms: 1, max_ms: DAY }, "30m", None,
        "Longest session time-out that a member of a consumer group may ask for (group.max.session.timeout.ms).";
    kafka_group_members_max: u64 = "kafka.group_members_max", Kind::Count { min: 1, max: 1_000_000 }, "10000", None,
        "Members of one consumer group; beyond, a client that wants to join is refused (group.max.size).";
    kafka_groups_max: u64 = "kafka.groups_max", Kind::Count { min: 1, max: 10_000_000 }, "100000", None,
        "Consumer groups; beyond, what would make another is refused until one is deleted or forgotten.";
    kafka_offsets_retention_ms: u64 = "kafka.offsets_retention_ms", Kind::Time { min_ms: 1, max_ms: 3650 * DAY }, "7d", None,
        "How long a group without members keeps what it committed (offsets.retention.minutes).";
    kafka_offsets_check_ms: u64 = "kafka.offsets_check_ms", Kind::Time { min_ms: 10, max_ms: DAY }, "10m", None,
        "How often offsets past kafka.offsets_retention_ms are looked for (offsets.retention.check.interval.ms).";
    kafka_offset_metadata_bytes_max: u64 = "kafka.offset_metadata_bytes_max", Kind::Size { min: 0, max: 32 * KIB }, "4KiB", None,
        "Largest text that a client may keep with a committed offset (offset.metadata.max.bytes).";

    http_bind: SocketAddr = "http.bind", Kind::Address, "127.0.0.1:7070", Some(("http", "ADDR")),
        "Where HTTP is served: /v1/node, /v1/topics, /v1/groups, /metrics, /readyz. Read-only, and open to whoever reaches it.";

    metrics_group_lag_series_max: u64 = "metrics.group_lag_series_max", Kind::Count { min: 0, max: 100_000 }, "1000", None,
        "Pairs of group and topic whose lag is on /metrics; beyond, those later by name are left out and counted.";

    memory_tail_bytes_max: Option<u64> = "memory.tail_bytes_max", Kind::SizeOrAuto { min: 4 * MIB, max: TIB }, "auto", None,
        "Memory for records not yet spilled to segments, over all shards; replay after a crash reads this much at most. auto = an eighth of the memory limit, at most 64MiB.";
    memory_request_bytes_max: Option<u64> = "memory.request_bytes_max", Kind::SizeOrAuto { min: MIB, max: TIB }, "auto", None,
        "Memory for requests arriving and answers leaving, over all connections; beyond, connections wait their turn. auto = an eighth of the memory limit.";

    memory_fetch_bytes_max: Option<u64> = "memory.fetch_bytes_max", Kind::SizeOrAuto { min: MIB, max: TIB }, "auto", None,
        "Memory for records on their way to consumers, over all connections; beyond, fetches wait their turn. auto = an eighth of the memory limit.";

    memory_read_ahead_bytes_max: Option<u64> = "memory.read_ahead_bytes_max", Kind::SizeOrAuto { min: 0, max: TIB }, "auto", None,
        "Memory for stored records read before their consumers ask for them, over all shards; beyond, they are read when asked for. auto = a thirty-second of the memory limit, at most 64MiB.";

    wal_slot_bytes: Option<u64> = "wal.slot_bytes", Kind::SizeOrAuto { min: MIB, max: 4 * GIB }, "auto", None,
        "Size of one file of the write-ahead log. auto = a quarter of a shard's tail, at least 1MiB.";
    retention_check_ms: u64 = "retention.check_ms", Kind::Time { min_ms: 10, max_ms: DAY }, "5s", None,
        "How often records past their topic's retention are looked for.";
    producer_expiry_ms: u64 = "producer.expiry_ms", Kind::Time { min_ms: SECOND, max_ms: 365 * DAY }, "1d", None,
        "An idempotent producer that is silent for this long is forgotten.";
    producers_max: u64 = "producer.producers_max", Kind::Count { min: 1, max: 2_000_000 }, "1000000", None,
        "Idempotent producers remembered in one shard, counted per partition; the longest silent are forgotten first.";

    threads_cold_read: u64 = "threads.cold_read", Kind::Count { min: 1, max: 256 }, "2", None,
        "Threads that read stored segments.";
    shutdown_drain_ms: u64 = "shutdown.drain_ms", Kind::Time { min_ms: 0, max_ms: 3 * SECOND }, "2s", None,
        "How long a stopping node waits for requests that are under way. The whole stop, checkpoint included, takes 5s at most.";

    log_format: String = "log.format", Kind::Choice(&["text", "json"]), "text", Some(("log-format", "FORMAT")),
        "How log lines on standard error look.";
    log_level: String = "log.level", Kind::Choice(&["error", "warn", "info", "debug", "trace"]), "info", Some(("log-level", "LEVEL")),
        "Least serious log line to be written.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        for setting in LIST {
            let value = setting.kind.read(setting.default).unwrap_or_else(|why| panic!("{} {why}", setting.name));
            assert_eq!(setting.kind.write(&value), setting.default, "{}", setting.name);
        }
        Settings::from_values(|name| {
            let setting = LIST.iter().find(|setting| setting.name == name).unwrap();
            setting.kind.read(setting.default).unwrap()
        });
    }

    #[test]
    fn names_flags_and_variables_are_unique_and_bounds_say_so() {
        let mut names: Vec<String> = LIST.iter().map(Declaration::env).collect();
        names.extend(LIST.iter().filter_map(|setting| setting.flag).map(|(flag, _)| flag.to_owned()));
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        for setting in LIST {
            assert!(setting.meaning.ends_with('.'), "{}", setting.name);
            let says_unit = |unit: &str| setting.name.split(['.', '_']).any(|word| word == unit);
            match setting.kind {
                Kind::Size { .. } | Kind::SizeOrAuto { .. } => assert!(says_unit("bytes"), "{}", setting.name),
                Kind::Time { .. } => assert!(says_unit("ms"), "{}", setting.name),
                _ => {}
            }
        }
    }
}
