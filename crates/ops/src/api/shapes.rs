// SPDX-License-Identifier: Apache-2.0
//! The shapes of all answers. Their comments are what the document says of them.

use super::shape::{objects, words};
use std::collections::BTreeMap;

words! {
    /// Where a node is in its life.
    PhaseWord {
        /// Reading what is stored; clients are not served yet.
        Starting = "starting",
        /// Serving.
        Ready = "ready",
        /// Asked to stop: finishing what is under way.
        Stopping = "stopping",
        /// The log failed, or a bug was hit; the process ends.
        Failed = "failed",
    }
}

objects! {
    /// One node: who it is, where it listens, what it holds on disk and in memory.
    NodeAnswer {
        /// Of the running program.
        version: String,
        /// The node's number in what Kafka clients are told.
        node_id: i32,
        /// 22 characters, the same for the life of the data.
        cluster_id: String,
        /// When the process started (milliseconds since 1970).
        started_at_ms: u64,
        /// How long ago that was.
        uptime_ms: u64,
        /// Where the node is in its life.
        phase: PhaseWord,
        /// The phase in words, with the step of a recovery or the cause of a failure.
        phase_text: String,
        /// Where clients connect.
        listeners: Vec<ListenerShape>,
        /// What is at rest.
        storage: StorageShape,
        /// Memory, by what it is held for.
        memory: MemoryShape,
        /// Connections of clients that are open.
        connections: u64,
    }

    /// A place where clients connect.
    ListenerShape {
        /// From the settings.
        name: String,
        /// What is spoken there.
        protocol: String,
        /// What it is bound to.
        address: String,
        /// What clients are told to connect to.
        advertised: String,
    }

    /// What is at rest.
    StorageShape {
        /// `local`: files, synced before anything is acknowledged. `memory`: nowhere.
        mode: String,
        /// The directory, where there is one.
        data_dir: Option<String>,
        /// What files of the directory take, looked at no more often than every ten seconds.
        used_bytes: Option<u64>,
        /// Size of the file system that the directory is in.
        disk_bytes: Option<u64>,
        /// What of it this process may still use.
        disk_free_bytes: Option<u64>,
        /// Parts that the data is divided into, each with a log of its own.
        shards: Vec<ShardShape>,
    }

    /// One shard.
    ShardShape {
        /// Its number.
        shard: u32,
        /// Partitions that it owns.
        partitions: u64,
        /// The last frame of its log that was decided.
        applied_lsn: u64,
        /// The last frame that is known to be synced.
        durable_lsn: u64,
        /// Log that is not in segments yet: held in memory, and read again after a crash.
        tail_bytes: u64,
        /// The most that may become.
        tail_bytes_max: u64,
        /// Live segments.
        segment_count: u64,
        /// What they take.
        segment_bytes: u64,
        /// Of that, records that can still be read, and what was trimmed of their runs.
        segment_live_bytes: u64,
        /// A spill (tail to segment, then a checkpoint) is under way.
        spill_running: bool,
        /// Spills since the process started.
        spills: u64,
        /// Spills that failed and were tried again.
        spill_failures: u64,
        /// Checkpoints since the process started.
        checkpoints: u64,
    }

    /// Memory, by what it is held for, in bytes. What is not listed (tasks, catalogs, indexes) is in `resident_bytes` only.
    MemoryShape {
        /// Of the whole process, as the system counts it.
        resident_bytes: Option<u64>,
        /// Log that is not in segments yet, over all shards.
        tail_bytes: u64,
        /// Batches on their way to a shard.
        mailbox_bytes: u64,
        /// Requests that are arriving.
        input_bytes: u64,
        /// Answers that are leaving.
        output_bytes: u64,
        /// Records on their way to consumers: being read, or in answers.
        fetch_bytes: u64,
    }

    /// Topics in the order of their names.
    TopicsAnswer {
        /// How many there are in all.
        total: u64,
        /// Those of this page.
        topics: Vec<TopicSummary>,
        /// What to give as `after` for the next page; null on the last.
        next_after: Option<String>,
    }

    /// A topic in a list.
    TopicSummary {
        /// Its name.
        name: String,
        /// Its id, as Kafka's tools show it.
        topic_id: String,
        /// How many partitions it has.
        partition_count: u32,
        /// Offsets between start and end of all partitions: the records, for topics that are only appended to and trimmed.
        records: u64,
        /// What the records take, as stored.
        stored_bytes: u64,
        /// What cannot be freed yet because of them: see a partition's.
        pinned_bytes: u64,
    }

    /// A topic.
    TopicAnswer {
        /// Its name.
        name: String,
        /// Its id, as Kafka's tools show it.
        topic_id: String,
        /// How many partitions it has.
        partition_count: u32,
        /// Its settings.
        settings: TopicSettingsShape,
        /// The partitions of this page, by number.
        partitions: Vec<PartitionShape>,
        /// What to give as `after` for the next page of partitions; null on the last.
        next_after: Option<u32>,
    }

    /// What acts, and what was set.
    TopicSettingsShape {
        /// Records older than this are removed; null: never for their age.
        retention_ms: Option<u64>,
        /// The oldest records of a partition beyond this are removed; null: never for their size.
        retention_bytes: Option<u64>,
        /// Largest batch.
        batch_bytes_max: u32,
        /// Names and values as they were given; what is not here has its default.
        set: BTreeMap<String, String>,
    }

    /// A partition.
    PartitionShape {
        /// Its number in the topic.
        partition: u32,
        /// The shard that owns it.
        shard: u32,
        /// Its leader epoch.
        leader_epoch: i32,
        /// The first offset that can be read.
        start_offset: u64,
        /// The offset that the next record will get.
        end_offset: u64,
        /// What its records take, as stored.
        stored_bytes: u64,
        /// What cannot be freed yet because of it: what was trimmed of it and lies beside what was not, and its part of the dead
        /// bytes in segments that it has records in.
        pinned_bytes: u64,
    }

    /// Consumer groups in the order of their ids.
    GroupsAnswer {
        /// How many there are in all.
        total: u64,
        /// Those of this page.
        groups: Vec<GroupSummary>,
        /// What to give as `after` for the next page; null on the last.
        next_after: Option<String>,
    }

    /// A group in a list.
    GroupSummary {
        /// Its id.
        group_id: String,
        /// What kind of group its members say it is: `consumer` for consumers, empty for one that only commits offsets.
        protocol_type: String,
        /// As Kafka's tools show it: Empty, PreparingRebalance, CompletingRebalance, Stable, Dead.
        state: String,
    }

    /// A group.
    GroupAnswer {
        /// Its id.
        group_id: String,
        /// As Kafka's tools show it: Empty, PreparingRebalance, CompletingRebalance, Stable, Dead.
        state: String,
        /// What kind of group its members say it is.
        protocol_type: String,
        /// How partitions are assigned, as its members agreed; empty while they have not.
        protocol_name: String,
        /// Grows with each rebalance.
        generation_id: i32,
        /// Who is in it.
        members: Vec<MemberShape>,
        /// What is committed, by topic and partition.
        offsets: Vec<CommittedShape>,
        /// False when there are more committed offsets than are looked at for one answer.
        offsets_complete: bool,
        /// Sum of the lags in `offsets`.
        lag_total: u64,
    }

    /// A member of a group.
    MemberShape {
        /// Given by the node.
        member_id: String,
        /// Given by the client, if it wants to keep its place when it restarts.
        group_instance_id: Option<String>,
        /// What the client calls itself.
        client_id: String,
        /// Where it connected from.
        client_host: String,
        /// The partitions it got, by topic; empty for a group whose members tell each other something else than consumers do.
        assigned: BTreeMap<String, Vec<i32>>,
    }

    /// A committed offset.
    CommittedShape {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: u32,
        /// The next offset that the group will read.
        committed_offset: i64,
        /// The first offset that can be read; null when the partition did not answer.
        start_offset: Option<u64>,
        /// The offset that the next record will get.
        end_offset: Option<u64>,
        /// Records from the committed offset (or the start, if that is later) to the end.
        lag: Option<u64>,
    }

    /// What went wrong (RFC 9457, `application/problem+json`).
    Problem {
        /// Always `about:blank`: the status says what kind of problem it is.
        r#type: String,
        /// The status in words.
        title: String,
        /// The HTTP status.
        status: u16,
        /// What is wrong with this request.
        detail: String,
    }
}
