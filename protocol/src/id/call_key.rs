//! How the key of a call is derived from the request, the step or the call that makes it.

use std::sync::Arc;

use super::{CallKey, IdempotencyKey, PrincipalId, RequestId, RunId, StepId, check, generated_timestamp, printable};
use crate::hash::ContentHash;
use crate::limits::{ID_BYTES_MAX, KEY_BYTES_MAX};

/// The part of a call key that marks the call of a compensation.
const COMPENSATION_PART: &str = "undo";

impl CallKey {
    /// Returns the key of a request's own call.
    #[must_use]
    pub fn for_request(request: &RequestId) -> Self {
        Self(request.0.clone())
    }

    /// Derives the key of the call of a request that its caller can repeat, from the caller's idempotency key and
    /// the hash of the request: it is the same for each repetition, and no other caller has it.
    #[must_use]
    pub fn for_caller(caller: &PrincipalId, key: &IdempotencyKey, request_hash: &ContentHash) -> Self {
        // No id and no hash contains a slash, so different callers, requests and keys give different texts.
        let text = format!("{caller}/{request_hash}/{key}");
        Self(Arc::from(format!("key_{}", ContentHash::from_content(text.as_bytes()))))
    }

    /// Returns the key of a step's call: `run_…/step`, or `run_…/step[3]` for an item of a `for_each`.
    #[must_use]
    pub fn for_step(run: &RunId, step: &StepId, index: Option<u32>) -> Self {
        Self(Arc::from(match index {
            Some(index) => format!("{run}/{step}[{index}]"),
            None => format!("{run}/{step}"),
        }))
    }

    /// Returns the key of the call that compensates this one.
    #[must_use]
    pub fn compensation(&self) -> Self {
        self.child(COMPENSATION_PART)
    }

    /// Returns the key of the compensation of the whole run, if this call is a part of it: the call that compensates a
    /// step, or one nested in it. No call of a step has the key that is returned.
    #[must_use]
    pub fn run_compensation(&self) -> Option<Self> {
        let mut parts = self.0.split('/');
        let (run, _step, part) = (parts.next()?, parts.next()?, parts.next()?);
        (part == COMPENSATION_PART).then(|| Self::compensation_of(run))
    }

    /// Returns the key of the compensation of a whole run, as [`CallKey::run_compensation`].
    #[must_use]
    pub fn for_run_compensation(run: &RunId) -> Self {
        Self::compensation_of(run.as_str())
    }

    fn compensation_of(run: &str) -> Self {
        Self(Arc::from(format!("{run}//{COMPENSATION_PART}")))
    }

    /// Returns the key of a nested call of this one; `part` is an id or a word. A key that would be too
    /// long, or that a key may not contain, is replaced by its digest below the run or request. It remains a part of the
    /// compensation of its run, which has money of its own.
    #[must_use]
    pub fn child(&self, part: &str) -> Self {
        let key = format!("{self}/{part}");
        if check(&key, KEY_BYTES_MAX, printable).is_ok() {
            return Self(Arc::from(key));
        }
        let root = self.0.split('/').next().filter(|root| root.len() <= ID_BYTES_MAX).unwrap_or("call");
        let digest = format!("{root}/{}", ContentHash::from_content(key.as_bytes()));
        Self(Arc::from(match self.run_compensation() {
            Some(_) => format!("{digest}/{COMPENSATION_PART}"),
            None => digest,
        }))
    }

    /// Returns the key of the outermost call that this one is nested in: this one itself, if it is not nested.
    #[must_use]
    pub fn root(&self) -> Self {
        match self.0.split_once('/') {
            Some((root, _)) if !root.is_empty() => Self(Arc::from(root)),
            Some(_) | None => self.clone(),
        }
    }

    /// Derives the id of the request that makes the given attempt of this call. A process that resumes
    /// a run sends the same id, so that the callee recognises a repeated request instead of starting
    /// the work twice.
    ///
    /// The id begins with the time of the generated id in the key, as all generated ids begin with a
    /// time: requests of one run are adjacent in an index by id.
    #[must_use]
    pub fn request_id(&self, attempt: u32) -> RequestId {
        let root = self.0.split('/').next().unwrap_or_default();
        RequestId::from_digest(&format!("{self}#{attempt}"), generated_timestamp(root))
    }
}
