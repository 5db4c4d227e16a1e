//! Observes the database from outside while the pods work: when each entry of a journal became durable, and when a pod
//! was declared dead, by the clock of the harness.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgPool;

use super::history::{OwnedTree, PodDeath};
use super::moment::{HarnessClock, Moment, Window};

/// Interval between two observations.
const POLL_INTERVAL: Duration = Duration::from_millis(30);
/// Longest observation; without a reply, the next one uses another connection.
const POLL_MAX: Duration = Duration::from_secs(2);

/// Runs that have not ended as far as is known, and runs that are new.
const RUNS: &str = "SELECT r.number, r.run, r.root, r.seq, r.status, r.ended FROM runs r \
     WHERE NOT r.ended OR r.run = ANY ($1) OR r.number > $2";
const PODS: &str = "SELECT id, pod, dead FROM pods";
/// The trees of a pod, with all runs of each.
const OWNED: &str = "SELECT r.root, r.run, r.seq FROM trees t JOIN runs r ON r.root = t.root \
     WHERE t.holder = $1 AND t.open_runs > 0";

/// Number, run, root, last entry, status, ended.
type RunRow = (i64, String, String, i64, String, bool);
/// Row, id of the start, dead.
type PodRow = (i64, String, bool);

/// What was observed of a run.
#[derive(Debug, Default)]
struct ObservedRun {
    root: String,
    /// The number of its last entry at each observation that found a new one, and when that became durable.
    growth: Vec<(u64, Window)>,
    is_waiting: bool,
    has_ended: bool,
}

impl ObservedRun {
    fn last_seq(&self) -> u64 {
        self.growth.last().map_or(0, |(seq, _)| *seq)
    }
}

#[derive(Debug, Default)]
struct Observations {
    /// When the last observation began.
    polled_at: Moment,
    last_number: i64,
    runs: BTreeMap<String, ObservedRun>,
    /// The living pods, by their row.
    live: BTreeMap<i64, String>,
    deaths: BTreeMap<i64, PodDeath>,
}

/// The observer.
#[derive(Debug)]
pub struct Observer {
    clock: HarnessClock,
    pool: PgPool,
    observations: Mutex<Observations>,
}

impl Observer {
    /// An observer of the database of this pool.
    #[must_use]
    pub fn new(clock: HarnessClock, pool: PgPool) -> Self {
        Self { clock, pool, observations: Mutex::default() }
    }

