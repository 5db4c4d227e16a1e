//! The customer's `runpod-config.yaml`, as it stands: each key becomes a member of a body, or is named with the reason why it
//! has no counterpart.

use std::collections::BTreeMap;

use greenroom_protocol::{Cause, ErrorCode};
use serde::Deserialize;
use serde_yaml_ng::Value;

use super::body::{CpuChoice, EndpointBody, EndpointType, FlashBoot, Scaling, Workers};
use super::client_requirements::{add_requirements, bridge_environment};
use super::deployment::{DeployOptions, Description, Mapping};

/// Jobs or requests for one worker, where a file scales by the depth of the queue and names no number.
pub const REQUESTS_PER_WORKER: u32 = 8;
/// The most workers of the bridge, which forwards only.
const BRIDGE_WORKERS_MAX: u32 = 3;
/// The port of the bridge.
const BRIDGE_PORT: u16 = 8_000;
/// Megabytes of memory for one virtual processor of each family, from the smallest.
const FAMILIES: [(u64, &[&str]); 3] =
    [(2_048, &["cpu3c", "cpu5c"]), (4_096, &["cpu3g", "cpu5g"]), (8_192, &["cpu3m", "cpu5m"])];
/// Folders of the file with the settings that replace them: the pods read a bucket by themselves.
const FOLDERS: [(&str, &str); 2] = [("/app/agents", "GREENROOM_DEFINITIONS"), ("/app/policies", "GREENROOM_POLICY")];
/// The paths that the bridge serves.
const BRIDGE_PATHS: [&str; 3] =
    ["/v1/agents/{agent_id}/execute", "/v1/teams/execute", "/v1/workflows/{workflow_id}/run"];

