//! The ledger's rows: sums that the database rejects, sums that are too large, budgets that nobody can use any
//! more.

use greenroom_protocol as protocol;
use protocol::{AgentId, CallKey, MicroUsd, PriceBasis, Timestamp};

use super::{count, tamper};
use crate::journal::Seq;
use crate::ledger::{Account, Amount, Budget, Limit, Period, Settlement};
use crate::suite::{MINUTE, NOW, TestStores, ended, principal, run_id, started};

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

fn account() -> Account {
    Account {
        principal: principal("alice"),
        agent: AgentId::new("writer").unwrap(),
        workflow: None,
        run: Some(run_id(1)),
        model: "play.one".into(),
        price: PriceBasis::Listed,
    }
}

/// Reserves and settles a call of this execution.
async fn pay(stores: &TestStores, execution: &str, micros: u64, at: Timestamp) {
    let key = CallKey::new(execution).unwrap();
    let budget = Budget::Execution(key.clone());
    let limit = Limit { budget, period: Period::AllTime, cost_max: Some(MicroUsd(u64::MAX)), tokens_max: None };
    let amount = Amount::of_cost(MicroUsd(micros));
    let reservation = stores.reserve(&account(), &[limit], amount, &key, at).await.unwrap();
    stores.settle(reservation, Settlement::Actual(amount), at).await;
}

#[tokio::test]
async fn a_sum_that_the_database_rejects_does_not_stop_later_commits() {
    let stores = TestStores::sqlite().await;
    let fence = stores.create_run(1).await;
    let reject = "CREATE TRIGGER reject BEFORE INSERT ON costs BEGIN SELECT RAISE(ABORT, 'no'); END";
    tamper(&stores.database(), reject).await;
    pay(&stores, "first", 5, NOW).await;
    for seq in 0..3 {
        let appended = stores.append(&run_id(1), fence, Seq(seq), &[started("a")], NOW).await;
        assert_eq!(appended.unwrap().through(), Seq(seq + 1));
    }
    tamper(&stores.database(), "DROP TRIGGER reject").await;
    pay(&stores, "second", 7, NOW).await;
    let costs = stores.stores.ledger.costs(None).await.unwrap();
    assert_eq!(costs.iter().map(|row| row.actual.cost.0).sum::<u64>(), 7, "only what was rejected is missing");
    let stores = stores.crash_and_reopen().await;
    assert_eq!(stores.stores.runs.get(&run_id(1)).await.unwrap().unwrap().seq, Seq(3));
}

#[tokio::test]
async fn a_sum_that_is_too_large_remains_the_largest_and_the_database_can_be_opened() {
    let stores = TestStores::sqlite().await;
    pay(&stores, "first", 5, NOW).await;
    stores.stores.ledger.costs(None).await.unwrap();
    tamper(&stores.database(), "UPDATE costs SET cost = 9223372036854775800, tokens_input = 9223372036854775807").await;
    pay(&stores, "second", u64::MAX, NOW).await;
    pay(&stores, "third", 7, NOW.saturating_add(DAY)).await;
    let costs = stores.stores.ledger.costs(None).await.unwrap();
    assert_eq!(costs.iter().map(|row| row.actual.cost.0).max(), Some(i64::MAX.unsigned_abs()));
    let stores = stores.crash_and_reopen().await;
    assert_eq!(stores.stores.ledger.costs(None).await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_model_of_a_call_in_flight_at_a_crash_is_one_that_was_charged() {
    let stores = TestStores::sqlite().await;
    let key = CallKey::new("call").unwrap();
    stores.create_run(1).await;
    let names = async |stores: &TestStores| {
        let models = stores.stores.ledger.charged(&Budget::Run(run_id(1))).await.unwrap().models;
        (models.names().to_vec(), models.price())
    };
    pay(&stores, "first", 5, NOW).await;
    let other = Account { model: "other.two".into(), price: PriceBasis::Assumed, ..account() };
    let open = stores.reserve(&other, &[], Amount::of_cost(MicroUsd(60)), &key, NOW).await.unwrap();
    let dir = stores.crash().await;
    std::mem::forget(open);
    let stores = TestStores::open(dir).await.unwrap();
    let both = (vec!["other.two".to_owned(), "play.one".to_owned()], PriceBasis::Assumed);
    assert_eq!(names(&stores).await, both);
    pay(&stores, "second", 5, NOW).await;
    stores.stores.ledger.costs(None).await.unwrap();
    let stores = stores.crash_and_reopen().await;
    assert_eq!(names(&stores).await, both, "the row has all of them after each change");
}

/// What the memory has of the run.
async fn charged(stores: &TestStores) -> u64 {
    stores.stores.ledger.charged(&Budget::Run(run_id(1))).await.unwrap().settled.cost.0
}

#[tokio::test]
async fn what_a_run_was_charged_leaves_the_memory_with_its_end_and_is_not_loaded_again() {
    let stores = TestStores::sqlite().await;
    let fence = stores.create_run(1).await;
    pay(&stores, "first", 5, NOW).await;
    let stores = stores.crash_and_reopen().await;
    assert_eq!(charged(&stores).await, 5, "a run that has not ended is charged further");
    let ended = stores.append(&run_id(1), fence, Seq(0), &[ended()], NOW).await;
    assert_eq!(ended.unwrap().through(), Seq(1));
    assert_eq!(charged(&stores).await, 0);
    let stores = stores.crash_and_reopen().await;
    assert_eq!(charged(&stores).await, 0);
    let rows = "SELECT COUNT(*) FROM budgets WHERE budget LIKE '{\"Run%' AND cost = 5";
    assert_eq!(count(&stores.database(), rows).await, 1, "the database has it");
}

#[tokio::test]
async fn the_budgets_of_old_executions_and_runs_are_removed() {
    let stores = TestStores::sqlite().await;
    for (execution, at) in [("first", NOW), ("second", NOW.saturating_add(MINUTE))] {
        pay(&stores, execution, 5, at).await;
    }
    stores.stores.ledger.costs(None).await.unwrap();
    let executions = "SELECT COUNT(*) FROM budgets WHERE budget LIKE '{\"Execution%'";
    assert_eq!(count(&stores.database(), executions).await, 2);
    pay(&stores, "third", 5, NOW.saturating_add(DAY * 3)).await;
    stores.stores.ledger.costs(None).await.unwrap();
    assert_eq!(count(&stores.database(), executions).await, 1, "a retry of the others cannot come any more");
    assert_eq!(count(&stores.database(), "SELECT COUNT(*) FROM budgets").await, 2, "and the run's");
    pay(&stores, "fourth", 5, NOW.saturating_add(DAY * 400)).await;
    tamper(
        &stores.database(),
        "UPDATE budgets SET budget = replace(budget, 'run_', 'other_') WHERE budget LIKE '{\"Run%'",
    )
    .await;
    pay(&stores, "fifth", 5, NOW.saturating_add(DAY * 800)).await;
    stores.stores.ledger.costs(None).await.unwrap();
    let others = "SELECT COUNT(*) FROM budgets WHERE budget LIKE '%other_%'";
    assert_eq!(count(&stores.database(), others).await, 0);
}
