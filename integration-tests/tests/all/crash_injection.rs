//! Crashes the process at every write of a run in turn, before it and after it; each time a process without
//! crash injection resumes the run. The run must end with its normal status, no recorded step may be
//! repeated, the audit must be valid, and the ledger must agree with the usage that the server reports.
//!
//! An ordinary test run crashes at every write once, with the sides alternating; `GREENROOM_CRASHES=all`
//! takes both sides of each write.

mod shapes;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{
    RecordedRequest, ScriptServer, ServerBehavior, TOKENS_IN, TOKENS_OUT,
};
use greenroom_integration_tests::test_pod::{StoreKind, test_config};
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::{Entry, ResultRef, StepKey};
use greenroom_protocol::{AgentId, Clock, IdGenerator, PodId, RunId, TenantId, Timestamp};
use greenroom_registry::Stores;
use greenroom_registry::agent_memory::{LIST_MAX, MemoryOwner};
use greenroom_registry::journal::{JournalRecord, Seq};
use greenroom_registry::runs::RunFilter;
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose;
use serde_json::json;

use self::shapes::{COMPENSATED, NESTED, REMEMBERED, ROW, Shape};

const AGENT: &str = "llm_agent";
const REMEMBERING: &str = "remembering_agent";
/// Maximum rounds of resuming and approving that a run needs.
const ROUNDS_MAX: usize = 4;
/// Upper bound of the writes of a run; far above the number of each of these.
const WRITES_MAX: u64 = 1_000;

/// Inner runs of a run that has some.
const INNER_RUNS: usize = 3;

/// The label of a request: the verb and word in its prompt, without the remembered texts of other steps.
fn label(request: &RecordedRequest) -> String {
    let body = request.body.to_string();
    let body = body.split("## Remembered").next().unwrap_or_default();
    let found =
        ["say ", "compensate "].iter().find_map(|verb| body.rfind(verb).map(|at| (verb, &body[at + verb.len()..])));
    let (verb, rest) = found.unwrap_or_else(|| panic!("no label in {body}"));
    let word: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
    format!("{verb}{word}")
}

fn behavior_of(request: &RecordedRequest) -> ServerBehavior {
    match label(request).as_str() {
        "say last" => ServerBehavior::Status("400 Bad Request", ""),
        _ => ServerBehavior::Text(json!({"text": "done"}).to_string()),
    }
}

/// The label of the request of a step, or of its compensation.
fn label_of_step(verb: &str, key: &StepKey) -> String {
    let item = key.index.and_then(|index| ["alpha", "beta", "gamma"].get(index as usize).copied());
    format!("{verb} {}", item.unwrap_or(key.step.as_str()))
}

/// The label of a step of any run: that of an inner run has the input of the run.
fn label_of_run_step(journal: &[JournalRecord], verb: &str, key: &StepKey) -> String {
    let inputs = journal.iter().find_map(|record| match &record.entry {
        Entry::RunStarted(started) if started.run != started.root => Some(&started.inputs),
        _ => None,
    });
    match inputs {
        Some(ResultRef::Inline(values)) => {
            let text = values.get("text").and_then(|text| text.as_str()).unwrap_or_default();
            format!("{verb} {text}{}", key.step)
        }
        _ => label_of_step(verb, key),
    }
}

/// When the tree of a run was resumed: the first such entry of its root.
fn resumed_at(journal: &[JournalRecord]) -> Option<Timestamp> {
    let resumed = journal.iter().find(|record| matches!(record.entry, Entry::RunResumed { .. }));
    resumed.map(|record| record.at)
}

/// Labels that the journal had recorded before its tree was resumed.
fn recorded_before_resume(journal: &[JournalRecord], resumed_at: Option<Timestamp>) -> BTreeSet<String> {
    let is_before = |record: &&JournalRecord| resumed_at.is_none_or(|resumed_at| record.at < resumed_at);
    let before = journal.iter().take_while(is_before).map(|record| &record.entry);
    let label = |entry: &Entry| match entry {
        Entry::StepDone { key, .. } | Entry::StepFailed { key, .. } => Some(label_of_run_step(journal, "say", key)),
        Entry::StepCompensationEnded { key, .. } => Some(label_of_run_step(journal, "compensate", key)),
        _ => None,
    };
    before.filter_map(label).collect()
}