/// The file. Its members are those of the customer's document.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientConfig {
    name: String,
    #[serde(default)]
    runtime: Option<String>,
    #[serde(default)]
    handler: Option<String>,
    compute: Compute,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    volumes: Vec<Volume>,
    #[serde(default)]
    cold_start_optimization: Vec<BTreeMap<String, Value>>,
    #[serde(default)]
    endpoints: Vec<Route>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compute {
    #[serde(default)]
    gpu: bool,
    cpu: u32,
    memory: u64,
    min_instances: u32,
    max_instances: u32,
    scale_strategy: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Volume {
    name: String,
    mount_path: String,
    source: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    path: String,
    method: String,
}

/// True for a file with the members of the customer's document.
pub(super) fn is_client_config(document: &Value) -> bool {
    document.get("compute").is_some()
}

/// Reads the file.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`] if a key is unknown, or a value cannot be deployed.
pub(super) fn read_client_config(document: Value, options: &DeployOptions) -> Result<Description, Cause> {
    let config: ClientConfig =
        serde_yaml_ng::from_value(document).map_err(|error| invalid(format!("the file cannot be read: {error}")))?;
    let mut mappings = Mappings::default();
    mappings.add("name", "name", &config.name);
    if let Some(runtime) = &config.runtime {
        mappings.without("runtime", &runtime_note(runtime));
    }
    if let Some(handler) = &config.handler {
        let note = format!("`greenroom runpod worker` is the handler, instead of {handler}");
        mappings.add("handler", "args", &note);
    }
    let (cpu, workers, scaling) = config.compute.map(&mut mappings)?;
    let mut env = environment(&config.environment, &mut mappings)?;
    map_volumes(&config.volumes, &mut env, &mut mappings);
    map_cold_start(&config.cold_start_optimization, &mut mappings);
    let has_bridge = map_routes(&config.endpoints, &config.name, &mut mappings);
    let requirements = add_requirements(&mut env, has_bridge);
    let queue = EndpointBody {
        name: config.name.clone(),
        kind: EndpointType::Queue,
        image: Some(options.image.clone()),
        template_id: None,
        registry: options.registry.clone(),
        args: Some("runpod worker".to_owned()),
        cpu: Some(cpu.clone()),
        gpu: None,
        disk: 5,
        env: env.clone(),
        ports: Vec::new(),
        workers,
        scaling,
        flashboot: FlashBoot::FlashBoot,
        timeout: 600_000,
        data_center_ids: Vec::new(),
        network_volumes: Vec::new(),
    };
    let mut endpoints = vec![queue];
    if has_bridge {
        endpoints.push(bridge(&config, cpu, bridge_environment(&env), options));
    }
    Ok(Description { templates: Vec::new(), endpoints, mappings: mappings.0, requirements })
}

impl Compute {
    fn map(&self, mappings: &mut Mappings) -> Result<(Vec<CpuChoice>, Workers, Scaling), Cause> {
        if self.gpu {
            return Err(invalid(
                "compute.gpu: the file names no pool of graphics processors; describe the endpoint in \
                 a file of its own"
                    .to_owned(),
            ));
        }
        mappings.add("compute.gpu", "cpu", "no graphics processor");
        let per_vcpu = self.memory / u64::from(self.cpu.max(1));
        let Some((megabytes, flavours)) = FAMILIES.iter().find(|(megabytes, _)| per_vcpu <= *megabytes) else {
            return Err(invalid(format!("compute.memory: no family has {per_vcpu} MB for each processor")));
        };
        let choices: Vec<CpuChoice> =
            flavours.iter().map(|id| CpuChoice { id: (*id).to_owned(), vcpu_count: self.cpu }).collect();
        mappings.add("compute.cpu", "cpu[].vcpuCount", &self.cpu.to_string());
        let note = format!("{} ({megabytes} MB for each processor)", flavours.join(", "));
        mappings.add("compute.memory", "cpu[].id", &note);
        mappings.add("compute.min_instances", "workers.min", &self.min_instances.to_string());
        let note = format!("{}; the balance of the account may allow fewer", self.max_instances);
        mappings.add("compute.max_instances", "workers.max", &note);
        if self.scale_strategy != "queue_depth" {
            let found = &self.scale_strategy;
            return Err(invalid(format!(
                "compute.scale_strategy: {found:?} is not known; the strategy is `queue_depth`"
            )));
        }
        let note = format!("REQUEST_COUNT with {REQUESTS_PER_WORKER} jobs for each worker, without idleTimeout");
        mappings.add("compute.scale_strategy", "scaling", &note);
        let workers = Workers { min: self.min_instances, max: self.max_instances, idle_timeout: None };
        Ok((choices, workers, Scaling::RequestCount { request_count: REQUESTS_PER_WORKER }))
    }
}

fn runtime_note(runtime: &str) -> String {
    let note = format!("the worker is one native program; {runtime} is not needed");
    if runtime.starts_with("python") {
        format!(
            "{note}, unless handlers of agents are in Python: then --image names the image whose tag ends with -python"
        )
    } else {
        note
    }
}

/// A value of the deployer's environment becomes a reference to a secret of RunPod, and is never read.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`] for a reference within a value, which nothing would replace.
fn environment(
    variables: &BTreeMap<String, String>,
    mappings: &mut Mappings,
) -> Result<BTreeMap<String, String>, Cause> {
    let mut mapped = BTreeMap::new();
    for (name, value) in variables {
        let inside = value.strip_prefix("${env.").and_then(|rest| rest.strip_suffix('}'));
        let secret = inside.filter(|secret| !secret.contains(['$', '{', '}']));
        if secret.is_none() && value.contains("${") {
            return Err(invalid(format!(
                "environment.{name}: a reference such as `${{env.{name}}}` is the whole value, since nothing replaces one \
                 within a text; store the complete value as a secret of RunPod, and refer to that"
            )));
        }
        let value = secret.map_or_else(|| value.clone(), |secret| format!("{{{{ RUNPOD_SECRET_{secret} }}}}"));
        let note = if secret.is_some() { value.as_str() } else { "the value of the file" };
        mappings.add(&format!("environment.{name}"), &format!("env.{name}"), note);
        mapped.insert(name.clone(), value);
    }
    Ok(mapped)
}

fn map_volumes(volumes: &[Volume], env: &mut BTreeMap<String, String>, mappings: &mut Mappings) {
    for (index, Volume { name, mount_path, source }) in volumes.iter().enumerate() {
        let key = format!("volumes[{index}]");
        let setting = FOLDERS.iter().find(|(path, _)| path == mount_path).map(|(_, setting)| *setting);
        match setting.filter(|_| source.starts_with("s3://")) {
            Some(setting) => {
                let note = format!("{source}: the pods read the bucket of {name} themselves, and nothing is mounted");
                mappings.add(&key, &format!("env.{setting}"), &note);
                env.insert(setting.to_owned(), source.clone());
            }
            None => {
                let note = format!(
                    "{name}: RunPod mounts only its own network volumes, at /runpod-volume, and no {source} at {mount_path}"
                );
                mappings.without(&key, &note);
            }
        }
    }
}

fn map_cold_start(options: &[BTreeMap<String, Value>], mappings: &mut Mappings) {
    for (name, value) in options.iter().flatten() {
        let key = format!("cold_start_optimization.{name}");
        let value = serde_yaml_ng::to_string(value).unwrap_or_default();
        let value = value.trim();
        match name.as_str() {
            "warm_pool_size" => {
                let note = format!(
                    "the API has no standby workers. FlashBoot keeps stopped workers ready, unbilled; for {value} that \
                     always run, and are always billed, set workers.min"
                );
                mappings.add(&key, "flashboot", &note);
            }
            "preload_models" => mappings.without(&key, "models are called over their APIs: there is none to load"),
            "lazy_load_agents" => mappings.without(&key, "an agent is always activated by its first message"),
            "cache_agent_definitions" => {
                mappings.without(&key, "definitions are loaded once, at the start of a pod, and when they change");
            }
            _ => mappings.without(&key, "no setting has this meaning"),
        }
    }
}

/// Maps the paths; true if the bridge serves any.
fn map_routes(routes: &[Route], name: &str, mappings: &mut Mappings) -> bool {
    let mut is_needed = false;
    for (index, Route { path, method }) in routes.iter().enumerate() {
        let key = format!("endpoints[{index}]");
        if method == "POST" && BRIDGE_PATHS.contains(&path.as_str()) {
            is_needed = true;
            mappings.add(&key, &format!("the endpoint {name}-bridge"), &format!("{method} {path}, of the bridge"));
        } else {
            mappings.without(&key, &format!("the bridge does not serve {method} {path}"));
        }
    }
    is_needed
}

/// The load balancer in front of the pods.
fn bridge(
    config: &ClientConfig,
    cpu: Vec<CpuChoice>,
    mut env: BTreeMap<String, String>,
    options: &DeployOptions,
) -> EndpointBody {
    env.insert("PORT".to_owned(), BRIDGE_PORT.to_string());
    env.insert("PORT_HEALTH".to_owned(), BRIDGE_PORT.to_string());
    env.insert("HEALTH_CHECK_PATH".to_owned(), "/ping".to_owned());
    env.insert("GREENROOM_HTTP_ADDR".to_owned(), format!("0.0.0.0:{BRIDGE_PORT}"));
    env.insert("GREENROOM_METRICS_ADDR".to_owned(), "off".to_owned());
    let cpu = cpu.into_iter().map(|choice| CpuChoice { vcpu_count: 2, ..choice }).collect();
    let min = config.compute.min_instances.min(BRIDGE_WORKERS_MAX);
    EndpointBody {
        name: format!("{}-bridge", config.name),
        kind: EndpointType::LoadBalancer,
        image: Some(options.image.clone()),
        template_id: None,
        registry: options.registry.clone(),
        args: Some("bridge".to_owned()),
        cpu: Some(cpu),
        gpu: None,
        disk: 5,
        env,
        ports: vec![format!("{BRIDGE_PORT}/http")],
        workers: Workers { min, max: BRIDGE_WORKERS_MAX, idle_timeout: Some(5) },
        scaling: Scaling::RequestCount { request_count: 64 },
        flashboot: FlashBoot::FlashBoot,
        timeout: 330_000,
        data_center_ids: Vec::new(),
        network_volumes: Vec::new(),
    }
}

#[derive(Default)]
struct Mappings(Vec<Mapping>);

impl Mappings {
    fn add(&mut self, key: &str, target: &str, note: &str) {
        self.0.push(Mapping { key: key.to_owned(), target: Some(target.to_owned()), note: note.to_owned() });
    }

    fn without(&mut self, key: &str, note: &str) {
        self.0.push(Mapping { key: key.to_owned(), target: None, note: note.to_owned() });
    }
}

fn invalid(message: String) -> Cause {
    Cause::new(ErrorCode::InvalidConfiguration, message)
}
