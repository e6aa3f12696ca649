// SPDX-License-Identifier: Apache-2.0
//! A connection's bytes: the session answers or closes, and never panics, and neither do the coordinators that it asks. What
//! they decide is folded, and can be read back from what they would write at rest. The first byte says where the stream
//! is cut.
#![no_main]

use bytes::BytesMut;
use head_kafka::Settings;
use head_kafka::coordinator::{self, GroupSettings};
use head_kafka::session::Session;
use kernel::auth::Principal;
use kernel::catalog::{Placement, Topic};
use kernel::command::TopicSettings;
use kernel::coordinator::{Coordinator, Decision, Note};
use kernel::{Catalog, Command, Ctx, Reply};
use libfuzzer_sys::fuzz_target;
use model::{HolderId, NamespaceId, Now, PartitionId, ShardEpoch, ShardId, TopicId};
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else { return };
    let mut now = Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 };
    let ctx = Ctx { principal: Principal::Anonymous, namespace: NamespaceId::DEFAULT, holder: HolderId(1) };
    let catalog = Catalog::new(Arc::from([ShardEpoch(1)])).with(Arc::new(topic()));
    let settings = GroupSettings::default();
    let mut machines = coordinator::machines(&settings);
    let mut session = Session::new(Arc::new(Settings::default()), ctx.clone(), "/127.0.0.1".into(), 7, now);
    let (first, second) = stream.split_at(usize::from(*cut).min(stream.len()));
    let mut input = BytesMut::new();
    for piece in [first, second] {
        input.extend_from_slice(piece);
        if session.handle_input(now, &catalog, &mut input).is_err() {
            break;
        }
        while let Some((_, ticket, command)) = session.poll_command() {
            if let Command::Coordinator { which, input } = command
                && let Some(machine) = machines.iter_mut().find(|machine| machine.which() == which)
            {
                let decision = machine.handle(now, &ctx, ticket, &input);
                answer(&mut session, &mut **machine, now, &catalog, decision);
            }
        }
        now.mono_us += 1000;
    }
    while session.poll_output().is_some() {}
    // An hour of silence: waits end, or the connection does.
    now.mono_us += 3_600_000_000;
    for machine in &mut machines {
        let decision = machine.handle_timeout(now);
        answer(&mut session, &mut **machine, now, &catalog, decision);
    }
    let _ = session.handle_timeout(now, &catalog);
    while session.poll_output().is_some() {}
    for (machine, mut again) in machines.iter().zip(coordinator::machines(&settings)) {
        let written = snapshot(&**machine);
        written.iter().for_each(|note| again.apply(note));
        assert_eq!(snapshot(&*again), written);
    }
});

/// What the seeds speak of.
fn topic() -> Topic {
    Topic {
        id: TopicId([7; 16]),
        namespace: NamespaceId::DEFAULT,
        name: Arc::from("t"),
        partitions: Arc::from([Placement { partition: PartitionId(1), shard: ShardId::META, epoch_base: 0 }]),
        settings: TopicSettings::default(),
    }
}

fn answer(session: &mut Session, machine: &mut dyn Coordinator, now: Now, catalog: &Catalog, decision: Decision) {
    decision.notes.iter().for_each(|note| machine.apply(note));
    for (_, ticket, answer) in decision.replies {
        session.handle_reply(now, catalog, ticket, Reply::Coordinated(Ok(answer)));
    }
}

fn snapshot(machine: &dyn Coordinator) -> Vec<Note> {
    let mut notes = Vec::new();
    machine.snapshot(&mut |note| notes.push(note));
    notes.sort_by(|one, other| one.key.cmp(&other.key));
    notes
}