/// Counts how often each step, and each compensation, is recorded as done.
fn done_counts(journal: &[JournalRecord]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for record in journal {
        let label = match &record.entry {
            Entry::StepDone { key, .. } => label_of_step("say", key),
            Entry::StepCompensationEnded { key, cause: None, .. } => label_of_step("compensate", key),
            _ => continue,
        };
        *counts.entry(label).or_default() += 1;
    }
    counts
}

/// Opens the stores of a data directory that no process owns, and passes them to `inspect`.
#[expect(clippy::disallowed_methods, reason = "the writers are awaited before this returns")]
async fn inspect<T, F: Future<Output = Result<T>>>(dir: &Path, inspect: impl FnOnce(Stores) -> F) -> Result<T> {
    let config = test_config(dir, StoreKind::Full, None)?;
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn IdGenerator>) = (Arc::new(WallClock), Arc::new(TimeOrdered));
    let pod = PodId::for_start(&config.pod, ids.next_id());
    let opened = compose::stores::open(&config, &pod, &clock, &ids, None).await;
    let opened = opened.map_err(|cause| anyhow::anyhow!("{cause:?}"))?;
    let writers: Vec<_> = opened.tasks.into_iter().map(|writer| tokio::spawn(writer.run)).collect();
    let found = inspect(opened.stores.clone()).await;
    opened.stores.maintenance.close(WallClock.now()).await?;
    for writer in writers {
        writer.await??;
    }
    found
}

async fn run_statuses(stores: &Stores) -> Result<BTreeMap<RunId, RunStatus>> {
    let page = stores.runs.list(&RunFilter::default(), None, 1_000).await?;
    Ok(page.runs.into_iter().map(|record| (record.run, record.status)).collect())
}

async fn roots(stores: &Stores) -> Result<BTreeSet<RunId>> {
    let page = stores.runs.list(&RunFilter::default(), None, 1_000).await?;
    Ok(page.runs.into_iter().map(|record| record.root).collect())
}

/// Settled calls: those with actual usage, their tokens, and those settled as estimated.
async fn settled_calls(stores: &Stores) -> Result<(u64, u64, u64)> {
    let rows = stores.ledger.costs(None).await?;
    let calls = rows.iter().map(|row| row.calls).sum();
    let tokens = rows.iter().map(|row| row.actual.tokens.input + row.actual.tokens.output).sum();
    Ok((calls, tokens, rows.iter().map(|row| row.calls_estimated).sum()))
}

/// Counts the memories of the agent.
async fn memory_count(stores: &Stores) -> Result<usize> {
    let owner = MemoryOwner { tenant: TenantId::default(), agent: AgentId::new(REMEMBERING)? };
    Ok(stores.memory.list(&owner, LIST_MAX, WallClock.now()).await?.len())
}

/// Counts the done steps of all runs.
async fn count_done_steps(stores: &Stores, runs: &BTreeMap<RunId, RunStatus>) -> Result<usize> {
    let mut steps = 0;
    for run in runs.keys() {
        steps += done_counts(&stores.journal.read(run, Seq(0), 1_000).await?).len();
    }
    Ok(steps)
}

struct Harness {
    fixture: ModelFixture,
    server: ScriptServer,
    shape: &'static Shape,
    runs: BTreeSet<RunId>,
    settled_calls: (u64, u64, u64),
}

