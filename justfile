# `just` without a name lists the recipes. None of them is needed to start: scripts/demo and
# scripts/test do the same without just, and install what a bare machine lacks.

set shell := ["bash", "-euo", "pipefail", "-c"]

# List the recipes.
default:
    @just --list --unsorted

# Build greenroom and let it turn sample data into a quarterly report.
demo *ARGUMENTS:
    scripts/demo {{ ARGUMENTS }}

# Run the tests only; `just test NAME` runs those with NAME in their name.
test *ARGUMENTS:
    cargo test --workspace {{ ARGUMENTS }}

# Check everything, exactly as CI does: format, policies, lints, licences, tests.
verify:
    .ci/run

# Run the lints only.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- --deny warnings

# Write files the way rustfmt and opa want them.
fmt:
    cargo fmt --all
    scripts/policy fmt

# Compile the policies into the bundle in the tree.
policy:
    scripts/policy build

# Check the policies, rebuild the bundle and compare it with the one in the tree.
policy-check:
    scripts/policy check

# Write the JSON Schemas of definitions and policy input anew.
schema:
    scripts/schema

# Measure everything in docs/benchmarks.md, beside its bar (builds release; takes long).
bench *ARGUMENTS:
    scripts/bench {{ ARGUMENTS }}

# Feed each parser what nobody would write, for SECONDS each.
fuzz SECONDS="60":
    scripts/fuzz {{ SECONDS }}

# Kill a run before and after every one of its writes.
faults:
    scripts/faults

# Load the whole pipeline steadily for SECONDS, and see that nothing grows (builds release).
soak SECONDS="600" RATE="100":
    scripts/soak {{ SECONDS }} {{ RATE }}

# Look at licences, bans, sources and known vulnerabilities (needs cargo-deny and cargo-audit).
audit:
    cargo deny check
    cargo audit

# Build the documentation of every crate.
doc:
    cargo doc --workspace --no-deps
