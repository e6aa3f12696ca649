// SPDX-License-Identifier: Apache-2.0
//! Who may depend on whom, and what the pure crates must never be able to reach.

use super::Findings;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// What each crate of ours may name in its manifest. A head is any crate called `head-…`.
const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("media", &["model"]),
    ("kernel", &["model"]),
    ("head", &["model", "kernel"]),
    ("ops", &["model", "kernel"]),
    ("node", &["model", "media", "kernel", "head", "ops"]),
    ("sim", &["model", "media", "kernel", "head", "ops"]),
    ("bench", &["model", "sim"]),
    ("xtask", &[]),
];

/// Crates that must be the same in every run given the same arguments.
const PURE: &[&str] = &["model", "kernel", "head"];

/// Packages that bring a clock, a socket, threads or randomness.
const UNREACHABLE: &[&str] = &[
    "async-std",
    "axum",
    "getrandom",
    "hyper",
    "mio",
    "rand",
    "rustix",
    "smol",
    "socket2",
    "tokio",
    "tracing-subscriber",
];

/// An entry of a manifest.
struct Edge {
    from: String,
    to: String,
}

/// Edges among our own crates, test-only ones included.
pub fn between_crates(metadata: &Value) -> Result<Findings, String> {
    let mut edges = Vec::new();
    for package in members(metadata)? {
        for dependency in list(package, "dependencies")? {
            if !dependency["path"].is_null() {
                edges.push(Edge { from: text(package, "name")?, to: text(dependency, "name")? });
            }
        }
    }
    let names: Vec<String> =
        members(metadata)?.into_iter().map(|package| text(package, "name")).collect::<Result<_, _>>()?;
    Ok(wrong_edges(&names, &edges))
}

fn wrong_edges(crates: &[String], edges: &[Edge]) -> Findings {
    let mut findings = Vec::new();
    for name in crates {
        if allowed(name).is_none() {
            findings.push(format!("crate {name}: nothing says whom it may know (crates/xtask/src/tidy/edges.rs)"));
        }
    }
    for edge in edges {
        if !allowed(&edge.from).is_some_and(|targets| targets.contains(&role(&edge.to))) {
            findings.push(format!("{} -> {}: not an allowed edge", edge.from, edge.to));
        }
    }
    findings
}

fn allowed(name: &str) -> Option<&'static [&'static str]> {
    ALLOWED.iter().find(|(from, _)| *from == role(name)).map(|(_, targets)| *targets)
}

fn role(name: &str) -> &str {
    if name.starts_with("head-") { "head" } else { name }
}

/// What the pure crates reach through any number of normal dependencies, as resolved.
pub fn reach(metadata: &Value) -> Result<Findings, String> {
    let mut names = BTreeMap::new();
    for package in list(metadata, "packages")? {
        names.insert(text(package, "id")?, text(package, "name")?);
    }
    let name_of = |id: &str| names.get(id).cloned().unwrap_or_else(|| id.to_string());
    let mut graph: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in list(&metadata["resolve"], "nodes")? {
        let mut targets = Vec::new();
        for dependency in list(node, "deps")? {
            let normal =
                list(dependency, "dep_kinds")?.iter().any(|kind| kind["kind"].is_null() && for_this_target(kind));
            if normal {
                targets.push(name_of(&text(dependency, "pkg")?));
            }
        }
        graph.entry(name_of(&text(node, "id")?)).or_default().extend(targets);
    }
    Ok(reached(&graph))
}

/// Dependencies of other systems (`cfg(windows)`, wasm) stand in the lock file and are never built.
fn for_this_target(kind: &Value) -> bool {
    let Some(target) = kind["target"].as_str() else { return true };
    !["windows", "wasm", "wasi", "macos", "uefi", "hermit", "redox"].iter().any(|other| target.contains(other))
}

fn reached(graph: &BTreeMap<String, Vec<String>>) -> Findings {
    let mut findings = Vec::new();
    for start in graph.keys().filter(|name| PURE.contains(&role(name))) {
        let mut path_to: BTreeMap<&str, String> = BTreeMap::from([(start.as_str(), start.clone())]);
        let mut left = vec![start.as_str()];
        while let Some(name) = left.pop() {
            for next in graph.get(name).into_iter().flatten() {
                if path_to.contains_key(next.as_str()) {
                    continue;
                }
                let path = format!("{} -> {next}", path_to[name]);
                if UNREACHABLE.contains(&next.as_str()) {
                    findings.push(format!("{path}: a pure crate must not reach it"));
                }
                path_to.insert(next, path);
                left.push(next);
            }
        }
    }
    findings
}

/// The workspace's own packages.
pub fn members(metadata: &Value) -> Result<Vec<&Value>, String> {
    let ids: BTreeSet<&str> = list(metadata, "workspace_members")?.iter().filter_map(Value::as_str).collect();
    Ok(list(metadata, "packages")?
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| ids.contains(id)))
        .collect())
}

/// A list in what cargo says.
pub fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>, String> {
    value[key].as_array().ok_or_else(|| format!("cargo metadata: no list {key:?}"))
}

/// A text in what cargo says.
pub fn text(value: &Value, key: &str) -> Result<String, String> {
    value[key].as_str().map(str::to_string).ok_or_else(|| format!("cargo metadata: no text {key:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str) -> Edge {
        Edge { from: from.to_string(), to: to.to_string() }
    }

    #[test]
    fn a_head_may_know_the_kernel_and_never_another_head() {
        let crates = ["model", "kernel", "head-kafka", "head-mqtt", "node"].map(str::to_string);
        let good = [edge("head-kafka", "kernel"), edge("node", "head-mqtt"), edge("kernel", "model")];
        assert_eq!(wrong_edges(&crates, &good), Findings::new());
        let bad =
            [edge("head-kafka", "head-mqtt"), edge("kernel", "media"), edge("model", "kernel"), edge("sim", "node")];
        assert_eq!(wrong_edges(&crates, &bad).len(), 4);
    }

    #[test]
    fn a_crate_that_the_table_does_not_name_is_found() {
        assert_eq!(wrong_edges(&["misc".to_string()], &[]).len(), 1);
    }

    #[test]
    fn a_socket_is_found_however_far_away_it_is() {
        let graph = |edges: &[(&str, &str)]| {
            let mut graph: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (from, to) in edges {
                graph.entry(from.to_string()).or_default().push(to.to_string());
            }
            graph
        };
        let bad = graph(&[("kernel", "a"), ("a", "b"), ("b", "a"), ("b", "tokio"), ("node", "tokio")]);
        assert_eq!(reached(&bad), ["kernel -> a -> b -> tokio: a pure crate must not reach it"]);
        assert_eq!(reached(&graph(&[("node", "tokio"), ("kernel", "bytes")])), Findings::new());
    }
}
