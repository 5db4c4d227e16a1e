//! Runs and their journals: created once, one owner, ordered entries, tails, pruning.

use futures::StreamExt;
use protocol::conversation::SuspendedCall;
use protocol::event::RunStatus;
use protocol::reply::Usage;
use protocol::{ArtifactRef, ContentHash, IdempotencyKey, PodId, UserId};

use super::*;
use crate::journal::{JournalError, Seq};
use crate::runs::{Created, DedupKey, RunFilter};

fn key(text: &str) -> DedupKey {
    DedupKey::Caller { principal: principal("alice"), key: IdempotencyKey::new(text).unwrap() }
}

#[tokio::test]
async fn the_same_key_and_request_find_the_first_run_and_another_request_conflicts() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        assert!(matches!(stores.create(&new_run(1), Some(&key("k"))).await.unwrap(), Created::New(_)));
        let repeated = stores.create(&new_run(2), Some(&key("k"))).await.unwrap();
        assert_eq!(repeated, Created::Existing(run_id(1)));
        let other = NewRun { request_hash: ContentHash::from_content(b"other"), ..new_run(3) };
        assert_eq!(stores.create(&other, Some(&key("k"))).await.unwrap(), Created::Conflict);
        let other_tenant = new_run_of("other", 4);
        assert!(matches!(stores.create(&other_tenant, Some(&key("k"))).await.unwrap(), Created::New(_)));
        assert_eq!(runs.get(&run_id(2)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_repeated_request_finds_its_run_by_its_id() {
    for stores in TestStores::each().await {
        stores.create_run(1).await;
        assert_eq!(stores.create(&new_run(1), None).await.unwrap(), Created::Existing(run_id(1)));
        let other = NewRun { request_hash: ContentHash::from_content(b"other"), ..new_run(1) };
        assert_eq!(stores.create(&other, None).await.unwrap(), Created::Conflict);
    }
}

#[tokio::test]
async fn of_concurrent_requests_with_one_key_one_creates_the_run() {
    for stores in TestStores::each().await {
        let create = |number: u128| {
            let stores = &stores;
            async move { stores.create(&new_run(number), Some(&key("k"))).await.unwrap() }
        };
        let all = futures::future::join_all((1..=100).map(create)).await;
        assert_eq!(all.iter().filter(|created| matches!(created, Created::New(_))).count(), 1);
        assert_eq!(all.iter().filter(|created| matches!(created, Created::Existing(_))).count(), 99);
    }
}

#[tokio::test]
async fn a_run_has_one_owner_until_its_lease_expires() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        let first = stores.create_run(1).await;
        assert_eq!(stores.stores.core.claim_tree(&run_id(1), &pod(), MINUTE, NOW).await.unwrap(), None);
        stores.stores.core.renew(&run_id(1), first, MINUTE, NOW.saturating_add(MINUTE)).await.unwrap();
        assert_eq!(
            stores.stores.core.claim_tree(&run_id(1), &pod(), MINUTE, NOW.saturating_add(MINUTE)).await.unwrap(),
            None
        );
        let later = NOW.saturating_add(MINUTE * 3);
        assert_eq!(runs.list_unclaimed(None, later, 10).await.unwrap().len(), 1);
        let next = PodId::new("pod_2").unwrap();
        let second = stores.stores.core.claim_tree(&run_id(1), &next, MINUTE, later).await.unwrap().unwrap().fence;
        assert!(second > first);
        assert_eq!(runs.list_unclaimed(None, later, 10).await.unwrap(), []);
        let record = runs.get(&run_id(1)).await.unwrap().unwrap();
        assert_eq!((record.fence, record.pod), (second, next));
        assert!(matches!(stores.stores.core.renew(&run_id(1), first, MINUTE, later).await, Err(JournalError::Fenced)));
        stores.stores.core.release_tree(&run_id(1), first, NOW).await;
        assert_eq!(stores.stores.core.claim_tree(&run_id(1), &pod(), MINUTE, later).await.unwrap(), None);
        stores.stores.core.release_tree(&run_id(1), second, NOW).await;
        assert!(stores.stores.core.claim_tree(&run_id(1), &pod(), MINUTE, later).await.unwrap().is_some());
        assert_eq!(stores.stores.core.claim_tree(&run_id(9), &pod(), MINUTE, later).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_stale_owner_writes_nothing() {
    for stores in TestStores::each().await {
        let journal = &stores.stores.journal;
        let first = stores.create_run(1).await;
        stores.stores.core.release_tree(&run_id(1), first, NOW).await;
        let second = stores.stores.core.claim_tree(&run_id(1), &pod(), MINUTE, NOW).await.unwrap().unwrap().fence;
        let stale = stores.append(&run_id(1), first, Seq(0), &[started("a")], NOW).await;
        assert!(matches!(stale, Err(JournalError::Fenced)));
        let receipt = stores.append(&run_id(1), second, Seq(0), &[started("a")], NOW).await.unwrap();
        assert_eq!((receipt.run(), receipt.after(), receipt.through()), (&run_id(1), Seq(0), Seq(1)));
        assert_eq!(journal.read(&run_id(1), Seq(0), 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn entries_follow_each_other_without_a_gap() {
    for stores in TestStores::each().await {
        let journal = &stores.stores.journal;
        let fence = stores.create_run(1).await;
        let entries = [started("a"), done("a", "one")];
        let receipt = stores.append(&run_id(1), fence, Seq(0), &entries, NOW).await.unwrap();
        assert_eq!(receipt.through(), Seq(2));
        let stale = stores.append(&run_id(1), fence, Seq(1), &[started("b")], NOW).await;
        assert!(matches!(stale, Err(JournalError::OutOfOrder { found: Seq(2) })));
        let empty = stores.append(&run_id(1), fence, Seq(2), &[], NOW).await;
        assert!(matches!(empty, Err(JournalError::Size { found: 0 })));
        let unknown = stores.append(&run_id(9), fence, Seq(0), &[started("b")], NOW).await;
        assert!(matches!(unknown, Err(JournalError::Unknown)));
        let read = journal.read(&run_id(1), Seq(1), 10).await.unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].seq, read[0].at, &read[0].entry), (Seq(2), NOW, &entries[1]));
    }
}

#[tokio::test]
async fn a_run_record_follows_its_journal_to_the_end_and_no_further() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        let fence = stores.create_run(1).await;
        let status = || async { runs.get(&run_id(1)).await.unwrap().unwrap().status };
        assert_eq!(status().await, RunStatus::Queued);
        let requested = Entry::ApprovalRequested { key: step_key("a"), prompt: "well?".into(), until: None };
        let _ = stores.append(&run_id(1), fence, Seq(0), &[started("a"), requested], NOW).await.unwrap();
        assert_eq!(status().await, RunStatus::WaitingApproval);
        assert_eq!(runs.reply(&run_id(1)).await.unwrap(), None);
        let after_end = [ended(), started("b")];
        let error = stores.append(&run_id(1), fence, Seq(2), &after_end, NOW).await;
        assert!(matches!(error, Err(JournalError::Size { .. })));
        let _ = stores.append(&run_id(1), fence, Seq(2), &[ended()], NOW).await.unwrap();
        assert_eq!(status().await, RunStatus::Success);
        assert_eq!(runs.reply(&run_id(1)).await.unwrap(), Some(reply("run_1")));
        let after = stores.append(&run_id(1), fence, Seq(3), &[started("b")], NOW).await;
        assert!(matches!(after, Err(JournalError::Ended)), "{after:?}");
        assert_eq!(
            stores.stores.core.claim_tree(&run_id(1), &pod(), MINUTE, NOW.saturating_add(MINUTE * 9)).await.unwrap(),
            None
        );
        assert_eq!(runs.list_unclaimed(None, NOW.saturating_add(MINUTE * 9), 10).await.unwrap(), []);
    }
}

/// The agent of a step waits for approvals of its tools.
fn requested_tools() -> Entry {
    let hash = ContentHash::from_content(b"conversation");
    let (media_type, name) = ("application/json".to_owned(), "conversation.json".to_owned());
    let conversation = ArtifactRef { hash, bytes: 12, media_type, name };
    let suspended = SuspendedCall { conversation, calls: Vec::new(), artifacts: Vec::new() };
    Entry::ToolApprovalRequested { key: step_key("a"), attempt: 1, suspended, usage: Usage::default() }
}

#[tokio::test]
async fn a_run_awaits_approval_until_its_last_request_is_resolved() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        let fence = stores.create_run(1).await;
        let requested =
            |step: &str| Entry::ApprovalRequested { key: step_key(step), prompt: "well?".into(), until: None };
        let by = UserId::new("admin").unwrap();
        let resolved = |step: &str| Entry::ApprovalResolved { key: step_key(step), approved: true, by: by.clone() };
        let resolved_tools = |remaining| Entry::ToolApprovalResolved {
            key: step_key("a"),
            calls: Vec::new(),
            approved: true,
            by: by.clone(),
            reason: None,
            remaining,
        };
        let mut seq = Seq(0);
        let steps = [
            (vec![requested("a"), requested("b")], RunStatus::WaitingApproval),
            (vec![resolved("a"), started("a")], RunStatus::WaitingApproval),
            (vec![resolved("b")], RunStatus::Running),
            (vec![requested("c")], RunStatus::WaitingApproval),
            (vec![Entry::DeadlinePassed], RunStatus::Running),
            (vec![requested_tools()], RunStatus::WaitingApproval),
            (vec![resolved_tools(1)], RunStatus::WaitingApproval),
            (vec![resolved_tools(0), started("a")], RunStatus::Running),
        ];
        for (entries, status) in steps {
            seq = stores.append(&run_id(1), fence, seq, &entries, NOW).await.unwrap().through();
            assert_eq!(runs.get(&run_id(1)).await.unwrap().unwrap().status, status, "after {entries:?}");
        }
    }
}

