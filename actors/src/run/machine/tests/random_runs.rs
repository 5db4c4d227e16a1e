//! Properties of every workflow, every order of completions and every time of a crash.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use greenroom_definitions::plan::Plan;
use greenroom_protocol::journal::{Entry, SkipReason, StepKey};
use greenroom_protocol::{Deadline, ErrorCode, Json, Status, StepId};
use proptest::prelude::{Strategy, any, prop, prop_assert, prop_assert_eq, proptest};
use proptest::test_runner::Config;
use serde_json::json;

use super::simulation::{
    EvaluationScript, START, Script, Simulation, TIME, admin, completed_call, failed_call, step_id, workflow,
};
use crate::run::machine::{Event, StepEvaluation, StepStatus, TimerId};

/// A step of a random workflow: its dependencies and its kind.
#[derive(Debug, Clone)]
struct Sketch {
    after: Vec<usize>,
    kind: Kind,
    items: u32,
    concurrency: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Plain,
    Skipped,
    Each,
    Retried,
    /// It awaits an approval first.
    Approved,
    /// It needs a value of every step to which it refers.
    Needs,
}

fn sketches() -> impl Strategy<Value = Vec<Sketch>> {
    let kind = prop::sample::select(vec![
        Kind::Plain,
        Kind::Plain,
        Kind::Plain,
        Kind::Skipped,
        Kind::Each,
        Kind::Retried,
        Kind::Approved,
        Kind::Needs,
    ]);
    let one = (prop::collection::vec(any::<prop::sample::Index>(), 0..4), kind, 0_u32..5, 1_u32..4);
    prop::collection::vec(one, 1..14).prop_map(|steps| {
        let sketch = |(at, (after, kind, items, concurrency)): (usize, (Vec<prop::sample::Index>, Kind, u32, u32))| {
            let after: BTreeSet<usize> =
                if at == 0 { BTreeSet::new() } else { after.iter().map(|pick| pick.index(at)).collect() };
            Sketch { after: after.into_iter().collect(), kind, items, concurrency }
        };
        steps.into_iter().enumerate().map(sketch).collect()
    })
}

fn name(at: usize) -> String {
    format!("s{at}")
}

fn step_index(step: &StepId) -> usize {
    step.as_str().trim_start_matches('s').parse().unwrap()
}

/// Half of the dependencies are declared, half are implied by a reference.
fn plan_of(sketches: &[Sketch], compensated: bool) -> Arc<Plan> {
    let step = |(at, sketch): (usize, &Sketch)| {
        let (declared, referred): (Vec<usize>, Vec<usize>) = sketch.after.iter().partition(|after| *after % 2 == 0);
        let inputs: serde_json::Map<String, Json> = referred
            .iter()
            .map(|after| (name(*after), Json::String(format!("${{steps.{}.outputs.out}}", name(*after)))))
            .collect();
        let declared: Vec<String> = declared.into_iter().map(name).collect();
        let mut step = json!({"id": name(at), "agent": format!("agent{at}"), "depends_on": declared, "inputs": inputs});
        let members = step.as_object_mut().unwrap();
        if compensated {
            members.insert("compensate".into(), json!({"agent": "undoer"}));
        }
        match sketch.kind {
            Kind::Plain | Kind::Needs => {}
            Kind::Approved => drop(members.insert("approval".into(), json!({"prompt": "?"}))),
            Kind::Skipped => drop(members.insert("when".into(), json!("1 == 2"))),
            Kind::Retried => drop(members.insert("retry".into(), json!({"max_attempts": 3, "delay": 1.0}))),
            Kind::Each => {
                let each = json!({"items": "${inputs.list}", "max_concurrency": sketch.concurrency});
                drop(members.insert("for_each".into(), each));
            }
        }
        step
    };
    workflow(&Json::Array(sketches.iter().enumerate().map(step).collect()))
}

fn evaluation_script(sketches: &[Sketch]) -> EvaluationScript {
    let sketches = sketches.to_vec();
    Box::new(move |step| {
        let sketch = &sketches[step_index(step)];
        let needs = SkipReason::ValueAbsent { value: "inputs.x".into(), steps: Vec::new() };
        StepEvaluation {
            // A step that needs values is evaluated only if one of them is absent.
            skip: match sketch.kind {
                Kind::Skipped => Some(SkipReason::ConditionFalse),
                Kind::Needs => Some(needs),
                Kind::Plain | Kind::Each | Kind::Retried | Kind::Approved => None,
            },
            item_count: (sketch.kind == Kind::Each).then_some(sketch.items),
            approval_prompt: (sketch.kind == Kind::Approved).then(|| "?".to_owned()),
            ..StepEvaluation::default()
        }
    })
}

