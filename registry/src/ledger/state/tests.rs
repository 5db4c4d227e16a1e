//! The arithmetic of the ledger: windows, trees of budgets, settlements, recovery after a crash.

use proptest::prelude::{Strategy, any, prop};
use proptest::{prop_assert, prop_assert_eq, proptest};
use protocol::{AgentId, CallKey, MicroUsd, PriceBasis, RunId, TenantId, Tokens, UserId};

use super::*;
use crate::ledger::Exceeded;

fn account() -> Account {
    Account {
        principal: alice(),
        agent: AgentId::new("writer").unwrap(),
        workflow: None,
        run: Some(RunId::new("run_1").unwrap()),
        model: "play.one".into(),
        price: PriceBasis::Listed,
    }
}

fn alice() -> PrincipalId {
    PrincipalId::local(TenantId::new("acme").unwrap(), UserId::new("alice").unwrap())
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
    limit(Budget::Tenant(alice().tenant), micros)
}

fn request(limits: &[Limit], upper_bound: Amount, key: &CallKey) -> OwnedRequest {
    OwnedRequest { account: account(), limits: limits.to_vec(), upper_bound, key: key.clone() }
}

/// Reserves as a unit does, without waiting.
fn reserve(
    state: &mut LedgerState,
    limits: &[Limit],
    upper_bound: Amount,
    key: &CallKey,
    now: Timestamp,
) -> Result<ReservationId, ReserveError> {
    let id = state.reserve(request(limits, upper_bound, key), now)?;
    state.confirm_reservation(id);
    Ok(id)
}

/// Settles a reservation as a unit does, and returns the charged amount.
fn settle(state: &mut LedgerState, id: ReservationId, settlement: Settlement, now: Timestamp) -> Amount {
    let Some(record) = state.settle(id, settlement, now) else { return Amount::default() };
    let amount = record.amount();
    state.add_settlement(record);
    amount
}

/// Reserves, or returns the receiver of the outcome.
fn wait(state: &mut LedgerState, limits: &[Limit], micros: u64, number: u64) -> Reply {
    match state.reserve_or_wait(request(limits, cost(micros), &key(number)), NOW).unwrap() {
        ReserveOutcome::Waiting(_, reply) => reply,
        ReserveOutcome::Reserved(id) => panic!("{id:?} is reserved"),
    }
}

type Reply = tokio::sync::oneshot::Receiver<Result<ReservationId, ReserveError>>;

fn is_waiting(reply: &mut Reply) -> bool {
    matches!(reply.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Empty))
}

const NOW: Timestamp = Timestamp::from_micros(1_700_000_000_000_000);

#[test]
fn a_request_counts_itself() {
    let mut state = LedgerState::default();
    assert_eq!(state.count(&alice(), RequestKind::Call, Periods::default(), NOW).calls_hour, 1);
    assert_eq!(state.count(&alice(), RequestKind::Call, Periods::default(), NOW).calls_hour, 2);
    assert_eq!(state.usage(&alice(), Periods::default(), NOW).calls_hour, 2);
    let later = NOW.saturating_add(std::time::Duration::from_secs(62 * 60));
    assert_eq!(state.usage(&alice(), Periods::default(), later).calls_hour, 0);
}

#[test]
fn the_tightest_budget_of_the_tree_decides_and_nothing_is_reserved() {
    let mut state = LedgerState::default();
    let limits = [tenant(1_000), limit(Budget::Run(RunId::new("run_1").unwrap()), 100)];
    let first = reserve(&mut state, &limits, cost(60), &key(1), NOW).unwrap();
    let error = reserve(&mut state, &limits, cost(60), &key(2), NOW).unwrap_err();
    let ReserveError::Exceeded { budget: Budget::Run(_), by } = error else { panic!("{error:?}") };
    let expected =
        Exceeded::Cost { max: MicroUsd(100), spent: MicroUsd(0), reserved: MicroUsd(60), requested: MicroUsd(60) };
    assert_eq!(by, expected);
    assert_eq!(settle(&mut state, first, Settlement::Actual(cost(10)), NOW), cost(10));
    assert!(reserve(&mut state, &limits, cost(90), &key(3), NOW).is_ok());
}

