//! The migrations of a database, which are a part of the program. They are listed, because the macro of sqlx that finds them
//! in their folder compiles both drivers and SQLite once more, for the compiler.

use sqlx::SqlSafeStr as _;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// A migration: its number, its description and its SQL, as its file `0001_description.sql` has them.
pub(crate) type Listed = (i64, &'static str, &'static str);

/// The migrations of a list.
pub(crate) fn migrator(listed: &[Listed]) -> Migrator {
    let migration = |(version, description, sql): &Listed| {
        Migration::new(*version, (*description).into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    Migrator::with_migrations(listed.iter().map(migration).collect())
}

/// Panics unless a list has each file of the folder below `migrations`, and as the macro of sqlx would have it.
#[cfg(test)]
pub(crate) fn assert_complete(listed: &[Listed], folder: &str) {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
    let mut files: Vec<(String, String)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read_to_string(entry.path()).unwrap()))
        .collect();
    files.sort();
    let name = |version: &i64, description: &str| format!("{version:04}_{}.sql", description.replace(' ', "_"));
    let listed: Vec<(String, String)> =
        listed.iter().map(|(version, description, sql)| (name(version, description), (*sql).to_owned())).collect();
    assert_eq!(listed, files);
}
