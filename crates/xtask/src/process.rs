// SPDX-License-Identifier: Apache-2.0
//! Runs other programs: either with what they print passed through, or with it kept in a log and in memory.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

/// What became of a program whose output was kept.
pub struct Kept {
    pub ok: bool,
    /// Standard output and standard error, line by line as they came.
    pub output: String,
}

impl Kept {
    /// For a step that is one check.
    pub fn into_check(self) -> Result<(), String> {
        if self.ok { Ok(()) } else { Err(self.output) }
    }
}

/// Runs to the end, keeping the output in `log` and in memory. `each_line` sees every line as it comes.
///
/// A program that cannot be started is an outcome like any other: not ok, with the reason as its output.
pub fn keep(command: &mut Command, log: &Path, mut each_line: impl FnMut(&str) + Send) -> Kept {
    let shown = shown(command);
    let failed = |why: String| Kept { ok: false, output: format!("{shown}: {why}") };
    let mut file = match File::create(log) {
        Ok(file) => file,
        Err(why) => return failed(format!("cannot write {}: {why}", log.display())),
    };
    let _ = writeln!(file, "$ {shown}");
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(why) => return failed(why.to_string()),
    };
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let mut output = String::new();
    let sink = Mutex::new((&mut file, &mut output, &mut each_line));
    let copy = |pipe: Option<Box<dyn Read + Send>>| {
        let Some(pipe) = pipe else { return };
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line);
            let mut sink = sink.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            let _ = sink.0.write_all(text.as_bytes());
            sink.1.push_str(&text);
            (sink.2)(text.trim_end());
            drop(sink);
            line.clear();
        }
    };
    std::thread::scope(|scope| {
        let out = out.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        let err = err.map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
        scope.spawn(|| copy(err));
        copy(out);
    });
    match child.wait() {
        Ok(status) => {
            if !status.success() {
                output.push_str(&format!("({shown}: {status})\n"));
            }
            Kept { ok: status.success(), output }
        }
        Err(why) => failed(why.to_string()),
    }
}

/// Runs to the end with the terminal as it is. True when the program ended well.
pub fn pass_through(command: &mut Command) -> Result<bool, String> {
    let shown = shown(command);
    command.status().map(|status| status.success()).map_err(|why| format!("{shown}: {why}"))
}

/// Standard output of a short command, or why there is none.
pub fn answer(command: &mut Command) -> Result<String, String> {
    let shown = shown(command);
    let output = command.stdin(Stdio::null()).output().map_err(|why| format!("{shown}: {why}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{shown}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)))
    }
}

/// Where a program of that name stands in `PATH`.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// As one would type it.
fn shown(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_kept_in_both_places_and_a_bad_end_is_seen() {
        let log = std::env::temp_dir().join(format!("xtask-process-{}", std::process::id()));
        let mut lines = 0;
        let kept = keep(Command::new("sh").args(["-c", "echo one; echo two >&2; exit 3"]), &log, |_| lines += 1);
        assert!(!kept.ok);
        assert!(kept.output.contains("one\n") && kept.output.contains("two\n"));
        assert_eq!(lines, 2);
        let written = std::fs::read_to_string(&log).expect("the log is there");
        assert!(written.starts_with("$ sh -c") && written.contains("two"));
        std::fs::remove_file(&log).expect("the log is ours");
    }

    #[test]
    fn a_program_that_does_not_exist_is_an_outcome() {
        let log = std::env::temp_dir().join(format!("xtask-missing-{}", std::process::id()));
        assert!(!keep(&mut Command::new("no-such-program-here"), &log, |_| {}).ok);
        std::fs::remove_file(&log).expect("the log is ours");
        assert!(which("no-such-program-here").is_none());
        assert!(which("sh").is_some());
    }
}
