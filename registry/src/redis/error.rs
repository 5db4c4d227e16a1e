//! The errors of Redis, one variant for each that an operator resolves differently.

use fred::error::{Error, ErrorKind};

use crate::authorities::is_untrusted;

/// Every value of [`RedisError::detail`].
pub const REDIS_ERROR_DETAILS: [&str; 10] = [
    "redis_unreachable",
    "redis_untrusted",
    "redis_timeout",
    "redis_rejected",
    "redis_read_only",
    "redis_full",
    "redis_unwritable",
    "redis_evicting",
    "redis_no_functions",
    "redis_failed",
];

/// An error of Redis. What it was to show is in the journals.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// No connection: the server is stopped, starts, or cannot be reached.
    #[error("redis cannot be reached: {0}")]
    Unreachable(String),
    /// No trusted authority has signed the certificate of the server for its address.
    #[error("the certificate of redis is not trusted: {0}")]
    Untrusted(String),
    /// The server did not reply within the time of an operation.
    #[error("redis did not reply in time")]
    Timeout,
    /// The server rejects the credentials of the URL, or their user may not send a command.
    #[error("redis rejects this client: {0}")]
    Rejected(String),
    /// The server is a replica, which only its primary writes.
    #[error("redis is a read-only replica")]
    ReadOnly,
    /// The server has used its memory up.
    #[error("redis has no memory left")]
    Full,
    /// The server accepts no writes for now: it cannot persist them, or has too few replicas.
    #[error("redis accepts no writes: {0}")]
    Unwritable(String),
    /// The server removes keys when its memory is used up. A removed window would not count any more.
    #[error("redis removes keys when its memory is used up (`{0}`)")]
    Evicting(String),
    /// The server knows no functions: it is older than Redis 7, or its configuration disables them.
    #[error("redis has no functions")]
    NoFunctions,
    /// Any other error.
    #[error("redis failed: {0}")]
    Failed(String),
}

impl RedisError {
    /// One word for each kind, for details, logs and metrics.
    #[must_use]
    pub const fn detail(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "redis_unreachable",
            Self::Untrusted(_) => "redis_untrusted",
            Self::Timeout => "redis_timeout",
            Self::Rejected(_) => "redis_rejected",
            Self::ReadOnly => "redis_read_only",
            Self::Full => "redis_full",
            Self::Unwritable(_) => "redis_unwritable",
            Self::Evicting(_) => "redis_evicting",
            Self::NoFunctions => "redis_no_functions",
            Self::Failed(_) => "redis_failed",
        }
    }

    /// The remedy, for the message that a user sees.
    pub(crate) const fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "start it, or check `redis.url` and the network; retry later",
            Self::Untrusted(_) => {
                "let `redis.ca_file` (REDIS_CA_FILE) name the certificate of the authority that has signed that of the \
                 server, and `redis.url` a name in it"
            }
            Self::Timeout => "it is overloaded or suspended; retry later",
            Self::Rejected(_) => "check the user and the password in `redis.url`, and the permissions of that user",
            Self::ReadOnly => "let `redis.url` name the primary",
            Self::Full => "raise its `maxmemory`",
            Self::Unwritable(_) => "check its disk and its replicas; retry later",
            Self::Evicting(_) => "set its `maxmemory-policy` to `noeviction`",
            Self::NoFunctions => "use Redis 7 or newer, and do not disable FUNCTION and FCALL",
            Self::Failed(_) => "the log of Redis has the reason",
        }
    }

    /// True if waiting does not help a pod that starts: an operator has to change the server or the configuration.
    pub(crate) const fn is_misconfiguration(&self) -> bool {
        match self {
            Self::Untrusted(_)
            | Self::Rejected(_)
            | Self::ReadOnly
            | Self::Evicting(_)
            | Self::NoFunctions
            | Self::Failed(_) => true,
            Self::Unreachable(_) | Self::Timeout | Self::Full | Self::Unwritable(_) => false,
        }
    }

    /// The error of the client or of the server.
    pub(super) fn from_client(error: &Error) -> Self {
        let text = error.details().to_owned();
        if is_untrusted(&text) {
            return Self::Untrusted(text);
        }
        match error.kind() {
            ErrorKind::Timeout => Self::Timeout,
            ErrorKind::Auth => Self::Rejected(text),
            ErrorKind::IO
            | ErrorKind::Canceled
            | ErrorKind::Routing
            | ErrorKind::Backpressure
            | ErrorKind::Cluster
            | ErrorKind::Sentinel => Self::Unreachable(text),
            ErrorKind::Unknown => Self::from_reply(text),
            ErrorKind::Config
            | ErrorKind::InvalidCommand
            | ErrorKind::InvalidArgument
            | ErrorKind::Url
            | ErrorKind::Protocol
            | ErrorKind::Tls
            | ErrorKind::Parse
            | ErrorKind::NotFound => Self::Failed(text),
        }
    }

    /// An error reply begins with a word in capitals. Any other text is one of the client, which has lost its
    /// connection.
    fn from_reply(text: String) -> Self {
        let code = text.split_whitespace().next().unwrap_or_default();
        match code {
            "READONLY" => Self::ReadOnly,
            "OOM" => Self::Full,
            "NOPERM" | "NOAUTH" | "WRONGPASS" => Self::Rejected(text),
            "MISCONF" | "NOREPLICAS" => Self::Unwritable(text),
            "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" => Self::Unreachable(text),
            "ERR" if text.starts_with("ERR unknown command") => Self::NoFunctions,
            code if code.chars().all(|letter| letter.is_ascii_uppercase()) => Self::Failed(text),
            _ => Self::Unreachable(text),
        }
    }
}

