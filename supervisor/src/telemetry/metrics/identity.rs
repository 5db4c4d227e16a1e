//! The metrics of credentials: the tokens that were accepted, the tokens and the keys that were refused by their reason, and
//! the fetches of the keys of issuers. No label names a tenant, a user, a key or an issuer.

use metrics::{Counter, Key, Label, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::{METADATA, increment};
use crate::identity::jwt::claims::Refusal;
use crate::identity::observer::{IdentityObserver, KeyRefusal};

/// Counters of credentials.
pub struct IdentityMetrics {
    verified: Counter,
    remembered: Counter,
    tokens_refused: Vec<(Refusal, Counter)>,
    keys_refused: Vec<(KeyRefusal, Counter)>,
    fetched: Counter,
    not_fetched: Counter,
}

impl IdentityMetrics {
    pub(super) fn register(recorder: &PrometheusRecorder) -> Self {
        for (name, help) in [
            (
                "identity_tokens_accepted",
                "tokens that were accepted, by what has verified them: a signature or the cache",
            ),
            ("identity_tokens_refused", "tokens that were refused, by their reason"),
            ("identity_keys_refused", "API keys and other texts that were refused, by their reason"),
            ("identity_key_fetches", "fetches of the keys that issuers publish, by their result"),
        ] {
            recorder.describe_counter(name.into(), None, help.into());
        }
        let counter = |name, label, value| {
            recorder.register_counter(&Key::from_parts(name, vec![Label::new(label, value)]), &METADATA)
        };
        let token = |reason: Refusal| (reason, counter("identity_tokens_refused", "reason", reason.as_str()));
        let key = |reason: KeyRefusal| (reason, counter("identity_keys_refused", "reason", reason.as_str()));
        Self {
            verified: counter("identity_tokens_accepted", "by", "signature"),
            remembered: counter("identity_tokens_accepted", "by", "cache"),
            tokens_refused: Refusal::ALL.into_iter().map(token).collect(),
            keys_refused: KeyRefusal::ALL.into_iter().map(key).collect(),
            fetched: counter("identity_key_fetches", "result", "success"),
            not_fetched: counter("identity_key_fetches", "result", "failed"),
        }
    }
}

impl IdentityObserver for IdentityMetrics {
    fn on_token_accepted(&self, is_remembered: bool) {
        let accepted = if is_remembered { &self.remembered } else { &self.verified };
        accepted.increment(1);
    }

    fn on_token_refused(&self, refusal: Refusal) {
        increment(&self.tokens_refused, &refusal);
    }

    fn on_key_refused(&self, refusal: KeyRefusal) {
        increment(&self.keys_refused, &refusal);
    }

    fn on_keys_fetched(&self, succeeded: bool) {
        let result = if succeeded { &self.fetched } else { &self.not_fetched };
        result.increment(1);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn what_becomes_of_credentials_is_counted() {
        let metrics = Metrics::new().unwrap();
        let identity = metrics.identity();
        identity.on_token_accepted(false);
        identity.on_token_accepted(true);
        identity.on_token_accepted(true);
        identity.on_token_refused(Refusal::Expired);
        identity.on_key_refused(KeyRefusal::Revoked);
        identity.on_keys_fetched(false);
        let page = metrics.render();
        for line in [
            "identity_tokens_accepted{by=\"signature\"} 1",
            "identity_tokens_accepted{by=\"cache\"} 2",
            "identity_tokens_refused{reason=\"expired\"} 1",
            "identity_tokens_refused{reason=\"signature\"} 0",
            "identity_keys_refused{reason=\"revoked\"} 1",
            "identity_keys_refused{reason=\"unknown\"} 0",
            "identity_key_fetches{result=\"success\"} 0",
            "identity_key_fetches{result=\"failed\"} 1",
        ] {
            assert!(page.lines().any(|other| other == line), "{line} is missing in\n{page}");
        }
    }
}
