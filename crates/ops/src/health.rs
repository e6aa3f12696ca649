// SPDX-License-Identifier: Apache-2.0
//! Is the process alive, and should clients be sent to it?
//!
//! Alive is trivial: it answers. Ready is a state with a reason, so that whoever looks at a red light reads the cause, not a number.
//!
//! ```text
//! Starting --> Ready --> Stopping
//!     \          |
//!      +-----> Failed      (ends the process; nothing leads back)
//! ```

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// Where the node is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Recovery is under way: what it is at.
    Starting { at: String },
    /// Serving.
    Ready,
    /// Asked to stop: finishing what is in flight.
    Stopping,
    /// The log failed. What is in flight is failed, and the process ends.
    Failed { why: String },
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Phase::Starting { at } => write!(f, "starting: {at}"),
            Phase::Ready => f.write_str("ready"),
            Phase::Stopping => f.write_str("stopping"),
            Phase::Failed { why } => write!(f, "failed: {why}"),
        }
    }
}

type Listener = Box<dyn Fn(&Phase) + Send + Sync>;

/// The node's phase, shared by everything that may change or show it.
pub struct Health {
    phase: Mutex<Phase>,
    listener: OnceLock<Listener>,
}

impl Default for Health {
    fn default() -> Health {
        let phase = Phase::Starting { at: "reading settings".to_owned() };
        Health { phase: Mutex::new(phase), listener: OnceLock::new() }
    }
}

impl Health {
    /// Where the node is.
    pub fn phase(&self) -> Phase {
        self.lock().clone()
    }

    /// Lets somebody hear of each change. Only the first who asks does.
    pub fn tell(&self, listener: impl Fn(&Phase) + Send + Sync + 'static) {
        let _ = self.listener.set(Box::new(listener));
    }

    /// True when clients should be sent here.
    pub fn is_ready(&self) -> bool {
        *self.lock() == Phase::Ready
    }

    /// Recovery has come to this step.
    pub fn starting(&self, at: impl Into<String>) {
        self.advance(Phase::Starting { at: at.into() });
    }

    /// Serving now.
    pub fn ready(&self) {
        self.advance(Phase::Ready);
    }

    /// Asked to stop.
    pub fn stopping(&self) {
        self.advance(Phase::Stopping);
    }

    /// The log failed.
    pub fn failed(&self, why: impl Into<String>) {
        self.advance(Phase::Failed { why: why.into() });
    }

    /// A failure is final, and a node that is stopping does not become ready again.
    fn advance(&self, next: Phase) {
        let mut phase = self.lock();
        let allowed = match *phase {
            Phase::Failed { .. } => false,
            Phase::Stopping => matches!(next, Phase::Failed { .. }),
            Phase::Starting { .. } | Phase::Ready => true,
        };
        if allowed {
            *phase = next;
            // Told while nobody else can change it, so that the order is right.
            if let Some(listener) = self.listener.get() {
                listener(&phase);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_failure_is_final_and_names_its_cause() {
        let health = Health::default();
        assert!(!health.is_ready());
        health.starting("shard 0: reading the log");
        assert_eq!(health.phase().to_string(), "starting: shard 0: reading the log");
        health.ready();
        assert!(health.is_ready());
        health.failed("wal/00/0003: sync failed");
        health.ready();
        assert_eq!(health.phase().to_string(), "failed: wal/00/0003: sync failed");
    }

    #[test]
    fn who_listens_hears_of_each_change_in_order() {
        let health = Health::default();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let into = heard.clone();
        health.tell(move |phase| into.lock().unwrap().push(phase.to_string()));
        health.starting("shard 0");
        health.ready();
        health.failed("disk");
        health.stopping();
        assert_eq!(*heard.lock().unwrap(), ["starting: shard 0", "ready", "failed: disk"]);
    }

    #[test]
    fn a_stopping_node_does_not_become_ready_again() {
        let health = Health::default();
        health.ready();
        health.stopping();
        health.ready();
        assert_eq!(health.phase(), Phase::Stopping);
    }
}
