//! What RunPod tells a worker in its environment. The names and the meanings are those of the Python SDK.

use std::time::Duration;

use greenroom_protocol::{Cause, ErrorCode};

use super::templates::UrlTemplates;
use crate::secret::SecretText;

/// The variable whose presence means that the process is a worker of RunPod.
pub const GET_JOB: &str = "RUNPOD_WEBHOOK_GET_JOB";
/// The variable with the template for results.
pub const POST_OUTPUT: &str = "RUNPOD_WEBHOOK_POST_OUTPUT";
/// The variable with the template for the parts of a stream.
pub const POST_STREAM: &str = "RUNPOD_WEBHOOK_POST_STREAM";
/// The variable with the template for heartbeats.
pub const PING: &str = "RUNPOD_WEBHOOK_PING";
/// The variable with the interval of heartbeats, in milliseconds.
pub const PING_INTERVAL: &str = "RUNPOD_PING_INTERVAL";
/// The variable with the key of the worker.
pub const API_KEY: &str = "RUNPOD_AI_API_KEY";
/// The variable with the id of the worker.
pub const POD_ID: &str = "RUNPOD_POD_ID";
/// The variable with the name of the machine, which failures report.
pub const POD_HOSTNAME: &str = "RUNPOD_POD_HOSTNAME";
/// The variable with the id of the endpoint.
pub const ENDPOINT_ID: &str = "RUNPOD_ENDPOINT_ID";
/// The variable with the number of virtual processors.
pub const CPU_COUNT: &str = "RUNPOD_CPU_COUNT";

/// The interval of heartbeats without a setting.
const PING_INTERVAL_DEFAULT: Duration = Duration::from_secs(10);
/// The shortest interval: the SDK sends without a pause below one second.
const PING_INTERVAL_MIN: Duration = Duration::from_millis(250);

/// The environment of a worker.
#[derive(Debug, Clone)]
pub struct WorkerEnvironment {
    /// The addresses.
    pub urls: UrlTemplates,
    /// The key, which may be empty: then the worker sends no heartbeats.
    pub key: SecretText,
    /// The id of the worker in addresses.
    pub worker_id: String,
    /// True if RunPod has named the worker; without a name it sends no heartbeats.
    pub is_named: bool,
    /// The name of the machine.
    pub hostname: String,
    /// The endpoint, if RunPod has named it.
    pub endpoint: Option<String>,
    /// The interval of heartbeats.
    pub ping_interval: Duration,
    /// The number of virtual processors, if RunPod reports it.
    pub vcpus: Option<u32>,
}

impl WorkerEnvironment {
    /// Reads the environment; `None` outside of RunPod. A worker without a name gets `fallback_id`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidConfiguration`] if the addresses are incomplete, or a number is none.
    pub fn read(
        lookup: impl Fn(&str) -> Option<String>,
        fallback_id: impl Into<String>,
    ) -> Result<Option<Self>, Cause> {
        let text = |name: &str| lookup(name).filter(|value| !value.is_empty());
        let Some(get_job) = text(GET_JOB) else { return Ok(None) };
        let Some(post_output) = text(POST_OUTPUT) else {
            return Err(invalid(format!("{GET_JOB} is set, and {POST_OUTPUT} is not: no result could be sent")));
        };
        let name = text(POD_ID);
        let urls = UrlTemplates::new(get_job, post_output, text(POST_STREAM), text(PING));
        Ok(Some(Self {
            urls,
            key: SecretText::new(text(API_KEY).unwrap_or_default()),
            is_named: name.is_some(),
            worker_id: name.unwrap_or_else(|| fallback_id.into()),
            hostname: text(POD_HOSTNAME).unwrap_or_else(|| "unknown".to_owned()),
            endpoint: text(ENDPOINT_ID),
            ping_interval: text(PING_INTERVAL).map_or(Ok(PING_INTERVAL_DEFAULT), |text| ping_interval(&text))?,
            vcpus: text(CPU_COUNT).and_then(|text| text.parse().ok()),
        }))
    }

    /// True if the worker sends heartbeats.
    #[must_use]
    pub const fn sends_pings(&self) -> bool {
        self.is_named && !self.key.is_empty() && self.urls.has_ping()
    }
}

fn ping_interval(text: &str) -> Result<Duration, Cause> {
    let millis = text.trim().parse().map_err(|_| invalid(format!("{PING_INTERVAL} is no number of milliseconds")))?;
    Ok(Duration::from_millis(millis).max(PING_INTERVAL_MIN))
}

fn invalid(message: String) -> Cause {
    Cause::new(ErrorCode::InvalidConfiguration, message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{
        API_KEY, Cause, Duration, ErrorCode, GET_JOB, PING, PING_INTERVAL, POD_ID, POST_OUTPUT, WorkerEnvironment,
    };

    fn read(variables: &[(&str, &str)]) -> Result<Option<WorkerEnvironment>, Cause> {
        let variables: BTreeMap<&str, &str> = variables.iter().copied().collect();
        WorkerEnvironment::read(|name| variables.get(name).map(|value| (*value).to_owned()), "fallback")
    }

    #[test]
    fn a_process_without_the_address_of_jobs_is_no_worker() {
        assert!(read(&[(POD_ID, "p")]).unwrap().is_none());
        assert!(read(&[(GET_JOB, "")]).unwrap().is_none());
        assert_eq!(read(&[(GET_JOB, "http://h/job-take/$ID")]).unwrap_err().code, ErrorCode::InvalidConfiguration);
    }

    #[test]
    fn a_worker_pings_only_with_a_name_a_key_and_an_address() {
        let urls =
            [(GET_JOB, "http://h/job-take/$ID"), (POST_OUTPUT, "http://h/job-done/$ID"), (PING, "http://h/ping")];
        let named = [urls.as_slice(), &[(POD_ID, "p"), (API_KEY, "k")]].concat();
        assert!(read(&named).unwrap().unwrap().sends_pings());
        let unnamed = read(&[urls.as_slice(), &[(API_KEY, "k")]].concat()).unwrap().unwrap();
        assert_eq!((unnamed.worker_id.as_str(), unnamed.sends_pings()), ("fallback", false));
        assert!(!read(&[urls.as_slice(), &[(POD_ID, "p")]].concat()).unwrap().unwrap().sends_pings());
    }

    #[test]
    fn an_interval_of_heartbeats_is_in_milliseconds_and_never_zero() {
        let with = |text| read(&[(GET_JOB, "a"), (POST_OUTPUT, "b"), (PING_INTERVAL, text)]);
        assert_eq!(with("4000").unwrap().unwrap().ping_interval, Duration::from_secs(4));
        assert_eq!(with("0").unwrap().unwrap().ping_interval, Duration::from_millis(250));
        assert_eq!(with("often").unwrap_err().code, ErrorCode::InvalidConfiguration);
        assert_eq!(read(&[(GET_JOB, "a"), (POST_OUTPUT, "b")]).unwrap().unwrap().ping_interval.as_secs(), 10);
    }
}
