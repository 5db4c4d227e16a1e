//! The nine metrics, with exactly the names and types of the requirements, and some of our own. They belong
//! to one pod and not to the process, so that two pods in one test have separate metrics.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenroom_actors::observer::{ActorEvent, Observer};
use greenroom_protocol::{ErrorCode, Reply, Status};
use greenroom_registry::S3Fault;
use greenroom_registry::cluster::LeaseStatus;
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use super::platform_failure::is_platform_failure;
use super::rate::Rate;

mod cluster;
mod generations;
mod help;
mod identity;
mod mcp;
mod membership;
mod nats;
mod outbound;
mod parts;
mod python;
mod server_failures;
mod store_failures;

pub use cluster::ClusterMetrics;
pub use generations::GenerationMetrics;
pub use identity::IdentityMetrics;
pub use mcp::McpMetrics;
pub use membership::MembershipMetrics;
pub use nats::{DroppedMessage, NatsMetrics, WakeUp};
pub use outbound::OutboundMetrics;
pub use python::PythonMetrics;
use server_failures::ServerFailures;
pub use store_failures::StoreFailures;

/// Upper bounds of the buckets of all histograms, in seconds.
const BUCKETS_SECONDS: [f64; 14] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0];
/// How often rates are computed and samples of histograms are moved into their buckets.
pub const TICK: Duration = Duration::from_secs(1);

const METADATA: Metadata<'static> = Metadata::new("greenroom", Level::INFO, Some(module_path!()));
const STATUSES: [Status; 5] = [Status::Success, Status::Failed, Status::Denied, Status::Cancelled, Status::TimedOut];
const DENIALS: [ErrorCode; 4] =
    [ErrorCode::PolicyDenied, ErrorCode::PolicyError, ErrorCode::Unauthenticated, ErrorCode::TooManyHops];

/// The fault of an artifact whose bytes do not have its hash.
pub const DAMAGED_ARTIFACT: &str = "damaged";
/// The fault of a store of artifacts that had not replied when its caller stopped waiting.
pub const ABANDONED_ARTIFACT: &str = "abandoned";
/// The fault of a store of artifacts that is none of S3.
pub const OTHER_FAULT: &str = "other";

/// Counts events of actors and replies of the pipeline.
pub struct Metrics {
    execution_time: Vec<(Status, Histogram)>,
    success_rate: Gauge,
    formation_time: Histogram,
    completion_rate: Gauge,
    denials: Vec<(ErrorCode, Counter)>,
    active_agents: Gauge,
    activation_time: Histogram,
    concurrent_teams: Gauge,
    tokens_input: Counter,
    tokens_output: Counter,
    error_rate: Gauge,
    abandoned: Counter,
    quarantined: Gauge,
    lease_lapsed: Gauge,
    pods_declared_dead: Counter,
    clock_offset: Gauge,
    trees_claimed: Counter,
    trees_woken: Counter,
    trees_parked: Counter,
    server_failures: ServerFailures,
    artifact_failures: Vec<(&'static str, Counter)>,
    store_failures: StoreFailures,
    generations: GenerationMetrics,
    cluster: Arc<ClusterMetrics>,
    identity: Arc<IdentityMetrics>,
    mcp: Arc<McpMetrics>,
    membership: MembershipMetrics,
    nats: NatsMetrics,
    outbound: Arc<OutboundMetrics>,
    python: Arc<PythonMetrics>,
    rates: Mutex<Rates>,
    /// Replies to requests from ingresses since the start.
    replies: AtomicU64,
    handle: PrometheusHandle,
}

#[derive(Default)]
struct Rates {
    executions: Rate,
    runs: Rate,
    replies: Rate,
}

impl Metrics {
    /// Metrics without values yet.
    ///
    /// # Errors
    /// Those of the exporter for the buckets.
    pub fn new() -> Result<Self, String> {
        // Without buckets the exporter renders a summary; with its recommended naming it renames counters.
        let builder = PrometheusBuilder::new().set_buckets(&BUCKETS_SECONDS).map_err(|error| error.to_string())?;
        Ok(Self::over(&builder.with_recommended_naming(false).build_recorder()))
    }

