//! What is in `docker/`, `.runpod/` and `runpod/endpoints/` agrees with the code: commands, settings, ports, paths, versions and
//! metrics. Images are not built by tests.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use greenroom_runpod::worker::local::local_request;
use greenroom_supervisor::cli::args::Cli;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| path.to_owned())
}

/// A YAML or JSON file as JSON, with the merge keys of YAML applied.
fn document(path: &str) -> Result<Value> {
    let mut document: serde_yaml_ng::Value = serde_yaml_ng::from_str(&read(path)?).with_context(|| path.to_owned())?;
    document.apply_merge()?;
    Ok(serde_json::to_value(document)?)
}

/// The instructions of a Dockerfile, with continued lines joined and without comments.
fn instructions(path: &str) -> Result<Vec<String>> {
    let text = read(path)?;
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    Ok(joined.lines().map(words).filter(|line| !line.is_empty()).collect())
}

/// The rest of the last instruction with this name.
fn last_instruction(path: &str, name: &str) -> Result<String> {
    let all = instructions(path)?;
    let mut found = all.iter().rev().filter_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()));
    found.next().with_context(|| format!("{path} has no {name}"))
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Fails unless the program has this command.
fn check_command(words: &[String]) -> Result<()> {
    let program = [String::from("greenroom")];
    let parsed = Cli::try_parse_from(program.iter().chain(words));
    parsed.map(drop).with_context(|| format!("`greenroom {}`", words.join(" ")))
}

/// The variables that settings read: the table in the documentation is compared with the code by another test.
fn settings() -> Result<BTreeSet<String>> {
    let text = read("docs/configuration.md")?;
    let names = text.lines().filter(|line| line.starts_with("| `")).flat_map(|line| line.split('`').skip(3).step_by(2));
    Ok(names.map(str::to_owned).collect())
}

