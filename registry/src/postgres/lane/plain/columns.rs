//! The arrays of a plain batch, one element for each append, new run, entry or key.

use std::collections::{HashMap, HashSet};

use greenroom_protocol::{ContentHash, RunId, TeamId};
use sqlx::encode::Encode;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgHasArrayType};
use sqlx::types::Type;
use sqlx::{Arguments as _, Postgres};

use crate::columns::to_int;
use crate::postgres::lane::units_json::{AppendJson, CreateJson, KeyJson};

/// Adds an array to the arguments; one that is empty is NULL.
pub(super) fn add_array<'a, T>(arguments: &mut PgArguments, values: &'a [T]) -> Result<(), BoxDynError>
where
    T: Encode<'a, Postgres> + Type<Postgres> + PgHasArrayType,
{
    arguments.add((!values.is_empty()).then_some(values))
}

/// The appends.
#[derive(Default)]
pub(super) struct AppendColumns<'p> {
    runs: Vec<i64>,
    roots: Vec<&'p str>,
    fences: Vec<i64>,
    after: Vec<i64>,
    seqs: Vec<i64>,
    statuses: Vec<&'p str>,
    ended: Vec<bool>,
    pending: Vec<i32>,
    updated: Vec<i64>,
    progress: Vec<bool>,
}

impl<'p> AppendColumns<'p> {
    /// The columns of these appends; `numbers` has the run of each unit.
    pub(super) fn new(appends: &'p [AppendJson<'_>], numbers: &HashMap<i32, i64>) -> Self {
        let mut columns = Self::default();
        for append in appends {
            columns.runs.extend(numbers.get(&append.unit));
            columns.roots.push(append.root.as_str());
            columns.fences.push(to_int(append.fence));
            columns.after.push(to_int(append.after));
            columns.seqs.push(to_int(append.seq));
            columns.statuses.push(append.status);
            columns.ended.push(append.ended);
            columns.pending.push(count(append.pending));
            columns.updated.push(append.updated);
            columns.progress.push(append.progress);
        }
        columns
    }

    pub(super) fn add_to(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        add_array(arguments, &self.runs)?;
        add_array(arguments, &self.roots)?;
        add_array(arguments, &self.fences)?;
        add_array(arguments, &self.after)?;
        add_array(arguments, &self.seqs)?;
        add_array(arguments, &self.statuses)?;
        add_array(arguments, &self.ended)?;
        add_array(arguments, &self.pending)?;
        add_array(arguments, &self.updated)?;
        add_array(arguments, &self.progress)
    }
}

/// The new runs, in the order of their ids.
#[derive(Default)]
pub(super) struct NewRunColumns<'p> {
    runs: Vec<&'p str>,
    tenants: Vec<&'p str>,
    principals: Vec<&'p [u8]>,
    workflows: Vec<&'p str>,
    versions: Vec<&'p [u8]>,
    teams: Vec<Option<&'p str>>,
    hashes: Vec<&'p [u8]>,
    personal: Vec<bool>,
    statuses: Vec<&'p str>,
    ended: Vec<bool>,
    pending: Vec<i32>,
    seqs: Vec<i64>,
    times: Vec<i64>,
    pods: Vec<&'p str>,
    fences: Vec<i64>,
    unowned: Vec<bool>,
    journals: Vec<i32>,
}

impl<'p> NewRunColumns<'p> {
    /// The columns of these runs.
    pub(super) fn new(creates: &[&'p CreateJson<'_>]) -> Self {
        let mut columns = Self::default();
        for create in creates {
            columns.runs.push(create.run.as_str());
            columns.tenants.push(create.tenant.as_str());
            columns.principals.push(create.principal.as_bytes());
            columns.workflows.push(create.workflow.as_str());
            columns.versions.push(create.version.as_bytes());
            columns.teams.push(create.team.map(TeamId::as_str));
            columns.hashes.push(create.hash.as_bytes());
            columns.personal.push(create.personal);
            columns.statuses.push(create.status);
            columns.ended.push(create.ended);
            columns.pending.push(count(create.pending));
            columns.seqs.push(to_int(create.seq));
            columns.times.push(create.at);
            columns.pods.push(create.pod.as_str());
            columns.fences.push(to_int(create.fence));
            columns.unowned.push(create.unowned);
            columns.journals.push(count(create.journal_version));
        }
        columns
    }

