// SPDX-License-Identifier: Apache-2.0
//! `cargo xtask`: everything a developer runs beside `cargo run` and `cargo test`.
//!
//! Owns: the order of the test steps, the checks of the repository itself, the set-up of other people's clients.
//! Must not know: the broker's insides. It builds programs, runs them and reads what they print.
//!
//! Standard library and serde_json only, so that it compiles in a few seconds on a cold machine.

mod conformance;
mod deploy;
mod fuzz;
mod mutants;
mod nightly;
mod process;
mod programs;
mod readme;
mod report;
mod test;
mod tidy;
mod workspace;

use report::Report;
use std::process::ExitCode;
use workspace::Workspace;

const USAGE: &str = "\
cargo xtask COMMAND

  test [--list] [--only STEP]...      every check there is; the last line counts them
  tidy                                the repository's own rules
  sim [ARGS]                          the simulator (cargo xtask sim --help)
  torture kill --rounds N [ARGS]      kill -9 under load, then look for what is lost; --planted BUG|all: what must be seen
  torture power --cuts N [ARGS]       power cuts of a machine (QEMU) under load, then look for what is lost
  torture rot [--count N]             damage in a stopped data directory: found, or harmless
  torture disk [--rounds N] [--only PART]
                                      disks that are full, fail, tear, stall, forget and lose their power (as root)
  torture flood [--seconds N] [--only WAVE]
                                      clients that mean no good against a broker in 512 MiB (as root)
  torture soak [--minutes N]          mixed load with kills, pauses and cuts for an hour, and a look at what grows
  bench kafka [--quick] [--only ROW] [--bulk-gb N]
                                      load, beside Apache Kafka where it can be had, judged by goals
  bench scale [--quick]               the engine's bounds: 100,000 partitions, 10 GB stored, starts of all kinds
  conformance [--only TEXT] [--list] [--rounds N] [--write-page] [--peer]
                                      real clients against the real broker; the page is docs/compat/kafka.md;
                                      with --peer against Apache Kafka, whose results the page shows beside ours
  readme [PAGE]                       runs the blocks of README.md and of the pages in docs/user/
  fuzz [--seconds N] [TARGET]...      fuzz targets, where a nightly toolchain is
  mutants [--count N] [--seed N] [--minutes N] [--fresh]
                                      small changes to the log and the spill that a test of the kernel should notice
  nightly [--fresh] [--list]          all of the above that looks for a lost message, for hours; goes on where it was
                                      cut off; the report is target/nightly/COMMIT/report.md
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((command, rest)) = arguments.split_first() else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    let outcome = Workspace::find().and_then(|workspace| match command.as_str() {
        "test" => test::run(&workspace, rest),
        "tidy" => counted(|report| tidy::run(&workspace, report)),
        "sim" => programs::sim(&workspace, rest),
        "torture" => programs::bench(&workspace, rest),
        "bench" => programs::bench(&workspace, rest),
        "conformance" => conformance::command(&workspace, rest),
        "readme" => readme::command(&workspace, rest),
        "fuzz" => fuzz::command(&workspace, rest),
        "mutants" => mutants::command(&workspace, rest),
        "nightly" => nightly::command(&workspace, rest),
        "help" | "--help" | "-h" => {
            print!("{USAGE}");
            Ok(true)
        }
        other => Err(format!("no command is called {other:?}\n\n{USAGE}")),
    });
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            eprintln!("xtask: {why}");
            ExitCode::from(2)
        }
    }
}

/// Runs something that reports, and ends with the line that counts.
fn counted(run: impl FnOnce(&mut Report)) -> Result<bool, String> {
    let mut report = Report::default();
    run(&mut report);
    println!("{}", report.last_line());
    Ok(report.clean())
}
