//! Usage and money: counting, limits, settlements, costs.

use protocol::{AgentId, CallKey, ErrorCode, PriceBasis};

use super::*;
use crate::core::{Conflict, Unit, UnitError};
use crate::ledger::{
    Account, Amount, Budget, Charged, ChargedModels, Limit, Period, Periods, RequestKind, Reservation,
    ReservationRequest, ReserveError, Settlement,
};

fn account(user: &str) -> Account {
    Account {
        principal: principal(user),
        agent: AgentId::new("writer").unwrap(),
        workflow: Some(WorkflowId::new("report").unwrap()),
        run: Some(run_id(1)),
        model: "play.one".into(),
        price: PriceBasis::Listed,
    }
}

fn limits(micros: u64) -> [Limit; 1] {
    let budget = Budget::Tenant(tenant("acme"));
    [Limit { budget, period: Period::AllTime, cost_max: Some(MicroUsd(micros)), tokens_max: None }]
}

fn cost(micros: u64) -> Amount {
    Amount { tokens: Tokens { input: 3, output: 4 }, cost: MicroUsd(micros) }
}

async fn reserve(stores: &TestStores, limit: u64, upper_bound: u64, number: u64) -> Result<Reservation, ReserveError> {
    let key = CallKey::new(format!("call/{number}")).unwrap();
    stores.reserve(&account("alice"), &limits(limit), cost(upper_bound), &key, NOW).await
}

#[tokio::test]
async fn requests_count_at_once_and_not_after_an_hour() {
    for stores in TestStores::each().await {
        let ledger = &stores.stores.ledger;
        let alice = principal("alice");
        let bob = principal("bob");
        for expected in 1..=10 {
            assert_eq!(
                ledger.count(&alice, RequestKind::Call, Periods::default(), NOW).await.unwrap().calls_hour,
                expected
            );
        }
        assert_eq!(ledger.count(&bob, RequestKind::Call, Periods::default(), NOW).await.unwrap().calls_hour, 1);
        assert_eq!(
            ledger.usage(&alice, Periods::default(), NOW.saturating_add(MINUTE * 59)).await.unwrap().calls_hour,
            10
        );
        assert_eq!(
            ledger.usage(&alice, Periods::default(), NOW.saturating_add(MINUTE * 62)).await.unwrap().calls_hour,
            0
        );
    }
}

#[tokio::test]
async fn queries_are_counted_apart_from_calls() {
    for stores in TestStores::each().await {
        let ledger = &stores.stores.ledger;
        let alice = principal("alice");
        for expected in 1..=3 {
            let usage = ledger.count(&alice, RequestKind::Query, Periods::default(), NOW).await.unwrap();
            assert_eq!((usage.calls_hour, usage.queries_hour), (0, expected));
        }
        let usage = ledger.count(&alice, RequestKind::Call, Periods::default(), NOW).await.unwrap();
        assert_eq!((usage.calls_hour, usage.queries_hour), (1, 3));
    }
}

#[tokio::test]
async fn a_thousand_concurrent_calls_cannot_overspend_together() {
    for stores in TestStores::each().await {
        let all = futures::future::join_all((0..1_000).map(|number| reserve(&stores, 10_000, 37, number))).await;
        let (reserved, errors): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
        assert_eq!(reserved.len(), 10_000 / 37);
        assert!(errors.iter().all(|error| matches!(error, Err(ReserveError::Exceeded { .. }))));
        let settle = |reservation: Result<Reservation, ReserveError>| {
            let stores = &stores;
            async move { stores.settle(reservation.unwrap(), Settlement::Actual(cost(30)), NOW).await }
        };
        let spent: u64 =
            futures::future::join_all(reserved.into_iter().map(settle)).await.iter().map(|a| a.cost.0).sum();
        assert_eq!(spent, 270 * 30);
        let costs = stores.stores.ledger.costs(None).await.unwrap();
        assert_eq!(costs.iter().map(|row| row.actual.cost.0).sum::<u64>(), spent);
        assert_eq!(costs[0].calls, 270);
        assert!(reserve(&stores, 10_000, 10_000 - spent, 1).await.is_ok());
    }
}

