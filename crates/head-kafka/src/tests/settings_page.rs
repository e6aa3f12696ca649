// SPDX-License-Identifier: Apache-2.0
//! `docs/user/kafka-settings.md` is made of the tables of `config/`: this test holds it to them. `UPDATE_EXPECT=1` writes it anew.

use crate::config::broker::{self, Mode};
use crate::config::topic::Defaults;
use crate::config::{Definition, Kind, group, topic};
use std::fmt::Write;
use std::path::Path;

const HEAD: &str = "\
# Kafka's settings

Made from the broker's own tables; a test holds the two together. Every name of Apache Kafka 4.3.1 is known, with its default and type.
Few of them have anything to act upon here. **Acts** in the last column says that one does; all others are checked, kept and listed, and
change nothing. `DescribeConfigs` says the same in each setting's documentation.

Any admin client reads and changes them (`kafka-configs`, `Admin.incrementalAlterConfigs`, `polylog topic alter`). A name that is not in
its table, or a value of the wrong type, is refused with the number that Apache Kafka answers, and nothing of that resource's change
happens: INVALID_CONFIG (40) for topics and groups, INVALID_REQUEST (42) for the broker.
";

const TOPICS: &str = "
## Topics

Given when a topic is made or later (`DYNAMIC_TOPIC_CONFIG`), else the default (`DEFAULT_CONFIG`). A change is answered when it is
durable and every shard acts upon it.

| name | default | takes | here |
|---|---|---|---|
";

const BROKER_ACTING: &str = "
## The broker

These act. Most are this node's own settings under Kafka's name (`polylog settings` explains each), shown as `STATIC_BROKER_CONFIG`:

| name | here |
|---|---|
";

const BROKER_CHANGEABLE: &str = "
These can be changed while the broker runs, for this broker by its id (`DYNAMIC_BROKER_CONFIG`) or, where *all* is said, for every broker
by the resource without a name (`DYNAMIC_DEFAULT_BROKER_CONFIG`). They are kept as they were given. Three act: they are the defaults of every
topic that was given no value of its own, of those that are there (the change is answered when all of them follow) and of those made later.
Should client or broker go in between, the topics that did not follow yet do so with the next change of a default or of the topic.
The other defaults of topics do not act: give the topic its value.

| name | default | takes | for | here |
|---|---|---|---|---|
";

const BROKER_FIXED: &str = "
These are fixed; a change is refused (42):

";

const BROKER_REST: &str = "
A name that stands in neither list is taken as it comes, as Apache Kafka takes it for the sake of plug-ins: it is kept and never shown
again, for it might be a secret. Secrets themselves (`ssl.key.password` and its like) are refused: nothing here uses them yet.
Of loggers (`BROKER_LOGGER`) none is known by name; metrics of clients (`CLIENT_METRICS`) are not collected, and asking for either's
change is refused (40 and 42).
";

const GROUPS: &str = "
## Groups

For kinds of group that do not exist here yet: kept and listed (`DYNAMIC_GROUP_CONFIG`), so that tools which set them work.

| name | default | takes |
|---|---|---|
";

fn code(value: Option<&str>) -> String {
    match value {
        None => "none".to_owned(),
        Some("") => "empty".to_owned(),
        Some(value) => format!("`{value}`"),
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned() + TOPICS;
    let row = |definition: &Definition| {
        format!("| `{}` | {} | {}", definition.name, code(definition.default), definition.kind)
    };
    for definition in topic::TABLE {
        writeln!(page, "{} | {} |", row(definition), definition.does).unwrap();
    }
    page += BROKER_ACTING;
    for (name, does) in broker::DOES {
        writeln!(page, "| `{name}` | {does} |").unwrap();
    }
    page += BROKER_CHANGEABLE;
    for (definition, mode) in broker::TABLE {
        let who = match mode {
            Mode::ReadOnly => continue,
            _ if matches!(definition.kind, Kind::Password) => continue,
            Mode::PerBroker => "one",
            Mode::ClusterWide => "one, all",
        };
        let acts = if Defaults::are_changed_by(definition.name) { "Acts." } else { "" };
        writeln!(page, "{} | {who} | {acts} |", row(definition)).unwrap();
    }
    page += BROKER_FIXED;
    let fixed = broker::TABLE.iter().filter(|(_, mode)| *mode == Mode::ReadOnly);
    let fixed: Vec<String> = fixed.map(|(definition, _)| format!("`{}`", definition.name)).collect();
    page += &wrapped(&fixed);
    page += BROKER_REST;
    page += GROUPS;
    for definition in group::TABLE {
        writeln!(page, "{} |", row(definition)).unwrap();
    }
    page
}

fn wrapped(words: &[String]) -> String {
    let (mut out, mut line) = (String::new(), String::new());
    for (at, word) in words.iter().enumerate() {
        let word = if at + 1 == words.len() { format!("{word}.") } else { format!("{word},") };
        if line.len() + word.len() > 138 {
            writeln!(out, "{}", line.trim_end()).unwrap();
            line.clear();
        }
        line += &word;
        line.push(' ');
    }
    writeln!(out, "{}", line.trim_end()).unwrap();
    out
}

#[test]
fn the_page_says_what_the_tables_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/user/kafka-settings.md");
    let page = page();
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, &page).expect("the page");
    }
    let found = std::fs::read_to_string(&path).expect("the page");
    assert!(found == page, "docs/user/kafka-settings.md is not what the tables say: UPDATE_EXPECT=1 writes it anew");
}
