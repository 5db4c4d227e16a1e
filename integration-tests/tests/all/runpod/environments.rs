//! The environment of each container is one that its program accepts, and one that several workers may have: those of one
//! database have the same key of the audit and share their artifacts, and those of one NATS have the secret of the cluster.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use greenroom_runpod::deploy::{DeployOptions, EndpointType, read_description};
use greenroom_supervisor::config::source::load;
use greenroom_supervisor::config::{Config, Flags, StoreConfig};

use super::container_files::{ENDPOINTS, SERVICES, document, environment, read, root, words};

/// What a secret of RunPod may be.
fn secret(name: &str) -> String {
    match name {
        "DATABASE_URL" => "postgres://greenroom:planted@database/greenroom".to_owned(),
        "NATS_URL" => "nats://nats:4222".to_owned(),
        "REDIS_URL" => "redis://redis:6379".to_owned(),
        "QDRANT_URL" => "http://qdrant:6334".to_owned(),
        "S3_BUCKET" => "artifacts".to_owned(),
        "GREENROOM_AUDIT_KEY" => "07".repeat(32),
        _ => "a-planted-value-of-many-bytes".to_owned(),
    }
}

/// A value as the container has it: a reference is replaced by its secret, and `${NAME:-DEFAULT}` by its default.
fn resolve(value: &str) -> String {
    if let Some(name) = value.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}")) {
        return secret(name.trim().trim_start_matches("RUNPOD_SECRET_"));
    }
    let default =
        value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).and_then(|rest| rest.split_once(":-"));
    default.map_or_else(|| value.to_owned(), |(_, default)| default.to_owned())
}

/// The configuration of a container. A settings file is that of the tree.
fn container_config(variables: &BTreeMap<String, String>) -> Result<Config> {
    let mut variables = variables.clone();
    let file = variables.remove("GREENROOM_CONFIG").map(|path| {
        let name = Path::new(&path).file_name().unwrap_or_default().to_owned();
        root().join("docker").join(name)
    });
    let flags = Flags { config: file, ..Flags::default() };
    let variables = variables.into_iter().map(|(name, value)| (name, resolve(&value)));
    let loaded = load(&flags, variables).map_err(|error| anyhow::anyhow!("{error}"))?;
    let unread: Vec<&String> = loaded.warnings.iter().filter(|warning| warning.contains("no setting reads")).collect();
    ensure!(unread.is_empty(), "{unread:?}");
    Ok(loaded.config)
}

/// Fails unless a pod starts with this configuration beside others with the same one.
fn check_pod(name: &str, config: &Config) -> Result<()> {
    if matches!(config.store, StoreConfig::Postgres { .. }) {
        ensure!(config.audit_key.is_some(), "{name}: each pod would sign the audit with a key of its own");
        ensure!(config.artifacts.are_shared(), "{name}: the second pod of the database would be refused");
    }
    if config.nats.is_some() {
        config.cluster.require_secret().map_err(|cause| anyhow::anyhow!("{name}: {cause}"))?;
    }
    Ok(())
}

/// Fails unless a bridge starts with this configuration, and reads the tokens of others.
fn check_bridge(name: &str, config: &Config) -> Result<()> {
    ensure!(config.nats.is_some(), "{name}: the bridge has no NATS");
    ensure!(config.http.as_ref().is_some_and(|http| !http.addr.ip().is_loopback()), "{name}: no one can connect");
    ensure!(config.cluster.secret.is_some(), "{name}: each bridge would have tokens of its own");
    Ok(())
}

#[test]
fn the_endpoints_of_each_description_start_beside_others_of_their_kind() -> Result<()> {
    let options = DeployOptions { image: "ghcr.io/acme/greenroom:0.1.0".to_owned(), registry: None };
    for file in ENDPOINTS.into_iter().chain(["runpod-config"]) {
        let text = read(&format!("runpod/endpoints/{file}.yaml"))?;
        let description = read_description(&text, &options).map_err(|cause| anyhow::anyhow!("{file}: {cause}"))?;
        for endpoint in &description.endpoints {
            let config = container_config(&endpoint.env).with_context(|| endpoint.name.clone())?;
            match endpoint.kind {
                EndpointType::Queue => check_pod(&endpoint.name, &config)?,
                EndpointType::LoadBalancer => {
                    check_bridge(&endpoint.name, &config)?;
                    let port = config.http.as_ref().context("an address")?.addr.port().to_string();
                    assert_eq!(endpoint.env["PORT"], port, "{}: RunPod connects to the port of HTTP", endpoint.name);
                    assert_eq!(endpoint.env["PORT_HEALTH"], port, "{}", endpoint.name);
                }
            }
        }
    }
    Ok(())
}

#[test]
fn the_services_of_the_composition_start_and_find_their_servers() -> Result<()> {
    let compose = document("docker/compose.yaml")?;
    let services = compose["services"].as_object().context("services")?;
    let mut keys = Vec::new();
    for service in SERVICES {
        let variables: BTreeMap<String, String> = environment(&services[service]).into_iter().collect();
        for (name, value) in variables.iter().filter(|(_, value)| value.contains("://")) {
            let authority =
                value.split("://").nth(1).and_then(|rest| rest.split('/').next()).context("an authority")?;
            let host = authority.rsplit('@').next().and_then(|host| host.split(':').next()).context("a host")?;
            ensure!(services.contains_key(host), "{service}: {name} names {host}, which is no service");
        }
        let config = container_config(&variables).with_context(|| service.to_owned())?;
        if service == "bridge" {
            check_bridge(service, &config)?;
            let port = config.http.as_ref().context("an address")?.addr.port();
            assert_eq!(words(&services[service]["ports"]), [format!("127.0.0.1:{port}:{port}")]);
            let probe = words(&services[service]["healthcheck"]["test"]);
            ensure!(probe.contains(&format!("127.0.0.1:{port}")) && probe.contains(&"/ping".to_owned()), "{probe:?}");
        } else {
            check_pod(service, &config)?;
            ensure!(config.users.user_by_api_key("greenroom-local").is_some(), "{service}: no caller has a key");
            keys.push(config.audit_key);
        }
    }
    assert_eq!(keys[0], keys[1], "both pods sign with one key");
    Ok(())
}

#[test]
fn a_pod_has_the_time_to_drain_before_its_container_is_killed() -> Result<()> {
    let compose = document("docker/compose.yaml")?;
    let drain = Config::defaults(&root()).map_err(|error| anyhow::anyhow!("{error}"))?.drain_timeout.as_secs();
    for service in ["pod-1", "pod-2"] {
        let grace = compose["services"][service]["stop_grace_period"].as_str().context("a grace")?;
        let seconds: u64 = grace.trim_end_matches('s').parse()?;
        ensure!(seconds > drain, "{service}: {grace} for a drain of {drain} s");
    }
    Ok(())
}
