// SPDX-License-Identifier: Apache-2.0
//! `polylog group`: which consumer groups there are, how far behind they are, setting them back or forth, deleting them.
//!
//! JSON: `list` and `describe` {"groups": […]} as [`Listed`] and [`Described`] say, `reset` {group, executed, offsets: [{topic,
//! partition, from_offset, to_offset}]}, `delete` {"deleted": [group]}.

use super::broker::Broker;
use super::consume::resolve;
use super::moment::{Place, read_duration_ms, read_time};
use super::outcome::CommandError;
use super::output::{Column, Output, Table, plain, shown};
use super::topic::{Refused, chosen_partitions, confirm, counted, now_ms};
use crate::client::consumer_protocol::{Assigned, read_assignment};
use crate::client::groups::{self, Committer};
use crate::client::refusal::ClientError;
use crate::client::topics::Topic;
use crate::client::{Client, is_ok};
use clap::{Args, Subcommand};
use head_kafka::wire::ErrorCode;
use head_kafka::wire::messages::describe_groups::DescribedGroupMember;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Subcommand, Debug)]
pub enum GroupCommand {
    /// Lists the groups
    List(List),
    /// Shows members, what they are assigned, and how far behind the group is
    Describe(Describe),
    /// Sets what a group without members has committed; shows it only, unless --execute is given
    Reset(Box<Reset>),
    /// Deletes groups without members, with what they have committed
    Delete(Delete),
}

#[derive(Args, Debug)]
pub struct List {
    /// Only groups in one of these states, such as stable,empty
    #[arg(long, value_name = "STATES", value_delimiter = ',')]
    state: Vec<String>,
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
pub struct Reset {
    #[arg(value_name = "NAME")]
    name: String,
    /// A topic, or some of its partitions; may be given several times [default: all that the group has committed]
    #[arg(long = "topic", short, value_name = "TOPIC[:0,1]")]
    topics: Vec<String>,
    #[command(flatten)]
    target: Target,
    /// Do it
    #[arg(long)]
    execute: bool,
    #[command(flatten)]
    broker: Broker,
}

#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Target {
    /// To the first record there is
    #[arg(long)]
    to_earliest: bool,
    /// To the end: what is there already is not read
    #[arg(long)]
    to_latest: bool,
    #[arg(long, value_name = "OFFSET", value_parser = clap::value_parser!(i64).range(0..))]
    to_offset: Option<i64>,
    /// To the first record at or after a time, such as 2026-11-25T08:00:00Z
    #[arg(long, value_name = "TIME")]
    to_time: Option<String>,
    /// To the first record not older than this, such as 2h
    #[arg(long, value_name = "DURATION")]
    by_duration: Option<String>,
    /// So many records forth, or back if negative
    #[arg(long, value_name = "RECORDS", allow_hyphen_values = true)]
    shift_by: Option<i64>,
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

impl GroupCommand {
    pub fn run(&self) -> Result<(), CommandError> {
        match self {
            GroupCommand::List(list) => list.run(),
            GroupCommand::Describe(describe) => describe.run(),
            GroupCommand::Reset(reset) => reset.run(),
            GroupCommand::Delete(delete) => delete.run(),
        }
    }
}

/// The document of every command that speaks of groups.
#[derive(Serialize)]
struct Groups<'a, T> {
    groups: &'a [T],
}

#[derive(Serialize)]
struct Listed {
    group: String,
    state: String,
    /// classic, consumer, share; empty where an older broker does not tell.
    #[serde(rename = "type")]
    kind: String,
    protocol_type: String,
}

impl List {
    fn run(&self) -> Result<(), CommandError> {
        let mut client = self.broker.connect()?;
        let mut output = Output::new(self.broker.json);
        // `PreparingRebalance`, `preparing-rebalance`: whoever writes either means this one.
        let plain = |state: &str| state.replace(['-', '_', ' '], "").to_ascii_lowercase();
        let wanted: Vec<String> = self.state.iter().map(|state| plain(state)).collect();
        let groups: Vec<Listed> = client
            .groups()?
            .into_iter()
            .filter(|group| wanted.is_empty() || wanted.contains(&plain(group.group_state.as_str())))
            .map(|group| Listed {
                group: group.group_id.to_string(),
                state: group.group_state.to_string(),
                kind: group.group_type.to_string(),
                protocol_type: group.protocol_type.to_string(),
            })
            .collect();
        if output.is_json() {
            return output.document(&Groups { groups: &groups });
        }
        let mut table = Table::new(&[Column::Text("GROUP"), Column::Text("STATE"), Column::Text("TYPE")]);
        for group in groups {
            table.row([group.group, group.state, group.kind]);
        }
        output.text(&table.to_text())?;
        output.flush()
    }
}

