// SPDX-License-Identifier: Apache-2.0
//! Where things are: the root, what cargo says of the packages, the build's folder, the files that belong to the project.

use crate::process;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// See the module.
pub struct Workspace {
    pub root: PathBuf,
    /// Where cargo puts what it builds.
    pub target: PathBuf,
    /// Logs of the steps and other things of ours below `target`.
    pub scratch: PathBuf,
    /// `cargo metadata`, with dependencies.
    pub metadata: Value,
}

impl Workspace {
    /// Finds the workspace this program was built from.
    pub fn find() -> Result<Workspace, String> {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = here.ancestors().nth(2).ok_or("the workspace has no root")?.to_path_buf();
        let text = process::answer(
            Command::new(cargo()).args(["metadata", "--format-version", "1", "--locked"]).current_dir(&root),
        )?;
        let metadata: Value = serde_json::from_str(&text).map_err(|why| format!("cargo metadata: {why}"))?;
        let target = PathBuf::from(metadata["target_directory"].as_str().ok_or("cargo metadata: no target directory")?);
        let scratch = target.join("xtask");
        std::fs::create_dir_all(&scratch).map_err(|why| format!("{}: {why}", scratch.display()))?;
        Ok(Workspace { root, target, scratch, metadata })
    }

    /// `cargo` with the workspace as its place.
    pub fn cargo(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(cargo());
        command.args(arguments).current_dir(&self.root);
        command
    }

    /// Where a step's output goes.
    pub fn log(&self, name: &str) -> PathBuf {
        self.scratch.join(format!("{}.log", name.replace([' ', '/'], "-")))
    }

    /// A program of ours built in a profile (`release`, `sim`).
    pub fn program(&self, profile: &str, name: &str) -> PathBuf {
        self.target.join(profile).join(name)
    }

    /// Files that are committed or would be, as paths from the root, sorted.
    pub fn files(&self) -> Result<Vec<String>, String> {
        let text = process::answer(
            Command::new("git")
                .args(["ls-files", "--cached", "--others", "--exclude-standard"])
                .current_dir(&self.root),
        )?;
        let mut files: Vec<String> =
            text.lines().filter(|file| self.root.join(file).is_file()).map(str::to_string).collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// A file of the project as text.
    pub fn read(&self, file: &str) -> Result<String, String> {
        std::fs::read_to_string(self.root.join(file)).map_err(|why| format!("{file}: {why}"))
    }
}

fn cargo() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string())
}
