//! scratch
use greenroom_rego::{Question, Relation};
use std::time::Instant;

use crate::house;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn measure() {
    let t = Instant::now();
    let snapshot = house::snapshot().await;
    println!("load {:?}", t.elapsed());
    let mut engine = house::engine().await;
    let guard = house::guard().await;
    let permit = guard
        .permit(Question::new(
            house::asked("admin", house::start_run("generate_quarterly_report")).await,
            house::facts(house::workflow_target("generate_quarterly_report")),
        ))
        .await
        .unwrap();
    let (grant, _) = permit.redeem();
    let mut facts = house::summary_facts();
    facts.relation = Relation { own_tenant: true, workflow_step: true, team_member: true, ..Relation::default() };
    let question = Question::new(grant.speak(house::request_id(9), house::invoke("executive_summary_agent")), facts);
    let sent = question.input().as_sent(snapshot.vocabulary()).unwrap();
    println!("{} {}", sent.len(), String::from_utf8_lossy(&sent));
    let e = engine.explain(question.input()).await.unwrap();
    println!("{e:?}");
    let mut times = vec![];
    for _ in 0..20000 {
        let t = Instant::now();
        let v = engine.allowed(question.input()).await.unwrap();
        times.push(t.elapsed());
        assert!(v.is_allowed());
    }
    times.sort();
    println!("p1 {:?} p10 {:?} p50 {:?} p99 {:?}", times[200], times[2000], times[10000], times[19800]);
}