#[tokio::test]
async fn a_run_is_created_with_its_entries_or_not_at_all() {
    for stores in TestStores::each().await {
        let (runs, journal) = (&stores.stores.runs, &stores.stores.journal);
        let created =
            stores.stores.core.create_run(new_run(1), None, &[started("a"), done("a", "one")], NOW).await.unwrap();
        let (Created::New(fence), Some(receipt)) = created else { panic!("{created:?}") };
        assert_eq!(fence, Fence::FIRST, "the calls of the run have it before");
        assert_eq!((receipt.run(), receipt.after(), receipt.through()), (&run_id(1), Seq(0), Seq(2)));
        let repeated = stores.stores.core.create_run(new_run(1), None, &[started("a")], NOW).await.unwrap();
        assert_eq!(repeated, (Created::Existing(run_id(1)), None));
        assert_eq!(journal.read(&run_id(1), Seq(0), 10).await.unwrap().len(), 2);
        let _ = stores.append(&run_id(1), fence, Seq(2), &[ended()], NOW).await.unwrap();
        let error = stores.stores.core.create_run(new_run(2), None, &[ended(), started("a")], NOW).await;
        assert!(matches!(error, Err(JournalError::Size { found: 2 })));
        assert_eq!(runs.get(&run_id(2)).await.unwrap(), None);
        let over = stores.stores.core.create_run(new_run(3), None, &[started("a"), ended()], NOW).await.unwrap();
        assert!(matches!(over, (Created::New(_), Some(_))));
        assert_eq!(runs.get(&run_id(3)).await.unwrap().unwrap().status, RunStatus::Success);
        assert_eq!(runs.list_unclaimed(None, NOW.saturating_add(MINUTE * 9), 10).await.unwrap(), []);
    }
}

