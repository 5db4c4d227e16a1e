//! The units of a batch as JSON, as `greenroom_commit_v2` reads them. `unit` is the number of a unit in its batch.

use greenroom_protocol as protocol;
use protocol::{ContentHash, Issuer, PodId, RequestId, RunId, TeamId, TenantId, UserId, WorkflowId};
use serde::Serialize;

use crate::postgres::lane::result::Tails;
use crate::postgres::ledger::settled::SettledJson;

/// An append to a run.
#[derive(Serialize)]
pub(super) struct AppendJson<'b> {
    pub(super) unit: i32,
    pub(super) run: &'b RunId,
    pub(super) fence: u64,
    pub(super) after: u64,
    pub(super) seq: u64,
    pub(super) status: &'static str,
    pub(super) ended: bool,
    pub(super) pending: u32,
    pub(super) updated: i64,
    pub(super) progress: bool,
    /// The root of its tree, and its number, if that is known.
    #[serde(skip)]
    pub(super) root: &'b RunId,
    #[serde(skip)]
    pub(super) number: Option<i64>,
}

/// A new run.
#[derive(Serialize)]
pub(super) struct CreateJson<'b> {
    pub(super) unit: i32,
    pub(super) run: &'b RunId,
    /// The owner, with the hash of it.
    pub(super) issuer: &'b Issuer,
    pub(super) tenant: &'b TenantId,
    pub(super) user_id: &'b UserId,
    pub(super) principal: ContentHash,
    pub(super) workflow: &'b WorkflowId,
    pub(super) version: &'b ContentHash,
    pub(super) team: Option<&'b TeamId>,
    pub(super) parent: Option<&'b RunId>,
    pub(super) root: &'b RunId,
    pub(super) hash: &'b ContentHash,
    pub(super) personal: bool,
    pub(super) status: &'static str,
    pub(super) ended: bool,
    pub(super) pending: u32,
    pub(super) seq: u64,
    pub(super) at: i64,
    pub(super) caller: Option<&'b RunId>,
    pub(super) fence: u64,
    pub(super) pod: &'b PodId,
    /// Its tree has no owner.
    pub(super) unowned: bool,
    /// The version of its journal.
    #[serde(skip)]
    pub(super) journal_version: u32,
}

/// The version of the journal of a run, if it is not the first one.
#[derive(Serialize)]
pub(super) struct VersionJson<'b> {
    pub(super) unit: i32,
    pub(super) root: &'b RunId,
    pub(super) version: u32,
}

/// A claim of a tree.
#[derive(Serialize)]
pub(super) struct ClaimJson<'b> {
    pub(super) unit: i32,
    pub(super) root: &'b RunId,
    pub(super) pod: &'b PodId,
    pub(super) leased: bool,
    /// When this pod, as the owner of the tree before, knows that the tree was active.
    pub(super) since: Option<i64>,
    pub(super) until: Option<i64>,
    pub(super) at: i64,
}

/// The end of the ownership of a tree.
#[derive(Serialize)]
pub(super) struct ReleaseJson<'b> {
    pub(super) unit: i32,
    pub(super) root: &'b RunId,
    pub(super) fence: u64,
    pub(super) failed: bool,
    /// When a tree that has failed is due again.
    pub(super) wake_at: i64,
    pub(super) at: i64,
}

/// A key to reserve.
#[derive(Serialize)]
pub(super) struct KeyJson<'b> {
    pub(super) unit: i32,
    pub(super) key: &'b str,
    pub(super) tenant: &'b TenantId,
    pub(super) hash: &'b ContentHash,
    pub(super) run: Option<&'b RunId>,
    /// The run ends at once by a failure that may pass, so its key is free again.
    pub(super) transient: bool,
    pub(super) at: i64,
}

/// A run that ends by a failure which may pass: its key is free again.
#[derive(Serialize)]
pub(super) struct FreedJson<'b> {
    pub(super) unit: i32,
    pub(super) run: &'b RunId,
}

/// An entry of the audit that is opened.
#[derive(Serialize)]
pub(super) struct OpenedJson<'b> {
    pub(super) unit: i32,
    pub(super) number: u64,
    pub(super) request: &'b RequestId,
    pub(super) tenant: &'b TenantId,
    pub(super) at: i64,
    pub(super) written_at: String,
}

/// An entry of the audit that is closed.
#[derive(Serialize)]
pub(super) struct ClosedJson {
    pub(super) chain: u64,
    pub(super) number: u64,
}

/// An entry that a dead pod has left open. The database appends the event that closes it, if it is still open.
#[derive(Serialize)]
pub(super) struct InterruptedJson<'b> {
    pub(super) chain: u64,
    pub(super) number: u64,
    pub(super) request: &'b RequestId,
    pub(super) tenant: &'b TenantId,
    pub(super) at: i64,
    pub(super) written_at: String,
    /// The event as JSON.
    pub(super) event: String,
}

/// The requests and consequences of a batch, by kind.
#[derive(Serialize, Default)]
pub(super) struct UnitsJson<'b> {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) appends: Vec<AppendJson<'b>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) creates: Vec<CreateJson<'b>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) versions: Vec<VersionJson<'b>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) claims: Vec<ClaimJson<'b>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) releases: Vec<ReleaseJson<'b>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) keys: Vec<KeyJson<'b>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) freed: Vec<FreedJson<'b>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) settled: Vec<SettledJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) opened: Vec<OpenedJson<'b>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) closed: Vec<ClosedJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) interrupted: Vec<InterruptedJson<'b>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tails: Option<&'b Tails>,
    /// The last record of the chain before the batch.
    pub(super) tip: u64,
}
