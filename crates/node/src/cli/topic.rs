// SPDX-License-Identifier: Apache-2.0
//! `polylog topic`: make topics, look at them, change them, delete them.
//!
//! JSON: `create` {"topics": [{name, id, partitions, created}]}, `list`, and `describe` and `alter` {"topics": […]} as [`Listed`] and
//! [`Described`] say, `trim` {topic, partitions: [{partition, start_offset, deleted}]}, `delete` {"deleted": [name]}.

use super::base64;
use super::broker::Broker;
use super::consume::resolve;
use super::moment::{PLACES, read_place};
use super::outcome::{CommandError, exit_of};
use super::output::{Column, Output, Table, shown};
use crate::client::refusal::{ClientError, name_of};
use crate::client::topics::{Topic, millis};
use crate::client::{Client, Tries, is_ok};
use clap::{Args, Subcommand};
use head_kafka::wire::messages::create_topics::{CreatableTopic, CreatableTopicConfig, CreateTopicsRequest};
use head_kafka::wire::messages::delete_topics::{DeleteTopicState, DeleteTopicsRequest};
use head_kafka::wire::{ErrorCode, Text};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{BufRead, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

#[derive(Subcommand, Debug)]
pub enum TopicCommand {
    /// Makes topics
    Create(Create),
    /// Lists the topics
    List(List),
    /// Shows partitions, offsets, sizes and settings of topics
    Describe(Describe),
    /// Adds partitions, changes settings
    Alter(Alter),
    /// Deletes the records before an offset or a time
    Trim(Trim),
    /// Deletes topics with everything in them
    Delete(Delete),
}

#[derive(Args, Debug)]
pub struct Create {
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Number of partitions [default: the broker's]
    #[arg(long, short, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Copies of each partition, where there are several brokers [default: the broker's]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting, such as retention.ms=86400000; may be given several times
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = read_setting)]
    config: Vec<(String, String)>,
    /// A topic that exists is no error, and stays as it is
    #[arg(long)]
    if_not_exists: bool,
    #[command(flatten)]
    broker: Broker,
}

#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    broker: Broker,
}

#[derive(Args, Debug)]
pub struct Describe {
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    #[command(flatten)]
    broker: Broker,
}

#[derive(Args, Debug)]
pub struct Alter {
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Number of partitions it is to have; there can only be more
    #[arg(long, short, value_name = "COUNT", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// A setting, such as retention.ms=86400000; may be given several times
    #[arg(long, short, value_name = "NAME=VALUE", value_parser = read_setting)]
    config: Vec<(String, String)>,
    /// A setting that has its default again; may be given several times
    #[arg(long, value_name = "NAME")]
    delete_config: Vec<String>,
    #[command(flatten)]
    broker: Broker,
}

#[derive(Args, Debug)]
pub struct Trim {
    name: String,
    #[arg(long, value_name = "PLACE", allow_hyphen_values = true, help = format!("What to keep: what is here and after it. {PLACES}"))]
    before: String,
    /// Only of this partition; may be given several times [default: all]
    #[arg(long, short, value_name = "NUMBER")]
    partition: Vec<i32>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    broker: Broker,
}

#[derive(Args, Debug)]
pub struct Delete {
    #[arg(value_name = "NAME", required = true)]
    names: Vec<String>,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    broker: Broker,
}

fn read_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.to_owned())),
        _ => Err("a setting is written NAME=VALUE".to_owned()),
    }
}

impl TopicCommand {
    pub fn run(&self) -> Result<(), CommandError> {
        match self {
            TopicCommand::Create(create) => create.run(),
            TopicCommand::List(list) => list.run(),
            TopicCommand::Describe(describe) => describe.run(),
            TopicCommand::Alter(alter) => alter.run(),
            TopicCommand::Trim(trim) => trim.run(),
            TopicCommand::Delete(delete) => delete.run(),
        }
    }
}

/// The document of every command that speaks of topics.
#[derive(Serialize)]
struct Topics<'a, T> {
    topics: &'a [T],
}

#[derive(Serialize)]
struct Deleted<'a> {
    deleted: &'a [String],
}

#[derive(Serialize)]
struct Created {
    name: String,
    id: Option<String>,
    partitions: usize,
    created: bool,
}

