//! The ways in which the server of a database refuses a pod: each one has another remedy.

/// Why a server of PostgreSQL refuses a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ServerFault {
    /// It accepts no further connection: of any user, of this one, or to this database.
    NoConnections,
    /// It rejects the user or the password, or the user lacks a right.
    Denied,
    /// It has no such database.
    NoDatabase,
    /// It is too old.
    Outdated,
    /// No trusted authority has signed its certificate for its address, or it has no TLS and the URL demands it.
    Untrusted,
}

impl ServerFault {
    /// Every fault.
    pub const ALL: [Self; 5] = [Self::NoConnections, Self::Denied, Self::NoDatabase, Self::Outdated, Self::Untrusted];

    /// The fault as a word, for `details.store` and for the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoConnections => "no_connections",
            Self::Denied => "denied",
            Self::NoDatabase => "no_database",
            Self::Outdated => "server_outdated",
            Self::Untrusted => "untrusted",
        }
    }

    /// What to do about it.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::NoConnections => {
                "raise `max_connections` of the server, or the limit of the user or of the database: a pod needs 11"
            }
            Self::Denied => {
                "check the user, the password and the rights of the URL (`store.url`, `DATABASE_URL`), and `pg_hba.conf` \
                 of the server"
            }
            Self::NoDatabase => "create the database, or correct its URL (`store.url`, `DATABASE_URL`)",
            Self::Outdated => "use PostgreSQL 15 or newer",
            Self::Untrusted => {
                "let `sslrootcert` in the URL (`store.url`, `DATABASE_URL`) name the certificate of the authority that has \
                 signed that of the server, and the URL a host in it; `sslmode` says what is checked"
            }
        }
    }
}
