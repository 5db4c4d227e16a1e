//! What is in `docker/`, `.runpod/` and `runpod/endpoints/` agrees with the code: commands, settings, ports, paths, versions and
//! metrics. Images are not built by tests.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use greenroom_runpod::worker::local::local_request;
use greenroom_supervisor::config::settings::CONFIG_FILE_VARIABLE;
use serde_json::Value;

use super::container_files::{
    ENDPOINTS, SERVICES, check_command, document, environment, instructions, json_list, last_instruction, read, root,
    settings, target_instructions, words,
};

#[test]
fn every_command_of_a_container_exists() -> Result<()> {
    let compose = document("docker/compose.yaml")?;
    for service in SERVICES {
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
    for file in ENDPOINTS {
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
    for service in SERVICES {
        names.extend(environment(&compose["services"][service]).into_iter().map(|(name, _)| name));
    }
    for path in ["docker/Dockerfile", ".runpod/Dockerfile"] {
        let line = last_instruction(path, "ENV ")?;
        names.extend(line.split(' ').filter_map(|pair| Some(pair.split_once('=')?.0.to_owned())));
    }
    for variable in document(".runpod/hub.json")?["config"]["env"].as_array().context("a list")? {
        names.insert(variable["key"].as_str().context("a name")?.to_owned());
    }
    for file in ENDPOINTS {
        for endpoint in document(&format!("runpod/endpoints/{file}.yaml"))?["endpoints"].as_array().context("a list")? {
            names.extend(endpoint["env"].as_object().context("an environment")?.keys().cloned());
        }
    }
    for variable in document(".runpod/tests.json")?["config"]["env"].as_array().context("a list")? {
        names.insert(variable["key"].as_str().context("a name")?.to_owned());
    }
    // That of the settings file, and those of RunPod itself.
    let others = [CONFIG_FILE_VARIABLE, "PORT", "PORT_HEALTH", "HEALTH_CHECK_PATH"];
    let unknown: Vec<_> =
        names.iter().filter(|name| !settings.contains(*name) && !others.contains(&name.as_str())).collect();
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
        ensure!(words(&pod["volumes"]).contains(&format!("{service}:{}", volume[0])), "{service}");
    }
    ensure!(env.contains(&format!("GREENROOM_DATA_DIR={}", volume[0])), "{env}");
    let prometheus = document("docker/prometheus/prometheus.yml")?;
    let job = &prometheus["scrape_configs"][0];
    assert_eq!(words(&job["static_configs"][0]["targets"]), [format!("pod-1:{port}"), format!("pod-2:{port}")]);
    assert_eq!(job["metrics_path"], "/metrics");
    let declared = compose["volumes"].as_object().context("volumes")?;
    for (name, service) in compose["services"].as_object().context("services")? {
        for volume in words(&service["volumes"]) {
            let source = volume.split(':').next().context("a path")?;
            let is_file = source.starts_with('.') && root().join("docker").join(source).exists();
            ensure!(is_file || declared.contains_key(source), "{name}: {source} is no file and no volume");
        }
    }
    Ok(())
}

#[test]
fn grafana_finds_its_data_and_its_dashboards() -> Result<()> {
    let compose = document("docker/compose.yaml")?;
    let mounts = words(&compose["services"]["grafana"]["volumes"]);
    let is_mounted = |host: &str, path: &str| mounts.iter().any(|mount| *mount == format!("{host}:{path}:ro"));
    // The folder that Grafana reads by itself.
    ensure!(is_mounted("./grafana/provisioning", "/etc/grafana/provisioning"), "{mounts:?}");
    let providers = document("docker/grafana/provisioning/dashboards/greenroom.yaml")?;
    let folder = providers["providers"][0]["options"]["path"].as_str().context("a folder")?.to_owned();
    ensure!(is_mounted("./grafana/dashboards", &folder), "{folder}: {mounts:?}");
    let sources = document("docker/grafana/provisioning/datasources/prometheus.yaml")?;
    let source = &sources["datasources"][0];
    let (uid, kind) = (source["uid"].as_str().context("a uid")?, source["type"].as_str().context("a type")?);
    let dashboard = document("docker/grafana/dashboards/greenroom.json")?;
    for panel in dashboard["panels"].as_array().context("panels")? {
        let data = &panel["datasource"];
        ensure!(data["uid"] == uid && data["type"] == kind, "{panel}");
    }
    let port = words(&compose["services"]["prometheus"]["ports"])[0].rsplit(':').next().context("a port")?.to_owned();
    assert_eq!(source["url"], format!("http://prometheus:{port}"));
    let mounts = words(&compose["services"]["prometheus"]["volumes"]);
    assert_eq!(mounts, ["./prometheus/prometheus.yml:/etc/prometheus/prometheus.yml:ro"]);
    Ok(())
}

#[test]
fn both_images_build_the_program_in_the_same_way() -> Result<()> {
    let build = |path: &str| -> Result<Vec<String>> {
        let all = instructions(path)?;
        ensure!(all.iter().any(|line| line == "COPY --from=build /greenroom /usr/local/bin/greenroom"), "{path}");
        target_instructions(path, "build")
    };
    assert_eq!(build("docker/Dockerfile")?, build(".runpod/Dockerfile")?);
    Ok(())
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
    let version = machine.lines().find_map(|line| line.strip_prefix("NATS_SERVER_VERSION=")).context("a version")?;
    assert_eq!(compose["services"]["nats"]["image"], format!("nats:{version}-alpine"));
    // A server of Qdrant has the minor version of its client.
    let manifest: toml::Table = read("Cargo.toml")?.parse()?;
    let client = manifest["workspace"]["dependencies"]["qdrant-client"]["version"].as_str().context("a version")?;
    let image = compose["services"]["qdrant"]["image"].as_str().context("an image")?;
    ensure!(image.starts_with(&format!("qdrant/qdrant:v{client}.")), "{image} for the client {client}");
    for (name, service) in compose["services"].as_object().context("services")? {
        let image = service["image"].as_str().context("an image")?;
        let tag = image.rsplit_once(':').with_context(|| format!("{name} has a tag"))?.1;
        ensure!(tag != "latest", "{name}: {image}");
    }
    Ok(())
}

#[test]
fn the_image_runs_as_a_user_without_rights_and_has_certificates() -> Result<()> {
    let dockerfile = "docker/Dockerfile";
    let user: u32 = last_instruction(dockerfile, "USER")?.parse()?;
    assert_ne!(user, 0);
    let program = target_instructions(dockerfile, "program")?;
    let runtime = program.iter().find(|line| line.starts_with("RUN ")).context("RUN")?;
    ensure!(runtime.contains("ca-certificates") && runtime.contains("--no-install-recommends"), "{runtime}");
    ensure!(runtime.contains(&format!("--uid {user} ")), "{runtime}");
    // A volume over a folder that does not exist belongs to root.
    let volume = json_list(&last_instruction(dockerfile, "VOLUME")?)?;
    let folder = format!("install --directory --owner=greenroom --mode=0700 {}", volume[0]);
    ensure!(runtime.contains(&folder), "{runtime}");
    let last = format!("USER {user}");
    for name in ["program", "python"] {
        let lines = target_instructions(dockerfile, name)?;
        ensure!(lines.iter().rfind(|line| line.starts_with("USER ")) == Some(&last), "{name}");
    }
    Ok(())
}

#[test]
fn an_image_with_python_is_the_other_one_with_an_interpreter() -> Result<()> {
    let dockerfile = "docker/Dockerfile";
    let python = target_instructions(dockerfile, "python")?;
    assert_eq!(python[0], "FROM program AS python");
    let installed = python.iter().find(|line| line.starts_with("RUN ")).context("RUN")?;
    ensure!(installed.contains(" python3 ") && installed.contains(" python3-venv "), "{installed}");
    // Without a target, the image has no Python.
    assert_eq!(target_instructions(dockerfile, "")?, ["FROM program"]);
    let compose = document("docker/compose.yaml")?;
    for service in ["pod-1", "pod-2"] {
        assert_eq!(compose["services"][service]["build"]["target"], "python", "{service}");
    }
    Ok(())
}

#[test]
fn each_container_ends_by_the_signal_that_the_program_drains_after() -> Result<()> {
    for path in ["docker/Dockerfile", ".runpod/Dockerfile"] {
        assert_eq!(last_instruction(path, "STOPSIGNAL")?, "SIGTERM", "{path}");
    }
    Ok(())
}

#[test]
fn every_service_reports_its_health_and_those_that_need_it_wait_for_it() -> Result<()> {
    let compose = document("docker/compose.yaml")?;
    let services = compose["services"].as_object().context("services")?;
    for (name, service) in services {
        let probe = words(&service["healthcheck"]["test"]);
        // The pods have the check of the image.
        ensure!(!probe.is_empty() || name.starts_with("pod-"), "{name} has no check");
        for (needed, condition) in service["depends_on"].as_object().into_iter().flatten() {
            ensure!(services.contains_key(needed), "{name} needs {needed}");
            assert_eq!(condition["condition"], "service_healthy", "{name} needs {needed}");
        }
    }
    let command =
        |name: &str| words(&services[name]["command"]).join(" ") + &words(&services[name]["entrypoint"]).join(" ");
    let probe = |name: &str| words(&services[name]["healthcheck"]["test"]).join(" ");
    ensure!(command("nats").contains("--http_port 8222") && probe("nats").ends_with("127.0.0.1:8222/healthz"));
    let s3 = command("s3");
    ensure!(s3.contains("--port :7070") && s3.contains("--health /healthz"), "{s3}");
    ensure!(probe("s3").ends_with("127.0.0.1:7070/healthz"));
    ensure!(probe("qdrant").contains("127.0.0.1/6333"), "the port of HTTP, and not that of the gRPC");
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
