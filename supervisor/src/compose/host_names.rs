//! The names that definitions may use, except for those of the policy: those of the release and the configuration, and the
//! tools of the APIs whose documents are known by now.

use std::sync::Arc;

use greenroom_definitions::KnownNames;
use greenroom_runtimes::http_tools::HttpTools;
use tokio::sync::watch;

/// The names.
#[derive(Clone)]
pub(crate) struct HostNames {
    constant: KnownNames,
    http_tools: Arc<HttpTools>,
}

impl HostNames {
    /// These names, with those of the tools.
    pub(crate) const fn new(constant: KnownNames, http_tools: Arc<HttpTools>) -> Self {
        Self { constant, http_tools }
    }

    /// The names at this moment.
    pub(crate) fn current(&self) -> KnownNames {
        self.constant.clone().with_tools(self.http_tools.names())
    }

    /// Changes when there are further names.
    pub(crate) fn changes(&self) -> watch::Receiver<usize> {
        self.http_tools.api_count()
    }
}
