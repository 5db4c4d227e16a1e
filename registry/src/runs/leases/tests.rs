//! Leases: who has a tree, which trees wait for an owner, and until when their last owner was active.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const START: Timestamp = Timestamp::from_micros(0);

fn run(name: &str) -> RunId {
    RunId::new(name).unwrap()
}

const fn lease(root: &RunId, number: RunNumber, fence: u64, granted_at: Timestamp) -> NewLease<'_> {
    NewLease { root, number, fence: Fence(fence), duration: SECOND, granted_at }
}

fn after(seconds: u32) -> Timestamp {
    START.saturating_add(SECOND * seconds)
}

#[test]
fn a_lease_expires_and_an_earlier_owner_cannot_change_it() {
    let (leases, root) = (Leases::default(), run("run_1"));
    leases.grant_created(lease(&root, 1, 2, START));
    assert!(leases.is_leased(&root, START));
    assert!(!leases.is_leased(&root, after(2)));
    assert!(matches!(leases.renew(&root, Fence(1), None, START), Err(JournalError::Fenced)));
    leases.release(&root, Fence(1), START);
    leases.renew(&root, Fence(2), None, after(2)).unwrap();
    assert!(leases.is_leased(&root, after(2)));
    leases.release(&root, Fence(2), after(2));
    assert!(!leases.is_leased(&root, START));
    assert!(matches!(leases.renew(&root, Fence(2), None, after(2)), Err(JournalError::Fenced)), "it is released");
    assert!(!leases.is_leased(&root, after(2)));
}

#[test]
fn the_trees_without_an_owner_are_known_without_a_look_at_the_others() {
    let leases = Leases::default();
    leases.add_unclaimed([7, 3]);
    assert_eq!(leases.unclaimed(START), [3, 7]);
    leases.grant_claimed(lease(&run("run_3"), 3, 1, START), 1, None);
    leases.grant_created(lease(&run("run_9"), 9, 1, START));
    assert_eq!(leases.unclaimed(START), [7]);
    let half = START.saturating_add(SECOND / 2);
    leases.renew(&run("run_9"), Fence(1), None, half).unwrap();
    assert_eq!(leases.unclaimed(after(1)), [3, 7], "a renewed lease has not expired");
    assert_eq!(leases.unclaimed(after(2)), [3, 7, 9]);
    // No other owner has claimed it, so its owner continues.
    leases.renew(&run("run_9"), Fence(1), None, after(2)).unwrap();
    assert_eq!(leases.unclaimed(after(2)), [3, 7]);
    leases.remove_run(&run("run_3"), Fence(1));
    leases.forget_ended(&run("run_3"), Fence(1));
    leases.forget(&run("run_7"), 7);
    leases.release(&run("run_9"), Fence(1), after(2));
    assert_eq!(leases.unclaimed(after(2)), [9]);
    assert_eq!(leases.unclaimed(after(9)), [9], "its expiry does not matter any more");
    leases.grant_claimed(lease(&run("run_9"), 9, 2, after(9)), 1, None);
    assert!(leases.unclaimed(after(9)).is_empty());
    assert_eq!(leases.unclaimed(after(10)), [9]);
    leases.forget(&run("run_9"), 9);
    assert!(leases.unclaimed(after(11)).is_empty());
}

#[test]
fn a_renewal_counts_also_if_the_expiry_was_found_by_a_later_time() {
    let (leases, root) = (Leases::default(), run("run_1"));
    leases.grant_created(lease(&root, 1, 1, START));
    assert_eq!(leases.unclaimed(after(9)), [1]);
    leases.renew(&root, Fence(1), Some(SECOND * 20), START).unwrap();
    assert!(leases.unclaimed(after(9)).is_empty(), "its owner works on it");
    assert_eq!(leases.unclaimed(after(20)), [1]);
}

