//! Layers, origins, unknown names, secrets.

use std::path::Path;

use greenroom_protocol::Period;
use greenroom_registry::redis::rates::OnRedisLoss;

use super::source::{load, load_users};
use super::*;

mod buckets;

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
    let problems = load(&flags, environment(&[]).into_iter()).unwrap_err().0;
    assert!(
        problems.iter().any(|line| line.contains("admission.max_in_flights, did you mean `admission.max_in_flight`?")),
        "{problems:?}"
    );
}

#[test]
fn a_variable_that_no_setting_reads_is_a_warning() {
    let variables =
        [("GREENROOM_DATADIR", "x"), ("GREENROOM_SERVICE_HOST", "10.0.0.1"), ("GREENROOM_PORT", "tcp://h:1")];
    let loaded = load(&Flags::default(), environment(&variables).into_iter()).unwrap();
    for (name, _) in variables {
        assert!(loaded.warnings.iter().any(|line| line.contains(name)), "{:?}", loaded.warnings);
    }
    assert!(loaded.warnings.iter().any(|line| line.contains("did you mean `GREENROOM_DATA_DIR`?")));
}

#[test]
fn the_line_end_of_a_variable_is_no_part_of_it() {
    let ours = [("GREENROOM_GUARD_WORKERS", "3\r\n"), ("GREENROOM_POD", "\n")];
    let variables = [&[("OPENAI_API_KEY", "sk-1\n"), ("ANTHROPIC_API_KEY", " \t\n")][..], &ours].concat();
    let loaded = load(&Flags::default(), environment(&variables).into_iter()).unwrap().config;
    let key = loaded.models.providers.iter().find_map(|provider| provider.api_key.as_ref()).unwrap();
    assert_eq!((key.reveal(), loaded.guard_workers), ("sk-1", 3));
    assert!(!loaded.pod.as_str().contains('\n'));
}

#[test]
fn a_variable_that_is_not_utf8_is_an_error_that_names_it() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let not_utf8 = || OsString::from_vec(vec![b'a', 0xff]);
    let variables =
        [("OPENAI_API_KEY".into(), not_utf8()), ("OF_ANOTHER_PROGRAM".into(), not_utf8()), (not_utf8(), "x".into())];
    let problems = load(&Flags::default(), variables.into_iter()).unwrap_err().0;
    assert_eq!(problems, ["environment: the value of OPENAI_API_KEY is not UTF-8"]);
}

