// SPDX-License-Identifier: Apache-2.0
//! The node's counters and their text on `/metrics`.
//!
//! Owns: what is counted, under which name, in which unit. Must not know: who counts it.
//! Hot paths add to an atomic each; shards keep their own figures and are asked at a scrape. Names are Prometheus's convention:
//! `polylog_<thing>_<unit>`, counters end in `_total`, times are seconds, sizes are bytes. A label never holds user text.

use crate::histogram::Histogram;
use kernel::shard::ShardFigures;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Api numbers with figures of their own; the head announces fewer. What is beyond is not counted.
const APIS_MAX: usize = 128;

/// Error codes with a counter of their own, starting at `ERROR_CODE_FIRST`; a code beyond them is counted as the last one.
const ERROR_CODES: usize = 160;
/// The lowest wire code: "unknown server error".
const ERROR_CODE_FIRST: i16 = -1;

/// A counter that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A level that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// Replaces the level.
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// Raises the level and returns the new one.
    pub fn add(&self, n: u64) -> u64 {
        self.0.fetch_add(n, Ordering::Relaxed) + n
    }

    /// Lowers the level.
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Relaxed);
    }

    /// Somebody's part of the level was `from` and is `to`.
    pub fn change(&self, from: u64, to: u64) {
        if to > from {
            self.add(to - from);
        } else {
            self.sub(from - to);
        }
    }

    /// The level now.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Figures of one api of a head.
#[derive(Debug)]
struct ApiFigures {
    name: &'static str,
    duration: Histogram,
    by_error_code: [AtomicU64; ERROR_CODES],
}

/// Everything that is counted.
#[derive(Debug)]
pub struct Metrics {
    pub connections: Gauge,
    pub connections_accepted: Counter,
    /// At a bound on connections, or while out of file descriptors.
    pub connections_refused: Counter,
    /// Half-open connections closed to make room for new ones.
    pub connections_evicted: Counter,
    /// Closed by the server: what came was not the protocol, was too slow, or its peer did not read.
    pub connections_closed_for_fault: Counter,
    pub connection_panics: Counter,
    pub accept_failures: Counter,
    pub received: Counter,
    pub sent: Counter,
    /// Bytes of requests that are arriving, held for connections now.
    pub input: Gauge,
    /// The same of answers that are leaving.
    pub output: Gauge,
    /// Records being read for consumers, or in answers that are not taken yet.
    pub fetch_memory: Gauge,
    /// Times a connection had to wait because the request memory was used up.
    pub request_memory_waits: Counter,
    /// From the start of a write to the log until it is synced.
    pub wal_flush: Histogram,
    /// From a frame's hand-over to the log until it is known to be durable.
    pub wal_append: Histogram,
    pub wal_frames: Counter,
    pub wal_written: Counter,
    /// One read of stored bytes from the medium.
    pub blob_read: Histogram,
    pub blob_put: Histogram,
    /// How long a shard was held by one drain.
    pub shard_drain: Histogram,
    pub shard_handovers: Counter,
    scrapes: Counter,
    apis: [OnceLock<ApiFigures>; APIS_MAX],
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics {
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            connections_evicted: Counter::default(),
            connections_closed_for_fault: Counter::default(),
            connection_panics: Counter::default(),
            accept_failures: Counter::default(),
            received: Counter::default(),
            sent: Counter::default(),
            input: Gauge::default(),
            output: Gauge::default(),
            fetch_memory: Gauge::default(),
            request_memory_waits: Counter::default(),
            wal_flush: Histogram::default(),
            wal_append: Histogram::default(),
            wal_frames: Counter::default(),
            wal_written: Counter::default(),
            blob_read: Histogram::default(),
            blob_put: Histogram::default(),
            shard_drain: Histogram::default(),
            shard_handovers: Counter::default(),
            scrapes: Counter::default(),
            apis: std::array::from_fn(|_| OnceLock::new()),
        }
    }
}

impl Metrics {
    /// Counts one answered request: the head's number and name of the api, its first error code, and the time from the request's
    /// arrival until its answer was queued.
    pub fn served(&self, api: i16, name: &'static str, error_code: i16, took_us: u64) {
        let Some(slot) = usize::try_from(api).ok().and_then(|api| self.apis.get(api)) else { return };
        let figures = slot.get_or_init(|| ApiFigures {
            name,
            duration: Histogram::default(),
            by_error_code: std::array::from_fn(|_| AtomicU64::new(0)),
        });
        figures.duration.add_us(took_us);
        let index = i32::from(error_code) - i32::from(ERROR_CODE_FIRST);
        let index = usize::try_from(index).unwrap_or(0).min(ERROR_CODES - 1);
        figures.by_error_code[index].fetch_add(1, Ordering::Relaxed);
    }

