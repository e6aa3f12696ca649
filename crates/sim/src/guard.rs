// SPDX-License-Identifier: Apache-2.0
//! A panic in a run is a failure of that run like any other.
//!
//! Owns: catching it, with what it said and where. Must not know: what runs.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

static HOOK: Once = Once::new();

/// Runs `work`; what a panic in it said becomes the error.
pub fn guard<T>(work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if GUARDED.get() {
                SAID.set(info.to_string());
            } else {
                before(info);
            }
        }));
    });
    let outer = GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(outer);
    outcome.unwrap_or_else(|_| Err(format!("panic: {}", SAID.take().replace('\n', " "))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_that_says_where() {
        let outcome: Result<(), String> = guard(|| panic!("so it is {}", 7));
        let text = outcome.expect_err("it panicked");
        assert!(text.contains("so it is 7") && text.contains("guard.rs"), "{text}");
        assert_eq!(guard(|| Ok(1)), Ok(1));
    }
}
