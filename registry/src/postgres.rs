//! Stores in one PostgreSQL database, which many pods share. The decisions are made by functions of the database
//! (`registry/migrations/postgres`), so that every pod makes the same ones on what is stored at that moment.
//!
//! [`core::PostgresCore`] submits units to the [`lane::Lane`] of their tree of runs or of their request. A lane has one
//! connection and one batch in flight ([`link::Link`]). Reservations and settlements have a lane of their own
//! ([`accounts::AccountsLane`]). The [`tick::Tick`] renews the lease of the pod and declares others dead, the
//! [`cleaner::Cleaner`] cleans what they have left. What only reads uses a few connections ([`readers::Readers`]).

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::artifacts::location::ArtifactLocation;
use crate::audit::root_chain::registrations;
use crate::error::StoreError;
use crate::group_commit::{CommandSender, queue};
use crate::in_memory::context::in_memory_context_view;
use crate::stores::{OpenedStores, StoreParts, StoreTask, Stores};

use audit::root::{append, check_saved};
use handle::{Queues, StoreHandle};
use identity::Identity;
use join::{NewPod, join};
use readers::Readers;
use shared::{Shared, SharedParts};

mod accounts;
mod agent_memory;
mod audit;
mod cleaner;
mod clock_offset;
mod cluster;
mod columns;
mod command;
mod connection;
mod core;
mod credentials;
mod definitions;
mod error;
mod generations;
mod handle;
mod idempotency;
mod identity;
pub(crate) mod inspect;
mod join;
mod lane;
mod ledger;
mod link;
mod lock;
mod maintenance;
mod pauses;
mod peers;
pub(crate) mod pod_list;
mod readers;
pub(crate) mod restored;
mod runs;
mod shared;
mod tick;
mod tls;
mod transaction;
mod unit;

/// Lanes of a pod on a machine with many processors.
const LANES_MAX: usize = 4;

/// Lanes of a pod: as many batches of units are in flight at once. With fewer lanes a batch has more units, and so a unit
/// costs less; one lane writes more than two processors can do with what it has written.
pub(crate) fn lane_count() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    (processors / 2).clamp(1, LANES_MAX)
}

/// Migrates the schema of a database, and returns its version.
pub(crate) async fn migrate(url: &str) -> Result<i64, StoreError> {
    connection::migrate(url).await
}

/// Opens every store for this start of a pod, with this number of lanes, which stores its artifacts in this place.
pub(crate) async fn open(
    url: &str,
    lanes: usize,
    location: &ArtifactLocation,
    parts: StoreParts,
) -> Result<OpenedStores, StoreError> {
    let StoreParts { clock, signer, artifacts, pod } = parts;
    let options = connection::parse_url(url)?;
    let mut connection = connection::connect(&options).await?;
    connection::check_schema(&mut connection).await?;
    let saved = signer.chain_key().load_head()?;
    let identity = Identity::claim(&mut connection, signer.chain_key()).await?;
    identity.check(signer.chain_key(), saved.as_ref())?;
    check_saved(&mut connection, &identity.database, signer.chain_key(), saved.as_ref()).await?;
    let pod = join(&mut connection, NewPod { name: pod, lanes, artifacts: location }, &*clock).await?;
    let events = registrations(&signer, &identity.database, pod.name.as_str(), &pod.chains, clock.now());
    let tip = append(&mut connection, pod.id, clock.now(), &events).await?;
    drop(connection);
    let readers = Readers::new(options.clone());
    let (id, database) = (identity.database.clone(), identity.database);
    let shared = Arc::new(Shared::new(SharedParts { options, readers, clock, signer, database, pod }));
    let (store, tasks, tick) = assemble(shared)?;
    tick::save_root_head(&store, tip)?;
    let runs = Arc::new(runs::PostgresRuns(store.clone()));
    let stores = Stores {
        id,
        core: Arc::new(core::PostgresCore(store.clone())),
        runs: runs.clone(),
        journal: runs,
        audit: Arc::new(audit::PostgresAudit(store.clone())),
        ledger: Arc::new(ledger::PostgresLedger(store.clone())),
        context: in_memory_context_view(),
        artifacts,
        definitions: Arc::new(definitions::PostgresDefinitions(store.clone())),
        generations: Arc::new(generations::PostgresGenerations(store.clone())),
        credentials: Arc::new(credentials::PostgresCredentials(store.clone())),
        idempotency: Arc::new(idempotency::PostgresIdempotency(store.clone())),
        memory: Arc::new(agent_memory::PostgresAgentMemory::new(store.clone())),
        cluster: Arc::new(cluster::PostgresCluster::new(store.clone())),
        maintenance: Arc::new(maintenance::PostgresMaintenance { store, tick }),
    };
    Ok(OpenedStores { stores, tasks })
}

/// The handle of the stores, the tasks that run beside them, and the queue of the tick.
type Assembled = (StoreHandle, Vec<StoreTask>, CommandSender<tick::TickCommand>);

/// Assembles the lanes, the accounts' lane, the tick and the cleaner.
fn assemble(shared: Arc<Shared>) -> Result<Assembled, StoreError> {
    let chains = shared.pod.chains.clone();
    let (lanes, receivers): (Vec<_>, Vec<_>) = chains.iter().map(|_| queue()).unzip();
    let (accounts, accounts_commands) = queue();
    let (tick, tick_commands) = queue();
    let (dead, dead_pods) = mpsc::channel(cleaner::QUEUE_LENGTH_MAX);
    let store = StoreHandle::new(shared, Queues { lanes, accounts });
    let mut tasks = Vec::new();
    for (index, (chain, commands)) in chains.into_iter().zip(receivers).enumerate() {
        let lane = lane::Lane::new(store.clone(), i32::try_from(index).unwrap_or(i32::MAX), chain)?;
        tasks.push(StoreTask { name: "store_lane", run: Box::pin(lane.run(commands)) });
    }
    let accounts = accounts::AccountsLane::new(store.clone());
    tasks.push(StoreTask { name: "store_accounts", run: Box::pin(accounts.run(accounts_commands)) });
    let ticking = tick::Tick::new(store.clone(), dead);
    tasks.push(StoreTask { name: "store_tick", run: Box::pin(ticking.run(tick_commands)) });
    let cleaner = cleaner::Cleaner::new(store.clone());
    tasks.push(StoreTask { name: "store_cleaner", run: Box::pin(cleaner.run(dead_pods)) });
    Ok((store, tasks, tick))
}

#[cfg(test)]
mod tests;