    /// The text for a scrape, with the shards' own figures (in the order of their numbers).
    ///
    /// # Errors
    /// The library's, which a `String` never gives.
    pub fn text(self: &Arc<Metrics>, version: &'static str, shards: Vec<ShardFigures>) -> Result<String, fmt::Error> {
        self.scrapes.add(1);
        let mut registry = Registry::with_prefix("polylog");
        registry.register_collector(Box::new(Scrape { metrics: self.clone(), version, shards }));
        let mut text = String::new();
        prometheus_text::encode(&mut text, &registry)?;
        Ok(text)
    }
}

/// One scrape.
#[derive(Debug)]
struct Scrape {
    metrics: Arc<Metrics>,
    version: &'static str,
    shards: Vec<ShardFigures>,
}

type Label = (&'static str, String);

/// One family of samples, written in one go.
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    unit: Option<Unit>,
}

impl Family<'_> {
    fn gauges(&self, encoder: &mut DescriptorEncoder<'_>, samples: &[(Vec<Label>, u64)]) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in samples {
            metric.encode_family(labels)?.encode_gauge(value)?;
        }
        Ok(())
    }

    fn counters(&self, encoder: &mut DescriptorEncoder<'_>, samples: &[(Vec<Label>, u64)]) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in samples {
            metric.encode_family(labels)?.encode_counter(value, None::<&Exemplar<NoLabelSet, u64>>)?;
        }
        Ok(())
    }

    fn histograms(&self, encoder: &mut DescriptorEncoder<'_>, samples: &[(Vec<Label>, &Histogram)]) -> fmt::Result {
        let mut metric = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), MetricType::Histogram)?;
        for (labels, histogram) in samples {
            let (sum, count, buckets) = histogram.read();
            metric.encode_family(labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn plain(value: u64) -> [(Vec<Label>, u64); 1] {
    [(Vec::new(), value)]
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let metrics = &*self.metrics;
        let bytes = || Some(Unit::Bytes);

        Family { name: "build_info", help: "Always 1; the version is the label", unit: None }
            .gauges(encoder, &[(vec![("version", self.version.to_owned())], 1)])?;

        let level = |encoder: &mut DescriptorEncoder<'_>, name, help, unit, value| {
            Family { name, help, unit }.gauges(encoder, &plain(value))
        };
        level(encoder, "connections", "Open client connections", None, metrics.connections.get())?;
        level(encoder, "input", "Requests that are arriving", bytes(), metrics.input.get())?;
        level(encoder, "output", "Answers that are leaving", bytes(), metrics.output.get())?;

        let counts: [(&str, &str, Option<Unit>, &Counter); 13] = [
            ("connections_accepted", "Connections accepted", None, &metrics.connections_accepted),
            (
                "connections_refused",
                "Connections closed at once because a bound was reached",
                None,
                &metrics.connections_refused,
            ),
            (
                "connections_evicted",
                "Connections without a request closed to make room for new ones",
                None,
                &metrics.connections_evicted,
            ),
            (
                "connections_closed_for_fault",
                "Connections closed because of what the client sent or did not do",
                None,
                &metrics.connections_closed_for_fault,
            ),
            ("connection_panics", "Connections ended by a bug in the server", None, &metrics.connection_panics),
            ("accept_failures", "Times that accepting a connection failed", None, &metrics.accept_failures),
            ("received", "Received from clients", bytes(), &metrics.received),
            ("sent", "Sent to clients", bytes(), &metrics.sent),
            (
                "request_memory_waits",
                "Times that a connection waited for request memory",
                None,
                &metrics.request_memory_waits,
            ),
            ("wal_frames", "Frames handed to the log", None, &metrics.wal_frames),
            ("wal_written", "Frame bodies handed to the log", bytes(), &metrics.wal_written),
            (
                "shard_handovers",
                "Drains of a shard that ran too long for their thread and were handed over",
                None,
                &metrics.shard_handovers,
            ),
            ("scrapes", "Scrapes of this page", None, &metrics.scrapes),
        ];
        for (name, help, unit, counter) in counts {
            Family { name, help, unit }.counters(encoder, &plain(counter.get()))?;
        }

        let seconds = || Some(Unit::Seconds);
        let durations = [
            ("wal_flush", "Write and sync of the log", &metrics.wal_flush),
            ("wal_append", "Frame handed to the log until durable", &metrics.wal_append),
            ("blob_read", "Reads of stored segments", &metrics.blob_read),
            ("blob_put", "Writes of segments and checkpoints", &metrics.blob_put),
            ("shard_drain", "Time a shard was held by one drain", &metrics.shard_drain),
        ];
        for (name, help, histogram) in durations {
            Family { name, help, unit: seconds() }.histograms(encoder, &[(Vec::new(), histogram)])?;
        }

        let apis: Vec<&ApiFigures> = metrics.apis.iter().filter_map(OnceLock::get).collect();
        let samples: Vec<(Vec<Label>, &Histogram)> =
            apis.iter().map(|figures| (vec![("api", figures.name.to_owned())], &figures.duration)).collect();
        Family {
            name: "kafka_request_duration",
            help: "Arrival of a request until its answer is queued",
            unit: seconds(),
        }
        .histograms(encoder, &samples)?;
        let mut requests = Vec::new();
        for figures in apis {
            for (index, count) in figures.by_error_code.iter().enumerate() {
                let count = count.load(Ordering::Relaxed);
                let code = index as i64 + i64::from(ERROR_CODE_FIRST);
                if count > 0 {
                    requests.push((vec![("api", figures.name.to_owned()), ("error_code", code.to_string())], count));
                }
            }
        }
        Family { name: "kafka_requests", help: "Requests answered, by api and first error code", unit: None }
            .counters(encoder, &requests)?;

        self.encode_shards(encoder)
    }
}

