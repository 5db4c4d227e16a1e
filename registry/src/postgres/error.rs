//! From the errors of the driver to the error of the store, and what a failed statement means for its transaction.

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::authorities::is_untrusted;
use crate::error::{ServerFault, StoreError};
use crate::postgres::tls::untrusted;

/// The code of a missing table.
pub(super) const UNDEFINED_TABLE: &str = "42P01";
/// The code of a row whose key exists.
pub(super) const UNIQUE_VIOLATION: &str = "23505";

/// What a statement that failed means for its transaction.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was rolled back because of another transaction, and may succeed the next time.
    Retry(StoreError),
    /// It was rolled back.
    Rejected(StoreError),
    /// It was rolled back, because something that it takes as a whole cannot be taken.
    NotTaken(StoreError),
    /// It may have been committed.
    Unknown(StoreError),
}

impl Failure {
    /// Judges the error of one statement, which is a transaction of its own.
    pub(super) fn from_error(error: &sqlx::Error) -> Self {
        let failure = sqlx_error(error);
        let Some(database) = postgres_error(error) else {
            return match error {
                // It was not sent.
                sqlx::Error::Encode(_) | sqlx::Error::InvalidArgument(_) | sqlx::Error::Configuration(_) => {
                    Self::Rejected(failure)
                }
                _ => Self::Unknown(failure),
            };
        };
        match (database.code(), database.severity()) {
            ("40001" | "40P01", _) => Self::Retry(failure),
            // Of `greenroom_commit_plain_v1`.
            ("GR002", _) => Self::NotTaken(failure),
            (_, PgSeverity::Error) => Self::Rejected(failure),
            // The server has ended the connection, maybe after the commit.
            (_, _) => Self::Unknown(failure),
        }
    }
}

/// The error of the server, if it is one.
pub(super) fn postgres_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error().and_then(|error| error.try_downcast_ref())
}

/// The error of a statement that was not sent, because there is no connection for it.
pub(super) fn unsent(error: StoreError) -> sqlx::Error {
    sqlx::Error::Configuration(Box::new(error))
}

/// The error of a statement that did not end in time.
pub(super) fn overdue() -> sqlx::Error {
    sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())
}

/// Maps the error of a statement that changes something and is a transaction of its own. If it may have been committed,
/// the outcome is unknown.
pub(super) fn write_error(error: &sqlx::Error) -> StoreError {
    match Failure::from_error(error) {
        Failure::Retry(error) | Failure::Rejected(error) | Failure::NotTaken(error) => error,
        Failure::Unknown(_) => StoreError::OutcomeUnknown,
    }
}

/// Maps an error of the driver.
pub(super) fn sqlx_error(error: &sqlx::Error) -> StoreError {
    if let Some(database) = postgres_error(error) {
        return from_code(database.code(), error.to_string());
    }
    match error {
        sqlx::Error::Configuration(source) => {
            let known = source.downcast_ref::<StoreError>();
            known.cloned().unwrap_or_else(|| StoreError::Failed(error.to_string()))
        }
        sqlx::Error::Io(source) if source.kind() == std::io::ErrorKind::TimedOut => StoreError::Timeout,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::Codec(error.to_string()),
        // Waiting for the server would not help: the operator has to change its certificate, or the URL.
        sqlx::Error::Io(source) if is_untrusted(&source.to_string()) => untrusted(source.to_string()),
        sqlx::Error::Tls(source) => untrusted(source.to_string()),
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) => StoreError::Unreachable(error.to_string()),
        _ => StoreError::Failed(error.to_string()),
    }
}

/// Distinguishes the codes (SQLSTATE) that an operator can act on.
fn from_code(code: &str, text: String) -> StoreError {
    match code {
        "53100" => StoreError::Full,
        "58030" => StoreError::Disk(text),
        "25006" => StoreError::ReadOnly,
        "55P03" => StoreError::Locked,
        "57014" | "25P03" => StoreError::Timeout,
        "XX001" | "XX002" => StoreError::Corrupt(text),
        UNDEFINED_TABLE | "42703" | "42883" => StoreError::Version(text),
        // Of `greenroom_send_v1`.
        "GR001" => StoreError::PodDead,
        "53300" => StoreError::Refused { fault: ServerFault::NoConnections, reason: text },
        "28000" | "28P01" | "42501" => StoreError::Refused { fault: ServerFault::Denied, reason: text },
        "3D000" => StoreError::Refused { fault: ServerFault::NoDatabase, reason: text },
        "57P01" | "57P02" | "57P03" => StoreError::Unreachable(text),
        code if code.starts_with("08") => StoreError::Unreachable(text),
        _ => StoreError::Failed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_learns_what_to_do_from_the_code() {
        let error = |code: &str| from_code(code, "text".to_owned());
        assert!(matches!(error("53100"), StoreError::Full));
        assert!(matches!(error("25006"), StoreError::ReadOnly));
        for (code, expected) in [
            ("53300", ServerFault::NoConnections),
            ("28P01", ServerFault::Denied),
            ("42501", ServerFault::Denied),
            ("3D000", ServerFault::NoDatabase),
        ] {
            assert!(matches!(error(code), StoreError::Refused { fault, .. } if fault == expected), "{code}");
        }
        assert!(matches!(error("57P03"), StoreError::Unreachable(_)));
        assert!(matches!(error("08006"), StoreError::Unreachable(_)));
        assert!(matches!(error("42P01"), StoreError::Version(_)));
        assert!(matches!(error("22P02"), StoreError::Failed(_)));
    }

    #[test]
    fn a_server_that_cannot_be_trusted_is_no_outage() {
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let unsigned = sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, unknown));
        let without = sqlx::Error::Tls("server does not support TLS".into());
        for (error, reason) in [(unsigned, "UnknownIssuer"), (without, "does not support TLS")] {
            let error = sqlx_error(&error);
            assert!(matches!(error, StoreError::Refused { fault: ServerFault::Untrusted, .. }), "{error}");
            assert!(!error.is_outage() && error.to_string().contains(reason), "{error}");
        }
    }

    #[test]
    fn a_lost_connection_means_that_the_outcome_is_unknown() {
        let lost = sqlx::Error::Io(std::io::ErrorKind::ConnectionReset.into());
        assert!(matches!(Failure::from_error(&lost), Failure::Unknown(StoreError::Unreachable(_))));
        let unsent = sqlx::Error::InvalidArgument("too long".to_owned());
        assert!(matches!(Failure::from_error(&unsent), Failure::Rejected(_)));
    }

    #[test]
    fn a_write_without_a_connection_has_its_reason_and_one_that_was_sent_an_unknown_outcome() {
        let refused = unsent(from_code("53300", "text".to_owned()));
        assert!(matches!(sqlx_error(&refused), StoreError::Refused { .. }));
        assert!(matches!(write_error(&refused), StoreError::Refused { .. }));
        assert!(matches!(sqlx_error(&overdue()), StoreError::Timeout));
        assert!(matches!(write_error(&overdue()), StoreError::OutcomeUnknown));
    }
}
