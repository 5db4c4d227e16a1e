//! Verifies the root chain, and with the keys that it registers every other chain. It needs public keys only, and reads
//! one snapshot, beside whatever is written meanwhile.

use std::collections::BTreeMap;

use serde::Deserialize;
use sqlx::Connection as _;
use sqlx::postgres::{PgConnection, PgRow};

use crate::audit::chain::{ChainRow, ChainTip};
use crate::audit::head::{HeadKind, SignedHead};
use crate::audit::verify::{ChainReport, ChainVerifier, ChainViolation};
use crate::audit::{ChainKey, ROOT_CHAIN};
use crate::columns::{Columns as _, to_int};
use crate::error::StoreError;
use crate::postgres::audit::root::{ChainHead, RootEvent};
use crate::postgres::error::sqlx_error;
use crate::postgres::identity::Identity;

/// Records that a verification reads at once.
const VERIFY_BATCH_ENTRIES: i64 = 4_096;
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
const SELECT_ROOT: &str = "SELECT number, hash, record FROM audit_root WHERE number > $1 ORDER BY number LIMIT $2";
const SELECT_RECORDS: &str = "SELECT chain, number, hash, record FROM audit \
                              WHERE (chain, number) > ($1, $2) ORDER BY chain, number LIMIT $3";

/// A chain as the root chain knows it.
struct RegisteredChain {
    key: ChainKey,
    /// The newest head, and the newest anchor.
    newest: Option<SignedHead>,
    anchor: Option<SignedHead>,
}

impl RegisteredChain {
    fn add(&mut self, head: SignedHead) {
        let newest = match head.kind {
            HeadKind::Anchor => &mut self.anchor,
            HeadKind::Running | HeadKind::Closed | HeadKind::Break => &mut self.newest,
        };
        if newest.as_ref().is_none_or(|known| (known.number, known.at) <= (head.number, head.at)) {
            *newest = Some(head);
        }
    }

    fn verifier(&self) -> ChainVerifier {
        let heads = self.newest.iter().chain(&self.anchor).cloned().collect();
        ChainVerifier::new(self.key.verifying_key(), heads)
    }
}

#[derive(Deserialize)]
struct RootRecord {
    event: RootEvent,
}

/// The content of the root chain.
#[derive(Default)]
struct Register {
    chains: BTreeMap<u64, RegisteredChain>,
    violation: Option<ChainViolation>,
}

impl Register {
    /// Reads one event. A chain whose key the certifying key has not certified is a violation.
    fn add(&mut self, number: u64, event: RootEvent, key: &ChainKey, database: &str) {
        match event {
            RootEvent::ChainRegistered { chain, key: chain_key, certificate, .. } => {
                let registered = ChainKey::from_hex(&chain_key)
                    .filter(|_| key.has_certified(database, chain, &chain_key, &certificate));
                match registered {
                    Some(key) => {
                        self.chains.entry(chain).or_insert(RegisteredChain { key, newest: None, anchor: None });
                    }
                    None => self.add_violation(ChainViolation::Forged { number }.in_chain(ROOT_CHAIN)),
                }
            }
            RootEvent::Heads { heads } => {
                for ChainHead { chain, head } in heads {
                    match self.chains.get_mut(&chain) {
                        Some(registered) => registered.add(head),
                        None => self.add_violation(ChainViolation::Inserted { number }.in_chain(ROOT_CHAIN)),
                    }
                }
            }
            RootEvent::PodDied { .. } | RootEvent::Unknown => {}
        }
    }

    fn add_violation(&mut self, violation: ChainViolation) {
        self.violation.get_or_insert(violation);
    }
}

/// Verifies the audit of a database.
pub(in crate::postgres) async fn verify(
    connection: &mut PgConnection,
    key: &ChainKey,
) -> Result<ChainReport, StoreError> {
    // A head is saved after its record is durable, so the snapshot, which is taken later, has the record.
    let saved = key.load_head()?;
    let mut snapshot = connection.begin_with(BEGIN).await.map_err(|error| sqlx_error(&error))?;
    let identity = Identity::fetch(&mut snapshot).await?;
    identity.check(key, saved.as_ref())?;
    let saved = saved.map(|saved| saved.head);
    let register = read_root(&mut snapshot, key, &identity.database, saved).await?;
    verify_chains(&mut snapshot, register).await
}

