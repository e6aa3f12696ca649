// SPDX-License-Identifier: Apache-2.0
//! `/v1/groups` and `/v1/groups/{id}`: what the group coordinator knows, with the ends of partitions beside it.
//!
//! Owns: paging, and how a lag is counted. Must not know: how shards are reached (`asker.rs`), what the coordinator does.

use super::Pages;
use super::answer::Refused;
use super::page::Page;
use super::topics;
use crate::asker::Asker;
use crate::client::consumer_protocol::read_assignment;
use crate::node::Node;
use head_kafka::coordinator::GROUPS;
use head_kafka::coordinator::messages::{Answer, Ask, Describe, FetchOffsets, FetchedOffsets, List, ListedGroup};
use head_kafka::wire::{ErrorCode, Text};
use kernel::catalog::{Catalog, Placement, Topic};
use kernel::reply::Described;
use kernel::{Command, Ctx, Reply};
use model::{NamespaceId, ShardId, TopicId};
use ops::api::shapes::{CommittedShape, GroupAnswer, GroupSummary, GroupsAnswer, MemberShape};
use std::sync::Arc;

/// Committed offsets looked at for one answer.
const OFFSETS_MAX: usize = 100_000;

/// A question to the coordinator.
pub fn ask(catalog: &Catalog, ask: &Ask) -> (ShardId, Command) {
    let command = Command::Coordinator { which: GROUPS, input: ask.encode() };
    (catalog.cell(NamespaceId::DEFAULT), command)
}

/// What it answered.
///
/// # Errors
/// It did not.
pub fn answer(reply: Reply) -> Result<Answer, Refused> {
    match reply {
        Reply::Coordinated(outcome) => {
            Answer::decode(outcome?).map_err(|_| Refused::not_now("the group coordinator answered something else"))
        }
        _ => Err(Refused::not_now("the group coordinator answered something else")),
    }
}

/// All groups, by id.
///
/// # Errors
/// Why not.
pub async fn list(asker: &mut Asker, catalog: &Catalog) -> Result<Vec<ListedGroup>, Refused> {
    let (shard, command) = ask(catalog, &Ask::List(List { states: Vec::new(), types: Vec::new() }));
    let Answer::Listed(mut listed) = answer(asker.ask(shard, command).await?)? else {
        return Err(Refused::not_now("the group coordinator answered something else"));
    };
    if listed.error_code != 0 {
        return Err(Refused::not_now("there are too many groups with long names to list them all"));
    }
    listed.groups.sort_by(|a, b| a.group.as_str().cmp(b.group.as_str()));
    Ok(listed.groups)
}

/// Asks for everything that a group has committed.
pub fn ask_offsets(catalog: &Catalog, group: &Text) -> (ShardId, Command) {
    let offsets = FetchOffsets { group: group.clone(), topics: None, member_id: Text::EMPTY, member_epoch: -1 };
    ask(catalog, &Ask::FetchOffsets(offsets))
}

/// A committed offset, and the partition that it is about.
pub struct Committed {
    pub topic: Arc<Topic>,
    pub partition: u32,
    pub place: Placement,
    pub offset: i64,
}

/// The first `max` committed offsets of partitions that exist, and whether those are all.
pub fn committed(catalog: &Catalog, ctx: &Ctx, fetched: &FetchedOffsets, max: usize) -> (Vec<Committed>, bool) {
    let mut found = Vec::new();
    for of_topic in &fetched.topics {
        let Some(topic) = catalog.by_id(ctx, TopicId(of_topic.topic_id)) else { continue };
        for offset in of_topic.partitions.iter().filter(|partition| partition.offset >= 0) {
            let Ok(partition) = u32::try_from(offset.partition) else { continue };
            let Some(place) = topic.partitions.get(partition as usize) else { continue };
            if found.len() == max {
                return (found, false);
            }
            found.push(Committed { topic: topic.clone(), partition, place: *place, offset: offset.offset });
        }
    }
    (found, true)
}

/// Records between what a group has committed and the end. What was trimmed meanwhile is not ahead of anybody.
pub fn lag(committed_offset: i64, figures: &Described) -> u64 {
    let next = u64::try_from(committed_offset).unwrap_or(0).max(figures.start.0);
    figures.high.0.saturating_sub(next)
}