    fn over(recorder: &PrometheusRecorder) -> Self {
        let gauge = |name| recorder.register_gauge(&Key::from_static_name(name), &METADATA);
        let count = |name| recorder.register_counter(&Key::from_static_name(name), &METADATA);
        let counter = |name, label, value| {
            recorder.register_counter(&Key::from_parts(name, vec![Label::new(label, value)]), &METADATA)
        };
        let timed = |status: Status| {
            let key = Key::from_parts("agent_execution_time", vec![Label::new("status", status.as_str())]);
            (status, recorder.register_histogram(&key, &METADATA))
        };
        help::describe(recorder);
        Self {
            execution_time: STATUSES.into_iter().map(timed).collect(),
            success_rate: gauge("agent_success_rate"),
            formation_time: recorder.register_histogram(&Key::from_static_name("team_formation_time"), &METADATA),
            completion_rate: gauge("workflow_completion_rate"),
            denials: DENIALS.into_iter().map(|code| (code, counter("policy_denials", "code", code.as_str()))).collect(),
            active_agents: gauge("active_agents"),
            activation_time: recorder.register_histogram(&Key::from_static_name("agent_activation_time"), &METADATA),
            concurrent_teams: gauge("concurrent_teams"),
            tokens_input: counter("llm_token_usage", "direction", "input"),
            tokens_output: counter("llm_token_usage", "direction", "output"),
            error_rate: gauge("error_rate"),
            abandoned: count("actors_abandoned"),
            quarantined: gauge("definitions_quarantined"),
            lease_lapsed: gauge("pod_lease_lapsed"),
            pods_declared_dead: count("pods_declared_dead"),
            clock_offset: gauge("pod_clock_offset_seconds"),
            trees_claimed: count("run_trees_claimed"),
            trees_woken: count("run_trees_woken"),
            trees_parked: count("run_trees_parked"),
            server_failures: ServerFailures::register(recorder),
            artifact_failures: artifact_faults()
                .map(|fault| (fault, counter("artifact_store_failures", "fault", fault)))
                .collect(),
            store_failures: StoreFailures::register(recorder),
            generations: GenerationMetrics::register(recorder),
            cluster: Arc::new(ClusterMetrics::register(recorder)),
            identity: Arc::new(IdentityMetrics::register(recorder)),
            mcp: Arc::new(McpMetrics::register(recorder)),
            membership: MembershipMetrics::register(recorder),
            nats: NatsMetrics::register(recorder),
            outbound: Arc::new(OutboundMetrics::register(recorder)),
            python: Arc::new(PythonMetrics::register(recorder)),
            rates: Mutex::new(Rates::default()),
            replies: AtomicU64::new(0),
            handle: recorder.handle(),
        }
        .initialized()
    }

    fn initialized(self) -> Self {
        self.active_agents.set(0.0);
        self.concurrent_teams.set(0.0);
        self.quarantined.set(0.0);
        self.lease_lapsed.set(0.0);
        self.clock_offset.set(0.0);
        self.tick(Instant::now());
        self
    }

    /// Counts the cause of a rejected hop, if it is a denial. Each denial is counted once, at its own hop.
    pub fn count_denial(&self, code: ErrorCode) {
        increment(&self.denials, &code);
    }

    /// Sets the number of definitions that are not in service in the version of their file.
    pub fn set_quarantined(&self, count: usize) {
        self.quarantined.set(u32::try_from(count).map_or(f64::INFINITY, f64::from));
    }

    /// Shows whether the lease of the pod is live.
    pub fn set_lease(&self, status: LeaseStatus) {
        self.lease_lapsed.set(match status {
            LeaseStatus::Live => 0.0,
            LeaseStatus::Lapsed | LeaseStatus::Dead => 1.0,
        });
    }

    /// Shows how many other pods this one has declared dead so far.
    pub fn set_pods_declared_dead(&self, pods: u64) {
        self.pods_declared_dead.absolute(pods);
    }

