//! What an execution costs: the time of its worker, and its model calls. RunPod bills a worker from its start until it has
//! stopped, in whole seconds, its idle time included; that is more than the sum of its executions.

use std::time::Duration;

use serde::Serialize;

/// Seconds of an hour.
const HOUR_SECONDS: f64 = 3_600.0;
/// The price of one gigabyte of a container's disk for one step of five minutes, in US dollars.
const DISK_STEP_USD_PER_GB: f64 = 0.000_011_574;
/// Seconds of such a step.
const DISK_STEP_SECONDS: u64 = 300;

/// Prices of a virtual processor for an hour in US dollars, as they were observed for **pods**: RunPod documents none for
/// serverless workers. The catalogue of the account has the actual ones.
const OBSERVED_PRICES: [(&str, f64); 2] = [("cpu3c", 0.030), ("cpu5c", 0.035)];

/// The price of the time of a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ComputePrice {
    /// US dollars for one virtual processor and one hour.
    pub usd_per_vcpu_hour: f64,
    /// Virtual processors of the worker.
    pub vcpus: u32,
    /// True if the price is not from the catalogue of the account.
    pub is_assumed: bool,
}

impl ComputePrice {
    /// A price from the catalogue.
    #[must_use]
    pub const fn listed(usd_per_vcpu_hour: f64, vcpus: u32) -> Self {
        Self { usd_per_vcpu_hour, vcpus, is_assumed: false }
    }

    /// The price that was observed for pods of this flavour, such as `cpu3c`; `None` if there is none.
    #[must_use]
    pub fn observed(flavour: &str, vcpus: u32) -> Option<Self> {
        let (_, usd_per_vcpu_hour) = OBSERVED_PRICES.iter().find(|(name, _)| *name == flavour)?;
        Some(Self { usd_per_vcpu_hour: *usd_per_vcpu_hour, vcpus, is_assumed: true })
    }

    /// US dollars for one second of the worker.
    #[must_use]
    pub fn usd_per_second(&self) -> f64 {
        f64::from(self.vcpus) * self.usd_per_vcpu_hour / HOUR_SECONDS
    }

    /// US dollars for a time of the worker, which is not rounded: a share of a second that others use too.
    #[must_use]
    pub fn usd(&self, time: Duration) -> f64 {
        time.as_secs_f64() * self.usd_per_second()
    }
}

/// One life of a worker, as it is billed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct WorkerLife {
    /// From its start until it takes jobs.
    pub start: Duration,
    /// The time with jobs.
    pub busy: Duration,
    /// The time without a job until it stops.
    pub idle: Duration,
    /// Gigabytes of its disk.
    pub disk_gb: u32,
}

impl WorkerLife {
    /// The seconds that are billed.
    #[must_use]
    pub fn billed_seconds(&self) -> u64 {
        let life = self.start + self.busy + self.idle;
        life.as_secs() + u64::from(life.subsec_nanos() > 0)
    }

    /// US dollars for the life.
    #[must_use]
    pub fn usd(&self, price: &ComputePrice) -> f64 {
        let seconds = self.billed_seconds();
        let steps = Duration::from_secs(seconds.div_ceil(DISK_STEP_SECONDS)).as_secs_f64();
        Duration::from_secs(seconds).as_secs_f64() * price.usd_per_second()
            + steps * f64::from(self.disk_gb) * DISK_STEP_USD_PER_GB
    }
}

/// The cost of one execution, as its result has it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ExecutionCost {
    /// Seconds of the worker that this execution has used: a moment is divided among the executions of that moment.
    pub worker_seconds: f64,
    /// US dollars for them, without the start and the idle time of the worker; absent without a price.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compute_usd: Option<f64>,
    /// True if the price of the worker is not from the catalogue of the account.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub compute_price_assumed: bool,
    /// US dollars for model calls, from the metadata of the reply.
    pub model_usd: f64,
    /// The sum; without a price of the worker, only the model calls.
    pub total_usd: f64,
}

impl ExecutionCost {
    /// The cost of an execution.
    #[must_use]
    pub fn new(time: Duration, model_usd: f64, price: Option<&ComputePrice>) -> Self {
        let compute_usd = price.map(|price| price.usd(time));
        Self {
            worker_seconds: time.as_secs_f64(),
            compute_usd,
            compute_price_assumed: price.is_some_and(|price| price.is_assumed),
            model_usd,
            total_usd: model_usd + compute_usd.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ComputePrice, Duration, ExecutionCost, WorkerLife};

    fn is_near(left: f64, right: f64) -> bool {
        (left - right).abs() < right.abs().max(1e-9) * 1e-3
    }

    #[test]
    fn a_second_of_two_processors_has_the_price_of_the_table() {
        let price = ComputePrice::observed("cpu3c", 2).unwrap();
        assert!(is_near(price.usd_per_second(), 0.000_016_67) && price.is_assumed);
        assert!(is_near(ComputePrice::observed("cpu5c", 2).unwrap().usd_per_second(), 0.000_019_44));
        assert_eq!(ComputePrice::observed("cpu9z", 2), None);
    }

    #[test]
    fn a_lonely_execution_pays_for_the_idle_time() {
        let life = WorkerLife {
            start: Duration::from_millis(900),
            busy: Duration::from_millis(100),
            idle: Duration::from_secs(5),
            disk_gb: 5,
        };
        assert_eq!(life.billed_seconds(), 6);
        let usd = life.usd(&ComputePrice::listed(0.03, 2));
        assert!(is_near(usd, 6.0 * 0.000_016_666_7 + 5.0 * 0.000_011_574), "{usd}");
        let longer = WorkerLife { busy: Duration::from_millis(101), ..life };
        assert_eq!(longer.billed_seconds(), 7);
    }

    #[test]
    fn the_rows_of_the_document_are_computed() {
        let price = ComputePrice::listed(0.03, 2);
        let (start, busy) = (Duration::from_millis(900), Duration::from_millis(100));
        let short = WorkerLife { start, busy, idle: Duration::from_secs(1), disk_gb: 5 };
        assert!(is_near(short.usd(&price), 2.0 * 0.000_016_666_7 + 5.0 * 0.000_011_574));
        assert!(is_near(price.usd(busy), 0.000_001_666_7));
        let day = Duration::from_secs(86_400);
        let always = WorkerLife { start: Duration::ZERO, busy: day, idle: Duration::ZERO, disk_gb: 5 };
        assert!(is_near(always.usd(&price), 1.44 + 0.016_67));
        let executions = always.usd(&price) / 0.01;
        assert!((145.0..147.0).contains(&executions), "{executions}");
    }

    #[test]
    fn the_total_is_the_sum_of_what_is_known() {
        let price = ComputePrice::listed(0.036, 1);
        let cost = ExecutionCost::new(Duration::from_secs(2), 0.003, Some(&price));
        assert!(is_near(cost.total_usd, 0.003 + 0.000_02), "{cost:?}");
        let unknown = serde_json::to_value(ExecutionCost::new(Duration::from_secs(2), 0.003, None)).unwrap();
        assert_eq!(unknown, serde_json::json!({ "worker_seconds": 2.0, "model_usd": 0.003, "total_usd": 0.003 }));
    }
}
