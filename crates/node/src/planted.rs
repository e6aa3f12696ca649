// SPDX-License-Identifier: Apache-2.0
//! Test builds only: switches on the bug named by `POLYLOG_PLANTED`.

/// See the module. Any other build refuses the variable, so that nobody takes a clean run for a planted one.
///
/// # Errors
/// No such bug, or this build has none.
pub fn switch_on() -> Result<(), String> {
    let Some(name) = std::env::var_os("POLYLOG_PLANTED") else { return Ok(()) };
    let name = name.to_string_lossy();
    plant(&name)
}

#[cfg(feature = "planted")]
fn plant(name: &str) -> Result<(), String> {
    use model::planted::Bug;
    let Some(bug) = Bug::named(name) else {
        let names: Vec<String> = Bug::ALL.into_iter().map(Bug::name).collect();
        return Err(format!("environment: POLYLOG_PLANTED: no bug is called {name:?}; there are {}", names.join(", ")));
    };
    eprintln!("polylog: the bug {name} is planted: this node is meant to fail");
    model::planted::plant(Some(bug));
    Ok(())
}

#[cfg(not(feature = "planted"))]
fn plant(name: &str) -> Result<(), String> {
    Err(format!("environment: POLYLOG_PLANTED={name}: this build has no planted bugs"))
}
