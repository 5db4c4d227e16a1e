//! What budgets have been charged is read without a commit, and what was counted is written all the same.

use greenroom_protocol::CallKey;

use super::{COST, account, limits, wait_until};
use crate::ledger::{Budget, Charged, Periods, RequestKind, Settlement};
use crate::suite::{NOW, TestStores, principal, run_id};

const BATCHES: &str = "SELECT count(*) FROM batches";

#[tokio::test]
async fn what_a_budget_was_charged_is_read_without_a_commit() {
    let stores = TestStores::postgres().await;
    let (ledger, database) = (&stores.stores.ledger, stores.test_database());
    let run = Budget::Run(run_id(1));
    let reservation =
        stores.reserve(&account(), &limits(1_000), COST, &CallKey::new("call").unwrap(), NOW).await.unwrap();
    let before = database.count(BATCHES).await;
    for _ in 0..3 {
        assert_eq!(ledger.charged(&run).await.unwrap().reserved, COST);
        assert_eq!(ledger.charged(&Budget::Run(run_id(2))).await.unwrap(), Charged::default());
    }
    assert_eq!(database.count(BATCHES).await, before);
    // Of a settlement that no unit has taken, the next reading has the end, which is durable by then.
    drop(ledger.settle(reservation, Settlement::Actual(COST), NOW));
    assert_eq!(ledger.charged(&run).await.unwrap().settled, COST);
    assert_eq!(database.count("SELECT count(*) FROM reservations").await, 0);
    assert_eq!(database.count(BATCHES).await, before + 1);
}

#[tokio::test]
async fn what_was_charged_is_read_by_a_new_connection_after_a_lost_one() {
    let stores = TestStores::postgres().await;
    let ledger = &stores.stores.ledger;
    let run = Budget::Run(run_id(1));
    assert_eq!(ledger.charged(&run).await.unwrap(), Charged::default());
    let terminate = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE datname = current_database() AND query LIKE '%greenroom_charged_v3%' \
                     AND pid <> pg_backend_pid()";
    stores.test_database().execute(terminate).await;
    assert_eq!(ledger.charged(&run).await.unwrap(), Charged::default());
}

#[tokio::test]
async fn requests_that_were_counted_are_written_although_only_readings_follow() {
    let stores = TestStores::postgres().await;
    let (ledger, database) = (&stores.stores.ledger, stores.test_database());
    let alice = principal("alice");
    for _ in 0..2 {
        ledger.count(&alice, RequestKind::Call, Periods::default(), NOW).await.unwrap();
    }
    let run = Budget::Run(run_id(1));
    wait_until(async || {
        ledger.charged(&run).await.unwrap();
        database.count("SELECT COALESCE(sum(requests), 0)::bigint FROM usage_minutes").await == 2
    })
    .await;
}
