//! End-to-end tests: helpers that build small checkpoints and find fixtures.
