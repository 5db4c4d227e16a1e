//! The process is killed at every write of a run in turn, before it and after it; each time a clean
//! process goes on. The run must end as it would have, nothing that was recorded may be done again,
//! the audit must hold, and the ledger must agree with the server's own count.
//!
//! An ordinary test run takes every write once, with the sides alternating; `GREENROOM_FAULTS=all`
//! takes both sides of each.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use greenroom_integration_tests::model_fixture::ModelFixture;
use greenroom_integration_tests::script_server::{
    RecordedRequest, ScriptServer, ServerBehavior, TOKENS_IN, TOKENS_OUT, answer,
};
use greenroom_integration_tests::test_pod::{StoreKind, test_config};
use greenroom_protocol::event::RunStatus;
use greenroom_protocol::journal::{Entry, StepKey};
use greenroom_protocol::{AgentId, Clock, IdGenerator, RunId, TenantId};
use greenroom_registry::Stores;
use greenroom_registry::agent_memory::{MEMORIES_MAX, MemoryOwner};
use greenroom_registry::journal::{JournalRecord, Seq};
use greenroom_registry::runs::RunFilter;
use greenroom_supervisor::clock::{TimeOrdered, WallClock};
use greenroom_supervisor::compose;
use serde_json::json;

const AGENT: &str = "asking_agent";
const REMEMBERING: &str = "remembering_agent";
/// Rounds of resuming and approving that a run may need.
const ROUNDS_MAX: usize = 4;
/// Writes that a run may have at most; far above what any of these has.
const WRITES_MAX: u64 = 1_000;

/// A workflow, and how it ends.
struct Shape {
    workflow: &'static str,
    team: Option<&'static str>,
    yaml: &'static str,
    ends: RunStatus,
    /// Calls that may be under way at one time.
    parallel: u64,
}

const ROW: Shape = Shape {
    workflow: "in_a_row",
    team: None,
    yaml: "steps:
  - { id: first, agent: asking_agent, inputs: { text: 'say first' }, outputs: [text] }
  - { id: second, agent: asking_agent, inputs: { text: 'say second ${steps.first.outputs.text}' }, outputs: [text] }
  - { id: third, agent: asking_agent, inputs: { text: 'say third ${steps.second.outputs.text}' }, outputs: [text] }
",
    ends: RunStatus::Success,
    parallel: 1,
};

/// Steps whose answers are remembered before they are recorded.
const REMEMBERED: Shape = Shape {
    workflow: "remembered",
    team: None,
    yaml: "steps:
  - { id: first, agent: remembering_agent, inputs: { text: 'say first' }, outputs: [text] }
  - { id: second, agent: remembering_agent, inputs: { text: 'say second ${steps.first.outputs.text}' }, outputs: [text] }
",
    ends: RunStatus::Success,
    parallel: 1,
};

/// A team, a list, a person's word, and a last step that fails so that all is undone.
const UNDONE: Shape = Shape {
    workflow: "undone",
    team: Some("asking_team"),
    yaml: "steps:
  - id: first
    agent: asking_agent
    inputs: { text: 'say first' }
    outputs: [text]
    compensate: { agent: asking_agent, inputs: { text: 'undo first' } }
  - id: each
    agent: asking_agent
    depends_on: [first]
    for_each: { items: [alpha, beta, gamma], max_concurrency: 2 }
    inputs: { text: 'say ${item}' }
    outputs: [text]
    compensate: { agent: asking_agent, inputs: { text: 'undo ${item}' } }
  - id: asked
    approval: { prompt: 'Go on?' }
    depends_on: [each]
  - { id: last, agent: asking_agent, depends_on: [asked], inputs: { text: 'say last' }, outputs: [text] }
",
    ends: RunStatus::Failed,
    parallel: 2,
};

/// What a request to the server asks for: the words after the label of its prompt, without what is
/// remembered of others.
fn label(asked: &RecordedRequest) -> String {
    let body = asked.body.to_string();
    let body = body.split("## Remembered").next().unwrap_or_default();
    let found = ["say ", "undo "].iter().find_map(|verb| body.rfind(verb).map(|at| (verb, &body[at + verb.len()..])));
    let (verb, rest) = found.unwrap_or_else(|| panic!("no label in {body}"));
    let word: String = rest.chars().take_while(char::is_ascii_lowercase).collect();
    format!("{verb}{word}")
}

fn play(asked: &RecordedRequest) -> ServerBehavior {
    match label(asked).as_str() {
        "say last" => ServerBehavior::Status("400 Bad Request", ""),
        _ => answer(&json!({"text": "done"}).to_string()),
    }
}

/// The label under which the server sees a step, or its undoing.
fn called(verb: &str, key: &StepKey) -> String {
    let item = key.index.and_then(|index| ["alpha", "beta", "gamma"].get(index as usize).copied());
    format!("{verb} {}", item.unwrap_or(key.step.as_str()))
}