#[tokio::test]
async fn a_rejection_names_the_exceeded_budget() {
    for stores in TestStores::each().await {
        let reservation = reserve(&stores, 100, 60, 1).await.unwrap();
        let cause = reserve(&stores, 100, 60, 2).await.unwrap_err().cause();
        assert_eq!(cause.code, ErrorCode::BudgetExceeded);
        assert_eq!(cause.details["budget"], "tenant");
        assert_eq!(cause.details["owner"], "acme");
        let micros = [("max", 100), ("spent", 0), ("reserved", 60), ("requested", 60)];
        for (name, expected) in micros {
            assert_eq!(cause.details[format!("{name}_micro_usd")], expected, "whole millionths: {:#}", cause.details);
        }
        stores.settle(reservation, Settlement::Unused, NOW).await;
        assert!(reserve(&stores, 100, 100, 3).await.is_ok());
    }
}

#[tokio::test]
async fn concurrent_calls_wait_for_each_other_and_all_of_them_are_made() {
    for stores in TestStores::each().await {
        let (account, limits) = (account("alice"), limits(1_000));
        let call = async |number: u64| {
            let key = CallKey::new(format!("call/{number}")).unwrap();
            let request = ReservationRequest { account: &account, limits: &limits, upper_bound: cost(300), key: &key };
            let reserved = stores.reserve_or_wait(request, MINUTE, NOW).await;
            // The others ask while this call is in flight.
            tokio::task::yield_now().await;
            stores.settle(reserved.unwrap(), Settlement::Actual(cost(30)), NOW).await.cost.0
        };
        let spent: u64 = futures::future::join_all((0..20).map(call)).await.into_iter().sum();
        assert_eq!(spent, 600, "the worst cases of three calls fill the budget");
        let rejected = reserve(&stores, 1_000, 500, 21).await.unwrap_err();
        assert!(matches!(rejected, ReserveError::Exceeded { .. }));
    }
}

#[tokio::test]
async fn a_call_waits_no_longer_than_it_may_and_learns_what_is_only_reserved() {
    for stores in TestStores::each().await {
        let _open = reserve(&stores, 100, 60, 1).await.unwrap();
        let (account, limits, key) = (account("alice"), limits(100), CallKey::new("call/2").unwrap());
        let request = ReservationRequest { account: &account, limits: &limits, upper_bound: cost(60), key: &key };
        let reserved = stores.reserve_or_wait(request, Duration::from_millis(20), NOW).await;
        let cause = reserved.unwrap_err().cause();
        assert_eq!(cause.code, ErrorCode::BudgetExceeded);
        assert!(cause.message.contains("$0.000060 only reserved by calls in flight"), "{}", cause.message);
        let later = reserve(&stores, 100, 40, 3).await;
        assert!(later.is_ok(), "a call that has stopped waiting is in nobody's way: {later:?}");
    }
}

#[tokio::test]
async fn a_caller_that_goes_while_it_waits_holds_nothing() {
    for stores in TestStores::each().await {
        let open = reserve(&stores, 100, 60, 1).await.unwrap();
        let (account, limits, key) = (account("alice"), limits(100), CallKey::new("call/2").unwrap());
        let request = ReservationRequest { account: &account, limits: &limits, upper_bound: cost(60), key: &key };
        {
            let mut waiting = std::pin::pin!(stores.stores.ledger.wait_for_budgets(request, MINUTE, NOW));
            assert!(futures::poll!(&mut waiting).is_pending());
            stores.settle(open, Settlement::Unused, NOW).await;
            // It is reserved for a caller that goes before it learns of it.
        }
        let ticket = stores.stores.ledger.wait_for_budgets(request, MINUTE, NOW).await.unwrap();
        assert!(reserve(&stores, 100, 100, 3).await.is_err(), "the ticket counts");
        drop(ticket);
        assert!(reserve(&stores, 100, 100, 4).await.is_ok());
    }
}

