// SPDX-License-Identifier: Apache-2.0
//! What figures are made of: time that a thread has had a core, memory that the process has.

/// Time that this thread has had a core, which a loaded machine does not stretch much.
pub struct Started(u64);

impl Started {
    fn cpu_ns() -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("schedstat");
        text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("nanoseconds")
    }

    pub fn now() -> Started {
        Started(Started::cpu_ns())
    }

    pub fn elapsed(&self) -> std::time::Duration {
        std::time::Duration::from_nanos(Started::cpu_ns() - self.0)
    }
}

pub fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").expect("statm");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("pages") * 4096
}
