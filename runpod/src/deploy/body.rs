//! The bodies of version 2 of RunPod's API. A member that the API does not know is refused by it, and here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The type of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EndpointType {
    /// Jobs wait in a queue, and workers poll for them.
    Queue,
    /// Requests go to an HTTP server in the worker.
    LoadBalancer,
}

/// When workers are started.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "SCREAMING_SNAKE_CASE", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum Scaling {
    /// When a job has waited for this many seconds.
    QueueDelay {
        /// At least 0.5.
        queue_delay: f64,
    },
    /// One worker for this many jobs or requests.
    RequestCount {
        /// At least 1.
        request_count: u32,
    },
}

/// Whether stopped workers remain ready to be resumed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FlashBoot {
    /// They do not; the default of the API.
    Off,
    /// They do; the default here.
    #[default]
    #[serde(rename = "FLASHBOOT")]
    FlashBoot,
    /// They do, before those of others.
    #[serde(rename = "PRIORITY_FLASHBOOT")]
    PriorityFlashBoot,
}

/// The number of workers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workers {
    /// Workers that always run, and are always billed: warm ones.
    pub min: u32,
    /// The most workers.
    pub max: u32,
    /// Seconds without a job after which a worker is stopped. A queue that scales by the number of jobs has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<u32>,
}

/// A kind of processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CpuChoice {
    /// The flavour, such as `cpu3c`.
    pub id: String,
    /// Virtual processors: a power of two, at least 2. The memory follows from the flavour.
    pub vcpu_count: u32,
}

/// A kind of graphics processor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GpuChoice {
    /// The pools, such as `ADA_24`.
    pub pools: Vec<String>,
    /// Graphics processors of one worker.
    #[serde(default = "one")]
    pub count: u32,
    /// Types of the pools that are not used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded_types: Vec<String>,
    /// Versions of CUDA that are used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_cuda_versions: Vec<String>,
    /// The oldest version of CUDA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_cuda_version: Option<String>,
}

const fn one() -> u32 {
    1
}

/// The body that creates an endpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointBody {
    /// Its name, by which a deployment finds it again.
    pub name: String,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: EndpointType,
    /// The image, with an immutable tag or a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// A template instead of an image. Its changes do not reach the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    /// The credentials of the registry of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// The command of the container instead of that of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    /// Kinds of processors, in the order of preference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Vec<CpuChoice>>,
    /// Kinds of graphics processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuChoice>,
    /// Gigabytes of the disk of the container.
    #[serde(default = "five")]
    pub disk: u32,
    /// The environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Open ports, such as `8000/http`.
    #[serde(default)]
    pub ports: Vec<String>,
    /// The number of workers.
    pub workers: Workers,
    /// When workers are started.
    pub scaling: Scaling,
    /// Whether stopped workers remain ready to be resumed. It is always sent: the default of the API is off.
    #[serde(default)]
    pub flashboot: FlashBoot,
    /// Milliseconds of one job or request.
    #[serde(default = "ten_minutes")]
    pub timeout: u64,
    /// The data centers; any without one.
    #[serde(default)]
    pub data_center_ids: Vec<String>,
    /// Network volumes, which are mounted at `/runpod-volume`.
    #[serde(default)]
    pub network_volumes: Vec<String>,
}

const fn five() -> u32 {
    5
}

const fn ten_minutes() -> u64 {
    600_000
}

/// The body that creates a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateBody {
    /// Its name, by which a deployment finds it again.
    pub name: String,
    /// The image, with an immutable tag or a digest.
    pub image: String,
    /// True for serverless workers.
    #[serde(default = "yes")]
    pub serverless: bool,
    /// `CPU`, `NVIDIA` or `AMD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// Gigabytes of the disk of the container.
    #[serde(default = "five")]
    pub disk: u32,
    /// The command of the container instead of that of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<String>,
    /// Open ports.
    #[serde(default)]
    pub ports: Vec<String>,
    /// The credentials of the registry of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
    /// True to show it to every account.
    #[serde(default)]
    pub public: bool,
    /// The environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// True to start a server of SSH, as the API does without this member.
    #[serde(default)]
    pub start_ssh: bool,
    /// True to start Jupyter, as the API does without this member.
    #[serde(default)]
    pub start_jupyter: bool,
}

const fn yes() -> bool {
    true
}

/// True for a value that refers to a secret of RunPod, `{{ RUNPOD_SECRET_NAME }}`, and so is none.
#[must_use]
pub fn is_secret_reference(value: &str) -> bool {
    let inside = value.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    let name = inside.and_then(|inside| inside.trim().strip_prefix("RUNPOD_SECRET_"));
    name.is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, from_value, json, to_value};

    use super::{EndpointBody, EndpointType, Scaling, TemplateBody, is_secret_reference};

    fn example() -> Value {
        json!({
            "name": "rust-exec", "type": "QUEUE", "image": "ghcr.io/acme/worker:1.4.2", "registry": "reg_abc",
            "cpu": [{ "id": "cpu3c", "vcpuCount": 2 }, { "id": "cpu5c", "vcpuCount": 2 }],
            "disk": 5, "env": { "A": "b" }, "ports": [],
            "workers": { "min": 0, "max": 5, "idleTimeout": 5 },
            "scaling": { "type": "QUEUE_DELAY", "queueDelay": 1.0 },
            "flashboot": "FLASHBOOT", "timeout": 600_000, "dataCenterIds": [], "networkVolumes": [],
        })
    }

    #[test]
    fn the_example_of_the_api_is_read_and_written_unchanged() {
        let body: EndpointBody = from_value(example()).unwrap();
        assert_eq!(body.kind, EndpointType::Queue);
        assert_eq!(body.scaling, Scaling::QueueDelay { queue_delay: 1.0 });
        assert_eq!(to_value(&body).unwrap(), example());
    }

    #[test]
    fn defaults_of_the_api_that_differ_are_always_sent() {
        let short = json!({
            "name": "n", "type": "LOAD_BALANCER", "image": "i:1", "workers": { "min": 0, "max": 1 },
            "scaling": { "type": "REQUEST_COUNT", "requestCount": 8 },
        });
        let body = to_value(from_value::<EndpointBody>(short).unwrap()).unwrap();
        assert_eq!((&body["flashboot"], &body["timeout"]), (&json!("FLASHBOOT"), &json!(600_000)));
        let template: TemplateBody = from_value(json!({ "name": "t", "image": "i:1" })).unwrap();
        let template = to_value(template).unwrap();
        assert_eq!((&template["startSsh"], &template["startJupyter"]), (&json!(false), &json!(false)));
    }

    #[test]
    fn a_misspelt_member_is_refused() {
        for (member, value) in [("idletimeout", json!(5)), ("gpuTypeIds", json!([])), ("workersMin", json!(0))] {
            let mut body = example();
            body[member] = value;
            assert!(from_value::<EndpointBody>(body).is_err(), "{member}");
        }
    }

    #[test]
    fn a_reference_names_a_secret() {
        assert!(is_secret_reference("{{ RUNPOD_SECRET_nats_creds }}") && is_secret_reference("{{RUNPOD_SECRET_A}}"));
        for text in ["RUNPOD_SECRET_A", "{{ RUNPOD_SECRET_ }}", "{{ SECRET }}", "sk-123 {{ RUNPOD_SECRET_A }}", ""] {
            assert!(!is_secret_reference(text), "{text}");
        }
    }
}
