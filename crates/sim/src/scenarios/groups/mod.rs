// SPDX-License-Identifier: Apache-2.0
//! Groups of Kafka consumers on byte streams: the head's coordinator, its sessions, the kernel and the local medium under members
//! that come, go, fall silent, come back and speak out of turn, and under everything that can go wrong below.
//!
//! Owns: who the clients are, time, lives, the end. Members stand in `member.rs`, everybody else in `others.rs`, what is tried in
//! `plan.rs`, what must hold of groups in `judge.rs`; committed offsets are judged by `checker`. Must not know: how requests are
//! encoded (`actors/kafka.rs`) or travel (`service.rs`), how the coordinator works.
//!
//! At the end: heal; every group must come to rest, with one generation and every partition owned once; die once more: every member
//! that comes back in time goes on in its generation; read what is committed; leave, delete the groups, find nothing; judge.

mod judge;
mod member;
mod others;
pub mod plan;

use super::drive::{Checked, Drive, Wired, judge, play};
use super::trouble::Fault;
use super::{Outcome, Setup};
use crate::actors::kafka::{Answer, Line};
use crate::history::{Event, History, Op};
use crate::rng::{Rng, scatter};
use crate::service::Service;
use crate::world::{Death, World};
use bytes::Bytes;
use head_kafka::Settings;
use judge::{Before, Credentials, Judge};
use kafka_protocol::messages::{GroupId, TopicName};
use kafka_protocol::protocol::{Message, Request, StrBytes};
use member::{Member, Phase};
use others::Task;
use plan::{Options, Planned, Step};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

type Uuid = [u8; 16];

/// Runs a seed.
pub fn run(setup: &Setup) -> Outcome {
    let (options, plan) = plan::draw(setup.seed, setup.shard_count);
    play(setup, &options, plan, Run::new(setup, &options), Run::play)
}

/// A partition as its name means it: topic and index.
type Key = (u32, i32);

/// A partition's number for whoever commits by name.
fn number(key: Key) -> u64 {
    u64::from(key.0) * PARTITIONS_MAX + key.1 as u64
}

const PARTITIONS_MAX: u64 = 1000;

fn name_of(topic: u32) -> TopicName {
    TopicName(text(&format!("topic-{topic}")))
}

fn topic_of(name: &str) -> Option<u32> {
    name.strip_prefix("topic-")?.parse().ok()
}

/// Groups of members first, then those of clients without membership.
fn group_name(group: u32) -> GroupId {
    GroupId(text(&format!("group-{group}")))
}

fn group_of(name: &str) -> Option<u32> {
    name.strip_prefix("group-")?.parse().ok()
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A commit under way.
#[derive(Clone, Debug)]
struct Committing {
    who: Credentials,
    before: Before,
    /// When it was sent, in time and counted in forgettings.
    asked_us: u64,
    forgettings: u64,
    parts: Vec<(Key, Op)>,
}

/// A question about committed offsets under way.
#[derive(Clone, Debug)]
struct Recalling {
    group: u32,
    parts: Vec<(Key, Op)>,
    /// What is left out is not committed.
    all: bool,
}

/// What a client noted with a request.
#[derive(Clone, Debug)]
enum Note {
    Versions,
    Metadata,
    Coordinator,
    Join { asked_us: u64, before: Before },
    Sync { who: Credentials, before: Before, asked_us: u64 },
    Heartbeat { who: Credentials, before: Before, asked_us: u64 },
    Commit(Committing),
    Recall(Recalling),
    Leave(Credentials),
    Fetch(Vec<(Key, u64, Op)>),
    Task(Task),
}

enum Kind {
    Member(Member),
    /// Makes topics, administers, produces, commits without membership: one task after another.
    Worker {
        tasks: VecDeque<Task>,
    },
}

/// A client and where it stands.
struct Client {
    kind: Kind,
    /// In the history.
    number: u32,
    link: Option<u64>,
    line: Line<Note>,
    /// Nothing is done before this.
    not_before_us: u64,
    rng: Rng,
}

/// A topic as clients know it.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Every id that it had, the last one the newest seen.
    lives: Vec<Uuid>,
    partitions: i32,
    /// Partitions of every life may lose records by themselves.
    loses: bool,
}

