//! The section `admission`: how many requests may be in flight, and when a run that only waits returns its capacity.

use std::time::Duration;

use super::reader::ConfigReader;
use super::setting::Setting;

/// The settings.
pub const SETTINGS: &[Setting] = &[
    Setting::number(
        "admission.max_in_flight",
        &["GREENROOM_ADMISSION_MAX_IN_FLIGHT"],
        "maximum requests and runs in flight on this pod",
    )
    .or("131072"),
    Setting::number(
        "admission.max_in_flight_per_tenant",
        &["GREENROOM_ADMISSION_MAX_IN_FLIGHT_PER_TENANT"],
        "maximum in flight for one tenant",
    )
    .or("120000"),
    Setting::number(
        "admission.pipeline_concurrency",
        &["GREENROOM_ADMISSION_PIPELINE_CONCURRENCY"],
        "requests authorized concurrently; 0 means 4 per core",
    )
    .or("0"),
    Setting::number(
        "admission.park_after_s",
        &["GREENROOM_ADMISSION_PARK_AFTER_S"],
        "seconds that a run only waits, for people, for events or for a late retry, until it leaves the pod, at least 3, if pods share the database",
    )
    .or("60"),
];

/// Requests authorized concurrently for each core, by default. A request waits for the work of the
/// others between authentication and dispatch, so more of them would let one tenant's flood slow the
/// other tenants down; more would use the cores better where the disk is slow.
const PIPELINE_CONCURRENCY_PER_CORE: usize = 4;

/// A run that a signal has woken gets it about a second later, and must not leave its pod before that.
const PARK_DELAY_MIN: Duration = Duration::from_secs(3);

/// Bounds on requests in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AdmissionConfig {
    /// Requests and runs in flight on this pod, queued ones included.
    pub max_in_flight: usize,
    /// Those of one tenant.
    pub max_in_flight_per_tenant: usize,
    /// Requests between authentication and dispatch; 0 means four for each core.
    pub pipeline_concurrency: usize,
}

impl AdmissionConfig {
    /// The same bounds without the quarter that is reserved for the calls of other pods. At least one remains.
    #[must_use]
    pub fn without_reserve(self) -> Self {
        let outer = |limit: usize| (limit - limit / 4).max(1);
        Self {
            max_in_flight: outer(self.max_in_flight),
            max_in_flight_per_tenant: outer(self.max_in_flight_per_tenant),
            ..self
        }
    }

    /// The same bounds, with the concurrency of this machine if none is set.
    #[must_use]
    pub fn resolve_concurrency(self) -> Self {
        match self.pipeline_concurrency {
            0 => Self { pipeline_concurrency: PIPELINE_CONCURRENCY_PER_CORE * super::guard::cores(), ..self },
            _ => self,
        }
    }
}

/// The bounds; `None` if one is not a number.
pub(super) fn read(reader: &mut ConfigReader<'_>) -> Option<AdmissionConfig> {
    let max_in_flight = reader.get("admission.max_in_flight");
    let max_in_flight_per_tenant = reader.get("admission.max_in_flight_per_tenant");
    let pipeline_concurrency = reader.get("admission.pipeline_concurrency");
    Some(AdmissionConfig {
        max_in_flight: max_in_flight?,
        max_in_flight_per_tenant: max_in_flight_per_tenant?,
        pipeline_concurrency: pipeline_concurrency?,
    })
}

/// How long a run only waits until it leaves the pod.
pub(super) fn read_park_delay(reader: &mut ConfigReader<'_>) -> Duration {
    Duration::from_secs(reader.get("admission.park_after_s").unwrap_or_default()).max(PARK_DELAY_MIN)
}