#[test]
fn tokens_have_limits_of_their_own() {
    let mut state = LedgerState::default();
    let limits = [Limit { cost_max: None, tokens_max: Some(100), ..tenant(0) }];
    let upper_bound = Amount { tokens: Tokens { input: 60, output: 41 }, cost: MicroUsd(0) };
    let error = reserve(&mut state, &limits, upper_bound, &key(1), NOW).unwrap_err();
    assert_eq!(error.cause().details["max_tokens"], 100);
    assert_eq!(error.cause().code, protocol::ErrorCode::BudgetExceeded);
}

#[test]
fn an_unsent_call_is_free_and_an_unreported_one_costs_its_reservation() {
    let mut state = LedgerState::default();
    let unsent = reserve(&mut state, &[], cost(60), &key(1), NOW).unwrap();
    assert_eq!(settle(&mut state, unsent, Settlement::Unused, NOW), Amount::default());
    let unreported = reserve(&mut state, &[], cost(60), &key(2), NOW).unwrap();
    assert_eq!(settle(&mut state, unreported, Settlement::Estimated, NOW), cost(60));
    let deltas = state.drain_deltas();
    let (_, cost) = deltas.costs.iter().next().unwrap();
    assert_eq!((cost.calls, cost.calls_estimated, cost.estimated), (0, 1, Amount::of_cost(MicroUsd(60))));
    assert_eq!(state.usage(&alice(), Periods::default(), NOW).cost_spent, MicroUsd(60));
}

#[test]
fn a_reservation_that_could_not_be_written_has_no_effect() {
    let mut state = LedgerState::default();
    let failed = reserve(&mut state, &[tenant(100)], cost(100), &key(1), NOW).unwrap();
    let deltas = state.drain_deltas();
    state.restore_deltas(deltas);
    // As a unit does whose commit has failed.
    assert_eq!(settle(&mut state, failed, Settlement::Unused, NOW), Amount::default());
    let deltas = state.drain_deltas();
    assert_eq!(deltas.settled, deltas.reserved.iter().map(|record| record.id).collect::<Vec<_>>());
    assert!(reserve(&mut state, &[tenant(100)], cost(100), &key(2), NOW).is_ok());
}

#[test]
fn a_reservation_that_no_unit_confirms_counts_until_it_is_cancelled_and_is_not_written() {
    let mut state = LedgerState::default();
    let limits = [tenant(100)];
    let id = state.reserve(request(&limits, cost(60), &key(1)), NOW).unwrap();
    let mut waiting = wait(&mut state, &limits, 60, 2);
    let overtaking = state.reserve(request(&limits, cost(10), &key(3)), NOW).unwrap_err();
    assert!(overtaking.may_fit_later(), "{overtaking:?}");
    state.cancel_reservation(id, NOW);
    let id = waiting.try_recv().unwrap().unwrap();
    assert!(state.drain_deltas().is_empty());
    state.confirm_reservation(id);
    let reserved: Vec<_> = state.drain_deltas().reserved.iter().map(|record| record.id).collect();
    assert_eq!(reserved, [id]);
}

#[test]
fn a_reservation_of_a_dead_pod_is_settled_as_estimated_and_no_other_one() {
    let mut state = LedgerState::default();
    let dead = reserve(&mut state, &[], cost(60), &key(1), NOW).unwrap();
    let _live = reserve(&mut state, &[], cost(5), &key(2), NOW).unwrap();
    let mut next = LedgerState::default();
    state.drain_deltas().reserved.into_iter().for_each(|record| next.restore_reservation(record));
    assert_eq!(next.settle_estimated(&[dead], NOW), 1);
    assert_eq!(next.settle_estimated(&[dead], NOW), 0, "it is not open any more");
    assert_eq!(next.usage(&alice(), Periods::default(), NOW).cost_spent, MicroUsd(60));
    assert_eq!(next.charged(&Budget::Run(RunId::new("run_1").unwrap())).reserved, cost(5));
}