impl Create {
    fn run(&self) -> Result<(), CommandError> {
        let mut client = self.broker.connect()?;
        let mut output = Output::new(self.broker.json);
        let setting = |(name, value): &(String, String)| CreatableTopicConfig {
            name: name.as_str().into(),
            value: Some(value.as_str().into()),
        };
        let topic = |name: &String| CreatableTopic {
            name: name.as_str().into(),
            num_partitions: self.partitions.unwrap_or(-1),
            replication_factor: self.replication_factor.unwrap_or(-1),
            assignments: Vec::new(),
            configs: self.config.iter().map(setting).collect(),
        };
        let mut names = self.names.clone();
        let tries = Tries::within(client.timeout());
        let mut made = Vec::new();
        let mut refused = Vec::new();
        while !names.is_empty() {
            let request = CreateTopicsRequest {
                topics: names.iter().map(topic).collect(),
                timeout_ms: millis(client.timeout()),
                validate_only: false,
            };
            let answer = client.call(&request)?;
            names.clear();
            for topic in &answer.topics {
                let name = topic.name.to_string();
                let exists = topic.error_code == ErrorCode::TopicAlreadyExists.number();
                if is_ok(topic.error_code) || exists && self.if_not_exists {
                    let known = client.topic_just_made(&name)?;
                    let partitions = known.partitions.len();
                    made.push(Created { name, id: id_of(&known), partitions, created: !exists });
                } else if tries.again_after(topic.error_code) {
                    names.push(name);
                } else {
                    let hint = if exists { " (--if-not-exists takes it as it is)" } else { "" };
                    refused.push(Refused::new("topic", &name, topic.error_code, topic.error_message.as_ref(), hint));
                }
            }
        }
        if output.is_json() {
            output.document(&Topics { topics: &made })?;
        } else {
            for topic in &made {
                let what = if topic.created { "made" } else { "exists" };
                eprintln!("{what}: {} ({})", topic.name, counted(topic.partitions as u64, "partition"));
            }
        }
        Refused::all(refused)
    }
}

#[derive(Serialize)]
struct Listed {
    name: String,
    id: Option<String>,
    partitions: usize,
    replication_factor: usize,
    internal: bool,
}

impl List {
    fn run(&self) -> Result<(), CommandError> {
        let mut client = self.broker.connect()?;
        let mut output = Output::new(self.broker.json);
        let topics: Vec<Listed> = client
            .topics()?
            .iter()
            .map(|topic| Listed {
                name: topic.name.clone(),
                id: id_of(topic),
                partitions: topic.partitions.len(),
                replication_factor: topic.partitions.first().map_or(0, |partition| partition.replicas.len()),
                internal: topic.is_internal,
            })
            .collect();
        if output.is_json() {
            return output.document(&Topics { topics: &topics });
        }
        let mut table = Table::new(&[Column::Text("TOPIC"), Column::Number("PARTITIONS"), Column::Number("REPLICAS")]);
        for topic in topics {
            table.row([topic.name, topic.partitions.to_string(), topic.replication_factor.to_string()]);
        }
        output.text(&table.to_text())?;
        output.flush()
    }
}

#[derive(Serialize)]
struct Described {
    name: String,
    id: Option<String>,
    internal: bool,
    /// Of one copy of all partitions; null where the broker does not tell, as below.
    size_bytes: Option<i64>,
    /// Those that were given for this topic.
    settings: Option<BTreeMap<String, String>>,
    partitions: Vec<DescribedPartition>,
}

#[derive(Serialize)]
struct DescribedPartition {
    partition: i32,
    leader: i32,
    replicas: Vec<i32>,
    in_sync: Vec<i32>,
    start_offset: Option<i64>,
    end_offset: Option<i64>,
    size_bytes: Option<i64>,
}

impl Describe {
    fn run(&self) -> Result<(), CommandError> {
        let mut client = self.broker.connect()?;
        let mut output = Output::new(self.broker.json);
        let mut described = Vec::new();
        for name in &self.names {
            described.push(describe(&mut client, name)?);
        }
        output.document_or_texts(&Topics { topics: &described }, described.iter().map(Described::to_text))
    }
}

fn describe(client: &mut Client, name: &str) -> Result<Described, CommandError> {
    let topic = client.topic(name)?;
    let bounds = client.bounds(&topic)?;
    let sizes = client.topic_bytes(&topic)?;
    let partition = |partition: &crate::client::topics::Partition| DescribedPartition {
        partition: partition.index,
        leader: partition.leader,
        replicas: partition.replicas.clone(),
        in_sync: partition.in_sync.clone(),
        start_offset: bounds.get(&partition.index).map(|bounds| bounds.0),
        end_offset: bounds.get(&partition.index).map(|bounds| bounds.1),
        size_bytes: sizes.as_ref().map(|sizes| sizes.get(&partition.index).copied().unwrap_or(0)),
    };
    Ok(Described {
        id: id_of(&topic),
        internal: topic.is_internal,
        size_bytes: sizes.as_ref().map(|sizes| sizes.values().sum()),
        settings: client.topic_settings(name)?,
        partitions: topic.partitions.iter().map(partition).collect(),
        name: topic.name,
    })
}

