// SPDX-License-Identifier: Apache-2.0
//! The text of `/metrics`: every figure's name, unit and meaning.
//!
//! Names are Prometheus's convention: `polylog_<thing>_<unit>`, counters end in `_total`, times are seconds, sizes are bytes. What one
//! protocol alone has is named after it. Labels hold words of ours and numbers, with one exception: the lag of a group is labelled
//! with the names of group and topic, which is why those series are bounded.
//! Every family is written at every scrape, with or without samples, so that the names do not depend on what has happened.

use super::{
    ApiFigures, CLOSE_REASONS, Counter, ERROR_CODE_FIRST, GroupLevels, Histogram, Levels, MAKINGS, Made, Metrics,
    PROTOCOLS,
};
use kernel::shard::ShardFigures;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, prometheus_text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};

/// The text of everything.
pub fn write(metrics: Arc<Metrics>, levels: Levels) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("polylog");
    registry.register_collector(Box::new(Scrape { metrics, levels }));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry)?;
    Ok(text)
}

/// One scrape.
#[derive(Debug)]
struct Scrape {
    metrics: Arc<Metrics>,
    levels: Levels,
}

type Label = (&'static str, String);
type Samples<T> = Vec<(Vec<Label>, T)>;

/// Writes families one after the other.
struct Page<'a, 'b> {
    encoder: &'a mut DescriptorEncoder<'b>,
}

/// What a figure counts.
#[derive(Clone, Copy)]
enum Of {
    Things,
    Bytes,
    Seconds,
}

impl Of {
    fn unit(self) -> Option<Unit> {
        match self {
            Of::Things => None,
            Of::Bytes => Some(Unit::Bytes),
            Of::Seconds => Some(Unit::Seconds),
        }
    }
}

impl Page<'_, '_> {
    fn levels(&mut self, name: &str, of: Of, help: &str, samples: Samples<u64>) -> fmt::Result {
        let unit = of.unit();
        let mut metric = self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Gauge)?;
        for (labels, value) in samples {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counts(&mut self, name: &str, of: Of, help: &str, samples: Samples<u64>) -> fmt::Result {
        let unit = of.unit();
        let mut metric = self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Counter)?;
        for (labels, value) in samples {
            metric.encode_family(&labels)?.encode_counter(&value, None::<&Exemplar<NoLabelSet, u64>>)?;
        }
        Ok(())
    }

    fn durations(&mut self, name: &str, help: &str, samples: Samples<&Histogram>) -> fmt::Result {
        let unit = Of::Seconds.unit();
        let mut metric = self.encoder.encode_descriptor(name, help, unit.as_ref(), MetricType::Histogram)?;
        for (labels, histogram) in samples {
            let (sum, count, buckets) = histogram.read();
            metric.encode_family(&labels)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

fn one<T>(value: T) -> Samples<T> {
    vec![(Vec::new(), value)]
}

fn labelled<T>(name: &'static str, values: impl IntoIterator<Item = (impl ToString, T)>) -> Samples<T> {
    values.into_iter().map(|(label, value)| (vec![(name, label.to_string())], value)).collect()
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let page = &mut Page { encoder: &mut encoder };
        self.node(page)?;
        self.connections(page)?;
        self.kafka(page)?;
        self.groups(page)?;
        self.memory(page)?;
        self.log(page)?;
        self.background(page)?;
        self.shards(page)
    }
}

type ShardFigure = fn(&ShardFigures) -> u64;

impl Scrape {
    fn node(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let version = vec![(vec![("version", self.levels.version.to_owned())], 1)];
        page.levels("build_info", Of::Things, "Always 1; the version is the label", version)?;
        let started = one(self.levels.started_at_s);
        page.levels("start_time", Of::Seconds, "When the process started, since 1970", started)?;
        page.counts("scrapes", Of::Things, "Scrapes of this page", one(self.metrics.scrapes.get()))
    }

    fn connections(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let metrics = &*self.metrics;
        page.levels("connections", Of::Things, "Open connections of clients", one(metrics.connections.get()))?;
        let counts: [(&str, &str, &Counter); 5] = [
            ("connections_accepted", "Connections let in", &metrics.connections_accepted),
            (
                "connections_refused",
                "Connections closed at once because a bound was reached",
                &metrics.connections_refused,
            ),
            (
                "connections_evicted",
                "Connections without a request asked to close to make room",
                &metrics.connections_evicted,
            ),
            ("connection_panics", "Connections ended by a bug in the server", &metrics.connection_panics),
            ("accept_failures", "Times that accepting a connection failed", &metrics.accept_failures),
        ];
        for (name, help, counter) in counts {
            page.counts(name, Of::Things, help, one(counter.get()))?;
        }
        let closed = CLOSE_REASONS.map(|(reason, word)| (word, metrics.closed[reason as usize].get()));
        page.counts("connections_closed", Of::Things, "Connections ended, by reason", labelled("reason", closed))?;
        let received = PROTOCOLS.map(|(protocol, word)| (word, metrics.received(protocol).get()));
        page.counts("received", Of::Bytes, "Came from clients", labelled("protocol", received))?;
        let sent = PROTOCOLS.map(|(protocol, word)| (word, metrics.sent(protocol).get()));
        page.counts("sent", Of::Bytes, "Went to clients", labelled("protocol", sent))
    }

    fn kafka(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let apis: Vec<&ApiFigures> = self.metrics.apis.iter().filter_map(OnceLock::get).collect();
        let durations = labelled("api", apis.iter().map(|figures| (figures.name, &figures.duration)));
        let help = "Arrival of a request until its answer is queued; for Fetch and JoinGroup the wait that the client asked for is in it";
        page.durations("kafka_request_duration", help, durations)?;
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
        page.counts("kafka_requests", Of::Things, "Requests answered, by api and first error code", requests)?;
        let help = "Asking shards for records until all asked for are there; waiting for new records is not in it";
        page.durations("fetch_read", help, one(&self.metrics.fetch_read))
    }

    fn groups(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let none = GroupLevels::default();
        let groups = self.levels.groups.as_ref();
        let states = labelled("state", groups.unwrap_or(&none).by_state.clone());
        page.levels("kafka_groups", Of::Things, "Consumer groups, by state", states)?;
        let lags = groups
            .unwrap_or(&none)
            .lags
            .iter()
            .map(|lag| (vec![("group", lag.group.clone()), ("topic", lag.topic.clone())], lag.records));
        page.levels(
            "kafka_group_lag",
            Of::Things,
            "Records that a group has not committed yet, by topic",
            lags.collect(),
        )?;
        let level = |figure: fn(&GroupLevels) -> u64| groups.map_or_else(Vec::new, |groups| one(figure(groups)));
        let help = "The largest lag of any group on any topic, left out above or not";
        page.levels("kafka_group_lag_largest", Of::Things, help, level(|groups| groups.lag_max_records))?;
        let help = "Pairs of group and topic left out above: beyond metrics.group_lag_series_max, or with a long name";
        page.levels("kafka_group_lag_left_out", Of::Things, help, level(|groups| groups.left_out))?;
        let help = "How old the figures of groups are";
        page.levels("kafka_group_lag_age", Of::Seconds, help, level(|groups| groups.age_s))
    }

    fn memory(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let (metrics, levels) = (&*self.metrics, &self.levels);
        let owners = [
            ("tail", levels.shards.iter().map(|figures| figures.tail_bytes).sum()),
            ("mailbox", levels.mailbox_bytes),
            ("input", metrics.input.get()),
            ("output", metrics.output.get()),
            ("fetch", metrics.fetch_memory.get()),
            ("read-ahead", levels.shards.iter().map(|figures| figures.read_ahead_bytes).sum()),
        ];
        let help = "Memory by what it is held for: log not yet in segments, batches on their way to a shard, requests that arrive, answers \
                    that leave, records for consumers, stored records read ahead of consumers";
        page.levels("memory", Of::Bytes, help, labelled("owner", owners))?;
        let limits = [
            ("tail", levels.limits.tail_bytes_max),
            ("input and output", levels.limits.request_bytes_max),
            ("fetch", levels.limits.fetch_bytes_max),
            ("read-ahead", levels.limits.read_ahead_bytes_max),
        ];
        page.levels("memory_limit", Of::Bytes, "What that may become", labelled("owner", limits))?;
        let resident = levels.resident_bytes.map_or_else(Vec::new, one);
        page.levels("resident_memory", Of::Bytes, "Memory of the process, as the system counts it", resident)?;
        let waits = [("requests", metrics.request_memory_waits.get()), ("fetch", metrics.fetch_memory_waits.get())];
        page.counts("memory_waits", Of::Things, "Times that a connection waited for memory", labelled("owner", waits))
    }

    fn log(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let metrics = &*self.metrics;
        page.durations("wal_flush", "Write and sync of the log", one(&metrics.wal_flush))?;
        page.durations("wal_append", "Frame handed to the log until durable", one(&metrics.wal_append))?;
        page.counts("wal_frames", Of::Things, "Frames handed to the log", one(metrics.wal_frames.get()))?;
        page.counts("wal_written", Of::Bytes, "Frame bodies handed to the log", one(metrics.wal_written.get()))?;
        page.durations("shard_drain", "Time a shard was held by one drain", one(&metrics.shard_drain))?;
        let help = "Drains of a shard that ran too long for their thread and were handed over";
        page.counts("shard_handovers", Of::Things, help, one(metrics.shard_handovers.get()))
    }

    fn background(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let metrics = &*self.metrics;
        page.durations("blob_read", "Cold reads: ranges of segments, from the medium", one(&metrics.blob_read))?;
        page.counts("blob_read", Of::Bytes, "Bytes of cold reads", one(metrics.blob_read_bytes.get()))?;
        let failures = one(metrics.blob_read_failures.get());
        page.counts("blob_read_failures", Of::Things, "Cold reads that the medium failed", failures)?;
        fn of<'a, T>(metrics: &'a Metrics, figure: impl Fn(&'a Made) -> T) -> Samples<T> {
            labelled("kind", MAKINGS.map(|(what, word)| (word, figure(metrics.made(what)))))
        }
        let running = of(metrics, |made| made.running.get());
        page.levels(
            "background_running",
            Of::Things,
            "Whether a segment or checkpoint is being built or written",
            running,
        )?;
        page.durations("blob_build", "Building of segments and checkpoints", of(metrics, |made| &made.build))?;
        page.durations("blob_put", "Writing and syncing of segments and checkpoints", of(metrics, |made| &made.put))?;
        page.counts(
            "blob_put",
            Of::Bytes,
            "Size of segments and checkpoints written",
            of(metrics, |made| made.put_bytes.get()),
        )?;
        let failures = of(metrics, |made| made.put_failures.get());
        page.counts("blob_put_failures", Of::Things, "Writes of them that failed and are tried again", failures)?;
        let disk = |figure: fn(&super::DiskLevels) -> u64| {
            self.levels.disk.as_ref().map_or_else(Vec::new, |disk| one(figure(disk)))
        };
        page.levels("data", Of::Bytes, "Taken by files of the data directory", disk(|disk| disk.used_bytes))?;
        page.levels("disk", Of::Bytes, "Size of the file system that it is in", disk(|disk| disk.disk_bytes))?;
        page.levels("disk_free", Of::Bytes, "What of that this process may still use", disk(|disk| disk.free_bytes))
    }

    fn shards(&self, page: &mut Page<'_, '_>) -> fmt::Result {
        let per_shard = |figure: ShardFigure| labelled("shard", self.levels.shards.iter().map(figure).enumerate());
        let levels: [(&str, Of, &str, ShardFigure); 12] = [
            ("topics", Of::Things, "Topics in the shard's catalog", |f| f.topics),
            ("partitions", Of::Things, "Partitions owned", |f| f.partitions),
            ("producers", Of::Things, "Idempotent producers remembered, counted per partition", |f| f.producers),
            ("tail", Of::Bytes, "Log not yet spilled, held in memory", |f| f.tail_bytes),
            ("tail_batches", Of::Things, "Batches in the memory tail", |f| f.tail_batches),
            ("segments", Of::Things, "Live segments", |f| f.segment_count),
            ("segment", Of::Bytes, "Size of live segments", |f| f.segment_bytes),
            (
                "segment_live",
                Of::Bytes,
                "What of live segments is still needed; the rest is dead and waits for its neighbours",
                |f| f.segment_live_bytes,
            ),
            ("lent_slots", Of::Things, "Files of the log in which records of live segments stand", |f| f.lent_slots),
            ("spill_running", Of::Things, "1 while a spill with its checkpoint is under way", |f| {
                u64::from(f.spill_running)
            }),
            (
                "reserve_in_use",
                Of::Things,
                "1 while publishes are refused because what is set aside on a full disk is in use",
                |f| u64::from(f.reserve_in_use),
            ),
            ("undurable_frames", Of::Things, "Frames decided and not yet durable", |f| {
                f.applied.0.saturating_sub(f.durable.0)
            }),
        ];
        for (name, of, help, figure) in levels {
            page.levels(name, of, help, per_shard(figure))?;
        }
        let counts: [(&str, Of, &str, ShardFigure); 17] = [
            ("appended_batches", Of::Things, "Batches appended", |f| f.appended_batches),
            ("appended_records", Of::Things, "Records appended", |f| f.appended_records),
            ("appended", Of::Bytes, "Size of batches appended", |f| f.appended_bytes),
            ("read", Of::Bytes, "Size of batches read", |f| f.read_bytes),
            ("cold_read", Of::Bytes, "Size of batches read from segments", |f| f.cold_read_bytes),
            (
                "read_ahead_hits",
                Of::Things,
                "Reads of segments that found their records read ahead, or on their way",
                |f| f.read_ahead_hits,
            ),
            ("spills", Of::Things, "Spills of the memory tail to a segment", |f| f.spills),
            (
                "spilled_in_place",
                Of::Bytes,
                "Size of batches that a spill left where the log has them, and did not write again",
                |f| f.spilled_in_place_bytes,
            ),
            ("spill_failures", Of::Things, "Spills that failed and are tried again", |f| f.spill_failures),
            ("checkpoints", Of::Things, "Checkpoints written", |f| f.checkpoints),
            ("merges", Of::Things, "Merges of segments that took effect", |f| f.merges),
            ("compactions", Of::Things, "Compactions of partitions that took effect", |f| f.compactions),
            ("retention_removed", Of::Bytes, "Stored bytes that retention has removed", |f| f.retention_bytes),
            ("parked_publishes", Of::Things, "Publishes that had to wait for room in the tail", |f| f.parked_publishes),
            ("duplicate_publishes", Of::Things, "Repeated batches of idempotent producers, not appended again", |f| {
                f.duplicate_publishes
            }),
            ("malformed_batches", Of::Things, "Batches whose compressed records are not well formed", |f| {
                f.malformed_batches
            }),
            ("corrupt_reads", Of::Things, "Reads refused because the stored bytes are damaged", |f| f.corrupt_reads),
        ];
        for (name, of, help, figure) in counts {
            page.counts(name, of, help, per_shard(figure))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{CloseReason, DiskLevels, GroupLag, Making, Protocol};
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::{Path, PathBuf};

    const BEGIN: &str = "<!-- figures: made by the tests of ops -->\n";
    const END: &str = "<!-- end of figures -->";

    /// A page on which every family has a sample.
    fn full() -> String {
        let metrics = Arc::new(Metrics::default());
        metrics.received(Protocol::Kafka).add(10);
        metrics.connections.add(3);
        metrics.connections.sub(1);
        metrics.closed(CloseReason::Fault);
        metrics.wal_flush.add_us(120);
        metrics.made(Making::Checkpoint).put_bytes.add(5);
        metrics.served(0, "Produce", 0, 900);
        metrics.served(0, "Produce", 3, 900);
        let groups = GroupLevels {
            by_state: vec![("Stable".into(), 1)],
            lags: vec![GroupLag { group: "a \"group\"".into(), topic: "t".into(), records: 7 }],
            ..GroupLevels::default()
        };
        let figures = ShardFigures { tail_bytes: 7, appended_bytes: 99, ..ShardFigures::default() };
        let levels = Levels {
            version: "1.2.3",
            shards: vec![figures, ShardFigures::default()],
            resident_bytes: Some(1),
            disk: Some(DiskLevels::default()),
            groups: Some(groups),
            ..Levels::default()
        };
        metrics.text(levels).unwrap()
    }

    /// What is told of a family.
    #[derive(Debug, Default)]
    struct Told {
        kind: String,
        labels: BTreeSet<String>,
        help: String,
        has_samples: bool,
    }

    /// The families of a page, by name, with the endings that their samples have.
    fn families(text: &str) -> BTreeMap<String, Told> {
        let mut families: BTreeMap<String, Told> = BTreeMap::new();
        let mut kinds = BTreeMap::new();
        for line in text.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                kinds.insert(name.to_owned(), kind.to_owned());
            } else if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' ')) {
                families.entry(name.to_owned()).or_default().help = help.to_owned();
            } else if !line.starts_with('#') {
                let (series, _) = line.rsplit_once(' ').unwrap();
                let (name, labels) = series.split_once('{').unwrap_or((series, ""));
                let family = families
                    .iter_mut()
                    .filter(|(family, _)| name.starts_with(family.as_str()))
                    .max_by_key(|(family, _)| family.len())
                    .unwrap_or_else(|| panic!("{name} has no HELP"));
                family.1.has_samples = true;
                for label in labels.split("=\"").filter_map(|part| part.rsplit(['{', ',', '"']).next()) {
                    if !label.is_empty() && label != "}" && label != "le" {
                        family.1.labels.insert(label.to_owned());
                    }
                }
            }
        }
        for (name, kind) in kinds {
            families.get_mut(&name).unwrap_or_else(|| panic!("{name} has no HELP")).kind = kind;
        }
        families
    }

    /// A family's name as its samples have it.
    fn sample_name(name: &str, kind: &str) -> String {
        if kind == "counter" && !name.ends_with("_total") { format!("{name}_total") } else { name.to_owned() }
    }

    fn repository(path: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
    }

    #[test]
    fn names_carry_units_and_counters_end_in_total() {
        let text = full();
        for line in [
            "polylog_build_info{version=\"1.2.3\"} 1",
            "polylog_connections 2",
            "polylog_connections_closed_total{reason=\"fault\"} 1",
            "polylog_received_bytes_total{protocol=\"kafka\"} 10",
            "polylog_wal_flush_seconds_count 1",
            "polylog_wal_flush_seconds_bucket{le=\"0.000128\"} 1",
            "polylog_blob_put_bytes_total{kind=\"checkpoint\"} 5",
            "polylog_tail_bytes{shard=\"0\"} 7",
            "polylog_tail_bytes{shard=\"1\"} 0",
            "polylog_memory_bytes{owner=\"tail\"} 7",
            "polylog_appended_bytes_total{shard=\"0\"} 99",
            "polylog_kafka_requests_total{api=\"Produce\",error_code=\"3\"} 1",
            "polylog_kafka_request_duration_seconds_count{api=\"Produce\"} 2",
            "polylog_kafka_group_lag{group=\"a \\\"group\\\"\",topic=\"t\"} 7",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in:\n{text}");
        }
    }

    /// `UPDATE_EXPECT=1 cargo test -p ops` writes the table anew, for a reviewer to look at.
    #[test]
    fn every_figure_is_documented() {
        let mut table = String::from("| name | kind | labels | meaning |\n|---|---|---|---|\n");
        for (name, told) in families(&full()) {
            assert!(told.has_samples, "the test's page has no sample of {name}");
            assert!(!told.help.is_empty() && !told.kind.is_empty(), "{name}: {told:?}");
            let labels: Vec<String> = told.labels.iter().map(|label| format!("`{label}`")).collect();
            let (name, help) = (sample_name(&name, &told.kind), told.help.trim_end_matches('.'));
            table.push_str(&format!("| `{name}` | {} | {} | {help} |\n", told.kind, labels.join(", ")));
        }
        let file = repository("docs/user/metrics.md");
        let page = std::fs::read_to_string(&file).unwrap();
        let (before, rest) = page.split_once(BEGIN).expect("the page says where the table begins");
        let (found, after) = rest.split_once(END).expect("the page says where the table ends");
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&file, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        } else {
            assert!(
                found == table,
                "docs/user/metrics.md is not up to date; if that is meant, run with UPDATE_EXPECT=1:\n{table}"
            );
        }
    }

    /// What an expression of the dashboard may hold beside figures, labels and numbers.
    const WORDS: [&str; 9] = ["by", "histogram_quantile", "label_values", "max", "min", "rate", "sum", "time", "topk"];
    /// Labels that whoever scrapes adds.
    const SCRAPED: [&str; 3] = ["instance", "job", "le"];

    /// The names in an expression: everything outside of quotes and brackets that begins with a letter.
    fn names_in(expression: &str) -> Vec<String> {
        let mut names = Vec::new();
        let mut name = String::new();
        let (mut quoted, mut in_brackets) = (false, false);
        for letter in expression.chars().chain([' ']) {
            match letter {
                '"' => quoted = !quoted,
                '[' => in_brackets = true,
                ']' => in_brackets = false,
                _ => {}
            }
            if (letter.is_ascii_alphanumeric() || letter == '_') && !quoted && !in_brackets {
                name.push(letter);
                continue;
            }
            let done = std::mem::take(&mut name);
            if done.starts_with(|first: char| first.is_ascii_alphabetic()) {
                names.push(done);
            }
        }
        names
    }

    /// Every text behind one of these keys, anywhere in it.
    fn texts<'a>(value: &'a serde_json::Value, keys: &[&str], found: &mut Vec<&'a str>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (key, value) in fields {
                    match value {
                        serde_json::Value::String(text) if keys.contains(&key.as_str()) => found.push(text),
                        value => texts(value, keys, found),
                    }
                }
            }
            serde_json::Value::Array(values) => values.iter().for_each(|value| texts(value, keys, found)),
            _ => {}
        }
    }

    fn dashboard() -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(repository("deploy/grafana/polylog.json")).unwrap()).unwrap()
    }

    #[test]
    fn the_dashboard_asks_for_figures_that_exist_and_for_all_of_them() {
        let page = full();
        let lines = page.lines().filter(|line| !line.starts_with('#'));
        let series: BTreeSet<&str> = lines.filter_map(|line| line.split(['{', ' ']).next()).collect();
        let mut known: BTreeSet<String> = series.iter().map(|name| (*name).to_owned()).collect();
        for family in families(&page).into_values() {
            known.extend(family.labels);
        }
        known.extend(WORDS.iter().chain(&SCRAPED).map(|word| (*word).to_owned()));

        let dashboard = dashboard();
        let mut expressions = Vec::new();
        texts(&dashboard["panels"], &["expr"], &mut expressions);
        assert!(expressions.len() > 50, "{}", expressions.len());
        texts(&dashboard["templating"], &["definition"], &mut expressions);
        let mut used = BTreeSet::new();
        for expression in &expressions {
            let names = names_in(expression);
            assert!(names.iter().any(|name| series.contains(name.as_str())), "no figure in {expression}");
            for name in names {
                assert!(known.contains(&name), "{name} in {expression} is no figure, label or word that is known");
                used.insert(name);
            }
        }
        // What is on the page and nobody sees would be for nothing.
        for name in families(&page).into_keys() {
            let is_used = used.iter().any(|used| used.starts_with(name.as_str()));
            assert!(
                is_used || name == "polylog_scrapes_total" || name == "polylog_tail_batches",
                "{name} is on no panel"
            );
        }
    }

    #[test]
    fn panels_have_numbers_of_their_own_and_do_not_lie_on_each_other() {
        let dashboard = dashboard();
        let mut numbers = BTreeSet::new();
        let mut cells = BTreeSet::new();
        for panel in dashboard["panels"].as_array().unwrap() {
            assert!(numbers.insert(panel["id"].as_u64().unwrap()), "{}", panel["title"]);
            let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(cells.insert((x, y)), "{} lies on another panel", panel["title"]);
                }
            }
        }
    }

    #[test]
    fn families_do_not_depend_on_what_has_happened() {
        let fresh = Arc::new(Metrics::default()).text(Levels::default()).unwrap();
        let fresh: Vec<String> = families(&fresh).into_keys().collect();
        assert_eq!(fresh, families(&full()).into_keys().collect::<Vec<_>>());
    }

    #[test]
    fn no_api_and_no_error_code_is_out_of_range() {
        let metrics = Arc::new(Metrics::default());
        for (api, code) in [(-1, 0), (i16::MAX, 0), (1, i16::MIN), (1, i16::MAX)] {
            metrics.served(api, "Fetch", code, 1);
        }
        let text = metrics.text(Levels::default()).unwrap();
        assert!(text.contains("polylog_kafka_requests_total{api=\"Fetch\",error_code=\"-1\"} 1\n"), "{text}");
        assert!(text.contains("polylog_kafka_requests_total{api=\"Fetch\",error_code=\"158\"} 1\n"), "{text}");
    }
}