/// What the journal had when the process was killed: everything before the run was first resumed.
fn recorded(journal: &[JournalRecord]) -> BTreeSet<String> {
    let before = journal.iter().map(|kept| &kept.entry).take_while(|entry| !matches!(entry, Entry::RunResumed { .. }));
    let label = |entry: &Entry| match entry {
        Entry::StepDone { key, .. } | Entry::StepFailed { key, .. } => Some(called("say", key)),
        Entry::StepCompensationEnded { key, .. } => Some(called("undo", key)),
        _ => None,
    };
    before.filter_map(label).collect()
}

/// How often each step, and each undoing, is recorded as done.
fn done(journal: &[JournalRecord]) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for kept in journal {
        let label = match &kept.entry {
            Entry::StepDone { key, .. } => called("say", key),
            Entry::StepCompensationEnded { key, cause: None, .. } => called("undo", key),
            _ => continue,
        };
        *counts.entry(label).or_default() += 1;
    }
    counts
}

/// Looks into a data directory that nobody owns.
#[expect(clippy::disallowed_methods, reason = "the writers end with the look")]
async fn look<T, F: Future<Output = Result<T>>>(dir: &Path, look: impl FnOnce(Stores) -> F) -> Result<T> {
    let config = test_config(dir, StoreKind::Full, None)?;
    let (clock, ids): (Arc<dyn Clock>, Arc<dyn IdGenerator>) = (Arc::new(WallClock), Arc::new(TimeOrdered));
    let opened = compose::stores::open(&config, &clock, &ids).await.map_err(|cause| anyhow::anyhow!("{cause:?}"))?;
    let writers: Vec<_> = opened.tasks.into_iter().map(|writer| tokio::spawn(writer.run)).collect();
    let found = look(opened.stores.clone()).await;
    opened.stores.maintenance.close(WallClock.now()).await?;
    for writer in writers {
        writer.await??;
    }
    found
}

async fn runs_of(stores: &Stores) -> Result<BTreeMap<RunId, RunStatus>> {
    let page = stores.runs.list(&RunFilter::default(), None, 1_000).await?;
    Ok(page.runs.into_iter().map(|head| (head.run, head.status)).collect())
}

/// Calls that were settled: as the server said, with their tokens, and as estimated.
async fn settled(stores: &Stores) -> Result<(u64, u64, u64)> {
    let rows = stores.ledger.costs(None).await?;
    let calls = rows.iter().map(|row| row.calls).sum();
    let tokens = rows.iter().map(|row| row.actual.tokens.input + row.actual.tokens.output).sum();
    Ok((calls, tokens, rows.iter().map(|row| row.calls_estimated).sum()))
}

/// How much the agent remembers.
async fn memories(stores: &Stores) -> Result<usize> {
    let owner = MemoryOwner { tenant: TenantId::default(), agent: AgentId::new(REMEMBERING)? };
    Ok(stores.memory.list(&owner, MEMORIES_MAX, WallClock.now()).await?.len())
}

/// How many steps all runs together have done.
async fn steps_done(stores: &Stores, runs: &BTreeMap<RunId, RunStatus>) -> Result<usize> {
    let mut steps = 0;
    for run in runs.keys() {
        steps += done(&stores.journal.read(run, Seq(0), 1_000).await?).len();
    }
    Ok(steps)
}

struct Harness {
    stand: ModelFixture,
    server: ScriptServer,
    shape: &'static Shape,
    runs: BTreeSet<RunId>,
    settled: (u64, u64, u64),
}

impl Harness {
    async fn open(shape: &'static Shape) -> Result<Self> {
        let server = ScriptServer::start(play).await?;
        let stand = ModelFixture::asking(server.url())?;
        stand.asking_agent(AGENT, 60, 100)?;
        stand.asking_agent_with(REMEMBERING, 60, 100, "memory_recall: { query: text, limit: 3 }\n")?;
        let head = "name: W\ndescription: Asks\nversion: \"1.0.0\"\ninputs:\n  - { name: text, type: text }\n";
        stand
            .definitions
            .workflow(shape.workflow, &format!("workflow_id: {}\n{head}{}", shape.workflow, shape.yaml))?;
        if let Some(team) = shape.team {
            let members =
                format!("agents: [{AGENT}]\npolicies: [tenant_isolation]\nshared_context: {{ company: A }}\n");
            stand.definitions.team(team, &format!("team_id: {team}\nname: T\ndescription: Asks\n{members}"))?;
        }
        Ok(Self { stand, server, shape, runs: BTreeSet::new(), settled: (0, 0, 0) })
    }

    /// Runs the workflow with the plug at this write; true if it was killed.
    async fn run(&self, at: u64, side: &str) -> Result<bool> {
        let at = at.to_string();
        let words: Vec<&str> = [&*at, side, self.shape.workflow].into_iter().chain(self.shape.team).collect();
        let program = Path::new(env!("CARGO_BIN_EXE_crash_pod"));
        let ended = self.stand.terminal.start_other(program, &words)?.wait_or_kill().await?;
        if let Some(said) = &ended {
            ensure!(said.code == 0, "{said:?}");
        }
        Ok(ended.is_none())
    }

