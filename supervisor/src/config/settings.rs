//! The names of all settings: key in the file, variables of the environment, default, and a sentence.
//! What a value means is decided in [`super::source`].

/// How the text of a variable becomes a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettingKind {
    /// As it is.
    Text,
    /// A whole number.
    Number,
    /// Paths, separated by `:`.
    Paths,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key in the file, dotted.
    pub key: &'static str,
    /// The variables that set it, the first one that is set wins.
    pub env: &'static [&'static str],
    /// Its default, as a variable would say it; empty for none.
    pub default: &'static str,
    /// How text becomes a value.
    pub kind: SettingKind,
    /// True if it is never shown.
    pub secret: bool,
    /// What it is for.
    pub help: &'static str,
}

const fn text(key: &'static str, env: &'static [&'static str], default: &'static str, help: &'static str) -> Setting {
    Setting { key, env, default, kind: SettingKind::Text, secret: false, help }
}

const fn number(key: &'static str, env: &'static [&'static str], default: &'static str, help: &'static str) -> Setting {
    Setting { key, env, default, kind: SettingKind::Number, secret: false, help }
}

const fn secret(key: &'static str, env: &'static [&'static str], help: &'static str) -> Setting {
    Setting { key, env, default: "", kind: SettingKind::Text, secret: true, help }
}

/// Every setting that is one value. Users, tenants and further
/// providers are tables of the file; see [`super::users`] and [`super::Provider`].
pub const SETTINGS: &[Setting] = &[
    text("data_dir", &["GREENROOM_DATA_DIR"], "greenroom-data", "the folder that one process owns"),
    text("pod", &["GREENROOM_POD"], "local", "the name of this pod in replies and in the audit"),
    text("user", &["GREENROOM_USER"], "admin", "the user that the command line speaks for"),
    text("definitions.dir", &["GREENROOM_DEFINITIONS"], "", "definitions instead of the embedded ones; watched"),
    text("policy.dir", &["GREENROOM_POLICY"], "", "a policy bundle instead of the embedded one; watched"),
    Setting {
        key: "files.roots",
        env: &["GREENROOM_FILES_ROOTS"],
        default: "",
        kind: SettingKind::Paths,
        secret: false,
        help: "folders in which a bare path inside an input may lie; default DATA_DIR/files",
    },
    Setting {
        key: "store.url",
        env: &["GREENROOM_STORE_URL", "DATABASE_URL"],
        default: "",
        kind: SettingKind::Text,
        secret: true,
        help: "`memory:` or `sqlite:PATH`; default DATA_DIR/greenroom.db",
    },
    text("store.sync", &["GREENROOM_STORE_SYNC"], "full", "`full` survives a power cut, `normal` the process's death"),
    number(
        "admission.max_in_flight",
        &["GREENROOM_ADMISSION_MAX_IN_FLIGHT"],
        "131072",
        "requests and detached runs that this pod holds",
    ),
    number(
        "admission.max_in_flight_per_tenant",
        &["GREENROOM_ADMISSION_MAX_IN_FLIGHT_PER_TENANT"],
        "120000",
        "of them, those of one tenant",
    ),
    number(
        "admission.pipeline_concurrency",
        &["GREENROOM_ADMISSION_PIPELINE_CONCURRENCY"],
        "0",
        "requests between authentication and dispatch; 0 means four for each core",
    ),
    number("guard.workers", &["GREENROOM_GUARD_WORKERS"], "0", "policy engines; 0 means one for each core"),
    text(
        "metrics.addr",
        &["GREENROOM_METRICS_ADDR"],
        "127.0.0.1:9464",
        "where `up` serves /metrics; `off` for nowhere",
    ),
    text("log.filter", &["GREENROOM_LOG"], "", "which log lines are written, as tracing directives"),
    number("drain.timeout_s", &["GREENROOM_DRAIN_TIMEOUT_S"], "30", "seconds that a shutdown waits for work"),
    secret("anthropic.api_key", &["ANTHROPIC_API_KEY"], "key of the provider anthropic"),
    text("anthropic.base_url", &["ANTHROPIC_BASE_URL"], "", "another address of the provider anthropic"),
    secret("openai.api_key", &["OPENAI_API_KEY"], "key of the provider openai"),
    text("openai.base_url", &["OPENAI_BASE_URL"], "", "any server that speaks like openai"),
    text("openai.model", &["OPENAI_MODEL"], "", "the model that every tier goes to"),
    secret("gemini.api_key", &["GEMINI_API_KEY"], "key of the provider gemini"),
    text("ollama.base_url", &["OLLAMA_BASE_URL"], "", "address of an Ollama server"),
    text("models.script", &["GREENROOM_SCRIPT"], "", "what the provider `scripted` plays; for tests"),
    secret("nats.url", &["NATS_URL"], "address of NATS; this version does not use it yet"),
    secret("redis.url", &["REDIS_URL"], "address of Redis; this version does not use it yet"),
    secret("qdrant.url", &["QDRANT_URL"], "address of Qdrant; this version does not use it yet"),
];

/// Settings that are known, and that this version does nothing with.
pub const RESERVED_SETTINGS: &[&str] = &["nats.url", "redis.url", "qdrant.url"];

/// Variables of ours that are read before any setting.
pub const CONFIG_FILE_VARIABLE: &str = "GREENROOM_CONFIG";
/// What our own variables begin with; one that no setting knows is an error.
pub const OUR_PREFIX: &str = "GREENROOM_";
