//! The progress of a run: one line for each event, on standard error. With `--quiet` only a request for
//! approval is printed.

use std::time::Duration;

use greenroom_protocol::RunId;
use greenroom_protocol::conversation::PendingToolCall;
use greenroom_protocol::event::{RunEvent, RunEventKind};
use greenroom_protocol::journal::{PendingApproval, WaitTarget};

use super::output::{Output, print_note};

/// Prints the events of a run.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    is_quiet: bool,
}

impl Progress {
    /// The progress that the user wants.
    #[must_use]
    pub const fn new(output: Output) -> Self {
        Self { is_quiet: output.is_quiet() }
    }

    /// Prints one event.
    pub fn print_event(self, event: &RunEvent) {
        let awaits_approval =
            matches!(event.kind, RunEventKind::ApprovalRequested { .. } | RunEventKind::CallAwaitsApproval { .. });
        if let Some(text) = line(event).filter(|_| !self.is_quiet || awaits_approval) {
            print_note(&text);
        }
    }
}

/// Formats one event as a line.
#[must_use]
pub fn line(event: &RunEvent) -> Option<String> {
    let at = |step: &greenroom_protocol::StepId, index: &Option<u32>| match index {
        Some(index) => format!("{step}[{index}]"),
        None => step.to_string(),
    };
    Some(match &event.kind {
        RunEventKind::RunStarted { steps } => format!("▶ {} · {steps} steps", event.run),
        RunEventKind::RunResumed { definitions_changed: false } => "  ↻ resumed after an interruption".to_owned(),
        RunEventKind::RunResumed { definitions_changed: true } => {
            "  ↻ resumed after an interruption, pinned to its original definitions (they have changed since)".to_owned()
        }
        RunEventKind::StepStarted { step, index, agent, attempt } => {
            let agent = agent.as_ref().map(|agent| format!(" · {agent}")).unwrap_or_default();
            let attempt = if *attempt > 1 { format!(" · attempt {attempt}") } else { String::new() };
            format!("  … {}{agent}{attempt}", at(step, index))
        }
        RunEventKind::StepRestarted { step, index } => {
            format!("  ↻ {} starts again: its attempt was interrupted", at(step, index))
        }
        RunEventKind::StepEnded { step, index, status, duration_ms, cause, reason } => {
            let mark = match status.as_str() {
                "done" => "✔",
                "skipped" => "–",
                "compensated" => "↩",
                _ => "✘",
            };
            let duration = format_duration(Duration::from_millis(*duration_ms));
            let cause = cause.as_ref().map(|cause| format!(" · {cause}")).unwrap_or_default();
            let reason = reason.as_ref().map(|reason| format!(" · {reason}")).unwrap_or_default();
            format!("  {mark} {} {status}{duration}{cause}{reason}", at(step, index))
        }
        RunEventKind::StepRetried { step, cause, after_ms } => {
            format!("  ↻ {step} retried after {after_ms} ms · {cause}")
        }
        RunEventKind::ApprovalRequested { step, prompt, until } => {
            let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
            format!("  ? {step} awaits approval{until}: {prompt}\n{}", approval_commands(&event.run, step.as_str()))
        }
        RunEventKind::CallAwaitsApproval { step, index, approvals, waits } => {
            let approvals = approvals.iter().map(pending_lines);
            let waits = waits.iter().map(|wait| format!("    {} of {} waits for {}", wait.step, wait.run, wait.target));
            let each: Vec<String> = approvals.chain(waits).collect();
            format!("  ? {} waits in the run that it called\n{}", at(step, index), each.join("\n"))
        }
        RunEventKind::WaitStarted { step, target, until } => {
            let until = until.map(|until| format!(" until {until}")).unwrap_or_default();
            format!("  ? {step} waits for {target}{until}{}", publish_command(&event.run, target))
        }
        RunEventKind::EventReceived { name, by } => format!("  ✉ {by} published the event {name}"),
        RunEventKind::ApprovalResolved { step, approved, by } => {
            format!(
                "  {} {step} was {} by {by}",
                if *approved { "✔" } else { "✘" },
                if *approved { "approved" } else { "rejected" }
            )
        }
        RunEventKind::RunGivenUp { cause } => {
            format!("  ✘ dead: {cause}\n    greenroom runs dead retry {}", event.run)
        }
        RunEventKind::RunReopened { by } => format!("  ↻ tried again by {by}"),
        RunEventKind::RunEnded { reply } => format!("■ {} {}", event.run, reply.status.as_str()),
        RunEventKind::Unknown => format!("  · event {} of a later release", event.seq),
    })
}

