//! The rules of bodies that their shape does not express. They are checked before anything is sent, so that each problem is
//! reported, and not only the first.

use std::collections::BTreeMap;

use super::body::{CpuChoice, EndpointBody, EndpointType, GpuChoice, Scaling, TemplateBody, is_secret_reference};

/// The flavours of processors.
const FLAVOURS: [&str; 6] = ["cpu3c", "cpu3g", "cpu3m", "cpu5c", "cpu5g", "cpu5m"];
/// Seconds of `idleTimeout`.
const IDLE_TIMEOUT_SECONDS: std::ops::RangeInclusive<u32> = 1..=3_600;
/// Open ports for HTTP.
const HTTP_PORTS_MAX: usize = 10;
/// The shortest `queueDelay` in seconds.
const QUEUE_DELAY_MIN: f64 = 0.5;
/// Milliseconds of one job: seven days.
const TIMEOUT_MILLIS_MAX: u64 = 7 * 24 * 60 * 60 * 1_000;
/// Parts of names of variables whose values are secrets.
const SECRET_PARTS: [&str; 7] = ["KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDS", "CREDENTIAL"];

/// The problems of an endpoint.
#[must_use]
pub fn validate_endpoint(body: &EndpointBody) -> Vec<String> {
    let mut problems = Vec::new();
    if body.name.trim().is_empty() {
        problems.push("name: it is empty".to_owned());
    }
    match (&body.image, &body.template_id) {
        (Some(image), None) => check_image(image, &mut problems),
        (None, Some(_)) => {}
        (Some(_), Some(_)) | (None, None) => problems.push("an endpoint has either `image` or `templateId`".to_owned()),
    }
    match (&body.cpu, &body.gpu) {
        (Some(choices), None) => check_cpu(choices, body.disk, &mut problems),
        (None, Some(gpu)) => check_gpu(gpu, &mut problems),
        (Some(_), Some(_)) | (None, None) => problems.push("an endpoint has either `cpu` or `gpu`".to_owned()),
    }
    check_scaling(body, &mut problems);
    check_ports(&body.ports, &mut problems);
    if body.kind == EndpointType::LoadBalancer {
        check_server(body, &mut problems);
    }
    if body.timeout == 0 || body.timeout > TIMEOUT_MILLIS_MAX {
        problems.push(format!("timeout: {} is not between 1 and {TIMEOUT_MILLIS_MAX} milliseconds", body.timeout));
    }
    check_env(&body.env, &mut problems);
    problems
}

/// The problems of a template.
#[must_use]
pub fn validate_template(body: &TemplateBody) -> Vec<String> {
    let mut problems = Vec::new();
    if body.name.trim().is_empty() {
        problems.push("name: it is empty".to_owned());
    }
    check_image(&body.image, &mut problems);
    check_ports(&body.ports, &mut problems);
    check_env(&body.env, &mut problems);
    problems
}

/// True for the name of a variable whose value is a secret, or a value with a password in an address.
#[must_use]
pub fn looks_like_secret(name: &str, value: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let named = SECRET_PARTS.iter().any(|part| name.split('_').any(|word| word == *part));
    // A path of a file with a secret is none.
    let is_path = name.ends_with("_FILE");
    let has_password = value
        .split_once("://")
        .is_some_and(|(_, rest)| rest.split('/').next().and_then(|authority| authority.rsplit_once('@')).is_some());
    (named && !is_path) || has_password
}

fn check_image(image: &str, problems: &mut Vec<String>) {
    let name = image.rsplit('/').next().unwrap_or(image);
    let tag = name.split_once(':').map(|(_, tag)| tag);
    if image.contains('@') {
        return;
    }
    match tag {
        None | Some("" | "latest") => {
            problems.push(format!("image: {image:?} has no immutable tag and no digest; workers may start an old one"));
        }
        Some(_) => {}
    }
}

fn check_cpu(choices: &[CpuChoice], disk: u32, problems: &mut Vec<String>) {
    if choices.is_empty() {
        problems.push("cpu: it names no kind".to_owned());
    }
    for CpuChoice { id, vcpu_count } in choices {
        if !FLAVOURS.contains(&id.as_str()) {
            problems.push(format!("cpu: the flavour {id:?} is not known; the flavours are {}", FLAVOURS.join(", ")));
        }
        if *vcpu_count < 2 || !vcpu_count.is_power_of_two() {
            problems.push(format!("cpu: vcpuCount {vcpu_count} is no power of two of at least 2"));
        }
        let disk_per_vcpu = if id.starts_with("cpu5") { 15 } else { 10 };
        if disk > vcpu_count.saturating_mul(disk_per_vcpu) {
            problems.push(format!("disk: {disk} GB are more than {disk_per_vcpu} for each processor of {id}"));
        }
    }
}