#[test]
fn a_call_waits_for_the_reservations_of_others_and_not_for_what_is_spent() {
    let mut state = LedgerState::default();
    let first = reserve(&mut state, &[tenant(100)], cost(60), &key(1), NOW).unwrap();
    let mut waiting = wait(&mut state, &[tenant(100)], 60, 2);
    let too_much = state.reserve_or_wait(request(&[tenant(100)], cost(101), &key(3)), NOW).unwrap_err();
    assert!(matches!(too_much, ReserveError::Exceeded { .. }), "nothing that is settled makes room for it");
    assert!(is_waiting(&mut waiting));
    settle(&mut state, first, Settlement::Actual(cost(10)), NOW);
    let second = waiting.try_recv().unwrap().unwrap();
    let mut in_vain = wait(&mut state, &[tenant(100)], 60, 4);
    settle(&mut state, second, Settlement::Actual(cost(50)), NOW);
    let ReserveError::Exceeded { by, .. } = in_vain.try_recv().unwrap().unwrap_err() else { panic!("another") };
    let expected =
        Exceeded::Cost { max: MicroUsd(100), spent: MicroUsd(60), reserved: MicroUsd(0), requested: MicroUsd(60) };
    assert_eq!(by, expected);
}

#[test]
fn calls_that_wait_for_one_budget_are_served_in_the_order_of_their_arrival() {
    let mut state = LedgerState::default();
    let limits = [tenant(100)];
    let first = reserve(&mut state, &limits, cost(80), &key(1), NOW).unwrap();
    let mut large = wait(&mut state, &limits, 90, 2);
    let mut small = wait(&mut state, &limits, 5, 3);
    let mut last = wait(&mut state, &limits, 5, 4);
    settle(&mut state, first, Settlement::Unused, NOW);
    let large = large.try_recv().unwrap().unwrap();
    assert!(small.try_recv().unwrap().is_ok() && last.try_recv().unwrap().is_ok(), "the small ones follow");
    settle(&mut state, large, Settlement::Unused, NOW);
    assert!(reserve(&mut state, &limits, cost(90), &key(5), NOW).is_ok());
}

#[test]
fn a_call_that_waits_for_one_budget_does_not_block_those_of_another() {
    let mut state = LedgerState::default();
    let run = |name: &str, micros| limit(Budget::Run(RunId::new(name).unwrap()), micros);
    let _open = reserve(&mut state, &[run("run_1", 100), tenant(500)], cost(80), &key(1), NOW).unwrap();
    let mut waiting = wait(&mut state, &[run("run_1", 100), tenant(500)], 80, 2);
    assert!(reserve(&mut state, &[run("run_2", 100), tenant(500)], cost(80), &key(3), NOW).is_ok());
    assert!(is_waiting(&mut waiting));
}

#[test]
fn a_call_that_is_only_charged_to_a_budget_does_not_wait_for_it() {
    let mut state = LedgerState::default();
    let run = limit(Budget::Run(RunId::new("run_2").unwrap()), 100);
    let _open = reserve(&mut state, std::slice::from_ref(&run), cost(80), &key(1), NOW).unwrap();
    let mut waiting = wait(&mut state, std::slice::from_ref(&run), 80, 2);
    let charged = Limit { cost_max: None, ..run };
    assert!(reserve(&mut state, &[charged], cost(500), &key(3), NOW).is_ok());
    assert!(is_waiting(&mut waiting));
}