/// True if the server does not have the library of functions, which it forgets when it is flushed or restarted.
pub(super) fn is_missing_function(error: &Error) -> bool {
    error.details().contains("Function not found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_server_and_of_the_client_has_its_kind() {
        for (kind, text, detail) in [
            (ErrorKind::Unknown, "READONLY Can not run script with write flag on readonly replica.", "redis_read_only"),
            (ErrorKind::Unknown, "OOM allow-oom flag is not set on the script", "redis_full"),
            (ErrorKind::Unknown, "NOPERM this user has no permissions to run the 'fcall' command", "redis_rejected"),
            (ErrorKind::Unknown, "LOADING Redis is loading the dataset in memory", "redis_unreachable"),
            (ErrorKind::Unknown, "ERR unknown command 'FUNCTION', with args beginning with: ", "redis_no_functions"),
            (ErrorKind::Unknown, "ERR Function not found", "redis_failed"),
            (ErrorKind::Unknown, "MISCONF Redis is configured to save RDB snapshots", "redis_unwritable"),
            (ErrorKind::Unknown, "Failed to route command.", "redis_unreachable"),
            (ErrorKind::Auth, "WRONGPASS invalid username-password pair", "redis_rejected"),
            (ErrorKind::Canceled, "Connection closed unexpectedly.", "redis_unreachable"),
            (ErrorKind::Timeout, "Request timed out.", "redis_timeout"),
            (ErrorKind::Tls, "HandshakeNotComplete", "redis_failed"),
            (ErrorKind::IO, "Custom { error: InvalidCertificate(UnknownIssuer) }", "redis_untrusted"),
        ] {
            assert_eq!(RedisError::from_client(&Error::new(kind, text)).detail(), detail, "{text}");
            assert!(REDIS_ERROR_DETAILS.contains(&detail), "{detail}");
        }
        assert!(REDIS_ERROR_DETAILS.contains(&RedisError::Evicting(String::new()).detail()));
        assert!(is_missing_function(&Error::new(ErrorKind::Unknown, "ERR Function not found")));
    }
}