async fn read_root(
    connection: &mut PgConnection,
    key: &ChainKey,
    database: &str,
    saved: Option<SignedHead>,
) -> Result<Register, StoreError> {
    let has_saved = saved.is_some();
    let mut verifier = match saved {
        Some(head) => ChainVerifier::new(key.verifying_key(), vec![head]),
        // Without a saved head the end of the root chain cannot be checked.
        None => ChainVerifier::from_tip(ChainTip::genesis()),
    };
    let mut register = Register::default();
    loop {
        let before = verifier.last_number();
        let rows = sqlx::query(SELECT_ROOT)
            .bind(to_int(before))
            .bind(VERIFY_BATCH_ENTRIES)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| sqlx_error(&error))?;
        for row in &rows {
            let row = decode_row(row)?;
            verifier.verify_next(&row);
            // One that cannot be read was changed, which its hash shows.
            if let Ok(record) = serde_json::from_str::<RootRecord>(&row.record) {
                register.add(row.number, record.event, key, database);
            }
        }
        if rows.is_empty() || verifier.last_number() == before {
            break;
        }
    }
    let violation = if has_saved { verifier.finish().violation } else { verifier.tip().err() };
    if let Some(violation) = violation {
        register.violation = Some(violation.in_chain(ROOT_CHAIN));
    }
    Ok(register)
}

/// The chain whose records are being read.
struct Verifying {
    chain: u64,
    /// None for a chain that is not registered.
    verifier: Option<ChainVerifier>,
}

async fn verify_chains(connection: &mut PgConnection, mut register: Register) -> Result<ChainReport, StoreError> {
    let mut report =
        ChainReport { records: 0, anchor: 0, signed: 0, breaks: Vec::new(), violation: register.violation };
    let mut verifying: Option<Verifying> = None;
    let mut after = (-1, 0);
    loop {
        let rows = sqlx::query(SELECT_RECORDS)
            .bind(after.0)
            .bind(after.1)
            .bind(VERIFY_BATCH_ENTRIES)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| sqlx_error(&error))?;
        for row in &rows {
            let chain = row.number("chain")?;
            after = (row.int("chain")?, row.int("number")?);
            if verifying.as_ref().is_none_or(|verifying| verifying.chain != chain) {
                add(&mut report, verifying.take());
                let verifier = register.chains.remove(&chain).map(|registered| registered.verifier());
                verifying = Some(Verifying { chain, verifier });
            }
            let row = decode_row(row)?;
            match verifying.as_mut().and_then(|verifying| verifying.verifier.as_mut()) {
                Some(verifier) => verifier.verify_next(&row),
                None => {
                    report.violation.get_or_insert(ChainViolation::Inserted { number: row.number }.in_chain(chain));
                }
            }
        }
        if rows.is_empty() {
            break;
        }
    }
    add(&mut report, verifying);
    // A chain without records is whole only if no record of it was signed.
    for (chain, registered) in register.chains {
        add(&mut report, Some(Verifying { chain, verifier: Some(registered.verifier()) }));
    }
    Ok(report)
}

/// Adds the verification of one chain.
fn add(report: &mut ChainReport, verifying: Option<Verifying>) {
    let Some(Verifying { chain, verifier: Some(verifier) }) = verifying else { return };
    let ChainReport { records, anchor, signed, breaks, violation } = verifier.finish();
    report.records = report.records.saturating_add(records);
    report.anchor = report.anchor.saturating_add(anchor);
    report.signed = report.signed.saturating_add(signed);
    report.breaks.extend(breaks);
    if let Some(violation) = violation {
        report.violation.get_or_insert(violation.in_chain(chain));
    }
}

fn decode_row(row: &PgRow) -> Result<ChainRow, StoreError> {
    Ok(ChainRow { number: row.number("number")?, hash: row.hash("hash")?, record: row.text("record")?.to_owned() })
}
