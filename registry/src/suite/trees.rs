//! Trees of runs: one owner for all runs of a tree, attempts to resume it, and no run below one that has ended.

use protocol::event::RunStatus;
use protocol::{Cause, ErrorCode, PodId, UserId};

use super::*;
use crate::runs::{ClaimedTree, OwnerActivity, RunFilter, RunRecord, TreeCounts};

/// A run that `parent` calls, in the tree of `root`, whose owner has this fence.
fn called_run(number: u128, parent: u128, root: u128, fence: Fence) -> NewRun {
    let new = new_run(number);
    let (parent, root) = (Some(run_id(parent)), run_id(root));
    let started = RunStarted { parent, root, ..new.started.as_ref().clone() };
    NewRun { started: Arc::new(started), tree_fence: Some(fence), ..new }
}

async fn start_inner(stores: &TestStores, number: u128, parent: u128, root: u128, fence: Fence) {
    let created = stores.create(&called_run(number, parent, root, fence), None).await.unwrap();
    assert_eq!(created, Created::New(fence), "{number}");
}

async fn claim(stores: &TestStores, root: u128, now: Timestamp) -> Option<ClaimedTree> {
    stores.stores.core.claim_tree(&run_id(root), &PodId::new("pod_2").unwrap(), MINUTE, now).await.unwrap()
}

fn ids(runs: &[RunRecord]) -> Vec<RunId> {
    runs.iter().map(|record| record.run.clone()).collect()
}

fn resumed() -> Entry {
    let restarts = Vec::new();
    Entry::RunResumed { definitions_changed: false, deadline: Deadline::after(NOW, MINUTE), restarts }
}

/// A called run reports this again when it is resumed.
fn waits() -> Entry {
    Entry::CallAwaitsApproval {
        key: step_key("a"),
        approvals: Vec::new(),
        waits: Vec::new(),
        idle: false,
        retry_at: None,
    }
}

#[tokio::test]
async fn a_tree_is_claimed_as_a_whole_and_its_last_owner_writes_to_none_of_its_runs() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        let first = stores.create_run(1).await;
        start_inner(&stores, 2, 1, 1, first).await;
        start_inner(&stores, 3, 2, 1, first).await;
        stores.create_run(4).await;
        assert_eq!(claim(&stores, 1, NOW).await, None, "the lease of the root is that of the tree");
        let later = NOW.saturating_add(MINUTE * 2);
        let tree = claim(&stores, 1, later).await.unwrap();
        assert!(tree.fence > first);
        assert_eq!(ids(&tree.runs), [1, 2, 3].map(run_id));
        assert!(tree.runs.iter().all(|record| record.fence == tree.fence && record.pod.as_str() == "pod_2"));
        assert_eq!(runs.list_tree(&run_id(1)).await.unwrap(), tree.runs);
        for number in 1..=3 {
            let stale = stores.append(&run_id(number), first, Seq(0), &[started("a")], later).await;
            assert!(matches!(stale, Err(JournalError::Fenced)), "{number}");
            let _ = stores.append(&run_id(number), tree.fence, Seq(0), &[started("a")], later).await.unwrap();
        }
        let unclaimed = runs.list_unclaimed(None, later, 10).await.unwrap();
        assert_eq!(ids(&unclaimed), [run_id(4)], "the runs of a claimed tree have an owner");
    }
}

#[tokio::test]
async fn the_runs_of_a_tree_whose_root_has_ended_can_still_be_claimed() {
    for stores in TestStores::each().await {
        let core = &stores.stores.core;
        let fence = stores.create_run(1).await;
        start_inner(&stores, 2, 1, 1, fence).await;
        let _ = stores.append(&run_id(1), fence, Seq(0), &[ended()], NOW).await.unwrap();
        core.release_tree(&run_id(1), fence, NOW).await;
        let tree = claim(&stores, 1, NOW).await.unwrap();
        assert_eq!(ids(&tree.runs), [run_id(2)]);
        let _ = stores.append(&run_id(2), tree.fence, Seq(0), &[ended()], NOW).await.unwrap();
        core.release_tree(&run_id(1), tree.fence, NOW).await;
        assert_eq!(claim(&stores, 1, NOW).await, None, "no run is left");
    }
}

