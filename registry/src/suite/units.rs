//! Units: what is durable together, what is not taken, and what is written in any case.

use protocol::audit::Event;
use protocol::{AgentId, ErrorCode, PriceBasis};

use super::*;
use crate::audit::AuditScope;
use crate::core::{Conflict, Refusal, Unit, UnitError};
use crate::ledger::Budget;
use crate::ledger::Period;

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

fn limit(micros: u64) -> [Limit; 1] {
    let budget = Budget::Run(run_id(1));
    [Limit { budget, period: Period::AllTime, cost_max: Some(MicroUsd(micros)), tokens_max: None }]
}

fn dedup_key(text: &str) -> DedupKey {
    DedupKey::Call(CallKey::new(text).unwrap())
}

fn at(run: &RunId, fence: Fence, after: u64) -> AppendPosition<'_> {
    AppendPosition { run, fence, after: Seq(after) }
}

const COST: Amount = Amount { tokens: Tokens { input: 0, output: 0 }, cost: MicroUsd(60) };

/// The events of one request in the audit.
async fn events(stores: &TestStores, request: u128) -> Vec<Event> {
    let id = RequestId::from_u128(request);
    let records = stores.stores.audit.find(&AuditScope::All, id.as_str()).await.unwrap();
    records.into_iter().map(|listed| listed.record.event).collect()
}

#[tokio::test]
async fn a_unit_yields_a_receipt_for_each_of_its_requests() {
    for stores in TestStores::each().await {
        let (fence, run) = (stores.create_run(1).await, run_id(1));
        let (account, limits, key, body) = (account(), limit(100), dedup_key("k"), ContentHash::from_content(b"body"));
        let call = CallKey::new("call").unwrap();
        let request = ReservationRequest { account: &account, limits: &limits, upper_bound: COST, key: &call };
        let (acme, entries) = (tenant("acme"), [started("a")]);
        let unit = Unit::new(NOW).append(at(&run, fence, 0), &entries).reserve(request).open(opening(1));
        let receipts = stores.stores.core.commit(unit.begin_key(&acme, &key, &body)).await.unwrap();
        assert_eq!(receipts.journal.unwrap().through(), Seq(1));
        assert_eq!(receipts.reservation.as_ref().unwrap().upper_bound(), COST);
        let entry = receipts.entry.unwrap();
        // What follows from the call is one unit too.
        let settled = stores.stores.ledger.settle(
            receipts.reservation.unwrap(),
            Settlement::Actual(Amount::of_cost(MicroUsd(7))),
            NOW,
        );
        let (reply, entries) = (reply("req_1"), [done("a", "x")]);
        let unit = Unit::new(NOW).append(at(&run, fence, 1), &entries).settle([settled]).close(entry, closing());
        let reserved = receipts.key.unwrap();
        let receipts = stores.stores.core.commit(unit.finish_key(&reserved, &reply)).await.unwrap();
        reserved.end();
        assert_eq!(receipts.journal.unwrap().through(), Seq(2));
        assert_eq!(stores.stores.ledger.costs(None).await.unwrap()[0].actual.cost, MicroUsd(7));
        assert!(matches!(stores.begin(&acme, &key, &body).await.0, KeyStatus::Completed(_)));
        assert!(matches!(events(&stores, 1).await.as_slice(), [Event::Opened(_), Event::Closed { .. }]));
    }
}

#[tokio::test]
async fn of_the_requests_of_a_unit_all_are_taken_or_none() {
    for stores in TestStores::each().await {
        let (fence, run) = (stores.create_run(1).await, run_id(1));
        let (account, key, body) = (account(), dedup_key("k"), ContentHash::from_content(b"body"));
        let call = CallKey::new("call").unwrap();
        let (acme, entries, narrow, wide) = (tenant("acme"), [started("a")], limit(10), limit(100));
        let request = |limits| ReservationRequest { account: &account, limits, upper_bound: COST, key: &call };
        let unit = || Unit::new(NOW).begin_key(&acme, &key, &body);
        let refused = stores.stores.core.commit(unit().append(at(&run, fence, 0), &entries).reserve(request(&narrow)));
        assert!(matches!(refused.await, Err(UnitError::Refused(Refusal::Budget(_)))));
        let stale = stores.stores.core.commit(unit().append(at(&run, Fence(9), 0), &entries).reserve(request(&wide)));
        assert!(matches!(stale.await, Err(UnitError::Fenced)));
        let conflict = stores.stores.core.commit(unit().append(at(&run, fence, 5), &entries).reserve(request(&wide)));
        assert!(matches!(conflict.await, Err(UnitError::Conflict(Conflict::OutOfOrder(Seq(0))))));
        assert_eq!(stores.stores.runs.get(&run).await.unwrap().unwrap().seq, Seq(0));
        let taken = stores.stores.core.commit(unit().append(at(&run, fence, 0), &entries).reserve(request(&wide)));
        let receipts = taken.await.unwrap();
        assert!(receipts.key.is_some() && receipts.journal.is_some(), "neither the key nor the number was used");
        let used = stores.stores.core.commit(unit().append(at(&run, fence, 1), &entries)).await;
        assert!(matches!(used, Err(UnitError::Conflict(Conflict::Key(KeyStatus::InProgress)))), "{used:?}");
        assert_eq!(stores.stores.runs.get(&run).await.unwrap().unwrap().seq, Seq(1));
    }
}