fn check_gpu(gpu: &GpuChoice, problems: &mut Vec<String>) {
    if gpu.pools.is_empty() || gpu.count == 0 {
        problems.push("gpu: it names no pool, or no processor".to_owned());
    }
    if gpu.min_cuda_version.is_some() && !gpu.allowed_cuda_versions.is_empty() {
        problems.push("gpu: it has either `allowedCudaVersions` or `minCudaVersion`".to_owned());
    }
}

fn check_scaling(body: &EndpointBody, problems: &mut Vec<String>) {
    let (kind, workers) = (body.kind, body.workers);
    match body.scaling {
        Scaling::QueueDelay { queue_delay } => {
            if kind == EndpointType::LoadBalancer {
                problems.push("scaling: only a queue has QUEUE_DELAY".to_owned());
            }
            if queue_delay.is_nan() || queue_delay < QUEUE_DELAY_MIN {
                problems.push(format!("scaling: queueDelay {queue_delay} is less than {QUEUE_DELAY_MIN} seconds"));
            }
        }
        Scaling::RequestCount { request_count } => {
            if request_count == 0 {
                problems.push("scaling: requestCount is at least 1".to_owned());
            }
            if kind == EndpointType::Queue && workers.idle_timeout.is_some() {
                problems.push("workers: idleTimeout is refused for a queue with REQUEST_COUNT".to_owned());
            }
        }
    }
    if workers.max == 0 || workers.min > workers.max {
        problems.push(format!("workers: {} to {} is no range with at least one worker", workers.min, workers.max));
    }
    if workers.idle_timeout.is_some_and(|seconds| !IDLE_TIMEOUT_SECONDS.contains(&seconds)) {
        problems.push("workers: idleTimeout is between 1 and 3600 seconds".to_owned());
    }
}

/// The number and the protocol of a port, such as `8000/http`.
fn read_port(port: &str) -> Option<(u32, &str)> {
    let (number, protocol) = port.split_once('/')?;
    let number = number.parse().ok().filter(|number| *number > 0)?;
    matches!(protocol, "http" | "tcp").then_some((number, protocol))
}

fn check_ports(ports: &[String], problems: &mut Vec<String>) {
    for port in ports.iter().filter(|port| read_port(port).is_none()) {
        problems.push(format!("ports: {port:?} is not of the form 8000/http or 4222/tcp"));
    }
    let http = ports.iter().filter_map(|port| read_port(port)).filter(|(_, protocol)| *protocol == "http").count();
    if http > HTTP_PORTS_MAX {
        problems.push(format!("ports: {http} ports for HTTP, and at most {HTTP_PORTS_MAX} are allowed"));
    }
}

/// A worker with other ports than RunPod connects to lives for minutes, while its callers get errors.
fn check_server(body: &EndpointBody, problems: &mut Vec<String>) {
    for name in ["PORT", "PORT_HEALTH"] {
        match body.env.get(name).map(|value| value.parse::<u32>()) {
            None => problems.push(format!("env: {name} is set for a load balancer, because its default is disputed")),
            Some(Err(_)) => problems.push(format!("env: {name} is no number")),
            Some(Ok(number)) => {
                let is_open = body.ports.iter().any(|port| read_port(port) == Some((number, "http")));
                if !is_open {
                    problems.push(format!("ports: {number}/http is missing, the port of {name}"));
                }
            }
        }
    }
}

fn check_env(env: &BTreeMap<String, String>, problems: &mut Vec<String>) {
    for (name, value) in env {
        if name.is_empty() || name.contains(['=', '\0']) {
            problems.push(format!("env: {name:?} is no name of a variable"));
        }
        if value.contains("${") {
            problems.push(format!("env: {name} has a `${{…}}`, which nothing replaces"));
        }
        if looks_like_secret(name, value) && !is_secret_reference(value) {
            problems.push(format!(
                "env: {name} is a secret; create it in the console of RunPod and write `{{{{ RUNPOD_SECRET_{name} }}}}`"
            ));
        }
    }
}

#[cfg(test)]
mod tests;
