//! What a request from outside may not contain. Inside the platform the same types carry the version that
//! a run is pinned to, the keys of its calls and the approvals of its tools; a caller who could set them could choose a
//! version that was replaced, take the key of another run's call, or state approvals that no person has given.

use super::{Invoke, Maintenance, Query, Request, Signal, SignalRun, StartTeam, TeamRef};
use crate::error::{Cause, ErrorCode};
use crate::limits::{NAME_BYTES_MAX, REASON_BYTES_MAX};

impl Request {
    /// Checks a request that arrived from outside.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if it has a member that only the platform sets, or a name that is too
    /// long; [`ErrorCode::PayloadTooLarge`] if an event, a reason or a team that it contains is too large.
    pub fn check_outside(&self) -> Result<(), Cause> {
        let (version, key) = self.inner_members();
        if version {
            return Err(inner_member(
                "version",
                "the newest version is used, and a run pins the versions of its calls",
            ));
        }
        if key {
            return Err(inner_member("key", "send the idempotency key in the envelope"));
        }
        match self {
            Self::Invoke(Invoke { approvals: Some(_), .. }) => {
                return Err(inner_member("approvals", "calls of tools are approved by a signal to their run"));
            }
            Self::SignalRun(SignalRun { signal: Signal::Event(event), .. }) => event.check_size()?,
            Self::SignalRun(SignalRun { signal: Signal::Reject { reason: Some(reason), .. }, .. })
                if reason.len() > REASON_BYTES_MAX =>
            {
                let message = format!("`reason` has {} bytes, at most {REASON_BYTES_MAX} are allowed", reason.len());
                return Err(Cause::new(ErrorCode::PayloadTooLarge, message));
            }
            Self::StartTeam(StartTeam { team: TeamRef::Inline(team), .. }) => team.check_size()?,
            Self::Maintain(Maintenance::CreateKey(key)) => key.check_size()?,
            Self::MemoryWrite(write) => write.change.check_source()?,
            _ => {}
        }
        for (member, text) in self.names() {
            if text.len() > NAME_BYTES_MAX {
                let message = format!("`{member}` has {} bytes, at most {NAME_BYTES_MAX} are allowed", text.len());
                return Err(Cause::new(ErrorCode::InvalidRequest, message));
            }
        }
        Ok(())
    }

    /// Checks a request that has an idempotency key.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`] if a key cannot make the request repeatable: a write to a shared context that does
    /// not name the version which it replaces. If its outcome is unknown, a repetition would write twice. The reply to the
    /// creation of a key has a secret, which no store may have.
    pub fn check_repeatable(&self) -> Result<(), Cause> {
        match self {
            Self::ContextWrite(write) if write.expect.is_none() => {
                let message = "a context write with an idempotency key needs `expect`: the version of the key that was \
                               read, or 0 if it has no value; send it, or send no idempotency key";
                Err(Cause::new(ErrorCode::InvalidRequest, message))
            }
            Self::Maintain(Maintenance::CreateKey(_)) => {
                let message = "a key is created without an idempotency key, because its secret is stored nowhere; send \
                               none, and revoke a key whose secret was lost";
                Err(Cause::new(ErrorCode::InvalidRequest, message))
            }
            Self::ContextWrite(_)
            | Self::Invoke(_)
            | Self::StartRun(_)
            | Self::StartTeam(_)
            | Self::SignalRun(_)
            | Self::ResumeRun(_)
            | Self::ContextRead(_)
            | Self::MemoryRead(_)
            | Self::MemoryWrite(_)
            | Self::CallTool(_)
            | Self::Query(_)
            | Self::Maintain(_) => Ok(()),
        }
    }

    /// True if serde does not find every unknown member of such a request while it reads it: the signal is flattened,
    /// and variants without members accept any.
    #[must_use]
    pub const fn has_open_shape(&self) -> bool {
        match self {
            Self::SignalRun(_) | Self::Query(_) | Self::Maintain(_) | Self::MemoryWrite(_) => true,
            Self::Invoke(_)
            | Self::StartRun(_)
            | Self::StartTeam(_)
            | Self::ResumeRun(_)
            | Self::ContextRead(_)
            | Self::ContextWrite(_)
            | Self::MemoryRead(_)
            | Self::CallTool(_) => false,
        }
    }

    /// Whether the request has a version, and a call key.
    const fn inner_members(&self) -> (bool, bool) {
        match self {
            Self::Invoke(invoke) => (invoke.version.is_some(), invoke.key.is_some()),
            Self::StartRun(start) => (start.version.is_some(), start.key.is_some()),
            Self::StartTeam(start) => {
                (start.version.is_some() || start.workflow_version.is_some(), start.key.is_some())
            }
            Self::CallTool(call) => (false, call.key.is_some()),
            Self::MemoryWrite(write) => (false, write.key.is_some()),
            Self::SignalRun(_)
            | Self::ResumeRun(_)
            | Self::ContextRead(_)
            | Self::ContextWrite(_)
            | Self::MemoryRead(_)
            | Self::Query(_)
            | Self::Maintain(_) => (false, false),
        }
    }

    /// The members that name something by a text which is not an id, and has no bound of its own.
    fn names(&self) -> Vec<(&'static str, &str)> {
        let model = match self {
            Self::Invoke(invoke) => invoke.options.model.as_deref(),
            Self::StartRun(start) => start.options.model.as_deref(),
            Self::StartTeam(start) => start.options.model.as_deref(),
            _ => None,
        };
        let other = match self {
            Self::CallTool(call) => Some(("tool", call.tool.as_str())),
            Self::Query(Query::AuditEntry { id }) => Some(("id", id.as_str())),
            Self::Maintain(Maintenance::CreateKey(key)) => Some(("name", key.name.as_str())),
            Self::Query(Query::Runs { page, filter: _ } | Query::Audit { page }) => {
                page.after.as_deref().map(|after| ("after", after))
            }
            _ => None,
        };
        model.map(|model| ("model", model)).into_iter().chain(other).collect()
    }
}

fn inner_member(member: &str, instead: &str) -> Cause {
    Cause::new(ErrorCode::InvalidRequest, format!("a request has no `{member}`: {instead}"))
}
