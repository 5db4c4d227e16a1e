//! The settings of NATS and of the cluster: what is read, what is a problem, and that no secret is shown.

use super::super::source::load;
use super::super::{ConfigError, Flags, LoadedConfig};
use super::{NatsAuth, NatsTls};

const URL: (&str, &str) = ("NATS_URL", "nats://u:hunter2@a:4223, tls://b");

fn loaded(pairs: &[(&str, &str)]) -> Result<LoadedConfig, ConfigError> {
    let environment = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    load(&Flags::default(), environment)
}

fn problems(pairs: &[(&str, &str)]) -> String {
    loaded(pairs).unwrap_err().to_string()
}

#[test]
fn without_a_url_there_is_no_nats_and_nothing_else_is_needed() {
    let loaded = loaded(&[("GREENROOM_NATS_PREFIX", "other")]).unwrap();
    assert_eq!(loaded.config.nats, None);
    assert_eq!((loaded.config.cluster.name.as_str(), &loaded.config.cluster.secret), ("greenroom", &None));
}

#[test]
fn the_servers_the_prefix_and_the_bound_are_read_and_no_secret_is_shown() {
    let secrets = [URL, ("GREENROOM_CLUSTER_SECRET", "a secret of the cluster"), ("GREENROOM_NATS_TOKEN", "hunter3")];
    let loaded = loaded(&[&secrets[..], &[("GREENROOM_NATS_REQUESTS_MAX", "7")]].concat()).unwrap();
    let nats = loaded.config.nats.clone().unwrap();
    assert_eq!((nats.url.reveal(), nats.prefix.as_str(), nats.requests_max), (URL.1, "greenroom", 7));
    assert!(matches!(&nats.auth, NatsAuth::Token(token) if token.reveal() == "hunter3"));
    assert_eq!(nats.tls, NatsTls::default());
    assert_eq!(loaded.config.cluster.require_secret().unwrap().reveal(), "a secret of the cluster");
    let text = format!("{:?} {:?}", loaded.resolved, loaded.config);
    for secret in ["hunter2", "hunter3", "a secret of the cluster"] {
        assert!(!text.contains(secret), "{text}");
    }
}

#[test]
fn each_way_to_authenticate_is_read_and_two_of_them_are_a_problem() {
    let auth = |pairs: &[(&str, &str)]| loaded(&[&[URL], pairs].concat()).unwrap().config.nats.unwrap().auth;
    assert_eq!(auth(&[]), NatsAuth::None);
    let credentials = ("GREENROOM_NATS_CREDENTIALS_FILE", "pod.creds");
    assert_eq!(auth(&[credentials]), NatsAuth::Credentials("pod.creds".into()));
    assert_eq!(auth(&[("GREENROOM_NATS_NKEY_FILE", "pod.nk")]), NatsAuth::Nkey("pod.nk".into()));
    let user = [("GREENROOM_NATS_USER", "pod"), ("GREENROOM_NATS_PASSWORD", "hunter3")];
    assert!(
        matches!(auth(&user), NatsAuth::User { name, password } if name == "pod" && password.reveal() == "hunter3")
    );
    let text = problems(&[&[URL, credentials], &user[..]].concat());
    assert!(text.contains("set one of nats.credentials_file") && !text.contains("hunter3"), "{text}");
    assert!(problems(&[URL, user[0]]).contains("set both or none"));
}

#[test]
fn what_cannot_be_followed_is_a_problem_that_names_the_setting() {
    for (name, value, problem) in [
        ("NATS_URL", "http://u:hunter2@h", "`nats://` and `tls://`, not http"),
        ("NATS_URL", "nats://", "nats.url"),
        ("GREENROOM_NATS_PREFIX", "a..b", "nats.prefix"),
        ("GREENROOM_NATS_PREFIX", ">", "nats.prefix"),
        ("GREENROOM_NATS_REQUESTS_MAX", "0", "nats.requests_max"),
        ("GREENROOM_NATS_REQUESTS_MAX", "many", "nats.requests_max"),
        ("GREENROOM_NATS_TLS_CERT_FILE", "pod.pem", "nats.tls.key_file"),
        ("GREENROOM_CLUSTER_NAME", "a b", "cluster.name"),
        ("GREENROOM_CLUSTER_SECRET", "hunter2", "at least 16 bytes"),
    ] {
        let pairs = if name == "NATS_URL" { vec![(name, value)] } else { vec![URL, (name, value)] };
        let text = problems(&pairs);
        assert!(text.contains(problem) && !text.contains("hunter2"), "{name}={value}: {text}");
    }
}

#[test]
fn a_pod_with_nats_needs_the_secret_of_its_cluster() {
    let cause = loaded(&[URL]).unwrap().config.cluster.require_secret().unwrap_err();
    assert_eq!(cause.code, greenroom_protocol::ErrorCode::InvalidConfiguration);
    assert!(cause.message.contains("GREENROOM_CLUSTER_SECRET") && !cause.message.contains("hunter2"), "{cause}");
}
