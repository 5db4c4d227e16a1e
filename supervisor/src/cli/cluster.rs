//! `greenroom cluster`: shows the pods of a PostgreSQL database, and lets them write the format of this release. Both read
//! the database without being a pod of it, so whoever has its password may execute them.

use greenroom_protocol::{Cause, Clock as _, ErrorCode, Json, PodId};
use greenroom_registry::cluster::{ClusterFormat, Finalized, PodInfo};
use serde_json::json;

use super::args::ClusterCommand;
use super::output::{Output, table};
use crate::clock::WallClock;
use crate::config::Config;
use crate::config::store::SupportedStore;
use crate::pipeline::store_failure::name_store;

/// The columns of the table of pods.
const COLUMNS: [(&str, &str); 8] = [
    ("pod", "POD"),
    ("version", "VERSION"),
    ("labels", "LABELS"),
    ("capacity", "CAPACITY"),
    ("trees", "TREES"),
    ("lease_age_ms", "LEASE AGE MS"),
    ("expires_in_ms", "EXPIRES IN MS"),
    ("reads", "READS"),
];

/// Executes the command.
///
/// # Errors
/// Those of the database; [`ErrorCode::InvalidInput`] if it is not one of PostgreSQL.
pub async fn cluster(config: &Config, command: ClusterCommand, output: Output) -> Result<u8, Cause> {
    let SupportedStore::Postgres(url) = config.store.supported()? else {
        let message = "only the pods of a PostgreSQL database are a cluster; an SQLite file has one pod";
        return Err(Cause::new(ErrorCode::InvalidInput, message));
    };
    match command {
        ClusterCommand::Status => {
            let read = greenroom_registry::read_postgres_pods(url).await;
            let (pods, format) = read.map_err(|error| name_store(error.cause(), &config.store, None))?;
            print_status(&pods, format, output);
            Ok(0)
        }
        ClusterCommand::Finalize => {
            let finalized = greenroom_registry::finalize_postgres(url, WallClock.now()).await;
            let finalized = finalized.map_err(|error| name_store(error.cause(), &config.store, None))?;
            Ok(print_finalized(&finalized, output))
        }
    }
}

fn print_status(pods: &[PodInfo], format: ClusterFormat, output: Output) {
    let rows: Vec<Json> = pods.iter().map(row).collect();
    let document = json!({ "pods": pods, "format": format });
    output.document(&document, || {
        format!("{}\n\njournals of version {} may be written", table(&rows, &COLUMNS), format.journal_version)
    });
}

/// A pod as a row: lists as text, and a capacity that is not bounded as none.
fn row(pod: &PodInfo) -> Json {
    let (from, to) = pod.reads;
    json!({
        "pod": pod.pod,
        "version": pod.version,
        "labels": pod.labels.join(","),
        "capacity": (pod.capacity > 0).then_some(pod.capacity),
        "trees": pod.trees,
        "lease_age_ms": pod.lease_age_ms,
        "expires_in_ms": pod.expires_in_ms,
        "reads": if from == to { to.to_string() } else { format!("{from} to {to}") },
    })
}

/// Prints the result, and returns the exit code.
fn print_finalized(finalized: &Finalized, output: Output) -> u8 {
    let document = json!(finalized);
    let (text, code) = match finalized {
        Finalized::Done(format) => (format!("journals of version {} may be written now", format.journal_version), 0),
        Finalized::Unchanged(format) => {
            (format!("journals of version {} may be written already", format.journal_version), 0)
        }
        Finalized::Refused { pods } => {
            let names: Vec<&str> = pods.iter().map(PodId::as_str).collect();
            (format!("not finalized: these pods do not read the format of this release: {}", names.join(", ")), 1)
        }
    };
    output.document(&document, || text.clone());
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_lists_as_text_and_no_capacity_that_is_not_bounded() {
        let pod = PodInfo {
            pod: PodId::new("a-1").unwrap(),
            version: "0.1.0".to_owned(),
            labels: vec!["eu".to_owned(), "gpu".to_owned()],
            capacity: 0,
            trees: 3,
            reads: (1, 2),
            lease_age_ms: 400,
            expires_in_ms: 2_600,
        };
        let row = row(&pod);
        assert_eq!(
            (&row["labels"], &row["capacity"], &row["reads"]),
            (&json!("eu,gpu"), &Json::Null, &json!("1 to 2"))
        );
        for (path, _) in COLUMNS {
            assert!(row.get(path).is_some(), "{path}");
        }
    }
}