    pub(super) fn add_to(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        add_array(arguments, &self.runs)?;
        add_array(arguments, &self.tenants)?;
        add_array(arguments, &self.principals)?;
        add_array(arguments, &self.workflows)?;
        add_array(arguments, &self.versions)?;
        add_array(arguments, &self.teams)?;
        add_array(arguments, &self.hashes)?;
        add_array(arguments, &self.personal)?;
        add_array(arguments, &self.statuses)?;
        add_array(arguments, &self.ended)?;
        add_array(arguments, &self.pending)?;
        add_array(arguments, &self.seqs)?;
        add_array(arguments, &self.times)?;
        add_array(arguments, &self.pods)?;
        add_array(arguments, &self.fences)?;
        add_array(arguments, &self.unowned)?;
        add_array(arguments, &self.journals)
    }
}

/// The owners of the new runs, each once.
#[derive(Default)]
pub(super) struct PrincipalColumns<'p> {
    hashes: Vec<&'p [u8]>,
    issuers: Vec<&'p str>,
    tenants: Vec<&'p str>,
    users: Vec<&'p str>,
}

impl<'p> PrincipalColumns<'p> {
    /// The owners of these runs that are not stored yet.
    pub(super) fn new(creates: &[&'p CreateJson<'_>], stored_principals: &HashSet<ContentHash>) -> Self {
        let (mut columns, mut added) = (Self::default(), HashSet::new());
        for create in creates {
            if stored_principals.contains(&create.principal) || !added.insert(create.principal) {
                continue;
            }
            columns.hashes.push(create.principal.as_bytes());
            columns.issuers.push(create.issuer.as_str());
            columns.tenants.push(create.tenant.as_str());
            columns.users.push(create.user_id.as_str());
        }
        columns
    }

    pub(super) fn add_to(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        add_array(arguments, &self.hashes)?;
        add_array(arguments, &self.issuers)?;
        add_array(arguments, &self.tenants)?;
        add_array(arguments, &self.users)
    }
}

/// The run of each entry of a journal: its number, or its position among the new runs.
#[derive(Default)]
pub(super) struct EntryRunColumns {
    numbers: Vec<Option<i64>>,
    ranks: Vec<Option<i32>>,
}

impl EntryRunColumns {
    /// Adds the run of the next entry.
    pub(super) fn push(&mut self, number: Option<i64>, rank: Option<i32>) {
        self.numbers.push(number);
        self.ranks.push(rank);
    }

    pub(super) fn add_to(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        add_array(arguments, &self.numbers)?;
        add_array(arguments, &self.ranks)
    }
}

/// The keys to reserve.
#[derive(Default)]
pub(super) struct KeyColumns<'p> {
    keys: Vec<&'p str>,
    tenants: Vec<&'p str>,
    hashes: Vec<&'p [u8]>,
    runs: Vec<Option<&'p str>>,
    times: Vec<i64>,
}

impl<'p> KeyColumns<'p> {
    /// The columns of these keys.
    pub(super) fn new(keys: &'p [KeyJson<'_>]) -> Self {
        let mut columns = Self::default();
        for key in keys {
            columns.keys.push(key.key);
            columns.tenants.push(key.tenant.as_str());
            columns.hashes.push(key.hash.as_bytes());
            columns.runs.push(key.run.map(RunId::as_str));
            columns.times.push(key.at);
        }
        columns
    }

    pub(super) fn add_to(&self, arguments: &mut PgArguments) -> Result<(), BoxDynError> {
        add_array(arguments, &self.keys)?;
        add_array(arguments, &self.tenants)?;
        add_array(arguments, &self.hashes)?;
        add_array(arguments, &self.runs)?;
        add_array(arguments, &self.times)
    }
}

/// A number as a column has it.
fn count(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
