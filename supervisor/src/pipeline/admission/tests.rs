//! Places, shares, turns, fairness, draining.

use super::*;

fn gate(places: usize, tenant_places: usize, turns: usize) -> Gate {
    Gate::new(Places { places, tenant_places, turns })
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn a_full_pod_refuses_at_once_and_says_when_to_ask_again() {
    let gate = gate(1, 1, 1);
    let first = gate.enter().unwrap();
    let refused = gate.enter().err().unwrap();
    assert_eq!(refused.code, Code::Overloaded);
    assert!(refused.retry_after_ms.is_some());
    drop(first);
    assert!(gate.enter().is_ok());
}

#[tokio::test]
async fn a_tenant_has_a_share_of_the_places() {
    let gate = gate(3, 1, 3);
    let mut first = gate.enter().unwrap();
    let _turn = first.turn(&tenant("a"), PATIENCE).await.unwrap();
    let mut second = gate.enter().unwrap();
    assert_eq!(second.turn(&tenant("a"), PATIENCE).await.err().unwrap().code, Code::Overloaded);
    drop(second);
    let mut third = gate.enter().unwrap();
    assert!(third.turn(&tenant("b"), PATIENCE).await.is_ok());
}

#[tokio::test]
async fn turns_go_round_the_tenants() {
    let gate = gate(100, 100, 1);
    let mut holder = gate.enter().unwrap();
    let turn = holder.turn(&tenant("a"), PATIENCE).await.unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut waiters = Vec::new();
    for name in ["a", "a", "a", "b"] {
        let (gate, order) = (gate.clone(), order.clone());
        waiters.push(tokio::spawn(async move {
            let mut ticket = gate.enter().unwrap();
            let _turn = ticket.turn(&tenant(name), PATIENCE).await.unwrap();
            order.lock().unwrap().push(name);
        }));
        tokio::task::yield_now().await;
    }
    drop(turn);
    for waiter in waiters {
        waiter.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["a", "b", "a", "a"]);
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_nobody_waits_for_is_not_lost() {
    let gate = gate(10, 10, 1);
    let mut holder = gate.enter().unwrap();
    let turn = holder.turn(&tenant("a"), PATIENCE).await.unwrap();
    let mut late = gate.enter().unwrap();
    assert_eq!(late.turn(&tenant("b"), Duration::from_millis(1)).await.err().unwrap().code, Code::TimedOut);
    drop((turn, late));
    let mut next = gate.enter().unwrap();
    assert!(next.turn(&tenant("c"), Duration::from_millis(1)).await.is_ok());
}

#[tokio::test]
async fn a_closed_gate_drains() {
    let gate = gate(2, 2, 2);
    let ticket = gate.enter().unwrap();
    gate.close();
    let late = gate.enter().err().unwrap();
    assert_eq!((late.code, late.retry_after_ms), (Code::ShuttingDown, Some(5_000)));
    let draining = tokio::spawn({
        let gate = gate.clone();
        async move { gate.drained().await }
    });
    tokio::task::yield_now().await;
    assert!(!draining.is_finished());
    drop(ticket);
    draining.await.unwrap();
    assert_eq!(gate.inside(), 0);
}

#[tokio::test]
async fn who_stays_has_a_place_that_nobody_drains_for() {
    let gate = gate(3, 2, 3);
    let mut ticket = gate.enter().unwrap();
    drop(ticket.turn(&tenant("a"), PATIENCE).await.unwrap());
    let first = gate.stay(&tenant("a")).unwrap();
    let refused = gate.stay(&tenant("a")).err().unwrap();
    assert_eq!((refused.code, refused.retry_after_ms), (Code::Overloaded, Some(1_000)), "the tenant has two places");
    let second = gate.stay(&tenant("b")).unwrap();
    assert_eq!(gate.enter().err().unwrap().code, Code::Overloaded, "the pod has three");
    drop(ticket);
    gate.drained().await;
    drop((first, second));
    let mut ticket = gate.enter().unwrap();
    assert!(ticket.turn(&tenant("a"), PATIENCE).await.is_ok());
    assert!(gate.stay(&tenant("a")).is_ok(), "every place is back");
}