/// Steps that are retried fail once, with a retryable cause.
fn script(sketches: &[Sketch]) -> Script {
    let sketches = sketches.to_vec();
    Box::new(move |key, attempt| {
        let fails = sketches[step_index(&key.step)].kind == Kind::Retried && attempt == 1;
        if fails { failed_call(ErrorCode::Overloaded) } else { completed_call(key) }
    })
}

fn simulation(sketches: &[Sketch], compensated: bool) -> Simulation {
    let mut simulation = Simulation::new(plan_of(sketches, compensated));
    let started = Arc::make_mut(&mut simulation.started);
    started.retry_budget = 100;
    simulation.evaluation_script = evaluation_script(sketches);
    simulation.script = script(sketches);
    simulation
}

/// Picks by a list of numbers, cyclically.
fn picks(numbers: &[usize]) -> impl FnMut(usize) -> usize {
    let mut at = 0;
    move |count| {
        at += 1;
        numbers[at % numbers.len()] % count
    }
}

fn orders() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(any::<usize>(), 1..40)
}

/// The sum of the times that the run only waited for people, according to its journal.
fn paused(simulation: &Simulation) -> Duration {
    let (mut replay, mut sum) = (crate::run::machine::State::default(), Duration::ZERO);
    let mut since = None;
    for (at, entry) in &simulation.journal {
        replay.apply(*at, entry);
        match (since, replay.is_paused()) {
            (None, true) => since = Some(*at),
            (Some(start), false) => {
                sum += at.saturating_duration_since(start);
                since = None;
            }
            (None, false) | (Some(_), true) => {}
        }
    }
    sum
}

/// Every call started after the dependencies of its step ended, and once for each attempt.
fn check_calls(simulation: &Simulation) {
    let mut ended: BTreeSet<StepId> = BTreeSet::new();
    let mut replay = crate::run::machine::State::default();
    let mut started = BTreeSet::new();
    for (at, entry) in &simulation.journal {
        if let Entry::StepStarted { key, attempt, .. } = entry {
            let step = simulation.plan.step(&key.step).unwrap();
            assert!(step.depends_on.iter().all(|on| ended.contains(on)), "{key:?} began too early");
            assert!(started.insert((key.clone(), *attempt)), "{key:?} was started twice");
            assert!(!matches!(replay.step_status(key), StepStatus::Done { .. }), "{key:?} ran again");
        }
        replay.apply(*at, entry);
        ended.extend(
            replay.step_states().filter(|(_, step_state)| step_state.is_finished()).map(|(step, _)| step.clone()),
        );
    }
    assert_eq!(replay, simulation.state, "the state is the fold of the journal");
}

