// SPDX-License-Identifier: Apache-2.0
//! The end that nobody wanted: the log failed, or the kernel has a bug. What is in flight is failed, readiness turns red, and the
//! process ends, so that a restart begins with what is really on the medium.

use ops::Health;
use std::sync::Arc;
use tokio::sync::watch;

/// The process's exit code after a failure while serving.
pub const EXIT_CODE: u8 = 70;

/// Tells whoever waits for the end. The first failure counts.
#[derive(Clone)]
pub struct Failure {
    health: Arc<Health>,
    why: watch::Sender<Option<String>>,
}

impl Failure {
    /// No failure so far.
    pub fn new(health: Arc<Health>) -> Failure {
        Failure { health, why: watch::Sender::new(None) }
    }

    /// It has happened.
    pub fn report(&self, why: String) {
        let first = self.why.send_if_modified(|slot| {
            let first = slot.is_none();
            if first {
                *slot = Some(why.clone());
            }
            first
        });
        if first {
            tracing::error!(%why, "the node cannot go on: failing what is in flight, then ending the process");
            self.health.failed(why);
        }
    }

    /// Waits for it.
    pub async fn wait(&self) -> String {
        let mut receiver = self.why.subscribe();
        match receiver.wait_for(Option::is_some).await {
            Ok(why) => why.clone().unwrap_or_default(),
            Err(_closed) => std::future::pending().await,
        }
    }

    /// Has it happened?
    pub fn happened(&self) -> bool {
        self.why.borrow().is_some()
    }
}