#[tokio::test]
async fn no_run_is_created_below_one_that_has_ended_or_has_another_owner() {
    for stores in TestStores::each().await {
        let Stores { runs, core, .. } = &stores.stores;
        let first = stores.create_run(1).await;
        let later = NOW.saturating_add(MINUTE * 2);
        let second = claim(&stores, 1, later).await.unwrap().fence;
        let create = async |number: u128, fence: Fence| {
            let new = called_run(number, 1, 1, fence);
            core.create_run(new, None, &[started("a")], later).await
        };
        assert!(matches!(create(2, first).await, Err(JournalError::Fenced)));
        assert!(matches!(create(3, second).await, Ok((Created::New(_), Some(_)))));
        let _ = stores.append(&run_id(1), second, Seq(0), &[ended()], later).await.unwrap();
        assert!(matches!(create(4, second).await, Err(JournalError::Ended)));
        assert!(matches!(create(3, second).await, Ok((Created::Existing(_), None))), "it exists already");
        for number in [2, 4] {
            assert_eq!(runs.get(&run_id(number)).await.unwrap(), None, "{number}");
        }
    }
}

#[tokio::test]
async fn failures_of_a_tree_count_until_one_of_its_runs_makes_progress() {
    for stores in TestStores::each().await {
        let Stores { runs, core, .. } = &stores.stores;
        let first = stores.create_run(1).await;
        start_inner(&stores, 2, 1, 1, first).await;
        core.fail_tree(&run_id(1), first, NOW).await.unwrap();
        let tree = claim(&stores, 1, NOW).await.unwrap();
        assert_eq!(tree.failures, 1, "a failure ends the lease");
        core.fail_tree(&run_id(1), first, NOW).await.unwrap();
        assert_eq!(claim(&stores, 1, NOW).await, None, "an earlier owner ends no lease and counts no failure");
        let _ = stores.append(&run_id(2), tree.fence, Seq(0), &[resumed(), waits()], NOW).await.unwrap();
        core.fail_tree(&run_id(1), tree.fence, NOW).await.unwrap();
        let tree = claim(&stores, 1, NOW).await.unwrap();
        assert_eq!(tree.failures, 2, "a resumption is no progress");
        let _ = stores.append(&run_id(2), tree.fence, Seq(2), &[started("a")], NOW).await.unwrap();
        assert_eq!(runs.get(&run_id(1)).await.unwrap().unwrap().failures, 0, "the progress of an inner run counts");
        core.release_tree(&run_id(1), tree.fence, NOW).await;
        assert_eq!(claim(&stores, 1, NOW).await.unwrap().failures, 0);
    }
}

#[tokio::test]
async fn a_dead_tree_keeps_its_failures_and_is_not_looked_for_until_it_is_reopened() {
    for stores in TestStores::each().await {
        let Stores { runs, core, .. } = &stores.stores;
        let first = stores.create_run(1).await;
        start_inner(&stores, 2, 1, 1, first).await;
        core.fail_tree(&run_id(1), first, NOW).await.unwrap();
        let tree = claim(&stores, 1, NOW).await.unwrap();
        let cause = Cause::new(ErrorCode::Internal, "it fails");
        let given_up = Entry::RunGivenUp { cause, failures: 1, attempts: 0 };
        let _ = stores.append(&run_id(1), tree.fence, Seq(0), &[given_up], NOW).await.unwrap();
        core.release_tree(&run_id(1), tree.fence, NOW).await;
        let record = runs.get(&run_id(1)).await.unwrap().unwrap();
        assert_eq!((record.status, record.failures), (RunStatus::Dead, 1), "it is no progress");
        assert_eq!(runs.list_unclaimed(None, NOW, 10).await.unwrap(), []);
        let dead = RunFilter { status: Some(RunStatus::Dead), ..RunFilter::default() };
        assert_eq!(ids(&runs.list(&dead, None, 10).await.unwrap().runs), [run_id(1)]);
        let tree = claim(&stores, 1, NOW).await.unwrap();
        assert_eq!((ids(&tree.runs), tree.failures), (vec![run_id(1), run_id(2)], 1), "it can be claimed all the same");
        let reopened = Entry::RunReopened { by: UserId::new("admin").unwrap() };
        let _ = stores.append(&run_id(1), tree.fence, Seq(1), &[reopened], NOW).await.unwrap();
        core.release_tree(&run_id(1), tree.fence, NOW).await;
        let record = runs.get(&run_id(1)).await.unwrap().unwrap();
        assert_eq!((record.status, record.failures), (RunStatus::Running, 0));
        assert_eq!(ids(&runs.list_unclaimed(None, NOW, 10).await.unwrap()), [1, 2].map(run_id));
    }
}