#[test]
fn a_lease_lasts_until_the_last_run_of_its_tree_has_ended() {
    for is_released in [false, true] {
        let (leases, root) = (Leases::default(), run("run_1"));
        leases.grant_created(lease(&root, 1, 1, START));
        leases.add_run(&root, Fence(1));
        // The root ends before the run that it has called.
        leases.remove_run(&root, Fence(1));
        leases.forget_ended(&root, Fence(1));
        assert!(leases.is_leased(&root, START));
        if is_released {
            // No other owner has claimed the tree, so this one may still end the run.
            leases.release(&root, Fence(1), START);
        }
        leases.remove_run(&root, Fence(1));
        leases.release(&root, Fence(1), START);
        assert_eq!(leases.is_leased(&root, START), !is_released, "the end is not durable yet");
        leases.forget_ended(&root, Fence(1));
        assert_eq!((leases.is_leased(&root, START), leases.unclaimed(START)), (false, Vec::new()));
        assert_eq!(leases.last_activity(&root), None);
    }
}

#[test]
fn an_owner_was_active_until_it_renewed_last_or_released_its_tree() {
    let (leases, root) = (Leases::default(), run("run_1"));
    let until = |until| Some(OwnerActivity { since: START, until });
    leases.grant_created(lease(&root, 1, 1, START));
    assert_eq!(leases.last_activity(&root), until(START));
    leases.renew(&root, Fence(1), None, after(1)).unwrap();
    assert_eq!(leases.last_activity(&root), until(after(1)), "its lease expires later");
    leases.release(&root, Fence(1), after(5));
    assert_eq!(leases.last_activity(&root), until(after(5)));
    leases.release(&root, Fence(1), after(7));
    assert_eq!(leases.last_activity(&root), until(after(5)), "it was released before");
}

#[test]
fn an_owner_that_has_written_nothing_does_not_count_as_active() {
    let (leases, root) = (Leases::default(), run("run_1"));
    let before = Some(OwnerActivity { since: START, until: after(1) });
    leases.grant_claimed(lease(&root, 1, 2, after(10)), 1, before);
    leases.renew(&root, Fence(2), Some(SECOND), after(11)).unwrap();
    assert_eq!(leases.last_activity(&root), before, "no run of the tree is resumed yet");
    leases.release(&root, Fence(2), after(12));
    assert_eq!(leases.last_activity(&root), before, "no run could be resumed");
    leases.grant_claimed(lease(&root, 1, 3, after(20)), 1, leases.last_activity(&root));
    leases.on_written(&root, Fence(2));
    leases.renew(&root, Fence(3), None, after(21)).unwrap();
    assert_eq!(leases.last_activity(&root), before, "another owner has written");
    leases.on_written(&root, Fence(3));
    leases.renew(&root, Fence(3), None, after(22)).unwrap();
    assert_eq!(leases.last_activity(&root), Some(OwnerActivity { since: after(20), until: after(22) }));
}

#[test]
fn nothing_of_a_tree_remains_that_has_ended_was_released_or_was_never_created() {
    let (leases, half) = (Leases::default(), START.saturating_add(SECOND / 2));
    let (ended, released, uncreated, unowned) = (run("run_1"), run("run_2"), run("run_3"), run("run_4"));
    for (root, number) in [(&ended, 1), (&released, 2), (&uncreated, 3), (&unowned, 4)] {
        leases.grant_created(lease(root, number, 1, START));
        // Its entry in the index of expiries is at an earlier time than that of its lease, or has moved.
        leases.renew(root, Fence(1), Some(SECOND * 3_600), half).unwrap();
    }
    assert!(leases.unclaimed(after(2)).is_empty());
    leases.remove_run(&ended, Fence(1));
    leases.forget_ended(&ended, Fence(1));
    leases.release(&released, Fence(1), after(2));
    leases.forget_released(&released, Fence(1));
    leases.forget(&uncreated, 3);
    leases.release(&unowned, Fence(1), after(2));
    leases.forget_unowned(&BTreeSet::from([4]));
    let owners = leases.owners();
    assert!(owners.leases.is_empty() && owners.expiries.is_empty() && owners.unclaimed.is_empty(), "{owners:?}");
}