impl Harness {
    async fn open(shape: &'static Shape) -> Result<Self> {
        let server = ScriptServer::start(behavior_of).await?;
        let fixture = ModelFixture::with_openai(server.url())?;
        fixture.write_llm_agent(AGENT, 60, 100)?;
        fixture.write_llm_agent_with(REMEMBERING, 60, 100, "memory_recall: { query: text, limit: 3 }\n")?;
        let head = "name: W\ndescription: Calls a model\nversion: \"1.0.0\"\ninputs:\n  - { name: text, type: text }\n";
        fixture
            .definitions
            .write_workflow(shape.workflow, &format!("workflow_id: {}\n{head}{}", shape.workflow, shape.yaml))?;
        if let Some(inner) = shape.inner {
            fixture.definitions.write_workflow("inner", &format!("workflow_id: inner\n{head}{inner}"))?;
        }
        if let Some(team) = shape.team {
            let members = format!("agents: [{AGENT}]\npolicies: [tenant_isolation]\nshared_context: {{ region: A }}\n");
            fixture
                .definitions
                .write_team(team, &format!("team_id: {team}\nname: T\ndescription: Calls a model\n{members}"))?;
        }
        Ok(Self { fixture, server, shape, runs: BTreeSet::new(), settled_calls: (0, 0, 0) })
    }

    /// Runs the workflow with a crash at this write; true if the process crashed.
    async fn run(&self, at: u64, side: &str) -> Result<bool> {
        let at = at.to_string();
        let words: Vec<&str> = [&*at, side, self.shape.workflow].into_iter().chain(self.shape.team).collect();
        let program = Path::new(env!("CARGO_BIN_EXE_crash_pod"));
        let ended = self.fixture.terminal.start_program(program, &words)?.wait_or_kill().await?;
        if let Some(output) = &ended {
            ensure!(output.code == 0, "{output:?}");
        }
        Ok(ended.is_none())
    }

    /// Resumes the runs with processes without crash injection until every run has ended.
    async fn resume_until_ended(&self) -> Result<()> {
        let terminal = &self.fixture.terminal;
        for _ in 0..ROUNDS_MAX {
            let report = terminal.run(&["runs", "resume"]).await?.json()?;
            let runs = report["runs"].as_array().context("runs")?;
            let waiting = runs.iter().find(|run| run["status"] == "waiting_approval");
            let Some(run) = waiting.and_then(|run| run["run_id"].as_str()) else { return Ok(()) };
            // One process resumes the run, and another one approves the step.
            let host = terminal.start(&["runs", "resume", run])?;
            host.wait_for_output("awaits approval").await?;
            terminal.run(&["runs", "approve", run, "approve"]).await?.expect_success()?;
            host.wait().await?;
        }
        anyhow::bail!("the run still awaits approval")
    }