    /// Lets clean processes go on until no run is left.
    async fn go_on(&self) -> Result<()> {
        let terminal = &self.stand.terminal;
        for _ in 0..ROUNDS_MAX {
            let report = terminal.run(&["runs", "resume"]).await?.json()?;
            let runs = report["runs"].as_array().context("runs")?;
            let waiting = runs.iter().find(|run| run["status"] == "waiting_approval");
            let Some(run) = waiting.and_then(|run| run["run_id"].as_str()) else { return Ok(()) };
            // A process that takes it up, and a word from another terminal.
            let host = terminal.start(&["runs", "resume", run])?;
            host.says("waits for a person").await?;
            terminal.run(&["runs", "approve", run, "asked"]).await?.done()?;
            host.ended().await?;
        }
        anyhow::bail!("the run still waits for a person")
    }

    /// What must hold once a clean process has gone on.
    async fn holds(&mut self, asked_before: usize, asked_when_killed: usize) -> Result<()> {
        let asked = self.server.asked().split_off(asked_before);
        let again: BTreeSet<String> = asked.iter().skip(asked_when_killed - asked_before).map(label).collect();
        let data = self.stand.terminal.data_dir();
        let (known, ends, parallel) = (self.runs.clone(), self.shape.ends, self.shape.parallel);
        let remembers = self.shape.workflow == REMEMBERED.workflow;
        let ((calls, tokens, estimated), runs) = look(&data, |stores| async move {
            let runs = runs_of(&stores).await?;
            let fresh: Vec<_> = runs.iter().filter(|(run, _)| !known.contains(*run)).collect();
            ensure!(fresh.len() <= 1, "{fresh:?}");
            for (run, state) in fresh {
                let journal = stores.journal.read(run, Seq(0), 1_000).await?;
                let first = journal.first().map(|kept| &kept.entry);
                ensure!(matches!(first, Some(Entry::RunStarted(_))), "a run is there without its first entry");
                ensure!(*state == ends, "the run has ended as {state:?}");
                let twice: Vec<_> = recorded(&journal).intersection(&again).cloned().collect();
                ensure!(twice.is_empty(), "{twice:?} was recorded, and done again");
                ensure!(done(&journal).values().all(|times| *times == 1), "{:?}", done(&journal));
                if ends == RunStatus::Failed {
                    let undone = done(&journal).into_keys().filter(|label| label.starts_with("undo")).count();
                    ensure!(undone == 4, "what was done is undone: {:?}", done(&journal));
                }
            }
            let due = if remembers { steps_done(&stores, &runs).await? } else { 0 };
            let remembered = memories(&stores).await?;
            ensure!(remembered == due, "{due} answers should be remembered, {remembered} are");
            let report = stores.maintenance.check().await?;
            ensure!(report.is_ok(), "{report:?}");
            Ok((settled(&stores).await?, runs.into_keys().collect()))
        })
        .await?;
        let (calls, tokens, estimated) = (calls - self.settled.0, tokens - self.settled.1, estimated - self.settled.2);
        let good = asked.iter().filter(|asked| label(asked) != "say last").count() as u64;
        ensure!(tokens % (TOKENS_IN + TOKENS_OUT) == 0, "{tokens} tokens are no whole number of answers");
        ensure!(tokens <= good * (TOKENS_IN + TOKENS_OUT), "more was booked than the server counted");
        ensure!(estimated <= parallel, "{estimated} reservations were left by one crash");
        let (sent, booked) = (asked.len() as u64, calls + estimated);
        ensure!(booked >= good && booked <= sent + parallel, "{booked} calls were booked, {sent} were sent");
        self.settled = (self.settled.0 + calls, self.settled.1 + tokens, self.settled.2 + estimated);
        self.runs = runs;
        Ok(())
    }

    /// One point: true if the process was killed there.
    async fn point(&mut self, at: u64, side: &str) -> Result<bool> {
        let asked_before = self.server.count();
        let was_killed = self.run(at, side).await?;
        let asked_when_killed = self.server.count();
        self.go_on().await?;
        self.holds(asked_before, asked_when_killed).await?;
        Ok(was_killed)
    }
}

async fn every_point(shape: &'static Shape) -> Result<()> {
    let mut pod = Harness::open(shape).await?;
    let both = std::env::var("GREENROOM_FAULTS").is_ok_and(|which| which == "all");
    for at in 1..=WRITES_MAX {
        let sides: &[&str] = match (both, at % 2) {
            (true, _) => &["before", "after"],
            (false, 0) => &["before"],
            (false, _) => &["after"],
        };
        for side in sides {
            let killed =
                pod.point(at, side).await.with_context(|| format!("{} killed {side} write {at}", shape.workflow))?;
            if !killed {
                ensure!(at > 20, "only {at} writes were counted");
                return Ok(());
            }
        }
    }
    anyhow::bail!("the run has more than {WRITES_MAX} writes")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_killed_at_any_of_its_writes_ends_well_and_repeats_nothing() -> Result<()> {
    every_point(&ROW).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_killed_around_its_remembering_remembers_each_step_once() -> Result<()> {
    every_point(&REMEMBERED).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_with_a_list_an_approval_and_an_undoing_is_killed_at_any_of_its_writes() -> Result<()> {
    every_point(&UNDONE).await
}
