//! Verifies the delegations of other pods: every binding, and that each is accepted once.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_protocol::{Cause, PodId, Request, RunId, Timestamp};
use greenroom_rego::{DelegationVerifier, VerifiedDelegation};

use super::body_hash;
use super::clock_offsets::with_pod_time;
use super::refusal::{DelegationObserver, RefusedDelegation};
use super::token::{Statement, Unverified, VERSION};
use crate::cluster::keys::{ClusterSecret, KeyLabel};
use crate::cluster::recent::Recent;

/// The longest lifetime that is accepted.
pub const LIFETIME_MAX: Duration = Duration::from_secs(60);
/// By how much the clocks of two pods may differ.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);
/// For how long ids and fences are remembered: longer than any delegation that was accepted lives.
const MEMORY: Duration = Duration::from_secs(70);
/// How many of them are remembered in that time.
const ENTRIES_MAX: usize = 1_000_000;

/// Verifies delegations for one pod.
pub struct Delegations {
    pod: PodId,
    secret: ClusterSecret,
    observer: Arc<dyn DelegationObserver>,
    accepted: Mutex<Accepted>,
}

/// What was accepted recently.
struct Accepted {
    ids: Recent<String, ()>,
    /// The largest fence of each tree of runs.
    fences: Recent<RunId, u64>,
}

impl Delegations {
    /// A verifier for this start of a pod, which has accepted nothing yet. No delegation for an earlier start of it is
    /// for this one, so nothing of that needs to be remembered.
    #[must_use]
    pub fn new(secret: ClusterSecret, pod: PodId, observer: Arc<dyn DelegationObserver>) -> Self {
        let accepted = Accepted { ids: Recent::new(MEMORY, ENTRIES_MAX), fences: Recent::new(MEMORY, ENTRIES_MAX) };
        Self { pod, secret, observer, accepted: Mutex::new(accepted) }
    }

    fn check(&self, token: &str, request: &Request, now: Timestamp) -> Result<Statement, Refused> {
        let unverified =
            Unverified::parse(token).ok_or(Refused { issuer: None, reason: RefusedDelegation::Unreadable })?;
        let issuer = unverified.statement.issuer.clone();
        let checked = self.check_parsed(unverified, request, now);
        checked.map_err(|reason| Refused { issuer: Some(issuer), reason })
    }

    fn check_parsed(
        &self,
        unverified: Unverified,
        request: &Request,
        now: Timestamp,
    ) -> Result<Statement, RefusedDelegation> {
        let issuer = unverified.statement.issuer.as_str().as_bytes();
        let key = self.secret.key(KeyLabel::Delegation, issuer).map_err(|_| RefusedDelegation::Unreadable)?;
        let statement = unverified.verify(&key).ok_or(RefusedDelegation::Foreign)?;
        if statement.version != VERSION {
            return Err(RefusedDelegation::Unreadable);
        }
        if statement.audience != self.pod {
            return Err(RefusedDelegation::Audience);
        }
        check_time(&statement, now)?;
        if body_hash(request).ok() != Some(statement.body) {
            return Err(RefusedDelegation::Body);
        }
        let is_bound = matches!(request, Request::Invoke(invoke) if invoke.key.as_ref() == Some(&statement.key));
        if !is_bound || statement.principal != statement.call.principal.hash() {
            return Err(RefusedDelegation::Binding);
        }
        self.accept(&statement, now)?;
        Ok(statement)
    }

    /// Remembers the id and the fence of a statement that is valid otherwise.
    fn accept(&self, statement: &Statement, now: Timestamp) -> Result<(), RefusedDelegation> {
        let mut accepted = self.accepted();
        if accepted.ids.get(&statement.id).is_some() {
            return Err(RefusedDelegation::Replayed);
        }
        if let (Some(root), Some(fence)) = (&statement.call.root, statement.fence) {
            let largest = accepted.fences.get(root).copied().unwrap_or_default();
            if fence < largest {
                return Err(RefusedDelegation::OldFence);
            }
            let remembered = accepted.fences.insert(root.clone(), fence, now);
            remembered.map_err(|_| RefusedDelegation::Overloaded)?;
        }
        accepted.ids.insert(statement.id.clone(), (), now).map_err(|_| RefusedDelegation::Overloaded)
    }

    fn accepted(&self) -> MutexGuard<'_, Accepted> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A refused delegation, with the issuer that it names.
struct Refused {
    issuer: Option<PodId>,
    reason: RefusedDelegation,
}

fn check_time(statement: &Statement, now: Timestamp) -> Result<(), RefusedDelegation> {
    let Statement { issued_at, expires_at, .. } = statement;
    let is_ordered = issued_at < expires_at;
    if !is_ordered || expires_at.saturating_duration_since(*issued_at) > LIFETIME_MAX {
        return Err(RefusedDelegation::Lifetime);
    }
    if *issued_at > now.saturating_add(CLOCK_SKEW_MAX) {
        return Err(RefusedDelegation::Early);
    }
    if *expires_at <= now { Err(RefusedDelegation::Expired) } else { Ok(()) }
}

impl DelegationVerifier for Delegations {
    fn verify(&self, token: &str, request: &Request, now: Timestamp) -> Result<VerifiedDelegation, Cause> {
        match self.check(token, request, now) {
            Ok(Statement { call, fence, .. }) => Ok(VerifiedDelegation { call, fence }),
            Err(Refused { issuer, reason }) => {
                self.observer.on_refused(issuer.as_ref(), reason);
                Err(if reason.is_of_clocks() { with_pod_time(reason.cause(), now) } else { reason.cause() })
            }
        }
    }
}
