//! Who and what exists: catalogue versions, runs, journal, audit, context, budgets, artifacts.