    /// Shows by how much the wall clock of the machine is later than the clock of the pod.
    pub fn set_clock_offset(&self, micros: i64) {
        // Exact up to 285 years.
        self.clock_offset.set(micros as f64 / 1e6);
    }

    /// Counts a failure of the store of artifacts.
    pub fn count_artifact_failure(&self, fault: &str) {
        increment(&self.artifact_failures, &fault);
    }

    /// Counts a reply to a request from an ingress; `error_rate` is computed from these.
    pub fn count_reply(&self, reply: &Reply) {
        let failed = reply.error.as_ref().is_some_and(is_platform_failure);
        self.rates(|rates, now| rates.replies.count(failed, now));
        self.replies.fetch_add(1, Ordering::Relaxed);
    }

    /// The number of replies to requests from ingresses since the start.
    #[must_use]
    pub fn replies(&self) -> u64 {
        self.replies.load(Ordering::Relaxed)
    }

    /// Computes the rates; the caller calls it every [`TICK`].
    pub fn tick(&self, now: Instant) {
        let (success, completion, errors) = match self.rates.lock() {
            Ok(mut rates) => {
                (rates.executions.ratio(1.0, now), rates.runs.ratio(1.0, now), rates.replies.ratio(0.0, now))
            }
            Err(_) => return,
        };
        self.success_rate.set(success);
        self.completion_rate.set(completion);
        self.error_rate.set(errors);
        self.handle.run_upkeep();
    }

    /// The text of `/metrics`.
    #[must_use]
    pub fn render(&self) -> String {
        self.tick(Instant::now());
        self.handle.render()
    }

    fn rates(&self, change: impl FnOnce(&mut Rates, Instant)) {
        if let Ok(mut rates) = self.rates.lock() {
            change(&mut rates, Instant::now());
        }
    }
}

/// Counts one more of what a label has.
fn increment<R: PartialEq>(counters: &[(R, Counter)], label: &R) {
    if let Some((_, counter)) = counters.iter().find(|(known, _)| known == label) {
        counter.increment(1);
    }
}

/// The faults of the store of artifacts.
fn artifact_faults() -> impl Iterator<Item = &'static str> {
    S3Fault::ALL.into_iter().map(S3Fault::as_str).chain([DAMAGED_ARTIFACT, ABANDONED_ARTIFACT, OTHER_FAULT])
}

impl Observer for Metrics {
    fn on_event(&self, event: ActorEvent) {
        match event {
            ActorEvent::AgentActivated(_) => self.active_agents.increment(1.0),
            ActorEvent::ActivationTimed { elapsed } => self.activation_time.record(elapsed.as_secs_f64()),
            ActorEvent::AgentPassivated(_) => self.active_agents.decrement(1.0),
            ActorEvent::ExecutionEnded { elapsed, status, tokens, .. } => {
                if let Some((_, histogram)) = self.execution_time.iter().find(|(known, _)| *known == status) {
                    histogram.record(elapsed.as_secs_f64());
                }
                self.tokens_input.increment(tokens.input);
                self.tokens_output.increment(tokens.output);
                self.rates(|rates, now| rates.executions.count(status == Status::Success, now));
            }
            ActorEvent::TeamFormed { elapsed, .. } => {
                self.formation_time.record(elapsed.as_secs_f64());
                self.concurrent_teams.increment(1.0);
            }
            ActorEvent::TeamDisbanded(_) => self.concurrent_teams.decrement(1.0),
            ActorEvent::RunEnded { status, .. } => {
                self.rates(|rates, now| rates.runs.count(status == Status::Success, now));
            }
            ActorEvent::TreeClaimed { was_parked } => {
                self.trees_claimed.increment(1);
                self.trees_woken.increment(u64::from(was_parked));
            }
            ActorEvent::TreeParked => self.trees_parked.increment(1),
            ActorEvent::ChildRestarted { kind } => tracing::warn!(child.kind = kind, "child restarted"),
            ActorEvent::ChildAbandoned { kind } => {
                self.abandoned.increment(1);
                tracing::error!(child.kind = kind, "stalled actor abandoned");
            }
        }
    }
}

#[cfg(test)]
mod tests;