#[test]
fn a_broken_file_is_named_by_line_and_column_and_never_quoted() {
    let (_dir, flags) = file("pod = \"a\"\n[[users]]\nname = \"robot\"\napi_key = \"hunter2\n");
    let text = load(&flags, environment(&[]).into_iter()).unwrap_err().to_string();
    assert!(text.contains("greenroom.toml:4:") && !text.contains("hunter2"), "{text}");
    let (_dir, flags) = file("[openai]\napi_key = [\"hunter2\"]\n");
    let text = load(&flags, environment(&[]).into_iter()).unwrap_err().to_string();
    assert!(text.contains("openai.api_key") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_setting_with_a_few_words_names_them() {
    let problems = load(&Flags::default(), environment(&[("GREENROOM_STORE_SYNC", "fast")]).into_iter());
    let text = problems.unwrap_err().to_string();
    assert!(text.contains("`full` or `normal`"), "{text}");
    let problems = load(&Flags::default(), environment(&[("GREENROOM_METRICS_ADDR", "here")]).into_iter());
    assert!(problems.unwrap_err().to_string().contains("`off` or an address"));
}

#[test]
fn the_credentials_of_an_address_are_masked() {
    let variables = environment(&[("OPENAI_BASE_URL", "https://user:hunter2@host/v1")]);
    let loaded = load(&Flags::default(), variables.into_iter()).unwrap();
    let row = loaded.resolved.iter().find(|row| row.key == "openai.base_url").unwrap();
    assert_eq!(row.value, "https://***@host/v1");
}

#[test]
fn an_invalid_value_is_an_error_that_names_its_key() {
    let (_dir, flags) = file("[admission]\nmax_in_flight = \"many\"\n");
    let problems = load(&flags, environment(&[]).into_iter()).unwrap_err().0;
    assert!(problems.iter().any(|line| line.contains("admission.max_in_flight")), "{problems:?}");
}

#[test]
fn a_foreign_database_url_is_a_problem_of_the_store_that_names_its_variable() {
    let loaded = load(&Flags::default(), environment(&[("DATABASE_URL", "mysql://u:pw@h/d")]).into_iter()).unwrap();
    let cause = loaded.config.store.supported().err().unwrap();
    assert_eq!(cause.code, greenroom_protocol::ErrorCode::InvalidConfiguration);
    for word in ["store.url", "environment DATABASE_URL", "mysql"] {
        assert!(cause.message.contains(word), "{cause}");
    }
    assert!(!format!("{cause:?} {:?}", loaded.config.store).contains("pw"), "{cause:?}");
    let ours = environment(&[("DATABASE_URL", "mysql://h/d"), ("GREENROOM_STORE_URL", "sqlite:x.db")]);
    assert!(load(&Flags::default(), ours.into_iter()).unwrap().config.store.supported().is_ok());
}

#[test]
fn a_database_of_postgresql_is_a_store_whose_password_is_never_shown() {
    let url = "postgres://u:pw@h/d?sslmode=verify-full";
    let loaded = load(&Flags::default(), environment(&[("DATABASE_URL", url)]).into_iter()).unwrap();
    let store = &loaded.config.store;
    assert!(matches!(store.supported(), Ok(store::SupportedStore::Postgres(named)) if named == url));
    assert_eq!(store.database().as_deref(), Some("postgres://***@h/d"));
    assert!(!format!("{store:?} {:?}", loaded.resolved).contains("pw"));
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
fn the_key_of_the_audit_is_checked_and_never_shown() {
    let load = |key: &str| load(&Flags::default(), environment(&[("GREENROOM_AUDIT_KEY", key)]).into_iter());
    let digits = "07".repeat(32);
    let loaded = load(&digits).unwrap();
    assert_eq!(loaded.config.audit_key.as_ref().map(Secret::reveal), Some(digits.as_str()));
    let text = format!("{:?} {:?}", loaded.resolved, loaded.config);
    assert!(text.contains("audit.key") && !text.contains(&digits), "{text}");
    assert_eq!(load("").unwrap().config.audit_key, None);
    for wrong in ["hunter2", &"07".repeat(31), &"0x".repeat(32)] {
        let text = load(wrong).unwrap_err().to_string();
        assert!(text.contains("audit.key: it must have 64 hex digits") && !text.contains(wrong), "{text}");
    }
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
fn the_url_and_the_key_of_qdrant_are_checked_and_never_shown() {
    let load = |pairs: &[(&str, &str)]| load(&Flags::default(), environment(pairs).into_iter());
    let loaded = load(&[("QDRANT_URL", "https://h:6334"), ("QDRANT_API_KEY", "hunter2")]).unwrap();
    let qdrant = loaded.config.qdrant.clone().unwrap();
    assert_eq!((qdrant.url.as_str(), qdrant.api_key.as_ref().map(Secret::reveal)), ("https://h:6334", Some("hunter2")));
    let text = format!("{:?} {:?}", loaded.resolved, loaded.config);
    assert!(text.contains("qdrant.url") && !text.contains("hunter2"), "{text}");
    for (url, problem) in [("http://u:hunter2@h:6334", "the key does not belong"), ("http://hunter2", "it has no port")]
    {
        let text = load(&[("QDRANT_URL", url)]).unwrap_err().to_string();
        assert!(text.contains("qdrant.url (environment QDRANT_URL)") && text.contains(problem), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let text = load(&[("QDRANT_URL", "http://h:6334"), ("QDRANT_CA_FILE", "ca.pem")]).unwrap_err().to_string();
    assert!(text.contains("qdrant.ca_file is set"), "{text}");
}

#[test]
fn the_url_of_redis_is_checked_and_never_shown() {
    let load = |pairs: &[(&str, &str)]| load(&Flags::default(), environment(pairs).into_iter());
    let loaded = load(&[("REDIS_URL", "redis://u:hunter2@h:6380/1")]).unwrap();
    let redis = loaded.config.redis.clone().unwrap();
    assert_eq!((redis.url.reveal(), redis.on_loss), ("redis://u:hunter2@h:6380/1", OnRedisLoss::Deny));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let text = format!("{:?} {:?}", loaded.resolved, loaded.config);
    assert!(text.contains("redis.url") && !text.contains("hunter2"), "{text}");
    let problems = load(&[("REDIS_URL", "http://u:hunter2@h"), ("GREENROOM_LIMITS_ON_REDIS_LOSS", "allow")]);
    let text = problems.unwrap_err().to_string();
    for part in ["redis.url (environment REDIS_URL)", "`redis://`", "`deny` or `local`"] {
        assert!(text.contains(part) && !text.contains("hunter2"), "{text}");
    }
    let with_ca = |url: &str| load(&[("REDIS_URL", url), ("REDIS_CA_FILE", "/etc/ca.pem")]);
    let redis = with_ca("rediss://h").unwrap().config.redis.unwrap();
    assert_eq!(redis.ca_file, Some("/etc/ca.pem".into()));
    assert!(with_ca("redis://h").unwrap_err().to_string().contains("redis.ca_file is set"));
    assert_eq!(load(&[("REDIS_URL", ""), ("GREENROOM_LIMITS_ON_REDIS_LOSS", "local")]).unwrap().config.redis, None);
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
fn a_provider_is_internal_if_its_configuration_states_it_and_not_by_its_address() {
    let table = |name: &str, members: &str| {
        format!(
            "[[providers]]\nname = {name:?}\napi = \"openai\"\nbase_url = \"http://127.0.0.1:8000/v1\"\n{members}\n"
        )
    };
    let (_dir, flags) = file(&(table("near", "") + &table("own", "internal = true")));
    let variables = environment(&[
        ("OPENAI_BASE_URL", "http://localhost:8000/v1"),
        ("OLLAMA_BASE_URL", "http://127.0.0.1:11434"),
        ("GREENROOM_OLLAMA_INTERNAL", "true"),
    ]);
    let providers = load(&flags, variables.into_iter()).unwrap().config.models.providers;
    let is_internal: Vec<_> = providers.iter().map(|provider| (provider.name.as_str(), provider.internal)).collect();
    assert_eq!(is_internal, [("near", false), ("own", true), ("openai", false), ("ollama", true)]);
}

#[test]
fn a_settings_file_is_overridden_by_an_owner_only_if_files_and_results_differ() {
    let settings_hash = |text: &str, variables: &[(&str, &str)]| {
        let (_dir, flags) = file(text);
        load(&flags, environment(variables).into_iter()).unwrap().config.settings_hash
    };
    let pod = "[guard]\nworkers = 3\n[definitions]\nstrict = true\n";
    let variables = [("GREENROOM_GUARD_WORKERS", "3"), ("GREENROOM_DEFINITIONS_STRICT", "true")];
    let of_process = "data_dir = \"elsewhere\"\nruntime_dir = \"/run\"\nuser = \"guest\"\nlog.filter = \"debug\"\n";
    let owner = settings_hash(pod, &[("OPENAI_API_KEY", "sk-live"), ("GREENROOM_POD", "one")]);
    for (text, owner) in [
        (pod.to_owned(), &owner),
        (format!("{of_process}{pod}"), &owner),
        (pod.to_owned(), &settings_hash("", &variables)),
        (of_process.to_owned(), &settings_hash("", &variables)),
    ] {
        assert!(!settings_hash(&text, &[]).is_overridden_by(owner), "{text}");
    }
    for text in ["", "guard.workers = 4", "[[users]]\nname = \"clara\"\n", "openai.api_key = \"sk-live\""] {
        assert!(settings_hash(text, &[]).is_overridden_by(&owner), "{text}");
    }
    let key = |key: &str| settings_hash(&format!("openai.api_key = {key:?}"), &[]);
    assert_eq!(key("sk-one"), key("sk-two"), "a hash reveals nothing about a secret");
}

#[test]
fn users_are_read_again_from_the_settings_file() {
    let (_dir, flags) = file("[[users]]\nname = \"clara\"\n");
    let path = flags.config.clone().unwrap();
    let pod = load(&flags, environment(&[]).into_iter()).unwrap().config;
    assert_eq!(pod.settings_file.as_ref(), Some(&path));
    let robot = "[[users]]\nname = \"robot\"\n";
    std::fs::write(&path, robot).unwrap();
    let command = load(&flags, environment(&[]).into_iter()).unwrap().config;
    assert!(command.settings_hash.is_overridden_by(&pod.settings_hash));
    std::fs::write(&path, format!("guard.workers = 3\n{robot}")).unwrap();
    let changed = load_users(&path).unwrap();
    assert_eq!(changed.users, command.users);
    assert!(!command.settings_hash.is_overridden_by(&pod.settings_hash.with_users_of(&changed.settings_hash)));
    for broken in [
        "[[users]",
        "[[user]]\nname = \"clara\"\n",
        "[[tenant]]\nname = \"acme\"\n",
        "guard.workers = \"many\"\n[[users]]\nname = \"clara\"\n",
        "[[users]]\nname = \"clara\"\nrole = [\"admin\"]\n",
        "[[users]]\nname = \"clara\"\n[[users]]\nname = \"clara\"\n",
        "[tenants.acme]\nlimits = { usd = -1.0 }\n",
    ] {
        std::fs::write(&path, broken).unwrap();
        assert!(load_users(&path).is_err(), "{broken}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(load_users(&path).is_err(), "a file that was removed has no users, and not the built-in ones");
}

#[test]
fn a_limit_counts_over_its_period() {
    let (_dir, flags) = file(
        "[[users]]\nname = \"clara\"\nlimits = { usd = 1.0, period = \"day\" }\n\
         [[users]]\nname = \"robot\"\nlimits = { usd = 1.0 }\n[tenants.acme]\nlimits = { usd = 9.0, period = \"month\" }\n",
    );
    let users = load(&flags, environment(&[]).into_iter()).unwrap().config.users;
    let period = |name: &str| Period::from(users.user(&name.parse().unwrap()).unwrap().limits.period);
    assert_eq!((period("clara"), period("robot")), (Period::Days(1), Period::AllTime));
    assert_eq!(Period::from(users.tenant_limits(&"acme".parse().unwrap()).period), Period::Month);
    let (_dir, flags) = file("[[users]]\nname = \"clara\"\nlimits = { period = \"hour\" }\n");
    let problems = load(&flags, environment(&[]).into_iter()).unwrap_err().0;
    assert!(problems.iter().any(|line| line.contains("hour")), "{problems:?}");
}

#[test]
fn the_labels_of_a_pod_are_words_each_once() {
    let labels = |text: &str| load(&Flags::default(), environment(&[("GREENROOM_CLUSTER_LABELS", text)]).into_iter());
    assert!(labels("").unwrap().config.labels.is_empty());
    assert_eq!(labels(" gpu, eu ,gpu").unwrap().config.labels, ["eu", "gpu"]);
    let problems = labels("GPU,eu").unwrap_err().0;
    assert!(problems.iter().any(|line| line.contains("\"GPU\" is not a label")), "{problems:?}");
    let many: Vec<String> = (0..17).map(|number| format!("l{number}")).collect();
    assert!(labels(&many.join(",")).is_err());
}