impl Described {
    fn to_text(&self) -> String {
        let mut text = format!("topic     {}\n", self.name);
        if let Some(id) = &self.id {
            text.push_str(&format!("id        {id}\n"));
        }
        if let Some(size_bytes) = self.size_bytes {
            text.push_str(&format!("size      {}\n", size(size_bytes)));
        }
        for (at, (name, value)) in self.settings.iter().flatten().enumerate() {
            let head = if at == 0 { "settings" } else { "" };
            text.push_str(&format!("{head:<8}  {name}={value}\n"));
        }
        text.push('\n');
        let mut table = Table::new(&[
            Column::Number("PARTITION"),
            Column::Number("LEADER"),
            Column::Number("START"),
            Column::Number("END"),
            Column::Number("RECORDS"),
            Column::Number("SIZE"),
        ]);
        for partition in &self.partitions {
            let records = partition.end_offset.zip(partition.start_offset).map(|(end, start)| end - start);
            table.row([
                partition.partition.to_string(),
                partition.leader.to_string(),
                shown(partition.start_offset),
                shown(partition.end_offset),
                shown(records),
                partition.size_bytes.map_or("-".to_owned(), size),
            ]);
        }
        text.push_str(&table.to_text());
        text
    }
}

fn size(size_bytes: i64) -> String {
    crate::offline::bytes(size_bytes.max(0).unsigned_abs())
}

impl Alter {
    fn run(&self) -> Result<(), CommandError> {
        if self.partitions.is_none() && self.config.is_empty() && self.delete_config.is_empty() {
            return Err(CommandError::usage("nothing to change: say --partitions, --config or --delete-config"));
        }
        let mut client = self.broker.connect()?;
        let mut output = Output::new(self.broker.json);
        for name in &self.names {
            client.topic(name)?;
        }
        for name in &self.names {
            if !self.config.is_empty() || !self.delete_config.is_empty() {
                client.alter_settings(name, &self.config, &self.delete_config)?;
                client.wait_until_seen(|client| {
                    let Some(settings) = client.topic_settings(name)? else { return Ok(true) };
                    let set = self.config.iter().all(|(name, value)| settings.get(name) == Some(value));
                    Ok(set && self.delete_config.iter().all(|name| !settings.contains_key(name)))
                })?;
            }
            if let Some(partitions) = self.partitions {
                client.add_partitions(name, partitions)?;
                client.wait_until_seen(|client| Ok(client.topic(name)?.partitions.len() >= partitions as usize))?;
            }
        }
        if !output.is_json() {
            self.names.iter().for_each(|name| eprintln!("altered: {name}"));
            return Ok(());
        }
        let mut described = Vec::new();
        for name in &self.names {
            described.push(describe(&mut client, name)?);
        }
        output.document(&Topics { topics: &described })
    }
}

#[derive(Serialize)]
struct Trimmed<'a> {
    topic: &'a str,
    partitions: Vec<TrimmedPartition>,
}

#[derive(Serialize)]
struct TrimmedPartition {
    partition: i32,
    start_offset: i64,
    /// How many offsets are gone.
    deleted: i64,
}

impl Trim {
    fn run(&self) -> Result<(), CommandError> {
        let place = read_place(&self.before, now_ms()).map_err(CommandError::usage)?;
        let mut client = self.broker.connect()?;
        let mut output = Output::new(self.broker.json);
        let topic = client.topic(&self.name)?;
        let chosen = chosen_partitions(&topic, &self.partition)?;
        let bounds = client.bounds(&topic)?;
        let mut before = resolve(&mut client, &topic, &chosen, place, &bounds)?;
        for (partition, offset) in &mut before {
            let (start, end) = bounds.get(partition).copied().unwrap_or_default();
            *offset = (*offset).clamp(start, end);
        }
        let start_of = |partition: &i32| bounds.get(partition).map_or(0, |bounds| bounds.0);
        let count: i64 = before.iter().map(|(partition, offset)| offset - start_of(partition)).sum();
        if !self.yes && count > 0 {
            confirm(&format!("Delete {} of {}?", counted(count.unsigned_abs(), "record"), topic.name))?;
        }
        let starts = client.trim(&topic, &before)?;
        let partitions: Vec<TrimmedPartition> = starts
            .into_iter()
            .map(|(partition, start_offset)| TrimmedPartition {
                partition,
                start_offset,
                deleted: start_offset - start_of(&partition),
            })
            .collect();
        if output.is_json() {
            return output.document(&Trimmed { topic: &topic.name, partitions });
        }
        for partition in partitions {
            eprintln!("trimmed: {}-{} begins at {}", topic.name, partition.partition, partition.start_offset);
        }
        Ok(())
    }
}