type Figure = fn(&ShardFigures) -> u64;

impl Scrape {
    fn encode_shards(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let bytes = || Some(Unit::Bytes);
        let per_shard = |figure: Figure| -> Vec<(Vec<Label>, u64)> {
            self.shards
                .iter()
                .enumerate()
                .map(|(number, figures)| (vec![("shard", number.to_string())], figure(figures)))
                .collect()
        };
        let levels: [(&str, &str, Option<Unit>, Figure); 9] = [
            ("topics", "Topics in the shard's catalog", None, |f| f.topics),
            ("partitions", "Partitions owned", None, |f| f.partitions),
            ("producers", "Idempotent producers remembered, counted per partition", None, |f| f.producers),
            ("tail", "Log not yet spilled, held in memory", bytes(), |f| f.tail_bytes),
            ("tail_batches", "Batches in the memory tail", None, |f| f.tail_batches),
            ("segments", "Live segments", None, |f| f.segment_count),
            ("segment", "Size of live segments", bytes(), |f| f.segment_bytes),
            ("parked_publishes", "Publishes waiting for room in the tail", None, |f| f.parked_publishes),
            ("undurable_frames", "Frames decided and not yet durable", None, |f| {
                f.applied.0.saturating_sub(f.durable.0)
            }),
        ];
        for (name, help, unit, figure) in levels {
            Family { name, help, unit }.gauges(encoder, &per_shard(figure))?;
        }
        let counts: [(&str, &str, Option<Unit>, Figure); 11] = [
            ("appended_batches", "Batches appended", None, |f| f.appended_batches),
            ("appended_records", "Records appended", None, |f| f.appended_records),
            ("appended", "Size of batches appended", bytes(), |f| f.appended_bytes),
            ("read", "Size of batches read", bytes(), |f| f.read_bytes),
            ("cold_read", "Size of batches read from segments", bytes(), |f| f.cold_read_bytes),
            ("spills", "Spills of the memory tail to a segment", None, |f| f.spills),
            ("spill_failures", "Spills that failed and are tried again", None, |f| f.spill_failures),
            ("checkpoints", "Checkpoints written", None, |f| f.checkpoints),
            ("duplicate_publishes", "Repeated batches of idempotent producers, not appended again", None, |f| {
                f.duplicate_publishes
            }),
            ("malformed_batches", "Batches whose compressed records are not well formed", None, |f| {
                f.malformed_batches
            }),
            ("corrupt_reads", "Reads refused because the stored bytes are damaged", None, |f| f.corrupt_reads),
        ];
        for (name, help, unit, figure) in counts {
            Family { name, help, unit }.counters(encoder, &per_shard(figure))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_carry_units_and_counters_end_in_total() {
        let metrics = Arc::new(Metrics::default());
        metrics.received.add(10);
        metrics.connections.add(3);
        metrics.connections.sub(1);
        metrics.wal_flush.add_us(120);
        metrics.served(0, "Produce", 0, 900);
        metrics.served(0, "Produce", 3, 900);
        let figures = ShardFigures { tail_bytes: 7, appended_bytes: 99, ..ShardFigures::default() };
        let text = metrics.text("1.2.3", vec![figures, ShardFigures::default()]).unwrap();
        for line in [
            "polylog_build_info{version=\"1.2.3\"} 1",
            "polylog_connections 2",
            "polylog_received_bytes_total 10",
            "polylog_wal_flush_seconds_count 1",
            "polylog_wal_flush_seconds_bucket{le=\"0.000128\"} 1",
            "polylog_tail_bytes{shard=\"0\"} 7",
            "polylog_tail_bytes{shard=\"1\"} 0",
            "polylog_appended_bytes_total{shard=\"0\"} 99",
            "polylog_kafka_requests_total{api=\"Produce\",error_code=\"3\"} 1",
            "polylog_kafka_request_duration_seconds_count{api=\"Produce\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
    }

    #[test]
    fn no_api_and_no_error_code_is_out_of_range() {
        let metrics = Arc::new(Metrics::default());
        for (api, code) in [(-1, 0), (i16::MAX, 0), (1, i16::MIN), (1, i16::MAX)] {
            metrics.served(api, "Fetch", code, 1);
        }
        let text = metrics.text("1.2.3", Vec::new()).unwrap();
        assert!(text.contains("polylog_kafka_requests_total{api=\"Fetch\",error_code=\"-1\"} 1\n"), "{text}");
        assert!(text.contains("polylog_kafka_requests_total{api=\"Fetch\",error_code=\"158\"} 1\n"), "{text}");
    }
}
