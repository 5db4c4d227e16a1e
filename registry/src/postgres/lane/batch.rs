//! A batch of units as the function of the database receives it.

use futures::future::BoxFuture;
use greenroom_protocol as protocol;
use protocol::{RunId, Timestamp};
use sqlx::postgres::PgConnection;
use sqlx::types::Json;

use crate::audit::chain::{ChainRow, ChainTip, EventJson};
use crate::audit::{AuditSeq, EntrySubject};
use crate::cluster::JOURNAL_VERSION_MIN;
use crate::columns::to_int;
use crate::error::StoreError;
use crate::journal::Seq;
use crate::postgres::lane::records::NextRun;
use crate::postgres::lane::result::Tails;
use crate::postgres::lane::units_json::{
    AppendJson, ClaimJson, ClosedJson, CreateJson, FreedJson, InterruptedJson, KeyJson, OpenedJson, ReleaseJson,
    UnitsJson, VersionJson,
};
use crate::postgres::ledger::settled::SettledJson;
use crate::postgres::link::{BatchCall, BatchId};
use crate::postgres::unit::run::{ChangeRun, CreateRun};
use crate::postgres::unit::{CloseEntry, EntryEnd, QueuedUnit};
use crate::runs::encoded::EncodedEntries;
use crate::runs::record::StatusChange;
use crate::runs::{OwnerActivity, RunRecord};

/// Journal entries, one element each.
#[derive(Default)]
pub(super) struct EntryColumns<'b> {
    pub(super) units: Vec<i32>,
    runs: Vec<&'b str>,
    pub(super) seqs: Vec<i64>,
    pub(super) times: Vec<i64>,
    pub(super) texts: Vec<&'b str>,
}

/// Replies under keys, one element each.
#[derive(Default)]
pub(super) struct ReplyColumns<'b> {
    pub(super) keys: Vec<&'b str>,
    pub(super) tenants: Vec<&'b str>,
    pub(super) times: Vec<i64>,
    pub(super) texts: Vec<Option<&'b str>>,
}

/// Records of the chain, one element each.
#[derive(Default)]
pub(super) struct RecordColumns<'b> {
    numbers: Vec<i64>,
    pub(super) hashes: Vec<Vec<u8>>,
    pub(super) times: Vec<i64>,
    pub(super) requests: Vec<Option<&'b str>>,
    pub(super) tenants: Vec<Option<&'b str>>,
    /// True for one that opens an entry which remains open.
    pub(super) opens: Vec<bool>,
    pub(super) texts: Vec<String>,
}

/// The records that a unit has appended to the chain.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::postgres) struct UnitRecords {
    pub(in crate::postgres) opened: Option<u64>,
    pub(in crate::postgres) event: Option<u64>,
}

/// What this pod knows of the lease of a tree that a unit claims.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::postgres) struct KnownLease {
    /// This pod owns the tree.
    pub(in crate::postgres) is_leased: bool,
    /// When an owner of this pod was active last.
    pub(in crate::postgres) last_activity: Option<OwnerActivity>,
}

/// A batch of units.
pub(in crate::postgres) struct LaneBatch<'b> {
    pub(super) chain: u64,
    /// The tip of the chain after the records of the batch.
    pub(super) tip: ChainTip,
    tails: &'b Tails,
    pub(super) units: UnitsJson<'b>,
    pub(super) entries: EntryColumns<'b>,
    pub(super) replies: ReplyColumns<'b>,
    pub(super) records: RecordColumns<'b>,
}

/// The number of a unit in its batch.
pub(in crate::postgres) fn unit_number(index: usize) -> i32 {
    i32::try_from(index).unwrap_or(i32::MAX)
}

impl<'b> LaneBatch<'b> {
    /// An empty batch for a chain with this tip.
    pub(in crate::postgres) fn new(chain: u64, tip: ChainTip, tails: &'b Tails) -> Self {
        let units = UnitsJson { tip: tip.number, ..UnitsJson::default() };
        let (entries, replies, records) = Default::default();
        Self { chain, tip, tails, units, entries, replies, records }
    }

