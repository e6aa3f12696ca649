// SPDX-License-Identifier: Apache-2.0
//! Settings: one list (`list.rs`), four sources, one winner each.
//!
//! Owns: precedence (flag, then environment, then file, then default), the listeners, and the promise that a wrong setting stops
//! the start with its place and the nearest right name. Must not know: what the node does with them.
//!
//! `value.rs` reads and writes one value · `file.rs` finds names and lines in the file · `show.rs` prints the list.

pub mod file;
pub mod list;
pub mod show;
pub mod value;

pub use list::Settings;

use crate::nearest::nearest;
use list::{Declaration, LIST};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use value::{Kind, Value};

/// Variables under the same prefix that are no settings.
const OTHER_VARIABLES: [&str; 3] = ["POLYLOG_CONFIG", "POLYLOG_PLANTED", "POLYLOG_SERVER"];

/// What an orchestrator sets for a service that happens to be called `polylog`.
const FOREIGN_PREFIXES: [&str; 2] = ["POLYLOG_SERVICE_", "POLYLOG_PORT"];

/// A setting that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsError {
    /// File and line, variable or flag.
    pub place: String,
    pub why: String,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.why)
    }
}

impl std::error::Error for SettingsError {}

/// Where a value came from, strongest last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    File { line: usize },
    Env,
    Flag,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::File { line } => write!(f, "file, line {line}"),
            Source::Env => f.write_str("environment"),
            Source::Flag => f.write_str("flag"),
        }
    }
}

/// One place where clients connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    pub name: String,
    pub bind: SocketAddr,
    /// Host, and port if it is not the bound one, that clients are told.
    pub advertise: Option<(String, Option<u16>)>,
}

/// Everything that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    pub settings: Settings,
    /// At least one; the first is the one that `kafka.bind` and `kafka.advertise` speak of.
    pub kafka_listeners: Vec<Listener>,
    /// Value and source by name, for showing.
    pub values: BTreeMap<&'static str, (Value, Source)>,
}

/// The texts to be looked at, strongest source last.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// Path (for messages) and text.
    pub file: Option<(&'a Path, &'a str)>,
    /// The process's variables.
    pub env: Vec<(String, String)>,
    /// Setting name and text.
    pub flags: Vec<(&'static str, String)>,
}

/// Reads all sources.
///
/// # Errors
/// The first setting that is unknown or does not fit.
pub fn load(sources: &Sources<'_>) -> Result<Loaded, SettingsError> {
    let mut values = BTreeMap::new();
    for setting in LIST {
        let value = read(setting, setting.default, || "built in".to_owned())?;
        values.insert(setting.name, (value, Source::Default));
    }

    let mut file = file::File::default();
    if let Some((path, text)) = sources.file {
        file = file::parse(path, text)?;
        for entry in &file.entries {
            let place = || format!("{}:{}", path.display(), entry.line);
            let value = read(declaration(entry.name), &entry.text, place)?;
            values.insert(entry.name, (value, Source::File { line: entry.line }));
            if entry.name.starts_with("kafka.") && !file.listeners.is_empty() {
                for (name, key) in [("kafka.bind", "bind"), ("kafka.advertise", "advertise")] {
                    if entry.name == name {
                        let why = format!(
                            "{name} and [[kafka.listener]] exclude each other: write {key} in the first listener"
                        );
                        return Err(SettingsError { place: place(), why });
                    }
                }
            }
        }
    }

    for (variable, text) in &sources.env {
        if !variable.starts_with("POLYLOG_")
            || OTHER_VARIABLES.contains(&variable.as_str())
            || FOREIGN_PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
        {
            continue;
        }
        let Some(setting) = LIST.iter().find(|setting| setting.env() == *variable) else {
            let names = LIST.iter().map(Declaration::env);
            let hint = nearest(variable, names).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            return Err(SettingsError {
                place: "environment".to_owned(),
                why: format!("unknown setting {variable}{hint}"),
            });
        };
        let value = read(setting, text, || format!("environment: {variable}"))?;
        values.insert(setting.name, (value, Source::Env));
    }

    for (name, text) in &sources.flags {
        let setting = declaration(name);
        let flag = setting.flag.map_or("", |(flag, _)| flag);
        let value = read(setting, text, || format!("--{flag}"))?;
        values.insert(setting.name, (value, Source::Flag));
    }

    let settings = Settings::from_values(|name| values[name].0.clone());
    let kafka_listeners = listeners(&file, sources.file.map(|(path, _)| path), &settings, &values)?;
    Ok(Loaded { settings, kafka_listeners, values })
}