#[tokio::test]
async fn a_ticket_whose_unit_is_not_taken_holds_nothing() {
    for stores in TestStores::each().await {
        let core = &stores.stores.core;
        let (account, limits, key) = (account("alice"), limits(100), CallKey::new("call/1").unwrap());
        let request = ReservationRequest { account: &account, limits: &limits, upper_bound: cost(60), key: &key };
        let ticket = stores.stores.ledger.wait_for_budgets(request, MINUTE, NOW).await.unwrap();
        let (run, entries) = (run_id(9), [started("a")]);
        let position = AppendPosition { run: &run, fence: Fence(1), after: Seq(0) };
        let refused = core.commit(Unit::new(NOW).append(position, &entries).reserve_with(request, ticket)).await;
        assert!(matches!(refused, Err(UnitError::Conflict(Conflict::UnknownRun))), "{refused:?}");
        let ticket = stores.stores.ledger.wait_for_budgets(request, MINUTE, NOW).await.unwrap();
        let receipts = core.commit(Unit::new(NOW).reserve_with(request, ticket)).await.unwrap();
        stores.settle(receipts.reservation.unwrap(), Settlement::Unused, NOW).await;
        assert!(reserve(&stores, 100, 100, 3).await.is_ok());
    }
}

#[tokio::test]
async fn a_reservation_that_is_dropped_is_settled_as_estimated() {
    for stores in TestStores::each().await {
        drop(reserve(&stores, 100, 60, 1).await.unwrap());
        let costs = stores.stores.ledger.costs(None).await.unwrap();
        assert_eq!((costs.len(), costs[0].calls, costs[0].calls_estimated), (1, 0, 1));
        assert_eq!((costs[0].actual, costs[0].estimated), (Amount::default(), cost(60)));
        assert!(reserve(&stores, 100, 60, 2).await.is_err());
        assert!(reserve(&stores, 100, 40, 3).await.is_ok());
    }
}

#[tokio::test]
async fn a_budget_shows_what_is_settled_and_what_is_reserved() {
    for stores in TestStores::each().await {
        let ledger = &stores.stores.ledger;
        let run = Budget::Run(run_id(1));
        assert_eq!(ledger.charged(&run).await.unwrap(), Charged::default());
        let first = reserve(&stores, 1_000, 100, 1).await.unwrap();
        let second = reserve(&stores, 1_000, 50, 2).await.unwrap();
        assert_eq!(ledger.charged(&run).await.unwrap().reserved.cost, MicroUsd(150));
        stores.settle(first, Settlement::Actual(cost(7)), NOW).await;
        stores.settle(second, Settlement::Estimated, NOW).await;
        let charged = ledger.charged(&run).await.unwrap();
        assert_eq!((charged.settled.cost, charged.reserved.cost), (MicroUsd(57), MicroUsd(0)));
    }
}

#[tokio::test]
async fn a_settlement_counts_in_its_budgets_from_its_decision_on_and_once() {
    for stores in TestStores::each().await {
        let (ledger, run) = (&stores.stores.ledger, Budget::Run(run_id(1)));
        let (alice, mut spent, mut models) = (principal("alice"), 0, Vec::new());
        for (number, settlement, charged) in
            [(1, Settlement::Unused, 0), (2, Settlement::Actual(cost(7)), 7), (3, Settlement::Estimated, 100)]
        {
            let reservation = reserve(&stores, 1_000, 100, number).await.unwrap();
            let settled = ledger.settle(reservation, settlement, NOW);
            spent += charged;
            if charged > 0 {
                models = vec!["play.one".to_owned()];
            }
            let before = ledger.charged(&run).await.unwrap();
            assert_eq!((before.settled.cost, before.reserved.cost), (MicroUsd(spent), MicroUsd(0)), "{settlement:?}");
            assert_eq!(before.models.names(), models, "{settlement:?}");
            let usage = ledger.usage(&alice, Periods::default(), NOW).await.unwrap();
            assert_eq!((usage.cost_spent, usage.cost_hour), (MicroUsd(spent), MicroUsd(spent)), "{settlement:?}");
            let _ = stores.stores.core.commit(Unit::new(NOW).settle([settled])).await.unwrap();
            assert_eq!(ledger.charged(&run).await.unwrap(), before, "{settlement:?}");
            assert_eq!(ledger.usage(&alice, Periods::default(), NOW).await.unwrap(), usage, "{settlement:?}");
        }
    }
}