    /// Adds a unit. `next` is its run after the unit, `lease` that of the tree that it claims.
    pub(in crate::postgres) fn add(
        &mut self,
        index: usize,
        unit: &'b QueuedUnit,
        next: Option<&'b NextRun>,
        lease: KnownLease,
    ) -> Result<UnitRecords, StoreError> {
        let (number, at) = (unit_number(index), unit.at.as_micros());
        if unit.refusal.is_none() {
            if let Some(change) = &unit.run {
                self.add_change(number, change, next, unit, lease);
            }
            if let Some(key) = &unit.key {
                let (hash, (key, tenant)) = (&key.request_hash, &key.key);
                self.units.keys.push(KeyJson { unit: number, key, tenant, hash, run: None, transient: false, at });
            }
        }
        self.units.settled.extend(unit.settled.iter().map(SettledJson::new));
        if let Some(reply) = &unit.key_reply {
            self.replies.keys.push(&reply.key.0);
            self.replies.tenants.push(reply.key.1.as_str());
            self.replies.times.push(at);
            self.replies.texts.push(reply.reply.as_deref());
        }
        self.add_records(number, unit)
    }

    fn add_change(
        &mut self,
        unit: i32,
        change: &'b ChangeRun,
        next: Option<&'b NextRun>,
        queued: &'b QueuedUnit,
        lease: KnownLease,
    ) {
        let (at, record) = (queued.at, next.map(|next| &next.record));
        match change {
            ChangeRun::Create(create) => {
                if let Some(record) = record {
                    self.add_create(unit, create, record, at);
                }
            }
            ChangeRun::Append { run, fence, after, entries } => {
                self.units.appends.push(AppendJson {
                    unit,
                    run,
                    fence: fence.0,
                    after: after.0,
                    seq: after.plus(entries.texts.len() as u64).0,
                    status: record.map_or("", |record| record.status.as_str()),
                    ended: record.is_some_and(|record| record.status.is_terminal()),
                    pending: record.map_or(0, |record| record.pending_approvals),
                    updated: record.map_or(0, |record| record.updated.as_micros()),
                    progress: StatusChange::are_progress(&entries.changes),
                    root: record.map_or(run, |record| &record.root),
                    number: next.and_then(|next| next.number),
                });
                if entries.releases_key {
                    self.units.freed.push(FreedJson { unit, run });
                }
                self.add_entries(unit, run, *after, entries, at);
            }
            ChangeRun::Claim { root, pod, lease: _ } => {
                let KnownLease { is_leased: leased, last_activity } = lease;
                let since = last_activity.map(|activity| activity.since.as_micros());
                let until = last_activity.map(|activity| activity.until.as_micros());
                self.units.claims.push(ClaimJson { unit, root, pod, leased, since, until, at: at.as_micros() });
            }
            ChangeRun::Release { root, fence, failed_until } => {
                let (fence, failed, at) = (fence.0, failed_until.is_some(), at.as_micros());
                let wake_at = failed_until.map_or(0, Timestamp::as_micros);
                self.units.releases.push(ReleaseJson { unit, root, fence, failed, wake_at, at });
            }
        }
    }

    fn add_create(&mut self, unit: i32, create: &'b CreateRun, record: &'b RunRecord, at: Timestamp) {
        let CreateRun { new, key, entries } = create;
        if let Some((key, tenant)) = key {
            let (run, transient, at) = (Some(&record.run), entries.releases_key, at.as_micros());
            self.units.keys.push(KeyJson { unit, key, tenant, hash: &new.request_hash, run, transient, at });
        }
        self.units.creates.push(CreateJson {
            unit,
            run: &record.run,
            issuer: &record.owner.issuer,
            tenant: &record.owner.tenant,
            user_id: &record.owner.user,
            principal: record.owner.hash(),
            workflow: &record.workflow,
            version: &record.version,
            team: record.team.as_ref(),
            parent: record.parent.as_ref(),
            root: &record.root,
            hash: &record.request_hash,
            personal: record.personal_data,
            status: record.status.as_str(),
            ended: record.status.is_terminal(),
            pending: record.pending_approvals,
            seq: record.seq.0,
            at: at.as_micros(),
            caller: new.caller().map(|(caller, _)| caller),
            fence: record.fence.0,
            pod: &record.pod,
            unowned: new.is_unowned,
            journal_version: new.journal_version,
        });
        if new.journal_version > JOURNAL_VERSION_MIN {
            let version = new.journal_version;
            self.units.versions.push(VersionJson { unit, root: &record.root, version });
        }
        self.add_entries(unit, &record.run, Seq(0), entries, at);
    }

    fn add_entries(&mut self, unit: i32, run: &'b RunId, after: Seq, entries: &'b EncodedEntries, at: Timestamp) {
        for (seq, text) in (after.0.saturating_add(1)..).zip(&entries.texts) {
            self.entries.units.push(unit);
            self.entries.runs.push(run.as_str());
            self.entries.seqs.push(to_int(seq));
            self.entries.times.push(at.as_micros());
            self.entries.texts.push(text);
        }
    }

