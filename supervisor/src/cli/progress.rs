//! What a person sees while a run goes on: one line for each thing that happened, on standard error,
//! and only where that is a terminal. A run that waits for a person says so in a pipe, too.

use std::io::IsTerminal;
use std::time::Duration;

use greenroom_protocol::event::{RunEvent, RunEventKind};

use super::output::print_note;

/// Tells of a run.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    shown: bool,
}

impl Progress {
    /// Progress on a terminal; none in a pipe.
    #[must_use]
    pub fn new() -> Self {
        Self { shown: std::io::stderr().is_terminal() }
    }

    /// Progress wherever standard error goes, for the demo.
    #[must_use]
    pub const fn always() -> Self {
        Self { shown: true }
    }

    /// Tells of one event.
    pub fn print_events(self, event: &RunEvent) {
        let waits = matches!(event.kind, RunEventKind::ApprovalRequested { .. });
        if let Some(text) = line(event).filter(|_| self.shown || waits) {
            print_note(&text);
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

/// One event as a line; `None` where there is nothing to say.
#[must_use]
pub fn line(event: &RunEvent) -> Option<String> {
    let at = |step: &greenroom_protocol::StepId, index: &Option<u32>| match index {
        Some(index) => format!("{step}[{index}]"),
        None => step.to_string(),
    };
    Some(match &event.kind {
        RunEventKind::RunStarted { steps } => format!("▶ {} · {steps} steps", event.run),
        RunEventKind::RunResumed { definitions_changed: false } => "  ↻ goes on after an interruption".to_owned(),
        RunEventKind::RunResumed { definitions_changed: true } => {
            "  ↻ goes on after an interruption, with the versions it began with: definitions have changed since"
                .to_owned()
        }
        RunEventKind::StepStarted { step, index, agent, attempt } => {
            let who = agent.as_ref().map(|agent| format!(" · {agent}")).unwrap_or_default();
            let again = if *attempt > 1 { format!(" · attempt {attempt}") } else { String::new() };
            format!("  … {}{who}{again}", at(step, index))
        }
        RunEventKind::StepEnded { step, index, status: state, duration_ms, cause } => {
            let mark = match state.as_str() {
                "done" => "✔",
                "skipped" => "–",
                "compensated" => "↩",
                _ => "✘",
            };
            let took = format_duration(Duration::from_millis(*duration_ms));
            let why = cause.as_ref().map(|cause| format!(" · {cause}")).unwrap_or_default();
            format!("  {mark} {} {state}{took}{why}", at(step, index))
        }
        RunEventKind::StepRetried { step, cause, after_ms } => {
            format!("  ↻ {step} again after {after_ms} ms · {cause}")
        }
        RunEventKind::ApprovalRequested { step, prompt } => format!(
            "  ? {step} waits for a person: {prompt}\n    greenroom runs approve {run} {step}\n    greenroom runs reject {run} {step}",
            run = event.run
        ),
        RunEventKind::ApprovalResolved { step, approved, by } => {
            format!(
                "  {} {step} was {} by {by}",
                if *approved { "✔" } else { "✘" },
                if *approved { "approved" } else { "rejected" }
            )
        }
        RunEventKind::RunEnded { reply } => format!("■ {} {}", event.run, reply.status.as_str()),
    })
}

fn format_duration(time: Duration) -> String {
    if time < Duration::from_millis(1) { String::new() } else { format!(" · {:.2} s", time.as_secs_f64()) }
}

#[cfg(test)]
mod tests {
    use greenroom_protocol::{RunId, StepId, Timestamp};

    use super::*;

    #[test]
    fn an_approval_says_how_to_give_it() {
        let event = RunEvent {
            run: RunId::new("run_1").unwrap(),
            seq: 3,
            at: Timestamp::default(),
            kind: RunEventKind::ApprovalRequested { step: StepId::new("sign").unwrap(), prompt: "Send it?".into() },
        };
        let text = line(&event).unwrap();
        assert!(text.contains("greenroom runs approve run_1 sign"), "{text}");
    }
}
