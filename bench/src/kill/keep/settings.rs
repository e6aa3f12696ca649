// SPDX-License-Identifier: Apache-2.0
//! Keeps settings of the broker and of a group, and asks for everything that a broker says about itself.
//!
//! The rules, over every fault: a setting stands as it was acknowledged; cluster id, broker and the list of requests that are spoken
//! never change; no producer id is given twice; nothing is ever being moved, led by another, or put elsewhere, whatever was asked.

use super::super::shared::{Shared, TOPIC};
use super::{Keeper, Told, told};
use crate::wire::admin::{Change, DescribedCluster, Resource};
use crate::wire::{Code, Connection, WireError};
use sim::rng::Rng;
use std::collections::BTreeMap;

/// Resource, its setting, and the values that it takes. None of them changes what the others of a rig see.
const REGISTERS: [(Resource, &str, std::ops::Range<u64>); 2] = [
    (Resource::Broker, "background.threads", 1..100),
    (Resource::Group, "consumer.session.timeout.ms", 45_000..60_000),
];

struct Register {
    kind: Resource,
    name: String,
    setting: &'static str,
    values: std::ops::Range<u64>,
    value: Option<String>,
    /// What it is if the change that nobody told about was done.
    or: Option<Option<String>>,
}

/// What never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Constants {
    cluster: DescribedCluster,
    versions: Vec<(i16, i16, i16)>,
    quorum_leader: i32,
    coordinator: i32,
}

/// See the module.
pub struct Settings {
    registers: Vec<Register>,
    constants: Option<Constants>,
}

impl Settings {
    pub fn new(named: u32) -> Settings {
        let register = |(kind, setting, values)| Register {
            kind,
            // All brokers; a group of ours.
            name: if kind == Resource::Broker { String::new() } else { format!("configured-{named}") },
            setting,
            values,
            value: None,
            or: None,
        };
        Settings { registers: REGISTERS.into_iter().map(register).collect(), constants: None }
    }
}

impl Keeper for Settings {
    fn look(&mut self, connection: &mut Connection, shared: &Shared) -> Result<(), WireError> {
        for register in &mut self.registers {
            register.look(connection, shared, self.constants.is_none())?;
        }
        let constants = Constants {
            cluster: connection.describe_cluster()?,
            versions: connection.api_versions()?,
            quorum_leader: connection.describe_quorum()?,
            coordinator: connection.find_coordinator("anybody")?,
        };
        match &self.constants {
            Some(known) if *known != constants => {
                shared.broken(format!("the broker says that it is {constants:?}, it was {known:?}"));
            }
            _ => self.constants = Some(constants),
        }
        let (topics, _) = connection.metadata_of_all()?;
        let in_log_dirs = connection.describe_log_dirs()?;
        if topics == 0 || in_log_dirs == 0 {
            shared.broken(format!("there are {topics} topics, {in_log_dirs} of them in log directories"));
        }
        let moving = connection.list_partition_reassignments()?;
        if moving > 0 {
            shared.broken(format!("{moving} topics are being moved"));
        }
        connection.list_config_resources().map(drop)
    }

    fn change(&mut self, connection: &mut Connection, shared: &Shared, rng: &mut Rng) -> Result<(), WireError> {
        match rng.below(10) {
            0 => {
                let (id, _) = connection.init_producer_id()?;
                shared.producer_given(id);
            }
            1 => match connection.elect_leader(TOPIC, 0) {
                Err(WireError::Refused { code: Code::ELECTION_NOT_NEEDED, .. }) => {}
                answer => stays(answer, "electing a leader", shared)?,
            },
            2 => {
                let answer = connection.move_partition(TOPIC, 0, i32::MAX);
                if answer.is_ok() {
                    shared.broken("a partition was moved to a broker that does not exist".to_owned());
                }
                stays(answer, "moving a partition", shared)?;
            }
            3 => {
                let answer = connection.move_log_dir("/nowhere", TOPIC, 0);
                if answer.is_ok() {
                    shared.broken("a partition was put into a directory that does not exist".to_owned());
                }
                stays(answer, "moving a partition's directory", shared)?;
            }
            _ => {
                let at = rng.below(self.registers.len() as u64) as usize;
                self.registers[at].change(connection, shared, rng)?;
            }
        }
        Ok(())
    }
}

/// A request that changes nothing: refused or not, only the connection can fail.
fn stays(answer: Result<(), WireError>, what: &str, shared: &Shared) -> Result<(), WireError> {
    match answer {
        Ok(()) | Err(WireError::Refused { .. }) => Ok(()),
        Err(error @ WireError::Io(_)) => Err(error),
        Err(error) => {
            shared.refuse(format!("{what}: {error}"));
            Ok(())
        }
    }
}

impl Register {
    fn look(&mut self, connection: &mut Connection, shared: &Shared, first: bool) -> Result<(), WireError> {
        let given = connection.given_settings(self.kind, &self.name)?;
        let found = given.get(self.setting).cloned();
        let or = self.or.take();
        if found != self.value && or.as_ref() != Some(&found) && !first {
            shared.broken(format!(
                "{} of {:?} {:?} is {found:?}, it must be {:?} or {or:?}",
                self.setting, self.kind, self.name, self.value
            ));
        }
        self.value = found;
        Ok(())
    }

    fn change(&mut self, connection: &mut Connection, shared: &Shared, rng: &mut Rng) -> Result<(), WireError> {
        let value = rng.within(self.values.clone()).to_string();
        let what = format!("{} of {:?} {:?}", self.setting, self.kind, self.name);
        let then = if rng.once_in(4) { None } else { Some(value) };
        self.or = Some(then.clone());
        let answer = if rng.once_in(3) {
            let all: BTreeMap<String, String> = then.iter().map(|to| (self.setting.to_owned(), to.clone())).collect();
            connection.alter_settings(self.kind, &self.name, &all)
        } else {
            let change = then.as_deref().map_or(Change::Delete, Change::Set);
            connection.change_setting(self.kind, &self.name, self.setting, change)
        };
        match told(answer, &what, shared)? {
            Told::Done => self.value = self.or.take().unwrap_or_default(),
            Told::Refused => self.or = None,
        }
        Ok(())
    }
}