#[tokio::test]
async fn lists_show_one_tenants_runs_newest_first_page_by_page() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        for number in 1..=5 {
            stores.create_run(number).await;
        }
        let other = new_run_of("other", 6);
        let _ = stores.create(&other, None).await.unwrap();
        let filter = RunFilter { tenant: Some(tenant("acme")), ..RunFilter::default() };
        let first = runs.list(&filter, None, 3).await.unwrap();
        let names: Vec<_> = first.runs.iter().map(|record| record.run.clone()).collect();
        assert_eq!(names, [run_id(5), run_id(4), run_id(3)]);
        let rest = runs.list(&filter, first.next, 3).await.unwrap();
        assert_eq!(rest.runs.len(), 2);
        assert_eq!(rest.next, None);
        let all = runs.list(&RunFilter::default(), None, 50).await.unwrap();
        assert_eq!(all.runs.len(), 6);
        let reports = RunFilter {
            tenant: Some(tenant("acme")),
            workflow: Some(WorkflowId::new("another").unwrap()),
            ..RunFilter::default()
        };
        assert!(runs.list(&reports, None, 10).await.unwrap().runs.is_empty());
        let ended =
            RunFilter { tenant: Some(tenant("acme")), status: Some(RunStatus::Success), ..RunFilter::default() };
        assert_eq!(runs.list(&ended, None, 50).await.unwrap().runs, []);
    }
}

#[tokio::test]
async fn a_tail_streams_old_and_new_entries_and_ends_with_the_run() {
    for stores in TestStores::each().await {
        let journal = stores.stores.journal.clone();
        let fence = stores.create_run(1).await;
        let _ = stores.append(&run_id(1), fence, Seq(0), &[started("a")], NOW).await.unwrap();
        let tail = journal.tail(&run_id(1), Seq(0)).map(|item| item.unwrap().seq.0).collect::<Vec<_>>();
        let write = async {
            let _ = stores.append(&run_id(1), fence, Seq(1), &[done("a", "x")], NOW).await.unwrap();
            let _ = stores.append(&run_id(1), fence, Seq(2), &[ended()], NOW).await.unwrap();
        };
        let (numbers, ()) = tokio::join!(tail, write);
        assert_eq!(numbers, [1, 2, 3]);
        let stale = journal.tail(&run_id(1), Seq(1)).map(|item| item.unwrap().seq.0).collect::<Vec<_>>().await;
        assert_eq!(stale, [2, 3]);
    }
}

