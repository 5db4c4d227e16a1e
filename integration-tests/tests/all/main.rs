//! Every test of the whole platform, in one binary, because linking takes longer than running.
//!
//! Each module has one subject. The fixtures (a pod, a scripted model, a bounded wait) are in the library of
//! this crate, so that benchmarks use them too.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking, and so may its helper functions"
)]

mod access_table;
mod apply;
mod artifacts;
mod bad_input;
mod blocking;
mod budget;
mod client_examples;
mod command_line;
mod commands;
mod compensation;
mod control;
mod crash;
mod crash_injection;
mod data_files;
mod database_url;
mod definition_policies;
mod demo;
mod disk_failures;
mod drain;
mod edges;
mod eval;
mod event_steps;
mod facts;
mod fuzz;
mod guide;
mod http;
mod http_runtime;
mod http_tools;
mod idempotency;
mod identity;
mod in_process;
mod issuer;
mod licences;
mod maintenance;
mod manifests;
mod mcp;
mod memory;
mod metadata;
mod metrics;
mod model_quirks;
mod nats;
mod nats_client;
mod nats_frames;
mod nats_python;
mod nats_sessions;
mod overload;
mod own_database;
mod owner;
mod page;
mod panics;
mod personal_data;
mod pinning;
mod pods;
mod policy_bundles;
mod postgres;
mod protocol_model;
mod provider_apis;
mod providers;
mod public_key;
mod python_runtime;
mod quarantine;
mod redis;
mod reload;
mod report;
mod restart;
mod restore;
mod retries;
mod run_cases;
mod runpod;
mod scenarios;
mod schemathesis;
mod sealed_types;
mod secrets;
mod shipped_examples;
mod shipped_workflows;
mod shutdown;
mod signals;
mod tenants;
mod tidy;
mod tls;
mod tool_approvals;
mod trees;
mod typed_values;
mod units;
mod up_log;
mod user_reload;
mod users;
mod wasm_runtime;
