//! Runs and their journals: once, owned by one, in order, watched, forgotten.

use futures::StreamExt;
use protocol::event::RunStatus;
use protocol::{ContentHash, IdempotencyKey, PodId, UserId};

use super::*;
use crate::journal::{JournalError, Seq};
use crate::runs::{Created, DedupKey, Fence, RunFilter};

fn key(text: &str) -> DedupKey {
    DedupKey::Caller(IdempotencyKey::new(text).unwrap())
}

async fn create(stores: &TestStores, number: u128) -> Fence {
    match stores.stores.runs.create(&new_run(number), None, NOW).await.unwrap() {
        Created::New(fence) => fence,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_same_key_and_body_find_the_first_run_and_another_body_is_a_conflict() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        assert!(matches!(runs.create(&new_run(1), Some(&key("k")), NOW).await.unwrap(), Created::New(_)));
        let again = runs.create(&new_run(2), Some(&key("k")), NOW).await.unwrap();
        assert_eq!(again, Created::Existing(run_id(1)));
        let other = NewRun { request_hash: ContentHash::of(b"other"), ..new_run(3) };
        assert_eq!(runs.create(&other, Some(&key("k")), NOW).await.unwrap(), Created::Conflict);
        let elsewhere = NewRun { tenant: tenant("other"), ..new_run(4) };
        assert!(matches!(runs.create(&elsewhere, Some(&key("k")), NOW).await.unwrap(), Created::New(_)));
        assert_eq!(runs.get(&run_id(2)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_repeated_request_finds_its_run_by_its_id() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        create(&stores, 1).await;
        assert_eq!(runs.create(&new_run(1), None, NOW).await.unwrap(), Created::Existing(run_id(1)));
        let other = NewRun { request_hash: ContentHash::of(b"other"), ..new_run(1) };
        assert_eq!(runs.create(&other, None, NOW).await.unwrap(), Created::Conflict);
    }
}

#[tokio::test]
async fn of_many_requests_with_one_key_at_once_one_makes_the_run() {
    for stores in TestStores::each().await {
        let create = |number: u128| {
            let runs = stores.stores.runs.clone();
            async move { runs.create(&new_run(number), Some(&key("k")), NOW).await.unwrap() }
        };
        let all = futures::future::join_all((1..=100).map(create)).await;
        assert_eq!(all.iter().filter(|created| matches!(created, Created::New(_))).count(), 1);
        assert_eq!(all.iter().filter(|created| matches!(created, Created::Existing(_))).count(), 99);
    }
}

#[tokio::test]
async fn a_run_is_held_by_one_owner_until_the_lease_lapses() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        let first = create(&stores, 1).await;
        assert_eq!(runs.claim(&run_id(1), &pod(), MINUTE, NOW).await.unwrap(), None);
        runs.renew(&run_id(1), first, MINUTE, NOW.saturating_add(MINUTE)).await.unwrap();
        assert_eq!(runs.claim(&run_id(1), &pod(), MINUTE, NOW.saturating_add(MINUTE)).await.unwrap(), None);
        let later = NOW.saturating_add(MINUTE * 3);
        assert_eq!(runs.list_unclaimed(later, 10).await.unwrap().len(), 1);
        let next = PodId::new("pod_2").unwrap();
        let second = runs.claim(&run_id(1), &next, MINUTE, later).await.unwrap().unwrap();
        assert!(second > first);
        assert_eq!(runs.list_unclaimed(later, 10).await.unwrap(), []);
        let head = runs.get(&run_id(1)).await.unwrap().unwrap();
        assert_eq!((head.fence, head.pod), (second, next));
        assert!(matches!(runs.renew(&run_id(1), first, MINUTE, later).await, Err(JournalError::Fenced)));
        runs.release(&run_id(1), first).await;
        assert_eq!(runs.claim(&run_id(1), &pod(), MINUTE, later).await.unwrap(), None);
        runs.release(&run_id(1), second).await;
        assert!(runs.claim(&run_id(1), &pod(), MINUTE, later).await.unwrap().is_some());
        assert_eq!(runs.claim(&run_id(9), &pod(), MINUTE, later).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_stale_owner_writes_nothing() {
    for stores in TestStores::each().await {
        let (runs, journal) = (&stores.stores.runs, &stores.stores.journal);
        let first = create(&stores, 1).await;
        runs.release(&run_id(1), first).await;
        let second = runs.claim(&run_id(1), &pod(), MINUTE, NOW).await.unwrap().unwrap();
        let stale = journal.append(&run_id(1), first, Seq(0), &[started("a")], NOW).await;
        assert!(matches!(stale, Err(JournalError::Fenced)));
        let receipt = journal.append(&run_id(1), second, Seq(0), &[started("a")], NOW).await.unwrap();
        assert_eq!((receipt.run(), receipt.after(), receipt.through()), (&run_id(1), Seq(0), Seq(1)));
        assert_eq!(journal.read(&run_id(1), Seq(0), 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn entries_follow_each_other_without_a_gap() {
    for stores in TestStores::each().await {
        let journal = &stores.stores.journal;
        let fence = create(&stores, 1).await;
        let entries = [started("a"), done("a", "one")];
        let receipt = journal.append(&run_id(1), fence, Seq(0), &entries, NOW).await.unwrap();
        assert_eq!(receipt.through(), Seq(2));
        let late = journal.append(&run_id(1), fence, Seq(1), &[started("b")], NOW).await;
        assert!(matches!(late, Err(JournalError::OutOfOrder { found: Seq(2) })));
        let empty = journal.append(&run_id(1), fence, Seq(2), &[], NOW).await;
        assert!(matches!(empty, Err(JournalError::Size { found: 0 })));
        let unknown = journal.append(&run_id(9), fence, Seq(0), &[started("b")], NOW).await;
        assert!(matches!(unknown, Err(JournalError::Unknown)));
        let read = journal.read(&run_id(1), Seq(1), 10).await.unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].seq, read[0].at, &read[0].entry), (Seq(2), NOW, &entries[1]));
    }
}

#[tokio::test]
async fn a_head_follows_its_journal_to_the_end_and_no_further() {
    for stores in TestStores::each().await {
        let (runs, journal) = (&stores.stores.runs, &stores.stores.journal);
        let fence = create(&stores, 1).await;
        let state = || async { runs.get(&run_id(1)).await.unwrap().unwrap().status };
        assert_eq!(state().await, RunStatus::Queued);
        let asked = Entry::ApprovalRequested { key: step_key("a"), prompt: "well?".into() };
        let _ = journal.append(&run_id(1), fence, Seq(0), &[started("a"), asked], NOW).await.unwrap();
        assert_eq!(state().await, RunStatus::WaitingApproval);
        assert_eq!(runs.reply(&run_id(1)).await.unwrap(), None);
        let past = [ended(), started("b")];
        let refused = journal.append(&run_id(1), fence, Seq(2), &past, NOW).await;
        assert!(matches!(refused, Err(JournalError::Size { .. })));
        let _ = journal.append(&run_id(1), fence, Seq(2), &[ended()], NOW).await.unwrap();
        assert_eq!(state().await, RunStatus::Success);
        assert_eq!(runs.reply(&run_id(1)).await.unwrap(), Some(reply("run_1")));
        let after = journal.append(&run_id(1), fence, Seq(3), &[started("b")], NOW).await;
        assert!(matches!(after, Err(JournalError::Ended)), "{after:?}");
        assert_eq!(runs.claim(&run_id(1), &pod(), MINUTE, NOW.saturating_add(MINUTE * 9)).await.unwrap(), None);
        assert_eq!(runs.list_unclaimed(NOW.saturating_add(MINUTE * 9), 10).await.unwrap(), []);
    }
}

#[tokio::test]
async fn a_run_waits_for_a_person_until_the_last_of_its_questions_is_answered() {
    for stores in TestStores::each().await {
        let (runs, journal) = (&stores.stores.runs, &stores.stores.journal);
        let fence = create(&stores, 1).await;
        let asked = |step: &str| Entry::ApprovalRequested { key: step_key(step), prompt: "well?".into() };
        let by = UserId::new("admin").unwrap();
        let answered = |step: &str| Entry::ApprovalResolved { key: step_key(step), approved: true, by: by.clone() };
        let mut seq = Seq(0);
        let steps = [
            (vec![asked("a"), asked("b")], RunStatus::WaitingApproval),
            (vec![answered("a"), started("a")], RunStatus::WaitingApproval),
            (vec![answered("b")], RunStatus::Running),
            (vec![asked("c")], RunStatus::WaitingApproval),
            (vec![Entry::DeadlinePassed], RunStatus::Running),
        ];
        for (entries, state) in steps {
            seq = journal.append(&run_id(1), fence, seq, &entries, NOW).await.unwrap().through();
            assert_eq!(runs.get(&run_id(1)).await.unwrap().unwrap().status, state, "after {entries:?}");
        }
    }
}

#[tokio::test]
async fn a_run_has_what_it_begins_with_or_does_not_begin() {
    for stores in TestStores::each().await {
        let (runs, journal) = (&stores.stores.runs, &stores.stores.journal);
        let begun = runs.create_with_entries(&new_run(1), None, &[started("a"), done("a", "one")], NOW).await.unwrap();
        let (Created::New(fence), Some(receipt)) = begun else { panic!("{begun:?}") };
        assert_eq!((receipt.run(), receipt.after(), receipt.through()), (&run_id(1), Seq(0), Seq(2)));
        let again = runs.create_with_entries(&new_run(1), None, &[started("a")], NOW).await.unwrap();
        assert_eq!(again, (Created::Existing(run_id(1)), None));
        assert_eq!(journal.read(&run_id(1), Seq(0), 10).await.unwrap().len(), 2);
        let _ = journal.append(&run_id(1), fence, Seq(2), &[ended()], NOW).await.unwrap();
        let refused = runs.create_with_entries(&new_run(2), None, &[ended(), started("a")], NOW).await;
        assert!(matches!(refused, Err(JournalError::Size { found: 2 })));
        assert_eq!(runs.get(&run_id(2)).await.unwrap(), None);
        let over = runs.create_with_entries(&new_run(3), None, &[started("a"), ended()], NOW).await.unwrap();
        assert!(matches!(over, (Created::New(_), Some(_))));
        assert_eq!(runs.get(&run_id(3)).await.unwrap().unwrap().status, RunStatus::Success);
        assert_eq!(runs.list_unclaimed(NOW.saturating_add(MINUTE * 9), 10).await.unwrap(), []);
    }
}

#[tokio::test]
async fn lists_are_the_tenants_own_the_newest_first_and_go_on_where_they_stopped() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        for number in 1..=5 {
            create(&stores, number).await;
        }
        let other = NewRun { tenant: tenant("other"), ..new_run(6) };
        let _ = runs.create(&other, None, NOW).await.unwrap();
        let filter = RunFilter { tenant: Some(tenant("acme")), status: None };
        let first = runs.list(&filter, None, 3).await.unwrap();
        let names: Vec<_> = first.runs.iter().map(|head| head.run.clone()).collect();
        assert_eq!(names, [run_id(5), run_id(4), run_id(3)]);
        let rest = runs.list(&filter, first.next, 3).await.unwrap();
        assert_eq!(rest.runs.len(), 2);
        assert_eq!(rest.next, None);
        let all = runs.list(&RunFilter::default(), None, 50).await.unwrap();
        assert_eq!(all.runs.len(), 6);
        let ended = RunFilter { tenant: Some(tenant("acme")), status: Some(RunStatus::Success) };
        assert_eq!(runs.list(&ended, None, 50).await.unwrap().runs, []);
    }
}

#[tokio::test]
async fn a_tail_gives_what_was_and_what_comes_and_ends_with_the_run() {
    for stores in TestStores::each().await {
        let journal = stores.stores.journal.clone();
        let fence = create(&stores, 1).await;
        let _ = journal.append(&run_id(1), fence, Seq(0), &[started("a")], NOW).await.unwrap();
        let tail = journal.tail(&run_id(1), Seq(0)).map(|item| item.unwrap().seq.0).collect::<Vec<_>>();
        let write = async {
            let _ = journal.append(&run_id(1), fence, Seq(1), &[done("a", "x")], NOW).await.unwrap();
            let _ = journal.append(&run_id(1), fence, Seq(2), &[ended()], NOW).await.unwrap();
        };
        let (seen, ()) = tokio::join!(tail, write);
        assert_eq!(seen, [1, 2, 3]);
        let late = journal.tail(&run_id(1), Seq(1)).map(|item| item.unwrap().seq.0).collect::<Vec<_>>().await;
        assert_eq!(late, [2, 3]);
    }
}

#[tokio::test]
async fn a_tail_ends_when_the_store_closes() {
    for stores in TestStores::each().await {
        create(&stores, 1).await;
        let tail = stores.stores.journal.tail(&run_id(1), Seq(0)).collect::<Vec<_>>();
        let close = async { stores.stores.maintenance.close(NOW).await.unwrap() };
        let (seen, ()) = tokio::join!(tail, close);
        assert!(seen.is_empty());
        let refused = stores.stores.runs.create(&new_run(2), None, NOW).await;
        assert!(matches!(refused, Err(StoreError::Closed)));
    }
}

#[tokio::test]
async fn what_ended_long_ago_is_forgotten_and_its_key_is_free_again() {
    for stores in TestStores::each().await {
        let (runs, journal) = (&stores.stores.runs, &stores.stores.journal);
        let Created::New(fence) = runs.create(&new_run(1), Some(&key("k")), NOW).await.unwrap() else { panic!() };
        create(&stores, 2).await;
        let _ = journal.append(&run_id(1), fence, Seq(0), &[ended()], NOW).await.unwrap();
        assert_eq!(runs.prune(NOW).await.unwrap(), 0);
        assert_eq!(runs.prune(NOW.saturating_add(MINUTE)).await.unwrap(), 1);
        assert_eq!(runs.get(&run_id(1)).await.unwrap(), None);
        assert_eq!(journal.read(&run_id(1), Seq(0), 10).await.unwrap(), []);
        assert!(runs.get(&run_id(2)).await.unwrap().is_some());
        assert!(matches!(runs.create(&new_run(3), Some(&key("k")), NOW).await.unwrap(), Created::New(_)));
    }
}