#[tokio::test]
async fn a_tail_ends_when_the_store_closes() {
    for stores in TestStores::each().await {
        stores.create_run(1).await;
        let tail = stores.stores.journal.tail(&run_id(1), Seq(0)).collect::<Vec<_>>();
        let close = async { stores.stores.maintenance.close(NOW).await.unwrap() };
        let (numbers, ()) = tokio::join!(tail, close);
        assert!(numbers.is_empty());
        let error = stores.create(&new_run(2), None).await;
        assert!(matches!(error, Err(JournalError::Store(StoreError::Closed))));
    }
}

#[tokio::test]
async fn a_run_with_personal_data_marks_the_runs_that_called_it() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        let called_by = |number: u128, parent: Option<u128>, personal_data: bool| {
            let new = new_run(number);
            let started = RunStarted { parent: parent.map(run_id), ..new.started.as_ref().clone() };
            NewRun { started: Arc::new(started), personal_data, ..new }
        };
        for new in [
            called_by(1, None, false),
            called_by(2, Some(1), false),
            called_by(3, Some(2), true),
            called_by(4, Some(1), false),
            called_by(5, None, false),
        ] {
            assert!(matches!(stores.create(&new, None).await.unwrap(), Created::New(_)));
        }
        for (number, expected) in [(1, true), (2, true), (3, true), (4, false), (5, false)] {
            let record = runs.get(&run_id(number)).await.unwrap().unwrap();
            assert_eq!(record.personal_data, expected, "{number}");
        }
        // A later change of the record does not remove the mark.
        let fence = stores
            .stores
            .core
            .claim_tree(&run_id(1), &pod(), MINUTE, NOW.saturating_add(MINUTE * 2))
            .await
            .unwrap()
            .unwrap()
            .fence;
        let appended = stores.append(&run_id(1), fence, Seq(0), &[ended()], NOW).await;
        let _ = appended.unwrap();
        assert!(runs.get(&run_id(1)).await.unwrap().unwrap().personal_data);
    }
}

#[tokio::test]
async fn pruning_runs_and_keys_of_one_tenant_leaves_those_of_another() {
    for stores in TestStores::each().await {
        let runs = &stores.stores.runs;
        let later = NOW.saturating_add(MINUTE);
        for (number, name) in [(1, "acme"), (2, "globex")] {
            let new = new_run_of(name, number);
            let Created::New(fence) = stores.create(&new, None).await.unwrap() else { panic!() };
            let _ = stores.append(&run_id(number), fence, Seq(0), &[ended()], NOW).await.unwrap();
            let body = ContentHash::from_content(b"body");
            let (_, reserved) = stores.begin(&tenant(name), &key("k"), &body).await;
            stores.stores.core.finish_key(reserved.unwrap(), &reply("req_1"), NOW).await.unwrap();
        }
        let acme = tenant("acme");
        assert_eq!(stores.stores.maintenance.prune_runs(Some(&acme), later).await.unwrap(), 1);
        assert_eq!(stores.stores.maintenance.prune_keys(Some(&acme), later).await.unwrap(), 1);
        assert!(runs.get(&run_id(1)).await.unwrap().is_none());
        assert!(runs.get(&run_id(2)).await.unwrap().is_some());
        assert_eq!(stores.stores.maintenance.prune_runs(Some(&acme), later).await.unwrap(), 0);
        assert_eq!(stores.stores.maintenance.prune_keys(None, later).await.unwrap(), 1);
        let unclaimed = new_run_of("globex", 3);
        let _ = stores.create(&unclaimed, None).await.unwrap();
        let after_lease = NOW.saturating_add(MINUTE * 2);
        assert_eq!(runs.list_unclaimed(Some(&acme), after_lease, 10).await.unwrap(), []);
        assert_eq!(runs.list_unclaimed(Some(&tenant("globex")), after_lease, 10).await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_run_that_ended_long_ago_is_pruned_and_its_key_is_free() {
    for stores in TestStores::each().await {
        let (runs, journal) = (&stores.stores.runs, &stores.stores.journal);
        let Created::New(fence) = stores.create(&new_run(1), Some(&key("k"))).await.unwrap() else { panic!() };
        stores.create_run(2).await;
        let _ = stores.append(&run_id(1), fence, Seq(0), &[ended()], NOW).await.unwrap();
        assert_eq!(stores.stores.maintenance.prune_runs(None, NOW).await.unwrap(), 0);
        assert_eq!(stores.stores.maintenance.prune_runs(None, NOW.saturating_add(MINUTE)).await.unwrap(), 1);
        assert_eq!(runs.get(&run_id(1)).await.unwrap(), None);
        assert_eq!(journal.read(&run_id(1), Seq(0), 10).await.unwrap(), []);
        assert!(runs.get(&run_id(2)).await.unwrap().is_some());
        assert!(matches!(stores.create(&new_run(3), Some(&key("k"))).await.unwrap(), Created::New(_)));
    }
}