#[derive(Serialize)]
struct Described {
    group: String,
    state: String,
    protocol_type: String,
    /// How partitions are assigned, in the group's own words.
    protocol: String,
    coordinator: i32,
    members: Vec<DescribedMember>,
    offsets: Vec<DescribedOffset>,
}

#[derive(Serialize)]
struct DescribedMember {
    member: String,
    instance: Option<String>,
    client: String,
    host: String,
    assigned: Vec<AssignedTopic>,
}

#[derive(Serialize)]
struct AssignedTopic {
    topic: String,
    partitions: Vec<i32>,
}

#[derive(Serialize)]
struct DescribedOffset {
    topic: String,
    partition: i32,
    /// Null: nothing is committed.
    committed_offset: Option<i64>,
    /// Null: the topic is gone.
    end_offset: Option<i64>,
    lag: Option<i64>,
    /// Who reads it.
    member: Option<String>,
}

impl Describe {
    fn run(&self) -> Result<(), CommandError> {
        let mut client = self.broker.connect()?;
        let mut output = Output::new(self.broker.json);
        let mut described = Vec::new();
        for name in &self.names {
            described.push(describe(&mut client, name)?);
        }
        output.document_or_texts(&Groups { groups: &described }, described.iter().map(Described::to_text))
    }
}

fn describe(client: &mut Client, name: &str) -> Result<Described, CommandError> {
    let Some(group) = client.group(name)? else { return Err(client.no_group(name).into()) };
    let mut members: Vec<DescribedMember> = group.members.iter().map(described_member).collect();
    members.sort_by(|a, b| a.member.cmp(&b.member));
    let mut owners: BTreeMap<groups::Place, String> = BTreeMap::new();
    for member in &members {
        for assigned in &member.assigned {
            for partition in &assigned.partitions {
                owners.insert((assigned.topic.clone(), *partition), member.member.clone());
            }
        }
    }
    let committed = client.committed(name)?;
    let mut places: Vec<&groups::Place> = committed.keys().chain(owners.keys()).collect();
    places.sort();
    places.dedup();
    let mut ends: BTreeMap<String, BTreeMap<i32, (i64, i64)>> = BTreeMap::new();
    for (topic, _) in &places {
        if !ends.contains_key(topic) {
            ends.insert(topic.clone(), bounds_if_there(client, topic)?);
        }
    }
    let offsets = places
        .into_iter()
        .map(|place| {
            let committed_offset = committed.get(place).map(|found| found.committed_offset);
            let end_offset = ends.get(&place.0).and_then(|ends| ends.get(&place.1)).map(|bounds| bounds.1);
            DescribedOffset {
                topic: place.0.clone(),
                partition: place.1,
                committed_offset,
                end_offset,
                lag: end_offset.zip(committed_offset).map(|(end, committed)| (end - committed).max(0)),
                member: owners.get(place).cloned(),
            }
        })
        .collect();
    Ok(Described {
        group: name.to_owned(),
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
        protocol: group.protocol_data.to_string(),
        coordinator: client.coordinator(name)?,
        members,
        offsets,
    })
}

fn described_member(member: &DescribedGroupMember) -> DescribedMember {
    // Groups of other kinds than consumers put other things there.
    let assigned: Assigned = read_assignment(member.member_assignment.clone()).unwrap_or_default();
    DescribedMember {
        member: member.member_id.to_string(),
        instance: member.group_instance_id.as_ref().map(ToString::to_string),
        client: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assigned: assigned.into_iter().map(|(topic, partitions)| AssignedTopic { topic, partitions }).collect(),
    }
}

/// Nothing for a topic that is gone.
fn bounds_if_there(client: &mut Client, topic: &str) -> Result<BTreeMap<i32, (i64, i64)>, ClientError> {
    match client.topic(topic) {
        Ok(topic) => client.bounds(&topic),
        Err(ClientError::NotFound { .. }) => Ok(BTreeMap::new()),
        Err(error) => Err(error),
    }
}

