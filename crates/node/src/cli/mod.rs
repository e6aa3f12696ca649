// SPDX-License-Identifier: Apache-2.0
//! The command line: `polylog` is `polylog serve`.
//!
//! Owns: subcommands, flags (made from the list of settings), exit codes. Must not know: what serving is.
//!
//! Commands that talk to a running broker have a file each (`topic.rs`, `group.rs`, `produce.rs`, `consume.rs`) and share `broker.rs` (where it is),
//! `outcome.rs` (how a command ends), `output.rs` (columns and JSON), `moment.rs` (times and places), `record_text.rs` and `lines.rs`.

mod base64;
mod broker;
mod consume;
mod group;
mod lines;
mod moment;
mod outcome;
mod output;
mod produce;
mod record_text;
mod topic;

use crate::offline::CannotRun;
use crate::offline::fsck::{self, FsckReport};
use crate::offline::inspect::{self, Inspected};
use crate::offline::salvage::{self, SalvageReport};
use crate::settings::list::LIST;
use crate::settings::value::Kind;
use crate::settings::{self, Loaded, SettingsError, Sources};
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, Subcommand, value_parser};
use clap_complete::Shell;
use outcome::CommandError;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Settings or usage are wrong.
const EXIT_USAGE: u8 = 2;
/// The node could not start, or did not come to its end as it should.
const EXIT_FAILED: u8 = 1;

