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
const RUNS: &str = "SELECT r.number, r.run, r.root, r.seq, r.status, r.ended, t.holder FROM runs r \
     LEFT JOIN trees t ON t.root = r.root WHERE NOT r.ended OR r.run = ANY ($1) OR r.number > $2";
const PODS: &str = "SELECT id, pod, dead, renewals FROM pods";
/// The trees of a pod, with all runs of each.
const OWNED: &str = "SELECT r.root, r.run, r.seq FROM trees t JOIN runs r ON r.root = t.root \
     WHERE t.holder = $1 AND t.open_runs > 0";

/// Number, run, root, last entry, status, ended, owner of its tree.
type RunRow = (i64, String, String, i64, String, bool, Option<i64>);
/// Row, id of the start, dead, number of renewals.
type PodRow = (i64, String, bool, i64);

/// What was observed of a run.
#[derive(Debug, Default)]
struct ObservedRun {
    root: String,
    /// The number of its last entry at each observation that found a new one, and when that became durable.
    growth: Vec<(u64, Window)>,
    is_waiting: bool,
    has_ended: bool,
    /// The row of the pod that owned it last.
    owner: Option<i64>,
}

impl ObservedRun {
    fn last_seq(&self) -> u64 {
        self.growth.last().map_or(0, |(seq, _)| *seq)
    }
}

/// What was observed of a living pod.
#[derive(Debug)]
struct LivePod {
    name: String,
    renewals: i64,
    /// It had renewed its lease last after this moment.
    renewed_after: Moment,
}

#[derive(Debug, Default)]
struct Observations {
    /// When the last observation began.
    polled_at: Moment,
    last_number: i64,
    runs: BTreeMap<String, ObservedRun>,
    /// The living pods, by their row.
    live: BTreeMap<i64, LivePod>,
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
        starts.find(|(_, pod)| is_start(&pod.name)).map(|(row, _)| *row)
    }

    /// True if the pod with this row owns a run that does not wait for a signature.
    #[must_use]
    pub fn has_work(&self, pod: i64) -> bool {
        let observations = self.observations();
        let mut runs = observations.runs.values();
        runs.any(|run| run.owner == Some(pod) && !run.has_ended && !run.is_waiting)
    }

    /// True if the pod with this row was declared dead.
    #[must_use]
    pub fn is_dead(&self, pod: i64) -> bool {
        self.observations().deaths.contains_key(&pod)
    }

    /// The death of the pod with this row, if it was observed.
    #[must_use]
    pub fn death(&self, pod: i64) -> Option<PodDeath> {
        self.observations().deaths.get(&pod).cloned()
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
        let is_new_death = |row: &i64, is_dead: bool| is_dead && !self.deaths.contains_key(row);
        let new_deaths = pods.iter().filter(|(row, _, is_dead, _)| is_new_death(row, *is_dead));
        // A pod that leaves releases its trees by the change that makes its row dead.
        let trees_before: BTreeMap<i64, Vec<OwnedTree>> =
            new_deaths.map(|(row, ..)| (*row, self.trees_of(*row))).collect();
        for (number, id, root, seq, status, ended, owner) in runs {
            self.last_number = self.last_number.max(number);
            let run = self.runs.entry(id).or_default();
            (run.root, run.is_waiting, run.has_ended) = (root, status == "waiting_approval" && !ended, ended);
            run.owner = owner.or(run.owner);
            let seq = u64::try_from(seq).unwrap_or_default();
            if seq > run.last_seq() {
                run.growth.push((seq, window));
            }
        }
        for (row, name, is_dead, renewals) in pods {
            let renewed_after = match self.live.get(&row) {
                Some(pod) if pod.renewals == renewals => pod.renewed_after,
                Some(_) | None => window.absent_at,
            };
            if !is_dead {
                self.live.insert(row, LivePod { name, renewals, renewed_after });
                continue;
            }
            self.live.remove(&row);
            let trees = trees_before.get(&row).cloned().unwrap_or_default();
            self.deaths.entry(row).or_insert(PodDeath { pod: row, name, window, renewed_after, trees });
        }
        self.polled_at = sent_at;
    }

    /// The trees of a pod as far as is known, with the last entry of each run.
    fn trees_of(&self, pod: i64) -> Vec<OwnedTree> {
        let mut trees: BTreeMap<&str, OwnedTree> = BTreeMap::new();
        let is_owned = |run: &ObservedRun| run.owner == Some(pod) && !run.has_ended;
        for (id, run) in self.runs.iter().filter(|(_, run)| is_owned(run)) {
            let new = || OwnedTree { root: run.root.clone(), ..OwnedTree::default() };
            trees.entry(&run.root).or_insert_with(new).seqs.insert(id.clone(), run.last_seq());
        }
        trees.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "run_1";

    fn row(seq: i64, status: &str, ended: bool) -> RunRow {
        (4, RUN.to_owned(), RUN.to_owned(), seq, status.to_owned(), ended, (!ended).then_some(3))
    }

    fn pod(is_dead: bool, renewals: i64) -> Vec<PodRow> {
        vec![(3, "pod-a-0f".to_owned(), is_dead, renewals)]
    }

    const fn window(absent_at: u64, present_at: u64) -> Window {
        Window { absent_at: Moment(absent_at), present_at: Moment(present_at) }
    }

    #[test]
    fn an_entry_became_durable_between_two_observations() {
        let mut observations = Observations::default();
        observations.add(Moment(10), Moment(12), Vec::new(), pod(false, 1));
        observations.add(Moment(20), Moment(22), vec![row(3, "waiting_approval", false)], pod(false, 2));
        assert!(observations.runs[RUN].is_waiting && observations.live[&3].name == "pod-a-0f");
        observations.add(Moment(30), Moment(32), vec![row(3, "running", false)], pod(true, 2));
        observations.add(Moment(40), Moment(42), vec![row(6, "success", true)], pod(true, 2));
        assert_eq!(observations.runs[RUN].growth, [(3, window(10, 22)), (6, window(30, 42))]);
        assert!(observations.runs[RUN].has_ended && !observations.runs[RUN].is_waiting);
        assert_eq!(observations.deaths[&3].window, window(20, 32));
        assert!(observations.live.is_empty());
    }

    #[test]
    fn a_death_has_the_last_renewal_and_the_trees_of_the_pod() {
        let mut observations = Observations::default();
        observations.add(Moment(10), Moment(12), Vec::new(), pod(false, 1));
        observations.add(Moment(20), Moment(22), vec![row(3, "running", false)], pod(false, 2));
        observations.add(Moment(30), Moment(32), vec![row(5, "running", false)], pod(false, 2));
        let mut released = row(5, "running", false);
        released.6 = None;
        observations.add(Moment(40), Moment(42), vec![released], pod(true, 2));
        let tree = OwnedTree { root: RUN.to_owned(), seqs: [(RUN.to_owned(), 5)].into() };
        let death = &observations.deaths[&3];
        assert_eq!((death.renewed_after, death.window), (Moment(10), window(30, 42)));
        assert_eq!(death.trees, [tree]);
    }
}
