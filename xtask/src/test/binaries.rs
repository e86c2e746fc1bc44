//! The test programs that cargo builds.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use crate::process;
use crate::progress::say;
use crate::workspace::Workspace;

/// The crate whose tests trace real processes.
const END_TO_END: &str = "tests";

#[derive(Debug, PartialEq, Eq)]
pub struct TestBinary {
    /// The package's directory in the repository, and the target in it: `tools/memleak: memleak`.
    pub name: String,
    pub program: PathBuf,
    /// Where cargo would run it.
    pub directory: PathBuf,
    /// Whether it traces other processes.
    pub needs_root: bool,
}

impl TestBinary {
    /// The target's name.
    pub fn target(&self) -> &str {
        self.name.rsplit(": ").next().unwrap_or_default()
    }
}

/// What cargo builds for tests.
pub struct Built {
    pub binaries: Vec<TestBinary>,
    /// Directories of programs that the tests run.
    pub workloads: Vec<PathBuf>,
}

/// Builds the test programs and lists them, quick ones first.
pub fn build(workspace: &Workspace) -> Result<Built> {
    let mut command = workspace.cargo();
    command
        .args(["test", "--workspace", "--release", "--no-run"])
        .arg("--message-format=json-render-diagnostics");
    say(format_args!("      $ {}", process::show(&command)));
    let messages = process::capture(&mut command)?;
    let messages: Vec<Value> = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let mut binaries: Vec<_> = messages
        .iter()
        .filter_map(|message| test_binary(message, &workspace.root))
        .collect();
    binaries.sort_by(|a, b| (a.needs_root, &a.name).cmp(&(b.needs_root, &b.name)));
    Ok(Built {
        binaries,
        workloads: messages.iter().filter_map(workloads).collect(),
    })
}

/// The directory of workloads that a build script gives to the tests, if the message is about one.
fn workloads(message: &Value) -> Option<PathBuf> {
    let variables = message["env"].as_array()?;
    let variable = variables
        .iter()
        .find(|variable| variable[0] == "MEMTOOLS_WORKLOADS")?;
    Some(PathBuf::from(variable[1].as_str()?))
}

/// What one message of cargo's says about a test program, if it is about one.
fn test_binary(message: &Value, root: &Path) -> Option<TestBinary> {
    if message["reason"] != "compiler-artifact" || message["profile"]["test"] != true {
        return None;
    }
    let program = PathBuf::from(message["executable"].as_str()?);
    let target = &message["target"];
    let directory = Path::new(message["manifest_path"].as_str()?).parent()?;
    let package = directory.strip_prefix(root).ok()?;
    let is_test = target["kind"][0] == "test";
    Some(TestBinary {
        name: format!("{}: {}", package.display(), target["name"].as_str()?),
        program,
        directory: directory.to_path_buf(),
        needs_root: is_test && package == Path::new(END_TO_END),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(package: &str, kind: &str, test: bool) -> Value {
        serde_json::json!({
            "reason": "compiler-artifact",
            "manifest_path": format!("/r/{package}/Cargo.toml"),
            "target": { "kind": [kind], "name": "x" },
            "profile": { "test": test },
            "executable": "/t/x-0123",
        })
    }

    #[test]
    fn only_the_end_to_end_tests_need_root() {
        let read = |message| test_binary(&message, Path::new("/r"));
        let end_to_end = read(message("tests", "test", true)).unwrap();
        assert_eq!(end_to_end.name, "tests: x");
        assert!(end_to_end.needs_root);
        assert!(!read(message("tests", "lib", true)).unwrap().needs_root);
        let tool = read(message("tools/memleak", "test", true)).unwrap();
        assert!(!tool.needs_root);
        assert_eq!(tool.directory, Path::new("/r/tools/memleak"));
    }

    #[test]
    fn a_build_script_tells_where_the_workloads_are() {
        let message = serde_json::json!({
            "reason": "build-script-executed",
            "env": [["X", "1"], ["MEMTOOLS_WORKLOADS", "/o/workloads"]],
        });
        assert_eq!(workloads(&message), Some(PathBuf::from("/o/workloads")));
        assert_eq!(workloads(&serde_json::json!({ "env": [] })), None);
    }

    #[test]
    fn other_messages_are_passed_over() {
        let root = Path::new("/r");
        assert_eq!(test_binary(&message("tests", "bin", false), root), None);
        assert_eq!(test_binary(&serde_json::json!({}), root), None);
    }
}
