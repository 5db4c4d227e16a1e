//! Reads the files of `docker/`, `.runpod/` and `runpod/endpoints/` for the tests that compare them with the code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Parser;
use greenroom_supervisor::cli::args::Cli;
use serde_json::Value;

/// The descriptions of endpoints that are ours.
pub(super) const ENDPOINTS: [&str; 3] = ["queue", "bridge", "leases"];
/// The services of the composition that run the product.
pub(super) const SERVICES: [&str; 3] = ["pod-1", "pod-2", "bridge"];

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(super) fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// A YAML or JSON file as JSON, with the merge keys of YAML applied.
pub(super) fn document(path: &str) -> Result<Value> {
    let mut document: serde_yaml_ng::Value = serde_yaml_ng::from_str(&read(path)?).with_context(|| path.to_owned())?;
    document.apply_merge()?;
    Ok(serde_json::to_value(document)?)
}

/// The instructions of a Dockerfile, with continued lines joined and without comments.
pub(super) fn instructions(path: &str) -> Result<Vec<String>> {
    let text = read(path)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(joined.lines().map(words).filter(|line| !line.is_empty()).collect())
}

/// The instructions of one stage of a Dockerfile, with the one that begins it; the last stage without a name is `""`.
pub(super) fn target_instructions(path: &str, name: &str) -> Result<Vec<String>> {
    let all = instructions(path)?;
    let is_named = |line: &String| {
        let target = line.strip_prefix("FROM ").map(|base| base.split(" AS ").nth(1).unwrap_or_default());
        target == Some(name)
    };
    let begin = all.iter().rposition(is_named).with_context(|| format!("{path} has no stage `{name}`"))?;
    let rest = all.iter().skip(begin + 1).take_while(|line| !line.starts_with("FROM "));
    Ok(all.get(begin).into_iter().chain(rest).cloned().collect())
}

/// The rest of the last instruction with this name.
pub(super) fn last_instruction(path: &str, name: &str) -> Result<String> {
    let all = instructions(path)?;
    let mut found = all.iter().rev().filter_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    found.next().with_context(|| format!("{path} has no {name}"))
}

pub(super) fn words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Fails unless the program has this command.
pub(super) fn check_command(words: &[String]) -> Result<()> {
    let program = [String::from("greenroom")];
    let parsed = Cli::try_parse_from(program.iter().chain(words));
    parsed.map(drop).with_context(|| format!("`greenroom {}`", words.join(" ")))
}

/// The variables that settings read: the table in the documentation is compared with the code by another test.
pub(super) fn settings() -> Result<BTreeSet<String>> {
    let text = read("docs/configuration.md")?;
    let names = text.lines().filter(|line| line.starts_with("| `")).flat_map(|line| line.split('`').skip(3).step_by(2));
    Ok(names.map(str::to_owned).collect())
}

pub(super) fn environment(service: &Value) -> Vec<(String, String)> {
    let variables = service["environment"].as_object().into_iter().flatten();
    variables.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// A list of texts in JSON.
pub(super) fn json_list(text: &str) -> Result<Vec<String>> {
    Ok(words(&serde_json::from_str(text)?))
}