struct Run<'a> {
    world: World,
    options: &'a Options,
    history: History,
    clients: Vec<Client>,
    service: Service,
    judge: Judge,
    /// What the broker speaks, once known.
    spoken: BTreeMap<i16, (i16, i16)>,
    topics: BTreeMap<u32, Known>,
    /// Forgettings sent and not answered; how many began or ended so far.
    forgetting: BTreeSet<Op>,
    forgettings: u64,
    /// Committed for sure, where offsets lapse.
    lapsing: BTreeSet<(u32, Key)>,
    /// What members were told, a group.
    old_words: BTreeMap<u32, Vec<Credentials>>,
    /// No more trouble from here on.
    calm: bool,
    /// Groups are deleted for good: that is repeated until it is done.
    parting: bool,
    /// This group goes on in its generation: nobody has a reason to do otherwise.
    steady: BTreeMap<u32, i32>,
    life_began_us: u64,
}

/// Clients without membership, before the members: maker and administrator, looker, producer, then committers.
const ADMIN: usize = 0;
const LOOKER: usize = 1;
const PRODUCER: usize = 2;
const FIRST_COMMITTER: usize = 3;

/// An answer that takes longer than whatever it waits for, and this, will not come.
const PATIENCE_US: u64 = 10_000_000;

impl<'a> Run<'a> {
    fn new(setup: &Setup, options: &'a Options) -> Run<'a> {
        let storage = &options.storage;
        let mut world = World::new(setup.seed, storage.settings.clone(), storage.knobs.clone());
        world.storm_one_in = storage.storm_one_in;
        world.rival_at_death = storage.odds.swarm.has(Fault::Rival);
        let workers = FIRST_COMMITTER + options.committers as usize;
        let mut clients: Vec<Client> = Vec::new();
        for _ in 0..workers {
            clients.push(Client::new(Kind::Worker { tasks: VecDeque::new() }, clients.len() as u32, setup.seed));
        }
        for (group, members) in (0..).zip(&options.members) {
            for slot in 0..*members {
                let number = clients.len() as u32;
                let is_static = scatter(setup.seed ^ u64::from(number) << 32) % 100 < options.static_percent;
                let instance = is_static.then(|| format!("instance-{slot}"));
                clients.push(Client::new(Kind::Member(Member::new(group, instance)), number, setup.seed));
            }
        }
        let (manners, late) = (options.manners.clone(), storage.odds.swarm.has(Fault::Late));
        Run {
            world,
            options,
            history: History::default(),
            clients,
            service: Service::new(setup.seed, Settings::default(), manners, late, storage.settings.shard_count),
            judge: Judge::default(),
            spoken: BTreeMap::new(),
            topics: BTreeMap::new(),
            forgetting: BTreeSet::new(),
            forgettings: 0,
            lapsing: BTreeSet::new(),
            old_words: BTreeMap::new(),
            calm: false,
            parting: false,
            steady: BTreeMap::new(),
            life_began_us: 0,
        }
    }

    fn play(&mut self, plan: &[(usize, Planned)]) -> Checked {
        if let Some(lapse_ms) = self.options.lapse_ms {
            self.history.push(0, Event::Lapses { after_us: lapse_ms * 1000 });
        }
        self.start()?;
        for topic in 0..self.options.topics {
            self.task(ADMIN, Task::Make { topic });
        }
        self.carry_out(plan)?;
        self.finish()
    }

    fn groups(&self) -> u32 {
        self.options.members.len() as u32 + self.options.committers
    }

    fn member_index(&self, member: u32) -> usize {
        let first = FIRST_COMMITTER + self.options.committers as usize;
        first + member as usize % (self.clients.len() - first)
    }

    fn members(&self) -> impl Iterator<Item = (usize, &Member)> {
        self.clients.iter().enumerate().filter_map(|(index, client)| match &client.kind {
            Kind::Member(member) => Some((index, member)),
            Kind::Worker { .. } => None,
        })
    }

    fn member(&mut self, client: usize) -> Option<&mut Member> {
        match &mut self.clients[client].kind {
            Kind::Member(member) => Some(member),
            Kind::Worker { .. } => None,
        }
    }

    fn task(&mut self, client: usize, task: Task) {
        if let Kind::Worker { tasks } = &mut self.clients[client].kind {
            tasks.push_back(task);
        }
    }

    fn carry(&mut self, step: Step) -> Checked {
        match step {
            Step::Publish { topic, partition, records, bytes } => {
                self.task(PRODUCER, Task::Publish { key: (topic, partition as i32), records, bytes: bytes as usize });
            }
            Step::Commit { member } => {
                let client = self.member_index(member);
                if let Some(member) = self.member(client) {
                    member.commits = true;
                }
            }
            Step::CommitAlone { committer, topic, partition, offset } if self.options.committers > 0 => {
                let committer = committer % self.options.committers;
                let group = self.options.members.len() as u32 + committer;
                let task = Task::Commit { group, key: (topic, partition as i32), offset };
                self.task(FIRST_COMMITTER + committer as usize, task);
            }
            Step::CommitAlone { .. } => {}
            Step::Intrude { group, topic, partition, offset } => {
                self.task(LOOKER, Task::Commit { group, key: (topic, partition as i32), offset });
            }
            Step::Stale { group, back, use_for } => self.task(LOOKER, Task::Stale { group, back, use_for }),
            Step::Leave { member, away_ms } => {
                let client = self.member_index(member);
                if let Some(member) = self.member(client) {
                    member.leaves_for_us = Some(away_ms * 1000);
                }
            }
            Step::Vanish { member, away_ms } => {
                let client = self.member_index(member);
                self.vanish(client, away_ms * 1000);
            }
            Step::Rejoin { member } => {
                let client = self.member_index(member);
                if let Some(member) = self.member(client) {
                    member.rejoins = true;
                }
            }
            Step::Replace { member } => {
                let client = self.member_index(member);
                if self.member(client).is_some_and(|member| member.instance.is_some()) {
                    self.vanish(client, 0);
                }
            }
            Step::Recall { group, all } => {
                let group = group % self.groups();
                self.task(LOOKER, Task::Recall { group, all });
            }
            Step::List => self.task(LOOKER, Task::List),
            Step::Describe { group } => self.task(LOOKER, Task::Describe { group }),
            Step::DeleteGroup { group } => {
                let group = group % self.groups();
                self.task(ADMIN, Task::DeleteGroup { group });
            }
            Step::DeleteOffset { group, topic, partition } => {
                let group = group % self.groups();
                self.task(ADMIN, Task::DeleteOffset { group, key: (topic, partition as i32) });
            }
            Step::Renew { topic } => {
                self.task(ADMIN, Task::Remove { topic });
                self.task(ADMIN, Task::Make { topic });
            }
            Step::AddPartition { topic } => self.task(ADMIN, Task::AddPartition { topic }),
            Step::Alter { topic, retention_ms } => self.task(ADMIN, Task::Alter { topic, retention_ms }),
            Step::Trim { topic, partition, offset } => {
                self.task(ADMIN, Task::Trim { key: (topic, partition as i32), offset });
            }
            Step::Cut { client, half_open } => {
                let client = client as usize % self.clients.len();
                self.cut(client, half_open);
            }
            Step::Trouble(trouble) => self.suffer(trouble)?,
        }
        Ok(())
    }

    // The clients' end.

    /// No answer may take longer: a rebalance, of which a silent member may be part, and some patience with the disk.
    fn limit_us(&self) -> u64 {
        2 * (self.options.session_timeout_ms + self.options.rebalance_timeout_ms) * 1000 + PATIENCE_US
    }

    /// While less than this has passed since a member's word was taken, it is a member.
    fn grace_us(&self) -> u64 {
        self.options.session_timeout_ms.min(self.options.rebalance_timeout_ms) * 1000
    }

    /// Nobody will tell.
    fn unanswered(&mut self, client: usize, note: Note) {
        let now_us = self.world.clock.us();
        match note {
            Note::Commit(commit) => {
                for (_, op) in commit.parts {
                    self.history.push(now_us, Event::CommitInfo { op });
                }
            }
            Note::Recall(recall) => {
                for (_, op) in recall.parts {
                    self.history.push(now_us, Event::RecallFail { op });
                }
            }
            Note::Fetch(reads) => {
                for (_, _, op) in reads {
                    self.history.push(now_us, Event::ReadFail { op });
                }
            }
            Note::Task(task) => self.task_unanswered(client, task),
            _ => {}
        }
    }

    /// Sends a request in a version that both sides know. `None`: the broker does not speak it at all.
    fn version<R: Request + Message>(&mut self, client: usize, lowest: i16, highest: i16) -> Option<i16> {
        let (min, max) = self.spoken.get(&R::KEY).copied()?;
        let min = min.max(R::VERSIONS.min).max(lowest);
        let max = max.min(R::VERSIONS.max).min(highest);
        (min <= max).then(|| min + self.clients[client].rng.below((max - min + 1) as u64) as i16)
    }

    fn ask<R: Request>(&mut self, client: usize, version: i16, request: &R, note: Note) {
        let now_us = self.world.clock.us();
        let Some(id) = self.clients[client].link else { return };
        self.world.clock.note(
            45,
            [id, R::KEY as u64, version as u64],
            format_args!("client {client} asks {} v{version}: {note:?}", R::KEY),
        );
        let bytes: Bytes = self.clients[client].line.ask(now_us, version, request, note);
        self.service.send(&self.world, id, bytes);
    }

    // The end.

    fn finish(&mut self) -> Checked {
        self.world.heal();
        self.service.heal();
        self.calm = true;
        for client in 0..self.clients.len() {
            if let Some(member) = self.member(client) {
                member.come_back();
            }
        }
        if !self.spoken.is_empty() && !self.speaks_groups() {
            return Ok(());
        }
        self.settle()?;
        if let Some(death) = self.options.storage.last_death {
            self.hold_steady();
            self.die(death)?;
            self.run_for(2 * self.options.session_timeout_ms * 1000)?;
            self.steady.clear();
            self.settle()?;
        }
        self.history.push(self.world.clock.us(), Event::Drain);
        self.look_at_all()?;
        for client in 0..self.clients.len() {
            if let Some(member) = self.member(client) {
                member.leaves_for_us = Some(u64::MAX / 2);
            }
        }
        let quiet_us = (self.options.session_timeout_ms + self.options.rebalance_timeout_ms) * 1000;
        self.run_for(quiet_us)?;
        self.come_to_pass("members leave", |run| run.members().all(|(_, member)| member.phase == Phase::Away))?;
        self.parting = true;
        for group in 0..self.groups() {
            self.task(ADMIN, Task::DeleteGroup { group });
        }
        self.come_to_pass("groups are deleted", Run::no_tasks)?;
        self.look_at_all()?;
        self.task(LOOKER, Task::List);
        self.come_to_pass("groups are listed", Run::no_tasks)?;
        self.world.note_figures();
        judge(&self.history, false, &mut self.world.sightings)
    }

    fn speaks_groups(&self) -> bool {
        [8, 9, 11, 12, 13, 14].iter().all(|key| self.spoken.contains_key(key))
    }

    fn look_at_all(&mut self) -> Checked {
        for group in 0..self.groups() {
            self.task(LOOKER, Task::Recall { group, all: false });
            self.task(LOOKER, Task::Recall { group, all: true });
            self.task(LOOKER, Task::Describe { group });
        }
        self.task(LOOKER, Task::List);
        self.come_to_pass("everything is looked at", Run::no_tasks)
    }

    fn no_tasks(&self) -> bool {
        self.clients.iter().all(|client| match &client.kind {
            Kind::Worker { tasks } => tasks.is_empty() && client.line.open() == 0,
            Kind::Member(_) => true,
        })
    }

    /// Everything is done and every group is at rest.
    fn settle(&mut self) -> Checked {
        self.come_to_pass("groups come to rest", |run| run.no_tasks() && run.unrest().is_none())
    }

    fn come_to_pass(&mut self, what: &str, done: impl Fn(&Run<'a>) -> bool) -> Checked {
        self.wait(20_000, 2 * self.limit_us(), |run| {
            let why = || run.unrest().unwrap_or_else(|| "a client has not finished".into());
            (!done(run)).then(|| format!("it does not come to pass that {what}: {}", why()))
        })
    }

    /// Why some group is not at rest: all its members in one generation and heard of late, every partition that its leader knew
    /// with one owner.
    fn unrest(&self) -> Option<String> {
        let (now_us, grace_us) = (self.world.clock.us(), self.grace_us());
        for group in 0..self.options.members.len() as u32 {
            let members: Vec<(usize, &Member)> =
                self.members().filter(|(_, member)| member.group == group && member.present()).collect();
            let Some((_, first)) = members.first() else { continue };
            for (client, member) in &members {
                if member.phase != Phase::Stable || member.generation() != first.generation() {
                    return Some(format!(
                        "client {client} of group {group} is {:?} in generation {}, another in {}",
                        member.phase,
                        member.generation(),
                        first.generation()
                    ));
                }
                // One that waits on a connection that died in silence believes to be there, and may long have been given up.
                if !member.answered_since(now_us.saturating_sub(grace_us)) {
                    return Some(format!("client {client} of group {group} has not been heard of for long"));
                }
                if member.handed != first.handed {
                    return Some(format!("client {client} of group {group} has another leader's assignment"));
                }
            }
            let owned: Vec<Key> = members.iter().flat_map(|(_, member)| member.owned.keys().copied()).collect();
            let Some((_, all)) = first.handed else { return Some(format!("group {group} has no assignment")) };
            if owned.len() != all as usize || owned.iter().collect::<BTreeSet<_>>().len() != owned.len() {
                return Some(format!("of {all} partitions of group {group} owned are {owned:?}"));
            }
        }
        None
    }

    /// From here on members have no reason to change their generation. Where one has just vanished, its coming back is one.
    fn hold_steady(&mut self) {
        let soon_us = self.world.clock.us() + 2 * self.options.session_timeout_ms * 1000;
        for group in 0..self.options.members.len() as u32 {
            if self.members().any(|(_, member)| member.group == group && member.comes_back_before(soon_us)) {
                continue;
            }
            let generation = self
                .members()
                .find(|(_, member)| member.group == group && member.present())
                .map(|(_, it)| it.generation());
            if let Some(generation) = generation {
                self.world.sightings.saw("group held steady over a restart");
                self.steady.insert(group, generation);
            }
        }
        for client in 0..self.clients.len() {
            if let Some(member) = self.member(client) {
                member.rejoins = false;
                member.leaves_for_us = None;
            }
        }
    }
}

impl Wired for Run<'_> {
    type Step = Step;
    type Note = Note;

    fn world(&mut self) -> &mut World {
        &mut self.world
    }

    fn take_history(&mut self) -> History {
        std::mem::take(&mut self.history)
    }

    fn step(&mut self, step: Step) -> Checked {
        self.carry(step)
    }

    fn wire(&mut self) -> (&mut Service, &mut World) {
        (&mut self.service, &mut self.world)
    }

    fn client_count(&self) -> usize {
        self.clients.len()
    }

    fn end_of(&mut self, client: usize) -> (Option<u64>, &mut Line<Note>) {
        let client = &mut self.clients[client];
        (client.link, &mut client.line)
    }

    fn act_as(&mut self, client: usize) -> Result<bool, String> {
        let now_us = self.world.clock.us();
        let busy = self.hear(client)?;
        let state = &self.clients[client];
        if state.not_before_us > now_us {
            return Ok(busy);
        }
        if let Some(since) = state.line.waiting_since_us()
            && since.max(self.world.paused_until_us()) + self.limit_us() <= now_us
        {
            let open = state.line.first_note().map(|note| format!("{note:?}")).unwrap_or_default();
            if state.link.is_some_and(|id| self.service.whole(id)) {
                return Err(format!("stuck: client {client} waits since {since} us for the answer to {open}"));
            }
            self.cut(client, false);
            return Ok(true);
        }
        if state.line.open() > 0 {
            return Ok(busy);
        }
        let wants = match &self.clients[client].kind {
            Kind::Member(member) => member.wants(now_us),
            Kind::Worker { tasks } => !tasks.is_empty(),
        };
        if !wants {
            return Ok(busy);
        }
        if self.clients[client].link.is_none() {
            self.clients[client].link = Some(self.service.open(&self.world, client));
        }
        if self.spoken.is_empty() {
            self.ask_versions(client);
            return Ok(true);
        }
        let did = match &self.clients[client].kind {
            Kind::Member(_) => self.be_a_member(client)?,
            Kind::Worker { .. } => self.work(client)?,
        };
        Ok(busy || did)
    }

    fn answered(&mut self, client: usize, note: Note, answer: Answer) -> Checked {
        self.world.clock.note(46, [client as u64, 0, 0], format_args!("client {client} hears {answer:?}"));
        match (note, answer) {
            (Note::Versions, Answer::Versions(versions)) => {
                if versions.error_code != 0 || versions.api_keys.is_empty() {
                    return Err(format!("ApiVersions answered {versions:?}"));
                }
                let keys = versions.api_keys.iter().map(|key| (key.api_key, (key.min_version, key.max_version)));
                self.spoken = keys.collect();
                Ok(())
            }
            (Note::Metadata, Answer::Metadata(metadata)) => self.learnt(client, &metadata),
            (Note::Coordinator, Answer::Coordinator(found)) => self.found_coordinator(client, &found),
            (Note::Join { asked_us, before }, Answer::Joined(joined)) => self.joined(client, asked_us, before, &joined),
            (Note::Sync { who, before, asked_us }, Answer::Synced(synced)) => {
                self.synced(client, who, before, asked_us, &synced)
            }
            (Note::Heartbeat { who, before, asked_us }, Answer::Beaten(beaten)) => {
                self.beaten(client, who, before, asked_us, beaten.error_code)
            }
            (Note::Commit(commit), Answer::Committed(committed)) => self.committed(client, commit, &committed),
            (Note::Recall(recall), Answer::Recalled(recalled)) => self.recalled(client, recall, &recalled),
            (Note::Leave(who), Answer::Left(left)) => self.left(client, who, &left),
            (Note::Fetch(reads), Answer::Fetched(fetched)) => self.fetched(client, reads, &fetched),
            (Note::Task(task), answer) => self.task_answered(client, task, answer),
            (note, answer) => Err(format!("{note:?} was answered with {answer:?}")),
        }
    }

    fn lost(&mut self, client: usize) {
        let now_us = self.world.clock.us();
        let Some(id) = self.clients[client].link.take() else { return };
        self.service.forget(&self.world, id, client);
        while let Some(note) = self.clients[client].line.forget_last() {
            self.unanswered(client, note);
        }
        let state = &mut self.clients[client];
        state.line = Line::default();
        state.not_before_us = state.not_before_us.max(now_us + state.rng.magnitude(14));
        if let Kind::Member(member) = &mut state.kind {
            member.disconnected();
        }
    }

    fn due_after(&self, now_us: u64) -> Option<u64> {
        let clients = self.clients.iter().filter_map(|client| client.due_us(self.limit_us()));
        self.service.dues().chain(clients).filter(|due| *due > now_us).min()
    }

    fn died(&mut self, death: Death) {
        let now_us = self.world.clock.us();
        self.history.push(now_us, Event::Restart { power_lost: death == Death::Power });
        let moving = self.members().any(|(_, member)| matches!(member.phase, Phase::Joining | Phase::Joined));
        self.world.sightings.saw_if(moving, "death during a rebalance");
        self.judge.restarted();
        self.forgetting.clear();
        self.forgettings += 1;
    }

    fn begun_again(&mut self) {
        self.life_began_us = self.world.clock.us();
    }
}

impl Client {
    fn new(kind: Kind, number: u32, seed: u64) -> Client {
        let rng = Rng::of(seed, 2000 + u64::from(number));
        Client { kind, number, link: None, line: Line::default(), not_before_us: 0, rng }
    }

    fn due_us(&self, limit_us: u64) -> Option<u64> {
        if let Some(since) = self.line.waiting_since_us() {
            return Some(since + limit_us);
        }
        match &self.kind {
            Kind::Member(member) => member.due_us().map(|due| due.max(self.not_before_us)),
            Kind::Worker { tasks } => (!tasks.is_empty()).then_some(self.not_before_us),
        }
    }
}