#[tokio::test]
async fn the_budgets_of_a_run_and_an_execution_name_the_models_that_were_charged() {
    for mut stores in TestStores::each().await {
        stores.create_run(1).await;
        let (run, execution) = (Budget::Run(run_id(1)), Budget::Execution(CallKey::new("execution").unwrap()));
        let limit = Limit { budget: execution.clone(), period: Period::AllTime, cost_max: None, tokens_max: None };
        let reserve = async |stores: &TestStores, model: &str, price| {
            let account = Account { model: model.into(), price, ..account("alice") };
            let key = CallKey::new("call").unwrap();
            stores.reserve(&account, std::slice::from_ref(&limit), cost(9), &key, NOW).await.unwrap()
        };
        let actual = Settlement::Actual(cost(5));
        for (model, price, settlement) in [
            ("play.two", PriceBasis::Listed, actual),
            ("play.none", PriceBasis::Assumed, Settlement::Unused),
            ("other.one", PriceBasis::Listed, Settlement::Estimated),
            ("play.two", PriceBasis::Listed, actual),
        ] {
            stores.settle(reserve(&stores, model, price).await, settlement, NOW).await;
        }
        let names = ["other.one", "play.two"];
        for budget in [&run, &execution] {
            let models = stores.stores.ledger.charged(budget).await.unwrap().models;
            assert_eq!((models.names(), models.price()), (&names.map(str::to_owned)[..], PriceBasis::Listed));
        }
        let open = reserve(&stores, "play.open", PriceBasis::Assumed).await;
        let models = stores.stores.ledger.charged(&run).await.unwrap().models;
        assert_eq!(models.names(), ["other.one", "play.open", "play.two"], "it counts with its reservation");
        stores.settle(open, Settlement::Unused, NOW).await;
        stores.stores.ledger.costs(None).await.unwrap();
        if stores.dir.is_some() {
            stores = stores.crash_and_reopen().await;
        }
        let ledger = &stores.stores.ledger;
        for budget in [&run, &execution] {
            let models = ledger.charged(budget).await.unwrap().models;
            assert_eq!((models.names(), models.price()), (&names.map(str::to_owned)[..], PriceBasis::Listed));
        }
        let tenant = ledger.charged(&Budget::Tenant(tenant("acme"))).await.unwrap();
        assert_eq!((tenant.settled.cost, tenant.models), (MicroUsd(19), ChargedModels::default()));
    }
}

#[tokio::test]
async fn costs_name_the_user_the_amount_and_the_day() {
    for stores in TestStores::each().await {
        let ledger = &stores.stores.ledger;
        let tomorrow = NOW.saturating_add(MINUTE * 24 * 60);
        for (user, at) in [("alice", NOW), ("bob", NOW), ("alice", tomorrow), ("alice", tomorrow)] {
            let key = CallKey::new("call").unwrap();
            let reservation = stores.reserve(&account(user), &[], cost(9), &key, at).await.unwrap();
            stores.settle(reservation, Settlement::Actual(cost(5)), at).await;
        }
        let all = ledger.costs(None).await.unwrap();
        let rows: Vec<_> = all.iter().map(|row| (row.principal.user.as_str(), row.calls, row.actual.cost.0)).collect();
        assert_eq!(rows, [("alice", 1, 5), ("bob", 1, 5), ("alice", 2, 10)]);
        assert!(all[0].day <= NOW && NOW < all[2].day);
        assert_eq!(all[0].workflow, Some(WorkflowId::new("report").unwrap()));
        assert_eq!(ledger.costs(Some(tomorrow)).await.unwrap().len(), 1);
        let alice = principal("alice");
        let usage = ledger.usage(&alice, Periods::default(), tomorrow).await.unwrap();
        assert_eq!((usage.cost_hour, usage.cost_spent, usage.tokens_spent), (MicroUsd(10), MicroUsd(15), 21));
        assert_eq!((usage.tenant_cost_spent, usage.tenant_tokens_spent), (MicroUsd(20), 28), "including bob's");
    }
}

/// Reserves and settles `micros` for alice, whose limit in this period is 100.
async fn pay(stores: &TestStores, period: Period, micros: u64, at: Timestamp) -> Result<(), ReserveError> {
    let account = account("alice");
    let budget = Budget::User(account.principal.clone());
    let limit = Limit { budget, period, cost_max: Some(MicroUsd(100)), tokens_max: None };
    let key = CallKey::new("call").unwrap();
    let reservation = stores.reserve(&account, &[limit], cost(micros), &key, at).await?;
    stores.settle(reservation, Settlement::Actual(cost(micros)), at).await;
    Ok(())
}

