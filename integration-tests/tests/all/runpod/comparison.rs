//! The table of docs/runpod.md that compares our worker with that of the SDK: our column is what our worker does. Both columns
//! are written by `scripts/runpod-comparison`, which needs the SDK.

use anyhow::Result;
use greenroom_integration_tests::runpod_comparison::{play_own, read_table, write_table};

const PAGE: &str = include_str!("../../../../docs/runpod.md");

#[tokio::test(flavor = "multi_thread")]
async fn our_worker_does_what_the_table_of_the_comparison_states() -> Result<()> {
    let rows = read_table(PAGE)?;
    assert_eq!(write_table(PAGE, &rows)?, PAGE, "the table is as the script writes it");
    // The first row is about jobs without faults, which the tests of the traces compare.
    let stated: Vec<(String, String)> = rows.into_iter().skip(1).map(|row| (row.subject, row.own)).collect();
    assert_eq!(play_own().await?, stated, "scripts/runpod-comparison --write");
    Ok(())
}
