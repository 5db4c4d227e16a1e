//! The arithmetic of the ledger: windows, trees of budgets, settlements, recovery after a crash.

use proptest::prelude::{Strategy, any, prop};
use proptest::{prop_assert, prop_assert_eq, proptest};
use protocol::{AgentId, MicroUsd, PriceBasis, RunId, TenantId, Tokens, UserId};

use super::*;
use crate::ledger::Exceeded;

fn account() -> Account {
    Account {
        tenant: TenantId::new("acme").unwrap(),
        user: UserId::new("alice").unwrap(),
        agent: AgentId::new("writer").unwrap(),
        workflow: None,
        run: Some(RunId::new("run_1").unwrap()),
        price: PriceBasis::Listed,
    }
}

fn usage_key() -> UsageKey {
    UsageKey { tenant: account().tenant, user: account().user }
}

fn limit(budget: Budget, micros: u64) -> Limit {
    Limit { budget, period: Period::AllTime, cost_max: Some(MicroUsd(micros)), tokens_max: None }
}

fn key(number: u64) -> CallKey {
    CallKey::new(format!("call/{number}")).unwrap()
}

fn cost(micros: u64) -> Amount {
    Amount::of_cost(MicroUsd(micros))
}

fn tenant(micros: u64) -> Limit {
    limit(Budget::Tenant(account().tenant), micros)
}

fn reserve(
    state: &mut LedgerState,
    account: &Account,
    limits: &[Limit],
    upper_bound: Amount,
    key: &CallKey,
    now: Timestamp,
) -> Result<ReservationId, ReserveError> {
    state.check_reserve(limits, upper_bound, now)?;
    Ok(state.reserve(account.clone(), limits, upper_bound, key.clone(), now))
}

/// Settles a reservation as a unit does, and returns the charged amount.
fn settle(state: &mut LedgerState, id: ReservationId, settlement: Settlement, now: Timestamp) -> Amount {
    let Some(record) = state.settle(id, settlement, now) else { return Amount::default() };
    let amount = record.amount();
    state.add_settlement(record);
    amount
}

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

#[test]
fn a_request_counts_itself() {
    let mut state = LedgerState::default();
    assert_eq!(state.count(&usage_key(), RequestKind::Call, Periods::default(), NOW).calls_hour, 1);
    assert_eq!(state.count(&usage_key(), RequestKind::Call, Periods::default(), NOW).calls_hour, 2);
    assert_eq!(state.usage(&usage_key(), Periods::default(), NOW).calls_hour, 2);
    let later = NOW.saturating_add(std::time::Duration::from_secs(62 * 60));
    assert_eq!(state.usage(&usage_key(), Periods::default(), later).calls_hour, 0);
}

#[test]
fn the_tightest_budget_of_the_tree_decides_and_nothing_is_reserved() {
    let mut state = LedgerState::default();
    let limits = [tenant(1_000), limit(Budget::Run(RunId::new("run_1").unwrap()), 100)];
    let first = reserve(&mut state, &account(), &limits, cost(60), &key(1), NOW).unwrap();
    let error = reserve(&mut state, &account(), &limits, cost(60), &key(2), NOW).unwrap_err();
    let ReserveError::Exceeded { budget: Budget::Run(_), by } = error else { panic!("{error:?}") };
    let expected =
        Exceeded::Cost { max: MicroUsd(100), spent: MicroUsd(0), reserved: MicroUsd(60), requested: MicroUsd(60) };
    assert_eq!(by, expected);
    assert_eq!(settle(&mut state, first, Settlement::Actual(cost(10)), NOW), cost(10));
    assert!(reserve(&mut state, &account(), &limits, cost(90), &key(3), NOW).is_ok());
}

