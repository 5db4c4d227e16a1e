//! By how much the clocks of other pods differ from that of this one. Pods have the time of their database, but a clock
//! that is late or early by more than a delegation allows follows it within minutes and not at once
//! ([`PodClock`](crate::clock::PodClock)). A pod that refuses a delegation because of its times therefore states its own
//! time, and the next delegation for it has times of its clock, as a client of Kerberos does after `KRB_AP_ERR_SKEW` (RFC
//! 4120, 5.9.1). The times bound how long somebody else can use a delegation; its issuer can state any.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use greenroom_protocol::{Cause, PodId, Timestamp};
use serde_json::json;

/// The detail of a refusal that has the time of the pod, in microseconds since 1970.
const POD_TIME: &str = "pod_time_us";
/// How many clocks are remembered. More pods than that have other clocks only by an error, and are asked again.
const CLOCKS_MAX: usize = 1_024;

/// The differences that other pods have stated.
#[derive(Debug, Default)]
pub(super) struct ClockOffsets(Mutex<HashMap<PodId, i64>>);

impl ClockOffsets {
    /// Learns the clock of a pod from its refusal. False if the refusal does not state it: then it has another reason.
    pub(super) fn learn(&self, pod: &PodId, refusal: &Cause, now: Timestamp) -> bool {
        let Some(stated) = refusal.details.get(POD_TIME).and_then(serde_json::Value::as_i64) else {
            return false;
        };
        let mut offsets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if offsets.len() >= CLOCKS_MAX && !offsets.contains_key(pod) {
            offsets.clear();
        }
        offsets.insert(pod.clone(), stated.saturating_sub(now.as_micros()));
        true
    }

    /// The time that a pod has now: that of this pod if it has never stated another one.
    pub(super) fn time_of(&self, pod: &PodId, now: Timestamp) -> Timestamp {
        let offsets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = offsets.get(pod).copied().unwrap_or_default();
        Timestamp::from_micros(now.as_micros().saturating_add(offset))
    }
}

/// A refusal because of the times of a delegation, with the time of this pod.
pub(super) fn with_pod_time(refusal: Cause, now: Timestamp) -> Cause {
    refusal.with_details(json!({ POD_TIME: now.as_micros() }))
}
