//! `greenroom db backup` and `restore` for the database of a server: its own tools copy and restore it, so these commands
//! print how. A database that was restored is checked, and prepared for its pods.

use std::path::Path;

use greenroom_protocol::Cause;
use greenroom_registry::restore::RaisedCopy;
use serde_json::{Value, json};

use crate::admin::check_json;
use crate::cli::output::Output;
use crate::cli::runs::format_report;
use crate::compose::stores::existing_signer;
use crate::config::Config;
use crate::config::store::{ServerDatabase, SupportedStore};
use crate::pipeline::store_failure::name_store;

/// What a user has to know of a command for a database whose URL has a password.
const PASSWORD_NOTE: &str = "the command does not contain the password: set PGPASSWORD to it, or add it to the file .pgpass of your home folder";

/// What a user has to do besides executing the command that restores the database.
const RESTORE_STEPS: &str = "stop all pods first; run this again after the command and before they start, because it raises \
                             the fences of runs and the ids of pods; flush Redis, if the pods have one";

/// Prints the command that copies the database.
#[must_use]
pub fn backup(config: &Config, to: &Path, output: Output) -> u8 {
    let Some(database) = config.store.server_database() else { return 0 };
    let command = format!("pg_dump --format=custom --file={} --dbname={}", quote_path(to), quote(&database.url));
    // A key of the configuration is in no file of the data directory.
    let key_file = config.audit_key.is_none().then(|| config.audit_key_file());
    let report = json!({ "command": command, "copy_too": key_file.into_iter().collect::<Vec<_>>() });
    let report = with_note(report, &database);
    // A shell that executes what is printed ignores the note.
    output.document(&report, || if database.has_password { format!("# {PASSWORD_NOTE}\n{command}") } else { command });
    0
}

/// Prints the command that restores the database from a copy, and checks the database as it is now. The head that the
/// pods have signed last is newer than a copy, so it is not compared. Unless the database has a problem, or pods are alive,
/// its fences and the ids of its pods are raised, so that nothing is confused with what was there after the copy was made.
///
/// # Errors
/// Those of the store and of the audit key.
pub async fn restore(config: &Config, from: &Path, output: Output) -> Result<u8, Cause> {
    let SupportedStore::Postgres(url) = config.store.supported()? else { return Ok(0) };
    let Some(database) = config.store.server_database() else { return Ok(0) };
    let key = existing_signer(config)?.map(|signer| signer.chain_key().clone().without_head_file());
    let checked = greenroom_registry::examine_postgres(url, key.as_ref()).await;
    let checked = checked.map_err(|error| name_store(error.cause(), &config.store, None))?;
    let raised = match checked.is_ok() {
        true => Some(greenroom_registry::raise_postgres_copy(url).await),
        false => None,
    };
    let raised = raised.transpose().map_err(|error| name_store(error.cause(), &config.store, None))?;
    let is_prepared = matches!(raised, Some(RaisedCopy::Raised { .. }));
    let dbname = quote(&database.url);
    let command = format!("pg_restore --clean --if-exists --dbname={dbname} {}", quote_path(from));
    let raised = raised.as_ref().map(raised_json);
    let report = json!({ "command": command, "check": check_json(&checked), "raised": raised, "steps": RESTORE_STEPS });
    let report = with_note(report, &database);
    output.document(&report, || format_report(&report));
    Ok(u8::from(!is_prepared))
}

fn raised_json(raised: &RaisedCopy) -> Value {
    match raised {
        RaisedCopy::PodsAlive(pods) => json!({ "pods_alive": pods }),
        RaisedCopy::Raised { trees, pods } => json!({ "trees": trees, "pods": pods }),
    }
}

/// Adds the note to a report, if the URL of the database has a password.
fn with_note(mut report: Value, database: &ServerDatabase) -> Value {
    if let Some(members) = report.as_object_mut().filter(|_| database.has_password) {
        members.insert("note".to_owned(), PASSWORD_NOTE.into());
    }
    report
}

fn quote_path(path: &Path) -> String {
    quote(&path.display().to_string())
}

/// A word of a command as a shell reads it.
fn quote(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./:@%+,=".contains(&byte);
    if !word.is_empty() && word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_a_shell_would_change_is_quoted() {
        for (word, quoted) in [
            ("postgres://u@h:5432/d", "postgres://u@h:5432/d"),
            ("postgres://u@h/d?sslmode=require&user=x", "'postgres://u@h/d?sslmode=require&user=x'"),
            ("a copy.dump", "'a copy.dump'"),
            ("it's", r"'it'\''s'"),
            ("", "''"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }

    #[test]
    fn the_note_about_the_password_is_in_the_report_of_a_url_that_has_one() {
        let database = |has_password| ServerDatabase { url: "postgres://u@h/d".to_owned(), has_password };
        assert_eq!(with_note(json!({}), &database(true)), json!({ "note": PASSWORD_NOTE }));
        assert_eq!(with_note(json!({}), &database(false)), json!({}));
    }
}