#[tokio::test]
async fn a_unit_that_is_not_taken_keeps_its_opening_and_its_consequences() {
    for stores in TestStores::each().await {
        let (fence, run) = (stores.create_run(1).await, run_id(1));
        let account = account();
        let reservation =
            stores.reserve(&account, &limit(100), COST, &CallKey::new("call").unwrap(), NOW).await.unwrap();
        let entry = stores.stores.core.open_entry(opening(1), NOW).await.unwrap();
        stores.stores.core.release_tree(&run, fence, NOW).await;
        stores.stores.core.claim_tree(&run, &pod(), MINUTE, NOW).await.unwrap().unwrap();
        let settled = stores.stores.ledger.settle(reservation, Settlement::Actual(COST), NOW);
        let entries = [done("a", "x")];
        let unit = Unit::new(NOW).append(at(&run, fence, 0), &entries).open(opening(2));
        let fenced = stores.stores.core.commit(unit.close(entry, closing()).settle([settled])).await;
        assert!(matches!(fenced, Err(UnitError::Fenced)), "{fenced:?}");
        assert_eq!(stores.stores.journal.read(&run, Seq(0), 10).await.unwrap(), []);
        assert_eq!(stores.stores.ledger.costs(None).await.unwrap()[0].actual.cost, COST.cost, "the money is spent");
        assert!(matches!(events(&stores, 1).await.as_slice(), [Event::Opened(_), Event::Closed { .. }]));
        let events = events(&stores, 2).await;
        let [Event::Opened(_), Event::Closed { closing, .. }] = events.as_slice() else { panic!("{events:?}") };
        assert_eq!((closing.status, closing.code), (Status::Failed, Some(ErrorCode::LeaseLost)));
        assert!(stores.stores.audit.verify().await.unwrap().is_valid());
    }
}

#[tokio::test]
async fn units_that_are_not_taken_do_not_affect_those_beside_them() {
    for stores in TestStores::each().await {
        let core = &stores.stores.core;
        let mut fences = Vec::new();
        for number in 1..=40 {
            fences.push(stores.create_run(number).await);
        }
        let append = |number: u128| {
            let fence = fences[usize::try_from(number - 1).unwrap()];
            // Every third one is fenced, every fifth one does not follow the last entry.
            let (fence, after) =
                (if number.is_multiple_of(3) { Fence(9) } else { fence }, u64::from(number.is_multiple_of(5)));
            async move { core.append(at(&run_id(number), fence, after), &[started("a")], NOW).await.is_ok() }
        };
        let all = futures::future::join_all((1..=40).map(append)).await;
        for (number, is_taken) in (1_u128..).zip(all) {
            assert_eq!(is_taken, !number.is_multiple_of(3) && !number.is_multiple_of(5), "{number}");
            let seq = stores.stores.runs.get(&run_id(number)).await.unwrap().unwrap().seq;
            assert_eq!(seq, Seq(u64::from(is_taken)), "{number}");
        }
    }
}

#[tokio::test]
async fn a_settlement_that_is_dropped_is_booked_as_it_is() {
    for stores in TestStores::each().await {
        let reservation = stores.reserve(&account(), &[], COST, &CallKey::new("call").unwrap(), NOW).await.unwrap();
        let actual = Settlement::Actual(Amount::of_cost(MicroUsd(7)));
        drop(stores.stores.ledger.settle(reservation, actual, NOW));
        let costs = stores.stores.ledger.costs(None).await.unwrap();
        assert_eq!((costs[0].calls, costs[0].actual.cost, costs[0].calls_estimated), (1, MicroUsd(7), 0));
    }
}

#[tokio::test]
async fn a_release_follows_the_units_before_it() {
    for stores in TestStores::each().await {
        let (fence, run) = (stores.create_run(1).await, run_id(1));
        let entries = [started("a")];
        let append = stores.append(&run, fence, Seq(0), &entries, NOW);
        let release = stores.stores.core.release_tree(&run, fence, NOW);
        let pod = pod();
        let claim = stores.stores.core.claim_tree(&run, &pod, MINUTE, NOW);
        let (appended, (), claimed) = tokio::join!(append, release, claim);
        assert_eq!(appended.unwrap().through(), Seq(1));
        assert!(claimed.unwrap().is_some_and(|next| next.fence > fence));
    }
}