impl Delete {
    fn run(&self) -> Result<(), CommandError> {
        let mut client = self.broker.connect()?;
        let mut output = Output::new(self.broker.json);
        // Looked up first: nothing is deleted when one name is wrong.
        for name in &self.names {
            client.topic(name)?;
        }
        if !self.yes {
            confirm(&format!("Delete {} and all records in it?", self.names.join(", ")))?;
        }
        let mut names = self.names.clone();
        let tries = Tries::within(client.timeout());
        let (mut deleted, mut refused) = (Vec::new(), Vec::new());
        let mut again = false;
        while !names.is_empty() {
            // By name in either layout.
            let state = |name: &String| DeleteTopicState { name: Some(name.as_str().into()), topic_id: [0; 16] };
            let request = DeleteTopicsRequest {
                topics: names.iter().map(state).collect(),
                topic_names: names.iter().map(|name| name.as_str().into()).collect(),
                timeout_ms: millis(client.timeout()),
            };
            let answer = client.call(&request)?;
            names.clear();
            for topic in &answer.responses {
                let name = topic.name.as_ref().map(ToString::to_string).unwrap_or_default();
                // Asked again, one that is gone was deleted the first time.
                let gone = again && topic.error_code == ErrorCode::UnknownTopicOrPartition.number();
                if is_ok(topic.error_code) || gone {
                    deleted.push(name);
                } else if tries.again_after(topic.error_code) {
                    names.push(name);
                } else {
                    refused.push(Refused::new("topic", &name, topic.error_code, topic.error_message.as_ref(), ""));
                }
            }
            again = true;
        }
        for name in &deleted {
            client.wait_until_seen(|client| match client.topic(name) {
                Err(ClientError::NotFound { .. }) => Ok(true),
                topic => topic.map(|_| false),
            })?;
        }
        if output.is_json() {
            output.document(&Deleted { deleted: &deleted })?;
        } else {
            deleted.iter().for_each(|name| eprintln!("deleted: {name}"));
        }
        Refused::all(refused)
    }
}

/// The wall clock.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis() as i64)
}

/// One thing of several that was refused.
pub struct Refused {
    exit: u8,
    text: String,
}

impl Refused {
    pub fn new(what: &str, name: &str, error_code: i16, message: Option<&Text>, hint: &str) -> Refused {
        let message = message.map(|message| format!(": {message}")).unwrap_or_default();
        let text = format!("{what} {name:?}: {}{message}{hint}", name_of(error_code));
        Refused { exit: exit_of(error_code), text }
    }

    /// All in one; the exit code is the first one's.
    pub fn all(refused: Vec<Refused>) -> Result<(), CommandError> {
        let Some(first) = refused.first() else { return Ok(()) };
        let exit = first.exit;
        let lines: Vec<String> = refused.into_iter().map(|refused| refused.text).collect();
        Err(CommandError::new(exit, lines.join("\npolylog: ")))
    }
}

/// Asks whoever sits there; a script has to say `--yes`.
pub fn confirm(question: &str) -> Result<(), CommandError> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(CommandError::usage(format!("{question} Nobody is there to be asked: say --yes")));
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(()) } else { Err(CommandError::failed("nothing was done")) }
}

/// `1 partition`, `3 partitions`.
pub fn counted(number: u64, one: &str) -> String {
    format!("{number} {one}{}", if number == 1 { "" } else { "s" })
}

/// Brokers of old tell none.
fn id_of(topic: &Topic) -> Option<String> {
    (topic.id != [0; 16]).then(|| base64::write_id(&topic.id))
}

/// The partitions that were asked for, or all.
pub fn chosen_partitions(topic: &Topic, chosen: &[i32]) -> Result<Vec<i32>, ClientError> {
    let known = topic.indexes();
    if chosen.is_empty() {
        return Ok(known);
    }
    match chosen.iter().find(|index| !known.contains(index)) {
        None => Ok(chosen.to_vec()),
        Some(index) => Err(ClientError::NotFound {
            what: "partition",
            name: format!("{}-{index}", topic.name),
            nearest: known.last().map(|last| format!("{}-{last}", topic.name)),
        }),
    }
}
