//! Layers, origins, unknown names, secrets.

use std::path::Path;

use greenroom_protocol::Period;

use super::source::load;
use super::*;

fn environment(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn file(text: &str) -> (tempfile::TempDir, Flags) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("greenroom.toml");
    std::fs::write(&path, text).unwrap();
    (dir, Flags { config: Some(path), ..Flags::default() })
}

#[test]
fn a_later_layer_overrides_and_is_the_origin() {
    let (_dir, mut flags) = file("data_dir = \"from-file\"\npod = \"from-file\"\nguard.workers = 3\n");
    flags.data_dir = Some("from-flag".into());
    let loaded = load(&flags, environment(&[("GREENROOM_POD", "from-env")]).into_iter()).unwrap();
    assert_eq!(loaded.config.data_dir, std::path::absolute("from-flag").unwrap());
    assert_eq!(loaded.config.pod.as_str(), "from-env");
    assert_eq!(loaded.config.guard_workers, 3);
    let origin = |key: &str| loaded.resolved.iter().find(|row| row.key == key).unwrap().origin.clone();
    assert_eq!(origin("data_dir"), "flag --data-dir");
    assert_eq!(origin("pod"), "environment GREENROOM_POD");
    assert!(origin("guard.workers").ends_with("greenroom.toml"));
    assert_eq!(origin("admission.max_in_flight"), "default");
}

#[test]
fn an_unknown_name_is_an_error_that_suggests_a_similar_known_name() {
    let (_dir, flags) = file("[admission]\nmax_in_flights = 3\n");
    let problems = load(&flags, environment(&[("GREENROOM_DATADIR", "x")]).into_iter()).unwrap_err().0;
    assert!(
        problems.iter().any(|line| line.contains("admission.max_in_flights; did you mean admission.max_in_flight?")),
        "{problems:?}"
    );
    assert!(problems.iter().any(|line| line.contains("did you mean GREENROOM_DATA_DIR?")), "{problems:?}");
}

#[test]
fn an_invalid_value_is_an_error_that_names_its_key() {
    let (_dir, flags) = file("[admission]\nmax_in_flight = \"many\"\n");
    let problems = load(&flags, std::iter::empty()).unwrap_err().0;
    assert!(problems.iter().any(|line| line.contains("admission.max_in_flight")), "{problems:?}");
    let problems = load(&Flags::default(), environment(&[("DATABASE_URL", "postgres://u:pw@h/d")]).into_iter());
    let text = problems.unwrap_err().to_string();
    assert!(text.contains("postgres") && !text.contains("pw"), "{text}");
}

#[test]
fn a_secret_is_masked_wherever_it_is_printed() {
    let (_dir, flags) = file("[[users]]\nname = \"robot\"\napi_key = \"hunter2\"\n");
    let loaded = load(&flags, environment(&[("OPENAI_API_KEY", "sk-live")]).into_iter()).unwrap();
    let text = format!("{:?} {:?}", loaded.resolved, loaded.config);
    assert!(!text.contains("sk-live") && !text.contains("hunter2"), "{text}");
    let key = |provider: &ProviderConfig| provider.api_key.as_ref().map(|key| key.reveal().to_owned());
    assert_eq!(loaded.config.models.providers.iter().find_map(key).as_deref(), Some("sk-live"));
    assert_eq!(loaded.config.users.user_by_api_key("hunter2").map(|user| user.name.as_str()), Some("robot"));
    assert!(loaded.config.users.user_by_api_key("hunter").is_none());
}

#[test]
fn three_users_are_built_in() {
    let config = Config::defaults(Path::new("data")).unwrap();
    let names: Vec<_> = config.users.users.iter().map(|user| user.name.as_str()).collect();
    assert_eq!(names, ["admin", "operator", "guest"]);
    assert_eq!(config.users.users[1].permissions.allowed_categories.len(), 2);
    assert!(config.users.users[2].roles.is_empty());
    assert_eq!(config.user.as_str(), "admin");
}

#[test]
fn a_reserved_setting_that_is_set_causes_a_warning() {
    let loaded = load(&Flags::default(), environment(&[("NATS_URL", "nats://u:secret@h")]).into_iter()).unwrap();
    assert!(loaded.warnings.iter().any(|line| line.contains("nats.url")));
    assert!(!loaded.warnings.iter().any(|line| line.contains("secret")));
}

#[test]
fn a_key_an_address_or_a_table_configures_a_provider() {
    let (_dir, flags) = file("[[providers]]\nname = \"groq\"\napi = \"groq\"\napi_key = \"gsk\"\n");
    let variables = environment(&[("OPENAI_BASE_URL", "http://127.0.0.1:8000/v1/"), ("OPENAI_MODEL", "llama")]);
    let loaded = load(&flags, variables.into_iter()).unwrap();
    let names: Vec<_> = loaded.config.models.providers.iter().map(|provider| provider.name.as_str()).collect();
    assert_eq!(names, ["groq", "openai"]);
    assert_eq!(loaded.config.models.pod.as_deref(), Some("llama"));
    assert!(!format!("{:?}", loaded.resolved).contains("gsk"));
}

#[test]
fn a_limit_counts_over_its_period() {
    let (_dir, flags) = file(
        "[[users]]\nname = \"clara\"\nlimits = { usd = 1.0, period = \"day\" }\n\
         [[users]]\nname = \"robot\"\nlimits = { usd = 1.0 }\n[tenants.acme]\nlimits = { usd = 9.0, period = \"month\" }\n",
    );
    let users = load(&flags, std::iter::empty()).unwrap().config.users;
    let period = |name: &str| Period::from(users.user(&name.parse().unwrap()).unwrap().limits.period);
    assert_eq!((period("clara"), period("robot")), (Period::Days(1), Period::AllTime));
    assert_eq!(Period::from(users.tenant_limits(&"acme".parse().unwrap()).period), Period::Month);
    let (_dir, flags) = file("[[users]]\nname = \"clara\"\nlimits = { period = \"hour\" }\n");
    let problems = load(&flags, std::iter::empty()).unwrap_err().0;
    assert!(problems.iter().any(|line| line.contains("hour")), "{problems:?}");
}