impl Described {
    fn to_text(&self) -> String {
        let mut text = format!("group        {}\nstate        {}\n", plain(&self.group), self.state);
        let protocol = [self.protocol_type.as_str(), self.protocol.as_str()];
        let protocol: Vec<&str> = protocol.into_iter().filter(|word| !word.is_empty()).collect();
        if !protocol.is_empty() {
            text.push_str(&format!("protocol     {}\n", plain(&protocol.join(", "))));
        }
        text.push_str(&format!("coordinator  {}\n", self.coordinator));
        if !self.members.is_empty() {
            let mut table = Table::new(&[
                Column::Text("MEMBER"),
                Column::Text("CLIENT"),
                Column::Text("HOST"),
                Column::Text("ASSIGNED"),
            ]);
            for member in &self.members {
                let topics = member.assigned.iter().map(|assigned| {
                    let partitions: Vec<String> = assigned.partitions.iter().map(ToString::to_string).collect();
                    format!("{}:{}", assigned.topic, partitions.join(","))
                });
                let assigned = topics.collect::<Vec<_>>().join(" ");
                table.row([member.member.clone(), member.client.clone(), member.host.clone(), assigned]);
            }
            text.push_str(&format!("\n{}", table.to_text()));
        }
        if !self.offsets.is_empty() {
            let mut table = Table::new(&[
                Column::Text("TOPIC"),
                Column::Number("PARTITION"),
                Column::Number("COMMITTED"),
                Column::Number("END"),
                Column::Number("LAG"),
                Column::Text("MEMBER"),
            ]);
            for offset in &self.offsets {
                table.row([
                    offset.topic.clone(),
                    offset.partition.to_string(),
                    shown(offset.committed_offset),
                    shown(offset.end_offset),
                    shown(offset.lag),
                    offset.member.clone().unwrap_or_else(|| "-".to_owned()),
                ]);
            }
            text.push_str(&format!("\n{}", table.to_text()));
        }
        text
    }
}

/// Where a partition is set to.
enum Aim {
    Place(Place),
    ShiftBy(i64),
}

#[derive(Serialize)]
struct ResetDone {
    group: String,
    executed: bool,
    offsets: Vec<ResetOffset>,
}

#[derive(Serialize)]
struct ResetOffset {
    topic: String,
    partition: i32,
    /// Null: nothing was committed.
    from_offset: Option<i64>,
    to_offset: i64,
}

impl Reset {
    fn run(&self) -> Result<(), CommandError> {
        let aim = self.target.aim()?;
        let mut client = self.broker.connect()?;
        let mut output = Output::new(self.broker.json);
        match client.group(&self.name)? {
            Some(group) if !group.members.is_empty() || group.group_state.as_str() != "Empty" => {
                return Err(CommandError::failed(format!(
                    "group {:?} is in use ({}, {}): stop its members first, they would overwrite what is set here",
                    self.name,
                    group.group_state,
                    counted(group.members.len() as u64, "member")
                )));
            }
            Some(_) => {}
            None if self.topics.is_empty() => return Err(client.no_group(&self.name).into()),
            None => eprintln!("polylog: there is no group {:?} yet; with --execute there is", self.name),
        }
        let committed = client.committed(&self.name)?;
        let mut offsets = Vec::new();
        for (topic, partitions) in self.chosen(&mut client, &committed)? {
            let current =
                |partition: &i32| committed.get(&(topic.name.clone(), *partition)).map(|found| found.committed_offset);
            let bounds = client.bounds(&topic)?;
            let targets = match aim {
                Aim::Place(place) => resolve(&mut client, &topic, &partitions, place, &bounds)?,
                Aim::ShiftBy(count) => {
                    let mut targets = BTreeMap::new();
                    for partition in &partitions {
                        let Some(current) = current(partition) else {
                            return Err(CommandError::failed(format!(
                                "nothing is committed for {}-{partition} that could be shifted: name a place",
                                topic.name
                            )));
                        };
                        targets.insert(*partition, current.saturating_add(count));
                    }
                    targets
                }
            };
            for (partition, target) in targets {
                let (start, end) = bounds.get(&partition).copied().unwrap_or_default();
                let to_offset = target.clamp(start, end);
                if to_offset != target {
                    eprintln!("polylog: {}-{partition} has offsets {start} to {end}: {to_offset} is taken", topic.name);
                }
                offsets.push(ResetOffset {
                    topic: topic.name.clone(),
                    partition,
                    from_offset: current(&partition),
                    to_offset,
                });
            }
        }
        if self.execute {
            let wanted =
                offsets.iter().map(|offset| ((offset.topic.clone(), offset.partition), offset.to_offset)).collect();
            let error_code = client.commit(&self.name, &Committer::default(), &wanted)?;
            if error_code == ErrorCode::UnknownMemberId.number() {
                return Err(CommandError::failed(format!(
                    "group {:?} has members again: stop them first, nothing was set",
                    self.name
                )));
            }
            if !is_ok(error_code) {
                return Err(
                    ClientError::refused(format!("setting offsets of group {:?}", self.name), error_code).into()
                );
            }
        }
        self.show(&mut output, offsets)
    }