/// A page of all groups.
///
/// # Errors
/// Why not.
pub async fn all(pages: &Pages, node: &Arc<Node>, query: &str) -> Result<GroupsAnswer, Refused> {
    let page = Page::read(query)?;
    let mut turn = pages.turn(node).await?;
    let catalog = node.catalog.load_full();
    let listed = list(&mut turn.asker, &catalog).await?;
    let behind = |group: &&ListedGroup| page.after.as_deref().is_none_or(|after| group.group.as_str() > after);
    let mut groups: Vec<GroupSummary> = listed
        .iter()
        .filter(behind)
        .take(page.limit + 1)
        .map(|group| GroupSummary {
            group_id: group.group.as_str().to_owned(),
            protocol_type: group.protocol_type.as_str().to_owned(),
            state: group.state.as_str().to_owned(),
        })
        .collect();
    let is_last = groups.len() <= page.limit;
    groups.truncate(page.limit);
    let next_after = if is_last { None } else { groups.last().map(|group| group.group_id.clone()) };
    Ok(GroupsAnswer { total: listed.len() as u64, groups, next_after })
}

/// One group.
///
/// # Errors
/// Why not.
pub async fn one(pages: &Pages, node: &Arc<Node>, id: &str) -> Result<GroupAnswer, Refused> {
    let group = Text::from(id);
    let mut turn = pages.turn(node).await?;
    let catalog = node.catalog.load_full();
    let (shard, command) = ask(&catalog, &Ask::Describe(Describe { group: group.clone() }));
    let Answer::Described(described) = answer(turn.asker.ask(shard, command).await?)? else {
        return Err(Refused::not_now("the group coordinator answered something else"));
    };
    match described.error_code {
        0 => {}
        code if code == ErrorCode::GroupIdNotFound.number() => {
            return Err(Refused::missing(format!("there is no group {id:?}")));
        }
        code => return Err(Refused::not_now(format!("the group coordinator answered with error {code}"))),
    }
    let (shard, command) = ask_offsets(&catalog, &group);
    let Answer::FetchedOffsets(fetched) = answer(turn.asker.ask(shard, command).await?)? else {
        return Err(Refused::not_now("the group coordinator answered something else"));
    };
    if fetched.error_code != 0 {
        return Err(Refused::not_now(format!("the group coordinator answered with error {}", fetched.error_code)));
    }
    let (mut committed, offsets_complete) = committed(&catalog, turn.asker.ctx(), &fetched, OFFSETS_MAX);
    committed.sort_by(|a, b| (&a.topic.name, a.partition).cmp(&(&b.topic.name, b.partition)));
    let mut found: Vec<Option<Described>> = vec![None; committed.len()];
    let put = |number: usize, reply| found[number] = topics::figures(reply);
    turn.asker.ask_each(committed.len(), |number| topics::ask(&committed[number].place), put).await?;
    let offsets: Vec<CommittedShape> = committed
        .iter()
        .zip(&found)
        .map(|(committed, figures)| CommittedShape {
            topic: committed.topic.name.to_string(),
            partition: committed.partition,
            committed_offset: committed.offset,
            start_offset: figures.as_ref().map(|figures| figures.start.0),
            end_offset: figures.as_ref().map(|figures| figures.high.0),
            lag: figures.as_ref().map(|figures| lag(committed.offset, figures)),
        })
        .collect();
    Ok(GroupAnswer {
        group_id: id.to_owned(),
        state: described.state.as_str().to_owned(),
        protocol_type: described.protocol_type.as_str().to_owned(),
        protocol_name: described.protocol_name.as_str().to_owned(),
        generation_id: described.generation_id,
        members: described
            .members
            .iter()
            .map(|member| MemberShape {
                member_id: member.member_id.as_str().to_owned(),
                group_instance_id: member.group_instance_id.as_ref().map(|id| id.as_str().to_owned()),
                client_id: member.client_id.as_str().to_owned(),
                client_host: member.client_host.as_str().to_owned(),
                // Made by a client, so it may be anything.
                assigned: read_assignment(member.assignment.clone()).unwrap_or_default(),
            })
            .collect(),
        lag_total: offsets.iter().filter_map(|offset| offset.lag).sum(),
        offsets,
        offsets_complete,
    })
}
