//! What a command approves or rejects: a step, or one of the calls of tools for which it waits.

use std::fmt;
use std::str::FromStr;

use greenroom_protocol::id::IdError;
use greenroom_protocol::{StepId, ToolCallId};

/// `STEP` or `STEP/CALL`. An item of a list may be named (`STEP[2]/CALL`), as `runs show` prints it; the call is unique
/// without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalTarget {
    /// The step.
    pub step: StepId,
    /// One call of a tool; without it, the step itself, before its start.
    pub call: Option<ToolCallId>,
}

impl FromStr for ApprovalTarget {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let Some((step, call)) = text.split_once('/') else { return Ok(Self { step: text.parse()?, call: None }) };
        let step = step.strip_suffix(']').and_then(|item| item.split_once('[')).map_or(step, |(step, _)| step);
        Ok(Self { step: step.parse()?, call: Some(call.parse()?) })
    }
}

impl fmt::Display for ApprovalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.call {
            Some(call) => write!(f, "{}/{call}", self.step),
            None => write!(f, "{}", self.step),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ApprovalTarget;

    #[test]
    fn a_step_and_a_call_of_it_are_separated_by_a_slash() {
        for (text, written) in [("pay", "pay"), ("pay/0a1b2c3d", "pay/0a1b2c3d"), ("pay[2]/0a1b2c3d", "pay/0a1b2c3d")] {
            assert_eq!(text.parse::<ApprovalTarget>().unwrap().to_string(), written);
        }
        for text in ["", "/0a", "pay/", "pay[2]", "a/b/c"] {
            assert!(text.parse::<ApprovalTarget>().is_err(), "{text}");
        }
    }
}