/// Reads the command line and does what it says.
pub fn main() -> ExitCode {
    let matches = match command().try_get_matches() {
        Ok(matches) => matches,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match matches.subcommand() {
        None => serve(&matches),
        Some(("serve", matches)) => serve(matches),
        Some(("settings", matches)) => show_settings(matches),
        Some(("ready", matches)) => ready(matches),
        Some(("version", _)) => {
            println!("polylog {}", crate::VERSION);
            ExitCode::SUCCESS
        }
        Some(("fsck", matches)) => offline(
            matches,
            fsck::run(path(matches, "dir")),
            FsckReport::to_text,
            FsckReport::to_json,
            FsckReport::exit_code,
        ),
        Some(("inspect", matches)) => offline(
            matches,
            inspect::run(path(matches, "file")),
            Inspected::to_text,
            Inspected::to_json,
            Inspected::exit_code,
        ),
        Some(("salvage", matches)) => {
            let outcome = salvage::run(path(matches, "dir"), path(matches, "out"));
            offline(matches, outcome, SalvageReport::to_text, SalvageReport::to_json, SalvageReport::exit_code)
        }
        Some(("topic", matches)) => talk(topic::TopicCommand::from_arg_matches(matches), |command| command.run()),
        Some(("group", matches)) => talk(group::GroupCommand::from_arg_matches(matches), group::GroupCommand::run),
        Some(("produce", matches)) => talk(produce::Produce::from_arg_matches(matches), produce::Produce::run),
        Some(("consume", matches)) => talk(consume::Consume::from_arg_matches(matches), consume::Consume::run),
        Some(("completions", matches)) => completions(matches),
        Some((name, _)) => {
            eprintln!("polylog: unknown command {name:?}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn command() -> Command {
    let place = |id: &'static str, shown: &'static str| {
        Arg::new(id).value_name(shown).value_parser(value_parser!(PathBuf)).required(true)
    };
    let json = || Arg::new("json").long("json").action(ArgAction::SetTrue).help("Prints JSON instead of text");
    with_settings(Command::new("polylog"))
        .version(crate::VERSION)
        .about("A durable log that Kafka clients connect to. Without a command it serves.")
        .args_conflicts_with_subcommands(true)
        // Of two flags of one name the last counts, so that a wrapper's flags can be corrected by adding some.
        .args_override_self(true)
        .disable_help_subcommand(true)
        .subcommand(with_settings(Command::new("serve")).about("Serves clients until it is stopped (the default)"))
        .subcommand(
            with_settings(Command::new("settings"))
                .arg(json())
                .about("Lists all settings: value, default, range, meaning"),
        )
        .subcommand(
            with_settings(Command::new("ready"))
                .about("Asks the node of this machine (at http.bind) whether it serves: 0 if it does, 1 if not"),
        )
        .subcommand(
            Command::new("fsck")
                .arg(place("dir", "DIR"))
                .arg(json())
                .about("Checks a data directory that no node has open: every file, every checksum. Changes nothing"),
        )
        .subcommand(
            Command::new("inspect")
                .arg(place("file", "FILE"))
                .arg(json())
                .about("Shows what is in one file of a data directory"),
        )
        .subcommand(
            Command::new("salvage").arg(place("dir", "DIR")).arg(place("out", "NEW").long("out")).arg(json()).about(
                "Copies what is good of a damaged data directory into a new one and prints exactly what is lost",
            ),
        )
        .subcommand(
            topic::TopicCommand::augment_subcommands(Command::new("topic"))
                .about("Makes, lists, describes, changes and deletes topics")
                .subcommand_required(true)
                .mut_subcommands(|command| command.after_help(outcome::HELP)),
        )
        .subcommand(
            group::GroupCommand::augment_subcommands(Command::new("group"))
                .about("Lists, describes, resets and deletes consumer groups")
                .subcommand_required(true)
                .mut_subcommands(|command| command.after_help(outcome::HELP)),
        )
        .subcommand(
            produce::Produce::augment_args(Command::new("produce"))
                .about("Writes records, a line each")
                .after_help(outcome::HELP),
        )
        .subcommand(
            consume::Consume::augment_args(Command::new("consume")).about("Prints records").after_help(outcome::HELP),
        )
        .subcommand(
            Command::new("completions")
                .arg(Arg::new("shell").value_name("SHELL").value_parser(value_parser!(Shell)).required(true))
                .about("Prints what makes a shell complete these commands: bash, zsh, fish, elvish, powershell"),
        )
        .subcommand(Command::new("version").about("Prints the version"))
}

/// The flags: one for each setting that has one, and the three that are no settings.
fn with_settings(mut command: Command) -> Command {
    command =
        command
            .arg(
                Arg::new("config")
                    .long("config")
                    .value_name("FILE")
                    .value_parser(value_parser!(PathBuf))
                    .help("Settings file (TOML); also POLYLOG_CONFIG"),
            )
            .arg(Arg::new("ready-json").long("ready-json").value_name("FD").value_parser(value_parser!(u32)).help(
                "Writes one line of JSON to this file descriptor once the node serves: addresses, pid, cluster id",
            ));
    for setting in LIST {
        let Some((flag, value_name)) = setting.flag else { continue };
        let default =
            if setting.default.is_empty() { String::new() } else { format!(" [default: {}]", setting.default) };
        let arg = Arg::new(setting.name).long(flag).help(format!("{}{default}", setting.meaning.trim_end_matches('.')));
        command = command.arg(match setting.kind {
            Kind::Switch => arg.action(ArgAction::SetTrue),
            _ => arg.value_name(value_name).allow_hyphen_values(true),
        });
    }
    command
        .args_override_self(true)
        .after_help("Every setting can also stand in the file or in the environment: see `polylog settings`.")
}

/// Reads all sources of settings.
fn load(matches: &ArgMatches) -> Result<Loaded, SettingsError> {
    let mut env = Vec::new();
    for (name, value) in std::env::vars_os() {
        let (Some(name), value) = (name.to_str(), value.to_str()) else { continue };
        if !name.starts_with("POLYLOG_") {
            continue;
        }
        let Some(value) = value else {
            return Err(SettingsError { place: format!("environment: {name}"), why: "is not valid UTF-8".to_owned() });
        };
        env.push((name.to_owned(), value.to_owned()));
    }
    env.sort();
    let path: Option<PathBuf> =
        matches.get_one("config").cloned().or_else(|| std::env::var_os("POLYLOG_CONFIG").map(PathBuf::from));
    let text = match &path {
        None => None,
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| SettingsError {
            place: path.display().to_string(),
            why: format!("cannot read the settings file: {error}"),
        })?),
    };
    let mut flags = Vec::new();
    for setting in LIST {
        if setting.flag.is_none() {
            continue;
        }
        if setting.kind == Kind::Switch {
            if matches.get_flag(setting.name) {
                flags.push((setting.name, "true".to_owned()));
            }
        } else if let Some(text) = matches.get_one::<String>(setting.name) {
            flags.push((setting.name, text.clone()));
        }
    }
    let file = path.as_deref().zip(text.as_deref());
    settings::load(&Sources { file, env, flags })
}

fn serve(matches: &ArgMatches) -> ExitCode {
    let loaded = match load(matches) {
        Ok(loaded) => loaded,
        Err(error) => return usage(&error),
    };
    if let Err(why) = crate::planted::switch_on() {
        return usage(&why);
    }
    crate::logging::start(&loaded.settings.log_format, &loaded.settings.log_level);
    let ready_fd = matches.get_one::<u32>("ready-json").copied();
    match crate::serve::run(&loaded, ready_fd) {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            eprintln!("polylog: {why}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn ready(matches: &ArgMatches) -> ExitCode {
    let loaded = match load(matches) {
        Ok(loaded) => loaded,
        Err(error) => return usage(&error),
    };
    match crate::ready::ask(loaded.settings.http_bind) {
        Ok(phase) => {
            println!("{phase}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("polylog: {why}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

fn show_settings(matches: &ArgMatches) -> ExitCode {
    let loaded = match load(matches) {
        Ok(loaded) => loaded,
        Err(error) => return usage(&error),
    };
    if matches.get_flag("json") {
        match settings::show::json(&loaded) {
            Ok(text) => println!("{text}"),
            Err(error) => return usage(&error),
        }
    } else {
        print!("{}", settings::show::table(&loaded));
    }
    ExitCode::SUCCESS
}

fn usage(why: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("polylog: {why}");
    ExitCode::from(EXIT_USAGE)
}

/// Runs one of the tools for a directory that is not in use and prints its report.
fn offline<R>(
    matches: &ArgMatches,
    outcome: Result<R, CannotRun>,
    to_text: impl Fn(&R) -> String,
    to_json: impl Fn(&R) -> serde_json::Value,
    exit_code: impl Fn(&R) -> u8,
) -> ExitCode {
    match outcome {
        Ok(report) if matches.get_flag("json") => {
            println!("{:#}", to_json(&report));
            ExitCode::from(exit_code(&report))
        }
        Ok(report) => {
            print!("{}", to_text(&report));
            ExitCode::from(exit_code(&report))
        }
        Err(why) => usage(&why),
    }
}

/// Runs a command that talks to a broker.
fn talk<C>(command: Result<C, clap::Error>, run: impl Fn(&C) -> Result<(), CommandError>) -> ExitCode {
    let outcome = match &command {
        Ok(command) => run(command),
        Err(error) => Err(CommandError::usage(error.to_string())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !error.text.is_empty() {
                eprintln!("polylog: {}", error.text);
            }
            ExitCode::from(error.exit)
        }
    }
}

fn completions(matches: &ArgMatches) -> ExitCode {
    let Some(shell) = matches.get_one::<Shell>("shell") else { return ExitCode::from(EXIT_USAGE) };
    let mut script = Vec::new();
    clap_complete::generate(*shell, &mut command(), "polylog", &mut script);
    match std::io::stdout().write_all(&script).map_err(CommandError::from) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ExitCode::from(error.exit),
    }
}

fn path<'a>(matches: &'a ArgMatches, name: &str) -> &'a Path {
    matches.get_one::<PathBuf>(name).map_or(Path::new(""), PathBuf::as_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_flag_is_shown() {
        command().debug_assert();
        let help = command().render_long_help().to_string();
        for (flag, _) in LIST.iter().filter_map(|setting| setting.flag) {
            assert!(help.contains(&format!("--{flag}")), "{flag}\n{help}");
        }
    }
}