    fn show(&self, output: &mut Output, offsets: Vec<ResetOffset>) -> Result<(), CommandError> {
        if output.is_json() {
            return output.document(&ResetDone { group: self.name.clone(), executed: self.execute, offsets });
        }
        let mut table = Table::new(&[
            Column::Text("TOPIC"),
            Column::Number("PARTITION"),
            Column::Number("FROM"),
            Column::Number("TO"),
        ]);
        for offset in offsets {
            let from = shown(offset.from_offset);
            table.row([offset.topic, offset.partition.to_string(), from, offset.to_offset.to_string()]);
        }
        output.text(&table.to_text())?;
        output.flush()?;
        if !self.execute {
            eprintln!("polylog: nothing was changed: --execute does it");
        }
        Ok(())
    }

    /// The partitions that are meant, by topic.
    fn chosen(
        &self,
        client: &mut Client,
        committed: &BTreeMap<groups::Place, impl Sized>,
    ) -> Result<Vec<(Topic, Vec<i32>)>, CommandError> {
        let mut wanted: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for text in &self.topics {
            let (topic, partitions) = read_partitions(text)?;
            wanted.entry(topic).or_default().extend(partitions);
        }
        if self.topics.is_empty() {
            for (topic, partition) in committed.keys() {
                wanted.entry(topic.clone()).or_default().push(*partition);
            }
            if wanted.is_empty() {
                return Err(CommandError::failed(format!(
                    "group {:?} has nothing committed: say what is meant with --topic",
                    self.name
                )));
            }
        }
        let mut chosen = Vec::new();
        for (name, partitions) in wanted {
            let topic = match client.topic(&name) {
                // What was committed for a topic that is gone cannot be set to a place in it.
                Err(ClientError::NotFound { .. }) if self.topics.is_empty() => {
                    eprintln!("polylog: topic {name:?} is gone and is passed over");
                    continue;
                }
                topic => topic?,
            };
            let partitions = chosen_partitions(&topic, &partitions)?;
            chosen.push((topic, partitions));
        }
        Ok(chosen)
    }
}

impl Target {
    fn aim(&self) -> Result<Aim, CommandError> {
        Ok(if self.to_earliest {
            Aim::Place(Place::Earliest)
        } else if self.to_latest {
            Aim::Place(Place::Latest)
        } else if let Some(offset) = self.to_offset {
            Aim::Place(Place::Offset(offset))
        } else if let Some(time) = &self.to_time {
            Aim::Place(Place::Time(read_time(time, now_ms()).map_err(CommandError::usage)?))
        } else if let Some(duration) = &self.by_duration {
            Aim::Place(Place::Time(now_ms() - read_duration_ms(duration).map_err(CommandError::usage)?))
        } else {
            Aim::ShiftBy(self.shift_by.unwrap_or(0))
        })
    }
}

/// `TOPIC` or `TOPIC:0,1`.
fn read_partitions(text: &str) -> Result<(String, Vec<i32>), CommandError> {
    let Some((topic, numbers)) = text.split_once(':') else { return Ok((text.to_owned(), Vec::new())) };
    let numbers: Result<Vec<i32>, _> = numbers.split(',').map(str::parse).collect();
    match numbers {
        Ok(numbers) => Ok((topic.to_owned(), numbers)),
        Err(_) => Err(CommandError::usage(format!("{text:?} is no TOPIC or TOPIC:0,1"))),
    }
}

impl Delete {
    fn run(&self) -> Result<(), CommandError> {
        let mut client = self.broker.connect()?;
        let mut output = Output::new(self.broker.json);
        for name in &self.names {
            if client.group(name)?.is_none() {
                return Err(client.no_group(name).into());
            }
        }
        if !self.yes {
            confirm(&format!("Delete {} and what was committed?", self.names.join(", ")))?;
        }
        let mut deleted = Vec::new();
        let mut refused = Vec::new();
        for name in &self.names {
            let error_code = client.delete_group(name)?;
            if is_ok(error_code) {
                deleted.push(name.clone());
            } else {
                let in_use = error_code == ErrorCode::NonEmptyGroup.number();
                let hint = if in_use { ": it has members, stop them first" } else { "" };
                refused.push(Refused::new("group", name, error_code, None, hint));
            }
        }
        if output.is_json() {
            #[derive(Serialize)]
            struct Deleted {
                deleted: Vec<String>,
            }
            output.document(&Deleted { deleted })?;
        } else {
            deleted.iter().for_each(|name| eprintln!("deleted: {name}"));
        }
        Refused::all(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_and_their_partitions_are_read() {
        assert_eq!(read_partitions("t"), Ok(("t".to_owned(), Vec::new())));
        assert_eq!(read_partitions("t:0,12"), Ok(("t".to_owned(), vec![0, 12])));
        assert!(read_partitions("t:").is_err());
        assert!(read_partitions("t:a").is_err());
    }
}