fn declaration(name: &str) -> &'static Declaration {
    LIST.iter().find(|setting| setting.name == name).expect("only names out of the list get here")
}

fn read(setting: &Declaration, text: &str, place: impl Fn() -> String) -> Result<Value, SettingsError> {
    setting.kind.read(text).map_err(|why| SettingsError { place: place(), why: format!("{} {why}", setting.name) })
}

fn listeners(
    file: &file::File,
    path: Option<&Path>,
    settings: &Settings,
    values: &BTreeMap<&'static str, (Value, Source)>,
) -> Result<Vec<Listener>, SettingsError> {
    let advertised = |text: &str| value::read_host(text).ok();
    let given = |name: &str| values.get(name).is_some_and(|(_, source)| *source != Source::Default);
    let mut listeners: Vec<Listener> = Vec::new();
    for table in &file.listeners {
        let place = |line: usize| format!("{}:{line}", path.unwrap_or_else(|| Path::new("")).display());
        let mut listener = Listener { name: String::new(), bind: settings.kafka_bind, advertise: None };
        let mut bound = false;
        for (key, text, line) in &table.entries {
            let wrong = |why: String| SettingsError { place: place(*line), why: format!("kafka.listener.{key} {why}") };
            match *key {
                "name" if text.trim().is_empty() => return Err(wrong("must not be empty".to_owned())),
                "name" => listener.name.clone_from(text),
                "bind" => {
                    bound = true;
                    if let Value::Address(address) = Kind::Address.read(text).map_err(wrong)? {
                        listener.bind = address;
                    }
                }
                _ => {
                    Kind::Host.read(text).map_err(wrong)?;
                    listener.advertise = advertised(text);
                }
            }
        }
        for (present, key) in [(!listener.name.is_empty(), "name"), (bound, "bind")] {
            if !present {
                return Err(SettingsError {
                    place: place(table.line),
                    why: format!("[[kafka.listener]] needs {key:?}"),
                });
            }
        }
        if let Some(other) = listeners.iter().find(|other| other.name == listener.name) {
            let why = format!("two listeners are called {:?}", other.name);
            return Err(SettingsError { place: place(table.line), why });
        }
        listeners.push(listener);
    }
    match listeners.first_mut() {
        None => listeners.push(Listener {
            name: "default".to_owned(),
            bind: settings.kafka_bind,
            advertise: advertised(&settings.kafka_advertise),
        }),
        Some(first) => {
            if given("kafka.bind") {
                first.bind = settings.kafka_bind;
            }
            if given("kafka.advertise") {
                first.advertise = advertised(&settings.kafka_advertise);
            }
        }
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_file(text: &str) -> Result<Loaded, String> {
        let sources = Sources { file: Some((Path::new("polylog.toml"), text)), ..Sources::default() };
        load(&sources).map_err(|error| error.to_string())
    }

    #[test]
    fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
        let text = "storage = \"memory\"\n[kafka]\nbind = \"127.0.0.1:1\"\ndefault_partitions = 3\n";
        let sources = Sources {
            file: Some((Path::new("f"), text)),
            env: vec![
                ("POLYLOG_KAFKA_BIND".into(), "127.0.0.1:2".into()),
                ("POLYLOG_SHARDS".into(), "2".into()),
                ("PATH".into(), "/bin".into()),
                ("POLYLOG_SERVICE_HOST".into(), "10.0.0.1".into()),
                ("POLYLOG_PORT_9092_TCP".into(), "tcp://10.0.0.1:9092".into()),
            ],
            flags: vec![("kafka.bind", "127.0.0.1:3".into())],
        };
        let loaded = load(&sources).unwrap();
        assert_eq!(loaded.settings.kafka_bind.port(), 3);
        assert_eq!(loaded.settings.shards, Some(2));
        assert_eq!(loaded.settings.kafka_default_partitions, 3);
        assert_eq!(loaded.settings.storage, "memory");
        assert_eq!(loaded.settings.kafka_idle_ms_max, 600_000);
        assert_eq!(loaded.values["kafka.bind"].1, Source::Flag);
        assert_eq!(loaded.values["kafka.default_partitions"].1, Source::File { line: 4 });
        assert_eq!(loaded.kafka_listeners[0].bind.port(), 3);
    }

    #[test]
    fn a_wrong_setting_names_file_line_and_the_nearest_right_name() {
        for (text, message) in [
            (
                "[kafka]\n\ndefualt_partitions = 3\n",
                "polylog.toml:3: unknown setting \"kafka.defualt_partitions\"; did you mean \"kafka.default_partitions\"?",
            ),
            ("stroage = \"local\"\n", "polylog.toml:1: unknown setting \"stroage\"; did you mean \"storage\"?"),
            ("[kafak]\nbind = \"x\"\n", "polylog.toml:1: unknown table of settings \"kafak\"; did you mean \"kafka\"?"),
            ("[nonsense]\nbind = \"x\"\n", "polylog.toml:1: unknown table of settings \"nonsense\""),
            (
                "[kafka]\nrequest_bytes_max = 64\n",
                "polylog.toml:2: kafka.request_bytes_max needs a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB), such as \"64MiB\"",
            ),
            (
                "[kafka]\nidle_ms_max = \"0\"\n",
                "polylog.toml:2: kafka.idle_ms_max is out of range: allowed is 10ms to 30d",
            ),
            ("storage = 5\n", "polylog.toml:1: storage must be text in quotes, not integer"),
            (
                "insecure_allow_anonymous = \"yes\"\n",
                "polylog.toml:1: insecure_allow_anonymous must be true or false, not \"yes\"",
            ),
            ("shards = 0.5\n", "polylog.toml:1: shards must be a number or \"auto\", not float"),
        ] {
            assert_eq!(load_file(text).unwrap_err(), message, "{text}");
        }
        let broken = load_file("a = 1\nb = \"unterminated\nc = 2\n").unwrap_err();
        assert!(broken.starts_with("polylog.toml:2: "), "{broken}");
    }

    #[test]
    fn a_wrong_variable_or_flag_is_named() {
        let with_env = |name: &str, text: &str| {
            let env = vec![(name.to_owned(), text.to_owned())];
            load(&Sources { env, ..Sources::default() }).unwrap_err().to_string()
        };
        assert_eq!(
            with_env("POLYLOG_KAFKA_DEFAULT_PARTITION", "3"),
            "environment: unknown setting POLYLOG_KAFKA_DEFAULT_PARTITION; did you mean POLYLOG_KAFKA_DEFAULT_PARTITIONS?"
        );
        assert_eq!(
            with_env("POLYLOG_SHARDS", "many"),
            "environment: POLYLOG_SHARDS: shards must be a whole number (auto, or 1 to 64), not \"many\""
        );
        let flags = vec![("storage", "tape".to_owned())];
        let error = load(&Sources { flags, ..Sources::default() }).unwrap_err();
        assert_eq!(error.to_string(), "--storage: storage must be local or memory, not \"tape\"");
    }

    #[test]
    fn listeners_stand_in_the_file_and_flags_speak_of_the_first() {
        let text = "\
[[kafka.listener]]
name = \"inside\"
bind = \"127.0.0.1:9092\"

[[kafka.listener]]
name = \"outside\"
bind = \"127.0.0.1:9093\"
advertise = \"broker.example:19093\"
";
        let flags = vec![("kafka.advertise", "localhost".to_owned())];
        let loaded = load(&Sources { file: Some((Path::new("f"), text)), flags, ..Sources::default() }).unwrap();
        let [inside, outside] = loaded.kafka_listeners.as_slice() else { panic!("{:?}", loaded.kafka_listeners) };
        assert_eq!((inside.name.as_str(), inside.bind.port()), ("inside", 9092));
        assert_eq!(inside.advertise, Some(("localhost".to_owned(), None)));
        assert_eq!(outside.advertise, Some(("broker.example".to_owned(), Some(19093))));

        let wrong = |text: &str| load_file(text).unwrap_err();
        assert_eq!(
            wrong("[[kafka.listener]]\nname = \"a\"\nbnid = \"127.0.0.1:1\"\n"),
            "polylog.toml:3: unknown setting \"kafka.listener.bnid\"; did you mean \"kafka.listener.bind\"?"
        );
        assert_eq!(wrong("[[kafka.listener]]\nname = \"a\"\n"), "polylog.toml:2: [[kafka.listener]] needs \"bind\"");
        let twice = "[[kafka.listener]]\nname = \"a\"\nbind = \"127.0.0.1:1\"\n".repeat(2);
        assert_eq!(wrong(&twice), "polylog.toml:5: two listeners are called \"a\"");
        let both = "[kafka]\nbind = \"127.0.0.1:1\"\n[[kafka.listener]]\nname = \"a\"\nbind = \"127.0.0.1:1\"\n";
        assert_eq!(
            wrong(both),
            "polylog.toml:2: kafka.bind and [[kafka.listener]] exclude each other: write bind in the first listener"
        );
    }
}