proptest! {
    #![proptest_config(Config { cases: 1_000, failure_persistence: None, ..Config::default() })]

    #[test]
    fn every_order_of_completions_gives_the_same_result((sketches, one, other) in (sketches(), orders(), orders())) {
        let mut first = simulation(&sketches, false);
        let reply = first.start().run_by(picks(&one));
        check_calls(&first);
        let mut second = simulation(&sketches, false);
        let second_reply = second.start().run_by(picks(&other));
        check_calls(&second);
        prop_assert_eq!(reply.status, Status::Success);
        prop_assert_eq!(&reply.outputs, &second_reply.outputs);
        prop_assert_eq!(reply.metadata.workflow_steps, second_reply.metadata.workflow_steps);
        let agents = |reply: &greenroom_protocol::Reply| reply.metadata.agents.iter().cloned().collect::<BTreeSet<_>>();
        prop_assert_eq!(agents(&reply), agents(&second_reply));
    }

    #[test]
    fn only_the_waiting_for_people_moves_the_deadline((sketches, order, waits) in (sketches(), orders(), orders())) {
        let mut simulation = simulation(&sketches, false);
        simulation.start();
        let (mut pick, mut wait) = (picks(&order), picks(&waits));
        for _ in 0..10_000 {
            if simulation.reply.is_some() {
                break;
            }
            simulation.wait(Duration::from_millis(wait(50) as u64));
            if !simulation.open.is_empty() {
                let index = pick(simulation.open.len());
                simulation.complete(index);
            } else if let Some(step) = simulation.next_approval() {
                prop_assert!(simulation.state.is_paused() || !simulation.timers.is_empty());
                simulation.process(&Event::Approved { step, by: admin() });
            } else {
                let timers: Vec<TimerId> = simulation.timers.keys().cloned().collect();
                let retry = timers.into_iter().find(|timer| matches!(timer, TimerId::Retry(_))).unwrap();
                simulation.wake(&retry);
            }
        }
        prop_assert_eq!(simulation.reply.as_ref().map(|reply| reply.status), Some(Status::Success));
        let deadline = Deadline::after(START, TIME).0.saturating_add(paused(&simulation));
        prop_assert_eq!(simulation.state.deadline(), Some(Deadline(deadline)));
    }

    #[test]
    fn a_cancelled_run_ends_at_once_and_aborts_everything((sketches, order, moment) in (sketches(), orders(), 0_usize..60)) {
        let mut simulation = simulation(&sketches, false);
        simulation.start();
        let mut pick = picks(&order);
        for _ in 0..moment {
            if simulation.open.is_empty() {
                break;
            }
            let index = pick(simulation.open.len());
            simulation.complete(index);
        }
        let was_over = simulation.reply.is_some();
        let before = simulation.open.clone();
        simulation.process(&Event::CancelRequested { by: admin() });
        let reply = simulation.reply.clone();
        prop_assert!(reply.is_some());
        if !was_over {
            prop_assert_eq!(reply.unwrap().status, Status::Cancelled);
            let calls = |effect: &crate::run::machine::Effect| matches!(effect, crate::run::machine::Effect::Call { .. });
            prop_assert!(!simulation.open.iter().any(calls), "a call was left alone");
            prop_assert_eq!(before.iter().filter(|effect| calls(effect)).count() <= simulation.aborted.len(), true);
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 300, failure_persistence: None, ..Config::default() })]

    #[test]
    fn completed_steps_are_compensated_in_reverse_order((sketches, order, culprit) in (sketches(), orders(), any::<prop::sample::Index>())) {
        let culprit = step_id(&name(culprit.index(sketches.len())));
        let mut simulation = simulation(&sketches, true);
        let plain = script(&sketches);
        let blamed = culprit.clone();
        simulation.script = Box::new(move |key, attempt| {
            if key.step == blamed { failed_call(ErrorCode::HandlerFailed) } else { plain(key, attempt) }
        });
        let reply = simulation.start().run_by(picks(&order));
        if reply.status == Status::Success {
            prop_assert!(simulation.compensated.is_empty(), "the culprit was never called, and nothing was undone");
        } else {
            let mut expected = simulation.completed();
            // Items of the list that failed stay done: its `on_error` is `fail`.
            expected.retain(|key| key.step != culprit);
            expected.reverse();
            prop_assert_eq!(&simulation.compensated, &expected);
            prop_assert_eq!(reply.error.unwrap().code, ErrorCode::HandlerFailed);
        }
    }

    #[test]
    fn any_prefix_of_the_journal_leads_to_the_same_end((sketches, order, other) in (sketches(), orders(), orders())) {
        let mut complete = simulation(&sketches, false);
        let reply = complete.start().run_by(picks(&order));
        for cut in 1..complete.journal.len() {
            let mut rest = complete.crashed_after(cut, script(&sketches), evaluation_script(&sketches));
            let recorded: BTreeSet<StepKey> = rest.completed().into_iter().collect();
            rest.resume();
            let end = rest.run_by(picks(&other));
            prop_assert_eq!(&end.outputs, &reply.outputs, "after {} entries", cut);
            prop_assert_eq!(end.status, reply.status);
            prop_assert_eq!(end.metadata.workflow_steps, reply.metadata.workflow_steps);
            prop_assert!(!rest.calls.iter().any(|(key, _)| recorded.contains(key)), "a recorded step ran again");
        }
    }

    #[test]
    fn a_run_that_fails_ends_the_same_after_a_crash_at_any_entry((sketches, order, culprit) in (sketches(), orders(), any::<prop::sample::Index>())) {
        let culprit = step_id(&name(culprit.index(sketches.len())));
        let failing = |sketches: &[Sketch]| -> Script {
            let (plain, blamed) = (script(sketches), culprit.clone());
            Box::new(move |key, attempt| {
                if key.step == blamed { failed_call(ErrorCode::HandlerFailed) } else { plain(key, attempt) }
            })
        };
        let mut complete = simulation(&sketches, true);
        complete.script = failing(&sketches);
        let reply = complete.start().run_by(picks(&order));
        for cut in 1..complete.journal.len() {
            let mut rest = complete.crashed_after(cut, failing(&sketches), evaluation_script(&sketches));
            rest.resume();
            let end = rest.run_by(picks(&order));
            prop_assert_eq!(end.status, reply.status, "after {} entries", cut);
            let compensated: Vec<StepKey> = rest.entries().filter_map(|entry| match entry {
                Entry::StepCompensationEnded { key, .. } => Some(key.clone()),
                _ => None,
            }).collect();
            let unique: BTreeSet<&StepKey> = compensated.iter().collect();
            prop_assert_eq!(unique.len(), compensated.len(), "an undoing was recorded twice");
        }
    }
}
