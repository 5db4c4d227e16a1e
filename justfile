# `just` without a name lists the recipes. None of them is required: scripts/demo and scripts/test do the
# same without just, and install missing packages.

set shell := ["bash", "-euo", "pipefail", "-c"]

# List the recipes.
default:
    @just --list --unsorted

# Build greenroom and run the demo: a quarterly report from sample data.
demo *ARGUMENTS:
    scripts/demo {{ ARGUMENTS }}

# Run only the tests, with the servers that they need; `just test NAME` runs those whose names contain NAME.
test *ARGUMENTS:
    scripts/test -- {{ ARGUMENTS }}

# Check everything, exactly as CI does: format, policies, lints, licences, tests.
verify:
    .ci/run

# Run the lints only.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- --deny warnings

# Format all files with rustfmt and opa.
fmt:
    cargo fmt --all
    scripts/policy fmt

# Compile the policies into the bundle in the tree.
policy:
    scripts/policy build

# Check the policies, rebuild the bundle and compare it with the one in the tree.
policy-check:
    scripts/policy check

# Regenerate the JSON Schemas of definitions and policy input.
schema:
    scripts/schema

# Measure everything in docs/benchmarks.md against its targets (builds release; slow).
bench *ARGUMENTS:
    scripts/bench {{ ARGUMENTS }}

# Fuzz each parser of untrusted bytes for SECONDS.
fuzz SECONDS="60":
    scripts/fuzz {{ SECONDS }}

# Crash a run before and after each of its writes.
crash:
    scripts/crash

# Kill, freeze and cut three pods while they run a thousand workflows, over NATS with --nats, and check what is promised (builds release).
chaos *ARGUMENTS:
    scripts/chaos {{ ARGUMENTS }}

# Run 200 workflows on three pods, of which one is killed, with servers that are started here.
cluster-demo:
    scripts/cluster-demo

# Play the same scripts to the worker of RunPod's SDK and to ours, and compare the table in docs/runpod.md.
runpod-comparison *ARGUMENTS:
    scripts/runpod-comparison {{ ARGUMENTS }}

# Apply a steady load for SECONDS and check that memory, files and threads do not grow (builds release).
soak SECONDS="600" RATE="100":
    scripts/soak {{ SECONDS }} {{ RATE }}

# Check licences, bans, sources and known vulnerabilities (needs cargo-deny and cargo-audit).
audit:
    cargo deny check
    cargo audit

# Build the documentation of every crate.
doc:
    cargo doc --workspace --no-deps

# Build what a release has for this machine: program, archive, wheel, npm package, checksums (slow).
release PROFILE="dist":
    scripts/release {{ PROFILE }}