    /// Locks the observations. A poisoned lock is still consistent: what an observation adds is complete by itself.
    fn observations(&self) -> MutexGuard<'_, Observations> {
        self.observations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Observes until it is dropped.
    pub async fn observe(&self) {
        loop {
            // While the server is away, nothing is observed.
            let _ = tokio::time::timeout(POLL_MAX, self.poll()).await;
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    /// Observes once.
    ///
    /// # Errors
    /// If the server is away.
    pub async fn poll(&self) -> anyhow::Result<()> {
        let (open, last_number) = {
            let observations = self.observations();
            let open = observations.runs.iter().filter(|(_, run)| !run.has_ended).map(|(id, _)| id.clone());
            (open.collect::<Vec<String>>(), observations.last_number)
        };
        let sent_at = self.clock.now();
        let runs: Vec<RunRow> = sqlx::query_as(RUNS).bind(open).bind(last_number).fetch_all(&self.pool).await?;
        let pods: Vec<PodRow> = sqlx::query_as(PODS).fetch_all(&self.pool).await?;
        self.observations().add(sent_at, self.clock.now(), runs, pods);
        Ok(())
    }

    /// The trees that the pod with this row owns now.
    ///
    /// # Errors
    /// If the server is away.
    pub async fn owned_trees(&self, pod: i64) -> anyhow::Result<Vec<OwnedTree>> {
        let rows: Vec<(String, String, i64)> = sqlx::query_as(OWNED).bind(pod).fetch_all(&self.pool).await?;
        let mut trees: BTreeMap<String, OwnedTree> = BTreeMap::new();
        for (root, run, seq) in rows {
            let tree =
                trees.entry(root).or_insert_with_key(|root| OwnedTree { root: root.clone(), ..OwnedTree::default() });
            tree.seqs.insert(run, u64::try_from(seq)?);
        }
        Ok(trees.into_values().collect())
    }

    /// True if a run of the tree has a new entry.
    #[must_use]
    pub fn has_progressed(&self, tree: &OwnedTree) -> bool {
        let observations = self.observations();
        let mut runs = observations.runs.iter().filter(|(_, run)| run.root == tree.root);
        runs.any(|(id, run)| run.last_seq() > tree.seqs.get(id).copied().unwrap_or_default())
    }

    /// True if each of these runs, and each run that is known, has ended.
    #[must_use]
    pub fn have_ended(&self, runs: &BTreeSet<String>) -> bool {
        let observations = self.observations();
        runs.iter().all(|run| observations.runs.contains_key(run))
            && observations.runs.values().all(|run| run.has_ended)
    }

    /// The runs that await an approval.
    #[must_use]
    pub fn waiting_runs(&self) -> BTreeSet<String> {
        let observations = self.observations();
        observations.runs.iter().filter(|(_, run)| run.is_waiting).map(|(id, _)| id.clone()).collect()
    }

    /// The row of the living start of the pod with this name.
    #[must_use]
    pub fn live_pod(&self, name: &str) -> Option<i64> {
        let observations = self.observations();
        // The newest start is the last one. The number of the start follows the name.
        let mut starts = observations.live.iter().rev();
        let is_start = |start: &str| start.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
        starts.find(|(_, start)| is_start(start)).map(|(row, _)| *row)
    }

    /// True if the pod with this row was declared dead.
    #[must_use]
    pub fn is_dead(&self, pod: i64) -> bool {
        self.observations().deaths.contains_key(&pod)
    }

    /// Every death that was observed.
    #[must_use]
    pub fn deaths(&self) -> Vec<PodDeath> {
        self.observations().deaths.values().cloned().collect()
    }

    /// When an entry of a run became durable. Nothing is known of one that was never observed, except that it is durable
    /// now.
    #[must_use]
    pub fn window(&self, run: &str, seq: u64) -> Window {
        let observations = self.observations();
        let growth = observations.runs.get(run).map(|run| run.growth.as_slice()).unwrap_or_default();
        let observed = growth.iter().find(|(last, _)| *last >= seq).map(|(_, window)| *window);
        observed.unwrap_or_else(|| Window { absent_at: Moment::default(), present_at: self.clock.now() })
    }
}

impl Observations {
    /// Adds an observation that began and ended at these moments.
    fn add(&mut self, sent_at: Moment, received_at: Moment, runs: Vec<RunRow>, pods: Vec<PodRow>) {
        let window = Window { absent_at: self.polled_at, present_at: received_at };
        for (number, id, root, seq, status, ended) in runs {
            self.last_number = self.last_number.max(number);
            let run = self.runs.entry(id).or_default();
            (run.root, run.is_waiting, run.has_ended) = (root, status == "waiting_approval" && !ended, ended);
            let seq = u64::try_from(seq).unwrap_or_default();
            if seq > run.last_seq() {
                run.growth.push((seq, window));
            }
        }
        for (row, name, is_dead) in pods {
            if !is_dead {
                self.live.insert(row, name);
                continue;
            }
            self.live.remove(&row);
            self.deaths.entry(row).or_insert(PodDeath { pod: row, name, window });
        }
        self.polled_at = sent_at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "run_1";

    fn row(seq: i64, status: &str, ended: bool) -> RunRow {
        (4, RUN.to_owned(), RUN.to_owned(), seq, status.to_owned(), ended)
    }

    #[test]
    fn an_entry_became_durable_between_two_observations() {
        let mut observations = Observations::default();
        let pod = |is_dead| vec![(3, "pod-a-0f".to_owned(), is_dead)];
        observations.add(Moment(10), Moment(12), Vec::new(), pod(false));
        observations.add(Moment(20), Moment(22), vec![row(3, "waiting_approval", false)], pod(false));
        assert!(observations.runs[RUN].is_waiting && observations.live[&3] == "pod-a-0f");
        observations.add(Moment(30), Moment(32), vec![row(3, "running", false)], pod(true));
        observations.add(Moment(40), Moment(42), vec![row(6, "success", true)], pod(true));
        let window = |absent_at, present_at| Window { absent_at: Moment(absent_at), present_at: Moment(present_at) };
        assert_eq!(observations.runs[RUN].growth, [(3, window(10, 22)), (6, window(30, 42))]);
        assert!(observations.runs[RUN].has_ended && !observations.runs[RUN].is_waiting);
        assert_eq!(observations.deaths[&3].window, window(20, 32));
        assert!(observations.live.is_empty());
    }
}