    /// Checks the properties that must hold after a run was resumed.
    async fn verify_recovery(&mut self, requests_before: usize, requests_at_kill: usize) -> Result<()> {
        let requests = self.server.requests().split_off(requests_before);
        let repeated: BTreeSet<String> = requests.iter().skip(requests_at_kill - requests_before).map(label).collect();
        let data = self.fixture.terminal.data_dir();
        let (known_runs, ends, parallel) = (self.runs.clone(), self.shape.ends, self.shape.parallel);
        let (remembers, has_inner) = (self.shape.workflow == REMEMBERED.workflow, self.shape.inner.is_some());
        let ((calls, tokens, estimated), runs) = inspect(&data, |stores| async move {
            let (runs, roots) = (run_statuses(&stores).await?, roots(&stores).await?);
            let new_runs: Vec<_> = runs.iter().filter(|(run, _)| !known_runs.contains(*run)).collect();
            let inner_runs = if has_inner { INNER_RUNS } else { 0 };
            ensure!(new_runs.len() <= 1 + inner_runs, "{new_runs:?}");
            let roots: BTreeSet<_> = roots.into_iter().filter(|root| !known_runs.contains(root)).collect();
            ensure!(roots.len() <= 1, "{roots:?}");
            let resumed_at = match roots.first() {
                Some(root) => resumed_at(&stores.journal.read(root, Seq(0), 1_000).await?),
                None => None,
            };
            for (run, status) in new_runs {
                let journal = stores.journal.read(run, Seq(0), 1_000).await?;
                let first = journal.first().map(|record| &record.entry);
                ensure!(matches!(first, Some(Entry::RunStarted(_))), "a run exists without its first entry");
                ensure!(*status == ends, "the run has ended as {status:?}");
                let done_twice: Vec<_> =
                    recorded_before_resume(&journal, resumed_at).intersection(&repeated).cloned().collect();
                ensure!(done_twice.is_empty(), "{done_twice:?} was recorded, and repeated");
                ensure!(done_counts(&journal).values().all(|times| *times == 1), "{:?}", done_counts(&journal));
                if ends == RunStatus::Failed {
                    let compensated =
                        done_counts(&journal).into_keys().filter(|label| label.starts_with("compensate")).count();
                    ensure!(compensated == 4, "every done step is compensated: {:?}", done_counts(&journal));
                }
            }
            let expected = if remembers { count_done_steps(&stores, &runs).await? } else { 0 };
            let remembered = memory_count(&stores).await?;
            ensure!(remembered == expected, "{remembered} memories instead of {expected}");
            let report = stores.maintenance.check().await?;
            ensure!(report.is_ok(), "{report:?}");
            Ok((settled_calls(&stores).await?, runs.into_keys().collect()))
        })
        .await?;
        let (calls, tokens, estimated) =
            (calls - self.settled_calls.0, tokens - self.settled_calls.1, estimated - self.settled_calls.2);
        let successful_calls = requests.iter().filter(|request| label(request) != "say last").count() as u64;
        ensure!(tokens % (TOKENS_IN + TOKENS_OUT) == 0, "{tokens} tokens are no whole number of answers");
        ensure!(
            tokens <= successful_calls * (TOKENS_IN + TOKENS_OUT),
            "more usage was settled than the server reported"
        );
        ensure!(estimated <= parallel, "one crash left {estimated} reservations");
        let (sent, settled_total) = (requests.len() as u64, calls + estimated);
        ensure!(
            settled_total >= successful_calls && settled_total <= sent + parallel,
            "{settled_total} calls were settled, {sent} were sent"
        );
        self.settled_calls =
            (self.settled_calls.0 + calls, self.settled_calls.1 + tokens, self.settled_calls.2 + estimated);
        self.runs = runs;
        Ok(())
    }

    /// Tests one crash; true if the process crashed there.
    async fn crash_at(&mut self, at: u64, side: &str) -> Result<bool> {
        let requests_before = self.server.count();
        let was_killed = self.run(at, side).await?;
        let requests_at_kill = self.server.count();
        self.resume_until_ended().await?;
        self.verify_recovery(requests_before, requests_at_kill).await?;
        Ok(was_killed)
    }
}

async fn crash_at_every_write(shape: &'static Shape) -> Result<()> {
    let mut harness = Harness::open(shape).await?;
    let has_both_sides = std::env::var("GREENROOM_CRASHES").is_ok_and(|value| value == "all");
    for at in 1..=WRITES_MAX {
        let sides: &[&str] = match (has_both_sides, at % 2) {
            (true, _) => &["before", "after"],
            (false, 0) => &["before"],
            (false, _) => &["after"],
        };
        for side in sides {
            let killed = harness
                .crash_at(at, side)
                .await
                .with_context(|| format!("{} killed {side} write {at}", shape.workflow))?;
            if !killed {
                ensure!(at > 20, "only {at} writes were counted");
                return Ok(());
            }
        }
    }
    anyhow::bail!("the run has more than {WRITES_MAX} writes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_crashes_at_any_write_succeeds_and_repeats_nothing_recorded() -> Result<()> {
    crash_at_every_write(&ROW).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_crashes_around_a_memory_write_remembers_each_step_once() -> Result<()> {
    crash_at_every_write(&REMEMBERED).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_run_that_crashes_at_any_write_is_compensated_once() -> Result<()> {
    crash_at_every_write(&COMPENSATED).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_of_runs_that_crashes_at_any_write_succeeds_as_a_whole() -> Result<()> {
    crash_at_every_write(&NESTED).await
}