/// The calls of tools that wait for an approval, if it is for such calls, and the commands that resolve it: they name the
/// calls that are shown.
#[must_use]
pub fn pending_lines(approval: &PendingApproval) -> String {
    let PendingApproval { run, step, index, since: _, until: _, calls } = approval;
    if calls.is_empty() {
        return approval_commands(run, step.as_str());
    }
    let item = index.map(|index| format!("[{index}]")).unwrap_or_default();
    let lines = calls
        .iter()
        .map(|PendingToolCall { call, tool, arguments }| format!("    {step}{item}/{call} calls {tool} {arguments}\n"));
    let targets: Vec<String> = calls.iter().map(|pending| format!("{step}/{}", pending.call)).collect();
    format!("{}{}", lines.collect::<String>(), approval_commands(run, &targets.join(" ")))
}

/// The commands that resolve approvals of these steps or calls.
pub fn approval_commands(run: &RunId, targets: &str) -> String {
    format!("    greenroom runs approve {run} {targets}\n    greenroom runs reject {run} {targets}")
}

/// The command, on a line of its own, that publishes the event for which a step waits.
pub fn publish_command(run: &RunId, target: &WaitTarget) -> String {
    match target {
        WaitTarget::Event(name) => format!("\n    greenroom runs publish {run} {name}"),
        WaitTarget::Context(_) => String::new(),
    }
}

fn format_duration(time: Duration) -> String {
    if time < Duration::from_millis(1) { String::new() } else { format!(" · {:.2} s", time.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::journal::SkipReason;
    use greenroom_protocol::{CallKey, StepId, Timestamp, WrittenVersion};

    use super::*;

    #[test]
    fn a_requested_approval_prints_the_commands_that_resolve_it() {
        let event = RunEvent {
            run: RunId::new("run_1").unwrap(),
            seq: 3,
            n: 0,
            at: Timestamp::default(),
            protocol_version: WrittenVersion::OWN,
            kind: RunEventKind::ApprovalRequested {
                step: StepId::new("sign").unwrap(),
                prompt: "Send it?".into(),
                until: Some(Timestamp::from_micros(1_700_000_000_000_000)),
            },
        };
        let text = line(&event).unwrap();
        assert!(text.contains("until 2023-11-14T22:13:20Z: Send it?"), "{text}");
        assert!(text.contains("greenroom runs approve run_1 sign"), "{text}");
    }

    #[test]
    fn a_step_that_waits_for_an_event_prints_the_command_that_publishes_it() {
        let kind = RunEventKind::WaitStarted {
            step: StepId::new("payment").unwrap(),
            target: WaitTarget::Event(greenroom_protocol::EventName::new("paid").unwrap()),
            until: None,
        };
        let (run, protocol_version) = (RunId::new("run_1").unwrap(), WrittenVersion::OWN);
        let event = RunEvent { run, seq: 3, n: 0, at: Timestamp::default(), protocol_version, kind };
        let text = line(&event).unwrap();
        assert_eq!(text, "  ? payment waits for the event `paid`\n    greenroom runs publish run_1 paid");
    }

    #[test]
    fn a_call_of_a_tool_that_waits_is_printed_with_its_arguments() {
        let key = CallKey::new("run_1/pay/tool[0]").unwrap();
        let call = PendingToolCall::new(&key, "native:pay", serde_json::json!({ "amount": 3 }));
        let id = call.call.clone();
        let approval = PendingApproval {
            run: RunId::new("run_1").unwrap(),
            step: StepId::new("pay").unwrap(),
            index: Some(2),
            since: Timestamp::default(),
            until: None,
            calls: vec![call],
        };
        let text = pending_lines(&approval);
        assert!(text.contains(&format!("pay[2]/{id} calls native:pay {{\"amount\":3}}")), "{text}");
        assert!(text.contains(&format!("greenroom runs approve run_1 pay/{id}\n")), "{text}");
    }

    #[test]
    fn a_skipped_step_is_printed_with_its_reason() {
        let reason = SkipReason::ReferencesSkipped { steps: vec![StepId::new("draft").unwrap()] };
        let kind = RunEventKind::StepEnded {
            step: StepId::new("send").unwrap(),
            index: None,
            status: "skipped".into(),
            duration_ms: 0,
            cause: None,
            reason: Some(reason),
        };
        let event = RunEvent {
            run: RunId::new("run_1").unwrap(),
            seq: 4,
            n: 0,
            at: Timestamp::default(),
            protocol_version: WrittenVersion::OWN,
            kind,
        };
        assert_eq!(
            line(&event).unwrap(),
            "  – send skipped · it refers only to `draft`, which was skipped",
            "the reason is what a reader of the run looks for"
        );
    }
}
