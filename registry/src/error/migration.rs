//! What the migrations of a database report.

use sqlx::migrate::MigrateError;

use super::StoreError;

/// Maps an error of the migrations; `of_statement` maps that of a statement, which differs between databases.
pub(crate) fn migration_error(error: MigrateError, of_statement: fn(&sqlx::Error) -> StoreError) -> StoreError {
    match error {
        MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => of_statement(&error),
        MigrateError::VersionMissing(version) | MigrateError::VersionTooNew(version, _) => {
            StoreError::Version(format!("its schema is {version}, which this release does not know"))
        }
        other => StoreError::Version(other.to_string()),
    }
}
