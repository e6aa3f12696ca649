// SPDX-License-Identifier: Apache-2.0
//! A connection's bytes: the session answers or closes, and never panics. The first byte says where the stream is cut.
#![no_main]

use bytes::BytesMut;
use head_kafka::Settings;
use head_kafka::session::Session;
use kernel::auth::Principal;
use kernel::{Catalog, Ctx};
use libfuzzer_sys::fuzz_target;
use model::{HolderId, NamespaceId, Now, ShardEpoch};
use std::sync::Arc;

fuzz_target!(|data: &[u8]| {
    let Some((cut, stream)) = data.split_first() else { return };
    let mut now = Now { mono_us: 1_000_000, wall_ms: 1_700_000_000_000 };
    let ctx = Ctx { principal: Principal::Anonymous, namespace: NamespaceId::DEFAULT, holder: HolderId(1) };
    let catalog = Catalog::new(Arc::from([ShardEpoch(1)]));
    let mut session = Session::new(Arc::new(Settings::default()), ctx, "/127.0.0.1".into(), 7, now);
    let (first, second) = stream.split_at(usize::from(*cut).min(stream.len()));
    let mut input = BytesMut::new();
    for piece in [first, second] {
        input.extend_from_slice(piece);
        if session.handle_input(now, &catalog, &mut input).is_err() {
            break;
        }
        while session.poll_command().is_some() {}
        now.mono_us += 1000;
    }
    while session.poll_output().is_some() {}
    // An hour of silence: waits end, or the connection does.
    now.mono_us += 3_600_000_000;
    let _ = session.handle_timeout(now, &catalog);
    while session.poll_output().is_some() {}
});