#[test]
fn a_call_that_stops_waiting_makes_room_for_those_after_it() {
    let mut state = LedgerState::default();
    let limits = [tenant(100)];
    let first = reserve(&mut state, &limits, cost(50), &key(1), NOW).unwrap();
    let outcome = state.reserve_or_wait(request(&limits, cost(60), &key(2)), NOW).unwrap();
    let ReserveOutcome::Waiting(arrival, reply) = outcome else { panic!("it is reserved") };
    let mut later = wait(&mut state, &limits, 50, 3);
    assert!(is_waiting(&mut later), "it does not overtake the call before it");
    assert!(state.stop_waiting(arrival, NOW).is_some());
    drop(reply);
    assert!(later.try_recv().unwrap().is_ok());
    assert!(state.stop_waiting(arrival, NOW).is_none());
    // A caller that has gone without a word is skipped.
    drop(wait(&mut state, &limits, 90, 4));
    let mut next = wait(&mut state, &limits, 20, 5);
    settle(&mut state, first, Settlement::Unused, NOW);
    assert!(next.try_recv().unwrap().is_ok());
}

#[test]
fn no_more_calls_wait_than_the_bound_allows() {
    let mut state = LedgerState::default();
    let limits = [tenant(100)];
    let _open = reserve(&mut state, &limits, cost(80), &key(0), NOW).unwrap();
    let mut waiting: Vec<Reply> = (0..WAITING_MAX).map(|number| wait(&mut state, &limits, 80, number as u64)).collect();
    let refused = state.reserve_or_wait(request(&limits, cost(80), &key(0)), NOW).unwrap_err();
    assert!(refused.may_fit_later(), "it learns what is only reserved: {refused:?}");
    assert!(waiting.iter_mut().all(is_waiting));
}

#[test]
fn a_call_that_waits_for_two_budgets_gets_both_or_none() {
    let mut state = LedgerState::default();
    let run = limit(Budget::Run(RunId::new("run_1").unwrap()), 100);
    let of_run = reserve(&mut state, std::slice::from_ref(&run), cost(80), &key(1), NOW).unwrap();
    let unlimited = Account { run: None, ..account() };
    let of_tenant = OwnedRequest { account: unlimited, ..request(&[], cost(100), &key(2)) };
    let ReserveOutcome::Reserved(of_tenant) = state.reserve_or_wait(of_tenant, NOW).unwrap() else { panic!("waits") };
    let mut waiting = wait(&mut state, &[run, tenant(150)], 100, 3);
    settle(&mut state, of_run, Settlement::Unused, NOW);
    assert!(is_waiting(&mut waiting), "the tenant has 100 reserved still");
    settle(&mut state, of_tenant, Settlement::Unused, NOW);
    assert!(waiting.try_recv().unwrap().is_ok());
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
            if let Ok(reservation) = reserve(&mut state, &[tenant(1_000)], cost(upper_bound), &call, NOW) {
                open.push((reservation, upper_bound, upper_bound * percent / 100));
            }
            let reserved: u64 = open.iter().map(|(_, upper_bound, _)| upper_bound).sum();
            prop_assert!(spent + reserved <= 1_000);
            if is_settled_now && let Some((reservation, _, actual)) = open.pop() {
                spent += settle(&mut state, reservation, Settlement::Actual(cost(actual)), NOW).cost.0;
            }
        }
        prop_assert_eq!(state.usage(&alice(), Periods::default(), NOW).cost_spent.0, spent);
    }
}

#[test]
fn what_an_ended_run_was_charged_is_dropped_once_no_call_has_a_reservation_of_it() {
    let (mut state, run) = (LedgerState::default(), RunId::new("run_1").unwrap());
    let budget = Budget::Run(run.clone());
    let ids = [1, 2].map(|number| reserve(&mut state, &[], cost(10), &key(number), NOW).unwrap());
    settle(&mut state, ids[0], Settlement::Actual(cost(4)), NOW);
    state.drop_ended(vec![run]);
    assert_eq!(state.charged(&budget).settled, cost(4), "a call is in flight");
    settle(&mut state, ids[1], Settlement::Actual(cost(3)), NOW);
    assert_eq!(state.charged(&budget), Charged::default());
    assert!(state.ended.is_empty() && !state.usages.contains_key(&budget));
    let written = state.drain_deltas();
    assert_eq!(written.budgets.get(&budget).map(|delta| delta.amount), Some(cost(7)), "the database has all of it");
}