fn environment(service: &Value) -> Vec<(String, String)> {
    let variables = service["environment"].as_object().into_iter().flatten();
    variables.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

#[test]
fn every_command_of_a_container_exists() -> Result<()> {
    let compose = document("docker/compose.yaml")?;
    for service in ["pod-1", "pod-2", "bridge"] {
        check_command(&words(&compose["services"][service]["command"]))?;
    }
    let probe = words(&compose["services"]["bridge"]["healthcheck"]["test"]);
    ensure!(probe[..2] == ["CMD", "greenroom"], "{probe:?}");
    check_command(&probe[2..])?;
    let json = |text: &str| serde_json::from_str::<Value>(text).map(|value| words(&value));
    assert_eq!(json(&last_instruction("docker/Dockerfile", "ENTRYPOINT")?)?, ["greenroom"]);
    check_command(&json(&last_instruction("docker/Dockerfile", "CMD")?)?)?;
    let health = last_instruction("docker/Dockerfile", "HEALTHCHECK")?;
    let health = json(health.split_once("CMD").context("the image has a check")?.1.trim())?;
    check_command(&health[1..])?;
    let hub = json(&last_instruction(".runpod/Dockerfile", "CMD")?)?;
    check_command(&hub[1..])?;
    for file in ["queue", "bridge", "leases"] {
        for endpoint in document(&format!("runpod/endpoints/{file}.yaml"))?["endpoints"].as_array().context("a list")? {
            let arguments = endpoint["args"].as_str().context("the command of a container")?;
            check_command(&arguments.split(' ').map(str::to_owned).collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

#[test]
fn every_variable_of_a_container_is_read() -> Result<()> {
    let settings = settings()?;
    let compose = document("docker/compose.yaml")?;
    let mut names = BTreeSet::new();
    for service in ["pod-1", "pod-2", "bridge"] {
        names.extend(environment(&compose["services"][service]).into_iter().map(|(name, _)| name));
    }
    for path in ["docker/Dockerfile", ".runpod/Dockerfile"] {
        let line = last_instruction(path, "ENV ")?;
        names.extend(line.split(' ').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())));
    }
    for variable in document(".runpod/hub.json")?["config"]["env"].as_array().context("a list")? {
        names.insert(variable["key"].as_str().context("a name")?.to_owned());
    }
    for file in ["queue", "bridge", "leases"] {
        for endpoint in document(&format!("runpod/endpoints/{file}.yaml"))?["endpoints"].as_array().context("a list")? {
            names.extend(endpoint["env"].as_object().context("an environment")?.keys().cloned());
        }
    }
    // Those of RunPod itself.
    let runpod = ["PORT", "PORT_HEALTH", "HEALTH_CHECK_PATH"];
    let unknown: Vec<_> =
        names.iter().filter(|name| !settings.contains(*name) && !runpod.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "no setting reads {unknown:?}");
    Ok(())
}

#[test]
fn ports_and_paths_are_the_same_wherever_they_are() -> Result<()> {
    let dockerfile = "docker/Dockerfile";
    let env = last_instruction(dockerfile, "ENV ")?;
    let port = last_instruction(dockerfile, "EXPOSE")?;
    ensure!(env.contains(&format!("GREENROOM_METRICS_ADDR=0.0.0.0:{port}")), "{env}");
    let settings = read("docs/configuration.md")?;
    ensure!(settings.contains(&format!("`127.0.0.1:{port}`")), "the port of the metrics is the default one");
    let compose = document("docker/compose.yaml")?;
    let volume = json_list(&last_instruction(dockerfile, "VOLUME")?)?;
    for service in ["pod-1", "pod-2"] {
        let pod = &compose["services"][service];
        let variables = environment(pod);
        let metrics = format!("0.0.0.0:{port}");
        ensure!(variables.iter().any(|(name, value)| name == "GREENROOM_METRICS_ADDR" && *value == metrics));
        ensure!(variables.iter().any(|(name, value)| name == "GREENROOM_POD" && value == service));
        assert_eq!(words(&pod["volumes"]), [format!("{service}:{}", volume[0])]);
    }
    ensure!(env.contains(&format!("GREENROOM_DATA_DIR={}", volume[0])), "{env}");
    let prometheus = document("docker/prometheus/prometheus.yml")?;
    let job = &prometheus["scrape_configs"][0];
    assert_eq!(words(&job["static_configs"][0]["targets"]), [format!("pod-1:{port}"), format!("pod-2:{port}")]);
    assert_eq!(job["metrics_path"], "/metrics");
    for service in ["prometheus", "grafana"] {
        for volume in words(&compose["services"][service]["volumes"]) {
            let host = volume.split(':').next().context("a path")?;
            ensure!(root().join("docker").join(host).exists(), "{host} does not exist");
        }
    }
    Ok(())
}

fn json_list(text: &str) -> Result<Vec<String>> {
    Ok(words(&serde_json::from_str(text)?))
}

#[test]
fn versions_are_those_of_the_tests() -> Result<()> {
    let toolchain: toml::Table = read("rust-toolchain.toml")?.parse()?;
    let channel = toolchain["toolchain"]["channel"].as_str().context("a channel")?;
    for path in ["docker/Dockerfile", ".runpod/Dockerfile"] {
        let first = instructions(path)?.into_iter().find(|line| line.starts_with("FROM ")).context("a base")?;
        ensure!(first.starts_with(&format!("FROM rust:{channel}-")), "{path}: {first}");
        ensure!(instructions(path)?.iter().any(|line| line.contains("--profile dist")), "{path}");
    }
    let machine = read("scripts/machine.sh")?;
    let version = machine.lines().find_map(|line| line.strip_prefix("VERSITYGW_VERSION=")).context("a version")?;
    let compose = document("docker/compose.yaml")?;
    let image = compose["services"]["s3"]["image"].as_str().context("an image")?;
    ensure!(image.ends_with(&format!(":v{version}")), "{image}");
    for (name, service) in compose["services"].as_object().context("services")? {
        let image = service["image"].as_str().context("an image")?;
        let tag = image.rsplit_once(':').with_context(|| format!("{name} has a tag"))?.1;
        ensure!(tag != "latest", "{name}: {image}");
    }
    Ok(())
}

#[test]
fn the_image_runs_as_a_user_without_rights_and_has_certificates() -> Result<()> {
    let user: u32 = last_instruction("docker/Dockerfile", "USER")?.parse()?;
    assert_ne!(user, 0);
    let runtime =
        instructions("docker/Dockerfile")?.into_iter().rfind(|line| line.starts_with("RUN ")).context("RUN")?;
    ensure!(runtime.contains("ca-certificates") && runtime.contains("--no-install-recommends"), "{runtime}");
    ensure!(runtime.contains(&format!("--uid {user} ")), "{runtime}");
    Ok(())
}

#[test]
fn the_test_of_the_hub_is_a_job_of_an_agent_that_exists() -> Result<()> {
    let tests = document(".runpod/tests.json")?;
    for test in tests["tests"].as_array().context("a list")? {
        local_request(&test["input"]).map_err(|cause| anyhow::anyhow!("{}: {cause}", test["name"]))?;
        let agent = test["input"]["agent"].as_str().context("an agent")?;
        let path = format!("catalogue/agents/data_analytics/{agent}.yaml");
        ensure!(read(&path)?.contains("runtime: \"native\""), "{agent} needs a model");
        ensure!(test["timeout"].as_u64().is_some_and(|millis| millis >= 1_000), "{test}");
    }
    Ok(())
}

/// The names of metrics in an expression of PromQL.
fn metrics_of(expression: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = expression
        .split(move |c: char| !is_part(c))
        .filter(|word| word.contains('_') && !word.starts_with("histogram_"));
    names.map(|name| name.trim_end_matches("_bucket").trim_end_matches("_count"))
}

#[test]
fn the_dashboard_shows_metrics_that_exist_and_all_of_those_that_are_required() -> Result<()> {
    let source = [
        read("supervisor/src/telemetry/metrics.rs")?,
        read("supervisor/src/telemetry/metrics/generations.rs")?,
        read("supervisor/src/telemetry/metrics/store_failures.rs")?,
    ]
    .concat();
    let dashboard = document("docker/grafana/dashboards/greenroom.json")?;
    let mut names = BTreeSet::new();
    for panel in dashboard["panels"].as_array().context("panels")? {
        let expression = panel["targets"][0]["expr"].as_str().context("an expression")?;
        for name in metrics_of(expression) {
            ensure!(source.contains(&format!("\"{name}\"")), "no metric is called {name}: {expression}");
            names.insert(name.to_owned());
        }
    }
    for required in [
        "agent_execution_time",
        "agent_success_rate",
        "team_formation_time",
        "workflow_completion_rate",
        "policy_denials",
        "active_agents",
        "concurrent_teams",
        "llm_token_usage",
        "error_rate",
    ] {
        ensure!(names.contains(required), "the dashboard does not show {required}");
    }
    Ok(())
}
