//! Maintenance of the stores: what an operator types on the machine of the pod. Policy decides it and the
//! audit records it like any other request; another machine cannot request it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::NewKey;
use crate::id::{PrincipalId, UserId};
use crate::time::Timestamp;

/// A maintenance command. Runs and memories are those of the user's tenant; the audit chain and the store hold the data of every
/// tenant, and definitions and policy are those of every tenant: only users of the pod's own tenant maintain them. Keys
/// are those of the user's tenant; users of the pod's own tenant manage those of every tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Maintenance {
    /// Removes the runs and the stored replies that ended before a time, and their artifacts.
    PruneRuns {
        /// The time.
        before: Timestamp,
    },
    /// Deletes what all agents have remembered for the tenant of the user.
    ForgetMemories {
        /// The principal of the tenant for whom it was remembered; without one, for all, documents included.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<PrincipalId>,
    },
    /// Resumes the runs that have no owner.
    ResumeRuns,
    /// Verifies the hash chain of the audit.
    VerifyAudit,
    /// Removes the audit entries older than a time.
    PruneAudit {
        /// The time.
        before: Timestamp,
    },
    /// Checks every file of the store.
    CheckStore,
    /// Counts the trees of runs of every tenant that a pod has or is to have.
    CountTrees,
    /// Copies the store while the pod keeps running.
    BackUpStore {
        /// The new file on the machine of the pod; it must not exist.
        to: String,
    },
    /// Makes a catalogue of definitions that of every pod that shares the store. It is checked first, and one with an
    /// error changes nothing.
    ApplyDefinitions {
        /// A directory on the machine of the pod, or `s3://BUCKET/PREFIX`.
        from: String,
    },
    /// Makes a policy that of every pod that shares the store. It is compiled and tried first, and one that fails changes
    /// nothing.
    ApplyPolicy {
        /// A bundle or its directory on the machine of the pod, or `s3://BUCKET/PREFIX`.
        from: String,
    },
    /// Creates an API key. The report has its secret, which nothing else has.
    CreateKey(NewKey),
    /// Lists the API keys, without their secrets.
    ListKeys,
    /// Revokes an API key: within a second, every pod refuses it, and the runs that it has started end at their next hop.
    RevokeKey {
        /// The id of the key, as `ListKeys` reports it.
        key: UserId,
    },
    /// Revokes a principal that an identity provider vouches for, with the runs that it has started, as
    /// [`Maintenance::RevokeKey`] does.
    RevokeSubject {
        /// The principal.
        subject: PrincipalId,
    },
    /// Accepts the tokens of a principal again that was revoked.
    ReinstateSubject {
        /// The principal.
        subject: PrincipalId,
    },
    /// Puts a backup in the place of the store. Only a process that serves no other request does so: one that a
    /// command starts for it.
    RestoreStore {
        /// The backup on the machine of the pod.
        from: String,
    },
}

impl Maintenance {
    /// The verb, for logs, audit and policy.
    #[must_use]
    pub const fn verb(&self) -> &'static str {
        match self {
            Self::PruneRuns { .. } => "prune_runs",
            Self::ForgetMemories { .. } => "forget_memories",
            Self::ResumeRuns => "resume_runs",
            Self::VerifyAudit => "verify_audit",
            Self::PruneAudit { .. } => "prune_audit",
            Self::CheckStore => "check_store",
            Self::CountTrees => "count_trees",
            Self::BackUpStore { .. } => "back_up_store",
            Self::ApplyDefinitions { .. } => "apply_definitions",
            Self::ApplyPolicy { .. } => "apply_policy",
            Self::CreateKey(_) => "create_key",
            Self::ListKeys => "list_keys",
            Self::RevokeKey { .. } => "revoke_key",
            Self::RevokeSubject { .. } => "revoke_subject",
            Self::ReinstateSubject { .. } => "reinstate_subject",
            Self::RestoreStore { .. } => "restore_store",
        }
    }

    /// The resource: `runs`, `memories`, `audit`, `store`, `definitions`, `policy` or `keys`.
    #[must_use]
    pub const fn resource(&self) -> &'static str {
        match self {
            Self::PruneRuns { .. } | Self::ResumeRuns => "runs",
            Self::ForgetMemories { .. } => "memories",
            Self::VerifyAudit | Self::PruneAudit { .. } => "audit",
            Self::CheckStore | Self::CountTrees | Self::BackUpStore { .. } | Self::RestoreStore { .. } => "store",
            Self::ApplyDefinitions { .. } => "definitions",
            Self::ApplyPolicy { .. } => "policy",
            Self::CreateKey(_)
            | Self::ListKeys
            | Self::RevokeKey { .. }
            | Self::RevokeSubject { .. }
            | Self::ReinstateSubject { .. } => "keys",
        }
    }
}