#[tokio::test]
async fn a_limit_is_free_again_at_the_midnight_that_ends_its_period() {
    // The last second of 30 January 2024, UTC, and the days after it.
    let evening = Timestamp::from_micros(1_706_659_199_000_000);
    let days = |days: u32| evening.saturating_add(MINUTE * 24 * 60 * days + MINUTE);
    let alice = principal("alice");
    let cases = [
        // A period, the first time at which its limit is free again, and the last at which it is exceeded.
        (Period::Days(1), Some(days(0)), evening),
        (Period::Days(7), Some(days(6)), days(5)),
        (Period::Month, Some(days(1)), days(0)),
        (Period::AllTime, None, days(400)),
    ];
    for (period, free_at, exceeded_at) in cases {
        for stores in TestStores::each().await {
            pay(&stores, period, 90, evening).await.unwrap();
            assert!(
                matches!(pay(&stores, period, 20, exceeded_at).await, Err(ReserveError::Exceeded { .. })),
                "{period:?}"
            );
            let spent = stores
                .stores
                .ledger
                .usage(&alice, Periods { user: period, tenant: period }, exceeded_at)
                .await
                .unwrap();
            assert_eq!((spent.cost_spent, spent.tenant_tokens_spent), (MicroUsd(90), 7), "{period:?}");
            let Some(free_at) = free_at else { continue };
            pay(&stores, period, 90, free_at).await.unwrap();
            assert!(pay(&stores, period, 20, free_at).await.is_err(), "{period:?}");
            let spent =
                stores.stores.ledger.usage(&alice, Periods { user: period, tenant: period }, free_at).await.unwrap();
            assert_eq!(spent.cost_spent, MicroUsd(90), "{period:?}");
        }
    }
}

#[tokio::test]
async fn users_of_one_name_and_different_issuers_have_accounts_of_their_own() {
    let of_another_issuer = PrincipalId { issuer: Issuer::new("login").unwrap(), ..principal("alice") };
    for mut stores in TestStores::each().await {
        let key = CallKey::new("call").unwrap();
        let account = Account { principal: of_another_issuer.clone(), ..account("alice") };
        let ledger = &stores.stores.ledger;
        ledger.count(&of_another_issuer, RequestKind::Call, Periods::default(), NOW).await.unwrap();
        let reservation = stores.reserve(&account, &[], cost(9), &key, NOW).await.unwrap();
        stores.settle(reservation, Settlement::Actual(cost(5)), NOW).await;
        pay(&stores, Period::AllTime, 90, NOW).await.unwrap();
        if stores.dir.is_some() {
            stores = stores.crash_and_reopen().await;
        }
        let ledger = &stores.stores.ledger;
        for (id, calls, spent) in [(&of_another_issuer, 1, 5), (&principal("alice"), 0, 90)] {
            let usage = ledger.usage(id, Periods::default(), NOW).await.unwrap();
            assert_eq!((usage.calls_hour, usage.cost_spent), (calls, MicroUsd(spent)), "{id}");
            assert_eq!(usage.tenant_cost_spent, MicroUsd(95), "the tenant has one account");
        }
        let owners: Vec<_> = ledger.costs(None).await.unwrap().into_iter().map(|row| row.principal).collect();
        assert_eq!(owners, [principal("alice"), of_another_issuer.clone()]);
    }
}

#[tokio::test]
async fn calls_priced_by_their_tier_are_shown_separately() {
    for stores in TestStores::each().await {
        let ledger = &stores.stores.ledger;
        let assumed = Account { price: PriceBasis::Assumed, ..account("alice") };
        let key = CallKey::new("call").unwrap();
        let reservation = stores.reserve(&account("alice"), &[], cost(9), &key, NOW).await.unwrap();
        stores.settle(reservation, Settlement::Actual(cost(5)), NOW).await;
        for settlement in [Settlement::Actual(cost(7)), Settlement::Estimated, Settlement::Unused] {
            let reservation = stores.reserve(&assumed, &[], cost(9), &key, NOW).await.unwrap();
            stores.settle(reservation, settlement, NOW).await;
        }
        let rows = ledger.costs(None).await.unwrap();
        let [row] = rows.as_slice() else { panic!("{rows:?}") };
        assert_eq!((row.calls, row.actual.cost, row.estimated.cost), (2, MicroUsd(12), MicroUsd(9)));
        assert_eq!((row.calls_assumed, row.assumed), (2, MicroUsd(16)));
    }
}
