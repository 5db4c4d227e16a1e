//! What belongs to one tree is in one lane, so that one commit has it.

use greenroom_protocol::audit::Opening;

use crate::core::Unit;
use crate::journal::{AppendPosition, Seq};
use crate::suite::postgres::{TestDatabase, open_pod};
use crate::suite::{NOW, opening, run_id, started};

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