#[test]
fn tokens_have_limits_of_their_own() {
    let mut state = LedgerState::default();
    let limits = [Limit { cost_max: None, tokens_max: Some(100), ..tenant(0) }];
    let upper_bound = Amount { tokens: Tokens { input: 60, output: 41 }, cost: MicroUsd(0) };
    let error = reserve(&mut state, &account(), &limits, upper_bound, &key(1), NOW).unwrap_err();
    assert_eq!(error.cause().details["max_tokens"], 100);
    assert_eq!(error.cause().code, protocol::ErrorCode::BudgetExceeded);
}

#[test]
fn an_unsent_call_is_free_and_an_unreported_one_costs_its_reservation() {
    let mut state = LedgerState::default();
    let unsent = reserve(&mut state, &account(), &[], cost(60), &key(1), NOW).unwrap();
    assert_eq!(settle(&mut state, unsent, Settlement::Unused, NOW), Amount::default());
    let unreported = reserve(&mut state, &account(), &[], cost(60), &key(2), NOW).unwrap();
    assert_eq!(settle(&mut state, unreported, Settlement::Estimated, NOW), cost(60));
    let deltas = state.drain_deltas();
    let (_, cost) = deltas.costs.iter().next().unwrap();
    assert_eq!((cost.calls, cost.calls_estimated, cost.estimated), (0, 1, Amount::of_cost(MicroUsd(60))));
    assert_eq!(state.usage(&usage_key(), Periods::default(), NOW).cost_spent, MicroUsd(60));
}

#[test]
fn a_reservation_that_could_not_be_written_has_no_effect() {
    let mut state = LedgerState::default();
    let failed = reserve(&mut state, &account(), &[tenant(100)], cost(100), &key(1), NOW).unwrap();
    let deltas = state.drain_deltas();
    state.restore_deltas(deltas);
    // As a unit does whose commit has failed.
    assert_eq!(settle(&mut state, failed, Settlement::Unused, NOW), Amount::default());
    let deltas = state.drain_deltas();
    assert_eq!(deltas.settled, deltas.reserved.iter().map(|record| record.id).collect::<Vec<_>>());
    assert!(reserve(&mut state, &account(), &[tenant(100)], cost(100), &key(2), NOW).is_ok());
}

#[test]
fn a_reservation_open_at_a_crash_is_settled_as_estimated() {
    let mut state = LedgerState::default();
    let _open = reserve(&mut state, &account(), &[], cost(60), &key(1), NOW).unwrap();
    let mut open = state.drain_deltas().reserved;
    let mut next = LedgerState::default();
    next.restore_reservation(open.remove(0));
    assert_eq!(next.settle_outstanding(NOW), 1);
    assert_eq!(next.settle_outstanding(NOW), 0);
    assert_eq!(next.usage(&usage_key(), Periods::default(), NOW).cost_spent, MicroUsd(60));
}

proptest! {
    /// For any requests, settled in any order: spending plus reservations never exceeds the limit, and
    /// the charged sum equals the settled sum.
    #[test]
    fn no_order_of_calls_overspends(
        calls in prop::collection::vec((1_u64..50, 0_u64..=100, any::<bool>()), 1..200).prop_map(|calls| calls),
    ) {
        let mut state = LedgerState::default();
        let mut open = Vec::new();
        let mut spent = 0;
        for (number, (upper_bound, percent, is_settled_now)) in calls.into_iter().enumerate() {
            let call = key(number as u64);
            if let Ok(reservation) = reserve(&mut state, &account(), &[tenant(1_000)], cost(upper_bound), &call, NOW) {
                open.push((reservation, upper_bound, upper_bound * percent / 100));
            }
            let reserved: u64 = open.iter().map(|(_, upper_bound, _)| upper_bound).sum();
            prop_assert!(spent + reserved <= 1_000);
            if is_settled_now && let Some((reservation, _, actual)) = open.pop() {
                spent += settle(&mut state, reservation, Settlement::Actual(cost(actual)), NOW).cost.0;
            }
        }
        prop_assert_eq!(state.usage(&usage_key(), Periods::default(), NOW).cost_spent.0, spent);
    }
}