#[tokio::test]
async fn failures_of_a_tree_survive_a_crash_and_are_forgotten_after_it() {
    let stores = TestStores::sqlite().await;
    let first = stores.create_run(1).await;
    stores.stores.core.fail_tree(&run_id(1), first, NOW).await.unwrap();
    let stores = stores.crash_and_reopen().await;
    let tree = claim(&stores, 1, NOW).await.unwrap();
    assert_eq!(tree.failures, 1);
    let _ = stores.append(&run_id(1), tree.fence, Seq(0), &[started("a")], NOW).await.unwrap();
    let stores = stores.crash_and_reopen().await;
    assert_eq!(claim(&stores, 1, NOW).await.unwrap().failures, 0);
}

#[tokio::test]
async fn a_run_that_ended_is_pruned_only_with_its_tree() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        let fence = stores.create_run(1).await;
        start_inner(&stores, 2, 1, 1, fence).await;
        let _ = stores.append(&run_id(2), fence, Seq(0), &[ended()], NOW).await.unwrap();
        let later = NOW.saturating_add(MINUTE);
        let pruned = stores.stores.maintenance.prune_runs(None, later).await.unwrap();
        assert_eq!(pruned, 0, "the run that called it may need its reply again");
        assert!(runs.reply(&run_id(2)).await.unwrap().is_some());
        let _ = stores.append(&run_id(1), fence, Seq(0), &[ended()], NOW).await.unwrap();
        assert_eq!(stores.stores.maintenance.prune_runs(None, later).await.unwrap(), 2);
        assert_eq!(runs.get(&run_id(2)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_tree_whose_runs_have_all_ended_is_not_looked_for_any_more() {
    for stores in TestStores::each().await {
        let Stores { runs, core, .. } = &stores.stores;
        let fence = stores.create_run(1).await;
        start_inner(&stores, 2, 1, 1, fence).await;
        let later = NOW.saturating_add(MINUTE * 2);
        let unclaimed = async || ids(&runs.list_unclaimed(None, later, 10).await.unwrap());
        assert_eq!(unclaimed().await, [1, 2].map(run_id));
        let _ = stores.append(&run_id(2), fence, Seq(0), &[ended()], NOW).await.unwrap();
        assert_eq!(unclaimed().await, [run_id(1)]);
        let _ = stores.append(&run_id(1), fence, Seq(0), &[ended()], NOW).await.unwrap();
        core.release_tree(&run_id(1), fence, NOW).await;
        assert_eq!(unclaimed().await, []);
    }
}

#[tokio::test]
async fn a_tree_without_an_owner_was_active_as_long_as_the_last_owner_that_has_written_to_it() {
    let [hour, later, end] = [1, 2, 3].map(|hours| NOW.saturating_add(MINUTE * 60 * hours));
    for stores in TestStores::each().await {
        let core = &stores.stores.core;
        let first = stores.create_run(1).await;
        core.renew(&run_id(1), first, MINUTE, hour).await.unwrap();
        let active = Some(OwnerActivity { since: NOW, until: hour });
        core.fail_tree(&run_id(1), first, hour).await.unwrap();
        let renewed = core.renew(&run_id(1), first, MINUTE, later).await;
        assert!(matches!(renewed, Err(JournalError::Fenced)), "the tree waits for its next owner");
        let second = claim(&stores, 1, later).await.unwrap();
        assert_eq!((second.failures, second.last_activity), (1, active));
        core.renew(&run_id(1), second.fence, MINUTE, later).await.unwrap();
        core.release_tree(&run_id(1), second.fence, later).await;
        let third = claim(&stores, 1, later).await.unwrap();
        assert_eq!(third.last_activity, active, "no run was resumed in between");
        let _ = stores.append(&run_id(1), third.fence, Seq(0), &[resumed()], later).await.unwrap();
        core.release_tree(&run_id(1), third.fence, end).await;
        let fourth = claim(&stores, 1, end).await.unwrap();
        assert_eq!(fourth.last_activity, Some(OwnerActivity { since: later, until: end }));
    }
}

#[tokio::test]
async fn a_tree_whose_lease_expired_was_active_until_its_last_renewal() {
    for stores in TestStores::each().await {
        let fence = stores.create_run(1).await;
        let renewed = NOW.saturating_add(MINUTE);
        stores.stores.core.renew(&run_id(1), fence, MINUTE, renewed).await.unwrap();
        let tree = claim(&stores, 1, renewed.saturating_add(MINUTE * 60)).await.unwrap();
        assert_eq!(tree.last_activity, Some(OwnerActivity { since: NOW, until: renewed }));
    }
}

async fn counted(stores: &TestStores, now: Timestamp) -> TreeCounts {
    stores.stores.runs.count_trees(now, 10).await.unwrap()
}

#[tokio::test]
async fn the_trees_of_every_tenant_are_counted_by_whether_they_have_an_owner() {
    for stores in TestStores::each().await {
        let Stores { runs, core, .. } = &stores.stores;
        assert_eq!(counted(&stores, NOW).await, TreeCounts::default());
        let first = stores.create_run(1).await;
        start_inner(&stores, 2, 1, 1, first).await;
        let foreign = stores.create(&new_run_of("globex", 3), None).await.unwrap();
        let Created::New(foreign) = foreign else { panic!("the run is not new: {foreign:?}") };
        assert_eq!(counted(&stores, NOW).await, TreeCounts { waiting: 0, owned: 2 }, "not the runs of a tree");
        let expired = counted(&stores, NOW.saturating_add(MINUTE * 2)).await;
        assert_eq!(expired, TreeCounts { waiting: 2, owned: 0 }, "their leases are over");
        core.renew(&run_id(1), first, MINUTE, NOW).await.unwrap();
        core.renew(&run_id(3), foreign, MINUTE, NOW).await.unwrap();
        core.release_tree(&run_id(3), foreign, NOW).await;
        assert_eq!(counted(&stores, NOW).await, TreeCounts { waiting: 1, owned: 1 }, "one is of another tenant");
        core.release_tree(&run_id(1), first, NOW).await;
        assert_eq!(counted(&stores, NOW).await, TreeCounts { waiting: 2, owned: 0 });
        assert_eq!(runs.count_trees(NOW, 1).await.unwrap(), TreeCounts { waiting: 1, owned: 0 }, "the limit");
    }
}

#[tokio::test]
async fn a_tree_that_has_ended_or_was_given_up_is_not_counted() {
    for stores in TestStores::each().await {
        let core = &stores.stores.core;
        let first = stores.create_run(1).await;
        let second = stores.create_run(2).await;
        let _ = stores.append(&run_id(1), first, Seq(0), &[ended()], NOW).await.unwrap();
        core.release_tree(&run_id(1), first, NOW).await;
        assert_eq!(counted(&stores, NOW).await, TreeCounts { waiting: 0, owned: 1 });
        let cause = Cause::new(ErrorCode::Internal, "it fails");
        let given_up = Entry::RunGivenUp { cause, failures: 1, attempts: 0 };
        let _ = stores.append(&run_id(2), second, Seq(0), &[given_up], NOW).await.unwrap();
        core.release_tree(&run_id(2), second, NOW).await;
        assert_eq!(counted(&stores, NOW).await, TreeCounts::default());
    }
}

#[tokio::test]
async fn a_tree_that_only_waits_is_counted_once_it_is_due() {
    let soon = NOW.saturating_add(MINUTE / 2);
    for stores in TestStores::each().await {
        let cluster = &stores.stores.cluster;
        let fences = [stores.create_run(1).await, stores.create_run(2).await];
        if !cluster.is_shared() {
            // Nothing else could claim it, so its owner keeps it.
            assert!(!cluster.park(&run_id(1), fences[0], None, NOW).await.unwrap());
            assert_eq!(counted(&stores, soon).await, TreeCounts { waiting: 0, owned: 2 });
            continue;
        }
        assert!(cluster.park(&run_id(1), fences[0], None, NOW).await.unwrap());
        assert!(cluster.park(&run_id(2), fences[1], Some(soon), NOW).await.unwrap());
        assert_eq!(counted(&stores, NOW).await, TreeCounts::default(), "one until a signal, one until a time");
        assert_eq!(counted(&stores, soon).await, TreeCounts { waiting: 1, owned: 0 }, "its time has come");
        assert!(cluster.send(&run_id(1), "message_1", "approve", NOW).await.unwrap());
        assert_eq!(counted(&stores, NOW).await, TreeCounts { waiting: 1, owned: 0 }, "it has a message");
    }
}
