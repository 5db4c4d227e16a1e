//! What belongs to one tree, or to one request, is in one lane, so that one commit has it.

use greenroom_protocol::audit::Opening;
use greenroom_protocol::{CallKey, ContentHash};

use crate::core::{KeyClaim, Unit};
use crate::journal::{AppendPosition, Seq};
use crate::runs::DedupKey;
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{NOW, opening, run_id, started, tenant};

#[tokio::test]
async fn the_openings_of_the_calls_of_a_tree_are_in_the_lane_of_its_runs() {
    let database = TestDatabase::migrated().await;
    let stores = open_pod(&database.url(), "pod_a", 4).await.unwrap();
    let (core, root) = (&stores.stores.core, run_id(1));
    let (fence, entries) = (stores.create_run(1).await, [started("a")]);
    let unit = Unit::new(NOW).append(AppendPosition { run: &root, fence, after: Seq(0) }, &entries).open(opening(1));
    let lane = core.commit(unit).await.unwrap().entry.unwrap().opened().chain();
    for number in 2..=12 {
        let of_step = Opening { run: Some(root.to_string()), ..opening(number) };
        // The start of an inner run names that run.
        let of_start = Opening { run: Some(run_id(number).to_string()), ..opening(number + 100) };
        for unit in [Unit::new(NOW).open(of_step), Unit::new(NOW).of_tree(Some(&root)).open(of_start)] {
            assert_eq!(core.commit(unit).await.unwrap().entry.unwrap().opened().chain(), lane);
        }
    }
}

#[tokio::test]
async fn the_key_of_a_request_is_reserved_in_the_lane_of_its_opening() {
    let database = TestDatabase::migrated().await;
    let stores = open_pod(&database.url(), "pod_a", 4).await.unwrap();
    let (core, acme, body) = (&stores.stores.core, tenant("acme"), ContentHash::from_content(b"body"));
    let odd_lanes = async || database.count("SELECT count(*) FROM audit_chains WHERE batch % 2 = 1").await;
    let initial = odd_lanes().await;
    let (mut entries, mut keys) = (Vec::new(), Vec::new());
    for number in 1..=12 {
        let opening = opening(number);
        let (request, key) = (opening.request.clone(), DedupKey::Call(CallKey::new(format!("key_{number}")).unwrap()));
        entries.push(core.open_entry(opening, NOW).await.unwrap());
        match core.begin_key_of(&request, (&acme, &key), &body, NOW).await.unwrap() {
            KeyClaim::Reserved(reserved) => keys.push(reserved),
            KeyClaim::Used(status) => panic!("{status:?}"),
        }
        assert_eq!(odd_lanes().await, initial, "each lane has both batches of request {number}, or none");
    }
}
