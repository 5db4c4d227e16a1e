//! The ways in which an S3 server, or the way to it, fails: each one has another remedy.

/// A fault of S3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum S3Fault {
    /// No connection is made.
    Unreachable,
    /// The server is overloaded or restarts: status 429 or 5xx.
    Unavailable,
    /// No trusted authority has signed the certificate of the server for its address.
    Untrusted,
    /// A reply did not arrive in time.
    Slow,
    /// A connection ended within a request or a reply.
    Truncated,
    /// The clocks of this machine and of the server differ too much for a signature.
    ClockSkewed,
    /// The keys are wrong, or do not permit the request.
    Denied,
    /// There is no such bucket.
    NoBucket,
    /// Any other reply.
    Other,
}

impl S3Fault {
    /// Every fault.
    pub const ALL: [Self; 9] = [
        Self::Unreachable,
        Self::Unavailable,
        Self::Untrusted,
        Self::Slow,
        Self::Truncated,
        Self::ClockSkewed,
        Self::Denied,
        Self::NoBucket,
        Self::Other,
    ];

    /// The fault as a word, for `details.store` and for the metric.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "s3_unreachable",
            Self::Unavailable => "s3_unavailable",
            Self::Untrusted => "s3_untrusted",
            Self::Slow => "s3_slow",
            Self::Truncated => "s3_truncated",
            Self::ClockSkewed => "s3_clock_skewed",
            Self::Denied => "s3_denied",
            Self::NoBucket => "s3_no_bucket",
            Self::Other => "s3_failed",
        }
    }

    /// What to do about it.
    pub(super) const fn advice(self) -> &'static str {
        match self {
            Self::Unreachable => "check `s3.endpoint` (S3_ENDPOINT) and the network",
            Self::Unavailable => "the server is overloaded or restarts; retry later",
            Self::Untrusted => {
                "let `s3.ca_file` (S3_CA_FILE) name the certificate of the authority that has signed that of the server, \
                 and `s3.endpoint` a name in it"
            }
            Self::Slow => "the server or the network is slow; retry later",
            Self::Truncated => "the connection is unstable; retry later",
            Self::ClockSkewed => "set the clock of this machine or of the server",
            Self::Denied => {
                "check the keys (S3_ACCESS_KEY_ID, S3_SECRET_ACCESS_KEY), their permissions and `s3.region`"
            }
            Self::NoBucket => "create the bucket, or correct `s3.bucket` (S3_BUCKET)",
            Self::Other => "check the log of the server",
        }
    }

    /// True if it lasts until the configuration or a machine is corrected, and false if it may pass by itself.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        match self {
            Self::Untrusted | Self::ClockSkewed | Self::Denied | Self::NoBucket => true,
            Self::Unreachable | Self::Unavailable | Self::Slow | Self::Truncated | Self::Other => false,
        }
    }
}
