//! A plain batch as `greenroom_commit_plain_v1` receives it: nothing in it is claimed, released or freed, each run that it
//! creates is the root of a tree, and the number of each run that it appends to is known. It is taken as a whole: if one
//! of its units is not, the same batch is sent to `greenroom_commit_v2`, which decides about each unit.

use std::collections::{HashMap, HashSet};

use futures::future::BoxFuture;
use greenroom_protocol::ContentHash;
use sqlx::Arguments as _;
use sqlx::Error;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgConnection};
use sqlx::types::Json;

use crate::columns::to_int;
use crate::postgres::lane::batch::LaneBatch;
use crate::postgres::lane::result::CreatedRow;
use crate::postgres::lane::units_json::{CreateJson, UnitsJson};
use crate::postgres::link::{BatchCall, BatchId, OutcomeRow};

use columns::{AppendColumns, EntryRunColumns, KeyColumns, NewRunColumns, PrincipalColumns, add_array};

mod columns;

const CALL: &str = "SELECT greenroom_commit_plain_v1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, \
                    $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, \
                    $36, $37, $38, $39, $40, $41, $42, $43, $44, $45, $46, $47, $48, $49, $50, $51, $52, $53, $54, $55, \
                    $56, $57, $58)";

/// A plain batch.
pub(super) struct PlainBatch<'p> {
    batch: &'p LaneBatch<'p>,
    appends: AppendColumns<'p>,
    new_runs: NewRunColumns<'p>,
    /// The units that create the new runs, in the same order.
    creators: Vec<i32>,
    principals: PrincipalColumns<'p>,
    entry_runs: EntryRunColumns,
    closed: (Vec<i64>, Vec<i64>),
    keys: KeyColumns<'p>,
}

impl<'p> PlainBatch<'p> {
    /// The batch, if it is plain. Principals that are stored already are left out.
    pub(super) fn new(batch: &'p LaneBatch<'p>, stored_principals: &HashSet<ContentHash>) -> Option<Self> {
        let units = &batch.units;
        if !is_plain(units) {
            return None;
        }
        let numbers: HashMap<i32, i64> =
            units.appends.iter().map(|append| Some((append.unit, append.number?))).collect::<Option<_>>()?;
        let mut creates: Vec<&CreateJson<'_>> = units.creates.iter().collect();
        creates.sort_by(|one, other| one.run.as_str().cmp(other.run.as_str()));
        let creators: Vec<i32> = creates.iter().map(|create| create.unit).collect();
        let ranks: HashMap<i32, i32> = creators.iter().copied().zip(1..).collect();
        let mut entry_runs = EntryRunColumns::default();
        for unit in &batch.entries.units {
            entry_runs.push(numbers.get(unit).copied(), ranks.get(unit).copied());
        }
        Some(Self {
            batch,
            appends: AppendColumns::new(&units.appends, &numbers),
            new_runs: NewRunColumns::new(&creates),
            creators,
            principals: PrincipalColumns::new(&creates, stored_principals),
            entry_runs,
            closed: units.closed.iter().map(|closed| (to_int(closed.chain), to_int(closed.number))).unzip(),
            keys: KeyColumns::new(&units.keys),
        })
    }

    /// The runs that it has created, by these numbers in the order of their ids.
    pub(super) fn created(&self, numbers: Vec<u64>) -> Vec<CreatedRow> {
        self.creators.iter().zip(numbers).map(|(unit, number)| CreatedRow { unit: *unit, number }).collect()
    }

    /// The principals that are stored once it is committed.
    pub(super) fn principals(&self) -> impl Iterator<Item = ContentHash> {
        self.batch.units.creates.iter().map(|create| create.principal)
    }

    fn arguments(&self, id: BatchId) -> Result<PgArguments, BoxDynError> {
        let Self { batch, appends, new_runs, creators: _, principals, entry_runs, closed, keys } = self;
        let LaneBatch { chain, units, entries, replies, records, .. } = batch;
        let mut arguments = PgArguments::default();
        arguments.add(id.pod)?;
        arguments.add(id.batch)?;
        arguments.add(to_int(*chain))?;
        arguments.add(to_int(units.tip))?;
        appends.add_to(&mut arguments)?;
        new_runs.add_to(&mut arguments)?;
        principals.add_to(&mut arguments)?;
        entry_runs.add_to(&mut arguments)?;
        add_array(&mut arguments, &entries.seqs)?;
        add_array(&mut arguments, &entries.times)?;
        add_array(&mut arguments, &entries.texts)?;
        add_array(&mut arguments, &records.hashes)?;
        add_array(&mut arguments, &records.times)?;
        add_array(&mut arguments, &records.requests)?;
        add_array(&mut arguments, &records.tenants)?;
        add_array(&mut arguments, &records.opens)?;
        add_array(&mut arguments, &records.texts)?;
        add_array(&mut arguments, &closed.0)?;
        add_array(&mut arguments, &closed.1)?;
        keys.add_to(&mut arguments)?;
        add_array(&mut arguments, &replies.keys)?;
        add_array(&mut arguments, &replies.tenants)?;
        add_array(&mut arguments, &replies.times)?;
        add_array(&mut arguments, &replies.texts)?;
        arguments.add((!units.settled.is_empty()).then_some(Json(&units.settled)))?;
        Ok(arguments)
    }
}

impl BatchCall for PlainBatch<'_> {
    fn call<'c>(&'c self, connection: &'c mut PgConnection, id: BatchId) -> BoxFuture<'c, Result<String, Error>> {
        let arguments = self.arguments(id);
        Box::pin(async move {
            let arguments = arguments.map_err(Error::Encode)?;
            sqlx::query_scalar_with(CALL, arguments).fetch_one(connection).await
        })
    }

    fn outcome_row(&self) -> OutcomeRow {
        OutcomeRow::Chain(to_int(self.batch.chain))
    }
}

/// True if the function can commit it, once the numbers of the runs that are appended to are known.
fn is_plain(units: &UnitsJson<'_>) -> bool {
    let UnitsJson {
        appends: _,
        creates,
        // They are columns of the new runs.
        versions: _,
        claims,
        releases,
        keys,
        freed,
        settled: _,
        opened: _,
        closed: _,
        interrupted,
        tails: _,
        tip: _,
    } = units;
    let is_root =
        |create: &CreateJson<'_>| create.caller.is_none() && create.parent.is_none() && create.run == create.root;
    claims.is_empty()
        && releases.is_empty()
        && freed.is_empty()
        && interrupted.is_empty()
        && creates.iter().all(is_root)
        && keys.iter().all(|key| !key.transient)
}
