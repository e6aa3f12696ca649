// SPDX-License-Identifier: Apache-2.0
//! How far groups are behind, for `/metrics`.
//!
//! Owns: when that is counted anew, and its bounds. Must not know: how it is written.
//!
//! Counting asks the coordinator for every group and the partitions for their ends, so it is done for the first scrape after
//! `KEPT_MAX`, by one scrape at a time, within `PATIENCE`; until then, and when it does not come to an end, the last figures stand and
//! their age is told. At most `PARTITIONS_MAX` committed offsets are looked at: beyond, groups that come later by name are left out.

use super::groups::{self, Committed};
use super::topics;
use crate::asker::Asker;
use crate::node::Node;
use head_kafka::coordinator::messages::Answer;
use kernel::reply::Described;
use model::PartitionId;
use ops::metrics::{GroupLag, GroupLevels};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// How old the figures may be before a scrape counts anew.
const KEPT_MAX: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(2);
/// Committed offsets looked at in one go.
const PARTITIONS_MAX: usize = 200_000;
/// A group with a longer id has no series: labels are kept by whoever scrapes, for each sample.
const LABEL_BYTES_MAX: usize = 255;

/// See the module.
pub struct Lag {
    /// Pairs of group and topic that have a series.
    series_max: usize,
    last: Mutex<Option<(Instant, GroupLevels)>>,
    /// When the last try began, whatever became of it.
    tried: Mutex<Option<Instant>>,
}

impl Lag {
    pub fn new(series_max: usize) -> Lag {
        Lag { series_max, last: Mutex::default(), tried: Mutex::default() }
    }

    /// The figures as of not long ago. `None`: there were none yet.
    pub async fn look(&self, node: &Arc<Node>) -> Option<GroupLevels> {
        // Who comes while another counts takes what is there.
        if let Ok(mut tried) = self.tried.try_lock()
            && tried.is_none_or(|at| at.elapsed() >= KEPT_MAX)
        {
            *tried = Some(Instant::now());
            if let Some(levels) = count(node, self.series_max).await {
                *self.last.lock().await = Some((Instant::now(), levels));
            }
        }
        let last = self.last.lock().await;
        let (at, levels) = last.as_ref()?;
        Some(GroupLevels { age_s: at.elapsed().as_secs(), ..levels.clone() })
    }
}

/// `None`: something was not answered in time.
async fn count(node: &Arc<Node>, series_max: usize) -> Option<GroupLevels> {
    let mut asker = Asker::join(node, PATIENCE);
    let catalog = node.catalog.load_full();
    let listed = groups::list(&mut asker, &catalog).await.ok()?;
    let mut by_state: BTreeMap<String, u64> = BTreeMap::new();
    for group in &listed {
        *by_state.entry(group.state.as_str().to_owned()).or_default() += 1;
    }

    let ctx = asker.ctx().clone();
    let mut found: Vec<(usize, Committed)> = Vec::new();
    let mut unread = 0;
    let add = |number: usize, reply| {
        let room = PARTITIONS_MAX.saturating_sub(found.len());
        match groups::answer(reply) {
            Ok(Answer::FetchedOffsets(fetched)) => {
                let (committed, is_all) = groups::committed(&catalog, &ctx, &fetched, room);
                unread += u64::from(!is_all);
                found.extend(committed.into_iter().map(|committed| (number, committed)));
            }
            _ => unread += 1,
        }
    };
    asker.ask_each(listed.len(), |number| groups::ask_offsets(&catalog, &listed[number].group), add).await.ok()?;

    let mut places: BTreeMap<PartitionId, usize> = BTreeMap::new();
    let mut asked = Vec::new();
    for (_, committed) in &found {
        places.entry(committed.place.partition).or_insert_with(|| {
            asked.push(committed.place);
            asked.len() - 1
        });
    }
    let mut ends: Vec<Option<Described>> = vec![None; asked.len()];
    let put = |number: usize, reply| ends[number] = topics::figures(reply);
    asker.ask_each(asked.len(), |number| topics::ask(&asked[number]), put).await.ok()?;

    let mut lags: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (number, committed) in &found {
        if let Some(figures) = &ends[places[&committed.place.partition]] {
            let name = (listed[*number].group.as_str(), &*committed.topic.name);
            *lags.entry(name).or_default() += groups::lag(committed.offset, figures);
        }
    }
    let shown = lags.iter().filter(|((group, _), _)| group.len() <= LABEL_BYTES_MAX).take(series_max);
    let shown: Vec<GroupLag> = shown
        .map(|((group, topic), records)| GroupLag {
            group: (*group).to_owned(),
            topic: (*topic).to_owned(),
            records: *records,
        })
        .collect();
    Some(GroupLevels {
        by_state: by_state.into_iter().collect(),
        left_out: (lags.len() - shown.len()) as u64 + unread,
        lag_max_records: lags.values().copied().max().unwrap_or(0),
        lags: shown,
        age_s: 0,
    })
}
