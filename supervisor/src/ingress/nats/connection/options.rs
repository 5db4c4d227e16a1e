//! The options of a connection: the servers, how the pod authenticates, TLS, and the delays between attempts.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;
use std::time::Duration;

use async_nats::ConnectOptions;
use greenroom_protocol::{Cause, ErrorCode, PodId};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::config::{NatsAuth, NatsTls, Secret};

/// Longest time for one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often the server is probed; it counts as lost once three probes in a row have no reply.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// The delays between two attempts to connect are between these, doubled with each attempt.
const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(50);
const RECONNECT_DELAY_MAX: Duration = Duration::from_secs(4);
/// Messages that wait to be written to the connection.
const OUTGOING_MAX: usize = 16_384;
/// Messages of one subscription that wait to be read.
const INCOMING_MAX: usize = 16_384;

/// The options that do not depend on the configuration.
pub(super) fn options(pod: &PodId) -> ConnectOptions {
    let mut hasher = DefaultHasher::new();
    pod.as_str().hash(&mut hasher);
    let spread = hasher.finish();
    ConnectOptions::new()
        .name(format!("greenroom {pod}"))
        .retry_on_initial_connect()
        .connection_timeout(CONNECT_TIMEOUT)
        .ping_interval(PING_INTERVAL)
        .client_capacity(OUTGOING_MAX)
        .subscription_capacity(INCOMING_MAX)
        .reconnect_delay_callback(move |attempts| reconnect_delay(attempts, spread))
}

/// The delay before an attempt to connect, doubled with each one. `spread` makes it shorter by up to a half, so that the
/// pods of a cluster do not all connect at the same moment.
fn reconnect_delay(attempts: usize, spread: u64) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempts - 2).unwrap_or(u32::MAX).min(16);
    let delay = RECONNECT_DELAY_MIN.saturating_mul(1 << doublings).min(RECONNECT_DELAY_MAX);
    let permille = u32::try_from(spread.rotate_left(doublings) % 500).unwrap_or_default();
    delay.saturating_sub(delay / 1_000 * permille)
}

/// The servers, and the credentials of the first one that has any: the library reads none in a URL, and logs the URL.
///
/// # Errors
/// [`ErrorCode::InvalidConfiguration`] for a URL that is none, which is not quoted.
pub(super) fn servers(urls: &str) -> Result<(Vec<String>, NatsAuth), Cause> {
    let (mut servers, mut auth) = (Vec::new(), NatsAuth::None);
    for server in urls.split(',').map(str::trim) {
        let with_scheme = if server.contains("://") { server.to_owned() } else { format!("nats://{server}") };
        let invalid = |found: String| Cause::new(ErrorCode::InvalidConfiguration, format!("nats.url: {found}"));
        let mut url = Url::parse(&with_scheme).map_err(|error| invalid(format!("a server is no URL: {error}")))?;
        if auth == NatsAuth::None && !url.username().is_empty() {
            let name = decode(url.username());
            auth = match url.password() {
                Some(password) => NatsAuth::User { name, password: Secret::new(decode(password)) },
                None => NatsAuth::Token(Secret::new(name)),
            };
        }
        if url.set_username("").is_err() || url.set_password(None).is_err() {
            return Err(invalid("a server has no host".to_owned()));
        }
        servers.push(url.to_string());
    }
    Ok((servers, auth))
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Adds how the pod authenticates, and TLS. Each file is read once here, so that a wrong path is an error of the start and
/// not a server that cannot be used.
pub(super) async fn secured(options: ConnectOptions, auth: &NatsAuth, tls: &NatsTls) -> Result<ConnectOptions, Cause> {
    let options = match auth {
        NatsAuth::None => options,
        NatsAuth::Credentials(path) => {
            let text = read("nats.credentials_file", path).await?;
            options.credentials(&text).map_err(|_| {
                let message = format!("nats.credentials_file: {} has no JWT and no key", path.display());
                Cause::new(ErrorCode::InvalidConfiguration, message)
            })?
        }
        NatsAuth::Nkey(path) => options.nkey(read("nats.nkey_file", path).await?.trim().to_owned()),
        NatsAuth::Token(token) => options.token(token.reveal().to_owned()),
        NatsAuth::User { name, password } => options.user_and_password(name.clone(), password.reveal().to_owned()),
    };
    let mut options = options.require_tls(tls.is_required());
    if let Some(ca_file) = &tls.ca_file {
        read("nats.tls.ca_file", ca_file).await?;
        options = options.add_root_certificates(ca_file.clone());
    }
    if let Some((cert, key)) = &tls.identity {
        read("nats.tls.cert_file", cert).await?;
        read("nats.tls.key_file", key).await?;
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    Ok(options)
}

async fn read(setting: &str, path: &Path) -> Result<String, Cause> {
    tokio::fs::read_to_string(path).await.map_err(|error| {
        Cause::new(ErrorCode::InvalidConfiguration, format!("{setting}: {} cannot be read: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_of_an_attempt_grows_to_its_bound_and_is_not_the_same_for_all_pods() {
        assert_eq!(reconnect_delay(0, 7), Duration::ZERO);
        assert_eq!(reconnect_delay(1, 7), Duration::ZERO);
        for spread in [0, 7, u64::MAX / 3] {
            for attempts in [2, 3, 9, 1_000] {
                let delay = reconnect_delay(attempts, spread);
                let longest = RECONNECT_DELAY_MIN.saturating_mul(1 << (attempts - 2).min(16)).min(RECONNECT_DELAY_MAX);
                assert!(delay <= longest && delay >= longest / 2, "{attempts} {spread} {delay:?}");
            }
        }
        assert_ne!(reconnect_delay(2, 1), reconnect_delay(2, 2));
    }

    #[test]
    fn the_credentials_of_a_url_are_used_and_are_in_no_address() {
        let (addresses, auth) = servers("nats://u:p%40ss@a:4223, tls://u2:other@b,c").unwrap();
        assert_eq!(addresses, ["nats://a:4223", "tls://b", "nats://c"]);
        assert!(matches!(auth, NatsAuth::User { name, password } if name == "u" && password.reveal() == "p@ss"));
        assert!(matches!(servers("nats://t0ken@a").unwrap().1, NatsAuth::Token(token) if token.reveal() == "t0ken"));
        assert_eq!(servers("a:4222").unwrap().1, NatsAuth::None);
        let cause = servers("nats://u:planted@[").unwrap_err();
        assert!(!cause.message.contains("planted"), "{cause}");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_an_error_that_names_its_setting() {
        let nkey = NatsAuth::Nkey("missing/pod.nk".into());
        let cause = secured(ConnectOptions::new(), &nkey, &NatsTls::default()).await.err().unwrap();
        assert_eq!(cause.code, ErrorCode::InvalidConfiguration);
        assert!(cause.message.contains("nats.nkey_file") && cause.message.contains("missing/pod.nk"), "{cause}");
    }
}
