//! Every column that may reference an artifact is scanned before artifacts are swept.

use sqlx::Connection as _;

use crate::sqlite::connection::connect_dedicated;
use crate::sqlite::maintenance;
use crate::suite::TestStores;

/// Text columns without values of a request: names, statuses, audit records, definitions.
const UNREFERENCING: &[&str] = &[
    "api_keys.created_by",
    "api_keys.id",
    "api_keys.issuer",
    "api_keys.name",
    "api_keys.revoked_by",
    "api_keys.scope",
    "api_keys.tenant",
    "api_keys.user",
    "audit.record",
    "audit.request",
    "audit.tenant",
    "audit_heads.head",
    "audit_open.open",
    "budgets.budget",
    "budgets.models",
    "costs.agent",
    "costs.issuer",
    "costs.tenant",
    "costs.user",
    "costs.workflow",
    "definition_versions.body",
    "definitions_in_service.file",
    "definitions_in_service.id",
    "definitions_in_service.kind",
    "definitions_in_service.source",
    "generation_members.kind",
    "generation_members.name",
    "generations.issuer",
    "generations.kind",
    "generations.source",
    "generations.tenant",
    "generations.user",
    "idempotency_keys.key",
    "idempotency_keys.pod",
    "idempotency_keys.run",
    "idempotency_keys.tenant",
    "memories.agent",
    "memories.embedder",
    "memories.issuer",
    "memories.source",
    "memories.tenant",
    "memories.user",
    "memory_owners.agent",
    "memory_owners.tenant",
    "pods.pod",
    "principals.issuer",
    "principals.tenant",
    "principals.user",
    "reservations.pod",
    "reservations.reservation",
    "runs.parent",
    "runs.pod",
    "runs.root",
    "runs.run",
    "runs.status",
    "runs.team",
    "runs.tenant",
    "runs.workflow",
    "store_identity.audit_key",
    "store_identity.database",
    "subjects.issuer",
    "subjects.revoked_by",
    "subjects.rights",
    "subjects.tenant",
    "subjects.user",
    "usage_minutes.issuer",
    "usage_minutes.tenant",
    "usage_minutes.user",
];

#[tokio::test]
async fn every_text_column_is_scanned_for_artifacts_or_listed_without_references() {
    let stores = TestStores::sqlite().await;
    let mut connection = connect_dedicated(&stores.database()).await.unwrap();
    let columns: Vec<(String, String)> = sqlx::query_as(
        "SELECT tables.name, columns.name FROM sqlite_master tables, pragma_table_info(tables.name) columns \
         WHERE tables.type = 'table' AND tables.name NOT LIKE '\\_%' ESCAPE '\\' AND columns.type = 'TEXT' \
         ORDER BY 1, 2",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    assert!(columns.len() > UNREFERENCING.len());
    for (table, column) in columns {
        let is_scanned = maintenance::ARTIFACT_REFERENCES
            .iter()
            .any(|select| select.starts_with(&format!("SELECT {column} FROM {table}")));
        let is_unreferencing = UNREFERENCING.contains(&format!("{table}.{column}").as_str());
        assert_ne!(is_scanned, is_unreferencing, "{table}.{column}: list it in sqlite/maintenance.rs or here");
    }
}