    /// Adds the records of a unit to the chain: an opening, an event and a closing are written whether or not its
    /// requests are taken.
    fn add_records(&mut self, unit: i32, queued: &'b QueuedUnit) -> Result<UnitRecords, StoreError> {
        let mut records = UnitRecords::default();
        let at = queued.at;
        if let Some((event, subject)) = &queued.opening {
            let number = self.append(event, Some(subject), at, queued.refusal.is_none());
            records.opened = Some(number);
            match &queued.refusal {
                Some(error) => {
                    let opened = AuditSeq::in_chain(self.chain, number);
                    let closing = CloseEntry::refused(opened, subject.clone(), at, error);
                    self.append(&closing.event(self.chain)?, Some(subject), at, false);
                }
                None => {
                    let (request, tenant, written_at) = (&subject.request, &subject.tenant, at.to_string());
                    let at = at.as_micros();
                    self.units.opened.push(OpenedJson { unit, number, request, tenant, at, written_at });
                    if queued.run.is_some() || queued.key.is_some() {
                        self.units.tails = Some(self.tails);
                    }
                }
            }
        }
        if let Some(event) = &queued.event {
            records.event = Some(self.append(event, None, at, false));
        }
        if let Some(closing) = &queued.closing {
            self.add_closing(closing)?;
        }
        Ok(records)
    }

    fn add_closing(&mut self, closing: &'b CloseEntry) -> Result<(), StoreError> {
        let CloseEntry { opened, subject, at, end } = closing;
        let (event, chain, number) = (closing.event(self.chain)?, opened.chain(), opened.number());
        match end {
            EntryEnd::Closed(_) | EntryEnd::Interrupted => {
                self.append(&event, Some(subject), *at, false);
                self.units.closed.push(ClosedJson { chain, number });
            }
            // The database decides whether it is open, and links the record.
            EntryEnd::LeftOpen => self.units.interrupted.push(InterruptedJson {
                chain,
                number,
                request: &subject.request,
                tenant: &subject.tenant,
                at: at.as_micros(),
                written_at: at.to_string(),
                event: event.into_text(),
            }),
        }
        Ok(())
    }

    /// Appends a record to the chain. `opens` is true if it opens an entry which remains open.
    fn append(&mut self, event: &EventJson, subject: Option<&'b EntrySubject>, at: Timestamp, opens: bool) -> u64 {
        let ChainRow { number, hash, record } = self.tip.append(at, event);
        self.records.numbers.push(to_int(number));
        self.records.hashes.push(hash.as_bytes().to_vec());
        self.records.times.push(at.as_micros());
        self.records.requests.push(subject.map(|subject| subject.request.as_str()));
        self.records.tenants.push(subject.map(|subject| subject.tenant.as_str()));
        self.records.opens.push(opens);
        self.records.texts.push(record);
        number
    }
}

impl BatchCall for LaneBatch<'_> {
    fn call<'c>(&'c self, connection: &'c mut PgConnection, id: BatchId) -> BoxFuture<'c, Result<String, sqlx::Error>> {
        const CALL: &str = "SELECT greenroom_commit_v2($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, \
                            $15, $16, $17, $18, $19, $20)";
        const CALL_WITH_VERSIONS: &str = "SELECT greenroom_commit_v3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
                                          $12, $13, $14, $15, $16, $17, $18, $19, $20)";
        let Self { chain, units, entries, replies, records, .. } = self;
        let BatchId { pod, lane, batch } = id;
        Box::pin(async move {
            sqlx::query_scalar(if units.versions.is_empty() { CALL } else { CALL_WITH_VERSIONS })
                .bind(pod)
                .bind(lane)
                .bind(batch)
                .bind(Json(units))
                .bind(entries.units.as_slice())
                .bind(entries.runs.as_slice())
                .bind(entries.seqs.as_slice())
                .bind(entries.times.as_slice())
                .bind(entries.texts.as_slice())
                .bind(replies.keys.as_slice())
                .bind(replies.tenants.as_slice())
                .bind(replies.times.as_slice())
                .bind(replies.texts.as_slice())
                .bind(to_int(*chain))
                .bind(records.numbers.as_slice())
                .bind(records.hashes.as_slice())
                .bind(records.times.as_slice())
                .bind(records.requests.as_slice())
                .bind(records.tenants.as_slice())
                .bind(records.texts.as_slice())
                .fetch_one(connection)
                .await
        })
    }
}
