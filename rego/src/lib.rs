//! What is allowed: policies, bundle, typed input, identity, WASM engine and the permit.
